"""WebSocket through one sidecar and through two, with HTTP/1.1 or with HTTP/2 (RFC 8441) between them."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.interop.pair import H2, HTTP1, ISTIO_H2, Application, Between, SidecarPair
from tests.interop.stage import H2 as CLUSTER_H2
from tests.interop.stage import Stage
from tests.support.any_client import PROTOCOLS, any_client
from tests.support.backends import Do, Send
from tests.support.bootstraps import Json, cluster, route_to
from tests.support.certificates import Mesh
from tests.support.envoy import require_envoy
from tests.support.h2_backend import Data, Echo, Gate, H2Backend, Head, Rst, Wait
from tests.support.h2_client import H2Client
from tests.support.process import sidecar_command
from tests.support.websocket_server import (
    CLOSE_CODE,
    CLOSE_REASON,
    REFUSAL,
    SUBPROTOCOLS,
    WebSocketServer,
)

DIRECTIONS = ("envoy to ours", "ours to envoy", "ours to ours")
MESSAGES = 10_000
MIB = 1 << 20
IDLE_S = 0.4

UPGRADES: dict[str, Any] = {
    "upgrade_configs": [{"upgrade_type": "websocket"}],
    "http2_protocol_options": {"allow_connect": True},
    "delayed_close_timeout": "0.1s",
}
FIN = "complete"
"""How a client of HTTP/1.1 sees every end of a tunnel."""
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
_SWITCHING = (
    "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    f"sec-websocket-accept: {ACCEPT}\r\nx-backend: 1\r\n\r\n"
).encode()


@pytest.fixture(scope="module")
def server() -> Iterator[WebSocketServer]:
    created = WebSocketServer()
    yield created
    created.close()


@pytest.fixture(scope="module", params=DIRECTIONS)
def direction(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module", params=[HTTP1, H2, ISTIO_H2], ids=str)
def between(request: pytest.FixtureRequest) -> Between:
    spoken: Between = request.param
    return spoken


@pytest.fixture(scope="module")
def pair(
    direction: str, between: Between, server: WebSocketServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SidecarPair]:
    directory = tmp_path_factory.mktemp("websocket")
    commands = {"envoy": require_envoy, "ours": sidecar_command}
    client, _, behind = direction.split(" ")
    application = Application()
    created = SidecarPair(
        commands[client](),
        commands[behind](),
        Mesh(directory),
        application,
        directory,
        between,
        http=server.address,
        manager=UPGRADES,
    )
    yield created
    created.close()
    application.close()


@contextlib.contextmanager
def _open(port: int, path: str, **options: Any) -> Iterator[ClientConnection]:
    """A WebSocket connection; the socket is given so that no proxy of the environment comes between."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    with connect(
        f"ws://a.example{path}", sock=raw, max_size=None, ping_interval=None, **options
    ) as connection:
        yield connection


def _messages(count: int) -> list[str | bytes]:
    """Text and binary messages of mixed size, mostly small."""
    chance = random.Random(11)
    sizes = [0, 1, 20, 125, 126, 500, 2000, 65535, 65536, 100_000]
    weights = [1, 4, 40, 5, 5, 30, 12, 1, 1, 1]
    pool = chance.randbytes(200_000)
    made: list[str | bytes] = []
    for size in chance.choices(sizes, weights, k=count):
        start = chance.randrange(len(pool) - size)
        piece = pool[start : start + size]
        made.append(piece if chance.random() < 0.5 else piece.hex()[:size])
    return made


# Two sidecars


def test_echo(pair: SidecarPair, server: WebSocketServer) -> None:
    with _open(pair.http_port, "/echo?a=b", additional_headers={"x-test": "1"}) as client:
        assert client.response is not None and client.response.status_code == 101
        client.send("grüß")
        assert client.recv(10) == "grüß"
        client.send(b"\0\1")
        assert client.recv(10) == b"\0\1"
    session = server.wait_closed()
    assert (session.path, session.headers["x-test"]) == ("/echo?a=b", "1")
    assert session.headers["host"] == "a.example"
    assert session.headers["upgrade"].lower() == "websocket"


@pytest.mark.slow
def test_many_messages(pair: SidecarPair, server: WebSocketServer) -> None:
    """All arrive, whole, in order and of the same kind."""
    messages = _messages(MESSAGES)
    with _open(pair.http_port, "/echo", compression=None) as client:

        def send() -> None:
            for message in messages:
                client.send(message)

        sender = threading.Thread(target=send)
        sender.start()
        for message in messages:
            assert client.recv(30) == message
        sender.join()
    assert server.wait_closed().messages == len(messages)


def test_large_messages(pair: SidecarPair, server: WebSocketServer) -> None:
    data = random.Random(5).randbytes(MIB)
    with _open(pair.http_port, "/echo", compression=None) as client:
        for message in (data, data[::-1], data.hex()[:MIB]):
            client.send(message)
            assert client.recv(30) == message
    assert server.wait_closed().messages == 3


def test_fragments(pair: SidecarPair) -> None:
    """A message in many frames, with a ping between them."""
    with _open(pair.http_port, "/echo", compression=None) as client:
        pong = client.ping("between")
        client.send([b"x" * size for size in range(200)])
        assert client.recv(10) == b"x" * sum(range(200))
        assert pong.wait(10)


def test_compressed_messages(pair: SidecarPair, server: WebSocketServer) -> None:
    """The extension is negotiated between the ends."""
    with _open(pair.http_port, "/echo") as client:
        client.send("a" * 10_000)
        assert client.recv(10) == "a" * 10_000
        assert [extension.name for extension in client.protocol.extensions] == ["permessage-deflate"]
    server.wait_closed()


def test_pings_of_the_client(pair: SidecarPair) -> None:
    with _open(pair.http_port, "/echo") as client:
        pongs = [client.ping(f"ping {number}") for number in range(10)]
        assert all(pong.wait(10) for pong in pongs)


def test_pings_of_the_server(pair: SidecarPair, server: WebSocketServer) -> None:
    with _open(pair.http_port, "/ping") as client:
        for payload in (b"one", b"two"):
            client.send(payload)
            assert client.recv(10) == "pong"
    assert server.wait_closed().pongs == [b"one", b"two"]


def test_the_client_begins_to_close(pair: SidecarPair, server: WebSocketServer) -> None:
    with _open(pair.http_port, "/echo") as client:
        client.send("last")
        client.close(4000, "bye")
        assert client.close_code == 4000
    session = server.wait_closed()
    assert (session.close_code, session.close_reason) == (4000, "bye")


def test_the_server_begins_to_close(pair: SidecarPair, server: WebSocketServer) -> None:
    with _open(pair.http_port, "/close") as client:
        client.send("go")
        with pytest.raises(ConnectionClosedError) as raised:
            client.recv(10)
    assert raised.value.rcvd is not None
    assert (raised.value.rcvd.code, raised.value.rcvd.reason) == (CLOSE_CODE, CLOSE_REASON)
    session = server.wait_closed()
    assert (session.close_code, session.close_reason) == (CLOSE_CODE, CLOSE_REASON)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["chat.v1"], "chat.v1"), (["other", "chat.v1", "chat.v2"], "chat.v2"), (["other"], None), ([], None)],
)
def test_subprotocols(
    pair: SidecarPair, server: WebSocketServer, offered: Sequence[str], chosen: str | None
) -> None:
    assert chosen is None or chosen in SUBPROTOCOLS
    with _open(
        pair.http_port, "/echo", subprotocols=[Subprotocol(name) for name in offered] or None
    ) as client:
        assert client.subprotocol == chosen
    assert server.wait_closed().subprotocol == chosen


def test_a_server_that_refuses(pair: SidecarPair) -> None:
    with pytest.raises(InvalidStatus) as raised, _open(pair.http_port, "/refuse"):
        pass
    response = raised.value.response
    assert (response.status_code, response.body) == (401, REFUSAL.encode())


def test_a_client_that_disappears(pair: SidecarPair, server: WebSocketServer) -> None:
    with contextlib.suppress(ConnectionClosed), _open(pair.http_port, "/echo") as client:
        client.send("one")
        assert client.recv(10) == "one"
        client.socket.shutdown(socket.SHUT_RDWR)
    assert server.wait_closed().close_code == 1006


def test_many_tunnels_at_once(pair: SidecarPair) -> None:
    """With HTTP/2 between the sidecars they share a connection with each other."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(_open(pair.http_port, "/echo")) for _ in range(20)]
        for turn in range(3):
            for number, client in enumerate(clients):
                client.send(f"{turn} {number}")
            for number, client in enumerate(clients):
                assert client.recv(10) == f"{turn} {number}"


def test_extended_connect_of_the_client(pair: SidecarPair, server: WebSocketServer) -> None:
    """A client that speaks HTTP/2 itself."""
    with H2Client(("127.0.0.1", pair.http_port)) as client:
        client.wait_until(lambda: client.peer_settings.get(8) == 1, "SETTINGS with extended CONNECT")
        stream = client.open(_extended_connect("/echo"))
        answer = client.wait_head(stream)
        assert answer.status == 200
        assert answer.header("sec-websocket-accept") == ACCEPT
        assert answer.header("upgrade") is answer.header("connection") is None
        client.send(stream, Frame(Opcode.TEXT, b"hello").serialize(mask=True))
        echoed = Frame(Opcode.TEXT, b"hello").serialize(mask=False)
        client.wait_until(lambda: answer.body == echoed, "the echo")
        client.send(stream, Frame(Opcode.CLOSE, b"\x0f\xa0").serialize(mask=True))
        closed = echoed + Frame(Opcode.CLOSE, b"\x0f\xa0").serialize(mask=False)
        client.wait_until(lambda: answer.body == closed, "the answer to the closing frame")
    assert server.wait_closed().close_code == 4000


def _extended_connect(path: str, *more: tuple[str, str]) -> list[tuple[str, str]]:
    return [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "a.example"),
        (":path", path),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
        *more,
    ]


# One sidecar


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    created = Stage(tmp_path)
    yield created
    created.close()


def _begin(client: Any, path: str, key: str, *more: tuple[str, str]) -> None:
    """Ask for a WebSocket in the protocol of `client`."""
    if client.protocol == "HTTP/2":
        client.stream = client.client.open(_extended_connect(path, ("x-log", key), *more))
        return
    upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")]
    names = [("sec-websocket-key", KEY), ("sec-websocket-version", "13"), ("x-log", key)]
    client.send_head("GET", path, [*upgrade, *names, *more])


def _clusters(stage: Stage) -> tuple[Any, H2Backend, list[Json]]:
    """Backends that switch protocols and send `first`: over HTTP/1.1, and over HTTP/2, which also echoes."""
    h1 = stage.http_backend()
    h1.answer = lambda _: [Send(_SWITCHING + b"first")]
    h2 = stage.h2_backend(lambda _: [Head(200, [("x-backend", "1")]), Data(b"first"), Echo()], {8: 1})
    clusters = [cluster("h1", h1.address), cluster("h2", h2.address, **H2.cluster_options)]
    return h1, h2, clusters


def _routes(**action: Any) -> list[Json]:
    return [route_to(name, prefix=f"/{name}", **action) for name in ("h1", "h2")]


UPSTREAMS = ("h1", "h2")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_form_of_an_upgrade_to_http1(stage: Stage, protocol: str) -> None:
    h1, _, clusters = _clusters(stage)
    stage.start([stage.http_listener(*_routes(timeout="0s"), **UPGRADES)], clusters)
    with any_client(protocol, stage.address) as client:
        _begin(client, "/h1/x?y", "a")
        client.wait_body(5)
        seen = client.wait_head()
        assert seen == (101 if protocol == "HTTP/1.1" else 200)
        (request,) = h1.requests
        client.send_data(b"abc")
        stage.settled(http__http__downstream_cx_upgrades_active=1)
    assert request.request_line == b"GET /h1/x?y HTTP/1.1"
    assert request.values("upgrade") == ["websocket"]
    assert [value.lower() for value in request.values("connection")] == ["upgrade"]
    assert request.values("sec-websocket-key") == [KEY]
    assert request.values("content-length") == request.values("transfer-encoding") == []
    assert not any(name.startswith(":") for name, _ in request.fields())
    entry = stage.log.entry("a")
    assert (entry.method, entry.protocol, entry.status) == ("GET", protocol, "101")
    assert (entry.flags, entry.bytes_received, entry.bytes_sent) == ("DC", "3", "5")
    assert stage.proxy.stat("http.http.downstream_cx_upgrades_total") == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_form_of_an_upgrade_to_http2(stage: Stage, protocol: str) -> None:
    _, h2, clusters = _clusters(stage)
    stage.start([stage.http_listener(*_routes(timeout="0s"), **UPGRADES)], clusters)
    with any_client(protocol, stage.address) as client:
        _begin(client, "/h2/x?y", "a")
        assert client.wait_head() == (101 if protocol == "HTTP/1.1" else 200)
        client.wait_body(5)
        client.send_data(b"abc")
        client.wait_body(8)
        (request,) = h2.requests
    pseudo = {name: value for name, value in request.fields if name.startswith(":")}
    assert pseudo == {
        ":method": "CONNECT",
        ":protocol": "websocket",
        ":scheme": "http",
        ":authority": "a.example",
        ":path": "/h2/x?y",
    }
    names = {name for name, _ in request.fields}
    assert not names & {"upgrade", "connection", "host", "content-length", "transfer-encoding"}
    assert request.value("sec-websocket-key") == KEY
    entry = stage.log.entry("a")
    assert (entry.method, entry.protocol, entry.status) == ("GET", protocol, "101")
    assert (entry.flags, entry.bytes_received, entry.bytes_sent) == ("DC", "3", "8")


def test_the_head_that_an_http1_client_gets(stage: Stage) -> None:
    """From HTTP/1.1 as it came, from HTTP/2 made up from a 200."""
    _, _, clusters = _clusters(stage)
    stage.start([stage.http_listener(*_routes(timeout="0s"), **UPGRADES)], clusters)
    for name, form in (("h1", "Upgrade"), ("h2", "upgrade")):
        with any_client("HTTP/1.1", stage.address) as client:
            _begin(client, f"/{name}", name)
            client.wait_body(5)
            raw: Any = client
            (response,) = raw.client.reader.responses
            assert (response.status, response.reason) == (101, b"Switching Protocols")
            assert response.values("upgrade") == ["websocket"]
            assert response.values("connection") == [form]
            assert response.values("content-length") == response.values("transfer-encoding") == []
            assert response.values("x-backend") == ["1"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_not_configured(stage: Stage, protocol: str) -> None:
    _, _, clusters = _clusters(stage)
    options: dict[str, Any] = {"http2_protocol_options": {"allow_connect": True}}
    stage.start([stage.http_listener(*_routes(), delayed_close_timeout="0.1s", **options)], clusters)
    with any_client(protocol, stage.address) as client:
        _begin(client, "/h1", "a")
        seen = client.wait()
        assert (seen.status, seen.body, seen.end) == (403, b"", "complete")
    entry = stage.log.entry("a")
    assert (entry.status, entry.flags, entry.details) == ("403", "-", "upgrade_failed")


def test_another_upgrade_than_the_configured(stage: Stage) -> None:
    _, _, clusters = _clusters(stage)
    stage.start([stage.http_listener(*_routes(), **UPGRADES)], clusters)
    with any_client("HTTP/1.1", stage.address) as client:
        client.send_head("GET", "/h1", [("connection", "upgrade"), ("upgrade", "other"), ("x-log", "a")])
        assert client.wait().status == 403
    assert stage.log.entry("a").details == "upgrade_failed"


def test_extended_connect_where_it_is_not_allowed(stage: Stage) -> None:
    """Without `allow_connect` it is an error of the connection."""
    _, _, clusters = _clusters(stage)
    stage.start([stage.http_listener(*_routes(), upgrade_configs=UPGRADES["upgrade_configs"])], clusters)
    with H2Client(stage.address) as client:
        client.ping()
        assert client.peer_settings.get(8, 0) == 0
        client.open(_extended_connect("/h1"))
        client.wait_closed()
        assert not client.answers[1].head


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_an_upstream_that_refuses(stage: Stage, protocol: str, upstream: str) -> None:
    h1, h2, clusters = _clusters(stage)
    h1.answer = lambda _: [Send(b"HTTP/1.1 401 No\r\ncontent-length: 3\r\n\r\nbad")]
    h2.answer = lambda _: [Head(401, [("content-length", "3")]), Data(b"bad", end=True)]
    stage.start([stage.http_listener(*_routes(), **UPGRADES)], clusters)
    with any_client(protocol, stage.address) as client:
        _begin(client, f"/{upstream}", "a")
        seen = client.wait()
    assert (seen.status, seen.body, seen.end) == (401, b"bad", "complete")
    assert seen.values("connection") == (["close"] if protocol == "HTTP/1.1" else [])
    entry = stage.log.entry("a")
    assert (entry.status, entry.flags, entry.details) == ("401", "-", "via_upstream")


def test_an_upstream_that_ignores_the_upgrade(stage: Stage) -> None:
    """A 200 over HTTP/1.1 switches nothing; its body is not passed on."""
    h1, _, clusters = _clusters(stage)
    h1.answer = lambda _: [Send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nfin")]
    stage.start([stage.http_listener(*_routes(), **UPGRADES)], clusters)
    with any_client("HTTP/1.1", stage.address) as client:
        _begin(client, "/h1", "a")
        seen = client.wait()
    assert (seen.status, seen.body, seen.values("connection")) == (200, b"", ["close"])
    assert stage.log.entry("a").details == "websocket_handshake_unsuccessful"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("where", ["route", "manager"])
def test_idle_timeout_of_a_tunnel(stage: Stage, protocol: str, upstream: str, where: str) -> None:
    """Data in either direction put it off."""
    _, h2, clusters = _clusters(stage)
    timeout = f"{IDLE_S}s"
    routes = _routes(timeout="0s", **({"idle_timeout": timeout} if where == "route" else {}))
    manager: dict[str, Any] = {"stream_idle_timeout": timeout} if where == "manager" else {}
    stage.start([stage.http_listener(*routes, **UPGRADES, **manager)], clusters)
    with any_client(protocol, stage.address) as client:
        _begin(client, f"/{upstream}", "a")
        client.wait_body(5)
        if upstream == "h2":
            for number in range(1, 4):
                with contextlib.suppress(TimeoutError):
                    client.wait(IDLE_S / 2)
                client.send_data(b"x")
                client.wait_body(5 + number)
        seen = client.wait(5)
    assert seen.end == ("INTERNAL_ERROR" if protocol == "HTTP/2" else FIN)
    entry = stage.log.entry("a")
    assert (entry.status, entry.flags, entry.details) == ("101", "SI", "stream_idle_timeout")
    if upstream == "h2":
        h2.wait(lambda: h2.requests[0].reset is not None, "the upstream stream reset")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_the_timeout_of_the_route_ends_with_the_handshake(stage: Stage, protocol: str, upstream: str) -> None:
    _, _, clusters = _clusters(stage)
    stage.start([stage.http_listener(*_routes(timeout="0.2s"), **UPGRADES)], clusters)
    with any_client(protocol, stage.address) as client:
        _begin(client, f"/{upstream}", "a")
        client.wait_body(5)
        with pytest.raises(TimeoutError):
            client.wait(0.6)
        assert stage.proxy.stat("http.http.downstream_cx_upgrades_active") == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_a_handshake_that_is_not_answered(stage: Stage, protocol: str, upstream: str) -> None:
    h1, h2, clusters = _clusters(stage)
    h1.answer, h2.answer = lambda _: [], lambda _: [Wait(Gate())]
    stage.start([stage.http_listener(*_routes(timeout="0.2s"), **UPGRADES)], clusters)
    with any_client(protocol, stage.address) as client:
        _begin(client, f"/{upstream}", "a")
        assert client.wait(5).status == 504
    entry = stage.log.entry("a")
    assert (entry.status, entry.flags, entry.details) == ("504", "UT", "response_timeout")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_attempt_at_a_handshake_that_is_not_answered(stage: Stage, protocol: str) -> None:
    h1, _, clusters = _clusters(stage)
    h1.answer = lambda _: []
    policy = {"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "0.2s"}
    stage.start([stage.http_listener(*_routes(timeout="5s", retry_policy=policy), **UPGRADES)], clusters)
    with any_client(protocol, stage.address) as client:
        _begin(client, "/h1", "a")
        assert client.wait(5).status == 504
    assert stage.proxy.stat("cluster.h1.upstream_rq_per_try_timeout") == 2
    assert len(h1.requests) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_upgrade_without_a_route(stage: Stage, protocol: str) -> None:
    _, _, clusters = _clusters(stage)
    stage.start([stage.http_listener(*_routes(), **UPGRADES)], clusters)
    with any_client(protocol, stage.address) as client:
        _begin(client, "/nowhere", "a")
        assert client.wait(5).status == 404
    entry = stage.log.entry("a")
    assert (entry.status, entry.flags, entry.details) == ("404", "NR", "route_not_found")


@pytest.mark.parametrize("configured", [True, False])
def test_an_extended_connect_that_has_ended(stage: Stage, configured: bool) -> None:
    """It is an upgrade like any other: refused where none is configured."""
    _, _, clusters = _clusters(stage)
    options = dict(UPGRADES) if configured else {"http2_protocol_options": {"allow_connect": True}}
    stage.start([stage.http_listener(*_routes(), **options)], clusters)
    with H2Client(stage.address) as client:
        stream = client.open(_extended_connect("/h2", ("x-log", "a")), end=True)
        assert client.wait_head(stream).status == (200 if configured else 403)
    if not configured:
        assert stage.log.entry("a").details == "upgrade_failed"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("how", ["close", "rst"])
def test_an_http1_upstream_that_ends_a_tunnel(stage: Stage, protocol: str, how: str) -> None:
    h1, _, clusters = _clusters(stage)
    h1.answer = lambda _: [Send(_SWITCHING + b"last"), Do(how)] if how == "close" else [Send(_SWITCHING)]
    stage.start([stage.http_listener(*_routes(timeout="0s"), **UPGRADES)], clusters)
    with any_client(protocol, stage.address) as client:
        _begin(client, "/h1", "a")
        client.wait_head()
        if how == "rst":
            h1.stop()
        seen = client.wait()
    assert seen.body == (b"last" if how == "close" else b"")
    assert seen.end == ("CONNECT_ERROR" if protocol == "HTTP/2" else FIN)
    entry = stage.log.entry("a")
    assert (entry.status, entry.flags) == ("101", "UC")
    assert entry.details == "upstream_reset_after_response_started{connection_termination}"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("how", ["end", "reset"])
def test_an_http2_upstream_that_ends_a_tunnel(stage: Stage, protocol: str, how: str) -> None:
    _, h2, clusters = _clusters(stage)
    gate = Gate()
    h2.answer = lambda _: (
        [Head(200), Data(b"last", end=True)]
        if how == "end"
        else [Head(200), Data(b"last"), Wait(gate), Rst(ErrorCodes.INTERNAL_ERROR)]
    )
    stage.start([stage.http_listener(*_routes(timeout="0s"), **UPGRADES)], clusters)
    with any_client(protocol, stage.address) as client:
        _begin(client, "/h2", "a")
        client.wait_body(4)
        gate.open()
        seen = client.wait()
    assert seen.body == b"last"
    entry = stage.log.entry("a")
    if how == "end":
        assert seen.end == "complete"
        assert (entry.status, entry.flags, entry.details) == ("101", "-", "via_upstream")
    else:
        assert seen.end == ("INTERNAL_ERROR" if protocol == "HTTP/2" else FIN)
        assert (entry.status, entry.flags) == ("101", "UR")
        assert entry.details == "upstream_reset_after_response_started{remote_reset}"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_http2_upstream_that_does_not_announce_extended_connect(stage: Stage, protocol: str) -> None:
    """It is asked all the same, as Envoy does, and decides itself."""
    backend = stage.h2_backend(lambda _: [Head(200), Data(b"first"), Echo()])
    stage.start(
        [stage.http_listener(route_to("app"), **UPGRADES)], [cluster("app", backend.address, **CLUSTER_H2)]
    )
    with any_client(protocol, stage.address) as client:
        _begin(client, "/", "a")
        client.wait_body(5)
    assert backend.requests[0].value(":protocol") == "websocket"
