"""Connection pools for HTTP: one for each host, priority, ALPN override and SNI.

The rules are those of Envoy's connection pool: the idle connection used last is used first; a request that finds none
waits, and connections are opened for those who wait; a failed attempt to connect fails all who wait; circuit breakers
count over the whole cluster, but a pool without any connection may always open one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from sidecar.upstream.api import Pending, UpstreamFailure, UpstreamSink
from sidecar.upstream.http1_client import ActiveClient

if TYPE_CHECKING:
    from config.model.cluster import UpstreamHttpOptions
    from protocols.http.codec import CodecSettings
    from sidecar.transport.connection import Connection
    from sidecar.upstream.circuit_breaker import CircuitBreaker
    from sidecar.upstream.connector import Connector
    from sidecar.upstream.host import Host, PoolKey
    from sidecar.upstream.http1_client import NewCodec
    from stats.families import ClusterStats


class HttpPool(Protocol):
    """The connections of one kind to one host."""

    def new_stream(self, sink: UpstreamSink) -> Pending:
        """See `Cluster.new_stream`."""

    def drain(self) -> None:
        """Take no new connections: close what is idle, let exchanges finish. Waiting requests are still served."""

    def close(self) -> None:
        """Close everything now; exchanges and waiting requests are told."""

    @property
    def is_empty(self) -> bool:
        """No connection, nobody waiting."""


class _NothingPending:
    """What is returned when the answer was given at once."""

    __slots__ = ()

    def cancel(self) -> None:
        return None


NOTHING_PENDING: Final = _NothingPending()


@dataclass(frozen=True, slots=True)
class HttpPoolConfig:
    """What the pools of a cluster share."""

    connector: Connector
    stats: ClusterStats
    options: UpstreamHttpOptions
    codec_settings: CodecSettings
    new_codec: NewCodec
    on_emptied: Callable[[Host, PoolKey], None]


class _PendingStream:
    """A request that waits for a connection. Implements `Pending`."""

    __slots__ = ("pool", "sink")

    def __init__(self, pool: Http1Pool, sink: UpstreamSink) -> None:
        self.pool: Http1Pool | None = pool
        self.sink = sink

    def cancel(self) -> None:
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.on_pending_cancelled(self)


class Http1Pool:
    """HTTP/1: one exchange at a time on each connection. Implements `HttpPool`."""

    __slots__ = (
        "_breaker",
        "_clients",
        "_connecting",
        "_draining",
        "_idle",
        "_key",
        "_requests",
        "_rq_active",
        "_rq_total",
        "config",
        "host",
        "pending",
        "stats",
    )

    def __init__(self, config: HttpPoolConfig, host: Host, key: PoolKey, breaker: CircuitBreaker) -> None:
        self.config = config
        self.host = host
        self.stats = config.stats
        self.pending: deque[_PendingStream] = deque()
        self._breaker = breaker
        self._requests = breaker.requests
        self._rq_total = config.stats.upstream_rq_total
        self._rq_active = config.stats.upstream_rq_active
        self._key = key
        self._idle: list[ActiveClient] = []  # the one used last is at the end
        self._connecting = 0
        self._clients: set[ActiveClient] = set()  # connecting, idle and busy ones
        self._draining = False

    # requests

    def new_stream(self, sink: UpstreamSink) -> Pending:
        idle = self._idle
        if idle and not self.pending:
            client = idle.pop()
            if client.connection.close_reason is None:
                self._attach(client, sink)
                return NOTHING_PENDING
            idle.append(client)  # a filter has just closed it: `serve_pending` sorts it out
        breaker, stats = self._breaker, self.stats
        if not breaker.pending.can_create:
            stats.upstream_rq_pending_overflow.inc()
            self._check_emptied()
            sink.on_pool_failure(UpstreamFailure.OVERFLOW, "", self.config.connector.info_of(None))
            return NOTHING_PENDING
        waiting = _PendingStream(self, sink)
        self.pending.append(waiting)
        stats.upstream_rq_pending_total.inc()
        stats.upstream_rq_pending_active.inc()
        breaker.pending.inc()
        self.host.rq_pending_active += 1
        self.serve_pending()
        return waiting

    def _attach(self, client: ActiveClient, sink: UpstreamSink) -> None:
        requests, host = self._requests, self.host
        if requests.count >= requests.limit:
            self.stats.upstream_rq_active_overflow.inc()
            self._idle.append(client)
            sink.on_pool_failure(UpstreamFailure.OVERFLOW, "", self.config.connector.info_of(host))
            return
        if client.remaining > 0:
            client.remaining -= 1
            if client.remaining == 0:
                self.stats.upstream_cx_max_requests.inc()
                client.draining = True
        requests.inc()
        host.rq_total += 1
        host.rq_active += 1
        self._rq_total.inc()
        self._rq_active.inc()
        sink.on_pool_ready(client.start(sink))

    def serve_pending(self) -> None:
        """Give idle connections to those who wait, first come first served; open more if that is not enough."""
        pending, idle = self.pending, self._idle
        while pending and idle:
            client = idle.pop()
            if client.connection.close_reason is not None:
                client.close_idle()
                continue
            waiting = pending.popleft()
            self._forget(waiting)
            self._attach(client, waiting.sink)
        if pending:
            self._connect_for_pending()

    def on_pending_cancelled(self, waiting: _PendingStream) -> None:
        """Its connection goes on connecting: the next request will use it (Envoy: CancelPolicy::Default)."""
        self.pending.remove(waiting)
        self._forget(waiting)
        self.stats.upstream_rq_cancelled.inc()
        self._check_emptied()

    def _forget(self, waiting: _PendingStream) -> None:
        waiting.pool = None
        self.stats.upstream_rq_pending_active.dec()
        self._breaker.pending.dec()
        self.host.rq_pending_active -= 1

    # connections

    def _connect_for_pending(self) -> None:
        """One connection being opened for each that waits, as far as the circuit breaker allows."""
        connections, stats, host = self._breaker.connections, self.stats, self.host
        while len(self.pending) > self._connecting:
            allowed = connections.can_create
            if not allowed:
                stats.upstream_cx_overflow.inc()
                if self._clients:
                    return
            connections.inc()
            host.cx_total += 1
            host.cx_active += 1
            stats.upstream_cx_total.inc()
            stats.upstream_cx_active.inc()
            stats.upstream_cx_http1_total.inc()
            self._connecting += 1
            self._clients.add(
                self.config.connector.connect(
                    host, self._new_client, application_protocols=self._key[1], server_name=self._key[2]
                )
            )
            if not allowed:
                return

    def _new_client(self, connection: Connection) -> ActiveClient:
        return ActiveClient(connection, self)

    def on_client_connected(self, client: ActiveClient) -> None:
        self._connecting -= 1
        if self._draining and not self.pending:
            client.close_idle()
            return
        client.start_idle()
        self._idle.append(client)
        self.serve_pending()

    def on_connect_failed(self, client: ActiveClient, failure: UpstreamFailure, details: str) -> None:
        """All who wait now fail with it; those who ask again because of that wait for another attempt."""
        self._connecting -= 1
        self._release(client)
        failed, self.pending = self.pending, deque()
        for waiting in failed:
            self._forget(waiting)
        self.stats.upstream_rq_pending_failure_eject.add(len(failed))
        for waiting in failed:
            waiting.sink.on_pool_failure(failure, details, client.info)
        if self.pending:
            self._connect_for_pending()
        self._check_emptied()

    def on_client_idle(self, client: ActiveClient) -> None:
        if self._draining and not self.pending:
            client.close_idle()
            return
        self._idle.append(client)

    def on_client_closed(self, client: ActiveClient) -> None:
        if not client.opened:
            self._connecting -= 1
        if client in self._idle:
            self._idle.remove(client)
        self._release(client)
        if self.pending:
            self._connect_for_pending()
        self._check_emptied()

    def _release(self, client: ActiveClient) -> None:
        self._clients.discard(client)
        self._breaker.connections.dec()
        self.host.cx_active -= 1
        self.stats.upstream_cx_active.dec()

    def on_stream_ended(self) -> None:
        self._requests.dec()
        self.host.rq_active -= 1
        self._rq_active.dec()

    # the end

    @property
    def is_empty(self) -> bool:
        return not (self._clients or self.pending)

    def drain(self) -> None:
        self._draining = True
        for client in tuple(self._clients):
            client.drain()
        self._check_emptied()

    def close(self) -> None:
        self._draining = True
        failed, self.pending = self.pending, deque()
        for waiting in failed:
            self._forget(waiting)
        for client in tuple(self._clients):
            client.close()
        for waiting in failed:
            waiting.sink.on_pool_failure(
                UpstreamFailure.CONNECT_FAILURE, "", self.config.connector.info_of(self.host)
            )
        self._check_emptied()

    def _check_emptied(self) -> None:
        """An empty pool is forgotten: its key may hold a name that a client made up."""
        if self.is_empty:
            self.config.on_emptied(self.host, self._key)
