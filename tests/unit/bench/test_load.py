"""What is read from the clients' output, and the constant-rate client against a small server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bench import bulk, load, pace
from tests.bench.curves import read_stub_status
from tests.bench.drain import Drain

_WRK = """Running 1s test @ http://127.0.0.1:1/
  1 threads and 16 connections
  11364 requests in 1.00s, 12.00MB read
{more}Requests/sec:  11364.11
"""
_H2LOAD = """finished in 502.46ms, 27026.00 req/s, 27.09MB/s
requests: 13513 total, 13641 started, 13513 done, {done} succeeded, {failed} failed, {errored} errored, 0 timeout
status codes: {done} 2xx, 0 3xx, 0 4xx, {bad} 5xx
"""


def test_wrk() -> None:
    assert load.read_wrk(_WRK.format(more="")) == (11364, 1.0)


@pytest.mark.parametrize(
    "more", ["  Non-2xx or 3xx responses: 3\n", "  Socket errors: connect 0, read 1, write 0, timeout 0\n"]
)
def test_wrk_with_failures(more: str) -> None:
    with pytest.raises(RuntimeError):
        load.read_wrk(_WRK.format(more=more))


def test_h2load() -> None:
    assert load.read_h2load(_H2LOAD.format(done=13513, failed=0, errored=0, bad=0)) == (
        13513,
        pytest.approx(0.50246),
    )


@pytest.mark.parametrize(("failed", "errored", "bad"), [(1, 0, 0), (0, 1, 0), (0, 0, 32)])
def test_h2load_with_failures(failed: int, errored: int, bad: int) -> None:
    with pytest.raises(RuntimeError):
        load.read_h2load(_H2LOAD.format(done=13000, failed=failed, errored=errored, bad=bad))


@pytest.mark.parametrize("read", [load.read_wrk, load.read_h2load])
def test_output_that_is_none(read: object) -> None:
    assert callable(read)
    with pytest.raises(RuntimeError):
        read("unable to connect")


def test_nginx_counts() -> None:
    page = "Active connections: 1 \nserver accepts handled requests\n 16 16 31000 \nReading: 0 Writing: 1\n"
    assert read_stub_status(page) == 31000
    with pytest.raises(ValueError, match="nothing"):
        read_stub_status("nothing")


def test_percentiles() -> None:
    found = load.percentiles([number / 1000 for number in range(101)])
    assert (found.p50_ms, found.p90_ms, found.p99_ms) == pytest.approx((50, 90, 99))
    with pytest.raises(ValueError, match="fewer"):
        load.percentiles([0.1])


def test_seconds_are_whole_for_wrk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "require_program", lambda name, package: name)
    command = load.wrk_command(80, 0.5, 4, ["a: b"], "/x")
    assert command == ["wrk", "-t", "1", "-c", "4", "-d", "1s", "-H", "a: b", "http://127.0.0.1:80/x"]


# the constant rate


def test_an_answer_is_complete_with_its_length() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
    assert not pace.is_complete(head[:20])
    assert not pace.is_complete(head + b"ab")
    assert pace.is_complete(head + b"abc")


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"]
)
def test_other_answers_are_failures(head: bytes) -> None:
    with pytest.raises(OSError, match=r"(?i)^http"):
        pace.is_complete(head)


@contextmanager
def _server(*, stall_s: float = 0.0) -> Iterator[int]:
    """Answers each request of one connection; the first one only when it has waited."""
    listening = socket.create_server(("127.0.0.1", 0))
    release = threading.Event()

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            received = b""
            first = True
            while data := connection.recv(65536):
                received += data
                while b"\r\n\r\nxx" in received:
                    _, _, received = received.partition(b"\r\n\r\nxx")
                    if first:
                        release.wait(stall_s)
                    first = False
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        thread.join(10)
        listening.close()


def test_all_requests_are_answered() -> None:
    with _server() as port:
        latencies = pace.run(port, 1, 1000.0, 0.05, b"xx")
    assert len(latencies) == 50
    assert min(latencies) > 0


def test_a_stall_makes_all_late_that_were_due() -> None:
    """One connection, a request every 10 ms, and a server that waits 0.2 s once: latencies count from the schedule."""
    with _server(stall_s=0.2) as port:
        latencies = pace.run(port, 1, 100.0, 0.2, b"xx")
    assert len(latencies) == 20
    assert latencies[0] >= 0.2
    assert latencies[9] >= 0.2 - 9 * 0.01 - 0.001


# bulk


def test_bulk_bytes_are_counted() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=bulk.serve, args=(listening,), daemon=True).start()
    try:
        assert bulk.receive(listening.getsockname()[1], 2, 0.05) > 0
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def test_a_backend_that_closes_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def close() -> None:
            connection, _ = listening.accept()
            connection.recv(10)
            connection.close()

        thread = threading.Thread(target=close)
        thread.start()
        with pytest.raises(OSError, match="closed"):
            bulk.receive(listening.getsockname()[1], 1, 5.0)
        thread.join()


# the reader of a log


def test_every_line_of_a_pipe_is_counted(tmp_path: Path) -> None:
    """Of more than a pipe holds, by writers that come and go; what is there when the reader is to end is counted, too."""
    path = tmp_path / "log.pipe"
    drain = Drain(path)
    for _ in range(2):
        with path.open("ab") as writer:
            writer.write(b"x" * 999 + b"\n" + b"\n" * 200_000)
    assert drain.end() == 400_002


def test_a_reader_that_has_failed_is_told(tmp_path: Path) -> None:
    drain = Drain(tmp_path / "log.pipe")
    drain.kill()
    with pytest.raises(RuntimeError, match="ready"):
        drain.end()
