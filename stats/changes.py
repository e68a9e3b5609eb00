"""What has changed in a store since the last look: what a process tells another of its values, again and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Final, TypeVar

from stats.metrics import Counter, Gauge, Histogram, StatKey, TextReadout
from stats.snapshot import Snapshot, StatsSource

_S = TypeVar("_S", Counter, Gauge, Histogram, TextReadout)
_Marks = dict[StatKey, object]


@dataclass(slots=True)
class Changes:
    """`values`: those that are new or not what they were, whole. `gone`: keys of those that are listed no more."""

    values: Snapshot = field(default_factory=Snapshot)
    gone: tuple[StatKey, ...] = ()


class ChangeLog:
    """Remembers of each used stat what was told last. What the store has when this is made counts as told."""

    def __init__(self, source: StatsSource) -> None:
        self._source = source
        self._counters: Final[_Marks] = {}
        self._gauges: Final[_Marks] = {}
        self._histograms: Final[_Marks] = {}
        self._texts: Final[_Marks] = {}
        self.take()

    def take(self) -> Changes:
        """What has changed since the last time. The values are copies."""
        source = self._source
        values = Snapshot(
            _changed(source.counters, self._counters, _value),
            _changed(source.gauges, self._gauges, _value),
            _changed(source.histograms, self._histograms, _count),
            _changed(source.text_readouts, self._texts, _text),
        )
        gone = (
            *_gone(source.counters, self._counters),
            *_gone(source.gauges, self._gauges),
            *_gone(source.histograms, self._histograms),
            *_gone(source.text_readouts, self._texts),
        )
        return Changes(values, gone)

    def counters_were_reset(self) -> None:
        """Tell all of them again: who is told may have missed some."""
        for key in self._counters:
            self._counters[key] = None


def apply(known: Snapshot, changes: Changes) -> Snapshot:
    """A new snapshot: what was known before, with the changes."""
    values = changes.values
    after = Snapshot(
        known.counters | values.counters,
        known.gauges | values.gauges,
        known.histograms | values.histograms,
        known.text_readouts | values.text_readouts,
    )
    for key in changes.gone:
        for table in (after.counters, after.gauges, after.histograms, after.text_readouts):
            table.pop(key, None)
    return after


def _changed(table: Mapping[StatKey, _S], told: _Marks, mark: Callable[[_S], object]) -> dict[StatKey, _S]:
    changed = {}
    for key, stat in table.items():
        if stat.used and told.get(key) != (now := mark(stat)):
            told[key] = now
            changed[key] = copy(stat)
    return changed


def _gone(table: Mapping[StatKey, object], told: _Marks) -> list[StatKey]:
    gone = [key for key in told if key not in table]
    for key in gone:
        del told[key]
    return gone


def _value(stat: Counter | Gauge) -> object:
    return stat.value


def _count(stat: Histogram) -> object:
    """One that has begun anew may have come to the same count."""
    return stat, stat.count


def _text(stat: TextReadout) -> object:
    return stat.value
