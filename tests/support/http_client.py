"""An HTTP/1.1 client that sends exact bytes and reads answers strictly.

`ResponseReader` is the grammar without a socket; `RawClient` adds one. Nothing here repairs anything: an answer that is
not valid HTTP/1.1 is reported as such.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\Z")
_FIELD_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*\Z"
)
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e]*)?\Z")
_DIGITS = re.compile(rb"[0-9]{1,18}\Z")


class InvalidResponse(Exception):
    """The bytes received are not a valid HTTP/1.1 answer."""


@dataclass(slots=True)
class Response:
    """One answer. `complete` is False when the connection ended inside it."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    complete: bool = False
    head: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body_length: int = 0

    def values(self, name: str) -> list[str]:
        """All values of the header `name` (any case), in order, as latin-1 text."""
        wanted = name.lower().encode("ascii")
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]

    def header(self, name: str) -> str | None:
        """The first value of the header `name`, None without one."""
        values = self.values(name)
        return values[0] if values else None


class ResponseReader:
    """Incremental parser of the answers on one connection.

    `methods` are the methods of the requests in order: an answer to HEAD has no body, one to CONNECT may open a tunnel.
    Requests beyond the list count as GET.
    """

    def __init__(self, methods: Sequence[str] = (), *, keep_body: bool = True) -> None:
        self.responses: list[Response] = []
        """Final answers, the last one possibly still without its end."""
        self.interim: list[Response] = []
        self._methods = list(methods)
        self._keep_body = keep_body
        self._buffer = bytearray()
        self._state = "head"
        self._current: Response | None = None
        self._body: list[bytes] = []
        self._remaining = 0

    def expect(self, method: str) -> None:
        """One more request was sent; its method decides whether the answer has a body."""
        missing = len(self.responses) - len(self._methods)
        self._methods += ["GET"] * missing
        self._methods.append(method)

    def complete(self) -> list[Response]:
        """The final answers that have ended."""
        return [response for response in self.responses if response.complete]

    @property
    def pending(self) -> bool:
        """Whether an answer has begun and not ended."""
        return self._state != "head" or bool(self._buffer)

    @property
    def unparsed(self) -> bytes:
        return bytes(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take bytes as received. Raises InvalidResponse."""
        self._buffer += data
        while self._step():
            pass

    def end(self) -> None:
        """The peer closed its side: ends a body that is delimited by the close."""
        if self._state == "until-close":
            self._finish()

    def _step(self) -> bool:
        if self._state == "head":
            return self._take_head()
        if self._state == "length":
            return self._take_body("head")
        if self._state == "until-close":
            self._keep(bytes(self._buffer))
            self._buffer.clear()
            return False
        if self._state == "chunk-line":
            return self._take_chunk_line()
        if self._state == "chunk-data":
            return self._take_body("chunk-end")
        if self._state == "chunk-end":
            if len(self._buffer) < 2:
                return False
            if self._buffer[:2] != b"\r\n":
                raise InvalidResponse(f"chunk not followed by CRLF: {bytes(self._buffer[:20])!r}")
            del self._buffer[:2]
            self._state = "chunk-line"
            return True
        return self._take_trailers()

    def _take_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if self._buffer and not b"HTTP/1.".startswith(self._buffer[:7]):
                raise InvalidResponse(f"not an answer: {bytes(self._buffer[:60])!r}")
            return False
        head = bytes(self._buffer[: end + 4])
        del self._buffer[: end + 4]
        first, *lines = head[:-4].split(b"\r\n")
        match = _STATUS_LINE.match(first)
        if match is None:
            raise InvalidResponse(f"status line {first[:80]!r}")
        response = Response(int(match[2]), match[3] or b"", [_parse_field(line) for line in lines], head=head)
        if 100 <= response.status < 200 and response.status != 101:
            response.complete = True
            self.interim.append(response)
            return True
        self.responses.append(response)
        self._current = response
        self._body = []
        self._choose_framing(response, match[1] == b"0")
        return True

    def _choose_framing(self, response: Response, http10: bool) -> None:
        lengths = response.values("content-length")
        codings = response.values("transfer-encoding")
        if lengths and codings:
            raise InvalidResponse("both content-length and transfer-encoding")
        if len(lengths) > 1 or len(codings) > 1:
            raise InvalidResponse("repeated framing header")
        position = len(self.responses) - 1
        method = self._methods[position] if position < len(self._methods) else "GET"
        if response.status == 101 or (method == "CONNECT" and 200 <= response.status < 300):
            self._state = "until-close"
        elif method == "HEAD" or response.status in (204, 304):
            self._finish()
        elif codings:
            if codings[0].lower() != "chunked" or http10:
                raise InvalidResponse(f"transfer-encoding {codings[0]!r}")
            self._state = "chunk-line"
        elif lengths:
            if not _DIGITS.match(lengths[0].encode("latin-1")):
                raise InvalidResponse(f"content-length {lengths[0]!r}")
            self._remaining = int(lengths[0])
            self._state = "length"
            if self._remaining == 0:
                self._finish()
        else:
            self._state = "until-close"

    def _take_chunk_line(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        match = _CHUNK_LINE.match(line)
        if match is None:
            raise InvalidResponse(f"chunk size {line[:40]!r}")
        self._remaining = int(match[1], 16)
        self._state = "chunk-data" if self._remaining else "trailers"
        return True

    def _take_body(self, then: str) -> bool:
        if not self._buffer:
            return False
        piece = bytes(self._buffer[: self._remaining])
        del self._buffer[: len(piece)]
        self._remaining -= len(piece)
        self._keep(piece)
        if self._remaining:
            return False
        if then == "head":
            self._finish()
        else:
            self._state = then
        return True

    def _take_trailers(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        if line:
            assert self._current is not None
            self._current.trailers.append(_parse_field(line))
        else:
            self._finish()
        return True

    def _keep(self, piece: bytes) -> None:
        assert self._current is not None
        self._current.body_length += len(piece)
        if self._keep_body:
            self._body.append(piece)
            if self._state == "until-close":
                self._current.body = b"".join(self._body)

    def _finish(self) -> None:
        assert self._current is not None
        self._current.body = b"".join(self._body)
        self._current.complete = True
        self._current = None
        self._body = []
        self._state = "head"


def _parse_field(line: bytes) -> tuple[bytes, bytes]:
    match = _FIELD_LINE.match(line)
    if match is None:
        raise InvalidResponse(f"header line {line[:80]!r}")
    return match[1], match[2]


class RawClient:
    """One connection. `context` and `server_name` put TLS under it."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        methods: Sequence[str] = (),
        timeout_s: float = 10.0,
        context: ssl.SSLContext | None = None,
        server_name: str | None = None,
        keep_body: bool = True,
        source: str | None = None,
    ) -> None:
        local = (source, 0) if source is not None else None
        self.socket: socket.socket = socket.create_connection(
            address, timeout=timeout_s, source_address=local
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout_s = timeout_s
        self.received = 0
        self.end_of_stream = False
        """The peer closed its side cleanly."""
        self.reset = False
        """The peer reset the connection."""
        self.reader = ResponseReader(methods, keep_body=keep_body)
        self._answers_read = 0
        if context is not None:
            try:
                self.socket = context.wrap_socket(self.socket, server_hostname=server_name)
            except BaseException:
                self.socket.close()
                raise

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    @property
    def closed_by_peer(self) -> bool:
        return self.end_of_stream or self.reset

    def send(self, data: bytes, chunk: int = 0) -> None:
        """Send all of `data`, in pieces of `chunk` bytes if given. A peer that has closed meanwhile is noticed later."""
        self.socket.settimeout(self.timeout_s)
        try:
            if chunk:
                for start in range(0, len(data), chunk):
                    self.socket.sendall(data[start : start + chunk])
            else:
                self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def half_close(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def receive(self, wait_s: float) -> bool:
        """Read once, waiting at most `wait_s`; whether bytes or the end came. Raises InvalidResponse."""
        self.socket.settimeout(max(wait_s, 0.0005))
        try:
            data = self.socket.recv(1 << 18)
        except (TimeoutError, ssl.SSLWantReadError):
            return False
        except (ConnectionResetError, ssl.SSLError):
            self.reset = True
            return True
        if not data:
            self.end_of_stream = True
            self.reader.end()
            return True
        self.received += len(data)
        self.reader.feed(data)
        return True

    def read_response(self, timeout_s: float | None = None) -> Response:
        """The next final answer.

        Raises TimeoutError, ConnectionError when the peer closes before its end, InvalidResponse.
        """
        have = self._answers_read
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while len(self.reader.complete()) <= have:
            if self.closed_by_peer:
                raise ConnectionError("closed before the end of the answer")
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no complete answer in time")
            self.receive(left)
        self._answers_read += 1
        return self.reader.complete()[have]

    def request(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        *,
        host: str = "a.example",
        timeout_s: float | None = None,
    ) -> Response:
        """Send one well-formed request and read its answer."""
        self.reader.expect(method)
        self.send(format_request(method, target, headers, body, host=host))
        return self.read_response(timeout_s)


def format_request(
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes | None = None,
    *,
    host: str = "a.example",
) -> bytes:
    """The octets of a request. `host` is left out when `headers` has one."""
    lines = [f"{method} {target} HTTP/1.1"]
    if not any(name.lower() == "host" for name, _ in headers):
        lines.append(f"host: {host}")
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def get(
    address: tuple[str, int],
    target: str,
    *,
    timeout_s: float = 10.0,
    method: str = "GET",
    headers: Sequence[tuple[str, str]] = (),
    host: str | None = None,
    body: bytes | None = None,
) -> Response:
    """One request on a connection of its own."""
    with RawClient(address, timeout_s=timeout_s) as client:
        return client.request(method, target, headers, body, host=host or f"{address[0]}:{address[1]}")
