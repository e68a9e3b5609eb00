from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.utils import floatToGoString

from stats import prometheus
from stats.metrics import DEFAULT_BUCKETS
from stats.openmetrics import canonical_bounds, canonical_number, render
from stats.prometheus_families import HistogramMode, PageOptions
from stats.render import Selection, compile_filter
from stats.store import Store
from stats.tags import TagProducer
from tests.support import prometheus_text
from tests.unit.stats.envoy_run import store_of
from tests.vectors import load_vectors

ENVOY = load_vectors("envoy_stats.json")
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def page(store: Store, **options: Any) -> str:
    return "".join(render(store, PageOptions(**options)))


def families(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


@pytest.mark.parametrize("run", ENVOY["runs"], ids=lambda run: run["name"])
def test_the_parser_reads_it(run: dict[str, Any]) -> None:
    text = page(store_of(run), text_readouts=True)
    assert len(families(text)) == text.count("# TYPE")


@pytest.mark.parametrize("run", ENVOY["runs"], ids=lambda run: run["name"])
def test_series_have_the_names_of_the_text_format(run: dict[str, Any]) -> None:
    store = store_of(run)

    def series(found: Any) -> set[tuple[str, frozenset[tuple[str, str]]]]:
        return {
            (sample.name, frozenset(pair for pair in dict(sample.labels).items() if pair[0] != "le"))
            for family in found.values()
            for sample in family.samples
        }

    assert series(families(page(store))) == series(prometheus_text.parse("".join(prometheus.render(store))))


def test_types_units_and_end() -> None:
    store = Store(TagProducer())
    istio = store.scope("istiocustom")
    istio.tagged_counter("istio_requests_total", (("a", 'x"\n'),)).add(2)
    istio.tagged_counter("istio_tcp_sent_bytes_total", ()).add(7)
    store.root.counter("cluster.c.upstream_rq_total").inc()
    store.root.counter("cluster.c.upstream_rq_200").inc()
    store.root.counter("http.a.rq_xx")
    store.root.gauge("server.live").set(1)
    assert page(store) == (
        '# TYPE envoy_cluster_upstream_rq unknown\nenvoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="c"} 1\n'
        '# TYPE envoy_cluster_upstream_rq_total unknown\nenvoy_cluster_upstream_rq_total{envoy_cluster_name="c"} 1\n'
        '# TYPE envoy_http_rq_xx unknown\nenvoy_http_rq_xx{envoy_http_conn_manager_prefix="a"} 0\n'
        '# TYPE istio_requests counter\nistio_requests_total{a="x\\"\\n"} 2\n'
        "# TYPE istio_tcp_sent_bytes counter\n# UNIT istio_tcp_sent_bytes bytes\nistio_tcp_sent_bytes_total{} 7\n"
        "# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n# EOF\n"
    )
    assert families(page(store))["istio_requests"].samples[0].labels == {"a": 'x"\n'}


def test_nothing_is_a_page_too() -> None:
    assert page(Store()) == "# EOF\n"


def test_exemplars_stand_on_their_buckets() -> None:
    store = Store(bounds_for=lambda name: (5.0, 10.0))
    duration = store.scope("istiocustom").tagged_histogram(
        "istio_request_duration_milliseconds", (("b", "c"),)
    )
    duration.record(7)
    duration.record_traced(3, TRACE, SPAN, 1700000000.25)
    duration.record_traced(2, "1" * 32, SPAN, 1700000001.5)
    duration.record_traced(99, TRACE, SPAN, 1700000002)
    text = page(store)
    assert text == (
        "# TYPE istio_request_duration_milliseconds histogram\n"
        "# UNIT istio_request_duration_milliseconds milliseconds\n"
        f'istio_request_duration_milliseconds_bucket{{b="c",le="5.0"}} 2 # {{trace_id="{"1" * 32}",span_id="{SPAN}"}} 2 1700000001.500\n'
        'istio_request_duration_milliseconds_bucket{b="c",le="10.0"} 3\n'
        f'istio_request_duration_milliseconds_bucket{{b="c",le="+Inf"}} 4 # {{trace_id="{TRACE}",span_id="{SPAN}"}} 99 1700000002.000\n'
        'istio_request_duration_milliseconds_sum{b="c"} 111\nistio_request_duration_milliseconds_count{b="c"} 4\n# EOF\n'
    )
    (family,) = families(text).values()
    assert family.unit == "milliseconds"
    assert family.samples[0].exemplar.labels == {"trace_id": "1" * 32, "span_id": SPAN}
    assert family.samples[1].exemplar is None
    assert "trace_id" not in "".join(prometheus.render(store))


def test_default_bounds_are_canonical() -> None:
    assert canonical_bounds(DEFAULT_BUCKETS)[0] == "0.5"
    assert canonical_bounds(DEFAULT_BUCKETS)[1] == "1.0"
    assert canonical_bounds(DEFAULT_BUCKETS)[-2:] == ("3.6e+06", "+Inf")


def test_summary() -> None:
    store = Store()
    store.root.histogram("h").record(3)
    store.root.histogram("empty")
    text = page(store, histogram_mode=HistogramMode.SUMMARY)
    assert 'envoy_h{quantile="0.5"} 3.0\n' in text
    assert 'envoy_empty{quantile="1.0"} NaN\n' in text
    assert families(text)["envoy_h"].type == "summary"


def test_a_name_that_a_histogram_needs_is_left_out() -> None:
    store = Store()
    store.root.histogram("h").record(1)
    store.root.counter("h_count").inc()
    store.root.gauge("h_sum").set(1)
    text = page(store)
    assert list(families(text)) == ["envoy_h"]
    assert text.count("envoy_h_count") == 1


def test_selection() -> None:
    store = Store()
    store.root.counter("a").inc()
    store.root.counter("b").inc()
    assert page(store, selection=Selection(matches=compile_filter("a"))).count("# TYPE") == 1


names = st.lists(
    st.sampled_from(["rq", "rq_total", "rq_count", "h", "h_bucket", "h_total", "x_bytes", "x_bytes_total", "x_created"]),
    max_size=6,
    unique=True,
)  # fmt: skip


@given(names, names, names)
def test_whatever_the_names_the_parser_reads_it(
    counters: list[str], gauges: list[str], histograms: list[str]
) -> None:
    store = Store()
    for name in counters:
        store.root.counter(f"c.{name}").inc()
    for name in gauges:
        store.root.gauge(f"c.{name}").set(2)
    for name in histograms:
        store.root.histogram(f"c.{name}").record(3)
    families(page(store))


@given(st.floats())
@example(1e6)
@example(999999.5)
@example(1e16)
def test_numbers_are_written_as_the_library_does(value: float) -> None:
    assert canonical_number(value) == floatToGoString(value)
