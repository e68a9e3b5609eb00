"""The TCP proxy: a session between two connections, without a network."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, cast

import pytest

from config.model.access_log import AccessLogSpec, FileAccessLogSpec
from config.model.cluster import ClusterSpec
from config.model.core import DataSource, Node, SocketAddress
from config.model.network import DirectResponseNetworkSpec, EchoSpec, TcpProxySpec, WeightedTcpCluster
from sidecar.network.api import FilterContext
from sidecar.network.registry import build_network_filter
from sidecar.stream_info import ConnectionInfo, StreamInfo
from sidecar.transport.connection import Connection, PassThroughFilter
from sidecar.transport.drain import DrainState
from sidecar.transport.transport_socket import TransportSocket
from sidecar.upstream.services import Services
from tests.support.upstream import FakeCluster, FakeTransport, Peer, endpoint, static_spec


class Log:
    def __init__(self) -> None:
        self.entries: list[tuple[str, int, int]] = []

    def log(self, info: StreamInfo) -> None:
        self.entries.append((info.flag_names or "-", info.bytes_received, info.bytes_sent))

    def flush(self) -> None:
        """Nothing waits."""


class Clusters:
    def __init__(self, **clusters: Any) -> None:
        self.clusters = clusters

    def get(self, name: str) -> Any:
        return self.clusters.get(name)

    def all(self) -> Any:
        return self.clusters


class World:
    def __init__(self, spec: Any = None, cluster: ClusterSpec | None = None) -> None:
        self.upstream = FakeCluster(cluster or static_spec("test", endpoint(80)))
        self.loop = self.upstream.loop
        self.timers = self.upstream.timers
        self.store = self.upstream.store
        self.log = Log()
        services = Services(
            clusters=cast("Any", Clusters(app=self.upstream.cluster)),
            tls=cast("Any", None),
            scope=self.store.root,
            timers=self.timers,
            node=Node(),
            drain=DrainState(),
            read=lambda source: source.inline or b"",
            access_logger=self._logger,
            async_client=cast("Any", None),
            tracer=cast("Any", None),
            random=random.Random(1),
        )
        wanted = spec or TcpProxySpec("t", "app", access_log=(FileAccessLogSpec("log"),))
        self.factory = build_network_filter(wanted, FilterContext(services))
        self.transport = FakeTransport()
        self.socket = TransportSocket()
        info = ConnectionInfo(SocketAddress("10.0.0.1", 1), SocketAddress("10.0.0.2", 2))
        self.connection = Connection(self.socket, self.timers, info)
        self.connection.session = StreamInfo(info, 0.0, 0)
        self.socket.owner = self.connection
        self.connection.set_filters([self.factory.create(self.connection)])

    def _logger(self, spec: AccessLogSpec) -> Log:
        return self.log

    def open(self) -> World:
        self.socket.connection_made(cast("Any", self.transport))
        self.loop.turn()
        return self

    @property
    def peers(self) -> list[Peer]:
        return self.upstream.peers

    def value(self, name: str) -> int:
        return self.store.counters[name].value

    def lose(self, error: Exception | None = None) -> None:
        """The client's connection is gone."""
        self.transport.closed = True
        self.socket.connection_lost(error)
        self.loop.turn()


@pytest.fixture
def world() -> Iterator[World]:
    """A session whose upstream is not there yet."""
    made = World().open()
    yield made
    if not made.log.entries:
        made.lose()
    for peer in made.peers:
        if peer.transport.closed:
            peer.gone()
    assert made.upstream.active_gauges() == {}


def test_reading_waits_for_the_upstream(world: World) -> None:
    assert not world.transport.reading
    world.socket.data_received(b"early")
    (peer,) = world.peers
    peer.accept()
    assert world.transport.reading
    assert peer.transport.take() == b"early"


def test_bytes_both_ways(world: World) -> None:
    peer = world.peers[0].accept()
    world.socket.data_received(b"ping")
    peer.send(b"pong!")
    assert (peer.transport.take(), world.transport.take()) == (b"ping", b"pong!")
    world.lose()
    assert world.log.entries == [("-", 4, 5)]
    assert world.value("tcp.t.downstream_cx_rx_bytes_total") == 4
    assert world.value("tcp.t.downstream_cx_tx_bytes_total") == 5


def test_an_early_end_travels_too(world: World) -> None:
    world.socket.data_received(b"all")
    world.socket.eof_received()
    peer = world.peers[0].accept()
    assert peer.transport.take() == b"all"
    assert peer.transport.eof and not peer.transport.closed


def test_half_close_of_the_client(world: World) -> None:
    peer = world.peers[0].accept()
    world.socket.eof_received()
    assert peer.transport.eof and not peer.transport.closed
    peer.send(b"answer")
    assert world.transport.take() == b"answer"
    peer.end()
    assert world.transport.closed and peer.transport.closed


def test_half_close_of_the_server(world: World) -> None:
    peer = world.peers[0].accept()
    peer.end()
    assert world.transport.eof and not world.transport.closed
    world.socket.data_received(b"rest")
    assert peer.transport.take() == b"rest"
    world.socket.eof_received()
    assert world.transport.closed and peer.transport.closed


def test_a_slow_server_stops_the_client(world: World) -> None:
    peer = world.peers[0].accept()
    peer.socket.pause_writing()
    assert not world.transport.reading
    peer.socket.resume_writing()
    assert world.transport.reading


def test_a_slow_client_stops_the_server(world: World) -> None:
    peer = world.peers[0].accept()
    world.socket.pause_writing()
    assert not peer.transport.reading
    assert world.value("tcp.t.downstream_flow_control_paused_reading_total") == 1
    world.socket.resume_writing()
    assert peer.transport.reading
    assert world.value("tcp.t.downstream_flow_control_resumed_reading_total") == 1


def test_a_client_that_is_slow_before_the_server_is_there(world: World) -> None:
    world.socket.pause_writing()
    peer = world.peers[0].accept()
    assert not peer.transport.reading


def test_the_client_leaves_before_the_server_is_there(world: World) -> None:
    world.lose()
    assert world.log.entries == [("DC", 0, 0)]
    assert world.value("cluster.test.upstream_rq_cancelled") == 1


def test_the_client_leaves(world: World) -> None:
    peer = world.peers[0].accept()
    world.lose()
    assert peer.transport.closed and not peer.transport.aborted
    assert world.log.entries == [("-", 0, 0)]


def test_the_clients_reset_is_passed_on(world: World) -> None:
    peer = world.peers[0].accept()
    world.lose(ConnectionResetError())
    assert peer.transport.aborted


def test_the_server_leaves(world: World) -> None:
    peer = world.peers[0].accept()
    peer.transport.closed = True
    peer.socket.connection_lost(None)
    assert world.transport.closed and not world.transport.aborted


def test_the_servers_reset_is_passed_on(world: World) -> None:
    world.peers[0].accept().reset()
    assert world.transport.aborted
    world.lose()
    assert world.log.entries == [("UR", 0, 0)]


def test_the_server_refuses(world: World) -> None:
    world.peers[0].refuse()
    assert world.transport.closed and not world.transport.aborted
    world.lose()
    assert world.log.entries == [("UF,URX", 0, 0)]
    assert world.value("cluster.test.upstream_cx_connect_attempts_exceeded") == 1


def test_what_was_said_in_vain_ends_in_a_reset(world: World) -> None:
    world.socket.data_received(b"hello")
    world.peers[0].refuse()
    assert world.transport.aborted
    world.lose()
    assert world.log.entries == [("UF,URX", 0, 0)]


def test_connect_attempts() -> None:
    spec = TcpProxySpec("t", "app", max_connect_attempts=3, access_log=(FileAccessLogSpec("log"),))
    world = World(spec).open()
    world.socket.data_received(b"kept")
    for number in range(2):
        world.peers[number].refuse()
        world.loop.turn()
        assert not world.transport.closed
    world.peers[2].accept()
    assert world.peers[2].transport.take() == b"kept"
    assert world.value("cluster.test.upstream_cx_connect_attempts_exceeded") == 0
    world.lose()
    assert world.log.entries == [("-", 4, 0)]


def test_no_cluster() -> None:
    spec = TcpProxySpec("t", "missing", access_log=(FileAccessLogSpec("log"),))
    world = World(spec).open()
    assert world.transport.closed
    assert world.value("tcp.t.downstream_cx_no_route") == 1
    world.lose()
    assert world.log.entries == [("NC", 0, 0)]


def test_no_host() -> None:
    world = World(cluster=ClusterSpec("test", "test")).open()
    assert world.transport.closed
    world.lose()
    assert world.log.entries == [("UH", 0, 0)]


def test_idle_timeout() -> None:
    spec = TcpProxySpec("t", "app", idle_timeout_s=10.0, access_log=(FileAccessLogSpec("log"),))
    world = World(spec).open()
    peer = world.peers[0].accept()
    world.loop.advance(9)
    world.socket.data_received(b"x")
    world.loop.advance(9)
    peer.send(b"y")
    world.loop.advance(9)
    assert not world.transport.closed
    world.loop.advance(2)
    assert world.transport.closed
    assert world.value("tcp.t.idle_timeout") == 1
    world.lose()
    assert world.log.entries == [("-", 1, 1)]
    assert peer.transport.closed


def test_an_idle_session_does_not_wait_for_a_client_that_does_not_read() -> None:
    spec = TcpProxySpec("t", "app", idle_timeout_s=10.0)
    world = World(spec).open()
    world.peers[0].accept()
    world.transport.unwritten = 1000
    world.loop.advance(11)
    assert world.transport.aborted


@pytest.mark.parametrize("idle_timeout_s", [None, 0.0])
def test_no_idle_timeout(idle_timeout_s: float | None) -> None:
    world = World(TcpProxySpec("t", "app", idle_timeout_s=idle_timeout_s or None)).open()
    world.peers[0].accept()
    world.loop.advance(100_000)
    assert not world.transport.closed


def test_longest_duration() -> None:
    spec = TcpProxySpec(
        "t", "app", max_downstream_connection_duration_s=30.0, access_log=(FileAccessLogSpec("log"),)
    )
    world = World(spec).open()
    peer = world.peers[0].accept()
    for _ in range(31):
        world.socket.data_received(b"x")
        peer.send(b"y")
        world.loop.advance(1)
    assert world.transport.closed
    assert world.value("tcp.t.max_downstream_connection_duration") == 1
    world.lose()
    assert world.log.entries[0][0] == "DT"


def test_timers_end_with_the_session(world: World) -> None:
    world.peers[0].accept()
    world.lose()
    world.loop.advance(10_000)
    assert world.value("tcp.t.idle_timeout") == 0


def test_weights() -> None:
    spec = TcpProxySpec("t", weighted_clusters=(WeightedTcpCluster("app", 3), WeightedTcpCluster("other", 1)))
    factory = cast("Any", World(spec).factory)
    chosen = [factory.choose()[0] for _ in range(400)]
    assert 240 < chosen.count("app") < 360
    assert set(chosen) == {"app", "other"}


def test_the_cluster_is_known_before_the_connection_is_up() -> None:
    """A session that ends in its TLS handshake is reported under the name of its cluster."""
    world = World()
    session = world.connection.session
    assert session is not None
    assert session.cluster_name == "app"
    assert session.cluster_metadata is world.upstream.cluster.metadata
    assert world.value("tcp.t.downstream_cx_total") == 1
    world.lose(ConnectionResetError())
    assert world.log.entries == [("-", 0, 0)]
    assert world.peers == []


class Prefix(PassThroughFilter):
    """Takes the first bytes for itself, as the metadata exchange does."""

    def on_data(self, data: bytes, end: bool) -> bytes:
        self.connection.remove(self)
        return data[5:]


def test_received_bytes_are_those_of_the_connection() -> None:
    world = World()
    world.connection.set_filters([Prefix(world.connection), world.factory.create(world.connection)])
    world.open()
    world.socket.data_received(b"FRAMEhello")
    assert world.value("tcp.t.downstream_cx_rx_bytes_total") == 0
    peer = world.peers[0].accept()
    assert peer.transport.take() == b"hello"
    world.socket.data_received(b", world")
    assert world.value("tcp.t.downstream_cx_rx_bytes_total") == 17
    world.lose()
    assert world.log.entries == [("-", 12, 0)]


def test_direct_response() -> None:
    world = World(DirectResponseNetworkSpec(DataSource(inline=b"hello"))).open()
    assert world.transport.take() == b"hello"
    assert world.transport.eof
    world.loop.advance(2)
    assert world.transport.closed


def test_echo() -> None:
    world = World(EchoSpec()).open()
    world.socket.data_received(b"abc")
    assert world.transport.take() == b"abc"
    world.socket.pause_writing()
    assert not world.transport.reading
    world.socket.resume_writing()
    world.socket.eof_received()
    assert world.transport.eof and world.transport.closed
