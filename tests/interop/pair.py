"""A client sidecar and a server sidecar with mutual TLS between them, each either this proxy or the real Envoy.

client --plain--> client sidecar --mTLS, HTTP/1.1 or HTTP/2--> server sidecar --plain--> application
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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

SERVICE_HOST = "server.default.svc.cluster.local"


@dataclass(frozen=True)
class Between:
    """What the sidecars speak with each other: the protocol, what the client offers, what the server takes."""

    name: str
    offered: Sequence[str]
    accepted: Sequence[str]
    cluster_options: Json = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


HTTP1 = Between("HTTP/1.1", ("http/1.1",), ("http/1.1",))
H2 = Between("HTTP/2", ("h2",), ("h2",), {"http2_protocol_options": {"allow_connect": True}})
ISTIO_H2 = replace(
    H2, name="HTTP/2 of the mesh", offered=("istio-h2", "istio", "h2"), accepted=("h2", "http/1.1")
)


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

    An Envoy says who it is by constant header rules instead. `http` is the address of the application when it is not that
    of `application`; `manager` goes into the connection managers of both, `clusters` and `runtime` into their bootstraps.
    """

    def __init__(
        self,
        client: ProxyCommand,
        server: ProxyCommand,
        mesh: Mesh,
        application: Application,
        directory: Path,
        between: Between = HTTP1,
        *,
        http: tuple[str, int] | None = None,
        manager: Mapping[str, Any] | None = None,
        clusters: Sequence[Json] = (),
        runtime: Mapping[str, Any] | None = None,
    ) -> None:
        self._mesh = mesh
        self._application = application
        self._between = between
        self._http = http or application.http.address
        self._manager = dict(manager or {})
        self._clusters = list(clusters)
        self._runtime = runtime
        tcp_names = list(application.tcp)
        self._client_admin, self._server_admin, *ports = free_ports(4 + 2 * len(tcp_names))
        self.http_port, self._server_http_port = ports[:2]
        self.tcp_ports = dict(zip(tcp_names, ports[2::2], strict=True))
        self._server_tcp_ports = dict(zip(tcp_names, ports[3::2], strict=True))
        self.client, self.server = start_pair(
            (client, self._client_bootstrap(has_istio_filters(client)), self._client_admin),
            (server, self._server_bootstrap(has_istio_filters(server)), self._server_admin),
            directory,
        )

    @property
    def proxies(self) -> tuple[Proxy, Proxy]:
        return self.client, self.server

    def close(self) -> None:
        self.client.terminate()
        self.server.terminate()

    def _server_bootstrap(self, with_istio: bool) -> str:
        tls = server_tls(self._mesh, self._between.accepted)
        routes = route_config(route_to("inbound-http", timeout="0s"))
        if not with_istio:
            routes |= announce("response", "envoy-server")
        chain = http_filter_chain(
            routes,
            stat_prefix="inbound",
            http_filters=[peer_metadata_filter(inbound=True), istio_stats_filter()] if with_istio else [],
            forward_client_cert_details="APPEND_FORWARD",
            set_current_client_cert_details={"uri": True},
            **self._manager,
        )
        listeners = [
            listener(
                "inbound-http",
                self._server_http_port,
                {**chain, "transport_socket": tls},
                traffic_direction="INBOUND",
            )
        ]
        clusters = [service_cluster("inbound-http", self._http)]
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
            clusters.append(service_cluster(f"inbound-{name}", backend.address))
        return bootstrap(
            self._server_admin,
            listeners,
            [*clusters, *self._clusters],
            node=node("ratings", service_account="server"),
            runtime=self._runtime,
        )

    def _client_bootstrap(self, with_istio: bool) -> str:
        tls = client_tls(self._mesh, self._between.offered)
        routes = route_config(route_to("outbound-http", timeout="0s"))
        if not with_istio:
            routes |= announce("request", "envoy-client")
        chain = http_filter_chain(
            routes,
            stat_prefix="outbound",
            http_filters=[peer_metadata_filter(inbound=False), istio_stats_filter()] if with_istio else [],
            **self._manager,
        )
        listeners = [listener("outbound-http", self.http_port, chain, traffic_direction="OUTBOUND")]
        clusters = [
            service_cluster(
                "outbound-http",
                ("127.0.0.1", self._server_http_port),
                transport_socket=tls,
                **self._between.cluster_options,
            )
        ]
        for name in self._application.tcp:
            tcp_chain = tcp_filter_chain(f"outbound-{name}", stat_prefix=name)
            if with_istio:
                tcp_chain["filters"].insert(0, istio_stats_filter())
            listeners.append(
                listener(f"outbound-{name}", self.tcp_ports[name], tcp_chain, traffic_direction="OUTBOUND")
            )
            clusters.append(
                service_cluster(
                    f"outbound-{name}", ("127.0.0.1", self._server_tcp_ports[name]), transport_socket=tls
                )
            )
        return bootstrap(
            self._client_admin,
            listeners,
            [*clusters, *self._clusters],
            node=node("productpage", service_account="client"),
            runtime=self._runtime,
        )


def has_istio_filters(command: ProxyCommand) -> bool:
    """Whether the program knows Istio's extensions: the real Envoy does not, whatever place it stands in."""
    return Path(command.argv[0]).name != "envoy"


def start_pair(
    client: tuple[ProxyCommand, str, int],
    server: tuple[ProxyCommand, str, int],
    directory: Path,
    extra: Sequence[str] = (),
) -> tuple[Proxy, Proxy]:
    """Start both, each given with its bootstrap and admin port. When one does not start, none is left running."""
    started = start_proxy(server[0], server[1], directory, server[2], name="server", extra=extra)
    try:
        return start_proxy(client[0], client[1], directory, client[2], name="client", extra=extra), started
    except BaseException:
        started.kill()
        raise


def server_tls(mesh: Mesh, alpn: Sequence[str]) -> Json:
    """The transport socket of the server sidecar: whoever is of the mesh may call."""
    return downstream_tls(
        mesh.leaf("server"), mesh.root, alpn=alpn, sans=[uri_san(prefix=f"spiffe://{TRUST_DOMAIN}/")]
    )


def client_tls(mesh: Mesh, alpn: Sequence[str]) -> Json:
    """The transport socket of the client sidecar: nobody but the server may answer."""
    return upstream_tls(
        mesh.leaf("client"),
        mesh.root,
        alpn=alpn,
        sans=[uri_san(exact=spiffe("server"))],
        sni=SERVICE_HOST,
    )


def service_cluster(name: str, address: tuple[str, int], **fields: Any) -> Json:
    """A cluster with the metadata that Istio gives the clusters of a service."""
    service = {"host": SERVICE_HOST, "name": "server", "namespace": "default"}
    return cluster(name, address, metadata={"filter_metadata": {"istio": {"services": [service]}}}, **fields)


def announce(side: str, workload: str) -> dict[str, Sequence[Any]]:
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
