"""The filter chains of an inbound capture listener, as Istio 1.28 writes them: which client reaches which chain.

Nine destination ports: a service that is HTTP, TCP or of no declared protocol, in each mode of mutual TLS. The destination
comes from a PROXY protocol header in the place of a nat rule. Each chain answers with its own name.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.bootstraps import (
    HTTP_INSPECTOR,
    TLS_INSPECTOR,
    Json,
    bootstrap,
    downstream_tls,
    http_filter_chain,
    listener,
    route_config,
    uri_san,
)
from tests.support.certificates import Mesh
from tests.support.ports import free_port
from tests.support.process import sidecar_command, start_proxy

PROXY_PROTOCOL = "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
DIRECT_RESPONSE = "type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config"

MESH_HTTP = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
MESH_TCP = ("istio-peer-exchange", "istio")
MESH = (*MESH_TCP[::-1], *MESH_HTTP)
PLAIN_HTTP = ("http/1.1", "h2c")

#: for each kind of service and mode: (answer, transport protocol, application protocols) of its chains
CHAINS: Final[dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]]] = {
    "HTTP PERMISSIVE": (("http mtls", "tls", MESH), ("http plain", "raw_buffer", ())),
    "HTTP STRICT": (("http mtls", "tls", ()),),
    "HTTP DISABLE": (("http plain", "raw_buffer", ()),),
    "TCP PERMISSIVE": (("tcp mtls", "tls", MESH), ("tcp tls", "tls", ()), ("tcp plain", "raw_buffer", ())),
    "TCP STRICT": (("tcp mtls", "tls", ()),),
    "TCP DISABLE": (("tcp plain", "raw_buffer", ()),),
    "AUTO PERMISSIVE": (
        ("http mtls", "tls", MESH_HTTP),
        ("http plain", "raw_buffer", PLAIN_HTTP),
        ("tcp mtls", "tls", MESH_TCP),
        ("tcp plain", "raw_buffer", ()),
        ("tcp tls", "tls", ()),
    ),
    "AUTO STRICT": (("http mtls", "tls", MESH_HTTP), ("tcp mtls", "tls", ())),
    "AUTO DISABLE": (("http plain", "raw_buffer", PLAIN_HTTP), ("tcp plain", "raw_buffer", ())),
}
PORTS: Final = {service: 8080 + number for number, service in enumerate(CHAINS)}

HTTP_REQUEST = b"GET / HTTP/1.1\r\nhost: service\r\n\r\n"
NO_HTTP = b"hello\r\n\r\n"

#: name: (bytes, ALPN that is offered or None for no TLS, whether it has a certificate of the mesh)
CLIENTS: Final[dict[str, tuple[bytes, tuple[str, ...] | None, bool]]] = {
    "mesh http": (HTTP_REQUEST, ("istio-http/1.1", "istio", "http/1.1"), True),
    "mesh http/1.0": (HTTP_REQUEST, ("istio-http/1.0", "istio", "http/1.0"), True),
    "mesh tcp": (NO_HTTP, ("istio-peer-exchange", "istio"), True),
    "plain http": (HTTP_REQUEST, None, False),
    "plain tcp": (NO_HTTP, None, False),
    "foreign tls": (HTTP_REQUEST, ("h2", "http/1.1"), False),
    "foreign tls without alpn": (HTTP_REQUEST, (), False),
    "mesh alpn without certificate": (HTTP_REQUEST, ("istio",), False),
}

#: what the clients get, in that order; "400" is an HTTP chain that gets something else
ANSWERS: Final = {
    "HTTP PERMISSIVE": "http mtls,http mtls,400,http plain,400,closed,closed,closed",
    "HTTP STRICT": "http mtls,http mtls,400,closed,closed,closed,closed,closed",
    "HTTP DISABLE": "400,400,400,http plain,400,400,400,400",
    "TCP PERMISSIVE": "tcp mtls,tcp mtls,tcp mtls,tcp plain,tcp plain,tcp tls,tcp tls,closed",
    "TCP STRICT": "tcp mtls,tcp mtls,tcp mtls,closed,closed,closed,closed,closed",
    "TCP DISABLE": ",".join(["tcp plain"] * 8),
    "AUTO PERMISSIVE": "http mtls,http mtls,tcp mtls,http plain,tcp plain,tcp tls,tcp tls,closed",
    "AUTO STRICT": "http mtls,http mtls,tcp mtls,closed,closed,closed,closed,closed",
    "AUTO DISABLE": "tcp plain,tcp plain,tcp plain,http plain,tcp plain,tcp plain,tcp plain,tcp plain",
}


def filter_chain(
    mesh: Mesh, service: str, answer: str, transport: str, application_protocols: tuple[str, ...]
) -> Json:
    kind, _, security = answer.partition(" ")
    if kind == "http":
        response = {"status": 200, "body": {"inline_string": f"[{answer}]"}}
        chain = http_filter_chain(route_config({"match": {"prefix": "/"}, "direct_response": response}))
    else:
        config = {"@type": DIRECT_RESPONSE, "response": {"inline_string": f"[{answer}]"}}
        chain = {"filters": [{"name": "envoy.filters.network.direct_response", "typed_config": config}]}
    match: Json = {"destination_port": PORTS[service], "transport_protocol": transport}
    if application_protocols:
        match["application_protocols"] = list(application_protocols)
    chain["filter_chain_match"] = match
    if security == "mtls":
        alpn = ["h2", "http/1.1"] if kind == "http" else ["istio-peer-exchange", "h2", "http/1.1"]
        sans = [uri_san(prefix="spiffe://cluster.local/")]
        chain["transport_socket"] = downstream_tls(mesh.leaf("server"), mesh.root, alpn=alpn, sans=sans)
    return chain


def disabled_for(ports: list[int]) -> Json:
    return {"or_match": {"rules": [{"destination_port_range": {"start": p, "end": p + 1}} for p in ports]}}


def config(mesh: Mesh, admin_port: int, port: int) -> str:
    """As from istiod, the inspectors are disabled for the port of the listener itself and for those that need none."""
    chains = [
        filter_chain(mesh, service, *chain) for service, its_chains in CHAINS.items() for chain in its_chains
    ]
    no_tls = [port, *(PORTS[each] for each in CHAINS if each.endswith("DISABLE"))]
    no_http = [port, *(PORTS[each] for each in CHAINS if not each.startswith("AUTO") or "STRICT" in each)]
    inbound = listener(
        "virtualInbound",
        port,
        *chains,
        traffic_direction="INBOUND",
        listener_filters=[
            {"name": "proxy", "typed_config": {"@type": PROXY_PROTOCOL}},
            {
                "name": "tls",
                "filter_disabled": disabled_for(no_tls),
                "typed_config": {"@type": TLS_INSPECTOR},
            },
            {
                "name": "http",
                "filter_disabled": disabled_for(no_http),
                "typed_config": {"@type": HTTP_INSPECTOR},
            },
        ],
        listener_filters_timeout="5s",
        continue_on_listener_filters_timeout=True,
    )
    return bootstrap(admin_port, [inbound])


class Inbound:
    """The proxy, and clients for it."""

    def __init__(self, mesh: Mesh, port: int) -> None:
        self._mesh = mesh
        self._port = port

    def ask(self, service: str, data: bytes, alpn: tuple[str, ...] | None, certificate: bool) -> str:
        """What a client of that service is answered."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=10) as sock:
            sock.sendall(f"PROXY TCP4 192.0.2.1 192.0.2.2 40000 {PORTS[service]}\r\n".encode())
            try:
                if alpn is None:
                    sock.sendall(data)
                    return answer_in(read_all(sock))
                context = self._mesh.client_context("client" if certificate else None, alpn=alpn)
                return speak_tls(sock, context, data)
            except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
                return "closed"


def speak_tls(sock: socket.socket, context: ssl.SSLContext, data: bytes) -> str:
    """The answer under TLS; or the one in plaintext to a ClientHello that was not understood."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="outbound_.80_._.service")
    received = b""
    while True:
        try:
            session.do_handshake()
            break
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            piece = sock.recv(65536)
            if not piece:
                return "closed"
            if not received and piece[0] not in (0x15, 0x16):  # neither an alert nor a handshake
                return answer_in(piece + read_all(sock))
            received += piece
            incoming.write(piece)
    session.write(data)
    sock.sendall(outgoing.read())
    text = b""
    while not text.endswith(b"]"):
        try:
            piece = session.read(65536)
        except ssl.SSLWantReadError:
            more = sock.recv(65536)
            if not more:
                break
            incoming.write(more)
            continue
        if not piece:
            break
        text += piece
    return answer_in(text)


def read_all(sock: socket.socket) -> bytes:
    """To the end of the connection, or of an answer."""
    data = b""
    while not data.endswith(b"]"):
        piece = sock.recv(65536)
        if not piece:
            break
        data += piece
    return data


def answer_in(data: bytes) -> str:
    if data.startswith(b"HTTP/1.1 400 "):
        return "400"
    found = re.search(rb"\[(.+)\]$", data)
    return found[1].decode() if found else "closed" if not data else repr(data)


@pytest.fixture(scope="module")
def inbound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inbound]:
    directory = tmp_path_factory.mktemp("mesh")
    mesh = Mesh(directory)
    admin_port, port = free_port(), free_port()
    proxy = start_proxy(sidecar_command(), config(mesh, admin_port, port), directory, admin_port)
    try:
        yield Inbound(mesh, port)
        assert "Traceback" not in proxy.log_text()
    finally:
        proxy.terminate()


@pytest.mark.parametrize("service", CHAINS)
def test_each_client_reaches_its_chain(inbound: Inbound, service: str) -> None:
    answers = {name: inbound.ask(service, *client) for name, client in CLIENTS.items()}
    assert answers == dict(zip(CLIENTS, ANSWERS[service].split(","), strict=True))
