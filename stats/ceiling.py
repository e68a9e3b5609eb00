"""A ceiling on the series of a metric: clients choose some of the values of labels, so they could make series without end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from typing import Final

from stats.metrics import Counter, Tags

#: Series of a metric whose labels clients choose. An HTTP label set is some 60 kB of a scrape, which takes longer than a second
#: soon above this many.
MAX_SERIES: Final = 2000


class SeriesCeiling:
    """What comes above it is for the caller to count elsewhere; `overflows` counts how often that was so.

    `tell` (if set) hears the name of a metric that has come to its ceiling, which of its labels has the most values, and how
    many; again when the metric had room in between.
    """

    __slots__ = ("_full", "max_series", "overflows", "tell")

    def __init__(self, max_series: int = MAX_SERIES) -> None:
        self.max_series: Final = max_series
        self.overflows = Counter("", "", ())
        self.tell: Callable[[str, str, int], None] | None = None
        self._full: set[str] = set()

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
            if self.tell is not None:
                self.tell(metric, *most_varied_label(in_use))
        return False


def distinct_values(series: Iterable[Tags]) -> dict[str, int]:
    """Label -> how many values it has."""
    seen: dict[str, set[str]] = {}
    for tags in series:
        for label, value in tags:
            seen.setdefault(label, set()).add(value)
    return {label: len(values) for label, values in seen.items()}


def most_varied_label(series: Iterable[Tags]) -> tuple[str, int]:
    """The label with the most values, and how many; ("", 0) if there are no labels."""
    values = distinct_values(series)
    label = max(values, key=values.__getitem__, default="")
    return label, values.get(label, 0)
