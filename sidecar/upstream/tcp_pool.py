"""Upstream connections for `tcp_proxy`: opened for one session, never shared, never reused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sidecar.stream_info import ConnectionFacts
from sidecar.transport.connection import Connection, PassThroughFilter
from sidecar.transport.flow import Flow, ReadGate
from sidecar.transport.transport_socket import CloseReason
from sidecar.upstream.api import Pending, TcpUpstreamSink, UpstreamFailure
from sidecar.upstream.connector import drop, facts_of
from sidecar.upstream.http_pool import NOTHING_PENDING
from stats.families import ClusterStats

if TYPE_CHECKING:
    from sidecar.stream_info import UpstreamInfo
    from sidecar.transport.timers import Cancellable
    from sidecar.upstream.circuit_breaker import CircuitBreaker
    from sidecar.upstream.connector import Connector
    from sidecar.upstream.host import Host

#: A closed connection whose peer does not take what was written to it is cut off after this long (Envoy's idle timeout).
_FLUSH_TIMEOUT_S: Final = 3600.0


class TcpClient(PassThroughFilter):
    """One connection. Implements `TcpUpstream`, and `Pending` until it is ready."""

    __slots__ = ("_connected", "_ended_last", "_flush_timer", "_gone", "_pool", "_sink", "_start_ns", "info")

    def __init__(self, connection: Connection, pool: TcpPool, sink: TcpUpstreamSink) -> None:
        super().__init__(connection)
        assert connection.upstream is not None, "made by the connector"
        self.info: UpstreamInfo = connection.upstream
        self.info.life = self
        self._pool = pool
        self._sink: TcpUpstreamSink | None = sink
        self._connected = False
        self._ended_last = False  # the upstream had sent its end before we sent ours
        self._gone = False
        self._start_ns = connection.timers.now_ns()
        self._flush_timer: Cancellable | None = None
        connection.watch_write_buffer(self._on_write_full)

    # Pending

    def cancel(self) -> None:
        if not self._connected and not self._gone:
            pool = self._pool
            pool.stats.upstream_rq_cancelled.inc()
            pool.on_pending_ended()
            self._sink = None
            self._end(remote=False)
            drop(self.connection)

    # TcpUpstream

    def write(self, data: bytes, end: bool = False) -> None:
        if self._gone:
            return
        if end:
            self._ended_last = self.connection.read_ended
        self.connection.write(data, end)

    def close(self) -> None:
        if self._gone:
            return
        self._sink = None
        connection = self.connection
        # Both ways had ended before: it was closed by whoever ended last.
        self._end(remote=connection.read_ended and connection.write_ended and not self._ended_last)
        connection.close()
        if connection.socket.write_buffer_bytes:
            self._flush_timer = connection.timers.after(_FLUSH_TIMEOUT_S, connection.abort)

    def abort(self) -> None:
        if not self._gone:
            self._sink = None
            self._end(remote=False)
            self.connection.abort()

    @property
    def was_reset(self) -> bool:
        return self.connection.close_reason is CloseReason.REMOTE_RESET

    def pause_reading(self) -> None:
        self.connection.gate.close(ReadGate.SINK_FULL)

    def resume_reading(self) -> None:
        self.connection.gate.open(ReadGate.SINK_FULL)

    def shut_down(self) -> None:
        """The cluster goes: end at once, and tell."""
        sink = self._sink
        if self._gone:
            return
        if not self._connected:
            self.cancel()
            if sink is not None:
                sink.on_tcp_failure(UpstreamFailure.CONNECT_FAILURE, "", self.info)
            return
        self.abort()
        if sink is not None:
            sink.on_upstream_closed()

    # network filter

    def on_open(self) -> Flow:
        self._connected = True
        pool = self._pool
        pool.on_pending_ended()
        pool.on_stream_started()
        if self._sink is not None:
            self._sink.on_tcp_ready(self)
        return Flow.CONTINUE

    def on_data(self, data: bytes, end: bool) -> bytes:
        if self._sink is not None:
            self._sink.on_upstream_data(data, end)
        return b""

    def on_close(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if self._gone:
            return
        sink, self._sink = self._sink, None
        reason = self.connection.close_reason
        if self._connected:
            self._end(remote=reason is not CloseReason.LOCAL)
            if sink is not None:
                sink.on_upstream_closed()
            return
        pool, stats = self._pool, self._pool.stats
        timed_out = reason is CloseReason.TIMEOUT
        if timed_out:
            stats.upstream_cx_connect_timeout.inc()
        stats.upstream_cx_connect_fail.inc()
        stats.upstream_rq_pending_failure_eject.inc()
        pool.host.cx_connect_fail += 1
        pool.on_pending_ended()
        self._end(remote=not timed_out and reason is not CloseReason.LOCAL)
        if sink is not None:
            failure = UpstreamFailure.CONNECT_TIMEOUT if timed_out else UpstreamFailure.CONNECT_FAILURE
            sink.on_tcp_failure(failure, self.info.transport_failure_reason, self.info)

    def _on_write_full(self, full: bool) -> None:
        stats = self._pool.stats
        if full:
            stats.upstream_flow_control_backed_up_total.inc()
        else:
            stats.upstream_flow_control_drained_total.inc()
        if self._sink is not None:
            self._sink.on_upstream_full(full)

    def facts(self) -> ConnectionFacts:
        """See `ConnectionLife`."""
        return self._facts(None)

    def _facts(self, remote: bool | None) -> ConnectionFacts:
        return facts_of(self.connection, remote, opened_ns=self._start_ns, idle_since_ns=0, exchanges=1)

    def _end(self, *, remote: bool) -> None:
        self._gone = True
        self.info.life = self._facts(remote)
        stats, with_session = self._pool.stats, self._connected
        stats.upstream_cx_destroy.inc()
        if with_session:
            stats.upstream_cx_destroy_with_active_rq.inc()
        if remote:
            stats.upstream_cx_destroy_remote.inc()
            if with_session:
                stats.upstream_cx_destroy_remote_with_active_rq.inc()
        else:
            stats.upstream_cx_destroy_local.inc()
            if with_session:
                stats.upstream_cx_destroy_local_with_active_rq.inc()
        elapsed_ns = self.connection.timers.now_ns() - self._start_ns
        stats.upstream_cx_length_ms.record(elapsed_ns // 1_000_000)
        self._pool.on_client_ended(self, with_session)


@dataclass(slots=True)
class TcpPool:
    """The connections of one priority to one host: only the counting is shared."""

    connector: Connector
    stats: ClusterStats
    breaker: CircuitBreaker
    host: Host
    clients: set[TcpClient]  # of the cluster

    def new_connection(self, sink: TcpUpstreamSink) -> Pending:
        """See `Cluster.new_connection`. With too many connections there is none (Envoy: tcp_proxy asks first)."""
        breaker, stats, host = self.breaker, self.stats, self.host
        if not breaker.connections.can_create:
            stats.upstream_cx_overflow.inc()
            sink.on_tcp_failure(UpstreamFailure.OVERFLOW, "", self.connector.info_of(None))
            return NOTHING_PENDING
        if not breaker.pending.can_create:
            stats.upstream_rq_pending_overflow.inc()
            sink.on_tcp_failure(UpstreamFailure.OVERFLOW, "", self.connector.info_of(None))
            return NOTHING_PENDING
        breaker.pending.inc()
        breaker.connections.inc()
        host.rq_pending_active += 1
        host.cx_total += 1
        host.cx_active += 1
        stats.upstream_rq_pending_total.inc()
        stats.upstream_rq_pending_active.inc()
        stats.upstream_cx_total.inc()
        stats.upstream_cx_active.inc()
        client = self.connector.connect(host, lambda connection: TcpClient(connection, self, sink))
        self.clients.add(client)
        return client

    def on_pending_ended(self) -> None:
        self.breaker.pending.dec()
        self.host.rq_pending_active -= 1
        self.stats.upstream_rq_pending_active.dec()

    def on_stream_started(self) -> None:
        self.breaker.requests.inc()
        self.host.rq_total += 1
        self.host.rq_active += 1
        self.stats.upstream_rq_total.inc()
        self.stats.upstream_rq_active.inc()

    def on_client_ended(self, client: TcpClient, with_session: bool) -> None:
        self.clients.discard(client)
        self.breaker.connections.dec()
        self.host.cx_active -= 1
        self.stats.upstream_cx_active.dec()
        if with_session:
            self.breaker.requests.dec()
            self.host.rq_active -= 1
            self.stats.upstream_rq_active.dec()
