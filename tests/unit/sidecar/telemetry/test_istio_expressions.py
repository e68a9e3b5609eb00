"""Custom metrics: the rules CM-1 to CM-6 of the metrics' specification, each under its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from config.model.core import Metadata, Node, TrafficDirection
from config.model.istio import IstioStatsSpec, MetricConfig, MetricDefinition, MetricType
from config.model.telemetry import TelemetryOptions
from protocols.http.codec import StreamMeter
from protocols.http.headers import Headers
from sidecar.expressions.attributes import _FAMILIES, _WITHOUT_HEADERS
from sidecar.expressions.reading import Function, Reader
from sidecar.stream_info import GrpcMessages, StreamInfo
from sidecar.telemetry.istio_expressions import ConfiguredExpressions
from sidecar.telemetry.istio_report import HttpReporter, MessageReport, TcpReporter
from sidecar.telemetry.istio_setup import set_up_istio_stats
from stats.istio import HTTP_LABELS
from stats.prometheus import render
from stats.store import Store
from tests.unit.sidecar.telemetry.istio_streams import new_stream, stream_of
from tests.vectors import load_vectors

VECTORS = load_vectors("istio_stats_labels.json")
NODE = Node(metadata={"LABELS": {"app": "productpage", "version": "v1"}, "WORKLOAD_NAME": "productpage-v1"})
Labels = dict[str, str]


def _broken(info: StreamInfo) -> object:
    raise TypeError("not today")


@pytest.mark.parametrize("ended", [True, False])
def test_an_exception_while_a_request_is_reported_is_unknown(
    ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for root, name in (
        ("request", "size"),
        ("request", "protocol"),
        ("response", "code"),
        ("response", "size"),
    ):
        for families in (_FAMILIES, _WITHOUT_HEADERS):
            monkeypatch.setitem(cast("dict[str, Reader]", families[root]), name, Function(_broken))
    expressions, stream = ConfiguredExpressions(NODE), new_stream()
    assert expressions.add_label("request.size") == 0
    assert expressions.add_condition("response.code == 200") == 1
    assert expressions.add_label("type(request.protocol)") == 2
    assert expressions.add_value("response.size") == 0
    assert expressions.labels(stream, ended) == ("unknown", "", "unknown")
    assert expressions.values(stream, ended) == ("unknown",)


def test_a_client_cannot_make_long_labels() -> None:
    expressions = ConfiguredExpressions(NODE)
    expressions.add_label("request.host")
    stream = new_stream()
    stream.request_headers = Headers.request(b"GET", b"/", b"a" * 40_000, [])
    assert expressions.labels(stream, True) == ("a" * 1024,)


@pytest.mark.parametrize("ended", [True, False])
def test_types_are_compared_without_an_exception(ended: bool) -> None:
    expressions = ConfiguredExpressions(NODE)
    expressions.add_label("null == type(response.code) == int")
    expressions.add_label("type(response.code) == int")
    assert expressions.labels(http_stream(), ended) == ("false", "true")


def http_stream() -> StreamInfo:
    stream = new_stream()
    stream.protocol = "HTTP/1.1"
    stream.request_headers = Headers.request(b"GET", b"/a?b", b"server", [(b"x-length", b"12")])
    stream.response_headers = Headers.response(200)
    stream.response_code = 200
    stream.end_ns = stream.start_ns + 5_000_000
    stream.meter = StreamMeter()
    stream.route_name, stream.virtual_host_name = "client_route", "server"
    return stream


def report(
    kind: str, spec: IstioStatsSpec, stream: StreamInfo | None = None, store: Store | None = None
) -> Store:
    """One stream or connection from its beginning to its end."""
    store = store or Store()
    metrics, rules, _, expressions = set_up_istio_stats(spec, store.root, NODE, TrafficDirection.OUTBOUND)
    if kind == "http":
        HttpReporter(metrics, rules, expressions).end(stream or http_stream())
    else:
        TcpReporter(metrics, rules, stream or new_stream(), expressions).close()
    return store


def metric(store: Store, name: str) -> list[tuple[Labels, float]]:
    found = [*store.counters.values(), *store.gauges.values()]
    name = f"istiocustom.istio_{name}"
    return [(dict(each.tags), each.value) for each in found if each.tag_extracted_name == name]


def labels(store: Store, name: str = "requests_total") -> Labels:
    ((found, value),) = metric(store, name)
    assert value == 1
    return found


def vector_spec(config: dict[str, Any], texts: dict[str, str]) -> IstioStatsSpec:
    """The configuration of a vector; `texts` are the expressions that its names stand for."""
    return IstioStatsSpec(
        metrics=tuple(
            MetricConfig(
                entry.get("name", ""),
                tuple(
                    sorted(
                        (label, texts.get(text, text)) for label, text in entry.get("dimensions", {}).items()
                    )
                ),
                tuple(entry.get("tags_to_remove", ())),
                entry.get("drop", False),
            )
            for entry in config["metrics"]
        ),
        definitions=tuple(
            MetricDefinition(each["name"], each["value"], MetricType[each["type"]])
            for each in config["definitions"]
        ),
    )


@pytest.mark.parametrize("case", VECTORS["overrides"], ids=lambda case: case["base_case"])
def test_cm_1_overrides_vector(case: dict[str, Any]) -> None:
    """The vector's own expressions, evaluated by CEL, give the labels of the golden file."""
    texts = {
        "E1": "'_' + xds.node.metadata['WORKLOAD_NAME']",
        "E2": "'_' + xds.node.metadata['NAMESPACE']",
        "E3": "'_' + xds.node.metadata.LABELS.app",
        "E4": "'_' + xds.node.metadata.LABELS.version",
        "E5": "'_' + filter_state.upstream_peer.service",
        "E6": 'xds.route_name + "," + xds.cluster_name + "," + '
        "xds.cluster_metadata.filter_metadata.istio.services[0].name",
    }
    (base,) = [each for each in VECTORS["cases"] if each["name"] == case["base_case"]]
    stream = stream_of(base)
    stream.protocol = "HTTP/1.1"
    stream.route_name, stream.virtual_host_name = "client_route", "any"
    stream.meter = StreamMeter()
    stream.end_ns = 2_000_000
    stream.cluster_name = "server-outbound-cluster"
    assert stream.cluster_metadata == Metadata({"istio": {"services": base["cluster"]["services"]}})
    store = Store()
    node = Node(metadata=base["node_metadata"])
    metrics, rules, _, expressions = set_up_istio_stats(
        vector_spec(case["config"], texts), store.root, node, TrafficDirection.OUTBOUND
    )
    HttpReporter(metrics, rules, expressions).end(stream)
    counters = {each.tag_extracted_name: each for each in store.counters.values()}
    expect = case["expect"]
    requests = counters["istiocustom.istio_requests_total"]
    assert [list(tag) for tag in requests.tags] == expect["requests_total"]
    custom = counters[f"istiocustom.{expect['custom']['prometheus_name']}"]
    assert [list(tag) for tag in custom.tags] == expect["custom"]["labels"]
    assert custom.value == expect["custom"]["increment"]
    histograms = {each.tag_extracted_name: each for each in store.histograms.values()}
    assert "istiocustom.istio_request_duration_milliseconds" not in histograms
    sizes = histograms["istiocustom.istio_request_bytes"]
    assert [list(tag) for tag in sizes.tags] == expect["request_bytes"]


def test_cm_1_missing_attributes_are_unknown() -> None:
    spec = IstioStatsSpec(
        metrics=(MetricConfig("", (("new", "request.headers['none']"), ("source_app", "nothing.at.all"))),)
    )
    found = labels(report("http", spec))
    assert (found["new"], found["source_app"]) == ("unknown", "unknown")


def test_cm_1_one_text_as_value_and_as_label() -> None:
    """Each is evaluated for itself."""
    spec = IstioStatsSpec(
        metrics=(MetricConfig("mine", (("code", "response.code"),)),),
        definitions=(MetricDefinition("mine", "response.code"),),
    )
    assert metric(report("http", spec), "mine") == [({"code": "200"}, 200)]


def test_cm_1_ticks_do_not_read_the_heads() -> None:
    spec = IstioStatsSpec(
        metrics=(MetricConfig("", (("path", "request.path"), ("protocol", "request.protocol"))),)
    )
    store = Store()
    metrics, rules, _, expressions = set_up_istio_stats(spec, store.root, NODE, TrafficDirection.OUTBOUND)
    stream = http_stream()
    assert stream.request_headers is not None
    stream.request_headers.set(b"content-type", b"application/grpc")
    stream.peer_not_found = True
    stream.grpc_messages = GrpcMessages()
    reporter, messages = HttpReporter(metrics, rules, expressions), MessageReport()
    reporter.tick(stream, messages)
    reporter.end(stream, messages)
    ((on_the_way, _),) = metric(store, "request_messages_total")
    assert (on_the_way["path"], on_the_way["protocol"]) == ("unknown", "HTTP/1.1")
    assert labels(store)["path"] == "/a?b"


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_cm_2_new_labels_without_a_change_of_the_bootstrap(kind: str) -> None:
    spec = IstioStatsSpec(metrics=(MetricConfig("", (("new_label", "source.port"), ("role", "'a'"))),))
    store = report(kind, spec)
    name = "requests_total" if kind == "http" else "tcp_connections_opened_total"
    found = labels(store, name)
    assert list(found)[-2:] == ["new_label", "role"]
    assert 'new_label="50000",role="a"} 1\n' in "".join(render(store))


@pytest.mark.parametrize("kind", ["http", "tcp"])
@pytest.mark.parametrize(
    ("match", "applies"),
    [
        ("", True),
        ("true", True),
        ("source.port == 50000", True),
        ("source.port == 1", False),
        ("nothing.at.all", False),
        ("'true'", False),
        ("not a condition", False),
    ],
)
def test_cm_3_match_decides_whether_an_entry_applies(kind: str, match: str, applies: bool) -> None:
    spec = IstioStatsSpec(
        metrics=(MetricConfig("", (("new", "'n'"),), ("source_app",), match=match),),
        definitions=(MetricDefinition("mine", "1"),),
    )
    store = report(kind, spec)
    found = labels(store, "requests_total" if kind == "http" else "tcp_connections_closed_total")
    assert found.get("new") == ("n" if applies else None)
    assert ("source_app" in found) is not applies
    assert metric(store, "mine") == [({"new": "n"} if applies else {}, 1)]


def test_cm_3_match_is_judged_for_each_report() -> None:
    spec = IstioStatsSpec(
        metrics=(
            MetricConfig("request_bytes", drop=True, match="response.code < 500"),
            MetricConfig("requests_total", (("failed", "'yes'"),), match="response.code >= 500"),
            MetricConfig("mine", drop=True, match="response.code >= 500"),
        ),
        definitions=(MetricDefinition("mine", "1"),),
    )
    store = Store()
    metrics, rules, _, expressions = set_up_istio_stats(spec, store.root, NODE, TrafficDirection.OUTBOUND)
    reporter = HttpReporter(metrics, rules, expressions)
    for code in (200, 503, 200):
        stream = http_stream()
        stream.response_code = code
        reporter.end(stream)
    found = {
        each["response_code"]: (each.get("failed"), value) for each, value in metric(store, "requests_total")
    }
    assert found == {"200": (None, 2), "503": ("yes", 1)}
    sizes = [each for each in store.histograms.values() if "request_bytes" in each.tag_extracted_name]
    assert [(dict(each.tags)["response_code"], each.count) for each in sizes] == [("503", 1)]
    assert metric(store, "mine") == [({}, 2)]


def test_cm_3_sets_of_conditions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stats.istio._MAX_VARIANTS", 2)
    codes = (200, 201, 202, 203)
    spec = IstioStatsSpec(
        metrics=tuple(
            MetricConfig("", ((f"is_{code}", "'1'"),), match=f"response.code == {code}") for code in codes
        )
    )
    store = Store()
    metrics, rules, _, expressions = set_up_istio_stats(spec, store.root, NODE, TrafficDirection.OUTBOUND)
    for code in codes:
        stream = http_stream()
        stream.response_code = code
        HttpReporter(metrics, rules, expressions).end(stream)
        assert len(metrics._variants) <= 2
    found = [set(each) - set(HTTP_LABELS) for each, _ in metric(store, "requests_total")]
    assert found == [{f"is_{code}"} for code in codes]


def test_cm_4_drop_of_a_custom_metric() -> None:
    spec = IstioStatsSpec(
        metrics=(MetricConfig("mine", drop=True),),
        definitions=(MetricDefinition("mine", "1"), MetricDefinition("other", "2")),
    )
    store = report("http", spec)
    assert metric(store, "mine") == []
    assert metric(store, "other") == [({}, 2)]


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_cm_5_broken_expressions_break_nothing(kind: str) -> None:
    broken = "cannot _ parse | 0"
    spec = IstioStatsSpec(
        metrics=(
            MetricConfig("", (("new", broken), ("source_app", broken), ("good", "'g'"))),
            MetricConfig("", (("again", broken),), match=broken),
        ),
        definitions=(MetricDefinition("mine", broken), MetricDefinition("other", "3")),
    )
    store = report(kind, spec)
    report(kind, spec, store=store)
    ((found, value),) = metric(store, "requests_total" if kind == "http" else "tcp_connections_opened_total")
    assert value == 2
    assert found["good"] == "g"
    assert not {"new", "again", "source_app"} & set(found)
    assert metric(store, "mine") == []
    assert metric(store, "other") == [({"good": "g"}, 6)]


NUMBERS = {
    "7": 7,
    "response.size": 20,
    "request.headers['x-length']": 12,
    "-1": 0,
    "1.5": 0,
    "'x'": 0,
    "nothing": 0,
    "request.headers": 0,
    "1 / 0": 0,
    "9223372036854775807": 9223372036854775807,
}


@pytest.mark.parametrize("value", NUMBERS)
def test_cm_6_values_that_are_no_unsigned_number_count_as_0(value: str) -> None:
    stream = http_stream()
    stream.bytes_sent = 20
    spec = IstioStatsSpec(definitions=(MetricDefinition("mine", value),))
    assert metric(report("http", spec, stream), "mine") == [({}, NUMBERS[value])]


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_cm_6_counter_gauge_and_histogram(kind: str) -> None:
    spec = IstioStatsSpec(
        definitions=tuple(MetricDefinition(each.name.lower(), "request.size", each) for each in MetricType)
    )
    store = Store()
    make: Callable[[], StreamInfo] = http_stream if kind == "http" else new_stream
    for size in (5, 3):
        stream = make()
        stream.bytes_received = size
        report(kind, spec, stream, store)
    assert metric(store, "counter") == [({}, 8)]
    assert metric(store, "gauge") == [({}, 3)]
    (histogram,) = [
        each for each in store.histograms.values() if each.tag_extracted_name.endswith("_histogram")
    ]
    assert (histogram.count, histogram.sum, histogram.unit) == (2, 8, "bytes")
    assert metric(store, "counter")[0][0] == {}


def test_cm_6_varying_values_make_no_more_label_sets() -> None:
    spec = IstioStatsSpec(definitions=(MetricDefinition("mine", "request.size"),))
    store = Store()
    metrics, rules, _, expressions = set_up_istio_stats(spec, store.root, NODE, TrafficDirection.OUTBOUND)
    for size in range(20):
        stream = http_stream()
        stream.bytes_received = size
        HttpReporter(metrics, rules, expressions).end(stream)
    (series,) = metrics._series.values()
    assert len(series._http) == 1
    assert metric(store, "mine") == [({}, sum(range(20)))]


def test_without_expressions_there_is_nothing_to_evaluate() -> None:
    spec = IstioStatsSpec(metrics=(MetricConfig("requests_total", tags_to_remove=("source_app",)),))
    assert set_up_istio_stats(spec, Store().root, NODE, TrafficDirection.INBOUND).expressions is None


def test_one_text_in_one_role_is_evaluated_once() -> None:
    expressions = ConfiguredExpressions(NODE)
    assert [expressions.add_label("request.path") for _ in range(2)] == [0, 0]
    assert expressions.add_condition("request.path") == 1
    assert [expressions.add_value("request.path") for _ in range(2)] == [0, 0]
    assert expressions.labels(http_stream(), ended=True) == ("/a?b", "")
    assert expressions.labels(http_stream(), ended=False) == ("unknown", "")
    assert expressions.values(http_stream(), ended=True) == ("/a?b",)


def test_a_gateway_that_reports_its_callers_counts_custom_metrics_once() -> None:
    spec = IstioStatsSpec(
        metrics=(MetricConfig("", (("new", "request.method"),)),),
        definitions=(MetricDefinition("mine", "1"),),
    )
    gateway = Node(id="router~10.0.0.1~gateway.ns~ns.svc", metadata=NODE.metadata)
    options = TelemetryOptions(gateway_destination_reporter=True)
    for kind in ("http", "tcp"):
        store = Store()
        setup = set_up_istio_stats(spec, store.root, gateway, TrafficDirection.OUTBOUND, options)
        if kind == "http":
            setup.http_reporter().end(http_stream())
        else:
            setup.tcp_reporter(new_stream()).close()
        name = "requests_total" if kind == "http" else "tcp_connections_closed_total"
        found = [(each["reporter"], each["new"], value) for each, value in metric(store, name)]
        method = "GET" if kind == "http" else "unknown"
        assert found == [("source", method, 1), ("destination", method, 1)]
        assert metric(store, "mine") == [({"new": method}, 1)]
