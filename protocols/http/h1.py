"""HTTP/1.1 as a state machine: what both roles share (`h1_server` and `h1_client` add theirs).

A connection carries one exchange after the other. The head is collected within its bound and judged by `head`; the body is
framed as `head` decided and decoded by what a codec module brings (`h1_httptools`, `h1_h11`); heads are written by
`head_writer`. A message without a body never meets a body reader.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from mypy_extensions import mypyc_attr

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http.codec import CodecSettings, CodecSink, HttpVersion, ResetReason, StreamMeter
from protocols.http.head import (
    CHUNKED,
    HEAD_END,
    HEADERS_TOO_LARGE,
    UNTIL_CLOSE,
)
from protocols.http.head_writer import NO_BODY, write_trailers
from protocols.http.headers import Headers

# Where the incoming message stands.
HEAD: Final = 0  # its head is awaited (server: also between exchanges)
BODY: Final = 1
TO_CLOSE: Final = 2  # client: a body that runs to the end of the connection
ENDED: Final = 3  # all of it is here, the other direction is not finished
SWITCHING: Final = 4  # server: the request asks to leave HTTP and has no answer yet
TUNNEL: Final = 5
IDLE: Final = 6  # client: between exchanges
DEAD: Final = 7  # no input is taken any more

# Where the outgoing message stands.
UNSENT: Final = 0
SENDING: Final = 1
SENT: Final = 2

HTTP11: Final = HttpVersion.HTTP11
#: So many bytes are enough to tell that something is no HTTP.
_START_BYTES: Final = 8
_LAST_CHUNK: Final = b"0\r\n\r\n"


@mypyc_attr(allow_interpreted_subclasses=True)
class BodyReader(ABC):
    """Takes the framing off one body. `surplus`, once it is done: what came behind the body."""

    __slots__ = ("done", "surplus", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.surplus = b""
        self.trailers: Headers | None = None

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """The body octets in `data`, joined. Raises RemoteProtocolError."""


@mypyc_attr(allow_interpreted_subclasses=True)
class BodyReaders(ABC):
    """Makes the readers of the bodies on one connection."""

    __slots__ = ()

    def of(self, length: int) -> BodyReader:
        """For a body of so many bytes, or CHUNKED."""
        return self.counted(length) if length >= 0 else self.chunked()

    def counted(self, length: int) -> BodyReader:
        return CountedBody(length)

    @abstractmethod
    def chunked(self) -> BodyReader: ...


class CountedBody(BodyReader):
    """A body of known length: there is nothing to parse."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        super().__init__()
        self._left = length

    def feed(self, data: bytes) -> bytes:
        left = self._left = self._left - len(data)
        if left > 0:
            return data
        self.done = True
        if left == 0:
            return data
        self.surplus = data[left:]
        return data[:left]


class Http1(ABC):
    """What both roles share: the two message directions and the output."""

    __slots__ = (
        "_bodies",
        "_body",
        "_closing",
        "_keep_alive",
        "_left",
        "_meter",
        "_output",
        "_partial",
        "_reading",
        "_sending",
        "_settings",
        "_shutdown",
        "_sink",
        "_stream_id",
        "_version",
    )

    def __init__(self, sink: CodecSink, settings: CodecSettings, bodies: BodyReaders) -> None:
        self._sink = sink
        self._settings = settings
        self._bodies = bodies
        self._body: BodyReader | None = None
        self._partial: bytearray | None = None
        self._output: list[bytes] = []
        self._stream_id = 0
        self._meter = StreamMeter()
        self._reading = HEAD
        self._sending = UNSENT
        self._left = 0  # of the outgoing body: bytes, CHUNKED, UNTIL_CLOSE or NO_BODY
        self._keep_alive = True
        self._closing = False
        self._shutdown = False
        self._version = HTTP11

    def credit(self, stream_id: int, size: int) -> None:
        """HTTP/1 has no flow control of its own."""
        return

    def unsent(self, stream_id: int) -> int:
        """Nothing waits in here."""
        return 0

    def flushed(self) -> None:
        """Nothing is counted."""
        return

    def take_output(self) -> bytes:
        output = self._output
        if not output:
            return b""
        data = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        return data

    def meter(self, stream_id: int) -> StreamMeter:
        return self._meter

    def version(self, stream_id: int) -> HttpVersion:
        return self._version

    def reset(self, stream_id: int, reason: ResetReason) -> None:
        if stream_id == self._stream_id:
            self._die()

    def send_data(self, stream_id: int, data: bytes, end: bool) -> None:
        if self._sending != SENDING or stream_id != self._stream_id:
            raise LocalProtocolError("body outside of a message")
        left = self._left
        if left == CHUNKED:
            self._send_chunk(data, end)
        elif self._reading == TUNNEL or left == UNTIL_CLOSE:
            self._write(data)
        elif left != NO_BODY:
            self._left = left = left - len(data)
            if left < 0 or (end and left):
                self._die()
                raise LocalProtocolError("a body that does not match its content-length")
            self._write(data)
        if end:
            self._sending = SENT
            self._message_sent()

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        if self._left == CHUNKED and self._settings.enable_trailers and self._sending == SENDING:
            if stream_id != self._stream_id:
                raise LocalProtocolError("trailers outside of a message")
            self._write(write_trailers(trailers))
            self._sending = SENT
            self._message_sent()
        else:
            self.send_data(stream_id, b"", True)

    def _send_chunk(self, data: bytes, end: bool) -> None:
        if data:
            size = b"%x\r\n" % len(data)
            self._output += (size, data, b"\r\n")
            self._meter.wire_sent += len(size) + len(data) + 2
        if end:
            self._write(_LAST_CHUNK)

    def _write(self, data: bytes) -> None:
        if data:
            self._output.append(data)
            self._meter.wire_sent += len(data)

    def _write_head(self, text: bytes) -> None:
        self._output.append(text)
        meter = self._meter
        size = len(text)
        meter.header_sent += size - text.find(b"\n") - 3  # neither the first line nor the empty one
        meter.wire_sent += size

    def _die(self) -> None:
        self._reading = DEAD
        self._closing = True
        self._body = None
        self._partial = None

    def _collect_head(self, data: bytes) -> bytes:
        """More of an incomplete head: what there is of it if that may be complete, else b""."""
        partial = self._partial
        if partial is None:
            return data.lstrip(b"\r\n") if data[0] in b"\r\n" else data
        seen = len(partial)
        partial += data
        # Judged again only at its very start, after its first line and when complete: bytes that come one by one
        # cost no more than all at once.
        again = seen < _START_BYTES or (b"\n" in data and partial.find(b"\n", 0, seen) < 0)
        if not again and HEAD_END.search(partial, max(0, seen - 3)) is None:
            if len(partial) > self._settings.max_head_bytes:
                raise RemoteProtocolError(HEADERS_TOO_LARGE, status=431)
            return b""
        self._partial = None
        return bytes(partial)

    def _read_body(self, data: bytes) -> bytes:
        """Body bytes; returns what came behind the end of the message."""
        body = self._body
        if body is None:
            return b""
        piece = body.feed(data)
        surplus = body.surplus
        self._meter.wire_received += len(data) - len(surplus)
        stream_id = self._stream_id
        if not body.done:
            if piece and self._listening():
                self._sink.on_data(stream_id, piece, False)
            return b""
        trailers = body.trailers
        self._body = None
        if not self._listening():
            self._message_received(surplus)
        elif trailers is None or not self._settings.enable_trailers:
            self._message_received(surplus)
            self._sink.on_data(stream_id, piece, True)
        else:
            if piece:
                self._sink.on_data(stream_id, piece, False)
            if self._reading == BODY:
                self._message_received(surplus)
                self._sink.on_trailers(stream_id, trailers)
        return surplus

    def _listening(self) -> bool:
        """Whether the sink still wants to hear of the incoming message."""
        return True

    @abstractmethod
    def _message_received(self, surplus: bytes) -> None:
        """The incoming message is complete (said before the sink hears of it)."""

    @abstractmethod
    def _message_sent(self) -> None:
        """The outgoing message is complete."""
