"""Envoy's AsyncClient: requests on our own behalf, over the pools of the clusters.

`AsyncStream` is one exchange, whatever it carries: it asks for a connection, holds what is sent until there is one, and counts as
the router does for requests from inside (`cluster.NAME.internal.*`). `_HttpRequest` and `_GrpcStream` make of it what the
protocols of `transport/async_client.py` promise.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from protocols.errors import RemoteProtocolError
from protocols.grpc import status as grpc
from protocols.grpc.framing import MessageDecoder, frame
from protocols.grpc.status import GrpcStatus
from protocols.http import names
from protocols.http.codec import HttpVersion, ResetReason
from protocols.http.headers import Headers
from sidecar.transport.async_client import MAX_BODY_BYTES, MAX_MESSAGE_BYTES, RequestFailure
from sidecar.upstream import failed_attempt
from sidecar.upstream.api import LbContext
from sidecar.upstream.failed_attempt import Failure
from stats.families import RouterStats

if TYPE_CHECKING:
    from config.model.services import GrpcServiceSpec
    from sidecar.stream_info import UpstreamHost, UpstreamInfo
    from sidecar.transport.async_client import (
        Call,
        GrpcStream,
        RequestCallbacks,
        StreamCallbacks,
        UnaryCallbacks,
    )
    from sidecar.transport.timers import Cancellable, Timers
    from sidecar.upstream.api import Cluster, ClusterManager, Pending, UpstreamFailure, UpstreamStream
    from stats.store import Scope

#: What is sent before there is a connection waits; above this the stream is full.
PENDING_BYTES: Final = 256 * 1024

_UNAVAILABLE: Final = 503
_TOO_LONG: Final = Failure(500, "response_payload_too_large", b"the answer is longer than it may be")
_NANOSECONDS_PER_MS: Final = 1_000_000


class AsyncStream:
    """One exchange. Implements `UpstreamSink`; what becomes of it is for the subclass to tell its owner."""

    __slots__ = (
        "_client",
        "_cluster",
        "_ended",
        "_headers",
        "_host",
        "_may_repeat",
        "_paused",
        "_pending",
        "_pieces",
        "_pieces_bytes",
        "_request_end_ns",
        "_responded",
        "_timer",
        "_told_full",
        "_upstream",
        "_upstream_full",
        "is_over",
    )

    def __init__(self, client: AsyncClientImpl, headers: Headers) -> None:
        self._client = client
        self._headers = headers
        self._cluster: Cluster | None = None
        self._host: UpstreamHost | None = None
        self._pending: Pending | None = None
        self._upstream: UpstreamStream | None = None
        self._pieces: list[bytes] = []  # not sent yet; of a whole request kept until the answer begins
        self._pieces_bytes = 0
        self._ended = False  # nothing more will be sent
        self._request_end_ns = 0
        self._responded = False
        self._may_repeat = False  # all of the request is here, and was not sent twice
        self._paused = False
        self._upstream_full = False
        self._told_full = False  # the owner was told no
        self._timer: Cancellable | None = None
        self.is_over = False

    # for the subclass

    def start(self, cluster_name: str, body: bytes | None, timeout_s: float | None) -> None:
        """Ask for a connection. `body` None: what is to be sent comes later. Nothing is told before this has returned."""
        client = self._client
        client.stats.rq_total.inc()
        if body is not None:
            self._ended = self._may_repeat = True
            self._request_end_ns = client.timers.now_ns()
            if body:
                self._keep(body)
        cluster = client.clusters.get(cluster_name)
        if cluster is None:
            client.stats.no_cluster.inc()
            failure = failed_attempt.cluster_not_found(_UNAVAILABLE)
            client.timers.soon(lambda: self._fail(failure))
            return
        self._cluster = cluster
        if timeout_s is not None:
            self._timer = client.timers.after(timeout_s, self._on_timeout)
        client.timers.soon(self._ask)

    def write(self, data: bytes, end: bool) -> None:
        """More of the request."""
        if end:
            self._ended = True
            self._request_end_ns = self._client.timers.now_ns()
        if self._upstream is not None:
            self._upstream.send_data(data, end)
        elif data:
            self._keep(data)

    def cancel(self) -> None:
        """Give it up; nothing is told any more."""
        if self.is_over:
            return
        self._finish()
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.reset()

    @property
    def is_full(self) -> bool:
        """Too much waits to be sent."""
        full = self._upstream_full or self._pieces_bytes >= PENDING_BYTES
        if full:
            self._told_full = True
        return full

    def pause_reading(self) -> None:
        self._paused = True
        if self._upstream is not None:
            self._upstream.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self._upstream is not None:
            self._upstream.resume_reading()

    @abstractmethod
    def on_head(self, headers: Headers, end: bool) -> None:
        """The head of the final answer."""

    @abstractmethod
    def on_body(self, data: bytes, end: bool) -> None: ...

    @abstractmethod
    def on_trailers(self, trailers: Headers) -> None: ...

    @abstractmethod
    def on_failed(self, failure: Failure, *, responded: bool) -> None:
        """No answer, or (`responded`) not all of it."""

    def on_writable(self) -> None:
        """It was full, and takes more now."""

    # the request

    def _keep(self, data: bytes) -> None:
        self._pieces.append(data)
        self._pieces_bytes += len(data)

    def _drop_pieces(self) -> None:
        self._may_repeat = False
        self._pieces = []
        self._pieces_bytes = 0

    def _ask(self) -> None:
        cluster = self._cluster
        if self.is_over or cluster is None:
            return
        pending = cluster.new_stream(
            LbContext(headers=self._headers), self, downstream_version=HttpVersion.HTTP11
        )
        if self._upstream is None and not self.is_over:
            self._pending = pending

    def _on_timeout(self) -> None:
        self._timer = None
        cluster = self._cluster
        if cluster is None or self.is_over:
            return
        cluster.stats.upstream_rq_timeout.inc()
        if self._host is not None:
            self._host.rq_timeout += 1
        self._count_failure(failed_attempt.RESPONSE_TIMEOUT)
        responded = self._responded
        self.cancel()
        self._tell(lambda: self.on_failed(failed_attempt.RESPONSE_TIMEOUT, responded=responded))

    # UpstreamSink

    def on_pool_ready(self, stream: UpstreamStream) -> None:
        self._pending = None
        if self.is_over:
            stream.reset()
            return
        self._upstream = stream
        self._host = stream.info.host
        if self._paused:
            stream.pause_reading()
        pieces = self._pieces
        if not pieces:
            stream.send_headers(self._headers, self._ended)
            return
        stream.send_headers(self._headers, False)
        stream.send_data(b"".join(pieces), self._ended)
        if not self._may_repeat:
            self._drop_pieces()
            self._check_writable()

    def on_pool_failure(self, failure: UpstreamFailure, details: str, info: UpstreamInfo) -> None:
        self._pending = None
        if self.is_over:
            return
        self._host = info.host
        told = failed_attempt.pool_failure(failure, details, retried=False)
        self._count_failure(told)
        self._fail(told)

    def on_response_headers(self, headers: Headers, end: bool) -> None:
        cluster = self._cluster
        if self.is_over or cluster is None:
            return
        status = headers.status
        cluster.stats.charged.count(status, internal=True)
        if status < 200:
            return
        self._responded = True
        self._drop_pieces()
        if self._host is not None:
            if status >= 500:
                self._host.rq_error += 1
            else:
                self._host.rq_success += 1
        if end:
            self._end_response(cluster)
        self._tell(lambda: self.on_head(headers, end))

    def on_response_data(self, data: bytes, end: bool) -> None:
        if not self.is_over and self._cluster is not None:
            if end:
                self._end_response(self._cluster)
            self._tell(lambda: self.on_body(data, end))

    def on_response_trailers(self, trailers: Headers) -> None:
        if not self.is_over and self._cluster is not None:
            self._end_response(self._cluster)
            self._tell(lambda: self.on_trailers(trailers))

    def on_upstream_reset(self, reason: ResetReason, details: str) -> None:
        self._upstream = None
        if self.is_over:
            return
        if reason is ResetReason.NOT_PROCESSED and self._may_repeat:  # RFC 9113 section 6.8
            self._may_repeat = False
            self._client.timers.soon(self._ask)
            return
        if self._responded:
            text, flags = failed_attempt.truncated(reason, details)
            if self._host is not None:
                self._host.rq_error += 1
            self._fail(Failure(_UNAVAILABLE, text, flags=flags))
            return
        told = failed_attempt.upstream_reset(reason, details, retried=False)
        self._count_failure(told)
        self._fail(told)

    def on_upstream_full(self, full: bool) -> None:
        self._upstream_full = full
        self._check_writable()

    # the ends

    def _check_writable(self) -> None:
        if self._told_full and not self.is_over and not self._upstream_full and not self._pieces_bytes:
            self._told_full = False
            self._tell(self.on_writable)

    def _end_response(self, cluster: Cluster) -> None:
        """The answer is complete."""
        if self._request_end_ns:
            elapsed_ns = self._client.timers.now_ns() - self._request_end_ns
            cluster.stats.charged.record_time(elapsed_ns // _NANOSECONDS_PER_MS, internal=True)
        self._upstream = None
        self._finish()

    def _count_failure(self, failure: Failure) -> None:
        """A failure counts as the answer that a client would get for it (Envoy: chargeUpstreamAbort)."""
        if self._cluster is not None and not self._responded:
            self._cluster.stats.charged.count(failure.status, internal=True)
            if self._host is not None:
                self._host.rq_error += 1

    def _fail(self, failure: Failure) -> None:
        if self.is_over:
            return
        self._finish()
        self._tell(lambda: self.on_failed(failure, responded=self._responded))

    def _finish(self) -> None:
        self.is_over = True
        self._drop_pieces()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self, tell: Callable[[], None]) -> None:
        """An owner that fails must not break the connection that it shares with others."""
        try:
            tell()
        except Exception as error:
            self.cancel()
            self._client.on_bug(error)


class _HttpRequest(AsyncStream):
    """One request and its whole answer. Implements `Call`."""

    __slots__ = ("_answer", "_body", "_body_bytes", "_callbacks", "_max_bytes")

    def __init__(
        self, client: AsyncClientImpl, headers: Headers, callbacks: RequestCallbacks, max_bytes: int
    ) -> None:
        super().__init__(client, headers)
        self._callbacks = callbacks
        self._max_bytes = max_bytes
        self._answer = Headers()
        self._body: list[bytes] = []
        self._body_bytes = 0

    def on_head(self, headers: Headers, end: bool) -> None:
        self._answer = headers
        if end:
            self._callbacks.on_response(headers, b"")

    def on_body(self, data: bytes, end: bool) -> None:
        self._body.append(data)
        self._body_bytes += len(data)
        if self._body_bytes > self._max_bytes:
            self.cancel()
            self.on_failed(_TOO_LONG, responded=True)
        elif end:
            self._callbacks.on_response(self._answer, b"".join(self._body))

    def on_trailers(self, trailers: Headers) -> None:
        self._callbacks.on_response(self._answer, b"".join(self._body))

    def on_failed(self, failure: Failure, *, responded: bool) -> None:
        text = failure.body.decode("latin-1")
        self._callbacks.on_failure(RequestFailure(failure.status, failure.details, text))


class _GrpcStream(AsyncStream):
    """A gRPC stream. Implements `GrpcStream`.

    What the server says is judged as in Envoy: a status that is not 200 stands for a gRPC status, unless there is one; an end
    without a status is UNKNOWN; a message that is compressed, or longer than it may be, ends the stream.
    """

    __slots__ = ("_callbacks", "_decoder")

    def __init__(
        self, client: AsyncClientImpl, headers: Headers, callbacks: StreamCallbacks, max_bytes: int
    ) -> None:
        super().__init__(client, headers)
        self._callbacks = callbacks
        self._decoder = MessageDecoder(max_bytes)

    # GrpcStream

    def send(self, message: bytes, *, last: bool = False) -> bool:
        if self.is_over or self._ended or self.is_full:
            return False
        self.write(frame(message), last)
        return True

    def close(self) -> None:
        if not self.is_over and not self._ended:
            self.write(b"", True)

    def reset(self) -> None:
        self._callbacks = _NOBODY  # also when the last messages are just being told
        self.cancel()

    # the answer

    def on_head(self, headers: Headers, end: bool) -> None:
        if end:
            self._close_as_told(headers, headers.status)
        elif headers.status != 200:
            self._break(grpc.from_http(headers.status), "")
        else:
            self._callbacks.on_stream_headers(headers)

    def on_body(self, data: bytes, end: bool) -> None:
        try:
            messages = self._decoder.feed(data)
        except RemoteProtocolError:
            self._break(GrpcStatus.RESOURCE_EXHAUSTED, "the message is longer than it may be")
            return
        for message in messages:
            if message.flag and message.data:
                self._break(GrpcStatus.INTERNAL, "the message is compressed")
                return
            self._callbacks.on_stream_message(message.data)
        if end:
            self._callbacks.on_stream_closed(GrpcStatus.UNKNOWN, "")

    def on_trailers(self, trailers: Headers) -> None:
        self._close_as_told(trailers, 200)

    def on_failed(self, failure: Failure, *, responded: bool) -> None:
        status = GrpcStatus.INTERNAL if responded else grpc.from_http(failure.status)
        text = failure.body.decode("latin-1") or failure.details
        self._callbacks.on_stream_closed(status, text)

    def on_writable(self) -> None:
        self._callbacks.on_stream_writable()

    def _close_as_told(self, fields: Headers, http_status: int) -> None:
        value = fields.get(names.GRPC_STATUS)
        if value:
            status = grpc.parse_status(value)
        else:
            status = GrpcStatus.UNKNOWN if http_status == 200 else grpc.from_http(http_status)
        message = grpc.decode_message(fields.get(names.GRPC_MESSAGE) or b"")
        self._callbacks.on_stream_closed(status, message.decode("utf-8", "replace"))

    def _break(self, status: int, message: str) -> None:
        self.cancel()
        self._callbacks.on_stream_closed(status, message)


class _Nobody:
    """The owner of a stream that was reset. Implements `StreamCallbacks`."""

    __slots__ = ()

    def on_stream_headers(self, headers: Headers) -> None:
        return None

    def on_stream_message(self, message: bytes) -> None:
        return None

    def on_stream_writable(self) -> None:
        return None

    def on_stream_closed(self, status: int, message: str) -> None:
        return None


_NOBODY: Final = _Nobody()


class _Unary(_Nobody):
    """A stream with one message each way. Implements `StreamCallbacks`."""

    __slots__ = ("_callbacks", "_reply")

    def __init__(self, callbacks: UnaryCallbacks) -> None:
        self._callbacks = callbacks
        self._reply: bytes | None = None

    def on_stream_message(self, message: bytes) -> None:
        self._reply = message

    def on_stream_closed(self, status: int, message: str) -> None:
        if status != GrpcStatus.OK:
            self._callbacks.on_call_failed(status, message)
        elif self._reply is None:
            self._callbacks.on_call_failed(GrpcStatus.INTERNAL, "")
        else:
            self._callbacks.on_reply(self._reply)


class AsyncClientImpl:
    """Implements `AsyncClient`."""

    def __init__(
        self,
        clusters: ClusterManager,
        timers: Timers,
        scope: Scope,
        local_address: str,
        on_bug: Callable[[Exception], None],
    ) -> None:
        """`scope` is the root scope. `on_bug` is told of exceptions in callbacks."""
        self.clusters: Final = clusters
        self.timers: Final = timers
        self.stats: Final = RouterStats(scope.scope("http.async-client"))
        self.on_bug: Final = on_bug
        self._local_address = local_address.encode()

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
        self._prepare(headers, timeout_s)
        if body:
            headers.set(names.CONTENT_LENGTH, b"%d" % len(body))
        request = _HttpRequest(self, headers, callbacks, max_bytes)
        request.start(cluster_name, body, timeout_s)
        return request

    def unary(self, service: GrpcServiceSpec, path: bytes, message: bytes, callbacks: UnaryCallbacks) -> Call:
        headers = self._grpc_head(service, path, service.timeout_s)
        stream = _GrpcStream(self, headers, _Unary(callbacks), _max_bytes(service))
        stream.start(service.cluster_name, frame(message), service.timeout_s)
        return stream

    def stream(self, service: GrpcServiceSpec, path: bytes, callbacks: StreamCallbacks) -> GrpcStream:
        headers = self._grpc_head(service, path, None)
        stream = _GrpcStream(self, headers, callbacks, _max_bytes(service))
        stream.start(service.cluster_name, None, None)
        return stream

    def _grpc_head(self, service: GrpcServiceSpec, path: bytes, timeout_s: float | None) -> Headers:
        authority = (service.authority or service.cluster_name).encode()
        headers = Headers.request(
            b"POST", path, authority, [(names.TE, b"trailers"), (names.CONTENT_TYPE, grpc.CONTENT_TYPE)]
        )
        if timeout_s is not None:
            headers.set(names.GRPC_TIMEOUT, grpc.format_timeout(round(timeout_s * 1000)))
        for name, value in service.initial_metadata:
            headers.add(name.encode(), value.encode())
        if not service.skip_envoy_headers:
            self._prepare(headers, timeout_s)
        return headers

    def _prepare(self, headers: Headers, timeout_s: float | None) -> None:
        """As the router and the connection manager would tell the next hop."""
        headers.set(b"x-envoy-internal", b"true")
        headers.add(b"x-forwarded-for", self._local_address)
        if timeout_s is not None:
            headers.set(b"x-envoy-expected-rq-timeout-ms", b"%d" % round(timeout_s * 1000))


def _max_bytes(service: GrpcServiceSpec) -> int:
    limit = service.max_receive_message_length
    return MAX_MESSAGE_BYTES if limit is None else limit
