"""Streams with something in every attribute."""

from __future__ import annotations

from config.model.core import Locality, Metadata, Node, SocketAddress, TrafficDirection
from protocols.http.headers import Headers
from protocols.peer_metadata import PeerMetadata
from sidecar.expressions.attributes import Scope
from sidecar.stream_info import (
    ConnectionInfo,
    StreamInfo,
    TlsInfo,
    UpstreamConnectionState,
    UpstreamInfo,
)
from tests.support.peer_certificates import peer_certificate

NODE = Node(
    "sidecar~1",
    "productpage",
    {"LABELS": {"app": "productpage", "role": None}, "NAMESPACE": "default", "PORTS": [80.0, 443.0]},
    Locality("eu", "eu-1", "a"),
)
SCOPE = Scope(NODE)

CLIENT = PeerMetadata(
    workload="client-v1",
    namespace="default",
    cluster="c1",
    instance_name="client-1",
    labels=(("role", "shop"),),
)
SERVER = PeerMetadata(workload="server-v1", canonical_name="server")


def tls() -> TlsInfo:
    info = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", "h2")
    info.peer = peer_certificate(
        subject="CN=client",
        uri_sans=("spiffe://td/ns/a/sa/b", "spiffe://other"),
        dns_sans=("client.example",),
        sha256="ab" * 32,
    )
    info.local = peer_certificate(subject="CN=server", uri_sans=("spiffe://td/ns/a/sa/server",), dns_sans=())
    return info


def connection() -> ConnectionInfo:
    info = ConnectionInfo(
        SocketAddress("10.0.0.1", 50000), SocketAddress("10.0.0.2", 8080), "inbound", TrafficDirection.INBOUND
    )
    info.requested_server_name = "server.example"
    info.filter_chain_name = "chain"
    return info


def http_stream() -> StreamInfo:
    """A request that was answered 200."""
    link = connection()
    link.tls = tls()
    info = StreamInfo(link, 1_600_000_000.25, 1_000_000_000)
    info.protocol = "HTTP/1.1"
    info.end_ns = 1_012_500_000
    info.request_headers = Headers.request(
        b"GET",
        b"/a/b?x=1#end",
        b"shop.example:8080",
        [(b"user-agent", b"curl"), (b"x-many", b"1"), (b"x-many", b"2"), (b"x-raw", b"\xff")],
    )
    info.response_headers = Headers.response(200, [(b"content-type", b"application/grpc"), (b"server", b"e")])
    info.response_trailers = Headers([(b"grpc-status", b"7")])
    info.response_code = 200
    info.response_code_details = "via_upstream"
    info.bytes_received, info.bytes_sent = 10, 20
    info.route_name, info.virtual_host_name = "client_route", "any"
    info.route_metadata = Metadata({"route": {"tier": "gold"}})
    info.cluster_name = "server-cluster"
    info.cluster_metadata = Metadata({"istio": {"services": [{"name": "server", "host": "server.default"}]}})
    info.downstream_peer, info.upstream_peer = CLIENT, SERVER
    info.attempt_count = 1
    info.add_dynamic_metadata("envoy.filters.http.rbac", {"shadow_engine_result": "denied"})
    info.last_upstream_tx_byte_ns, info.last_upstream_rx_byte_ns = 1_001_000_000, 1_003_000_000
    upstream = info.upstream = UpstreamInfo()
    upstream.host_address = SocketAddress("10.0.0.3", 9080)
    upstream.local_address = SocketAddress("10.0.0.2", 41000)
    upstream.host_metadata = Metadata({"istio": {"workload": "w"}})
    upstream.connection_state = UpstreamConnectionState()
    upstream.connection_state.upstream_peer = SERVER
    return info


def bare_stream() -> StreamInfo:
    """A TCP session of which nothing is known yet."""
    return StreamInfo(ConnectionInfo(SocketAddress("10.0.0.1", 1), SocketAddress("10.0.0.2", 2)), 0.0, 1)
