"""However many stats there are, what is done between two pieces of a page is bounded: counted here, not timed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stats import admin_text, cardinality, openmetrics, prometheus, prometheus_protobuf
from stats.metrics import Counter
from stats.prometheus_families import HistogramMode, PageOptions
from stats.render import (
    BATCH_STATS,
    CHUNK_SIZE,
    SLICE_ROWS,
    Selection,
    compile_filter,
    in_batches,
    in_order,
    in_slices,
)
from stats.store import Store

SERIES = 6000


def one_family() -> Store:
    store = Store()
    scope = store.scope("istiocustom")
    for number in range(SERIES):
        tags = (("reporter", "source"), ("source_workload", f"w{number * 7919 % SERIES}"))
        scope.tagged_counter("istio_requests_total", tags).inc()
    return store


def many_families() -> Store:
    store = Store()
    for number in range(SERIES):
        store.root.counter(f"c{number * 7919 % SERIES}").inc()
    return store


def many_histograms() -> Store:
    store = Store()
    scope = store.scope("istiocustom")
    for number in range(SERIES // 4):
        scope.tagged_histogram("istio_request_bytes", (("a", f"w{number}"),)).record(number)
    return store


PAGES: dict[str, Callable[[Store], Iterator[Any]]] = {
    "text": prometheus.render,
    "openmetrics": openmetrics.render,
    "protobuf": prometheus_protobuf.render,
    "native": lambda store: prometheus_protobuf.render(
        store, PageOptions(histogram_mode=HistogramMode.NATIVE)
    ),
    "filtered": lambda store: prometheus.render(store, PageOptions(Selection(True, compile_filter("7")))),
    "nothing": lambda store: prometheus.render(store, PageOptions(Selection(matches=compile_filter("no")))),
    "stats": admin_text.render_text,
    "json": admin_text.render_json,
    "cardinality": cardinality.render_text,
}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("make", [one_family, many_families, many_histograms])
def test_calls_between_two_pieces_are_bounded(page: str, make: Callable[[], Store]) -> None:
    """A batch of stats and a slice of rows have a bounded number of calls, whatever there is to show."""
    pieces = PAGES[page](make())
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        if event in ("call", "c_call"):
            calls += 1

    most = total = 0
    while True:
        calls = 0
        sys.setprofile(count)
        try:
            piece = next(pieces, None)
        finally:
            sys.setprofile(None)
        most = max(most, calls)
        total += calls
        if piece is None:
            break
        assert len(piece) < CHUNK_SIZE + 4096
    # A row of a histogram, with its bounds or quantiles, is up to a hundred calls.
    bound = 100 * max(BATCH_STATS, SLICE_ROWS)
    assert most < bound, f"{most} of {total} calls at once"
    assert total > most


def test_slices() -> None:
    rows = ["x" * 10] * 1000
    assert [len(piece) for piece in in_slices(rows)] == [10 * SLICE_ROWS] * (1000 // SLICE_ROWS)
    assert list(in_slices(["a", "", "b", "c"])) == ["a", "bc"]
    assert list(in_slices(["", "a", ""])) == ["", "a"]
    assert list(in_slices([])) == []


def test_order_without_sorting_all_at_once() -> None:
    count = 4 * BATCH_STATS
    stats = [Counter(f"{number * 7919 % count:05}", "", ()) for number in range(count)]
    found = list(in_order(in_batches(stats), lambda stat: stat.name))
    names = [stat.name for stat in found if stat is not None]
    assert names == [f"{number:05}" for number in range(count)]
    assert found.count(None) == 3 + 4  # three more batches, and one after each batch of the merge
