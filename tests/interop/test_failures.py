"""Every kind of failure is provoked for real; the record of it must say the truth."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from h2.errors import ErrorCodes

from protocols.peer_metadata import PeerMetadata, encode_header
from tests.interop.stage import Stage
from tests.support.backends import (
    Backend,
    Do,
    HttpBackend,
    LiveConnection,
    RecordedRequest,
    Script,
    Send,
    Sleep,
    TcpBackend,
    ok_response,
)
from tests.support.bootstraps import (
    Json,
    cluster,
    downstream_tls,
    http_filter_chain,
    http_options,
    listener,
    route_config,
    route_to,
    tcp_filter_chain,
    upstream_tls,
    uri_san,
)
from tests.support.certificates import Authority, spiffe
from tests.support.h2_backend import Data as H2Data
from tests.support.h2_backend import Goaway, H2Request, H2Script, Head, Rst
from tests.support.h2_client import H2Client
from tests.support.http_client import RawClient, get
from tests.support.istio_config import peer_metadata_filter
from tests.support.ports import free_ports
from tests.support.process import wait_until

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"
_WHERE: dict[str, list[Send | Sleep]] = {
    "before": [],
    "in-head": [Send(b"HTTP/1.1 200 OK\r\ncontent-"), Sleep(0.02)],
    "in-body": [Send(_HEAD + b"partial"), Sleep(0.02)],
}
_RST_CODES = {
    "cancel": ErrorCodes.CANCEL,
    "internal": ErrorCodes.INTERNAL_ERROR,
    "refused": ErrorCodes.REFUSED_STREAM,
}


def _answer(request: RecordedRequest) -> Script:
    target = request.target
    if target.startswith("/fail/"):
        _, _, where, how = target.split("/")
        return [*_WHERE[where], Do(how)]
    if target.startswith("/then-"):
        return [Do("rst" if target == "/then-rst" else "close")]
    if target == "/fine/partly":
        return [Send(_HEAD + b"partial"), Do("hang")]
    if target.startswith("/garbage"):
        return [Send(b"garbage in place of a response\r\n\r\n")]
    if target.startswith("/unavailable"):
        return [Send(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")]
    return [Send(ok_response())]


def _h2_answer(request: H2Request) -> H2Script:
    kind = request.path.removeprefix("/h2/")
    if kind in _RST_CODES:
        return [Rst(_RST_CODES[kind])]
    if kind == "late":
        return [Head(200), H2Data(b"begun"), Sleep(0.02), Rst(ErrorCodes.INTERNAL_ERROR)]
    if kind == "goaway":
        return [Goaway(last=request.stream, code=ErrorCodes.ENHANCE_YOUR_CALM), Sleep(0.02), Do("close")]
    return [Head(200, end=True)]


@dataclass
class World:
    stage: Stage
    app: HttpBackend
    resetting: TcpBackend
    tcp: dict[str, tuple[str, int]]
    hosts: dict[str, str]

    @property
    def http(self) -> tuple[str, int]:
        return self.stage.address

    def failures(self, query: str = "") -> list[dict[str, Any]]:
        page = self.stage.proxy.admin(f"/failures?format=json&limit=1000{query}")
        found: list[dict[str, Any]] = json.loads(page)["failures"]
        return found

    def failure(self, matches: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """The newest record that matches, as soon as it is there."""

        def find() -> dict[str, Any] | None:
            return next(filter(matches, self.failures()), None)

        return wait_until(find, timeout_s=5, what=f"a record of {what}")

    def of_path(self, path: str) -> dict[str, Any]:
        return self.failure(lambda each: each.get("path") == path, path)

    def of_listener(self, name: str) -> dict[str, Any]:
        return self.failure(lambda each: each.get("listener") == name, name)


def _full_listener() -> list[socket.socket]:
    """A listening socket whose queue is full, so that the kernel drops further SYNs, and what fills it."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    held = [server]
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            filler.connect(server.getsockname())
        held.append(filler)
    return held


def _log(stage: Stage) -> Json:
    line = "%REQ(:PATH)%\t%FAILURE(kind)%\t%FAILURE(how)%\t%FAILURE_CAUSE%\n"
    config = stage.log.config()
    config["typed_config"]["log_format"] = {"text_format_source": {"inline_string": line}}
    return config


class _Greeter(Backend):
    """A server that speaks no TLS and says so at once."""

    def _connection(self) -> asyncio.Protocol:
        return _Greeting(self)


class _Greeting(LiveConnection):
    def __init__(self, backend: _Greeter) -> None:
        self.backend = backend

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.write(b"220 welcome to a server that speaks plain text\r\n")


_RETRIED: Json = {"retry_on": "5xx,connect-failure,reset", "num_retries": 1}


def _routes() -> Json:
    config = route_config(
        route_to("refused", prefix="/refused"),
        route_to("refused", prefix="/again/refused", retry_policy=_RETRIED),
        route_to("full", prefix="/full"),
        route_to("silent", prefix="/slow", timeout="0.3s"),
        route_to("silent", prefix="/per-try", retry_policy=_RETRIED | {"per_try_timeout": "0.15s"}),
        route_to("silent", prefix="/idle", timeout="0s", idle_timeout="0.3s"),
        route_to("silent", prefix="/wait", timeout="0s"),
        route_to("both", prefix="/half-dead", retry_policy=_RETRIED | {"num_retries": 3}),
        route_to("app", prefix="/unavailable", retry_policy=_RETRIED),
        *(
            route_to(name, prefix=f"/{name}")
            for name in ("overflow", "empty", "untrusted", "misnamed", "expired")
        ),
        route_to("plain", prefix="/plain"),
        route_to("mute", prefix="/mute"),
        route_to("h2", prefix="/h2/"),
        route_to("nowhere", prefix="/nowhere"),
        {"match": {"prefix": "/direct"}, "direct_response": {"status": 503, "body": {"inline_string": "no"}}},
        *(route_to("app", prefix=prefix) for prefix in ("/fail/", "/then-", "/first", "/garbage", "/fine")),
    )
    return config | {"validate_clusters": False}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    stage = Stage(tmp_path_factory.mktemp("failures"))
    mesh, full = stage.mesh, _full_listener()
    app = stage.http_backend()
    app.answer = _answer
    silent, resetting = stage.tcp_backend("silent"), stage.tcp_backend("silent")
    h2 = stage.h2_backend(_h2_answer)
    h2.tolerant = True
    greeter = stage.add(_Greeter(stage.loop).start())
    stranger = Authority("another root")
    (stage.directory / "stranger.pem").write_bytes(stranger.certificate_pem)
    old = mesh.authority.issue([spiffe("old")], valid_from_days=-9, valid_to_days=-2)
    old_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old_files = old.write(stage.directory, "old")
    old_context.load_cert_chain(old_files.certificate, old_files.key)
    secure = stage.add(HttpBackend(stage.loop).start(context=mesh.server_context("server", mutual=False)))
    expired = stage.add(HttpBackend(stage.loop).start(context=old_context))
    closed, tls, h2c, chains, tcp, dead, lost = free_ports(7)

    def secured(name: str, address: tuple[str, int], **fields: Any) -> Json:
        root = fields.pop("root", mesh.root)
        return cluster(name, address, transport_socket=upstream_tls(mesh.leaf("client"), root, **fields))

    none: Json = {"max_pending_requests": 0}
    clusters = [
        cluster("refused", ("127.0.0.1", closed)),
        cluster("full", full[0].getsockname(), connect_timeout="0.3s"),
        cluster("silent", silent.address),
        cluster("both", ("127.0.0.1", closed), app.address),
        cluster("app", app.address),
        cluster("overflow", app.address, circuit_breakers={"thresholds": [none]}),
        cluster("empty"),
        secured("untrusted", secure.address, root=stage.directory / "stranger.pem"),
        secured("misnamed", secure.address, sans=[uri_san(exact=spiffe("somebody-else"))]),
        secured("expired", expired.address),
        secured("plain", greeter.address),
        secured("mute", silent.address) | {"connect_timeout": "0.3s"},
        cluster("h2", h2.address, **http_options(explicit_http_config={"http2_protocol_options": {}})),
        cluster("resetting", resetting.address),
    ]
    chain = http_filter_chain(route_config(route_to("app")), stat_prefix="tls")
    chain["transport_socket"] = downstream_tls(mesh.leaf("server"), mesh.root)
    named = http_filter_chain(route_config(route_to("app")), stat_prefix="named")
    named["filter_chain_match"] = {"server_names": ["only.example"]}
    listeners = [
        listener(
            "http",
            stage.port,
            http_filter_chain(
                _routes(), http_filters=[peer_metadata_filter(inbound=True)], access_log=[_log(stage)]
            ),
        ),
        listener("tls", tls, chain),
        listener("h2c", h2c, http_filter_chain(_routes(), stat_prefix="h2c", codec_type="HTTP2")),
        listener("named", chains, named),
        listener("tcp", tcp, tcp_filter_chain("resetting", stat_prefix="resetting")),
        listener("dead", dead, tcp_filter_chain("refused", stat_prefix="dead")),
        listener("lost", lost, tcp_filter_chain("nowhere", stat_prefix="lost")),
    ]
    stage.start(listeners, clusters)
    ports = {"tls": tls, "h2c": h2c, "named": chains, "tcp": tcp, "dead": dead, "lost": lost}
    hosts = {
        "refused": f"127.0.0.1:{closed}",
        "app": f"127.0.0.1:{app.address[1]}",
        "silent": f"127.0.0.1:{silent.address[1]}",
        "h2": f"127.0.0.1:{h2.address[1]}",
        "resetting": f"127.0.0.1:{resetting.address[1]}",
    }
    yield World(stage, app, resetting, {name: ("127.0.0.1", port) for name, port in ports.items()}, hosts)
    stage.close()
    for held in full:
        held.close()


# The upstream, over HTTP/1.1


def test_refused_connection(world: World) -> None:
    assert get(world.http, "/refused?token=secret", headers=[("x-request-id", "id-1")]).status == 503
    failure = world.of_path("/refused?...")
    assert (failure["kind"], failure["hop"], failure["flags"]) == ("upstream_connect", "upstream", "UF")
    assert (failure["host"], failure["cluster"], failure["code"]) == (world.hosts["refused"], "refused", 503)
    assert "Connection refused" in failure["story"]
    assert "because the route has no retry policy" in failure["story"]
    assert failure["attempts"][0]["outcome"] == "connect_failure"
    assert failure["attempts"][0]["sent"] is False
    assert "secret" not in json.dumps(failure)


def test_refused_again_after_a_retry(world: World) -> None:
    assert get(world.http, "/again/refused").status == 503
    failure = world.of_path("/again/refused")
    assert (failure["kind"], failure["flags"], failure["retries"]) == ("upstream_connect", "URX,UF", 1)
    assert [each["outcome"] for each in failure["attempts"]] == ["connect_failure"] * 2
    assert "it was tried 2 times" in failure["story"]
    assert "the retries are used up" in failure["story"]


def test_dropped_packets_are_a_connect_timeout(world: World) -> None:
    assert get(world.http, "/full").status == 503
    failure = world.of_path("/full")
    assert (failure["kind"], failure["flags"]) == ("upstream_connect_timeout", "UF")
    assert (failure["ended_by"], failure["how"]) == ("proxy", "timeout")
    assert 250 <= failure["connection_age_ms"] < 5000


def test_silent_upstream_and_the_route_timeout(world: World) -> None:
    assert get(world.http, "/slow").status == 504
    failure = world.of_path("/slow")
    assert (failure["kind"], failure["hop"], failure["flags"]) == ("upstream_timeout", "upstream", "UT")
    assert failure["details"] == "response_timeout"
    assert (failure["upstream_bytes_received"], failure["host"]) == (0, world.hosts["silent"])
    assert failure["upstream_bytes_sent"] > 0
    assert "the route's timeout" in failure["story"]


def test_timeout_of_each_attempt(world: World) -> None:
    assert get(world.http, "/per-try").status == 504
    failure = world.of_path("/per-try")
    assert (failure["kind"], failure["details"]) == ("upstream_timeout", "upstream_per_try_timeout")
    assert [each["outcome"] for each in failure["attempts"]] == ["per_try_timeout"] * 2
    assert failure["flags"] == "URX,UT"


_ENDS = {"close": "FIN", "rst": "RST"}


@pytest.mark.parametrize("how", _ENDS)
@pytest.mark.parametrize("where", _WHERE)
def test_upstream_that_ends_early(world: World, where: str, how: str) -> None:
    path = f"/fail/{where}/{how}"
    with RawClient(world.http, methods=["GET"]) as client:
        client.send(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        if where == "in-body":
            with pytest.raises(ConnectionError):
                client.read_response()
        else:
            assert client.read_response().status in (502, 503)
    failure = world.of_path(path)
    assert (failure["ended_by"], failure["how"]) == ("upstream", _ENDS[how]), failure
    if where == "in-head":
        assert "in the middle of the response head" in failure["story"]
    assert failure["kind"] == "upstream_closed", failure
    if where == "before":
        assert "before the first response byte" in failure["story"]
    if where == "in-body":
        assert "in the middle of the response, after 7 bytes of its body" in failure["story"]


@pytest.mark.parametrize("how", _ENDS)
def test_idle_connection_that_ends_under_a_request(world: World, how: str) -> None:
    """A POST is not sent again: the client gets 503, the record tells of the connection."""
    with RawClient(world.http) as client:
        world.app.close_connections()
        assert client.request("GET", f"/first/{how}").status == 200
        assert client.request("POST", f"/then-{how}", body=b"12345").status == 503
    failure = world.of_path(f"/then-{how}")
    assert (failure["kind"], failure["flags"], failure["how"]) == ("upstream_closed", "UC", _ENDS[how])
    assert failure["connection_reused"] is True
    assert failure["connection_requests_before"] == 1
    assert 0 <= failure["connection_idle_ms"] <= failure["connection_age_ms"]
    verb = "closed" if how == "close" else "reset"
    assert f"{verb} an idle connection (age 0." in failure["story"]
    assert f"1 request before) with {_ENDS[how]} before the first response byte" in failure["story"]


def test_idle_connection_that_ends_under_a_repeatable_request(world: World) -> None:
    with RawClient(world.http) as client:
        assert client.request("GET", "/first/again").status == 200
        client.request("GET", "/then-close")  # sent twice: on the idle connection, and on a new one
    failure = world.of_path("/then-close")
    assert len(failure["attempts"]) == 2
    assert [each["reused"] for each in failure["attempts"]] == [True, False]
    assert failure["sent_again"] is True
    assert "one of them of the proxy's own accord, which is no retry" in failure["story"]
    assert failure["story"].endswith("no retry followed, because the route has no retry policy")


def test_success_after_a_retry_is_told(world: World) -> None:
    statuses = {get(world.http, "/half-dead").status for _ in range(4)}
    assert statuses == {200}
    failure = world.of_path("/half-dead")
    assert (failure["kind"], failure["code"], failure.get("flags")) == ("retried", 200, None)
    assert failure["attempts"][0]["host"] == world.hosts["refused"]
    assert failure["host"] == world.hosts["app"]


def test_response_that_exhausts_the_retries(world: World) -> None:
    assert get(world.http, "/unavailable").status == 503
    failure = world.of_path("/unavailable")
    assert (failure["kind"], failure["flags"]) == ("upstream_response", "URX")
    assert [each["outcome"] for each in failure["attempts"]] == ["503"]


def test_garbage_in_place_of_a_response(world: World) -> None:
    assert get(world.http, "/garbage").status == 502
    failure = world.of_path("/garbage")
    assert (failure["kind"], failure["flags"]) == ("upstream_protocol", "UPE")
    assert failure["ended_by"] == "proxy"


# TLS towards the upstream


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/untrusted", "not trusted here"),
        ("/misnamed", "names somebody else"),
        ("/expired", "expired"),
        ("/plain", "does not speak TLS"),
    ],
)
def test_failed_handshake_with_the_upstream(world: World, path: str, says: str) -> None:
    assert get(world.http, path).status == 503
    failure = world.of_path(path)
    assert (failure["kind"], failure["flags"], failure["how"]) == ("upstream_tls", "UF", "TLS"), failure
    assert says in failure["story"]
    assert failure["tls_error"].startswith("TLS_error:|")


def test_handshake_that_does_not_come_to_an_end(world: World) -> None:
    assert get(world.http, "/mute").status == 503
    failure = world.of_path("/mute")
    assert (failure["kind"], failure["how"]) == ("upstream_connect_timeout", "timeout")
    assert "did not finish the TLS handshake" in failure["story"]


# The upstream, over HTTP/2


@pytest.mark.parametrize("code", _RST_CODES)
def test_stream_reset_by_the_upstream(world: World, code: str) -> None:
    assert get(world.http, f"/h2/{code}").status == 503
    failure = world.of_path(f"/h2/{code}")
    assert (failure["kind"], failure["flags"]) == ("upstream_reset", "UR")
    assert (failure["ended_by"], failure["how"]) == ("upstream", "RST_STREAM")
    assert failure["attempts"][0]["rst_stream_code"] == _RST_CODES[code]
    assert _RST_CODES[code].name in failure["story"]


def test_stream_reset_in_the_middle_of_the_response(world: World) -> None:
    with RawClient(world.http, methods=["GET"]) as client, pytest.raises(ConnectionError):
        client.send(b"GET /h2/late HTTP/1.1\r\nhost: a\r\n\r\n")
        client.read_response()
    failure = world.of_path("/h2/late")
    assert failure["kind"] == "upstream_reset"
    assert "RST_STREAM INTERNAL_ERROR in the middle of the response" in failure["story"]


def test_goaway_then_the_end(world: World) -> None:
    assert get(world.http, "/h2/goaway").status == 503
    failure = world.of_path("/h2/goaway")
    assert (failure["kind"], failure["how"]) == ("upstream_closed", "FIN")
    assert failure["attempts"][0]["goaway"]["code"] == ErrorCodes.ENHANCE_YOUR_CALM
    assert "GOAWAY (ENHANCE_YOUR_CALM, last stream" in failure["story"]


# This proxy


@pytest.mark.parametrize(
    ("path", "kind", "flags", "status"),
    [
        ("/overflow", "circuit_breaker", "UO", 503),
        ("/empty", "no_healthy_upstream", "UH", 503),
        ("/no-such-route", "no_route", "NR", 404),
        ("/nowhere", "no_cluster", "NC", 503),
    ],
)
def test_request_that_is_not_sent(world: World, path: str, kind: str, flags: str, status: int) -> None:
    before = world.stage.proxy.stat(f"failures.{kind}_total")
    assert get(world.http, path).status == status
    failure = world.of_path(path)
    assert (failure["kind"], failure["hop"], failure["flags"]) == (kind, "proxy", flags)
    assert failure["code"] == status
    assert world.stage.proxy.stat(f"failures.{kind}_total") == before + 1


def test_configured_answer_leaves_no_record(world: World) -> None:
    """Whatever its status: whoever configured it got what was asked for."""
    total = world.stage.proxy.stat("failures.local_reply_total")
    assert get(world.http, "/direct").status == 503
    assert get(world.http, "/no-such-route/after-direct").status == 404
    assert world.of_path("/no-such-route/after-direct")["kind"] == "no_route"
    assert not [each for each in world.failures() if each.get("path") == "/direct"]
    assert world.stage.proxy.stat("failures.local_reply_total") == total


def test_stream_idle_timeout(world: World) -> None:
    assert get(world.http, "/idle").status == 504
    failure = world.of_path("/idle")
    assert (failure["kind"], failure["flags"], failure["hop"]) == ("idle_timeout", "SI", "upstream")
    assert world.hosts["silent"] in failure["story"]


def test_successful_request_leaves_no_record(world: World) -> None:
    total = len(world.failures())
    assert get(world.http, "/fine").status == 200
    assert get(world.http, "/no-such-route/after").status == 404
    world.of_path("/no-such-route/after")
    assert len(world.failures()) == total + 1


# The client


def test_malformed_request(world: World) -> None:
    with RawClient(world.http, methods=["GET"]) as client:
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n")
        assert client.read_response().status == 400
        client_address = client.socket.getsockname()
    failure = world.failure(
        lambda each: each["client"] == f"127.0.0.1:{client_address[1]}", "the malformed request"
    )
    assert (failure["kind"], failure["hop"], failure["flags"]) == ("client_protocol", "downstream", "DPE")


def test_tls_on_a_plaintext_listener(world: World) -> None:
    context = world.stage.mesh.client_context(None)
    with socket.create_connection(world.http, timeout=5) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="shop.example")
    failure = world.failure(lambda each: each.get("client_spoke") == "TLS", "the ClientHello")
    assert (failure["kind"], failure["flags"]) == ("client_protocol", "DPE")
    assert failure["story"].endswith("speaks TLS; this listener expects plaintext")


def test_tls_on_a_plaintext_listener_for_http2_alone(world: World) -> None:
    context = world.stage.mesh.client_context(None)
    with (
        socket.create_connection(world.tcp["h2c"], timeout=5) as plain,
        pytest.raises((ssl.SSLError, OSError)),
    ):
        context.wrap_socket(plain, server_hostname="shop.example")
    failure = world.of_listener("h2c")
    assert (failure["kind"], failure["flags"], failure["protocol"]) == ("client_protocol", "DPE", "HTTP/2")
    assert failure["story"].endswith("speaks TLS; this listener expects plaintext")


def test_peer_does_not_forge_records(world: World) -> None:
    """Metadata is what the client makes of it: a page of lines must not get lines of it, nor a terminal commands."""
    forged = "shop\n2026-01-01T00:00:00.000Z  UC  503  GET forged/\n\x1b[2J\x9b1m"
    header = encode_header(PeerMetadata(workload=forged, namespace="\u202eevil"))
    with RawClient(world.http) as client:
        headers = [("x-envoy-peer-metadata", header.decode()), ("x-envoy-peer-metadata-id", "x")]
        assert client.request("GET", "/no-such-route/forged", headers=headers).status == 404
    failure = world.of_path("/no-such-route/forged")
    assert failure["client_peer"].startswith(
        "shop?2026-01-01T00:00:00.000Z  UC  503  GET forged/??[2J?1m.?evil"
    )
    page = world.stage.proxy.admin("/failures")
    assert not set(page) & {"\x1b", "\x9b", "\u202e"}
    assert not [line for line in page.splitlines() if line.startswith("2026-01-01T00:00:00.000Z")]


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("how", _ENDS)
def test_client_that_leaves(world: World, how: str) -> None:
    path = f"/wait/{how}"
    received = world.stage.proxy.stat("cluster.silent.upstream_rq_total")
    client = RawClient(world.http)
    client.send(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
    wait_until(
        lambda: world.stage.proxy.stat("cluster.silent.upstream_rq_total") > received,
        timeout_s=5,
        what="the request with the upstream",
    )
    if how == "close":
        client.close()
    else:
        _reset(client.socket)
    failure = world.of_path(path)
    assert (failure["kind"], failure["hop"], failure["flags"]) == ("client_closed", "downstream", "DC")
    assert (failure["ended_by"], failure["how"]) == ("client", _ENDS[how])
    assert f"it waited for the upstream {world.hosts['silent']}" in failure["story"]
    assert failure["attempts"][0]["outcome"] == "given_up"


def test_client_that_resets_its_stream(world: World) -> None:
    with H2Client(world.http) as client:
        stream = client.begin("GET", "/wait/stream")
        client.reset(stream, ErrorCodes.CANCEL)
        failure = world.of_path("/wait/stream")
    assert (failure["kind"], failure["flags"]) == ("client_reset", "DR")
    assert failure["client_closed"] == "RST_STREAM CANCEL"


def test_plaintext_on_a_tls_listener(world: World) -> None:
    with RawClient(world.tcp["tls"], methods=["GET"]) as client, pytest.raises(ConnectionError):
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        client.read_response()
    failure = world.of_listener("tls")
    assert (failure["kind"], failure["hop"], failure["protocol"]) == ("client_tls", "downstream", "TLS")
    assert failure["story"].endswith("speaks plaintext HTTP; this listener expects TLS")


def test_plaintext_that_openssl_does_not_know_on_a_tls_listener(world: World) -> None:
    """To OpenSSL only the oldest methods are HTTP."""
    with RawClient(world.tcp["tls"], methods=["OPTIONS"]) as client:
        address = f"127.0.0.1:{client.socket.getsockname()[1]}"
        client.send(b"OPTIONS /a HTTP/1.1\r\nhost: a\r\n\r\n")
        with pytest.raises(ConnectionError):
            client.read_response()
    failure = world.failure(lambda each: each["client"] == address, "OPTIONS")
    assert failure["client_spoke"] == "HTTP"
    assert "expects TLS" in failure["story"]


def test_client_without_a_certificate(world: World) -> None:
    total = world.stage.proxy.stat("failures.client_tls_total")
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        get_tls(world.tcp["tls"], world.stage.mesh.client_context(None))
    wait_until(
        lambda: world.stage.proxy.stat("failures.client_tls_total") == total + 1,
        timeout_s=5,
        what="the record",
    )
    assert "the client showed no certificate" in world.of_listener("tls")["story"]


def test_client_that_leaves_in_the_middle_of_the_response(world: World) -> None:
    with RawClient(world.http, keep_body=False) as client:
        client.send(b"GET /fine/partly HTTP/1.1\r\nhost: a\r\n\r\n")
        while b"partial" not in client.socket.recv(4096):
            pass
        _reset(client.socket)
    failure = world.of_path("/fine/partly")
    assert (failure["kind"], failure["how"], failure["code"]) == ("client_closed", "RST", 200)
    assert "the response was under way, 7 bytes of its body had been sent" in failure["story"]


def get_tls(address: tuple[str, int], context: ssl.SSLContext) -> None:
    """One request; with TLS 1.3 a refusal comes only after the handshake."""
    with RawClient(address, context=context, methods=["GET"]) as client:
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        client.read_response()


def test_connection_without_a_filter_chain(world: World) -> None:
    with socket.create_connection(world.tcp["named"], timeout=5) as connection:
        assert connection.recv(1) == b""
    failure = world.of_listener("named")
    assert (failure["kind"], failure["flags"]) == ("no_filter_chain", "NR")


# TCP sessions


def test_tcp_session_without_an_upstream(world: World) -> None:
    for name, kind, flags in (("dead", "upstream_connect", "URX,UF"), ("lost", "no_cluster", "NC")):
        with socket.create_connection(world.tcp[name], timeout=5) as connection:
            assert connection.recv(1) == b""
        failure = world.of_listener(name)
        assert (failure["kind"], failure["protocol"]) == (kind, "TCP")
        assert sorted(failure["flags"].split(",")) == sorted(flags.split(","))


def test_tcp_sessions_that_are_reset(world: World) -> None:
    def session() -> socket.socket:
        opened = world.resetting.connections_opened
        connection = socket.create_connection(world.tcp["tcp"], timeout=5)
        connection.sendall(b"12345")
        wait_until(
            lambda: (
                world.resetting.connections_opened > opened
                and bytes(world.resetting.received[-1]) == b"12345"
            ),
            timeout_s=5,
            what="the session with the upstream",
        )
        return connection

    _reset(session())
    failure = world.of_listener("tcp")
    assert (failure["kind"], failure["ended_by"], failure["how"]) == ("client_reset", "client", "RST")
    assert failure["bytes_received"] == 5
    with session() as connection:
        world.resetting.reset_connections()
        with pytest.raises(ConnectionError):
            connection.recv(1)
    failure = world.failure(
        lambda each: each["kind"] == "upstream_reset" and each["listener"] == "tcp", "the reset"
    )
    assert (failure["flags"], failure["ended_by"], failure["how"]) == ("UR", "upstream", "RST")
    assert failure["connection_bytes_sent"] == 5


# Where it is shown


def test_access_log_says_why(world: World) -> None:
    assert get(world.http, "/refused/logged").status == 503
    assert get(world.http, "/fine/logged").status == 200

    def line(path: str) -> list[str]:
        def find() -> list[str] | None:
            text = world.stage.log.path.read_text(encoding="utf-8")
            found = [each.split("\t") for each in text.splitlines() if each.startswith(path + "\t")]
            return found[0] if found and len(found[0]) == 4 else None

        return wait_until(find, timeout_s=5, what=f"a line of {path}")

    _, kind, _, cause = line("/refused/logged")
    assert kind == "upstream_connect"
    assert cause.startswith(f"no connection to the upstream {world.hosts['refused']}")
    assert line("/fine/logged")[1:] == ["-", "-", "-"]


def test_page_for_people_and_its_filters(world: World) -> None:
    for path in ("/refused/page", "/empty/page"):
        assert get(world.http, path).status == 503
        world.of_path(path)
    page = world.stage.proxy.admin("/failures?flag=uf&limit=1")
    assert "1 shown, newest first" in page
    assert "a.example" not in page and "/refused/page" in page
    assert "no connection to the upstream" in page
    assert {each["cluster"] for each in world.failures("&cluster=empty")} == {"empty"}
    assert {each["kind"] for each in world.failures("&kind=no_healthy_upstream")} == {"no_healthy_upstream"}
    assert world.failures("&flag=RLSE") == []
    assert get(world.stage.proxy.admin_address, "/failures?limit=none").status == 400
    assert "/failures: why" in world.stage.proxy.admin("/help")
