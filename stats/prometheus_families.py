"""What a Prometheus page consists of, whatever its format: families in order, the series of each in order, their names and labels.

Families come in this order: counters, gauges, text readouts (when asked for), histograms; within a kind by tag-extracted
name. One deviation from Envoy: what becomes equal by sanitising names is one family, one series (added up), one label,
where Envoy prints it twice, which the format forbids.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Final, Generic, TypeVar

import msgspec

from stats.metrics import Counter, Gauge, Histogram, StatKey, Tags, TextReadout
from stats.render import EVERYTHING, Selection, by_segments, in_batches, in_order
from stats.snapshot import StatsSource, total_of

#: Names below these are printed without their first segment and without `envoy_`.
CUSTOM_NAMESPACES: Final = frozenset({"istiocustom"})

_S = TypeVar("_S", Counter, Gauge, Histogram, TextReadout)
_NOT_NAME: Final = re.compile(r"[^a-zA-Z0-9_]")


class HistogramMode(enum.Enum):
    """`histogram_buckets` of the Prometheus page."""

    CUMULATIVE = "cumulative"
    SUMMARY = "summary"
    NATIVE = "prometheusnative"  # protobuf only


class PageOptions(msgspec.Struct, frozen=True):
    """What a page shows. `native_max_buckets`: a native histogram is coarsened until it has no more."""

    selection: Selection = EVERYTHING
    text_readouts: bool = False
    histogram_mode: HistogramMode = HistogramMode.CUMULATIVE
    native_max_buckets: int = 20
    custom_namespaces: frozenset[str] = CUSTOM_NAMESPACES


#: What Envoy shows when nothing is asked for.
DEFAULT_PAGE: Final = PageOptions()


def metric_name(tag_extracted_name: str, custom_namespaces: frozenset[str] = CUSTOM_NAMESPACES) -> str:
    """The Prometheus name of a stat; "" if it has none and is not to be printed (custom namespaces only)."""
    namespace, dot, rest = tag_extracted_name.partition(".")
    if dot and namespace in custom_namespaces:
        name = _NOT_NAME.sub("_", rest)
        return "" if not name or name[0].isdigit() else name
    return "envoy_" + _NOT_NAME.sub("_", tag_extracted_name)


@functools.lru_cache(maxsize=1024)
def label_name(tag_name: str) -> str:
    """The Prometheus name of a tag."""
    name = _NOT_NAME.sub("_", tag_name)
    return f"_{name}" if name[:1].isdigit() else name


def labels_of(tags: Tags) -> Tags:
    """Names and values of labels in the order of the tags. Of names that are equal when sanitised the first stays."""
    if _are_labels(tuple([name for name, _ in tags])):
        return tags
    labels: dict[str, str] = {}
    for name, value in tags:
        labels.setdefault(label_name(name), value)
    return tuple(labels.items())


@functools.lru_cache(maxsize=1024)
def _are_labels(names: tuple[str, ...]) -> bool:
    """Whether these names of tags can stand as they are."""
    return len({*names}) == len(names) and all(label_name(name) == name for name in names)


class Families(Generic[_S]):
    """The families of one kind. Iterate over `group` until it ends, then over `names`, and over `series` of each.

    None is a pause everywhere.
    """

    def __init__(self, table: Mapping[StatKey, _S], options: PageOptions) -> None:
        self._table: Mapping[StatKey, _S] = table
        self._options = options
        self._by_name: dict[str, list[_S]] = {}

    def group(self, taken: set[str]) -> Iterator[None]:
        """Sort the stats into families. A name that another kind has `taken` is left out: it can have one type only."""
        by_extracted: dict[str, list[_S]] = {}
        for batch in self._options.selection.batches(self._table):
            for stat in batch:
                by_extracted.setdefault(stat.tag_extracted_name, []).append(stat)
            yield None
        for extracted in in_order(in_batches(list(by_extracted)), by_segments):
            if extracted is None:
                yield None
                continue
            name = metric_name(extracted, self._options.custom_namespaces)
            if name and name not in taken:
                stats = by_extracted.pop(extracted)
                known = self._by_name.setdefault(name, stats)
                if known is not stats:
                    known += stats
        taken.update(self._by_name)

    def names(self) -> list[str]:
        """The names of the families, in order."""
        return list(self._by_name)

    def series(self, name: str) -> Iterator[_S | None]:
        """The series of a family in order; can be asked for once."""
        by_labels: dict[Tags, _S] = {}
        for batch in in_batches(self._by_name.pop(name)):
            if by_labels:
                yield None
            for stat in batch:
                labels = labels_of(stat.tags)
                known = by_labels.get(labels)
                by_labels[labels] = stat if known is None else _sum(known, stat)
        yield from in_order(in_batches(by_labels.values()), _order)


def _order(stat: Counter | Gauge | Histogram | TextReadout) -> str:
    return by_segments(stat.name)


def _sum(first: _S, second: _S) -> _S:
    """Both as one, in the place of the one that comes first."""
    return total_of(first, second) if _order(first) <= _order(second) else total_of(second, first)


class Page:
    """All families of a page, by kind."""

    def __init__(self, source: StatsSource, options: PageOptions) -> None:
        self.options = options
        self.counters = Families(source.counters, options)
        self.gauges = Families(source.gauges, options)
        self.text_readouts = Families(source.text_readouts if options.text_readouts else {}, options)
        self.histograms = Families(source.histograms, options)
        #: the names of all families, when all is grouped
        self.names: set[str] = set()

    def group(self) -> Iterator[None]:
        """Comes first. None is a pause."""
        yield from self.counters.group(self.names)
        yield from self.gauges.group(self.names)
        yield from self.text_readouts.group(self.names)
        yield from self.histograms.group(self.names)
