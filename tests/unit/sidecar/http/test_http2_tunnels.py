"""Tunnels on HTTP/2 streams: WebSockets by extended CONNECT, CONNECT that ends here, CONNECT that is passed on."""

from __future__ import annotations

from typing import Any

import pytest

from config.model.cluster import ClusterSpec, UpstreamHttpOptions, UpstreamHttpProtocol
from config.model.http import UpgradeConfig
from config.model.http2 import Http2Options
from config.model.route import ConnectConfig, PathMatchKind, RouteAction, RouteMatch, RouteSpec
from sidecar.transport.transport_socket import CloseReason
from tests.support.http2_floor import (
    Fields,
    Http2End,
    body_of,
    head_of,
    http2_client,
    http2_server,
    request_fields,
)
from tests.support.http2_frames import build_settings
from tests.support.http_floor import OK, Client, HttpFloor, Server, response, route
from tests.support.upstream import static_spec

GET = request_fields()
CONNECT: Fields = [(":method", "CONNECT"), (":authority", "there:443")]
WEBSOCKET: Fields = [(":method", "CONNECT"), *GET[1:], (":protocol", "websocket")]
ALLOWED: dict[str, Any] = {
    "http2": Http2Options(allow_connect=True),
    "upgrade_configs": (UpgradeConfig("websocket"),),
}
SWITCHED = b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
H2_CLUSTER = [static_spec("web", http_options=UpstreamHttpOptions(UpstreamHttpProtocol.HTTP2))]
CONNECT_ERROR = 10


def make(**fields: Any) -> tuple[HttpFloor, Http2End, Client]:
    fields.setdefault("routes", [route("/", "web")])
    floor = HttpFloor(**fields)
    return floor, *http2_client(floor)


def settled(floor: HttpFloor) -> bool:
    """No stream and no tunnel is left."""
    gauges = (floor.stat("downstream_cx_upgrades_active"), floor.value("http2.streams_active"))
    return floor.idle() and gauges == (0, 0)


class TestWebSocket:
    def open(self, **fields: Any) -> tuple[HttpFloor, Http2End, int, Server]:
        floor, client, _ = make(**{**ALLOWED, **fields})
        stream = client.request(WEBSOCKET, None)
        server = floor.server()
        server.take()
        server.send(SWITCHED)
        assert head_of(client.told(stream))[":status"] == "200"
        return floor, client, stream, server

    def test_bytes_both_ways(self) -> None:
        floor, client, stream, server = self.open()
        client.data(stream, b"ping")
        assert server.take() == b"ping"
        server.send(b"pong")
        assert client.told(stream) == [("data", b"pong")]
        assert floor.stat("downstream_cx_upgrades_total") == floor.stat("downstream_cx_upgrades_active") == 1
        floor.advance(100)  # the route timeout ends with the handshake
        client.data(stream, b"more")
        assert server.take() == b"more"

    def test_bytes_before_the_answer_wait_for_it(self) -> None:
        floor, client, _ = make(**ALLOWED)
        stream = client.request(WEBSOCKET, None)
        client.data(stream, b"early")
        server = floor.server()
        client.data(stream, b" too")
        assert server.take().endswith(b"\r\n\r\n")
        server.send(SWITCHED)
        assert server.take() == b"early too"
        client.data(stream, b"late")
        assert server.take() == b"late"

    def test_many_bytes_before_the_answer(self) -> None:
        """A megabyte is kept; what comes after that is not credited until there is a tunnel."""
        floor, client, _ = make(**ALLOWED)
        stream = client.request(WEBSOCKET, None)
        server = floor.server()
        for _ in range(65):
            client.data(stream, b"x" * 16384)
        assert floor.stat("downstream_flow_control_paused_reading_total") == 1
        server.take()
        server.send(SWITCHED)
        assert len(server.take()) == 65 * 16384
        assert floor.stat("downstream_flow_control_resumed_reading_total") == 1

    def test_bytes_before_a_refusal_are_dropped(self) -> None:
        floor, client, _ = make(**ALLOWED)
        stream = client.request(WEBSOCKET, None)
        client.data(stream, b"early")
        server = floor.server()
        server.take()
        server.send(b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nn")
        client.data(stream, b"late")
        server.send(b"o")
        assert server.take() == b""
        told = client.told(stream)
        assert (body_of(told), told[-1]) == (b"no", ("reset", 0))
        assert settled(floor)

    @pytest.mark.parametrize("how", ["client ends", "client resets", "client leaves"])
    def test_the_client_ends_it(self, how: str) -> None:
        floor, client, stream, server = self.open()
        client.data(stream, b"last")
        if how == "client ends":
            client.data(stream, b"", True)
            assert server.take() == b"last"
            assert server.transport.eof
            server.end()
        elif how == "client resets":
            client.reset(stream)
        else:
            floor.managers[0].connection.on_closed(CloseReason.REMOTE_RESET, "")
        assert server.closed or server.transport.eof
        assert settled(floor)

    @pytest.mark.parametrize("how", ["end", "reset"])
    def test_the_server_ends_it(self, how: str) -> None:
        floor, client, stream, server = self.open()
        server.send(b"last")
        server.end() if how == "end" else server.reset()
        told = client.told(stream)
        assert body_of(told) == b"last"
        assert told[-1][0] == "reset"
        assert settled(floor)
        assert floor.last.code == 101

    @pytest.mark.parametrize(
        ("answer", "status"),
        [
            (response(403, body=b"no"), "403"),
            (response(200, body=b"what?"), "200"),
            (response(503), "503"),
        ],
    )
    def test_refused_by_the_server(self, answer: bytes, status: str) -> None:
        floor, client, _ = make(**ALLOWED)
        stream = client.request(WEBSOCKET, None)
        floor.server().send(answer)
        told = client.told(stream)
        assert head_of(told)[":status"] == status
        assert ("end",) in told
        assert settled(floor)

    @pytest.mark.parametrize(
        ("manager", "of_route", "granted"),
        [
            ((), {}, False),
            ((UpgradeConfig("websocket"),), {}, True),
            ((UpgradeConfig("websocket"),), {"websocket": False}, False),
            ((), {"websocket": True}, True),
            ((UpgradeConfig("other"),), {}, False),
        ],
    )
    def test_where_it_is_enabled(
        self, manager: tuple[UpgradeConfig, ...], of_route: dict[str, bool], granted: bool
    ) -> None:
        floor, client, _ = make(
            http2=Http2Options(allow_connect=True),
            upgrade_configs=manager,
            routes=[route("/", "web", upgrade_configs=of_route)],
        )
        stream = client.request(WEBSOCKET, None)
        assert floor.asked() == granted
        if not granted:
            assert head_of(client.told(stream))[":status"] == "403"
            assert repr(floor.last) == "403 - upgrade_failed"
            assert floor.stat("downstream_rq_ws_on_non_ws_route") == 1
            assert settled(floor)

    def test_not_announced(self) -> None:
        floor, client, connection = make(upgrade_configs=(UpgradeConfig("websocket"),))
        client.request(WEBSOCKET, None)
        assert [code for _, code in client.goaways] == [1]
        assert connection.ended
        assert floor.last.flags == "DPE"

    def test_idle(self) -> None:
        floor, client, stream, server = self.open(stream_idle_timeout_s=10.0)
        for _ in range(3):
            floor.advance(6)
            client.data(stream, b"x")
        floor.advance(10.2)
        assert client.told(stream)[-1][0] == "reset"
        assert server.closed
        assert repr(floor.last) == "101 SI stream_idle_timeout"
        assert settled(floor)

    def test_back_pressure(self) -> None:
        options = Http2Options(allow_connect=True, initial_stream_window_size=65535)
        floor, client, stream, server = self.open(http2=options)
        server.peer.socket.pause_writing()
        for _ in range(3):
            client.data(stream, b"x" * 16384)
        assert client.h2.local_flow_control_window(stream) == 65535 - 3 * 16384
        server.peer.socket.resume_writing()
        client.flush()
        assert client.h2.local_flow_control_window(stream) == 65535
        floor.managers[0]._on_write_full(True)
        assert not server.transport.reading
        floor.managers[0]._on_write_full(False)
        assert server.transport.reading

    def to_http2(self, *, announced: bool) -> tuple[HttpFloor, Http2End, int, Http2End]:
        floor, client, _ = make(**ALLOWED, clusters=H2_CLUSTER)
        first = client.request(GET)
        server = http2_server(floor.server())
        if announced:
            server.raw(build_settings((8, 1)))
        server.answer(1)
        assert client.status(first) == "200"
        return floor, client, client.request(WEBSOCKET, None), server

    def test_to_an_http2_server(self) -> None:
        floor, client, stream, server = self.to_http2(announced=True)
        head = head_of(server.told(3))
        assert (head[":method"], head[":protocol"], head[":path"]) == ("CONNECT", "websocket", "/")
        assert "upgrade" not in head
        server.answer(3, 200, None)
        assert head_of(client.told(stream))[":status"] == "200"
        client.data(stream, b"ping")
        assert server.told(3) == [("data", b"ping")]
        server.data(3, b"pong")
        assert client.told(stream) == [("data", b"pong")]
        server.reset(3)
        assert client.told(stream)[-1][0] == "reset"
        assert settled(floor)

    def test_to_an_http2_server_that_does_not_announce_it(self) -> None:
        floor, client, stream, server = self.to_http2(announced=False)
        assert server.told(3) == []
        assert head_of(client.told(stream))[":status"] in ("502", "503")
        assert settled(floor)

    def test_refused_by_an_http2_server(self) -> None:
        floor, client, stream, server = self.to_http2(announced=True)
        server.told(3)
        server.answer(3, 404, b"no")
        told = client.told(stream)
        assert (head_of(told)[":status"], body_of(told)) == ("404", b"no")
        assert settled(floor)


def connect_route(**fields: Any) -> RouteSpec:
    fields.setdefault("connect_config", ConnectConfig())
    fields.setdefault("upgrade_configs", {"connect": True})
    return RouteSpec(RouteMatch(PathMatchKind.CONNECT), RouteAction(cluster="web", **fields))


class TestConnectThatEndsHere:
    def open(self, **fields: Any) -> tuple[HttpFloor, Http2End, int, Server]:
        floor, client, _ = make(routes=[connect_route(timeout_s=5.0, idle_timeout_s=100.0)], **fields)
        stream = client.request(CONNECT, None)
        server = floor.server()
        assert head_of(client.told(stream))[":status"] == "200"
        assert server.take() == b""
        return floor, client, stream, server

    def test_bytes_before_there_is_a_connection(self) -> None:
        floor, client, _ = make(routes=[connect_route()])
        stream = client.request(CONNECT, None)
        client.data(stream, b"early")
        assert client.told(stream) == []
        server = floor.server()
        assert server.take() == b"early"
        assert head_of(client.told(stream))[":status"] == "200"

    def test_no_timeout_of_the_route(self) -> None:
        floor, client, stream, server = self.open()
        floor.advance(50)
        client.data(stream, b"ping")
        assert server.take() == b"ping"
        floor.advance(100.2)
        assert client.told(stream)[-1][0] == "reset"
        assert server.closed
        assert repr(floor.last) == "200 SI stream_idle_timeout"
        assert settled(floor)

    def test_the_client_ends_first(self) -> None:
        floor, client, stream, server = self.open()
        client.data(stream, b"ping", True)
        assert server.take() == b"ping"
        assert server.transport.eof
        server.send(b"pong")
        assert client.told(stream) == [("data", b"pong")]
        server.end()
        assert client.told(stream) == [("end",)]
        assert repr(floor.last) == "200 - via_upstream"
        assert settled(floor)

    def test_the_server_ends_first(self) -> None:
        floor, client, stream, server = self.open()
        server.send(b"pong")
        server.end()
        assert client.told(stream) == [("data", b"pong"), ("end",)]
        client.data(stream, b"ping")
        assert server.take() == b"ping"
        assert floor.stat("downstream_cx_upgrades_active") == 1
        client.data(stream, b"", True)
        assert server.transport.eof
        assert repr(floor.last) == "200 - via_upstream"
        assert settled(floor)

    def test_the_server_ends_behind_a_window(self) -> None:
        floor, client, _ = make(routes=[connect_route()])
        client.h2.update_settings({4: 3})
        client.credits = False
        stream = client.request(CONNECT, None)
        server = floor.server()
        server.send(b"abcde")
        server.end()
        client.data(stream, b"x", True)
        assert body_of(client.told(stream)) == b"abc"
        assert floor.log == []
        client.h2.increment_flow_control_window(10, stream)
        assert client.told(stream) == [("data", b"de"), ("end",)]
        assert settled(floor)

    @pytest.mark.parametrize("after_its_end", [False, True])
    def test_the_server_resets(self, after_its_end: bool) -> None:
        floor, client, stream, server = self.open()
        if after_its_end:
            server.end()
            assert client.told(stream) == [("end",)]
            client.data(stream, b"does not arrive")
        server.reset()
        assert client.told(stream) == [("reset", CONNECT_ERROR)]
        assert floor.last.flags == "UC"
        assert settled(floor)

    def test_the_client_resets(self) -> None:
        floor, client, stream, server = self.open()
        client.data(stream, b"ping")
        client.reset(stream)
        assert server.take() == b"ping"
        assert server.closed
        assert repr(floor.last) == "200 DR http2.remote_reset"
        assert settled(floor)

    def test_the_client_gives_up_before_there_is_a_connection(self) -> None:
        floor, client, _ = make(routes=[connect_route()])
        stream = client.request(CONNECT, None)
        client.reset(stream)
        assert floor.last.flags == "DR"
        assert settled(floor)
        assert floor.fakes["web"].active_gauges() == {}

    def test_refused(self) -> None:
        floor, client, connection = make(routes=[connect_route()])
        stream = client.request(CONNECT, None)
        floor.refuse()
        told = client.told(stream)
        assert head_of(told)[":status"] == "503"
        assert told[-1] == ("reset", CONNECT_ERROR)
        assert floor.last.flags == "UF"
        assert settled(floor)
        assert not connection.ended

    def test_no_host(self) -> None:
        floor, client, _ = make(routes=[connect_route()], clusters=[ClusterSpec("web", "web")])
        told = client.told(client.request(CONNECT, None))
        assert head_of(told)[":status"] == "503"
        assert floor.last.flags == "UH"
        assert settled(floor)

    def test_a_request_that_has_ended(self) -> None:
        floor, client, _ = make(routes=[connect_route()])
        stream = client.request(CONNECT)
        server = floor.server()
        assert server.transport.eof
        server.send(b"pong")
        server.end()
        assert client.told(stream)[1:] == [("data", b"pong"), ("end",)]
        assert settled(floor)

    @pytest.mark.parametrize("allowed", [True, False])
    def test_post(self, allowed: bool) -> None:
        config = ConnectConfig(allow_post=allowed)
        floor, client, _ = make(routes=[route("/", "web", connect_config=config)])
        stream = client.request(request_fields("/tunnel", "POST"), None)
        client.data(stream, b"ping")
        sent = floor.server().take()
        assert (sent == b"ping") is allowed
        assert head_of(client.told(stream)).get(":status") == ("200" if allowed else None)

    def test_many_tunnels_and_requests(self) -> None:
        floor, client, _ = make(routes=[connect_route(), route("/", "web")])
        tunnels = [client.request(CONNECT, None) for _ in range(3)]
        plain = client.request(GET)
        servers = [floor.server() for _ in range(4)]
        servers[3].send(OK)
        assert client.status(plain) == "200"
        for stream, server in zip(tunnels, servers[:3], strict=True):
            client.data(stream, str(stream).encode())
            assert server.take() == str(stream).encode()
        assert floor.stat("downstream_cx_upgrades_active") == 3
        floor.managers[0].connection.drain()
        floor.advance(1)
        client.flush()
        assert not floor.managers[0].closing
        for server in servers[:3]:
            server.end()
        for stream in tunnels:
            client.data(stream, b"", True)
        assert floor.managers[0].closing
        assert settled(floor)


class TestConnectPassedOn:
    def test_to_an_http1_server(self) -> None:
        floor, client, _ = make(routes=[connect_route(connect_config=None)])
        stream = client.request(CONNECT, None)
        server = floor.server()
        assert server.take().startswith(b"CONNECT there:443 HTTP/1.1\r\nhost: there:443\r\n")
        server.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        told = client.told(stream)
        assert (head_of(told)[":status"], body_of(told)) == ("200", b"hello")
        client.data(stream, b"ping")
        assert server.take() == b"ping"
        server.reset()
        assert client.told(stream)[-1] == ("reset", CONNECT_ERROR)
        assert settled(floor)

    def test_to_an_http2_server(self) -> None:
        floor, client, _ = make(routes=[connect_route(connect_config=None)], clusters=H2_CLUSTER)
        stream = client.request(CONNECT, None)
        server = http2_server(floor.server())
        head = head_of(server.told(1))
        assert (head[":method"], head[":authority"]) == ("CONNECT", "there:443")
        assert not {":path", ":scheme"} & head.keys()
        server.answer(1, 200, None)
        server.data(1, b"pong", True)
        assert client.told(stream)[1:] == [("data", b"pong"), ("end",)]
        client.data(stream, b"ping", True)
        assert server.told(1) == [("data", b"ping"), ("end",)]
        assert repr(floor.last) == "200 - via_upstream"
        assert settled(floor)

    @pytest.mark.parametrize("clusters", [H2_CLUSTER, ()], ids=["h2", "h1"])
    @pytest.mark.parametrize("ended", [False, True])
    def test_bytes_before_the_answer_wait_for_it(self, clusters: Any, ended: bool) -> None:
        floor, client, _ = make(routes=[connect_route(connect_config=None)], clusters=clusters)
        stream = client.request(CONNECT, None)
        client.data(stream, b"early", ended)
        server = floor.server()
        if clusters:
            end = http2_server(server)
            assert [event[0] for event in end.told(1)] == ["headers"]
            end.answer(1, 200, None)
            assert end.told(1) == [("data", b"early"), *([("end",)] if ended else [])]
            end.data(1, b"back", True)
        else:
            assert server.take().endswith(b"\r\n\r\n")
            server.send(b"HTTP/1.1 200 OK\r\n\r\n")
            assert server.take() == b"early"
            assert server.transport.eof is ended
            server.send(b"back")
            server.end()
        told = client.told(stream)
        assert (head_of(told)[":status"], body_of(told)) == ("200", b"back")
        if clusters:
            assert ("end",) in told
            if not ended:
                client.data(stream, b"", True)
        assert settled(floor)

    @pytest.mark.parametrize("clusters", [H2_CLUSTER, ()], ids=["h2", "h1"])
    def test_refused(self, clusters: Any) -> None:
        floor, client, _ = make(routes=[connect_route(connect_config=None)], clusters=clusters)
        stream = client.request(CONNECT, None)
        if clusters:
            http2_server(floor.server()).answer(1, 403, b"no")
        else:
            floor.server().send(response(403, body=b"no"))
        told = client.told(stream)
        assert (head_of(told)[":status"], body_of(told)) == ("403", b"no")
        assert ("end",) in told
        assert settled(floor)


@pytest.mark.parametrize(
    ("routes", "status", "flags"),
    [
        ([connect_route(upgrade_configs={})], "403", "-"),
        ([connect_route(upgrade_configs={"connect": False})], "403", "-"),
        ([route("/", "web")], "404", "NR"),
        ([], "404", "NR"),
        ([connect_route(), route("/", "web")], "200", "-"),
    ],
)
def test_where_connect_is_enabled(routes: list[RouteSpec], status: str, flags: str) -> None:
    floor, client, connection = make(routes=routes)
    stream = client.request(CONNECT, None)
    if status == "200":
        floor.server()
    assert head_of(client.told(stream))[":status"] == status
    assert not connection.ended
    if status != "200":
        assert floor.last.flags == flags
        assert settled(floor)
