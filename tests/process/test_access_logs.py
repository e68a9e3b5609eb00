"""Access logs into pipes: written without a thread, and whatever their reader does."""

from __future__ import annotations

import json
import os
import shlex
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.workers.conftest import children_of
from tests.process.conftest import StartProxy
from tests.support.backends import HttpBackend, LoopThread
from tests.support.bootstraps import bootstrap, cluster, http_filter_chain, listener, route_config, route_to
from tests.support.http_client import RawClient
from tests.support.ports import free_port
from tests.support.process import ProxyCommand, sidecar_command, start_proxy, wait_until

MAX_WAITING_BYTES = 4 * 1024 * 1024
FILLER = "x" * 20_000


class World:
    """A backend, the address of the proxy's listener, and a pipe for its log."""

    def __init__(self, loop: LoopThread, pipe: Path) -> None:
        self.backend = HttpBackend(loop).start()
        self.address = ("127.0.0.1", free_port())
        self.pipe = pipe
        os.mkfifo(pipe)
        self.reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(self.reader, True)

    def config(self, admin_port: int, path: Path | None = None) -> str:
        fields = {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(path or self.pipe),
            "log_format": {"text_format_source": {"inline_string": f"%REQ(X-NUMBER)% {FILLER}\n"}},
        }
        log = [{"name": "file", "typed_config": fields}]
        chain = http_filter_chain(route_config(route_to("web")), access_log=log)
        return bootstrap(
            admin_port,
            [listener("http", self.address[1], chain)],
            [cluster("web", self.backend.address)],
        )

    def request(self, count: int, first: int = 0) -> None:
        """One after the other; each is answered."""
        with RawClient(self.address) as client:
            for number in range(first, first + count):
                assert client.request("GET", "/", [("x-number", str(number))]).status == 200

    def close(self) -> None:
        os.close(self.reader)
        self.backend.stop()


@pytest.fixture
def world(loop_thread: LoopThread, tmp_path: Path) -> Iterator[World]:
    made = World(loop_thread, tmp_path / "access.pipe")
    yield made
    made.close()


def entries(first: int, count: int) -> bytes:
    return b"".join(b"%d %s\n" % (number, FILLER.encode()) for number in range(first, first + count))


def threads_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def read(descriptor: int, size: int) -> bytes:
    """In small pieces, until so much is there or the other side has ended."""
    received = bytearray()
    while len(received) < size and (piece := os.read(descriptor, 3000)):
        received += piece
    return bytes(received)


def test_a_pipe_needs_no_thread(start: StartProxy, world: World, tmp_path: Path) -> None:
    proxy = start(world.config, extra=["--file-flush-interval-msec", "20"])
    world.request(1)
    assert read(world.reader, len(entries(0, 1))) == entries(0, 1)
    assert threads_of(proxy.pid) == 1
    # a file does: the test would see it
    path = tmp_path / "access.log"
    world.address = ("127.0.0.1", free_port())
    other = start(lambda port: world.config(port, path), extra=["--file-flush-interval-msec", "20"])
    world.request(1)
    wait_until(lambda: path.read_bytes() == entries(0, 1), timeout_s=5, what="the entry in the file")
    assert threads_of(other.pid) == 2


def test_nor_does_standard_output_that_is_a_pipe(world: World, tmp_path: Path) -> None:
    """As in a container. It may be reopened, too."""
    plain = sidecar_command()
    shell = ["/bin/sh", "-c", f'exec "$@" >{shlex.quote(str(world.pipe))}', "sh"]
    command = ProxyCommand("sidecar", [*shell, *plain.argv], plain.env)
    port = free_port()
    proxy = start_proxy(command, world.config(port, Path("/dev/stdout")), tmp_path, port)
    try:
        world.request(2)
        proxy.signal(signal.SIGUSR1)
        assert read(world.reader, len(entries(0, 2))) == entries(0, 2)
        assert threads_of(proxy.pid) == 1
        world.request(1, first=2)
        proxy.signal(signal.SIGTERM)
        assert read(world.reader, len(entries(2, 1))) == entries(2, 1)
        assert proxy.wait(10) == 0
    finally:
        proxy.kill()


def test_nor_do_several_workers(start: StartProxy, world: World) -> None:
    proxy = start(world.config, extra=["--file-flush-interval-msec", "20"], concurrency=2)
    world.request(1)
    assert read(world.reader, len(entries(0, 1))) == entries(0, 1)
    workers = children_of(proxy.pid)
    assert len(workers) >= 2
    assert [threads_of(pid) for pid in (proxy.pid, *workers)] == [1] * (1 + len(workers))


def test_the_log_of_the_admin_port_is_flushed_with_workers_too(
    start: StartProxy, world: World, tmp_path: Path
) -> None:
    path = tmp_path / "admin.log"

    def config(admin_port: int) -> str:
        found = json.loads(world.config(admin_port))
        fields = {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(path),
        }
        found["admin"]["access_log"] = [{"name": "file", "typed_config": fields}]
        return json.dumps(found)

    proxy = start(config, extra=["--file-flush-interval-msec", "20"], concurrency=2)
    assert proxy.stat("server.concurrency") == 2
    wait_until(lambda: path.read_bytes().count(b"\n") >= 1, timeout_s=5, what="the entry in the file")


def test_a_slow_reader_gets_all_entries_whole_and_in_order(start: StartProxy, world: World) -> None:
    """A few of them fill the pipe, so most wait for the reader."""
    proxy = start(world.config)
    expected = entries(0, 150)
    received: list[bytes] = []
    reading = threading.Thread(target=lambda: received.append(read(world.reader, len(expected))))
    reading.start()
    world.request(150)
    proxy.signal(signal.SIGTERM)
    assert proxy.wait(10) == 0
    reading.join(10)
    assert received == [expected]


def test_a_stopped_reader_costs_entries_and_nothing_else(start: StartProxy, world: World) -> None:
    """All requests are answered, what waits is bounded, and when the reader goes on, entries are whole."""
    proxy = start(world.config, extra=["--file-flush-interval-msec", "50"])
    world.request(50)
    proxy.reset_peak_rss()
    before = proxy.rss_bytes()
    total = 50 + 1500
    world.request(1500, first=50)
    assert proxy.peak_rss_bytes() - before < 4 * MAX_WAITING_BYTES < 1500 * len(FILLER)
    dropped = proxy.stat("access_logs.file_access_log.logs_dropped_total")
    taken = proxy.stat("filesystem.write_buffered")
    assert 0 < taken < total == taken + dropped
    assert proxy.stat("filesystem.write_total_buffered") <= MAX_WAITING_BYTES
    assert proxy.log_text().count("takes less than there is") == 1
    assert threads_of(proxy.pid) == 1
    assert read(world.reader, len(entries(0, taken))) == entries(0, taken)
    wait_until(
        lambda: proxy.stat("filesystem.write_total_buffered") == 0, timeout_s=5, what="everything written"
    )
