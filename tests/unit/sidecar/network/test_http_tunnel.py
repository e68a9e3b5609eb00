"""TCP through HTTP: tcp_proxy with `tunneling_config`."""

from __future__ import annotations

import pytest

from config.model.access_log import FileAccessLogSpec
from config.model.cluster import ClusterSpec, UpstreamHttpOptions, UpstreamHttpProtocol
from config.model.core import HeaderMutations, HeaderValueOption
from config.model.http2 import Http2Options
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


HTTP2 = UpstreamHttpProtocol.HTTP2


class TestOpening:
    @pytest.mark.parametrize(
        ("status", "end", "opened"),
        [(200, False, True), (200, True, False), (201, False, False), (404, True, False)],
    )
    def test_what_opens_it(self, status: int, end: bool, opened: bool) -> None:
        made, server = http2_tunnel()
        server.answer(1, status, b"" if end else None)
        made.socket.data_received(b"ping")
        made.loop.turn()
        if opened:
            assert server.told(1)[-1] == ("data", b"ping")
            assert made.log.entries == []
        else:
            assert made.transport.closed
            assert server.told(1)[-1][0] == "reset"
            made.socket.connection_lost(None)
            assert made.log.entries == [("UF,URX", 0, 0)]
            assert made.upstream.value("upstream_cx_connect_attempts_exceeded") == 1
            assert made.upstream.value("http2.streams_active") == 0

    def test_interim_answers_do_not(self) -> None:
        made, server = http2_tunnel()
        server.h2.send_headers(1, [(":status", "103")])
        server.flush()
        made.socket.data_received(b"ping")
        assert [event[0] for event in server.told(1)] == ["headers"]
        server.answer(1, 200, None)
        assert server.told(1) == [("data", b"ping")]

    def test_what_came_before_waits(self) -> None:
        made, server = http2_tunnel()
        made.socket.data_received(b"early")
        assert [event[0] for event in server.told(1)] == ["headers"]
        assert not made.transport.reading
        made.socket.eof_received()
        server.answer(1, 200, None)
        assert server.told(1) == [("data", b"early"), ("end",)]
        assert made.transport.reading
        server.data(1, b"late", True)
        assert made.transport.take() == b"late"
        assert made.transport.closed
        made.socket.connection_lost(None)
        assert made.log.entries == [("-", 5, 4)]

    @pytest.mark.parametrize("how", ["refused", "reset", "no connection"])
    def test_tried_again(self, how: str) -> None:
        made = again(HTTP2, 2)
        if how == "no connection":
            made.upstream.peers[0].refuse()
            made.loop.turn()
        else:
            server = http2_peer(made.upstream.peers[0].accept(), made.loop.turn)
            server.answer(1, 503) if how == "refused" else server.reset(1, 2)
        if len(made.upstream.peers) == 2:
            server = http2_peer(made.upstream.peers[1].accept(), made.loop.turn)
        stream = 1 if how == "no connection" else 3
        server.answer(stream, 200, None)
        made.socket.data_received(b"ping")
        assert server.told(stream)[-1] == ("data", b"ping")
        made.socket.connection_lost(ConnectionResetError())
        made.loop.turn()
        assert server.told(stream)[-1] == ("reset", 8)
        assert made.log.entries == [("-", 4, 0)]
        assert made.upstream.value("http2.streams_active") == 0

    def test_tried_too_often(self) -> None:
        made = again(HTTP2, 2)
        server = http2_peer(made.upstream.peers[0].accept(), made.loop.turn)
        server.answer(1, 503)
        assert not made.transport.closed
        server.answer(3, 503)
        assert made.transport.closed
        made.socket.connection_lost(None)
        assert made.log.entries == [("UF,URX", 0, 0)]

    def test_no_host(self) -> None:
        tunneling = TunnelingConfig("there:1")
        spec = TcpProxySpec("t", "app", access_log=(FileAccessLogSpec("log"),), tunneling=tunneling)
        made = World(spec, ClusterSpec("test", "test")).open()
        assert made.transport.closed
        made.socket.connection_lost(None)
        assert made.log.entries == [("UH", 0, 0)]

    @pytest.mark.parametrize("when", ["connecting", "asking"])
    def test_the_client_leaves(self, when: str) -> None:
        made = world(HTTP2)
        if when == "asking":
            http2_peer(made.upstream.peers[0].accept(), made.loop.turn)
        made.socket.connection_lost(None)
        made.loop.turn()
        assert made.log.entries == [("DC", 0, 0)]
        gauges = made.upstream.active_gauges()
        assert {"requests", "pending"}.isdisjoint(gauges)


def again(protocol: UpstreamHttpProtocol, attempts: int) -> World:
    """A session that may try so often."""
    spec = TcpProxySpec(
        "t",
        "app",
        access_log=(FileAccessLogSpec("log"),),
        tunneling=TunnelingConfig("there:1"),
        max_connect_attempts=attempts,
    )
    options = UpstreamHttpOptions(protocol)
    return World(spec, static_spec("test", endpoint(80), http_options=options)).open()


class TestEnds:
    def test_the_client_first_over_http2(self) -> None:
        made, server = http2_tunnel()
        server.answer(1, 200, None)
        made.socket.data_received(b"bye")
        made.socket.eof_received()
        assert server.told(1)[-2:] == [("data", b"bye"), ("end",)]
        server.data(1, b"and ")
        server.data(1, b"you", True)
        assert made.transport.take() == b"and you"
        assert made.transport.closed
        assert ("reset", 8) not in server.told(1)
        made.socket.connection_lost(None)
        assert made.upstream.active_gauges() == {
            "upstream_cx_active": 1,
            "connections": 1,
            "host cx_active": 1,
        }

    @pytest.mark.parametrize("trailers", [False, True])
    def test_the_server_first_over_http2(self, trailers: bool) -> None:
        made, server = http2_tunnel_by_post() if trailers else http2_tunnel()
        server.answer(1, 200, None)
        server.data(1, b"bye", not trailers)
        if trailers:
            server.trailers(1, ("x-t", "1"))
        assert made.transport.take() == b"bye"
        assert made.transport.eof
        assert not made.transport.closed

    def test_both_leave_nothing_behind(self) -> None:
        """The connection takes the next session."""
        made, server = http2_tunnel()
        server.answer(1, 200, None)
        made.socket.eof_received()
        server.data(1, b"", True)
        made.socket.connection_lost(None)
        assert made.log.entries == [("-", 0, 0)]
        assert len(made.upstream.peers) == 1
        assert made.upstream.value("http2.streams_active") == 0

    def test_the_client_is_reset(self) -> None:
        made, server = http2_tunnel()
        server.answer(1, 200, None)
        made.socket.connection_lost(ConnectionResetError())
        assert server.told(1)[-1] == ("reset", 8)

    def test_the_connection_of_the_tunnel_is_lost(self) -> None:
        made, server = http2_tunnel()
        server.answer(1, 200, None)
        made.upstream.peers[0].reset()
        made.loop.turn()
        assert made.transport.closed

    def test_http1_server_ends(self) -> None:
        made = world()
        peer = made.upstream.peers[0].accept()
        made.loop.turn()
        peer.send(OPENED + b"bye")
        peer.end()
        made.loop.turn()
        assert made.transport.take() == b"bye"
        assert made.transport.closed
        made.socket.connection_lost(None)
        assert made.upstream.active_gauges() == {}

    def test_idle(self) -> None:
        spec = TcpProxySpec(
            "t",
            "app",
            access_log=(FileAccessLogSpec("log"),),
            tunneling=TunnelingConfig("there:1"),
            idle_timeout_s=10.0,
        )
        options = UpstreamHttpOptions(HTTP2)
        made = World(spec, static_spec("test", endpoint(80), http_options=options)).open()
        server = http2_peer(made.upstream.peers[0].accept(), made.loop.turn)
        server.answer(1, 200, None)
        made.loop.advance(8)
        server.data(1, b"x")
        made.loop.advance(8)
        assert not made.transport.closed
        made.loop.advance(2.5)
        assert made.transport.closed
        made.socket.connection_lost(None)
        assert server.told(1)[-1][0] == "reset"


def http2_tunnel_by_post() -> tuple[World, Http2End]:
    made = world(HTTP2, use_post=True, post_path="/tunnel")
    server = http2_peer(made.upstream.peers[0].accept(), made.loop.turn)
    made.loop.turn()
    return made, server


def test_post_over_http2() -> None:
    made, server = http2_tunnel_by_post()
    head = server.told(1)[0][1]
    assert isinstance(head, dict)
    assert (head[":method"], head[":path"], head[":authority"]) == ("POST", "/tunnel", "there:2")
    server.answer(1, 200, None)
    made.socket.data_received(b"ping")
    made.socket.eof_received()
    assert server.told(1) == [("data", b"ping"), ("end",)]
    server.data(1, b"pong", True)
    assert made.transport.take() == b"pong"
    assert made.transport.closed


def test_windows_of_the_tunnel() -> None:
    """What the server does not take stops the client; what the client does not take is not credited."""
    options = UpstreamHttpOptions(HTTP2, http2=Http2Options(initial_stream_window_size=65535))
    spec = TcpProxySpec("t", "app", tunneling=TunnelingConfig("there:1"))
    made = World(spec, static_spec("test", endpoint(80), http_options=options)).open()
    server = http2_peer(made.upstream.peers[0].accept(), made.loop.turn)
    server.credits = False
    server.answer(1, 200, None)
    sent = 0
    while made.transport.reading:
        made.socket.data_received(b"x" * 65536)
        made.loop.turn()
        sent += 65536
    assert sent <= 65536 * 6
    server.h2.increment_flow_control_window(1 << 20, 1)
    server.h2.increment_flow_control_window(1 << 20)
    server.flush()
    assert made.transport.reading
    made.socket.pause_writing()
    for _ in range(3):
        server.data(1, b"y" * 16384)
    assert server.h2.local_flow_control_window(1) == 65535 - 3 * 16384
    made.socket.resume_writing()
    made.loop.turn()
    server.flush()
    assert server.h2.local_flow_control_window(1) == 65535
