"""TCP without the exchange: plaintext, foreign TLS, peers that do not answer. Nothing is lost, whoever is there."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.interop.gaps.stage import (
    CLOSED,
    OPENED,
    RECEIVED,
    SENT,
    GapStage,
    Labels,
    endpoint_workload,
    exchange,
    of_node,
    rule,
    series_of,
    service,
    services,
    side,
    stats,
    tcp,
    wait_for_series,
    wait_for_tcp,
)
from tests.support.bootstraps import (
    Json,
    cluster,
    downstream_tls,
    listener,
    tcp_filter_chain,
    upstream_tls,
    uri_san,
)
from tests.support.certificates import spiffe
from tests.support.istio_config import PEER_EXCHANGE_ALPN, exchange_frame, node_metadata
from tests.support.ports import free_port
from tests.support.process import Proxy, wait_until

INTERVAL = "0.2s"
SERVER_HOST = "127.0.0.2"
"""The server's sidecar is at another address than the client's, so that discovery can tell them apart."""
SERVICE = ("ratings.default.svc.cluster.local", "ratings", "default")
ENDPOINT = "ratings-by-endpoint;default;ratings;v1;ratings-cluster"


def in_the_file(workload: str, address: str) -> Json:
    """The entry of the file of workloads for the node of that name."""
    return {
        "name": f"{workload}-v1-0",
        "addresses": [address],
        "workload_name": f"{workload}-v1",
        "app": workload,
        "version": "v1",
        "cluster_id": f"{workload}-cluster",
        "service_account": workload,
    }


def client_chain() -> Json:
    chain = tcp_filter_chain("outbound")
    chain["filters"].insert(0, stats(tcp_reporting_duration=INTERVAL))
    return chain


def server_chain(transport_socket: Json | None = None) -> Json:
    chain = tcp_filter_chain("inbound")
    chain["filters"][:0] = [exchange(), stats(tcp_reporting_duration=INTERVAL)]
    if transport_socket is not None:
        chain["transport_socket"] = transport_socket
    return chain


class Pair:
    """Both sidecars, with a cleartext connection between them or mTLS with the exchange."""

    def __init__(
        self,
        stage: GapStage,
        *,
        mtls: bool = False,
        endpoint: str = "",
        backend: tuple[str, int] | None = None,
    ) -> None:
        self.backend = stage.tcp_backend()
        self.port, between = free_port(), free_port()
        server_tls = client_tls = None
        if mtls:
            sans = [uri_san(prefix="spiffe://cluster.local/")]
            alpn = [PEER_EXCHANGE_ALPN]
            server_tls = downstream_tls(stage.mesh.leaf("ratings"), stage.mesh.root, alpn=alpn, sans=sans)
            client_tls = upstream_tls(stage.mesh.leaf("productpage"), stage.mesh.root, alpn=alpn, sans=sans)
        self.server = start_server(stage, between, backend or self.backend.address, server_tls)
        out = cluster("outbound", (SERVER_HOST, between), **services(*SERVICE), filters=[exchange()])
        if endpoint:
            endpoint_workload(out, endpoint)
        if client_tls is not None:
            out["transport_socket"] = client_tls
        self.client = start_client(stage, self.port, out)

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            yield connection


def start_server(
    stage: GapStage, port: int, backend: tuple[str, int], tls: Json | None = None, **more: Any
) -> Proxy:
    return stage.start(
        "ratings",
        [listener("inbound", port, server_chain(tls), host=SERVER_HOST, traffic_direction="INBOUND")],
        [cluster("inbound", backend, **services(*SERVICE))],
        **more,
    )


def start_client(stage: GapStage, port: int, out: Json, **more: Any) -> Proxy:
    return stage.start(
        "productpage",
        [listener("outbound", port, client_chain(), traffic_direction="OUTBOUND")],
        [out],
        **more,
    )


def at_client(destination: Labels, **more: str) -> Labels:
    return {
        "reporter": "source",
        **of_node("source", "productpage"),
        **destination,
        **service(*SERVICE),
        **tcp(),
        **more,
    }


def at_server(source: Labels, **more: str) -> Labels:
    return {
        "reporter": "destination",
        **source,
        **of_node("destination", "ratings"),
        **service(*SERVICE),
        **tcp(policy="none"),
        **more,
    }


#: Nobody says where the peer's namespace is, and the service has one.
NOBODY = side("destination")


def ask(connection: socket.socket, line: bytes) -> None:
    """One line there and back."""
    connection.sendall(line)
    expected = b"app " + line
    received = b""
    while len(received) < len(expected):
        piece = connection.recv(len(expected) - len(received))
        assert piece, f"closed after {received!r}"
        received += piece
    assert received == expected


@rule("TCP-1")
def test_a_plaintext_connection_is_reported_on_the_way_and_at_its_end(stage: GapStage) -> None:
    pair = Pair(stage)
    sides = [(pair.client, at_client(NOBODY)), (pair.server, at_server(side("source")))]
    with pair.connected() as connection:
        for lines in (1, 2):  # what is new comes with the next interval
            ask(connection, b"hello\n")
            for proxy, labels in sides:
                wait_for_series(proxy, OPENED, labels, 1)
                wait_for_series(proxy, RECEIVED, labels, 6 * lines)
                wait_for_series(proxy, SENT, labels, 10 * lines)
                assert series_of(proxy, CLOSED) == []
        ask(connection, b"bye\n")
    for proxy, labels in sides:
        wait_for_tcp(proxy, labels, sent=28, received=16)


@rule("TCP-2")
def test_both_sides_are_known_by_their_addresses(stage: GapStage) -> None:
    stage.write_workloads(in_the_file("productpage", "127.0.0.1"), in_the_file("ratings", SERVER_HOST))
    pair = Pair(stage)
    with pair.connected() as connection:
        ask(connection, b"hello\n")
    # The file says which account the server runs as; without a certificate the client has proved nothing.
    destination = of_node("destination", "ratings", principal=spiffe("ratings"))
    wait_for_tcp(pair.client, at_client(destination), sent=10, received=6)
    wait_for_tcp(pair.server, at_server(of_node("source", "productpage")), sent=10, received=6)


@rule("TCP-2")
def test_the_source_also_knows_what_the_endpoint_says(stage: GapStage) -> None:
    pair = Pair(stage, endpoint=ENDPOINT)
    with pair.connected() as connection:
        ask(connection, b"hello\n")
    destination = side(
        "destination",
        workload="ratings-by-endpoint",
        canonical_service="ratings",
        canonical_revision="v1",
        namespace="default",
        cluster="ratings-cluster",
    )
    wait_for_tcp(pair.client, at_client(destination), sent=10, received=6)
    wait_for_tcp(pair.server, at_server(side("source")), sent=10, received=6)


@contextmanager
def tls_client(port: int, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection((SERVER_HOST, port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="ratings") as connection,
    ):
        yield connection


@rule("TCP-3")
def test_tls_without_alpn(stage: GapStage) -> None:
    backend = stage.tcp_backend()
    port = free_port()
    tls = downstream_tls(
        stage.mesh.leaf("ratings"), None, alpn=[PEER_EXCHANGE_ALPN], require_client_certificate=False
    )
    server = start_server(stage, port, backend.address, tls)
    with tls_client(port, stage.mesh.client_context(None)) as connection:
        ask(connection, b"hello\n")
    expected = at_server(side("source"), destination_principal=spiffe("ratings"))
    wait_for_tcp(server, expected, sent=10, received=6)
    assert bytes(backend.received[0]) == b"hello\n"


@rule("TCP-3")
def test_tls_that_passes_through(stage: GapStage) -> None:
    """What the sidecar sees, and counts, are the bytes of TLS."""
    backend = stage.tcp_backend(context=stage.mesh.server_context("external", mutual=False))
    port = free_port()
    server = start_server(stage, port, backend.address)
    with tls_client(port, stage.mesh.client_context(None)) as connection:
        ask(connection, b"hello\n")
    expected = at_server(side("source"))
    wait_for_series(server, OPENED, expected, 1)
    wait_for_series(server, CLOSED, expected, 1)
    assert all(value > 100 for name in (SENT, RECEIVED) for _, value in series_of(server, name))


@rule("TCP-3")
def test_a_client_with_mtls_that_lacks_the_exchange(stage: GapStage) -> None:
    backend = stage.tcp_backend()
    port = free_port()
    tls = downstream_tls(stage.mesh.leaf("ratings"), stage.mesh.root, alpn=[PEER_EXCHANGE_ALPN])
    server = start_server(stage, port, backend.address, tls)
    context = stage.mesh.client_context("productpage", alpn=[PEER_EXCHANGE_ALPN])
    with tls_client(port, context) as connection:
        connection.sendall(b"hello, world\n")
        answer = b""
        while not answer.endswith(b"world\n"):
            answer += connection.recv(4096)
    # The server cannot know before it has read: its own frame comes first.
    assert answer.endswith(b"app hello, world\n")
    assert bytes(backend.received[0]) == b"hello, world\n"
    source = side("source", principal=spiffe("productpage"), namespace="default")
    expected = at_server(
        source, destination_principal=spiffe("ratings"), connection_security_policy="mutual_tls"
    )
    wait_for_tcp(server, expected, sent=17, received=13)


@rule("TCP-3")
def test_a_server_with_mtls_that_lacks_the_exchange(stage: GapStage) -> None:
    context = stage.mesh.server_context("ratings", alpn=[PEER_EXCHANGE_ALPN])
    backend = stage.tcp_backend(context=context)
    port = free_port()
    out = cluster("outbound", backend.address, **services(*SERVICE), filters=[exchange()])
    out["transport_socket"] = upstream_tls(
        stage.mesh.leaf("productpage"), stage.mesh.root, alpn=[PEER_EXCHANGE_ALPN]
    )
    client = start_client(stage, port, out)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"hello, world\n")
        answer = b""
        while not answer.endswith(b"world\n"):
            answer += connection.recv(4096)
    lines = bytes(backend.received[0]).split(b"\n")[:-1]  # our frame, which it took for lines, and the line
    assert answer == b"".join(b"app " + line + b"\n" for line in lines)
    expected = at_client(
        side("destination", principal=spiffe("ratings"), namespace="default"),
        source_principal=spiffe("productpage"),
    )
    wait_for_tcp(client, expected, sent=len(answer), received=13)


@rule("TCP-4")
def test_a_connection_without_a_byte_is_reported_at_its_end(stage: GapStage) -> None:
    """No byte, no exchange: nothing is known and nothing is reported before."""
    pair = Pair(stage)
    with pair.connected():
        wait_until(
            lambda: pair.backend.connections_open, timeout_s=10, what="a connection to the application"
        )
        for proxy in (pair.client, pair.server):
            assert series_of(proxy, OPENED) == []
    wait_for_tcp(pair.client, at_client(NOBODY), sent=0, received=0)
    wait_for_tcp(pair.server, at_server(side("source")), sent=0, received=0)


@rule("TCP-4")
def test_an_upstream_that_refuses(stage: GapStage) -> None:
    port = free_port()
    out = cluster("outbound", ("127.0.0.1", free_port()), **services(*SERVICE), filters=[exchange()])
    client = start_client(stage, port, out)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        assert connection.recv(1) == b""
    wait_for_tcp(client, at_client(NOBODY, response_flags="UF,URX"), sent=0, received=0)


@rule("TCP-4")
def test_a_black_hole(stage: GapStage) -> None:
    port = free_port()
    black_hole = {"name": "BlackHoleCluster", "type": "STATIC", "connect_timeout": "1s"}
    chain = tcp_filter_chain("BlackHoleCluster")
    chain["filters"].insert(0, stats(tcp_reporting_duration=INTERVAL))
    client = stage.start(
        "productpage", [listener("outbound", port, chain, traffic_direction="OUTBOUND")], [black_hole]
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        assert connection.recv(1) == b""
    expected = at_client(NOBODY, **service(name="BlackHoleCluster"), response_flags="UH")
    wait_for_tcp(client, expected, sent=0, received=0)


@rule("TCP-5")
@pytest.mark.parametrize("mtls", [False, True], ids=["plaintext", "mtls"])
def test_frames_are_not_counted(stage: GapStage, mtls: bool) -> None:
    """The same payload, the same totals, with and without the exchange."""
    pair = Pair(stage, mtls=mtls)
    with pair.connected() as connection:
        ask(connection, b"x" * 9999 + b"\n")
    destination, source = NOBODY, side("source")
    more_at_client, more_at_server = {}, {}
    if mtls:
        destination = of_node("destination", "ratings", principal=spiffe("ratings"))
        source = of_node("source", "productpage", principal=spiffe("productpage"))
        more_at_client = {"source_principal": spiffe("productpage")}
        more_at_server = {
            "destination_principal": spiffe("ratings"),
            "connection_security_policy": "mutual_tls",
        }
    wait_for_tcp(pair.client, at_client(destination, **more_at_client), sent=10_004, received=10_000)
    wait_for_tcp(pair.server, at_server(source, **more_at_server), sent=10_004, received=10_000)


@rule("TCP-6")
@pytest.mark.parametrize("waits", [True, False], ids=["on", "off"])
def test_a_peer_is_not_waited_for_longer_than_asked(stage: GapStage, waits: bool) -> None:
    """Nobody has spoken yet: the exchange has not begun. What is then reported stays, also when it is done later."""
    backend = stage.tcp_backend()
    port = free_port()
    sans = [uri_san(prefix="spiffe://cluster.local/")]
    tls = downstream_tls(stage.mesh.leaf("ratings"), stage.mesh.root, alpn=[PEER_EXCHANGE_ALPN], sans=sans)
    server = start_server(
        stage, port, backend.address, tls, telemetry={"tcp_peer_wait": "0.3s"} if waits else None
    )
    proven = {"destination_principal": spiffe("ratings"), "connection_security_policy": "mutual_tls"}
    spoken = exchange_frame(node_metadata("productpage"), "productpage-id") + b"hello\n"
    late = at_server(of_node("source", "productpage", principal=spiffe("productpage")), **proven)
    early = at_server(side("source", principal=spiffe("productpage"), namespace="default"), **proven)
    context = stage.mesh.client_context("productpage", alpn=[PEER_EXCHANGE_ALPN])
    with tls_client(port, context) as connection:
        if waits:
            wait_for_series(server, OPENED, early, 1)
            wait_for_series(server, SENT, early, 0)
        else:
            wait_until(lambda: backend.connections_open, timeout_s=10, what="a connection to the application")
            with tls_client(port, context) as another:  # when its interval is over, so is the first one's
                another.sendall(spoken)
                wait_for_series(server, RECEIVED, late, 6)
            wait_for_series(server, CLOSED, late, 1)
            assert series_of(server, OPENED) == [(late, 1)]
        connection.sendall(spoken)
        while b"app hello\n" not in connection.recv(4096):
            pass
    connections = 1 if waits else 2
    wait_for_tcp(
        server,
        early if waits else late,
        sent=10 * connections,
        received=6 * connections,
        connections=connections,
    )
