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

from stats.metrics import Histogram
from stats.render import (
    EVERYTHING,
    PERCENTILES,
    Selection,
    in_chunks,
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
    return in_chunks(_text_lines(source, selection, kind, bucket_mode))


def render_json(
    source: StatsSource,
    selection: Selection = EVERYTHING,
    kind: StatKind = StatKind.ALL,
    bucket_mode: BucketMode = BucketMode.SUMMARY,
) -> Iterator[str]:
    """The same as one JSON object `{"stats": [...]}`, in pieces."""
    return in_chunks(
        itertools.chain(['{"stats":['], _json_items(source, selection, kind, bucket_mode), ["]}"])
    )


def _scalars(source: StatsSource, selection: Selection, kind: StatKind) -> Iterator[tuple[str, int | str]]:
    """Name and value of what is not a histogram, in order."""
    if kind in (StatKind.ALL, StatKind.TEXT_READOUTS):
        for text in sorted(selection.of(source.text_readouts), key=lambda stat: stat.name):
            yield text.name, text.value
    numbers: list[tuple[str, int]] = []
    if kind in (StatKind.ALL, StatKind.COUNTERS):
        numbers += [(stat.name, stat.value) for stat in selection.of(source.counters)]
    if kind in (StatKind.ALL, StatKind.GAUGES):
        numbers += [(stat.name, stat.value) for stat in selection.of(source.gauges)]
    yield from sorted(numbers)


def _histograms(source: StatsSource, selection: Selection, kind: StatKind) -> list[Histogram]:
    if kind not in (StatKind.ALL, StatKind.HISTOGRAMS):
        return []
    return sorted(selection.of(source.histograms), key=lambda stat: stat.name)


def _text_lines(source: StatsSource, selection: Selection, kind: StatKind, mode: BucketMode) -> Iterator[str]:
    for name, value in _scalars(source, selection, kind):
        yield f'{name}: "{value}"\n' if isinstance(value, str) else f"{name}: {value}\n"
    for histogram in _histograms(source, selection, kind):
        if not histogram.used:
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
    for name, value in _scalars(source, selection, kind):
        shown = _quoted(value) if isinstance(value, str) else value
        yield f'{comma}{{"name":{_quoted(name)},"value":{shown}}}'
        comma = ","
    histograms = _histograms(source, selection, kind)
    if not histograms:
        return
    if mode in (BucketMode.CUMULATIVE, BucketMode.DISJOINT):
        yield f'{comma}{{"histograms":['
        end = "]}"
    elif mode is BucketMode.DETAILED:
        yield f'{comma}{{"histograms":{{"supported_percentiles":[{_SUPPORTED}],"details":['
        end = "]}}"
    else:
        yield f'{comma}{{"histograms":{{"supported_quantiles":[{_SUPPORTED}],"computed_quantiles":['
        end = "]}}"
    for at, histogram in enumerate(histograms):
        yield f'{"," if at else ""}{{"name":{_quoted(histogram.name)},{_json_histogram(histogram, mode)}}}'
    yield end


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
