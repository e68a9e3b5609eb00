from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.model.core import SocketAddress
from sidecar.stream_info import ConnectionInfo, StreamInfo
from sidecar.telemetry.access_log import file_writer
from sidecar.telemetry.access_log.file import (
    FLUSH_AT_BYTES,
    MAX_WAITING_BYTES,
    FileAccessLogger,
    LogFile,
)
from sidecar.telemetry.access_log.format import compile_format
from tests.support.process import wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


@pytest.fixture
def file(path: Path) -> Iterator[LogFile]:
    file = LogFile(str(path))
    yield file
    file.close()


@pytest.fixture
def standard_output() -> Iterator[int]:
    """Descriptor 1, given back afterwards."""
    saved = os.dup(1)
    yield 1
    os.dup2(saved, 1)
    os.close(saved)


def settle(file: LogFile) -> None:
    """Until the thread has written, or lost, all that it was given."""
    file.flush()
    wait_until(lambda: not file.waiting_bytes, timeout_s=5, what="everything settled")


def test_entries_wait_for_the_flush(path: Path, file: LogFile) -> None:
    file.write(b"one\n")
    file.write(b"two\n")
    assert (path.read_bytes(), file.waiting_bytes) == (b"", 8)
    assert file.flush()
    settle(file)
    assert path.read_bytes() == b"one\ntwo\n"
    assert (file.entries, file.writer.flushes, file.dropped) == (2, 1, 0)
    assert not file.flush()
    assert file.writer.flushes == 1


def test_much_is_written_at_once(path: Path, file: LogFile) -> None:
    line = b"x" * 1023 + b"\n"
    for _ in range(FLUSH_AT_BYTES // len(line)):
        file.write(line)
    wait_until(lambda: path.stat().st_size == FLUSH_AT_BYTES, timeout_s=5, what="all of it")


def test_what_was_there_stays(path: Path) -> None:
    path.write_bytes(b"old\n")
    file = LogFile(str(path))
    file.write(b"new\n")
    file.close()
    assert path.read_bytes() == b"old\nnew\n"
    file.close()


def test_reopen_after_rotation(path: Path, file: LogFile) -> None:
    file.write(b"before\n")
    rotated = path.with_suffix(".1")
    path.rename(rotated)
    file.reopen()
    file.write(b"after\n")
    file.close()
    assert (rotated.read_bytes(), path.read_bytes()) == (b"before\n", b"after\n")


def test_failed_reopen_keeps_the_old_file_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    file = LogFile(str(directory / "access.log"))
    moved = tmp_path / "moved"
    directory.rename(moved)
    file.reopen()
    for _ in range(3):
        file.write(b"still\n")
        settle(file)
    file.close()
    assert (moved / "access.log").read_bytes() == b"still\n" * 3
    assert file.writer.reopen_failures == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot reopen {directory / 'access.log'}: No such file or directory"
    ]


def test_path_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        LogFile(str(tmp_path / "no" / "such" / "directory"))


def fill(file: LogFile, line: bytes, dropped: int = 1) -> int:
    """Write until the file has dropped entries; how many were taken."""
    while file.dropped < dropped:
        file.write(line)
    return file.entries


class Pipe:
    """Descriptor 1 leads into it. `read_all` reads until so many bytes are there, without any help of the loop."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def open_file(self) -> LogFile:
        """To be called in the test: pytest sets the descriptor itself before it."""
        os.dup2(self.write_end, 1)
        return LogFile("/dev/stdout")

    def read_all(self, size: int) -> bytes:
        received = bytearray()
        poll = select.poll()
        poll.register(self.read_end, select.POLLIN)
        while len(received) < size:
            assert poll.poll(5000), f"only {len(received)} bytes came"
            received += os.read(self.read_end, 1 << 20)
        return bytes(received)

    def has(self, line: bytes, times: int) -> bool:
        """Whether it is whole entries, none twice."""
        return self.read_all(times * len(line)) == line * times

    def close(self) -> None:
        for end in (self.read_end, self.write_end):
            with contextlib.suppress(OSError):
                os.close(end)


@pytest.fixture
def pipe(standard_output: int) -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_full_pipe_never_blocks_and_what_is_dropped_is_counted(
    pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = pipe.open_file()
    line = b"y" * 8191 + b"\n"
    taken = fill(file, line, dropped=2)
    assert file.waiting_bytes <= MAX_WAITING_BYTES
    file.flush()
    assert pipe.has(line, taken)
    settle(file)
    file.flush()
    assert (file.dropped, file.writer.write_failures) == (2, 0)
    assert os.get_blocking(pipe.write_end)  # the program's own standard output is as it was
    assert [record.getMessage() for record in caplog.records] == [
        "access log /dev/stdout takes less than there is, entries are dropped",
        "access log /dev/stdout keeps up again, 2 entries are lost",
    ]
    file.close()


def test_a_pipe_is_written_as_its_reader_reads(pipe: Pipe) -> None:
    """Much more than a pipe holds comes through without another flush, and the end waits for its reader."""
    file = pipe.open_file()
    line = b"u" * 8000 + b"\n"
    for _ in range(400):
        file.write(line)
    file.flush()
    assert pipe.has(line, 400)
    for _ in range(100):
        file.write(line)
    closing = threading.Thread(target=file.close)
    closing.start()
    assert pipe.has(line, 100)
    closing.join(5)
    assert file.dropped == 0


def test_the_end_does_not_wait_for_ever_and_counts_what_is_left(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_writer, "CLOSE_S", 0.05)
    file = pipe.open_file()
    line = b"v" * 65535 + b"\n"
    for _ in range(10):
        file.write(line)
    file.close()
    os.set_blocking(pipe.read_end, False)
    whole = os.read(pipe.read_end, 1 << 20).count(b"\n")
    assert file.dropped == 10 - whole > 0


def test_reader_that_is_gone_costs_the_entries_only(pipe: Pipe, caplog: pytest.LogCaptureFixture) -> None:
    file = pipe.open_file()
    os.close(pipe.read_end)
    for _ in range(2):
        file.write(b"one\n")
        file.write(b"two\n")
        settle(file)
    assert (file.writer.write_failures, file.dropped, file.waiting_bytes) == (2, 4, 0)
    file.close()
    assert [record.getMessage() for record in caplog.records] == [
        "cannot write access log /dev/stdout, entries are dropped: Broken pipe"
    ]


def test_the_next_reader_of_a_pipe_finds_entries_on_lines_of_their_own(tmp_path: Path) -> None:
    """What was written of an entry may still be in the pipe when another reader comes."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    file = LogFile(str(fifo))
    file.write(b"x" * 9999 + b"\n")
    file.flush()
    wait_until(lambda: file.writer.flushes == 1, timeout_s=5, what="the beginning written")
    os.close(reader)
    settle(file)
    with open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb") as next_reader:
        os.set_blocking(next_reader.fileno(), True)
        file.write(b"next\n")
        closing = threading.Thread(target=file.close)
        closing.start()
        entries = next_reader.read().split(b"\n")
        closing.join(5)
    assert entries[1:] == [b"next", b""]
    assert set(entries[0]) == {ord("x")}
    assert file.dropped == 0


def test_an_entry_that_is_partly_written_is_finished_first(
    path: Path, file: LogFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    room = 15  # on the disk
    write = os.write

    def short_write(descriptor: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, data[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", short_write)
    for number in range(4):
        file.write(b"entry %d.\n" % number)
    settle(file)
    file.write(b"in between\n")
    settle(file)
    assert (path.read_bytes(), file.dropped) == (b"entry 0.\nentry ", 3)
    room = 1000
    file.write(b"later\n")
    settle(file)
    assert path.read_bytes() == b"entry 0.\nentry 1.\nlater\n"
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot write access log {path}, entries are dropped: No space left on device",
        f"access log {path} is written again, 3 entries are lost",
    ]


def test_a_new_file_does_not_begin_with_the_rest_of_an_entry(
    path: Path, file: LogFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, full = os.write, True

    def short_write(descriptor: int, data: bytes) -> int:
        if full and path.stat().st_size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:4] if full else data)

    monkeypatch.setattr(os, "write", short_write)
    file.write(b"old entry\n")
    settle(file)
    path.rename(path.with_suffix(".1"))
    path.write_bytes(b"-")  # the disk is full for the old file all the same
    file.reopen()
    wait_until(lambda: file.dropped == 1, timeout_s=5, what="the entry given up")
    full = False
    file.write(b"new entry\n")
    file.close()
    assert path.read_bytes() == b"-new entry\n"


def test_a_full_device_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    file = LogFile("/dev/full")
    for _ in range(3):
        file.write(b"one\n")
        settle(file)
    file.close()
    assert (file.writer.write_failures, file.dropped) == (3, 3)
    assert len(caplog.records) == 1


def test_a_slow_disk_does_not_hold_the_loop_up(
    path: Path, file: LogFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flushing and reopening return while a write is stuck; what comes then is bounded, and in order in the end."""
    stuck, go_on = threading.Event(), threading.Event()
    write = os.write

    def slow_write(descriptor: int, data: bytes) -> int:
        stuck.set()
        assert go_on.wait(5)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", slow_write)
    file.write(b"one\n")
    file.flush()
    assert stuck.wait(5)
    rotated = path.with_suffix(".1")
    path.rename(rotated)
    file.write(b"two\n")
    file.reopen()
    file.write(b"three\n")
    file.flush()
    large = b"x" * (MAX_WAITING_BYTES - file.waiting_bytes)
    file.write(large)
    file.write(b"too much\n")
    assert (file.dropped, file.waiting_bytes) == (1, MAX_WAITING_BYTES)
    go_on.set()
    file.close()
    assert (rotated.read_bytes(), path.read_bytes()) == (b"one\ntwo\n", b"three\n" + large)


def test_a_disk_that_hangs_does_not_hold_up_the_end(
    file: LogFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()
    write = os.write
    monkeypatch.setattr(file_writer, "CLOSE_S", 0.05)
    monkeypatch.setattr(os, "write", lambda descriptor, data: (go_on.wait(5), write(descriptor, data))[1])
    file.write(b"one\n")
    file.close()
    assert file.dropped == 1
    assert "the last 1 entries are lost" in caplog.text
    go_on.set()


def test_without_a_thread_entries_wait(
    path: Path, file: LogFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        file.write(b"one\n")
        assert not file.flush()
        assert not file.flush()
    assert len(caplog.records) == 1
    file.write(b"two\n")
    file.close()
    assert path.read_bytes() == b"one\ntwo\n"


@pytest.mark.filterwarnings(
    "ignore:.*fork:DeprecationWarning"
)  # of a process with threads, from Python 3.12 on
def test_a_child_writes_its_own_entries(path: Path, file: LogFile) -> None:
    """A fork has no threads: the child begins one of its own, and does not repeat what the parent has."""
    file.write(b"parent\n")
    settle(file)
    child = os.fork()
    if not child:
        file.write(b"child\n")
        file.close()
        os._exit(0 if file.dropped == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    file.write(b"parent\n")
    file.close()
    assert path.read_bytes() == b"parent\nchild\nparent\n"


def test_standard_output_of_another_user(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be opened anew: it is written through the open file that we have, which stays as it is."""

    def refuse(*arguments: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        file = pipe.open_file()
    sizes: list[int] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda number, data: (sizes.append(len(data)), write(number, data))[1])
    line = b"w" * 8191 + b"\n"
    for _ in range(50):
        file.write(line)
    file.flush()
    assert pipe.has(line, 50)
    assert max(sizes) == select.PIPE_BUF
    assert os.get_blocking(pipe.write_end)
    file.reopen()
    file.write(b"after\n")
    file.close()
    assert (pipe.read_all(6), file.dropped) == (b"after\n", 0)


def test_standard_output_may_be_a_socket(standard_output: int) -> None:
    ours, theirs = socket.socketpair()
    os.dup2(theirs.fileno(), standard_output)
    file = LogFile("/dev/stdout")
    with ours, theirs:
        taken = fill(file, b"z" * 8191 + b"\n")
        file.flush()
        ours.settimeout(5)
        received = 0
        while received < taken * 8192:
            received += len(ours.recv(1 << 20))
        assert os.get_blocking(theirs.fileno())
        file.close()


def test_standard_output_may_be_a_file_shared_with_others(path: Path, standard_output: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, standard_output)
    file = LogFile("/dev/stdout")
    file.write(b"log\n")
    settle(file)
    os.write(standard_output, b"program\n")
    file.write(b"log\n")
    file.reopen()
    file.close()
    assert path.read_bytes() == b"log\nprogram\nlog\n"
    os.close(descriptor)


def test_loggers_share_a_file_in_order(path: Path, file: LogFile) -> None:
    info = StreamInfo(ConnectionInfo(SocketAddress("1.1.1.1", 1), SocketAddress("2.2.2.2", 2)), 0.0, 1)
    info.response_code = 200
    first = FileAccessLogger(file, compile_format("a %RESPONSE_CODE%\n"))
    second = FileAccessLogger(file, compile_format("b %DOWNSTREAM_REMOTE_ADDRESS%\n"))
    first.log(info)
    second.log(info)
    info.response_code = 500
    first.log(info)
    second.flush()
    settle(file)
    assert path.read_bytes() == b"a 200\nb 1.1.1.1:1\na 500\n"


def test_lines_of_several_writers_of_a_pipe_stay_whole(tmp_path: Path) -> None:
    """Each of them has more to write than the pipe takes at once."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    files = [LogFile(str(fifo), beside_others=True) for _ in range(2)]
    expected = []
    for number in range(5000):
        for name, file in zip((b"a", b"b"), files, strict=True):
            line = b"%s %d %s\n" % (name, number, name * (number % 90))
            file.write(line)
            expected.append(line)
    for file in files:
        file.finish()
    received = bytearray()

    def all_there() -> bool:
        with contextlib.suppress(BlockingIOError):
            received.extend(os.read(reader, 1 << 16))
        return len(received) == sum(map(len, expected))

    wait_until(all_there, timeout_s=10, what="all lines", interval_s=0)
    for file in files:
        file.close()
    os.close(reader)
    assert sorted(received.splitlines(keepends=True)) == sorted(expected)
    assert [file.dropped for file in files] == [0, 0]
