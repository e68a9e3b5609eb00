"""The HTTP connection manager: one downstream connection, its codec, and the streams on it.

Bytes go into the codec, its callbacks into streams, and what the codec produced goes out in one write per turn. HTTP/1 has one
stream at a time: the next request waits in the codec until `proceed`, which is called in a loop, never in recursion.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from config.model.http import CodecType
from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http import names
from protocols.http.codec import Codec, HttpVersion, ResetReason
from protocols.http.headers import Headers
from sidecar.http import local_reply
from sidecar.http.manager_config import ManagerConfig
from sidecar.http.stream import ActiveStream
from sidecar.stream_info import ConnectionInfo, ResponseFlag
from sidecar.transport.connection import Connection, PassThroughFilter
from sidecar.transport.flow import Flow, ReadGate
from sidecar.transport.transport_socket import CloseReason

if TYPE_CHECKING:
    from sidecar.transport.timers import Cancellable, IdleTimer

logger = logging.getLogger(__name__)

#: How every HTTP/2 connection begins (RFC 9113 section 3.4); Envoy looks at so much of it.
_HTTP2_PREFACE: Final = b"PRI * HTTP/2"
_ALPN_HTTP2: Final = "h2"
_HTTP11: Final = HttpVersion.HTTP11

#: Pipelined requests answered in one turn of the loop before other connections get theirs.
_EXCHANGES_PER_TURN: Final = 64


class RequestSink:
    """What the codec calls: it finds the stream. Implements `CodecSink`."""

    __slots__ = ("_manager", "_streams")

    def __init__(self, manager: ConnectionManager, streams: dict[int, ActiveStream]) -> None:
        self._manager = manager
        self._streams = streams

    def on_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        self._manager.begin(stream_id).on_headers(headers, end)

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.on_data(data, end)

    def on_trailers(self, stream_id: int, trailers: Headers) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.on_trailers(trailers)

    def on_reset(self, stream_id: int, reason: ResetReason) -> None:
        """HTTP/1: the connection ends with it, and the stream with the connection."""

    def on_goaway(self, last_stream_id: int) -> None:
        """A client's GOAWAY changes nothing for a server."""

    def on_writable(self, stream_id: int) -> None:
        """HTTP/2 only."""


#: When the process ends, a request that is on its way on an idle connection is waited for this long.
_EXIT_GRACE_S: Final = 0.25

#: A piece of body of this size is worth a write of its own.
WRITE_AT_ONCE_BYTES: Final = 16 * 1024


class ConnectionManager(PassThroughFilter):
    """The terminal network filter of an HTTP connection."""

    __slots__ = (
        "_accepted",
        "_close_after_response",
        "_close_wanted",
        "_closing",
        "_codec",
        "_drain_timer",
        "_draining",
        "_duration_timer",
        "_flush_wanted",
        "_idle_timer",
        "_in_codec",
        "_opening",
        "_pauses",
        "_proceed_wanted",
        "_secure",
        "_stream_idle",
        "_streams",
        "_upgraded",
        "_was_active",
        "config",
        "info",
    )

    def __init__(self, connection: Connection, config: ManagerConfig) -> None:
        super().__init__(connection)
        assert connection.info is not None, "stands on a downstream connection"
        self.config = config
        self.info: ConnectionInfo = connection.info
        self._codec: Codec | None = None
        self._streams: dict[int, ActiveStream] = {}
        self._opening: ActiveStream | None = None  # its head is not complete
        self._accepted = 0  # requests so far
        self._pauses = 0  # who wants the client to wait: a filter that holds, the upstream
        self._in_codec = False
        self._proceed_wanted = False  # an exchange ended while the codec was running
        self._flush_wanted = False
        self._draining = False  # the next response is the last one
        self._close_after_response = False
        self._close_wanted = False  # the last response was given while the codec was running
        self._closing = False  # no more input is taken
        self._was_active = False  # and a stream was cut off by that
        self._upgraded = False
        self._idle_timer: IdleTimer | None = None
        self._stream_idle: IdleTimer | None = None
        self._duration_timer: Cancellable | None = None
        self._drain_timer: Cancellable | None = None
        self._secure = connection.socket.is_tls
        stats = (
            config.stats
        )  # counted before the handshake, as in Envoy: one that fails was a connection, too
        stats.downstream_cx_total.inc()
        stats.downstream_cx_active.inc()
        if self._secure:
            stats.downstream_cx_ssl_total.inc()
            stats.downstream_cx_ssl_active.inc()

    # --- the connection

    def on_open(self) -> Flow:
        config, connection = self.config, self.connection
        spec, stats = config.spec, config.stats
        connection.rx_counter = stats.downstream_cx_rx_bytes_total
        connection.tx_counter = stats.downstream_cx_tx_bytes_total
        connection.watch_write_buffer(self._on_write_full)
        if spec.idle_timeout_s:
            self._idle_timer = config.timers.idle(spec.idle_timeout_s, self._on_idle)
        if spec.max_connection_duration_s:
            self._duration_timer = config.timers.after(spec.max_connection_duration_s, self._on_max_duration)
        return Flow.CONTINUE

    def on_data(self, data: bytes, end: bool) -> bytes:
        if data and not self._closing:
            codec = self._codec or self._choose_codec(data)
            if codec is not None:
                self._in_codec = True
                try:
                    codec.receive(data)
                    if self._proceed_wanted:
                        self._proceed(codec)
                except RemoteProtocolError as error:
                    self._on_protocol_error(codec, error)
                except Exception as error:  # the border: a bug costs this connection
                    self._on_bug(error)
                self._in_codec = False
                self._settle(codec)
        if end and not self._closing:
            self._on_half_close()
        return b""

    def on_close(self) -> None:
        """The connection is gone: what is unfinished ends without an answer."""
        config, stats, connection = self.config, self.config.stats, self.connection
        ours = connection.close_reason in (CloseReason.LOCAL, CloseReason.TIMEOUT)
        local = ours and not connection.read_ended
        if local and self._closing and connection.write_ended:
            stats.downstream_cx_delayed_close_timeout.inc()
        self._closing = True
        self._end_streams(local)
        stats.downstream_cx_destroy.inc()
        (stats.downstream_cx_destroy_local if local else stats.downstream_cx_destroy_remote).inc()
        if self._was_active:
            stats.downstream_cx_destroy_active_rq.inc()
            (
                stats.downstream_cx_destroy_local_active_rq
                if local
                else stats.downstream_cx_destroy_remote_active_rq
            ).inc()
        stats.downstream_cx_active.dec()
        if self._secure:
            stats.downstream_cx_ssl_active.dec()
        if self._codec is not None:
            stats.downstream_cx_http1_active.dec()
            self._codec = None
        if self._upgraded:
            stats.downstream_cx_upgrades_active.dec()
        lasted_ns = config.timers.now_ns() - self.info.start_monotonic_ns
        stats.downstream_cx_length_ms.record(lasted_ns // 1_000_000)
        for timer in (self._idle_timer, self._stream_idle, self._duration_timer, self._drain_timer):
            if timer is not None:
                timer.cancel()
        self._idle_timer = self._stream_idle = self._duration_timer = self._drain_timer = None

    def _end_streams(self, local: bool) -> None:
        """End every stream because the connection has ended."""
        active = list(self._streams.values())
        if self._opening is not None:
            active.append(self._opening)
            self._opening = None
        for stream in active:
            info = stream.info
            info.add_flag(ResponseFlag.DOWNSTREAM_CONNECTION_TERMINATION)
            info.response_code_details = (
                "downstream_local_disconnect" if local else "downstream_remote_disconnect"
            )
            self.config.stats.downstream_rq_rx_reset.inc()
            stream.finish()
            self._was_active = True
        self._streams.clear()

    def _on_half_close(self) -> None:
        """A client that ends its side is gone, out of a tunnel too (Envoy: half-close is not enabled for HTTP)."""
        self._closing = True
        unsent = bool(self._streams) and self.connection.socket.write_buffer_bytes > 0
        self._end_streams(local=False)
        if unsent:
            self.connection.abort("downstream_remote_disconnect", CloseReason.REMOTE)
        else:
            self.connection.close("downstream_remote_disconnect")

    # --- the codec

    @property
    def codec(self) -> Codec:
        """The codec, which exists as soon as a stream does."""
        codec = self._codec
        assert codec is not None
        return codec

    def _choose_codec(self, data: bytes) -> Codec | None:
        """By configuration, then by the negotiated protocol, then by the first bytes (Envoy's AUTO)."""
        config = self.config
        if self._wants_http2(data):
            config.stats.downstream_cx_protocol_error.inc()
            logger.info("[C%d] the client speaks HTTP/2, which is not supported: closing", self.info.id)
            self._closing = True
            self.connection.close("http2_not_supported")
            return None
        codec = self._codec = config.server_codec(RequestSink(self, self._streams), config.codec_settings)
        config.stats.downstream_cx_http1_total.inc()
        config.stats.downstream_cx_http1_active.inc()
        return codec

    def _wants_http2(self, data: bytes) -> bool:
        codec_type = self.config.codec_type
        if codec_type is not CodecType.AUTO:
            return codec_type is not CodecType.HTTP1
        tls = self.info.tls
        if tls is not None and tls.alpn:
            return tls.alpn == _ALPN_HTTP2
        return data.startswith(_HTTP2_PREFACE)

    def _proceed(self, codec: Codec) -> None:
        """Go on with requests that came behind the one just answered."""
        for _ in range(_EXCHANGES_PER_TURN):
            self._proceed_wanted = False
            codec.proceed()
            if not self._proceed_wanted or self._closing:
                return
        self.config.timers.soon(self._run_codec)

    def _run_codec(self) -> None:
        codec = self._codec
        if codec is None or self._closing:
            return
        self._in_codec = True
        try:
            self._proceed(codec)
        except RemoteProtocolError as error:
            self._on_protocol_error(codec, error)
        except Exception as error:  # the border: a bug costs this connection
            self._on_bug(error)
        self._in_codec = False
        self._settle(codec)

    def _settle(self, codec: Codec) -> None:
        """After the codec has run: write, then close, or stop or go on reading."""
        output = codec.take_output()
        if output:
            self.connection.write(output)
        if self._closing:
            return
        if self._close_wanted:
            self._close()
            return
        gate = self.connection.gate
        if codec.wants_input:
            gate.open(ReadGate.CODEC)
            if not self._streams and self._opening is None and not codec.idle:
                self._opening = self._new_stream(0)
        else:
            gate.close(ReadGate.CODEC)

    def flush_body(self, size_bytes: int) -> None:
        """A piece of body went to the codec. Much of it is written at once: only the transport's buffer says when it is full.

        In one turn uvloop may read megabytes from an upstream; nothing would stop it while they wait here.
        """
        if size_bytes >= WRITE_AT_ONCE_BYTES and not self._in_codec:
            self._flush()
        else:
            self.flush_soon()

    def flush_soon(self) -> None:
        """Write what the codec has at the end of this turn, together with what is still to come in it."""
        if not self._flush_wanted and not self._in_codec:
            self._flush_wanted = True
            self.config.timers.soon(self._flush)

    def _flush(self) -> None:
        self._flush_wanted = False
        codec = self._codec
        if codec is not None:
            output = codec.take_output()
            if output:
                self.connection.write(output)

    def _on_protocol_error(self, codec: Codec, error: RemoteProtocolError) -> None:
        """Answer what can be answered, then close: nothing more on this connection can be understood."""
        config = self.config
        config.stats.downstream_cx_protocol_error.inc()
        if error.details == "http1.unexpected_underscore":
            config.codec_stats.requests_rejected_with_underscores_in_headers.inc()
        self._close_after_response = True
        if not self._streams:
            stream = self._opening or self._new_stream(0)
            self._opening = None
            self._register(codec, stream)
        failure = local_reply.protocol_error(error.status, error.details)
        for stream in tuple(self._streams.values()):
            stream.fail(failure)

    def _on_bug(self, error: Exception) -> None:
        self.config.bugs.inc()
        logger.error("[C%d] unexpected exception", self.info.id, exc_info=error)
        self._closing = True
        self.connection.abort("internal_error")

    # --- streams

    def begin(self, stream_id: int) -> ActiveStream:
        """A request head is complete: its stream."""
        stream, self._opening = self._opening, None
        if stream is None:
            stream = self._new_stream(stream_id)
        else:
            stream.id = stream_id
        codec = self._codec
        assert codec is not None
        info = stream.info
        info.meter = codec.meter(stream_id)
        version = codec.version(stream_id)
        if version is not _HTTP11:
            stream.downstream_version = version
            info.protocol = version.value
        self._streams[stream_id] = stream
        return stream

    def _new_stream(self, stream_id: int) -> ActiveStream:
        stats = self.config.stats
        stats.downstream_rq_total.inc()
        stats.downstream_rq_http1_total.inc()
        stats.downstream_rq_active.inc()
        self._accepted += 1
        if self._accepted == self.config.spec.max_requests_per_connection:
            stats.downstream_cx_max_requests_reached.inc()
            self._draining = True
        return ActiveStream(self, stream_id)

    def _register(self, codec: Codec, stream: ActiveStream) -> None:
        """Give a stream whose head never came whole an id, so that it can be answered."""
        stream.id = codec.new_stream()
        stream.info.meter = codec.meter(stream.id)
        self._streams[stream.id] = stream

    def give_id(self, stream: ActiveStream) -> None:
        """A stream has timed out before its head was complete and is to be answered."""
        codec = self._codec
        if codec is not None and self._opening is stream:
            self._opening = None
            self._close_after_response = True
            try:
                self._register(codec, stream)
            except LocalProtocolError:  # the codec has given the connection up already
                stream.finish()
                self._close()

    def close_after_response(self) -> None:
        """The response about to be given is the last one on this connection."""
        self._close_after_response = True

    def ends_with(self, stream: ActiveStream, status: int) -> bool:
        """Asked once for each final response head: whether it is the last one, and has to say so."""
        config = self.config
        if not self._draining and config.services.drain.drain_close(config.direction):
            self._draining = True
            config.stats.downstream_cx_drain_close.inc()
        if not stream.request_complete:
            config.stats.downstream_rq_response_before_rq_complete.inc()
            return status != 101
        return self._draining or self._close_after_response

    def on_upgrade_asked(self) -> None:
        """A request may become a tunnel; from here on Envoy counts it as one. The connection ends with it in any case."""
        self._upgraded = True
        self.config.stats.downstream_cx_upgrades_total.inc()
        self.config.stats.downstream_cx_upgrades_active.inc()

    def on_upgraded(self) -> None:
        """The stream has become a tunnel."""
        self.config.timers.soon(self._run_codec)  # bytes that came behind the request wait for this

    def on_response_ended(self, stream: ActiveStream) -> None:
        """The codec has the whole response: write it, then count and log, then go on with the next request or close."""
        codec = self._codec
        assert codec is not None
        in_codec = self._in_codec
        if not in_codec:
            output = codec.take_output()
            if output:
                self.connection.write(output)
        complete = stream.request_complete
        self._streams.pop(stream.id, None)
        stream.finish(answered=True)
        if self._pauses:
            self._end_pauses()
        if not complete:
            self.config.stats.downstream_rq_rx_reset.inc()
        if not complete or codec.must_close:
            if not complete or in_codec:  # answered at once: to Envoy, the request's end has not come yet
                self._close_after_response = True
            self._close_wanted = True
            if not in_codec:
                self._close()
            return
        if self._idle_timer is not None:
            self._idle_timer.touch()
        elif self.config.spec.idle_timeout_s:
            self._idle_timer = self.config.timers.idle(self.config.spec.idle_timeout_s, self._on_idle)
        if in_codec:
            self._proceed_wanted = True
        elif not codec.wants_input:
            self._run_codec()

    def on_stream_reset(self, stream: ActiveStream) -> None:
        """A stream was given up. HTTP/1 can say so only by closing the connection before the response is complete."""
        codec = self._codec
        assert codec is not None
        output = codec.take_output()
        codec.reset(stream.id, ResetReason.LOCAL_RESET)
        if output:
            self.connection.write(output)
        ends_with_connection = stream.response_started and _runs_to_close(stream)
        self._streams.pop(stream.id, None)
        stream.finish()
        self._end_pauses()
        self.config.stats.downstream_rq_rx_reset.inc()
        if ends_with_connection:  # a clean end would be taken for the end of the body
            self._closing = True
            self.connection.abort(stream.info.response_code_details)
            return
        self._close_after_response = self._close_wanted = True
        if not self._in_codec:
            self._close()

    def _close(self) -> None:
        """After the last response. A client that asked for it will send no more; any other one may be doing so now."""
        self._closing = True
        for timer in (self._idle_timer, self._stream_idle):
            if timer is not None:
                timer.cancel()
        self._idle_timer = self._stream_idle = None
        if self._draining or self._close_after_response:
            self.connection.close_after_peer(self.config.spec.delayed_close_timeout_s)
        else:
            self.connection.close()

    # --- flow control

    def pause_request(self, full: bool) -> None:
        """Whoever takes the request is full, or takes again."""
        stats, gate = self.config.stats, self.connection.gate
        if full:
            stats.downstream_flow_control_paused_reading_total.inc()
            self._pauses += 1
            gate.close(ReadGate.STREAM)
        elif self._pauses:
            stats.downstream_flow_control_resumed_reading_total.inc()
            self._pauses -= 1
            if not self._pauses:
                gate.open(ReadGate.STREAM)

    def _end_pauses(self) -> None:
        """The stream that could not take more is over."""
        if self._pauses:
            self._pauses = 0
            self.connection.gate.open(ReadGate.STREAM)

    def _on_write_full(self, full: bool) -> None:
        for stream in tuple(self._streams.values()):
            stream.on_downstream_full(full)

    # --- timeouts

    def stream_idle_timer(self) -> IdleTimer | None:
        """The timer that a new stream touches when something moves. One for all streams: HTTP/1 has one at a time."""
        timeout_s = self.config.spec.stream_idle_timeout_s
        if not timeout_s:
            return None
        timer = self._stream_idle
        if timer is None:
            timer = self._stream_idle = self.config.timers.idle(timeout_s, self._on_stream_idle)
        else:
            timer.touch()
        return timer

    def _on_stream_idle(self) -> None:
        timer, self._stream_idle = self._stream_idle, None
        for stream in (self._opening, *self._streams.values()):
            if stream is not None and stream.idle_timer is timer:
                stream.on_idle_timeout()

    def _on_idle(self) -> None:
        """No stream for the idle timeout."""
        self._idle_timer = None
        if self._streams or self._opening is not None or self._closing:
            return
        self.config.stats.downstream_cx_idle_timeout.inc()
        self._begin_drain()

    def _on_max_duration(self) -> None:
        self._duration_timer = None
        if not self._closing:
            self.config.stats.downstream_cx_max_duration_reached.inc()
            self._begin_drain()

    def _begin_drain(self) -> None:
        """The next response is the last one; without a request the connection is closed after the drain timeout (Envoy)."""
        if self._codec is None:
            self._closing = True
            self.connection.close()
        elif not self._draining:
            self._draining = True
            self._drain_timer = self.config.timers.after(self.config.spec.drain_timeout_s, self._on_drained)

    def on_drain(self) -> None:
        """The process ends: the next response is the last one, and an idle connection is closed when that had its chance."""
        if self._closing:
            return
        self._draining = True
        if self._drain_timer is not None:
            self._drain_timer.cancel()
        self._drain_timer = self.config.timers.after(_EXIT_GRACE_S, self._on_drained)

    def _on_drained(self) -> None:
        self._drain_timer = None
        if self._closing:
            return
        if (
            self._streams or self._opening is not None
        ):  # its head may have left before the drain began: look again
            self._drain_timer = self.config.timers.after(_EXIT_GRACE_S, self._on_drained)
        else:
            self._close()


def _runs_to_close(stream: ActiveStream) -> bool:
    """Whether the response's body is ended by nothing but the end of the connection (HTTP/1.0 without a length)."""
    headers = stream.info.response_headers
    return (
        stream.downstream_version is HttpVersion.HTTP10
        and headers is not None
        and names.CONTENT_LENGTH not in headers
    )
