"""Sidecars in front of the gRPC server: one alone, or two with mutual TLS and HTTP/2 between them.

client --plain HTTP/2--> client sidecar --mTLS, h2--> server sidecar --plain HTTP/2--> server

The name of a service chooses what happens to a call, so that each failure has its place (see below).
"""

from __future__ import annotations

import socket
from pathlib import Path

from tests.interop.pair import (
    announce,
    client_tls,
    has_istio_filters,
    server_tls,
    service_cluster,
    start_pair,
)
from tests.support.bootstraps import (
    Json,
    bootstrap,
    http_filter_chain,
    listener,
    route_config,
    route_to,
)
from tests.support.certificates import Mesh
from tests.support.envoy import require_envoy
from tests.support.istio_config import istio_stats_filter, node, peer_metadata_filter
from tests.support.ports import free_ports
from tests.support.process import Proxy, ProxyCommand, sidecar_command, start_proxy

TOPOLOGIES = ("ours", "ours to ours", "envoy to ours", "ours to envoy")

#: Services that do not reach the server, and what is in their way.
UNREACHABLE = "far.Unreachable"
"""The last sidecar has a cluster at whose address nobody listens."""
UNREACHABLE_NEAR = "near.Unreachable"
"""The same in the first sidecar."""
NO_CLUSTER = "near.NoCluster"
"""The first sidecar has a route to a cluster that does not exist."""
NO_ROUTE = "near.NoRoute"
"""The first sidecar has no route."""
DEADLINE = "near.Deadline"
"""Nobody answers; the first sidecar keeps the deadline of the call, as the routes of Istio ask."""
TIMEOUT = "near.Timeout"
"""Nobody answers, and the route has a timeout."""
ROUTE_TIMEOUT_S = 0.3

_GRPC_STATS = "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"
_FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
_LOG_FIELDS = "%REQ(X-LOG)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %GRPC_STATUS_NUMBER% %RESPONSE_FLAGS%\n"
_FLUSH = ("--file-flush-interval-msec", "50")
_ALPN = "h2"
_ISTIO_ALPN = ("istio-h2", "istio", "h2")
_H2: Json = {"http2_protocol_options": {}}


class GrpcMesh:
    """The sidecars of one topology, running. `client` and `server` are one when there is one alone."""

    def __init__(
        self, topology: str, server_address: tuple[str, int], directory: Path, *, tick: str = "5s"
    ) -> None:
        self._directory = directory
        self._app = server_address
        self._tick = tick
        self._client_admin, self._server_admin, entry, self._between, self._nobody, silent = free_ports(6)
        self.address = ("127.0.0.1", entry)
        self._silent = socket.create_server(("127.0.0.1", silent))
        try:
            self.client, self.server = self._start(topology)
        except BaseException:
            self._silent.close()
            raise

    def _start(self, topology: str) -> tuple[Proxy, Proxy]:
        names = topology.split(" to ")
        commands = [sidecar_command() if name == "ours" else require_envoy() for name in names]
        if len(commands) == 1:
            text = self._client_bootstrap(commands[0], None)
            alone = start_proxy(
                commands[0], text, self._directory, self._client_admin, name="client", extra=_FLUSH
            )
            return alone, alone
        mesh = Mesh(self._directory)
        offered = (_ALPN,) if topology == "ours to ours" else _ISTIO_ALPN
        return start_pair(
            (commands[0], self._client_bootstrap(commands[0], client_tls(mesh, offered)), self._client_admin),
            (commands[1], self._server_bootstrap(commands[1], server_tls(mesh, [_ALPN])), self._server_admin),
            self._directory,
            _FLUSH,
        )

    @property
    def proxies(self) -> tuple[Proxy, ...]:
        """Each proxy once, the one next to the client first."""
        return (self.client,) if self.client is self.server else (self.client, self.server)

    def close(self) -> None:
        for proxy in self.proxies:
            proxy.terminate()
        self._silent.close()

    def access_log(self, proxy: Proxy) -> list[str]:
        """The lines of the calls that have ended: metadata `x-log`, path, protocol, HTTP and gRPC status, flags."""
        name = "outbound" if proxy is self.client else "inbound"
        path = self._directory / f"{name}.log"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def _client_bootstrap(self, command: ProxyCommand, tls: Json | None) -> str:
        if tls is None:
            out = service_cluster("outbound-grpc", self._app, **_H2)
            last = [route_to("nobody", prefix=f"/{UNREACHABLE}/")]
        else:
            between = ("127.0.0.1", self._between)
            out = service_cluster("outbound-grpc", between, transport_socket=tls, **_H2)
            last = [route_to("outbound-grpc", prefix=f"/{UNREACHABLE}/", timeout="0s")]
        routes = route_config(
            *last,
            route_to("nobody", prefix=f"/{UNREACHABLE_NEAR}/"),
            route_to("missing", prefix=f"/{NO_CLUSTER}/"),
            route_to("silent", prefix=f"/{DEADLINE}/", timeout="0s", max_grpc_timeout="0s"),
            route_to("silent", prefix=f"/{TIMEOUT}/", timeout=f"{ROUTE_TIMEOUT_S}s"),
            *(route_to("outbound-grpc", prefix=prefix, timeout="0s") for prefix in ("/test.", "/grpc")),
        )
        chain = self._chain(command, routes, "outbound")
        return bootstrap(
            self._client_admin,
            [listener("outbound", self.address[1], chain, traffic_direction="OUTBOUND")],
            [out, self._nobody_cluster(), service_cluster("silent", self._silent.getsockname(), **_H2)],
            node=node("productpage", service_account="client"),
        )

    def _server_bootstrap(self, command: ProxyCommand, tls: Json) -> str:
        routes = route_config(
            route_to("nobody", prefix=f"/{UNREACHABLE}/"), route_to("inbound-grpc", timeout="0s")
        )
        chain = {**self._chain(command, routes, "inbound"), "transport_socket": tls}
        return bootstrap(
            self._server_admin,
            [listener("inbound", self._between, chain, traffic_direction="INBOUND")],
            [service_cluster("inbound-grpc", self._app, **_H2), self._nobody_cluster()],
            node=node("ratings", service_account="server"),
        )

    def _chain(self, command: ProxyCommand, routes: Json, name: str) -> Json:
        inbound = name == "inbound"
        filters = [_grpc_stats_filter()]
        if has_istio_filters(command):
            filters += [
                peer_metadata_filter(inbound=inbound),
                istio_stats_filter(tcp_reporting_duration=self._tick),
            ]
        else:
            routes |= announce(
                "response" if inbound else "request", f"envoy-{'server' if inbound else 'client'}"
            )
        return http_filter_chain(
            {**routes, "validate_clusters": False},
            stat_prefix=name,
            http_filters=filters,
            access_log=[_access_log(self._directory / f"{name}.log")],
        )

    def _nobody_cluster(self) -> Json:
        return service_cluster("nobody", ("127.0.0.1", self._nobody), **_H2)


def _grpc_stats_filter() -> Json:
    config = {"@type": _GRPC_STATS, "emit_filter_state": True, "stats_for_all_methods": False}
    return {"name": "envoy.filters.http.grpc_stats", "typed_config": config}


def _access_log(path: Path) -> Json:
    config = {
        "@type": _FILE_LOG,
        "path": str(path),
        "log_format": {"text_format_source": {"inline_string": _LOG_FIELDS}},
    }
    return {"name": "envoy.access_loggers.file", "typed_config": config}
