"""The Prometheus page: text format 0.0.4, line for line as Envoy 1.40 prints it.

The lines are written here and not by `prometheus_client`, because its renderer cannot produce this page: it prints `# HELP`
for every family, sorts labels, appends `_total`, formats numbers its own way (Envoy prints bounds and sums with 32
significant digits) and blocks until the whole page is done. Here the page comes in slices, so that a loop that carries
traffic can breathe. The parser of `prometheus_client` judges the result in the tests.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from stats.metrics import Counter, Gauge, Histogram, Tags, TextReadout
from stats.prometheus_families import DEFAULT_PAGE, Families, HistogramMode, Page, PageOptions, labels_of
from stats.render import QUANTILES, exact_number, in_slices, quantiles
from stats.snapshot import StatsSource

_S = TypeVar("_S", Counter, Gauge, Histogram, TextReadout)


def parse_histogram_mode(text: str | None, protobuf: bool = False) -> HistogramMode:
    """The `histogram_buckets` parameter of a page (in protobuf), None if absent. Raises ValueError with the text that Envoy answers (400)."""
    if text in (None, "", "cumulative"):
        return HistogramMode.CUMULATIVE
    if text in ("summary", "none"):
        return HistogramMode.SUMMARY
    if text in ("detailed", "disjoint"):
        raise ValueError("unsupported prometheus histogram bucket mode")
    if text == "prometheusnative":
        if protobuf:
            return HistogramMode.NATIVE
        raise ValueError(
            "unsupported prometheusnative histogram type when not using protobuf exposition format"
        )
    raise ValueError(
        "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n"
    )


#: Label texts remembered: the metrics of one label set share it. Not `lru_cache`, whose links would make the garbage collector
#: walk all stats during a page of many.
_MAX_TEXTS: Final = 4096
_texts: Final[dict[Tags, str]] = {}


def label_text(tags: Tags) -> str:
    """`name="value"` for each tag, joined by commas, in the order of the tags."""
    text = _texts.get(tags)
    if text is None:
        if len(_texts) >= _MAX_TEXTS:
            _texts.clear()
        text = _texts[tags] = ",".join([f'{name}="{escape(value)}"' for name, value in labels_of(tags)])
    return text


def escape(value: str) -> str:
    """A label value between quotes: backslash, quote and line feed escaped."""
    if '"' in value or "\\" in value or "\n" in value:
        return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return value


def render(source: StatsSource, options: PageOptions = DEFAULT_PAGE) -> Iterator[str]:
    """The page in slices; nothing at all when there is nothing to show. "" is a pause."""
    return in_slices(_rows(Page(source, options)))


def _rows(page: Page) -> Iterator[str]:
    for _ in page.group():
        yield ""
    yield from family_rows(page.counters, "counter", _number)
    yield from family_rows(page.gauges, "gauge", _number)
    yield from family_rows(page.text_readouts, "gauge", text_readout_row)
    if page.options.histogram_mode is HistogramMode.SUMMARY:
        yield from family_rows(page.histograms, "summary", _summary)
    else:
        yield from family_rows(page.histograms, "histogram", _buckets)


def family_rows(families: Families[_S], kind: str, row: Callable[[str, _S], str]) -> Iterator[str]:
    """All families of a kind: the type, and `row` (of name and stat) for each series."""
    for name in families.names():
        yield f"# TYPE {name} {kind}\n"
        for stat in families.series(name):
            yield "" if stat is None else row(name, stat)


def _number(name: str, stat: Counter | Gauge) -> str:
    return f"{name}{{{label_text(stat.tags)}}} {stat.value}\n"


def text_readout_row(name: str, text: TextReadout) -> str:
    """A text is a label of a gauge that says nothing."""
    return f"{name}{{{label_text((*text.tags, ('text_value', text.value)))}}} 0\n"


def _buckets(name: str, histogram: Histogram) -> str:
    labels = label_text(histogram.tags)
    start = f'{name}_bucket{{{labels}{"," if labels else ""}le="'
    lines = []
    total = 0
    for bound, count in zip(bound_texts(histogram.bounds), histogram.buckets, strict=False):
        total += count
        lines.append(f'{start}{bound}"}} {total}\n')
    lines.append(f'{start}+Inf"}} {histogram.count}\n')
    return "".join(lines) + _totals(name, labels, histogram)


def _summary(name: str, histogram: Histogram) -> str:
    labels = label_text(histogram.tags)
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
