"""HTTP/1 on a downstream connection: one exchange at a time, pipelining, and a connection that ends with a bad one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http import names
from protocols.http.codec import HttpVersion, ResetReason
from sidecar.http import local_reply
from sidecar.http.exchanges import Exchanges
from sidecar.transport.flow import ReadGate

if TYPE_CHECKING:
    from sidecar.http.connection_manager import ConnectionManager
    from sidecar.http.stream import ActiveStream
    from sidecar.transport.timers import IdleTimer

#: Pipelined requests answered in one turn of the loop before other connections get theirs.
_EXCHANGES_PER_TURN: Final = 64


class Http1Exchanges(Exchanges):
    """The next request waits in the codec until `proceed`, which is called in a loop, never in recursion."""

    __slots__ = (
        "_close_after_response",
        "_close_wanted",
        "_opening",
        "_pauses",
        "_proceed_wanted",
        "_stream_idle",
    )

    def __init__(self, manager: ConnectionManager) -> None:
        super().__init__(manager, manager.config.server_codec)
        self._opening: ActiveStream | None = None  # its head is not complete
        self._pauses = 0  # who wants the client to wait: a filter that holds, the upstream
        self._proceed_wanted = False  # an exchange ended while the codec was running
        self._close_after_response = False
        self._close_wanted = False  # the last response was given while the codec was running
        self._stream_idle: IdleTimer | None = None
        stats = self.config.stats
        stats.downstream_cx_http1_total.inc()
        stats.downstream_cx_http1_active.inc()

    # --- input

    def _received(self) -> None:
        if self._proceed_wanted:
            self._proceed()

    def _proceed(self) -> None:
        """Go on with requests that came behind the one just answered, unless its answer waits for the client to read."""
        if self.connection.write_full and not self.streams:
            self._proceed_wanted = True  # when it has read
            return
        codec = self.codec
        for _ in range(_EXCHANGES_PER_TURN):
            self._proceed_wanted = False
            codec.proceed()
            if not self._proceed_wanted or self.manager.closing:
                return
        self.config.timers.soon(self._run_codec)

    def _run_codec(self) -> None:
        if self.manager.closing:
            return
        self.in_codec = True
        try:
            self._proceed()
        except RemoteProtocolError as error:
            self._on_protocol_error(error)
        except Exception as bug:  # the border: a bug costs this connection
            self.manager.on_bug(bug)
        self.in_codec = False
        self._settle()

    def _settle(self) -> None:
        self.flush()
        if self.manager.closing:
            return
        if self._close_wanted:
            self._close()
            return
        codec, gate = self.codec, self.connection.gate
        if codec.wants_input:
            gate.open(ReadGate.CODEC)
            if not self.streams and self._opening is None and not codec.idle:
                self._opening = self._new_stream(0)
        else:
            gate.close(ReadGate.CODEC)

    def _on_protocol_error(self, error: RemoteProtocolError) -> None:
        """Answer what can be answered, then close: nothing more on this connection can be understood."""
        config = self.config
        config.stats.downstream_cx_protocol_error.inc()
        if error.details == "http1.unexpected_underscore":
            config.codec_stats.requests_rejected_with_underscores_in_headers.inc()
        self._close_after_response = True
        if not self.streams:
            stream = self._opening or self._new_stream(0)
            self._opening = None
            self._register(stream)
        failure = local_reply.protocol_error(error.status, error.details)
        for stream in tuple(self.streams.values()):
            stream.fail(failure)

    def on_reset(self, stream_id: int, reason: ResetReason, details: str) -> None:
        """The connection ends with it, and the stream with the connection."""

    # --- streams

    def _begin(self, stream_id: int) -> ActiveStream:
        stream, self._opening = self._opening, None
        if stream is None:
            stream = self._new_stream(stream_id)
        else:
            stream.id = stream_id
        self._show(stream)
        return stream

    def _count_request(self) -> None:
        self.config.stats.downstream_rq_http1_total.inc()

    def _register(self, stream: ActiveStream) -> None:
        """Give a stream whose head never came whole an id, so that it can be answered."""
        stream.id = self.codec.new_stream()
        self._show(stream)

    @property
    def is_active(self) -> bool:
        return bool(self.streams) or self._opening is not None

    def take_streams(self) -> list[ActiveStream]:
        active = list(self.streams.values())
        self.streams.clear()
        if self._opening is not None:
            active.append(self._opening)
            self._opening = None
        return active

    def give_id(self, stream: ActiveStream) -> None:
        if not self.manager.gone and self._opening is stream:
            self._opening = None
            self._close_after_response = True
            try:
                self._register(stream)
            except LocalProtocolError:  # the codec has given the connection up already
                stream.finish()
                self._close()

    def close_after_response(self) -> None:
        """The response about to be given is the last one on this connection."""
        self._close_after_response = True

    def ends_with(self, stream: ActiveStream, status: int) -> bool:
        manager = self.manager
        manager.join_drain()
        if not stream.request_complete:
            self.config.stats.downstream_rq_response_before_rq_complete.inc()
            return status != 101
        return manager.draining or self._close_after_response

    def on_upgraded(self) -> None:
        self.config.timers.soon(self._run_codec)  # bytes that came behind the request wait for this

    def on_response_ended(self, stream: ActiveStream) -> None:
        """Write it, then count and log, then go on with the next request or close."""
        codec, in_codec = self.codec, self.in_codec
        if not in_codec:
            self.flush()
        complete = stream.request_complete
        self.streams.pop(stream.id, None)
        stream.finish(answered=True)
        if self.connection.write_full:
            self.connection.gate.close(ReadGate.OUTPUT)
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
        self.manager.touch_idle()
        if in_codec:
            self._proceed_wanted = True
        elif not codec.wants_input:
            self._run_codec()

    def on_stream_reset(self, stream: ActiveStream) -> None:
        """HTTP/1 can say so only by closing the connection before the response is complete."""
        output = self.codec.take_output()
        self.codec.reset(stream.id, ResetReason.LOCAL_RESET)
        if output:
            self.connection.write(output)
        ends_with_connection = stream.response_started and _runs_to_close(stream)
        self.streams.pop(stream.id, None)
        stream.finish()
        self._end_pauses()
        self.config.stats.downstream_rq_rx_reset.inc()
        if ends_with_connection:  # a clean end would be taken for the end of the body
            self.manager.abort(stream.info.response_code_details)
            return
        self._close_after_response = self._close_wanted = True
        if not self.in_codec:
            self._close()

    def _close(self) -> None:
        """After the last response. A client that asked for it will send no more; any other one may be doing so now."""
        if self._stream_idle is not None:
            self._stream_idle.cancel()
            self._stream_idle = None
        self.manager.close(politely=self.manager.draining or self._close_after_response)

    def end(self) -> None:
        self._close()

    # --- flow control

    def pause_request(self, stream: ActiveStream, full: bool) -> None:
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

    def on_write_full(self, full: bool) -> None:
        """No next request begins while the connection is full; one that is under way goes on being read."""
        gate = self.connection.gate
        if full:
            if not self.streams:
                gate.close(ReadGate.OUTPUT)
        elif gate.is_closed_by(ReadGate.OUTPUT):
            gate.open(ReadGate.OUTPUT)
            if self._proceed_wanted:
                self.config.timers.soon(self._run_codec)
        for stream in tuple(self.streams.values()):
            stream.on_downstream_full(full)

    # --- timeouts and the end

    def stream_idle_timer(self, stream: ActiveStream) -> IdleTimer | None:
        """One for all streams: there is one at a time."""
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
        for stream in (self._opening, *self.streams.values()):
            if stream is not None and stream.idle_timer is timer:
                stream.on_idle_timeout()

    def count_connection_end(self) -> None:
        self.config.stats.downstream_cx_http1_active.dec()
        if self._stream_idle is not None:
            self._stream_idle.cancel()
            self._stream_idle = None


def _runs_to_close(stream: ActiveStream) -> bool:
    """Whether the response's body is ended by nothing but the end of the connection (HTTP/1.0 without a length)."""
    headers = stream.info.response_headers
    return (
        stream.downstream_version is HttpVersion.HTTP10
        and headers is not None
        and names.CONTENT_LENGTH not in headers
    )
