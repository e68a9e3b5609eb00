"""How much of each row is measured: for what measures it, and in words for the page."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tests.bench import facts, pair, rows, workers
from tests.bench.rows import HAPROXY, PURE, repetitions_of, seconds_of
from tests.bench.world import BULK_CONNECTIONS


@dataclass(frozen=True)
class Amount:
    """Of Envoy and of this proxy compiled; the others are measured less where nothing is aimed at (`rows.repetitions_of`)."""

    repetitions: int
    seconds: float
    """Whole ones: `wrk` knows no others."""
    connections: int

    def of(self, key: str) -> Amount:
        """Of one row, when this is what was asked for. Tables of many points get half of the seconds for each, rounded up."""
        half_s = math.ceil(self.seconds / 2)
        if key in (rows.TELEMETRY, rows.TELEMETRY_PACED):
            return replace(self, seconds=half_s)
        if key == rows.WORKERS:
            return replace(self, seconds=half_s, connections=self.connections * workers.TIMES_CONNECTIONS)
        if key == rows.PAIR:
            return replace(self, connections=pair.CONNECTIONS)
        if key.startswith("tcp_bulk"):
            return replace(self, connections=BULK_CONNECTIONS)
        return self

    def words(self, key: str) -> str:
        """How the row `key` is measured when this is what was asked for."""
        once = {
            rows.POD: f"once, {facts.IDLE_CONNECTIONS:,} connections",
            rows.MEMORY: f"once, {facts.REQUESTS:,} requests over {facts.CONNECTIONS} connections",
            rows.TLS_CONNECTIONS: f"once, {facts.IDLE_TLS_CONNECTIONS:,} connections",
        }
        if key in once:
            return once[key]
        if key == rows.START:
            return f"{self.repetitions} start{'s' if self.repetitions > 1 else ''} of each"
        own = self.of(key)
        said = f"{_times(own.repetitions, own.seconds)}, {own.connections} connections"
        if key == rows.PAIR:
            return f"{said}, {pair.PER_SECOND:g} requests per second, all as often"
        fewer = repetitions_of(PURE, own.repetitions)
        if key in rows.OTHERS:
            return said if fewer == own.repetitions else f"{said}; pure {_times(fewer, own.seconds)}"
        pure = _times(fewer, seconds_of(PURE, own.seconds))
        rest = _times(repetitions_of(HAPROXY, own.repetitions), seconds_of(HAPROXY, own.seconds))
        return f"{said}; pure and with Istio's metrics {pure}; HAProxy, nginx and direct {rest}"


def _times(repetitions: int, seconds: float) -> str:
    return f"{repetitions} repetition{'s' if repetitions > 1 else ''} of {seconds:g} s"
