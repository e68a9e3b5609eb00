"""What an `istio_stats` filter is made of."""

from __future__ import annotations

import logging

import pytest

from config.model.core import Node, TrafficDirection
from config.model.istio import IstioStatsSpec, MetricDefinition, MetricType
from config.model.telemetry import TelemetryOptions
from protocols.http.headers import Headers
from sidecar.stream_info import GrpcMessages
from sidecar.telemetry.istio_report import MessageReport
from sidecar.telemetry.istio_setup import reports_callers, set_up_istio_stats
from stats.istio import PEER_LABELS
from stats.store import Rotation, Store
from tests.unit.sidecar.telemetry.istio_streams import new_stream


def test_all_filters_share_one_ceiling_and_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    store = Store(max_series=4)
    setups = [
        set_up_istio_stats(IstioStatsSpec(), store.root, Node(), direction)
        for direction in (TrafficDirection.INBOUND, TrafficDirection.OUTBOUND)
    ]
    values = ("x",) * (len(PEER_LABELS) - 1)
    with caplog.at_level(logging.WARNING):
        for number in range(8):
            series = setups[number % 2].metrics.series((*values, str(number)), "none")
            series.messages().request_messages_total.inc()
        assert caplog.records == []
        for _ in store.ceiling.tell_of_full():
            pass
    assert len(store.series["istiocustom.istio_request_messages_total"]) == 5  # with the overflow
    assert store.counters["istio_stats.series_overflow_total"].value == 8
    requests, responses = sorted(caplog.records, key=lambda each: each.getMessage())
    assert requests.getMessage() == (
        "istio_stats: istio_request_messages_total has 4 series; its label destination_cluster has 4 values: what is new "
        "is counted in series labelled overflow"
    )
    assert "istio_response_messages_total has 4" in responses.getMessage()


def test_filters_lose_no_series_that_others_use() -> None:
    store = Store()
    setups = [
        set_up_istio_stats(IstioStatsSpec(), store.root, Node(), TrafficDirection.INBOUND) for _ in range(2)
    ]
    values = ("x",) * len(PEER_LABELS)
    for round_number in range(1, 4):
        for setup in setups:
            handles = setup.metrics.series(values, "none").messages()
            handles.request_messages_total.inc()
            handles.response_messages_total.inc()
        store.evict_unused()
        assert [setup.metrics.generation for setup in setups] == [0, 0]
        (counter,) = [each for each in store.counters.values() if "istio_request_messages" in each.name]
        assert counter.value == 2 * round_number


def test_rotation_and_what_is_never_evicted() -> None:
    store = Store()
    spec = IstioStatsSpec(rotation_interval_s=600, graceful_deletion_interval_s=60)
    set_up_istio_stats(spec, store.root, Node(), TrafficDirection.INBOUND)
    set_up_istio_stats(IstioStatsSpec(), store.root, Node(), TrafficDirection.INBOUND)
    assert [scope.rotation for scope in store.evictable] == [Rotation(600, 60)]
    slower = IstioStatsSpec(rotation_interval_s=700, graceful_deletion_interval_s=30)
    set_up_istio_stats(slower, store.root, Node(), TrafficDirection.INBOUND)
    assert [scope.rotation for scope in store.evictable] == [Rotation(700, 60)]
    for _ in range(3):
        store.evict_unused()
    (build,) = store.gauges.values()
    assert (build.tag_extracted_name, build.value) == ("istiocustom.istio_build", 1)


@pytest.mark.parametrize(
    ("opted_in", "node_id", "direction", "expected"),
    [
        (True, "router~1.2.3.4~egress.x~x", TrafficDirection.OUTBOUND, True),
        (True, "router~1.2.3.4~egress.x~x", TrafficDirection.UNSPECIFIED, True),
        (True, "router~1.2.3.4~egress.x~x", TrafficDirection.INBOUND, False),
        (True, "sidecar~1.2.3.4~a.x~x", TrafficDirection.OUTBOUND, False),
        (False, "router~1.2.3.4~egress.x~x", TrafficDirection.OUTBOUND, False),
    ],
)
def test_who_reports_callers(
    opted_in: bool, node_id: str, direction: TrafficDirection, expected: bool
) -> None:
    options, node = TelemetryOptions(gateway_destination_reporter=opted_in), Node(id=node_id)
    assert reports_callers(options, node, direction) is expected
    setup = set_up_istio_stats(IstioStatsSpec(), Store().root, node, direction, options)
    assert (setup.caller_rules is not None) is expected


def test_a_gateway_counts_everything_twice() -> None:
    """As a source and as a destination, at ticks and at the end."""
    store = Store()
    options = TelemetryOptions(gateway_destination_reporter=True)
    direction = TrafficDirection.OUTBOUND
    setup = set_up_istio_stats(IstioStatsSpec(), store.root, Node(id="router~"), direction, options)
    stream, report = new_stream(), MessageReport()
    stream.request_headers = Headers.request(
        b"POST", b"/a.B/c", b"a", [(b"content-type", b"application/grpc")]
    )
    stream.connection.peer_not_found = True
    messages = stream.grpc_messages = GrpcMessages()
    messages.requests.count = 3
    setup.http_reporter().tick(stream, report)
    setup.http_reporter().end(stream, report)
    connection = new_stream()
    connection.bytes_sent = 5
    tcp = setup.tcp_reporter(connection)
    tcp.tick(waited=True)
    tcp.close()
    for name, value in {
        "requests_total": 1,
        "request_messages_total": 3,
        "tcp_connections_opened_total": 1,
        "tcp_connections_closed_total": 1,
        "tcp_sent_bytes_total": 5,
    }.items():
        found = {
            dict(each.tags)["reporter"]: each.value
            for each in store.counters.values()
            if each.tag_extracted_name == f"istiocustom.istio_{name}"
        }
        assert found == {"source": value, "destination": value}


def test_a_custom_metric_counts_an_upgraded_stream_once() -> None:
    """As a request, not as a tunnel too."""
    store = Store()
    spec = IstioStatsSpec(definitions=(MetricDefinition("mine", "1", MetricType.COUNTER),))
    setup = set_up_istio_stats(spec, store.root, Node(), TrafficDirection.INBOUND)
    stream = new_stream()
    stream.request_headers = Headers.request(b"GET", b"/", b"a", [])
    setup.tcp_reporter(stream, upgraded=True).close()
    setup.http_reporter().end(stream)
    (mine,) = [each for each in store.counters.values() if each.tag_extracted_name.endswith(".istio_mine")]
    assert mine.value == 1
