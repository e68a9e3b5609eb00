"""What the renderers share: which stats are asked for, in which order, in which slices, and how numbers look.

A page is made while it is sent, on the loop that carries traffic, so no step of it may take long however many stats there
are. Renderers are generators; in their stream "" (in that of stats: None) is a pause: the work of one slice is done though
there may be nothing to send. What is done at once is bounded by `BATCH_STATS` stats looked at, and by `SLICE_ROWS` rows or
`CHUNK_SIZE` characters written.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from stats.matcher import compile_regex
from stats.metrics import Counter, Gauge, Histogram, StatKey, TextReadout

_S = TypeVar("_S", Counter, Gauge, Histogram, TextReadout)
_T = TypeVar("_T")

#: Envoy's quantiles of a histogram, and the same as percentiles.
QUANTILES: Final = (0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1)
PERCENTILES: Final = (0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100)

#: About so many characters are handed out at once, so that a loop can do other work between two pieces.
CHUNK_SIZE: Final = 32 * 1024

#: So many rows are handed out at once, however short they are.
SLICE_ROWS: Final = 200

#: So many stats are looked at (chosen, grouped, sorted) at once.
BATCH_STATS: Final = 250


class Selection(msgspec.Struct, frozen=True):
    """`used_only`: only stats that were touched. `matches`: None, or a test of the full name (`compile_filter`)."""

    used_only: bool = False
    matches: Callable[[str], object] | None = None

    def of(self, stats: Iterable[_S]) -> list[_S]:
        """What is asked for among `stats`, in their order."""
        matches = self.matches
        chosen = stats if not self.used_only else [stat for stat in stats if stat.used]
        return list(chosen) if matches is None else [stat for stat in chosen if matches(stat.name)]

    def batches(self, table: Mapping[StatKey, _S]) -> Iterator[list[_S]]:
        """What is asked for, in no order, a batch at a time; stats may come and go meanwhile."""
        for batch in in_batches(list(table.values())):
            yield self.of(batch)


EVERYTHING: Final = Selection()


def compile_filter(regex: str, invert: bool = False) -> Callable[[str], object]:
    """The `filter` parameter: RE2, found anywhere in the name. Raises ValueError with the text that Envoy answers (400)."""
    search: Callable[[str], object] = compile_regex(regex).search
    if invert:
        return lambda name: not search(name)
    return search


def in_batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    """`items`, which stay as they are meanwhile, in lists of at most `BATCH_STATS`."""
    those = iter(items)
    while batch := list(itertools.islice(those, BATCH_STATS)):
        yield batch


def in_order(batches: Iterable[list[_T]], key: Callable[[_T], Any]) -> Iterator[_T | None]:
    """Everything in `batches`, sorted; None after each batch that was sorted. Nothing is ever sorted as a whole."""
    runs: list[list[_T]] = []
    for batch in batches:
        batch.sort(key=key)
        runs.append(batch)
        if len(runs) > 1:
            yield None
    if len(runs) == 1:
        yield from runs[0]
        return
    for at, item in enumerate(heapq.merge(*map(_drain, runs), key=key), 1):
        yield item
        if at % BATCH_STATS == 0:
            yield None


def _drain(items: list[_T]) -> Iterator[_T]:
    """The items, let go of one by one: to free all of them at the end would take long."""
    items.reverse()
    while items:
        yield items.pop()


def in_slices(rows: Iterable[str]) -> Iterator[str]:
    """The same text in pieces of at most `SLICE_ROWS` rows, and of about `CHUNK_SIZE`; "" ends a piece, which may be empty."""
    held: list[str] = []
    size = count = 0
    for row in rows:
        if row:
            held.append(row)
            size += len(row)
            count += 1
            if size < CHUNK_SIZE and count < SLICE_ROWS:
                continue
        yield "".join(held)
        held.clear()
        size = count = 0
    if held:
        yield "".join(held)


def by_segments(name: str) -> str:
    """Sort key of Envoy's Prometheus page: names are compared segment by segment. No name holds a NUL."""
    return name.replace(".", "\0")


def quantiles(histogram: Histogram) -> list[float]:
    """The values at `QUANTILES`, taken as evenly spread inside each bucket; NaN when nothing was recorded.

    Values above the last bound are taken as that bound.
    """
    if not histogram.count:
        return [float("nan")] * len(QUANTILES)
    return [_quantile(histogram, quantile) for quantile in QUANTILES]


def _quantile(histogram: Histogram, quantile: float) -> float:
    wanted = quantile * histogram.count
    below = 0
    lower = 0.0
    for upper, count in zip(histogram.bounds, histogram.buckets, strict=False):
        if count and below + count >= wanted:
            return lower + (upper - lower) * max(0.0, wanted - below) / count
        below += count
        lower = upper
    return lower


def plain_number(value: float) -> str:
    """The shortest text that reads back as `value`, whole numbers without a point: `0.5`, `17`, `nan`."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def shortest_number(value: float) -> str:
    """As `plain_number`, in exponent form where that is shorter (`3e+05`), as Envoy writes numbers in JSON."""
    plain = plain_number(value)
    _sign, digits, exponent = Decimal(plain).as_tuple()
    if not isinstance(exponent, int) or not any(digits):
        return plain
    mantissa = "".join(map(str, digits)).rstrip("0")
    power = exponent + len(digits) - 1
    scientific = f"{mantissa[0]}{'.' if mantissa[1:] else ''}{mantissa[1:]}e{'-' if power < 0 else '+'}{abs(power):02d}"
    return scientific if len(scientific) < len(plain.lstrip("-")) and value >= 0 else plain


def exact_number(value: float) -> str:
    """32 significant digits, as Envoy writes bounds and sums on its Prometheus page: `0.10000000000000000555...`."""
    return str(value) if isinstance(value, int) else f"{value:.32g}"
