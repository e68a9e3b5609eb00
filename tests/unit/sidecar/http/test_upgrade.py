"""Upgrades: what becomes a tunnel, what does not, and how a tunnel ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from config.model.http import UpgradeConfig
from sidecar.transport.http1_codecs import H11, HTTP1_CODEC_KEY, HTTPTOOLS
from tests.support.http_floor import OK, Client, HttpFloor, Server, request, response, route, status_of

Make = Callable[..., HttpFloor]


@pytest.fixture(params=[HTTPTOOLS, H11])
def make(request: pytest.FixtureRequest) -> Make:
    """A floor with one route to the cluster `web`, over each of the two codecs."""

    def build(**fields: Any) -> HttpFloor:
        fields.setdefault("routes", [route("/", "web")])
        return HttpFloor(runtime={HTTP1_CODEC_KEY: request.param}, **fields)

    return build


class TestUpgrade:
    WS = request("GET", "/ws", "connection: Upgrade", "upgrade: websocket")

    def test_refused_unless_enabled(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(self.WS)
        assert status_of(client.take()) == 403
        assert repr(floor.last) == "403 - upgrade_failed"
        assert floor.asked() == 0
        assert floor.stat("downstream_rq_ws_on_non_ws_route") == 1

    def test_tunnel(self, make: Make) -> None:
        floor = make(upgrade_configs=(UpgradeConfig("websocket"),))
        client = floor.connect()
        client.send(self.WS)
        server = floor.server()
        assert b"upgrade: websocket\r\n" in server.take()
        server.send(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nhi"
        )
        answer = client.take()
        assert status_of(answer) == 101
        assert answer.endswith(b"\r\n\r\nhi")
        client.send(b"\x81\x00")
        assert server.take() == b"\x81\x00"
        server.send(b"\x82\x00")
        assert client.take() == b"\x82\x00"
        floor.advance(100)  # the route timeout does not apply to a tunnel
        client.send(b"more")
        assert server.take() == b"more"
        assert floor.stat("downstream_cx_upgrades_active") == 1
        server.end()
        assert client.ended
        client.lose()
        assert floor.last.code == 101
        assert floor.stat("downstream_cx_upgrades_active") == 0
        assert floor.idle()

    def test_bytes_behind_the_request_wait_for_the_101(self, make: Make) -> None:
        floor = make(upgrade_configs=(UpgradeConfig("websocket"),))
        client = floor.connect()
        client.send(self.WS + b"early")
        server = floor.server()
        assert b"early" not in server.take()
        server.send(b"HTTP/1.1 101 X\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
        assert server.take() == b"early"

    def test_server_that_does_not_switch(self, make: Make) -> None:
        floor = make(upgrade_configs=(UpgradeConfig("websocket"),))
        client = floor.connect()
        client.send(self.WS)
        floor.server().send(OK)
        answer = client.take()
        assert status_of(answer) == 200
        assert answer.endswith(b"\r\n\r\n")
        assert repr(floor.last) == "200 - websocket_handshake_unsuccessful"
        assert floor.idle()

    def test_route_enables(self, make: Make) -> None:
        floor = make(routes=[route("/", "web", upgrade_configs={"websocket": True})])
        client = floor.connect()
        client.send(self.WS)
        assert floor.asked() == 1

    def test_route_disables(self, make: Make) -> None:
        floor = make(
            upgrade_configs=(UpgradeConfig("websocket"),),
            routes=[route("/", "web", upgrade_configs={"websocket": False})],
        )
        client = floor.connect()
        client.send(self.WS)
        assert status_of(client.take()) == 403

    @pytest.mark.parametrize("status", [200, 302])
    def test_the_head_of_a_server_that_does_not_switch_is_the_answer(self, make: Make, status: int) -> None:
        """Without its body, and without a place in the statistics of the cluster."""
        floor = make(upgrade_configs=(UpgradeConfig("websocket"),))
        client = floor.connect()
        client.send(self.WS)
        floor.server().send(response(status, "x-own: 1", body=b"body"))
        answer = client.take()
        assert status_of(answer) == status
        assert b"\r\nx-own: 1\r\n" in answer
        assert answer.endswith(b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        assert floor.value("cluster.web.upstream_rq_completed") == 0
        assert client.ended

    def test_an_error_is_passed_on_whole(self, make: Make) -> None:
        floor = make(upgrade_configs=(UpgradeConfig("websocket"),))
        client = floor.connect()
        client.send(self.WS)
        floor.server().send(response(403, body=b"no"))
        answer = client.take()
        assert status_of(answer) == 403
        assert b"\r\nconnection: close\r\n" in answer
        assert answer.endswith(b"\r\n\r\nno")
        assert repr(floor.last) == "403 - via_upstream"
        assert client.ended

    def test_connection_is_spelled_as_the_server_does(self, make: Make) -> None:
        _, client, _ = self.tunnel(make)
        assert b"\r\nconnection: upgrade\r\n" in client.take()

    @pytest.mark.parametrize("way", ["end", "lose"])
    def test_a_client_that_leaves_a_tunnel(self, make: Make, way: str) -> None:
        floor, client, server = self.tunnel(make)
        client.send(b"bye")
        (client.end if way == "end" else client.lose)()
        assert server.take() == b"bye"
        assert server.closed
        assert client.closed
        if way == "end":
            client.lose()
        assert repr(floor.last) == "101 DC downstream_remote_disconnect"
        assert floor.stat("downstream_cx_destroy_remote_active_rq") == 1
        assert floor.stat("downstream_rq_time") == 0
        assert floor.idle()

    def test_a_server_that_leaves_a_tunnel(self, make: Make) -> None:
        floor, client, server = self.tunnel(make)
        client.take()
        server.send(b"bye")
        server.end()
        assert client.take() == b"bye"
        assert client.ended
        assert repr(floor.last) == "101 UC upstream_reset_after_response_started{connection_termination}"
        assert floor.stat("downstream_rq_tx_reset") == 1
        assert floor.idle()

    def test_every_request_that_may_become_a_tunnel_is_counted(self, make: Make) -> None:
        floor = make(upgrade_configs=(UpgradeConfig("websocket"),))
        client = floor.connect()
        client.send(self.WS)
        assert floor.stat("downstream_cx_upgrades_total") == 1
        floor.server().send(response(500))
        assert status_of(client.take()) == 500
        client.end()
        client.lose()
        assert floor.stat("downstream_cx_upgrades_active") == 0

    def tunnel(self, make: Make) -> tuple[HttpFloor, Client, Server]:
        floor = make(upgrade_configs=(UpgradeConfig("websocket"),))
        client = floor.connect()
        client.send(self.WS)
        server = floor.server()
        server.take()
        server.send(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        return floor, client, server
