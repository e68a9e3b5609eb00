from __future__ import annotations

import bisect

from hypothesis import given
from hypothesis import strategies as st

from stats.metrics import DEFAULT_BUCKETS, Counter, Gauge, Histogram, TextReadout


def test_counter() -> None:
    counter = Counter("a.b", "a", (("t", "b"),))
    assert (counter.value, counter.used) == (0, False)
    counter.inc()
    counter.add(4)
    assert (counter.value, counter.used) == (5, True)


def test_adding_zero_marks_a_counter_used() -> None:
    counter = Counter("a", "a", ())
    counter.add(0)
    assert counter.used


def test_gauge() -> None:
    gauge = Gauge("a", "a", ())
    gauge.inc()
    gauge.add(5)
    gauge.dec()
    gauge.sub(2)
    assert gauge.value == 3
    gauge.set(0)
    assert (gauge.value, gauge.used) == (0, True)


def test_gauge_set_to_zero_is_used() -> None:
    gauge = Gauge("a", "a", ())
    gauge.set(0)
    assert gauge.used


def test_text_readout() -> None:
    text = TextReadout("a", "a", ())
    text.set("x")
    assert (text.value, text.used) == ("x", True)


def test_histogram_bounds_are_inclusive() -> None:
    histogram = Histogram("a", "a", (), (1, 5))
    for value in (0, 1, 1.5, 5, 5.5, 1e9):
        histogram.record(value)
    assert histogram.buckets == [2, 2, 2]
    assert (histogram.count, histogram.sum) == (6, 13 + 1e9)


@given(st.lists(st.integers(min_value=0, max_value=10**8), max_size=30))
def test_histogram_counts_exactly(values: list[int]) -> None:
    histogram = Histogram("a", "a", ())
    for value in values:
        histogram.record(value)
    assert sum(histogram.buckets) == histogram.count == len(values)
    assert histogram.sum == sum(values)
    ordered = sorted(values)
    total = 0
    for bound, count in zip(DEFAULT_BUCKETS, histogram.buckets, strict=False):
        total += count
        assert total == bisect.bisect_right(ordered, bound)
