"""`envoy.filters.network.tcp_proxy`: a connection here becomes a connection there, byte for byte.

One upstream connection for each downstream one, opened as soon as the downstream one is up, so that server-first
protocols work. Half-close travels in both directions; a full side closes the gate of the other.
"""

from __future__ import annotations

import logging
import random

from config.model.network import TcpProxySpec, WeightedTcpCluster
from sidecar.network.api import Connection, NetworkFilterFactory, PassThroughFilter
from sidecar.network.http_tunnel import Tunneling
from sidecar.stream_info import ResponseFlag, StreamInfo, UpstreamInfo
from sidecar.telemetry.access_log.schedule import LogSchedule, LogType
from sidecar.transport.flow import Flow, ReadGate
from sidecar.transport.timers import Cancellable, IdleTimer
from sidecar.transport.transport_socket import CloseReason
from sidecar.upstream.api import Cluster, LbContext, Pending, TcpUpstream, UpstreamFailure
from sidecar.upstream.services import FilterContext
from stats.families import TcpProxyStats

logger = logging.getLogger(__name__)

_FAILURE_FLAGS = {
    UpstreamFailure.NO_HEALTHY_HOST: ResponseFlag.NO_HEALTHY_UPSTREAM,
    UpstreamFailure.OVERFLOW: ResponseFlag.UPSTREAM_OVERFLOW,
    UpstreamFailure.CONNECT_FAILURE: ResponseFlag.UPSTREAM_CONNECTION_FAILURE,
    UpstreamFailure.CONNECT_TIMEOUT: ResponseFlag.UPSTREAM_CONNECTION_FAILURE,
}


class TcpProxy(PassThroughFilter):
    """One session. Implements `TcpUpstreamSink`."""

    __slots__ = (
        "_attempts",
        "_cluster",
        "_duration_timer",
        "_early",
        "_early_end",
        "_factory",
        "_idle_timer",
        "_log_timer",
        "_match",
        "_pending",
        "_session",
        "_upstream",
        "_upstream_ended",
    )

    def __init__(self, connection: Connection, factory: TcpProxyFactory) -> None:
        super().__init__(connection)
        session = connection.session
        assert session is not None, "tcp_proxy stands on a downstream connection"
        self._session: StreamInfo = session
        self._factory = factory
        factory.stats.downstream_cx_total.inc()
        # chosen before the handshake: a session that ends there is reported under the name of its cluster, too
        session.cluster_name, self._match = factory.choose()
        self._cluster: Cluster | None = factory.context.services.clusters.get(session.cluster_name)
        if self._cluster is not None:
            session.cluster_metadata = self._cluster.metadata
        self._pending: Pending | None = None
        self._upstream: TcpUpstream | None = None
        self._early: list[bytes] = []  # what came before the upstream was ready; bounded by the closed gate
        self._early_end = False
        self._upstream_ended = False
        self._attempts = 0
        self._idle_timer: IdleTimer | None = None
        self._duration_timer: Cancellable | None = None
        self._log_timer: Cancellable | None = None

    # downstream

    def on_open(self) -> Flow:
        factory, connection = self._factory, self.connection
        stats = factory.stats
        connection.tx_counter = stats.downstream_cx_tx_bytes_total
        connection.watch_write_buffer(self._on_downstream_full)
        self._log_timer = factory.access_log.repeat(self._session, LogType.TCP_PERIODIC)
        if factory.duration_s is not None:
            self._duration_timer = connection.timers.after(factory.duration_s, self._on_duration)
        cluster = self._cluster
        if cluster is None:
            stats.downstream_cx_no_route.inc()
            self._session.add_flag(ResponseFlag.NO_CLUSTER_FOUND)
            logger.debug("tcp_proxy: cluster %s not found", self._session.cluster_name)
            connection.close("cluster_not_found")
            return Flow.CONTINUE
        if factory.idle_timeout_s is not None:
            self._idle_timer = connection.timers.idle(factory.idle_timeout_s, self._on_idle)
        connection.gate.close(ReadGate.NOT_READY)
        self._connect(cluster)
        return Flow.CONTINUE

    def _connect(self, cluster: Cluster) -> None:
        self._attempts += 1
        self._session.attempt_count = self._attempts
        context = LbContext(
            downstream=self.connection.info,
            metadata_match=self._match.metadata_match if self._match else None,
        )
        tunneling = self._factory.tunneling
        if tunneling is None:
            self._pending = cluster.new_connection(context, self)
        else:
            self._pending = tunneling.open(cluster, context, self, self._session)

    def on_data(self, data: bytes, end: bool) -> bytes:
        if self._idle_timer is not None:
            self._idle_timer.touch()
        upstream = self._upstream
        if upstream is not None:
            self._session.bytes_received += len(data)
            upstream.write(data, end)
            if end:
                self._close_when_both_ended()
        else:
            if data:
                self._early.append(data)
            self._early_end = self._early_end or end
        return b""

    def on_close(self) -> None:
        """The downstream is gone: the upstream gets what was written to it, then its end; after a reset, a reset."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
            if not self._session.response_flags:
                self._session.add_flag(ResponseFlag.DOWNSTREAM_CONNECTION_TERMINATION)
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            if self.connection.close_reason is CloseReason.REMOTE_RESET:
                upstream.abort()
            else:
                upstream.close()
        self._finish()

    def _on_downstream_full(self, full: bool) -> None:
        upstream, stats = self._upstream, self._factory.stats
        if upstream is None:
            return
        if full:
            upstream.pause_reading()
        else:
            upstream.resume_reading()
        counter = (
            stats.downstream_flow_control_paused_reading_total
            if full
            else stats.downstream_flow_control_resumed_reading_total
        )
        counter.inc()

    # upstream

    def on_tcp_ready(self, connection: TcpUpstream) -> None:
        self._pending = None
        self._upstream = connection
        self._session.upstream = connection.info
        if self._factory.access_log.at_start:
            self._factory.access_log.write(self._session, LogType.TCP_UPSTREAM_CONNECTED)
        self._count_reading()
        early, self._early = self._early, []
        if early or self._early_end:
            data = b"".join(early)
            self._session.bytes_received += len(data)
            connection.write(data, self._early_end)
        if self._idle_timer is not None:
            self._idle_timer.touch()
        if self.connection.write_full:
            connection.pause_reading()
        self.connection.gate.open(ReadGate.NOT_READY)

    def _count_reading(self) -> None:
        """Bytes count once there is an upstream to take them (Envoy does not read before).

        As those that are sent, with the frame of the metadata exchange; the session's own bytes are those of the payload.
        """
        received = self._factory.stats.downstream_cx_rx_bytes_total
        received.add(self.connection.rx_bytes)
        self.connection.rx_counter = received

    def on_tcp_failure(self, failure: UpstreamFailure, details: str, info: UpstreamInfo) -> None:
        self._pending = None
        self._session.upstream = info
        failures = self._factory.failures
        if failures is not None:
            failures.note_attempt(self._session, failure.name.lower(), details)
        retriable = failure in (UpstreamFailure.CONNECT_FAILURE, UpstreamFailure.CONNECT_TIMEOUT)
        if retriable and self._attempts < self._factory.max_connect_attempts and self._cluster is not None:
            self._connect(self._cluster)
            return
        self._session.add_flag(_FAILURE_FLAGS[failure])
        if retriable and self._cluster is not None:
            self._cluster.stats.upstream_cx_connect_attempts_exceeded.inc()
            self._session.add_flag(ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED)
        details = details or failure.name.lower()
        logger.debug("tcp_proxy: no connection to cluster %s: %s", self._session.cluster_name, details)
        if self._early:  # what the client said is lost, and a reset tells it so
            self.connection.abort(details)
        else:
            self.connection.close(details)

    def on_upstream_data(self, data: bytes, end: bool) -> None:
        self._session.bytes_sent += len(data)
        if self._idle_timer is not None:
            self._idle_timer.touch()
        if end:
            self._upstream_ended = True
        self.connection.write(data, end)
        if end:
            self._close_when_both_ended()

    def on_upstream_closed(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            return
        if upstream.was_reset:
            self._session.add_flag(ResponseFlag.UPSTREAM_REMOTE_RESET)
            if self._factory.failures is not None:
                self._factory.failures.note_attempt(self._session, "remote_reset")
            self.connection.abort("upstream_reset")  # as Envoy: a reset is passed on as one
        else:
            self.connection.close("upstream_closed")

    def on_upstream_full(self, full: bool) -> None:
        gate = self.connection.gate
        if full:
            gate.close(ReadGate.SINK_FULL)
        else:
            gate.open(ReadGate.SINK_FULL)

    # the end

    def _close_when_both_ended(self) -> None:
        if self._upstream_ended and self.connection.read_ended:
            upstream, self._upstream = self._upstream, None
            if upstream is not None:
                upstream.close()
            self.connection.close()

    def _on_idle(self) -> None:
        self._idle_timer = None
        self._factory.stats.idle_timeout.inc()
        self.connection.close_now("idle_timeout")

    def _on_duration(self) -> None:
        self._duration_timer = None
        self._factory.stats.max_downstream_connection_duration.inc()
        self._session.add_flag(ResponseFlag.DURATION_TIMEOUT)
        self.connection.close_now("max_downstream_connection_duration")

    def _finish(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._duration_timer is not None:
            self._duration_timer.cancel()
        self._early.clear()
        session = self._session
        session.end_ns = self.connection.timers.now_ns()
        if self._log_timer is not None:
            self._log_timer.cancel()
        failures = self._factory.failures
        if failures is not None and (
            session.response_flags or self.connection.close_reason is CloseReason.REMOTE_RESET
        ):
            failures.record_stream(session, self.connection)
        self._factory.access_log.write(session, LogType.TCP_CONNECTION_END)


class TcpProxyFactory:
    """Compiled once: cluster choice, timeouts, stats, access loggers."""

    def __init__(self, spec: TcpProxySpec, context: FilterContext) -> None:
        services = context.services
        self.context = context
        self.failures = services.failures
        self.stats = TcpProxyStats(services.scope.scope(f"tcp.{spec.stat_prefix}"))
        self.idle_timeout_s = spec.idle_timeout_s
        self.duration_s = spec.max_downstream_connection_duration_s
        self.max_connect_attempts = spec.max_connect_attempts
        self.access_log = LogSchedule(
            tuple(map(services.access_logger, spec.access_log)), spec.access_log_options, services.timers
        )
        self.tunneling = Tunneling(spec.tunneling) if spec.tunneling is not None else None
        self._cluster = spec.cluster
        self._weighted = {each.name: each for each in spec.weighted_clusters}
        self._names = [each.name for each in spec.weighted_clusters]
        self._weights = [each.weight for each in spec.weighted_clusters]
        self._random: random.Random = services.random

    def choose(self) -> tuple[str, WeightedTcpCluster | None]:
        """The cluster of a new session."""
        if not self._names:
            return self._cluster, None
        name = self._random.choices(self._names, self._weights)[0]
        return name, self._weighted[name]

    def create(self, connection: Connection) -> TcpProxy:
        return TcpProxy(connection, self)


def build(spec: TcpProxySpec, context: FilterContext) -> NetworkFilterFactory:
    return TcpProxyFactory(spec, context)
