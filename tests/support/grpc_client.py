"""A gRPC client that leaves messages alone: what is sent and received are bytes."""

from __future__ import annotations

import queue
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from tests.support.grpc_echo import CALL_LIMIT_S, CALLS, UNLIMITED

_OPTIONS = [
    *UNLIMITED,
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),  # what fails is seen, not repeated
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own for each channel
]


class GrpcClient:
    """One channel, that is one connection. `call.unary("Unary")` and the like make the methods of `test.Calls`."""

    def __init__(
        self, address: tuple[str, int], compression: grpc.Compression | None = None, service: str = CALLS
    ) -> None:
        self.service = service
        self.channel = grpc.insecure_channel(
            f"{address[0]}:{address[1]}", options=_OPTIONS, compression=compression
        )

    def __enter__(self) -> GrpcClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls that go on are cancelled."""
        self.channel.close()

    def unary(self, method: str, service: str | None = None) -> grpc.UnaryUnaryMultiCallable:
        return self.channel.unary_unary(self._path(method, service))

    def download(self, method: str, service: str | None = None) -> grpc.UnaryStreamMultiCallable:
        return self.channel.unary_stream(self._path(method, service))

    def upload(self, method: str, service: str | None = None) -> grpc.StreamUnaryMultiCallable:
        return self.channel.stream_unary(self._path(method, service))

    def chat(self, method: str, service: str | None = None) -> Conversation:
        return Conversation(self.channel.stream_stream(self._path(method, service)))

    def ask(self, request: bytes = b"ping", method: str = "Unary", service: str | None = None) -> bytes:
        """One unary call. Raises grpc.RpcError."""
        answer: bytes = self.unary(method, service)(request, timeout=CALL_LIMIT_S)
        return answer

    def failure(
        self, method: str = "Unary", request: bytes = b"ping", service: str | None = None
    ) -> tuple[grpc.StatusCode, str]:
        """The status of a unary call that fails."""
        try:
            answer = self.ask(request, method, service)
        except grpc.RpcError as error:
            return error.code(), error.details()
        raise AssertionError(f"{method} answered {answer!r}")

    def health(self) -> health_pb2_grpc.HealthStub:
        return health_pb2_grpc.HealthStub(self.channel)

    def _path(self, method: str, service: str | None) -> str:
        return f"/{service or self.service}/{method}"


class Conversation:
    """A bidirectional call whose sides speak by turns. Use as a context manager: at the end it is cancelled."""

    def __init__(self, method: grpc.StreamStreamMultiCallable, timeout_s: float = CALL_LIMIT_S) -> None:
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.call = method(iter(self._outbox.get, None), timeout=timeout_s)

    def __enter__(self) -> Conversation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
        self.half_close()

    def send(self, item: Any) -> None:
        self._outbox.put(item)

    def receive(self) -> Any:
        """The next answer. Raises StopIteration at the orderly end, grpc.RpcError at any other."""
        return next(self.call)

    def ask(self, item: Any) -> Any:
        """Send, then wait for the answer."""
        self.send(item)
        return self.receive()

    def half_close(self) -> None:
        """Nothing more will be sent."""
        self._outbox.put(None)

    def cancel(self) -> None:
        self.call.cancel()
