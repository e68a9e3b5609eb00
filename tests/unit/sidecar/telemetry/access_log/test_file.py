from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import pty
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.model.core import SocketAddress
from sidecar.stream_info import ConnectionInfo, StreamInfo
from sidecar.telemetry.access_log import file as file_module
from sidecar.telemetry.access_log.file import (
    FLUSH_AT_BYTES,
    MAX_WAITING_BYTES,
    FileAccessLogger,
    LogFile,
    close_files,
)
from sidecar.telemetry.access_log.format import compile_format
from sidecar.telemetry.access_log.loop_driver import LoopDriver
from sidecar.telemetry.access_log.thread_driver import ThreadDriver
from tests.support.process import wait_until
from tests.unit.sidecar.telemetry.access_log.log_files import Files, Pipe, Reader


@pytest.fixture(params=["loop", "thread"])
def both(request: pytest.FixtureRequest, files: Files) -> Files:
    """Either driver."""
    files.by_threads = request.param == "thread"
    return files


@pytest.fixture
def standard_output() -> Iterator[int]:
    """Descriptor 1, given back afterwards."""
    saved = os.dup(1)
    yield 1
    os.dup2(saved, 1)
    os.close(saved)


def test_entries_wait_for_the_flush(path: Path, file: LogFile, files: Files) -> None:
    file.write(b"one\n")
    file.write(b"two\n")
    assert (path.read_bytes(), file.waiting_bytes) == (b"", 8)
    assert file.flush()
    files.settle(file)
    assert path.read_bytes() == b"one\ntwo\n"
    assert (file.entries, file.writer.flushes, file.dropped) == (2, 1, 0)
    assert not file.flush()
    assert file.writer.flushes == 1


def test_much_is_written_at_once(path: Path, file: LogFile) -> None:
    line = b"x" * 1023 + b"\n"
    for _ in range(FLUSH_AT_BYTES // len(line)):
        file.write(line)
    wait_until(lambda: path.stat().st_size == FLUSH_AT_BYTES, timeout_s=5, what="all of it")


def test_what_was_there_stays(path: Path, files: Files) -> None:
    path.write_bytes(b"old\n")
    file = files.open(path)
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
    tmp_path: Path, caplog: pytest.LogCaptureFixture, files: Files
) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    file = files.open(directory / "access.log")
    moved = tmp_path / "moved"
    directory.rename(moved)
    file.reopen()
    for _ in range(3):
        file.write(b"still\n")
        files.settle(file)
    file.close()
    assert (moved / "access.log").read_bytes() == b"still\n" * 3
    assert file.writer.reopen_failures == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot reopen {directory / 'access.log'}: No such file or directory"
    ]


def test_path_that_cannot_be_opened(tmp_path: Path, files: Files) -> None:
    with pytest.raises(OSError):
        files.open(tmp_path / "no" / "such" / "directory")


def fill(file: LogFile, line: bytes, dropped: int = 1) -> int:
    """Write until the file has dropped entries; how many were taken."""
    while file.dropped < dropped:
        file.write(line)
    return file.entries


@pytest.fixture
def pipe(standard_output: int, both: Files) -> Iterator[Pipe]:
    pipe = Pipe(both)
    yield pipe
    pipe.close()


def test_full_pipe_never_blocks_and_what_is_dropped_is_counted(
    pipe: Pipe, caplog: pytest.LogCaptureFixture, files: Files
) -> None:
    caplog.set_level(logging.INFO)
    file = pipe.open_file()
    line = b"y" * 8191 + b"\n"
    taken = fill(file, line, dropped=2)
    assert file.waiting_bytes <= MAX_WAITING_BYTES
    file.flush()
    assert pipe.has(line, taken)
    files.settle(file)
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
    with Reader(pipe.read_end) as reader:
        file.close()
        assert reader.read(100 * len(line)) == line * 100
    assert file.dropped == 0


def test_the_end_does_not_wait_for_ever_and_counts_what_is_left(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "CLOSE_S", 0.05)
    file = pipe.open_file()
    line = b"v" * 65535 + b"\n"
    for _ in range(10):
        file.write(line)
    file.close()
    os.set_blocking(pipe.read_end, False)
    whole = os.read(pipe.read_end, 1 << 20).count(b"\n")
    assert file.dropped == 10 - whole > 0


def test_reader_that_is_gone_costs_the_entries_only(
    pipe: Pipe, caplog: pytest.LogCaptureFixture, files: Files
) -> None:
    file = pipe.open_file()
    os.close(pipe.read_end)
    for _ in range(2):
        file.write(b"one\n")
        file.write(b"two\n")
        files.settle(file)
    assert (file.writer.write_failures, file.dropped, file.waiting_bytes) == (2, 4, 0)
    file.close()
    assert [record.getMessage() for record in caplog.records] == [
        "cannot write access log /dev/stdout, entries are dropped: Broken pipe"
    ]


def test_the_next_reader_of_a_pipe_finds_entries_on_lines_of_their_own(tmp_path: Path, both: Files) -> None:
    """What was written of an entry may still be in the pipe when another reader comes."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    file = both.open(fifo)
    file.write(b"x" * 9999 + b"\n")
    file.flush()
    both.wait_until(lambda: file.writer.flushes == 1, "the beginning written")
    os.close(reader)
    both.settle(file)
    next_reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with Reader(next_reader) as reading:
        file.write(b"next\n")
        file.close()
        entries = reading.read(len(b"x" * 9999 + b"\nnext\n")).split(b"\n")
    os.close(next_reader)
    assert entries[1:] == [b"next", b""]
    assert set(entries[0]) == {ord("x")}
    assert file.dropped == 0


def test_an_entry_that_is_partly_written_is_finished_first(
    path: Path, file: LogFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, files: Files
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
    files.settle(file)
    file.write(b"in between\n")
    files.settle(file)
    assert (path.read_bytes(), file.dropped) == (b"entry 0.\nentry ", 3)
    room = 1000
    file.write(b"later\n")
    files.settle(file)
    assert path.read_bytes() == b"entry 0.\nentry 1.\nlater\n"
    files.wait_until(lambda: len(caplog.records) == 2, "the thread has said so, after it has written")
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot write access log {path}, entries are dropped: No space left on device",
        f"access log {path} is written again, 3 entries are lost",
    ]


def test_a_new_file_does_not_begin_with_the_rest_of_an_entry(
    path: Path, file: LogFile, monkeypatch: pytest.MonkeyPatch, files: Files
) -> None:
    write, full = os.write, True

    def short_write(descriptor: int, data: bytes) -> int:
        if full and path.stat().st_size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:4] if full else data)

    monkeypatch.setattr(os, "write", short_write)
    file.write(b"old entry\n")
    files.settle(file)
    path.rename(path.with_suffix(".1"))
    path.write_bytes(b"-")  # the disk is full for the old file all the same
    file.reopen()
    wait_until(lambda: file.dropped == 1, timeout_s=5, what="the entry given up")
    full = False
    file.write(b"new entry\n")
    file.close()
    assert path.read_bytes() == b"-new entry\n"


def test_a_full_device_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture, both: Files) -> None:
    file = both.open("/dev/full")
    for _ in range(3):
        file.write(b"one\n")
        both.settle(file)
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
    monkeypatch.setattr(file_module, "CLOSE_S", 0.05)
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
def test_a_child_writes_its_own_entries(path: Path, file: LogFile, files: Files) -> None:
    """A fork has no threads: the child begins one of its own, and does not repeat what the parent has."""
    file.write(b"parent\n")
    files.settle(file)
    child = os.fork()
    if not child:
        file.write(b"child\n")
        file.close()
        os._exit(0 if file.dropped == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    file.write(b"parent\n")
    file.close()
    assert path.read_bytes() == b"parent\nchild\nparent\n"


def refuse(*arguments: object) -> int:
    raise PermissionError(errno.EACCES, "Permission denied")


def open_foreign(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> LogFile:
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        return pipe.open_file()


def pipes_need_not_block() -> bool:
    """Whether the kernel of this machine knows RWF_NOWAIT for pipes."""
    reader, writer = os.pipe()
    try:
        return os.pwritev(writer, [b"x"], -1, os.RWF_NOWAIT) == 1
    except OSError:
        return False
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("old_kernel", [False, True])
def test_standard_output_of_another_user(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, old_kernel: bool
) -> None:
    """It cannot be opened anew: it is written through the open file that we have, which stays as it is."""
    if old_kernel:
        monkeypatch.setattr(os, "pwritev", refuse)
    file = open_foreign(pipe, monkeypatch)
    sizes: list[int] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda number, data: (sizes.append(len(data)), write(number, data))[1])
    line = b"w" * 8191 + b"\n"
    for _ in range(50):
        file.write(line)
    file.flush()
    assert pipe.has(line, 50)
    assert (
        max(sizes, default=select.PIPE_BUF) == select.PIPE_BUF
    )  # each write may block, unless it is told not to
    assert bool(sizes) is (old_kernel or not pipes_need_not_block())
    assert os.get_blocking(pipe.write_end)
    file.reopen()
    file.write(b"after\n")
    file.close()
    assert (pipe.read_all(6), file.dropped) == (b"after\n", 0)


def test_standard_output_may_be_a_socket(standard_output: int, both: Files) -> None:
    ours, theirs = socket.socketpair()
    os.dup2(theirs.fileno(), standard_output)
    file = both.open("/dev/stdout")
    with ours, theirs:
        taken = fill(file, b"z" * 8191 + b"\n")
        file.flush()
        ours.setblocking(False)
        received = 0

        def all_there() -> bool:
            nonlocal received
            with contextlib.suppress(BlockingIOError):
                received += len(ours.recv(1 << 20))
            return received >= taken * 8192

        both.wait_until(all_there, "all lines", interval_s=0)
        assert os.get_blocking(theirs.fileno())
        file.close()


def test_standard_output_may_be_a_file_shared_with_others(
    path: Path, standard_output: int, files: Files
) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, standard_output)
    file = files.open("/dev/stdout")
    file.write(b"log\n")
    files.settle(file)
    os.write(standard_output, b"program\n")
    file.write(b"log\n")
    file.reopen()
    file.close()
    assert path.read_bytes() == b"log\nprogram\nlog\n"
    os.close(descriptor)


def test_loggers_share_a_file_in_order(path: Path, file: LogFile, files: Files) -> None:
    info = StreamInfo(ConnectionInfo(SocketAddress("1.1.1.1", 1), SocketAddress("2.2.2.2", 2)), 0.0, 1)
    info.response_code = 200
    first = FileAccessLogger(file, compile_format("a %RESPONSE_CODE%\n"))
    second = FileAccessLogger(file, compile_format("b %DOWNSTREAM_REMOTE_ADDRESS%\n"))
    first.log(info)
    second.log(info)
    info.response_code = 500
    first.log(info)
    second.flush()
    files.settle(file)
    assert path.read_bytes() == b"a 200\nb 1.1.1.1:1\na 500\n"


def test_lines_of_several_writers_of_a_pipe_stay_whole(tmp_path: Path, both: Files) -> None:
    """Each of them has more to write than the pipe takes at once."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    logs = [both.open(fifo, beside_others=True) for _ in range(2)]
    expected = []
    for number in range(5000):
        for name, file in zip((b"a", b"b"), logs, strict=True):
            line = b"%s %d %s\n" % (name, number, name * (number % 90))
            file.write(line)
            expected.append(line)
    with Reader(reader) as reading:
        close_files(logs)
        received = reading.read(sum(map(len, expected)))
    os.close(reader)
    assert sorted(received.splitlines(keepends=True)) == sorted(expected)
    assert [file.dropped for file in logs] == [0, 0]


def test_who_writes_what(tmp_path: Path, standard_output: int, files: Files) -> None:
    """Only a disk needs a thread."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    terminal, its_other_end = pty.openpty()
    for path, expected in (
        (fifo, LoopDriver),
        (os.ttyname(its_other_end), LoopDriver),
        ("/dev/null", LoopDriver),
        (tmp_path / "log", ThreadDriver),
    ):
        file = files.open(path)
        assert type(file._driver) is expected, path
        file.write(b"entry\n")
        threads = threading.active_count()
        files.settle(file)
        assert threading.active_count() == threads + (expected is ThreadDriver)
        file.close()
        assert file.dropped == 0
    assert os.read(reader, 100) == b"entry\n"
    assert os.read(terminal, 100) == b"entry\r\n"
    for descriptor in (reader, terminal, its_other_end):
        os.close(descriptor)


def test_a_pipe_of_another_user_is_for_a_thread_on_an_old_kernel(
    standard_output: int, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can say there how much it takes: that may be gone before it is written."""
    monkeypatch.setattr(os, "pwritev", refuse)
    pipe = Pipe(files)
    file = open_foreign(pipe, monkeypatch)
    assert type(file._driver) is ThreadDriver
    file.close()
    pipe.close()


def test_a_pipe_of_another_user_never_blocks_the_loop(
    standard_output: int, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when others have filled it: the descriptor itself blocks, and stays so."""
    pipe = Pipe(files)
    file = open_foreign(pipe, monkeypatch)
    on_loop = pipes_need_not_block()
    assert type(file._driver) is (LoopDriver if on_loop else ThreadDriver)
    others = os.open(f"/proc/self/fd/{pipe.write_end}", os.O_WRONLY | os.O_NONBLOCK)
    filled = os.write(others, b"o" * (1 << 20))
    with pytest.raises(BlockingIOError):
        file.writer.descriptor.write(memoryview(b"one\n"))
    file.write(b"two\n")
    file.flush()
    assert os.get_blocking(pipe.write_end)
    assert pipe.read_all(filled + 4) == b"o" * filled + b"two\n"
    file.close()
    os.close(others)
    pipe.close()


def test_a_named_pipe_of_another_user_goes_to_a_thread_with_its_first_entry(
    tmp_path: Path, standard_output: int, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel that can be told not to wait for a pipe cannot be told so for one that has a name."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    named = os.open(fifo, os.O_WRONLY)
    os.dup2(named, standard_output)
    os.close(named)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        file = files.open("/dev/stdout")
    for number in range(100):
        file.write(b"%d\n" % number)
        file.flush()
    assert type(file._driver) is ThreadDriver
    assert os.get_blocking(standard_output)
    file.close()
    assert file.dropped == 0
    assert os.read(reader, 10_000) == b"".join(b"%d\n" % number for number in range(100))
    os.close(reader)


def test_a_terminal_of_another_user_is_for_a_thread(
    standard_output: int, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, its_other_end = pty.openpty()
    os.dup2(its_other_end, standard_output)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        file = files.open("/dev/stdout")
    assert type(file._driver) is ThreadDriver
    file.write(b"entry\n")
    file.close()
    assert os.read(terminal, 100) == b"entry\r\n"
    os.close(terminal)
    os.close(its_other_end)


def test_a_stopped_reader_is_not_written_to_in_vain(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes while the loop waits for room causes no system call; many small orders become few."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    file = files.open(fifo)
    file.write(b"x" * 99_999 + b"\n")
    file.flush()
    calls: list[int] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda number, data: (calls.append(len(data)), write(number, data))[1])
    for _ in range(1000):
        file.write(b"short\n")
        file.flush()
        files.turn()
    assert calls == []
    with Reader(reader) as reading:
        files.settle(file)
        assert reading.read(106_000) == b"x" * 99_999 + b"\n" + b"short\n" * 1000
    assert len(calls) < 40
    file.close()
    os.close(reader)


def test_one_reader_that_has_stopped_takes_no_time_of_others_at_the_end(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "CLOSE_S", 0.3)
    paths = [tmp_path / name for name in ("stopped", "read")]
    readers = []
    for fifo in paths:
        os.mkfifo(fifo)
        readers.append(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
    stopped, read = (files.open(fifo) for fifo in paths)
    for file in (stopped, read):
        for _ in range(20):
            file.write(b"e" * 9999 + b"\n")
    with Reader(readers[1]) as reading:
        close_files((stopped, read))
        assert reading.read(200_000) == (b"e" * 9999 + b"\n") * 20
    assert read.dropped == 0
    assert stopped.dropped == 20 - os.read(readers[0], 1 << 20).count(b"\n") > 0
    for reader in readers:
        os.close(reader)


@pytest.mark.parametrize("blocked", [False, True])
def test_a_pipe_may_become_a_file(tmp_path: Path, files: Files, blocked: bool) -> None:
    """After what its reader still gets, a thread writes it."""
    path = tmp_path / "log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = files.open(path)
    old = b"o" * (99_999 if blocked else 9) + b"\n"
    file.write(old)
    file.flush()
    path.unlink()
    file.reopen()
    file.write(b"new\n")
    file.flush()
    assert path.exists() is not blocked
    with Reader(reader) as reading:
        files.settle(file)
        assert reading.read(len(old)) == old
    assert path.read_bytes() == b"new\n"
    file.reopen()
    file.write(b"later\n")
    file.close()
    assert (path.read_bytes(), file.dropped) == (b"new\nlater\n", 0)
    os.close(reader)


def test_a_pipe_that_becomes_a_file_at_the_end(tmp_path: Path, files: Files) -> None:
    path = tmp_path / "log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = files.open(path)
    file.write(b"o" * 99_999 + b"\n")
    file.flush()
    path.unlink()
    file.reopen()
    file.write(b"new\n")
    with Reader(reader) as reading:
        file.close()
        assert len(reading.read(100_000)) == 100_000
    assert (path.read_bytes(), file.dropped) == (b"new\n", 0)
    os.close(reader)


def test_a_file_may_become_a_pipe(path: Path, file: LogFile, files: Files) -> None:
    file.write(b"old\n")
    files.settle(file)
    path.unlink()
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file.reopen()
    for _ in range(30):
        file.write(b"n" * 9999 + b"\n")
    with Reader(reader) as reading:
        file.close()
        assert reading.read(300_000) == (b"n" * 9999 + b"\n") * 30
    assert file.dropped == 0
    os.close(reader)


def test_reopening_a_pipe_goes_on_with_the_new_one(tmp_path: Path, both: Files) -> None:
    path = tmp_path / "log"
    readers = []
    lines = [b"o" * 99_999 + b"\n", b"n" * 99_999 + b"\n"]
    os.mkfifo(path)
    readers.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    file = both.open(path)
    file.write(lines[0])
    file.flush()
    path.unlink()
    os.mkfifo(path)
    readers.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    file.reopen()
    file.write(lines[1])
    with Reader(readers[0]) as old, Reader(readers[1]) as new:
        both.settle(file)
        assert [old.read(100_000), new.read(100_000)] == lines
    file.close()
    assert file.dropped == 0
    for reader in readers:
        os.close(reader)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_leaves_alone_what_waits_for_its_parents_reader(tmp_path: Path, files: Files) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    file = files.open(fifo)
    parents = b"p" * 99_999 + b"\n"
    file.write(parents)
    file.flush()
    child = os.fork()
    if not child:
        file.write(b"child\n")
        file.flush()
        os._exit(0 if file.waiting_bytes == 6 and file.dropped == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    with Reader(reader) as reading:
        files.settle(file)
        assert reading.read(len(parents)) == parents
    file.close()
    os.close(reader)


def test_a_device_that_cannot_be_waited_for_is_tried_again(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """epoll refuses /dev/null, which is never full: here it is."""
    full = True
    write = os.write

    def full_write(descriptor: int, data: bytes) -> int:
        if full:
            raise BlockingIOError
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", full_write)
    file = files.open("/dev/null")
    file.write(b"one\n")
    file.flush()
    assert file.waiting_bytes == 4
    full = False
    file.write(b"two\n")
    file.flush()
    assert (file.waiting_bytes, file.dropped) == (0, 0)
    file.close()
