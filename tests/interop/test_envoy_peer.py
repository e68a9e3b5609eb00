"""The real Envoy as the other sidecar: in front of this proxy, and behind it, over mutual TLS."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.interop.metadata_checks import check_request_metadata, check_response_metadata, sides
from tests.interop.pair import Application, SidecarPair
from tests.support.certificates import Mesh, spiffe
from tests.support.envoy import require_envoy
from tests.support.http_client import RawClient, get
from tests.support.pattern import PERIOD, PatternChecker, piece
from tests.support.process import sidecar_command

LARGE_BYTES = 64 << 20

DIRECTIONS = ("envoy to ours", "ours to envoy", "ours to ours")


@pytest.fixture(scope="module")
def application() -> Iterator[Application]:
    created = Application()
    yield created
    created.close()


@pytest.fixture(scope="module", params=DIRECTIONS)
def pair(
    request: pytest.FixtureRequest, application: Application, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SidecarPair]:
    directory = tmp_path_factory.mktemp("pair")
    commands = {"envoy": require_envoy, "ours": sidecar_command}
    client, _, server = request.param.split(" ")
    created = SidecarPair(commands[client](), commands[server](), Mesh(directory), application, directory)
    yield created
    created.close()


@pytest.fixture(autouse=True)
def _forget_requests(application: Application) -> None:
    application.http.clear()


def test_http_methods_and_bodies(pair: SidecarPair, application: Application) -> None:
    with RawClient(("127.0.0.1", pair.http_port)) as client:
        for method, body in (
            ("GET", None),
            ("POST", b"some body"),
            ("HEAD", None),
            ("PUT", b""),
            ("DELETE", None),
        ):
            response = client.request(method, f"/{method.lower()}?q=1", [("x-test", "1")], body)
            assert response.status == 200
            assert response.header("x-backend") == "1"
            assert response.body == (b"" if method == "HEAD" else b"hello\n")
            seen = application.http.requests[-1]
            assert (seen.method, seen.target, seen.body) == (method, f"/{method.lower()}?q=1", body or b"")
            assert seen.values("x-test") == ["1"]


def test_chunked_upload(pair: SidecarPair, application: Application) -> None:
    with RawClient(("127.0.0.1", pair.http_port), methods=["POST"]) as client:
        client.send(b"POST /up HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n")
        client.send(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
        assert client.read_response().status == 200
    assert application.http.requests[-1].body == b"hello world"


def test_application_learns_the_identity_of_the_client(pair: SidecarPair, application: Application) -> None:
    forged = [("x-forwarded-client-cert", "By=spiffe://cluster.local/ns/default/sa/forged")]
    assert get(("127.0.0.1", pair.http_port), "/", headers=forged).status == 200
    told = application.http.requests[-1].values("x-forwarded-client-cert")
    assert len(told) == 1
    assert f"URI={spiffe('client')}" in told[0]
    assert "forged" not in told[0]


def test_large_http_download(pair: SidecarPair) -> None:
    check = PatternChecker()
    with RawClient(("127.0.0.1", pair.http_port), timeout_s=60, keep_body=False) as client:
        client.send(f"GET /bytes/{LARGE_BYTES} HTTP/1.1\r\nhost: a.example\r\n\r\n".encode())
        client.reader.expect("GET")
        head, received = b"", 0
        while received < LARGE_BYTES:
            data = client.socket.recv(1 << 18)
            assert data, "closed before the end of the body"
            if b"\r\n\r\n" not in head:
                head, separator, data = (head + data).partition(b"\r\n\r\n")
                head += separator
            check.feed(data)
            received += len(data)
    assert check.is_exactly(LARGE_BYTES)


def test_large_http_upload(pair: SidecarPair, application: Application) -> None:
    with RawClient(("127.0.0.1", pair.http_port), methods=["POST"], timeout_s=60) as client:
        client.send(
            f"POST /upload HTTP/1.1\r\nhost: a.example\r\ncontent-length: {LARGE_BYTES}\r\n\r\n".encode()
        )
        for offset in range(0, LARGE_BYTES, PERIOD):
            client.socket.sendall(piece(offset, PERIOD))
        assert client.read_response(60).status == 200
    assert application.http.uploads[-1].is_exactly(LARGE_BYTES)


def test_tcp_lines(pair: SidecarPair) -> None:
    with socket.create_connection(("127.0.0.1", pair.tcp_ports["lines"]), timeout=10) as connection:
        for number in range(3):
            connection.sendall(b"line %d\n" % number)
            assert connection.makefile("rb", buffering=0).readline() == b"app line %d\n" % number


def test_tcp_half_close_is_passed_on(pair: SidecarPair) -> None:
    """The other direction goes on after the client has ended its own."""
    with socket.create_connection(("127.0.0.1", pair.tcp_ports["sink"]), timeout=10) as connection:
        connection.sendall(piece(0, 100_000))
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").read() == b"100000\n"


def test_large_tcp_upload(pair: SidecarPair, application: Application) -> None:
    with socket.create_connection(("127.0.0.1", pair.tcp_ports["sink"]), timeout=60) as connection:
        for offset in range(0, LARGE_BYTES, PERIOD):
            connection.sendall(piece(offset, PERIOD))
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").read() == b"%d\n" % LARGE_BYTES
    assert application.sink.checks[-1].is_exactly(LARGE_BYTES)


def test_large_tcp_download(pair: SidecarPair) -> None:
    check = PatternChecker()
    with socket.create_connection(("127.0.0.1", pair.tcp_ports["source"]), timeout=60) as connection:
        connection.sendall(b"%d\n" % LARGE_BYTES)
        while data := connection.recv(1 << 18):
            check.feed(data)
    assert check.is_exactly(LARGE_BYTES)


def test_metadata_headers_between_the_sidecars(pair: SidecarPair, application: Application) -> None:
    """Whatever the other side tells is read, counted, and taken away; what we tell can be read by the other side."""
    if sides(pair) == ("envoy", "envoy"):
        pytest.skip("two Envoys exchange no metadata")
    response = get(("127.0.0.1", pair.http_port), "/metadata")
    assert response.status == 200
    check_request_metadata(pair, application.http.requests[-1].values)
    check_response_metadata(pair, response.values)
