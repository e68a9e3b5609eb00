"""The protocol that the server chooses by ALPN."""

from __future__ import annotations

import pytest

from config.model.cluster import UpstreamHttpOptions, UpstreamHttpProtocol
from sidecar.stream_info import TlsInfo
from tests.support.http2_floor import http2_peer
from tests.support.upstream import FakeCluster, RecordingSink, static_spec


def make() -> FakeCluster:
    return FakeCluster(static_spec(http_options=UpstreamHttpOptions(UpstreamHttpProtocol.AUTO)))


def negotiate(fake: FakeCluster, number: int, alpn: str) -> None:
    fake.peers[number].connection.upstream.tls = TlsInfo("TLSv1.3", "X", alpn)


def test_http2() -> None:
    fake = make()
    sinks = [fake.request(), fake.request()]
    negotiate(fake, 0, "h2")
    server = http2_peer(fake.peers[0].accept(), fake.loop.turn)
    server.answer(1)
    server.answer(3)
    assert [sink.events[-1] for sink in sinks] == [("headers", 200, True)] * 2
    assert len(fake.peers) == 1
    assert fake.value("upstream_cx_http2_total") == 1


@pytest.mark.parametrize("alpn", ["http/1.1", ""])
def test_http1_needs_a_connection_for_each(alpn: str) -> None:
    fake = make()
    sinks = [fake.request(), fake.request()]
    assert len(fake.peers) == 1
    negotiate(fake, 0, alpn)
    fake.peers[0].accept()
    assert len(fake.peers) == 2
    negotiate(fake, 1, alpn)
    fake.peers[1].accept()
    for peer in fake.peers:
        assert peer.transport.take().startswith(b"GET / HTTP/1.1\r\n")
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert [sink.events[-1] for sink in sinks] == [("headers", 200, True)] * 2
    assert fake.value("upstream_cx_http1_total") == 2
    for peer in fake.peers:
        peer.end()
    assert fake.active_gauges() == {}


def test_connection_refused() -> None:
    fake = make()
    sink = fake.request()
    fake.peers[0].refuse()
    assert sink.events[0][0] == "failure"
    assert fake.active_gauges() == {}


def test_closed_before_the_server_has_chosen() -> None:
    fake = make()
    sink = fake.request()
    fake.cluster.close()
    assert sink.events[0][0] == "failure"
    assert fake.active_gauges() == {}


@pytest.mark.parametrize("alpn", ["h2", "http/1.1"])
def test_drained_before_the_server_has_chosen(alpn: str) -> None:
    """Who waits is served first."""
    fake = make()
    sink = fake.request()
    fake.cluster.drain()
    negotiate(fake, 0, alpn)
    peer = fake.peers[0].accept()
    if alpn == "h2":
        http2_peer(peer, fake.loop.turn).answer(1)
    else:
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    fake.loop.turn()
    assert sink.events[-1] == ("headers", 200, True)
    assert peer.transport.closed
    assert fake.active_gauges() == {}


def test_connections_of_both_kinds() -> None:
    """A server behind another address of the same host may choose otherwise."""
    fake = make()
    first = fake.request()
    negotiate(fake, 0, "http/1.1")
    fake.peers[0].accept()
    second = fake.request()
    negotiate(fake, 1, "h2")
    server = http2_peer(fake.peers[1].accept(), fake.loop.turn)
    third = fake.request()
    server.answer(1)
    server.answer(3)
    fake.peers[0].send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert [sink.events[-1] for sink in (first, second, third)] == [("headers", 200, True)] * 3
    assert len(fake.peers) == 2


def test_many_wait_for_one_choice() -> None:
    fake = make()
    sinks = [fake.request() for _ in range(20)]
    negotiate(fake, 0, "h2")
    server = http2_peer(fake.peers[0].accept(), fake.loop.turn)
    for stream in range(1, 41, 2):
        server.answer(stream)
    assert [sink.events[-1] for sink in sinks] == [("headers", 200, True)] * 20
    assert len(fake.peers) == 1


def test_cancelled_before_the_server_has_chosen() -> None:
    fake = make()
    fake.ask(RecordingSink()).cancel()
    negotiate(fake, 0, "h2")
    server = http2_peer(fake.peers[0].accept(), fake.loop.turn)
    sink = fake.request()
    server.answer(1)
    assert sink.events[-1] == ("headers", 200, True)
