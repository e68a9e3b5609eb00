"""Peer metadata that lie, do not parse or never end: over HTTP headers and before TCP bytes."""

from __future__ import annotations

import base64
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf import any_pb2, struct_pb2, wrappers_pb2
from prometheus_client.parser import text_string_to_metric_families

from tests.support.backends import HttpBackend, LoopThread, TcpBackend
from tests.support.bootstraps import (
    bootstrap,
    cluster,
    downstream_tls,
    http_filter_chain,
    listener,
    route_config,
    route_to,
    tcp_filter_chain,
    uri_san,
)
from tests.support.certificates import TRUST_DOMAIN, Mesh, spiffe
from tests.support.http_client import RawClient, Response
from tests.support.istio_config import (
    PEER_EXCHANGE_ALPN,
    PEER_EXCHANGE_MAGIC,
    exchange_frame,
    exchange_prefix,
    istio_stats_filter,
    metadata_exchange_filter,
    metadata_header,
    metadata_struct,
    node,
    node_metadata,
    peer_metadata_filter,
    struct_value,
)
from tests.support.ports import free_ports
from tests.support.process import Proxy, sidecar_command, start_proxy, wait_until
from tests.support.prometheus_text import parse

METADATA = "x-envoy-peer-metadata"
METADATA_ID = "x-envoy-peer-metadata-id"
PAYLOAD = b"bytes of the application\n"
MAX_EXTRA_SECONDS = 0.25


@dataclass
class World:
    proxy: Proxy
    mesh: Mesh
    app: HttpBackend
    tcp: TcpBackend
    ports: dict[str, int]

    def address(self, name: str) -> tuple[str, int]:
        return "127.0.0.1", self.ports[name]

    def assert_healthy(self) -> None:
        """The process lives and no exception went through its log."""
        assert self.proxy.returncode is None
        assert "Traceback" not in self.proxy.log_text()
        text = self.proxy.prometheus()
        parse(text)
        assert list(text_string_to_metric_families(text))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("hostile-metadata")
    loop = LoopThread()
    mesh = Mesh(directory)
    app = HttpBackend(loop).start()
    tcp = TcpBackend(loop, "silent").start()
    admin_port, *ports = free_ports(4)
    names = dict(zip(("mtls", "plain", "tcp"), ports, strict=True))
    sans = [uri_san(prefix=f"spiffe://{TRUST_DOMAIN}/")]
    chain = http_filter_chain(
        route_config(route_to("app")), http_filters=[peer_metadata_filter(inbound=True), istio_stats_filter()]
    )
    tcp_chain = tcp_filter_chain("tcp")
    tcp_chain["filters"][:0] = [metadata_exchange_filter(), istio_stats_filter(tcp_reporting_duration="1s")]
    tls = downstream_tls(mesh.leaf("server"), mesh.root, alpn=["http/1.1"], sans=sans)
    tcp_tls = downstream_tls(mesh.leaf("server"), mesh.root, alpn=[PEER_EXCHANGE_ALPN], sans=sans)
    inbound = {"traffic_direction": "INBOUND"}
    listeners = [
        listener("mtls", names["mtls"], {**chain, "transport_socket": tls}, **inbound),
        listener("plain", names["plain"], chain, **inbound),
        listener("tcp", names["tcp"], {**tcp_chain, "transport_socket": tcp_tls}, **inbound),
    ]
    clusters = [cluster("app", app.address), cluster("tcp", tcp.address)]
    text = bootstrap(admin_port, listeners, clusters, node=node("ratings", service_account="server"))
    proxy = start_proxy(sidecar_command(), text, directory, admin_port)
    yield World(proxy, mesh, app, tcp, names)
    proxy.terminate()
    app.stop()
    tcp.stop()
    loop.close()


def _request(
    world: World, headers: list[tuple[str, str]], leaf: str | None = "client", path: str = "/"
) -> Response:
    context = world.mesh.client_context(leaf) if leaf else None
    with RawClient(world.address("mtls" if leaf else "plain"), context=context) as client:
        return client.request("GET", path, headers)


def _requests_total(world: World, **labels: str) -> float:
    family = parse(world.proxy.prometheus()).get("istio_requests_total")
    return sum(
        sample.value
        for sample in (family.samples if family else [])
        if all(dict(sample.labels).get(name) == value for name, value in labels.items())
    )


def _wait_counted(world: World, **labels: str) -> None:
    wait_until(
        lambda: _requests_total(world, **labels) > 0, timeout_s=5, what=f"istio_requests_total {labels}"
    )


@pytest.mark.parametrize("leaf", [None, "client"], ids=["plaintext", "mTLS"])
def test_the_application_never_sees_metadata_headers(world: World, leaf: str | None) -> None:
    world.app.clear()
    headers = [
        (METADATA_ID, "some-id"),
        (METADATA, metadata_header(node_metadata("caller"))),
        ("x-mine", "1"),
    ]
    assert _request(world, headers, leaf).status == 200
    seen = world.app.requests[-1]
    assert seen.values(METADATA) == []
    assert seen.values(METADATA_ID) == []
    assert seen.values("x-mine") == ["1"]


def test_a_plaintext_client_has_no_principal_whatever_it_says(world: World) -> None:
    claims = {**node_metadata("impostor"), "SERVICE_ACCOUNT": "admin"}
    assert _request(world, [(METADATA_ID, "i"), (METADATA, metadata_header(claims))], None).status == 200
    _wait_counted(world, source_workload="impostor-v1", source_principal="unknown")
    assert _requests_total(world, source_workload="impostor-v1") == _requests_total(
        world, source_workload="impostor-v1", source_principal="unknown", connection_security_policy="none"
    )


def test_the_principal_comes_from_the_certificate(world: World) -> None:
    claims = {**node_metadata("liar"), "SERVICE_ACCOUNT": "admin"}
    assert _request(world, [(METADATA_ID, "l"), (METADATA, metadata_header(claims))]).status == 200
    _wait_counted(world, source_workload="liar-v1", source_principal=spiffe("client"))
    assert _requests_total(world, source_workload="liar-v1") == _requests_total(
        world,
        source_workload="liar-v1",
        source_principal=spiffe("client"),
        connection_security_policy="mutual_tls",
    )


def test_one_client_cannot_speak_for_the_id_of_another(world: World) -> None:
    """A stores a false identity under the id of B; what B says afterwards is what counts for B."""
    shared_id = "sidecar~10.0.0.2~victim"
    false, true = metadata_header(node_metadata("false")), metadata_header(node_metadata("true"))
    assert _request(world, [(METADATA_ID, shared_id), (METADATA, false)], "attacker").status == 200
    assert _request(world, [(METADATA_ID, shared_id), (METADATA, true)], "victim").status == 200
    _wait_counted(world, source_workload="true-v1", source_principal=spiffe("victim"))
    assert _requests_total(world, source_workload="false-v1", source_principal=spiffe("victim")) == 0


_VALUE = metadata_header(node_metadata("odd"))
_ODD_VALUES = {
    "empty": "",
    "not base64": "%%%%",
    "one character": "A",
    "url-safe alphabet": base64.urlsafe_b64encode(b"\xfb\xff\xfe" * 20).decode(),
    "no padding": _VALUE.rstrip("="),
    "too much padding": _VALUE.rstrip("=") + "====",
    "padding inside": _VALUE[:8] + "==" + _VALUE[8:],
    "inner spaces": _VALUE[:40] + "  " + _VALUE[40:],
    "59 KiB of A": "A" * 59 * 1024,
    "not a Struct": base64.b64encode(b"\xff" * 300).decode(),
    "cut off": _VALUE[: len(_VALUE) // 2],
}


@pytest.mark.parametrize("kind", _ODD_VALUES)
def test_odd_header_values_do_not_disturb_the_request(world: World, kind: str) -> None:
    assert _request(world, [(METADATA_ID, "odd"), (METADATA, _ODD_VALUES[kind])]).status == 200
    world.assert_healthy()


def test_repeated_headers_do_not_disturb_the_request(world: World) -> None:
    world.app.clear()
    other = metadata_header(node_metadata("second"))
    headers = [(METADATA_ID, "a"), (METADATA_ID, "b"), (METADATA, _VALUE), (METADATA, other)]
    assert _request(world, headers).status == 200
    assert world.app.requests[-1].values(METADATA) == []
    assert world.app.requests[-1].values(METADATA_ID) == []
    world.assert_healthy()


def _nested(depth: int) -> bytes:
    """A Struct with `depth` structs inside each other, without the recursion of a message object."""
    value = b""
    for _ in range(depth):
        inner = b"\x2a" + _varint(len(value)) + value
        entry = b"\x0a\x01a\x12" + _varint(len(inner)) + inner
        value = b"\x0a" + _varint(len(entry)) + entry
    return value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _hostile_structs() -> dict[str, bytes]:
    wide = struct_pb2.Struct()
    for number in range(2500):
        wide[f"k{number}"] = ""
    long_value = metadata_struct({**node_metadata("long"), "WORKLOAD_NAME": "w" * 40_000})
    odd_types = metadata_struct(
        {"LABELS": [1, 2, [3]], "NAMESPACE": 5, "WORKLOAD_NAME": None, "NAME": {"a": 1}}
    )
    control = metadata_struct({**node_metadata("control"), "WORKLOAD_NAME": "a\0b\r\nc\x1b[31m"})
    return {
        "100 deep": _nested(100),
        "1000 deep": _nested(1000),
        "3000 deep": _nested(3000),
        "2500 fields": wide.SerializeToString(),
        "field of 40 KiB": long_value.SerializeToString(),
        "unexpected types": odd_types.SerializeToString(),
        "control characters": control.SerializeToString(),
        "invalid UTF-8": b"\x0a\x0f\x0a\x0dWORKLOAD_NAME"[:2]
        + b"\x0a\x04NAME\x12\x07\x1a\x05\xff\xfe\xfd\xfc\xfb",
        "huge varint": b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        "wrong wire type": b"\x09" + bytes(8),
    }


_HOSTILE_STRUCTS = _hostile_structs()


@pytest.mark.parametrize("kind", _HOSTILE_STRUCTS)
def test_hostile_structs_cost_little_and_harm_nothing(world: World, kind: str) -> None:
    value = base64.b64encode(_HOSTILE_STRUCTS[kind]).decode()
    assert _request(world, [], "client").status == 200
    started = time.monotonic()
    assert _request(world, [(METADATA_ID, kind.replace(" ", "-")), (METADATA, value)]).status == 200
    assert time.monotonic() - started < MAX_EXTRA_SECONDS
    world.assert_healthy()


_HOSTILE_TEXTS = {
    "quote": 'a"b',
    "backslash": "a\\b\\n",
    "line feed": "a\nb",
    "brace": 'a"}b{x="y"} 1',
    "html": "<script>alert(1)</script>",
    "separators": "a;.;b=.=c|d,e",
    "not ASCII": "日本語",
}


@pytest.mark.parametrize("kind", _HOSTILE_TEXTS)
def test_labels_are_escaped(world: World, kind: str) -> None:
    """Whatever a peer puts into its metadata, the metrics text parses and holds one series for it."""
    text = _HOSTILE_TEXTS[kind]
    claims = {**node_metadata(f"label-{kind.replace(' ', '-')}"), "CLUSTER_ID": text, "NAMESPACE": text}
    assert (
        _request(world, [(METADATA_ID, f"label-{kind}"), (METADATA, metadata_header(claims))]).status == 200
    )
    _wait_counted(world, source_workload=f"label-{kind.replace(' ', '-')}-v1")
    world.assert_healthy()


def test_labels_from_the_request_are_escaped(world: World) -> None:
    with RawClient(world.address("plain")) as client:
        client.reader.expect("GET")
        client.send(b'GET / HTTP/1.1\r\nhost: a"\\}b\r\nuser-agent: x"\r\n\r\n')
        assert client.read_response().status in (200, 400)
    world.assert_healthy()


# Before TCP bytes

_FRAME = exchange_frame(node_metadata("productpage"), "productpage-id")


def _any_of_another_type() -> bytes:
    wrapped = any_pb2.Any()
    wrapped.Pack(wrappers_pb2.StringValue(value="text"))
    return wrapped.SerializeToString()


def _prefixes() -> dict[str, tuple[bytes, bytes]]:
    """Kind to (what the client sends before `PAYLOAD`, what the application gets before it)."""
    large = exchange_frame({**node_metadata("large"), "NAME": "n" * 65_536}, "large")
    blob = _FRAME[8:]
    return {
        "good": (_FRAME, b""),
        "larger than 64 KiB": (large, b""),
        "wrong magic": (b"\x3d\x23\x04\x68" + _FRAME[4:], b"\x3d\x23\x04\x68" + _FRAME[4:]),
        "length 0": (exchange_prefix(b""), b""),
        "one byte that is no Any": (exchange_prefix(b"\xff"), b"\xff"),
        "Any of another type": (exchange_prefix(_any_of_another_type()), b""),
        "cut-off Any": (exchange_prefix(blob[: len(blob) // 2]), blob[: len(blob) // 2]),
        "twice": (_FRAME + _FRAME, _FRAME),
    }


_PREFIXES = _prefixes()


class _Exchange:
    """A client of the TCP port that offers the ALPN of the metadata exchange."""

    def __init__(self, world: World) -> None:
        context = world.mesh.client_context("client", alpn=[PEER_EXCHANGE_ALPN])
        raw = socket.create_connection(world.address("tcp"), timeout=10)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket: ssl.SSLSocket = context.wrap_socket(raw)
        assert self.socket.selected_alpn_protocol() == PEER_EXCHANGE_ALPN

    def __enter__(self) -> _Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def read_frame(self) -> dict[str, Any]:
        """What the frame of the server holds."""
        header = self._read(8)
        assert int.from_bytes(header[:4], "big") == PEER_EXCHANGE_MAGIC
        wrapped = any_pb2.Any.FromString(self._read(int.from_bytes(header[4:], "big")))
        message = struct_pb2.Struct()
        assert wrapped.Unpack(message)
        return struct_value(message)

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            received = self.socket.recv(count - len(data))
            assert received, "closed before the end of the frame"
            data += received
        return data


def _wait_received(world: World, expected: bytes) -> None:
    wait_until(
        lambda: bool(world.tcp.received) and bytes(world.tcp.received[-1]) == expected,
        timeout_s=5,
        what=f"the application receiving {len(expected)} bytes",
    )


@pytest.mark.parametrize("kind", _PREFIXES)
def test_tcp_prefix(world: World, kind: str) -> None:
    world.tcp.received.clear()
    sent, expected = _PREFIXES[kind]
    with _Exchange(world) as client:
        client.socket.sendall(sent + PAYLOAD)
        message = client.read_frame()
        assert message["x-envoy-peer-metadata-id"] == "ratings-id"
        assert message["x-envoy-peer-metadata"]["WORKLOAD_NAME"] == "ratings-v1"
        _wait_received(world, expected + PAYLOAD)
    world.assert_healthy()


@pytest.mark.parametrize("length", [(1 << 20) + 1, 1 << 31, (1 << 32) - 1])
def test_tcp_prefix_that_promises_too_much(world: World, length: int) -> None:
    """It is neither waited for nor kept: the connection is closed and the application has seen no byte of it."""
    world.tcp.received.clear()
    with _Exchange(world) as client:
        client.socket.sendall(exchange_prefix(b"", length=length) + PAYLOAD)
        client.read_frame()
        assert client.socket.recv(1) == b""
    assert all(bytes(received) == b"" for received in world.tcp.received)
    world.assert_healthy()


@pytest.mark.parametrize("offset", range(1, 40))
def test_tcp_prefix_split_anywhere(world: World, offset: int) -> None:
    world.tcp.received.clear()
    data = _FRAME + PAYLOAD
    with _Exchange(world) as client:
        client.socket.sendall(data[:offset])
        client.read_frame()
        client.socket.sendall(data[offset:])
        _wait_received(world, PAYLOAD)


def test_tcp_prefix_then_the_end(world: World) -> None:
    world.tcp.received.clear()
    with _Exchange(world) as client:
        client.socket.sendall(_FRAME)
        client.read_frame()
        client.socket.unwrap().close()
    wait_until(lambda: world.tcp.connections_open == 0, timeout_s=5, what="upstream connection closed")
    assert all(bytes(received) == b"" for received in world.tcp.received)
    world.assert_healthy()


def test_tcp_connections_are_counted_under_the_peer(world: World) -> None:
    with _Exchange(world) as client:
        client.socket.sendall(_FRAME + PAYLOAD)
        client.read_frame()

    def counted() -> bool:
        family = parse(world.proxy.prometheus()).get("istio_tcp_connections_opened_total")
        return any(
            dict(sample.labels).get("source_workload") == "productpage-v1"
            and dict(sample.labels).get("source_principal") == spiffe("client")
            for sample in (family.samples if family else [])
        )

    wait_until(counted, timeout_s=10, what="istio_tcp_connections_opened_total of productpage-v1")
