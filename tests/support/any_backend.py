"""An HTTP/1.1 or an HTTP/2 backend that answers, and tells what it received, in the same words."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.backends import HttpBackend, LoopThread, RecordedRequest, Script, Send
from tests.support.h2_backend import BodyEnd, Data, H2Backend, H2Request, H2Script, H2Step, Head, Trailers

Fields = list[tuple[str, str]]
_Pairs = Sequence[tuple[str, str]]

_NO_BODY = (204, 304)


@dataclass(frozen=True)
class Answer:
    """What to answer. Over HTTP/1.1 trailers make the body chunked, and so does `length` off."""

    status: int = 200
    headers: _Pairs = ()
    body: bytes = b"hello\n"
    trailers: _Pairs = ()
    interim: Sequence[tuple[int, _Pairs]] = ()
    length: bool = True


@dataclass(frozen=True)
class Received:
    """A request as it arrived, without what only one of the protocols has."""

    method: str
    target: str
    authority: str
    headers: Fields
    """Names in lower case; no host, no pseudo-headers."""
    body: bytes
    trailers: Fields
    scheme: str = ""
    """Empty over HTTP/1.1."""
    connection: int = 0
    pseudo: Fields = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


class AnyBackend:
    """Answers every request with `answer` when the request has ended."""

    def __init__(self, loop: LoopThread, protocol: str, *, context: ssl.SSLContext | None = None) -> None:
        self.protocol = protocol
        self.answer = Answer()
        self._h1 = HttpBackend(loop)
        self._h1.answer = self._h1_script
        self._h2 = H2Backend(loop)
        self._h2.answer = self._h2_script
        self.backend: HttpBackend | H2Backend = self._h2 if protocol == "HTTP/2" else self._h1
        self.backend.start(context=context)

    @property
    def address(self) -> tuple[str, int]:
        return self.backend.address

    def clear(self) -> None:
        """Forget the requests, and answer as usual."""
        self.backend.clear()
        self.answer = Answer()

    def tolerate_violations(self) -> None:
        """Tests will make the proxy send what HTTP/2 forbids."""
        self._h2.tolerant = True

    def received(self) -> list[Received]:
        """The requests so far."""
        if self.protocol == "HTTP/2":
            return [_from_h2(request) for request in self._h2.requests]
        return [_from_h1(request) for request in self._h1.requests]

    def last(self) -> Received:
        return self.received()[-1]

    def _h1_script(self, request: RecordedRequest) -> Script:
        answer = self.answer
        parts = [_h1_head(status, headers) for status, headers in answer.interim]
        bodiless = request.method == "HEAD" or answer.status in _NO_BODY
        framing: Fields = []
        chunked = bool(answer.trailers) or not answer.length
        if answer.status not in _NO_BODY:
            framing = [
                ("transfer-encoding", "chunked") if chunked else ("content-length", str(len(answer.body)))
            ]
        parts.append(_h1_head(answer.status, [*answer.headers, *framing]))
        if chunked and not bodiless:
            trailers = "".join(f"{name}: {value}\r\n" for name, value in answer.trailers).encode("latin-1")
            chunk = b"%x\r\n%b\r\n" % (len(answer.body), answer.body) if answer.body else b""
            parts.append(chunk + b"0\r\n" + trailers + b"\r\n")
        elif not bodiless:
            parts.append(answer.body)
        return [Send(part) for part in parts]

    def _h2_script(self, request: H2Request) -> H2Script:
        answer = self.answer
        steps: list[H2Step] = [BodyEnd()]
        steps += [Head(status, headers) for status, headers in answer.interim]
        headers = list(answer.headers)
        if answer.length and not answer.trailers and answer.status not in _NO_BODY:
            headers.append(("content-length", str(len(answer.body))))
        if request.method == "HEAD" or answer.status in _NO_BODY or not (answer.body or answer.trailers):
            return [*steps, Head(answer.status, headers, end=True)]
        steps += [Head(answer.status, headers), Data(answer.body, end=not answer.trailers)]
        return [*steps, Trailers(answer.trailers)] if answer.trailers else steps


def _h1_head(status: int, headers: _Pairs) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} Text\r\n{lines}\r\n".encode("latin-1")


def _from_h1(request: RecordedRequest) -> Received:
    headers = [(name, value) for name, value in request.fields() if name != "host"]
    return Received(
        request.method,
        request.target,
        "".join(request.values("host")),
        headers,
        request.body,
        request.trailer_fields(),
        connection=request.connection,
    )


def _from_h2(request: H2Request) -> Received:
    return Received(
        request.method,
        request.path,
        request.value(":authority"),
        [(name, value) for name, value in request.fields if not name.startswith(":")],
        request.body,
        request.trailers or [],
        request.value(":scheme"),
        request.connection,
        [(name, value) for name, value in request.fields if name.startswith(":")],
    )
