"""An `AsyncClient` that writes down what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from config.model.services import GrpcServiceSpec
from protocols.http.headers import Headers
from sidecar.transport.async_client import Call, GrpcStream, RequestCallbacks, StreamCallbacks, UnaryCallbacks


@dataclass
class RecordedStream:
    path: bytes
    callbacks: StreamCallbacks
    messages: list[bytes] = field(default_factory=list)
    is_full: bool = False
    is_over: bool = False
    closed: bool = False
    refuses: bool = False

    def send(self, message: bytes, *, last: bool = False) -> bool:
        if not self.refuses:
            self.messages.append(message)
        return not self.refuses

    def close(self) -> None:
        self.closed = True

    def reset(self) -> None:
        self.is_over = True

    def pause_reading(self) -> None:
        return None

    def resume_reading(self) -> None:
        return None

    def end(self, status: int) -> None:
        self.is_over = True
        self.callbacks.on_stream_closed(status, "the end")


@dataclass
class RecordedCall:
    path: bytes
    message: bytes
    callbacks: UnaryCallbacks
    timeout_s: float | None

    def cancel(self) -> None:
        return None


@dataclass
class RecordedPost:
    cluster: str
    headers: Headers
    body: bytes
    callbacks: RequestCallbacks
    timeout_s: float | None

    def cancel(self) -> None:
        return None


class RecordingClient:
    """Implements `AsyncClient`."""

    def __init__(self) -> None:
        self.streams: list[RecordedStream] = []
        self.calls: list[RecordedCall] = []
        self.posts: list[RecordedPost] = []

    def request(
        self,
        cluster_name: str,
        headers: Headers,
        body: bytes,
        callbacks: RequestCallbacks,
        *,
        timeout_s: float | None,
        max_bytes: int = 0,
    ) -> Call:
        self.posts.append(RecordedPost(cluster_name, headers, body, callbacks, timeout_s))
        return self.posts[-1]

    def unary(self, service: GrpcServiceSpec, path: bytes, message: bytes, callbacks: UnaryCallbacks) -> Call:
        self.calls.append(RecordedCall(path, message, callbacks, service.timeout_s))
        return self.calls[-1]

    def stream(self, service: GrpcServiceSpec, path: bytes, callbacks: StreamCallbacks) -> GrpcStream:
        self.streams.append(RecordedStream(path, callbacks))
        return self.streams[-1]
