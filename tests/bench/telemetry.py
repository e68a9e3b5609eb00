"""What telemetry costs: one proxy, three listeners that differ in nothing else, loaded in turns over HTTP/1.1."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

from tests.bench import load
from tests.bench.bootstraps import access_log
from tests.bench.measure import WARM_UP_SECONDS, Measured, Tell, measure_once
from tests.bench.results import Samples
from tests.bench.world import BODY_BYTES
from tests.support.backends import HttpBackend, LoopThread
from tests.support.bootstraps import (
    Json,
    bootstrap,
    cluster,
    http_filter_chain,
    listener,
    route_config,
    route_to,
)
from tests.support.istio_config import (
    istio_stats_filter,
    metadata_header,
    node,
    node_metadata,
    peer_metadata_filter,
)
from tests.support.nginx import start_nginx
from tests.support.ports import free_ports
from tests.support.process import ProxyCommand, start_proxy

#: What is measured, against the first.
TELEMETRIES = ("off", "full", "custom")

_TRACED_PERCENT = 1.0
#: Ten labels as people configure them: attributes, alternatives, conditions, and one that needs the whole language.
_DIMENSIONS: Json = {
    "request_host": "request.host",
    "request_method": "request.method",
    "url_path": "request.url_path",
    "user_agent": "request.headers['user-agent']",
    "tenant": "'x-tenant' in request.headers ? request.headers['x-tenant'] : 'none'",
    "status_class": "response.code < 400 ? 'ok' : 'failed'",
    "from_mesh": "filter_state.downstream_peer.workload != '' ? 'yes' : 'no'",
    "peer": "filter_state.downstream_peer.workload",
    "route": "xds.route_name",
    "size_class": "string(response.size / 1024)",
}


def measure_telemetry(
    command: ProxyCommand,
    directory: Path,
    *,
    repetitions: int,
    seconds: float,
    connections: int,
    tell: Tell,
) -> Samples:
    """Telemetry to its measurements."""
    nginx_port, admin_port, *ports = free_ports(2 + len(TELEMETRIES))
    loop = LoopThread()
    collector = HttpBackend(loop).start()
    (directory / "telemetry").mkdir()
    nginx = start_nginx(directory / "telemetry", nginx_port, "x" * BODY_BYTES)
    text = _bootstrap(
        directory, admin_port, nginx_port, collector.address[1], dict(zip(TELEMETRIES, ports, strict=True))
    )
    proxy = start_proxy(command, text, directory, admin_port, name="telemetry")
    results = {name: Measured() for name in TELEMETRIES}
    peer = metadata_header(node_metadata("caller"))
    headers = [f"x-envoy-peer-metadata: {peer}", "x-envoy-peer-metadata-id: caller-id", "user-agent: bench"]
    try:
        for port in ports:
            load.wrk(port, WARM_UP_SECONDS, connections, headers)
        for repetition in range(repetitions):
            order = list(zip(TELEMETRIES, ports, strict=True))
            for name, port in reversed(order) if repetition % 2 else order:
                measured = results[name]
                measure_once(proxy, partial(load.wrk, port, seconds, connections, headers), 1000, measured)
                tell(
                    f"telemetry {name:8} {measured.cost[-1]:.4f} CPU s per 1000, {measured.rate[-1] * 1000:.0f}/s"
                )
    finally:
        proxy.terminate()
        nginx.terminate(1.0)
        collector.stop()
        loop.close()
    return {name: asdict(measured) for name, measured in results.items()}


def _bootstrap(
    directory: Path, admin_port: int, nginx_port: int, collector_port: int, ports: dict[str, int]
) -> str:
    zipkin: Json = {
        "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
        "collector_cluster": "collector",
        "collector_endpoint": "/api/v2/spans",
        "collector_endpoint_version": "HTTP_JSON",
    }
    manager: Json = {
        "access_log": [access_log(directory / "telemetry" / "access.log")],
        "tracing": {
            "random_sampling": {"value": _TRACED_PERCENT},
            "provider": {"name": "zipkin", "typed_config": zipkin},
        },
    }
    custom = istio_stats_filter(metrics=[{"dimensions": _DIMENSIONS}])
    exchange = peer_metadata_filter(inbound=True)
    chains = {
        "off": http_filter_chain(_routes(), stat_prefix="off"),
        "full": http_filter_chain(
            _routes(), stat_prefix="full", http_filters=[exchange, istio_stats_filter()], **manager
        ),
        "custom": http_filter_chain(
            _routes(), stat_prefix="custom", http_filters=[exchange, custom], **manager
        ),
    }
    listeners = [
        listener(name, ports[name], chain, traffic_direction="INBOUND") for name, chain in chains.items()
    ]
    clusters = [
        cluster("nginx", ("127.0.0.1", nginx_port)),
        cluster("collector", ("127.0.0.1", collector_port)),
    ]
    return bootstrap(admin_port, listeners, clusters, node=node("server"))


def _routes() -> Json:
    return route_config(route_to("nginx"))
