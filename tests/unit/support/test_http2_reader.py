"""The strict reader of HTTP/2 answers: what it takes, what it refuses."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hpack import Encoder

from tests.support.http2_frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    PADDED,
    PREFACE,
    PRIORITY_FIELDS,
    FrameType,
    SentFrames,
    Setting,
    build_frame,
    build_settings,
)
from tests.support.http2_reader import AnswerReader, InvalidAnswer

_GREETING = build_settings()
_WHOLE = END_HEADERS | END_STREAM


def _block(*fields: tuple[str, str]) -> bytes:
    return Encoder().encode(list(fields))


def _head(*fields: tuple[str, str], status: str = "200", flags: int = END_HEADERS, stream: int = 1) -> bytes:
    return build_frame(FrameType.HEADERS, flags, stream, _block((":status", status), *fields))


def _data(body: bytes, flags: int = END_STREAM, stream: int = 1) -> bytes:
    return build_frame(FrameType.DATA, flags, stream, body)


def _goaway(code: int) -> bytes:
    return build_frame(FrameType.GOAWAY, 0, 0, struct.pack(">LL", 0, code))


def _reader(
    *settings: tuple[int, int], streams: Sequence[int] = (1,), head: Sequence[int] = ()
) -> AnswerReader:
    sent = SentFrames()
    sent.feed(PREFACE + build_settings(*settings))
    for stream in streams:
        sent.feed(build_frame(FrameType.HEADERS, _WHOLE, stream))
    return AnswerReader(sent, head)


def _read(*frames: bytes, reader: AnswerReader | None = None) -> AnswerReader:
    reader = reader or _reader()
    for data in (_GREETING, *frames):
        for position in range(len(data)):
            reader.feed(data[position : position + 1])
    return reader


def test_an_answer() -> None:
    reader = _read(_head(("x-backend", "1"), ("content-length", "5")), _data(b"hel", 0), _data(b"lo"))
    answer = reader.answers[1]
    assert answer.response is not None
    assert answer.complete
    assert (answer.response.status, answer.response.body) == (200, b"hello")
    assert answer.response.header("x-backend") == "1"
    assert not reader.pending


def test_an_answer_is_complete_only_with_its_end() -> None:
    answer = _read(_head(), _data(b"x", 0)).answers[1]
    assert answer.response is not None
    assert not answer.complete


def test_padding_priority_continuation_interim_and_trailers() -> None:
    block = _block((":status", "200"), ("a", "b"))
    reader = _read(
        _head(status="100"),
        build_frame(FrameType.HEADERS, PADDED | PRIORITY_FIELDS, 1, b"\2" + bytes(5) + block[:3] + b"\0\0"),
        build_frame(FrameType.CONTINUATION, 0, 1, block[3:4]),
        build_frame(FrameType.CONTINUATION, END_HEADERS, 1, block[4:]),
        build_frame(FrameType.DATA, PADDED, 1, b"\3abc\0\0\0"),
        build_frame(FrameType.HEADERS, _WHOLE, 1, _block(("grpc-status", "0"))),
    )
    answer = reader.answers[1]
    assert answer.response is not None
    assert answer.complete
    assert answer.interim == 1
    assert answer.response.headers == [(b"a", b"b")]
    assert answer.response.body == b"abc"
    assert answer.response.trailers == [(b"grpc-status", b"0")]


def test_a_reset_and_the_ends_of_the_connection() -> None:
    reset = build_frame(FrameType.RST_STREAM, 0, 1, (11).to_bytes(4, "big"))
    reader = _read(reset, _goaway(0), _goaway(1))
    assert reader.answers[1].reset == "ENHANCE_YOUR_CALM"
    assert reader.goaways == ["NO_ERROR", "PROTOCOL_ERROR"]
    assert reader.error == "PROTOCOL_ERROR"
    assert _read(_goaway(0)).error is None


def test_a_reset_may_follow_a_complete_answer() -> None:
    answer = _read(_head(flags=_WHOLE), build_frame(FrameType.RST_STREAM, 0, 1, bytes(4))).answers[1]
    assert answer.complete
    assert answer.reset == "NO_ERROR"


def test_what_the_client_owes() -> None:
    ping = build_frame(FrameType.PING, 0, 0, b"12345678")
    pong = build_frame(FrameType.PING, ACK, 0, b"12345678")
    acknowledgement = build_frame(FrameType.SETTINGS, ACK, 0)
    reader = _read(ping, pong)
    assert reader.take_owed(settings=False) == pong
    assert reader.take_owed(settings=True) == acknowledgement
    assert reader.take_owed(settings=True) == b""


def test_unknown_frames_are_ignored() -> None:
    assert _read(build_frame(0xFA, 0xFF, 99, b"x")).answers == {}


def test_head_answers_announce_a_length_and_have_no_body() -> None:
    whole = _head(("content-length", "5"), flags=_WHOLE)
    assert _read(whole, reader=_reader(head=[1])).answers[1].complete
    with pytest.raises(InvalidAnswer):
        _read(whole)
    with pytest.raises(InvalidAnswer):
        _read(_head(), _data(b"x"), reader=_reader(head=[1]))


def test_settings_are_in_force_when_they_are_acknowledged() -> None:
    acknowledgement = build_frame(FrameType.SETTINGS, ACK, 0)
    small = (Setting.INITIAL_WINDOW_SIZE, 2)
    body = [_head(), _data(b"abc")]
    assert _read(*body, reader=_reader(small)).answers[1].complete
    with pytest.raises(InvalidAnswer, match="window of stream 1"):
        _read(acknowledgement, *body, reader=_reader(small))
    reader = _reader(small)
    reader.sent.feed(build_frame(FrameType.WINDOW_UPDATE, 0, 1, (1).to_bytes(4, "big")))
    assert _read(acknowledgement, *body, reader=reader).answers[1].complete


def test_the_window_of_the_connection() -> None:
    reader = _reader(streams=[1, 3, 5, 7, 9])
    full = [_head(stream=stream) + _data(bytes(16383), stream=stream) for stream in (1, 3, 5, 7)]
    _read(*full, reader=reader)
    assert all(answer.complete for answer in reader.answers.values())
    reader.feed(_head(stream=9))
    with pytest.raises(InvalidAnswer, match="window of stream 0"):
        reader.feed(_data(bytes(4), stream=9))


def test_a_header_table_follows_the_settings() -> None:
    update = b"\x20"  # the table is made empty
    shrunk = build_frame(FrameType.HEADERS, _WHOLE, 1, update + _block((":status", "200")))
    acknowledgement = build_frame(FrameType.SETTINGS, ACK, 0)
    none = (Setting.HEADER_TABLE_SIZE, 0)
    assert _read(acknowledgement, shrunk, reader=_reader(none)).answers[1].complete
    with pytest.raises(InvalidAnswer, match="header block"):
        _read(acknowledgement, _head(flags=_WHOLE), reader=_reader(none))


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([build_frame(FrameType.SETTINGS, ACK, 0)] * 2, id="surplus acknowledgement"),
        pytest.param([build_frame(FrameType.SETTINGS, 0, 1)], id="SETTINGS on a stream"),
        pytest.param([build_frame(FrameType.SETTINGS, 0, 0, b"x")], id="SETTINGS of one byte"),
        pytest.param([build_settings((Setting.ENABLE_PUSH, 1))], id="push enabled by a server"),
        pytest.param([build_settings((Setting.INITIAL_WINDOW_SIZE, 2**31))], id="window of 2 GiB"),
        pytest.param([build_settings((Setting.MAX_FRAME_SIZE, 16383))], id="small max frame size"),
        pytest.param([build_frame(FrameType.PING, 0, 0, b"x")], id="PING of one byte"),
        pytest.param([build_frame(FrameType.GOAWAY, 0, 0, bytes(7))], id="short GOAWAY"),
        pytest.param([build_frame(FrameType.WINDOW_UPDATE, 0, 0, bytes(4))], id="WINDOW_UPDATE of 0"),
        pytest.param([build_frame(FrameType.PUSH_PROMISE, END_HEADERS, 1, bytes(4))], id="PUSH_PROMISE"),
        pytest.param([build_frame(FrameType.RST_STREAM, 0, 3, bytes(4))], id="reset of an idle stream"),
        pytest.param([build_frame(FrameType.DATA, 0, 0)], id="DATA on the connection"),
        pytest.param([_data(b"")], id="DATA before the head"),
        pytest.param([_head(stream=3)], id="answer on an idle stream"),
        pytest.param([_head(flags=_WHOLE), _data(b"")], id="DATA behind the end"),
        pytest.param([build_frame(FrameType.RST_STREAM, 0, 1, bytes(4)), _head()], id="head behind a reset"),
        pytest.param([_head(flags=0), _data(b"")], id="DATA in a header block"),
        pytest.param([build_frame(FrameType.CONTINUATION, END_HEADERS, 1)], id="lonely CONTINUATION"),
        pytest.param([_head(), _head()], id="second head"),
        pytest.param([_head(), build_frame(FrameType.HEADERS, END_HEADERS, 1, b"")], id="trailers, no end"),
        pytest.param([_head(), _head(flags=_WHOLE)], id="pseudo-header in trailers"),
        pytest.param([_head(status="101")], id="101"),
        pytest.param([_head(status="2000")], id="status of four digits"),
        pytest.param([_head(status="100", flags=_WHOLE)], id="interim answer that ends"),
        pytest.param([build_frame(FrameType.HEADERS, _WHOLE, 1, _block(("a", "b")))], id="no :status"),
        pytest.param([build_frame(FrameType.HEADERS, _WHOLE, 1, b"\xff")], id="broken header block"),
        pytest.param([_head((":status", "200"))], id="second :status"),
        pytest.param([_head(("X", "b"))], id="upper case"),
        pytest.param([_head(("connection", "close"))], id="connection"),
        pytest.param([_head(("transfer-encoding", "chunked"))], id="transfer-encoding"),
        pytest.param([_head(("a", "b\r\nc: d"))], id="CRLF in a value"),
        pytest.param([_head(("a", " b"))], id="space before a value"),
        pytest.param([_head(("content-length", "2")), _data(b"x")], id="short body"),
        pytest.param([_head(), build_frame(FrameType.DATA, PADDED, 1, b"\2x")], id="too much padding"),
        pytest.param([_head(), _data(bytes(16385))], id="large frame"),
    ],
)
def test_what_a_server_may_not_send(frames: list[bytes]) -> None:
    with pytest.raises(InvalidAnswer):
        _read(*frames)


def test_a_server_begins_with_settings() -> None:
    for first in (build_frame(FrameType.SETTINGS, ACK, 0), _goaway(0), b"HTTP/1.1 400 Bad Request\r\n"):
        with pytest.raises(InvalidAnswer):
            _reader().feed(first)
