"""Every pair of protocols, HTTP/1.1 and HTTP/2 on either side, in the clear and with mutual TLS: what arrives, what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.stage import Stage
from tests.support.any_backend import Answer, AnyBackend, Received
from tests.support.any_client import AUTHORITY, PROTOCOLS, AnyClient, Http2, any_client
from tests.support.bootstraps import Json, cluster, downstream_tls, http_options, route_to, upstream_tls
from tests.support.pattern import PERIOD, piece
from tests.support.ports import free_port

SECURITY = ("plain", "mTLS")
LINES = [(protocol, security) for protocol in PROTOCOLS for security in SECURITY]
"""Protocol and security of one side."""

ALPN = {"HTTP/1.1": "http/1.1", "HTTP/2": "h2"}
BODY = bytes(piece(0, PERIOD))

_TRAILERS = {"enable_trailers": True}
_CONNECTION_SPECIFIC = {"connection", "keep-alive", "proxy-connection", "upgrade", "transfer-encoding"}

Line = tuple[str, str]


def _name(line: Line) -> str:
    return "-".join(line).lower().replace("/", "").replace(".", "")


class Pairs:
    """A proxy with a listener for each security and a cluster and backend for each line behind it."""

    def __init__(self, directory: Path) -> None:
        stage = self.stage = Stage(directory)
        mesh = stage.mesh
        self._ports = {security: free_port() for security in SECURITY}
        self.backends = {line: self._backend(line) for line in LINES}
        routes = [route_to(_name(line), prefix=f"/{_name(line)}/", timeout="0s") for line in LINES]
        server = downstream_tls(mesh.leaf("server"), mesh.root, alpn=["h2", "http/1.1"])
        listeners = [
            stage.http_listener(
                *routes,
                name=security,
                port=self._ports[security],
                transport_socket=server if security == "mTLS" else None,
                http_protocol_options=_TRAILERS,
                proxy_100_continue=True,
            )
            for security in SECURITY
        ]
        stage.start(listeners, [self._cluster(line) for line in LINES])

    def _backend(self, line: Line) -> AnyBackend:
        protocol, security = line
        mutual = security == "mTLS"
        context = self.stage.mesh.server_context("backend", alpn=[ALPN[protocol]]) if mutual else None
        backend = AnyBackend(self.stage.loop, protocol, context=context)
        self.stage.add(backend.backend)
        return backend

    def _cluster(self, line: Line) -> Json:
        protocol, security = line
        mesh = self.stage.mesh
        tls = upstream_tls(mesh.leaf("client"), mesh.root, alpn=[ALPN[protocol]], sni="backend")
        config = (
            {"http2_protocol_options": {}} if protocol == "HTTP/2" else {"http_protocol_options": _TRAILERS}
        )
        return cluster(
            _name(line),
            self.backends[line].address,
            **({"transport_socket": tls} if security == "mTLS" else {}),
            **http_options(explicit_http_config=config),
        )

    def client(self, line: Line) -> AnyClient:
        protocol, security = line
        mutual = security == "mTLS"
        context = self.stage.mesh.client_context("client", alpn=[ALPN[protocol]]) if mutual else None
        address = ("127.0.0.1", self._ports[security])
        return any_client(protocol, address, context=context, server_name="server")


class Pair:
    """One client line and one backend line."""

    def __init__(self, pairs: Pairs, down: Line, up: Line) -> None:
        self.down, self.up = down, up
        self.backend = pairs.backends[up]
        self.backend.clear()
        self._pairs = pairs

    def path(self, rest: str = "x") -> str:
        return f"/{_name(self.up)}/{rest}"

    def client(self) -> AnyClient:
        return self._pairs.client(self.down)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pairs]:
    created = Pairs(tmp_path_factory.mktemp("pairs"))
    yield created
    created.stage.close()


@pytest.fixture(params=LINES, ids=_name)
def down(request: pytest.FixtureRequest) -> Line:
    line: Line = request.param
    return line


@pytest.fixture(params=LINES, ids=_name)
def up(request: pytest.FixtureRequest) -> Line:
    line: Line = request.param
    return line


@pytest.fixture
def pair(pairs: Pairs, down: Line, up: Line) -> Pair:
    return Pair(pairs, down, up)


def _check_form(pair: Pair, received: Received) -> None:
    """What the protocol of the upstream asks of every request."""
    if pair.up[0] == "HTTP/2":
        assert sorted(name for name, _ in received.pseudo) == [":authority", ":method", ":path", ":scheme"]
        assert received.scheme == ("http" if pair.down[1] == "plain" else "https")
        assert not _CONNECTION_SPECIFIC & {name for name, _ in received.headers}
    assert received.authority == AUTHORITY
    assert received.values("host") == []
    assert received.values("x-forwarded-proto") == ["http" if pair.down[1] == "plain" else "https"]


# Bodies


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
def test_requests_without_body(pair: Pair, method: str) -> None:
    with pair.client() as client:
        seen = client.request(method, pair.path("a?b=c"), [("x-test", "1")])
    received = pair.backend.last()
    _check_form(pair, received)
    assert (received.method, received.target) == (method, pair.path("a?b=c"))
    assert received.values("x-test") == ["1"]
    empty = method == "OPTIONS" and pair.up[0] == "HTTP/1.1"
    assert received.values("content-length") == (["0"] if empty else [])
    assert received.values("transfer-encoding") == []
    assert received.body == b"" and received.trailers == []
    assert (seen.status, seen.body, seen.end) == (200, b"hello\n", "complete")
    assert seen.values("content-length") == ["6"]


@pytest.mark.parametrize("body", [b"", b"abc", BODY], ids=["empty", "short", "long"])
def test_request_body_with_a_length(pair: Pair, body: bytes) -> None:
    with pair.client() as client:
        assert client.request("POST", pair.path(), body=body).status == 200
    received = pair.backend.last()
    _check_form(pair, received)
    assert received.body == body
    assert received.values("content-length") == [str(len(body))]
    assert received.values("transfer-encoding") == []


def test_request_body_without_a_length(pair: Pair) -> None:
    with pair.client() as client:
        client.send_head("PUT", pair.path(), end=False)
        client.send_data(b"one ")
        client.send_data(BODY)
        client.send_data(b"", end=True)
        assert client.wait().status == 200
    received = pair.backend.last()
    _check_form(pair, received)
    assert received.body == b"one " + BODY
    assert received.values("content-length") == []
    assert received.values("transfer-encoding") == (["chunked"] if pair.up[0] == "HTTP/1.1" else [])


@pytest.mark.parametrize("length", [True, False], ids=["length", "no length"])
def test_response_body(pair: Pair, length: bool) -> None:
    pair.backend.answer = Answer(body=BODY, length=length)
    with pair.client() as client:
        seen = client.request("GET", pair.path())
    assert (seen.status, seen.end) == (200, "complete")
    assert seen.body == BODY
    assert seen.values("content-length") == ([str(len(BODY))] if length else [])
    chunked = pair.down[0] == "HTTP/1.1" and not length
    assert seen.values("transfer-encoding") == (["chunked"] if chunked else [])


def test_head(pair: Pair) -> None:
    """The length is that of the body that GET would have; the connection goes on behind it."""
    with pair.client() as client:
        seen = client.request("HEAD", pair.path())
        assert (seen.status, seen.body, seen.end) == (200, b"", "complete")
        assert seen.values("content-length") == ["6"]
        assert client.request("GET", pair.path()).body == b"hello\n"
    assert [received.method for received in pair.backend.received()] == ["HEAD", "GET"]


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_body(pair: Pair, status: int) -> None:
    pair.backend.answer = Answer(status)
    with pair.client() as client:
        seen = client.request("GET", pair.path())
        assert (seen.status, seen.body, seen.end) == (status, b"", "complete")
        assert seen.values("content-length") == seen.values("transfer-encoding") == []
        pair.backend.answer = Answer()
        assert client.request("GET", pair.path()).status == 200


def test_many_requests_one_after_another(pair: Pair) -> None:
    with pair.client() as client:
        for number in range(20):
            seen = client.request("POST", pair.path(str(number)), body=b"%d" % number)
            assert (seen.status, seen.body) == (200, b"hello\n")
    assert [received.body for received in pair.backend.received()] == [b"%d" % number for number in range(20)]
    assert len({received.connection for received in pair.backend.received()}) == 1


# Trailers and interim answers


def test_request_trailers(pair: Pair) -> None:
    with pair.client() as client:
        seen = client.request(
            "POST", pair.path(), [("te", "trailers")], b"abc", trailers=[("x-one", "1"), ("x-two", "2")]
        )
        assert seen.status == 200
    received = pair.backend.last()
    _check_form(pair, received)
    assert received.body == b"abc"
    assert received.trailers == [("x-one", "1"), ("x-two", "2")]
    assert received.values("te") == ["trailers"]


@pytest.mark.parametrize("body", [b"", b"some body"], ids=["no body", "body"])
def test_response_trailers(pair: Pair, body: bytes) -> None:
    pair.backend.answer = Answer(body=body, trailers=[("x-one", "1"), ("x-two", "2")])
    with pair.client() as client:
        seen = client.request("GET", pair.path(), [("te", "trailers")])
        assert (seen.status, seen.body, seen.end) == (200, body, "complete")
        assert seen.trailers == [("x-one", "1"), ("x-two", "2")]
        pair.backend.answer = Answer()
        assert client.request("GET", pair.path()).trailers == []


def test_early_hints(pair: Pair) -> None:
    pair.backend.answer = Answer(interim=[(103, [("link", "</a>; rel=preload")])])
    with pair.client() as client:
        seen = client.request("GET", pair.path())
        assert seen.interim == [(103, [("link", "</a>; rel=preload")])]
        assert (seen.status, seen.body, seen.end) == (200, b"hello\n", "complete")
        pair.backend.answer = Answer()
        assert client.request("GET", pair.path()).status == 200


def test_expect_continue_is_left_to_the_upstream(pair: Pair) -> None:
    """`proxy_100_continue`: only the HTTP/1.1 backend here answers the expectation."""
    with pair.client() as client:
        client.send_head("POST", pair.path(), [("expect", "100-continue")], end=False, length=3)
        client.send_data(b"abc", end=True)
        seen = client.wait()
    assert (seen.status, seen.end) == (200, "complete")
    assert [status for status, _ in seen.interim] == ([100] if pair.up[0] == "HTTP/1.1" else [])
    received = pair.backend.last()
    assert received.values("expect") == ["100-continue"]
    assert received.body == b"abc"


# Headers


def test_cookie_crumbs_are_joined(pair: Pair) -> None:
    """Lines of HTTP/1.1 stay apart on the way to HTTP/1.1; everywhere else there is one header."""
    crumbs = [("cookie", "a=1"), ("x", "1"), ("cookie", "b=2"), ("cookie", "c=3"), ("x", "2")]
    with pair.client() as client:
        assert client.request("GET", pair.path(), crumbs).status == 200
    received = pair.backend.last()
    apart = pair.down[0] == pair.up[0] == "HTTP/1.1"
    assert received.values("cookie") == (["a=1", "b=2", "c=3"] if apart else ["a=1; b=2; c=3"])
    assert received.values("x") == ["1", "2"]


def test_connection_headers_of_requests_stay_behind(pairs: Pairs, up: Line) -> None:
    """Only HTTP/1.1 has them."""
    hop = [
        ("connection", "keep-alive, x-hop"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("x-hop", "1"),
        ("te", "trailers, deflate"),
        ("x-stays", "1"),
    ]
    pair = Pair(pairs, ("HTTP/1.1", "plain"), up)
    with pair.client() as client:
        assert client.request("GET", pair.path(), hop).status == 200
    received = pair.backend.last()
    _check_form(pair, received)
    names = {name for name, _ in received.headers}
    assert not names & {"connection", "keep-alive", "proxy-connection", "x-hop"}
    assert received.values("te") == ["trailers"]
    assert received.values("x-stays") == ["1"]


def test_other_te_than_trailers_stays_behind(pairs: Pairs, up: Line) -> None:
    pair = Pair(pairs, ("HTTP/1.1", "plain"), up)
    with pair.client() as client:
        assert client.request("GET", pair.path(), [("te", "deflate")]).status == 200
    assert pair.backend.last().values("te") == []


def test_te_trailers_is_kept(pair: Pair) -> None:
    with pair.client() as client:
        assert client.request("GET", pair.path(), [("te", "trailers")]).status == 200
    assert pair.backend.last().values("te") == ["trailers"]


def test_connection_headers_of_answers_stay_behind(pair: Pair) -> None:
    hop = [("connection", "x-hop"), ("keep-alive", "timeout=5"), ("proxy-connection", "keep-alive")]
    hop = hop if pair.up[0] == "HTTP/1.1" else []
    pair.backend.answer = Answer(headers=[*hop, ("set-cookie", "a=1"), ("set-cookie", "b=2")])
    with pair.client() as client:
        seen = client.request("GET", pair.path())
        assert not _CONNECTION_SPECIFIC & {name for name, _ in seen.headers}
        assert seen.values("set-cookie") == ["a=1", "b=2"]
        assert client.request("GET", pair.path()).status == 200


def test_upgrade_to_h2c_is_ignored(pairs: Pairs, up: Line) -> None:
    pair = Pair(pairs, ("HTTP/1.1", "plain"), up)
    upgrade = [
        ("connection", "Upgrade, HTTP2-Settings"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
    ]
    with pair.client() as client:
        seen = client.request("GET", pair.path(), upgrade)
        assert (seen.status, seen.body) == (200, b"hello\n")
        assert client.request("GET", pair.path()).status == 200
    names = {name for name, _ in pair.backend.received()[0].headers}
    assert not names & {"connection", "upgrade", "http2-settings"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_trailers_stay_behind_where_http1_does_not_enable_them(tmp_path: Path, protocol: str) -> None:
    """Requests to an HTTP/1.1 upstream, answers to an HTTP/1.1 client, both without `enable_trailers`."""
    stage = Stage(tmp_path)
    backend = AnyBackend(stage.loop, "HTTP/1.1")
    h2_backend = AnyBackend(stage.loop, "HTTP/2")
    for each in (backend, h2_backend):
        stage.add(each.backend)
        each.answer = Answer(trailers=[("x-end", "1")])
    routes = [route_to("h2", prefix="/h2"), route_to("h1")]
    clusters = [
        cluster("h1", backend.address),
        cluster("h2", h2_backend.address, http2_protocol_options={}),
    ]
    stage.start([stage.http_listener(*routes)], clusters)
    with any_client(protocol, stage.address) as client:
        seen = client.request("POST", "/h1", body=b"abc", trailers=[("x-t", "1")])
        assert (seen.status, seen.body, seen.trailers) == (200, b"hello\n", [])
        seen = client.request("POST", "/h2", body=b"abc", trailers=[("x-t", "1")])
        assert (seen.status, seen.body) == (200, b"hello\n")
        assert seen.trailers == ([("x-end", "1")] if protocol == "HTTP/2" else [])
    assert (backend.last().body, backend.last().trailers) == (b"abc", [])
    assert h2_backend.last().body == b"abc"
    assert h2_backend.last().trailers == ([("x-t", "1")] if protocol == "HTTP/2" else [])
    stage.close()


def test_the_connection_of_a_client_has_the_protocol_it_asked_for(pairs: Pairs, down: Line) -> None:
    with pairs.client(down) as client:
        if isinstance(client, Http2) and down[1] == "mTLS":
            assert client.client.alpn == "h2"
        path = f"/{_name(('HTTP/1.1', 'plain'))}/x"
        assert client.request("GET", path, [("x-log", _name(down))]).status == 200
    assert pairs.stage.log.entry(_name(down)).protocol == down[0]
