"""One connection of an `HttpPool`: its life from the first SYN to its end, whatever HTTP version is spoken on it.

`Http1Client` and `Http2Client` add the exchanges. An `AutoClient` stands in while the server has not chosen yet.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from protocols.http.codec import ResetReason
from sidecar.stream_info import ConnectionFacts
from sidecar.transport.connection import Connection, PassThroughFilter
from sidecar.transport.flow import Flow
from sidecar.transport.transport_socket import CloseReason
from sidecar.upstream.api import UpstreamFailure
from sidecar.upstream.connector import drop, facts_of

if TYPE_CHECKING:
    from sidecar.stream_info import UpstreamInfo
    from sidecar.transport.timers import Cancellable, IdleTimer
    from sidecar.upstream.api import UpstreamSink, UpstreamStream
    from sidecar.upstream.http_pool import HttpPool


class ActiveClient(PassThroughFilter):
    """The terminal network filter of an upstream HTTP connection."""

    __slots__ = (
        "_duration_timer",
        "_flush_wanted",
        "_gone",
        "_idle_timer",
        "_requests",
        "_start_ns",
        "draining",
        "info",
        "is_ready",
        "opened",
        "pool",
        "remaining",
    )

    def __init__(self, connection: Connection, pool: HttpPool) -> None:
        super().__init__(connection)
        assert connection.upstream is not None, "made by the connector"
        self.info: UpstreamInfo = connection.upstream
        self.info.life = self
        self.pool = pool
        self.draining = False  # takes no further exchange
        self.is_ready = False  # the pool's note: among those with room
        #: exchanges it may still take; below 0: any number
        self.remaining = pool.config.options.max_requests_per_connection or -1
        self.opened = False  # the connection is up, or was
        self._gone = False
        self._flush_wanted = False
        self._requests = 0
        self._start_ns = connection.timers.now_ns()
        self._idle_timer: IdleTimer | None = None
        self._duration_timer: Cancellable | None = None
        connection.watch_write_buffer(self._on_write_full)

    # for the pool

    @property
    @abstractmethod
    def capacity(self) -> int:
        """How many exchanges it could take now."""

    @property
    @abstractmethod
    def is_busy(self) -> bool:
        """At least one exchange is on it."""

    @abstractmethod
    def start(self, sink: UpstreamSink) -> UpstreamStream:
        """Begin an exchange; `capacity` is at least 1."""

    def close_idle(self) -> None:
        """Nothing is on it and nothing will be."""
        self._close(remote=False, with_stream=False)

    def drain(self) -> None:
        """Finish what is on it, then close."""
        self.draining = True
        if not self.is_busy and self.opened:
            self.close_idle()

    def close(self) -> None:
        """Close now; exchanges on it are told."""
        self._lose(ResetReason.CONNECTION_TERMINATION, "", remote=False)

    # for streams

    @abstractmethod
    def flush(self) -> None:
        """Write what the codec has."""

    def flush_soon(self) -> None:
        """At the end of this turn, with what else comes in it."""
        if not self._flush_wanted:
            self._flush_wanted = True
            self.connection.timers.soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flush_wanted = False
        if not self._gone:
            self.flush()

    # network filter

    def on_open(self) -> Flow:
        self.opened = True
        duration_s = self.pool.config.options.max_connection_duration_s
        if duration_s is not None:
            self._duration_timer = self.connection.timers.after(duration_s, self._on_max_duration)
        self.pool.on_client_connected(self)
        return Flow.CONTINUE

    def on_close(self) -> None:
        if self._gone:
            return
        reason = self.connection.close_reason
        if not self.opened:
            self._on_connect_failed(reason)
        else:
            self._on_connection_closed(reason)

    @abstractmethod
    def _on_connection_closed(self, reason: CloseReason | None) -> None:
        """An established connection is gone."""

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
        self._leave_facts(remote=not timed_out and reason is not CloseReason.LOCAL)
        failure = UpstreamFailure.CONNECT_TIMEOUT if timed_out else UpstreamFailure.CONNECT_FAILURE
        self._count_end()
        self.pool.on_connect_failed(self, failure, self.info.transport_failure_reason)

    # facts, for whoever asks why something failed

    def facts(self) -> ConnectionFacts:
        """See `ConnectionLife`."""
        return self._facts()

    def _facts(self, *, remote: bool | None = None) -> ConnectionFacts:
        """`remote`: it ends now, by the server or by us; None: it may go on."""
        idle = self._idle_timer
        return facts_of(
            self.connection,
            remote,
            opened_ns=self._start_ns,
            idle_since_ns=int(idle.last_touch_s * 1e9) if idle is not None and self._requests > 1 else 0,
            exchanges=self._requests,
        )

    def _leave_facts(self, *, remote: bool) -> None:
        """It ends with exchanges on it, or before it was up: what is known of it outlives it."""
        self.info.life = self._facts(remote=remote)

    # the ends

    @abstractmethod
    def _lose(self, reason: ResetReason, details: str, *, remote: bool) -> None:
        """The connection is gone or must go; the exchanges on it did not end."""

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
        if self.info.life is self:
            self.info.life = None
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
        if not self.is_busy:
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
        self._tell_full(full)

    @abstractmethod
    def _tell_full(self, full: bool) -> None:
        """The way to the server is full, or takes again: tell those who send."""
