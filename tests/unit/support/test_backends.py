"""The servers that stand behind a proxy in the tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support.backends import Do, HttpBackend, LoopThread, Send, TcpBackend
from tests.support.http_client import RawClient, get
from tests.support.pattern import PatternChecker, piece


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    created = LoopThread()
    yield created
    created.close()


@pytest.fixture
def backend(loop: LoopThread) -> Iterator[HttpBackend]:
    created = HttpBackend(loop).start()
    yield created
    created.stop()


def test_records_every_octet_of_a_head(backend: HttpBackend) -> None:
    head = b"POST /p HTTP/1.1\r\nHost: A\r\nX-Odd:  v \t\r\nContent-Length: 3\r\n\r\n"
    with RawClient(backend.address, methods=["POST"]) as client:
        client.send(head + b"abc", chunk=7)
        assert client.read_response().body == b"hello\n"
    (request,) = backend.requests
    assert (request.head, request.body, request.complete) == (head, b"abc", True)
    assert request.values("x-odd") == ["v"]


def test_chunked_bodies_trailers_and_pipelining(backend: HttpBackend) -> None:
    data = (
        b"POST /1 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n2;x\r\nde\r\n0\r\nx-t: 1\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n"
    )
    for step in (0, 1):
        backend.clear()
        with RawClient(backend.address, methods=["POST", "GET"]) as client:
            client.send(data, chunk=step)
            client.read_response()
            client.read_response()
        assert [(request.target, request.body) for request in backend.requests] == [
            ("/1", b"abcde"),
            ("/2", b""),
        ]


def test_surplus_and_unfinished_bytes_are_visible(backend: HttpBackend) -> None:
    with RawClient(backend.address, methods=["GET"]) as client:
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nsurplus")
        client.read_response()
        assert backend.leftovers() == [b"surplus"]
    assert backend.count_complete() == 1


def test_scripts(backend: HttpBackend) -> None:
    backend.answer = lambda request: [Send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"), Do("rst")]
    backend.answer_at_head = True
    with RawClient(backend.address, methods=["GET"]) as client:
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        with pytest.raises(ConnectionError):
            client.read_response()
        assert client.reset


def test_pattern_bodies_both_ways(backend: HttpBackend) -> None:
    response = get(backend.address, "/bytes/3000000")
    check = PatternChecker()
    check.feed(response.body)
    assert check.is_exactly(3_000_000)
    with RawClient(backend.address) as client:
        client.request("POST", "/upload", body=bytes(piece(0, 500_000)))
    assert backend.uploads[-1].is_exactly(500_000)


def test_pattern_checker_notices_a_difference() -> None:
    check = PatternChecker()
    check.feed(bytes(piece(0, 100)))
    check.feed(b"\0" * 50)
    assert check.first_difference == 100
    assert not check.is_exactly(150)


@pytest.mark.parametrize(
    ("mode", "sent", "received"),
    [
        ("line_echo", b"a\nb\n", b"hello a\nhello b\n"),
        ("echo", b"some bytes", b"some bytes"),
        ("sink", bytes(piece(0, 1000)), b"1000\n"),
        ("source", b"500\n", bytes(piece(0, 500))),
    ],
)
def test_tcp_modes(loop: LoopThread, mode: str, sent: bytes, received: bytes) -> None:
    backend = TcpBackend(loop, mode, prefix="hello").start()
    with socket.create_connection(backend.address, timeout=5) as client:
        client.sendall(sent)
        if mode != "source":
            client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as answer:
            assert answer.read() == received
    backend.stop()
