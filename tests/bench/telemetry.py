"""What telemetry costs: one proxy, three listeners that differ in nothing else, loaded in turns over HTTP/1.1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench.measure import WARM_UP_SECONDS, Measured, measure_once
from tests.bench.world import BODY_BYTES, wrk
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
_STANDARD_JSON: Json = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}
"""Istio's default JSON access log."""


def measure_telemetry(
    command: ProxyCommand,
    directory: Path,
    *,
    repetitions: int,
    seconds: float,
    connections: int,
    tell: Callable[[str], None],
) -> dict[str, Measured]:
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
            wrk(port, WARM_UP_SECONDS, connections, headers)
        for repetition in range(repetitions):
            order = list(zip(TELEMETRIES, ports, strict=True))
            for name, port in reversed(order) if repetition % 2 else order:
                measured = results[name]
                measure_once(proxy, partial(wrk, port, seconds, connections, headers), measured)
                tell(
                    f"telemetry {name:8} {measured.cpu_per_1000[-1]:.4f} CPU s per 1000, {measured.per_second[-1]:.0f}/s"
                )
    finally:
        proxy.terminate()
        nginx.terminate(1.0)
        collector.stop()
        loop.close()
    return results


def _bootstrap(
    directory: Path, admin_port: int, nginx_port: int, collector_port: int, ports: dict[str, int]
) -> str:
    log: Json = {
        "name": "file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(directory / "telemetry" / "access.log"),
            "log_format": {"json_format": _STANDARD_JSON},
        },
    }
    zipkin: Json = {
        "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
        "collector_cluster": "collector",
        "collector_endpoint": "/api/v2/spans",
        "collector_endpoint_version": "HTTP_JSON",
    }
    manager: Json = {
        "access_log": [log],
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
