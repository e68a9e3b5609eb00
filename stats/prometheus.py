"""The Prometheus page: text format 0.0.4, line for line as Envoy 1.40 prints it.

The lines are written here and not by `prometheus_client`, because its renderer cannot produce this page: it prints `# HELP`
for every family, sorts labels, appends `_total`, formats numbers its own way (Envoy prints bounds and sums with 32
significant digits) and blocks until the whole page is done. Here the page comes in pieces, so that a loop that carries
traffic can breathe. The parser of `prometheus_client` judges the result in the tests.

Families come in this order: counters, gauges, text readouts (when asked for), histograms; within a kind by tag-extracted
name. One deviation: what becomes equal by sanitising names is one family, one series (added up), one label, where Envoy prints
it twice, which the format forbids.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from stats.metrics import Counter, Gauge, Histogram, Tags, TextReadout
from stats.render import (
    EVERYTHING,
    QUANTILES,
    Selection,
    by_segments,
    exact_number,
    in_chunks,
    quantiles,
)
from stats.snapshot import StatsSource, total_of

CONTENT_TYPE: Final = "text/plain; charset=UTF-8"

#: Names below these are printed without their first segment and without `envoy_`.
CUSTOM_NAMESPACES: Final = frozenset({"istiocustom"})

_S = TypeVar("_S", Counter, Gauge, Histogram, TextReadout)
_NOT_NAME: Final = re.compile(r"[^a-zA-Z0-9_]")


class HistogramMode(enum.Enum):
    """`histogram_buckets` of the Prometheus page."""

    CUMULATIVE = "cumulative"
    SUMMARY = "summary"


def parse_histogram_mode(text: str | None) -> HistogramMode:
    """The `histogram_buckets` parameter, None if absent. Raises ValueError with the text that Envoy answers (400)."""
    if text is None or text == "cumulative":
        return HistogramMode.CUMULATIVE
    if text in ("summary", "none", ""):
        return HistogramMode.SUMMARY
    if text in ("detailed", "disjoint"):
        raise ValueError("unsupported prometheus histogram bucket mode")
    if text == "prometheusnative":
        raise ValueError(
            "unsupported prometheusnative histogram type when not using protobuf exposition format"
        )
    raise ValueError(
        "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n"
    )


def metric_name(tag_extracted_name: str, custom_namespaces: frozenset[str] = CUSTOM_NAMESPACES) -> str:
    """The Prometheus name of a stat; "" if it has none and is not to be printed (custom namespaces only)."""
    namespace, dot, rest = tag_extracted_name.partition(".")
    if dot and namespace in custom_namespaces:
        name = _NOT_NAME.sub("_", rest)
        return "" if not name or name[0].isdigit() else name
    return "envoy_" + _NOT_NAME.sub("_", tag_extracted_name)


@functools.lru_cache(maxsize=16384)
def label_text(tags: Tags) -> str:
    """`name="value"` for each tag, joined by commas, in the order of the tags. Of names equal when sanitised the first stays."""
    labels: dict[str, str] = {}
    for name, value in tags:
        labels.setdefault(_label_name(name), value)
    return ",".join([f'{name}="{escape(value)}"' for name, value in labels.items()])


@functools.lru_cache(maxsize=1024)
def _label_name(tag_name: str) -> str:
    name = _NOT_NAME.sub("_", tag_name)
    return f"_{name}" if name[:1].isdigit() else name


def escape(value: str) -> str:
    """A label value between quotes: backslash, quote and line feed escaped."""
    if '"' in value or "\\" in value or "\n" in value:
        return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return value


def render(
    source: StatsSource,
    selection: Selection = EVERYTHING,
    text_readouts: bool = False,
    histogram_mode: HistogramMode = HistogramMode.CUMULATIVE,
    custom_namespaces: frozenset[str] = CUSTOM_NAMESPACES,
) -> Iterator[str]:
    """The page in pieces of about `CHUNK_SIZE`; nothing at all when there is nothing to show."""
    return in_chunks(_lines(source, selection, text_readouts, histogram_mode, custom_namespaces))


def _lines(
    source: StatsSource,
    selection: Selection,
    text_readouts: bool,
    histogram_mode: HistogramMode,
    custom_namespaces: frozenset[str],
) -> Iterator[str]:
    printed: set[str] = set()

    def families(stats: list[_S]) -> Iterator[tuple[str, dict[str, _S]]]:
        return _families(stats, custom_namespaces, printed)

    for name, counters in families(selection.of(source.counters)):
        yield f"# TYPE {name} counter\n"
        for labels, counter in counters.items():
            yield f"{name}{{{labels}}} {counter.value}\n"
    for name, gauges in families(selection.of(source.gauges)):
        yield f"# TYPE {name} gauge\n"
        for labels, gauge in gauges.items():
            yield f"{name}{{{labels}}} {gauge.value}\n"
    if text_readouts:
        for name, texts in families(selection.of(source.text_readouts)):
            yield f"# TYPE {name} gauge\n"
            for text in texts.values():
                yield f"{name}{{{label_text((*text.tags, ('text_value', text.value)))}}} 0\n"
    cumulative = histogram_mode is HistogramMode.CUMULATIVE
    series: Callable[[str, str, Histogram], str] = _buckets if cumulative else _summary
    for name, histograms in families(selection.of(source.histograms)):
        yield f"# TYPE {name} {'histogram' if cumulative else 'summary'}\n"
        for labels, histogram in histograms.items():
            yield series(name, labels, histogram)


def _families(
    stats: list[_S], custom_namespaces: frozenset[str], printed: set[str]
) -> Iterator[tuple[str, dict[str, _S]]]:
    """(Prometheus name, {labels: stat}), all in order. A name that another kind has taken is left out: it can have one type only."""
    by_extracted: dict[str, list[_S]] = {}
    for stat in stats:
        by_extracted.setdefault(stat.tag_extracted_name, []).append(stat)
    by_name: dict[str, list[_S]] = {}
    for extracted in sorted(by_extracted, key=by_segments):
        name = metric_name(extracted, custom_namespaces)
        if name and name not in printed:
            by_name.setdefault(name, []).extend(by_extracted[extracted])
    printed.update(by_name)
    for name, family in by_name.items():
        family.sort(key=lambda stat: by_segments(stat.name))
        series: dict[str, _S] = {}
        for stat in family:
            labels = label_text(stat.tags)
            known = series.get(labels)
            series[labels] = stat if known is None else total_of(known, stat)
        yield name, series


def _buckets(name: str, labels: str, histogram: Histogram) -> str:
    start = f'{name}_bucket{{{labels}{"," if labels else ""}le="'
    lines = []
    total = 0
    for bound, count in zip(bound_texts(histogram.bounds), histogram.buckets, strict=False):
        total += count
        lines.append(f'{start}{bound}"}} {total}\n')
    lines.append(f'{start}+Inf"}} {histogram.count}\n')
    return "".join(lines) + _totals(name, labels, histogram)


def _summary(name: str, labels: str, histogram: Histogram) -> str:
    start = f'{name}{{{labels}{"," if labels else ""}quantile="'
    lines = [
        f'{start}{quantile}"}} {exact_number(value)}\n'
        for quantile, value in zip(QUANTILES, quantiles(histogram), strict=True)
    ]
    return "".join(lines) + _totals(name, labels, histogram)


def _totals(name: str, labels: str, histogram: Histogram) -> str:
    return (
        f"{name}_sum{{{labels}}} {exact_number(histogram.sum)}\n{name}_count{{{labels}}} {histogram.count}\n"
    )


@functools.lru_cache(maxsize=64)
def bound_texts(bounds: tuple[float, ...]) -> tuple[str, ...]:
    """The `le` values of bounds."""
    return tuple(exact_number(bound) for bound in bounds)
