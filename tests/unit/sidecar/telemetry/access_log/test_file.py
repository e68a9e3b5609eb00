from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.model.core import SocketAddress
from sidecar.stream_info import ConnectionInfo, StreamInfo
from sidecar.telemetry.access_log.file import (
    FLUSH_AT_BYTES,
    MAX_WAITING_BYTES,
    FileAccessLogger,
    LogFile,
)
from sidecar.telemetry.access_log.format import compile_format


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


def test_entries_wait_for_the_flush(path: Path, file: LogFile) -> None:
    file.write(b"one\n")
    file.write(b"two\n")
    assert (path.read_bytes(), file.waiting_bytes) == (b"", 8)
    file.flush()
    assert (path.read_bytes(), file.waiting_bytes) == (b"one\ntwo\n", 0)
    assert (file.entries, file.flushes, file.dropped) == (2, 1, 0)
    file.flush()
    assert file.flushes == 1


def test_much_is_written_at_once(path: Path, file: LogFile) -> None:
    line = b"x" * 1023 + b"\n"
    for _ in range(FLUSH_AT_BYTES // len(line)):
        file.write(line)
    assert path.stat().st_size == FLUSH_AT_BYTES


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
    file.flush()
    assert (rotated.read_bytes(), path.read_bytes()) == (b"before\n", b"after\n")


def test_failed_reopen_keeps_the_old_file(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    file = LogFile(str(directory / "access.log"))
    moved = tmp_path / "moved"
    directory.rename(moved)
    with pytest.raises(OSError):
        file.reopen()
    file.write(b"still\n")
    file.close()
    assert (moved / "access.log").read_bytes() == b"still\n"


def test_path_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        LogFile(str(tmp_path / "no" / "such" / "directory"))


def fill(file: LogFile, line: bytes) -> int:
    """Write until the file drops an entry; how many were taken."""
    while not file.dropped:
        file.write(line)
    return file.entries


def test_full_pipe_never_blocks_and_drops_are_counted(standard_output: int) -> None:
    read_end, write_end = os.pipe()
    os.dup2(write_end, standard_output)
    file = LogFile("/dev/stdout")
    try:
        line = b"y" * 8191 + b"\n"
        taken = fill(file, line)
        assert file.waiting_bytes <= MAX_WAITING_BYTES
        os.set_blocking(read_end, False)
        received = bytearray()
        while len(received) < taken * len(line):
            received += os.read(read_end, 1 << 20)
            file.flush()
        assert received == line * taken  # whole entries, in order, none twice
        assert (file.waiting_bytes, file.write_failures) == (0, 0)
        # the program's own standard output is as it was
        assert os.get_blocking(write_end)
    finally:
        file.close()
        os.close(read_end)
        os.close(write_end)


def test_reader_that_is_gone_costs_the_entries_only(standard_output: int) -> None:
    read_end, write_end = os.pipe()
    os.dup2(write_end, standard_output)
    file = LogFile("/dev/stdout")
    os.close(read_end)
    file.write(b"one\n")
    file.write(b"two\n")
    file.flush()
    assert (file.write_failures, file.dropped, file.waiting_bytes) == (1, 2, 0)
    file.close()
    os.close(write_end)


def test_standard_output_may_be_a_socket(standard_output: int) -> None:
    ours, theirs = socket.socketpair()
    os.dup2(theirs.fileno(), standard_output)
    file = LogFile("/dev/stdout")
    with ours, theirs:
        taken = fill(file, b"z" * 8191 + b"\n")
        ours.setblocking(False)
        received = 0
        while received < taken * 8192:
            received += len(ours.recv(1 << 20))
            file.flush()
        assert os.get_blocking(theirs.fileno())
        file.close()


def test_standard_output_may_be_a_file_shared_with_others(path: Path, standard_output: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, standard_output)
    file = LogFile("/dev/stdout")
    file.write(b"log\n")
    file.flush()
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
    assert path.read_bytes() == b"a 200\nb 1.1.1.1:1\na 500\n"
