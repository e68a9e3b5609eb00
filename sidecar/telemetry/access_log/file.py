"""Access log entries to a file or standard stream: buffered, written on flush, never blocking traffic."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from typing import Final

from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.format import Renderer

#: Written at once when this much waits (Envoy's default buffer for a file).
FLUSH_AT_BYTES: Final = 64 * 1024
#: What may wait for a reader that does not keep up; beyond it, entries are dropped and counted.
MAX_WAITING_BYTES: Final = 4 * 1024 * 1024

_STANDARD_STREAMS: Final = {"/dev/stdout": 1, "/dev/stderr": 2}


class LogFile:
    """One path, shared by all loggers that write there. Opened for appending; raises OSError if that fails.

    Pipes and terminals are written without blocking: what they do not take stays in the buffer up to `MAX_WAITING_BYTES`.
    An entry is kept or dropped whole. `entries`, `dropped` and `write_failures` count, `flushes` counts system calls,
    `waiting_bytes` is what the buffer holds.
    """

    __slots__ = (
        "_descriptor",
        "_flush_at_bytes",
        "_lines",
        "_owned",
        "_remainder",
        "_write",
        "dropped",
        "entries",
        "flushes",
        "path",
        "waiting_bytes",
        "write_failures",
    )

    def __init__(self, path: str, flush_at_bytes: int = FLUSH_AT_BYTES) -> None:
        self.path = path
        self._flush_at_bytes = flush_at_bytes
        self._lines: list[bytes] = []
        self._remainder = b""  # the rest of a partial write: always first to go
        self.waiting_bytes = 0
        self.entries = 0
        self.dropped = 0
        self.flushes = 0
        self.write_failures = 0
        self._descriptor, self._owned = _open(path)
        self._write = _writer(self._descriptor)

    def write(self, line: bytes) -> None:
        """Take one entry."""
        waiting = self.waiting_bytes + len(line)
        if waiting > MAX_WAITING_BYTES:
            self.dropped += 1
            return
        self._lines.append(line)
        self.waiting_bytes = waiting
        self.entries += 1
        if waiting >= self._flush_at_bytes and not self._remainder:
            self.flush()

    def flush(self) -> None:
        """Write what waits, as far as the file takes it now."""
        if not self.waiting_bytes:
            return
        data = self._remainder + b"".join(self._lines)
        self._lines.clear()
        try:
            written = self._write(data)
            self.flushes += 1
        except BlockingIOError:
            written = 0
        except OSError:
            # a full disk or a closed pipe: these entries are lost, traffic goes on
            self.write_failures += 1
            self.dropped += data.count(b"\n")
            written = len(data)
        self._remainder = data[written:]
        self.waiting_bytes = len(self._remainder)

    def reopen(self) -> None:
        """Open the path anew, after log rotation. If that fails the old file stays in use and OSError is raised."""
        self.flush()
        if not self._owned:
            return
        descriptor, _ = _open(self.path)
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._write = _writer(descriptor)

    def close(self) -> None:
        """Write what can be written and let go; nothing may be written afterwards."""
        self.flush()
        self._lines.clear()
        self._remainder = b""
        self.waiting_bytes = 0
        if self._owned and self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def _open(path: str) -> tuple[int, bool]:
    """A descriptor, and whether it is ours to close."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    standard = _STANDARD_STREAMS.get(path)
    if standard is None:
        return os.open(path, flags, 0o644), True
    mode = os.fstat(standard).st_mode
    if stat.S_ISREG(mode) or stat.S_ISSOCK(mode):
        return standard, False  # a file: the offset must be shared with other writers
    # a description of its own: to make the shared one non-blocking would change it for other programs too
    return os.open(f"/proc/self/fd/{standard}", flags & ~os.O_CREAT), True


def _writer(descriptor: int) -> Callable[[bytes], int]:
    """Writes without blocking; raises OSError."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return lambda data: os.write(descriptor, data)

    def send(data: bytes) -> int:
        borrowed = socket.socket(fileno=descriptor)
        try:
            return borrowed.send(data, socket.MSG_DONTWAIT)
        finally:
            borrowed.detach()

    return send


class FileAccessLogger:
    """One configured file access log."""

    __slots__ = ("_file", "_render")

    def __init__(self, file: LogFile, render: Renderer) -> None:
        self._file = file
        self._render = render

    def log(self, info: StreamInfo) -> None:
        self._file.write(self._render(info))

    def flush(self) -> None:
        self._file.flush()
