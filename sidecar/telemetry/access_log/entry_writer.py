"""Entries on their way into an open path: what of them is written, what is lost. It waits for nothing: that is its drivers' part."""

from __future__ import annotations

import logging
import select
from collections import deque
from collections.abc import Iterator
from typing import Final

from sidecar.telemetry.access_log.descriptor import Descriptor

logger = logging.getLogger("sidecar.telemetry.access_log.file")  # they are one component, `file`

#: Waiting orders are carried out together up to this size.
_TOGETHER_BYTES: Final = 64 * 1024


class EntryWriter:
    """One open path. Entries are written or dropped whole; one that is partly written is finished before anything else.

    `add`, `add_reopening` and `add_end` are the loop's; what they add is done in order. `write` and what belongs to it are the
    driver's, which may be a thread; it changes the counters, and the loop may read them: `settled_bytes` are written or lost, as are
    `settled_entries`, of which `lost` are lost; `flushes` (system calls that wrote something), `write_failures`, `reopen_failures`.
    """

    def __init__(self, path: str, beside_others: bool = False) -> None:
        """Raises OSError.

        `beside_others`: other processes write there, too. A file takes a write in one piece; a pipe does when it is not longer than
        PIPE_BUF (pipe(7)), so entries go there in groups of that size. A longer entry may have others in it.
        """
        self.path: Final = path
        self._beside_others: Final = beside_others
        self.descriptor = Descriptor(path)
        self._orders: deque[list[bytes] | None] = (
            deque()
        )  # empty: finish what is begun; None: open the path anew
        self._added_bytes = 0
        self._added_entries = 0
        self._reopenings_added = 0
        self._reopenings_done = 0
        self._groups: Iterator[list[bytes]] = iter(())  # of the order that is carried out
        self._pieces: list[
            bytes
        ] = []  # of the group that is being written, after the rest of an entry if there is one
        self._data = memoryview(b"")  # the same in one piece
        self._written = 0  # of it
        self._begun_entries = 0
        self._begun_at = 0  # what was settled before it
        self._rest = b""  # of the entry that is partly written
        self._failing = False
        self.settled_bytes = 0
        self.settled_entries = 0
        self.lost = 0
        self.flushes = 0
        self.write_failures = 0
        self.reopen_failures = 0

    # ---- the loop's

    def add(self, entries: list[bytes], size: int) -> None:
        """Entries, together `size` bytes, to be written."""
        self._added_bytes += size
        self._added_entries += len(entries)
        self._orders.append(entries)

    def add_reopening(self) -> None:
        """After what was added, open the path anew. If that fails the old file stays in use."""
        self._reopenings_added += 1
        self._orders += ([], None)  # the rest of an entry belongs into the old file

    def add_end(self) -> None:
        """Nothing more comes."""
        self._orders.append([])

    @property
    def waiting_entries(self) -> int:
        return self._added_entries - self.settled_entries

    @property
    def has_orders(self) -> bool:
        """Whether something is to be done that nobody has begun."""
        return bool(self._orders)

    @property
    def will_reopen(self) -> bool:
        """Whether `write` may exchange `descriptor`."""
        return self._reopenings_added != self._reopenings_done

    def forget(self) -> None:
        """In a forked child: what waits is its parent's to write."""
        self._orders = deque()
        self._reopenings_done = self._reopenings_added
        self._groups = iter(())
        self._pieces = []
        self._rest = b""
        self.settled_bytes, self.settled_entries = self._added_bytes, self._added_entries

    # ---- the driver's

    def write(self, *, may_wait: bool) -> bool:
        """Write as much as goes; whether all is settled. False: the descriptor takes nothing now.

        Also False without `may_wait` when the descriptor is one that `waits`: nothing is tried then.
        """
        while True:
            if self.descriptor.waits and not may_wait:
                return not self._orders
            if self._pieces and not self._go_on():
                return False
            if not self._begin_next():
                return True

    def give_up(self) -> None:
        """Lose the group that is being written, because its time is up."""
        self._fail("nobody reads it")

    def close(self) -> None:
        """Harmless when it is closed. An entry that is partly written is lost."""
        self._give_up_rest()
        self.descriptor.close()

    def failed(self, why: str) -> None:
        """Say once that entries are not written."""
        if not self._failing:
            self._failing = True
            logger.warning("cannot write access log %s, entries are dropped: %s", self.path, why)

    def _begin_next(self) -> bool:
        """The next group, or reopening; False if there is none."""
        group = next(self._groups, None)
        if group is None and self._orders:
            order = self._orders.popleft()
            if order is None:
                self._open_anew()
                return True
            self._groups = self._grouped(self._with_more(order))
            group = next(self._groups, None)
        if group is None:
            return False
        self._begin(group)
        return True

    def _with_more(self, entries: list[bytes]) -> list[bytes]:
        """Few system calls for many small orders: after a reader has stopped, all of them come at once."""
        size = sum(map(len, entries))
        while size < _TOGETHER_BYTES and self._orders and (more := self._orders[0]):
            self._orders.popleft()
            entries += more
            size += sum(map(len, more))
        return entries

    def _grouped(self, entries: list[bytes]) -> Iterator[list[bytes]]:
        """What is written in one piece."""
        if not self._beside_others or not self.descriptor.is_pipe:
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

    def _begin(self, entries: list[bytes]) -> None:
        self._pieces = [self._rest, *entries] if self._rest else entries
        self._data = memoryview(b"".join(self._pieces))
        self._written = 0
        self._begun_entries = len(entries)
        self._begun_at = self.settled_bytes - len(self._rest)

    def _go_on(self) -> bool:
        """Write of the group what goes; whether it is settled."""
        try:
            while self._written < len(self._data):
                self._written += self.descriptor.write(self._data[self._written :])
                self.flushes += 1
                self.settled_bytes = self._begun_at + self._written
        except BlockingIOError:
            return False
        except OSError as error:
            self._fail(error.strerror or str(error))
            return True
        self._rest = b""
        self._settle()
        if self._failing:
            self._failing = False
            logger.info("access log %s is written again, %d entries are lost", self.path, self.lost)
        return True

    def _fail(self, why: str) -> None:
        self.write_failures += 1
        self._lose()
        self._settle()
        self.failed(why)

    def _lose(self) -> None:
        """Only a part of the group is written: the entry that it ends in is to be finished, the others are lost."""
        whole = end = 0
        piece = b""
        for piece in self._pieces:
            end += len(piece)
            if end > self._written:
                break
            whole += 1
        begun = self._written > end - len(piece) or (not whole and bool(self._rest))
        self._rest = piece[len(piece) - (end - self._written) :] if begun else b""
        self.lost += len(self._pieces) - whole - begun

    def _settle(self) -> None:
        self.settled_bytes = self._begun_at + len(self._data)
        self.settled_entries += self._begun_entries
        self._pieces = []
        self._data = memoryview(b"")

    def _give_up_rest(self) -> None:
        if self._rest:
            self.lost += 1
            self._rest = b""

    def _open_anew(self) -> None:
        self._reopenings_done += 1
        if self.descriptor.is_shared:
            return
        try:
            descriptor = Descriptor(self.path)
        except OSError as error:
            self.reopen_failures += 1
            logger.error("cannot reopen %s: %s", self.path, error.strerror)
            return
        self.descriptor.close()
        self.descriptor = descriptor
        self._give_up_rest()
