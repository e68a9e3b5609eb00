"""`Store` and `Scope`: get-or-create by name; names get their tags here, once, at creation.

A *scope* is a name prefix and the set of stats that somebody made through it. Two scopes may share a stat; it is listed until the
last of them is retired. Names are built once, at configuration time; the data path only sees handles.
"""

from __future__ import annotations

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
    Tags,
    TextReadout,
)

#: full stat name -> (tag-extracted name, tags). See `stats.tags`.
TagExtractor = Callable[[str], tuple[str, Tags]]

#: So many stats are looked at in one step of a sweep.
_SWEEP_STATS: Final = 1000

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
        self._evictable: Final[list[Scope]] = []
        #: for whoever makes series whose tags clients choose
        self.ceiling: Final = SeriesCeiling(max_series)
        #: tag-extracted name of a metric with given tags -> tags of its series, those that `rejects` rejects included; for reading only
        self.series: Final[dict[str, set[Tags]]] = {}
        #: full name -> handle; for reading only
        self.counters: Final[dict[str, Counter]] = {}
        self.gauges: Final[dict[str, Gauge]] = {}
        self.histograms: Final[dict[str, Histogram]] = {}
        self.text_readouts: Final[dict[str, TextReadout]] = {}
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

    def find(self, name: str) -> Stat | None:
        """A listed stat by its full name."""
        return (
            self.counters.get(name)
            or self.gauges.get(name)
            or self.histograms.get(name)
            or self.text_readouts.get(name)
        )

    @property
    def evictable(self) -> tuple[Scope, ...]:
        """The scopes whose stats may be taken off the list when nobody uses them."""
        return tuple(self._evictable)

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

    def _release(self, stat: Stat) -> None:
        key = id(stat)
        holders = self._shared.get(key, 1) - 1
        if holders > 1:
            self._shared[key] = holders
            return
        if self._shared.pop(key, None) is not None:
            return
        in_use = self.series.get(stat.tag_extracted_name)
        if in_use is not None:
            in_use.discard(stat.tags)
            if not in_use:
                del self.series[stat.tag_extracted_name]
        tables: tuple[dict[str, Any], ...] = (self.counters, self.gauges, self.histograms, self.text_readouts)
        for table in tables:
            if table.get(stat.name) is stat:
                del table[stat.name]


class Rotation(NamedTuple):
    """Every `interval_s` a new time begins; what was not used in its first `graceful_s` is taken off the list then."""

    interval_s: float
    graceful_s: float


class Scope:
    """A name prefix. Stats made through a scope live until the scope is retired (the root scope never is)."""

    __slots__ = ("_children", "_own", "_parent", "generation", "prefix", "rotation", "store")

    def __init__(self, store: Store, prefix: str, parent: Scope | None = None) -> None:
        self.store: Final = store
        self.prefix: Final = prefix  # "" or with a dot at its end
        self._parent = parent
        self._children: list[Scope] = []
        self._own: dict[tuple[type[Stat], str], Stat] = {}
        self.generation = 0
        #: None: swept when the others are
        self.rotation: Rotation | None = None

    def scope(self, name: str, verbatim: bool = False, *, evictable: bool = False) -> Scope:
        """A scope below this one, retired with it. `name` is cleaned by `sanitize`. `evictable`: see `sweep`.

        `verbatim` keeps colons: Envoy cleans the prefixes of listeners, connection managers and clusters, but not those of
        some HTTP filters, so the router counts in `http.a:b.` where the connection manager counts in `http.a_b.`.
        """
        clean = name.removesuffix(".") if verbatim else sanitize(name)
        parent = None if self is self.store.root else self
        child = Scope(self.store, f"{self.prefix}{clean}." if clean else self.prefix, parent)
        if parent is not None:
            self._children.append(child)
        if evictable:
            self.store._evictable.append(child)
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
        table: dict[str, _S],
        name: str,
        tags: Tags | None,
        make: Callable[[str, str, Tags], _S],
    ) -> _S:
        base = full = self.prefix + name
        if tags is not None:
            full += "".join([f".{label}.{value}" for label, value in tags])
        own = self._own.get((kind, full))
        if own is not None:
            return cast(_S, own)
        stat = table.get(full)
        if stat is not None:
            self.store._hold(stat)
        else:
            extracted, found = (base, tags) if tags is not None else self.store._extract(full)
            stat = make(full, extracted, found)
            if tags is not None:
                self.store.series.setdefault(extracted, set()).add(tags)
            if not self.store._rejects(full):
                table[full] = stat
        self._own[kind, full] = stat
        return stat

    def retire(self) -> None:
        """The thing counted is gone: take its stats, and those of the scopes below, off the list. Handles still work."""
        if self._parent is not None:
            self._parent._children.remove(self)
            self._parent = None
        for child in tuple(self._children):
            child.retire()
        for stat in self._own.values():
            self.store._release(stat)
        self._own.clear()
        if self in self.store._evictable:
            self.store._evictable.remove(self)

    def forget_use(self) -> None:
        """From now on it counts whether a stat is used."""
        for stat in self._own.values():
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
        stats = list(self._own.items())
        for begin in range(0, len(stats), _SWEEP_STATS):
            evicted = False
            for key, stat in stats[begin : begin + _SWEEP_STATS]:
                if stat.used is True:
                    stat.used = USED_BEFORE
                elif self._own.get(key) is stat:
                    del self._own[key]
                    self.store._release(stat)
                    evicted = True
            if evicted:
                self.generation += 1
            yield
