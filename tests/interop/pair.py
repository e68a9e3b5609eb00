"""A client sidecar and a server sidecar with mutual TLS between them, each either this proxy or the real Envoy.

client --plain--> client sidecar --mTLS--> server sidecar --plain--> application
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.backends import HttpBackend, LoopThread, TcpBackend
from tests.support.bootstraps import (
    Json,
    bootstrap,
    cluster,
    downstream_tls,
    http_filter_chain,
    listener,
    route_config,
    route_to,
    tcp_filter_chain,
    upstream_tls,
    uri_san,
)
from tests.support.certificates import TRUST_DOMAIN, Mesh, spiffe
from tests.support.istio_config import (
    istio_stats_filter,
    metadata_header,
    node,
    node_metadata,
    peer_metadata_filter,
)
from tests.support.ports import free_ports
from tests.support.process import Proxy, ProxyCommand, start_proxy

ALPN = ("http/1.1",)


class Application:
    """The application behind the server sidecar: HTTP and TCP servers."""

    def __init__(self) -> None:
        self._loop = LoopThread()
        self.http = HttpBackend(self._loop).start()
        self.lines = TcpBackend(self._loop, "line_echo", prefix="app").start()
        self.echo = TcpBackend(self._loop, "echo").start()
        self.sink = TcpBackend(self._loop, "sink").start()
        self.source = TcpBackend(self._loop, "source").start()

    @property
    def tcp(self) -> Mapping[str, TcpBackend]:
        return {"lines": self.lines, "echo": self.echo, "sink": self.sink, "source": self.source}

    def close(self) -> None:
        for backend in (self.http, *self.tcp.values()):
            backend.stop()
        self._loop.close()


class SidecarPair:
    """Both sidecars, running. Istio's filters are configured only in a proxy of this project.

    An Envoy says who it is by constant header rules instead.
    """

    def __init__(
        self,
        client: ProxyCommand,
        server: ProxyCommand,
        mesh: Mesh,
        application: Application,
        directory: Path,
    ) -> None:
        self._mesh = mesh
        self._application = application
        tcp_names = list(application.tcp)
        self._client_admin, self._server_admin, *ports = free_ports(4 + 2 * len(tcp_names))
        self.http_port, self._server_http_port = ports[:2]
        self.tcp_ports = dict(zip(tcp_names, ports[2::2], strict=True))
        self._server_tcp_ports = dict(zip(tcp_names, ports[3::2], strict=True))
        self.server = start_proxy(
            server,
            self._server_bootstrap(server.name != "envoy"),
            directory,
            self._server_admin,
            name="server",
        )
        try:
            self.client = start_proxy(
                client,
                self._client_bootstrap(client.name != "envoy"),
                directory,
                self._client_admin,
                name="client",
            )
        except BaseException:
            self.server.kill()
            raise

    @property
    def proxies(self) -> tuple[Proxy, Proxy]:
        return self.client, self.server

    def close(self) -> None:
        self.client.terminate()
        self.server.terminate()

    def _server_bootstrap(self, with_istio: bool) -> str:
        tls = downstream_tls(
            self._mesh.leaf("server"),
            self._mesh.root,
            alpn=ALPN,
            sans=[uri_san(prefix=f"spiffe://{TRUST_DOMAIN}/")],
        )
        routes = route_config(route_to("inbound-http", timeout="0s"))
        if not with_istio:
            routes |= _announce("response", "envoy-server")
        chain = http_filter_chain(
            routes,
            stat_prefix="inbound",
            http_filters=[peer_metadata_filter(inbound=True), istio_stats_filter()] if with_istio else [],
            forward_client_cert_details="APPEND_FORWARD",
            set_current_client_cert_details={"uri": True},
        )
        listeners = [
            listener(
                "inbound-http",
                self._server_http_port,
                {**chain, "transport_socket": tls},
                traffic_direction="INBOUND",
            )
        ]
        clusters = [_app_cluster("inbound-http", self._application.http.address)]
        for name, backend in self._application.tcp.items():
            tcp_chain = tcp_filter_chain(f"inbound-{name}", stat_prefix=name)
            if with_istio:
                tcp_chain["filters"].insert(0, istio_stats_filter())
            listeners.append(
                listener(
                    f"inbound-{name}",
                    self._server_tcp_ports[name],
                    {**tcp_chain, "transport_socket": tls},
                    traffic_direction="INBOUND",
                )
            )
            clusters.append(_app_cluster(f"inbound-{name}", backend.address))
        return bootstrap(
            self._server_admin, listeners, clusters, node=node("ratings", service_account="server")
        )

    def _client_bootstrap(self, with_istio: bool) -> str:
        tls = upstream_tls(
            self._mesh.leaf("client"),
            self._mesh.root,
            alpn=ALPN,
            sans=[uri_san(exact=spiffe("server"))],
            sni="server.default.svc.cluster.local",
        )
        routes = route_config(route_to("outbound-http", timeout="0s"))
        if not with_istio:
            routes |= _announce("request", "envoy-client")
        chain = http_filter_chain(
            routes,
            stat_prefix="outbound",
            http_filters=[peer_metadata_filter(inbound=False), istio_stats_filter()] if with_istio else [],
        )
        listeners = [listener("outbound-http", self.http_port, chain, traffic_direction="OUTBOUND")]
        clusters = [_service_cluster("outbound-http", self._server_http_port, tls)]
        for name in self._application.tcp:
            tcp_chain = tcp_filter_chain(f"outbound-{name}", stat_prefix=name)
            if with_istio:
                tcp_chain["filters"].insert(0, istio_stats_filter())
            listeners.append(
                listener(f"outbound-{name}", self.tcp_ports[name], tcp_chain, traffic_direction="OUTBOUND")
            )
            clusters.append(_service_cluster(f"outbound-{name}", self._server_tcp_ports[name], tls))
        return bootstrap(
            self._client_admin, listeners, clusters, node=node("productpage", service_account="client")
        )


_SERVICE: Json = {
    "filter_metadata": {
        "istio": {
            "services": [
                {"host": "server.default.svc.cluster.local", "name": "server", "namespace": "default"}
            ]
        }
    }
}


def _app_cluster(name: str, address: tuple[str, int]) -> Json:
    return cluster(name, address, metadata=_SERVICE)


def _service_cluster(name: str, port: int, tls: Json) -> Json:
    return cluster(name, ("127.0.0.1", port), metadata=_SERVICE, transport_socket=tls)


def _announce(side: str, workload: str) -> dict[str, Sequence[Any]]:
    """Header rules with which an Envoy without Istio's filters tells its metadata."""
    values = {
        "x-envoy-peer-metadata-id": f"{workload}-id",
        "x-envoy-peer-metadata": metadata_header(node_metadata(workload)),
    }
    return {
        f"{side}_headers_to_add": [
            {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for name, value in values.items()
        ]
    }
