"""Upstreams and clients that fail: what the other side is told, how fast, and that nothing stays behind."""

from __future__ import annotations

import contextlib
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.backends import (
    Do,
    HttpBackend,
    LoopThread,
    RecordedRequest,
    Script,
    Send,
    Sleep,
    TcpBackend,
    ok_response,
)
from tests.support.bootstraps import (
    bootstrap,
    cluster,
    http_filter_chain,
    listener,
    route_config,
    route_to,
    tcp_filter_chain,
)
from tests.support.http_client import InvalidResponse, RawClient, get
from tests.support.pattern import piece
from tests.support.ports import free_ports
from tests.support.process import Proxy, sidecar_command, start_proxy, wait_until

CONNECT_TIMEOUT_S = 1.0
ROUTE_TIMEOUT_S = 0.5
OVERSHOOT_S = 0.3
"""Generous beside the 50 ms aimed at: the machine may be busy."""
REPETITIONS = 25
RESETS = 150

_RETRY = {
    "retry_on": "reset,connect-failure,retriable-status-codes",
    "num_retries": 3,
    "retriable_status_codes": [503],
}


@dataclass
class World:
    proxy: Proxy
    app: HttpBackend
    echo: TcpBackend
    sink: TcpBackend
    http: tuple[str, int]
    tcp: tuple[str, int]
    tcp_sink: tuple[str, int]
    full: list[socket.socket] = field(default_factory=list)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    loop = LoopThread()
    app = HttpBackend(loop).start()
    app.answer = _answer
    app_at_head = HttpBackend(loop).start()
    app_at_head.answer, app_at_head.answer_at_head = _fail, True
    echo = TcpBackend(loop, "echo").start()
    sink = TcpBackend(loop, "sink").start()
    silent = TcpBackend(loop, "silent").start()
    full = _listener_with_full_backlog()
    admin_port, closed, *ports = free_ports(5)
    routes = route_config(
        route_to("closed", prefix="/closed"),
        route_to("full", prefix="/full"),
        route_to("silent", prefix="/silent", timeout=f"{ROUTE_TIMEOUT_S}s"),
        route_to("failing", prefix="/fail/"),
        route_to("app", prefix="/retried/", retry_policy=_RETRY, prefix_rewrite="/"),
        route_to("app", timeout="0s"),
    )
    listeners = [
        listener("http", ports[0], http_filter_chain(routes, delayed_close_timeout="0.1s")),
        listener("tcp", ports[1], tcp_filter_chain("echo", stat_prefix="echo")),
        listener("sink", ports[2], tcp_filter_chain("sink", stat_prefix="sink")),
    ]
    clusters = [
        cluster("closed", ("127.0.0.1", closed)),
        cluster("full", full[0].getsockname(), connect_timeout=f"{CONNECT_TIMEOUT_S:g}s"),
        cluster("silent", silent.address),
        cluster("failing", app_at_head.address),
        cluster("app", app.address),
        cluster("echo", echo.address),
        cluster("sink", sink.address),
    ]
    text = bootstrap(admin_port, listeners, clusters)
    proxy = start_proxy(sidecar_command(), text, tmp_path, admin_port, drain_time_s=2)
    host = "127.0.0.1"
    yield World(proxy, app, echo, sink, (host, ports[0]), (host, ports[1]), (host, ports[2]), full)
    proxy.terminate()
    for backend in (app, app_at_head, echo, sink, silent):
        backend.stop()
    for held in full:
        held.close()
    loop.close()


def _answer(request: RecordedRequest) -> Script:
    if request.target.startswith("/slow"):
        return [Sleep(0.02), Send(ok_response(headers=[("x-backend", "1")]))]
    if request.target.startswith("/then-close"):
        return [Send(ok_response(headers=[("x-backend", "1")])), Do("close")]
    return [Send(ok_response(headers=[("x-backend", "1")]))]


_HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
_FAILURES: dict[str, Sequence[Send | Sleep]] = {
    "before": [],
    "in-head": [Send(b"HTTP/1.1 200 OK\r\ncontent-"), Sleep(0.02)],
    "in-length": [Send(_HEAD + b"partial"), Sleep(0.02)],
    "in-chunked": [Send(_CHUNKED), Sleep(0.02)],
    "in-chunk": [Send(_CHUNKED + b"ff\r\npartial"), Sleep(0.02)],
}


def _fail(request: RecordedRequest) -> Script:
    _, _, where, how = request.target.split("/")
    return [*_FAILURES[where], Do(how)]


def _listener_with_full_backlog() -> list[socket.socket]:
    """A listening socket whose queue is full, so that the kernel drops further SYNs, and what fills it."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    held = [server]
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            filler.connect(server.getsockname())
        held.append(filler)
    return held


def test_closed_port_is_answered_at_once(world: World) -> None:
    started = time.monotonic()
    assert get(world.http, "/closed").status == 503
    assert time.monotonic() - started < OVERSHOOT_S


def test_dropped_syns_are_answered_at_the_connect_timeout(world: World) -> None:
    started = time.monotonic()
    assert get(world.http, "/full").status == 503
    assert CONNECT_TIMEOUT_S - 0.05 <= time.monotonic() - started < CONNECT_TIMEOUT_S + OVERSHOOT_S


def test_silent_upstream_is_answered_at_the_route_timeout(world: World) -> None:
    started = time.monotonic()
    response = get(world.http, "/silent")
    assert (response.status, response.body) == (504, b"upstream request timeout")
    assert ROUTE_TIMEOUT_S - 0.05 <= time.monotonic() - started < ROUTE_TIMEOUT_S + OVERSHOOT_S
    wait_until(
        lambda: world.proxy.stat("cluster.silent.upstream_cx_active") == 0,
        timeout_s=5,
        what="the upstream connection closed",
    )


@pytest.mark.parametrize("how", ["close", "rst"])
@pytest.mark.parametrize("where", _FAILURES)
def test_upstream_that_ends_early_is_never_taken_for_complete(world: World, where: str, how: str) -> None:
    for _ in range(REPETITIONS):
        with RawClient(world.http, methods=["GET"], timeout_s=5) as client:
            client.send(b"GET /fail/%b/%b HTTP/1.1\r\nhost: a\r\n\r\n" % (where.encode(), how.encode()))
            if where in ("before", "in-head"):
                assert client.read_response().status in (502, 503)
                continue
            with pytest.raises(ConnectionError):
                client.read_response()
            assert client.reader.complete() == []


def test_idle_connections_closed_by_the_upstream_cost_no_request(world: World) -> None:
    """The upstream closes after every answer without saying so; with retries nothing is lost."""
    with RawClient(world.http) as client:
        statuses = [client.request("GET", "/retried/then-close").status for _ in range(100)]
    assert statuses == [200] * 100


def test_idle_connections_closed_between_requests_cost_no_request(world: World) -> None:
    """Even without retries: a connection known to be closed is not used again."""
    with RawClient(world.http) as client:
        for _ in range(20):
            assert client.request("GET", "/").status == 200
            world.app.close_connections()
            wait_until(
                lambda: world.proxy.stat("cluster.app.upstream_cx_active") == 0,
                timeout_s=5,
                what="the closed connection noticed",
            )


def test_tcp_half_close_loses_no_byte(world: World) -> None:
    for number in range(20):
        data = bytes(piece(number * 1000, 200_000))
        with socket.create_connection(world.tcp, timeout=10) as connection:
            sender = threading.Thread(
                target=lambda c=connection, d=data: (c.sendall(d), c.shutdown(socket.SHUT_WR))
            )
            sender.start()
            with connection.makefile("rb") as answer:
                received = answer.read()
            sender.join()
        assert received == data


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_resets_by_clients_leave_nothing_behind(world: World) -> None:
    assert get(world.http, "/").status == 200
    before = world.proxy.open_descriptors()
    for number in range(RESETS):
        kind = number % 3
        connection = socket.create_connection(world.tcp_sink if kind == 2 else world.http, timeout=5)
        if kind == 0:
            connection.sendall(
                b"POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n" + bytes(50_000)
            )
        elif kind == 1:
            connection.sendall(b"GET /bytes/50000000 HTTP/1.1\r\nhost: a\r\n\r\n")
            assert connection.recv(1000)
        else:
            connection.sendall(bytes(50_000))
        _reset(connection)
    gauges = [
        "http.http.downstream_cx_active",
        "http.http.downstream_rq_active",
        "cluster.app.upstream_rq_active",
        "cluster.sink.upstream_cx_active",
        "tcp.sink.downstream_cx_active",
    ]
    for gauge in gauges:
        wait_until(lambda gauge=gauge: world.proxy.stat(gauge) == 0, timeout_s=10, what=f"{gauge} back to 0")
    wait_until(
        lambda: world.proxy.open_descriptors() <= before + 3,
        timeout_s=10,
        what=f"descriptors back to {before}",
    )
    assert get(world.http, "/").status == 200
    assert "Traceback" not in world.proxy.log_text()


@dataclass
class _Load:
    """Clients in threads; each keeps its connection until told otherwise by `connection: close`."""

    address: tuple[str, int]
    answered: int = 0
    lost: list[str] = field(default_factory=list)
    refused: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def start(self, count: int) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        return threads

    def _run(self) -> None:
        while not self.stop.is_set():
            try:
                client = RawClient(self.address, timeout_s=5)
            except OSError:
                self.refused += 1
                self.stop.wait(0.05)
                continue
            with client:
                self._use(client)

    def _use(self, client: RawClient) -> None:
        requests = 0
        while not self.stop.is_set():
            try:
                response = client.request("GET", "/slow")
            except (OSError, InvalidResponse) as error:
                if requests == 0 and client.received == 0:
                    self.refused += 1  # the connection was accepted by the kernel only
                else:
                    self.lost.append(f"request {requests}: {error!r}")
                return
            requests += 1
            self.answered += 1
            if response.status != 200:
                self.lost.append(f"status {response.status}")
            if (response.header("connection") or "") == "close":
                return


def test_drain_then_sigterm_under_load_loses_nothing(world: World) -> None:
    load = _Load(world.http)
    threads = load.start(8)
    wait_until(lambda: load.answered > 100, timeout_s=10, what="load")
    world.proxy.admin("/healthcheck/fail", method="POST")
    world.proxy.admin("/drain_listeners?graceful", method="POST")
    wait_until(lambda: load.refused > 0, timeout_s=10, what="listeners closed after the drain time")
    wait_until(
        lambda: world.proxy.stat("http.http.downstream_cx_active") == 0, timeout_s=5, what="connections gone"
    )
    world.proxy.signal(signal.SIGTERM)
    assert world.proxy.wait(5) == 0
    load.stop.set()
    for thread in threads:
        thread.join(10)
    assert load.lost == []


def test_sigterm_ends_with_code_zero(world: World) -> None:
    world.proxy.signal(signal.SIGTERM)
    assert world.proxy.wait(5) == 0
