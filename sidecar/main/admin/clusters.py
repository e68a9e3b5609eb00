"""`/clusters`: every host of every cluster with its counts, as text and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import re2

from config.model.cluster import CircuitBreakerThresholds
from config.model.core import RoutingPriority
from config.model.endpoint import HealthStatus
from sidecar.main.admin.api import AdminRequest, AdminResponse, Endpoint, compile_pattern, json_response
from sidecar.main.admin.listeners import address_json
from sidecar.upstream.host_summary import COUNTERS, GAUGES

if TYPE_CHECKING:
    from sidecar.upstream.api import Cluster, ClusterManager
    from sidecar.upstream.host_summary import ShownHost

_LIMITS: Final = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
_UNHEALTHY: Final = {
    HealthStatus.UNHEALTHY: "/failed_eds_health",
    HealthStatus.DRAINING: "/eds_status_draining",
    HealthStatus.TIMEOUT: "/failed_eds_health",
    HealthStatus.DEGRADED: "/degraded_eds_health",
}


HostsOf = Callable[["Cluster"], Iterable["ShownHost"]]


def endpoint(clusters: ClusterManager, hosts_of: HostsOf) -> Endpoint:
    def show(request: AdminRequest) -> AdminResponse:
        chosen = list(clusters.all().values())
        if "filter" in request.query:
            try:
                pattern = compile_pattern(request.query["filter"])
            except re2.error:
                return AdminResponse("Invalid re2 regex", 400)
            chosen = [cluster for cluster in chosen if pattern.search(cluster.name)]
        if request.query.get("format") == "json":
            return json_response(
                {"cluster_statuses": [_json(cluster, hosts_of(cluster)) for cluster in chosen]}
            )
        return AdminResponse(
            "".join(line + "\n" for cluster in chosen for line in _lines(cluster, hosts_of(cluster)))
        )

    return Endpoint(
        "/clusters",
        "upstream cluster status",
        show,
        parameters={
            "filter": "only clusters whose name matches (RE2)",
            "format": "text (default) or json",
        },
    )


def _thresholds(cluster: Cluster, priority: RoutingPriority) -> CircuitBreakerThresholds:
    breakers = cluster.spec.circuit_breakers or {}
    return breakers.get(priority, CircuitBreakerThresholds())


def _lines(cluster: Cluster, hosts: Iterable[ShownHost]) -> list[str]:
    name = cluster.name
    lines = [f"{name}::observability_name::{cluster.spec.stat_name}"]
    for label, priority in (("default", RoutingPriority.DEFAULT), ("high", RoutingPriority.HIGH)):
        thresholds = _thresholds(cluster, priority)
        lines += [f"{name}::{label}_priority::{limit}::{getattr(thresholds, limit)}" for limit in _LIMITS]
    lines.append(f"{name}::added_via_api::false")
    for host in hosts:
        lines += [f"{name}::{host.address}::{field}" for field in _host_fields(host)]
    return lines


def _host_fields(host: ShownHost) -> list[str]:
    numbers = sorted(COUNTERS + GAUGES)
    return [
        *(f"{field}::{getattr(host, field)}" for field in numbers),
        f"hostname::{host.hostname}",
        f"health_flags::{_UNHEALTHY.get(host.health_status, 'healthy')}",
        f"weight::{host.weight}",
        f"region::{host.locality.region}",
        f"zone::{host.locality.zone}",
        f"sub_zone::{host.locality.sub_zone}",
        "canary::false",
        f"priority::{host.priority}",
        "success_rate::-1",
        "local_origin_success_rate::-1",
    ]


def _json(cluster: Cluster, hosts: Iterable[ShownHost]) -> dict[str, object]:
    thresholds: list[dict[str, object]] = []
    for priority in (RoutingPriority.DEFAULT, RoutingPriority.HIGH):
        limits = _thresholds(cluster, priority)
        entry: dict[str, object] = {} if priority is RoutingPriority.DEFAULT else {"priority": priority.name}
        thresholds.append(entry | {limit: getattr(limits, limit) for limit in _LIMITS})
    return {
        "name": cluster.name,
        "host_statuses": [_host_json(host) for host in hosts],
        "circuit_breakers": {"thresholds": thresholds},
        "observability_name": cluster.spec.stat_name,
    }


def _host_json(host: ShownHost) -> dict[str, object]:
    def stat(field: str, kind: str) -> dict[str, object]:
        value = getattr(host, field)
        shown: dict[str, object] = {"type": kind} if kind else {}
        return shown | ({"value": str(value)} if value else {}) | {"name": field}

    locality = {
        field: value for field in ("region", "zone", "sub_zone") if (value := getattr(host.locality, field))
    }
    health = HealthStatus.HEALTHY if host.health_status is HealthStatus.UNKNOWN else host.health_status
    status: dict[str, object] = {
        "address": address_json(host.address),
        "stats": [stat(field, "") for field in COUNTERS] + [stat(field, "GAUGE") for field in GAUGES],
        "health_status": {"eds_health_status": health.name},
        "weight": host.weight,
        "locality": locality,
    }
    if host.hostname:
        status["hostname"] = host.hostname
    if host.priority:
        status["priority"] = host.priority
    return status
