"""The handles that the data path increments: slotted, no locks, no labels, no names to look up.

One process has one event loop; nothing here is thread-safe, on purpose.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from math import ceil, floor, inf, log2
from typing import Final, NamedTuple, TypeAlias

#: Envoy's default histogram bounds, for milliseconds and for bytes alike.
DEFAULT_BUCKETS: Final[tuple[float, ...]] = (
    0.5,
    1,
    5,
    10,
    25,
    50,
    100,
    250,
    500,
    1000,
    2500,
    5000,
    10000,
    30000,
    60000,
    300000,
    600000,
    1800000,
    3600000,
)

Tags = tuple[tuple[str, str], ...]

#: What a stat is kept by: its full name; its tag-extracted name and its tags if these were given, not found in the name.
StatKey: TypeAlias = str | tuple[str, Tags]

HistogramListener: TypeAlias = "Callable[[Histogram, float], None]"


#: `used` of a stat is False until it is first touched, True when it was touched, and this when that was before the last sweep of
#: what nobody uses (`stats.store.Scope.sweep`).
USED_BEFORE: Final = 2


class Counter:
    """Only goes up (but for admin `/reset_counters`, which sets `value` to 0)."""

    __slots__ = ("name", "tag_extracted_name", "tags", "used", "value")

    def __init__(self, name: str, tag_extracted_name: str, tags: Tags) -> None:
        self.name: Final = name  # the full name, as `/stats` shows it
        self.tag_extracted_name: Final = tag_extracted_name  # what Prometheus calls it
        self.tags: Final = tags
        self.value = 0
        self.used: int = False

    def inc(self) -> None:
        self.value += 1
        self.used = True

    def add(self, amount: int) -> None:
        """`amount` >= 0; adding 0 marks the counter used, as in Envoy."""
        self.value += amount
        self.used = True

    # copied and pickled (here and below) by name and value

    def __reduce__(self) -> tuple[object, ...]:
        return Counter, (self.name, self.tag_extracted_name, self.tags), (self.value, self.used)

    def __setstate__(self, state: tuple[int, int]) -> None:
        self.value, self.used = state


class Gauge:
    """A level. `per_process` gauges (uptime, state) are not summed when processes are merged."""

    __slots__ = ("name", "per_process", "tag_extracted_name", "tags", "used", "value")

    def __init__(self, name: str, tag_extracted_name: str, tags: Tags, per_process: bool = False) -> None:
        self.name: Final = name
        self.tag_extracted_name: Final = tag_extracted_name
        self.tags: Final = tags
        self.per_process: Final = per_process
        self.value = 0
        self.used: int = False

    def inc(self) -> None:
        self.value += 1
        self.used = True

    def dec(self) -> None:
        self.value -= 1
        self.used = True

    def add(self, amount: int) -> None:
        self.value += amount
        self.used = True

    def sub(self, amount: int) -> None:
        self.value -= amount
        self.used = True

    def set(self, value: int) -> None:
        self.value = value
        self.used = True

    def __reduce__(self) -> tuple[object, ...]:
        identity = (self.name, self.tag_extracted_name, self.tags, self.per_process)
        return Gauge, identity, (self.value, self.used)

    def __setstate__(self, state: tuple[int, int]) -> None:
        self.value, self.used = state


class Exemplar(NamedTuple):
    """One recorded value whose request was traced. `time_s` is POSIX seconds."""

    trace_id: str
    span_id: str
    value: float
    time_s: float


#: Fine buckets are those of Prometheus' native histograms: bucket `i` counts values above 2**((i-1)/16), up to 2**(i/16).
FINE_SCHEMA: Final = 4
#: What is not above this counts as zero there.
ZERO_THRESHOLD: Final = 0.5


_HistogramState: TypeAlias = tuple[
    list[int], int, int | float, int, int, list[Exemplar | None] | None, dict[int, int] | None
]


def fine_bucket(value: float) -> int:
    """The number of the fine bucket of a value above 0."""
    return ceil(log2(value) * (1 << FINE_SCHEMA))


class Histogram:
    """Exact counts for fixed upper bounds (inclusive), published at once; Envoy's are approximate and wait for a flush.

    `buckets[i]` counts values <= `bounds[i]` and above the bound before; the last one counts the rest. Not cumulative.
    `exemplars` has the last traced value of each bucket; None until there is one. `fine` is None until somebody asks for
    native histograms (`keep_fine`): number of the fine bucket -> count; what is about zero is in none.
    """

    __slots__ = (
        "_above",
        "_at",
        "_buckets",
        "_fractions",
        "_listener",
        "_up_to",
        "_watched",
        "_whole",
        "_within",
        "bounds",
        "count",
        "exemplars",
        "fine",
        "name",
        "tag_extracted_name",
        "tags",
        "unit",
        "used",
    )

    def __init__(
        self,
        name: str,
        tag_extracted_name: str,
        tags: Tags,
        bounds: tuple[float, ...] = DEFAULT_BUCKETS,
        unit: str = "",
    ) -> None:
        self.name: Final = name
        self.tag_extracted_name: Final = tag_extracted_name
        self.tags: Final = tags
        self.bounds: Final = bounds
        self.unit: Final = unit  # "ms", "bytes" or ""
        self._buckets = [0] * (len(bounds) + 1)
        # whole numbers and others, added up for themselves
        self._whole = 0
        self._fractions: int | float = 0
        self.count = 0
        # the bucket of the last whole number, which has those above `_above` up to `_up_to`; not all are in `_buckets` yet
        self._at = self._above = self._up_to = self._within = 0
        self.used: int = False
        self.exemplars: list[Exemplar | None] | None = None
        self.fine: dict[int, int] | None = None
        self._listener: HistogramListener | None = None
        self._watched = False  # there is more to do with a value than to count it

    @property
    def buckets(self) -> list[int]:
        """To be read only."""
        if self._within:
            self._buckets[self._at] += self._within
            self._within = 0
        return self._buckets

    @property
    def sum(self) -> int | float:
        return self._whole + self._fractions

    def record(self, value: int | float) -> None:
        if isinstance(value, int):
            self.record_whole(value)
            return
        self._buckets[bisect_left(self.bounds, value)] += 1
        self._fractions += value
        self.count += 1
        self.used = True
        if self._watched:
            self._pass_on(value)

    def record_whole(self, value: int) -> None:
        """`record`, for who counts at each request: what falls in the same bucket as the value before is not searched for."""
        if value <= self._above or value > self._up_to:
            self._change_bucket(value)
        self._within += 1
        self._whole += value
        self.count += 1
        self.used = True
        if self._watched:
            self._pass_on(value)

    def _change_bucket(self, value: int) -> None:
        if self._within:
            self._buckets[self._at] += self._within
            self._within = 0
        bounds = self.bounds
        at = self._at = bisect_left(bounds, value)
        # a whole number is above a bound when it is above the whole part of it
        self._above = floor(bounds[at - 1]) if at > 0 else value - 1
        self._up_to = floor(bounds[at]) if at < len(bounds) and bounds[at] < inf else value

    def add(self, other: Histogram) -> None:
        """Count what `other`, of the same bounds, has counted."""
        self._buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]
        self._whole += other._whole
        self._fractions += other._fractions
        self.count += other.count

    def _pass_on(self, value: int | float) -> None:
        fine = self.fine
        if fine is not None and value > ZERO_THRESHOLD:
            at = fine_bucket(value)
            fine[at] = fine.get(at, 0) + 1
        if self._listener is not None:
            self._listener(self, value)

    def listen(self, listener: HistogramListener | None) -> None:
        """`listener` hears of each value from now on."""
        self._listener = listener
        self._watched = listener is not None or self.fine is not None

    def record_traced(self, value: int | float, trace_id: str, span_id: str, time_s: float) -> None:
        """`record`, and the trace it belongs to as the exemplar of its bucket."""
        self.record(value)
        if self.exemplars is None:
            self.exemplars = [None] * len(self.buckets)
        at = bisect_left(self.bounds, value)
        self.exemplars[at] = Exemplar(trace_id, span_id, value, time_s)

    def keep_fine(self) -> None:
        """Count in fine buckets from now on. What was recorded before is taken as the middle of its bucket."""
        if self.fine is not None:
            return
        fine: dict[int, int] = {}
        lower = 0.0
        for upper, count in zip((*self.bounds, self.bounds[-1]), self.buckets, strict=True):
            middle = (lower + upper) / 2
            if count and middle > ZERO_THRESHOLD:
                at = fine_bucket(middle)
                fine[at] = fine.get(at, 0) + count
            lower = upper
        self.fine = fine
        self._watched = True

    def __reduce__(self) -> tuple[object, ...]:
        """Nobody listens to the copy."""
        identity = (self.name, self.tag_extracted_name, self.tags, self.bounds, self.unit)
        exemplars = None if self.exemplars is None else list(self.exemplars)
        fine = None if self.fine is None else dict(self.fine)
        sums = self._whole, self._fractions
        return Histogram, identity, (list(self.buckets), *sums, self.count, self.used, exemplars, fine)

    def __setstate__(self, state: _HistogramState) -> None:
        self._buckets, self._whole, self._fractions, self.count, self.used, self.exemplars, self.fine = state
        self._watched = self.fine is not None


class TextReadout:
    """A string value (`/stats` only)."""

    __slots__ = ("name", "tag_extracted_name", "tags", "used", "value")

    def __init__(self, name: str, tag_extracted_name: str, tags: Tags) -> None:
        self.name: Final = name
        self.tag_extracted_name: Final = tag_extracted_name
        self.tags: Final = tags
        self.value = ""
        self.used: int = False

    def set(self, value: str) -> None:
        self.value = value
        self.used = True

    def __reduce__(self) -> tuple[object, ...]:
        return TextReadout, (self.name, self.tag_extracted_name, self.tags), (self.value, self.used)

    def __setstate__(self, state: tuple[str, int]) -> None:
        self.value, self.used = state
