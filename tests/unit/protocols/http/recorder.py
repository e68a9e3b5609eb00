"""A sink that writes down what a codec tells, and a hall small enough to test codecs without any."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType

from protocols.errors import RemoteProtocolError
from protocols.http import h1_h11, h1_httptools
from protocols.http.codec import Codec, CodecSettings, ResetReason
from protocols.http.headers import Headers

#: Every test of an HTTP/1 codec runs over both.
CODECS = [h1_httptools, h1_h11]


def codec_name(module: ModuleType) -> str:
    return module.__name__.rpartition("_")[2]


def idle(codec: Codec) -> bool:
    """A function, so that no type checker takes the state for settled."""
    return codec.idle


def closes(codec: Codec) -> bool:
    return codec.must_close


@dataclass
class Recorder:
    """Events in the order they came: ("headers", id, Headers, end), ("data", id, bytes, end), ..."""

    events: list[tuple[object, ...]] = field(default_factory=list)

    def on_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        self.events.append(("headers", stream_id, headers, end))

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        self.events.append(("data", stream_id, data, end))

    def on_trailers(self, stream_id: int, trailers: Headers) -> None:
        self.events.append(("trailers", stream_id, trailers))

    def on_reset(self, stream_id: int, reason: ResetReason, details: str) -> None:
        self.events.append(("reset", stream_id, reason))

    def on_goaway(self, last_stream_id: int) -> None:
        raise AssertionError("HTTP/1 has none")

    def on_writable(self, stream_id: int) -> None:
        raise AssertionError("HTTP/1 has none")

    def take(self) -> list[tuple[object, ...]]:
        events, self.events = self.events, []
        return events

    @property
    def headers(self) -> list[Headers]:
        return [event[2] for event in self.events if event[0] == "headers" and isinstance(event[2], Headers)]

    @property
    def body(self) -> bytes:
        return b"".join(e[2] for e in self.events if e[0] == "data" and isinstance(e[2], bytes))


@dataclass
class Exchange:
    """A request as it would go to the upstream."""

    headers: Headers
    end: bool
    head: bytes
    body: bytes = b""
    complete: bool = False


class MiniProxy:
    """A server codec whose requests are answered with an empty 200, as soon as they are complete.

    Each request head is also written for an upstream. `outcome` has one token for each answer, as in the corpus.
    """

    def __init__(self, codecs: ModuleType, settings: CodecSettings) -> None:
        self._codecs = codecs
        self._settings = settings
        self.codec = codecs.server_codec(self, settings)
        self.exchanges: list[Exchange] = []
        self.trailers: list[Headers] = []
        self.tokens: list[str] = []
        self.details = ""
        self.closed = False

    def play(self, pieces: list[bytes], half_close: bool = False) -> str:
        """Feed the pieces; returns the outcome."""
        try:
            for piece in pieces:
                if self.closed:
                    break
                self.codec.receive(piece)
                self._answer()
            if half_close and not self.closed:
                self.codec.receive_eof()
                self.closed = self.codec.must_close
                if self.closed and not self.tokens:
                    self.tokens.append("close")
        except RemoteProtocolError as error:
            self.details = error.details
            self.tokens.append(f"reject-{error.status}")
            self.closed = True
        return "+".join(self.tokens) or "wait"

    def _answer(self) -> None:
        """What the hall does when a stream is finished, again and again for what is pipelined."""
        while self.exchanges and self.exchanges[-1].complete and len(self.tokens) < len(self.exchanges):
            self.tokens.append("accept")
            stream_id = len(self.exchanges)
            self.codec.send_headers(stream_id, Headers.response(200), True)
            self.codec.take_output()
            if self.codec.must_close:
                self.closed = True
                return
            self.codec.proceed()

    def on_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        assert stream_id == len(self.exchanges) + 1
        head = b""
        if headers.method == b"CONNECT" or headers.path.startswith(b"/"):  # a hall refuses other targets
            client = self._codecs.client_codec(Recorder(), self._settings)
            client.send_headers(client.new_stream(), headers, end)
            head = client.take_output()
        self.exchanges.append(Exchange(headers, end, head, complete=end))

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        exchange = self.exchanges[-1]
        assert stream_id == len(self.exchanges) and not exchange.complete
        exchange.body += data
        exchange.complete = end

    def on_trailers(self, stream_id: int, trailers: Headers) -> None:
        self.trailers.append(trailers)
        self.exchanges[-1].complete = True

    def on_reset(self, stream_id: int, reason: ResetReason, details: str) -> None:
        self.closed = True

    def on_goaway(self, last_stream_id: int) -> None:
        raise AssertionError("HTTP/1 has none")

    def on_writable(self, stream_id: int) -> None:
        raise AssertionError("HTTP/1 has none")
