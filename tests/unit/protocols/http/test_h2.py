"""What both roles of HTTP/2 do with frames: the rules of RFC 9113, one by one, and however the input is cut."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http.codec import CodecSettings, ResetReason
from protocols.http.h2 import HEAD_TOO_LARGE, TOO_MANY_HEADERS
from protocols.http.h2_client import Http2Client
from protocols.http.h2_fields import INVALID_FIELD
from protocols.http.h2_frames import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    INTERNAL_ERROR,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
)
from protocols.http.h2_guard import CONTROL_FRAMES, EMPTY_FRAMES, PRIORITY_FRAMES, WINDOW_UPDATES
from protocols.http.h2_server import Http2Server
from protocols.http.headers import Headers
from tests.support.http2_frames import (
    END_HEADERS,
    END_STREAM,
    PADDED,
    PREFACE,
    PRIORITY_FIELDS,
    FrameType,
    build_frame,
    build_settings,
)
from tests.unit.protocols.http.h2_wire import (
    POST,
    SETTINGS,
    STREAM_ERRORS,
    Field,
    Http2Codec,
    Http2Recorder,
    Made,
    Outcome,
    Role,
    ask,
    continuation,
    data,
    feed,
    goaway,
    headers,
    integer,
    literal,
    ping,
    priority,
    rst,
    shape,
    window_update,
    with_http2,
    written,
)
from tests.unit.protocols.http.recorder import closes, idle

# --- the connection breaks

_BROKEN: dict[str, tuple[bytes, str, int]] = {
    "DATA on stream 0": (data(0, b"x"), "DATA:_stream_id_==_0", PROTOCOL_ERROR),
    "HEADERS on stream 0": (headers(0, POST), "HEADERS:_stream_id_==_0", PROTOCOL_ERROR),
    "PRIORITY on stream 0": (priority(0), "PRIORITY:_stream_id_==_0", PROTOCOL_ERROR),
    "RST_STREAM on stream 0": (rst(0, 8), "RST_STREAM:_stream_in_idle", PROTOCOL_ERROR),
    "CONTINUATION on stream 0": (continuation(0, b""), "CONTINUATION:_unexpected", PROTOCOL_ERROR),
    "SETTINGS on a stream": (build_frame(4, 0, 1), "SETTINGS:_stream_id_!=_0", PROTOCOL_ERROR),
    "PING on a stream": (build_frame(6, 0, 1, bytes(8)), "PING:_stream_id_!=_0", PROTOCOL_ERROR),
    "GOAWAY on a stream": (build_frame(7, 0, 1, bytes(8)), "GOAWAY:_stream_id_!=_0", PROTOCOL_ERROR),
    "short RST_STREAM": (build_frame(3, 0, 1, bytes(3)), "RST_STREAM:_size", FRAME_SIZE_ERROR),
    "long RST_STREAM": (build_frame(3, 0, 1, bytes(5)), "RST_STREAM:_size", FRAME_SIZE_ERROR),
    "short PRIORITY": (build_frame(2, 0, 1, bytes(4)), "PRIORITY:_size", FRAME_SIZE_ERROR),
    "long PRIORITY": (priority(1, extra=b"x"), "PRIORITY:_size", FRAME_SIZE_ERROR),
    "odd SETTINGS": (build_frame(4, 0, 0, bytes(5)), "SETTINGS:_size", FRAME_SIZE_ERROR),
    "SETTINGS ACK that says something": (
        build_frame(4, 1, 0, bytes(6)),
        "SETTINGS:_ACK_with_a_payload",
        FRAME_SIZE_ERROR,
    ),
    "SETTINGS ACK too many": (build_frame(4, 1, 0), "SETTINGS:_unexpected_ACK", PROTOCOL_ERROR),
    "short PING": (build_frame(6, 0, 0, bytes(7)), "PING:_size", FRAME_SIZE_ERROR),
    "long PING": (build_frame(6, 0, 0, bytes(9)), "PING:_size", FRAME_SIZE_ERROR),
    "short GOAWAY": (build_frame(7, 0, 0, bytes(7)), "GOAWAY:_size", FRAME_SIZE_ERROR),
    "short WINDOW_UPDATE": (build_frame(8, 0, 0, bytes(3)), "WINDOW_UPDATE:_size", FRAME_SIZE_ERROR),
    "long WINDOW_UPDATE": (build_frame(8, 0, 0, bytes(5)), "WINDOW_UPDATE:_size", FRAME_SIZE_ERROR),
    "PUSH_PROMISE": (
        build_frame(5, END_HEADERS, 1, bytes(4)),
        "PUSH_PROMISE:_push_disabled",
        PROTOCOL_ERROR,
    ),
    "CONTINUATION behind nothing": (continuation(1, b""), "CONTINUATION:_unexpected", PROTOCOL_ERROR),
    "ENABLE_PUSH 2": (build_settings((2, 2)), "SETTINGS:_invalid_ENABLE_PUSH", PROTOCOL_ERROR),
    "INITIAL_WINDOW_SIZE too large": (
        build_settings((4, 2**31)),
        "SETTINGS:_too_large_INITIAL_WINDOW_SIZE",
        FLOW_CONTROL_ERROR,
    ),
    "MAX_FRAME_SIZE too small": (
        build_settings((5, 16_383)),
        "SETTINGS:_invalid_MAX_FRAME_SIZE",
        PROTOCOL_ERROR,
    ),
    "MAX_FRAME_SIZE too large": (
        build_settings((5, 2**24)),
        "SETTINGS:_invalid_MAX_FRAME_SIZE",
        PROTOCOL_ERROR,
    ),
    "ENABLE_CONNECT_PROTOCOL 2": (
        build_settings((8, 2)),
        "SETTINGS:_invalid_ENABLE_CONNECT_PROTOCOL",
        PROTOCOL_ERROR,
    ),
    "WINDOW_UPDATE by nothing": (window_update(0, 0), "WINDOW_UPDATE:_increment_==_0", PROTOCOL_ERROR),
    "WINDOW_UPDATE too far": (
        window_update(0, 2**31 - 1),
        "WINDOW_UPDATE:_connection_window_overflow",
        FLOW_CONTROL_ERROR,
    ),
    "WINDOW_UPDATE on an idle stream": (
        window_update(99, 1),
        "WINDOW_UPDATE:_stream_in_idle",
        PROTOCOL_ERROR,
    ),
    "WINDOW_UPDATE on a stream of nobody": (
        window_update(2, 1),
        "WINDOW_UPDATE:_stream_in_idle",
        PROTOCOL_ERROR,
    ),
    "DATA on an idle stream": (data(99, b"x"), "DATA:_stream_in_idle", PROTOCOL_ERROR),
    "DATA on a stream of nobody": (data(2, b"x"), "DATA:_stream_in_idle", PROTOCOL_ERROR),
    "RST_STREAM on an idle stream": (rst(99, 8), "RST_STREAM:_stream_in_idle", PROTOCOL_ERROR),
    "RST_STREAM on a stream of nobody": (rst(2, 8), "RST_STREAM:_stream_in_idle", PROTOCOL_ERROR),
    "PRIORITY of itself": (priority(3, 3), "PRIORITY:_depends_on_itself", PROTOCOL_ERROR),
}


@pytest.mark.parametrize("case", _BROKEN)
def test_the_connection_breaks(role: Role, case: str) -> None:
    text, details, code = _BROKEN[case]
    outcome = role.play(text, data(1, b"what comes then is not looked at"))
    assert outcome.error == ("codec_error:" + details, code)
    assert outcome.told == []
    last = outcome.frames[-1]
    assert (last.type, last.stream_id) == (FrameType.GOAWAY, 0)
    assert last.payload == bytes(4) + code.to_bytes(4, "big") + b"codec_error:" + details.encode()


_BROKEN_ON: dict[str, tuple[bytes, str, int]] = {
    "padding of the whole frame": (
        build_frame(0, PADDED, 1, b"\x01"),
        "DATA:_invalid_padding",
        PROTOCOL_ERROR,
    ),
    "padding longer than the frame": (
        build_frame(0, PADDED, 1, b"\x05abc"),
        "DATA:_invalid_padding",
        PROTOCOL_ERROR,
    ),
    "padding without a length": (build_frame(0, PADDED, 1), "DATA:_invalid_padding", PROTOCOL_ERROR),
    "DATA behind the end": (
        data(1, b"a", end=True) + data(1, b"b"),
        "DATA:_stream_in_half-closed(remote)",
        STREAM_CLOSED,
    ),
    "HEADERS behind the end": (
        data(1, b"a", end=True) + headers(1, [(b"a", b"b")], end=True),
        "HEADERS:_stream_in_half-closed(remote)",
        STREAM_CLOSED,
    ),
    "HEADERS behind trailers": (
        headers(1, [(b"a", b"b")], end=True) * 2,
        "HEADERS:_stream_in_half-closed(remote)",
        STREAM_CLOSED,
    ),
    "padding of a whole HEADERS": (
        build_frame(1, PADDED | END_HEADERS | END_STREAM, 1, b"\x01"),
        "HEADERS:_invalid_padding",
        PROTOCOL_ERROR,
    ),
    "HEADERS too short for its priority": (
        build_frame(1, PRIORITY_FIELDS | END_HEADERS | END_STREAM, 1, bytes(4)),
        "HEADERS:_too_short",
        FRAME_SIZE_ERROR,
    ),
    "HEADERS that depend on themselves": (
        build_frame(1, PRIORITY_FIELDS | END_HEADERS | END_STREAM, 1, b"\x80\x00\x00\x01\x00"),
        "PRIORITY:_depends_on_itself",
        PROTOCOL_ERROR,
    ),
    "a frame inside of a block": (
        headers(1, [], end=True, whole=False) + ping(bytes(8)),
        "unexpected_non-CONTINUATION_frame",
        PROTOCOL_ERROR,
    ),
    "an unknown frame inside of a block": (
        headers(1, [], end=True, whole=False) + build_frame(0xEE, 0, 1),
        "unexpected_non-CONTINUATION_frame",
        PROTOCOL_ERROR,
    ),
    "CONTINUATION of another stream": (
        headers(1, [], end=True, whole=False) + continuation(3, b""),
        "CONTINUATION:_unexpected",
        PROTOCOL_ERROR,
    ),
    "a block that cannot be decoded": (
        build_frame(1, END_HEADERS | END_STREAM, 1, b"\xbe"),
        "an_index_without_an_entry",
        COMPRESSION_ERROR,
    ),
}


@pytest.mark.parametrize("case", _BROKEN_ON)
def test_the_connection_breaks_on_a_stream(role: Role, case: str) -> None:
    text, details, code = _BROKEN_ON[case]
    outcome = role.play_on(text)
    assert outcome.error == ("codec_error:" + details, code)
    assert outcome.frames[-1].payload[4:8] == code.to_bytes(4, "big")


@pytest.mark.parametrize("kind", [0, 1, 4, 0xEE])
def test_a_frame_that_is_too_large_is_known_by_its_header(role: Role, kind: int) -> None:
    outcome = role.play(build_frame(kind, 0, 1, bytes(16_385))[:9])
    assert outcome.error == ("codec_error:too_large_frame_size", FRAME_SIZE_ERROR)
    assert role.play_on(build_frame(0xEE, 0, 1, bytes(16_384))).error is None


@pytest.mark.parametrize(
    "text",
    [ping(bytes(8)), build_frame(4, 1, 0), window_update(0, 1), build_frame(0xEE, 0, 0)],
    ids=["PING", "ACK", "WINDOW_UPDATE", "unknown"],
)
def test_settings_come_first(text: bytes) -> None:
    for codec in (Http2Client(Http2Recorder(), SETTINGS), Http2Server(Http2Recorder(), SETTINGS)):
        if isinstance(codec, Http2Server):
            codec.receive(PREFACE)
        codec.take_output()
        with pytest.raises(RemoteProtocolError, match="codec_error:SETTINGS_expected"):
            codec.receive(text)
        assert shape(written(codec))[0][0] == "GOAWAY"
        assert closes(codec)


def test_after_the_end_nothing_happens(role: Role) -> None:
    codec, sink = role.begun()
    with pytest.raises(RemoteProtocolError):
        codec.receive(data(0, b""))
    codec.take_output()
    codec.receive(headers(3, POST) + b"anything")
    codec.receive_eof()
    codec.credit(1, 10**9)
    codec.reset(1, ResetReason.LOCAL_RESET)
    codec.ping(bytes(8))
    codec.shutdown()
    codec.flushed()
    codec.proceed()
    assert codec.unsent(1) == 0
    for send in (
        lambda: codec.send_headers(1, Headers.response(200), True),
        lambda: codec.send_data(1, b"x", True),
        lambda: codec.send_trailers(1, Headers()),
        codec.new_stream,
    ):
        with pytest.raises(LocalProtocolError):
            send()
    assert (sink.told(), codec.take_output(), closes(codec), idle(codec)) == ([], b"", True, True)


def test_a_connection_may_be_given_up_from_inside(role: Role) -> None:
    """What comes behind in the same bytes is not looked at."""
    codec, _ = role.begun()

    class GivesUp(Http2Recorder):
        def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
            super().on_data(stream_id, data, end)
            codec.receive_eof()

    codec._sink = sink = GivesUp()
    codec.receive(data(1, b"x") + data(1, b"y"))
    assert sink.told() == [
        ("data", 1, b"x", False),
        ("reset", 1, ResetReason.CONNECTION_TERMINATION, ""),
    ]


def test_the_last_byte(role: Role) -> None:
    """Every stream ends where it was."""
    codec, sink = role.begun()
    codec.receive(data(1, b"half of it"))
    codec.receive(data(1, b"a frame that is cut off")[:-1])
    sink.take()
    codec.receive_eof()
    codec.receive_eof()
    assert sink.told() == [("reset", 1, ResetReason.CONNECTION_TERMINATION, "")]
    assert closes(codec) and idle(codec)
    assert codec.take_output() == b""


# --- frames of the connection


def test_pings_are_answered(role: Role) -> None:
    outcome = role.play(ping(b"12345678"), ping(b"abcdefgh"), ping(b"ignored!", ack=True))
    assert outcome.output == ping(b"12345678", ack=True) + ping(b"abcdefgh", ack=True)
    assert (outcome.error, outcome.told) == (None, [])


def test_asking_for_a_sign_of_life(role: Role) -> None:
    codec, _ = role.fresh()
    codec.ping(b"12345678")
    assert codec.take_output() == ping(b"12345678")
    assert codec.last_ping_answered == b""
    codec.receive(ping(b"12345678", ack=True))
    assert codec.last_ping_answered == b"12345678"


def test_settings_are_acknowledged(role: Role) -> None:
    outcome = role.play(build_settings(), build_settings((0x99, 7), (3, 0), (3, 50), (2, 0), (8, 1)))
    assert outcome.output == build_frame(FrameType.SETTINGS, 1, 0) * 2
    codec, _ = role.fresh()
    assert (codec.peer_max_streams, codec.peer_allows_connect) == (2**31 - 1, False)
    codec.receive(build_settings((3, 0), (3, 50), (8, 1)))
    assert (codec.peer_max_streams, codec.peer_allows_connect) == (50, True)


def test_what_is_unknown_is_ignored(role: Role) -> None:
    unknown = [
        build_frame(kind, 0xFF, stream_id, b"payload")
        for kind in (10, 16, 255)
        for stream_id in (0, 1, 2, 99)
    ]
    outcome = role.play_on(*unknown, data(1, b"x"))
    assert outcome == Outcome([("data", 1, b"x", False)], None, b"")


def test_priorities_mean_nothing(role: Role) -> None:
    outcome = role.play_on(priority(1), priority(3, 1), priority(2), priority(99, 0x80000000), data(1, b"x"))
    assert outcome == Outcome([("data", 1, b"x", False)], None, b"")


def test_undefined_flags_mean_nothing(role: Role) -> None:
    outcome = role.play_on(build_frame(0, 0xF6, 1, b"x"), build_frame(6, 0xFE, 0, bytes(8)))
    assert outcome == Outcome([("data", 1, b"x", False)], None, ping(bytes(8), ack=True))


def test_the_reserved_bit_means_nothing(role: Role) -> None:
    with_bit = bytearray(data(1, b"x"))
    with_bit[5] |= 0x80
    increment = bytearray(window_update(1, 5))
    increment[9] |= 0x80
    outcome = role.play_on(bytes(with_bit), bytes(increment))
    assert outcome == Outcome([("data", 1, b"x", False)], None, b"")


# --- blocks


def test_a_head_in_one_frame(role: Role) -> None:
    outcome = role.play(headers(1, [*role.head, (b"x-a", b"b")], end=True))
    ((kind, stream_id, head, end),) = outcome.told
    assert (kind, stream_id, end) == ("headers", 1, True)
    assert "b'x-a': b'b'" in str(head)


def test_a_head_with_padding_and_priority(role: Role) -> None:
    block = literal(role.head)
    plain = role.play(headers(1, role.head))
    for flags, before, after in (
        (PADDED, b"\x00", b""),
        (PADDED, b"\x07", bytes(7)),
        (PRIORITY_FIELDS, b"\x80\x00\x00\x07\xff", b""),
        (PADDED | PRIORITY_FIELDS, b"\x03\x00\x00\x00\x00\x00", bytes(3)),
    ):
        text = build_frame(FrameType.HEADERS, flags | END_HEADERS, 1, before + block + after)
        assert role.play(text) == plain


def test_a_head_in_pieces(role: Role) -> None:
    head = [*role.head, (b"x-a", b"something longer")]
    block = literal(head)
    plain = role.play(headers(1, head, end=True))
    for cuts in ([0], [1], [5, 6], [len(block)], list(range(1, 20))):
        edges = [0, *cuts, len(block)]
        pieces = [block[start:end] for start, end in itertools.pairwise(edges)]
        text = build_frame(FrameType.HEADERS, END_STREAM, 1, pieces[0])
        for piece in pieces[1:-1]:
            text += continuation(1, piece, whole=False)
        assert role.play(text + continuation(1, pieces[-1])) == plain


def test_flags_of_a_continuation_that_belong_to_others_mean_nothing(role: Role) -> None:
    block = literal(role.head)
    text = build_frame(FrameType.HEADERS, 0, 1, block[:9]) + build_frame(9, 0xFF, 1, block[9:])
    assert role.play(text) == role.play(headers(1, role.head))


@pytest.mark.parametrize(
    "fields", [[(b"X-A", b"b")], [(b"x-a", b"\n")], [(b"connection", b"close")], [(b":path", b"/")]]
)
def test_a_malformed_head(role: Role, fields: list[Field]) -> None:
    """It costs the connection; the stream alone where that is configured."""
    text = headers(1, [*role.head, *fields])
    outcome = role.play(text)
    assert outcome.error == (INVALID_FIELD, PROTOCOL_ERROR)
    assert outcome.told == [("reset", 1, ResetReason.PROTOCOL_ERROR, INVALID_FIELD)]
    assert shape(outcome.frames) == [("GOAWAY", 0, 0, 8 + len(INVALID_FIELD))]
    outcome = role.play(text, data(1, b"for nobody"), settings=STREAM_ERRORS)
    assert outcome == Outcome(
        [("reset", 1, ResetReason.PROTOCOL_ERROR, INVALID_FIELD)], None, rst(1, PROTOCOL_ERROR)
    )


def many(count: int, size: int = 1) -> list[Field]:
    return [(b"x-%04d" % number, b"v" * size) for number in range(count)]


@pytest.mark.parametrize("in_trailers", [False, True])
@pytest.mark.parametrize(
    ("fields", "details"),
    [
        (many(101), TOO_MANY_HEADERS),
        (many(500), TOO_MANY_HEADERS),
        (many(2, 31_000), HEAD_TOO_LARGE),
        (many(99, 700), HEAD_TOO_LARGE),
        (many(120, 700), HEAD_TOO_LARGE),
        ([(b"x" * 62_000, b"")], HEAD_TOO_LARGE),
    ],
)
def test_a_head_over_the_limits(role: Role, in_trailers: bool, fields: list[Field], details: str) -> None:
    """It is refused, and the connection goes on: the tables are in step."""
    codec, sink = role.begun() if in_trailers else role.fresh()
    block = literal(fields if in_trailers else [*role.head, *fields])
    text = b"".join(
        build_frame(
            9 if at else 1,
            (END_HEADERS if at + 16_000 >= len(block) else 0) | (not at),
            1,
            block[at : at + 16_000],
        )
        for at in range(0, len(block), 16_000)
    )
    outcome = feed(codec, sink, [text])
    assert outcome == Outcome([("reset", 1, ResetReason.LOCAL_RESET, details)], None, rst(1, INTERNAL_ERROR))
    assert idle(codec)


def test_a_head_within_the_limits(role: Role) -> None:
    size = sum(len(name) + len(value) for name, value in role.head)
    fields = many(100 - len(role.head), 500)
    fields[0] = (fields[0][0], b"v" * (500 + SETTINGS.max_head_bytes - size - 506 * len(fields)))
    assert sum(len(name) + len(value) for name, value in role.head + fields) == SETTINGS.max_head_bytes
    for more, told in ((b"", "headers"), (b"v", "reset")):
        codec, sink = role.fresh()
        fields[1] = (fields[1][0], fields[1][1] + more)
        block = literal(role.head + fields)
        for at in range(0, len(block), 16_000):
            codec.receive(
                build_frame(
                    9 if at else 1,
                    END_HEADERS if at + 16_000 >= len(block) else 0,
                    1,
                    block[at : at + 16_000],
                )
            )
        assert [event[0] for event in sink.take()] == [told]


@pytest.mark.parametrize("table_size", [0, 4096, 65_536])
def test_a_bomb(role: Role, table_size: int) -> None:
    """A field in the table, asked for again and again: also while our smaller table is not acknowledged."""
    settings = with_http2(header_table_size=table_size)
    codec, sink = role.fresh(settings) if table_size else unacknowledged(role, settings)
    bomb = b"\x40\x03x-a" + integer(4000, 7) + b"v" * 4000 + b"\xbe" * 60
    outcome = feed(codec, sink, [build_frame(1, END_HEADERS, 1, literal(role.head) + bomb)])
    assert outcome == Outcome(
        [("reset", 1, ResetReason.LOCAL_RESET, HEAD_TOO_LARGE)], None, rst(1, INTERNAL_ERROR)
    )


def unacknowledged(role: Role, settings: CodecSettings) -> Made:
    """Our SETTINGS are on their way."""
    sink = Http2Recorder()
    codec: Http2Codec
    if role.head is POST:
        codec = Http2Server(sink, settings)
        codec.receive(PREFACE + build_settings())
    else:
        codec = client_codec = Http2Client(sink, settings)
        codec.receive(build_settings())
        ask(client_codec)
    codec.take_output()
    return codec, sink


def test_blocks_that_are_attacks(role: Role) -> None:
    limit = replace(SETTINGS, max_head_bytes=10_000)
    codec, sink = role.fresh(limit)
    block = literal(role.head) + literal([(b"a", b"v" * 9_990)]) * 2
    pieces = [build_frame(1, 0, 1, block[:15_000]), continuation(1, block[15_000:])]
    assert feed(codec, sink, pieces).error == (HEAD_TOO_LARGE, ENHANCE_YOUR_CALM)
    codec, sink = role.fresh()
    outcome = feed(codec, sink, [build_frame(1, END_HEADERS, 1, b"\x82" * 10_001)])
    assert outcome.error == (TOO_MANY_HEADERS, ENHANCE_YOUR_CALM)
    outcome = role.play(headers(1, role.head, whole=False), *[continuation(1, b"\x82", whole=False)] * 32)
    assert outcome.error == (TOO_MANY_HEADERS, ENHANCE_YOUR_CALM)
    pieces = [headers(1, role.head, whole=False), *[continuation(1, b"\x00\x01n\x00", whole=False)] * 31]
    assert role.play(*pieces, continuation(1, b"")).error is None


def test_the_table_goes_on_whatever_becomes_of_a_block(role: Role) -> None:
    """Blocks for streams that are over, and refused ones, are decoded as well."""
    remember = [b"\x40\x03x-%c\x01%c" % (letter, letter) for letter in b"abc"]
    codec, sink = role.begun()
    codec.receive(build_frame(1, END_HEADERS | END_STREAM, 1, remember[0] + b"\x82" * 200))  # too many
    assert [event[0] for event in sink.take()] == ["reset"]
    codec.receive(build_frame(1, END_HEADERS | END_STREAM, 1, remember[1]))  # over
    assert sink.take() == []
    if isinstance(codec, Http2Client):
        ask(codec)
    codec.receive(build_frame(1, END_HEADERS, 3, literal(role.head) + b"\xbe\xbf"))
    ((_, _, head, _),) = sink.take()
    assert isinstance(head, Headers)
    assert list(head.items()) == [(b"x-b", b"b"), (b"x-a", b"a")]


# --- floods


def test_floods(role: Role) -> None:
    calm = ENHANCE_YOUR_CALM
    assert role.play_on(data(1, b"") * 2).error == (EMPTY_FRAMES, calm)
    assert role.play_on(data(1, b"", pad=9) * 2).error == (EMPTY_FRAMES, calm)
    assert role.play_on((data(1, b"") + data(1, b"x")) * 20).error is None
    assert role.play(build_frame(1, 0, 1), continuation(1, b"", whole=False)).error == (EMPTY_FRAMES, calm)
    empty = build_frame(1, PADDED, 1, b"\x02\x00\x00")
    assert role.play(empty, continuation(1, b"", whole=False)).error == (EMPTY_FRAMES, calm)
    assert role.play_on(window_update(0, 1) * 8).error == (WINDOW_UPDATES, calm)
    for text, details in (
        (priority(1) * 201, PRIORITY_FRAMES),
        (ping(bytes(8)) * 1001, CONTROL_FRAMES),
        (build_settings() * 1001, CONTROL_FRAMES),
    ):
        assert feed(*role.begun(), [text]).error == (details, calm)


def test_answers_that_are_read_are_no_flood(role: Role) -> None:
    codec, sink = role.fresh()
    for _ in range(20):
        assert feed(codec, sink, [ping(bytes(8)) * 100]).error is None
        codec.flushed()


def test_the_peer_leaves(role: Role) -> None:
    codec, sink = role.begun()
    codec.receive(goaway(2**31 - 1, 0, b"debug") + data(1, b"x"))
    assert sink.told() == [("goaway", 2**31 - 1), ("data", 1, b"x", False)]
    assert codec.take_output() == b""
