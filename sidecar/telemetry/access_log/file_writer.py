"""The thread of a log file: all system calls are its, so that neither a slow disk nor a reader that has stopped holds traffic up."""

from __future__ import annotations

import errno
import logging
import select
import time
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Final, TypeAlias

from sidecar.telemetry.access_log.descriptor import Descriptor

logger = logging.getLogger("sidecar.telemetry.access_log.file")  # the two are one component, `file`

#: How long the end waits for what is not written yet.
CLOSE_S: Final = 1.0
#: How often the thread looks whether it is to end, while a reader takes nothing.
_LOOK_UP_S: Final = 0.1

#: What the thread is told, in order: entries, or one of the others.
_Order: TypeAlias = list[bytes] | bool | None
_REOPEN: Final = True
_NOTHING: Final = False
_END: Final = None


class FileWriter:
    """One open path. Entries are written or dropped whole; one that is partly written is finished before anything else.

    Of the methods, those above the line are the loop's; they do not block, except for `join`. Attributes are the thread's, the
    loop may read them: `settled_bytes` are written or lost, `lost` entries, `flushes` (system calls that wrote something),
    `write_failures` and `reopen_failures`.
    """

    def __init__(self, path: str, beside_others: bool = False) -> None:
        """Raises OSError. The thread begins with the first entries.

        `beside_others`: other processes write there, too. A file takes a write in one piece; a pipe does when it is not longer than
        PIPE_BUF (pipe(7)), so entries go there in groups of that size. A longer entry may have others in it.
        """
        self._path: Final = path
        self._beside_others: Final = beside_others
        self._descriptor = Descriptor(path)
        self._thread: Thread | None = None
        self._orders: SimpleQueue[_Order] = SimpleQueue()
        self._handed_bytes = 0
        self._handed_entries = 0
        self._deadline_s: float | None = None  # on the monotonic clock, once it is to end
        self._rest = b""  # of the entry that is partly written
        self._failing = False
        self._settled_entries = 0
        self.settled_bytes = 0
        self.lost = 0
        self.flushes = 0
        self.write_failures = 0
        self.reopen_failures = 0

    def hand_over(self, entries: list[bytes], size: int) -> bool:
        """Whether they will be written; if not, the system has no thread for us now."""
        if not self._is_running():
            return False
        self._handed_bytes += size
        self._handed_entries += len(entries)
        self._orders.put(entries)
        return True

    def reopen(self) -> None:
        """After what was handed over, open the path anew. If that fails the old file stays in use."""
        if self._is_running():
            self._orders.put(_REOPEN)

    def finish(self) -> None:
        """Nothing more comes. `join` is to follow."""
        self._deadline_s = time.monotonic() + CLOSE_S
        self._orders.put(_END)

    def join(self) -> int:
        """Wait until all is written, `CLOSE_S` after `finish` at most. How many entries are held up even then."""
        if self._thread is None:
            self._descriptor.close()
            return 0
        self._thread.join(CLOSE_S + 2 * _LOOK_UP_S)
        held_up = self._handed_entries - self._settled_entries
        if held_up:
            logger.warning("access log %s: the last %d entries are lost", self._path, held_up)
        return held_up

    def _is_running(self) -> bool:
        """Begin the thread if need be. It is also gone in a child that was forked; what it had is its parent's to write."""
        if self._thread is not None and self._thread.is_alive():
            return True
        self._orders = SimpleQueue()
        self._rest = b""
        self.settled_bytes, self._settled_entries = self._handed_bytes, self._handed_entries
        thread = Thread(target=self._run, args=(self._orders,), name="access log", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._failed(str(error))
            return False
        self._thread = thread
        return True

    # ---- the thread's

    def _run(self, orders: SimpleQueue[_Order]) -> None:
        order: _Order = _NOTHING
        while order is not _END:
            order = orders.get()
            entries: list[bytes] = []
            while isinstance(order, list):
                entries += order
                order = _NOTHING if orders.empty() else orders.get()
            for group in self._groups(entries):
                self._put(group)
            if order is _REOPEN:
                self._open_anew()
        self._put([])
        self._give_up_rest()
        self._descriptor.close()

    def _groups(self, entries: list[bytes]) -> Iterator[list[bytes]]:
        """What is written in one piece."""
        if not self._beside_others or not self._descriptor.is_pipe:
            yield entries
            return
        group: list[bytes] = []
        size = 0
        for entry in entries:
            if group and size + len(entry) > select.PIPE_BUF:
                yield group
                group, size = [], 0
            group.append(entry)
            size += len(entry)
        yield group

    def _put(self, entries: list[bytes]) -> None:
        """Write all of them, or as many as go."""
        pieces = [self._rest, *entries] if self._rest else entries
        if not pieces:
            return
        before = self.settled_bytes - len(self._rest)
        data = memoryview(b"".join(pieces))
        at = 0
        try:
            while at < len(data):
                at += self._write(data[at:])
                self.settled_bytes = before + at
        except OSError as error:
            self.write_failures += 1
            self._lose(pieces, at)
            self._failed(error.strerror or str(error))
        else:
            self._rest = b""
            self._succeeded()
        self.settled_bytes = before + len(data)
        self._settled_entries += len(entries)

    def _write(self, data: memoryview) -> int:
        while True:
            try:
                written = self._descriptor.write(data)
            except BlockingIOError:
                if self._deadline_s is not None and time.monotonic() >= self._deadline_s:
                    raise TimeoutError(errno.ETIMEDOUT, "nobody reads it") from None
                self._descriptor.wait(_LOOK_UP_S)
            else:
                self.flushes += 1
                return written

    def _lose(self, pieces: list[bytes], at: int) -> None:
        """Only the first `at` bytes of `pieces` were written: the entry that ends there is to be finished, the others are lost."""
        whole = end = 0
        for piece in pieces:
            end += len(piece)
            if end > at:
                break
            whole += 1
        begun = at > end - len(piece) or (not whole and bool(self._rest))
        self._rest = piece[len(piece) - (end - at) :] if begun else b""
        self.lost += len(pieces) - whole - begun

    def _give_up_rest(self) -> None:
        if self._rest:
            self.lost += 1
            self._rest = b""

    def _open_anew(self) -> None:
        if self._descriptor.is_shared:
            return
        self._put([])
        try:
            descriptor = Descriptor(self._path)
        except OSError as error:
            self.reopen_failures += 1
            logger.error("cannot reopen %s: %s", self._path, error.strerror)
            return
        self._descriptor.close()
        self._descriptor = descriptor
        self._give_up_rest()

    def _failed(self, why: str) -> None:
        if not self._failing:
            self._failing = True
            logger.warning("cannot write access log %s, entries are dropped: %s", self._path, why)

    def _succeeded(self) -> None:
        if self._failing:
            self._failing = False
            logger.info("access log %s is written again, %d entries are lost", self._path, self.lost)
