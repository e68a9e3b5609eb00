"""What main counts of its workers (not Envoy's: its workers are threads, and do not die alone)."""

from __future__ import annotations

from typing import ClassVar

from stats.family import Family
from stats.metrics import Counter, Gauge


class WorkerStats(Family):
    """`workers.`; only with more than one of them."""

    PER_PROCESS: ClassVar[frozenset[str]] = frozenset({"live"})

    live: Gauge
    restarts_total: Counter
