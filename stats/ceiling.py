"""A ceiling on the series of a metric: clients choose some of the values of labels, so they could make series without end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Final

from stats.metrics import Counter, Tags

#: Series of a metric whose labels clients choose. An HTTP label set is some 60 kB of a scrape, which takes longer than a second
#: soon above this many.
MAX_SERIES: Final = 2000


#: What labels say in the series that counts what is above the ceiling.
OVERFLOW: Final = "overflow"

#: Series looked at in one step of `tell_of_full`: about a millisecond.
_TOLD_SERIES: Final = 100


class SeriesCeiling:
    """What comes above it is for the caller to count elsewhere; `overflows` counts how often that was so.

    `tell` (if set) hears the name of a metric that has come to its ceiling, which of its labels has the most values, and how
    many; again when the metric had room in between. It hears it from `tell_of_full`: to count the values takes time, which the
    request that found the metric full does not have.
    """

    __slots__ = ("_full", "_untold", "max_series", "overflows", "tell")

    def __init__(self, max_series: int = MAX_SERIES) -> None:
        self.max_series: Final = max_series
        self.overflows = Counter("", "", ())
        self.tell: Callable[[str, str, int], None] | None = None
        self._full: set[str] = set()
        #: metric -> its series
        self._untold: dict[str, Set[Tags]] = {}

    def admits(self, metric: str, in_use: Set[Tags], tags: Tags) -> bool:
        """Whether a metric with the series `in_use` has, or may have, the series `tags`."""
        if tags in in_use:
            return True
        if len(in_use) < self.max_series:
            self._full.discard(metric)
            return True
        self.overflows.inc()
        if metric not in self._full:
            self._full.add(metric)
            self._untold[metric] = in_use
        return False

    def tell_of_full(self) -> Iterator[None]:
        """For housekeeping: tell of the metrics that have come to their ceiling since, some of the work at each step."""
        while self._untold:
            metric, series = self._untold.popitem()
            if self.tell is None:
                continue
            values: dict[str, set[str]] = {}
            those = list(series)
            for begin in range(0, len(those), _TOLD_SERIES):
                gather_values(those[begin : begin + _TOLD_SERIES], values)
                yield
            self.tell(metric, *most_varied_label(values))


def gather_values(series: Iterable[Tags], seen: dict[str, set[str]]) -> None:
    """Add the values of labels to `seen`, label -> values. `OVERFLOW` is none."""
    for tags in series:
        for label, value in tags:
            if value != OVERFLOW:
                seen.setdefault(label, set()).add(value)


def most_varied_label(values: Mapping[str, Set[str]]) -> tuple[str, int]:
    """The label with the most values, and how many; ("", 0) if there are no labels."""
    label = max(values, key=lambda each: len(values[each]), default="")
    return label, len(values.get(label, ()))
