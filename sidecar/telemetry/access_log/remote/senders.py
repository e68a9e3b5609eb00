"""How batches of entries travel: on one gRPC stream that stays open, as gRPC calls, or as HTTP requests."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from msgspec import structs

from config.model.services import GrpcServiceSpec, HttpServiceSpec
from protocols.grpc.status import GrpcStatus
from protocols.http import names
from protocols.http.headers import Headers
from sidecar.telemetry.exports import DEFAULT_TIMEOUT_S, ExportLog, Exports
from sidecar.transport.async_client import AsyncClient, GrpcStream, RequestFailure, post_head
from stats.families import RemoteAccessLogStats

#: Calls without an answer; the next batch waits in its buffer.
MAX_IN_FLIGHT: Final = 8
_OK: Final = 200
_WHAT: Final = "access logs"


class StreamSender:
    """The stream to Envoy's access log service. Implements `Sender` and `StreamCallbacks`.

    The first message of each stream says who we are. A stream that ended is opened again by the next batch.
    """

    def __init__(
        self,
        client: AsyncClient,
        service: GrpcServiceSpec,
        path: bytes,
        message: Callable[[list[bytes], bool], bytes],
        stats: RemoteAccessLogStats,
    ) -> None:
        """`message` makes one of entries; its second argument: it is the first on its stream."""
        self._client = client
        self._service = service
        self._path = path
        self._message = message
        self._stats = stats
        self._log = ExportLog(_WHAT, service.cluster_name)
        self._stream: GrpcStream | None = None
        self._opened_s = 0.0
        self._rest: Callable[[], bool] | None = None
        self._on_idle: Callable[[], None] | None = None

    def send(self, entries: list[bytes]) -> bool:
        stream = self._stream
        first = stream is None or stream.is_over
        if stream is None or first:
            stream = self._stream = self._client.stream(self._service, self._path, self)
            self._opened_s = time.monotonic()
        elif time.monotonic() - self._opened_s > DEFAULT_TIMEOUT_S:
            self._log.succeeded()  # servers need not say anything: a stream that lasts is one that is read
        if stream.is_full:
            return False
        taken = stream.send(self._message(entries, first))
        (self._stats.grpc_entries_flushed if taken else self._stats.grpc_entries_flush_failed).add(
            len(entries)
        )
        return True

    def close(self, rest: Callable[[], bool], on_idle: Callable[[], None]) -> None:
        all_sent = rest()
        stream = self._stream
        if stream is None:
            on_idle()
            return
        self._rest, self._on_idle = rest, on_idle
        if all_sent:
            stream.close()

    def on_stream_headers(self, headers: Headers) -> None:
        self._log.succeeded()

    def on_stream_message(self, message: bytes) -> None:
        return None

    def on_stream_writable(self) -> None:
        stream = self._stream
        if self._rest is not None and stream is not None and not stream.is_over and self._rest():
            stream.close()

    def on_stream_closed(self, status: int, message: str) -> None:
        self._stream = None
        if status == GrpcStatus.OK:
            self._log.succeeded()
        else:
            self._log.failed(f"gRPC status {status} {message}")
        on_idle, self._on_idle, self._rest = self._on_idle, None, None
        if on_idle is not None:
            on_idle()


class _Batch:
    """One that is under way. Implements `UnaryCallbacks` and `RequestCallbacks`."""

    __slots__ = ("_count", "_sender")

    def __init__(self, sender: _BatchSender, count: int) -> None:
        self._sender = sender
        self._count = count

    def on_reply(self, message: bytes) -> None:
        self._sender.end(self._count, "")

    def on_call_failed(self, status: int, message: str) -> None:
        self._sender.end(self._count, f"gRPC status {status} {message}")

    def on_response(self, headers: Headers, body: bytes) -> None:
        self._sender.end(self._count, "" if headers.status == _OK else f"HTTP status {headers.status}")

    def on_failure(self, failure: RequestFailure) -> None:
        self._sender.end(self._count, failure.details)


class _BatchSender(ABC):
    """A request for each batch, some at once. Implements `Sender`."""

    def __init__(
        self,
        client: AsyncClient,
        cluster_name: str,
        message: Callable[[list[bytes]], bytes],
        stats: RemoteAccessLogStats,
    ) -> None:
        self._client = client
        self._log = ExportLog(_WHAT, cluster_name)
        self._rest: Callable[[], bool] | None = None
        self._message = message
        self._stats = stats
        self._under_way = Exports(MAX_IN_FLIGHT)

    def send(self, entries: list[bytes]) -> bool:
        if not self._under_way.begin():
            return False
        self._ask(self._message(entries), _Batch(self, len(entries)))
        return True

    @abstractmethod
    def _ask(self, message: bytes, batch: _Batch) -> None:
        """Send it; `batch` is told how it ends."""

    def end(self, count: int, problem: str) -> None:
        """A batch of so many entries is over; `problem` "": it was taken."""
        self._under_way.end()
        if problem:
            self._stats.grpc_entries_flush_failed.add(count)
            self._log.failed(problem)
        else:
            self._stats.grpc_entries_flushed.add(count)
            self._log.succeeded()
        if self._rest is not None:
            self._rest()
        self._under_way.tell_idle()

    def close(self, rest: Callable[[], bool], on_idle: Callable[[], None]) -> None:
        self._rest = rest
        rest()
        self._under_way.close(on_idle)
        self._under_way.tell_idle()


class CallSender(_BatchSender):
    """A gRPC call for each batch."""

    def __init__(
        self,
        client: AsyncClient,
        service: GrpcServiceSpec,
        path: bytes,
        message: Callable[[list[bytes]], bytes],
        stats: RemoteAccessLogStats,
    ) -> None:
        super().__init__(client, service.cluster_name, message, stats)
        self._service = structs.replace(service, timeout_s=service.timeout_s or DEFAULT_TIMEOUT_S)
        self._path = path

    def _ask(self, message: bytes, batch: _Batch) -> None:
        self._client.unary(self._service, self._path, message, batch)


class HttpSender(_BatchSender):
    """A POST for each batch."""

    def __init__(
        self,
        client: AsyncClient,
        service: HttpServiceSpec,
        content_type: bytes,
        message: Callable[[list[bytes]], bytes],
        stats: RemoteAccessLogStats,
    ) -> None:
        super().__init__(client, service.cluster_name, message, stats)
        self._service = service
        self._content_type = content_type

    def _ask(self, message: bytes, batch: _Batch) -> None:
        service = self._service
        headers = post_head(service, (names.CONTENT_TYPE, self._content_type))
        self._client.request(
            service.cluster_name, headers, message, batch, timeout_s=service.timeout_s or DEFAULT_TIMEOUT_S
        )
