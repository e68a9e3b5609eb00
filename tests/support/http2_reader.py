"""Reads strictly what an HTTP/2 server sends. No sockets here.

Everything that RFC 9113 forbids a server is an `InvalidAnswer`: frames of a wrong size or in a wrong place, streams that
the client has not opened, more DATA than the windows allow, header blocks that do not decode, heads that HTTP/2 does not
know, a body that is not as long as announced.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from hpack import Decoder, HPACKError

from tests.support.http2_frames import (
    ACK,
    DEFAULT_MAX_FRAME_SIZE,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    PADDED,
    PRIORITY_FIELDS,
    Frame,
    FrameTooLong,
    FrameType,
    SentFrames,
    Setting,
    build_frame,
    error_name,
    parse_settings,
    take_frame,
)
from tests.support.http_client import Response

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+\Z")
_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?\Z")
_STATUS = re.compile(rb"[1-9][0-9]{2}\Z")
_CONNECTION_SPECIFIC = (
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
    b"te",
)
_MAX_WINDOW = (1 << 31) - 1
_FIXED_SIZES = {
    FrameType.PRIORITY: 5,
    FrameType.RST_STREAM: 4,
    FrameType.PING: 8,
    FrameType.WINDOW_UPDATE: 4,
}
_ON_STREAMS = (
    FrameType.DATA,
    FrameType.HEADERS,
    FrameType.PRIORITY,
    FrameType.RST_STREAM,
    FrameType.CONTINUATION,
)
_ON_THE_CONNECTION = (FrameType.SETTINGS, FrameType.PING, FrameType.GOAWAY)

Fields = Sequence[tuple[bytes, bytes]]


class InvalidAnswer(Exception):
    """The server has sent what HTTP/2 does not allow."""


@dataclass(slots=True)
class StreamAnswer:
    """What came back on one stream."""

    response: Response | None = None
    """The final answer as soon as its head is there."""
    interim: int = 0
    reset: str | None = None
    """The name of the code of a RST_STREAM."""
    ended: bool = False
    """The last frame of the answer has come."""

    @property
    def complete(self) -> bool:
        return self.response is not None and self.response.complete


@dataclass(slots=True)
class AnswerReader:
    """Incremental reader of one connection. `head_streams` are those on which HEAD was asked: their answers have no body."""

    sent: SentFrames
    head_streams: Collection[int] = ()
    answers: dict[int, StreamAnswer] = field(default_factory=dict)
    goaways: list[str] = field(default_factory=list)
    """The names of the codes, in order."""
    _buffer: bytearray = field(default_factory=bytearray)
    _decoder: Decoder = field(default_factory=Decoder)
    _greeted: bool = False
    _settings_owed: int = 0
    _pings_owed: list[bytes] = field(default_factory=list)
    _block: list[Frame] = field(default_factory=list)
    _max_frame_size: int = DEFAULT_MAX_FRAME_SIZE
    _initial_window: int = DEFAULT_WINDOW
    _used: Counter[int] = field(default_factory=Counter)

    @property
    def error(self) -> str | None:
        """The code of a GOAWAY that is no polite one."""
        return next((code for code in self.goaways if code != "NO_ERROR"), None)

    @property
    def pending(self) -> bool:
        """Whether a frame or a header block has begun and not ended."""
        return bool(self._buffer or self._block)

    def take_owed(self, *, settings: bool) -> bytes:
        """The frames that the client owes the server: acknowledgements of PING and, if wanted, of SETTINGS."""
        owed = [build_frame(FrameType.PING, ACK, 0, payload) for payload in self._pings_owed]
        self._pings_owed.clear()
        if settings:
            owed += [build_frame(FrameType.SETTINGS, ACK, 0)] * self._settings_owed
            self._settings_owed = 0
        return b"".join(owed)

    def feed(self, data: bytes) -> None:
        """Take bytes as received. Raises InvalidAnswer."""
        self._buffer += data
        try:
            while (frame := take_frame(self._buffer, self._max_frame_size)) is not None:
                self._take(frame)
        except FrameTooLong as error:
            raise InvalidAnswer(str(error)) from None

    def _take(self, frame: Frame) -> None:
        if not self._greeted and (frame.type != FrameType.SETTINGS or frame.flags & ACK):
            raise InvalidAnswer(f"frame of type {frame.type} before SETTINGS")
        if self._block and (
            frame.type != FrameType.CONTINUATION or frame.stream_id != self._block[0].stream_id
        ):
            raise InvalidAnswer(f"frame of type {frame.type} inside a header block")
        try:
            kind = FrameType(frame.type)
        except ValueError:
            return
        if frame.stream_id == 0 and kind in _ON_STREAMS:
            raise InvalidAnswer(f"{kind.name} on stream 0")
        if frame.stream_id and kind in _ON_THE_CONNECTION:
            raise InvalidAnswer(f"{kind.name} on stream {frame.stream_id}")
        if frame.stream_id and kind != FrameType.PRIORITY and frame.stream_id not in self.sent.opened:
            raise InvalidAnswer(f"{kind.name} on stream {frame.stream_id}, which nobody has opened")
        if len(frame.payload) != _FIXED_SIZES.get(kind, len(frame.payload)):
            raise InvalidAnswer(f"{kind.name} of {len(frame.payload)} bytes")
        _HANDLERS[kind](self, frame)

    # The connection

    def _settings(self, frame: Frame) -> None:
        self._greeted = True
        if frame.flags & ACK:
            if frame.payload or not self.sent.unacknowledged:
                raise InvalidAnswer("an acknowledgement of SETTINGS that nobody waits for")
            self._apply(self.sent.unacknowledged.popleft())
            return
        if len(frame.payload) % 6:
            raise InvalidAnswer(f"SETTINGS of {len(frame.payload)} bytes")
        for identifier, value in parse_settings(frame.payload):
            if (
                (identifier == Setting.ENABLE_PUSH and value != 0)
                or (identifier == Setting.INITIAL_WINDOW_SIZE and value > _MAX_WINDOW)
                or (
                    identifier == Setting.MAX_FRAME_SIZE
                    and not DEFAULT_MAX_FRAME_SIZE <= value < DEFAULT_MAX_FRAME_SIZE << 10
                )
            ):
                raise InvalidAnswer(f"setting {identifier} is {value}")
        self._settings_owed += 1

    def _apply(self, settings: Sequence[tuple[int, int]]) -> None:
        for identifier, value in settings:
            if identifier == Setting.HEADER_TABLE_SIZE:
                self._decoder.max_allowed_table_size = value
            elif identifier == Setting.INITIAL_WINDOW_SIZE:
                self._initial_window = value
            elif identifier == Setting.MAX_FRAME_SIZE:
                self._max_frame_size = value

    def _ping(self, frame: Frame) -> None:
        if not frame.flags & ACK:
            self._pings_owed.append(frame.payload)

    def _goaway(self, frame: Frame) -> None:
        if len(frame.payload) < 8:
            raise InvalidAnswer(f"GOAWAY of {len(frame.payload)} bytes")
        self.goaways.append(error_name(int.from_bytes(frame.payload[4:8], "big")))

    def _window_update(self, frame: Frame) -> None:
        if not int.from_bytes(frame.payload, "big") & _MAX_WINDOW:
            raise InvalidAnswer("WINDOW_UPDATE of 0")

    def _ignore(self, frame: Frame) -> None:
        pass

    def _push_promise(self, frame: Frame) -> None:
        raise InvalidAnswer("PUSH_PROMISE")

    # Streams

    def _answer(self, frame: Frame) -> StreamAnswer:
        answer = self.answers.setdefault(frame.stream_id, StreamAnswer())
        if answer.ended or answer.reset is not None:
            raise InvalidAnswer(f"frame of type {frame.type} behind the end of stream {frame.stream_id}")
        return answer

    def _rst_stream(self, frame: Frame) -> None:
        answer = self.answers.setdefault(frame.stream_id, StreamAnswer())
        answer.reset = error_name(int.from_bytes(frame.payload, "big"))

    def _data(self, frame: Frame) -> None:
        answer = self._answer(frame)
        if answer.response is None:
            raise InvalidAnswer("DATA before the head")
        for stream, initial in ((0, DEFAULT_WINDOW), (frame.stream_id, self._initial_window)):
            self._used[stream] += len(frame.payload)
            if self._used[stream] > initial + self.sent.credit[stream] and frame.payload:
                raise InvalidAnswer(f"DATA beyond the window of stream {stream}")
        answer.response.body += _without_padding(frame)
        if frame.flags & END_STREAM:
            self._finish(frame.stream_id, answer, answer.response)

    def _headers(self, frame: Frame) -> None:
        self._block = [frame]
        if frame.flags & END_HEADERS:
            self._end_block()

    def _continuation(self, frame: Frame) -> None:
        if not self._block:
            raise InvalidAnswer("CONTINUATION without HEADERS")
        self._block.append(frame)
        if frame.flags & END_HEADERS:
            self._end_block()

    def _end_block(self) -> None:
        first, *more = self._block
        self._block = []
        answer = self._answer(first)
        start = _without_padding(first)
        if first.flags & PRIORITY_FIELDS:
            start = start[5:]
        try:
            decoded = self._decoder.decode(b"".join([start, *(frame.payload for frame in more)]), raw=True)
        except HPACKError as error:
            raise InvalidAnswer(f"header block: {error}") from None
        fields = [(bytes(name), bytes(value)) for name, value in decoded]
        end = bool(first.flags & END_STREAM)
        if answer.response is None:
            self._take_head(answer, fields, end)
        elif not end:
            raise InvalidAnswer("trailers without END_STREAM")
        else:
            answer.response.trailers = _checked(fields)
        if end:
            assert answer.response is not None
            self._finish(first.stream_id, answer, answer.response)

    def _take_head(self, answer: StreamAnswer, fields: Fields, end: bool) -> None:
        if not fields or fields[0][0] != b":status" or not _STATUS.match(fields[0][1]):
            raise InvalidAnswer(f"head begins with {fields[:1]!r}")
        status = int(fields[0][1])
        headers = _checked(fields[1:])
        if status == 101 or (status < 200 and end):
            raise InvalidAnswer(f"status {status}, {end=}")
        if status < 200:
            answer.interim += 1
        else:
            answer.response = Response(status, b"", headers)

    def _finish(self, stream_id: int, answer: StreamAnswer, response: Response) -> None:
        answer.ended = True
        response.body_length = len(response.body)
        bodiless = stream_id in self.head_streams or response.status in (204, 304)
        lengths = response.values("content-length")
        if bodiless and response.body:
            raise InvalidAnswer("an answer that must not have a body has one")
        if lengths and not bodiless and lengths != [str(response.body_length)]:
            raise InvalidAnswer(f"content-length {lengths} for {response.body_length} bytes")
        response.complete = True


_HANDLERS: dict[FrameType, Callable[[AnswerReader, Frame], None]] = {
    FrameType.DATA: AnswerReader._data,
    FrameType.HEADERS: AnswerReader._headers,
    FrameType.PRIORITY: AnswerReader._ignore,
    FrameType.RST_STREAM: AnswerReader._rst_stream,
    FrameType.SETTINGS: AnswerReader._settings,
    FrameType.PUSH_PROMISE: AnswerReader._push_promise,
    FrameType.PING: AnswerReader._ping,
    FrameType.GOAWAY: AnswerReader._goaway,
    FrameType.WINDOW_UPDATE: AnswerReader._window_update,
    FrameType.CONTINUATION: AnswerReader._continuation,
}


def _without_padding(frame: Frame) -> bytes:
    if not frame.flags & PADDED:
        return frame.payload
    if not frame.payload or frame.payload[0] >= len(frame.payload):
        raise InvalidAnswer("padding longer than its frame")
    return frame.payload[1 : len(frame.payload) - frame.payload[0]]


def _checked(fields: Fields) -> list[tuple[bytes, bytes]]:
    """The same fields when they may stand in an answer behind its :status, or in trailers."""
    for name, value in fields:
        if not _NAME.match(name) or name in _CONNECTION_SPECIFIC or not _VALUE.match(value):
            raise InvalidAnswer(f"header {name[:80]!r}: {value[:80]!r}")
    return list(fields)
