"""Upgraded HTTP streams are reported while they are open, on both sides and in whatever version of HTTP they travel.

client --HTTP/1.1--> productpage's sidecar --HTTP/1.1 or HTTP/2--> ratings' sidecar --> application
"""

from __future__ import annotations

from typing import Any

import pytest
from websockets.sync.client import connect

from tests.interop.gaps.stage import (
    CLOSED,
    OPENED,
    RECEIVED,
    REQUESTS,
    SENT,
    GapStage,
    Labels,
    http,
    of_node,
    peer_metadata,
    series_of,
    service,
    services,
    stats,
    wait_for_series,
)
from tests.support.bootstraps import Json, cluster, http_filter_chain, listener, route_config, route_to
from tests.support.ports import free_port
from tests.support.process import Proxy
from tests.support.tunnels import open_http1
from tests.support.websocket_server import WebSocketServer

INTERVAL = "0.2s"
SERVICE = ("ratings.default.svc.cluster.local", "ratings", "default")
VERSIONS = {"HTTP/1.1": {}, "HTTP/2": {"http2_protocol_options": {"allow_connect": True}}}
CONNECT_HERE: Json = {"upgrade_type": "CONNECT", "connect_config": {}}
MANAGER: dict[str, Any] = {
    "upgrade_configs": [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}],
    "http2_protocol_options": {"allow_connect": True},
}


def chain(routes: list[Json], *, inbound: bool) -> Json:
    filters = [
        peer_metadata(inbound=inbound),
        stats(tcp_reporting_duration=INTERVAL, disable_host_header_fallback=inbound),
    ]
    return http_filter_chain(route_config(*routes), http_filters=filters, **MANAGER)


class Pair:
    """Both sidecars; `application` is where WebSockets end, `tcp` where CONNECT does."""

    def __init__(self, stage: GapStage, version: str, application: int) -> None:
        self.port, between = free_port(), free_port()
        self.tcp = stage.tcp_backend("echo")
        connect: Json = {"connect_matcher": {}}
        ends = {"cluster": "tcp", "timeout": "0s", "upgrade_configs": [CONNECT_HERE]}
        self.server = stage.start(
            "ratings",
            [
                listener(
                    "inbound",
                    between,
                    chain([{"match": connect, "route": ends}, route_to("http", timeout="0s")], inbound=True),
                    traffic_direction="INBOUND",
                )
            ],
            [
                cluster("tcp", self.tcp.address, **services(*SERVICE)),
                cluster("http", ("127.0.0.1", application), **services(*SERVICE)),
            ],
        )
        passed_on = {"cluster": "outbound", "timeout": "0s"}
        self.client = stage.start(
            "productpage",
            [
                listener(
                    "outbound",
                    self.port,
                    chain(
                        [{"match": connect, "route": passed_on}, route_to("outbound", timeout="0s")],
                        inbound=False,
                    ),
                    traffic_direction="OUTBOUND",
                )
            ],
            [cluster("outbound", ("127.0.0.1", between), **VERSIONS[version], **services(*SERVICE))],
        )

    def sides(self) -> list[tuple[Proxy, Labels]]:
        """Each proxy, with who talks to whom."""
        names = {**of_node("source", "productpage"), **of_node("destination", "ratings"), **service(*SERVICE)}
        return [
            (self.client, {"reporter": "source", **names, "connection_security_policy": "unknown"}),
            (self.server, {"reporter": "destination", **names, "connection_security_policy": "none"}),
        ]


def wait_for_bytes(pair: Pair, *, sent: int, received: int) -> None:
    """Until both sides have reported so many bytes of one open stream."""
    for proxy, names in pair.sides():
        labels = names | {"request_protocol": "http", "response_flags": "-"}
        wait_for_series(proxy, OPENED, labels, 1)
        wait_for_series(proxy, SENT, labels, sent)
        wait_for_series(proxy, RECEIVED, labels, received)
        assert series_of(proxy, CLOSED) == []
        assert series_of(proxy, REQUESTS) == []


def wait_for_end(pair: Pair, code: int) -> None:
    for proxy, names in pair.sides():
        labels = names | {"request_protocol": "http"}
        wait_for_series(proxy, CLOSED, labels | {"response_flags": "-"}, 1)
        ((found, value),) = series_of(proxy, REQUESTS)
        flags = {"response_flags": found["response_flags"]}  # of how the stream ended
        assert (found, value) == (
            labels | http(code) | flags | {"connection_security_policy": names["connection_security_policy"]},
            1,
        )


@pytest.mark.parametrize("version", VERSIONS)
def test_websocket(stage: GapStage, version: str) -> None:
    server = WebSocketServer()
    try:
        pair = Pair(stage, version, server.address[1])
        with connect(f"ws://127.0.0.1:{pair.port}/echo", proxy=None, compression=None) as websocket:
            for number in (1, 2):
                websocket.send("hello")
                assert websocket.recv() == "hello"
                # Frames have two bytes more than the message, those of a client also a mask of four.
                wait_for_bytes(pair, sent=7 * number, received=11 * number)
        wait_for_end(pair, 101)
    finally:
        server.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_connect(stage: GapStage, version: str) -> None:
    pair = Pair(stage, version, free_port())
    with open_http1(("127.0.0.1", pair.port), "tcp.example:80") as tunnel:
        wait_for_bytes(pair, sent=0, received=0)  # open, and silent
        tunnel.send(b"hello")
        assert tunnel.read(5) == b"hello"
        wait_for_bytes(pair, sent=5, received=5)
    wait_for_end(pair, 200)
