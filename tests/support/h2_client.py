"""An HTTP/2 client on the `h2` library: streams begun and continued step by step, windows that can be seen and held.

Plain blocking code. Every call that waits also reads, and writes what is owed; nothing is read in between.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    PingAckReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import StreamClosedError

from tests.support.h2_common import Fields, FrameSieve, greet, text, values
from tests.support.http2_frames import FrameType, Setting
from tests.support.pattern import PatternChecker

_READ_SIZE = 1 << 18
_WRITE_SIZE = 1 << 16


@dataclass(slots=True)
class H2Answer:
    """What came back on one stream."""

    stream: int
    head: Fields = field(default_factory=list)
    """With `:status`; empty until it comes."""
    interim: list[Fields] = field(default_factory=list)
    body_length: int = 0
    trailers: Fields | None = None
    ended: bool = False
    """END_STREAM came."""
    reset: int | None = None
    """The code of RST_STREAM."""
    check: PatternChecker | None = None
    """Compares the body, which is then not kept."""
    kept: list[bytes] = field(default_factory=list)
    unacknowledged: int = 0
    """Bytes received while the stream is held."""
    held: bool = False

    @property
    def status(self) -> int | None:
        """The status of the final head, None before it."""
        return int(self.head[0][1]) if self.head else None

    @property
    def body(self) -> bytes:
        return b"".join(self.kept)

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        return self.ended or self.reset is not None

    def values(self, name: str) -> list[str]:
        return values(self.head, name)

    def header(self, name: str) -> str | None:
        """The first value of `name` in the head."""
        found = self.values(name)
        return found[0] if found else None


class H2Client:
    """One connection, with prior knowledge or, with `context`, over TLS. Use as a context manager.

    `settings` go into the first SETTINGS; `connection_window` is that of the whole connection, if larger than usual. With `strict` off,
    heads that HTTP/2 forbids can be sent.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        context: ssl.SSLContext | None = None,
        server_name: str | None = None,
        settings: Mapping[int, int] | None = None,
        connection_window: int = 0,
        timeout_s: float = 10.0,
        strict: bool = True,
        authority: str = "a.example",
    ) -> None:
        self.timeout_s = timeout_s
        self.authority = authority
        self.answers: dict[int, H2Answer] = {}
        self.goaways: list[tuple[int, int]] = []
        """Last stream and code of each GOAWAY."""
        self.closed = False
        """The server has closed, cleanly or not."""
        self.peer_settings: dict[int, int] = {}
        self.pings_answered = 0
        self._scheme = "http" if context is None else "https"
        self._out = bytearray()
        self._sieve = FrameSieve((FrameType.GOAWAY,))
        self.h2 = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding="latin-1",
                validate_outbound_headers=strict,
                normalize_outbound_headers=False,
            )
        )
        self._socket: socket.socket = socket.create_connection(address, timeout=timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            try:
                self._socket = context.wrap_socket(self._socket, server_hostname=server_name)
            except BaseException:
                self._socket.close()
                raise
        self._socket.setblocking(False)
        self._poll = select.poll()  # `select` takes no numbers above 1023, which a long test run may reach
        self._poll.register(self._socket, select.POLLIN)
        self._out += greet(self.h2, {Setting.ENABLE_PUSH: 0, **(settings or {})}, connection_window)

    def __enter__(self) -> H2Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    @property
    def alpn(self) -> str | None:
        """What was negotiated."""
        return self._socket.selected_alpn_protocol() if isinstance(self._socket, ssl.SSLSocket) else None

    # Sending

    def begin(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        *,
        end: bool = False,
        check: bool = False,
    ) -> int:
        """Send the head of a request; its stream. With `check` the answer is compared with the pattern."""
        head = [
            (":method", method),
            (":scheme", self._scheme),
            (":authority", self.authority),
            (":path", path),
        ]
        return self.open([*head, *headers], end=end, check=check)

    def open(self, fields: Sequence[tuple[str, str]], *, end: bool = False, check: bool = False) -> int:
        """Open a stream with exactly these fields."""
        stream: int = self.h2.get_next_available_stream_id()
        self.answers[stream] = H2Answer(stream, check=PatternChecker() if check else None)
        self.h2.send_headers(stream, fields, end_stream=end)
        self._turn(0)
        return stream

    def connect(self, authority: str, headers: Sequence[tuple[str, str]] = ()) -> int:
        """Send a CONNECT; its stream."""
        return self.open([(":method", "CONNECT"), (":authority", authority), *headers])

    def send(self, stream: int, data: bytes | memoryview, *, end: bool = False) -> int:
        """Send DATA as the windows allow, waiting for them; how much went out.

        Ends early when the server has reset the stream or closed. Raises TimeoutError.
        """
        left = memoryview(data)
        answer = self.answers[stream]
        while left and answer.reset is None and not self.closed:
            if not self.window(stream):
                self.wait_until(
                    lambda: self.closed or answer.reset is not None or self.window(stream) > 0,
                    "a window to send",
                )
                continue
            left = left[self._send_piece(stream, left, end) :]
            self._turn(0)
        if not data and end and answer.reset is None:
            self.end(stream)
        return len(data) - len(left)

    def _send_piece(self, stream: int, data: memoryview, end: bool) -> int:
        size = min(len(data), self.window(stream), self.h2.max_outbound_frame_size)
        self.h2.send_data(stream, bytes(data[:size]), end_stream=end and size == len(data))
        return size

    def end(self, stream: int) -> None:
        """END_STREAM on an empty DATA."""
        self.h2.end_stream(stream)
        self._turn(0)

    def send_trailers(self, stream: int, trailers: Sequence[tuple[str, str]]) -> None:
        self.h2.send_headers(stream, trailers, end_stream=True)
        self._turn(0)

    def reset(self, stream: int, code: int = ErrorCodes.CANCEL) -> None:
        self.h2.reset_stream(stream, code)
        self._turn(0)

    def raw(self, data: bytes) -> None:
        """Send bytes past the library."""
        self._collect()
        self._out += data
        self._turn(0)

    def half_close(self) -> None:
        """Send FIN once everything is sent."""
        self.wait_until(lambda: not self._out or self.closed, "everything sent")
        self._socket.shutdown(socket.SHUT_WR)

    def ping(self) -> None:
        """Send a PING and wait for its answer."""
        wanted = self.pings_answered + 1
        self.h2.ping(b"12345678")
        self.wait_until(lambda: self.pings_answered >= wanted, "the answer to a PING")

    def window(self, stream: int) -> int:
        """How much may be sent on the stream."""
        try:
            return max(0, int(self.h2.local_flow_control_window(stream)))
        except StreamClosedError:
            return 0

    # Receiving

    def hold(self, stream: int) -> None:
        """Give no window for what arrives on the stream from now on."""
        self.answers[stream].held = True

    def release(self, stream: int) -> None:
        """Give the window that was held back, and hold no more."""
        answer = self.answers[stream]
        answer.held = False
        if answer.unacknowledged:
            self.h2.acknowledge_received_data(answer.unacknowledged, stream)
            answer.unacknowledged = 0
        self._turn(0)

    def wait(self, stream: int, timeout_s: float | None = None) -> H2Answer:
        """The answer when its stream is over, by END_STREAM or by RST_STREAM. Raises TimeoutError, ConnectionError."""
        answer = self.answers[stream]
        self.wait_until(lambda: answer.over or self.closed, f"the end of stream {stream}", timeout_s)
        if not answer.over:
            raise ConnectionError(f"closed before the end of stream {stream}, GOAWAY {self.goaways}")
        return answer

    def wait_head(self, stream: int, timeout_s: float | None = None) -> H2Answer:
        """The answer as soon as its final head is there, or its stream over. Raises TimeoutError, ConnectionError."""
        answer = self.answers[stream]
        self.wait_until(
            lambda: bool(answer.head) or answer.over or self.closed, f"a head on stream {stream}", timeout_s
        )
        if not answer.head and not answer.over:
            raise ConnectionError(f"closed before the head on stream {stream}, GOAWAY {self.goaways}")
        return answer

    def wait_closed(self, timeout_s: float | None = None) -> None:
        """Until the server has closed the connection. Raises TimeoutError."""
        self.wait_until(lambda: self.closed, "the server closes", timeout_s)

    def wait_until(self, done: Callable[[], bool], what: str, timeout_s: float | None = None) -> None:
        """Read and write until `done`. Raises TimeoutError."""
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        self._turn(0)
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no {what} in time")
            self._turn(left)

    def run_for(self, seconds: float) -> None:
        """Read and write for that long: the way to see that nothing comes."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self.closed:
            self._turn(left)

    def request(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        *,
        trailers: Sequence[tuple[str, str]] = (),
        check: bool = False,
        timeout_s: float | None = None,
    ) -> H2Answer:
        """A whole request and the end of its stream."""
        stream = self.begin(method, path, headers, end=body is None and not trailers, check=check)
        if body is not None:
            self.send(stream, body, end=not trailers)
        if trailers:
            self.send_trailers(stream, trailers)
        return self.wait(stream, timeout_s)

    # The connection

    def _collect(self) -> None:
        self._out += self.h2.data_to_send()

    def _turn(self, wait_s: float) -> None:
        """Wait at most that long until something can be read or written, and do it."""
        self._collect()
        if self.closed:
            return
        pending = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0
        self._poll.modify(self._socket, select.POLLIN | select.POLLOUT if self._out else select.POLLIN)
        for _, event in self._poll.poll(0 if pending else wait_s * 1000) or [(0, 0)]:
            if event & ~select.POLLOUT or pending:
                self._read()
            if event & select.POLLOUT:
                self._write()

    def _write(self) -> None:
        try:
            count = self._socket.send(self._out[:_WRITE_SIZE])
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return
        except OSError:
            self._out.clear()  # what the server sent before it went can still be read
            return
        del self._out[:count]

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_SIZE)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return
        passed, goaways = self._sieve.feed(data)
        for frame in goaways:
            last, code = (int.from_bytes(frame.payload[at : at + 4], "big") for at in (0, 4))
            self.goaways.append((last, code))
        if passed:
            for event in self.h2.receive_data(passed):
                self._take(event)
            self._collect()

    def _take(self, event: Event) -> None:
        if isinstance(event, RemoteSettingsChanged):
            self.peer_settings |= {
                int(code): change.new_value for code, change in event.changed_settings.items()
            }
        elif isinstance(event, PingAckReceived):
            self.pings_answered += 1
        else:
            answer = self.answers.get(getattr(event, "stream_id", None) or 0)
            if answer is not None:
                self._take_on_stream(answer, event)

    def _take_on_stream(self, answer: H2Answer, event: Event) -> None:
        if isinstance(event, InformationalResponseReceived):
            answer.interim.append(text(event.headers))
        elif isinstance(event, ResponseReceived):
            answer.head = text(event.headers)
        elif isinstance(event, DataReceived):
            self._take_data(answer, event)
        elif isinstance(event, TrailersReceived):
            answer.trailers = text(event.headers)
        elif isinstance(event, StreamEnded):
            answer.ended = True
        elif isinstance(event, StreamReset):
            answer.reset = int(event.error_code)

    def _take_data(self, answer: H2Answer, event: DataReceived) -> None:
        answer.body_length += len(event.data)
        if answer.check is not None:
            answer.check.feed(event.data)
        else:
            answer.kept.append(bytes(event.data))
        if answer.held:
            answer.unacknowledged += event.flow_controlled_length
        elif event.flow_controlled_length:
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
