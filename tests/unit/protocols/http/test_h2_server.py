"""The server's role: the preface, requests, the order of ids, how many at once, and the end in two steps."""

from __future__ import annotations

import dataclasses

import hpack
import pytest

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http.codec import CodecSettings, Http2Settings, ResetReason
from protocols.http.h2 import HEAD_TOO_LARGE
from protocols.http.h2_fields import INVALID_FIELD, VIOLATION
from protocols.http.h2_frames import ENHANCE_YOUR_CALM
from protocols.http.h2_server import REFUSED, Http2Server, server_codec
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
    GET,
    POST,
    SETTINGS,
    Field,
    Http2Recorder,
    Made,
    Outcome,
    continuation,
    data,
    goaway,
    headers,
    play,
    read_frames,
    rst,
    server,
    shape,
    window_update,
    with_http2,
    written,
)
from tests.unit.protocols.http.recorder import closes, idle

_CONNECT: list[Field] = [(b":method", b"CONNECT"), (b":authority", b"a:80")]
_EXTENDED: list[Field] = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"http"),
    (b":path", b"/chat"),
    (b":authority", b"a"),
]


def untouched(settings: CodecSettings = SETTINGS) -> tuple[Http2Server, Http2Recorder]:
    """Nothing has come yet."""
    sink = Http2Recorder()
    return server_codec(sink, settings), sink


def fields_of(frame: Frame) -> list[Field]:
    return [(bytes(name), bytes(value)) for name, value in hpack.Decoder().decode(frame.payload, raw=True)]


# --- the preface


def test_the_preface_is_answered_with_our_settings() -> None:
    codec, _ = untouched(CodecSettings(http2=Http2Settings(custom_settings=((0x99, 5),), allow_connect=True)))
    for at in range(len(PREFACE)):
        assert codec.take_output() == b""
        codec.receive(PREFACE[at : at + 1])
    settings, window = written(codec)
    assert parse_settings(settings.payload) == [(1, 4096), (8, 1), (3, 1024), (4, 16 << 20), (0x99, 5)]
    assert (window.type, window.stream_id) == (FrameType.WINDOW_UPDATE, 0)
    assert int.from_bytes(window.payload, "big") == (24 << 20) - 65_535


def test_a_window_of_the_default_size_is_not_announced() -> None:
    codec, _ = untouched(with_http2(initial_connection_window_size=65_535))
    codec.receive(PREFACE)
    assert [frame.type for frame in written(codec)] == [FrameType.SETTINGS]


def test_the_preface_and_a_request_however_they_are_cut() -> None:
    text = PREFACE + build_settings() + headers(1, GET, end=True)
    outcome = play(untouched, text)
    assert [event[0] for event in outcome.told] == ["headers"]
    assert [frame.type for frame in read_frames(outcome.output)] == [4, 8, 4]


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        PREFACE[:-1] + b"x",
        PREFACE[:5] + b"x",
        b"\x16\x03\x01",
        PREFACE.lower(),
    ],
)
def test_who_does_not_speak_http2_is_not_told_in_http2(text: bytes) -> None:
    outcome = play(untouched, text)
    assert outcome == Outcome([], ("codec_error:bad_client_magic_byte_string", 1), b"")
    codec, _ = untouched()
    with pytest.raises(RemoteProtocolError):
        codec.receive(text)
    assert closes(codec)
    codec.receive(PREFACE)
    codec.shutdown()
    assert codec.take_output() == b""


def test_the_end_before_the_preface() -> None:
    codec, sink = untouched()
    codec.receive(PREFACE[:10])
    codec.shutdown()
    codec.receive_eof()
    assert (closes(codec), codec.take_output(), sink.events) == (True, b"", [])


# --- requests


def test_requests_at_the_same_time() -> None:
    outcome = play(
        server, headers(1, POST), headers(5, GET, end=True), data(1, b"a"), headers(7, POST), data(1, b"", end=True)
    )  # fmt: skip
    assert [(event[0], event[1], event[-1]) for event in outcome.told] == [
        ("headers", 1, False),
        ("headers", 5, True),
        ("data", 1, False),
        ("headers", 7, False),
        ("data", 1, True),
    ]
    assert (outcome.error, outcome.output) == (None, b"")


def test_a_server_asks_nothing() -> None:
    codec, _ = server()
    with pytest.raises(LocalProtocolError):
        codec.new_stream()


@pytest.mark.parametrize("before", [b"", headers(7, GET, end=True)], ids=["first", "smaller"])
def test_a_client_has_odd_ids(before: bytes) -> None:
    """A smaller one that is even was never begun either."""
    outcome = play(server, before, headers(2, GET, end=True))
    assert outcome.error == ("codec_error:HEADERS:_even_stream_id", 1)


def test_ids_only_grow() -> None:
    """What comes with a smaller one is of a stream that is over, as far as anybody can tell."""
    outcome = play(
        server, headers(7, GET, end=True), headers(5, GET), data(5, b"x"), rst(3, 8), window_update(1, 1)
    )
    assert [event[:2] for event in outcome.told] == [("headers", 7)]
    assert (outcome.error, outcome.output) == (None, b"")


def test_a_request_may_not_push() -> None:
    assert (
        play(server, build_settings((2, 1)), headers(1, GET)).error is None
    )  # a client may say that it could


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        (GET[1:], VIOLATION),
        ([*GET, (b":status", b"200")], INVALID_FIELD),
        ([*GET, (b"te", b"gzip")], INVALID_FIELD),
        (_EXTENDED[:2] + _EXTENDED[3:], VIOLATION),
    ],
)
def test_a_malformed_request(fields: list[Field], details: str) -> None:
    outcome = play(server, headers(1, GET, end=True), headers(3, fields, end=True), headers(5, GET))
    assert outcome.told[1:] == [("reset", 3, ResetReason.PROTOCOL_ERROR, details)]
    assert outcome.error == (details, 1)
    (frame,) = outcome.frames
    assert frame.payload[:8] == bytes((0, 0, 0, 3, 0, 0, 0, 1))


# --- how many at once


def test_more_streams_than_allowed() -> None:
    """The peer had been told."""

    def make() -> Made:
        return server(with_http2(max_concurrent_streams=2))

    three = headers(1, POST) + headers(3, POST) + headers(5, POST)
    outcome = play(make, three, data(5, b"x"), data(1, b"y"))
    assert outcome.told[2:] == [("reset", 5, ResetReason.LOCAL_REFUSED, REFUSED), ("data", 1, b"y", False)]
    assert outcome.output == rst(5, 7)
    outcome = play(make, three, headers(1, [], end=True), rst(3, 8), headers(7, POST))
    assert [event[:2] for event in outcome.told] == [
        ("headers", 1),
        ("headers", 3),
        ("reset", 5),
        ("trailers", 1),
        ("reset", 3),
        ("headers", 7),
    ]


def test_a_refused_request_in_pieces() -> None:
    """Its block is decoded when it is whole."""

    def make() -> Made:
        return server(with_http2(max_concurrent_streams=1))

    outcome = play(
        make,
        headers(1, POST),
        headers(3, POST, whole=False),
        continuation(3, b""),
        rst(1, 8),
        headers(5, GET),
    )
    assert [event[:2] for event in outcome.told] == [
        ("headers", 1),
        ("reset", 3),
        ("reset", 1),
        ("headers", 5),
    ]


def test_an_answered_stream_counts_until_its_request_has_ended() -> None:
    codec, sink = server(with_http2(max_concurrent_streams=1))
    codec.receive(headers(1, POST))
    codec.send_headers(1, Headers.response(200), True)
    codec.receive(headers(3, GET, end=True))
    assert sink.kinds()[-1] == ("reset", 3, ResetReason.LOCAL_REFUSED, REFUSED)
    codec.reset(1, ResetReason.NO_ERROR)
    codec.receive(headers(5, GET, end=True))
    assert sink.kinds() == [("headers", 5, b"GET", True)]


# --- responses


def test_interim_responses_come_before_the_final_one() -> None:
    codec, _ = server()
    codec.receive(headers(1, GET, end=True))
    codec.send_headers(1, Headers.response(100, [(b"content-length", b"5")]), False)
    codec.send_headers(1, Headers.response(103, [(b"link", b"</a>")]), True)  # never the end
    codec.send_headers(1, Headers.response(204, [(b"content-length", b"5")]), True)
    found = written(codec)
    assert [frame.flags for frame in found] == [END_HEADERS, END_HEADERS, END_HEADERS | 1]
    decoder = hpack.Decoder()
    assert [list(decoder.decode(frame.payload, raw=True)) for frame in found] == [
        [(b":status", b"100")],
        [(b":status", b"103"), (b"link", b"</a>")],
        [(b":status", b"204")],
    ]
    assert idle(codec)


def test_one_response_only() -> None:
    codec, _ = server()
    codec.receive(headers(1, POST))
    codec.send_headers(1, Headers.response(200), False)
    for status in (100, 200):
        with pytest.raises(LocalProtocolError):
            codec.send_headers(1, Headers.response(status), False)


def test_a_response_that_may_not_be_written_can_be_replaced() -> None:
    codec, _ = server()
    codec.receive(headers(1, GET, end=True))
    for bad in (Headers.response(200, [(b"x-a", b"\n")]), Headers.response(99), Headers.response(0)):
        with pytest.raises(LocalProtocolError):
            codec.send_headers(1, bad, True)
    assert codec.take_output() == b""
    codec.send_headers(1, Headers.response(500, [(b"x-a", b"b")]), True)
    (frame,) = written(codec)
    assert fields_of(frame) == [(b":status", b"500"), (b"x-a", b"b")]


def test_a_request_goes_on_behind_its_response() -> None:
    codec, sink = server()
    codec.receive(headers(1, POST))
    codec.send_headers(1, Headers.response(200), True)
    codec.receive(data(1, b"late"))
    assert not idle(codec)
    codec.receive(headers(1, [(b"a", b"b")], end=True))
    assert idle(codec)
    assert [event[0] for event in sink.take()] == ["headers", "data", "trailers"]


# --- tunnels


def test_a_tunnel() -> None:
    codec, sink = server()
    codec.receive(headers(1, [*_CONNECT, (b"content-length", b"3")]))
    assert b"content-length" not in sink.headers[0]
    codec.send_headers(1, Headers.response(200), False)
    codec.receive(data(1, b"more than that"))
    assert sink.body == b"more than that"
    codec.send_trailers(1, Headers([(b"a", b"b")]))  # a tunnel has none
    assert shape(written(codec))[-1] == ("DATA", 1, 1, 0)
    codec.receive(headers(1, [(b"a", b"b")], end=True))
    assert shape(written(codec)) == [("RST_STREAM", 0, 1, 4)]
    assert idle(codec)


def test_an_upgrade() -> None:
    codec, sink = server()
    codec.receive(headers(1, _EXTENDED))
    (head,) = sink.headers
    assert (head.method, head.get(b"upgrade"), head.get(b"connection")) == (b"GET", b"websocket", b"upgrade")
    fields = [
        (b"connection", b"upgrade"),
        (b"upgrade", b"websocket"),
        (b"content-length", b"0"),
        (b"x-a", b"b"),
    ]
    codec.send_headers(1, Headers.response(101, fields), False)
    codec.send_data(1, b"frames", False)
    head_frame, body = written(codec)
    assert fields_of(head_frame) == [(b":status", b"200"), (b"x-a", b"b")]
    assert head_frame.flags == END_HEADERS
    assert body.payload == b"frames"
    codec.receive(data(1, b"frames", end=True))
    codec.send_data(1, b"", True)
    assert idle(codec)


def test_a_refused_upgrade_is_a_message_like_others() -> None:
    codec, _ = server()
    codec.receive(headers(1, _EXTENDED))
    codec.send_headers(1, Headers.response(403, [(b"content-length", b"2")]), False)
    codec.send_data(1, b"no", False)
    codec.send_trailers(1, Headers([(b"a", b"b")]))
    assert [frame.type for frame in written(codec)] == [1, 0, 1]


# --- the end


def test_the_end_in_two_steps() -> None:
    codec, sink = server()
    codec.receive(headers(1, POST))
    codec.shutdown()
    assert codec.take_output() == goaway(2**31 - 1)
    codec.receive(headers(3, POST))  # it was on its way
    codec.shutdown()
    assert codec.take_output() == goaway(3)
    codec.shutdown()
    assert codec.take_output() == b""
    sink.take()
    codec.receive(headers(5, POST) + data(5, b"x") + data(1, b"y"))
    assert sink.take() == [("data", 1, b"y", False)]
    assert codec.take_output() == b""
    assert not closes(codec)
    for stream_id in (1, 3):
        codec.send_headers(stream_id, Headers.response(200), True)
        codec.reset(stream_id, ResetReason.NO_ERROR)
    assert closes(codec)


def test_the_end_without_any_stream() -> None:
    codec, _ = server()
    codec.shutdown()
    assert not closes(codec)
    codec.shutdown()
    assert closes(codec)
    assert codec.take_output() == goaway(2**31 - 1) + goaway(0)


@pytest.mark.parametrize(("shutdowns", "last"), [(0, 5), (1, 5), (2, 1)])
def test_what_was_refused_stays_refused(shutdowns: int, last: int) -> None:
    """The id in a GOAWAY never grows (RFC 9113 section 6.8)."""
    codec, _ = server()
    codec.receive(headers(1, POST))
    for _ in range(shutdowns):
        codec.shutdown()
    codec.receive(headers(5, POST))
    codec.take_output()
    with pytest.raises(RemoteProtocolError):
        codec.receive(build_frame(6, 0, 0))
    (frame,) = written(codec)
    assert frame.payload[:4] == last.to_bytes(4, "big")


def test_the_table_goes_on_behind_the_last_goaway() -> None:
    codec, sink = server()
    codec.receive(headers(1, POST))
    codec.shutdown()
    codec.shutdown()
    codec.receive(build_frame(1, END_HEADERS, 3, b"\x82\x86\x84\x41\x01a\x40\x03x-a\x01b"))
    sink.take()
    codec.receive(build_frame(1, END_HEADERS | 1, 1, b"\xbe"))
    assert sink.told() == [("trailers", 1, "Headers(b'x-a': b'b')")]


def test_the_client_leaves() -> None:
    codec, sink = server()
    codec.receive(headers(1, POST) + goaway(0, 2, b"bye") + headers(3, GET, end=True))
    assert [event[:2] for event in sink.take()] == [("headers", 1), ("goaway", 0), ("headers", 3)]
    assert not closes(codec)


def test_the_end_without_the_first_step() -> None:
    """A drain may begin before the client's preface has come, when nothing can be said."""
    codec = Http2Server(Http2Recorder(), SETTINGS)
    codec.shutdown()
    assert codec.take_output() == b""
    codec.receive(PREFACE + build_settings() + headers(1, GET, end=True))
    codec.take_output()
    codec.refuse_more()
    assert codec.take_output() == goaway(1)
    assert not closes(codec)
    codec.send_headers(1, Headers.response(200), True)
    assert closes(codec)


def test_nothing_is_said_before_our_settings() -> None:
    codec = Http2Server(Http2Recorder(), SETTINGS)
    codec.ping(b"12345678")
    assert (codec.take_output(), codec.last_ping_answered) == (b"", b"12345678")


def test_a_block_that_is_too_large_is_refused_before_its_end() -> None:
    codec, _ = server(dataclasses.replace(SETTINGS, max_head_bytes=1000))
    codec.receive(build_frame(FrameType.HEADERS, 0, 1, b"\x82" * 1500))
    with pytest.raises(RemoteProtocolError, match=HEAD_TOO_LARGE) as caught:
        codec.receive(build_frame(FrameType.CONTINUATION, 0, 1, b"\x82" * 1500))
    assert caught.value.h2_code == ENHANCE_YOUR_CALM
