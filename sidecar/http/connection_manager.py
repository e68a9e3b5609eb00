"""The HTTP connection manager: one downstream connection, from its first byte to its end.

It finds out which protocol the client speaks and hands the bytes to the `Exchanges` of that protocol, where the codec and the
streams are. Its own are the timers of the connection, draining, and the one way to close.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from config.model.http import CodecType
from sidecar.http.exchanges import Exchanges
from sidecar.http.http1_exchanges import Http1Exchanges
from sidecar.http.http2_exchanges import Http2Exchanges
from sidecar.http.manager_config import ManagerConfig
from sidecar.stream_info import ConnectionInfo, ResponseFlag
from sidecar.transport.connection import Connection, PassThroughFilter
from sidecar.transport.flow import Flow
from sidecar.transport.transport_socket import CloseReason

if TYPE_CHECKING:
    from sidecar.transport.timers import Cancellable, IdleTimer

logger = logging.getLogger(__name__)

#: How every HTTP/2 connection begins (RFC 9113 section 3.4); Envoy looks at so much of it.
_HTTP2_PREFACE: Final = b"PRI * HTTP/2"
#: How a ClientHello begins: a handshake record of any TLS version (RFC 8446 section 5.1).
_TLS_RECORD: Final = b"\x16\x03"
_ALPN_HTTP2: Final = "h2"

#: When the process ends, a request that is on its way on an idle connection is waited for this long.
_EXIT_GRACE_S: Final = 0.25


class ConnectionManager(PassThroughFilter):
    """The terminal network filter of an HTTP connection.

    `closing`: no more input is taken. `draining`: the next response is the last one.
    """

    __slots__ = (
        "_drain_timer",
        "_duration_timer",
        "_early",
        "_exchanges",
        "_idle_timer",
        "_secure",
        "_warned",
        "closing",
        "config",
        "draining",
        "gone",
        "info",
        "was_active",
    )

    def __init__(self, connection: Connection, config: ManagerConfig) -> None:
        super().__init__(connection)
        assert connection.info is not None, "stands on a downstream connection"
        self.config = config
        self.info: ConnectionInfo = connection.info
        self.closing = False
        self.draining = False
        self.gone = False
        self._exchanges: Exchanges | None = None
        self._early = b""  # too little to tell the protocol by
        self._warned = False  # the client knows that the connection drains
        self.was_active = False  # a stream was cut off by the end
        self._idle_timer: IdleTimer | None = None
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
        if data and not self.closing:
            exchanges = self._exchanges
            if exchanges is None:
                data = self._early + data
                exchanges = self._choose_protocol(data)
            if exchanges is not None:
                exchanges.receive(data)
        if end and not self.closing:
            self._on_half_close()
        return b""

    def _choose_protocol(self, data: bytes) -> Exchanges | None:
        """By configuration, then by the negotiated protocol, then by the first bytes (Envoy's AUTO)."""
        if not self._secure and data.startswith(_TLS_RECORD):
            self.info.unexpected_protocol = "TLS"
        http2 = self._is_http2(data)
        if http2 is None:
            self._early = data
            return None
        self._early = b""
        exchanges = self._exchanges = Http2Exchanges(self) if http2 else Http1Exchanges(self)
        return exchanges

    def _is_http2(self, data: bytes) -> bool | None:
        """None: a few bytes more are needed."""
        codec_type = self.config.codec_type
        if codec_type is not CodecType.AUTO:
            return codec_type is not CodecType.HTTP1
        tls = self.info.tls
        if tls is not None and tls.alpn:
            return tls.alpn == _ALPN_HTTP2
        if data.startswith(_HTTP2_PREFACE):
            return True
        return None if _HTTP2_PREFACE.startswith(data) else False

    def on_close(self) -> None:
        """The connection is gone: what is unfinished ends without an answer."""
        config, stats, connection = self.config, self.config.stats, self.connection
        ours = connection.close_reason in (CloseReason.LOCAL, CloseReason.TIMEOUT)
        local = ours and not connection.read_ended
        if local and self.closing and connection.write_ended:
            stats.downstream_cx_delayed_close_timeout.inc()
        self.closing = self.gone = True
        self._end_streams(local)
        stats.downstream_cx_destroy.inc()
        (stats.downstream_cx_destroy_local if local else stats.downstream_cx_destroy_remote).inc()
        if self.was_active:
            stats.downstream_cx_destroy_active_rq.inc()
            (
                stats.downstream_cx_destroy_local_active_rq
                if local
                else stats.downstream_cx_destroy_remote_active_rq
            ).inc()
        stats.downstream_cx_active.dec()
        if self._secure:
            stats.downstream_cx_ssl_active.dec()
        exchanges, self._exchanges = self._exchanges, None
        if exchanges is not None:
            exchanges.count_connection_end()
            config.timers.soon(exchanges.let_go)  # not now: it may be at work
        lasted_ns = config.timers.now_ns() - self.info.start_monotonic_ns
        stats.downstream_cx_length_ms.record(lasted_ns // 1_000_000)
        for timer in (self._idle_timer, self._duration_timer, self._drain_timer):
            if timer is not None:
                timer.cancel()
        self._idle_timer = self._duration_timer = self._drain_timer = None

    def _end_streams(self, local: bool) -> None:
        """End every stream because the connection has ended."""
        if self._exchanges is None:
            return
        for stream in self._exchanges.take_streams():
            info = stream.info
            info.add_flag(ResponseFlag.DOWNSTREAM_CONNECTION_TERMINATION)
            info.response_code_details = (
                "downstream_local_disconnect" if local else "downstream_remote_disconnect"
            )
            self.config.stats.downstream_rq_rx_reset.inc()
            stream.finish()
            self.was_active = True

    def _on_half_close(self) -> None:
        """A client that ends its side is gone, out of a tunnel too (Envoy: half-close is not enabled for HTTP).

        Over HTTP/2 it is the end of the connection; a stream's own end is END_STREAM.
        """
        self.closing = True
        active = self._exchanges is not None and bool(self._exchanges.streams)
        unsent = active and self.connection.socket.write_buffer_bytes > 0
        self._end_streams(local=False)
        if unsent:
            self.connection.abort("downstream_remote_disconnect", CloseReason.REMOTE)
        else:
            self.connection.close("downstream_remote_disconnect")

    def on_bug(self, error: Exception) -> None:
        """Something happened that cannot happen: it costs this connection."""
        self.config.bugs.inc()
        logger.error("[C%d] unexpected exception", self.info.id, exc_info=error)
        self.abort("internal_error")

    def close(self, *, politely: bool = True) -> None:
        """No more is to come from us. `politely`: wait for the client's end, since it may be sending now."""
        self.closing = True
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if politely:
            self.connection.close_after_peer(self.config.spec.delayed_close_timeout_s)
        else:
            self.connection.close()

    def abort(self, details: str) -> None:
        """Close at once; the client sees a reset."""
        self.closing = True
        self.connection.abort(details)

    def _on_write_full(self, full: bool) -> None:
        if self._exchanges is not None:
            self._exchanges.on_write_full(full)

    # --- timeouts and draining

    def touch_idle(self) -> None:
        """An exchange has ended."""
        if self._idle_timer is not None:
            self._idle_timer.touch()
        elif self.config.spec.idle_timeout_s and not self.closing:
            self._idle_timer = self.config.timers.idle(self.config.spec.idle_timeout_s, self._on_idle)

    @property
    def _is_active(self) -> bool:
        return self._exchanges is not None and self._exchanges.is_active

    def _on_idle(self) -> None:
        """No stream for the idle timeout."""
        self._idle_timer = None
        if self._is_active or self.closing:
            return
        self.config.stats.downstream_cx_idle_timeout.inc()
        self.begin_drain()

    def _on_max_duration(self) -> None:
        self._duration_timer = None
        if not self.closing:
            self.config.stats.downstream_cx_max_duration_reached.inc()
            self.begin_drain()

    def join_drain(self) -> bool:
        """Asked with each response: whether the connection drains, on its own account or with its listener."""
        if not self.draining and self.config.services.drain.drain_close(self.config.direction):
            self.draining = True
            self.config.stats.downstream_cx_drain_close.inc()
        return self.draining

    def begin_drain(self) -> None:
        """The next response is the last one; without a request the connection is closed after the drain timeout (Envoy)."""
        if self._exchanges is None:
            self.closing = True
            self.connection.close()
        else:
            self._drain(self.config.spec.drain_timeout_s)

    def on_drain(self) -> None:
        """The process ends: the next response is the last one, and an idle connection is closed when that had its chance."""
        if self.closing:
            return
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None
        self._drain(_EXIT_GRACE_S)

    def _drain(self, after_s: float) -> None:
        self.draining = True
        if not self._warned and self._exchanges is not None:
            self._warned = True
            self._exchanges.warn()
        if self._drain_timer is None:
            self._drain_timer = self.config.timers.after(after_s, self._on_drained)

    def _on_drained(self) -> None:
        self._drain_timer = None
        if self.closing:
            return
        exchanges = self._exchanges
        if exchanges is None:
            self.close()
        elif exchanges.ends_by_itself or not exchanges.is_active:
            exchanges.end()
        else:  # its head may have left before the drain began: look again
            self._drain_timer = self.config.timers.after(_EXIT_GRACE_S, self._on_drained)
