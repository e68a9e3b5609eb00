"""Streams as the label vectors describe them."""

from __future__ import annotations

from typing import Any

from config.model.core import Metadata, Node, SocketAddress
from protocols.http.headers import Headers
from protocols.peer_metadata import PeerMetadata
from sidecar.stream_info import (
    ConnectionInfo,
    ResponseFlag,
    StreamInfo,
    TlsInfo,
    UpstreamConnectionState,
    UpstreamInfo,
)
from sidecar.telemetry.istio import LabelRules, LocalWorkload, ReporterSide
from stats.istio import NAMESPACE, IstioMetrics
from stats.store import Store
from tests.support.peer_certificates import peer_certificate

_FLAGS = {
    "UF": ResponseFlag.UPSTREAM_CONNECTION_FAILURE,
    "DC": ResponseFlag.DOWNSTREAM_CONNECTION_TERMINATION,
}
_FLAGS |= {"UH": ResponseFlag.NO_HEALTHY_UPSTREAM, "-": 0}
_MEMBERS = {"name": "instance_name", "service": "canonical_name", "revision": "canonical_revision"}


def address(port: int = 80) -> SocketAddress:
    return SocketAddress("127.0.0.1", port)


def peer_of(struct: dict[str, str] | None) -> PeerMetadata | None:
    if struct is None:
        return None
    members: dict[str, Any] = {_MEMBERS.get(key, key): value for key, value in struct.items()}
    return PeerMetadata(**members)


def tls_info(peer_uris: list[str], local_uris: list[str]) -> TlsInfo | None:
    """As much of a handshake as labels look at."""
    if not peer_uris and not local_uris:
        return None
    info = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", "")
    info.peer = peer_certificate(uri_sans=tuple(peer_uris)) if peer_uris else None
    info.local = peer_certificate(uri_sans=tuple(local_uris)) if local_uris else None
    return info


def new_stream() -> StreamInfo:
    return StreamInfo(ConnectionInfo(address(50000), address()), 0.0, 1_000_000)


def stream_of(case: dict[str, Any]) -> StreamInfo:
    stream = new_stream()
    connection = stream.connection
    upstream = stream.upstream = UpstreamInfo()
    upstream.connection_state = UpstreamConnectionState()
    source = case["reporter"] == "source"
    tls = tls_info(case["tls"]["peer_uri_sans"], case["tls"]["local_uri_sans"])
    if source:
        upstream.tls = tls
    else:
        connection.tls = tls
    connection.peer_principal = case["filter_state_principals"]["peer"]
    connection.local_principal = case["filter_state_principals"]["local"]
    _put_peers(case, stream, source)
    if case["endpoint_workload"]:
        upstream.host_metadata = Metadata({"istio": {"workload": case["endpoint_workload"]}})
    stream.route_name = case["route_name"]
    cluster = case["cluster"] or {}
    stream.cluster_name = cluster.get("name", "")
    services = cluster.get("services")
    stream.cluster_metadata = Metadata({"istio": {"services": services}} if services is not None else {})
    _put_message(case, stream)
    return stream


def _put_peers(case: dict[str, Any], stream: StreamInfo, source: bool) -> None:
    peer = peer_of(case["peer"])
    tcp = case["protocol"] == "tcp"
    if not source:
        if tcp:
            stream.connection.downstream_peer = peer
        else:
            stream.downstream_peer = peer
        stream.upstream_peer = peer_of(case["waypoint_upstream_peer"])
    elif tcp:
        assert stream.upstream is not None
        assert stream.upstream.connection_state is not None
        stream.upstream.connection_state.upstream_peer = peer
    else:
        stream.upstream_peer = peer


def _put_message(case: dict[str, Any], stream: StreamInfo) -> None:
    response = case["response"]
    stream.response_code = response["code"] or 0
    stream.add_flag(_FLAGS[response["flags"]])
    if case["protocol"] == "tcp":
        return
    fields = [(b"content-type", b"application/grpc")] if case["protocol"].startswith("grpc") else []
    authority = (case["host_header"] or "").encode()
    stream.request_headers = Headers.request(b"POST", b"/a.B/c", authority, fields)
    stream.response_headers = Headers.response(stream.response_code)
    if response["grpc_status"] is not None:
        stream.response_trailers = Headers([(b"grpc-status", str(response["grpc_status"]).encode())])


def rules_of(case: dict[str, Any], store: Store) -> tuple[IstioMetrics, LabelRules]:
    metrics = IstioMetrics(store.scope(NAMESPACE))
    local = LocalWorkload.from_node(Node(metadata=case["node_metadata"]))
    rules = LabelRules(
        metrics, local, ReporterSide(case["reporter"]), case["config"]["disable_host_header_fallback"]
    )
    return metrics, rules
