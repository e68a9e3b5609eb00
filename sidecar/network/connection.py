"""The downstream connection: what a filter chain makes of an accepted socket."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from alpn.http_preface import inspect_http
from sidecar.stream_info import ConnectionInfo, StreamInfo, TlsInfo
from sidecar.transport.connection import Connection, NetworkFilterFactory
from sidecar.transport.sockets import set_nodelay
from sidecar.transport.tls_outcome import count_tls_outcome
from sidecar.transport.transport_socket import CloseReason, TlsSocket, TransportSocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.model.listener import FilterChainSpec
    from protocols.tls.session import TlsSession
    from sidecar.transport.timers import Cancellable, Timers
    from sidecar.transport.tls_contexts import ServerTlsContext
    from stats.families import ListenerStats, SslSocketFactoryStats, TlsStats

logger = logging.getLogger(__name__)

#: A client that does not finish its TLS handshake is not waited for longer than this, unless the chain says otherwise.
HANDSHAKE_TIMEOUT_S = 10.0


class Limit(Protocol):
    """What a connection was counted against when it was accepted."""

    def give_back(self) -> None: ...


class FilterChain:
    """A live filter chain: everything compiled, ready to take connections. `tls_stats` with `tls` only."""

    __slots__ = (
        "_socket_factory_stats",
        "buffer_limit_bytes",
        "factories",
        "handshake_timeout_s",
        "name",
        "spec",
        "tls",
        "tls_stats",
    )

    def __init__(
        self,
        spec: FilterChainSpec,
        factories: tuple[NetworkFilterFactory, ...],
        tls: ServerTlsContext | None,
        tls_stats: TlsStats | None,
        buffer_limit_bytes: int,
        socket_factory_stats: SslSocketFactoryStats | None = None,
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.factories = factories
        self.tls = tls
        self.tls_stats = tls_stats
        self.buffer_limit_bytes = buffer_limit_bytes
        self._socket_factory_stats = socket_factory_stats
        self.handshake_timeout_s = spec.transport_socket_connect_timeout_s or HANDSHAKE_TIMEOUT_S

    @property
    def ready(self) -> bool:
        """False while its TLS context waits for a secret."""
        return self.tls is None or self.tls.ready

    def count_not_ready(self) -> None:
        """A connection was refused because of that."""
        if self._socket_factory_stats is not None:
            self._socket_factory_stats.downstream_context_secrets_not_ready.inc()

    def __str__(self) -> str:
        return f"filter chain {self.name or '(unnamed)'}"


class DownstreamConnection(Connection):
    """A connection from a client, from the moment its filter chain is known. `limit` is for its listener to keep."""

    __slots__ = ("_chain", "_handshake_timer", "_on_end", "_stats", "limit")

    def __init__(
        self,
        chain: FilterChain,
        info: ConnectionInfo,
        timers: Timers,
        stats: ListenerStats,
        on_end: Callable[[DownstreamConnection], None],
        limit: Limit | None = None,
    ) -> None:
        self.limit = limit
        self._chain = chain
        self._stats = stats
        self._on_end: Callable[[DownstreamConnection], None] | None = on_end
        self._handshake_timer: Cancellable | None = None
        info.filter_chain_name = chain.name
        super().__init__(self._new_socket(chain, info), timers, info)
        self.session = StreamInfo(info, info.start_s, info.start_monotonic_ns)
        self.socket.owner = self
        self.set_filters([factory.create(self) for factory in chain.factories])
        stats.downstream_cx_total.inc()
        stats.downstream_cx_active.inc()

    def _new_socket(self, chain: FilterChain, info: ConnectionInfo) -> TransportSocket:
        if chain.tls is None:
            return TransportSocket()
        session = chain.tls.new_session(info.requested_server_name)
        return TlsSocket(
            session, chain.tls.finish, lambda outcome: self._handshake_finished(session, outcome)
        )

    def start(self, transport: asyncio.Transport, early: bytes) -> None:
        """Take the socket over from the pending connection, with the bytes it has read."""
        set_nodelay(transport.get_extra_info("socket"))
        if self._chain.tls is not None:
            self._handshake_timer = self.timers.after(
                self._chain.handshake_timeout_s, self._handshake_timed_out
            )
        self.socket.adopt(transport)
        self.socket.set_write_limit(self._chain.buffer_limit_bytes)
        if early:
            self.socket.data_received(early)

    def _handshake_finished(self, session: TlsSession, outcome: TlsInfo | str) -> None:
        self._cancel_handshake_timer()
        info = self.info
        assert info is not None
        if self._chain.tls_stats is not None:
            count_tls_outcome(self._chain.tls_stats, session, outcome)
            if isinstance(outcome, TlsInfo) and outcome.peer is None:
                self._chain.tls_stats.no_certificate.inc()
        if isinstance(outcome, TlsInfo):
            info.tls = outcome
        else:
            info.transport_failure_reason = info.termination_details = outcome
            socket = self.socket
            if isinstance(socket, TlsSocket) and isinstance(inspect_http(socket.not_understood), str):
                info.unexpected_protocol = "HTTP"
            logger.debug("[C%d] TLS handshake with %s failed: %s", info.id, info.remote_address, outcome)

    def _handshake_timed_out(self) -> None:
        self._handshake_timer = None
        self._stats.downstream_cx_transport_socket_connect_timeout.inc()
        self.abort("transport socket timeout was reached", CloseReason.TIMEOUT)

    def _cancel_handshake_timer(self) -> None:
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
            self._handshake_timer = None

    def on_closed(self, reason: CloseReason, details: str) -> None:
        self._cancel_handshake_timer()
        super().on_closed(reason, details)
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self)
