"""Messages over HTTP/2, both roles: bodies, trailers, ends, and what is counted. However the input is cut."""

from __future__ import annotations

from collections.abc import Callable

import hpack
import pytest

from protocols.errors import LocalProtocolError
from protocols.http.codec import HttpVersion, ResetReason
from protocols.http.h2_client import Http2Client
from protocols.http.h2_fields import INVALID_FIELD, VIOLATION
from protocols.http.h2_frames import FLOW_CONTROL_ERROR, PROTOCOL_ERROR
from protocols.http.h2_resets import REMOTE_REFUSED, REMOTE_RESET
from protocols.http.h2_server import Http2Server
from protocols.http.headers import Headers
from tests.support.http2_frames import (
    END_HEADERS,
    END_STREAM,
    PADDED,
    PRIORITY_FIELDS,
    FrameType,
    Setting,
    build_frame,
    build_settings,
)
from tests.unit.protocols.http.h2_wire import (
    OK,
    STREAM_ERRORS,
    Field,
    Http2Codec,
    Outcome,
    Role,
    ask,
    client,
    continuation,
    data,
    headers,
    literal,
    priority,
    rst,
    shape,
    window_update,
    with_http2,
    written,
)
from tests.unit.protocols.http.recorder import idle

# --- bodies


def test_a_body(role: Role) -> None:
    outcome = role.play_on(data(1, b"one"), data(1, b"two"), data(1, b"", end=True))
    assert outcome == Outcome(
        [("data", 1, b"one", False), ("data", 1, b"two", False), ("data", 1, b"", True)], None, b""
    )
    assert role.play_on(data(1, b"one", end=True)).told == [("data", 1, b"one", True)]


def test_a_piece_without_anything_is_not_told(role: Role) -> None:
    """Written as a chunk, it would be the end of a body."""
    outcome = role.play_on(data(1, b""), data(1, b"one"), data(1, b"", pad=5), data(1, b"two"))
    assert outcome.told == [("data", 1, b"one", False), ("data", 1, b"two", False)]


@pytest.mark.parametrize("pad", [0, 1, 255])
def test_padding_is_not_body(role: Role, pad: int) -> None:
    outcome = role.play_on(data(1, b"one", pad=pad), data(1, b"two", pad=pad, end=True))
    assert outcome == Outcome([("data", 1, b"one", False), ("data", 1, b"two", True)], None, b"")


_MISMATCH = ("reset", 1, ResetReason.PROTOCOL_ERROR, VIOLATION)


@pytest.mark.parametrize(
    ("length", "parts", "told"),
    [
        (b"5", [data(1, b"hello", end=True)], [("data", 1, b"hello", True)]),
        (b"5", [data(1, b"hel"), data(1, b"lo", end=True)], [("data", 1, b"hel", False), ("data", 1, b"lo", True)]),
        (b"5", [data(1, b"hello"), data(1, b"", end=True)], [("data", 1, b"hello", False), ("data", 1, b"", True)]),
        (b"5", [data(1, b"hello", pad=3, end=True)], [("data", 1, b"hello", True)]),
        (b"0", [data(1, b"", end=True)], [("data", 1, b"", True)]),
        (b"5", [data(1, b"hell", end=True)], [_MISMATCH]),
        (b"5", [data(1, b"hel"), data(1, b"", end=True)], [("data", 1, b"hel", False), _MISMATCH]),
        (b"5", [data(1, b"hello!")], [_MISMATCH]),
        (b"5", [data(1, b"hello"), data(1, b"!", end=True)], [("data", 1, b"hello", False), _MISMATCH]),
        (b"0", [data(1, b"x", end=True)], [_MISMATCH]),
        (b"5", [headers(1, [(b"a", b"b")], end=True)], [_MISMATCH]),
        (b"5", [data(1, b"hel"), headers(1, [], end=True)], [("data", 1, b"hel", False), _MISMATCH]),
        (b"0", [headers(1, [], end=True)], [("trailers", 1, "Headers()")]),
    ],
)  # fmt: skip
def test_a_body_and_its_length(role: Role, length: bytes, parts: list[bytes], told: list[object]) -> None:
    """What does not match ends the stream, never the connection."""
    outcome = role.play(headers(1, [*role.head, (b"content-length", length)]), *parts)
    assert outcome.told[1:] == told
    assert outcome.error is None
    assert outcome.output == (rst(1, PROTOCOL_ERROR) if _MISMATCH in told else b"")


def test_a_length_without_a_body(role: Role) -> None:
    text = headers(1, [*role.head, (b"content-length", b"5")], end=True)
    assert role.play(text).error == (VIOLATION, PROTOCOL_ERROR)
    outcome = role.play(text, settings=STREAM_ERRORS)
    assert outcome == Outcome([_MISMATCH], None, rst(1, PROTOCOL_ERROR))
    assert role.play(headers(1, [*role.head, (b"content-length", b"0")], end=True)).error is None


def test_trailers(role: Role) -> None:
    outcome = role.play_on(
        data(1, b"x"), headers(1, [(b"x-a", b"1"), (b"te", b"x"), (b"x-a", b"2")], end=True)
    )
    assert outcome == Outcome(
        [("data", 1, b"x", False), ("trailers", 1, "Headers(b'x-a': b'1', b'x-a': b'2')")], None, b""
    )


@pytest.mark.parametrize(
    ("text", "details"),
    [
        (headers(1, [(b"x-a", b"1")]), VIOLATION),
        (headers(1, [(b":status", b"200")], end=True), INVALID_FIELD),
        (headers(1, [(b"X-A", b"1")], end=True), INVALID_FIELD),
        (headers(1, [(b"x-a", b"1\r\n")], end=True), INVALID_FIELD),
        (headers(1, [(b"upgrade", b"1")], end=True), INVALID_FIELD),
    ],
    ids=["no end", "pseudo-header", "upper case", "line end", "of one hop"],
)
def test_malformed_trailers(role: Role, text: bytes, details: str) -> None:
    told = [("reset", 1, ResetReason.PROTOCOL_ERROR, details)]
    outcome = role.play_on(text)
    assert (outcome.told, outcome.error) == (told, (details, PROTOCOL_ERROR))
    assert role.play_on(text, settings=STREAM_ERRORS) == Outcome(told, None, rst(1, PROTOCOL_ERROR))


# --- the ends of streams


@pytest.mark.parametrize(
    ("code", "reason", "details"),
    [
        (0, ResetReason.REMOTE_RESET, REMOTE_RESET),
        (2, ResetReason.REMOTE_RESET, REMOTE_RESET),
        (7, ResetReason.REMOTE_REFUSED, REMOTE_REFUSED),
        (8, ResetReason.REMOTE_RESET, REMOTE_RESET),
        (0xFFFFFFFF, ResetReason.REMOTE_RESET, REMOTE_RESET),
    ],
)
def test_the_peer_gives_up(role: Role, code: int, reason: ResetReason, details: str) -> None:
    outcome = role.play_on(data(1, b"x"), rst(1, code), rst(1, code))
    assert outcome == Outcome([("data", 1, b"x", False), ("reset", 1, reason, details)], None, b"")


@pytest.mark.parametrize(
    ("reason", "of_server", "of_client"),
    [
        (ResetReason.NO_ERROR, 0, 0),
        (ResetReason.LOCAL_REFUSED, 7, 7),
        (ResetReason.PROTOCOL_ERROR, 1, 1),
        (ResetReason.LOCAL_RESET, 2, 8),
        (ResetReason.OVERFLOW, 2, 8),
        (ResetReason.CONNECT_ERROR, 10, 10),
    ],
)
def test_giving_up(role: Role, reason: ResetReason, of_server: int, of_client: int) -> None:
    codec, sink = role.begun()
    codec.reset(1, reason)
    codec.reset(1, reason)
    codec.reset(77, reason)
    assert codec.take_output() == rst(1, of_client if isinstance(codec, Http2Client) else of_server)
    assert sink.take() == []
    assert idle(codec)
    with pytest.raises(LocalProtocolError):
        codec.send_data(1, b"x", False)


def test_frames_on_a_stream_that_is_over(role: Role) -> None:
    """They were on their way. Of a body the connection's window is opened again at once."""
    late = [
        data(1, b"x" * 100, pad=3),
        headers(1, role.head),
        rst(1, 8),
        window_update(1, 5),
        window_update(1, 0),
    ]
    outcome = role.play_on(rst(1, 8), *late, priority(1), data(1, b"", end=True))
    assert outcome == Outcome([("reset", 1, ResetReason.REMOTE_RESET, REMOTE_RESET)], None, b"")
    small = with_http2(initial_connection_window_size=65_535)
    codec, sink = role.begun(small)
    codec.reset(1, ResetReason.LOCAL_RESET)
    codec.take_output()
    for _ in range(3):
        codec.receive(data(1, b"x" * 16_000, pad=100))
    assert codec.take_output() == window_update(0, 3 * 16_101)
    assert sink.take() == []


@pytest.mark.parametrize(
    ("increments", "details", "code"),
    [
        ([0], "codec_error:WINDOW_UPDATE:_increment_==_0", PROTOCOL_ERROR),
        ([2**31 - 1], "codec_error:WINDOW_UPDATE:_stream_window_overflow", FLOW_CONTROL_ERROR),
        ([2**31 - 1 - 65_535, 1], "codec_error:WINDOW_UPDATE:_stream_window_overflow", FLOW_CONTROL_ERROR),
    ],
)
def test_the_window_of_a_stream_is_spoilt(role: Role, increments: list[int], details: str, code: int) -> None:
    text = b"".join(window_update(1, increment) for increment in increments)
    told = [("reset", 1, ResetReason.PROTOCOL_ERROR, details)]
    outcome = role.play_on(text)
    assert (outcome.told, outcome.error) == (told, (details, code))
    assert role.play_on(text, settings=STREAM_ERRORS) == Outcome(told, None, rst(1, code))


# --- sending


def test_a_message_has_one_head_and_one_end(role: Role) -> None:
    codec, _ = role.begun()
    head = Headers.response(200)
    sends: list[Callable[[], None]] = [
        lambda: codec.send_data(1, b"x", False),
        lambda: codec.send_data(1, b"", True),
        lambda: codec.send_trailers(1, Headers([(b"a", b"b")])),
    ]
    if isinstance(codec, Http2Client):
        head = Headers.request(b"GET", b"/", b"a")
        stream_id = codec.new_stream()
        with pytest.raises(LocalProtocolError):
            codec.send_data(stream_id, b"x", False)
    else:
        for send in sends:
            with pytest.raises(LocalProtocolError):
                send()
        codec.send_headers(1, head, False)
    with pytest.raises(LocalProtocolError):
        codec.send_headers(1, head, False)
    codec.send_data(1, b"x", True)
    for send in sends:
        with pytest.raises(LocalProtocolError):
            send()
    for stream_id in (0, 2, 99):
        with pytest.raises(LocalProtocolError):
            codec.send_headers(stream_id, head, False)


def test_pieces_without_anything_are_not_sent(role: Role) -> None:
    codec = role.sending()[0]
    codec.send_data(1, b"", False)
    assert codec.take_output() == b""
    codec.send_data(1, b"", True)
    assert codec.take_output() == data(1, b"", end=True)


def test_trailers_are_sent(role: Role) -> None:
    codec = role.sending()[0]
    codec.send_data(1, b"x", False)
    codec.send_trailers(1, Headers([(b"grpc-status", b"0"), (b"connection", b"close")]))
    body, trailers = written(codec)
    assert (body.payload, body.flags) == (b"x", 0)
    assert (trailers.type, trailers.flags) == (FrameType.HEADERS, END_STREAM | END_HEADERS)
    assert hpack.Decoder().decode(trailers.payload, raw=True) == [(b"grpc-status", b"0")]


@pytest.mark.parametrize("fields", [[], [(b"connection", b"close")]])
def test_trailers_without_anything_are_only_the_end(role: Role, fields: list[Field]) -> None:
    codec = role.sending()[0]
    codec.send_trailers(1, Headers(fields))
    assert codec.take_output() == data(1, b"", end=True)


def test_trailers_that_may_not_be_written(role: Role) -> None:
    """The stream is as it was; it may still be ended."""
    codec = role.sending()[0]
    for bad in ((b"x-a", b"\n"), (b"X-A", b""), (b":status", b"200"), (b":other", b"1")):
        with pytest.raises(LocalProtocolError):
            codec.send_trailers(1, Headers([(b"x-b", b"c"), bad]))
    assert codec.take_output() == b""
    codec.send_trailers(1, Headers([(b"x-b", b"c")]))
    (frame,) = written(codec)
    assert hpack.Decoder().decode(frame.payload, raw=True) == [(b"x-b", b"c")]


def test_the_end_of_both_directions_ends_the_stream(role: Role) -> None:
    codec = role.sending()[0]
    codec.send_data(1, b"", True)
    assert not idle(codec)
    assert codec.open_streams == 1
    codec.receive(data(1, b"", end=True))
    assert idle(codec)
    assert codec.open_streams == 0
    codec = role.sending()[0]
    codec.receive(headers(1, [], end=True))
    assert not idle(codec)
    codec.send_trailers(1, Headers([(b"a", b"b")]))
    assert idle(codec)


def test_frames_of_the_size_that_the_peer_takes(role: Role) -> None:
    codec = role.sending()[0]
    codec.receive(build_settings((Setting.MAX_FRAME_SIZE, 20_000)))
    codec.take_output()
    codec.send_data(1, b"x" * 45_000, True)
    assert shape(written(codec)) == [("DATA", 0, 1, 20_000), ("DATA", 0, 1, 20_000), ("DATA", 1, 1, 5_000)]


def test_a_large_head_is_cut(role: Role) -> None:
    fields = [(b"x-%d" % number, b"v" * 10_000) for number in range(4)]
    codec: Http2Codec
    if role.head is OK:
        codec = asker = client()[0]
        ask(asker, fields=fields)
    else:
        codec, _ = role.begun()
        codec.send_headers(1, Headers.response(200, fields), True)
    found = written(codec)
    assert [(frame.type, frame.flags) for frame in found] == [(1, END_STREAM), (9, 0), (9, END_HEADERS)]
    decoded = list(hpack.Decoder(1 << 20).decode(b"".join(frame.payload for frame in found), raw=True))
    assert decoded[-4:] == fields


# --- counts


def test_the_bytes_of_a_stream_are_counted(role: Role) -> None:
    """Frames of the message with their headers; padding and priority, too."""
    codec, _ = role.fresh()
    meter = codec.meter(1) if isinstance(codec, Http2Client) else None
    block = literal([*role.head, (b"x-a", b"b")])
    text = build_frame(1, PADDED | PRIORITY_FIELDS, 1, b"\x03" + bytes(5) + block[:10] + bytes(3))
    text += continuation(1, block[10:20], whole=False) + continuation(1, block[20:])
    codec.receive(text)
    meter = codec.meter(1)
    assert meter.header_received == meter.wire_received == len(text)
    body, trailers = data(1, b"hello", pad=7), headers(1, [(b"a", b"b")], end=True)
    codec.receive(body)
    assert (meter.header_received, meter.wire_received) == (len(text), len(text) + len(body))
    codec.receive(trailers)
    assert meter.header_received == len(text) + len(trailers)
    assert meter.wire_received == len(text) + len(body) + len(trailers)


def test_the_bytes_that_are_sent_are_counted(role: Role) -> None:
    codec, _ = role.begun()
    meter = codec.meter(1)
    heads = meter.header_sent
    if isinstance(codec, Http2Server):
        assert heads == 0
        codec.send_headers(1, Headers.response(103), False)
        codec.send_headers(1, Headers.response(200), False)
        heads = len(codec.take_output())
    assert meter.header_sent == meter.wire_sent == heads > 9
    codec.send_data(1, b"x" * 40_000, False)
    body = len(codec.take_output())
    assert (meter.header_sent, meter.wire_sent) == (heads, heads + body)
    codec.send_trailers(1, Headers([(b"a", b"b")]))
    trailers = len(codec.take_output())
    assert (meter.header_sent, meter.wire_sent) == (heads + trailers, heads + body + trailers)
    assert body == 40_000 + 3 * 9


def test_the_meter_of_a_stream_outlives_it(role: Role) -> None:
    codec, _ = role.begun()
    meter = codec.meter(1)
    before = meter.wire_received
    codec.receive(rst(1, 8))
    assert meter.wire_received == before + 13
    assert codec.meter(1) is not meter
    assert codec.meter(1).wire_received == 0


def test_what_is_the_same_for_every_stream(role: Role) -> None:
    codec, _ = role.fresh()
    assert codec.version(1) is HttpVersion.HTTP2
    assert codec.wants_input
    codec.proceed()
    assert codec.take_output() == b""
