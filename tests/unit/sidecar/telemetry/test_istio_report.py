from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from protocols.http.codec import StreamMeter
from protocols.http.headers import Headers
from protocols.peer_metadata import PeerMetadata
from sidecar.stream_info import GrpcMessages, ResponseFlag, StreamInfo, UpstreamConnectionState, UpstreamInfo
from sidecar.telemetry.istio import LabelRules, LocalWorkload, ReporterSide
from sidecar.telemetry.istio_report import Expressions, HttpReporter, MessageReport, TcpReporter
from stats.istio import NAMESPACE, CustomMetric, IstioMetrics, MetricRule, compile_plans
from stats.metrics import Exemplar
from stats.store import Store
from tests.unit.sidecar.telemetry.istio_streams import new_stream
from tests.vectors import load_vectors

TIMELINES = load_vectors("istio_stats_labels.json")["tcp_timelines"]


def make(store: Store, side: ReporterSide = ReporterSide.DESTINATION) -> tuple[IstioMetrics, LabelRules]:
    metrics = IstioMetrics(store.scope(NAMESPACE))
    return metrics, LabelRules(metrics, LocalWorkload(), side)


def totals(store: Store) -> dict[str, int]:
    short = {
        "tcp_connections_opened_total": "opened",
        "tcp_connections_closed_total": "closed",
        "tcp_sent_bytes_total": "sent",
        "tcp_received_bytes_total": "received",
    }
    found: dict[str, int] = {}
    for counter in store.counters.values():
        name = counter.tag_extracted_name.removeprefix("istiocustom.istio_")
        found[short.get(name, name)] = found.get(short.get(name, name), 0) + counter.value
    return found


@pytest.mark.parametrize("timeline", TIMELINES, ids=lambda timeline: timeline["name"])
@pytest.mark.parametrize("side", [ReporterSide.SOURCE, ReporterSide.DESTINATION])
def test_tcp_timelines(timeline: dict[str, Any], side: ReporterSide) -> None:
    store = Store()
    metrics, rules = make(store, side)
    stream = new_stream()
    stream.upstream = UpstreamInfo()
    state = stream.upstream.connection_state = UpstreamConnectionState()
    reporter = TcpReporter(metrics, rules, stream)
    expected = {time: dict(wanted) for time, wanted in timeline["expect"]}
    for time, event, *amount in timeline["events"]:
        before = totals(store)
        if event == "peer_read":
            stream.connection.downstream_peer = state.upstream_peer = PeerMetadata(workload="x")
        elif event == "recv":
            stream.bytes_received += amount[0]
        elif event == "sent":
            stream.bytes_sent += amount[0]
        elif event == "tick":
            reporter.tick()
        elif event == "close":
            reporter.close()
        after = totals(store)
        wanted = expected.get(time, {}) if event in ("tick", "close") else {}
        assert after.keys() >= wanted.keys()
        changed = {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}
        assert changed == {key: value for key, value in wanted.items() if value}


@pytest.mark.parametrize("side", [ReporterSide.SOURCE, ReporterSide.DESTINATION])
def test_peer_not_found_lets_ticks_report(side: ReporterSide) -> None:
    store = Store()
    metrics, rules = make(store, side)
    stream = new_stream()
    reporter = TcpReporter(metrics, rules, stream)
    reporter.tick()
    assert totals(store) == {}
    stream.upstream = UpstreamInfo()
    reporter.tick()
    stream.upstream.connection_state = UpstreamConnectionState()
    reporter.tick()
    assert totals(store) == {}
    stream.connection.peer_not_found = stream.upstream.connection_state.peer_not_found = True
    reporter.tick()
    reporter.tick()
    assert totals(store) == {"opened": 1, "sent": 0, "received": 0}


def test_a_peer_may_be_waited_for_long_enough() -> None:
    """What is then reported stays."""
    store = Store()
    metrics, rules = make(store)
    stream = new_stream()
    reporter = TcpReporter(metrics, rules, stream)
    reporter.tick(waited=True)
    stream.connection.downstream_peer = PeerMetadata(workload="late")
    reporter.tick()
    reporter.close()
    assert totals(store) == {"opened": 1, "closed": 1, "sent": 0, "received": 0}
    assert {dict(counter.tags)["source_workload"] for counter in store.counters.values()} == {"unknown"}


def test_tcp_labels_stay_as_they_were_first() -> None:
    store = Store()
    metrics, rules = make(store)
    stream = new_stream()
    stream.connection.peer_not_found = True
    reporter = TcpReporter(metrics, rules, stream)
    reporter.tick()
    stream.add_flag(ResponseFlag.UPSTREAM_CONNECTION_FAILURE)
    stream.connection.downstream_peer = PeerMetadata(workload="late")
    reporter.close()
    assert {dict(counter.tags)["response_flags"] for counter in store.counters.values()} == {"-"}
    assert {dict(counter.tags)["source_workload"] for counter in store.counters.values()} == {"unknown"}


def test_connection_that_failed_before_any_byte() -> None:
    store = Store()
    metrics, rules = make(store, ReporterSide.SOURCE)
    stream = new_stream()
    stream.cluster_name = "BlackHoleCluster"
    stream.add_flag(ResponseFlag.NO_HEALTHY_UPSTREAM)
    TcpReporter(metrics, rules, stream).close()
    assert totals(store) == {"opened": 1, "closed": 1, "sent": 0, "received": 0}
    labels = dict(next(iter(store.counters.values())).tags)
    assert labels["response_flags"] == "UH"
    assert labels["destination_service_name"] == "BlackHoleCluster"
    assert labels["destination_service"] == "unknown"


def test_tcp_reports_go_on_after_an_eviction() -> None:
    store = Store()
    scope = store.scope(NAMESPACE)
    metrics = IstioMetrics(scope)
    stream = new_stream()
    stream.connection.peer_not_found = True
    reporter = TcpReporter(metrics, LabelRules(metrics, LocalWorkload(), ReporterSide.DESTINATION), stream)
    reporter.tick()
    scope.evict_unused()
    scope.evict_unused()
    assert totals(store) == {}
    stream.bytes_sent = 5
    reporter.close()
    assert totals(store) == {"closed": 1, "sent": 5, "received": 0}


def test_message_reports_go_on_after_an_eviction() -> None:
    store = Store()
    scope = store.scope(NAMESPACE)
    metrics = IstioMetrics(scope)
    reporter = HttpReporter(metrics, LabelRules(metrics, LocalWorkload(), ReporterSide.DESTINATION))
    stream, report = grpc_stream(), MessageReport()
    stream.peer_not_found = True
    reporter.tick(stream, report)
    scope.evict_unused()
    scope.evict_unused()
    count(stream, 2, 0)
    reporter.tick(stream, report)
    assert totals(store) == {"request_messages_total": 2, "response_messages_total": 0}
    scope.evict_unused()
    scope.evict_unused()
    reporter.end(stream, report)
    assert totals(store) == {"request_messages_total": 0, "response_messages_total": 0, "requests_total": 1}


def http_stream(content_type: bytes = b"") -> StreamInfo:
    stream = new_stream()
    fields = [(b"content-type", content_type)] if content_type else []
    stream.request_headers = Headers.request(b"GET", b"/", b"a", fields)
    stream.response_code = 200
    stream.end_ns = stream.start_ns + 12_999_999
    meter = stream.meter = StreamMeter()
    meter.wire_received, meter.wire_sent = 111, 222
    return stream


def grpc_stream() -> StreamInfo:
    """One whose messages are counted."""
    stream = http_stream(b"application/grpc")
    count(stream, 0, 0)
    return stream


def count(stream: StreamInfo, requests: int, responses: int) -> None:
    """So many messages have gone by."""
    messages = stream.grpc_messages = stream.grpc_messages or GrpcMessages()
    messages.requests.count, messages.responses.count = requests, responses


def test_http_end() -> None:
    store = Store()
    metrics, rules = make(store)
    HttpReporter(metrics, rules).end(http_stream())
    histograms = {each.tag_extracted_name: each for each in store.histograms.values()}
    assert histograms["istiocustom.istio_request_duration_milliseconds"].sum == 12
    assert histograms["istiocustom.istio_request_bytes"].sum == 111
    assert histograms["istiocustom.istio_response_bytes"].sum == 222
    assert totals(store) == {"requests_total": 1}


class FakeTrace(NamedTuple):
    trace_id: str
    span_id: str
    sampled: bool


def test_a_sampled_trace_is_the_exemplar_of_the_duration() -> None:
    store = Store()
    metrics, rules = make(store)
    for trace in (None, FakeTrace("a" * 32, "b" * 16, False), FakeTrace("c" * 32, "d" * 16, True)):
        stream = new_stream()
        stream.start_s, stream.start_ns, stream.end_ns = 1700000000.0, 5, 5 + 7_000_000
        stream.trace = trace
        HttpReporter(metrics, rules).end(stream)
    (duration,) = (each for each in store.histograms.values() if "duration" in each.name)
    exemplars = [each for each in duration.exemplars or () if each is not None]
    assert exemplars == [Exemplar("c" * 32, "d" * 16, 7, 1700000000.007)]
    assert duration.count == 3
    assert all(each.exemplars is None for each in store.histograms.values() if each is not duration)


def test_http_stream_that_never_completed_has_no_duration() -> None:
    store = Store()
    metrics, rules = make(store)
    stream = http_stream()
    stream.end_ns = 0
    stream.meter = None
    HttpReporter(metrics, rules).end(stream)
    counts = {
        each.tag_extracted_name.removeprefix("istiocustom.istio_"): each.count
        for each in store.histograms.values()
    }
    assert counts == {"request_bytes": 1, "response_bytes": 1}


def test_stream_without_a_request() -> None:
    store = Store()
    metrics, rules = make(store)
    HttpReporter(metrics, rules).end(new_stream())
    (counter,) = store.counters.values()
    assert dict(counter.tags)["response_code"] == "0"
    assert dict(counter.tags)["request_protocol"] == "http"


def test_grpc_messages_are_reported_as_deltas() -> None:
    store = Store()
    metrics, rules = make(store)
    reporter = HttpReporter(metrics, rules)
    stream, report = grpc_stream(), MessageReport()
    count(stream, 3, 0)
    reporter.tick(stream, report)
    assert totals(store) == {}
    stream.peer_not_found = True
    reporter.tick(stream, report)
    assert totals(store) == {"request_messages_total": 3, "response_messages_total": 0}
    count(stream, 5, 2)
    reporter.tick(stream, report)
    assert totals(store) == {"request_messages_total": 5, "response_messages_total": 2}
    count(stream, 5, 4)
    stream.downstream_peer = PeerMetadata(workload="late")
    reporter.end(stream, report)
    assert totals(store) == {"request_messages_total": 5, "response_messages_total": 4, "requests_total": 1}
    assert {dict(counter.tags)["source_workload"] for counter in store.counters.values()} == {"unknown"}


def test_grpc_messages_at_the_end_only() -> None:
    store = Store()
    metrics, rules = make(store, ReporterSide.SOURCE)
    stream = grpc_stream()
    count(stream, 1, 1)
    HttpReporter(metrics, rules).end(stream)
    assert totals(store) == {"request_messages_total": 1, "response_messages_total": 1, "requests_total": 1}


@pytest.mark.parametrize("side", [ReporterSide.SOURCE, ReporterSide.DESTINATION])
def test_http_ticks_begin_when_the_peer_is_known(side: ReporterSide) -> None:
    store = Store()
    metrics, rules = make(store, side)
    stream, report = grpc_stream(), MessageReport()
    HttpReporter(metrics, rules).tick(stream, report)
    assert report.series is None
    stream.connection.downstream_peer = stream.connection.upstream_peer = PeerMetadata()
    HttpReporter(metrics, rules).tick(stream, report)
    assert report.series is not None


def test_nothing_to_report_before_the_labels_are_known() -> None:
    report = MessageReport()
    report.report(GrpcMessages())
    assert report.series is None


def test_nothing_is_reported_where_nobody_counts() -> None:
    store = Store()
    metrics, rules = make(store)
    stream, report = http_stream(b"application/grpc"), MessageReport()
    stream.peer_not_found = True
    reporter = HttpReporter(metrics, rules)
    reporter.tick(stream, report)
    reporter.end(stream, report)
    assert totals(store) == {"requests_total": 1}


def test_messages_of_what_is_not_grpc_are_not_reported() -> None:
    store = Store()
    metrics, rules = make(store)
    stream = http_stream(b"application/grpc-web")
    count(stream, 1, 1)
    HttpReporter(metrics, rules).end(stream)
    assert totals(store) == {"requests_total": 1}


class FakeExpressions(Expressions):
    """One expression: whether the stream has ended."""

    def __init__(self) -> None:
        self.asked: list[bool] = []

    def add_label(self, text: str) -> int | None:
        return 0 if text == "E" else None

    add_condition = add_label

    def add_value(self, text: str) -> int | None:
        return 0 if text == "V" else None

    def labels(self, stream: StreamInfo, ended: bool) -> tuple[str, ...]:
        self.asked.append(ended)
        return (str(int(ended)),)

    def values(self, stream: StreamInfo, ended: bool) -> tuple[str, ...]:
        return ("7",)


def expressive(store: Store) -> tuple[IstioMetrics, LabelRules]:
    rules = [MetricRule("", (("ended", "E"),))]
    plans = compile_plans(rules, [CustomMetric("mine", "V")], FakeExpressions())
    metrics = IstioMetrics(store.scope(NAMESPACE), plans)
    return metrics, LabelRules(metrics, LocalWorkload(), ReporterSide.DESTINATION)


def test_http_expressions_and_custom_metrics() -> None:
    store = Store()
    metrics, rules = expressive(store)
    expressions = FakeExpressions()
    reporter = HttpReporter(metrics, rules, expressions)
    stream, report = grpc_stream(), MessageReport()
    stream.peer_not_found = True
    reporter.tick(stream, report)
    reporter.tick(stream, report)
    reporter.end(stream, report)
    assert expressions.asked == [False, True]
    assert totals(store)["mine"] == 7
    ended = {each.tag_extracted_name: each.tags[-1] for each in store.counters.values()}
    assert ended["istiocustom.istio_requests_total"] == ("ended", "1")
    assert ended["istiocustom.istio_request_messages_total"] == ("ended", "0")


def test_tcp_expressions_and_custom_metrics() -> None:
    store = Store()
    metrics, rules = expressive(store)
    expressions = FakeExpressions()
    stream = new_stream()
    stream.connection.peer_not_found = True
    reporter = TcpReporter(metrics, rules, stream, expressions)
    reporter.tick()
    assert "mine" not in totals(store)
    reporter.close()
    assert expressions.asked == [False]
    assert totals(store)["mine"] == 7
