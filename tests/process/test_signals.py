"""SIGTERM, SIGINT, SIGHUP, SIGUSR1: how a process ends, and what happens to the connections that it has."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.conftest import StartProxy
from tests.support.backends import HttpBackend, LoopThread, Send, Sleep, TcpBackend, ok_response
from tests.support.bootstraps import (
    bootstrap,
    cluster,
    http_filter_chain,
    listener,
    route_config,
    route_to,
    tcp_filter_chain,
)
from tests.support.http_client import RawClient, format_request
from tests.support.ports import free_ports
from tests.support.process import Proxy, wait_until

FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"


class World:
    """An HTTP and a TCP backend, and where the proxy listens for each."""

    def __init__(self, loop: LoopThread) -> None:
        self.http_backend = HttpBackend(loop).start()
        self.tcp_backend = TcpBackend(loop, "echo").start()
        http_port, tcp_port = free_ports(2)
        self.http, self.tcp = ("127.0.0.1", http_port), ("127.0.0.1", tcp_port)

    def config(self, admin_port: int, access_log: Path | None = None) -> str:
        log = {}
        if access_log is not None:
            fields = {
                "@type": FILE_LOG,
                "path": str(access_log),
                "log_format": {"text_format_source": {"inline_string": "%RESPONSE_CODE% %BYTES_SENT%\n"}},
            }
            log = {"access_log": [{"name": "file", "typed_config": fields}]}
        return bootstrap(
            admin_port,
            [
                listener("http", self.http[1], http_filter_chain(route_config(route_to("web")), **log)),
                listener("tcp", self.tcp[1], tcp_filter_chain("app", **log)),
            ],
            [cluster("web", self.http_backend.address), cluster("app", self.tcp_backend.address)],
        )

    def close(self) -> None:
        self.http_backend.stop()
        self.tcp_backend.stop()


@pytest.fixture
def world(loop_thread: LoopThread) -> Iterator[World]:
    made = World(loop_thread)
    yield made
    made.close()


def ended_within(proxy: Proxy, seconds: float) -> int:
    began = time.monotonic()
    code = proxy.wait(20)
    assert time.monotonic() - began < seconds
    return code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_connections_it_ends_at_once(start: StartProxy, world: World, number: signal.Signals) -> None:
    proxy = start(world.config, drain_time_s=60)
    proxy.signal(number)
    assert ended_within(proxy, 2) == 0
    assert f"caught {number.name}" in proxy.log_text()


def test_an_idle_keep_alive_connection_does_not_hold_it_up(start: StartProxy, world: World) -> None:
    proxy = start(world.config, drain_time_s=60)
    with RawClient(world.http) as client:
        assert client.request("GET", "/").status == 200
        proxy.signal(signal.SIGTERM)
        assert ended_within(proxy, 4) == 0
        client.receive(1)
        assert client.end_of_stream and not client.reset


def test_a_connection_that_has_said_nothing_does_not_hold_it_up(start: StartProxy, world: World) -> None:
    proxy = start(world.config, drain_time_s=60)
    with RawClient(world.http):
        wait_until(
            lambda: proxy.stat("http.http.downstream_cx_active") == 1, timeout_s=5, what="the connection"
        )
        proxy.signal(signal.SIGTERM)
        assert ended_within(proxy, 4) == 0


def test_a_request_on_its_way_is_answered_and_told_that_it_is_the_last(
    start: StartProxy, world: World
) -> None:
    world.http_backend.answer = lambda request: [Sleep(1.0), Send(ok_response(b"late\n"))]
    proxy = start(world.config, drain_time_s=60)
    with RawClient(world.http) as client:
        client.reader.expect("GET")
        client.send(format_request("GET", "/slow"))
        wait_until(lambda: world.http_backend.count_complete() == 1, timeout_s=5, what="the request upstream")
        proxy.signal(signal.SIGTERM)
        response = client.read_response(5)
        assert (response.status, response.body, response.values("connection")) == (200, b"late\n", ["close"])
    assert ended_within(proxy, 4) == 0


def test_nothing_new_is_accepted(start: StartProxy, world: World) -> None:
    proxy = start(world.config, drain_time_s=60)
    with socket.create_connection(world.tcp, timeout=5) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        proxy.signal(signal.SIGTERM)
        wait_until(
            lambda: proxy.stat("listener_manager.listener_stopped") == 2, timeout_s=5, what="listeners closed"
        )
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(world.http, timeout=5)
        assert '"DRAINING"' in proxy.admin("/server_info")
        client.sendall(b"still")  # the session goes on
        assert client.recv(5) == b"still"
    assert ended_within(proxy, 3) == 0


def test_the_drain_time_is_the_limit(start: StartProxy, world: World, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    proxy = start(lambda port: world.config(port, log), drain_time_s=1)
    with socket.create_connection(world.tcp, timeout=5) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        proxy.signal(signal.SIGTERM)
        assert ended_within(proxy, 4) == 0
    assert log.read_text() == "0 5\n"  # the session that was cut off has its entry


def test_a_second_signal_ends_it_at_once(start: StartProxy, world: World) -> None:
    proxy = start(world.config, drain_time_s=60)
    with socket.create_connection(world.tcp, timeout=5) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        proxy.signal(signal.SIGTERM)
        wait_until(lambda: "caught SIGTERM" in proxy.log_text(), timeout_s=5, what="the first signal")
        proxy.signal(signal.SIGTERM)
        assert ended_within(proxy, 2) == 0
    assert "second SIGTERM" in proxy.log_text()


def test_quitquitquit(start: StartProxy, world: World) -> None:
    assert start(world.config).quit() == 0


def test_sighup_is_ignored(start: StartProxy, world: World) -> None:
    proxy = start(world.config, log_level="info")
    proxy.signal(signal.SIGHUP)
    wait_until(lambda: "SIGHUP" in proxy.log_text(), timeout_s=5, what="the signal in the log")
    with RawClient(world.http) as client:
        assert client.request("GET", "/").status == 200


def test_sigusr1_opens_logs_anew(start: StartProxy, world: World, tmp_path: Path) -> None:
    access, own = tmp_path / "access.log", tmp_path / "own.log"
    proxy = start(
        lambda port: world.config(port, access),
        log_level="info",
        extra=["--file-flush-interval-msec", "20", "--log-path", str(own)],
    )
    with RawClient(world.http) as client:
        client.request("GET", "/")
        wait_until(lambda: access.read_text() == "200 6\n", timeout_s=5, what="the first entry")
        for path in (access, own):
            path.rename(path.with_suffix(".old"))
        proxy.signal(signal.SIGUSR1)
        wait_until(lambda: access.exists() and own.exists(), timeout_s=5, what="new files")
        client.request("GET", "/")
        wait_until(lambda: access.read_text() == "200 6\n", timeout_s=5, what="the entry in the new file")
    assert access.with_suffix(".old").read_text() == "200 6\n"
    proxy.signal(signal.SIGHUP)
    wait_until(lambda: "SIGHUP" in own.read_text(), timeout_s=5, what="the new log")
    assert "SIGHUP" not in own.with_suffix(".old").read_text()


def test_a_log_that_cannot_be_opened_anew_stays(start: StartProxy, world: World, tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    access = directory / "access.log"
    proxy = start(
        lambda port: world.config(port, access), extra=["--file-flush-interval-msec", "20"], log_level="error"
    )
    directory.rename(tmp_path / "moved")
    proxy.signal(signal.SIGUSR1)
    wait_until(lambda: proxy.stat("filesystem.reopen_failed") == 1, timeout_s=5, what="the failure counted")
    assert f"cannot reopen {access}" in proxy.log_text()
    with RawClient(world.http) as client:
        client.request("GET", "/")
    wait_until(
        lambda: (tmp_path / "moved" / "access.log").read_text() == "200 6\n", timeout_s=5, what="the entry"
    )


def test_the_end_waits_for_the_reader_of_a_pipe(start: StartProxy, world: World, tmp_path: Path) -> None:
    """What does not go into the pipe at once is not lost."""
    fifo = tmp_path / "access.fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(reader, True)
    proxy = start(lambda port: world.config(port, fifo), extra=["--file-flush-interval-msec", "60000"])
    with RawClient(world.http) as client:
        for _ in range(900):
            client.request("GET", "/")
    with open(reader, "rb") as entries:
        proxy.signal(signal.SIGTERM)
        assert entries.read() == b"200 6\n" * 900
    assert ended_within(proxy, 3) == 0


class Load(threading.Thread):
    """A client with a kept-alive connection, one request after the other, until nobody listens any more."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self.address = address
        self.answered = 0
        self.lost: list[str] = []

    def run(self) -> None:
        while True:
            try:
                client = RawClient(self.address)
            except ConnectionRefusedError:
                return
            with client:
                if not self._converse(client):
                    return

    def _converse(self, client: RawClient) -> bool:
        while True:
            try:
                response = client.request("GET", "/")
            except (OSError, TimeoutError) as error:
                self.lost.append(repr(error))
                return False
            if response.status != 200:
                self.lost.append(str(response.status))
            self.answered += 1
            if response.values("connection") == ["close"]:
                return True


def test_under_load_no_request_is_lost(start: StartProxy, world: World) -> None:
    world.http_backend.answer = lambda request: [Sleep(0.01), Send(ok_response())]
    proxy = start(world.config, drain_time_s=30)
    clients = [Load(world.http) for _ in range(8)]
    for client in clients:
        client.start()
    wait_until(lambda: all(client.answered > 10 for client in clients), timeout_s=20, what="load")
    proxy.signal(signal.SIGTERM)
    assert proxy.wait(20) == 0
    for client in clients:
        client.join(10)
    assert [client.lost for client in clients] == [[]] * 8


def test_without_free_descriptors_it_goes_on(start: StartProxy, world: World) -> None:
    """What it has is served; what comes is refused or waits; when there are descriptors again all is as before."""
    proxy = start(world.config)
    resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (60, 60))
    with socket.create_connection(world.tcp, timeout=5) as first:
        first.sendall(b"x")
        assert first.recv(1) == b"x"
        crowd = [socket.create_connection(world.tcp, timeout=5) for _ in range(60)]
        wait_until(lambda: proxy.open_descriptors() >= 58, timeout_s=5, what="no free descriptor")
        first.sendall(b"y")
        assert first.recv(1) == b"y"
        for client in crowd:
            client.close()

        def served() -> bool:
            with socket.create_connection(world.tcp, timeout=5) as client:
                client.sendall(b"z")
                try:
                    return client.recv(1) == b"z"
                except ConnectionResetError:
                    return False

        wait_until(served, timeout_s=10, what="new connections served")
    assert proxy.stat("server.envoy_bug_failures") == 0
