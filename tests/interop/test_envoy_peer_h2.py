"""The real Envoy as the other sidecar with HTTP/2 and mutual TLS between the two, for clients of both protocols."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from h2.settings import SettingCodes

from tests.interop.metadata_checks import (
    check_request_metadata,
    check_response_metadata,
    istio_requests,
    sides,
)
from tests.interop.pair import H2, ISTIO_H2, SERVICE_HOST, Application, Between, SidecarPair
from tests.support.any_client import PROTOCOLS, AnyClient, Http1, Http2, any_client
from tests.support.certificates import Mesh, spiffe
from tests.support.envoy import require_envoy
from tests.support.h2_client import H2Client
from tests.support.pattern import PERIOD, PatternChecker, piece
from tests.support.process import Proxy, sidecar_command, wait_until

LARGE_BYTES = 64 << 20
MIB = 1 << 20
STREAMS = 100

DIRECTIONS = ("envoy to ours", "ours to envoy", "ours to ours")


@pytest.fixture(scope="module")
def application() -> Iterator[Application]:
    created = Application()
    yield created
    created.close()


@pytest.fixture(scope="module", params=[H2, ISTIO_H2], ids=str)
def between(request: pytest.FixtureRequest) -> Between:
    spoken: Between = request.param
    return spoken


@pytest.fixture(scope="module", params=DIRECTIONS)
def pair(
    request: pytest.FixtureRequest,
    between: Between,
    application: Application,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SidecarPair]:
    directory = tmp_path_factory.mktemp("pair")
    commands = {"envoy": require_envoy, "ours": sidecar_command}
    client, _, server = request.param.split(" ")
    created = SidecarPair(
        commands[client](), commands[server](), Mesh(directory), application, directory, between
    )
    yield created
    created.close()


@pytest.fixture(autouse=True)
def _forget_requests(application: Application) -> None:
    application.http.clear()


@pytest.fixture(params=PROTOCOLS)
def client(request: pytest.FixtureRequest, pair: SidecarPair) -> Iterator[AnyClient]:
    with any_client(request.param, ("127.0.0.1", pair.http_port), timeout_s=60) as created:
        yield created


def _h2_client(pair: SidecarPair) -> H2Client:
    """With windows that do not slow a large body down."""
    return H2Client(
        ("127.0.0.1", pair.http_port),
        settings={SettingCodes.INITIAL_WINDOW_SIZE: MIB},
        connection_window=8 * MIB,
        timeout_s=60,
    )


def test_methods_and_bodies(client: AnyClient, application: Application) -> None:
    for method, body in (
        ("GET", None),
        ("POST", b"some body"),
        ("HEAD", None),
        ("PUT", b""),
        ("DELETE", None),
        ("PATCH", bytes(piece(0, 200_000))),
    ):
        seen = client.request(method, f"/{method.lower()}?q=1", [("x-test", "1")], body)
        assert (seen.status, seen.end) == (200, "complete")
        assert seen.values("x-backend") == ["1"]
        assert seen.body == (b"" if method == "HEAD" else b"hello\n")
        received = application.http.requests[-1]
        assert (received.method, received.target) == (method, f"/{method.lower()}?q=1")
        assert (received.body, received.values("x-test")) == (body or b"", ["1"])
        assert received.values("host") == ["a.example"]


def test_body_without_a_length(client: AnyClient, application: Application) -> None:
    client.send_head("POST", "/up", end=False)
    client.send_data(b"hello")
    client.send_data(b" world", end=True)
    assert client.wait().status == 200
    assert application.http.requests[-1].body == b"hello world"
    assert application.http.requests[-1].values("transfer-encoding") == ["chunked"]


def test_http2_is_spoken_between_the_sidecars(pair: SidecarPair) -> None:
    with any_client("HTTP/1.1", ("127.0.0.1", pair.http_port)) as client:
        assert client.request("GET", "/").status == 200
    assert pair.client.stat("cluster.outbound-http.upstream_cx_http2_total") >= 1
    assert pair.client.stat("cluster.outbound-http.upstream_cx_http1_total") == 0
    assert pair.server.stat("http.inbound.downstream_cx_http2_total") >= 1
    assert pair.server.stat("http.inbound.downstream_cx_http1_total") == 0
    assert pair.server.stat("cluster.inbound-http.upstream_cx_http1_total") >= 1


def test_application_learns_the_identity_of_the_client(client: AnyClient, application: Application) -> None:
    forged = [("x-forwarded-client-cert", "By=spiffe://cluster.local/ns/default/sa/forged")]
    assert client.request("GET", "/", forged).status == 200
    (told,) = application.http.requests[-1].values("x-forwarded-client-cert")
    assert f"URI={spiffe('client')}" in told
    assert "forged" not in told


def test_large_download(pair: SidecarPair) -> None:
    with _h2_client(pair) as client:
        answer = client.request("GET", f"/bytes/{LARGE_BYTES}", check=True)
    assert answer.check is not None and answer.check.is_exactly(LARGE_BYTES)


def test_large_download_over_http1(pair: SidecarPair) -> None:
    """The pattern has a head before it and no other framing."""
    check = PatternChecker()
    with any_client("HTTP/1.1", ("127.0.0.1", pair.http_port), timeout_s=60) as client:
        assert isinstance(client, Http1)
        client.send_head("GET", f"/bytes/{LARGE_BYTES}")
        raw = client.client.socket
        head = b""
        while b"\r\n\r\n" not in head:
            head += raw.recv(65536)
        check.feed(head.partition(b"\r\n\r\n")[2])
        while check.received < LARGE_BYTES:
            data = raw.recv(1 << 18)
            assert data, "closed before the end of the body"
            check.feed(data)
    assert check.is_exactly(LARGE_BYTES)


def test_large_upload(client: AnyClient, application: Application) -> None:
    client.send_head("POST", "/upload", end=False, length=LARGE_BYTES)
    for offset in range(0, LARGE_BYTES, PERIOD):
        client.send_data(piece(offset, PERIOD), end=offset + PERIOD == LARGE_BYTES)
    assert client.wait().status == 200
    assert application.http.uploads[-1].is_exactly(LARGE_BYTES)


def test_large_bodies_both_ways_at_once(pair: SidecarPair, application: Application) -> None:
    """A download and an upload on one connection; neither waits for the other."""
    size = LARGE_BYTES // 2
    with _h2_client(pair) as client:
        download = client.begin("GET", f"/bytes/{size}", end=True, check=True)
        upload = client.begin("POST", "/upload")
        for offset in range(0, size, PERIOD):
            client.send(upload, piece(offset, PERIOD))
        client.end(upload)
        assert client.wait(upload).status == 200
        check = client.wait(download).check
    assert check is not None and check.is_exactly(size)
    assert application.http.uploads[-1].is_exactly(size)


def test_many_concurrent_streams(pair: SidecarPair, application: Application) -> None:
    """Each gets its own answer, and they share what is between the sidecars."""
    with _h2_client(pair) as client:
        streams = {}
        for number in range(STREAMS):
            if number % 2:
                streams[number] = client.begin("GET", f"/bytes/{1000 * number}", end=True, check=True)
            else:
                streams[number] = client.begin("POST", f"/{number}")
                client.send(streams[number], b"%d" % number, end=True)
        for number, stream in streams.items():
            answer = client.wait(stream)
            assert answer.status == 200
            if number % 2:
                assert answer.check is not None and answer.check.is_exactly(1000 * number)
            else:
                assert answer.body_length == 6
    bodies = {request.target: request.body for request in application.http.requests}
    assert all(bodies[f"/{number}"] == b"%d" % number for number in range(0, STREAMS, 2))
    assert pair.client.stat("cluster.outbound-http.upstream_cx_active") == 1


def test_streams_given_up_leave_the_others(pair: SidecarPair) -> None:
    with _h2_client(pair) as client:
        given_up = [client.begin("GET", f"/bytes/{LARGE_BYTES}", end=True) for _ in range(5)]
        for stream in given_up:
            client.hold(stream)
            client.wait_head(stream)
        kept = client.begin("GET", f"/bytes/{MIB}", end=True, check=True)
        for stream in given_up:
            client.reset(stream)
        answer = client.wait(kept)
        assert answer.check is not None and answer.check.is_exactly(MIB)
        assert client.request("GET", "/").status == 200
    for proxy, gauge in (
        (pair.client, "cluster.outbound-http.upstream_rq_active"),
        (pair.server, "cluster.inbound-http.upstream_rq_active"),
    ):

        def at_rest(proxy: Proxy = proxy, gauge: str = gauge) -> bool:
            return proxy.stat(gauge) == 0

        wait_until(at_rest, timeout_s=10, what=f"{gauge} back to 0")


def test_metadata_between_the_sidecars(
    client: AnyClient, pair: SidecarPair, application: Application
) -> None:
    if sides(pair) == ("envoy", "envoy"):
        pytest.skip("two Envoys exchange no metadata")
    seen = client.request("GET", "/metadata")
    assert seen.status == 200
    check_request_metadata(pair, application.http.requests[-1].values)
    check_response_metadata(pair, seen.values)


def test_every_request_is_counted(client: AnyClient, pair: SidecarPair) -> None:
    """Once on each of our sides, also when many share a connection."""
    labels = {"destination_service": SERVICE_HOST, "response_code": "200", "response_flags": "-"}
    ours = [
        (proxy, {"reporter": reporter, **labels})
        for proxy, reporter, side in zip(pair.proxies, ("source", "destination"), sides(pair), strict=True)
        if side == "ours"
    ]
    if not ours:
        pytest.skip("two Envoys have no such metric")
    before = [istio_requests(proxy, **wanted) for proxy, wanted in ours]
    count = 30
    if isinstance(client, Http2):
        streams = [client.client.begin("GET", "/counted", end=True) for _ in range(count)]
        assert all(client.client.wait(stream).status == 200 for stream in streams)
    else:
        assert all(client.request("GET", "/counted").status == 200 for _ in range(count))
    for (proxy, wanted), earlier in zip(ours, before, strict=True):

        def counted(
            proxy: Proxy = proxy, wanted: Mapping[str, str] = wanted, expected: float = earlier + count
        ) -> bool:
            return istio_requests(proxy, **wanted) == expected

        wait_until(counted, timeout_s=5, what=f"{count} requests more in {wanted}")
