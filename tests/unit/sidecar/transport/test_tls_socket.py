"""TLS between a transport and a connection: the handshake, both ends of a session, and what a bad peer gets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from protocols.tls.session import TlsSession
from sidecar.stream_info import TlsInfo
from sidecar.transport.transport_socket import CloseReason, TlsSocket
from tests.support.certificates import Mesh
from tests.support.upstream import FakeTransport


class Owner:
    """Writes down what the socket tells."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def on_connected(self) -> None:
        self.events.append(("connected",))

    def on_data(self, data: bytes) -> None:
        self.events.append(("data", data))

    def on_eof(self) -> None:
        self.events.append(("eof",))

    def on_closed(self, reason: CloseReason, details: str) -> None:
        self.events.append(("closed", reason, details))

    def on_write_full(self) -> None:
        self.events.append(("full",))

    def on_write_drained(self) -> None:
        self.events.append(("drained",))


class Server:
    """A TLS socket as a server, with a plain TLS client over memory at its other end."""

    def __init__(self, mesh: Mesh, refuse: str = "") -> None:
        self.owner = Owner()
        self.outcomes: list[TlsInfo | str] = []
        self.transport = FakeTransport()
        session = TlsSession(mesh.server_context("web"), server_side=True)
        info = TlsInfo("TLSv1.3", "", "")
        self.socket = TlsSocket(
            session, lambda done: refuse or info, self.outcomes.append, cast("Any", self.owner)
        )
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = mesh.client_context("client").wrap_bio(self.incoming, self.outgoing)
        self.socket.connection_made(cast("Any", self.transport))

    def shake(self) -> Server:
        for _ in range(4):
            try:
                self.client.do_handshake()
            except ssl.SSLWantReadError:
                pass
            self.exchange()
        return self

    def exchange(self) -> None:
        """What the client has said to the server, and back."""
        if self.outgoing.pending:
            self.socket.data_received(self.outgoing.read())
        self.incoming.write(self.transport.take())

    def say(self, data: bytes) -> None:
        self.client.write(data)
        self.exchange()

    def hear(self) -> bytes:
        self.incoming.write(self.transport.take())
        data = b""
        while True:
            try:
                piece = self.client.read(65536)
            except ssl.SSLWantReadError:
                return data
            except ssl.SSLZeroReturnError:
                return data + b"<end>"
            if not piece:
                return data + b"<end>"
            data += piece

    def take(self) -> list[tuple[object, ...]]:
        events, self.owner.events = self.owner.events, []
        return events


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory: Path = tmp_path_factory.mktemp("mesh")
    yield Mesh(directory)


@pytest.fixture
def server(mesh: Mesh) -> Server:
    made = Server(mesh).shake()
    assert made.take() == [("connected",)]
    assert len(made.outcomes) == 1
    return made


def test_plaintext_both_ways(server: Server) -> None:
    server.say(b"hello")
    assert server.take() == [("data", b"hello")]
    server.socket.write(b"answer")
    assert server.hear() == b"answer"


def test_close_notify_is_the_end_and_we_may_go_on(server: Server) -> None:
    with pytest.raises(ssl.SSLWantReadError):
        server.client.unwrap()
    server.exchange()
    assert server.take() == [("eof",)]
    assert server.socket.eof_received() is True  # the FIN behind it says nothing new
    assert server.take() == []
    server.socket.write(b"still")
    assert server.transport.take() != b""


def test_a_fin_without_close_notify_is_the_end_too(server: Server) -> None:
    assert server.socket.eof_received() is True
    assert server.take() == [("eof",)]
    server.socket.write(b"answer")
    assert server.hear() == b"answer"


def test_our_end_is_close_notify_and_fin(server: Server) -> None:
    server.socket.write(b"last")
    server.socket.write_eof()
    assert server.hear() == b"last<end>"
    assert server.transport.eof and not server.transport.closed
    server.socket.write(b"too late")
    assert server.transport.take() == b""
    server.say(b"goes on")
    assert server.take() == [("data", b"goes on")]


def test_close_says_so(server: Server) -> None:
    server.socket.close()
    assert server.hear() == b"<end>"
    assert server.transport.closed
    server.socket.connection_lost(None)
    assert server.take() == [("closed", CloseReason.LOCAL, "")]


def test_after_close_nothing_is_heard_or_said(server: Server) -> None:
    server.socket.close()
    server.transport.take()
    server.say(b"late")
    server.socket.eof_received()
    server.socket.write(b"late")
    assert server.take() == []
    assert server.transport.take() == b""


def test_garbage_after_the_handshake(server: Server) -> None:
    server.socket.data_received(b"\x17\x03\x03\x00\x10" + b"x" * 16)
    ((event, reason, _),) = server.take()
    assert (event, reason) == ("closed", CloseReason.TRANSPORT_FAILURE)
    assert server.transport.closed
    server.socket.connection_lost(None)
    assert server.take() == []


@pytest.mark.parametrize("reads", [True, False])
def test_a_failed_connection_does_not_wait_for_a_peer_that_does_not_read(server: Server, reads: bool) -> None:
    """The last bytes get one turn of the event loop to leave."""

    async def fail() -> None:
        server.transport.unwritten = 1000
        server.socket.data_received(b"\x17\x03\x03\x00\x10" + b"x" * 16)
        assert server.transport.closed and not server.transport.aborted
        if reads:
            server.transport.unwritten = 0
        await asyncio.sleep(0)

    asyncio.run(fail())
    assert server.transport.aborted is not reads


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"\x00" * 50]
)
def test_garbage_instead_of_a_handshake(mesh: Mesh, data: bytes) -> None:
    server = Server(mesh)
    server.socket.data_received(data)
    assert [event[:2] for event in server.take()] == [("closed", CloseReason.TRANSPORT_FAILURE)]
    (outcome,) = server.outcomes
    assert isinstance(outcome, str) and outcome.startswith("TLS_error:|")


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01"])
def test_a_client_that_ends_during_the_handshake(mesh: Mesh, said: bytes) -> None:
    """The filters never learn of it: for them the connection was never open."""
    server = Server(mesh)
    if said:
        server.socket.data_received(said)
    assert server.socket.eof_received() is False
    assert [event[:2] for event in server.take()] == [("closed", CloseReason.TRANSPORT_FAILURE)]
    assert len(server.outcomes) == 1


def test_a_client_that_is_gone_during_the_handshake(mesh: Mesh) -> None:
    server = Server(mesh)
    server.socket.connection_lost(ConnectionResetError("reset"))
    assert server.take() == [("closed", CloseReason.REMOTE_RESET, "reset")]
    assert len(server.outcomes) == 1


def test_a_peer_that_is_refused_is_not_heard(mesh: Mesh) -> None:
    """With TLS 1.3 its first bytes may be in the same packet as the end of its handshake."""
    server = Server(mesh, refuse="TLS_error:|refused:TLS_error_end")
    with pytest.raises(ssl.SSLWantReadError):
        server.client.do_handshake()
    server.exchange()
    server.client.do_handshake()
    server.client.write(b"secret words")
    server.exchange()
    assert server.take() == [("closed", CloseReason.TRANSPORT_FAILURE, "TLS_error:|refused:TLS_error_end")]
    assert server.outcomes == ["TLS_error:|refused:TLS_error_end"]
    assert server.transport.closed


def test_watermarks_pass_through(server: Server) -> None:
    server.socket.pause_writing()
    server.socket.resume_writing()
    assert server.take() == [("full",), ("drained",)]
