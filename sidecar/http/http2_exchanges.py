"""HTTP/2 on a downstream connection: many streams, each with its own window, and an end in two steps (GOAWAY)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocols.errors import RemoteProtocolError
from protocols.http.codec import HttpVersion, ResetReason
from protocols.http.h2_resets import REMOTE_RESETS, code_name
from protocols.http.h2_server import Http2Server
from sidecar.http.exchanges import Exchanges
from sidecar.stream_info import ResponseFlag, StreamInfo
from sidecar.telemetry.failures import begun
from sidecar.transport.flow import ReadGate
from sidecar.transport.http2_stats import count_codec_error

if TYPE_CHECKING:
    from sidecar.http.connection_manager import ConnectionManager
    from sidecar.http.stream import ActiveStream
    from sidecar.transport.http2_keepalive import Http2Keepalive
    from sidecar.transport.timers import Cancellable, IdleTimer

#: Body that waits for a client's window before its source is stopped.
STREAM_BUFFER_BYTES: Final = 256 * 1024

#: Envoy's guard against rapid resets (`overload.premature_reset_*`): a stream that the client gives up before its answer has
#: begun, in its first two seconds, is premature. Fewer than half of the streams may be, judged when there were so many, or
#: when so many were premature.
_PREMATURE_BELOW_NS: Final = 2_000_000_000
_PREMATURE_JUDGED_AFTER: Final = 500
_TOO_MANY_RESETS: Final = "too_many_premature_resets"

_FLAGS: Final = {
    ResetReason.REMOTE_RESET: ResponseFlag.DOWNSTREAM_REMOTE_RESET,
    ResetReason.REMOTE_REFUSED: ResponseFlag.DOWNSTREAM_REMOTE_RESET,
    ResetReason.LOCAL_RESET: ResponseFlag.DOWNSTREAM_REMOTE_RESET,  # a head over the limits (as in Envoy)
    ResetReason.CONNECT_ERROR: ResponseFlag.DOWNSTREAM_REMOTE_RESET,
    ResetReason.PROTOCOL_ERROR: ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR,
    ResetReason.CONNECTION_TERMINATION: ResponseFlag.DOWNSTREAM_CONNECTION_TERMINATION,
}

_CONNECTION_FLAGS: Final = (
    ResponseFlag.UPSTREAM_CONNECTION_FAILURE | ResponseFlag.UPSTREAM_CONNECTION_TERMINATION
)


class Http2Exchanges(Exchanges):
    """Flow control is per stream: what a stream's receiver has not taken is not credited to the client."""

    __deletable__ = ("_server",)  # for mypyc

    __slots__ = (
        "_half_closed",
        "_keepalive",
        "_owed",
        "_paused",
        "_premature",
        "_said_last",
        "_server",
        "_streams_ended",
        "_unflushed",
        "_window_full",
        "stats",
    )

    default_version = HttpVersion.HTTP2
    ends_by_itself = True

    def __init__(self, manager: ConnectionManager) -> None:
        super().__init__(manager, Http2Server)
        server = self.codec
        assert isinstance(server, Http2Server)
        self._server = server  # the same, known for what it is
        self.stats = self.config.http2_stats()
        self._paused: dict[int, int] = {}  # streams whose receiver is full: how many say so
        self._owed: dict[int, int] = {}  # bytes of such a stream that were handed on and not credited
        self._window_full: set[int] = set()  # streams that wait for the client's window
        self._half_closed: set[int] = set()  # tunnels whose response has ended
        self._unflushed: dict[int, Cancellable | None] = {}  # complete, but for what the window holds back
        self._said_last = False  # the last GOAWAY has been sent
        self._streams_ended = 0
        self._premature = 0
        stats = self.config.stats
        stats.downstream_cx_http2_total.inc()
        stats.downstream_cx_http2_active.inc()
        self.stats.nghttp2_downstream_connections.inc()
        self._keepalive: Http2Keepalive | None = self.config.keepalive(
            self._server, self.flush, self._on_silence
        )

    def let_go(self) -> None:
        super().let_go()
        del self._server

    # --- input

    def _received(self) -> None:
        if self._keepalive is not None:
            self._keepalive.on_activity()

    def _settle(self) -> None:
        self.flush()
        if self._server.must_close and not self.manager.closing:
            self.manager.close(politely=True)

    def flush(self) -> None:
        super().flush()
        if not self.connection.socket.write_buffer_bytes:
            self._server.flushed()

    def _on_protocol_error(self, error: RemoteProtocolError) -> None:
        """The codec has said why (GOAWAY): every stream ends with the connection."""
        config = self.config
        config.stats.downstream_cx_protocol_error.inc()
        if not error.of_stream:
            count_codec_error(self.stats, error.details)
        info = self.info
        if (
            info.unexpected_protocol and config.failures is not None
        ):  # there never was a stream that could tell of it
            session = StreamInfo(info, info.start_s, info.start_monotonic_ns)
            session.protocol = HttpVersion.HTTP2.value
            session.add_flag(ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR)
            session.response_code_details = error.details
            config.failures.record_connection(session, self.connection, "client_protocol")
        for stream in self.take_streams():
            self.manager.was_active = True
            if error.details != _TOO_MANY_RESETS:
                stream.info.add_flag(ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR)
            stream.info.response_code_details = error.details
            config.stats.downstream_rq_rx_reset.inc()
            stream.finish()

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.on_data(data, end)
            if end and stream_id in self._half_closed:
                self.on_response_ended(stream)
            if stream_id in self._paused:
                self._owed[stream_id] = self._owed.get(stream_id, 0) + len(data)
                return
        self._server.credit(stream_id, len(data))

    def on_reset(self, stream_id: int, reason: ResetReason, details: str) -> None:
        """The client gave a stream up, or what it sent on it was refused."""
        if details in REMOTE_RESETS:
            self.stats.rx_reset.inc()
        else:
            self.stats.tx_reset.inc()
            count_codec_error(self.stats, details)
        if reason is ResetReason.LOCAL_REFUSED:  # one too many: no request (Envoy)
            return
        stream = self.streams.pop(stream_id, None)
        if stream is None:
            stream = self._new_stream(stream_id)
        stats = self.config.stats
        stats.downstream_rq_rx_reset.inc()
        info = stream.info
        info.add_flag(_FLAGS[reason])
        info.response_code_details = details
        if details in REMOTE_RESETS and self.config.failures is not None:
            begun(info).client_closed = f"RST_STREAM {code_name(self._server.last_reset_code)}"
        age_ns = self.config.timers.now_ns() - info.start_ns
        premature = not info.response_code and age_ns < _PREMATURE_BELOW_NS
        self._end(stream)
        if premature:
            self._premature += 1
            self._judge_resets()

    def _judge_resets(self) -> None:
        """A client that mostly gives its requests up costs others without wanting an answer (rapid reset)."""
        ended, premature = self._streams_ended, self._premature
        if 2 * premature >= max(ended, _PREMATURE_JUDGED_AFTER):
            self.config.stats.downstream_rq_too_many_premature_resets.inc()
            raise RemoteProtocolError(_TOO_MANY_RESETS, h2_code=11)

    # --- streams

    def _begin(self, stream_id: int) -> ActiveStream:
        stream = self._new_stream(stream_id)
        self._show(stream)
        if self.manager.draining:
            self.manager.begin_drain()
        return stream

    def _count_request(self) -> None:
        self.config.stats.downstream_rq_http2_total.inc()
        self.stats.streams_active.inc()

    def _end(self, stream: ActiveStream, *, answered: bool = False) -> None:
        """A stream is over, however."""
        stream_id = stream.id
        self.streams.pop(stream_id, None)
        self._streams_ended += 1
        self.stats.streams_active.dec()
        flush_timer = self._unflushed.pop(stream_id, None)
        if flush_timer is not None:
            flush_timer.cancel()
        if self._paused:
            self._paused.pop(stream_id, None)
            owed = self._owed.pop(stream_id, 0)
            if owed:
                self._server.credit(stream_id, owed)
        self._window_full.discard(stream_id)
        self._half_closed.discard(stream_id)
        stream.finish(answered=answered)
        self.manager.touch_idle()

    def take_streams(self) -> list[ActiveStream]:
        active = list(self.streams.values())
        self.streams.clear()
        for timer in self._unflushed.values():
            if timer is not None:
                timer.cancel()
        self._unflushed.clear()
        self.stats.streams_active.sub(len(active))
        return active

    def give_id(self, stream: ActiveStream) -> None:
        """A stream exists only once its head is complete."""

    def close_after_response(self) -> None:
        """A request that cannot be trusted costs its own stream only."""

    def ends_with(self, stream: ActiveStream, status: int) -> bool:
        if self.manager.join_drain():
            self.manager.begin_drain()
        if not stream.request_complete and status != 101:
            self.config.stats.downstream_rq_response_before_rq_complete.inc()
        return False

    def on_upgraded(self) -> None:
        """Bytes that came behind the request were handed on as they came."""

    def on_response_ended(self, stream: ActiveStream) -> None:
        """It is written at the end of the turn, with the other answers of that turn; the stream goes on until then."""
        if not stream.request_complete and stream.is_connected:  # its other direction goes on
            self._half_closed.add(stream.id)
            self._after_stream()
        elif self._server.unsent(stream.id):
            self._await_client(stream)
        else:
            self._complete(stream)

    def _await_client(self, stream: ActiveStream) -> None:
        """The client's window holds the rest back: for the stream idle timeout at most (Envoy's flush timeout)."""
        idle_timer = stream.idle_timer
        self._unflushed[stream.id] = (
            self.config.timers.after(idle_timer.timeout_s, lambda: self._on_flush_timeout(stream))
            if idle_timer is not None
            else None
        )
        stream.await_client()
        self.flush_soon()

    def _on_flush_timeout(self, stream: ActiveStream) -> None:
        self.stats.tx_flush_timeout.inc()
        self.stats.tx_reset.inc()
        self._server.reset(stream.id, ResetReason.LOCAL_RESET)
        self._end(stream)
        self._after_stream()

    def _complete(self, stream: ActiveStream) -> None:
        """Count and log. A request that is not complete is not wanted any more (RFC 9113 section 8.1)."""
        if not stream.request_complete:
            self.config.stats.downstream_rq_rx_reset.inc()
            self._server.reset(stream.id, _reset_reason(stream, ResetReason.NO_ERROR))
            self.stats.tx_reset.inc()
        self._end(stream, answered=True)
        self._after_stream()

    def _after_stream(self) -> None:
        """What a stream leaves to be written, and what ends with the last one; inside of the codec `_settle` does it."""
        if self.in_codec:
            return
        if self._server.must_close and not self.manager.closing:
            self.flush()
            self.manager.close(politely=True)
        else:
            self.flush_soon()

    def on_stream_reset(self, stream: ActiveStream) -> None:
        self._server.reset(stream.id, _reset_reason(stream, ResetReason.LOCAL_RESET))
        self.stats.tx_reset.inc()
        self.config.stats.downstream_rq_rx_reset.inc()
        self._end(stream)
        self._after_stream()

    # --- flow control

    def pause_request(self, stream: ActiveStream, full: bool) -> None:
        stats, stream_id = self.config.stats, stream.id
        paused = self._paused.get(stream_id, 0)
        if full:
            stats.downstream_flow_control_paused_reading_total.inc()
            self._paused[stream_id] = paused + 1
        elif paused:
            stats.downstream_flow_control_resumed_reading_total.inc()
            if paused > 1:
                self._paused[stream_id] = paused - 1
                return
            del self._paused[stream_id]
            owed = self._owed.pop(stream_id, 0)
            if owed:
                self._server.credit(stream_id, owed)
                self.flush_soon()

    def flush_body(self, stream: ActiveStream, size_bytes: int) -> None:
        super().flush_body(stream, size_bytes)
        stream_id = stream.id
        if self._server.unsent(stream_id) > STREAM_BUFFER_BYTES and stream_id not in self._window_full:
            self._window_full.add(stream_id)
            stream.on_downstream_full(True)

    def on_writable(self, stream_id: int) -> None:
        self._window_full.discard(stream_id)
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        if stream_id in self._unflushed:
            self._complete(stream)
        elif not self.connection.write_full:
            stream.on_downstream_full(False)

    def on_write_full(self, full: bool) -> None:
        """A client that reads nothing gets no more of its requests answered: what waits for it stays bounded."""
        if full:
            self.connection.gate.close(ReadGate.OUTPUT)
        else:
            self._server.flushed()
            self.connection.gate.open(ReadGate.OUTPUT)
        for stream in tuple(self.streams.values()):
            if full or stream.id not in self._window_full:
                stream.on_downstream_full(full)

    # --- timeouts and the end

    def stream_idle_timer(self, stream: ActiveStream) -> IdleTimer | None:
        timeout_s = self.config.spec.stream_idle_timeout_s
        return self.config.timers.idle(timeout_s, stream.on_idle_timeout) if timeout_s else None

    def release_idle_timer(self, timer: IdleTimer) -> None:
        timer.cancel()

    def _on_silence(self) -> None:
        """The client has not answered a PING in time."""
        self.stats.keepalive_timeout.inc()
        self.manager.abort("http2.ping_timeout")

    def warn(self) -> None:
        self._server.shutdown()
        self.flush()

    def end(self) -> None:
        """The last GOAWAY; the connection goes with its last stream, and at once if it never began."""
        if self._said_last:
            return
        self._said_last = True
        begun = self._server.has_begun
        if begun:
            self._server.refuse_more()
            self.stats.goaway_sent.inc()
            self.flush()
        if (self._server.must_close or not begun) and not self.manager.closing:
            self.manager.close(politely=True)

    def count_connection_end(self) -> None:
        self.config.stats.downstream_cx_http2_active.dec()
        if self._keepalive is not None:
            self._keepalive.stop()


def _reset_reason(stream: ActiveStream, otherwise: ResetReason) -> ResetReason:
    """A tunnel whose connection failed, or could not be had, is a connect error (RFC 9113 section 8.5)."""
    if stream.wants_tunnel and stream.info.response_flags & _CONNECTION_FLAGS:
        return ResetReason.CONNECT_ERROR
    return otherwise
