"""Real servers for behind a proxy: HTTP/1.1 with exact records and scripted answers, TCP line echo, byte sinks.

All run on one event loop in a thread of their own, so that tests stay plain blocking code.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.support.pattern import PERIOD, PatternChecker, piece

_T = TypeVar("_T")
_B = TypeVar("_B", bound="Backend")
_BYTES_TARGET = re.compile(rb"/bytes/([0-9]{1,12})\Z")
_MAX_KEPT_BODY = 4 << 20


class LoopThread:
    """An event loop in a thread; `run` executes a coroutine there and waits for its result."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="test backends", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, _T], timeout_s: float = 10.0) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout_s)

    def close(self) -> None:
        async def drain() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.loop.shutdown_asyncgens()

        self.run(drain())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


@dataclass(slots=True)
class RecordedRequest:
    """One request as the octets that arrived."""

    head: bytes
    connection: int
    body: bytes = b""
    body_length: int = 0
    complete: bool = False
    aborted: bool = False
    """The connection ended before the request did."""
    trailers: bytes = b""
    """The lines behind the last chunk."""

    @property
    def request_line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def method(self) -> str:
        return self.request_line.split(b" ")[0].decode("latin-1")

    @property
    def target(self) -> str:
        parts = self.request_line.split(b" ")
        return parts[1].decode("latin-1") if len(parts) > 1 else ""

    def fields(self) -> list[tuple[str, str]]:
        """Header fields in order, names in lower case, latin-1."""
        return _fields(self.head.split(b"\r\n")[1:])

    def trailer_fields(self) -> list[tuple[str, str]]:
        """The same of the trailers."""
        return _fields(self.trailers.split(b"\r\n"))

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields() if key == name.lower()]


def _fields(lines: Sequence[bytes]) -> list[tuple[str, str]]:
    pairs = []
    for line in lines:
        if line:
            name, _, value = line.partition(b":")
            pairs.append((name.decode("latin-1").lower(), value.strip(b" \t").decode("latin-1")))
    return pairs


@dataclass(frozen=True, slots=True)
class Send:
    data: bytes
    repeat: int = 1


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


@dataclass(frozen=True, slots=True)
class Do:
    """`close`, `rst`, `half-close` or `hang`."""

    what: str


@dataclass(frozen=True, slots=True)
class SendPattern:
    """A whole 200 answer with `size` bytes of the pattern."""

    size: int


Step = Send | Sleep | Do | SendPattern
Script = Sequence[Step]


def ok_response(body: bytes = b"hello\n", headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """A 200 with `body`."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 200 OK\r\n{lines}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body


def default_answer(request: RecordedRequest) -> Script:
    """200 to everything; the header `x-backend` tells the answer from one made by the proxy."""
    body = b"" if request.method == "HEAD" else b"hello\n"
    return [Send(ok_response(body, [("x-backend", "1")]))]


class Backend:
    """A server on the loop: its address, its live connections, how it starts and stops."""

    def __init__(self, loop: LoopThread) -> None:
        self.address: tuple[str, int] = ("", 0)
        self.connections_opened = 0
        self.connections_open = 0
        self._loop = loop
        self._server: asyncio.Server | None = None
        self._live: set[LiveConnection] = set()

    def _connection(self) -> asyncio.Protocol:
        raise AssertionError("a kind of backend makes its own connections")

    def start(
        self: _B,
        host: str = "127.0.0.1",
        port: int = 0,
        context: ssl.SSLContext | None = None,
        backlog: int = 4096,
    ) -> _B:
        """Listen; port 0 takes any free one."""

        async def serve() -> asyncio.Server:
            return await asyncio.get_running_loop().create_server(
                self._connection, host, port, ssl=context, backlog=backlog
            )

        self._server = self._loop.run(serve())
        self.address = self._server.sockets[0].getsockname()[:2]
        return self

    def stop(self) -> None:
        """Listen no more and reset what is open. Harmless twice."""

        async def stop() -> None:
            assert self._server is not None
            self._server.close()
            for connection in list(self._live):
                if connection.transport is not None:
                    connection.transport.abort()

        if self._server is not None:
            self._loop.run(stop())
            self._server = None


class LiveConnection(asyncio.Protocol):
    """A connection that its backend knows."""

    backend: Backend
    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.backend.connections_opened += 1
        self.backend.connections_open += 1
        self.backend._live.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.backend.connections_open -= 1
        self.backend._live.discard(self)

    def eof_received(self) -> bool:
        return False


class HttpBackend(Backend):
    """An HTTP/1.1 server that records every octet of every head.

    `answer` makes the script for a request. It is called when the request is complete, or, with `answer_at_head`, as
    soon as its head is there. `GET /bytes/N` is answered with N bytes of the pattern; the body of a request to
    `/upload` is compared with the pattern and not kept.
    """

    def __init__(self, loop: LoopThread, *, name: str = "backend") -> None:
        super().__init__(loop)
        self.name = name
        self.answer: Callable[[RecordedRequest], Script] = default_answer
        self.answer_at_head = False
        self.requests: list[RecordedRequest] = []
        self.uploads: list[PatternChecker] = []
        self.bytes_received = 0

    def _connection(self) -> asyncio.Protocol:
        return _HttpConnection(self)

    def clear(self) -> None:
        """Forget what was recorded."""
        self.requests = []
        self.uploads = []

    def count_complete(self) -> int:
        """How many complete requests were recorded."""
        return sum(request.complete for request in self.requests)

    def leftovers(self) -> list[bytes]:
        """Bytes on open connections that belong to no request."""
        live = [each for each in list(self._live) if isinstance(each, _HttpConnection)]
        return [bytes(each.buffer) for each in live if each.current is None and each.buffer]

    def close_connections(self) -> None:
        """Close every open connection, as a server does with idle ones."""

        async def close() -> None:
            for connection in list(self._live):
                if connection.transport is not None:
                    connection.transport.close()

        self._loop.run(close())


class _HttpConnection(LiveConnection):
    backend: HttpBackend

    def __init__(self, backend: HttpBackend) -> None:
        self.backend = backend
        self.buffer = bytearray()
        self.current: RecordedRequest | None = None
        self.remaining = 0
        self.chunked = False
        self.check: PatternChecker | None = None
        self.kept: list[bytes] = []
        self.queue: list[Script] = []
        self.player: asyncio.Task[None] | None = None
        self.writable = asyncio.Event()
        self.writable.set()
        self.number = 0
        self.hung = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.number = self.backend.connections_opened

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.writable.set()
        if self.current is not None and not self.current.complete:
            self.current.aborted = True
        if self.player is not None:
            self.player.cancel()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        self.backend.bytes_received += len(data)
        self.buffer += data
        while self._step():
            pass

    # Reading requests

    def _step(self) -> bool:
        if self.current is None:
            return self._take_head()
        if self.remaining > 0:
            piece_ = bytes(self.buffer[: self.remaining])
            del self.buffer[: len(piece_)]
            self.remaining -= len(piece_)
            self._take_body(piece_)
            if self.remaining:
                return False
            if self.chunked:
                self.remaining = -1
            else:
                self._complete()
            return bool(self.buffer)
        return self._take_chunk_line()

    def _take_head(self) -> bool:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        request = RecordedRequest(bytes(self.buffer[: end + 4]), self.number)
        del self.buffer[: end + 4]
        self.backend.requests.append(request)
        self.current = request
        self.kept = []
        self.check = None
        if request.target == "/upload":
            self.check = PatternChecker()
            self.backend.uploads.append(self.check)
        lengths = request.values("content-length")
        self.chunked = bool(request.values("transfer-encoding"))
        self.remaining = 0 if self.chunked else int(lengths[0]) if lengths and lengths[0].isdecimal() else 0
        if self.backend.answer_at_head:
            self._play(self.backend.answer(request))
        if request.values("expect"):
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.chunked and not self.remaining:
            self._complete()
        return True

    def _take_chunk_line(self) -> bool:
        if self.remaining < 0:  # the CRLF behind the data of a chunk
            if len(self.buffer) < 2:
                return False
            del self.buffer[:2]
            self.remaining = 0
            return True
        end = self.buffer.find(b"\r\n")
        if end < 0:
            return False
        line = bytes(self.buffer[:end])
        size = int(line.split(b";")[0] or b"0", 16)
        if size:
            del self.buffer[: end + 2]
            self.remaining = size
            return True
        trailers_end = self.buffer.find(b"\r\n\r\n", end)
        if self.buffer[end : end + 4] != b"\r\n\r\n" and trailers_end < 0:
            return False
        stop = end + 4 if self.buffer[end : end + 4] == b"\r\n\r\n" else trailers_end + 4
        assert self.current is not None
        self.current.trailers = bytes(self.buffer[end + 2 : stop])
        del self.buffer[:stop]
        self._complete()
        return True

    def _take_body(self, data: bytes) -> None:
        assert self.current is not None
        self.current.body_length += len(data)
        if self.check is not None:
            self.check.feed(data)
        elif self.current.body_length <= _MAX_KEPT_BODY:
            self.kept.append(data)

    def _complete(self) -> None:
        request = self.current
        assert request is not None
        request.body = b"".join(self.kept)
        request.complete = True
        self.current = None
        if self.backend.answer_at_head:
            return
        match = _BYTES_TARGET.match(request.target.encode("latin-1"))
        if match is not None:
            self._play([SendPattern(int(match[1]))])
        else:
            self._play(self.backend.answer(request))

    # Answering

    def _play(self, script: Script) -> None:
        self.queue.append(script)
        if self.player is None:
            if len(script) == 1 and isinstance(script[0], Send):
                self.queue.clear()
                self._write(script[0].data * script[0].repeat)
                return
            self.player = asyncio.get_running_loop().create_task(self._play_all())

    async def _play_all(self) -> None:
        try:
            while self.queue:
                for step in self.queue.pop(0):
                    await self._play_step(step)
        finally:
            self.player = None

    async def _play_step(self, step: Step) -> None:
        assert self.transport is not None
        if isinstance(step, Send):
            self._write(step.data * step.repeat)
            await self.writable.wait()
        elif isinstance(step, Sleep):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, SendPattern):
            await self._send_pattern(step.size)
        elif step.what == "close":
            self.transport.close()
        elif step.what == "half-close":
            self.transport.write_eof()
        elif step.what == "rst":
            reset(self.transport)
        elif step.what != "hang":
            raise ValueError(step.what)

    async def _send_pattern(self, size: int) -> None:
        self._write(b"HTTP/1.1 200 OK\r\nx-backend: 1\r\ncontent-length: %d\r\n\r\n" % size)
        sent = 0
        while sent < size and self.transport is not None and not self.transport.is_closing():
            part = piece(sent, min(PERIOD // 4, size - sent))
            self._write(part)
            sent += len(part)
            await self.writable.wait()

    def _write(self, data: bytes | memoryview) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)


def reset(transport: asyncio.Transport) -> None:
    """Close so that the peer sees a reset."""
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class TcpBackend(Backend):
    """A TCP server; `mode` is one of

    - `line_echo`: each line read is answered with `<prefix> <line>`, until the peer closes;
    - `echo`: everything is sent back; a half-close is answered with a half-close;
    - `sink`: what comes is compared with the pattern; at the end of the stream the count is sent back;
    - `source`: one line with a number is read and that many bytes of the pattern are sent;
    - `silent`: accepts, reads, never answers;
    - `accept`: accepts and never reads.
    """

    def __init__(self, loop: LoopThread, mode: str, *, prefix: str = "") -> None:
        super().__init__(loop)
        self.mode = mode
        self.prefix = prefix.encode()
        self.received: list[bytearray] = []
        """What each connection received, in order of acceptance (not for `sink` and `source`)."""
        self.checks: list[PatternChecker] = []

    def _connection(self) -> asyncio.Protocol:
        return _TcpConnection(self)

    def reset_connections(self) -> None:
        """Break off every open connection."""

        async def break_off() -> None:
            for connection in list(self._live):
                if connection.transport is not None:
                    reset(connection.transport)

        self._loop.run(break_off())


class _TcpConnection(LiveConnection):
    backend: TcpBackend

    def __init__(self, backend: TcpBackend) -> None:
        self.backend = backend
        self.received = bytearray()
        self.line = bytearray()
        self.check = PatternChecker()
        self.writable = asyncio.Event()
        self.writable.set()
        self.player: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.backend.received.append(self.received)
        self.backend.checks.append(self.check)
        if self.backend.mode == "accept" and self.transport is not None:
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.writable.set()
        if self.player is not None:
            self.player.cancel()

    def pause_writing(self) -> None:
        self.writable.clear()
        if self.backend.mode == "echo" and self.transport is not None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.writable.set()
        if self.backend.mode == "echo" and self.transport is not None:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        mode = self.backend.mode
        if mode == "sink":
            self.check.feed(data)
            return
        if mode == "echo":
            self.transport.write(data)
            return
        self.received += data
        if mode in ("line_echo", "source"):
            self.line += data
            while (end := self.line.find(b"\n")) >= 0:
                line = bytes(self.line[: end + 1])
                del self.line[: end + 1]
                self._answer(line)

    def _answer(self, line: bytes) -> None:
        assert self.transport is not None
        if self.backend.mode == "line_echo":
            self.transport.write(self.backend.prefix + b" " + line)
        else:
            self.player = asyncio.get_running_loop().create_task(self._send_pattern(int(line)))

    async def _send_pattern(self, size: int) -> None:
        assert self.transport is not None
        sent = 0
        while sent < size and not self.transport.is_closing():
            part = piece(sent, min(PERIOD // 4, size - sent))
            self.transport.write(part)
            sent += len(part)
            await self.writable.wait()
        self.transport.write_eof()

    def eof_received(self) -> bool:
        if self.backend.mode == "sink" and self.transport is not None:
            self.transport.write(b"%d\n" % self.check.received)
        return False
