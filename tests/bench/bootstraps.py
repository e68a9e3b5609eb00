"""The bootstraps of the measured proxies: the same text for this proxy and for Envoy, but for what Envoy has not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.bench.rows import SECURED
from tests.support.bootstraps import (
    Json,
    bootstrap,
    cluster,
    downstream_tls,
    http_filter_chain,
    http_options,
    listener,
    route_config,
    route_to,
    tcp_filter_chain,
    upstream_tls,
    uri_san,
)
from tests.support.certificates import TRUST_DOMAIN, Mesh, spiffe
from tests.support.istio_config import ISTIO_JSON, extension, istio_stats_filter, node, peer_metadata_filter

Ports = Mapping[str, int]

HTTP2: Json = http_options(explicit_http_config={"http2_protocol_options": {}})
#: Envoy's defaults stop at 1024 connections and waiting requests.
NO_BREAKERS: Json = {
    "circuit_breakers": {
        "thresholds": [{"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}]
    }
}
#: What sidecars of the mesh offer and accept, by Istio's names.
_MESH_HTTP1_ALPN = ("istio-http/1.1", "istio", "http/1.1")
START_LISTENERS = 50


def tls_port(path: str) -> str:
    """The name of the port on which a proxy accepts mutual TLS for a row of `SECURED`."""
    return f"tls:{path}"


def _server_tls(mesh: Mesh, *alpn: str) -> Json:
    """The part of a filter chain that accepts the mesh's clients."""
    sans = [uri_san(prefix=f"spiffe://{TRUST_DOMAIN}/")]
    socket = downstream_tls(mesh.leaf("server"), mesh.root, alpn=[name for name in alpn if name], sans=sans)
    return {"transport_socket": socket}


def _client_tls(mesh: Mesh, *alpn: str) -> Json:
    """The part of a cluster that connects to the server's sidecar."""
    sans = [uri_san(exact=spiffe("server"))]
    socket = upstream_tls(mesh.leaf("client"), mesh.root, alpn=[name for name in alpn if name], sans=sans)
    return {"transport_socket": socket}


def proxy_bootstrap(mesh: Mesh, ports: Ports, backends: Ports, *, istio: bool = False) -> str:
    """A proxy with all rows. `istio`: with metadata exchange and metrics, which Envoy has not; of TCP only the metrics."""
    inbound = [peer_metadata_filter(inbound=True), istio_stats_filter()] if istio else []
    outbound = [peer_metadata_filter(inbound=False), istio_stats_filter()] if istio else []
    plain = http_filter_chain(route_config(route_to("http")), stat_prefix="inbound", http_filters=inbound)
    secure = http_filter_chain(route_config(route_to("https")), stat_prefix="outbound", http_filters=outbound)
    grpc = http_filter_chain(route_config(route_to("grpc")), stat_prefix="grpc", http_filters=inbound)
    echo, bulk = tcp_filter_chain("echo"), tcp_filter_chain("bulk", stat_prefix="bulk")
    if istio:
        for chain in (echo, bulk):
            chain["filters"].insert(0, istio_stats_filter())
    chains = {
        "http": plain,
        "mtls": plain,
        "mtls_client": secure,
        "h2": plain,
        "h2_mtls": plain,
        "grpc": grpc,
        "grpc_mtls": grpc,
        "tcp": echo,
        "tcp_bulk": bulk,
        "tcp_bulk_mtls": bulk,
    }
    listeners = [
        listener(
            path,
            ports[tls_port(path) if path in SECURED else path],
            {**chain, **_server_tls(mesh, SECURED[path])} if path in SECURED else chain,
            traffic_direction="OUTBOUND" if path == "mtls_client" else "INBOUND",
        )
        for path, chain in chains.items()
    ]
    clusters = [
        cluster("http", _local(backends["http"])),
        cluster("https", _local(backends["https"]), **_client_tls(mesh)),
        cluster("grpc", _local(backends["grpc"]), **HTTP2),
        cluster("echo", _local(backends["echo"])),
        cluster("bulk", _local(backends["bulk"])),
    ]
    return bootstrap(ports["admin"], listeners, clusters, node=node("server"))


def client_bootstrap(mesh: Mesh, admin_port: int, competitors: Mapping[str, Ports]) -> str:
    """The sidecar of the clients, in front of the TLS ports of all competitors."""
    listeners, clusters = [], []
    for name, ports in competitors.items():
        for path, alpn in SECURED.items():
            target = f"{name}-{path}"
            if path.startswith("tcp"):
                chain = tcp_filter_chain(target, stat_prefix=target)
            else:
                chain = http_filter_chain(route_config(route_to(target)), stat_prefix=target)
            listeners.append(listener(target, ports[path], chain))
            options = HTTP2 if alpn == "h2" else {}
            clusters.append(
                cluster(target, _local(ports[tls_port(path)]), **_client_tls(mesh, alpn), **options)
            )
    return bootstrap(admin_port, listeners, clusters)


def pair_bootstraps(
    mesh: Mesh, ports: Ports, backend_port: int, directory: Path, *, istio: bool
) -> dict[str, str]:
    """`client` and `server`: a pair of sidecars as Istio configures them. `istio`: with its filters, which Envoy has not.

    `ports`: `entry` where the application calls, `tls` between the two, `client` and `server` of the admin pages.
    """
    outbound, inbound = _istio_filters(inbound=False), _istio_filters(inbound=True)
    client_chain = http_filter_chain(
        route_config(route_to("server")),
        stat_prefix="outbound",
        http_filters=outbound if istio else (),
        access_log=[access_log(directory / "client-access.log")],
    )
    server_chain = http_filter_chain(
        route_config(route_to("application")),
        stat_prefix="inbound",
        http_filters=inbound if istio else (),
        access_log=[access_log(directory / "server-access.log")],
        forward_client_cert_details="APPEND_FORWARD",
        set_current_client_cert_details={"subject": True, "dns": True, "uri": True},
    )
    to_server = cluster("server", _local(ports["tls"]), **_client_tls(mesh, *_MESH_HTTP1_ALPN))
    secured = {**server_chain, **_server_tls(mesh, *_MESH_HTTP1_ALPN)}
    return {
        "client": bootstrap(
            ports["client"],
            [listener("outbound", ports["entry"], client_chain, traffic_direction="OUTBOUND")],
            [to_server],
            node=node("client"),
        ),
        "server": bootstrap(
            ports["server"],
            [listener("inbound", ports["tls"], secured, traffic_direction="INBOUND")],
            [cluster("application", _local(backend_port))],
            node=node("server"),
        ),
    }


def _istio_filters(*, inbound: bool) -> list[Json]:
    alpn = extension(
        "istio.alpn",
        "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        {"alpn_override": [{"upstream_protocol": "HTTP11", "alpn_override": list(_MESH_HTTP1_ALPN)}]},
    )
    exchange = peer_metadata_filter(inbound=inbound)
    return [exchange, istio_stats_filter()] if inbound else [exchange, alpn, istio_stats_filter()]


def access_log(path: Path) -> Json:
    """Istio's default access log as JSON."""
    return {
        "name": "file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(path),
            "log_format": {"json_format": ISTIO_JSON},
        },
    }


def answering_bootstrap(admin_port: int, ports: list[int], mesh: Mesh | None = None) -> str:
    """A listener on each port that answers by itself; behind mutual TLS with a mesh."""
    chain = http_filter_chain(route_config({"match": {"prefix": "/"}, "direct_response": {"status": 200}}))
    if mesh is not None:
        chain = {**chain, **_server_tls(mesh, "http/1.1")}
    return bootstrap(admin_port, [listener(f"http-{port}", port, chain) for port in ports])


def relaying_bootstrap(admin_port: int, port: int, backend_port: int) -> str:
    """One listener that relays everything to one backend."""
    chain = http_filter_chain(route_config(route_to("http")))
    return bootstrap(
        admin_port, [listener("http", port, chain)], [cluster("http", _local(backend_port), **NO_BREAKERS)]
    )


def start_bootstrap(admin_port: int, ports: list[int], mesh: Mesh, backend_port: int) -> str:
    """As of a sidecar in a small mesh: for each port a listener with a route, and a cluster behind mutual TLS."""
    listeners, clusters = [], []
    for number, port in enumerate(ports):
        name = f"outbound|80||service-{number}.default.svc.cluster.local"
        chain = http_filter_chain(route_config(route_to(name), name=name), stat_prefix=name)
        listeners.append(listener(name, port, chain))
        clusters.append(cluster(name, _local(backend_port), **_client_tls(mesh, *_MESH_HTTP1_ALPN)))
    return bootstrap(admin_port, listeners, clusters)


def _local(port: int) -> tuple[str, int]:
    return ("127.0.0.1", port)
