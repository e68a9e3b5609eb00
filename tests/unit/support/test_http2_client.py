"""The raw HTTP/2 client against a server that is only a socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hpack import Encoder

from tests.support.http2_client import Http2Client, get
from tests.support.http2_frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    PREFACE,
    FrameType,
    build_frame,
    build_settings,
)
from tests.support.http2_reader import InvalidAnswer

_ACKNOWLEDGEMENT = build_frame(FrameType.SETTINGS, ACK, 0)
_GREETING = build_settings() + _ACKNOWLEDGEMENT
_HELLO = PREFACE + build_settings()


@contextmanager
def _server(serve: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """An address where `serve` gets the first connection, which is closed when it returns."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            thread.join()


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data


def test_a_clean_request() -> None:
    asked: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        asked.append(_read(connection, len(_HELLO) + 9))
        head = build_frame(FrameType.HEADERS, END_HEADERS, 1, Encoder().encode([(":status", "200")]))
        connection.sendall(_GREETING + head + build_frame(FrameType.DATA, END_STREAM, 1, b"hello"))
        connection.shutdown(socket.SHUT_WR)
        _read(connection, 1 << 20)

    with _server(serve) as address:
        response = get(address, "/p")
    assert (response.status, response.body) == (200, b"hello")
    assert asked[0].startswith(_HELLO)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", ConnectionError),
        (_GREETING + build_frame(FrameType.RST_STREAM, 0, 1, bytes(4)), ConnectionError),
        (_GREETING + build_frame(FrameType.GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\1"), ConnectionError),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", InvalidAnswer),
    ],
)
def test_a_clean_request_without_an_answer(answer: bytes, error: type[Exception]) -> None:
    def serve(connection: socket.socket) -> None:
        _read(connection, len(_HELLO) + 10)
        connection.sendall(answer)

    with _server(serve) as address, pytest.raises(error):
        get(address, "/p")


def test_a_flood_does_not_wait_for_a_server_that_writes_before_it_reads() -> None:
    flood = build_frame(0xFA, 0, 0, bytes(16384)) * 1000
    received: list[int] = []

    def serve(connection: socket.socket) -> None:
        connection.sendall(build_settings() + flood)
        received.append(len(_read(connection, len(_HELLO + flood))))

    with _server(serve) as address, Http2Client(address, acknowledge_settings=False) as client:
        client.send(_HELLO + flood)
    assert received == [len(_HELLO + flood)]


@pytest.mark.parametrize("ending", [b"", build_frame(FrameType.GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\1")])
def test_a_flood_ends_when_the_server_has_had_enough(ending: bytes) -> None:
    done = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.sendall(build_settings() + ending)
        if ending:
            done.wait(10)

    with _server(serve) as address, Http2Client(address) as client:
        client.send(_HELLO + build_frame(0xFA, 0, 0, bytes(16384)) * 2000)
        # a failed write ends the flood first
        while not client.closed_by_peer and client.reader.error is None:
            assert client.receive(10)
        assert client.closed_by_peer or client.reader.error == "PROTOCOL_ERROR"
        done.set()


def _acknowledged_after(data: bytes, *, acknowledge_settings: bool = True) -> bytes:
    """What the client sends by itself behind `data` when it has read the server's SETTINGS."""
    received: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        hello = _read(connection, len(data))  # an acknowledgement of what was not sent yet would be an error
        connection.sendall(_GREETING)
        received.append(hello + _read(connection, 1 << 20))

    with (
        _server(serve) as address,
        Http2Client(address, acknowledge_settings=acknowledge_settings) as client,
    ):
        client.send(data)
        while client.sent.unacknowledged:
            assert not client.finished, client.invalid
            client.receive(1)
        client.half_close()
    return received[0][len(data) :]


def test_settings_are_acknowledged() -> None:
    assert _acknowledged_after(_HELLO) == _ACKNOWLEDGEMENT


def test_settings_are_not_acknowledged_when_told_so() -> None:
    assert _acknowledged_after(_HELLO, acknowledge_settings=False) == b""


def test_nothing_is_sent_into_a_header_block() -> None:
    assert _acknowledged_after(_HELLO + build_frame(FrameType.HEADERS, 0, 1)) == b""
