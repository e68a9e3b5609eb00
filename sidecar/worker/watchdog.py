"""Counts when the event loop was late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.worker.part import ALONE
from stats.families import WatchdogStats

if TYPE_CHECKING:
    from sidecar.worker.part import Part
    from stats.store import Store

#: Envoy's defaults: a thread that has not moved for so long is a miss, or a big one.
MISS_S: Final = 0.2
MEGA_MISS_S: Final = 1.0


class Watchdog:
    """Of one process. A process alone is both Envoy's main thread and its worker."""

    def __init__(self, store: Store, part: Part = ALONE) -> None:
        names = []
        if part.is_main:
            names += ["main_thread", "server.main_thread"]
        if part.worker is not None:
            names += ["workers", f"server.worker_{part.worker}"]
        self._stats = [WatchdogStats(store.root.scope(name)) for name in names]

    def count(self, late_s: float) -> None:
        """`late_s`: how much later than wanted the loop came round."""
        if late_s < MISS_S:
            return
        for stats in self._stats:
            stats.watchdog_miss.inc()
            if late_s >= MEGA_MISS_S:
                stats.watchdog_mega_miss.inc()
