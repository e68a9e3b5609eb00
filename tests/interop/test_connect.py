"""CONNECT: ended at a proxy, passed on to the next, and made by the TCP proxy, over HTTP/1.1 and over HTTP/2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes

from tests.interop.differences import CONNECT
from tests.interop.pair import has_istio_filters, start_pair
from tests.interop.stage import FLUSH, H2, AccessLog, Stage
from tests.support.any_client import PROTOCOLS
from tests.support.backends import LoopThread, Send, TcpBackend
from tests.support.bootstraps import (
    Json,
    bootstrap,
    cluster,
    http_filter_chain,
    listener,
    route_config,
    tcp_filter_chain,
)
from tests.support.envoy import require_envoy
from tests.support.h2_backend import Data, Echo, Head
from tests.support.h2_client import H2Client
from tests.support.http_client import get
from tests.support.pattern import piece
from tests.support.ports import free_ports
from tests.support.process import Proxy, sidecar_command, wait_until
from tests.support.tunnels import Refused, Tunnel, open_http1, open_http2, open_tcp, send_pattern

DIRECTIONS = ("envoy to ours", "ours to envoy", "ours to ours")
MODES = ("echo", "sink", "source")
CLOSED = "closed"
"""A target at which nobody listens."""
LARGE_BYTES = 8 << 20
PART_BYTES = 300_000

WAYS = (
    "HTTP/1.1",
    "HTTP/2",
    "HTTP/1.1 over HTTP/1.1",
    "HTTP/1.1 over HTTP/2",
    "HTTP/2 over HTTP/1.1",
    "HTTP/2 over HTTP/2",
    "TCP over HTTP/1.1",
    "TCP over HTTP/2",
)
"""What the client speaks, and what the first proxy speaks to the second; without it the client asks the second itself."""
HALF_CLOSE_WAYS = ("HTTP/2", "HTTP/2 over HTTP/2", "TCP over HTTP/2")
"""Where a client can end its own direction alone: HTTP/1.1 has no way to say so without closing."""

ALLOWED: dict[str, Any] = {
    "upgrade_configs": [{"upgrade_type": "CONNECT"}],
    "http2_protocol_options": {"allow_connect": True},
    "delayed_close_timeout": "0.1s",
}
_NEXT = {"HTTP/1.1": {}, "HTTP/2": {"http2_protocol_options": {"allow_connect": True}}}


def _ends_here(cluster_name: str) -> Json:
    """A route that ends CONNECT and passes bare bytes on."""
    upgrade = {"upgrade_type": "CONNECT", "connect_config": {}}
    return {
        "match": {"connect_matcher": {}},
        "route": {"cluster": cluster_name, "timeout": "0s", "upgrade_configs": [upgrade]},
    }


def _passes_on(cluster_name: str) -> Json:
    """A route that passes CONNECT on."""
    return {"match": {"connect_matcher": {}}, "route": {"cluster": cluster_name, "timeout": "0s"}}


def _by_target(targets: dict[str, Json]) -> Json:
    """Routes by the host of CONNECT."""
    hosts = [
        {"name": host, "domains": [f"{host}.example", f"{host}.example:80"], "routes": [route]}
        for host, route in targets.items()
    ]
    return {"name": "local", "virtual_hosts": hosts}


class ConnectPair:
    """A proxy that makes CONNECT and passes it on, and one behind it that ends it."""

    def __init__(self, direction: str, directory: Path) -> None:
        self._loop = LoopThread()
        self.tcp = {mode: TcpBackend(self._loop, mode).start() for mode in MODES}
        self.log = AccessLog(directory / "second.log")
        targets = (*MODES, CLOSED)
        first_admin, second_admin, self._nobody, self._second, *ports = free_ports(6 + 2 * len(targets))
        self._fronts = dict(zip(PROTOCOLS, ports[:2], strict=True))
        self._tunnels = {(protocol, target): ports.pop() for protocol in PROTOCOLS for target in targets}
        commands = {"envoy": require_envoy, "ours": sidecar_command}
        first, _, second = direction.split(" ")
        self.first, self.second = start_pair(
            (commands[first](), self._first_bootstrap(first_admin), first_admin),
            (commands[second](), self._second_bootstrap(second_admin), second_admin),
            directory,
            FLUSH,
        )

    def close(self) -> None:
        self.first.terminate()
        self.second.terminate()
        for backend in self.tcp.values():
            backend.stop()
        self._loop.close()

    def open(self, way: str, target: str, key: str = "-") -> Tunnel:
        """A tunnel to `target`. Raises Refused."""
        client, _, between = way.partition(" over ")
        if client == "TCP":
            return open_tcp(("127.0.0.1", self._tunnels[between, target]))
        address = ("127.0.0.1", self._fronts[between] if between else self._second)
        name = f"{target}.example:80"
        if client == "HTTP/1.1":
            return open_http1(address, name, {"x-log": key})
        return open_http2(address, name, {"x-log": key})

    def _second_bootstrap(self, admin: int) -> str:
        routes = _by_target({name: _ends_here(name) for name in (*MODES, CLOSED)})
        chain = http_filter_chain(routes, stat_prefix="second", access_log=[self.log.config()], **ALLOWED)
        clusters = [cluster(mode, backend.address) for mode, backend in self.tcp.items()]
        clusters.append(cluster(CLOSED, ("127.0.0.1", self._nobody)))
        return bootstrap(admin, [listener("second", self._second, chain)], clusters)

    def _first_bootstrap(self, admin: int) -> str:
        listeners = [
            listener(
                f"front-{protocol}",
                port,
                http_filter_chain(route_config(_passes_on(protocol)), stat_prefix="front", **ALLOWED),
            )
            for protocol, port in self._fronts.items()
        ]
        listeners += [
            listener(
                f"tunnel-{protocol}-{target}",
                port,
                tcp_filter_chain(
                    protocol, stat_prefix=target, tunneling_config={"hostname": f"{target}.example:80"}
                ),
            )
            for (protocol, target), port in self._tunnels.items()
        ]
        second = ("127.0.0.1", self._second)
        clusters = [cluster(protocol, second, **_NEXT[protocol]) for protocol in PROTOCOLS]
        return bootstrap(admin, listeners, clusters)


@pytest.fixture(scope="module", params=DIRECTIONS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectPair]:
    created = ConnectPair(request.param, tmp_path_factory.mktemp("connect"))
    yield created
    created.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    created = Stage(tmp_path)
    yield created
    created.close()


def _open(protocol: str, address: tuple[str, int], target: str, key: str = "-") -> Tunnel:
    opener = open_http2 if protocol == "HTTP/2" else open_http1
    return opener(address, target, {"x-log": key})


# Through one proxy and through two


@pytest.mark.parametrize("way", WAYS)
def test_bytes_go_both_ways(pair: ConnectPair, way: str) -> None:
    with pair.open(way, "echo") as tunnel:
        tunnel.send(b"one ")
        assert tunnel.read(4) == b"one "
        tunnel.send(b"two")
        assert tunnel.read(7) == b"one two"
    wait_until(
        lambda: pair.tcp["echo"].connections_open == 0, timeout_s=10, what="the connection behind closed"
    )


@pytest.mark.parametrize("way", WAYS)
def test_many_bytes_both_ways_at_once(pair: ConnectPair, way: str) -> None:
    with pair.open(way, "echo") as tunnel:
        assert tunnel.echo_pattern(LARGE_BYTES).is_exactly(LARGE_BYTES)


@pytest.mark.parametrize("way", HALF_CLOSE_WAYS)
@pytest.mark.parametrize("size", [0, 10, LARGE_BYTES])
def test_the_client_ends_its_direction_first(pair: ConnectPair, way: str, size: int) -> None:
    """The application sees the end, then answers."""
    with pair.open(way, "sink") as tunnel:
        send_pattern(tunnel, size)
        tunnel.half_close()
        assert tunnel.read_all() == b"%d\n" % size
        assert tunnel.ended_cleanly()
    assert pair.tcp["sink"].checks[-1].is_exactly(size)


@pytest.mark.parametrize("way", [way for way in WAYS if way not in HALF_CLOSE_WAYS])
def test_the_client_ends_its_direction_where_that_ends_all(pair: ConnectPair, way: str) -> None:
    """The tunnel ends and nothing stays open."""
    with pair.open(way, "echo") as tunnel:
        tunnel.send(b"one")
        assert tunnel.read(3) == b"one"
        tunnel.half_close()
        assert tunnel.read_all() == b"one"
    wait_until(
        lambda: pair.tcp["echo"].connections_open == 0, timeout_s=10, what="the connection behind closed"
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [0, 10, PART_BYTES])
def test_the_application_ends_its_direction_first(pair: ConnectPair, way: str, size: int) -> None:
    """All that it has sent arrives before the end."""
    with pair.open(way, "source") as tunnel:
        tunnel.send(b"%d\n" % size)
        assert tunnel.read_all() == bytes(piece(0, size))
        # the end of the connection that carries a CONNECT over HTTP/1.1 is no END_STREAM, but RST_STREAM
        assert tunnel.ended_cleanly() == (way != "HTTP/2 over HTTP/1.1")


def test_the_application_ends_its_direction_before_all_is_read(pair: ConnectPair) -> None:
    """More has been sent than the window of the client holds."""
    if not has_istio_filters(pair.second.command):
        pytest.skip(CONNECT["end before window"])
    address = ("127.0.0.1", pair._second)
    with open_http2(address, "source.example:80", window=65535) as tunnel:
        tunnel.send(b"%d\n" % PART_BYTES)
        assert tunnel.read_all() == bytes(piece(0, PART_BYTES))
        assert tunnel.ended_cleanly()


@pytest.mark.parametrize("way", WAYS)
def test_refused_upstream(pair: ConnectPair, way: str) -> None:
    """The status comes back; a TCP client is cut off."""
    key = f"refused {way}"
    if way.startswith("TCP"):
        with pair.open(way, CLOSED) as tunnel:
            assert tunnel.read_all() == b""
        return
    with pytest.raises(Refused) as raised:
        pair.open(way, CLOSED, key)
    assert raised.value.status == 503
    entry = pair.log.entry(key)
    assert (entry.method, entry.status, entry.flags) == ("CONNECT", "503", "UF")


@pytest.mark.parametrize("way", WAYS)
def test_tunnels_leave_nothing_behind(pair: ConnectPair, way: str) -> None:
    for _ in range(10):
        with pair.open(way, "echo") as tunnel:
            tunnel.send(b"x")
            assert tunnel.read(1) == b"x"
    wait_until(
        lambda: pair.tcp["echo"].connections_open == 0, timeout_s=10, what="the connections behind closed"
    )
    for proxy, gauge in (
        (pair.second, "cluster.echo.upstream_cx_active"),
        (pair.second, "http.second.downstream_rq_active"),
        (pair.first, "http.front.downstream_rq_active"),
        (pair.first, "tcp.echo.downstream_cx_active"),
    ):

        def at_rest(proxy: Proxy = proxy, gauge: str = gauge) -> bool:
            return proxy.stat(gauge) == 0

        wait_until(at_rest, timeout_s=10, what=f"{gauge} back to 0")


# One proxy


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_tunnel_in_the_access_log(stage: Stage, protocol: str) -> None:
    echo = stage.tcp_backend("echo")
    stage.start([stage.http_listener(_ends_here("echo"), **ALLOWED)], [cluster("echo", echo.address)])
    with _open(protocol, stage.address, "echo.example:80", "a") as tunnel:
        tunnel.send(b"hello")
        assert tunnel.read(5) == b"hello"
        if protocol == "HTTP/2":
            tunnel.half_close()
            assert tunnel.read_all() == b"hello"
    entry = stage.log.entry("a")
    assert (entry.method, entry.protocol, entry.status) == ("CONNECT", protocol, "200")
    assert (entry.bytes_received, entry.bytes_sent) == ("5", "5")
    ended = ("-", "via_upstream") if protocol == "HTTP/2" else ("DC", "downstream_remote_disconnect")
    assert (entry.flags, entry.details) == ended


def test_bytes_behind_the_head(stage: Stage) -> None:
    """They wait for the connection and go through it."""
    echo = stage.tcp_backend("echo")
    stage.start([stage.http_listener(_ends_here("echo"), **ALLOWED)], [cluster("echo", echo.address)])
    with open_http1(stage.address, "echo.example:80", early=b"early") as tunnel:
        assert tunnel.read(5) == b"early"
    with H2Client(stage.address) as client:
        stream = client.connect("echo.example:80")
        client.send(stream, b"early")
        client.wait_until(lambda: client.answers[stream].body == b"early", "the echo")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_manager_need_not_know(stage: Stage, protocol: str) -> None:
    """The route alone turns CONNECT on; `allow_connect` is about extended CONNECT."""
    echo = stage.tcp_backend("echo")
    stage.start([stage.http_listener(_ends_here("echo"))], [cluster("echo", echo.address)])
    with _open(protocol, stage.address, "echo.example:80") as tunnel:
        tunnel.send(b"x")
        assert tunnel.read(1) == b"x"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("why", ["nowhere configured", "turned off by the route", "no such route"])
def test_connect_that_is_not_allowed(stage: Stage, protocol: str, why: str) -> None:
    echo = stage.tcp_backend("echo")
    route, manager, expected = {
        "nowhere configured": (_passes_on("echo"), {}, ("403", "-", "upgrade_failed")),
        "turned off by the route": (_turned_off(), ALLOWED, ("403", "-", "upgrade_failed")),
        "no such route": (
            {"match": {"prefix": "/"}, "route": {"cluster": "echo"}},
            ALLOWED,
            ("404", "NR", "route_not_found"),
        ),
    }[why]
    options: dict[str, Any] = {**ALLOWED, "upgrade_configs": []} if not manager else ALLOWED
    stage.start([stage.http_listener(route, **options)], [cluster("echo", echo.address)])
    with pytest.raises(Refused) as raised:
        _open(protocol, stage.address, "echo.example:80", "a")
    assert str(raised.value.status) == expected[0]
    entry = stage.log.entry("a")
    assert (entry.status, entry.flags, entry.details) == expected
    assert echo.connections_opened == 0


def _turned_off() -> Json:
    route = _ends_here("echo")
    route["route"]["upgrade_configs"] = [{"upgrade_type": "CONNECT", "enabled": False}]
    return route


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"CONNECT echo.example HTTP/1.1\r\nhost: echo.example\r\n\r\n", 400),
        (b"CONNECT /path HTTP/1.1\r\nhost: echo.example\r\n\r\n", 400),
        (b"CONNECT echo.example:80 HTTP/1.1\r\nhost: echo.example:80\r\ncontent-length: 3\r\n\r\nabc", 400),
        (b"CONNECT echo.example:80 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    ],
    ids=["no port", "a path", "a length", "chunked"],
)
def test_heads_of_connect_that_are_refused(stage: Stage, head: bytes, status: int) -> None:
    echo = stage.tcp_backend("echo")
    stage.start([stage.http_listener(_ends_here("echo"), **ALLOWED)], [cluster("echo", echo.address)])
    with open_tcp(stage.address) as raw:
        raw.send(head)
        assert raw.read_all().startswith(b"HTTP/1.1 %d " % status)
    assert echo.connections_opened == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_application_that_resets_or_a_client_that_resets(stage: Stage, protocol: str) -> None:
    silent = stage.tcp_backend("silent")
    stage.start([stage.http_listener(_ends_here("silent"), **ALLOWED)], [cluster("silent", silent.address)])
    with _open(protocol, stage.address, "silent.example:80", "client"):
        wait_until(lambda: silent.connections_open == 1, timeout_s=5, what="the connection behind")
    wait_until(lambda: silent.connections_open == 0, timeout_s=5, what="the connection behind closed")
    assert stage.log.entry("client").flags == "DC"
    with _open(protocol, stage.address, "silent.example:80", "application") as tunnel:
        wait_until(lambda: silent.connections_open == 1, timeout_s=5, what="the connection behind")
        silent.stop()
        assert tunnel.read_all() == b""
    stage.settled(cluster__silent__upstream_cx_active=0)


# The form of what is passed on


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_form_of_connect_passed_on(stage: Stage, protocol: str) -> None:
    h1 = stage.http_backend()
    h1.answer = lambda _: [Send(b"HTTP/1.1 200 Connected\r\nx-backend: 1\r\n\r\n")]
    h2 = stage.h2_backend(lambda _: [Head(200, [("x-backend", "1")]), Echo()])
    routes = _by_target({"h1": _passes_on("h1"), "h2": _passes_on("h2")})
    chain = http_filter_chain(routes, access_log=[stage.log.config()], **ALLOWED)
    clusters = [cluster("h1", h1.address), cluster("h2", h2.address, **H2)]
    stage.start([listener("http", stage.port, chain)], clusters)
    with _open(protocol, stage.address, "h1.example:80", "h1") as tunnel:
        tunnel.send(b"abc")
        wait_until(lambda: h1.leftovers() == [b"abc"], timeout_s=5, what="the bytes behind the head")
    head = h1.requests[0]
    assert head.request_line == b"CONNECT h1.example:80 HTTP/1.1"
    assert head.values("host") == ["h1.example:80"]
    assert head.values("content-length") == head.values("transfer-encoding") == []
    with _open(protocol, stage.address, "h2.example:80", "h2") as tunnel:
        tunnel.send(b"abc")
        assert tunnel.read(3) == b"abc"
    fields = h2.requests[0].fields
    pseudo = sorted((name, value) for name, value in fields if name.startswith(":"))
    assert pseudo == [(":authority", "h2.example:80"), (":method", "CONNECT")]
    assert not {name for name, _ in fields} & {"host", "content-length", "transfer-encoding"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("upstream", ["h1", "h2"])
def test_a_next_proxy_that_refuses(stage: Stage, protocol: str, upstream: str) -> None:
    """Its answer comes back, body and all."""
    h1 = stage.http_backend()
    h1.answer = lambda _: [Send(b"HTTP/1.1 407 No\r\ncontent-length: 3\r\n\r\nbad")]
    h2 = stage.h2_backend(lambda _: [Head(407, [("content-length", "3")]), Data(b"bad", end=True)])
    clusters = [cluster("h1", h1.address), cluster("h2", h2.address, **H2)]
    stage.start([stage.http_listener(_passes_on(upstream), **ALLOWED)], clusters)
    with pytest.raises(Refused) as raised:
        _open(protocol, stage.address, "x.example:80", "a")
    assert raised.value.status == 407
    entry = stage.log.entry("a")
    assert (entry.status, entry.flags, entry.details) == ("407", "-", "via_upstream")
    assert entry.bytes_sent == "3"


def test_an_upstream_that_cannot_be_reached_is_a_connect_error(stage: Stage) -> None:
    """An HTTP/2 client gets the whole answer and the code CONNECT_ERROR behind it."""
    stage.start(
        [stage.http_listener(_ends_here("closed"), **ALLOWED)],
        [cluster("closed", ("127.0.0.1", free_ports(1)[0]))],
    )
    with H2Client(stage.address) as client:
        stream = client.connect("x.example:80")
        answer = client.wait(stream)
        client.wait_until(lambda: answer.reset is not None, "RST_STREAM")
    assert (answer.status, answer.ended, answer.reset) == (503, True, ErrorCodes.CONNECT_ERROR)


# CONNECT made by the TCP proxy


def _tunneling(stage: Stage, cluster_name: str, **tunneling: Any) -> Json:
    config = {"hostname": "target.example:80", **tunneling}
    chain = tcp_filter_chain(cluster_name, tunneling_config=config, access_log=[stage.log.config()])
    return listener("tcp", stage.port, chain)


@pytest.mark.parametrize("upstream", ["h1", "h2"])
def test_the_form_of_connect_made(stage: Stage, upstream: str) -> None:
    h1 = stage.http_backend()
    h1.answer = lambda _: [Send(b"HTTP/1.1 200 OK\r\n\r\n")]
    h2 = stage.h2_backend(lambda _: [Head(200), Echo()])
    clusters = [cluster("h1", h1.address), cluster("h2", h2.address, **H2)]
    added = [{"header": {"key": "x-added", "value": "1"}}]
    stage.start([_tunneling(stage, upstream, headers_to_add=added)], clusters)
    with open_tcp(stage.address) as tunnel:
        tunnel.send(b"abc")
        if upstream == "h2":
            assert tunnel.read(3) == b"abc"
            assert h2.requests[0].fields == [
                (":method", "CONNECT"),
                (":authority", "target.example:80"),
                ("x-added", "1"),
            ]
            return
        wait_until(lambda: h1.leftovers() == [b"abc"], timeout_s=5, what="the bytes behind the head")
    head = h1.requests[0]
    assert head.request_line == b"CONNECT target.example:80 HTTP/1.1"
    assert head.fields() == [("host", "target.example:80"), ("x-added", "1")]


@pytest.mark.parametrize("upstream", ["h1", "h2"])
def test_a_tunnel_that_is_refused(stage: Stage, upstream: str) -> None:
    h1 = stage.http_backend()
    h1.answer = lambda _: [Send(b"HTTP/1.1 503 No\r\ncontent-length: 3\r\n\r\nbad")]
    h2 = stage.h2_backend(lambda _: [Head(503), Data(b"bad", end=True)])
    clusters = [cluster("h1", h1.address), cluster("h2", h2.address, **H2)]
    stage.start([_tunneling(stage, upstream)], clusters)
    with open_tcp(stage.address) as tunnel:
        assert tunnel.read_all() == b""
    (entry,) = stage.log.wait(1)
    assert entry.flags == "UF,URX"
    assert (entry.bytes_received, entry.bytes_sent) == ("0", "0")


@pytest.mark.parametrize("upstream", ["h1", "h2"])
def test_a_tunnel_is_not_a_switch_of_protocols(stage: Stage, upstream: str) -> None:
    """A 101 grants nothing; other 1xx are passed over."""
    h1 = stage.http_backend()
    h1.answer = lambda _: [Send(b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")]
    h2 = stage.h2_backend(lambda _: [Head(101)])
    clusters = [cluster("h1", h1.address), cluster("h2", h2.address, **H2)]
    stage.start([_tunneling(stage, upstream)], clusters)
    with open_tcp(stage.address) as tunnel:
        assert tunnel.read_all() == b""
    (entry,) = stage.log.wait(1)
    assert entry.bytes_sent == "0"
    assert set(entry.flags.split(",")) & {"UF", "UPE", "URX"}


def test_a_tunnel_whose_next_proxy_is_not_there(stage: Stage) -> None:
    stage.start([_tunneling(stage, "closed")], [cluster("closed", ("127.0.0.1", free_ports(1)[0]), **H2)])
    with open_tcp(stage.address) as tunnel:
        assert tunnel.read_all() == b""
    (entry,) = stage.log.wait(1)
    assert entry.flags == "UF,URX"


def test_tunnels_share_a_connection(stage: Stage) -> None:
    h2 = stage.h2_backend(lambda _: [Head(200), Echo()])
    stage.start([_tunneling(stage, "h2")], [cluster("h2", h2.address, **H2)])
    tunnels = [open_tcp(stage.address) for _ in range(10)]
    for number, tunnel in enumerate(tunnels):
        tunnel.send(b"%d" % number)
        assert tunnel.read(1) == b"%d" % number
    assert len(h2.connections) == 1
    for tunnel in tunnels:
        tunnel.close()
    h2.wait(lambda: all(r.complete or r.reset is not None for r in h2.requests), "all tunnels ended")


def test_requests_and_tunnels_on_one_listener(stage: Stage) -> None:
    """CONNECT goes one way, everything else another."""
    echo, app = stage.tcp_backend("echo"), stage.http_backend()
    plain = {"match": {"prefix": "/"}, "route": {"cluster": "app"}}
    clusters = [cluster("echo", echo.address), cluster("app", app.address)]
    stage.start([stage.http_listener(_ends_here("echo"), plain, **ALLOWED)], clusters)
    with open_http1(stage.address, "echo.example:80") as tunnel:
        assert get(stage.address, "/").status == 200
        tunnel.send(b"x")
        assert tunnel.read(1) == b"x"
