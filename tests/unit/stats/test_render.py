from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stats.metrics import Histogram
from stats.render import (
    CHUNK_SIZE,
    Selection,
    by_segments,
    compile_filter,
    exact_number,
    in_slices,
    plain_number,
    quantiles,
    shortest_number,
)
from stats.store import Store


def test_selection() -> None:
    store = Store()
    used = store.root.counter("a.used")
    used.add(0)
    other = store.root.counter("b.x")
    assert Selection().of(store.counters.values()) == [used, other]
    assert Selection(used_only=True).of(store.counters.values()) == [used]
    assert Selection(matches=compile_filter("x$")).of(store.counters.values()) == [other]
    assert Selection(True, compile_filter("x$")).of(store.counters.values()) == []


def test_filter_is_found_anywhere() -> None:
    agent = compile_filter(
        r"^(cluster_manager\.cds|listener_manager\.lds)\.(update_success|update_rejected)$"
    )
    assert agent("cluster_manager.cds.update_success")
    assert not agent("cluster_manager.cds.update_success.x")
    assert compile_filter("cds")("cluster_manager.cds.update_success")


def test_bad_filter() -> None:
    with pytest.raises(ValueError, match=r"^Invalid re2 regex: missing \): \($"):
        compile_filter("(")


def test_names_are_compared_by_segment() -> None:
    names = ["cluster.c-x.a", "cluster.c.b", "cluster.c x.a", "cluster.C.a"]
    assert sorted(names, key=by_segments) == ["cluster.C.a", "cluster.c.b", "cluster.c x.a", "cluster.c-x.a"]


def test_quantiles() -> None:
    histogram = Histogram("h", "h", (), (10, 20))
    assert all(math.isnan(value) for value in quantiles(histogram))
    for value in (5, 5, 15, 15):
        histogram.record(value)
    assert quantiles(histogram)[:4] == [0, 5, 10, 15]
    assert quantiles(histogram)[-1] == 20


def test_quantiles_above_the_last_bound() -> None:
    histogram = Histogram("h", "h", (), (10,))
    histogram.record(1000)
    assert quantiles(histogram) == [10.0] * 10


@given(st.lists(st.floats(min_value=0, max_value=1e7), min_size=1, max_size=20))
def test_quantiles_grow(values: list[float]) -> None:
    histogram = Histogram("h", "h", ())
    for value in values:
        histogram.record(value)
    found = quantiles(histogram)
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("value", "plain", "shortest", "exact"),
    [
        (0, "0", "0", "0"),
        (0.5, "0.5", "0.5", "0.5"),
        (0.1, "0.1", "0.1", "0.10000000000000000555111512312578"),
        (100.0, "100", "100", "100"),
        (10000, "10000", "10000", "10000"),
        (300000, "300000", "3e+05", "300000"),
        (600000.0, "600000", "6e+05", "600000"),
        (1800000, "1800000", "1800000", "1800000"),
        (123456789, "123456789", "123456789", "123456789"),
        (0.0001, "0.0001", "1e-04", "0.00010000000000000000479217360238593"),
        (6.05, "6.05", "6.05", "6.049999999999999822364316059975"),
        (9.428571428571429, "9.428571428571429", "9.428571428571429", "9.4285714285714288251938342000358"),
    ],
)
def test_numbers(value: float, plain: str, shortest: str, exact: str) -> None:
    assert (plain_number(value), shortest_number(value), exact_number(value)) == (plain, shortest, exact)


@given(st.floats(min_value=0, allow_infinity=False, allow_nan=False))
def test_numbers_read_back(value: float) -> None:
    assert float(plain_number(value)) == float(shortest_number(value)) == float(exact_number(value)) == value


def test_chunks() -> None:
    lines = ["x" * 1000 + "\n"] * 100
    chunks = list(in_slices(lines))
    assert "".join(chunks) == "".join(lines)
    assert len(chunks) == 4
    assert all(CHUNK_SIZE <= len(chunk) < CHUNK_SIZE + 1001 for chunk in chunks[:-1])
    assert list(in_slices([])) == []
