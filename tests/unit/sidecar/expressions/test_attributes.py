from __future__ import annotations

import pytest

from config.model.core import PipeAddress
from sidecar.expressions.api import Expression
from sidecar.expressions.attributes import Scope, reader
from sidecar.expressions.unsigned import Unsigned
from sidecar.expressions.values import FAILED, Duration, Timestamp
from sidecar.stream_info import StreamInfo
from tests.unit.sidecar.expressions.streams import NODE, SCOPE, bare_stream, http_stream

VALUES: dict[str, object] = {
    "request.path": "/a/b?x=1#end",
    "request.url_path": "/a/b",
    "request.query": "x=1",
    "request.host": "shop.example:8080",
    "request.scheme": "http",
    "request.method": "GET",
    "request.headers['user-agent']": "curl",
    "request.headers['User-Agent']": "curl",
    "request.headers['x-many']": "1,2",
    "request.headers['x-raw']": "�",
    "request.headers[':path']": "/a/b?x=1#end",
    "request.headers[':authority']": "shop.example:8080",
    "request.headers.host": "shop.example:8080",
    "request.headers['x-none']": FAILED,
    "request.headers['x-many'].x": FAILED,
    "request.headers[0]": FAILED,
    "request.referer": FAILED,
    "request.useragent": "curl",
    "request.id": FAILED,
    "request.time": Timestamp(1_600_000_000_250_000_000),
    "request.size": 10,
    "request.headers_bytes": 99,
    "request.total_size": 109,
    "request.duration": Duration(12_500_000),
    "request.protocol": "HTTP/1.1",
    "request.nothing": FAILED,
    "request[0]": FAILED,
    "response.code": 200,
    "response.code_details": "via_upstream",
    "response.size": 20,
    "response.headers['content-type']": "application/grpc",
    "response.headers[':status']": "200",
    "response.trailers['grpc-status']": "7",
    "response.headers_bytes": 45,
    "response.total_size": 77,
    "response.flags": 0,
    "response.grpc_status": 7,
    "response.backend_latency": Duration(2_000_000),
    "source.address": "10.0.0.1:50000",
    "source.port": 50000,
    "destination.address": "10.0.0.2:8080",
    "destination.port": 8080,
    "connection.mtls": True,
    "connection.requested_server_name": "server.example",
    "connection.termination_details": FAILED,
    "connection.transport_failure_reason": FAILED,
    "connection.tls_version": "TLSv1.3",
    "connection.subject_local_certificate": "CN=server",
    "connection.subject_peer_certificate": "CN=client",
    "connection.uri_san_local_certificate": "spiffe://td/ns/a/sa/server",
    "connection.uri_san_peer_certificate": "spiffe://td/ns/a/sa/b",
    "connection.dns_san_local_certificate": FAILED,
    "connection.dns_san_peer_certificate": "client.example",
    "connection.sha256_peer_certificate_digest": "ab" * 32,
    "connection.peer_certificate": "-----BEGIN%20CERTIFICATE-----%0AZGVy%0A-----END%20CERTIFICATE-----%0A",
    "upstream.address": "10.0.0.3:9080",
    "upstream.port": 9080,
    "upstream.local_address": "10.0.0.2:41000",
    "upstream.transport_failure_reason": "",
    "upstream.request_attempt_count": Unsigned(1),
    "upstream.tls_version": FAILED,
    "xds.node.id": "sidecar~1",
    "xds.node.cluster": "productpage",
    "xds.node.metadata.LABELS.app": "productpage",
    "xds.node.metadata['LABELS']['role']": None,
    "xds.node.metadata.PORTS[1]": 443.0,
    "xds.node.metadata.PORTS[2]": FAILED,
    "xds.node.metadata.PORTS[-1]": FAILED,
    "xds.node.locality.zone": "eu-1",
    "xds.cluster_name": "server-cluster",
    "xds.cluster_metadata.filter_metadata.istio.services[0].name": "server",
    "xds.cluster_metadata.filter_metadata['istio'].services[0].namespace": FAILED,
    "xds.route_name": "client_route",
    "xds.route_metadata.filter_metadata.route.tier": "gold",
    "xds.virtual_host_name": "any",
    "xds.upstream_host_metadata.filter_metadata.istio.workload": "w",
    "xds.filter_chain_name": "chain",
    "xds.listener_direction": 1,
    "filter_state.downstream_peer.labels['role']": "shop",
    "filter_state.downstream_peer.workload": "client-v1",
    "filter_state['downstream_peer'].name": "client-1",
    "filter_state.downstream_peer.service": FAILED,
    "filter_state.upstream_peer.service": "server",
    "filter_state.upstream_peer_obj.type": "unknown",
    "filter_state['wasm.istio_responseClass']": FAILED,
    "upstream_filter_state.upstream_peer.workload": "server-v1",
    "metadata.filter_metadata['envoy.filters.http.rbac'].shadow_engine_result": "denied",
    "metadata.filter_metadata.nobody": FAILED,
    "cannot_evaluate": FAILED,
    "cannot.evaluate['x'][0]": FAILED,
}


@pytest.mark.parametrize("text", VALUES)
def test_attribute(text: str) -> None:
    value = Expression.parse(text, SCOPE).value(http_stream())
    assert value == VALUES[text]
    assert type(value) is type(VALUES[text])


ABSENT = [
    text
    for text in VALUES
    if text.startswith(("request.", "response.", "upstream.", "filter_state", "upstream_filter_state"))
]


@pytest.mark.parametrize("text", ABSENT)
def test_attribute_of_a_stream_that_knows_nothing(text: str) -> None:
    value = Expression.parse(text, SCOPE).value(bare_stream())
    assert value is FAILED or value in (0, Timestamp(0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("request.headers['user-agent']", FAILED),
        ("request.path", FAILED),
        ("response.headers['server']", FAILED),
        ("response.trailers['grpc-status']", FAILED),
        ("response.grpc_status", FAILED),
        ("request.headers", {}),
        ("request.total_size", 10),
        ("response.total_size", 20),
        ("request.protocol", "HTTP/1.1"),
        ("response.code", 200),
        ("source.port", 50000),
        ("filter_state.upstream_peer.service", "server"),
    ],
)
def test_without_the_heads(text: str, expected: object) -> None:
    assert Expression.parse(text, Scope(NODE, has_headers=False)).value(http_stream()) == expected


def test_a_whole_family_is_a_map_of_what_is_there() -> None:
    request = reader("request", (), SCOPE).value(http_stream())
    assert isinstance(request, dict)
    assert request["method"] == "GET"
    assert "referer" not in request
    assert request["headers"] == {
        ":method": "GET",
        ":path": "/a/b?x=1#end",
        ":authority": "shop.example:8080",
        ":scheme": "http",
        "user-agent": "curl",
        "x-many": "1,2",
        "x-raw": "�",
    }


def test_announced_length_comes_before_what_was_received() -> None:
    info = http_stream()
    assert info.request_headers is not None
    size = Expression.parse("request.size", SCOPE).value
    info.request_headers.set(b"content-length", b"77")
    assert size(info) == 77
    info.request_headers.set(b"content-length", b"-1")
    assert size(info) is FAILED


def test_the_client_behind_trusted_proxies_is_the_source() -> None:
    info = http_stream()
    info.remote_address = PipeAddress("/run/socket")
    assert Expression.parse("source.address", SCOPE).value(info) == "/run/socket"
    assert Expression.parse("source.port", SCOPE).value(info) is FAILED


def test_peer_of_a_tcp_session_is_in_the_state_of_its_upstream_connection() -> None:
    info: StreamInfo = http_stream()
    info.protocol, info.upstream_peer = "", None
    assert Expression.parse("filter_state.upstream_peer.service", SCOPE).value(info) is FAILED
    assert Expression.parse("upstream_filter_state.upstream_peer.service", SCOPE).value(info) == "server"
