"""Numbers that several processes have parts of, in shared memory: each writes its own part, and reads the sum.

A cell has one writer, and reading or writing it is one aligned access of 8 bytes, so there are neither locks nor torn values.
Between a look at the sum and a change of one's own part another process may change its own: a limit that is judged by the sum
may be exceeded by one for each other process, as between Envoy's threads.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

_CELL_BYTES: Final = 8


class SharedCount:
    """One number. `add` is for processes that have a part."""

    __slots__ = ("_cells", "_own", "_places")

    def __init__(self, cells: memoryview[int], places: range, own: int) -> None:
        self._cells = cells
        self._places = places
        self._own = own

    def add(self, amount: int) -> None:
        """To one's own part."""
        self._cells[self._own] += amount

    @property
    def total(self) -> int:
        cells = self._cells
        total = 0
        for place in self._places:
            total += cells[place]
        return total


class SharedCounts:
    """All of them. Every process asks for the same ones in the same order.

    `descriptor` is of a memory file (`new_memory`); `part`: of this process, None for one that only reads.
    """

    def __init__(self, descriptor: int, count: int, parts: int, part: int | None) -> None:
        memory = mmap.mmap(descriptor, max(1, count * parts) * _CELL_BYTES)
        self._cells: memoryview[int] = memoryview(memory).cast("B").cast("q")
        self._count = count
        self._parts = parts
        self._part = part
        self._next = 0

    def take(self) -> SharedCount:
        """The next one."""
        assert self._next < self._count, "as many as were said"
        first, self._next = self._next, self._next + 1
        places = range(first, self._count * self._parts, self._count)
        return SharedCount(self._cells, places, places[self._part or 0])

    def clear(self, part: int) -> None:
        """The process with this part has died: what it had is free."""
        begin = part * self._count
        for place in range(begin, begin + self._count):
            self._cells[place] = 0


def new_memory(count: int, parts: int) -> int:
    """The descriptor of a memory file, all zeros, for so many numbers of so many processes. Raises OSError."""
    descriptor = os.memfd_create("sidecar-counts")
    try:
        os.ftruncate(descriptor, max(1, count * parts) * _CELL_BYTES)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
