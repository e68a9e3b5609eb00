from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from config.model.core import Metadata, Node, TrafficDirection
from config.model.istio import IstioStatsSpec, MetricConfig, MetricDefinition, MetricType, Reporter
from protocols.http.headers import Headers
from protocols.peer_metadata import PeerMetadata
from sidecar.stream_info import GrpcMessages, StreamInfo, UpstreamConnectionState, UpstreamInfo
from sidecar.telemetry import istio
from sidecar.telemetry.istio import (
    LabelRules,
    LocalWorkload,
    ReporterSide,
    grpc_status,
    parse_endpoint_workload,
    plans_of,
    principal_namespace,
    side_of,
)
from sidecar.telemetry.istio_expressions import ConfiguredExpressions
from sidecar.telemetry.istio_report import HttpReporter, TcpReporter
from stats.istio import NAMESPACE, PEER_LABELS, IstioMetrics, MetricKind
from stats.store import Store
from tests.unit.sidecar.telemetry.istio_streams import new_stream, rules_of, stream_of, tls_info
from tests.vectors import load_vectors

VECTORS = load_vectors("istio_stats_labels.json")


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_label_vectors(case: dict[str, Any]) -> None:
    store = Store()
    metrics, rules = rules_of(case, store)
    stream = stream_of(case)
    name = "istiocustom.istio_requests_total"
    if case["protocol"] == "tcp":
        TcpReporter(metrics, rules, stream).close()
        name = "istiocustom.istio_tcp_connections_opened_total"
    elif case["protocol"] == "grpc_messages":
        stream.grpc_messages = GrpcMessages()
        HttpReporter(metrics, rules).end(stream)
        name = "istiocustom.istio_request_messages_total"
    else:
        HttpReporter(metrics, rules).end(stream)
    (counter,) = [stat for stat in store.counters.values() if stat.tag_extracted_name == name]
    assert [list(tag) for tag in counter.tags] == case["expect_labels"]


@pytest.mark.parametrize(("principal", "namespace"), VECTORS["principal_namespace"])
def test_principal_namespace(principal: str, namespace: str) -> None:
    assert principal_namespace(principal) == namespace


@pytest.mark.parametrize(("code", "status"), VECTORS["http_to_grpc_status"])
def test_http_to_grpc_status(code: int, status: int) -> None:
    stream = new_stream()
    stream.response_code = code
    assert grpc_status(stream) == str(status)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b"0", "0"), (b"16", "16"), (b"17", "-1"), (b"007", "7"), (b"-1", "-1"), (b"x", "-1"), (b"+5", "-1"), (b"1_0", "-1"),
        (b"\xd9\xa3", "-1"), (b"9" * 5000, "-1"), (b"", "2"), (b"00", "0"),
    ],
)  # fmt: skip
def test_grpc_status_values(value: bytes, status: str) -> None:
    stream = new_stream()
    stream.response_code = 200
    stream.response_headers = Headers.response(200, [(b"grpc-status", value)])
    assert grpc_status(stream) == status


def test_trailers_come_before_headers() -> None:
    stream = new_stream()
    stream.response_code = 200
    stream.response_headers = Headers.response(200, [(b"grpc-status", b"1")])
    stream.response_trailers = Headers([(b"grpc-status", b"2")])
    assert grpc_status(stream) == "2"
    stream.response_trailers = Headers()
    assert grpc_status(stream) == "1"


def test_parse_endpoint_workload() -> None:
    assert parse_endpoint_workload("w;n;c;r;k") == ("w", "n", "c", "r", "k")
    assert parse_endpoint_workload("w;n;c;;k;more;") == ("w", "n", "c", "", "k")
    assert parse_endpoint_workload("w;n;c;r") is None
    assert parse_endpoint_workload("") is None


def test_side_of() -> None:
    unspecified, gateway = Reporter.UNSPECIFIED, Reporter.SERVER_GATEWAY
    assert side_of(unspecified, TrafficDirection.INBOUND) is ReporterSide.DESTINATION
    assert side_of(unspecified, TrafficDirection.OUTBOUND) is ReporterSide.SOURCE
    assert side_of(unspecified, TrafficDirection.UNSPECIFIED) is ReporterSide.SOURCE
    assert side_of(gateway, TrafficDirection.INBOUND) is ReporterSide.WAYPOINT


def test_plans_of() -> None:
    spec = IstioStatsSpec(
        metrics=(MetricConfig("requests_total", drop=True), MetricConfig(tags_to_remove=("reporter",))),
        definitions=(MetricDefinition("mine", "1", MetricType.GAUGE),),
    )
    plans = plans_of(spec)
    assert "requests_total" not in plans.standard
    assert plans.standard["request_bytes"].labels[0][0] == "source_workload"
    assert plans.custom == ()
    assert plans_of(spec, ConfiguredExpressions(Node())).custom[0].kind is MetricKind.GAUGE


@pytest.mark.parametrize("labels", [None, "x", 3.0, ["a"], {"app": 1.0, "version": None}])
def test_odd_node_metadata(labels: object) -> None:
    node = Node(metadata={"WORKLOAD_NAME": 5.0, "NAMESPACE": "n", "LABELS": labels})
    assert LocalWorkload.from_node(node) == LocalWorkload(namespace="n")


def source_rules(store: Store) -> LabelRules:
    return LabelRules(IstioMetrics(store.scope(NAMESPACE)), LocalWorkload("w"), ReporterSide.SOURCE)


def label(values: tuple[str, ...], name: str) -> str:
    return values[PEER_LABELS.index(name)]


@pytest.mark.parametrize(
    "services", [None, "x", [], [5.0], {}, [{}], [{"host": 1.0, "name": 2.0, "namespace": None}]]
)
def test_odd_services_are_read_as_none(services: object) -> None:
    stream = new_stream()
    stream.cluster_metadata = Metadata({"istio": {"services": services}})
    values = source_rules(Store()).tcp(stream).values
    assert label(values, "destination_service") == "unknown"
    assert label(values, "destination_service_name") == "unknown"
    assert label(values, "destination_service_namespace") == "unknown"


def test_cluster_of_the_attempt_counts_when_no_route_chose_one() -> None:
    stream = new_stream()
    stream.upstream = UpstreamInfo()
    stream.upstream.cluster_name = "x"
    stream.upstream.cluster_metadata = Metadata({"istio": {"services": [{"host": "h.ns"}]}})
    values = source_rules(Store()).tcp(stream).values
    assert label(values, "destination_service") == "h.ns"
    assert label(values, "destination_service_name") == "h"


def test_odd_host_header_is_printable() -> None:
    stream = new_stream()
    stream.request_headers = Headers.request(b"GET", b"/", b"\xff\xfe\xc3", [])
    values = source_rules(Store()).http(stream).values
    assert label(values, "destination_service").encode("utf-8")


def test_a_client_cannot_make_long_labels() -> None:
    stream = new_stream()
    stream.request_headers = Headers.request(b"GET", b"/", b"a" * 40_000, [])
    values = source_rules(Store()).http(stream).values
    assert label(values, "destination_service") == "a" * 259


def test_connection_peer_comes_before_the_streams() -> None:
    stream = new_stream()
    stream.upstream_peer = PeerMetadata(workload="stream")
    stream.connection.upstream_peer = PeerMetadata(workload="connection")
    values = source_rules(Store()).http(stream).values
    assert label(values, "destination_workload") == "connection"


def test_a_steady_request_finds_the_same_series() -> None:
    case = VECTORS["cases"][0]
    _, rules = rules_of(case, Store())
    series = rules.http(stream_of(case))
    assert rules.http(stream_of(case)) is series
    assert len(rules._peers_by_values) == 1


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(istio, "_MAX_REMEMBERED", 4)
    rules = source_rules(Store())
    kept = []
    for number in range(40):
        stream = new_stream()
        stream.upstream_peer = PeerMetadata(workload=f"w{number}")
        stream.cluster_metadata = Metadata({"istio": {"services": [{"host": f"h{number}"}]}})
        kept.append(stream)
        assert label(rules.http(stream).values, "destination_workload") == f"w{number}"
        assert max(map(len, (rules._peers, rules._peers_by_values, rules._services, rules._series))) <= 4


def test_evicted_series_are_looked_up_anew() -> None:
    store = Store()
    scope = store.scope(NAMESPACE)
    rules = LabelRules(IstioMetrics(scope), LocalWorkload(), ReporterSide.SOURCE)
    stream = new_stream()
    series = rules.http(stream)
    series.tcp("-").count_opened()
    scope.evict_unused()
    assert rules.http(stream) is series
    scope.evict_unused()
    assert rules.http(stream) is not series
    assert rules.http(stream).values == series.values


def known_stream() -> StreamInfo:
    """Everything that labels depend on is there."""
    stream = new_stream()
    stream.request_headers = Headers.request(b"GET", b"/", b"host", [])
    stream.cluster_name, stream.route_name = "cluster", "route"
    stream.cluster_metadata = Metadata({"istio": {"services": [{"name": "a"}]}})
    stream.downstream_peer, stream.upstream_peer = PeerMetadata(workload="a"), PeerMetadata(workload="b")
    stream.connection.tls = tls_info(["spiffe://td/ns/down/sa/y"], ["spiffe://td/ns/me/sa/y"])
    stream.upstream = UpstreamInfo()
    stream.upstream.tls = tls_info(["spiffe://td/ns/up/sa/y"], ["spiffe://td/ns/me/sa/y"])
    stream.upstream.host_metadata = Metadata({"istio": {"workload": "w;n;c;r;k"}})
    return stream


def _upstream(stream: StreamInfo) -> UpstreamInfo:
    assert stream.upstream is not None
    return stream.upstream


CHANGES: dict[str, Callable[[StreamInfo], object]] = {
    "host": lambda stream: setattr(stream.request_headers, "authority", b"other"),
    "no head": lambda stream: setattr(stream, "request_headers", None),
    "cluster": lambda stream: setattr(stream, "cluster_name", "PassthroughCluster"),
    "no cluster": lambda stream: setattr(stream, "cluster_name", ""),
    "services": lambda stream: setattr(stream, "cluster_metadata", Metadata()),
    "no metadata": lambda stream: setattr(stream, "cluster_metadata", None),
    "route": lambda stream: setattr(stream, "route_name", "block_all"),
    "caller": lambda stream: setattr(stream, "downstream_peer", PeerMetadata(workload="c")),
    "no caller": lambda stream: setattr(stream, "downstream_peer", None),
    "called": lambda stream: setattr(stream, "upstream_peer", PeerMetadata(workload="c")),
    "no called": lambda stream: setattr(stream, "upstream_peer", None),
    "caller of the connection": lambda stream: setattr(
        stream.connection, "downstream_peer", PeerMetadata(workload="d")
    ),
    "called of the connection": lambda stream: setattr(
        stream.connection, "upstream_peer", PeerMetadata(workload="d")
    ),
    "TLS of the caller": lambda stream: setattr(stream.connection, "tls", None),
    "TLS of the called": lambda stream: setattr(_upstream(stream), "tls", None),
    "principal": lambda stream: setattr(stream.connection, "peer_principal", "spiffe://td/ns/tunnel/sa/y"),
    "own principal": lambda stream: setattr(stream.connection, "local_principal", "spiffe://td/ns/t/sa/y"),
    "endpoint": lambda stream: setattr(_upstream(stream), "host_metadata", Metadata()),
    "no upstream": lambda stream: setattr(stream, "upstream", None),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("side", ReporterSide)
@pytest.mark.parametrize("names_unmatched", [False, True])
def test_what_the_last_request_on_a_connection_was_counted_in_is_no_matter(
    side: ReporterSide, change: str, names_unmatched: bool
) -> None:
    """After any change the series is the one that a stream of another connection has."""

    def rules() -> LabelRules:
        metrics = IstioMetrics(Store().scope(NAMESPACE))
        return LabelRules(metrics, LocalWorkload("me"), side, unmatched_destination_service=names_unmatched)

    steady, stream = rules(), known_stream()
    before = steady.http(stream)
    assert steady.http(stream) is before
    CHANGES[change](stream)
    if change == "endpoint":
        stream.upstream_peer = None
    other = known_stream()
    CHANGES[change](other)
    if change == "endpoint":
        other.upstream_peer = None
    after = steady.http(stream)
    assert after.values == rules().http(other).values
    assert steady.http(stream).values == after.values
    assert rules().http(stream) is not after  # what others left there is theirs


def test_a_connection_does_not_keep_evicted_series() -> None:
    scope = Store().scope(NAMESPACE)
    rules = LabelRules(IstioMetrics(scope), LocalWorkload(), ReporterSide.DESTINATION)
    busy, idle = known_stream(), known_stream()
    first, last = rules.http(busy), rules.http(idle)
    handles = first.http("http", 200, "", "-")
    assert last is first or last.http("http", 200, "", "-") is handles
    scope.evict_unused()
    scope.evict_unused()
    assert rules.http(busy) is not first
    assert rules.http(busy).values == first.values
    anew = first.http("http", 200, "", "-")
    assert anew is not handles  # the idle connection still has the series, which has let go of its counters
    assert rules.http(idle) is rules.http(busy)


def test_a_connection_does_not_keep_long_hosts() -> None:
    rules = LabelRules(IstioMetrics(Store().scope(NAMESPACE)), LocalWorkload(), ReporterSide.DESTINATION)
    stream = known_stream()
    stream.request_headers = Headers.request(b"GET", b"/", b"a" * 40_000, [])
    series = rules.http(stream)
    known = stream.connection.known_series
    assert isinstance(known, istio._LastFound)
    assert len(known._authority) == 259
    stream.request_headers = Headers.request(b"GET", b"/", b"a" * 50_000, [])
    assert rules.http(stream) is series


def test_a_series_that_made_room_is_replaced_where_it_is_still_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next eviction would not reach it, and it would hold counters that nobody sees."""
    monkeypatch.setattr("stats.istio._MAX_REMEMBERED", 2)
    metrics = IstioMetrics(Store().scope(NAMESPACE))
    series = metrics.series(("v",) * len(PEER_LABELS), "unknown")
    for number in range(2):
        metrics.series((str(number),) * len(PEER_LABELS), "unknown")
    assert series.current() is not series
    assert series.current() is metrics.series(series.values, "unknown")


def test_waypoint_tcp() -> None:
    metrics = IstioMetrics(Store().scope(NAMESPACE))
    rules = LabelRules(metrics, LocalWorkload(), ReporterSide.WAYPOINT)
    stream = new_stream()
    stream.connection.downstream_peer = PeerMetadata(workload="a")
    stream.connection.upstream_peer = PeerMetadata(workload="b", identity="spiffe://td/ns/x/sa/y")
    values = rules.tcp(stream).values
    assert (values[0], values[1]) == ("waypoint", "a")
    assert label(values, "destination_workload") == "b"
    assert label(values, "destination_principal") == "spiffe://td/ns/x/sa/y"


GATEWAY_UPSTREAM = PeerMetadata(workload="behind", namespace="peers")


@pytest.mark.parametrize("over_tcp", [False, True])
@pytest.mark.parametrize(
    ("uri", "namespace"),
    [("", "peers"), ("spiffe://td/ns/certified/sa/y", "certified")],
    ids=["peer", "certificate"],
)
def test_a_gateway_names_the_service_as_its_source_series_does(
    over_tcp: bool, uri: str, namespace: str
) -> None:
    metrics = IstioMetrics(Store().scope(NAMESPACE))
    local = LocalWorkload("gw", "here", "k", "app", "v", "gateways", "r")
    stream = new_stream()
    stream.connection.downstream_peer = PeerMetadata(workload="caller")
    upstream = stream.upstream = UpstreamInfo()
    upstream.tls = tls_info([uri] if uri else [], [])
    if over_tcp:
        state = upstream.connection_state = UpstreamConnectionState()
        state.upstream_peer = GATEWAY_UPSTREAM
    else:
        stream.upstream_peer = GATEWAY_UPSTREAM
        stream.request_headers = Headers.request(b"GET", b"/", b"host", [])
    found = {}
    for side in (ReporterSide.SOURCE, ReporterSide.GATEWAY):
        rules = LabelRules(metrics, local, side)
        found[side] = (rules.tcp(stream) if over_tcp else rules.http(stream)).values
    for name in ("destination_service", "destination_service_name", "destination_service_namespace"):
        assert label(found[ReporterSide.GATEWAY], name) == label(found[ReporterSide.SOURCE], name)
    assert label(found[ReporterSide.GATEWAY], "destination_service_namespace") == namespace
    assert label(found[ReporterSide.GATEWAY], "reporter") == "destination"
    assert label(found[ReporterSide.GATEWAY], "source_workload") == "caller"
    assert label(found[ReporterSide.GATEWAY], "destination_workload") == "gw"
    assert label(found[ReporterSide.GATEWAY], "destination_cluster") == "k"


@pytest.mark.parametrize(
    ("cluster", "sni", "service"),
    [
        ("BlackHoleCluster", "a.example", "a.example"),
        ("PassthroughCluster", "", "127.0.0.1:80"),
        ("InboundPassthroughCluster", "a.example", "unknown"),
        ("outbound|80||x", "a.example", "unknown"),
    ],
)
def test_unmatched_tcp_is_named_on_request(cluster: str, sni: str, service: str) -> None:
    metrics = IstioMetrics(Store().scope(NAMESPACE))
    stream = new_stream()
    stream.cluster_name = cluster
    stream.connection.requested_server_name = sni
    for opted_in, expected in ((True, service), (False, "unknown")):
        rules = LabelRules(
            metrics, LocalWorkload(), ReporterSide.SOURCE, unmatched_destination_service=opted_in
        )
        assert label(rules.tcp(stream).values, "destination_service") == expected
    inbound = LabelRules(
        metrics, LocalWorkload(), ReporterSide.DESTINATION, unmatched_destination_service=True
    )
    assert label(inbound.tcp(stream).values, "destination_service") == ""
