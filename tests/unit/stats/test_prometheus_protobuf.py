from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stats import prometheus
from stats.prometheus_families import HistogramMode, PageOptions
from stats.prometheus_protobuf import native_buckets, render
from stats.store import Store
from tests.support import prometheus_text
from tests.support.metric_family import native_counts, read_delimited
from tests.unit.stats.envoy_run import store_of
from tests.vectors import load_vectors

ENVOY = load_vectors("envoy_stats.json")
KINDS = {0: "counter", 1: "gauge", 2: "summary", 4: "histogram"}


def page(store: Store, **options: Any) -> bytes:
    return b"".join(render(store, PageOptions(**options)))


def one(store: Store, **options: Any) -> Any:
    """The one metric of the one family."""
    (family,) = read_delimited(page(store, **options))
    (metric,) = family.metric
    return metric


@pytest.mark.parametrize("run", ENVOY["runs"], ids=lambda run: run["name"])
def test_families_and_labels_are_those_of_the_text_page(run: dict[str, Any]) -> None:
    store = store_of(run)
    options = PageOptions(text_readouts=True)
    text = prometheus_text.parse("".join(prometheus.render(store, options)))
    found = read_delimited(b"".join(render(store, options)))
    assert [(family.name, KINDS[family.type]) for family in found] == [
        (f.name, f.type) for f in text.values()
    ]
    for family, wanted in zip(found, text.values(), strict=True):
        labels = [tuple((pair.name, pair.value) for pair in metric.label) for metric in family.metric]
        own = [
            tuple(pair for pair in sample.labels if pair[0] not in ("le", "quantile"))
            for sample in wanted.samples
        ]
        assert labels == list(dict.fromkeys(own))


def test_numbers() -> None:
    store = Store()
    store.root.counter("c").add(2**40)
    assert one(store).counter.value == 2**40
    store = Store()
    store.root.gauge("g").set(-3)
    assert one(store).gauge.value == -3
    store = Store()
    store.root.text_readout("t").set('é"')
    metric = one(store, text_readouts=True)
    assert (metric.gauge.value, metric.label[0].name, metric.label[0].value) == (0, "text_value", 'é"')


def test_histogram_with_an_exemplar() -> None:
    store = Store(bounds_for=lambda name: (1.0, 10.0))
    histogram = store.root.histogram("h")
    histogram.record(0)
    histogram.record_traced(7, "ab" * 16, "cd" * 8, 1700000000.5)
    histogram.record(50)
    found = one(store).histogram
    assert (found.sample_count, found.sample_sum) == (3, 57)
    assert [(bucket.upper_bound, bucket.cumulative_count) for bucket in found.bucket] == [(1, 1), (10, 2)]
    assert not found.bucket[0].HasField("exemplar")
    exemplar = found.bucket[1].exemplar
    assert {pair.name: pair.value for pair in exemplar.label} == {"trace_id": "ab" * 16, "span_id": "cd" * 8}
    assert (exemplar.value, exemplar.timestamp.seconds, exemplar.timestamp.nanos) == (
        7,
        1700000000,
        500000000,
    )


def test_summary() -> None:
    store = Store()
    store.root.histogram("h").record(3)
    found = one(store, histogram_mode=HistogramMode.SUMMARY).summary
    assert (found.sample_count, found.sample_sum, len(found.quantile)) == (1, 3, 10)
    assert found.quantile[2].quantile == 0.5


def test_native_histogram_as_envoy_has_it() -> None:
    """With room for 3 and for 50 buckets, Envoy 1.40 has this schema, threshold and number of buckets for these values."""
    store = Store()
    histogram = store.root.histogram("h")
    assert not one(store, histogram_mode=HistogramMode.NATIVE).histogram.positive_span
    values = [0, 1, 1, 2, 3, 5, 10, 10, 20, 40, 100, 300, 700, 1000]
    for value in values:
        histogram.record(value)
    for most, schema, buckets in ((3, -3, 3), (50, 4, 11)):
        found = one(store, histogram_mode=HistogramMode.NATIVE, native_max_buckets=most).histogram
        assert (found.schema, found.zero_threshold, found.zero_count) == (schema, 0.5, 1)
        assert (found.sample_count, found.sample_sum) == (14, sum(values))
        assert not found.bucket
        counts = native_counts(found)
        assert len(counts) == buckets
        assert sum(counts.values()) == 13


@given(
    st.lists(st.floats(min_value=0, max_value=1e12), max_size=60),
    st.lists(st.floats(min_value=0, max_value=1e12), max_size=60),
    st.integers(min_value=1, max_value=100),
)
def test_native_buckets_hold_every_value(before: list[float], after: list[float], most: int) -> None:
    """What was recorded after the first page is where it belongs; all is counted."""
    store = Store()
    histogram = store.root.histogram("h")
    for value in before:
        histogram.record(value)
    one(store, histogram_mode=HistogramMode.NATIVE)
    for value in after:
        histogram.record(value)
    found = one(store, histogram_mode=HistogramMode.NATIVE, native_max_buckets=most).histogram
    counts = native_counts(found)
    assert sum(counts.values()) + found.zero_count == len(before) + len(after) == found.sample_count
    assert len(counts) <= most or found.schema == -4
    for value in after:
        if value > 0.5:
            at = math.ceil(round(math.log2(value) * 2.0**found.schema, 9))
            assert any(counts.get(near) for near in (at - 1, at, at + 1))
    assert native_buckets(histogram, most) == (found.schema, counts)


def test_powers_of_two_are_upper_bounds() -> None:
    store = Store()
    histogram = store.root.histogram("h")
    histogram.keep_fine()
    for power in range(50):
        histogram.record(2**power)
    assert histogram.fine == {power * 16: 1 for power in range(50)}


def test_a_long_family_comes_in_pieces() -> None:
    store = Store()
    scope = store.scope("istiocustom")
    for number in range(3000):
        scope.tagged_counter("istio_x_total", (("source", f"v{number}" + "x" * 40),)).add(number)
    pieces = list(render(store))
    assert max(map(len, pieces)) < 40_000
    (family,) = read_delimited(b"".join(pieces))
    assert sorted(metric.counter.value for metric in family.metric) == list(range(3000))
    assert list(render(Store())) == []
