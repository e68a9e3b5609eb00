"""gRPC as HTTP/2 frames: what a client library hides can be seen, and what it would not send can be sent."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import h2.config
import h2.connection
import h2.events

Fields = list[tuple[str, str]]


def frame(message: bytes, *, compressed: bool = False) -> bytes:
    """A message with the prefix that gRPC puts before it."""
    return struct.pack("!BI", compressed, len(message)) + message


@dataclass
class WireAnswer:
    """What came back on one stream."""

    head: Fields = field(default_factory=list)
    data: bytes = b""
    trailers: Fields | None = None
    """None when there were none, or when the head has ended the stream."""
    trailers_only: bool = False
    """The head has ended the stream."""
    ended: bool = False
    reset: int | None = None
    """The error code of RST_STREAM."""

    def value(self, name: str) -> str | None:
        """A field of the trailers, of the head when that has ended the stream."""
        fields = self.head if self.trailers is None else self.trailers
        return dict(fields).get(name)


class GrpcWire:
    """One HTTP/2 connection with prior knowledge. Use as a context manager."""

    def __init__(self, address: tuple[str, int], timeout_s: float = 10.0) -> None:
        self._timeout_s = timeout_s
        self._authority = f"{address[0]}:{address[1]}"
        self._socket = socket.create_connection(address, timeout=timeout_s)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._answers: dict[int, WireAnswer] = {}

    def __enter__(self) -> GrpcWire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def begin(
        self, path: str, headers: Sequence[tuple[str, str]] = (), content_type: str = "application/grpc"
    ) -> int:
        """Send the head of a call; its stream."""
        stream = self._h2.get_next_available_stream_id()
        head = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", self._authority),
            ("content-type", content_type),
            ("te", "trailers"),
            *headers,
        ]
        self._h2.send_headers(stream, head)
        self._answers[stream] = WireAnswer()
        self._flush()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send DATA, which must fit the window."""
        self._h2.send_data(stream, data, end_stream=end)
        self._flush()

    def reset(self, stream: int, code: int = 8) -> None:
        """Send RST_STREAM, CANCEL unless told."""
        self._h2.reset_stream(stream, code)
        self._flush()

    def wait_head(self, stream: int) -> WireAnswer:
        """What there is of the answer, when its head has come."""
        answer = self._answers[stream]
        return self._read_until(lambda: bool(answer.head) or answer.ended, answer)

    def wait(self, stream: int, timeout_s: float | None = None) -> WireAnswer:
        """The answer, when its stream has ended. Raises TimeoutError and ConnectionError."""
        answer = self._answers[stream]
        return self._read_until(lambda: answer.ended, answer, timeout_s)

    def wait_reset(self, stream: int) -> WireAnswer:
        """The answer, when its stream was reset, be it after its end."""
        answer = self._answers[stream]
        return self._read_until(lambda: answer.reset is not None, answer)

    def _read_until(
        self, done: Callable[[], bool], answer: WireAnswer, timeout_s: float | None = None
    ) -> WireAnswer:
        deadline = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        while not done():
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionError("closed before the end of the answer")
            for event in self._h2.receive_data(data):
                self._take(event)
            self._flush()
        return answer

    def call(
        self,
        path: str,
        message: bytes = b"ping",
        headers: Sequence[tuple[str, str]] = (),
        *,
        content_type: str = "application/grpc",
        compressed: bool = False,
    ) -> WireAnswer:
        """A call with one message."""
        stream = self.begin(path, headers, content_type)
        self.send(stream, frame(message, compressed=compressed), end=True)
        return self.wait(stream)

    def _flush(self) -> None:
        self._socket.sendall(self._h2.data_to_send())

    def _take(self, event: h2.events.Event) -> None:
        answer = self._answers.get(getattr(event, "stream_id", None) or 0)
        if answer is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            answer.head = _text(event.headers)
            answer.trailers_only = event.stream_ended is not None
        elif isinstance(event, h2.events.DataReceived):
            answer.data += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = _text(event.headers)
        elif isinstance(event, h2.events.StreamReset):
            answer.reset, answer.ended = int(event.error_code), True
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True


def _text(fields: Sequence[tuple[str | bytes, str | bytes]]) -> Fields:
    return [
        (
            name if isinstance(name, str) else name.decode(),
            value if isinstance(value, str) else value.decode(),
        )
        for name, value in fields
    ]
