"""The values of many processes that come and go, as one source whose counters never go back.

What a process leaves when it ends is kept in a base, and so is what it takes off its list while others still have it. The base
of a series goes when nobody has it any more: at once when the last living process takes it off its list, and with `expire`
when only dead ones had it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Final, TypeVar

from stats.metrics import Counter, Histogram, StatKey
from stats.snapshot import Snapshot, StatsSource, merge, total_of

_S = TypeVar("_S", Counter, Histogram)


class Processes:
    """Keyed by whatever names a process for as long as it lives; a restarted one has a new key, or `ended` comes first."""

    def __init__(self) -> None:
        self._live: Final[dict[Hashable, Snapshot]] = {}
        self._base: Final = Snapshot()
        self._unused: set[StatKey] = set()

    def update(self, process: Hashable, values: Snapshot) -> None:
        """The values that a living process has now. They are kept: do not change them."""
        before = self._live.get(process)
        self._live[process] = values
        if before is not None:
            self._keep(before.counters, values.counters, self._base.counters, _counted)
            self._keep(before.histograms, values.histograms, self._base.histograms, _recorded)

    def _keep(
        self,
        before: Mapping[StatKey, _S],
        after: Mapping[StatKey, _S],
        base: dict[StatKey, _S],
        size: Callable[[_S], int],
    ) -> None:
        """Put into the base what a process has no more: a series that is gone, or one that has begun anew."""
        for key, stat in before.items():
            now = after.get(key)
            if now is None and not self._is_live(key):
                base.pop(key, None)
            elif now is None or size(now) < size(stat):
                known = base.get(key)
                base[key] = stat if known is None else total_of(known, stat)

    def _is_live(self, key: StatKey) -> bool:
        return any(key in table for table in self._tables())

    def _tables(self) -> Iterator[Mapping[StatKey, object]]:
        for values in self._live.values():
            yield values.counters
            yield values.histograms

    def ended(self, process: Hashable) -> None:
        """What it counted stays; its levels are gone. A process that never told anything leaves nothing."""
        last = self._live.pop(process, None)
        if last is not None:
            self._base.add_totals(last)

    def merged(self, *own: StatsSource) -> Snapshot:
        """All of them as one, and what the caller has of its `own`. Those that are late are as they were the last time."""
        return merge([*own, self._base, *self._live.values()])

    def expire(self, is_evictable: Callable[[Counter | Histogram], bool]) -> None:
        """Take off what only dead processes had, now and the last time that this was called. Once for each interval of expiry."""
        base: list[tuple[StatKey, Counter | Histogram]] = [
            *self._base.counters.items(),
            *self._base.histograms.items(),
        ]
        unused = {key for key, stat in base if is_evictable(stat) and not self._is_live(key)}
        for key in unused & self._unused:
            self._base.counters.pop(key, None)
            self._base.histograms.pop(key, None)
        self._unused = unused

    def reset_counters(self) -> None:
        """The processes were told to reset theirs (`/reset_counters`)."""
        for snapshot in (self._base, *self._live.values()):
            for counter in snapshot.counters.values():
                counter.value = 0


def _counted(counter: Counter) -> int:
    return counter.value


def _recorded(histogram: Histogram) -> int:
    return histogram.count
