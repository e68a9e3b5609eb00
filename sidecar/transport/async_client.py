"""Requests on our own behalf to clusters by name (Envoy's AsyncClient), as those see them who make them.

What is asked for may be one HTTP request, one gRPC call with one answer, or a gRPC stream. The rules of all three:

- Nothing blocks. No callback comes before the call that asked has returned; exactly one of them says that it is over, none comes
  after that or after `cancel`.
- Memory is bounded: answers by `max_bytes`, what a stream has not sent yet by `send` saying no.
- A call does not try again. Whoever owns a stream that ended opens another one when it sees fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from protocols.http.headers import Headers

if TYPE_CHECKING:
    from config.model.services import GrpcServiceSpec, HttpServiceSpec

#: The longest body of an HTTP answer, and the longest gRPC message, unless something else is said.
MAX_BODY_BYTES: Final = 1024 * 1024
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024


def post_head(service: HttpServiceSpec, *fields: tuple[bytes, bytes]) -> Headers:
    """The head of a POST to a service; its configured headers replace `fields`."""
    headers = Headers.request(b"POST", service.path.encode(), service.authority.encode(), fields)
    for name, value in service.headers:
        headers.set(name.lower().encode(), value.encode())
    return headers


class RequestFailure(msgspec.Struct, frozen=True):
    """Why there is no answer: the HTTP status that a client would have got in its place, and Envoy's details and text."""

    status: int
    details: str
    text: str


class Call(Protocol):
    """Something asked for that is not over."""

    def cancel(self) -> None:
        """Give it up. Harmless when it is over."""


class RequestCallbacks(Protocol):
    """Of one HTTP request. Exactly one of them is called."""

    def on_response(self, headers: Headers, body: bytes) -> None:
        """The whole answer, whatever its status."""

    def on_failure(self, failure: RequestFailure) -> None: ...


class UnaryCallbacks(Protocol):
    """Of one gRPC call. Exactly one of them is called."""

    def on_reply(self, message: bytes) -> None:
        """The status is OK."""

    def on_call_failed(self, status: int, message: str) -> None:
        """The server's gRPC status and text, or what stands for the way to it."""


class StreamCallbacks(Protocol):
    """Of a gRPC stream."""

    def on_stream_headers(self, headers: Headers) -> None:
        """The server's initial metadata, at most once and before any message."""

    def on_stream_message(self, message: bytes) -> None: ...

    def on_stream_writable(self) -> None:
        """The stream was full and takes messages again."""

    def on_stream_closed(self, status: int, message: str) -> None:
        """The end, as the server says it, or what stands for the loss of the way to it. Comes last."""


class GrpcStream(Protocol):
    """A gRPC stream that goes on in both directions."""

    @property
    def is_full(self) -> bool:
        """`send` would say no. Also while there is no connection yet and much waits for one.

        Who was told so, here or by `send`, hears of the end by `on_stream_writable`.
        """

    @property
    def is_over(self) -> bool:
        """Closed or reset: it takes nothing."""

    def send(self, message: bytes, *, last: bool = False) -> bool:
        """Whether the message was taken: not when the stream is full or over. `last`: no more will come."""

    def close(self) -> None:
        """No more messages from us; the server still ends the stream."""

    def reset(self) -> None:
        """Give it up; no callback follows."""

    def pause_reading(self) -> None:
        """The owner takes no more messages for now: the server is held up. Messages that are there already still come."""

    def resume_reading(self) -> None: ...


class AsyncClient(Protocol):
    """One for the process."""

    def request(
        self,
        cluster_name: str,
        headers: Headers,
        body: bytes,
        callbacks: RequestCallbacks,
        *,
        timeout_s: float | None,
        max_bytes: int = MAX_BODY_BYTES,
    ) -> Call:
        """Send a request with its head and body; the length is set here. `timeout_s` None: wait for ever."""

    def unary(self, service: GrpcServiceSpec, path: bytes, message: bytes, callbacks: UnaryCallbacks) -> Call:
        """Call `/package.Service/Method`, with the timeout of the service."""

    def stream(self, service: GrpcServiceSpec, path: bytes, callbacks: StreamCallbacks) -> GrpcStream:
        """Open a stream to `/package.Service/Method`."""
