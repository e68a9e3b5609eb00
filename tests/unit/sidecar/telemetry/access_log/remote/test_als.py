from __future__ import annotations

from typing import Any

import pytest
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf import struct_pb2
from google.protobuf.json_format import MessageToDict

from config.model.access_log import GrpcAccessLogSpec
from config.model.core import InternalAddress, Locality, Node, PipeAddress
from config.model.services import GrpcServiceSpec
from config.model.tracing import LiteralTag, RequestHeaderTag
from protocols.http.headers import Headers
from protocols.peer_metadata import PeerMetadata
from sidecar.stream_info import ResponseFlag, StreamInfo
from sidecar.telemetry.access_log.remote.als import compile_encoder, compile_message
from tests.unit.sidecar.telemetry.access_log.streams import no_route, proxied, tcp

SERVICE = GrpcServiceSpec("collector")


def http_entry(info: StreamInfo, **fields: Any) -> Any:
    spec = GrpcAccessLogSpec(True, "log", SERVICE, **fields)
    return accesslog_pb2.HTTPAccessLogEntry.FromString(compile_encoder(spec)(info))


def tcp_entry(info: StreamInfo) -> Any:
    spec = GrpcAccessLogSpec(False, "log", SERVICE)
    return accesslog_pb2.TCPAccessLogEntry.FromString(compile_encoder(spec)(info))


def plain(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return found


def test_a_request() -> None:
    entry = http_entry(
        proxied(),
        request_headers=("x-two", "nope"),
        response_headers=("x-resp", "x-two"),
        response_trailers=("x-trailer",),
    )
    assert entry.protocol_version == accesslog_pb2.HTTPAccessLogEntry.HTTP11
    assert plain(entry.request) == {
        "request_method": "POST",
        "scheme": "https",
        "authority": "a.example",
        "path": "/rewritten/ab?q=1&x=2",
        "original_path": "/ok/ab?q=1&x=2",
        "user_agent": "ua/1 é\tz",
        "request_id": "3423310d-c5be-4cdb-9a51-e3dbf3b85bea",
        "request_headers_bytes": str(proxied().request_headers.size_bytes()),  # type: ignore[union-attr]
        "request_body_bytes": "4",
        "request_headers": {"x-two": "a,b"},
        "downstream_header_bytes_received": "103",
    }
    response = plain(entry.response)
    assert response["response_code"] == 200
    assert response["response_headers"] == {"x-resp": "RV", "x-two": "a,b"}
    assert response["response_code_details"] == "via_upstream"
    common = plain(entry.common_properties)
    assert common["access_log_type"] == "DownstreamEnd"
    assert common["start_time"] == "2026-11-21T03:39:20.888428Z"
    assert common["duration"] == "0.012s"
    assert common["time_to_last_downstream_tx_byte"] == "0.012s"
    assert common["upstream_cluster"] == "up"
    assert common["upstream_remote_address"] == {
        "socket_address": {"address": "127.0.0.1", "port_value": 18180}
    }
    assert common["stream_id"] == "3423310d-c5be-4cdb-9a51-e3dbf3b85bea"
    assert common["tls_properties"]["tls_version"] == "TLSv1_3"
    assert common["tls_properties"]["peer_certificate_properties"] == {
        "subject": "CN=client,O=Org",
        "subject_alt_name": [
            {"uri": "spiffe://cluster.local/ns/a/sa/b"},
            {"dns": "d1.example"},
            {"dns": "d2.example"},
        ],
    }
    assert "intermediate_log_entry" not in common
    assert "response_flags" not in common


def test_a_local_reply_and_a_session() -> None:
    assert plain(http_entry(no_route()).common_properties)["response_flags"] == {"no_route_found": True}
    entry = tcp_entry(tcp())
    common = plain(entry.common_properties)
    assert common["response_flags"] == {
        "upstream_connection_failure": True,
        "upstream_retry_limit_exceeded": True,
    }
    assert common["upstream_transport_failure_reason"] == "delayed connect error: Connection refused"
    assert common["access_log_type"] == "TcpConnectionEnd"
    assert plain(entry.connection_properties) == {}


def test_an_entry_before_the_end() -> None:
    info = proxied()
    info.log_type, info.end_ns = "DownstreamPeriodic", 0
    common = http_entry(info).common_properties
    assert common.intermediate_log_entry
    assert common.duration.ToNanoseconds() > 0


def test_every_flag_of_the_service_can_be_set() -> None:
    info = no_route()
    names = [name for name in vars(ResponseFlag) if name.isupper()]
    info.response_flags = sum(getattr(ResponseFlag, name) for name in names)
    found = plain(http_entry(info).common_properties)["response_flags"]
    every = set(accesslog_pb2.ResponseFlags.DESCRIPTOR.fields_by_name)
    assert every - set(found) == {"unauthorized_details"}  # a message, not a flag


def test_addresses_that_are_no_sockets() -> None:
    info = proxied()
    assert info.upstream is not None
    info.upstream.host_address = PipeAddress("/run/x")
    info.upstream.local_address = InternalAddress("inner")
    common = plain(http_entry(info).common_properties)
    assert common["upstream_remote_address"] == {"pipe": {"path": "/run/x"}}
    assert "envoy_internal_address" in common["upstream_local_address"]


@pytest.mark.parametrize(
    "key", ["downstream_peer", "wasm.downstream_peer", "envoy.wasm.metadata_exchange.downstream"]
)
def test_peers_go_along(key: str) -> None:
    info = proxied()
    info.downstream_peer = PeerMetadata(workload="w", namespace="n")
    common = http_entry(info, filter_state=(key, "nope")).common_properties
    assert list(common.filter_state_objects) == [key]
    struct = struct_pb2.Struct()
    assert common.filter_state_objects[key].Unpack(struct)
    assert struct.fields["workload"].string_value == "w"


def test_dynamic_metadata_goes_along() -> None:
    info = proxied()
    info.dynamic_metadata = {"f": {"a": [1.0, None], "b": {"c": "d"}}}
    metadata = plain(http_entry(info).common_properties)["metadata"]
    assert metadata == {"filter_metadata": {"f": {"a": [1.0, None], "b": {"c": "d"}}}}


def test_odd_text_and_methods() -> None:
    info = no_route()
    info.request_headers = Headers.request(b"BREW", b"/\xff", b"a", [(b"user-agent", b"\xe9")], b"http")
    request = plain(http_entry(info).request)
    assert (request["path"], request["user_agent"]) == ("/!", "!")
    assert "request_method" not in request


@pytest.mark.parametrize("http", [True, False])
def test_the_first_message_says_who_we_are(http: bool) -> None:
    node = Node("i", "c", {"k": {"n": 1.0}}, Locality("r", "z", "s"))
    spec = GrpcAccessLogSpec(http, "the-log", SERVICE)
    message = compile_message(spec, node)
    entry = compile_encoder(spec)(proxied())
    first = als_pb2.StreamAccessLogsMessage.FromString(message([entry, entry], True))
    assert first.identifier.log_name == "the-log"
    assert plain(first.identifier.node) | {"user_agent_version": ""} == {
        "id": "i",
        "cluster": "c",
        "metadata": {"k": {"n": 1.0}},
        "locality": {"region": "r", "zone": "z", "sub_zone": "s"},
        "user_agent_name": "sidecar-proxy",
        "user_agent_version": "",
    }
    assert len((first.http_logs if http else first.tcp_logs).log_entry) == 2
    second = als_pb2.StreamAccessLogsMessage.FromString(message([entry], False))
    assert not second.HasField("identifier")
    assert len((second.http_logs if http else second.tcp_logs).log_entry) == 1


def test_custom_tags() -> None:
    tags = (LiteralTag("a", "x"), RequestHeaderTag("b", "user-agent"), RequestHeaderTag("c", "nope"))
    common = http_entry(proxied(), custom_tags=tags).common_properties
    assert dict(common.custom_tags) == {"a": "x", "b": "ua/1 é\tz"}
