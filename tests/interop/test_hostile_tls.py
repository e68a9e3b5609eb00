"""Handshakes of clients and upstreams that must be refused, and of odd ones that must not be."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.backends import HttpBackend, LoopThread
from tests.support.bootstraps import (
    TLS_INSPECTOR,
    Json,
    bootstrap,
    cluster,
    downstream_tls,
    http_filter_chain,
    listener,
    route_config,
    route_to,
    upstream_tls,
    uri_san,
)
from tests.support.certificates import TRUST_DOMAIN, Authority, Leaf, LeafFiles, Mesh, client_context, spiffe
from tests.support.http_client import InvalidResponse, RawClient, Response, format_request, get
from tests.support.odd_certificates import OddCertificate, odd_client_certificates
from tests.support.ports import free_ports
from tests.support.process import Proxy, ProxyCommand, sidecar_command, start_proxy, wait_until

ALPN = ("istio-peer-exchange", "h2", "http/1.1")
CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
)

_ODD = odd_client_certificates(Authority())
"""Only for the names: every run mints its own."""


@dataclass
class World:
    proxy: Proxy
    mesh: Mesh
    odd: Mapping[str, OddCertificate]
    app: HttpBackend
    ports: Mapping[str, int]

    def address(self, name: str) -> tuple[str, int]:
        return "127.0.0.1", self.ports[name]


def _server_chain(mesh: Mesh) -> Json:
    tls = downstream_tls(
        mesh.leaf("server"),
        mesh.root,
        alpn=ALPN,
        sans=[uri_san(prefix=f"spiffe://{TRUST_DOMAIN}/")],
        tls_minimum_protocol_version="TLSv1_2",
        cipher_suites=list(CIPHERS),
    )
    return {**_plain_chain(), "transport_socket": tls}


def _plain_chain() -> Json:
    return http_filter_chain(
        route_config(route_to("app")),
        stat_prefix="inbound",
        forward_client_cert_details="APPEND_FORWARD",
        set_current_client_cert_details={"uri": True},
    )


def start_server(command: ProxyCommand, directory: Path, loop: LoopThread) -> World:
    """A server with a STRICT and a PERMISSIVE port in front of one application."""
    mesh = Mesh(directory)
    app = HttpBackend(loop).start()
    admin_port, strict, permissive = free_ports(3)
    inspector = [{"name": "envoy.filters.listener.tls_inspector", "typed_config": {"@type": TLS_INSPECTOR}}]
    listeners = [
        listener("strict", strict, _server_chain(mesh)),
        listener(
            "permissive",
            permissive,
            {**_server_chain(mesh), "filter_chain_match": {"transport_protocol": "tls"}},
            {**_plain_chain(), "filter_chain_match": {"transport_protocol": "raw_buffer"}},
            listener_filters=inspector,
        ),
    ]
    text = bootstrap(admin_port, listeners, [cluster("app", app.address)])
    proxy = start_proxy(command, text, directory, admin_port)
    return World(
        proxy,
        mesh,
        odd_client_certificates(mesh.authority),
        app,
        {"strict": strict, "permissive": permissive},
    )


@pytest.fixture(scope="module")
def loop() -> Iterator[LoopThread]:
    created = LoopThread()
    yield created
    created.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, loop: LoopThread) -> Iterator[World]:
    created = start_server(sidecar_command(), tmp_path_factory.mktemp("hostile-tls"), loop)
    yield created
    created.proxy.terminate()
    created.app.stop()


def _files(world: World, leaf: Leaf | None) -> LeafFiles | None:
    return leaf.write(world.mesh.directory, "odd") if leaf is not None else None


def exchange(address: tuple[str, int], context: ssl.SSLContext | None, data: bytes) -> Response | None:
    """The answer to `data`, None when the connection was refused or closed without one."""
    try:
        with RawClient(address, context=context, timeout_s=5) as client:
            client.send(data)
            return client.read_response()
    except (OSError, InvalidResponse):
        return None


def judge_certificate(world: World, odd: OddCertificate) -> int | None:
    """The status that the holder of `odd` gets, None when it is refused; a refusal must not reach the application."""
    before = world.app.bytes_received
    context = client_context(world.mesh.root, _files(world, odd.leaf))
    response = exchange(world.address("strict"), context, format_request("GET", "/"))
    if response is None:
        assert world.app.bytes_received == before, "bytes of a refused client reached the application"
        return None
    return response.status


@pytest.mark.parametrize("kind", _ODD)
def test_client_certificate(world: World, kind: str) -> None:
    odd = world.odd[kind]
    assert judge_certificate(world, odd) == (200 if odd.accept else None), odd.why


def test_refusals_are_counted_by_reason(world: World) -> None:
    prefix = f"listener.127.0.0.1_{world.ports['strict']}.ssl."
    for kind, counter in (
        ("none", "fail_verify_no_cert"),
        ("other trust domain", "fail_verify_san"),
        ("expired", "fail_verify_error"),
    ):
        before = world.proxy.stat(prefix + counter)
        assert judge_certificate(world, world.odd[kind]) is None
        wait_until(
            lambda counter=counter, before=before: world.proxy.stat(prefix + counter) == before + 1,
            timeout_s=5,
            what=f"{counter} for {kind}",
        )


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_versions_are_refused(world: World, version: str) -> None:
    context = world.mesh.client_context("client")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with (
        socket.create_connection(world.address("strict"), timeout=5) as raw,
        pytest.raises(ssl.SSLError, match=r"(?i)alert|protocol"),
        context.wrap_socket(raw),
    ):
        pass


@pytest.mark.parametrize(
    ("cipher", "accepted"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", True),
        ("ECDHE-ECDSA-AES256-SHA384", False),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", False),
    ],
)
def test_ciphers_of_tls_1_2(world: World, cipher: str, accepted: bool) -> None:
    context = world.mesh.client_context("client")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    response = exchange(world.address("strict"), context, format_request("GET", "/"))
    assert (response is not None) == accepted


@pytest.mark.parametrize("alpn", [(), ("foo",), ("istio",), ("http/1.1",)], ids=str)
def test_unknown_or_no_alpn_is_served_as_http1(world: World, alpn: tuple[str, ...]) -> None:
    context = world.mesh.client_context("client", alpn=alpn)
    response = exchange(world.address("strict"), context, format_request("GET", "/"))
    assert response is not None
    assert response.status == 200


def test_http1_text_under_alpn_h2_gets_no_answer(world: World) -> None:
    before = world.app.bytes_received
    context = world.mesh.client_context("client", alpn=["h2"])
    assert exchange(world.address("strict"), context, format_request("GET", "/")) is None
    assert world.app.bytes_received == before


def test_http2_preface_under_another_alpn_reaches_nobody(world: World) -> None:
    before = world.app.bytes_received
    context = world.mesh.client_context("client", alpn=["istio-peer-exchange"])
    response = exchange(world.address("strict"), context, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
    assert response is None or response.status >= 400
    assert world.app.bytes_received == before


def test_plaintext_to_the_strict_port(world: World) -> None:
    before = world.app.bytes_received
    with RawClient(world.address("strict"), timeout_s=5) as client:
        client.send(format_request("GET", "/"))
        assert client.receive(5)
        assert client.closed_by_peer
        assert client.received == 0
    assert world.app.bytes_received == before


def test_permissive_port_serves_both_and_knows_the_difference(world: World) -> None:
    world.app.clear()
    assert get(world.address("permissive"), "/plain").status == 200
    context = world.mesh.client_context("client")
    response = exchange(world.address("permissive"), context, format_request("GET", "/tls"))
    assert response is not None
    assert response.status == 200
    plain, secure = world.app.requests
    assert plain.values("x-forwarded-client-cert") == []
    assert f"URI={spiffe('client')}" in secure.values("x-forwarded-client-cert")[0]


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\xff\xff" + b"A" * 400, b"\x00" * 64, b"\x16\x03\x01\x00\x05hello"],
    ids=["record too long", "zeros", "no handshake"],
)
def test_garbage_instead_of_a_client_hello(world: World, garbage: bytes) -> None:
    before = world.app.bytes_received
    with RawClient(world.address("strict"), timeout_s=5) as client:
        client.send(garbage)
        client.half_close()
        while not client.closed_by_peer:
            try:
                assert client.receive(5), "the connection is still open"
            except InvalidResponse:
                continue
    assert world.app.bytes_received == before
    context = world.mesh.client_context("client")
    assert exchange(world.address("strict"), context, format_request("GET", "/")) is not None


def test_client_hello_in_single_bytes(world: World) -> None:
    """Byte by byte through the TLS inspector of the permissive port."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = world.mesh.client_context("client").wrap_bio(incoming, outgoing)
    with socket.create_connection(world.address("permissive"), timeout=5) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                data = outgoing.read()
                for position in range(len(data)):
                    raw.sendall(data[position : position + 1])
                incoming.write(raw.recv(65536))
        client.write(format_request("GET", "/"))
        raw.sendall(outgoing.read())
        received = b""
        while b"200 OK" not in received:
            try:
                received += client.read(65536)
            except ssl.SSLWantReadError:
                data = raw.recv(65536)
                assert data, "closed without an answer"
                incoming.write(data)


def _bad_upstreams(mesh: Mesh) -> dict[str, Leaf]:
    identity = [spiffe("server")]
    return {
        "wrong name": mesh.authority.issue([spiffe("other")]),
        "expired": mesh.authority.issue(identity, valid_from_days=-3, valid_to_days=-1),
        "other authority": Authority("another root").issue(identity),
        "client usage only": mesh.authority.issue(identity, usages=[ExtendedKeyUsageOID.CLIENT_AUTH]),
    }


def test_bad_upstreams_get_no_request(tmp_path: Path, loop: LoopThread) -> None:
    mesh = Mesh(tmp_path)
    upstreams: dict[str, HttpBackend] = {}
    clusters, routes = [], []
    for number, (kind, leaf) in enumerate(_bad_upstreams(mesh).items()):
        files = leaf.write(tmp_path, f"upstream-{number}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        upstreams[kind] = HttpBackend(loop).start(context=context)
        tls = upstream_tls(mesh.leaf("client"), mesh.root, sans=[uri_san(exact=spiffe("server"))])
        clusters.append(cluster(f"bad-{number}", upstreams[kind].address, transport_socket=tls))
        routes.append(route_to(f"bad-{number}", prefix=f"/{number}"))
    admin_port, port = free_ports(2)
    text = bootstrap(admin_port, [listener("out", port, http_filter_chain(route_config(*routes)))], clusters)
    proxy = start_proxy(sidecar_command(), text, tmp_path, admin_port)
    try:
        for number, kind in enumerate(upstreams):
            response = get(("127.0.0.1", port), f"/{number}")
            assert response.status == 503, kind
            assert b"connection failure" in response.body, kind
            counter = "fail_verify_san" if kind == "wrong name" else "fail_verify_error"
            assert proxy.stat(f"cluster.bad-{number}.ssl.{counter}") == 1, kind
            assert upstreams[kind].requests == [], kind
            assert upstreams[kind].bytes_received == 0, kind
    finally:
        proxy.terminate()
        for upstream in upstreams.values():
            upstream.stop()


@pytest.mark.parametrize("content", [None, b"", b"not a certificate\n"], ids=["missing", "empty", "garbage"])
def test_without_an_authority_nothing_is_served(
    tmp_path: Path, loop: LoopThread, content: bytes | None
) -> None:
    """A listener that could not check its clients does not listen; it never falls back to anything weaker."""
    mesh = Mesh(tmp_path)
    app = HttpBackend(loop).start()
    server = mesh.leaf("server")
    if content is None:
        mesh.root.unlink()
    else:
        mesh.root.write_bytes(content)
    admin_port, port = free_ports(2)
    chain = {**_plain_chain(), "transport_socket": downstream_tls(server, mesh.root)}
    text = bootstrap(admin_port, [listener("strict", port, chain)], [cluster("app", app.address)])
    with pytest.raises(RuntimeError, match="ended with"):
        start_proxy(sidecar_command(), text, tmp_path, admin_port).kill()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=2):
        pass
    app.stop()


def test_the_real_envoy_judges_the_certificates_as_recorded(
    tmp_path: Path, loop: LoopThread, envoy: ProxyCommand
) -> None:
    """The verdicts that we list for Envoy are its own: what we refuse beyond them is our decision."""
    world = start_server(envoy, tmp_path, loop)
    try:
        verdicts = {kind: judge_certificate(world, odd) is not None for kind, odd in world.odd.items()}
    finally:
        world.proxy.terminate()
        world.app.stop()
    assert verdicts == {kind: odd.reference_accepts for kind, odd in world.odd.items()}
