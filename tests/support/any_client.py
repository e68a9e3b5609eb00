"""One request at a time over HTTP/1.1 or HTTP/2, sent and seen in the same words."""

from __future__ import annotations

import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from h2.errors import ErrorCodes

from tests.support.h2_client import H2Client
from tests.support.http_client import RawClient, Response

PROTOCOLS = ("HTTP/1.1", "HTTP/2")
AUTHORITY = "a.example"

Fields = list[tuple[str, str]]
_Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Seen:
    """What a client got. `end` is `complete`, `closed` (inside the answer or before it), or the code of RST_STREAM."""

    status: int | None
    headers: Fields
    """Names in lower case, no pseudo-headers."""
    body: bytes
    body_length: int
    trailers: Fields
    end: str
    interim: list[tuple[int, Fields]] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


class AnyClient(ABC):
    """A connection. `send_head` begins a request, `wait` ends it. Use as a context manager."""

    protocol: str

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    @abstractmethod
    def alpn(self) -> str | None:
        """What was negotiated."""

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def send_head(
        self, method: str, path: str, headers: _Pairs = (), *, end: bool = True, length: int | None = None
    ) -> None:
        """Begin a request; without `length` an HTTP/1.1 body is chunked."""

    @abstractmethod
    def send_data(self, data: bytes | memoryview, *, end: bool = False) -> None: ...

    @abstractmethod
    def send_trailers(self, trailers: _Pairs) -> None: ...

    @abstractmethod
    def wait_head(self) -> int | None:
        """The status, as soon as the head is there; None when there is no head."""

    @abstractmethod
    def wait_body(self, size: int) -> None:
        """Until so many bytes of the body are there."""

    @abstractmethod
    def wait(self, timeout_s: float | None = None) -> Seen:
        """All of the answer. Raises TimeoutError."""

    def request(
        self,
        method: str,
        path: str,
        headers: _Pairs = (),
        body: bytes | None = None,
        *,
        trailers: _Pairs = (),
    ) -> Seen:
        """A whole request. With trailers an HTTP/1.1 body is chunked."""
        has_body = body is not None or bool(trailers)
        length = len(body) if body is not None and not trailers else None
        self.send_head(method, path, headers, end=not has_body, length=length)
        if has_body and (body or not trailers):
            self.send_data(body or b"", end=not trailers)
        if trailers:
            self.send_trailers(trailers)
        return self.wait()


def any_client(
    protocol: str,
    address: tuple[str, int],
    *,
    context: ssl.SSLContext | None = None,
    server_name: str | None = None,
    timeout_s: float = 10.0,
) -> AnyClient:
    """A client that speaks `protocol`, one of `PROTOCOLS`."""
    if protocol == "HTTP/2":
        return Http2(
            H2Client(
                address, context=context, server_name=server_name, timeout_s=timeout_s, authority=AUTHORITY
            )
        )
    return Http1(RawClient(address, context=context, server_name=server_name, timeout_s=timeout_s))


class Http2(AnyClient):
    """On an HTTP/2 client; each request has a stream of its own."""

    protocol = "HTTP/2"

    def __init__(self, client: H2Client) -> None:
        self.client = client
        self.stream = 0

    @property
    def alpn(self) -> str | None:
        return self.client.alpn

    def close(self) -> None:
        self.client.close()

    def send_head(
        self, method: str, path: str, headers: _Pairs = (), *, end: bool = True, length: int | None = None
    ) -> None:
        framing = [("content-length", str(length))] if length is not None else []
        self.stream = self.client.begin(method, path, [*headers, *framing], end=end)

    def send_data(self, data: bytes | memoryview, *, end: bool = False) -> None:
        self.client.send(self.stream, data, end=end)

    def send_trailers(self, trailers: _Pairs) -> None:
        self.client.send_trailers(self.stream, trailers)

    def wait_head(self) -> int | None:
        try:
            return self.client.wait_head(self.stream).status
        except ConnectionError:
            return None

    def wait_body(self, size: int) -> None:
        answer = self.client.answers[self.stream]
        self.client.wait_until(lambda: answer.body_length >= size, f"{size} bytes of the body")

    def wait(self, timeout_s: float | None = None) -> Seen:
        answer = self.client.answers[self.stream]
        try:
            self.client.wait(self.stream, timeout_s)
            end = "complete" if answer.ended else ErrorCodes(answer.reset or 0).name
        except ConnectionError:
            end = "closed"
        interim = [(int(fields[0][1]), fields[1:]) for fields in answer.interim]
        trailers = answer.trailers or []
        return Seen(answer.status, answer.head[1:], answer.body, answer.body_length, trailers, end, interim)


class Http1(AnyClient):
    """On an HTTP/1.1 client."""

    protocol = "HTTP/1.1"

    def __init__(self, client: RawClient) -> None:
        self.client = client
        self._chunked = False
        self._number = 0
        self._interim_before = 0

    @property
    def alpn(self) -> str | None:
        raw = self.client.socket
        return raw.selected_alpn_protocol() if isinstance(raw, ssl.SSLSocket) else None

    def close(self) -> None:
        self.client.close()

    def send_head(
        self, method: str, path: str, headers: _Pairs = (), *, end: bool = True, length: int | None = None
    ) -> None:
        self.client.reader.expect(method)
        self._number = len(self.client.reader.responses)
        self._interim_before = len(self.client.reader.interim)
        self._chunked = length is None and not end
        framing = (
            [("transfer-encoding", "chunked")]
            if self._chunked
            else [("content-length", str(length))]
            if length is not None
            else []
        )
        host = [] if any(name == "host" for name, _ in headers) else [("host", AUTHORITY)]
        lines = [f"{name}: {value}\r\n" for name, value in (*host, *headers, *framing)]
        self.client.send(f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode("latin-1"))

    def send_data(self, data: bytes | memoryview, *, end: bool = False) -> None:
        if not self._chunked:
            self.client.send(bytes(data))
            return
        chunk = b"%x\r\n%b\r\n" % (len(data), bytes(data)) if data else b""
        self.client.send(chunk + (b"0\r\n\r\n" if end else b""))

    def send_trailers(self, trailers: _Pairs) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
        self.client.send(f"0\r\n{lines}\r\n".encode("latin-1"))

    def wait_head(self) -> int | None:
        self._read_until(lambda: self._response() is not None, None, "no head in time")
        response = self._response()
        return response.status if response is not None else None

    def wait_body(self, size: int) -> None:
        def enough() -> bool:
            response = self._response()
            return response is not None and response.body_length >= size

        self._read_until(enough, None, "no body in time")

    def wait(self, timeout_s: float | None = None) -> Seen:
        def complete() -> bool:
            response = self._response()
            return response is not None and response.complete

        self._read_until(complete, timeout_s, "no complete answer in time")
        interim = [
            (each.status, _text(each.headers)) for each in self.client.reader.interim[self._interim_before :]
        ]
        response = self._response()
        if response is None:
            return Seen(None, [], b"", 0, [], "closed", interim)
        end = "complete" if response.complete else "closed"
        return Seen(
            response.status,
            _text(response.headers),
            response.body,
            response.body_length,
            _text(response.trailers),
            end,
            interim,
        )

    def _response(self) -> Response | None:
        responses = self.client.reader.responses
        return responses[self._number] if len(responses) > self._number else None

    def _read_until(self, done: Callable[[], bool], timeout_s: float | None, what: str) -> None:
        deadline = time.monotonic() + (self.client.timeout_s if timeout_s is None else timeout_s)
        while not done() and not self.client.closed_by_peer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(what)
            self.client.receive(left)


def _text(fields: Sequence[tuple[bytes, bytes]]) -> Fields:
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in fields]
