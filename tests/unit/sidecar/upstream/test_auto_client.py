"""The protocol that the server chooses by ALPN."""

from __future__ import annotations

import pytest

from config.model.cluster import UpstreamHttpOptions, UpstreamHttpProtocol
from sidecar.stream_info import TlsInfo
from tests.support.http2_floor import http2_peer
from tests.support.upstream import FakeCluster, static_spec


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
