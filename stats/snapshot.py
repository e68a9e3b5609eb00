"""Values of many processes as one: copies of the handles, their sum, and what dead processes left.

Renderers take a `StatsSource`: a `Store` as it is, or a `Snapshot` of several.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Protocol, TypeVar

import msgspec

from stats.metrics import Counter, Exemplar, Gauge, Histogram, StatKey, TextReadout

_S = TypeVar("_S", Counter, Gauge, Histogram, TextReadout)


class StatsSource(Protocol):
    """Something with stats."""

    @property
    def counters(self) -> Mapping[StatKey, Counter]: ...

    @property
    def gauges(self) -> Mapping[StatKey, Gauge]: ...

    @property
    def histograms(self) -> Mapping[StatKey, Histogram]: ...

    @property
    def text_readouts(self) -> Mapping[StatKey, TextReadout]: ...


class Snapshot(msgspec.Struct):
    """Plain values, apart from any store; can be pickled."""

    counters: dict[StatKey, Counter] = msgspec.field(default_factory=dict)
    gauges: dict[StatKey, Gauge] = msgspec.field(default_factory=dict)
    histograms: dict[StatKey, Histogram] = msgspec.field(default_factory=dict)
    text_readouts: dict[StatKey, TextReadout] = msgspec.field(default_factory=dict)

    def add(self, source: StatsSource) -> None:
        """Add the values of one more process.

        Counters and histograms are added up. Gauges too, unless they are per process: then the first one's value
        counts, as the first text does.
        """
        self.add_totals(source)
        _add_all(self.gauges, source.gauges)
        _add_all(self.text_readouts, source.text_readouts)

    def add_totals(self, source: StatsSource) -> None:
        """Add what a dead process leaves: its counters and histograms. Its levels are gone."""
        _add_all(self.counters, source.counters)
        _add_all(self.histograms, source.histograms)


def _add_all(mine: dict[StatKey, _S], others: Mapping[StatKey, _S]) -> None:
    for name, other in others.items():
        known = mine.get(name)
        mine[name] = copy(other) if known is None else total_of(known, other)


def total_of(first: _S, second: _S) -> _S:
    """A new stat with the name of `first` and the values of both."""
    total = copy(first)
    total.used = first.used or second.used
    if isinstance(total, Counter) and isinstance(second, Counter):
        total.value += second.value
    elif isinstance(total, Gauge) and isinstance(second, Gauge):
        if not (first.used and total.per_process):
            total.value += second.value
    elif isinstance(total, TextReadout) and isinstance(second, TextReadout):
        if not first.used:
            total.value = second.value
    elif isinstance(total, Histogram) and isinstance(second, Histogram) and total.bounds == second.bounds:
        if second.fine is not None:
            total.keep_fine()
        # All processes have the bounds of one bootstrap; others could not be added.
        total.add(second)
        total.exemplars = _newest(total.exemplars, second.exemplars)
        _add_fine(total, second)
    return total


def _newest(
    first: list[Exemplar | None] | None, second: list[Exemplar | None] | None
) -> list[Exemplar | None] | None:
    if first is None or second is None:
        return list(second) if second is not None else first
    return [
        mine if other is None or (mine is not None and mine.time_s >= other.time_s) else other
        for mine, other in zip(first, second, strict=True)
    ]


def _add_fine(total: Histogram, second: Histogram) -> None:
    """If one of both has fine buckets, the sum has; `total.keep_fine` has been called then."""
    if total.fine is None:
        return
    if second.fine is None:
        second = copy(second)
        second.keep_fine()
    for at, count in (second.fine or {}).items():
        total.fine[at] = total.fine.get(at, 0) + count


def take(source: StatsSource) -> Snapshot:
    """A copy of all values as they are now."""
    return merge((source,))


def merge(sources: Iterable[StatsSource]) -> Snapshot:
    """All processes as one. Give the totals of dead ones too, so that counters never go back."""
    merged = Snapshot()
    for source in sources:
        merged.add(source)
    return merged
