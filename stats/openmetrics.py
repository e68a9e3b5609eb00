"""The Prometheus page as OpenMetrics 1.0, with exemplars. Envoy does not have it; it is for scrapers that ask for it.

A series keeps the name that it has in the text format, or dashboards would depend on what was negotiated. OpenMetrics wants
names of counters to end in `_total`, so a counter of another name, or one whose family would have the name of another, is
of type `unknown`. Numbers in `le` and `quantile` are in canonical form, as the format demands (`1.0`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Final

from stats.metrics import Counter, Exemplar, Gauge, Histogram
from stats.prometheus import escape, family_rows, label_text, text_readout_row
from stats.prometheus_families import DEFAULT_PAGE, HistogramMode, Page, PageOptions
from stats.render import QUANTILES, in_slices, quantiles
from stats.snapshot import StatsSource

CONTENT_TYPE: Final = b"application/openmetrics-text; version=1.0.0; charset=utf-8"

#: Units that a name may end in; a unit of another kind would have to be part of the name.
_UNITS: Final = ("seconds", "milliseconds", "bytes")


def render(source: StatsSource, options: PageOptions = DEFAULT_PAGE) -> Iterator[str]:
    """The page in slices; "" is a pause."""
    return in_slices(_rows(Page(source, options)))


def _rows(page: Page) -> Iterator[str]:
    for _ in page.group():
        yield ""
    reserved = {name + suffix for name in page.histograms.names() for suffix in _HISTOGRAM_SUFFIXES}
    yield from _counters(page, reserved)
    for name in page.gauges.names():
        if name in reserved:
            continue
        yield f"# TYPE {name} gauge\n{_unit(name)}"
        for gauge in page.gauges.series(name):
            yield "" if gauge is None else _number(name, gauge)
    yield from family_rows(page.text_readouts, "gauge", text_readout_row)
    summary = page.options.histogram_mode is HistogramMode.SUMMARY
    for name in page.histograms.names():
        if name in reserved:
            continue
        yield f"# TYPE {name} {'summary' if summary else 'histogram'}\n{_unit(name)}"
        for histogram in page.histograms.series(name):
            yield (
                ""
                if histogram is None
                else _summary(name, histogram)
                if summary
                else _buckets(name, histogram)
            )
    yield "# EOF\n"


_HISTOGRAM_SUFFIXES: Final = ("_bucket", "_sum", "_count", "_created")


def _counters(page: Page, reserved: set[str]) -> Iterator[str]:
    for name in page.counters.names():
        if name in reserved:
            continue
        family = name.removesuffix("_total")
        if family != name and family not in page.names and f"{family}_created" not in page.names:
            yield f"# TYPE {family} counter\n{_unit(family)}"
        else:
            yield f"# TYPE {name} unknown\n"
        for counter in page.counters.series(name):
            yield "" if counter is None else _number(name, counter)


def _unit(family: str) -> str:
    unit = family.rpartition("_")[2]
    return f"# UNIT {family} {unit}\n" if unit in _UNITS and unit != family else ""


def _number(name: str, stat: Counter | Gauge) -> str:
    return f"{name}{{{label_text(stat.tags)}}} {stat.value}\n"


@functools.lru_cache(maxsize=64)
def canonical_bounds(bounds: tuple[float, ...]) -> tuple[str, ...]:
    """The `le` values of bounds, the last one `+Inf`."""
    return (*map(canonical_number, bounds), "+Inf")


def canonical_number(value: float) -> str:
    """As Go writes floats: `1.0`, `1e+06`; `prometheus_client` judges it in the tests.

    It is not called for it: that would load all of the library before a first scrape is answered.
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    text = repr(float(value))
    whole, _, fraction = text.partition(".")
    if value < 1e6 or "e" in text:
        return text
    mantissa = f"{whole[0]}.{whole[1:]}{fraction}".rstrip("0.")
    return f"{mantissa}e+{len(whole) - 1:02}"


def _buckets(name: str, histogram: Histogram) -> str:
    labels = label_text(histogram.tags)
    start = f'{name}_bucket{{{labels}{"," if labels else ""}le="'
    exemplars = histogram.exemplars
    lines = []
    total = 0
    for at, bound in enumerate(canonical_bounds(histogram.bounds)):
        total += histogram.buckets[at]
        exemplar = exemplars[at] if exemplars is not None else None
        lines.append(f'{start}{bound}"}} {total}{_exemplar(exemplar)}\n')
    return "".join(lines) + _totals(name, labels, histogram)


def _exemplar(exemplar: Exemplar | None) -> str:
    if exemplar is None:
        return ""
    labels = f'trace_id="{escape(exemplar.trace_id)}",span_id="{escape(exemplar.span_id)}"'
    return f" # {{{labels}}} {exemplar.value} {exemplar.time_s:.3f}"


def _summary(name: str, histogram: Histogram) -> str:
    labels = label_text(histogram.tags)
    start = f'{name}{{{labels}{"," if labels else ""}quantile="'
    lines = [
        f'{start}{canonical_number(quantile)}"}} {"NaN" if value != value else value}\n'
        for quantile, value in zip(QUANTILES, quantiles(histogram), strict=True)
    ]
    return "".join(lines) + _totals(name, labels, histogram)


def _totals(name: str, labels: str, histogram: Histogram) -> str:
    return f"{name}_sum{{{labels}}} {histogram.sum}\n{name}_count{{{labels}}} {histogram.count}\n"
