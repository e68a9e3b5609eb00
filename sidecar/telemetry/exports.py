"""What is on its way to collectors and log services: how much, and the end of the last of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import Final


class Exports:
    """Counts those of one sender that nobody has answered yet; they are no more than `limit`."""

    __slots__ = ("_count", "_limit", "_on_idle")

    def __init__(self, limit: int) -> None:
        self._limit: Final = limit
        self._count = 0
        self._on_idle: Callable[[], None] | None = None

    def begin(self) -> bool:
        """Whether there is room for one more; then it counts."""
        if self._count >= self._limit:
            return False
        self._count += 1
        return True

    def end(self) -> None:
        """One is over. `tell_idle` is to follow."""
        self._count -= 1

    @property
    def is_closing(self) -> bool:
        """Somebody waits for the last one."""
        return self._on_idle is not None

    def close(self, on_idle: Callable[[], None]) -> None:
        """From now on `on_idle` waits for the last one. `tell_idle` is to follow."""
        self._on_idle = on_idle

    def tell_idle(self) -> None:
        """If nothing is under way: say so to who waits for it, once."""
        if not self._count and self._on_idle is not None:
            on_idle, self._on_idle = self._on_idle, None
            on_idle()


async def close_all(closes: Collection[Callable[[Callable[[], None]], None]], timeout_s: float) -> None:
    """Call each of `closes`, and wait until all have called what they were given, `timeout_s` at most."""
    busy = len(closes)
    if not busy:
        return
    idle = asyncio.Event()

    def on_idle() -> None:
        nonlocal busy
        busy -= 1
        if not busy:
            idle.set()

    for close in closes:
        close(on_idle)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(idle.wait(), timeout_s)
