"""A scriptable HTTP/2 server on the `h2` library, with prior knowledge or behind TLS.

`answer` makes the script of a request when its head is there: a list of steps, played by a task of that stream.
Everything that came is recorded; `violations` holds what the library found wrong with it, and must stay empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError, StreamClosedError

from tests.support.backends import Backend, Do, LiveConnection, LoopThread, Sleep, reset
from tests.support.h2_common import Fields, FrameSieve, greet, text, values
from tests.support.http2_frames import ACK, Frame, FrameType, build_frame
from tests.support.pattern import PERIOD, PatternChecker, piece

_MAX_CONCURRENT_STREAMS = 3
_MAX_KEPT_BODY = 4 << 20


class Gate:
    """Scripts stop at a gate until a test opens it."""

    def __init__(self) -> None:
        self._open = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._lock = threading.Lock()

    def open(self) -> None:
        with self._lock:
            self._open = True
            for loop, event in self._waiting:
                loop.call_soon_threadsafe(event.set)

    async def passed(self) -> None:
        event = asyncio.Event()
        with self._lock:
            if self._open:
                return
            self._waiting.append((asyncio.get_running_loop(), event))
        await event.wait()


@dataclass(frozen=True, slots=True)
class Head:
    """A head; below 200 an interim one, which never ends the stream."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    end: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    data: bytes = b""
    end: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    """So many bytes of the pattern."""

    size: int
    end: bool = True


@dataclass(frozen=True, slots=True)
class Trailers:
    fields: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Rst:
    code: int = ErrorCodes.CANCEL


@dataclass(frozen=True, slots=True)
class Goaway:
    """GOAWAY; without `last` it names the highest stream so far. The connection stays open."""

    last: int | None = None
    code: int = ErrorCodes.NO_ERROR


@dataclass(frozen=True, slots=True)
class Wait:
    gate: Gate


@dataclass(frozen=True, slots=True)
class BodyEnd:
    """Wait until the request has ended."""


@dataclass(frozen=True, slots=True)
class Echo:
    """Send back what arrives, and its end."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes past the library."""

    data: bytes


H2Step = Head | Data | Pattern | Trailers | Rst | Goaway | Wait | BodyEnd | Echo | Raw | Sleep | Do
"""`Sleep` and `Do` (close, rst, half-close, hang) are those of the HTTP/1.1 backend, and concern the connection."""
H2Script = Sequence[H2Step]


@dataclass(slots=True)
class H2Request:
    """What arrived on one stream."""

    fields: Fields
    connection: int
    """The number of the connection, from 1."""
    stream: int
    kept: list[bytes] = field(default_factory=list)
    body_length: int = 0
    data_frames: int = 0
    trailers: Fields | None = None
    complete: bool = False
    reset: int | None = None
    """The code of RST_STREAM."""
    aborted: bool = False
    """The connection ended before the request did."""
    check: PatternChecker | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.kept)

    @property
    def method(self) -> str:
        return self.value(":method")

    @property
    def path(self) -> str:
        return self.value(":path")

    def values(self, name: str) -> list[str]:
        return values(self.fields, name)

    def value(self, name: str) -> str:
        """The first value of `name`, empty without one."""
        return next(iter(self.values(name)), "")


def ok(
    body: bytes = b"hello\n",
    headers: Sequence[tuple[str, str]] = (),
    trailers: Sequence[tuple[str, str]] = (),
) -> list[H2Step]:
    """A 200 with `body`, once the request has ended."""
    head = Head(200, [*headers, ("x-backend", "1"), ("content-length", str(len(body)))])
    if trailers:
        return [BodyEnd(), head, Data(body), Trailers(trailers)]
    return [BodyEnd(), head, Data(body, end=True)]


def default_answer(request: H2Request) -> H2Script:
    """200 to everything, for `/bytes/N` with so many bytes of the pattern."""
    if request.method == "HEAD":
        return [BodyEnd(), Head(200, [("x-backend", "1"), ("content-length", "6")], end=True)]
    if request.path.startswith("/bytes/"):
        size = int(request.path.removeprefix("/bytes/"))
        return [Head(200, [("x-backend", "1"), ("content-length", str(size))]), Pattern(size)]
    return ok()


class H2Backend(Backend):
    """The server. Set its attributes before the proxy connects.

    The body of a request to `/upload` is compared with the pattern and not kept. With `acknowledge` off no window is given
    for what arrives. Streams beyond MAX_CONCURRENT_STREAMS of `settings` are refused and counted in `refused`.
    """

    def __init__(self, loop: LoopThread, *, settings: Mapping[int, int] | None = None) -> None:
        super().__init__(loop)
        self.settings: dict[int, int] = dict(settings or {})
        self.connection_window = 0
        """Larger than usual if not 0."""
        self.answer: Callable[[H2Request], H2Script] = default_answer
        self.answer_pings = True
        self.acknowledge = True
        self.credit_per_frame = False
        """Answer each DATA with WINDOW_UPDATEs, not what was read at once."""
        self.tolerant = False
        """Keep no `violations`."""
        self.requests: list[H2Request] = []
        self.connections: list[H2BackendConnection] = []
        """All of them, in order, also those that have ended."""
        self.violations: list[str] = []
        self.refused = 0
        self._changed = threading.Condition()

    def _connection(self) -> asyncio.Protocol:
        return H2BackendConnection(self)

    def clear(self) -> None:
        """Forget the requests."""
        self.requests = []

    def wait(self, done: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
        """Until `done`, which is asked again whenever something has happened here. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(done, timeout_s):
                raise TimeoutError(f"{what}: not within {timeout_s:g} s")

    def wait_requests(self, count: int) -> list[H2Request]:
        """The first `count` requests, as soon as their heads are there."""
        self.wait(lambda: len(self.requests) >= count, f"{count} requests")
        return self.requests[:count]

    def open_connections(self) -> list[H2BackendConnection]:
        return [connection for connection in list(self.connections) if connection.open]

    def happened(self) -> None:
        """Something that `wait` may wait for."""
        with self._changed:
            self._changed.notify_all()

    def call(self, function: Callable[[], None]) -> None:
        """Run `function` on the loop and wait for it."""

        async def run() -> None:
            function()

        self._loop.run(run())


class H2BackendConnection(LiveConnection):
    """One connection. Tests may call `goaway`, `close`, `abort` and `ping`; everything else belongs to the loop."""

    backend: H2Backend

    def __init__(self, backend: H2Backend) -> None:
        self.backend = backend
        self.number = 0
        self.open = False
        self.requests: dict[int, H2Request] = {}
        """By stream."""
        self.streams_at_once = 0
        """The most that were open together."""
        self.goaways: list[int] = []
        """The codes of GOAWAY that the proxy has sent."""
        self.pings = 0
        self.alpn: str | None = None
        self.peer_settings: dict[int, int] = {}
        self._active: dict[int, _Stream] = {}
        self._credit: Counter[int] = Counter()
        """Bytes read and not given back yet, by stream; 0 is the connection."""
        taken = {FrameType.GOAWAY, FrameType.PING}
        self._sieve = FrameSieve(taken, preface=True)
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="latin-1"))
        self._writable = asyncio.Event()
        self._writable.set()

    # For tests

    def goaway(self, last: int | None = None, code: int = ErrorCodes.NO_ERROR) -> None:
        self.backend.call(lambda: self.send_goaway(last, code))

    def close(self) -> None:
        """Send FIN."""
        self.backend.call(lambda: self._transport.close())

    def abort(self) -> None:
        """Send RST."""
        self.backend.call(lambda: reset(self._transport))

    # The transport

    @property
    def _transport(self) -> asyncio.Transport:
        assert self.transport is not None
        return self.transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.open = True
        self.number = self.backend.connections_opened
        tls = transport.get_extra_info("ssl_object")
        self.alpn = tls.selected_alpn_protocol() if tls is not None else None
        self.write(greet(self._h2, self.backend.settings, self.backend.connection_window))
        self.backend.connections.append(self)
        self.backend.happened()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.open = False
        self._writable.set()
        for stream in list(self._active.values()):
            stream.request.aborted = True
            stream.stop()
        self._active.clear()
        self.backend.happened()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        passed, frames = self._sieve.feed(data)
        for frame in frames:
            self._take_frame(frame)
        try:
            events = self._h2.receive_data(passed) if passed else []
        except ProtocolError as error:
            if not self.backend.tolerant:
                self.backend.violations.append(f"{type(error).__name__}: {error}")
            self.flush()
            self._transport.close()
            self.backend.happened()
            return
        for event in events:
            self._take(event)
        self._give_credit()
        self.flush()
        self._wake()
        self.backend.happened()

    def write(self, data: bytes) -> None:
        if self.open and not self._transport.is_closing():
            self._transport.write(data)

    def flush(self) -> None:
        """Send what the library wants sent."""
        if data := self._h2.data_to_send():
            self.write(data)

    def send_goaway(self, last: int | None, code: int) -> None:
        self.flush()
        highest = self._h2.highest_inbound_stream_id if last is None else last
        self.write(
            build_frame(FrameType.GOAWAY, 0, 0, highest.to_bytes(4, "big") + int(code).to_bytes(4, "big"))
        )

    # What arrives

    def _take_frame(self, frame: Frame) -> None:
        if frame.type == FrameType.GOAWAY:
            self.goaways.append(int.from_bytes(frame.payload[4:8], "big"))
        elif not frame.flags & ACK:
            self.pings += 1
            if self.backend.answer_pings:
                self.write(build_frame(FrameType.PING, ACK, 0, frame.payload))

    def _take(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._begin(event)
            return
        if isinstance(event, RemoteSettingsChanged):
            self.peer_settings |= {
                int(code): change.new_value for code, change in event.changed_settings.items()
            }
            return
        stream = self._active.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, DataReceived):
            self._take_data(stream, event)
        elif stream is None:
            return
        elif isinstance(event, TrailersReceived):
            stream.request.trailers = text(event.headers)
        elif isinstance(event, StreamEnded):
            stream.request.complete = True
            stream.incoming.put_nowait(None)
            self.settle(stream)
        elif isinstance(event, StreamReset):
            stream.request.reset = int(event.error_code)
            stream.dead = True
            stream.stop()
            self.settle(stream)

    def _begin(self, event: RequestReceived) -> None:
        limit = self.backend.settings.get(_MAX_CONCURRENT_STREAMS)
        if limit is not None and len(self._active) >= limit:
            self.backend.refused += 1
            self._h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        request = H2Request(text(event.headers), self.number, event.stream_id)
        if request.path == "/upload":
            request.check = PatternChecker()
        self.requests[event.stream_id] = request
        self.backend.requests.append(request)
        stream = _Stream(self, self._h2, request)
        self._active[event.stream_id] = stream
        self.streams_at_once = max(self.streams_at_once, len(self._active))
        stream.start(self.backend.answer(request))

    def _take_data(self, stream: _Stream | None, event: DataReceived) -> None:
        if stream is not None:
            stream.take(bytes(event.data))
        size = event.flow_controlled_length
        if size and (stream is None or self.backend.acknowledge):
            self._credit[0] += size
            if stream is not None and event.stream_ended is None:
                self._credit[event.stream_id] += size
            if self.backend.credit_per_frame:
                self._give_credit()

    def _give_credit(self) -> None:
        """Give back exactly what has been read.

        The library would wait for half a window, which may never come once a window has shrunk.
        """
        for stream, size in self._credit.items():
            with contextlib.suppress(StreamClosedError):
                self._h2.increment_flow_control_window(size, stream or None)
        self._credit.clear()

    # Streams

    def settle(self, stream: _Stream) -> None:
        """Forget a stream that is over in both directions."""
        if stream.dead or (stream.answered and stream.request.complete):
            self._active.pop(stream.id, None)
        self.backend.happened()

    def _wake(self) -> None:
        for stream in self._active.values():
            stream.window.set()

    async def drained(self) -> None:
        """Until the transport takes more."""
        await self._writable.wait()


class _Stream:
    """Plays the script of one request."""

    def __init__(self, connection: H2BackendConnection, h2: H2Connection, request: H2Request) -> None:
        self.id = request.stream
        self.request = request
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        """What came, None behind the end."""
        self.window = asyncio.Event()
        self.answered = False
        """END_STREAM was sent."""
        self.dead = False
        """RST_STREAM was sent or received."""
        self._connection = connection
        self._h2 = h2
        self._task: asyncio.Task[None] | None = None
        self._echoes = False

    def start(self, script: H2Script) -> None:
        self._echoes = any(isinstance(step, Echo) for step in script)
        self._task = asyncio.get_running_loop().create_task(self._play(script))

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def take(self, data: bytes) -> None:
        """The request goes on."""
        request = self.request
        request.body_length += len(data)
        request.data_frames += 1
        if request.check is not None:
            request.check.feed(data)
        elif self._echoes:
            self.incoming.put_nowait(data)
        elif request.body_length <= _MAX_KEPT_BODY:
            request.kept.append(data)

    async def _play(self, script: H2Script) -> None:
        try:
            for step in script:
                await self._play_step(step)
        except (StreamClosedError, ProtocolError):
            self.dead = True  # the proxy has reset the stream meanwhile
        finally:
            self._connection.settle(self)

    async def _play_step(self, step: H2Step) -> None:
        if isinstance(step, Head):
            self._send_head(step)
        elif isinstance(step, Data):
            await self._send(step.data, step.end)
        elif isinstance(step, Pattern):
            await self._send_pattern(step)
        elif isinstance(step, Trailers):
            self._h2.send_headers(self.id, list(step.fields), end_stream=True)
            self._finish(True)
        elif isinstance(step, Rst):
            self._h2.reset_stream(self.id, step.code)
            self.dead = True
            self._connection.flush()
        elif isinstance(step, BodyEnd):
            while not self.request.complete:
                await self.incoming.get()
        elif isinstance(step, Echo):
            await self._echo()
        elif isinstance(step, Wait):
            await step.gate.passed()
        elif isinstance(step, Sleep):
            await asyncio.sleep(step.seconds)
        else:
            self._play_on_connection(step)

    def _play_on_connection(self, step: Goaway | Raw | Do) -> None:
        connection = self._connection
        if isinstance(step, Goaway):
            connection.send_goaway(step.last, step.code)
        elif isinstance(step, Raw):
            connection.flush()
            connection.write(step.data)
        elif connection.transport is None:
            return
        elif step.what == "close":
            connection.transport.close()
        elif step.what == "half-close":
            connection.transport.write_eof()
        elif step.what == "rst":
            reset(connection.transport)
        elif step.what != "hang":
            raise ValueError(step.what)

    def _send_head(self, step: Head) -> None:
        fields = [(":status", str(step.status)), *step.headers]
        self._h2.send_headers(self.id, fields, end_stream=step.end)
        self._finish(step.end)

    def _finish(self, end: bool) -> None:
        self.answered = self.answered or end
        self._connection.flush()

    async def _send(self, data: bytes | memoryview, end: bool) -> None:
        left = memoryview(data)
        while left:
            size = min(
                len(left), self._h2.local_flow_control_window(self.id), self._h2.max_outbound_frame_size
            )
            if size <= 0:
                self.window.clear()
                await self.window.wait()
                continue
            self._h2.send_data(self.id, bytes(left[:size]), end_stream=end and size == len(left))
            left = left[size:]
            self._connection.flush()
            await self._connection.drained()
        if not data and end:
            self._h2.end_stream(self.id)
        self._finish(end)

    async def _send_pattern(self, step: Pattern) -> None:
        sent = 0
        while sent < step.size:
            part = piece(sent, min(PERIOD // 4, step.size - sent))
            sent += len(part)
            await self._send(part, step.end and sent == step.size)
        if not step.size and step.end:
            await self._send(b"", True)

    async def _echo(self) -> None:
        while (data := await self.incoming.get()) is not None:
            await self._send(data, False)
        await self._send(b"", True)
