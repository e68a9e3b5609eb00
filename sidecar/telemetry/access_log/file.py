"""Access log entries to a file or standard stream: gathered on the loop, written by a thread, never blocking traffic."""

from __future__ import annotations

import logging
from typing import Final

from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.file_writer import FileWriter
from sidecar.telemetry.access_log.format import Renderer

logger = logging.getLogger(__name__)

#: Handed to the thread at once when this much waits (Envoy's default buffer for a file).
FLUSH_AT_BYTES: Final = 64 * 1024
#: What may wait for a disk or reader that does not keep up; beyond it, entries are dropped and counted.
MAX_WAITING_BYTES: Final = 4 * 1024 * 1024


class LogFile:
    """One path, shared by all loggers that write there. Opened for appending; raises OSError if that fails.

    An entry is kept or dropped whole. `entries` counts those taken, `waiting_bytes` is what is not written yet, here or with the thread.
    """

    __slots__ = (
        "_closed",
        "_finished",
        "_flush_at_bytes",
        "_full",
        "_handed_bytes",
        "_lines",
        "_refused",
        "_taken_bytes",
        "entries",
        "path",
        "writer",
    )

    def __init__(
        self, path: str, flush_at_bytes: int = FLUSH_AT_BYTES, *, beside_others: bool = False
    ) -> None:
        """`beside_others`: other processes write there, too; lines stay whole."""
        self.path: Final = path
        self.writer: Final = FileWriter(path, beside_others)
        self._flush_at_bytes: Final = flush_at_bytes
        self._lines: list[bytes] = []
        self._taken_bytes = 0
        self._handed_bytes = 0
        self._refused = 0
        self._full = False
        self._finished = self._closed = False
        self.entries = 0

    @property
    def waiting_bytes(self) -> int:
        return self._taken_bytes - self.writer.settled_bytes

    @property
    def dropped(self) -> int:
        """Entries that were not taken, or taken and lost."""
        return self._refused + self.writer.lost

    def write(self, line: bytes) -> None:
        """Take one entry."""
        taken = self._taken_bytes + len(line)
        if taken - self.writer.settled_bytes > MAX_WAITING_BYTES:
            self._refuse()
            return
        self._lines.append(line)
        self._taken_bytes = taken
        self.entries += 1
        if taken - self._handed_bytes >= self._flush_at_bytes:
            self.flush()

    def _refuse(self) -> None:
        self._refused += 1
        if not self._full:
            self._full = True
            logger.warning("access log %s takes less than there is, entries are dropped", self.path)

    def flush(self) -> bool:
        """Let what waits be written; whether there was anything."""
        if self._full and self.waiting_bytes <= MAX_WAITING_BYTES // 2:
            self._full = False
            logger.info("access log %s keeps up again, %d entries are lost", self.path, self.dropped)
        size = self._taken_bytes - self._handed_bytes
        if not self._lines or not self.writer.hand_over(self._lines, size):
            return False
        self._lines = []
        self._handed_bytes = self._taken_bytes
        return True

    def reopen(self) -> None:
        """Open the path anew, after log rotation: what was logged until now still goes to the old file."""
        self.flush()
        self.writer.reopen()

    def finish(self) -> None:
        """Nothing more will be logged. `close` is to follow; files that end together wait together."""
        if not self._finished:
            self._finished = True
            self.flush()
            self._refused += len(self._lines)
            self.writer.finish()

    def close(self) -> None:
        """Wait for what is not written yet, a second at most; what is lost then is counted and logged."""
        self.finish()
        if not self._closed:
            self._closed = True
            self._refused += self.writer.join()


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
