"""`envoy.tcp.metadataexchange.config.MetadataExchange`: who is on the other side of a TCP connection (Istio).

The same filter serves a listener (downstream: what the client says goes to `ConnectionInfo`) and a cluster (upstream: what
the server says goes to the upstream connection's state). The protocol itself is `protocols.peer_exchange`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from config.model.core import Address, SocketAddress
from config.model.istio import MetadataExchangeSpec
from protocols.peer_exchange import ExchangeEvent, PeerExchange, build_frame
from protocols.peer_metadata import PeerMetadata, peer_from_node
from sidecar.network.api import Connection, NetworkFilterFactory, PassThroughFilter
from sidecar.transport.flow import Flow
from sidecar.transport.timers import Cancellable
from sidecar.upstream.services import FilterContext
from stats.families import MetadataExchangeStats
from stats.metrics import Counter

#: A peer that began a frame and does not finish it is not waited for longer than this.
_PREFIX_TIMEOUT_S: Final = 10.0


class MetadataExchange(PassThroughFilter):
    """One connection, from its first byte until both frames have passed; then the filter takes itself out."""

    __slots__ = ("_exchange", "_factory", "_timer")

    def __init__(self, connection: Connection, factory: MetadataExchangeFactory) -> None:
        super().__init__(connection)
        self._factory = factory
        self._exchange: PeerExchange | None = None
        self._timer: Cancellable | None = None

    def on_open(self) -> Flow:
        """Only now is the negotiated ALPN known."""
        self._exchange = self._factory.new_exchange(self.connection)
        return Flow.CONTINUE

    def on_data(self, data: bytes, end: bool) -> bytes:
        exchange = self._exchange
        assert exchange is not None, "data comes after on_open"
        received = exchange.on_data(data, end)
        if received.write:
            self.connection.write(received.write)
        self._settle(exchange)
        if exchange.overflowed:
            self.connection.close("metadata_exchange_overflow")
            return b""
        if exchange.waiting and exchange.holds_bytes and self._timer is None:
            self._timer = self.connection.timers.after(_PREFIX_TIMEOUT_S, self._prefix_timed_out)
        return received.forward

    def on_write(self, data: bytes, end: bool) -> bytes:
        exchange = self._exchange
        assert exchange is not None, "nothing is written before on_open"
        frame = exchange.on_write()
        if frame:
            data = frame + data
        self._settle(exchange)
        return data

    def _settle(self, exchange: PeerExchange) -> None:
        """Count, and when all is known leave the data path."""
        for event in exchange.take_events():
            self._factory.counters[event].inc()
        if not exchange.finished:
            return
        self._cancel_timer()
        connection = self.connection
        if connection.upstream is not None:
            state = connection.upstream.connection_state
            if state is not None:
                state.upstream_peer = exchange.peer
                state.peer_not_found = exchange.peer_not_found
        elif connection.info is not None:
            connection.info.downstream_peer = exchange.peer
            connection.info.peer_not_found = exchange.peer_not_found
        connection.remove(self)

    def _prefix_timed_out(self) -> None:
        self._timer = None
        self.connection.close("metadata_exchange_timeout")

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def on_close(self) -> None:
        self._cancel_timer()


class MetadataExchangeFactory:
    """Compiled once: our own frame and the counters."""

    def __init__(self, spec: MetadataExchangeSpec, context: FilterContext) -> None:
        services = context.services
        ours = peer_from_node(services.node.metadata, spec.additional_labels)
        self._frame = build_frame(ours, services.node.id)
        self._spec = spec
        stats = MetadataExchangeStats(services.scope.scope("metadata_exchange"))
        self.counters: Final[dict[ExchangeEvent, Counter]] = {
            event: getattr(stats, event.value) for event in ExchangeEvent
        }
        self._lookup = services.peer_lookup if spec.enable_discovery else None

    def create(self, connection: Connection) -> MetadataExchange:
        return MetadataExchange(connection, self)

    def new_exchange(self, connection: Connection) -> PeerExchange:
        """The state machine of one connection whose handshake is done."""
        facts = connection.info if connection.info is not None else connection.upstream
        tls = facts.tls if facts is not None else None
        return PeerExchange(
            tls.alpn if tls is not None else "",
            self._spec.protocol,
            self._frame,
            additional_labels=self._spec.additional_labels,
            discover=self._discovery(connection),
        )

    def _discovery(self, connection: Connection) -> Callable[[], PeerMetadata | None] | None:
        lookup = self._lookup
        if lookup is None:
            return None
        return lambda: _discover(lookup, connection)


def _discover(lookup: Callable[[str], PeerMetadata | None], connection: Connection) -> PeerMetadata | None:
    """The peer by its address. On a listener also, for a waypoint, the peer behind a host that is chosen already."""
    info = connection.info
    if info is None:
        return _look_up(lookup, connection.upstream.host_address if connection.upstream is not None else None)
    upstream = connection.session.upstream if connection.session is not None else None
    if upstream is not None:
        info.upstream_peer = _look_up(lookup, upstream.host_address)
    return _look_up(lookup, info.remote_address)


def _look_up(lookup: Callable[[str], PeerMetadata | None], address: Address | None) -> PeerMetadata | None:
    return lookup(address.address) if isinstance(address, SocketAddress) else None


def build(spec: MetadataExchangeSpec, context: FilterContext) -> NetworkFilterFactory:
    return MetadataExchangeFactory(spec, context)
