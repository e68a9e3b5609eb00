"""The TCP metadata exchange on both sides of a connection; its frames are judged where they are parsed."""

from __future__ import annotations

from typing import Any, cast

import pytest

from config.model.core import Address, Node, SocketAddress
from config.model.istio import MetadataExchangeSpec
from protocols.peer_metadata import PeerMetadata
from sidecar.network.api import FilterContext
from sidecar.network.registry import build_network_filter
from sidecar.stream_info import ConnectionInfo, TlsInfo, UpstreamConnectionState, UpstreamInfo
from sidecar.transport.connection import Connection, PassThroughFilter
from sidecar.transport.drain import DrainState
from sidecar.transport.timers import Timers
from sidecar.transport.transport_socket import TransportSocket
from sidecar.upstream.services import Services
from stats.store import Store
from tests.support.istio_config import PEER_EXCHANGE_ALPN, exchange_frame, exchange_prefix, node_metadata
from tests.support.upstream import FakeTransport, ManualLoop

PEER_FRAME = exchange_frame(node_metadata("productpage"), "productpage-id")
OWN_FRAME_START = b"\x3d\x23\x04\x67"


class Application(PassThroughFilter):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.received = b""
        self.ended = False

    def on_data(self, data: bytes, end: bool) -> bytes:
        self.received += data
        self.ended = self.ended or end
        return b""


class Side:
    """One end of a connection, downstream or upstream, with the filter in front of an application."""

    def __init__(
        self,
        *,
        alpn: str | None = PEER_EXCHANGE_ALPN,
        upstream: bool = False,
        lookup: dict[str, PeerMetadata] | None = None,
    ) -> None:
        self.loop = ManualLoop()
        self.store = Store()
        timers = Timers(self.loop.as_loop())
        services = Services(
            clusters=cast("Any", None),
            tls=cast("Any", None),
            scope=self.store.root,
            timers=timers,
            node=Node(id="ours", metadata={"NAMESPACE": "default", "NAME": "details-1"}),
            drain=DrainState(),
            read=lambda source: b"",
            access_logger=cast("Any", None),
            async_client=cast("Any", None),
            tracer=cast("Any", None),
            peer_lookup=lookup.get if lookup is not None else None,
        )
        spec = MetadataExchangeSpec(PEER_EXCHANGE_ALPN, enable_discovery=lookup is not None)
        factory = build_network_filter(spec, FilterContext(services))
        tls = TlsInfo("TLSv1.3", "", alpn) if alpn is not None else None
        address: Address = SocketAddress("10.0.0.1", 1)
        self.info = ConnectionInfo(address, SocketAddress("10.0.0.2", 2))
        self.state = UpstreamConnectionState()
        self.transport = FakeTransport()
        self.socket = TransportSocket()
        self.connection = Connection(self.socket, timers, None if upstream else self.info)
        if upstream:
            self.connection.upstream = UpstreamInfo()
            self.connection.upstream.tls = tls
            self.connection.upstream.host_address = address
            self.connection.upstream.connection_state = self.state
        else:
            self.info.tls = tls
        self.socket.owner = self.connection
        self.application = Application(self.connection)
        self.connection.set_filters([factory.create(self.connection), self.application])
        self.socket.connection_made(cast("Any", self.transport))

    def counted(self) -> dict[str, int]:
        prefix = "metadata_exchange."
        return {
            name.removeprefix(prefix): counter.value
            for name, counter in self.store.counters.items()
            if name.startswith(prefix) and counter.value
        }

    def hear(self, data: bytes) -> None:
        self.socket.data_received(data)


def test_the_client_speaks_first() -> None:
    side = Side()
    side.hear(PEER_FRAME + b"hello")
    assert side.application.received == b"hello"
    assert side.transport.take().startswith(OWN_FRAME_START)
    assert side.info.downstream_peer is not None
    assert side.info.downstream_peer.workload == "productpage-v1"
    assert not side.info.peer_not_found
    assert side.counted() == {"alpn_protocol_found": 1, "metadata_added": 1}


def test_the_server_speaks_first() -> None:
    side = Side()
    side.connection.write(b"220 ready\r\n")
    written = side.transport.take()
    assert written.startswith(OWN_FRAME_START) and written.endswith(b"220 ready\r\n")
    side.connection.write(b"more")
    assert side.transport.take() == b"more"
    side.hear(PEER_FRAME)
    assert side.info.downstream_peer is not None
    assert side.transport.take() == b""


def test_the_upstream_side() -> None:
    side = Side(upstream=True)
    side.connection.write(b"request")
    assert side.transport.take().endswith(b"request")
    side.hear(PEER_FRAME + b"answer")
    assert side.application.received == b"answer"
    assert side.state.upstream_peer is not None and side.state.upstream_peer.workload == "productpage-v1"
    assert side.info.downstream_peer is None


@pytest.mark.parametrize("step", [1, 7, 50])
def test_the_frame_in_pieces(step: int) -> None:
    side = Side()
    data = PEER_FRAME + b"hello"
    for at in range(0, len(data), step):
        side.hear(data[at : at + step])
    assert side.application.received == b"hello"
    assert side.info.downstream_peer is not None


def test_afterwards_the_filter_is_out_of_the_way() -> None:
    side = Side()
    side.hear(PEER_FRAME)
    assert len(side.connection._readers) == 1
    assert len(side.connection._writers) == 0


@pytest.mark.parametrize("alpn", [None, "", "http/1.1", "istio"])
def test_another_protocol(alpn: str | None) -> None:
    side = Side(alpn=alpn)
    side.hear(PEER_FRAME)
    side.connection.write(b"out")
    assert side.application.received == PEER_FRAME
    assert side.transport.take() == b"out"
    assert side.info.peer_not_found and side.info.downstream_peer is None
    assert side.counted() == {"alpn_protocol_not_found": 1}


def test_wrong_magic_passes_everything() -> None:
    side = Side()
    side.hear(b"GET / HTTP/1.1\r\n")
    assert side.application.received == b"GET / HTTP/1.1\r\n"
    assert side.info.peer_not_found
    assert side.counted()["initial_header_not_found"] == 1


def test_a_frame_that_is_cut_off_by_the_end() -> None:
    side = Side()
    side.hear(PEER_FRAME[:20])
    side.socket.eof_received()
    assert side.application.ended
    assert side.info.peer_not_found


def test_a_frame_that_is_not_finished_is_not_waited_for_for_ever() -> None:
    side = Side()
    side.hear(PEER_FRAME[:20])
    side.loop.advance(9)
    assert not side.transport.closed
    side.loop.advance(2)
    assert side.transport.closed
    assert side.application.received == b""


def test_silence_is_allowed() -> None:
    """A protocol in which the server speaks first, or nobody for a while."""
    side = Side()
    side.loop.advance(100)
    assert not side.transport.closed
    side.hear(PEER_FRAME + b"late")
    assert side.application.received == b"late"


def test_the_timer_ends_with_the_frame_and_with_the_connection() -> None:
    finished, gone = Side(), Side()
    finished.hear(PEER_FRAME[:20])
    finished.hear(PEER_FRAME[20:])
    gone.hear(PEER_FRAME[:20])
    gone.socket.connection_lost(None)
    for side in (finished, gone):
        side.loop.advance(100)
        assert not side.transport.closed


@pytest.mark.parametrize("length", [1024 * 1024 + 1, 2**31, 2**32 - 1])
def test_a_frame_that_is_too_long_ends_the_connection(length: int) -> None:
    side = Side()
    side.hear(exchange_prefix(b"x", length=length))
    assert side.transport.closed
    assert side.counted()["header_not_found"] == 1


def test_discovery_by_address() -> None:
    known = PeerMetadata(workload="found")
    side = Side(alpn="http/1.1", lookup={"10.0.0.1": known})
    side.hear(b"x")
    assert side.info.downstream_peer is known
    assert not side.info.peer_not_found
    assert side.counted() == {"alpn_protocol_not_found": 1, "metadata_added": 1}


def test_discovery_that_finds_nobody() -> None:
    side = Side(alpn="http/1.1", lookup={})
    side.hear(b"x")
    assert side.info.peer_not_found


def test_discovery_of_an_upstream_host() -> None:
    known = PeerMetadata(workload="found")
    side = Side(alpn=None, upstream=True, lookup={"10.0.0.1": known})
    side.connection.write(b"x")
    assert side.state.upstream_peer is known
