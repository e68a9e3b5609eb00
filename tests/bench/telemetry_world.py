"""Proxies with a listener for each part of telemetry that differ in nothing else, and what stands around them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import load, ours
from tests.bench.bootstraps import access_log
from tests.bench.drain import Drain
from tests.bench.rows import OURS
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
from tests.support.process import Proxy, ProxyCommand

#: What is switched on, in the order of the lines. All are measured against the first.
PARTS = ("none", "stats", "access_log", "tracing", "full", "custom")
NONE, STATS, ACCESS_LOG, TRACING, FULL, CUSTOM = PARTS
#: Envoy's build of its own project has not the filters of Istio; its `full` is the access log and tracing.
PARTS_OF_ENVOY = (NONE, ACCESS_LOG, TRACING, FULL)
#: Those that write the log.
LOGGED = (ACCESS_LOG, FULL, CUSTOM)

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


def parts_of(name: str) -> tuple[str, ...]:
    return PARTS if name in OURS else PARTS_OF_ENVOY


def telemetry_bootstrap(
    admin_port: int, ports: dict[str, int], backend_port: int, collector_port: int, log: Path
) -> str:
    """A listener for each part that has a port."""
    zipkin: Json = {
        "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
        "collector_cluster": "collector",
        "collector_endpoint": "/api/v2/spans",
        "collector_endpoint_version": "HTTP_JSON",
    }
    tracing: Json = {
        "random_sampling": {"value": _TRACED_PERCENT},
        "provider": {"name": "envoy.tracers.zipkin", "typed_config": zipkin},
    }
    listeners = [
        listener(
            part,
            port,
            _chain(part, access_log(log), tracing, istio=CUSTOM in ports),
            traffic_direction="INBOUND",
        )
        for part, port in ports.items()
    ]
    clusters = [
        cluster("nginx", ("127.0.0.1", backend_port)),
        cluster("collector", ("127.0.0.1", collector_port)),
    ]
    return bootstrap(admin_port, listeners, clusters, node=node("server"))


def _chain(part: str, log: Json, tracing: Json, *, istio: bool) -> Json:
    manager: dict[str, Any] = {}
    if part in LOGGED:
        manager["access_log"] = [log]
    if part in (TRACING, FULL, CUSTOM):
        manager["tracing"] = tracing
    filters: list[Json] = []
    if istio and part in (STATS, FULL, CUSTOM):
        metrics = [{"dimensions": _DIMENSIONS}] if part == CUSTOM else []
        filters = [peer_metadata_filter(inbound=True), istio_stats_filter(metrics=metrics)]
    return http_filter_chain(
        route_config(route_to("nginx")), stat_prefix=part, http_filters=filters, **manager
    )


@dataclass(eq=False)
class Stage:
    """A proxy with its listeners and the reader of its log."""

    proxy: Proxy
    ports: dict[str, int]
    drain: Drain
    headers: list[str]
    logged_requests: int = 0
    """Answers to requests that are to be in the log."""

    def load(self, part: str, seconds: float, connections: int, per_second: int = 0) -> load.Answered:
        """Over HTTP/1.1. `per_second` 0: as fast as it goes."""
        port = self.ports[part]
        if per_second:
            answered = load.h2load(
                port,
                seconds=seconds,
                connections=connections,
                headers=self.headers,
                http1=True,
                per_second=per_second,
            )
        else:
            answered = load.wrk(port, seconds, connections, self.headers)
        if part in LOGGED:
            self.logged_requests += int(answered.count)
        return answered

    def end(self) -> float:
        """The lines that have reached the reader, for each answer that a client has got; it may be a little above 1."""
        self.proxy.terminate()
        return self.drain.end() / max(self.logged_requests, 1)


class TelemetryWorld:
    """The backend and the collector of spans. Use as a context manager, which ends all stages, too."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._stack = ExitStack()
        self._backend_port = free_ports(1)[0]
        self.backend = start_nginx(directory, self._backend_port, "x" * BODY_BYTES)
        self._stack.callback(self.backend.terminate, 1.0)
        loop = LoopThread()
        self._stack.callback(loop.close)
        self._collector = HttpBackend(loop).start()
        self._stack.callback(self._collector.stop)
        peer = metadata_header(node_metadata("caller"))
        self._headers = [
            f"x-envoy-peer-metadata: {peer}",
            "x-envoy-peer-metadata-id: caller-id",
            "user-agent: bench",
        ]

    def __enter__(self) -> TelemetryWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, command: ProxyCommand, concurrency: int = 1) -> Stage:
        """A proxy with a listener for each part that it can do."""
        parts = parts_of(command.name)
        admin_port, *ports = free_ports(1 + len(parts))
        by_part = dict(zip(parts, ports, strict=True))
        name = f"{command.name}-{concurrency}"
        log = self._directory / f"{name}.pipe"
        drain = Drain(log)
        self._stack.callback(drain.terminate, 1.0)
        text = telemetry_bootstrap(admin_port, by_part, self._backend_port, self._collector.address[1], log)
        proxy = ours.start(command, text, self._directory, admin_port, name=name, concurrency=concurrency)
        self._stack.callback(proxy.terminate, 1.0)
        return Stage(proxy, by_part, drain, self._headers)
