"""A byte pattern of any length that can be made and checked at any offset without keeping it."""

from __future__ import annotations

import random

PERIOD = 1 << 20
_BLOCK = random.Random(7).randbytes(PERIOD)
_TWICE = memoryview(_BLOCK + _BLOCK)


def piece(offset: int, size: int) -> memoryview:
    """The bytes [offset, offset + size) of the pattern; `size` at most `PERIOD`."""
    start = offset % PERIOD
    return _TWICE[start : start + size]


class PatternChecker:
    """Compares what arrives, in pieces of any size, with the pattern."""

    def __init__(self) -> None:
        self.received = 0
        self.first_difference: int | None = None
        """Offset of the first piece that differed."""

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            part, view = view[:PERIOD], view[PERIOD:]
            if self.first_difference is None and part != piece(self.received, len(part)):
                self.first_difference = self.received
            self.received += len(part)

    def is_exactly(self, size: int) -> bool:
        """Whether `size` bytes arrived and all were right."""
        return self.received == size and self.first_difference is None
