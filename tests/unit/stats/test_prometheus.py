from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from stats.metrics import DEFAULT_BUCKETS
from stats.prometheus import bound_texts, escape, parse_histogram_mode, render
from stats.prometheus_families import HistogramMode, PageOptions, metric_name
from stats.render import Selection, compile_filter
from stats.store import Store
from stats.tags import TagProducer
from tests.support import prometheus_text
from tests.unit.stats.envoy_run import make, producer_of, store_of
from tests.vectors import load_vectors

ENVOY = load_vectors("envoy_stats.json")
VECTORS = load_vectors("istio_stats_labels.json")["prometheus"]


def page(store: Store, **options: Any) -> str:
    return "".join(render(store, PageOptions(**options)))


@pytest.mark.parametrize("run", ENVOY["runs"], ids=lambda run: run["name"])
def test_every_line_is_where_envoy_has_it(run: dict[str, Any]) -> None:
    lines = [
        line if line.startswith("#") else line.rpartition(" ")[0]
        for line in page(store_of(run)).splitlines()
        if 'le="' not in line
    ]
    assert lines == run["page"]


def exact_store() -> Store:
    """The stats of the recorded exact pages, with their values."""
    exact = ENVOY["exact"]
    store = Store(producer_of(exact))
    for kind, names in exact["kinds"].items():
        for name in names:
            make(store, name, kind)
    used = {line.partition(": ")[0] for line in exact["text_used"].splitlines()}
    for line in exact["text"].splitlines():
        name, _, value = line.partition(": ")
        if name in store.counters:
            store.counters[name].value = int(value)
        elif name in store.gauges:
            store.gauges[name].value = int(value)
        elif name in used:
            store.histograms[name].record(0)
        stat = store.find(name)
        assert stat is not None
        stat.used = name in used
    return store


def test_exact_page() -> None:
    assert page(exact_store()) == ENVOY["exact"]["prometheus"]


def test_exact_page_of_used_stats() -> None:
    assert page(exact_store(), selection=Selection(used_only=True)) == ENVOY["exact"]["prometheus_used"]


@pytest.mark.parametrize("run", ENVOY["runs"], ids=lambda run: run["name"])
def test_other_parsers_read_it(run: dict[str, Any]) -> None:
    text = page(store_of(run))
    families = list(text_string_to_metric_families(text))
    assert len(families) == text.count("# TYPE")
    assert prometheus_text.parse(text)


@pytest.mark.parametrize("case", VECTORS["names"], ids=lambda case: case["stat"])
def test_names(case: dict[str, Any]) -> None:
    store = Store()
    store.root.counter(case["stat"]).inc()
    assert metric_name(case["stat"]) == (case["prometheus"] or "")
    wanted = (
        f"# TYPE {case['prometheus']} counter\n{case['prometheus']}{{}} 1\n" if case["prometheus"] else ""
    )
    assert page(store) == wanted


def test_counter_and_gauge_texts() -> None:
    for kind in ("counter", "gauge"):
        wanted = VECTORS[kind]
        store = Store()
        scope = store.scope("istiocustom")
        tags = tuple(map(tuple, wanted["labels"]))
        if kind == "counter":
            scope.tagged_counter(wanted["name"], tags).add(wanted["value"])
        else:
            scope.tagged_gauge(wanted["name"], tags).set(wanted["value"])
        assert page(store) == wanted["text"]


def test_histogram_vector() -> None:
    wanted = VECTORS["histogram"]
    store = Store()
    histogram = store.root.histogram("h")
    for value in wanted["samples"]:
        histogram.record(value)
    assert list(DEFAULT_BUCKETS) == VECTORS["default_buckets"]
    assert [*bound_texts(DEFAULT_BUCKETS), "+Inf"] == VECTORS["bucket_text"]
    lines = page(store).splitlines()
    assert lines == [
        "# TYPE envoy_h histogram",
        *(
            f'envoy_h_bucket{{le="{bound}"}} {count}'
            for bound, count in zip(VECTORS["bucket_text"], wanted["cumulative"], strict=True)
        ),
        f"envoy_h_sum{{}} {wanted['sum']}",
        f"envoy_h_count{{}} {wanted['count']}",
    ]


def test_escaping_vector() -> None:
    assert escape(VECTORS["escaping"]["value"]) == VECTORS["escaping"]["text"]


label_values = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(label_values, min_size=1, max_size=4))
def test_escaped_values_read_back(values: list[str]) -> None:
    store = Store()
    tags = tuple((f"l{at}", value) for at, value in enumerate(values))
    store.scope("istiocustom").tagged_counter("m", tags).inc()
    text = page(store)
    (family,) = prometheus_text.parse(text).values()
    assert family.samples[0].labels == tags


@given(st.text(alphabet='a"\\\n{}=,é', max_size=12))
def test_prometheus_client_reads_escapes(value: str) -> None:
    store = Store()
    store.scope("istiocustom").tagged_gauge("m", (("a", value), ("b", "c"))).set(3)
    (family,) = text_string_to_metric_families(page(store))
    assert family.samples[0].labels == {"a": value, "b": "c"}
    assert family.samples[0].value == 3


def test_empty_page_is_empty() -> None:
    assert list(render(Store())) == []
    assert prometheus_text.parse("") == {}


def test_filter() -> None:
    store = Store()
    store.root.counter("a.x").inc()
    store.root.counter("a.y").inc()
    text = page(store, selection=Selection(matches=compile_filter("x$")))
    assert text == "# TYPE envoy_a_x counter\nenvoy_a_x{} 1\n"


def test_text_readouts_are_shown_when_asked_for() -> None:
    store = Store(TagProducer())
    store.root.text_readout("cluster.x2.version_text").set('v"1')
    store.root.gauge("cluster.x2.version").set(7)
    assert "version_text" not in page(store)
    assert page(store, text_readouts=True) == (
        '# TYPE envoy_cluster_version gauge\nenvoy_cluster_version{envoy_cluster_name="x2"} 7\n'
        "# TYPE envoy_cluster_version_text gauge\n"
        'envoy_cluster_version_text{envoy_cluster_name="x2",text_value="v\\"1"} 0\n'
    )


def test_summary() -> None:
    store = Store(bounds_for=lambda name: (0.1, 20))
    histogram = store.root.histogram("h")
    histogram.record(10)
    text = page(store, histogram_mode=HistogramMode.SUMMARY)
    assert text.startswith('# TYPE envoy_h summary\nenvoy_h{quantile="0"} 0.1000000000000000055511151231')
    assert 'envoy_h{quantile="0.999"} 19.98' in text
    assert text.endswith('envoy_h{quantile="1"} 20\nenvoy_h_sum{} 10\nenvoy_h_count{} 1\n')
    assert prometheus_text.parse(text)["envoy_h"].type == "summary"


def test_exact_summary_of_nothing_recorded_but_labels() -> None:
    wanted = [line.rpartition(" ")[0] for line in ENVOY["exact"]["prometheus_summary"].splitlines()]
    found = page(exact_store(), histogram_mode=HistogramMode.SUMMARY).splitlines()
    assert [line.rpartition(" ")[0] for line in found] == wanted


def test_names_that_become_equal_share_a_family() -> None:
    store = Store(TagProducer())
    for number, prefix in enumerate(("a.b-c", "a.b_c", "x.b c"), 1):
        store.root.counter(f"tcp.{prefix}.total").add(number)
        store.root.histogram(f"tcp.{prefix}.h").record(number)
    text = page(store)
    assert text.startswith(
        '# TYPE envoy_tcp_b_c_total counter\nenvoy_tcp_b_c_total{envoy_tcp_prefix="a"} 3\n'
        'envoy_tcp_b_c_total{envoy_tcp_prefix="x"} 3\n'
    )
    families = prometheus_text.parse(text)
    assert list(families) == ["envoy_tcp_b_c_total", "envoy_tcp_b_c_h"]
    assert store.counters["tcp.a.b_c.total"].value == 2


def test_a_name_has_one_type() -> None:
    store = Store()
    store.root.counter("a.b").inc()
    store.root.gauge("a_b").set(5)
    assert page(store) == "# TYPE envoy_a_b counter\nenvoy_a_b{} 1\n"


def test_labels_keep_their_order() -> None:
    store = Store()
    store.scope("istiocustom").tagged_histogram("m", (("z", "1"), ("a", "2")), "ms").record(3)
    assert 'm_bucket{z="1",a="2",le="0.5"} 0\n' in page(store)
    assert page(store).endswith('m_sum{z="1",a="2"} 3\nm_count{z="1",a="2"} 1\n')


def test_it_comes_in_pieces() -> None:
    store = Store()
    for number in range(3000):
        store.root.counter(f"c{number}").inc()
    pieces = list(render(store))
    assert len(pieces) > 3
    assert "".join(pieces).count("\n") == 6000


def test_a_stat_made_while_rendering_does_no_harm() -> None:
    store = Store()
    for number in range(2000):
        store.root.counter(f"c{number}").inc()
    pieces = render(store)
    text = next(pieces)
    store.root.counter("late").inc()
    store.root.gauge("late_gauge").set(1)
    assert prometheus_text.parse(text + "".join(pieces))


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (None, HistogramMode.CUMULATIVE),
        ("cumulative", HistogramMode.CUMULATIVE),
        ("summary", HistogramMode.SUMMARY),
        ("none", HistogramMode.SUMMARY),
    ],
)
def test_parse_histogram_mode(text: str | None, mode: HistogramMode) -> None:
    assert parse_histogram_mode(text) is mode


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("detailed", "unsupported prometheus histogram bucket mode"),
        ("disjoint", "unsupported prometheus histogram bucket mode"),
        ("prometheusnative", "unsupported prometheusnative histogram type"),
        ("foo", "usage: /stats"),
    ],
)
def test_histogram_modes_that_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_histogram_mode(text)
