"""The client's role: requests, responses with and without a body, upgrades, and servers that leave."""

from __future__ import annotations

import hpack
import pytest

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http.codec import ResetReason
from protocols.http.h2_client import client_codec
from protocols.http.h2_fields import INVALID_FIELD, VIOLATION
from protocols.http.headers import Headers
from tests.support.http2_frames import (
    END_HEADERS,
    PREFACE,
    Frame,
    FrameType,
    build_frame,
    build_settings,
    parse_settings,
)
from tests.unit.protocols.http.h2_wire import (
    OK,
    SETTINGS,
    STREAM_ERRORS,
    Field,
    Http2Recorder,
    ask,
    asking,
    client,
    data,
    goaway,
    headers,
    play,
    read_frames,
    rst,
    shape,
    window_update,
    with_http2,
    written,
)
from tests.unit.protocols.http.recorder import closes, idle

WEBSOCKET: list[Field] = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]


def status(code: int) -> list[Field]:
    return [(b":status", b"%d" % code)]


def fields_of(frame: Frame) -> list[Field]:
    return [(bytes(name), bytes(value)) for name, value in hpack.Decoder().decode(frame.payload, raw=True)]


# --- the preface, and requests


def test_the_preface_and_our_settings_come_at_once() -> None:
    codec = client_codec(Http2Recorder(), with_http2(SETTINGS, custom_settings=((0x99, 5),)))
    text = codec.take_output()
    assert text.startswith(PREFACE)
    settings, window = read_frames(text[len(PREFACE) :])
    assert parse_settings(settings.payload) == [
        (2, 0),
        (1, 4096),
        (8, 1),
        (3, 1024),
        (4, 16 << 20),
        (0x99, 5),
    ]
    assert (window.type, int.from_bytes(window.payload, "big")) == (8, (24 << 20) - 65_535)


def test_a_request_need_not_wait_for_the_settings_of_the_server() -> None:
    codec = client_codec(Http2Recorder(), SETTINGS)
    assert ask(codec) == 1
    *_, request = read_frames(codec.take_output()[len(PREFACE) :])
    assert (request.type, request.flags, request.stream_id) == (1, END_HEADERS | 1, 1)
    assert fields_of(request) == [
        (b":authority", b"a"),
        (b":path", b"/p"),
        (b":method", b"GET"),
        (b":scheme", b"http"),
    ]


def test_ids_are_odd_and_grow() -> None:
    codec, _ = client()
    assert [ask(codec) for _ in range(3)] == [1, 3, 5]
    assert codec.open_streams == 3


def test_a_request_has_one_head() -> None:
    codec, _ = client()
    ask(codec, end=False)
    with pytest.raises(LocalProtocolError):
        codec.send_headers(1, Headers.request(b"GET", b"/", b"a"), True)


def test_a_request_that_may_not_be_written_was_never_begun() -> None:
    """To the server its stream is idle: a reset on it would break the connection."""
    codec, sink = client()
    stream_id = codec.new_stream()
    for bad in (
        Headers.request(b"GET", b"/a b", b"a"),
        Headers.request(b"GET", b"/", b"a", [(b"x-a", b"\n")]),
    ):
        with pytest.raises(LocalProtocolError):
            codec.send_headers(stream_id, bad, True)
    codec.reset(stream_id, ResetReason.PROTOCOL_ERROR)
    assert codec.take_output() == b""
    assert idle(codec)
    assert ask(codec) == 3
    codec.receive(headers(3, OK, end=True))
    assert sink.kinds() == [("headers", 3, 200, True)]


@pytest.mark.parametrize(
    "text",
    [headers(1, OK), data(1, b"x"), rst(1, 8), window_update(1, 1)],
    ids=["HEADERS", "DATA", "RST_STREAM", "WINDOW_UPDATE"],
)
def test_nothing_may_come_before_the_request(text: bytes) -> None:
    codec, sink = client()
    codec.new_stream()
    with pytest.raises(RemoteProtocolError):
        codec.receive(text)
    assert sink.events == []


def test_how_many_streams() -> None:
    codec, _ = client(with_http2(max_concurrent_streams=10))
    assert codec.max_streams == 10
    codec.receive(build_settings((3, 5)))
    assert codec.max_streams == 5
    codec.receive(build_settings((3, 0)))
    assert codec.max_streams == 0
    codec.receive(build_settings((3, 2**32 - 1)))
    assert codec.max_streams == 10


def test_ids_that_are_used_up() -> None:
    codec, _ = client()
    codec._next_id = 2**31 - 3
    before = codec.takes_streams
    assert codec.new_stream() == 2**31 - 3
    assert (before, codec.takes_streams) == (True, False)
    with pytest.raises(LocalProtocolError):
        codec.new_stream()


# --- responses


def test_responses_in_any_order() -> None:
    codec, sink = client()
    for _ in range(3):
        ask(codec)
    codec.receive(headers(5, OK, end=True) + headers(1, OK) + headers(3, OK) + data(1, b"a", end=True))
    assert [event[:2] for event in sink.take()] == [
        ("headers", 5),
        ("headers", 1),
        ("headers", 3),
        ("data", 1),
    ]
    assert codec.open_streams == 1


def test_interim_responses() -> None:
    outcome = play(
        asking(), headers(1, status(100)), headers(1, [*status(103), (b"link", b"</a>")]), headers(1, OK, end=True)
    )  # fmt: skip
    assert outcome.told == [
        ("headers", 1, "Headers(:status=100)", False),
        ("headers", 1, "Headers(:status=103, b'link': b'</a>')", False),
        ("headers", 1, "Headers(:status=200)", True),
    ]


@pytest.mark.parametrize(
    "text",
    [
        headers(1, status(100), end=True),
        headers(1, status(101)),
        headers(1, OK) + headers(1, status(100)),
        headers(1, OK) + headers(1, OK),
        headers(1, [(b"x-a", b"b")]),
    ],
    ids=["interim and the end", "101", "interim too late", "two", "no status"],
)
def test_a_malformed_response(text: bytes) -> None:
    outcome = play(asking(), text)
    assert outcome.told[-1] == ("reset", 1, ResetReason.PROTOCOL_ERROR, VIOLATION)
    assert outcome.error == (VIOLATION, 1)
    outcome = play(asking(STREAM_ERRORS), text)
    assert outcome.told[-1] == ("reset", 1, ResetReason.PROTOCOL_ERROR, VIOLATION)
    assert (outcome.error, outcome.output) == (None, rst(1, 1))


@pytest.mark.parametrize(
    "text", [data(1, b"x"), headers(1, status(100)) + data(1, b"", end=True)], ids=["alone", "interim"]
)
def test_a_body_without_a_head(text: bytes) -> None:
    assert play(asking(), text).error == ("codec_error:DATA:_before_HEADERS", 1)


@pytest.mark.parametrize(
    "text",
    [headers(2, OK), headers(3, OK), data(3, b""), rst(3, 0)],
    ids=["even", "HEADERS", "DATA", "RST_STREAM"],
)
def test_a_response_nobody_asked_for(text: bytes) -> None:
    outcome = play(asking(), text)
    assert outcome.error is not None and outcome.error[1] == 1
    assert outcome.error[0].endswith("stream_in_idle")
    assert outcome.told == []


def test_a_server_may_not_push() -> None:
    promise = build_frame(FrameType.PUSH_PROMISE, END_HEADERS, 1, bytes((0, 0, 0, 2)))
    assert play(asking(), promise).error == ("codec_error:PUSH_PROMISE:_push_disabled", 1)
    assert play(asking(), build_settings((2, 1))).error == ("codec_error:SETTINGS:_invalid_ENABLE_PUSH", 1)
    assert play(asking(), build_settings((2, 0))).error is None


_LENGTH = (b"content-length", b"5")


@pytest.mark.parametrize(("method", "code"), [(b"HEAD", 200), (b"HEAD", 404), (b"GET", 304), (b"GET", 204)])
def test_a_length_of_a_body_that_does_not_come(method: bytes, code: int) -> None:
    """RFC 9113 section 8.1.1: such a response may declare what it does not have."""
    make = asking(method=method)
    outcome = play(make, headers(1, [*status(code), _LENGTH], end=True))
    assert [event[0] for event in outcome.told] == ["headers"]
    assert (outcome.error, outcome.output) == (None, b"")
    outcome = play(make, headers(1, [*status(code), _LENGTH]), data(1, b"", end=True))
    assert outcome.told[1:] == [("data", 1, b"", True)]
    outcome = play(make, headers(1, [*status(code), _LENGTH]), headers(1, [(b"a", b"b")], end=True))
    assert [event[0] for event in outcome.told] == ["headers", "trailers"]


@pytest.mark.parametrize(("method", "code"), [(b"HEAD", 200), (b"GET", 304), (b"GET", 204)])
@pytest.mark.parametrize("fields", [[], [_LENGTH]])
def test_a_body_where_there_may_be_none(method: bytes, code: int, fields: list[Field]) -> None:
    outcome = play(asking(method=method), headers(1, [*status(code), *fields]), data(1, b"hello", end=True))
    assert outcome.told[1:] == [("reset", 1, ResetReason.PROTOCOL_ERROR, VIOLATION)]
    assert (outcome.error, outcome.output) == (None, rst(1, 1))


def test_a_length_of_a_body_that_has_to_come() -> None:
    assert play(asking(), headers(1, [*OK, _LENGTH], end=True)).error == (VIOLATION, 1)


def test_a_response_before_the_request_has_ended() -> None:
    codec, sink = client()
    ask(codec, b"POST", end=False)
    codec.receive(headers(1, OK, end=True) + rst(1, 0))
    assert sink.kinds() == [
        ("headers", 1, 200, True),
        ("reset", 1, ResetReason.REMOTE_RESET, "http2.remote_reset"),
    ]
    assert idle(codec)


# --- tunnels


def test_connect() -> None:
    codec, sink = client()
    stream_id = codec.new_stream()
    codec.send_headers(stream_id, Headers.request(b"CONNECT", b"", b"a:80"), False)
    (request,) = written(codec)
    assert fields_of(request) == [(b":method", b"CONNECT"), (b":authority", b"a:80")]
    codec.receive(headers(1, [*OK, _LENGTH]) + data(1, b"longer than five"))
    assert b"content-length" not in sink.headers[0]
    assert (sink.headers[0].status, sink.body) == (200, b"longer than five")
    assert codec.is_connected(1) and not codec.is_connected(3)
    codec.receive(data(1, b"", end=True))
    codec.send_data(1, b"", True)
    assert idle(codec)


def test_an_upgrade() -> None:
    codec, sink = client(SETTINGS, (8, 1))
    ask(codec, fields=[*WEBSOCKET, (b"x-a", b"b")], end=False)
    (request,) = written(codec)
    assert fields_of(request) == [
        (b":authority", b"a"),
        (b":path", b"/p"),
        (b":method", b"CONNECT"),
        (b":scheme", b"http"),
        (b":protocol", b"websocket"),
        (b"x-a", b"b"),
    ]
    codec.receive(headers(1, OK) + data(1, b"frames"))
    (head,) = sink.headers
    assert (head.status, head.get(b"connection"), head.get(b"upgrade")) == (101, b"upgrade", b"websocket")
    assert sink.body == b"frames"
    assert not codec.is_connected(1)
    codec.receive(headers(1, [(b"a", b"b")], end=True))  # costs the tunnel alone
    assert sink.kinds()[-1] == ("reset", 1, ResetReason.PROTOCOL_ERROR, VIOLATION)
    assert shape(written(codec)) == [("RST_STREAM", 0, 1, 4)]


def test_a_refused_upgrade() -> None:
    codec, sink = client(SETTINGS, (8, 1))
    ask(codec, fields=WEBSOCKET, end=False)
    codec.receive(headers(1, [*status(403), (b"content-length", b"2")]) + data(1, b"no", end=True))
    assert sink.kinds() == [("headers", 1, 403, False), ("data", 1, b"no", True)]


def test_a_server_that_takes_no_upgrade() -> None:
    codec, _ = client()
    with pytest.raises(LocalProtocolError):
        ask(codec, fields=WEBSOCKET, end=False)
    codec.reset(1, ResetReason.PROTOCOL_ERROR)
    assert codec.take_output() == b""
    assert ask(codec) == 3


def test_an_upgrade_before_the_settings_of_the_server_is_tried() -> None:
    codec = client_codec(Http2Recorder(), SETTINGS)
    assert ask(codec, fields=WEBSOCKET, end=False) == 1


# --- the end


def test_a_server_leaves() -> None:
    """What it did not look at may be asked again elsewhere; the rest goes on."""
    codec, sink = client()
    for _ in range(4):
        ask(codec, b"POST", end=False)
    codec.send_data(7, bytes(100_000), False)
    codec.receive(goaway(3))
    not_processed = ResetReason.NOT_PROCESSED
    assert sink.told() == [("goaway", 3), ("reset", 5, not_processed, ""), ("reset", 7, not_processed, "")]
    assert not codec.takes_streams
    with pytest.raises(LocalProtocolError):
        codec.new_stream()
    assert not closes(codec)
    codec.take_output()
    codec.receive(headers(1, OK, end=True) + headers(7, OK) + data(5, b"x") + rst(5, 7))
    assert sink.kinds() == [("headers", 1, 200, True)]
    codec.send_data(1, b"", True)
    codec.receive(goaway(1))
    assert sink.told() == [("goaway", 1), ("reset", 3, not_processed, "")]
    assert closes(codec)
    codec.receive(window_update(0, 10**6))
    assert shape(written(codec)) == [("DATA", 1, 1, 0)]


def test_a_server_leaves_in_two_steps() -> None:
    outcome = play(asking(), goaway(2**31 - 1), headers(1, OK), goaway(1), data(1, b"x", end=True))
    assert [event[0] for event in outcome.told] == ["goaway", "headers", "goaway", "data"]
    assert (outcome.error, outcome.output) == (None, b"")


def test_a_stream_whose_request_is_still_to_come() -> None:
    codec, sink = client()
    codec.new_stream()
    codec.receive(goaway(0, 2))
    assert sink.told() == [("goaway", 0), ("reset", 1, ResetReason.NOT_PROCESSED, "")]
    with pytest.raises(LocalProtocolError):
        codec.send_headers(1, Headers.request(b"GET", b"/", b"a"), True)


def test_streams_may_be_given_up_while_the_server_leaves() -> None:
    codec, _ = client()

    class Resets(Http2Recorder):
        def on_reset(self, stream_id: int, reason: ResetReason, details: str) -> None:
            super().on_reset(stream_id, reason, details)
            codec.reset(4 - stream_id, ResetReason.LOCAL_RESET)

    codec._sink = sink = Resets()
    ask(codec)
    ask(codec)
    codec.receive(goaway(0))
    assert [event[:2] for event in sink.take()] == [("goaway", 0), ("reset", 1)]
    assert idle(codec)


def test_leaving() -> None:
    codec, sink = client()
    ask(codec)
    codec.take_output()
    codec.shutdown()
    assert (codec.takes_streams, closes(codec), codec.take_output()) == (False, False, b"")
    codec.receive(headers(1, OK, end=True))
    assert sink.kinds() == [("headers", 1, 200, True)]
    assert closes(codec)


def test_the_last_byte_of_a_server() -> None:
    codec, sink = client()
    ask(codec)
    ask(codec)
    codec.receive(headers(1, OK))
    sink.take()
    codec.receive_eof()
    gone = ResetReason.CONNECTION_TERMINATION
    assert sink.told() == [("reset", 1, gone, ""), ("reset", 3, gone, "")]
    assert closes(codec) and not codec.takes_streams


def test_trailers_of_a_response() -> None:
    outcome = play(asking(), headers(1, OK), headers(1, [(b"grpc-status", b"0")], end=True))
    assert outcome.told[1:] == [("trailers", 1, "Headers(b'grpc-status': b'0')")]
    bad = headers(1, [(b"Grpc-Status", b"0")], end=True)
    outcome = play(asking(STREAM_ERRORS), headers(1, OK), bad, rst(1, 0))
    assert outcome.told[1:] == [("reset", 1, ResetReason.PROTOCOL_ERROR, INVALID_FIELD)]
    assert (outcome.error, outcome.output) == (None, rst(1, 1))
