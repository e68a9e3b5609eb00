"""Connection pools for HTTP: one for each host, protocol, priority, ALPN override and SNI.

The rules are those of Envoy's connection pool: the connection with room that was used last is used first; a request that
finds none waits, and connections are opened for those who wait, as many as their streams need; a failed attempt to connect
fails all who wait; circuit breakers count over the whole cluster, but a pool without any connection may always open one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from config.model.cluster import UpstreamHttpOptions, UpstreamHttpProtocol
from sidecar.transport.http2_keepalive import Http2Keepalive, Pinged
from sidecar.upstream.api import Pending, UpstreamFailure, UpstreamSink
from sidecar.upstream.auto_client import AutoClient
from sidecar.upstream.http1_client import Http1Client
from sidecar.upstream.http2_client import Http2Client
from stats.families import ClusterStats, Http2CodecStats

if TYPE_CHECKING:
    from protocols.http.codec import CodecSettings
    from sidecar.transport.connection import Connection
    from sidecar.transport.timers import Timers
    from sidecar.upstream.active_client import ActiveClient
    from sidecar.upstream.circuit_breaker import CircuitBreaker
    from sidecar.upstream.connector import Connector
    from sidecar.upstream.host import Host, PoolKey
    from sidecar.upstream.http1_client import NewCodec


class _NothingPending:
    """What is returned when the answer was given at once."""

    __slots__ = ()

    def cancel(self) -> None:
        return None


NOTHING_PENDING: Final = _NothingPending()


_CLIENTS: Final[dict[UpstreamHttpProtocol, Callable[[Connection, HttpPool], ActiveClient]]] = {
    UpstreamHttpProtocol.HTTP1: Http1Client,
    UpstreamHttpProtocol.HTTP2: Http2Client,
    UpstreamHttpProtocol.AUTO: AutoClient,
}
#: What is offered where neither the request nor the TLS context says anything (Envoy's ALPN fallback).
_FALLBACK_ALPN: Final = {
    UpstreamHttpProtocol.HTTP1: ("http/1.1",),
    UpstreamHttpProtocol.HTTP2: ("h2",),
    UpstreamHttpProtocol.AUTO: ("h2", "http/1.1"),
}


@dataclass(frozen=True, slots=True)
class HttpPoolConfig:
    """What the pools of a cluster share."""

    connector: Connector
    stats: ClusterStats
    options: UpstreamHttpOptions
    codec_settings: CodecSettings
    new_codec: NewCodec  # HTTP/1
    http2_stats: Callable[[], Http2CodecStats]
    on_emptied: Callable[[Host, PoolKey], None]

    def keepalive(
        self, codec: Pinged, timers: Timers, flush: Callable[[], None], on_silence: Callable[[], None]
    ) -> Http2Keepalive | None:
        """The PINGs of one HTTP/2 connection, if any are configured."""
        spec = self.options.http2.keepalive
        return Http2Keepalive(spec, codec, timers, flush, on_silence) if spec is not None else None


class _PendingStream:
    """A request that waits for a connection. Implements `Pending`."""

    __slots__ = ("pool", "sink")

    def __init__(self, pool: HttpPool, sink: UpstreamSink) -> None:
        self.pool: HttpPool | None = pool
        self.sink = sink

    def cancel(self) -> None:
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.on_pending_cancelled(self)


class HttpPool:
    """The connections of one kind to one host."""

    __slots__ = (
        "_breaker",
        "_clients",
        "_connecting",
        "_draining",
        "_key",
        "_new_client",
        "_ready",
        "_requests",
        "_rq_active",
        "_rq_total",
        "config",
        "host",
        "pending",
        "stats",
        "streams_per_client",
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
        self._new_client = _CLIENTS[key.protocol]
        #: how many streams a connection is expected to take whose server has not said it yet
        self.streams_per_client = 1
        if key.protocol is not UpstreamHttpProtocol.HTTP1:
            limit = config.codec_settings.http2.max_concurrent_streams
            self.streams_per_client = min(limit, config.options.max_requests_per_connection or limit)
        self._ready: list[ActiveClient] = []  # have room; the one used last is at the end
        self._connecting = 0
        self._clients: set[ActiveClient] = set()  # connecting, idle and busy ones
        self._draining = False

    # requests

    def new_stream(self, sink: UpstreamSink) -> Pending:
        """See `Cluster.new_stream`."""
        ready = self._ready
        if ready and not self.pending:
            client = ready[-1]
            if client.connection.close_reason is None and client.capacity > 0:
                self._attach(client, sink)
                return NOTHING_PENDING
            # a filter has just closed it, or its server takes fewer streams now: `serve_pending` sorts it out
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
        """`client` is the last one of those with room."""
        requests, host = self._requests, self.host
        if requests.count >= requests.limit:
            self.stats.upstream_rq_active_overflow.inc()
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
        stream = client.start(sink)
        if client.capacity <= 0:
            self._take_last_ready()
        sink.on_pool_ready(stream)

    def serve_pending(self) -> None:
        """Give connections with room to those who wait, first come first served; open more if that is not enough."""
        pending, ready = self.pending, self._ready
        while pending and ready:
            client = ready[-1]
            if client.connection.close_reason is not None:  # those that are on it will be told
                self._take_last_ready()
                if not client.is_busy:
                    client.close_idle()
                continue
            if client.capacity <= 0:
                self._take_last_ready()
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
        """As many connections being opened as those who wait need, as far as the circuit breaker allows."""
        connections, stats, host = self._breaker.connections, self.stats, self.host
        while len(self.pending) > self._connecting * self.streams_per_client:
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
            self._connecting += 1
            self._clients.add(
                self.config.connector.connect(
                    host,
                    lambda connection: self._new_client(connection, self),
                    application_protocols=self._key.application_protocols,
                    fallback_protocols=_FALLBACK_ALPN[self._key.protocol],
                    server_name=self._key.server_name,
                )
            )
            if not allowed:
                return

    def on_protocol_chosen(self, auto: ActiveClient, client: ActiveClient) -> None:
        """The server has chosen: a client of its protocol takes the place of the one that waited for that."""
        self._clients.discard(auto)
        self._clients.add(client)
        if isinstance(client, Http1Client):
            self.streams_per_client = 1

    def on_client_connected(self, client: ActiveClient) -> None:
        self._connecting -= 1
        if self._draining and not self.pending:
            client.close_idle()
            return
        client.start_idle()
        self._add_ready(client)
        self.serve_pending()

    def on_streams_limited(self, limit: int) -> None:
        """A server has said how many streams a connection takes: those to come will take as many (as Envoy's cache does)."""
        self.streams_per_client = max(1, min(limit, self.config.options.max_requests_per_connection or limit))

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

    def on_client_ready(self, client: ActiveClient) -> None:
        """An exchange on it is over: there is room again."""
        if self._draining and not self.pending and not client.is_busy:
            client.close_idle()
            return
        if not client.is_ready and client.capacity > 0:
            self._add_ready(client)

    def on_client_leaving(self, client: ActiveClient) -> None:
        """It takes no more exchanges; those that are on it go on."""
        if client.is_ready:
            client.is_ready = False
            self._ready.remove(client)

    def _add_ready(self, client: ActiveClient) -> None:
        client.is_ready = True
        self._ready.append(client)

    def _take_last_ready(self) -> None:
        self._ready.pop().is_ready = False

    def on_client_closed(self, client: ActiveClient) -> None:
        if not client.opened:
            self._connecting -= 1
        self.on_client_leaving(client)
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
            if (
                client.opened or not self.pending
            ):  # those who wait still need the connections that are being opened
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
        """An empty pool is forgotten, once: its key may hold a name that a client made up."""
        if self.is_empty and self.host.pools.get(self._key) is self:
            self.config.on_emptied(self.host, self._key)
