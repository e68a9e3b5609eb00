"""Bootstraps of any size: so many clusters and routes, virtual hosts, or series."""

from __future__ import annotations

from tests.bench.bootstraps import NO_BREAKERS
from tests.support.bootstraps import (
    Json,
    bootstrap,
    cluster,
    http_filter_chain,
    listener,
    route_config,
    route_to,
)
from tests.support.istio_config import istio_stats_filter, node


def host_name(number: int) -> str:
    return f"service-{number}.default.svc.cluster.local"


def _cluster(name: str, backend_port: int) -> Json:
    return cluster(name, ("127.0.0.1", backend_port), **NO_BREAKERS)


def _one_listener(port: int, routes: Json, *filters: Json) -> list[Json]:
    chain = http_filter_chain(routes, stat_prefix="curve", http_filters=filters)
    return [listener("curve", port, chain, traffic_direction="OUTBOUND", tcp_backlog_size=8192)]


def plain_bootstrap(admin_port: int, port: int, backend_port: int) -> str:
    listeners = _one_listener(port, route_config(route_to("one")))
    return bootstrap(admin_port, listeners, [_cluster("one", backend_port)])


def clusters_bootstrap(admin_port: int, port: int, backend_port: int, count: int) -> str:
    """`count` clusters, and a route to each, tried in order: `/r0/`, `/r1/`, ..."""
    routes = [route_to(f"cluster-{number}", f"/r{number}/") for number in range(count)]
    clusters = [_cluster(f"cluster-{number}", backend_port) for number in range(count)]
    return bootstrap(admin_port, _one_listener(port, route_config(*routes)), clusters)


def virtual_hosts_bootstrap(admin_port: int, port: int, backend_port: int, count: int) -> str:
    """`count` virtual hosts with the domains of `host_name`."""
    hosts = [
        {"name": f"host-{number}", "domains": [host_name(number)], "routes": [route_to("one")]}
        for number in range(count)
    ]
    listeners = _one_listener(port, {"name": "hosts", "virtual_hosts": hosts})
    return bootstrap(admin_port, listeners, [_cluster("one", backend_port)])


def series_bootstrap(admin_port: int, port: int, backend_port: int, count: int) -> str:
    """Every path is a series of `istio_requests_total`, and the ceiling is above `count`."""
    metrics = [{"name": "requests_total", "dimensions": {"path": "request.url_path"}}]
    listeners = _one_listener(port, route_config(route_to("one")), istio_stats_filter(metrics=metrics))
    identity = node("curve")
    identity["metadata"]["SIDECAR_TELEMETRY"] = {"max_series": count + 1000}
    return bootstrap(admin_port, listeners, [_cluster("one", backend_port)], node=identity)
