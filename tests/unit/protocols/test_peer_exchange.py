"""The TCP exchange against the recorded vectors, cut at every offset, and with hostile frames."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from protocols.peer_exchange import ExchangeEvent, ExchangeState, PeerExchange, build_frame
from protocols.peer_metadata import PeerMetadata, peer_from_node
from tests.vectors import load_vectors

VECTORS = load_vectors("peer_metadata_tcp.json")
PROTOCOL = "istio-peer-exchange"
NODES = {case["name"].removesuffix("_full"): case["node"] for case in VECTORS["encode"]}
CLIENT_FRAME = bytes.fromhex(VECTORS["encode"][0]["expect"]["frame_hex"])


def named(section: str) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in VECTORS[section]]


def frame_of(node: dict[str, Any], labels: list[str] | None = None) -> bytes:
    return build_frame(peer_from_node(node["metadata"], labels or []), node["id"])


@pytest.mark.parametrize("case", named("encode"))
def test_builds_frames(case: dict[str, Any]) -> None:
    frame = frame_of(case["node"], case["additional_labels"])
    assert frame.hex() == case["expect"]["frame_hex"]
    assert struct.unpack(">II", frame[:8]) == (0x3D230467, case["expect"]["data_size"])


def discovered(case: dict[str, Any]) -> PeerMetadata | None:
    values = case["discovery"].get("remote")
    return None if values is None else PeerMetadata(**{**values, "labels": tuple(values["labels"].items())})


@pytest.mark.parametrize("case", named("receive"))
def test_receives(case: dict[str, Any]) -> None:
    own = frame_of(NODES[case["local_node"]])
    exchange = PeerExchange(
        case["negotiated_alpn"],
        case["config"]["protocol"],
        own,
        discover=(lambda: discovered(case)) if case["config"]["enable_discovery"] else None,
    )
    events: list[ExchangeEvent] = []
    for step in case["events"]:
        data = bytes.fromhex(step["hex"])
        if step["op"] == "write":
            written, forward, end = exchange.on_write(), data, step["end_stream"]
        else:
            received = exchange.on_data(data, step["end_stream"])
            written, forward, end = received.write, received.forward, received.end
        assert forward.hex() == step["expect_forward_hex"]
        assert written == (own if step["expect_metadata_written"] else b"")
        if step["op"] == "data":
            assert exchange.waiting == (step["expect_status"] == "stop")
            assert end == (step["end_stream"] and not exchange.waiting)
        events += exchange.take_events()
    expect = case["expect"]
    assert {event.value: events.count(event) for event in ExchangeEvent} == expect["counters"]
    assert exchange.finished
    assert exchange.state is {"Done": ExchangeState.DONE, "Invalid": ExchangeState.INVALID}[expect["state"]]
    assert exchange.peer_not_found == ("peer_not_found" in expect["filter_state_keys"])
    assert (None if exchange.peer is None else exchange.peer.filter_state()) == expect["peer"]


def start() -> PeerExchange:
    return PeerExchange(PROTOCOL, PROTOCOL, b"own frame")


@pytest.mark.parametrize("offset", range(40))
def test_a_split_frame_loses_nothing(offset: int) -> None:
    exchange = start()
    stream = CLIENT_FRAME + b"application"
    first = exchange.on_data(stream[:offset], False)
    second = exchange.on_data(stream[offset:], False)
    assert first.forward + second.forward == b"application"
    assert first.write == b"own frame"
    assert exchange.peer is not None
    assert exchange.peer.workload == "productpage-v1"
    assert exchange.on_data(b"more", True).forward == b"more"


def test_a_second_frame_is_application_data() -> None:
    exchange = start()
    assert exchange.on_data(CLIENT_FRAME + CLIENT_FRAME, False).forward == CLIENT_FRAME


def test_frame_and_end_in_one_event() -> None:
    received = start().on_data(CLIENT_FRAME, True)
    assert (received.forward, received.end) == (b"", True)


def header(size: int) -> bytes:
    return struct.pack(">II", 0x3D230467, size)


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 2**31, 2**32 - 1])
def test_too_long_a_frame_is_passed_on(size: int) -> None:
    exchange = start()
    assert exchange.on_data(header(size) + b"x", False).forward == b"x"
    assert exchange.overflowed
    assert exchange.peer_not_found


def test_the_cap_is_configurable() -> None:
    exchange = PeerExchange(PROTOCOL, PROTOCOL, b"", max_blob_bytes=65536)
    assert exchange.on_data(header(65536), False).forward == b""
    assert exchange.waiting
    exchange = PeerExchange(PROTOCOL, PROTOCOL, b"", max_blob_bytes=65536)
    exchange.on_data(header(65537), False)
    assert exchange.overflowed


@pytest.mark.parametrize("blob", [b"\x0a", b"\x0a\x05abc", b"\xff" * 64, b"\x12\x01\x00\x0b"])
def test_a_blob_that_is_no_any_goes_on(blob: bytes) -> None:
    exchange = start()
    assert exchange.on_data(header(len(blob)) + blob + b"app", False).forward == blob + b"app"
    assert exchange.peer_not_found
    assert ExchangeEvent.HEADER_NOT_FOUND in exchange.take_events()


def test_a_broken_struct_in_a_good_any_is_swallowed() -> None:
    url = b"type.googleapis.com/google.protobuf.Struct"
    blob = b"\x0a" + bytes([len(url)]) + url + b"\x12\x02\x0a\x7f"
    exchange = start()
    assert exchange.on_data(header(len(blob)) + blob + b"app", False).forward == b"app"
    assert exchange.peer_not_found


def test_writing_first_sends_the_frame_once() -> None:
    exchange = start()
    assert exchange.on_write() == b"own frame"
    assert exchange.on_write() == b""
    assert exchange.on_data(CLIENT_FRAME, False).write == b""


def test_nothing_is_known_before_the_first_byte() -> None:
    exchange = start()
    assert (exchange.peer, exchange.peer_not_found, exchange.finished) == (None, False, False)
    assert exchange.take_events() == ()
