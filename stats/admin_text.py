"""Envoy's `/stats`, as text and as JSON.

Text readouts come first, then counters and gauges, then histograms, each by name. Histograms are counted exactly in fixed
buckets and shown at once: there is no interval between flushes, so the interval half of each pair is `nan` (quantiles)
or 0 (buckets), what Envoy shows when nothing happened since the last flush. Quantiles are estimated inside a bucket.
"""

from __future__ import annotations

import enum
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from typing import Final

from stats.metrics import Histogram, TextReadout
from stats.render import (
    EVERYTHING,
    PERCENTILES,
    Selection,
    in_order,
    in_slices,
    plain_number,
    quantiles,
    shortest_number,
)
from stats.snapshot import StatsSource


class StatKind(enum.Enum):
    """The `type` parameter."""

    ALL = "All"
    COUNTERS = "Counters"
    GAUGES = "Gauges"
    HISTOGRAMS = "Histograms"
    TEXT_READOUTS = "TextReadouts"


class BucketMode(enum.Enum):
    """The `histogram_buckets` parameter; SUMMARY (quantiles) is the default."""

    SUMMARY = "summary"
    CUMULATIVE = "cumulative"
    DISJOINT = "disjoint"
    DETAILED = "detailed"


def parse_kind(text: str | None) -> StatKind:
    """The `type` parameter, None if absent. Raises ValueError with the text that Envoy answers (400)."""
    if text is None:
        return StatKind.ALL
    try:
        return StatKind(text)
    except ValueError:
        raise ValueError("invalid &type= param") from None


def parse_bucket_mode(text: str | None) -> BucketMode:
    """The `histogram_buckets` parameter, None if absent. Raises ValueError with the text that Envoy answers (400)."""
    if text in (None, "", "none"):
        return BucketMode.SUMMARY
    if text == "prometheusnative":
        raise ValueError("Invalid histogram_buckets type for non prometheus stats type")
    try:
        return BucketMode(text)
    except ValueError:
        raise ValueError(
            "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n"
        ) from None


def render_text(
    source: StatsSource,
    selection: Selection = EVERYTHING,
    kind: StatKind = StatKind.ALL,
    bucket_mode: BucketMode = BucketMode.SUMMARY,
) -> Iterator[str]:
    """The text page in pieces; nothing at all when there is nothing to show."""
    return in_slices(_text_lines(source, selection, kind, bucket_mode))


def render_json(
    source: StatsSource,
    selection: Selection = EVERYTHING,
    kind: StatKind = StatKind.ALL,
    bucket_mode: BucketMode = BucketMode.SUMMARY,
) -> Iterator[str]:
    """The same as one JSON object `{"stats": [...]}`, in pieces."""
    return in_slices(
        itertools.chain(['{"stats":['], _json_items(source, selection, kind, bucket_mode), ["]}"])
    )


def _scalars(
    source: StatsSource, selection: Selection, kind: StatKind
) -> Iterator[tuple[str, int | str] | None]:
    """Name and value of what is not a histogram, in order. None is a pause."""
    texts = source.text_readouts if kind in (StatKind.ALL, StatKind.TEXT_READOUTS) else {}
    for text in in_order(selection.batches(texts), _name):
        yield None if text is None else (text.name, text.value)
    counters = source.counters if kind in (StatKind.ALL, StatKind.COUNTERS) else {}
    gauges = source.gauges if kind in (StatKind.ALL, StatKind.GAUGES) else {}
    numbers: list[list[tuple[str, int | str]]] = []
    for counter_batch in selection.batches(counters):
        numbers.append([(stat.name, stat.value) for stat in counter_batch])
        yield None
    for gauge_batch in selection.batches(gauges):
        numbers.append([(stat.name, stat.value) for stat in gauge_batch])
        yield None
    yield from in_order(numbers, _first)


def _histograms(source: StatsSource, selection: Selection, kind: StatKind) -> Iterator[Histogram | None]:
    """In order; None is a pause."""
    histograms = source.histograms if kind in (StatKind.ALL, StatKind.HISTOGRAMS) else {}
    return in_order(selection.batches(histograms), _name)


def _first(pair: tuple[str, int | str]) -> str:
    return pair[0]


def _name(stat: Histogram | TextReadout) -> str:
    return stat.name


def _text_lines(source: StatsSource, selection: Selection, kind: StatKind, mode: BucketMode) -> Iterator[str]:
    for scalar in _scalars(source, selection, kind):
        if scalar is None:
            yield ""
            continue
        name, value = scalar
        yield f'{name}: "{value}"\n' if isinstance(value, str) else f"{name}: {value}\n"
    for histogram in _histograms(source, selection, kind):
        if histogram is None:
            yield ""
        elif not histogram.used:
            yield f"{histogram.name}: No recorded values\n"
        elif mode is BucketMode.SUMMARY:
            yield f"{histogram.name}: {_quantile_text(histogram)}\n"
        elif mode is BucketMode.DETAILED:
            totals = ", ".join(f"{lower:g},{width:g}:{count}" for lower, width, count in _filled(histogram))
            yield f"{histogram.name}:\n  totals={totals}\n  intervals=\n  summary={_quantile_text(histogram)}\n"
        else:
            buckets = " ".join(f"B{bound:g}(0,{count})" for bound, count in _bounded(histogram, mode))
            yield f"{histogram.name}: {buckets}\n"


def _quantile_text(histogram: Histogram) -> str:
    return " ".join(
        f"P{percentile}(nan,{plain_number(value)})"
        for percentile, value in zip(PERCENTILES, quantiles(histogram), strict=True)
    )


def _bounded(histogram: Histogram, mode: BucketMode) -> list[tuple[float, int]]:
    """(upper bound, count); values above the last bound are in none, as in Envoy."""
    counts: Iterable[int] = histogram.buckets
    if mode is BucketMode.CUMULATIVE:
        counts = itertools.accumulate(histogram.buckets)
    return list(zip(histogram.bounds, counts, strict=False))


def _filled(histogram: Histogram) -> list[tuple[float, float, int]]:
    """(lower bound, width, count) of the buckets that hold something; the last one has no end, its width is 0."""
    lowers = (0.0, *histogram.bounds)
    uppers = (*histogram.bounds, histogram.bounds[-1])
    return [
        (lower, upper - lower, count)
        for lower, upper, count in zip(lowers, uppers, histogram.buckets, strict=True)
        if count
    ]


_SUPPORTED: Final = ",".join(map(str, PERCENTILES))


def _json_items(source: StatsSource, selection: Selection, kind: StatKind, mode: BucketMode) -> Iterator[str]:
    comma = ""
    for scalar in _scalars(source, selection, kind):
        if scalar is None:
            yield ""
            continue
        name, value = scalar
        shown = _quoted(value) if isinstance(value, str) else value
        yield f'{comma}{{"name":{_quoted(name)},"value":{shown}}}'
        comma = ","
    begin, end = _json_frame(mode)
    before = f"{comma}{begin}"
    for histogram in _histograms(source, selection, kind):
        if histogram is None:
            yield ""
            continue
        yield f'{before}{{"name":{_quoted(histogram.name)},{_json_histogram(histogram, mode)}}}'
        before = ","
    if before == ",":
        yield end


def _json_frame(mode: BucketMode) -> tuple[str, str]:
    """What stands before and after the histograms."""
    if mode in (BucketMode.CUMULATIVE, BucketMode.DISJOINT):
        return '{"histograms":[', "]}"
    if mode is BucketMode.DETAILED:
        return f'{{"histograms":{{"supported_percentiles":[{_SUPPORTED}],"details":[', "]}}"
    return f'{{"histograms":{{"supported_quantiles":[{_SUPPORTED}],"computed_quantiles":[', "]}}"


def _json_histogram(histogram: Histogram, mode: BucketMode) -> str:
    if mode in (BucketMode.CUMULATIVE, BucketMode.DISJOINT):
        buckets = ",".join(
            f'{{"upper_bound":{shortest_number(bound)},"interval":0,"cumulative":{count}}}'
            for bound, count in _bounded(histogram, mode)
        )
        return f'"buckets":[{buckets}]'
    values = ",".join(
        f'{{"cumulative":{"null" if math.isnan(value) else shortest_number(value)},"interval":null}}'
        for value in quantiles(histogram)
    )
    if mode is BucketMode.SUMMARY:
        return f'"values":[{values}]'
    totals = ",".join(
        f'{{"lower_bound":{shortest_number(lower)},"width":{shortest_number(width)},"count":{count}}}'
        for lower, width, count in _filled(histogram)
    )
    return f'"totals":[{totals}],"intervals":[],"percentiles":[{values}]'


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
