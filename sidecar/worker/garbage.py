"""When the cyclic garbage collector looks, and at how much at once.

Nearly everything is freed by its reference count; the collector finds what is left. It stops the loop while it looks, for as long
as there are objects to look at: some 50 ms when there are 100,000 series. So it never looks at what the configuration made, and at
everything else when the process has nothing to do, or when memory has grown. Young objects are looked at as always, some hundred
at a time; while a long page is made, which keeps lists of all series, often enough that few of these are young at once.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Final

#: Young objects that are made before the collector looks at them, and looks after which it looks at those of all of them: Python's own.
_YOUNG: Final = (700, 10)
#: So many times nobody looks at young objects: everything is never looked at unasked.
_NEVER: Final = 1_000_000_000

#: Pieces of a page between two looks at what is young, and looks between two at what is not quite as young.
_PIECES_A_LOOK: Final = 20
_LOOKS_A_LONGER: Final = 5

#: The process has nothing to do when it uses less of a processor than this: housekeeping, and a request now and then.
_IDLE_CPU: Final = 0.005
#: An idle process is looked through at most this often.
_IDLE_INTERVAL_S: Final = 60.0
#: A busy one when its memory has grown by this factor since the last time, and by so many bytes; a page that is made takes memory itself.
_GROWTH: Final = 1.5
_GROWTH_WITH_PAGES: Final = 4.0
_GROWTH_BYTES: Final = 32 * 1024 * 1024


class GarbageCollector:
    """Of this process. `look` is for housekeeping."""

    def __init__(self) -> None:
        self._pages = 0
        self._looked_s = self._seen_s = 0.0
        self._seen_cpu_s = 0.0
        self._memory_bytes = 0

    def settle(self) -> None:
        """The configuration is loaded: what is there stays for ever, the little of it that is garbage, too.

        To find that would hold the start up for 50 ms. Programs turn the collector off when they begin for the same reason.
        """
        gc.freeze()
        gc.set_threshold(*_YOUNG, _NEVER)
        gc.enable()

    def look(self, now_s: float, cpu_s: float, memory_bytes: int) -> bool:
        """Look at everything if it is time to, and say whether it was. Called about once a second.

        `now_s` is seconds on any clock, `cpu_s` what the process has used of a processor, `memory_bytes` what it holds.
        """
        is_idle = cpu_s - self._seen_cpu_s <= (now_s - self._seen_s) * _IDLE_CPU
        self._seen_s, self._seen_cpu_s = now_s, cpu_s
        if not self._memory_bytes:  # the first time: settled just now
            self._memory_bytes, self._looked_s = memory_bytes, now_s
        if not gc.get_count()[2]:
            return False  # nothing has grown old since
        growth = _GROWTH_WITH_PAGES if self._pages else _GROWTH
        has_grown = memory_bytes >= max(self._memory_bytes * growth, self._memory_bytes + _GROWTH_BYTES)
        if not has_grown and (not is_idle or self._pages or now_s - self._looked_s < _IDLE_INTERVAL_S):
            return False
        gc.collect()
        self._memory_bytes, self._looked_s = memory_bytes, now_s
        return True

    def in_pieces(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces of a long page, with pauses (b"") in which the collector looks at what they have left."""
        self._pages += 1
        try:
            for number, piece in enumerate(pieces, 1):
                yield piece
                if number % _PIECES_A_LOOK == 0:
                    gc.collect(0 if number % (_PIECES_A_LOOK * _LOOKS_A_LONGER) else 1)
                    yield b""
        finally:
            self._pages -= 1
