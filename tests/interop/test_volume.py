"""Large bodies, many connections and peers that stop reading: memory stays where it was."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.backends import HttpBackend, LoopThread, TcpBackend
from tests.support.bootstraps import (
    Json,
    bootstrap,
    cluster,
    http_filter_chain,
    listener,
    route_config,
    route_to,
    tcp_filter_chain,
)
from tests.support.http_client import RawClient, get
from tests.support.limits import raise_descriptor_limit
from tests.support.pattern import PERIOD, PatternChecker, piece
from tests.support.ports import free_ports
from tests.support.process import Proxy, sidecar_command, start_proxy, wait_until

pytestmark = pytest.mark.slow

GIB = 1 << 30
MIB = 1 << 20
MAX_GROWTH_BYTES = 20 * MIB
CONNECTIONS = 2000
MAX_BYTES_PER_CONNECTION = 40 * 1024
STALLED = 30
BUFFER_LIMIT_BYTES = 256 * 1024  # not less than what the event loop reads at once

_UNLIMITED = {
    "thresholds": [{"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}]
}


@dataclass
class World:
    """One proxy with a path to each kind of backend."""

    proxy: Proxy
    http: HttpBackend
    tcp: dict[str, TcpBackend]
    ports: dict[str, int]

    def address(self, name: str) -> tuple[str, int]:
        return "127.0.0.1", self.ports[name]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    raise_descriptor_limit(4 * CONNECTIONS + 500)
    loop = LoopThread()
    http = HttpBackend(loop).start()
    tcp = {mode: TcpBackend(loop, mode).start() for mode in ("echo", "sink", "source", "accept")}
    admin_port, *ports = free_ports(7)
    names = dict(zip(("http", "unread", *tcp), ports, strict=True))
    limits: Json = {"per_connection_buffer_limit_bytes": BUFFER_LIMIT_BYTES}
    listeners = [
        listener(
            "http", names["http"], http_filter_chain(route_config(route_to("http", timeout="0s"))), **limits
        ),
        listener(
            "unread",
            names["unread"],
            http_filter_chain(route_config(route_to("accept", timeout="0s"))),
            **limits,
        ),
        *(listener(mode, names[mode], tcp_filter_chain(mode, stat_prefix=mode), **limits) for mode in tcp),
    ]
    clusters = [
        cluster(name, backend.address, circuit_breakers=_UNLIMITED, **limits)
        for name, backend in {"http": http, **tcp}.items()
    ]
    proxy = start_proxy(sidecar_command(), bootstrap(admin_port, listeners, clusters), tmp_path, admin_port)
    yield World(proxy, http, tcp, names)
    proxy.terminate()
    for backend in (http, *tcp.values()):
        backend.stop()
    loop.close()


def _send_pattern(connection: socket.socket, size: int) -> None:
    for offset in range(0, size, PERIOD):
        connection.sendall(piece(offset, min(PERIOD, size - offset)))


def _receive_pattern(connection: socket.socket, size: int, first: bytes = b"") -> PatternChecker:
    check = PatternChecker()
    check.feed(first)
    buffer = bytearray(PERIOD)
    while check.received < size:
        count = connection.recv_into(buffer)
        if not count:
            break
        check.feed(memoryview(buffer)[:count])
    return check


def _read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(65536)
        assert data, f"closed inside the head: {received!r}"
        received += data
    head, _, rest = received.partition(b"\r\n\r\n")
    return head, rest


def _http_download(world: World, size: int) -> None:
    with socket.create_connection(world.address("http"), timeout=60) as connection:
        connection.sendall(b"GET /bytes/%d HTTP/1.1\r\nhost: a\r\n\r\n" % size)
        head, rest = _read_head(connection)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert _receive_pattern(connection, size, rest).is_exactly(size)


def _http_upload(world: World, size: int) -> None:
    with socket.create_connection(world.address("http"), timeout=60) as connection:
        connection.sendall(b"POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size)
        _send_pattern(connection, size)
        assert _read_head(connection)[0].startswith(b"HTTP/1.1 200 ")
    assert world.http.uploads[-1].is_exactly(size)


def _tcp_download(world: World, size: int) -> None:
    with socket.create_connection(world.address("source"), timeout=60) as connection:
        connection.sendall(b"%d\n" % size)
        assert _receive_pattern(connection, size).is_exactly(size)
        assert connection.recv(1) == b""


def _tcp_upload(world: World, size: int) -> None:
    with socket.create_connection(world.address("sink"), timeout=60) as connection:
        _send_pattern(connection, size)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            assert answer.read() == b"%d\n" % size
    assert world.tcp["sink"].checks[-1].is_exactly(size)


@pytest.mark.parametrize("transfer", [_http_download, _http_upload, _tcp_download, _tcp_upload])
def test_one_gibibyte_does_not_grow_memory(world: World, transfer: Callable[[World, int], None]) -> None:
    transfer(world, 8 * MIB)
    before = world.proxy.rss_bytes()
    world.proxy.reset_peak_rss()
    transfer(world, GIB)
    assert world.proxy.peak_rss_bytes() - before < MAX_GROWTH_BYTES


def test_two_thousand_connections_at_once(world: World) -> None:
    """Half HTTP, half TCP; all open together, all served before and after, memory given back in bounds."""
    assert get(world.address("http"), "/").status == 200
    before = world.proxy.rss_bytes()
    with ExitStack() as stack:
        http = [
            stack.enter_context(RawClient(world.address("http"), timeout_s=30))
            for _ in range(CONNECTIONS // 2)
        ]
        tcp = [
            stack.enter_context(socket.create_connection(world.address("echo"), timeout=30))
            for _ in range(CONNECTIONS // 2)
        ]
        for turn in range(2):
            for number, client in enumerate(http):
                client.reader.expect("GET")
                client.send(b"GET /%d/%d HTTP/1.1\r\nhost: a\r\n\r\n" % (turn, number))
            for number, connection in enumerate(tcp):
                connection.sendall(b"%d/%d\n" % (turn, number))
            for client in http:
                assert client.read_response().status == 200
            for number, connection in enumerate(tcp):
                assert connection.recv(100) == b"%d/%d\n" % (turn, number)
        growth = world.proxy.rss_bytes() - before
    assert growth < CONNECTIONS * MAX_BYTES_PER_CONNECTION
    wait_until(
        lambda: world.tcp["echo"].connections_open == 0, timeout_s=10, what="upstream connections closed"
    )
    assert get(world.address("http"), "/").status == 200


def _wait_stalled(read_total: Callable[[], int]) -> None:
    """Until a count of bytes stands still."""
    deadline = time.monotonic() + 20
    last, since = read_total(), time.monotonic()
    while time.monotonic() - since < 0.7:
        assert time.monotonic() < deadline, "bytes still flow although nobody reads"
        time.sleep(0.05)
        current = read_total()
        if current != last:
            last, since = current, time.monotonic()


def test_clients_that_stop_reading(world: World) -> None:
    """The upstream is paused, memory is bounded by the buffer limits, others are served."""
    _http_download(world, MIB)
    before = world.proxy.rss_bytes()
    with ExitStack() as stack:
        for number in range(STALLED):
            name, line = (
                ("http", b"GET /bytes/209715200 HTTP/1.1\r\nhost: a\r\n\r\n")
                if number % 2
                else ("source", b"209715200\n")
            )
            stalled = stack.enter_context(socket.socket())
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            stalled.connect(world.address(name))
            stalled.sendall(line)
        _wait_stalled(lambda: world.proxy.stat("cluster.http.upstream_cx_rx_bytes_total"))
        _wait_stalled(lambda: world.proxy.stat("cluster.source.upstream_cx_rx_bytes_total"))
        growth = world.proxy.rss_bytes() - before
        started = time.monotonic()
        assert get(world.address("http"), "/").status == 200
        assert time.monotonic() - started < 1.0
    assert growth < STALLED * 2 * BUFFER_LIMIT_BYTES + 4 * MIB
    wait_until(
        lambda: world.tcp["source"].connections_open == 0, timeout_s=10, what="upstream connections closed"
    )


def test_upstreams_that_stop_reading(world: World) -> None:
    """The client is paused and memory is bounded by the buffer limits."""
    _http_upload(world, MIB)
    before = world.proxy.rss_bytes()
    with ExitStack() as stack:
        senders = []
        for number in range(STALLED):
            name = "unread" if number % 2 else "accept"
            sender = stack.enter_context(socket.create_connection(world.address(name), timeout=10))
            if name == "unread":
                sender.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 209715200\r\n\r\n")
            sender.setblocking(False)
            senders.append(sender)
        sent = [0]

        def push() -> int:
            for sender in senders:
                try:
                    while True:
                        sent[0] += sender.send(piece(0, 65536))
                except BlockingIOError:
                    continue
            return sent[0]

        _wait_stalled(push)
        growth = world.proxy.rss_bytes() - before
        assert get(world.address("http"), "/").status == 200
    assert growth < STALLED * 2 * BUFFER_LIMIT_BYTES + 4 * MIB
