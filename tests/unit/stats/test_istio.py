from __future__ import annotations

import gc
from typing import Any

import pytest

from stats.istio import (
    HTTP_LABELS,
    NAMESPACE,
    PEER_LABELS,
    STANDARD_METRICS,
    TCP_LABELS,
    CustomMetric,
    IstioMetrics,
    MetricKind,
    MetricRule,
    compile_plans,
    set_build,
)
from stats.metrics import Counter
from stats.prometheus import render
from stats.store import Store
from tests.vectors import load_vectors

VECTORS = load_vectors("istio_stats_labels.json")
VALUES = tuple(f"v{at}" for at in range(len(PEER_LABELS)))


class FakeExpressions:
    """Texts with known results; None does not parse."""

    def __init__(self, results: dict[str, str | None]) -> None:
        self.results = results
        self.texts: list[str] = []
        self.value_texts: list[str] = []

    def _add(self, text: str, texts: list[str]) -> int | None:
        if self.results.get(text) is None:
            return None
        texts.append(text)
        return len(texts) - 1

    def add_label(self, text: str) -> int | None:
        return self._add(text, self.texts)

    add_condition = add_label

    def add_value(self, text: str) -> int | None:
        return self._add(text, self.value_texts)

    @property
    def extra(self) -> tuple[str, ...]:
        return tuple(str(self.results[text]) for text in self.texts)

    @property
    def values(self) -> tuple[str, ...]:
        return tuple(str(self.results[text]) for text in self.value_texts)


def test_label_orders() -> None:
    order = VECTORS["label_order"]
    assert list(HTTP_LABELS) == order["http"]
    assert list(TCP_LABELS) == order["tcp"]
    assert list(PEER_LABELS) == order["grpc_messages"]


def test_metric_names() -> None:
    assert set(STANDARD_METRICS) == {
        "requests_total", "request_duration_milliseconds", "request_bytes", "response_bytes", "request_messages_total",
        "response_messages_total", "tcp_connections_opened_total", "tcp_connections_closed_total", "tcp_sent_bytes_total",
        "tcp_received_bytes_total",
    }  # fmt: skip


def test_http() -> None:
    store = Store()
    series = IstioMetrics(store.scope(NAMESPACE)).series(VALUES, "none")
    handles = series.http("http", 200, "", "-")
    handles.record(12, 100, 200)
    handles.record(None, 1, 2)
    assert series.http("http", 200, "", "-") is handles
    assert series.http("http", 503, "", "UF") is not handles
    name = "istiocustom.istio_requests_total"
    counter = handles.requests_total
    assert counter.tag_extracted_name == name
    assert counter.name.startswith(f"{name}.reporter.v0.source_workload.v1.")
    assert counter.tags == tuple(zip(HTTP_LABELS, (*VALUES, "http", "200", "", "-", "none"), strict=True))
    assert counter.value == 2
    (duration,) = [each for each in store.histograms.values() if "duration" in each.name]
    assert (duration.count, duration.sum, duration.unit, duration.tags) == (1, 12, "ms", counter.tags)
    assert (handles.request_bytes.sum, handles.response_bytes.sum) == (101, 202)
    text = "".join(render(store))
    assert 'istio_requests_total{reporter="v0",' in text
    assert 'grpc_response_status="",response_flags="-",connection_security_policy="none"} 2\n' in text
    assert "# TYPE istio_request_duration_milliseconds histogram\n" in text


def test_tcp() -> None:
    store = Store()
    handles = IstioMetrics(store.scope(NAMESPACE)).series(VALUES, "mutual_tls").tcp("-")
    assert store.counters == {}
    handles.count_opened()
    handles.add_bytes(5, 0)
    assert len(store.counters) == 3
    handles.count_closed()
    tags = tuple(zip(TCP_LABELS, (*VALUES, "tcp", "-", "mutual_tls"), strict=True))
    found = {counter.tag_extracted_name: counter.value for counter in store.counters.values()}
    assert found == {
        "istiocustom.istio_tcp_connections_opened_total": 1,
        "istiocustom.istio_tcp_connections_closed_total": 1,
        "istiocustom.istio_tcp_sent_bytes_total": 5,
        "istiocustom.istio_tcp_received_bytes_total": 0,
    }
    assert all(counter.tags == tags for counter in store.counters.values())


def test_messages() -> None:
    store = Store()
    handles = IstioMetrics(store.scope(NAMESPACE)).series(VALUES, "none").messages()
    handles.request_messages_total.add(2)
    assert handles.request_messages_total.tags == tuple(zip(PEER_LABELS, VALUES, strict=True))
    assert handles.response_messages_total.tag_extracted_name == "istiocustom.istio_response_messages_total"


def test_two_configurations_share_series() -> None:
    store = Store()
    scope = store.scope(NAMESPACE)
    first = IstioMetrics(scope).series(VALUES, "none").http("http", 200, "", "-")
    second = IstioMetrics(scope).series(VALUES, "none").http("http", 200, "", "-")
    assert first.requests_total is second.requests_total


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stats.istio._MAX_REMEMBERED", 3)
    store = Store()
    metrics = IstioMetrics(store.scope(NAMESPACE))
    for number in range(10):
        series = metrics.series((str(number), *VALUES[1:]), "none")
        for code in range(200, 210):
            series.http("http", code, "", "-").record(1, 1, 1)
            series.tcp(str(code)).count_opened()
            series.messages((str(code),)).request_messages_total.inc()
            assert max(len(series._http), len(series._tcp), len(series._messages)) <= 3
        assert len(metrics._series) <= 3
    again = metrics.series(("0", *VALUES[1:]), "none").http("http", 200, "", "-")
    assert again.requests_total.value == 1


def test_evicted_series_begin_anew() -> None:
    store = Store()
    scope = store.scope(NAMESPACE)
    metrics = IstioMetrics(scope)
    build = set_build(store.scope(NAMESPACE), "1.28")
    old = metrics.series(VALUES, "none")
    old.tcp("-").count_opened()
    for _ in range(2):
        scope.evict_unused()
    assert store.counters == {}
    assert list(store.gauges.values()) == [build]
    assert metrics.generation == 1  # the first time nothing went
    new = metrics.series(VALUES, "none")
    assert new is not old
    assert old.current() is new
    assert new.current() is new
    new.tcp("-").count_opened()
    assert [counter.value for counter in store.counters.values()] == [1]


def hosts(metrics: IstioMetrics, numbers: range) -> None:
    """One request of each of many clients that chose different labels."""
    for number in numbers:
        series = metrics.series((*VALUES[:14], f"host-{number}", *VALUES[15:]), "none")
        series.http("http", 200, "", "-").record(1, 1, 1)


def overflow_of(store: Store, metric: str) -> list[Counter]:
    name = f"{NAMESPACE}.istio_{metric}"
    return [
        each
        for each in store.counters.values()
        if each.tag_extracted_name == name and ("destination_service", "overflow") in each.tags
    ]


def tell(store: Store) -> None:
    """Housekeeping."""
    for _ in store.ceiling.tell_of_full():
        pass


def series_of(store: Store, metric: str = "requests_total") -> int:
    return len(store.series.get(f"{NAMESPACE}.istio_{metric}", ()))


class TestCeiling:
    def test_what_is_above_is_counted_in_one_series(self) -> None:
        store = Store(max_series=10)
        told: list[tuple[str, str, int]] = []
        store.ceiling.tell = lambda *what: told.append(what)
        scopes = [store.root.scope(NAMESPACE, evictable=True) for _ in range(2)]
        first, second = map(IstioMetrics, scopes)
        hosts(first, range(8))
        hosts(second, range(6, 30))  # two known to both
        metrics = ("requests_total", "request_bytes", "response_bytes", "request_duration_milliseconds")
        assert told == []
        tell(store)
        assert sorted(told) == sorted((f"istio_{metric}", "destination_service", 10) for metric in metrics)
        assert [series_of(store, metric) for metric in metrics] == [11] * 4
        (overflow,) = overflow_of(store, "requests_total")
        assert overflow.value == 20
        assert overflow.tags == tuple(
            (label, "v0" if label == "reporter" else "overflow") for label in HTTP_LABELS
        )
        assert len(store.histograms) == 3 * 11
        assert store.ceiling.overflows.value == 4 * 20
        hosts(first, range(8))
        assert overflow.value == 20
        assert max(len(series._http) for series in second._series.values()) == 1
        assert second.series((*VALUES[:14], "host-29", *VALUES[15:]), "none")._http == {}

    def test_tcp_handles_above_it_are_not_remembered(self) -> None:
        store = Store(max_series=10)
        expressions = FakeExpressions({"port": "0"})
        plans = compile_plans([MetricRule(dimensions=(("port", "port"),))], (), expressions)
        series = IstioMetrics(store.scope(NAMESPACE), plans).series(VALUES, "none")
        for number in range(30):
            handles = series.tcp("-", (str(number),))
            handles.count_opened()
            handles.add_bytes(1, 2)
            handles.count_closed()
        assert len(series._tcp) == 11  # and the newest, until there is another one
        for metric in ("opened", "closed"):
            (overflow,) = [
                each
                for each in store.counters.values()
                if f"connections_{metric}" in each.name and ("port", "overflow") in each.tags
            ]
            assert overflow.value == 20

    def test_tcp_handles_that_come_above_it_later_are_forgotten_then(self) -> None:
        store = Store(max_series=10)
        expressions = FakeExpressions({"port": "0"})
        rule = MetricRule("tcp_connections_closed_total", dimensions=(("port", "port"),))
        series = IstioMetrics(store.scope(NAMESPACE), compile_plans([rule], (), expressions)).series(
            VALUES, "none"
        )
        several = [series.tcp("-", (str(number),)) for number in range(30)]
        for handles in several:
            handles.count_opened()
        for handles in several:
            handles.count_closed()
        assert len(series._tcp) == 30
        series.tcp("-", ("30",))
        assert len(series._tcp) == 11

    def test_a_series_that_is_forgotten_needs_no_garbage_collector(self) -> None:
        metrics = IstioMetrics(Store().scope(NAMESPACE))
        series = metrics.series(VALUES, "none")
        handles = series.tcp("-")
        handles.count_opened()
        hosts(metrics, range(1))
        series.messages().request_messages_total.inc()
        gc.collect()
        metrics._series.clear()
        del series
        assert gc.collect() == 0
        handles.count_closed()

    def test_every_reporter_and_metric_has_its_own(self) -> None:
        store = Store(max_series=10)
        metrics = IstioMetrics(store.scope(NAMESPACE))
        hosts(metrics, range(10))
        for reporter in ("source", "destination"):
            series = metrics.series((reporter, *VALUES[1:]), "none")
            series.http("http", 200, "", "-").record(1, 1, 1)
            series.tcp("-").count_opened()
            series.messages().request_messages_total.inc()
        found = overflow_of(store, "requests_total")
        assert [dict(each.tags)["reporter"] for each in found] == ["source", "destination"]
        assert [each.value for each in found] == [1, 1]
        for metric in ("tcp_connections_opened_total", "request_messages_total"):  # these have room
            assert overflow_of(store, metric) == []
            assert series_of(store, metric) == 2

    def test_labels_that_are_not_shown_take_no_room(self) -> None:
        store = Store(max_series=10)
        rules = [MetricRule(tags_to_remove=("destination_service",))]
        metrics = IstioMetrics(store.scope(NAMESPACE), compile_plans(rules))
        hosts(metrics, range(30))
        assert series_of(store) == 1
        assert metrics.overflows == 0

    def test_custom_metrics_count_too(self) -> None:
        store = Store(max_series=10)
        told: list[tuple[str, str, int]] = []
        store.ceiling.tell = lambda *what: told.append(what)
        expressions = FakeExpressions({"1": "1", "path": "/"})
        rules = [MetricRule("mine", (("reporter", "path"),))]
        plans = compile_plans(rules, [CustomMetric("mine", "1")], expressions)
        metrics = IstioMetrics(store.scope(NAMESPACE), plans)
        for number in range(15):
            metrics.record_custom((str(number),), ("1",))
        tell(store)
        assert told == [("istio_mine", "reporter", 10)]
        name = f"{NAMESPACE}.istio_mine"
        assert store.counters[name, (("reporter", "overflow"),)].value == 5

    def test_eviction_gives_room_and_the_next_time_is_told(self) -> None:
        store = Store(max_series=10)
        told: list[str] = []
        store.ceiling.tell = lambda metric, label, values: told.append(metric)
        metrics = IstioMetrics(store.root.scope(NAMESPACE, evictable=True))
        hosts(metrics, range(12))
        store.evict_unused()
        hosts(metrics, range(3))
        store.evict_unused()
        assert series_of(store) == 3
        hosts(metrics, range(20, 27))
        assert overflow_of(store, "requests_total") == []
        tell(store)
        assert told.count("istio_requests_total") == 1
        hosts(metrics, range(27, 28))
        assert [each.value for each in overflow_of(store, "requests_total")] == [1]
        tell(store)
        assert told.count("istio_requests_total") == 2


def test_build() -> None:
    store = Store()
    set_build(store.scope(NAMESPACE), "1.5-dev")
    assert "".join(render(store)) == VECTORS["prometheus"]["gauge"]["text"]
    other = Store()
    assert set_build(other.scope(NAMESPACE), "").tags == (("component", "proxy"), ("tag", "unknown"))


def labels_after(
    rules: list[MetricRule], metric: str = "requests_total", **results: str | None
) -> dict[str, str] | None:
    """The labels of one metric: `values` of standard ones are their own names."""
    expressions = FakeExpressions(results)
    plan = compile_plans(rules, (), expressions).standard.get(metric)
    return None if plan is None else dict(plan.tags(STANDARD_METRICS[metric], expressions.extra))


def test_drop() -> None:
    assert labels_after([MetricRule("requests_total", drop=True)]) is None
    assert labels_after([MetricRule("requests_total", drop=True)], "request_bytes") is not None
    assert labels_after([MetricRule("", drop=True)]) is not None
    assert labels_after([MetricRule("custom", drop=True)]) is not None


def test_dropped_metrics_take_reports() -> None:
    store = Store()
    rules = [MetricRule(name, drop=True) for name in STANDARD_METRICS]
    metrics = IstioMetrics(store.scope(NAMESPACE), compile_plans(rules))
    series = metrics.series(VALUES, "none")
    series.http("http", 200, "", "-").record(1, 2, 3)
    series.tcp("-").count_opened()
    series.messages().request_messages_total.inc()
    assert list(store) == []


def test_remove_from_one_and_from_all() -> None:
    rules = [MetricRule("requests_total", tags_to_remove=("response_flags", "nonsense"))]
    assert labels_after(rules) == {label: label for label in HTTP_LABELS if label != "response_flags"}
    assert labels_after(rules, "request_bytes") == {label: label for label in HTTP_LABELS}
    rules = [MetricRule(tags_to_remove=("reporter", "response_flags"))]
    for metric in STANDARD_METRICS:
        assert not {"reporter", "response_flags"} & set(labels_after(rules, metric) or ())


def test_later_rules_win() -> None:
    found = labels_after(
        [
            MetricRule(tags_to_remove=("source_app",)),
            MetricRule("requests_total", (("new", "A"), ("source_app", "A"))),
            MetricRule("requests_total", (("new", "B"), ("other", "A"))),
        ],
        A="a",
        B="b",
    )
    assert found is not None
    assert found["source_app"] == "a"
    assert list(found.items())[-2:] == [("new", "b"), ("other", "a")]
    assert list(found)[: len(HTTP_LABELS)] == list(HTTP_LABELS)


def test_an_expression_that_does_not_parse() -> None:
    found = labels_after([MetricRule("", (("new", "BAD"), ("source_app", "BAD")))], "tcp_sent_bytes_total")
    assert found == {label: label for label in TCP_LABELS if label != "source_app"}


def test_a_standard_label_that_the_metric_does_not_have_is_not_added() -> None:
    found = labels_after([MetricRule("", (("response_code", "A"),))], "request_messages_total", A="a")
    assert found == {label: label for label in PEER_LABELS}


def test_without_expressions_dimensions_are_left_out() -> None:
    rules = [MetricRule("", (("source_app", "A"), ("new", "A")), ("reporter",))]
    plans = compile_plans(rules, [CustomMetric("mine", "1")])
    assert [label for label, _ in plans.standard["requests_total"].labels] == list(HTTP_LABELS[1:])
    assert plans.custom == ()


@pytest.mark.parametrize("case", VECTORS["overrides"], ids=lambda case: case["base_case"])
def test_overrides_vector(case: dict[str, Any]) -> None:
    results = {
        text: None if isinstance(value, dict) and "parse_error" in value else
        "unknown" if isinstance(value, dict) else value
        for text, value in case["expr"].items()
    }  # fmt: skip
    expressions = FakeExpressions(results)
    config = case["config"]
    rules = [
        MetricRule(
            entry.get("name", ""),
            tuple(sorted(entry.get("dimensions", {}).items())),
            tuple(entry.get("tags_to_remove", ())),
            entry.get("drop", False),
        )
        for entry in config["metrics"]
    ]
    custom = [
        CustomMetric(each["name"], each["value"], MetricKind[each["type"]]) for each in config["definitions"]
    ]
    plans = compile_plans(rules, custom, expressions)
    (base,) = [each for each in VECTORS["cases"] if each["name"] == case["base_case"]]
    values = [value for _, value in base["expect_labels"]]
    for metric, expected in case["expect"].items():
        if metric == "custom":
            store = Store()
            IstioMetrics(store.scope(NAMESPACE), plans).record_custom(expressions.extra, expressions.values)
            (counter,) = store.counters.values()
            assert counter.tag_extracted_name == "istiocustom." + expected["prometheus_name"]
            assert counter.value == expected["increment"]
            assert [list(tag) for tag in counter.tags] == expected["labels"]
        elif expected is None:
            assert metric not in plans.standard
        else:
            tags = plans.standard[metric].tags(values, expressions.extra)
            assert [list(tag) for tag in tags] == expected


@pytest.mark.parametrize(
    ("value", "counted"),
    [("3", 3), ("0", 0), ("-1", 0), ("x", 0), ("", 0), ("1.5", 0), ("٣", 0), ("9" * 30, 0)],
)
def test_custom_values(value: str, counted: int) -> None:
    expressions = FakeExpressions({"V": value, "L": "label"})
    custom = [CustomMetric(kind.value, "V", kind) for kind in MetricKind]
    plans = compile_plans([MetricRule("", (("l", "L"),))], custom, expressions)
    store = Store()
    metrics = IstioMetrics(store.scope(NAMESPACE), plans)
    metrics.record_custom(expressions.extra, expressions.values)
    metrics.record_custom(expressions.extra, expressions.values)
    (counter,), (gauge,), (histogram,) = (
        store.counters.values(),
        store.gauges.values(),
        store.histograms.values(),
    )
    assert counter.value == 2 * counted
    assert gauge.value == counted
    assert (histogram.sum, histogram.count, histogram.unit) == (2 * counted, 2, "bytes")
    assert counter.tags == gauge.tags == histogram.tags == (("l", "label"),)


def test_custom_metric_with_a_standard_name_does_not_exist() -> None:
    plans = compile_plans(
        [], [CustomMetric("requests_total", "1"), CustomMetric("x", "BAD")], FakeExpressions({"1": "1"})
    )
    assert plans.custom == ()
    assert set(plans.standard) == set(STANDARD_METRICS)


def test_duration_is_not_listed_for_streams_that_never_completed() -> None:
    store = Store()
    IstioMetrics(store.scope(NAMESPACE)).series(VALUES, "none").http("http", 0, "", "DC").record(None, 1, 2)
    assert not any("duration" in name for name in store.histograms)
