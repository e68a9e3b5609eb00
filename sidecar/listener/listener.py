"""A live listener: its sockets, its filter chains, its connections; and the set of all listeners."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from typing import TYPE_CHECKING

from config.model.access_log import AccessLogOptions
from config.model.core import Address, SocketAddress
from config.model.listener import ListenerFilterConfig, OriginalDstSpec
from sidecar.listener.filter_chain import FilterChainMatcher
from sidecar.listener.pending import PendingConnection
from sidecar.listener.predicate import compile_predicate
from sidecar.listener.registry import build_listener_filter
from sidecar.network.connection import DownstreamConnection, FilterChain
from sidecar.stream_info import ConnectionInfo, ResponseFlag, StreamInfo
from sidecar.telemetry.access_log.schedule import LogSchedule, LogType
from sidecar.transport import sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from config.model.listener import ListenerSpec
    from sidecar.listener.api import ListenerFilterFactory
    from sidecar.listener.predicate import Predicate
    from sidecar.telemetry.access_log.api import AccessLogger
    from sidecar.telemetry.failures import FailureLog
    from sidecar.transport.shared_counts import SharedCount
    from sidecar.transport.timers import Timers
    from stats.families import ListenerPerHandlerStats, ListenerStats
    from stats.store import Scope

logger = logging.getLogger(__name__)


class ConnectionLimit:
    """The global limit of downstream connections (overload manager); None: no limit.

    Counts from the moment of acceptance, on listeners that do not ignore the limit.
    """

    __slots__ = ("_shared", "active", "maximum")

    def __init__(self, maximum: int | None, shared: SharedCount | None = None) -> None:
        """`shared`: with several processes, whose connections count together; `active` are those of this one."""
        self.maximum = maximum
        self.active = 0
        self._shared = shared

    def take(self) -> bool:
        """One more connection, if there is room."""
        if self.maximum is not None:
            total = self.active if self._shared is None else self._shared.total
            if total >= self.maximum:
                return False
        self.active += 1
        if self._shared is not None:
            self._shared.add(1)
        return True

    def give_back(self) -> None:
        self.active -= 1
        if self._shared is not None:
            self._shared.add(-1)


def _listener_filters(spec: ListenerSpec) -> tuple[ListenerFilterConfig, ...]:
    """The configured ones; `use_original_dst` brings the original_dst filter with it, as in Envoy."""
    filters = spec.listener_filters
    if spec.use_original_dst and not any(isinstance(each.spec, OriginalDstSpec) for each in filters):
        filters = (*filters, ListenerFilterConfig("envoy.filters.listener.original_dst", OriginalDstSpec()))
    return filters


class Listener:
    """One listener. `matcher` chooses the filter chain; `find_successor` the listener that `use_original_dst` hands over to.

    `access_loggers` get an entry for each connection when it ends, also for one that no filter chain takes.
    """

    def __init__(
        self,
        spec: ListenerSpec,
        matcher: FilterChainMatcher[FilterChain],
        stats: ListenerStats,
        worker_stats: ListenerPerHandlerStats,
        scope: Scope,
        timers: Timers,
        limit: ConnectionLimit,
        find_successor: Callable[[Address], Listener | None],
        access_loggers: tuple[AccessLogger, ...] = (),
        failures: FailureLog | None = None,
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.stats = stats
        self._worker_stats = worker_stats
        self.timers = timers
        self.matcher = matcher
        self.connections: set[DownstreamConnection] = set()
        self.draining = False
        self._next_warning_ns = 0
        #: called whenever the last connection has gone
        self.on_idle: Callable[[], None] | None = None
        #: what accepted connections count against; they still do after a hand-over to another listener
        self.limit = None if spec.ignore_global_conn_limit else limit
        self._find_successor = find_successor
        self._access_log = LogSchedule(access_loggers, AccessLogOptions(), timers)
        self._failures = failures
        self._pending: set[PendingConnection] = set()
        #: where it really listens: port 0 becomes a number when it is bound
        self.local_addresses: list[Address] = [spec.address, *spec.additional_addresses]
        self._sockets: list[socket.socket] = []
        #: for each address its sockets, one for each worker
        self._copies: list[tuple[socket.socket, ...]] = []
        self._servers: list[asyncio.AbstractServer] = []
        #: for each listener filter its factory, and the rule that leaves it out
        self.filters: tuple[tuple[ListenerFilterFactory, Predicate | None], ...] = tuple(
            (build_listener_filter(each, scope), compile_predicate(each.filter_disabled))
            for each in _listener_filters(spec)
        )

    # sockets

    def bind(self, bound: Sequence[Address] = (), copies: int = 1) -> None:
        """Bind all addresses, each `copies` times: for so many workers. Raises BindError.

        `bound`: those of the listeners before.
        Without `enable_reuse_port`, and on a Unix socket, there is one socket that all of them accept from.
        """
        if not self.spec.bind_to_port:
            return
        for address in (self.spec.address, *self.spec.additional_addresses):
            first = self._listen(address, beside_own=_overlaps(address, bound))
            self._sockets.append(first)
            shared = first.family == socket.AF_UNIX or not self.spec.reuse_port
            others = [first if shared else self._listen(address, beside=first) for _ in range(1, copies)]
            self._copies.append((first, *others))
        self.local_addresses = [sockets.address_of(sock.getsockname()) for sock, *_ in self._copies]

    def _listen(
        self, address: Address, *, beside_own: bool = False, beside: socket.socket | None = None
    ) -> socket.socket:
        return sockets.listen(
            address,
            backlog=self.spec.tcp_backlog_size,
            reuse_port=self.spec.reuse_port,
            transparent=self.spec.transparent,
            freebind=self.spec.freebind,
            beside_own=beside_own,
            beside=beside,
        )

    def descriptors(self, copy: int) -> tuple[int, ...]:
        """Of the sockets that were bound for one worker, one for each address; () when the listener does not accept."""
        return tuple(each[copy].fileno() for each in self._copies)

    def adopt(self, descriptors: Iterable[int]) -> None:
        """Accept from sockets that main has bound, instead of `bind`; without any it does not accept."""
        self._sockets = [socket.socket(fileno=each) for each in descriptors]
        if self._sockets:
            self.local_addresses = [sockets.address_of(sock.getsockname()) for sock in self._sockets]
        else:
            self.draining = self.spec.bind_to_port

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to accept."""
        for sock in self._sockets:
            backlog = self.spec.tcp_backlog_size
            if sock.family == socket.AF_UNIX:
                server = await loop.create_unix_server(
                    lambda: PendingConnection(self), sock=sock, backlog=backlog
                )
            else:
                server = await loop.create_server(lambda: PendingConnection(self), sock=sock, backlog=backlog)
            self._servers.append(server)

    def stop_accepting(self) -> None:
        """Close the listening sockets; connections go on."""
        self.draining = True
        for server in self._servers:
            server.close()
        self._servers.clear()
        for sock in (*self._sockets, *itertools.chain(*self._copies)):
            sock.close()
        self._sockets.clear()
        self._copies.clear()

    def drain_connections(self) -> None:
        """Let connections end on which nothing is going on; the others end when they have finished."""
        for connection in list(self.connections):
            connection.drain()

    def close_connections(self) -> None:
        """End what is left, at once."""
        for pending in list(self._pending):
            pending.close()
        for connection in list(self.connections):
            connection.abort("listener closed")

    # the life of a connection

    def admit(self, pending: PendingConnection, sock: socket.socket | None) -> bool:
        """Count an accepted connection against `limit`, or refuse it; also when there are hardly any descriptors left.

        If even those are used up, libuv accepts and closes without a word; what is counted and logged here tells of it.
        """
        if sockets.descriptors_run_out(sock):
            self.stats.downstream_cx_overflow.inc()
            self._warn_of_descriptors()
            return False
        if self.limit is not None and not self.limit.take():
            self.stats.downstream_global_cx_overflow.inc()
            return False
        self.take_over(pending)
        return True

    def _warn_of_descriptors(self) -> None:
        """At most once a second."""
        now_ns = self.timers.now_ns()
        if now_ns >= self._next_warning_ns:
            self._next_warning_ns = now_ns + 1_000_000_000
            logger.warning("listener %s: no file descriptors left, new connections are closed", self.name)

    def take_over(self, pending: PendingConnection) -> None:
        """From now on the connection is inspected for this listener."""
        self._pending.add(pending)
        self.stats.downstream_pre_cx_active.inc()

    def release(self, pending: PendingConnection) -> None:
        """The inspection is over."""
        self._pending.discard(pending)
        self.stats.downstream_pre_cx_active.dec()

    def successor(self, info: ConnectionInfo) -> Listener | None:
        """With `use_original_dst`: the listener of the original destination, if there is another one."""
        if not self.spec.use_original_dst or not info.local_address_restored:
            return None
        found = self._find_successor(info.local_address)
        return None if found is self else found

    def serve(
        self,
        transport: asyncio.Transport,
        info: ConnectionInfo,
        early: bytes,
        limit: ConnectionLimit | None = None,
    ) -> None:
        """Give an inspected connection to its filter chain. `limit` gets its place back when the connection is gone."""
        chain = self.matcher.match(info)
        if chain is None or not chain.ready:
            self._refuse(chain, info)
            transport.close()
            if limit is not None:
                limit.give_back()
            return
        connection = DownstreamConnection(chain, info, self.timers, self.stats, self._ended, limit)
        self._worker_stats.downstream_cx_total.inc()
        self._worker_stats.downstream_cx_active.inc()
        self.connections.add(connection)
        if chain.factories:
            connection.start(transport, early)
            return
        # as in Envoy, a connection that nobody would serve is over as soon as it begins
        self.stats.network_extension_config_missing.inc()
        connection.start(transport, b"")
        connection.close("no_network_filters")

    def _refuse(self, chain: FilterChain | None, info: ConnectionInfo) -> None:
        """No chain matches; or the one that does waits for a secret, and there is neither plaintext nor a weaker check."""
        if chain is None:
            self.stats.no_filter_chain_match.inc()
            logger.debug("[C%d] no filter chain matches, closing", info.id)
            self._log_refused(info)
            return
        chain.count_not_ready()
        if self._failures is not None:
            refused = StreamInfo(info, info.start_s, info.start_monotonic_ns)
            self._failures.record_connection(refused, None, "secret_missing")
        logger.debug("[C%d] TLS error: Secret is not supplied by SDS, closing", info.id)

    def _log_refused(self, info: ConnectionInfo) -> None:
        if not self._access_log and self._failures is None:
            return
        stream_info = StreamInfo(info, info.start_s, info.start_monotonic_ns)
        stream_info.add_flag(ResponseFlag.NO_ROUTE_FOUND)
        stream_info.response_code_details = "filter_chain_not_found"
        if self._failures is not None:
            self._failures.record_connection(stream_info, None, "no_filter_chain")
        self._access_log.write(stream_info, LogType.NOT_SET)

    def _ended(self, connection: DownstreamConnection) -> None:
        if connection.limit is not None:
            connection.limit.give_back()
        self.connections.discard(connection)
        self.stats.downstream_cx_active.dec()
        self._worker_stats.downstream_cx_active.dec()
        self.stats.downstream_cx_destroy.inc()
        info, session = connection.info, connection.session
        assert info is not None and session is not None, "a downstream connection has both"
        now_ns = self.timers.now_ns()
        self.stats.downstream_cx_length_ms.record((now_ns - info.start_monotonic_ns) // 1_000_000)
        if self._failures is not None and info.tls is None and connection.socket.is_tls:
            self._failures.record_connection(session, connection, "client_tls")
        if self._access_log:
            session.end_ns = session.end_ns or now_ns
            if not session.cluster_name:  # no tcp_proxy: nobody counted the bytes
                session.bytes_received, session.bytes_sent = connection.rx_bytes, connection.tx_bytes
            self._access_log.write(session, LogType.NOT_SET)
        if self.on_idle is not None and not self.connections:
            self.on_idle()


def _overlaps(address: Address, bound: Sequence[Address]) -> bool:
    return isinstance(address, SocketAddress) and any(
        isinstance(each, SocketAddress) and address.overlaps(each) for each in bound
    )


class ListenerSet:
    """All listeners, by name and by address."""

    def __init__(self) -> None:
        self._by_name: dict[str, Listener] = {}
        self._by_address: dict[Address, Listener] = {}

    def add(self, listener: Listener) -> None:
        """Of two with the same address the first one is found by it."""
        self._by_name[listener.name] = listener
        for address in (listener.spec.address, *listener.spec.additional_addresses):
            self._by_address.setdefault(address, listener)

    def __iter__(self) -> Iterator[Listener]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Listener | None:
        return self._by_name.get(name)

    def for_destination(self, destination: Address) -> Listener | None:
        """Envoy's hand-over rule: the listener of exactly that address and port, else of the wildcard address and that port."""
        if not isinstance(destination, SocketAddress):
            return None
        wildcards = ("::", "0.0.0.0") if ":" in destination.address else ("0.0.0.0", "::")
        for wanted in (destination.address, *wildcards):
            listener = self._by_address.get(SocketAddress(wanted, destination.port))
            if listener is not None and not listener.draining:
                return listener
        return None
