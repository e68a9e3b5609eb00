from __future__ import annotations

import bisect
import pickle
from math import inf

import pytest
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


BOUNDS = (-2.5, 0.5, 1, 7.25, 8, 1000, inf)
RECORDED = st.integers(min_value=-10, max_value=1100) | st.floats(min_value=-10, max_value=1100, width=16)


@given(st.lists(RECORDED, max_size=30), st.sets(st.integers(min_value=0, max_value=30)))
def test_what_is_read_between_two_values_does_not_matter(values: list[int | float], reads: set[int]) -> None:
    histogram = Histogram("a", "a", (), BOUNDS)
    expected = [0] * (len(BOUNDS) + 1)
    for at, value in enumerate(values):
        histogram.record(value)
        expected[bisect.bisect_left(BOUNDS, value)] += 1
        if at in reads:
            assert histogram.buckets == expected
    twice = pickle.loads(pickle.dumps(histogram))
    twice.add(histogram)
    assert (twice.buckets, twice.count) == ([2 * each for each in expected], 2 * len(values))
    assert twice.sum == pytest.approx(2 * sum(values))


def test_a_sum_of_whole_numbers_is_one() -> None:
    histogram = Histogram("a", "a", ())
    histogram.record_whole(2**62)
    histogram.record(2**62)
    assert (histogram.sum, type(histogram.sum)) == (2**63, int)
