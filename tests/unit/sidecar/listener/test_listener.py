"""From the accepted socket to the filter chain: inspection, hand-over, limits, and what is counted on the way."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from config.model.core import SocketAddress
from config.model.listener import (
    FilterChainMatch,
    FilterChainSpec,
    HttpInspectorSpec,
    ListenerFilterConfig,
    ListenerFilterSpec,
    ListenerSpec,
    OriginalDstSpec,
    ProxyProtocolSpec,
    TlsInspectorSpec,
)
from config.model.matching import OrMatch, PortRange
from sidecar.listener.filter_chain import FilterChainMatcher
from sidecar.listener.listener import ConnectionLimit, Listener, ListenerSet
from sidecar.listener.pending import PendingConnection
from sidecar.network.connection import FilterChain
from sidecar.stream_info import StreamInfo
from sidecar.transport.connection import Connection, PassThroughFilter
from sidecar.transport.shared_counts import SharedCounts, new_memory
from sidecar.transport.timers import Timers
from stats.families import ListenerPerHandlerStats, ListenerStats
from stats.store import Store
from tests.support.upstream import FakeTransport, ManualLoop

CLIENT = ("192.0.2.7", 40000)
HELLO = b"GET / HTTP/1.1\r\n"


class Transport(FakeTransport):
    """Knows its addresses and its protocol."""

    def __init__(self, local: tuple[str, int]) -> None:
        super().__init__()
        self.names = {"peername": CLIENT, "sockname": local}
        self.protocol: Any = None

    def get_extra_info(self, name: str) -> Any:
        return self.names.get(name)

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


class Taken(PassThroughFilter):
    """The terminal filter: remembers what came."""

    def __init__(self, connection: Connection, world: World, chain: str) -> None:
        super().__init__(connection)
        self.received = b""
        self.ended = False
        self.chain = chain
        world.taken.append(self)

    def on_data(self, data: bytes, end: bool) -> bytes:
        self.received += data
        self.ended = self.ended or end
        return b""


class Log:
    def __init__(self) -> None:
        self.entries: list[tuple[str, str, int]] = []

    def log(self, info: StreamInfo) -> None:
        self.entries.append((info.flag_names or "-", info.response_code_details, info.bytes_received))

    def flush(self) -> None:
        """Nothing waits."""


class World:
    def __init__(self, limit: int | None = None) -> None:
        self.loop = ManualLoop()
        self.store = Store()
        self.listeners = ListenerSet()
        self.limit = ConnectionLimit(limit)
        self.timers = Timers(self.loop.as_loop())
        self.taken: list[Taken] = []
        self.log = Log()

    def add(
        self,
        name: str,
        port: int,
        *filters: ListenerFilterSpec,
        address: str = "10.0.0.1",
        chains: tuple[tuple[str, FilterChainMatch], ...] = (("chain", FilterChainMatch()),),
        **fields: Any,
    ) -> Listener:
        spec = ListenerSpec(
            name,
            SocketAddress(address, port),
            listener_filters=tuple(ListenerFilterConfig("", each) for each in filters),
            **fields,
        )
        return self.add_spec(spec, chains)

    def add_spec(self, spec: ListenerSpec, chains: tuple[tuple[str, FilterChainMatch], ...]) -> Listener:
        def chain(name: str, match: FilterChainMatch) -> FilterChain:
            made = FilterChainSpec(match, (), name=f"{spec.name}/{name}")
            return FilterChain(made, (Factory(self, made.name),), None, None, 1000)

        scope = self.store.scope(f"listener.{spec.name}")
        listener = Listener(
            spec,
            FilterChainMatcher([(match, chain(name, match)) for name, match in chains], None),
            ListenerStats(scope),
            ListenerPerHandlerStats(scope.scope("worker_0")),
            self.store.root,
            self.timers,
            self.limit,
            self.listeners.for_destination,
            (self.log,),
        )
        self.listeners.add(listener)
        return listener

    def accept(self, listener: Listener) -> Accepted:
        return Accepted(self, listener)

    def value(self, name: str) -> int:
        stat = self.store.counters.get(name) or self.store.gauges.get(name)
        assert stat is not None, name
        return stat.value

    def still_open(self) -> dict[str, int]:
        return {name: gauge.value for name, gauge in self.store.gauges.items() if gauge.value}


class Factory:
    def __init__(self, world: World, chain: str) -> None:
        self._world = world
        self._chain = chain

    def create(self, connection: Connection) -> Taken:
        return Taken(connection, self._world, self._chain)


class Accepted:
    """One client, as the event loop shows it."""

    def __init__(self, world: World, listener: Listener) -> None:
        address = listener.spec.address
        assert isinstance(address, SocketAddress)
        self.transport = Transport((address.address, address.port))
        self.transport.protocol = PendingConnection(listener)
        self.transport.protocol.connection_made(cast("Any", self.transport))

    def send(self, data: bytes) -> None:
        self.transport.protocol.data_received(data)

    def end(self) -> None:
        if not self.transport.protocol.eof_received():
            self.transport.close()

    def gone(self) -> None:
        self.transport.closed = True
        self.transport.protocol.connection_lost(None)


@pytest.fixture
def world() -> Iterator[World]:
    """Whatever the test does: in the end every gauge is 0, and the limit is given back."""
    made = World()
    yield made
    assert made.still_open() == {}
    assert made.limit.active == 0


def test_without_filters_the_chain_has_it_at_once(world: World) -> None:
    client = world.accept(world.add("l", 80))
    (taken,) = world.taken
    client.send(b"hello")
    client.end()
    assert (taken.received, taken.ended) == (b"hello", True)
    info = taken.connection.info
    assert info is not None
    assert (info.listener_name, info.filter_chain_name) == ("l", "l/chain")
    assert info.remote_address == SocketAddress(*CLIENT)
    assert world.value("listener.l.downstream_cx_active") == 1
    assert world.value("listener.l.worker_0.downstream_cx_active") == 1
    client.gone()
    assert world.value("listener.l.downstream_cx_destroy") == 1


def test_inspected_bytes_are_not_lost(world: World) -> None:
    client = world.accept(world.add("l", 80, TlsInspectorSpec(), HttpInspectorSpec()))
    for at in range(len(HELLO)):
        client.send(HELLO[at : at + 1])
        if not world.taken:
            assert world.value("listener.l.downstream_pre_cx_active") == 1
    (taken,) = world.taken
    assert taken.received == HELLO
    info = taken.connection.info
    assert info is not None
    assert (info.transport_protocol, info.application_protocols) == ("raw_buffer", ("http/1.1",))
    assert world.value("http_inspector.http11_found") == 1
    assert world.value("tls_inspector.tls_not_found") == 1
    client.gone()


def test_the_finding_chooses_the_chain(world: World) -> None:
    listener = world.add(
        "l",
        80,
        TlsInspectorSpec(),
        HttpInspectorSpec(),
        chains=(
            ("http", FilterChainMatch(application_protocols=("http/1.1",))),
            ("other", FilterChainMatch()),
        ),
    )
    clients = [world.accept(listener) for _ in range(2)]
    clients[0].send(HELLO)
    clients[1].send(b"\x00\x01binary\n")
    assert [taken.chain for taken in world.taken] == ["l/http", "l/other"]
    for client in clients:
        client.gone()


def test_no_chain_matches(world: World) -> None:
    listener = world.add("l", 80, chains=(("a", FilterChainMatch(destination_port=81)),))
    client = world.accept(listener)
    assert client.transport.closed
    assert world.value("listener.l.no_filter_chain_match") == 1
    assert world.value("listener.l.downstream_cx_total") == 0
    assert world.log.entries == [("NR", "filter_chain_not_found", 0)]
    client.gone()


def test_every_connection_has_its_entry_in_the_listeners_log(world: World) -> None:
    client = world.accept(world.add("l", 80))
    client.send(b"hello")
    client.gone()
    assert world.log.entries == [("-", "", 5)]


def test_a_client_that_leaves_during_inspection(world: World) -> None:
    client = world.accept(world.add("l", 80, TlsInspectorSpec()))
    client.end()
    client.gone()
    assert world.value("listener.l.downstream_listener_filter_remote_close") == 1
    assert world.taken == []


def test_filters_are_not_waited_for_for_ever(world: World) -> None:
    client = world.accept(world.add("l", 80, TlsInspectorSpec(), listener_filters_timeout_s=1.0))
    world.loop.advance(0.9)
    assert not client.transport.closed
    world.loop.advance(0.2)
    assert client.transport.aborted
    assert world.value("listener.l.downstream_pre_cx_timeout") == 1
    client.gone()
    assert world.value("listener.l.downstream_listener_filter_remote_close") == 0


def test_or_the_connection_goes_on_without_them(world: World) -> None:
    listener = world.add(
        "l",
        80,
        TlsInspectorSpec(),
        listener_filters_timeout_s=1.0,
        continue_on_listener_filters_timeout=True,
    )
    client = world.accept(listener)
    client.send(b"\x16\x03")
    world.loop.advance(1.1)
    assert [taken.received for taken in world.taken] == [b"\x16\x03"]
    client.gone()


def test_no_timeout(world: World) -> None:
    client = world.accept(world.add("l", 80, TlsInspectorSpec(), listener_filters_timeout_s=None))
    world.loop.advance(10_000)
    assert not client.transport.closed
    client.gone()


def test_the_timer_stops_when_the_chain_is_known(world: World) -> None:
    client = world.accept(world.add("l", 80, TlsInspectorSpec(), listener_filters_timeout_s=1.0))
    client.send(HELLO)
    world.loop.advance(5)
    assert world.value("listener.l.downstream_pre_cx_timeout") == 0
    client.gone()


def test_a_filter_may_be_disabled_for_some_ports(world: World) -> None:
    spec = ListenerSpec(
        "l",
        SocketAddress("10.0.0.1", 3306),
        listener_filters=(ListenerFilterConfig("", TlsInspectorSpec(), PortRange(3306, 3307)),),
    )
    client = world.accept(world.add_spec(spec, (("chain", FilterChainMatch()),)))
    assert len(world.taken) == 1  # a server that speaks first is not waited for
    client.gone()


@pytest.mark.parametrize(("port", "inspected"), [(3306, False), (80, True)])
def test_disabled_for_the_port_that_an_earlier_filter_restored(
    world: World, monkeypatch: pytest.MonkeyPatch, port: int, inspected: bool
) -> None:
    """Not for the port of the listener, to which a nat rule brought the connection."""
    spec = ListenerSpec(
        "virtual",
        SocketAddress("0.0.0.0", 15006),
        listener_filters=(
            ListenerFilterConfig("", OriginalDstSpec()),
            ListenerFilterConfig(
                "", TlsInspectorSpec(), OrMatch((PortRange(3306, 3307), PortRange(15006, 15007)))
            ),
        ),
        listener_filters_timeout_s=1.0,
    )
    listener = world.add_spec(spec, (("chain", FilterChainMatch()),))
    client = redirected(world, listener, SocketAddress("10.1.1.1", port), monkeypatch)
    assert world.value("listener.virtual.downstream_pre_cx_active") == inspected
    assert len(world.taken) == (not inspected)
    if inspected:
        client.send(HELLO)
        assert world.taken[0].received == HELLO
    client.gone()


def test_disabled_for_the_port_in_a_proxy_protocol_header(world: World) -> None:
    spec = ListenerSpec(
        "l",
        SocketAddress("10.0.0.1", 80),
        listener_filters=(
            ListenerFilterConfig("", ProxyProtocolSpec()),
            ListenerFilterConfig("", TlsInspectorSpec(), PortRange(3306, 3307)),
        ),
    )
    client = world.accept(world.add_spec(spec, (("chain", FilterChainMatch()),)))
    client.send(b"PROXY TCP4 1.2.3.4 5.6.7.8 111 3306\r\n")
    assert len(world.taken) == 1
    client.gone()


def test_all_filters_share_one_time_limit(world: World) -> None:
    client = world.accept(
        world.add("l", 80, ProxyProtocolSpec(), HttpInspectorSpec(), listener_filters_timeout_s=1.0)
    )
    world.loop.advance(0.9)
    client.send(b"PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\n")
    world.loop.advance(0.2)
    assert client.transport.aborted
    client.gone()


@pytest.mark.parametrize("early", [b"", HELLO])
def test_a_chain_without_filters_closes_at_once(world: World, early: bytes) -> None:
    inspectors = (HttpInspectorSpec(),) if early else ()
    listener = world.add("l", 80, *inspectors, chains=())
    listener.matcher = FilterChainMatcher(
        [(FilterChainMatch(), FilterChain(FilterChainSpec(FilterChainMatch(), ()), (), None, None, 0))], None
    )
    client = world.accept(listener)
    if early:
        client.send(early)
    assert client.transport.closed
    client.gone()
    assert world.value("listener.l.downstream_cx_total") == 1
    assert world.value("listener.l.downstream_cx_destroy") == 1
    assert world.value("listener.l.network_extension_config_missing") == 1
    assert world.log.entries == [("-", "", 0)]


def test_proxy_protocol_is_consumed_and_believed(world: World) -> None:
    client = world.accept(world.add("l", 80, ProxyProtocolSpec(), HttpInspectorSpec()))
    client.send(b"PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\n" + HELLO)
    (taken,) = world.taken
    info = taken.connection.info
    assert info is not None
    assert taken.received == HELLO
    assert info.remote_address == SocketAddress("1.2.3.4", 111)
    assert info.direct_remote_address == SocketAddress(*CLIENT)
    assert info.local_address == SocketAddress("5.6.7.8", 222)
    assert world.value("proxy_proto.versions.v1.found") == 1
    client.gone()


@pytest.mark.parametrize(
    ("data", "stat"),
    [
        (b"GET / HTTP/1.1\r\n", "v1.error"),
        (b"PROXY NONSENSE\r\n", "v1.error"),
        (b"\r\n\r\n\x00\r\nQUIT\n\xff\xff\x00\x00", "v2.error"),
    ],
)
def test_wrong_proxy_protocol_is_refused(world: World, data: bytes, stat: str) -> None:
    client = world.accept(world.add("l", 80, ProxyProtocolSpec()))
    client.send(data)
    assert client.transport.aborted
    assert world.value(f"proxy_proto.versions.{stat}") == 1
    assert world.value("downstream_cx_proxy_proto_error") == 1
    client.gone()


def test_proxy_protocol_may_be_missing(world: World) -> None:
    client = world.accept(world.add("l", 80, ProxyProtocolSpec(allow_requests_without_proxy_protocol=True)))
    client.send(HELLO)
    assert world.taken[0].received == HELLO
    assert world.value("proxy_proto.not_found_allowed") == 1
    client.gone()


def test_a_client_hello_that_is_too_long(world: World) -> None:
    client = world.accept(world.add("l", 80, TlsInspectorSpec()))
    client.send(b"\x16\x03\x01\x40\x00\x01\x00\x7f\xff\x03\x03")
    assert client.transport.aborted
    assert world.value("tls_inspector.client_hello_too_large") == 1
    client.gone()


# hand-over to the listener of the original destination


def redirected(
    world: World, listener: Listener, to: SocketAddress, monkeypatch: pytest.MonkeyPatch
) -> Accepted:
    """A client whose destination was `to` before a nat rule brought it to `listener`."""
    monkeypatch.setattr("sidecar.listener.filters.original_dst.original_destination", lambda sock: to)
    address = listener.spec.address
    assert isinstance(address, SocketAddress)
    transport = Transport((address.address, address.port))
    cast("dict[str, object]", transport.names)["socket"] = SimpleNamespace(
        family=socket.AF_UNIX, fileno=lambda: 5
    )
    client = Accepted.__new__(Accepted)
    client.transport = transport
    transport.protocol = PendingConnection(listener)
    transport.protocol.connection_made(cast("Any", transport))
    return client


def mesh(world: World) -> Listener:
    world.add("exact", 8080, address="10.9.9.9", bind_to_port=False)
    world.add("wildcard", 8080, address="0.0.0.0", bind_to_port=False)
    return world.add("virtual", 15001, address="0.0.0.0", use_original_dst=True)


@pytest.mark.parametrize(
    ("destination", "name"),
    [
        (SocketAddress("10.9.9.9", 8080), "exact"),
        (SocketAddress("10.1.1.1", 8080), "wildcard"),
        (SocketAddress("10.1.1.1", 9999), "virtual"),
        (SocketAddress("10.1.1.1", 15001), "virtual"),
        (SocketAddress("fd00::1", 8080), "wildcard"),
    ],
)
def test_use_original_dst(
    world: World, monkeypatch: pytest.MonkeyPatch, destination: SocketAddress, name: str
) -> None:
    """Without an original_dst filter: the flag does it."""
    client = redirected(world, mesh(world), destination, monkeypatch)
    (taken,) = world.taken
    info = taken.connection.info
    assert info is not None
    assert (taken.chain, info.listener_name) == (f"{name}/chain", name)
    assert info.local_address == destination
    assert world.value(f"listener.{name}.downstream_cx_total") == 1
    client.gone()


def test_the_successor_inspects_for_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add("http", 80, HttpInspectorSpec(), address="0.0.0.0", bind_to_port=False)
    virtual = world.add("virtual", 15001, address="0.0.0.0", use_original_dst=True)
    client = redirected(world, virtual, SocketAddress("10.1.1.1", 80), monkeypatch)
    assert world.value("listener.virtual.downstream_pre_cx_active") == 0
    assert world.value("listener.http.downstream_pre_cx_active") == 1
    client.send(HELLO)
    assert world.taken[0].chain == "http/chain"
    client.gone()


def test_two_listeners_do_not_hand_over_to_each_other_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add("a", 1, address="10.0.0.1", use_original_dst=True)
    b = world.add("b", 2, address="10.0.0.1", use_original_dst=True)
    client = redirected(world, b, SocketAddress("10.0.0.1", 1), monkeypatch)
    assert world.taken[0].chain == "a/chain"
    client.gone()


def test_a_listener_that_drains_is_no_successor(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    virtual = mesh(world)
    exact = world.listeners.get("exact")
    assert exact is not None
    exact.stop_accepting()
    client = redirected(world, virtual, SocketAddress("10.9.9.9", 8080), monkeypatch)
    assert world.taken[0].chain == "wildcard/chain"
    client.gone()


def test_no_second_original_dst_filter(world: World) -> None:
    listener = world.add("virtual", 15001, OriginalDstSpec(), use_original_dst=True)
    assert len(listener.filters) == 1


# the global limit


def test_the_limit_is_of_all_processes() -> None:
    memory = new_memory(1, 2)
    first, second = (ConnectionLimit(2, SharedCounts(memory, 1, 2, part).take()) for part in (0, 1))
    os.close(memory)
    assert first.take() and second.take()
    assert not first.take() and not second.take()
    second.give_back()
    assert first.take() and not second.take()
    assert (first.active, second.active) == (2, 0)


def test_the_limit_counts_from_the_moment_of_acceptance() -> None:
    world = World(limit=2)
    listener = world.add("l", 80, TlsInspectorSpec())
    exempt = world.add("exempt", 81, ignore_global_conn_limit=True)
    clients = [world.accept(listener) for _ in range(2)]
    assert world.limit.active == 2  # though none of them is known yet
    refused = world.accept(listener)
    assert refused.transport.closed
    assert world.value("listener.l.downstream_global_cx_overflow") == 1
    refused.send(b"too late")
    refused.gone()
    free = world.accept(exempt)
    assert len(world.taken) == 1
    clients[0].send(HELLO)
    clients[0].gone()
    assert world.limit.active == 1
    clients.append(world.accept(listener))
    assert not clients[-1].transport.closed
    for client in (*clients[1:], free):
        client.gone()
    assert world.limit.active == 0
    assert world.still_open() == {}


def test_without_descriptors_connections_are_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Counted each, logged once a second."""
    monkeypatch.setattr("sidecar.transport.sockets.descriptors_run_out", lambda sock: True)
    now_ns = [5_000_000_000]
    monkeypatch.setattr(world.timers, "now_ns", lambda: now_ns[0])
    listener = world.add("l", 80)
    for late_ns in (0, 10, 1_000_000_000, 10):
        now_ns[0] += late_ns
        client = world.accept(listener)
        assert client.transport.closed
        client.gone()
    assert world.value("listener.l.downstream_cx_overflow") == 4
    assert world.value("listener.l.downstream_cx_total") == 0
    assert len([each for each in caplog.records if "descriptors" in each.message]) == 2


def test_refused_connections_give_their_place_back() -> None:
    world = World(limit=1)
    listener = world.add("l", 80, chains=(("a", FilterChainMatch(destination_port=81)),))
    for _ in range(3):
        world.accept(listener).gone()
    assert world.value("listener.l.no_filter_chain_match") == 3
    assert world.limit.active == 0


# the end


def test_close_connections_ends_those_under_inspection_too(world: World) -> None:
    listener = world.add("l", 80, TlsInspectorSpec())
    pending, served = world.accept(listener), world.accept(listener)
    served.send(HELLO)
    listener.close_connections()
    assert pending.transport.aborted and served.transport.aborted
    pending.gone()
    served.gone()


def test_who_waits_for_the_last_connection_is_told(world: World) -> None:
    listener = world.add("l", 80)
    told: list[int] = []
    listener.on_idle = lambda: told.append(len(listener.connections))
    clients = [world.accept(listener) for _ in range(2)]
    clients[0].gone()
    assert told == []
    clients[1].gone()
    assert told == [0]


def test_addresses_before_and_after_binding() -> None:
    world = World()
    listener = world.add("l", 0, address="127.0.0.1", additional_addresses=(SocketAddress("127.0.0.2", 0),))
    assert [str(each) for each in listener.local_addresses] == ["127.0.0.1:0", "127.0.0.2:0"]
    listener.bind()
    addresses = listener.local_addresses
    assert all(isinstance(each, SocketAddress) and each.port for each in addresses)
    listener.stop_accepting()
    assert listener.local_addresses == addresses
    assert listener.draining


def test_of_two_listeners_with_one_address_the_first_is_found() -> None:
    world = World()
    first = world.add("first", 80)
    world.add("second", 80)
    assert world.listeners.for_destination(SocketAddress("10.0.0.1", 80)) is first
    assert [each.name for each in world.listeners] == ["first", "second"]
    assert world.listeners.get("third") is None
