"""Writes entries to a disk, in a thread: such a system call returns when the disk has the bytes, however long that takes."""

from __future__ import annotations

import logging
import time
from queue import SimpleQueue
from threading import Thread
from typing import Final

from sidecar.telemetry.access_log.entry_writer import EntryWriter

logger = logging.getLogger("sidecar.telemetry.access_log.file")

#: How often the thread looks whether it is to end, while a descriptor takes nothing.
_LOOK_UP_S: Final = 0.1


class ThreadDriver:
    """It writes to everything, so it stays when the path becomes something else. The thread begins with the first entries."""

    def __init__(self, writer: EntryWriter) -> None:
        self._writer: Final = writer
        self._runner: Thread | None = None
        self._wakings: SimpleQueue[None] = SimpleQueue()
        self._deadline_s: float | None = None  # once it is to end

    def wake(self) -> bool:
        """Whether what was added will be written; if not, the system has no thread for us now, and it waits for another call."""
        if self._runner is None or not self._runner.is_alive():
            self._wakings = SimpleQueue()
            runner = Thread(target=self._run, args=(self._wakings,), name="access log", daemon=True)
            try:
                runner.start()
            except RuntimeError as error:
                self._writer.failed(str(error))
                return False
            self._runner = runner
        self._wakings.put(None)
        return True

    def forked(self) -> None:
        """In a child, which has no threads."""
        self._runner = None

    def finish(self, deadline_s: float) -> None:
        """Nothing more comes; on the monotonic clock it is over then. `join` is to follow."""
        self._deadline_s = deadline_s
        if self._runner is not None or self._writer.has_orders:
            self._writer.add_end()
            self.wake()

    def join(self) -> int:
        """Wait until all is written, until the deadline at most. How many entries are held up even then."""
        if self._runner is None:
            self._writer.close()
        elif self._deadline_s is not None:
            self._runner.join(max(0.0, self._deadline_s - time.monotonic()) + 2 * _LOOK_UP_S)
        held_up = self._writer.waiting_entries
        if held_up:
            logger.warning("access log %s: the last %d entries are lost", self._writer.path, held_up)
        return held_up

    def _run(self, wakings: SimpleQueue[None]) -> None:
        """The thread."""
        writer = self._writer
        ends = False
        while not ends:
            wakings.get()
            ends = self._deadline_s is not None
            while not writer.write(may_wait=True):
                if self._deadline_s is not None and time.monotonic() >= self._deadline_s:
                    writer.give_up()
                else:
                    writer.descriptor.wait(_LOOK_UP_S)
        writer.close()
