"""TLS sessions client to server in memory: handshakes, half-close, pieces, garbage, and every way to fail."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.tls.session import TlsError, TlsErrorKind, TlsSession, peer_refused
from tests.support.certificates import Authority, Mesh, client_context


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    return Mesh(tmp_path_factory.mktemp("mesh"))


class Pair:
    """Both ends of one connection, and the wire between them."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext, **client_arguments: str) -> None:
        server.options |= ssl.OP_NO_RENEGOTIATION
        server.num_tickets = 0
        self.server = TlsSession(server, server_side=True)
        self.client = TlsSession(client, server_side=False, **client_arguments)

    def shake(self) -> bytes:
        """Until both are done; raises the first error of either. Returns what the server already got."""
        got = b""
        self.client.receive(b"")
        for _ in range(10):
            got += self.server.receive(self.client.take_output())
            self.client.receive(self.server.take_output())
            if self.server.handshake_done and self.client.handshake_done:
                return got
        raise AssertionError("the handshake does not end")

    def to_server(self) -> bytes:
        return self.server.receive(self.client.take_output())

    def to_client(self) -> bytes:
        return self.client.receive(self.server.take_output())


def make(mesh: Mesh, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, alpn: tuple[str, ...] = ()) -> Pair:
    server = mesh.server_context("server", alpn=alpn)
    client = mesh.client_context("client", alpn=alpn)
    client.maximum_version = version
    return Pair(server, client, server_name="outbound_.80_._.server.default.svc.cluster.local")


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
def test_handshake_and_what_was_agreed(mesh: Mesh, version: ssl.TLSVersion) -> None:
    pair = make(mesh, version=version, alpn=("istio-peer-exchange", "h2"))
    pair.shake()
    for session in (pair.server, pair.client):
        assert session.version == version.name.replace("_", ".")
        assert session.cipher
        assert session.alpn == "istio-peer-exchange"
        assert session.peer_certificate_der is not None
    assert pair.client.sni.startswith("outbound_.80_")


def test_no_overlap_of_alpn_is_no_error(mesh: Mesh) -> None:
    pair = Pair(mesh.server_context("server", alpn=["h2"]), mesh.client_context("client", alpn=["istio"]))
    pair.shake()
    assert pair.server.alpn == ""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1, 100, 16384, 16385, 65536, 65537, 1024 * 1024 + 7])
def test_bytes_of_any_amount(mesh: Mesh, version: ssl.TLSVersion, size: int) -> None:
    pair = make(mesh, version=version)
    pair.shake()
    data = os.urandom(size)
    pair.client.send(data)
    assert pair.to_server() == data
    pair.server.send(data[::-1])
    assert pair.to_client() == data[::-1]


@pytest.mark.parametrize("version", VERSIONS)
def test_byte_by_byte(mesh: Mesh, version: ssl.TLSVersion) -> None:
    pair = make(mesh, version=version)
    pair.client.receive(b"")
    for _ in range(10):
        for byte in pair.client.take_output():
            pair.server.receive(bytes([byte]))
        for byte in pair.server.take_output():
            pair.client.receive(bytes([byte]))
        if pair.server.handshake_done and pair.client.handshake_done:
            break
    pair.client.send(b"hello " * 1000)
    pair.client.close_write()
    out = b"".join(pair.server.receive(bytes([byte])) for byte in pair.client.take_output())
    assert out == b"hello " * 1000
    assert pair.server.peer_closed


def test_many_messages_in_one_piece(mesh: Mesh) -> None:
    pair = make(mesh)
    pair.shake()
    for number in range(100):
        pair.client.send(b"%d;" % number)
    assert pair.to_server() == b"".join(b"%d;" % number for number in range(100))


@pytest.mark.parametrize("version", VERSIONS)
def test_half_close_both_ways(mesh: Mesh, version: ssl.TLSVersion) -> None:
    pair = make(mesh, version=version)
    pair.shake()
    pair.client.send(b"request")
    pair.client.close_write()
    assert pair.to_server() == b"request"
    assert pair.server.peer_closed
    assert not pair.client.peer_closed
    pair.server.send(b"answer " * 20000)
    assert pair.to_client() == b"answer " * 20000
    pair.server.close_write()
    assert pair.to_client() == b""
    assert pair.client.peer_closed
    pair.client.receive_eof()
    pair.server.receive_eof()


@pytest.mark.parametrize("version", VERSIONS)
def test_half_close_while_a_record_is_half_read(mesh: Mesh, version: ssl.TLSVersion) -> None:
    pair = make(mesh, version=version)
    pair.shake()
    pair.server.send(b"x" * 1000)
    record = pair.server.take_output()
    assert pair.client.receive(record[:500]) == b""
    pair.client.close_write()
    assert pair.client.receive(record[500:]) == b"x" * 1000
    pair.to_server()
    assert pair.server.peer_closed
    pair.server.send(b"more")
    assert pair.to_client() == b"more"


@pytest.mark.parametrize("version", VERSIONS)
def test_close_write_before_the_handshake_does_not_stop_the_peers_data(
    mesh: Mesh, version: ssl.TLSVersion
) -> None:
    pair = make(mesh, version=version)
    pair.client.send(b"request " * 5000)
    pair.server.send(b"answer")
    pair.server.close_write()
    got = pair.shake()
    got += pair.to_server()
    assert got == b"request " * 5000
    assert pair.to_client() in (b"answer", b"")  # it came with the handshake in TLS 1.2
    assert pair.client.peer_closed
    assert pair.server.failure is None


def test_close_write_twice_and_early(mesh: Mesh) -> None:
    pair = make(mesh)
    pair.client.send(b"early")
    pair.client.close_write()
    with pytest.raises(TlsError):
        pair.client.send(b"too late")
    pair.client.close_write()
    assert pair.shake() == b"early"
    assert pair.server.peer_closed
    with pytest.raises(TlsError) as caught:
        pair.client.send(b"late")
    assert caught.value.kind is TlsErrorKind.CLOSED
    assert pair.client.failure is None


def test_bytes_sent_before_the_handshake_wait_for_it(mesh: Mesh) -> None:
    pair = make(mesh)
    pair.client.send(b"one ")
    pair.client.send(b"two")
    assert pair.client.take_output() == b""
    pair.client.receive(b"")
    pair.server.receive(pair.client.take_output())
    pair.client.receive(pair.server.take_output())
    assert pair.to_server() == b"one two"


def test_too_many_bytes_before_the_handshake(mesh: Mesh) -> None:
    pair = make(mesh)
    pair.client.send(b"x" * 1024 * 1024)
    with pytest.raises(TlsError):
        pair.client.send(b"x")


def test_verify_comes_before_any_plaintext(mesh: Mesh) -> None:
    seen: list[bool] = []

    def refuse(session: TlsSession) -> TlsError:
        seen.append(session.handshake_done)
        assert session.peer_certificate_der is not None
        return peer_refused("SAN matcher", TlsErrorKind.SAN_MISMATCH)

    pair = make(mesh)
    context = mesh.server_context("server")
    server = TlsSession(context, server_side=True, verify=refuse)
    pair.client.receive(b"")
    server.receive(pair.client.take_output())
    pair.client.receive(server.take_output())
    pair.client.send(b"secret")  # the client believes that it is connected
    server_output_before = server.take_output()
    with pytest.raises(TlsError) as caught:
        server.receive(pair.client.take_output())
    assert seen == [False]
    assert caught.value.counter == "fail_verify_san"
    assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value)
    assert not server.handshake_done
    assert server_output_before == b""
    for action in (lambda: server.receive(b""), lambda: server.send(b"x"), lambda: server.receive_eof()):
        with pytest.raises(TlsError):
            action()
    server.close_write()
    assert server.failure is caught.value


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_without_certificate_learns_it(mesh: Mesh, version: ssl.TLSVersion) -> None:
    client_side = mesh.client_context(None)
    client_side.maximum_version = version
    pair = Pair(mesh.server_context("server"), client_side)
    with pytest.raises(TlsError) as caught:
        pair.shake()
    assert caught.value.counter == "fail_verify_no_cert"
    alert = pair.server.take_output()
    assert alert
    with pytest.raises(TlsError) as learned:
        pair.client.receive(alert)
    assert learned.value.kind is TlsErrorKind.PEER_ALERT
    assert learned.value.counter == "connection_error"
    if version is ssl.TLSVersion.TLSv1_3:  # it was connected already
        assert pair.client.handshake_done
        expected = "TLS_error:|268436572:SSL routines:OPENSSL_internal:TLSV13_ALERT_CERTIFICATE_REQUIRED:TLS_error_end"
        assert str(learned.value) == expected


def test_a_server_of_another_authority(mesh: Mesh, tmp_path: Path) -> None:
    root = tmp_path / "other.pem"
    root.write_bytes(Authority("other").certificate_pem)
    pair = Pair(mesh.server_context("server", mutual=False), client_context(root, None))
    with pytest.raises(TlsError) as caught:
        pair.shake()
    assert caught.value.counter == "fail_verify_error"
    assert str(caught.value).startswith(
        "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: "
    )
    with pytest.raises(TlsError) as learned:
        pair.server.receive(pair.client.take_output())
    assert "TLSV1_ALERT_UNKNOWN_CA" in str(learned.value)


@pytest.mark.parametrize("name", ["a..b", ".a", "x" * 64 + ".a", "a\0b", "\udcff", "a." + "b" * 300])
def test_a_server_name_that_cannot_be_sent(mesh: Mesh, name: str) -> None:
    with pytest.raises(TlsError) as caught:
        TlsSession(mesh.client_context("client"), server_side=False, server_name=name)
    assert caught.value.kind is TlsErrorKind.SERVER_NAME


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff", b"\0" * 100, b"\x15\x03\x01\x00\x02\x02\x28"]
)
@pytest.mark.parametrize("server_side", [True, False])
def test_garbage_instead_of_a_handshake(mesh: Mesh, data: bytes, server_side: bool) -> None:
    context = mesh.server_context("server") if server_side else mesh.client_context("client")
    session = TlsSession(context, server_side=server_side)
    with pytest.raises(TlsError) as caught:
        session.receive(data)
        session.receive(data)
    assert str(caught.value).startswith("TLS_error:|")
    assert caught.value.counter == "connection_error"


def test_a_damaged_record(mesh: Mesh) -> None:
    pair = make(mesh)
    pair.shake()
    pair.client.send(b"hello")
    record = bytearray(pair.client.take_output())
    record[-1] ^= 1
    with pytest.raises(TlsError) as caught:
        pair.server.receive(bytes(record))
    assert caught.value.kind is TlsErrorKind.PROTOCOL
    with pytest.raises(TlsError):  # the alert that tells the other side
        pair.to_client()


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_the_transport_ends_too_early(mesh: Mesh, when: str) -> None:
    pair = make(mesh)
    if when == "after":
        pair.shake()
    elif when == "during":
        pair.client.receive(b"")
        pair.server.receive(pair.client.take_output())
    with pytest.raises(TlsError) as caught:
        pair.server.receive_eof()
    assert caught.value.kind is TlsErrorKind.TRUNCATED
    assert caught.value.counter == ""
    assert ("during the handshake" in str(caught.value)) == (when != "after")


def test_bytes_after_close_notify_are_ignored(mesh: Mesh) -> None:
    pair = make(mesh)
    pair.shake()
    pair.client.close_write()
    assert pair.server.receive(pair.client.take_output() + b"garbage") == b""
    assert pair.server.receive(b"more garbage") == b""


def test_renegotiation_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    """OpenSSL's client asks for it with `R`; the connection does not start a second handshake."""
    context = mesh.server_context("server", mutual=False)
    context.options |= ssl.OP_NO_RENEGOTIATION
    text, _ = drive_openssl_client(context, ["-tls1_2", "-CAfile", str(mesh.root)], b"R\n")
    assert b"no renegotiation" in text.lower()


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_against_the_openssl_command(mesh: Mesh, version: str) -> None:
    files = mesh.leaf("client")
    arguments = [version, "-cert", str(files.certificate), "-key", str(files.key), "-CAfile", str(mesh.root)]
    arguments += ["-alpn", "istio,h2", "-servername", "a.example"]
    text, received = drive_openssl_client(
        mesh.server_context("server", alpn=["h2"]), arguments, b"hello\nQ\n"
    )
    assert received == b"hello\n"
    assert b"ALPN protocol: h2" in text
    assert b"Verify return code: 0 (ok)" in text
    assert b"answer\n" in text


def test_key_updates_are_taken(mesh: Mesh) -> None:
    files = mesh.leaf("client")
    arguments = [
        "-tls1_3",
        "-cert",
        str(files.certificate),
        "-key",
        str(files.key),
        "-CAfile",
        str(mesh.root),
    ]
    _, received = drive_openssl_client(mesh.server_context("server"), arguments, b"one\nK\ntwo\nQ\n")
    assert received == b"one\ntwo\n"


def drive_openssl_client(context: ssl.SSLContext, arguments: list[str], typed: bytes) -> tuple[bytes, bytes]:
    """Serve one `openssl s_client`; returns what it printed, and the plaintext that came from it.

    `typed` goes to it line by line, one for each piece that comes back: it takes commands only at the start of a read.
    """
    session = TlsSession(context, server_side=True)
    received = b""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{listener.getsockname()[1]}", *arguments]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as client:
            assert client.stdin is not None
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                lines = typed.splitlines(keepends=True)
                while data := connection.recv(65536):
                    try:
                        received += session.receive(data)
                    except TlsError:
                        break
                    if session.handshake_done and lines:
                        session.send(b"answer\n")
                        client.stdin.write(lines.pop(0))
                        client.stdin.flush()
                    if session.peer_closed:
                        session.close_write()
                    connection.sendall(session.take_output())
            text, _ = client.communicate(timeout=20)
    return text, received


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damage_anywhere_raises_tls_error_only(mesh: Mesh, data: st.DataObject) -> None:
    pair = make(mesh)
    victim = data.draw(st.sampled_from(["server", "client"]))
    at = data.draw(st.integers(0, 3000))
    byte = data.draw(st.integers(0, 255))
    sent = 0

    def damage(piece: bytes) -> bytes:
        nonlocal sent
        start, sent = sent, sent + len(piece)
        if start <= at < sent:
            piece = piece[: at - start] + bytes([byte]) + piece[at - start + 1 :]
        return piece

    with contextlib.suppress(TlsError):
        pair.client.receive(b"")
        for _ in range(4):
            to_server = pair.client.take_output()
            pair.server.receive(damage(to_server) if victim == "server" else to_server)
            to_client = pair.server.take_output()
            pair.client.receive(damage(to_client) if victim == "client" else to_client)
    assert isinstance(pair.server.take_output() + pair.client.take_output(), bytes)
