"""What the two renderers share: which stats are asked for, in which order, and how numbers look."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeVar

from stats.matcher import compile_regex
from stats.metrics import Counter, Gauge, Histogram, TextReadout

_S = TypeVar("_S", Counter, Gauge, Histogram, TextReadout)

#: Envoy's quantiles of a histogram, and the same as percentiles.
QUANTILES: Final = (0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1)
PERCENTILES: Final = (0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100)

#: About so many characters are handed out at once, so that a loop can do other work between two pieces.
CHUNK_SIZE: Final = 32 * 1024


@dataclass(frozen=True, slots=True)
class Selection:
    """`used_only`: only stats that were touched. `matches`: None, or a test of the full name (`compile_filter`)."""

    used_only: bool = False
    matches: Callable[[str], object] | None = None

    def of(self, table: Mapping[str, _S]) -> list[_S]:
        """What is asked for, in no order; a copy, so stats may come and go while it is rendered."""
        chosen: Iterable[_S] = table.values()
        if self.used_only:
            chosen = [stat for stat in chosen if stat.used]
        matches = self.matches
        if matches is not None:
            chosen = [stat for stat in chosen if matches(stat.name)]
        return list(chosen)


EVERYTHING: Final = Selection()


def compile_filter(regex: str) -> Callable[[str], object]:
    """The `filter` parameter: RE2, found anywhere in the name. Raises ValueError with the text that Envoy answers (400)."""
    search: Callable[[str], object] = compile_regex(regex).search
    return search


def in_chunks(pieces: Iterable[str]) -> Iterator[str]:
    """The same text in pieces of about `CHUNK_SIZE`; nothing at all when there is none."""
    held: list[str] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= CHUNK_SIZE:
            yield "".join(held)
            held.clear()
            size = 0
    if held:
        yield "".join(held)


def by_segments(name: str) -> list[str]:
    """Sort key of Envoy's Prometheus page: names are compared segment by segment."""
    return name.split(".")


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
