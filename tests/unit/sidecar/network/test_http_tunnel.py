"""TCP through HTTP: tcp_proxy with `tunneling_config`."""

from __future__ import annotations

import pytest

from config.model.access_log import FileAccessLogSpec
from config.model.cluster import UpstreamHttpOptions, UpstreamHttpProtocol
from config.model.core import HeaderMutations, HeaderValueOption
from config.model.network import TcpProxySpec, TunnelingConfig
from tests.support.http2_floor import Http2End, http2_peer
from tests.support.upstream import endpoint, static_spec
from tests.unit.sidecar.network.test_tcp_proxy import World

OPENED = b"HTTP/1.1 200 OK\r\n\r\n"


def world(protocol: UpstreamHttpProtocol = UpstreamHttpProtocol.HTTP1, **fields: object) -> World:
    tunneling = TunnelingConfig("there:%DOWNSTREAM_LOCAL_PORT%", **fields)  # type: ignore[arg-type]
    spec = TcpProxySpec("t", "app", access_log=(FileAccessLogSpec("log"),), tunneling=tunneling)
    options = UpstreamHttpOptions(protocol)
    return World(spec, static_spec("test", endpoint(80), http_options=options)).open()


def http2_tunnel() -> tuple[World, Http2End]:
    made = world(UpstreamHttpProtocol.HTTP2)
    server = http2_peer(made.upstream.peers[0].accept(), made.loop.turn)
    made.loop.turn()
    return made, server


def test_connect_over_http1() -> None:
    made = world()
    made.socket.data_received(b"early")  # waits for the tunnel
    peer = made.upstream.peers[0].accept()
    made.loop.turn()
    assert peer.transport.take() == b"CONNECT there:2 HTTP/1.1\r\nhost: there:2\r\n\r\n"
    peer.send(OPENED)
    made.loop.turn()
    assert peer.transport.take() == b"early"
    peer.send(b"back")
    assert made.transport.take() == b"back"
    made.socket.eof_received()
    made.loop.turn()
    assert peer.transport.eof
    peer.end()
    made.loop.turn()
    assert made.transport.closed
    made.socket.connection_lost(None)
    assert made.log.entries == [("-", 5, 4)]
    assert made.upstream.active_gauges() == {}


def test_connect_over_http2() -> None:
    made, server = http2_tunnel()
    assert server.told(1) == [("headers", {":authority": "there:2", ":method": "CONNECT"})]
    server.answer(1, 200, None)
    made.socket.data_received(b"ping")
    assert server.told(1) == [("data", b"ping")]
    server.data(1, b"pong", True)  # the upstream ends first: the other direction goes on
    assert made.transport.take() == b"pong"
    assert made.transport.eof
    made.socket.data_received(b"more")
    made.socket.eof_received()
    assert server.told(1)[-1] == ("end",)
    assert made.transport.closed


def test_post() -> None:
    made = world(use_post=True, post_path="/tunnel")
    peer = made.upstream.peers[0].accept()
    made.loop.turn()
    assert peer.transport.take().startswith(b"POST /tunnel HTTP/1.1\r\nhost: there:2\r\n")


def test_headers() -> None:
    option = HeaderValueOption("x-from", "%DOWNSTREAM_REMOTE_ADDRESS%")
    made = world(mutations=HeaderMutations(request_add=(option,)))
    peer = made.upstream.peers[0].accept()
    made.loop.turn()
    assert b"\r\nx-from: 10.0.0.1:1\r\n" in peer.transport.take()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nx"])
def test_refused(answer: bytes) -> None:
    made = world()
    peer = made.upstream.peers[0].accept()
    made.loop.turn()
    peer.send(answer)
    peer.end()
    made.loop.turn()
    assert made.transport.closed
    made.socket.connection_lost(None)
    assert made.log.entries == [("UF,URX", 0, 0)]
    assert made.upstream.active_gauges() == {}


def test_a_broken_tunnel_is_a_reset() -> None:
    made, server = http2_tunnel()
    server.answer(1, 200, None)
    server.reset(1, 2)
    assert made.transport.aborted
    made.socket.connection_lost(None)
    assert made.log.entries == [("UR", 0, 0)]


def test_client_leaves_before_there_is_a_tunnel() -> None:
    made, server = http2_tunnel()
    made.socket.connection_lost(None)
    assert server.told(1)[-1] == ("reset", 8)
    assert made.log.entries == [("DC", 0, 0)]
    assert made.upstream.value("http2.streams_active") == 0


def test_back_pressure() -> None:
    made, server = http2_tunnel()
    server.answer(1, 200, None)
    made.socket.pause_writing()
    server.data(1, b"x" * 1000)
    made.socket.resume_writing()
    made.upstream.peers[0].socket.pause_writing()
    assert not made.transport.reading
    made.upstream.peers[0].socket.resume_writing()
    assert made.transport.reading
