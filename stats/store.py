"""`Store` and `Scope`: get-or-create by name; names get their tags here, once, at creation.

A *scope* is a name prefix and the set of stats that somebody made through it. Two scopes may share a stat; it is listed until the
last of them is retired. Of scopes whose stats may be evicted there is one for each prefix, because the mark that a stat is in use is
the stat's: two sweeps of the same stats would each take the mark of the other.

Names are built once, at configuration time; the data path only sees handles. A stat is kept by its full name, one with given
tags by its name and its tags: joined to a full name, values with dots in them could make two of them one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeVar, cast

from stats.ceiling import MAX_SERIES, SeriesCeiling
from stats.metrics import (
    DEFAULT_BUCKETS,
    USED_BEFORE,
    Counter,
    Gauge,
    Histogram,
    HistogramListener,
    StatKey,
    Tags,
    TextReadout,
)

#: full stat name -> (tag-extracted name, tags). See `stats.tags`.
TagExtractor = Callable[[str], tuple[str, Tags]]

#: So many stats are looked at in one step of a sweep.
_SWEEP_STATS: Final = 500

Stat = Counter | Gauge | Histogram | TextReadout
_S = TypeVar("_S", Counter, Gauge, Histogram, TextReadout)


def no_tags(name: str) -> tuple[str, Tags]:
    """The extractor that finds no tag in any name."""
    return name, ()


def accept_all(_name: str) -> bool:
    """The `rejects` that rejects nothing."""
    return False


def default_bounds(_name: str) -> tuple[float, ...]:
    """The `bounds_for` without settings: Envoy's default bounds."""
    return DEFAULT_BUCKETS


def sanitize(name: str) -> str:
    """A configured name as a part of a stat name, as Envoy cleans it: no colon, no NUL, no dot at either end.

    `://` and `:/` become one `_`. So `0.0.0.0:80` is `0.0.0.0_80`, and `[::1]:80` is `[__1]_80`.
    """
    if name.endswith("."):
        name = name[:-1]
    if name.startswith("."):
        name = name[1:]
    if ":" in name:
        name = name.replace("://", "_").replace(":/", "_").replace(":", "_")
    return name.replace("\0", "_") if "\0" in name else name


class Store:
    """Every stat of this process, by kind and full name.

    `extract` cuts tags out of a name (`stats.tags`). `rejects` is the stats matcher: what it rejects is never listed, but
    whoever asks for it still gets a handle that counts. `bounds_for` gives the bounds of a histogram by its full name.
    """

    __slots__ = (
        "_bounds_for",
        "_evictable",
        "_extract",
        "_listener",
        "_rejects",
        "_shared",
        "ceiling",
        "counters",
        "gauges",
        "histograms",
        "root",
        "series",
        "text_readouts",
    )

    def __init__(
        self,
        extract: TagExtractor = no_tags,
        rejects: Callable[[str], bool] = accept_all,
        bounds_for: Callable[[str], tuple[float, ...]] = default_bounds,
        max_series: int = MAX_SERIES,
    ) -> None:
        self._extract = extract
        self._rejects = rejects
        self._bounds_for = bounds_for
        self._listener: HistogramListener | None = None
        #: id of a stat -> how many scopes hold it, where more than one
        self._shared: Final[dict[int, int]] = {}
        #: by prefix
        self._evictable: Final[dict[str, Scope]] = {}
        #: for whoever makes series whose tags clients choose
        self.ceiling: Final = SeriesCeiling(max_series)
        #: tag-extracted name of a metric with given tags -> tags of its series, those that `rejects` rejects included; for reading only
        self.series: Final[dict[str, set[Tags]]] = {}
        #: for reading only
        self.counters: Final[dict[StatKey, Counter]] = {}
        self.gauges: Final[dict[StatKey, Gauge]] = {}
        self.histograms: Final[dict[StatKey, Histogram]] = {}
        self.text_readouts: Final[dict[StatKey, TextReadout]] = {}
        self.root: Final = Scope(self, "")

    def scope(self, prefix: str, verbatim: bool = False) -> Scope:
        """A new scope; see `Scope.scope`."""
        return self.root.scope(prefix, verbatim)

    def __iter__(self) -> Iterator[Stat]:
        """Every listed stat, kind by kind; a snapshot, so stats may come and go meanwhile."""
        yield from tuple(self.counters.values())
        yield from tuple(self.gauges.values())
        yield from tuple(self.text_readouts.values())
        yield from tuple(self.histograms.values())

    def find(self, name: StatKey) -> Stat | None:
        """A listed stat."""
        return (
            self.counters.get(name)
            or self.gauges.get(name)
            or self.histograms.get(name)
            or self.text_readouts.get(name)
        )

    @property
    def evictable(self) -> tuple[Scope, ...]:
        """The scopes whose stats may be taken off the list when nobody uses them."""
        return tuple(self._evictable.values())

    def evict_unused(self) -> None:
        """`Scope.evict_unused` for every scope that is evictable."""
        for scope in self.evictable:
            scope.evict_unused()

    def watch_histograms(self, listener: HistogramListener) -> None:
        """Tell `listener` each value that is recorded from now on, also in histograms that are not made yet."""
        self._listener = listener
        for histogram in self.histograms.values():
            histogram.listen(listener)

    def reset_counters(self) -> None:
        """Admin `/reset_counters`: all counters back to 0; they stay used, as in Envoy. Histograms go on."""
        for counter in self.counters.values():
            counter.value = 0

    def _hold(self, stat: Stat) -> None:
        key = id(stat)
        self._shared[key] = self._shared.get(key, 1) + 1

    def _release(self, key: StatKey, stat: Stat) -> None:
        holders = self._shared.get(id(stat), 1) - 1
        if holders > 1:
            self._shared[id(stat)] = holders
            return
        if self._shared.pop(id(stat), None) is not None:
            return
        in_use = self.series.get(stat.tag_extracted_name)
        if in_use is not None:
            in_use.discard(stat.tags)
            if not in_use:
                del self.series[stat.tag_extracted_name]
        tables: tuple[dict[StatKey, Any], ...] = (
            self.counters,
            self.gauges,
            self.histograms,
            self.text_readouts,
        )
        for table in tables:
            if table.get(key) is stat:
                del table[key]

    def _evictable_scope(self, prefix: str) -> Scope:
        """The one of that prefix, for one more who counts in it."""
        scope = self._evictable.get(prefix)
        if scope is None:
            scope = self._evictable[prefix] = Scope(self, prefix)
        else:
            scope.holders += 1
        return scope


class Rotation(NamedTuple):
    """Every `interval_s` a new time begins; what was not used in its first `graceful_s` is taken off the list then."""

    interval_s: float
    graceful_s: float

    def or_slower(self, other: Rotation | None) -> Rotation:
        """One for all who count in the same stats: nobody loses earlier what it uses than it was told."""
        if other is None:
            return self
        return Rotation(max(self.interval_s, other.interval_s), max(self.graceful_s, other.graceful_s))


class Scope:
    """A name prefix. Stats made through a scope live until the scope is retired (the root scope never is)."""

    __slots__ = ("_children", "_own", "_parent", "generation", "holders", "prefix", "rotation", "store")

    def __init__(self, store: Store, prefix: str, parent: Scope | None = None) -> None:
        self.store: Final = store
        self.prefix: Final = prefix  # "" or with a dot at its end
        self._parent = parent
        self._children: list[Scope] = []
        self._own: Final[dict[type[Stat], dict[StatKey, Stat]]] = {}
        #: those who asked for it and have not retired it
        self.holders = 1
        self.generation = 0
        #: None: swept when the others are
        self.rotation: Rotation | None = None

    def scope(self, name: str, verbatim: bool = False, *, evictable: bool = False) -> Scope:
        """A scope below this one, retired with it. `name` is cleaned by `sanitize`.

        `evictable` (below the root only): see `sweep`. Whoever asks for the same prefix gets the same scope.

        `verbatim` keeps colons: Envoy cleans the prefixes of listeners, connection managers and clusters, but not those of
        some HTTP filters, so the router counts in `http.a:b.` where the connection manager counts in `http.a_b.`.
        """
        clean = name.removesuffix(".") if verbatim else sanitize(name)
        parent = None if self is self.store.root else self
        prefix = f"{self.prefix}{clean}." if clean else self.prefix
        if evictable:
            assert parent is None, "it is shared, so it cannot be retired with one of its parents"
            return self.store._evictable_scope(prefix)
        child = Scope(self.store, prefix, parent)
        if parent is not None:
            self._children.append(child)
        return child

    def counter(self, name: str) -> Counter:
        return self._obtain(Counter, self.store.counters, name, None, Counter)

    def gauge(self, name: str, per_process: bool = False) -> Gauge:
        """`per_process`: the levels of several processes are not added up, the first one's counts."""
        return self.tagged_gauge(name, None, per_process)

    def histogram(self, name: str, unit: str = "") -> Histogram:
        """`unit`: "ms", "bytes" or "" (a plain number)."""
        return self.tagged_histogram(name, None, unit)

    def text_readout(self, name: str) -> TextReadout:
        return self._obtain(TextReadout, self.store.text_readouts, name, None, TextReadout)

    def tagged_counter(self, name: str, tags: Tags | None) -> Counter:
        """A counter whose tags are given, not found: its full name is `name` and `.label.value` for each tag."""
        return self._obtain(Counter, self.store.counters, name, tags, Counter)

    def tagged_gauge(self, name: str, tags: Tags | None, per_process: bool = False) -> Gauge:
        """See `tagged_counter`."""

        def make(full: str, extracted: str, found: Tags) -> Gauge:
            return Gauge(full, extracted, found, per_process)

        return self._obtain(Gauge, self.store.gauges, name, tags, make)

    def tagged_histogram(self, name: str, tags: Tags | None, unit: str = "") -> Histogram:
        """See `tagged_counter`."""

        def make(full: str, extracted: str, found: Tags) -> Histogram:
            histogram = Histogram(full, extracted, found, self.store._bounds_for(full), unit)
            if self.store._listener is not None and not self.store._rejects(full):
                histogram.listen(self.store._listener)
            return histogram

        return self._obtain(Histogram, self.store.histograms, name, tags, make)

    def _obtain(
        self,
        kind: type[_S],
        table: dict[StatKey, _S],
        name: str,
        tags: Tags | None,
        make: Callable[[str, str, Tags], _S],
    ) -> _S:
        base = self.prefix + name
        key: StatKey
        if tags is None:
            key = base
        else:
            base = sys.intern(base)  # all series of a metric have it
            key = base, tags
        mine = self._own.get(kind)
        if mine is None:
            mine = self._own[kind] = {}
        own = mine.get(key)
        if own is not None:
            return cast(_S, own)
        stat = table.get(key)
        if stat is not None:
            self.store._hold(stat)
        else:
            stat = self._make(table, key, base, tags, make)
        mine[key] = stat
        return stat

    def _make(
        self,
        table: dict[StatKey, _S],
        key: StatKey,
        base: str,
        tags: Tags | None,
        make: Callable[[str, str, Tags], _S],
    ) -> _S:
        store = self.store
        if tags is None:
            full = base
            stat = make(full, *store._extract(full))
        else:
            full = base + "".join([f".{label}.{value}" for label, value in tags])
            stat = make(full, base, tags)
            store.series.setdefault(base, set()).add(tags)
        if not store._rejects(full):
            table[key] = stat
        return stat

    def retire(self) -> None:
        """The thing counted is gone: take its stats, and those of the scopes below, off the list. Handles still work.

        Of an evictable scope that others count in nothing is taken off: what nobody uses any more is evicted in time.
        """
        if self.holders > 1:
            self.holders -= 1
            return
        if self._parent is not None:
            self._parent._children.remove(self)
            self._parent = None
        for child in tuple(self._children):
            child.retire()
        for own in self._own.values():
            for key, stat in own.items():
                self.store._release(key, stat)
            own.clear()  # a sweep may be at it
        if self.store._evictable.get(self.prefix) is self:
            del self.store._evictable[self.prefix]

    def forget_use(self) -> None:
        """From now on it counts whether a stat is used."""
        for own in self._own.values():
            for stat in own.values():
                if stat.used:
                    stat.used = USED_BEFORE

    def evict_unused(self) -> None:
        """`sweep`, all at once."""
        for _ in self.sweep():
            pass

    def sweep(self) -> Iterator[None]:
        """Take off the list what was not touched since the last sweep (or `forget_use`), some stats at each step.

        The `used` mark is the memory between two sweeps; but for `usedonly` what was used stays used. What others hold is to be asked for anew when
        `generation` has gone up.
        """
        for own in tuple(self._own.values()):
            keys = list(own)
            for begin in range(0, len(keys), _SWEEP_STATS):
                if self._sweep_some(own, keys[begin : begin + _SWEEP_STATS]):
                    self.generation += 1
                yield

    def _sweep_some(self, own: dict[StatKey, Stat], keys: list[StatKey]) -> bool:
        """Whether there was something to evict."""
        evicted = False
        for key in keys:
            stat = own.get(key)
            if stat is None:
                continue
            if stat.used and stat.used != USED_BEFORE:
                stat.used = USED_BEFORE
            else:
                del own[key]
                self.store._release(key, stat)
                evicted = True
        return evicted
