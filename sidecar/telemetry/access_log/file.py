"""Access log entries to a file or standard stream: gathered and written without ever holding traffic up."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Collection
from typing import Final

from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.entry_writer import EntryWriter
from sidecar.telemetry.access_log.loop_driver import LoopDriver, settle
from sidecar.telemetry.access_log.renderer import Renderer
from sidecar.telemetry.access_log.schedule import DOWNSTREAM_END
from sidecar.telemetry.access_log.thread_driver import ThreadDriver

logger = logging.getLogger(__name__)

#: Written at once when this much waits (Envoy's default buffer for a file).
FLUSH_AT_BYTES: Final = 64 * 1024
#: What may wait for a disk or reader that does not keep up; beyond it, entries are dropped and counted.
MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
#: Of so many requests that have ended the lines are made one after the other (see `Renderer`), unless less than so many bytes is to be
#: written at once.
LINES_TOGETHER: Final = 32
_TOGETHER_BYTES: Final = 32 * 1024
#: How long the end waits for what is not written yet. Not final, because tests have less time.
CLOSE_S = 1.0


class LogFile:
    """One path, shared by all loggers that write there. Opened for appending; raises OSError if that fails.

    An entry is kept or dropped whole, and all stay in the order in which they came. `entries` counts those taken, `waiting_bytes` is
    what is not written yet; those of requests that have ended belong to neither before `make_lines`. The loop itself writes where the kernel never makes it wait; what lies on a disk is written by a thread.
    """

    __slots__ = (
        "_closed",
        "_driver",
        "_ended",
        "_failed",
        "_finish_by_s",
        "_flush_at_bytes",
        "_full",
        "_handed_bytes",
        "_lines",
        "_lines_together",
        "_loop",
        "_process",
        "_refused",
        "_taken_bytes",
        "entries",
        "path",
        "writer",
    )

    def __init__(
        self,
        path: str,
        loop: asyncio.AbstractEventLoop,
        flush_at_bytes: int = FLUSH_AT_BYTES,
        *,
        beside_others: bool = False,
    ) -> None:
        """`beside_others`: other processes write there, too; lines stay whole."""
        self.path: Final = path
        self.writer: Final = EntryWriter(path, beside_others)
        self._driver: LoopDriver | ThreadDriver
        if self.writer.descriptor.waits:
            self._driver = ThreadDriver(self.writer)
        else:
            self._driver = LoopDriver(self.writer, loop, self._on_disk)
        self._process = os.getpid()
        self._loop = loop
        self._flush_at_bytes: Final = flush_at_bytes
        self._lines_together: Final = LINES_TOGETHER if flush_at_bytes >= _TOGETHER_BYTES else 1
        self._ended: list[tuple[Renderer, StreamInfo, list[bytes]]] = []
        self._lines: list[bytes] = []
        self._taken_bytes = 0
        self._handed_bytes = 0
        self._refused = 0
        self._failed: set[int] = set()  # renderers, by id: nobody lets go of one
        self._full = False
        self._finish_by_s: float | None = None
        self._closed = False
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
        self.make_lines()
        self._take(line)

    def write_ended(self, render: Renderer, info: StreamInfo) -> None:
        """Take the entry of a request that has ended."""
        self._ended.append((render, info, render.note(info)))
        if len(self._ended) >= self._lines_together:
            self.make_lines()

    def make_lines(self) -> None:
        """Of the requests that have ended. An entry that cannot be made costs no other."""
        if not self._ended:
            return
        ended, self._ended = self._ended, []
        for render, info, noted in ended:
            try:
                line = render.finish(info, noted)
            except Exception as error:
                self._report(render, error)
            else:
                self._take(line)

    def _report(self, failed: Renderer, error: Exception) -> None:
        """As `LogSchedule` does: counted each time, logged once."""
        known = id(failed) in self._failed
        self._failed.add(id(failed))
        self._loop.call_exception_handler(
            {"message": "an access log failed", "exception": error, "known": known}
        )

    def _take(self, line: bytes) -> None:
        if self._closed:
            self._refused += 1
            return
        taken = self._taken_bytes + len(line)
        if taken - self.writer.settled_bytes > MAX_WAITING_BYTES:
            self._refuse()
            return
        self._lines.append(line)
        self._taken_bytes = taken
        self.entries += 1
        if taken - self._handed_bytes >= self._flush_at_bytes:
            self._hand_over()

    def _refuse(self) -> None:
        self._refused += 1
        if not self._full:
            self._full = True
            logger.warning("access log %s takes less than there is, entries are dropped", self.path)

    def flush(self) -> bool:
        """Let what waits be written; whether there was anything."""
        self.make_lines()
        if self._full and self.waiting_bytes <= MAX_WAITING_BYTES // 2:
            self._full = False
            logger.info("access log %s keeps up again, %d entries are lost", self.path, self.dropped)
        return self._hand_over()

    def _hand_over(self) -> bool:
        if not self._lines or self._closed:
            return False
        self._look_for_fork()
        self.writer.add(self._lines, self._taken_bytes - self._handed_bytes)
        self._lines = []
        self._handed_bytes = self._taken_bytes
        return self._driver.wake()

    def reopen(self) -> None:
        """Open the path anew, after log rotation: what was logged until now still goes to the old file."""
        if self._closed:
            return
        self.flush()
        self._look_for_fork()
        self.writer.add_reopening()
        self._driver.wake()

    def close(self) -> None:
        """As `close_files`, of this one."""
        close_files((self,))

    def _look_for_fork(self) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self.writer.forget()
            self._driver.forked()

    def _on_disk(self) -> None:
        """Reopening has found a file where there was none."""
        self._driver = driver = ThreadDriver(self.writer)
        if self._finish_by_s is not None:
            driver.finish(self._finish_by_s)
        else:
            driver.wake()

    def finish(self, by_s: float) -> LoopDriver | None:
        """Of `close_files`: nothing more will be logged, and `by_s` the end is over. Who has to be waited for here."""
        if self._closed:
            return None
        self.flush()
        self._look_for_fork()
        self._finish_by_s = by_s
        driver = self._driver
        if isinstance(driver, LoopDriver):
            driver.finish()
            return driver
        driver.finish(by_s)
        return None

    def join(self) -> None:
        """Of `close_files`: the end, after all have written."""
        if self._closed:
            return
        self._closed = True
        if isinstance(self._driver, ThreadDriver):
            self._refused += self._driver.join()
        else:
            self.writer.close()


def close_files(files: Collection[LogFile]) -> None:
    """Wait for what is not written yet, for all together a second at most; what is lost then is counted and logged."""
    by_s = time.monotonic() + CLOSE_S
    on_loop = [driver for file in files if (driver := file.finish(by_s)) is not None]
    settle(on_loop, by_s)
    for file in files:
        file.join()


class FileAccessLogger:
    """One configured file access log."""

    __slots__ = ("_file", "_render")

    def __init__(self, file: LogFile, render: Renderer) -> None:
        self._file = file
        self._render = render

    def log(self, info: StreamInfo) -> None:
        if info.log_type == DOWNSTREAM_END:
            self._file.write_ended(self._render, info)
        else:
            self._file.write(self._render(info))

    def flush(self) -> None:
        self._file.flush()
