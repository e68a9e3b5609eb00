from __future__ import annotations

import pytest

from protocols.peer_metadata import PeerMetadata
from sidecar.stream_info import GrpcMessages, UpstreamConnectionState
from sidecar.telemetry.access_log.filter_state import peer_of
from sidecar.telemetry.access_log.format import FormatError, compile_format
from sidecar.telemetry.access_log.json_format import compile_json_format
from tests.unit.sidecar.telemetry.access_log.streams import proxied, tcp

PEER = PeerMetadata(workload="w", namespace="n")
STRUCT = '{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"namespace":"n","workload":"w"}}'
STATS = "envoy.filters.http.grpc_stats"


@pytest.mark.parametrize("side", ["downstream", "upstream"])
@pytest.mark.parametrize("key", ["{}_peer", "{}_peer_obj", "wasm.{}_peer", "envoy.wasm.metadata_exchange.{}"])
def test_peers_under_old_and_new_keys(side: str, key: str) -> None:
    name = key.format(side)
    info = proxied()
    assert compile_format(f"%FILTER_STATE({name})%")(info) == b"-"
    setattr(info, f"{side}_peer", PEER)
    assert peer_of(name, info) is PEER
    for form in ("", ":TYPED"):
        assert compile_format(f"%FILTER_STATE({name}{form})%")(info).decode() == STRUCT
    assert compile_format(f"%FILTER_STATE({name}:FIELD:workload)%")(info) == b"w"
    assert compile_format(f"%FILTER_STATE({name}:FIELD:nope)%")(info) == b"-"
    assert compile_format(f"%FILTER_STATE({name}:TYPED):9%")(info).decode() == STRUCT[:9]
    assert compile_json_format({"v": f"%FILTER_STATE({name})%"})(info).decode() == f'{{"v":{STRUCT}}}\n'
    assert compile_json_format({"v": f"%FILTER_STATE({name}:FIELD:workload)%"})(info) == b'{"v":"w"}\n'
    assert compile_json_format({"v": f"%FILTER_STATE({name}:FIELD:nope)%"})(info) == b'{"v":null}\n'


def test_the_peer_of_an_upstream_connection() -> None:
    info = proxied()
    text = "%UPSTREAM_FILTER_STATE(upstream_peer:FIELD:workload)%"
    assert compile_format(text)(info) == b"-"
    assert info.upstream is not None
    info.upstream.connection_state = UpstreamConnectionState()
    info.upstream.connection_state.upstream_peer = PEER
    assert compile_format(text)(info) == b"w"
    assert peer_of("upstream_peer", info) is None


def test_messages_of_grpc() -> None:
    info = proxied()
    assert compile_format(f"%FILTER_STATE({STATS})%")(info) == b"-"
    messages = info.grpc_messages = GrpcMessages()
    messages.requests.count, messages.responses.count = 2, 0
    assert compile_format(f"%FILTER_STATE({STATS})%")(info) == b'{"requestMessageCount":"2"}'
    json_line = compile_json_format({"v": f"%FILTER_STATE({STATS})%"})(info)
    assert json_line == b'{"v":{"request_message_count":"2"}}\n'
    assert compile_format(f"%FILTER_STATE({STATS}:PLAIN)%")(info) == b"2,0"
    assert compile_format(f"%FILTER_STATE({STATS}:FIELD:request_message_count)%")(info) == b"-"


def test_unknown_keys_have_nothing() -> None:
    assert compile_format("%FILTER_STATE(nope:PLAIN)%")(tcp()) == b"-"
    assert peer_of("nope", tcp()) is None


@pytest.mark.parametrize("argument", ["", "()", "(k:NOPE)", "(k:FIELD)", "(k:PLAIN:x)", "(:PLAIN)"])
def test_bad_arguments_are_refused(argument: str) -> None:
    with pytest.raises(FormatError):
        compile_format(f"%FILTER_STATE{argument}%")
