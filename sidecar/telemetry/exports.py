"""What is on its way to collectors and log services: how much, and the end of the last of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from typing import Final

logger = logging.getLogger(__name__)

#: How long one may go unanswered where the configuration names no time: those without an end would take all places for ever.
DEFAULT_TIMEOUT_S: Final = 10.0


class ExportLog:
    """What the log says of the way to one collector: a line when exports begin to fail, and one when they are taken again."""

    __slots__ = ("_failures", "_what")

    def __init__(self, what: str, cluster_name: str) -> None:
        """`what` is sent, in the plural."""
        self._what: Final = f"{what} to cluster {cluster_name}"
        self._failures = 0

    def failed(self, why: str) -> None:
        if not self._failures:
            logger.warning("exports of %s fail, what they have is lost: %s", self._what, why)
        self._failures += 1

    def succeeded(self) -> None:
        if self._failures:
            logger.info("exports of %s are taken again, %d have failed", self._what, self._failures)
            self._failures = 0


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
