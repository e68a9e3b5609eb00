"""One HTTP/1 connection of a pool, and the exchange that is on it.

`ActiveClient` stands at the end of the connection's network filters and between the codec and whoever uses the stream. The
last event of a response is told only after the codec has returned: by then it is known whether bytes came behind the
response (then the connection is of no use any more), and the connection is back in its pool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http.codec import Codec, CodecSettings, CodecSink, HttpVersion, ResetReason
from protocols.http.headers import Headers
from sidecar.transport.connection import Connection, PassThroughFilter
from sidecar.transport.flow import Flow, ReadGate
from sidecar.transport.transport_socket import CloseReason
from sidecar.upstream.api import UpstreamFailure
from sidecar.upstream.connector import drop

if TYPE_CHECKING:
    from sidecar.stream_info import UpstreamInfo
    from sidecar.transport.timers import Cancellable, IdleTimer
    from sidecar.upstream.api import UpstreamSink
    from sidecar.upstream.http_pool import Http1Pool

#: Makes the client codec of a connection.
NewCodec = Callable[[CodecSink, CodecSettings], Codec]

#: A server that gives an idle connection up may say so; Envoy does not count it as a protocol error.
_IDLE_GOODBYE: Final = (b"HTTP/1.1 408", b"HTTP/1.0 408")


class Http1Stream:
    """One exchange. Implements `UpstreamStream`; after its end every call is ignored."""

    __slots__ = ("_client", "_id", "_paused", "info", "meter", "request_ended")

    def __init__(self, client: ActiveClient) -> None:
        codec = client.codec
        self._client: ActiveClient | None = client
        self._id = codec.new_stream()
        self.meter = codec.meter(self._id)
        self.info: UpstreamInfo = client.info
        self.request_ended = False
        self._paused = False

    @property
    def version(self) -> HttpVersion:
        return HttpVersion.HTTP11

    def send_headers(self, headers: Headers, end: bool) -> None:
        client = self._client
        if client is None:
            return
        try:
            client.codec.send_headers(self._id, headers, end)
        except LocalProtocolError as error:
            client.fail_soon(self, str(error))
            return
        if end:
            self.request_ended = True
            client.flush()
        else:
            client.flush_soon()  # the first piece of body often comes in the same turn

    def send_data(self, data: bytes, end: bool) -> None:
        client = self._client
        if client is None:
            return
        try:
            client.codec.send_data(self._id, data, end)
        except LocalProtocolError as error:
            client.fail_soon(self, str(error))
            return
        if end:
            self.request_ended = True
        client.flush()
        if end and client.in_tunnel:  # half-close
            client.connection.write(b"", True)

    def send_trailers(self, trailers: Headers) -> None:
        client = self._client
        if client is None:
            return
        try:
            client.codec.send_trailers(self._id, trailers)
        except LocalProtocolError as error:
            client.fail_soon(self, str(error))
            return
        self.request_ended = True
        client.flush()

    def reset(self) -> None:
        client = self._client
        if client is not None:
            client.codec.reset(self._id, ResetReason.LOCAL_RESET)
            client.abandon()

    def pause_reading(self) -> None:
        client = self._client
        if client is not None and not self._paused:
            self._paused = True
            client.pool.stats.upstream_flow_control_paused_reading_total.inc()
            client.connection.gate.close(ReadGate.STREAM)

    def resume_reading(self) -> None:
        client = self._client
        if client is not None and self._paused:
            self._paused = False
            client.pool.stats.upstream_flow_control_resumed_reading_total.inc()
            client.connection.gate.open(ReadGate.STREAM)

    def detach(self) -> None:
        """The exchange is over; the connection belongs to the next one."""
        client, self._client = self._client, None
        if client is not None and self._paused:
            self._paused = False
            client.pool.stats.upstream_flow_control_resumed_reading_total.inc()
            client.connection.gate.open(ReadGate.STREAM)


class ResponseReceiver:
    """What the codec tells of the response on a connection. Implements `CodecSink`."""

    __slots__ = ("began", "final", "final_is_trailers", "in_tunnel", "sink", "stream")

    def __init__(self) -> None:
        #: both None while nothing is awaited; the stream does not know its sink, so that there is no reference cycle
        self.stream: Http1Stream | None = None
        self.sink: UpstreamSink | None = None
        self.final: Headers | bytes | None = None  # the last event, not told yet
        self.final_is_trailers = False
        self.began = False  # a byte of the response has come
        self.in_tunnel = False

    def on_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        sink = self.sink
        if sink is None:
            return
        if end:
            self.final = headers
            return
        status = headers.status
        if status == 101:
            self.in_tunnel = True
        elif status < 200:
            self.began = False
        sink.on_response_headers(headers, False)

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        sink = self.sink
        if sink is None:
            return
        if end:
            self.final = data
        else:
            sink.on_response_data(data, False)

    def on_trailers(self, stream_id: int, trailers: Headers) -> None:
        if self.sink is not None:
            self.final = trailers
            self.final_is_trailers = True

    def on_reset(self, stream_id: int, reason: ResetReason) -> None:
        """The end of the connection came before the response: whoever told the codec of the end knows."""

    def on_goaway(self, last_stream_id: int) -> None:
        """HTTP/2 only."""

    def on_writable(self, stream_id: int) -> None:
        """HTTP/2 only."""

    def tell_final(self, sink: UpstreamSink) -> None:
        """Hand on the last event of the response."""
        final, self.final = self.final, None
        if isinstance(final, bytes):
            sink.on_response_data(final, True)
        elif final is not None:
            if self.final_is_trailers:
                self.final_is_trailers = False
                sink.on_response_trailers(final)
            else:
                sink.on_response_headers(final, True)


class ActiveClient(PassThroughFilter):
    """One connection of an `Http1Pool`: terminal network filter and codec sink."""

    __slots__ = (
        "_broken",
        "_duration_timer",
        "_flush_wanted",
        "_gone",
        "_idle_timer",
        "_receiver",
        "_requests",
        "_start_ns",
        "codec",
        "draining",
        "info",
        "opened",
        "pool",
        "remaining",
    )

    def __init__(self, connection: Connection, pool: Http1Pool) -> None:
        super().__init__(connection)
        assert connection.upstream is not None, "made by the connector"
        self.info: UpstreamInfo = connection.upstream
        self.pool = pool
        self._receiver = receiver = ResponseReceiver()
        self.codec = pool.config.new_codec(receiver, pool.config.codec_settings)
        self.draining = False  # takes no further exchange
        #: exchanges it may still take; below 0: any number
        self.remaining = pool.config.options.max_requests_per_connection or -1
        self.opened = False  # the connection is up, or was
        self._gone = False
        self._broken = False  # a protocol error was seen
        self._flush_wanted = False
        self._requests = 0
        self._start_ns = connection.timers.now_ns()
        self._idle_timer: IdleTimer | None = None
        self._duration_timer: Cancellable | None = None
        connection.watch_write_buffer(self._on_write_full)

    # for the pool

    def start(self, sink: UpstreamSink) -> Http1Stream:
        """Begin an exchange on an idle connection."""
        self._requests += 1
        receiver = self._receiver
        receiver.began = False
        receiver.sink = sink
        stream = receiver.stream = Http1Stream(self)
        return stream

    def close_idle(self) -> None:
        """Nothing is on it and nothing will be."""
        self._close(remote=False, with_stream=False)

    def drain(self) -> None:
        """Finish the exchange that is on it, then close."""
        self.draining = True
        if self._receiver.stream is None and self.opened:
            self.close_idle()

    def close(self) -> None:
        """Close now; an exchange on it is told."""
        self._lose(ResetReason.CONNECTION_TERMINATION, "", remote=False)

    # for the stream

    @property
    def in_tunnel(self) -> bool:
        return self._receiver.in_tunnel

    def flush(self) -> None:
        output = self.codec.take_output()
        if output:
            self.connection.write(output)

    def flush_soon(self) -> None:
        if not self._flush_wanted:
            self._flush_wanted = True
            self.connection.timers.soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flush_wanted = False
        if not self._gone:
            self.flush()

    def abandon(self) -> None:
        """The exchange was given up: HTTP/1 has no other way to say so than to close."""
        self._end_exchange()
        self._close(remote=False, with_stream=True)

    def fail_soon(self, stream: Http1Stream, details: str) -> None:
        """A head or body that cannot be written: told in the next turn, for nothing is told inside of `send_*`."""

        def fail() -> None:
            if self._receiver.stream is stream:
                self._lose(ResetReason.PROTOCOL_ERROR, details, remote=False)

        self.connection.timers.soon(fail)

    # network filter

    def on_open(self) -> Flow:
        self.opened = True
        duration_s = self.pool.config.options.max_connection_duration_s
        if duration_s is not None:
            self._duration_timer = self.connection.timers.after(duration_s, self._on_max_duration)
        self.pool.on_client_connected(self)
        return Flow.CONTINUE

    def on_data(self, data: bytes, end: bool) -> bytes:
        receiver = self._receiver
        if receiver.stream is None:
            self._on_idle_input(data, end)
            return b""
        try:
            if data:
                receiver.began = True
                self.codec.receive(data)
            if end and receiver.final is None and receiver.stream is not None:
                self.codec.receive_eof()
        except RemoteProtocolError as error:
            self._on_protocol_error(error, remote=end)
        if receiver.final is not None:
            self._finish(remote=end)
        elif end:
            self._lose(ResetReason.CONNECTION_TERMINATION, "", remote=True)
        return b""

    def _on_idle_input(self, data: bytes, end: bool) -> None:
        if self._gone:
            return
        if data and not data.startswith(_IDLE_GOODBYE):
            self.pool.stats.upstream_cx_protocol_error.inc()
        self._close(remote=end and not data, with_stream=False)

    def _on_protocol_error(self, error: RemoteProtocolError, *, remote: bool) -> None:
        self._broken = True
        if self._gone:
            return
        self.pool.stats.upstream_cx_protocol_error.inc()
        if self._receiver.final is None:
            self._lose(ResetReason.PROTOCOL_ERROR, error.details, remote=remote)

    def on_close(self) -> None:
        if self._gone:
            return
        connection = self.connection
        reason = connection.close_reason
        if not self.opened:
            self._on_connect_failed(reason)
            return
        remote = reason is not CloseReason.LOCAL
        details = connection.close_details if reason is CloseReason.TRANSPORT_FAILURE else ""
        receiver = self._receiver
        if receiver.stream is not None and receiver.began and reason is not CloseReason.TRANSPORT_FAILURE:
            try:
                self.codec.receive_eof()
            except RemoteProtocolError as error:
                self._on_protocol_error(error, remote=remote)
                return
            # A body without a length that was cut off by a reset is not complete, whatever the codec thinks.
            receiver.final = None
        self._lose(ResetReason.CONNECTION_TERMINATION, details, remote=remote)

    def _on_connect_failed(self, reason: CloseReason | None) -> None:
        self._gone = True
        stats = self.pool.stats
        timed_out = reason is CloseReason.TIMEOUT
        if timed_out:
            stats.upstream_cx_connect_timeout.inc()
        stats.upstream_cx_connect_fail.inc()
        stats.upstream_cx_destroy.inc()
        if timed_out or reason is CloseReason.LOCAL:
            stats.upstream_cx_destroy_local.inc()
        else:
            stats.upstream_cx_destroy_remote.inc()
        self.pool.host.cx_connect_fail += 1
        failure = UpstreamFailure.CONNECT_TIMEOUT if timed_out else UpstreamFailure.CONNECT_FAILURE
        self._count_end()
        self.pool.on_connect_failed(self, failure, self.info.transport_failure_reason)

    # the ends

    def _finish(self, *, remote: bool) -> None:
        """The response is complete: give the connection back or away, then tell the rest."""
        receiver = self._receiver
        stream, sink = receiver.stream, receiver.sink
        if stream is None or sink is None:
            receiver.final = None
            return
        complete = stream.request_ended
        pool = self.pool
        receiver.stream = receiver.sink = None
        stream.detach()
        pool.on_stream_ended()
        if (
            complete
            and not remote
            and not self.draining
            and not self._broken
            and not self.codec.must_close
            and self.connection.close_reason is None
        ):
            self.start_idle()
            pool.on_client_idle(self)
        else:
            if complete and not self._broken and not receiver.in_tunnel and self.codec.must_close:
                # The upstream said `connection: close`, or ended the body by closing, which goes with saying so.
                pool.stats.upstream_cx_close_notify.inc()
            self._close(remote=remote, with_stream=not complete)
        receiver.tell_final(sink)
        if pool.pending:
            pool.serve_pending()

    def _lose(self, reason: ResetReason, details: str, *, remote: bool) -> None:
        """The connection is gone or must go; an exchange on it did not end."""
        sink = self._receiver.sink
        if sink is not None:
            self._end_exchange()
        self._close(remote=remote, with_stream=sink is not None)
        if sink is not None:
            sink.on_upstream_reset(reason, details)

    def _end_exchange(self) -> None:
        receiver = self._receiver
        stream, receiver.stream = receiver.stream, None
        receiver.sink = None
        if stream is not None:
            stream.detach()
            self.pool.on_stream_ended()

    def _close(self, *, remote: bool, with_stream: bool) -> None:
        if self._gone:
            return
        self._gone = True
        stats = self.pool.stats
        stats.upstream_cx_destroy.inc()
        if with_stream:
            stats.upstream_cx_destroy_with_active_rq.inc()
        if remote:
            stats.upstream_cx_destroy_remote.inc()
            if with_stream:
                stats.upstream_cx_destroy_remote_with_active_rq.inc()
        else:
            stats.upstream_cx_destroy_local.inc()
            if with_stream:
                stats.upstream_cx_destroy_local_with_active_rq.inc()
        self._count_end()
        self.pool.on_client_closed(self)
        if self.connection.close_reason is None:
            drop(self.connection)

    def _count_end(self) -> None:
        stats = self.pool.stats
        if self.opened:
            stats.upstream_rq_per_cx.record(self._requests)
        stats.upstream_cx_length_ms.record((self.connection.timers.now_ns() - self._start_ns) // 1_000_000)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._duration_timer is not None:
            self._duration_timer.cancel()
            self._duration_timer = None

    # timers and watermarks

    def start_idle(self) -> None:
        """Nothing is on it from now on."""
        if self._idle_timer is not None:
            self._idle_timer.touch()
            return
        idle_timeout_s = self.pool.config.options.idle_timeout_s
        if idle_timeout_s is not None:
            self._idle_timer = self.connection.timers.idle(idle_timeout_s, self._on_idle_timeout)

    def _on_idle_timeout(self) -> None:
        self._idle_timer = None
        if self._receiver.stream is None:
            self.pool.stats.upstream_cx_idle_timeout.inc()
            self.close_idle()

    def _on_max_duration(self) -> None:
        self._duration_timer = None
        self.pool.stats.upstream_cx_max_duration_reached.inc()
        self.drain()

    def _on_write_full(self, full: bool) -> None:
        stats = self.pool.stats
        if full:
            stats.upstream_flow_control_backed_up_total.inc()
        else:
            stats.upstream_flow_control_drained_total.inc()
        sink = self._receiver.sink
        if sink is not None:
            sink.on_upstream_full(full)
