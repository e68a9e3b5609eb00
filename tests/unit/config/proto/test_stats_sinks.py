from __future__ import annotations

import pytest

from config.model.core import PipeAddress, SocketAddress
from config.model.stats_sink import StatsdSinkSpec, StatsdTags
from tests.unit.config.bootstraps import parse, problems, tcp

METRICS = "type.googleapis.com/envoy.config.metrics.v3."
GRAPHITE = "type.googleapis.com/envoy.extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink"
UDP = "address: {socket_address: {address: 127.0.0.1, port_value: 8125, protocol: UDP}}"
ADDRESS = SocketAddress("127.0.0.1", 8125)


def sink(kind: str, fields: str) -> str:
    return f'stats_sinks: [{{name: s, typed_config: {{"@type": {kind}, {fields}}}}}]'


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        (f"{METRICS}StatsdSink", UDP, StatsdSinkSpec(ADDRESS)),
        (f"{METRICS}StatsdSink", f"{UDP}, prefix: p", StatsdSinkSpec(ADDRESS, prefix="p")),
        (f"{METRICS}StatsdSink", UDP.replace(", protocol: UDP", ""), StatsdSinkSpec(ADDRESS)),
        (f"{METRICS}StatsdSink", "address: {pipe: {path: /x}}", StatsdSinkSpec(PipeAddress("/x"))),
        (f"{METRICS}StatsdSink", "tcp_cluster_name: c", StatsdSinkSpec(None, "c")),
        (f"{METRICS}DogStatsdSink", UDP, StatsdSinkSpec(ADDRESS, tags=StatsdTags.DOGSTATSD)),
        (
            f"{METRICS}DogStatsdSink",
            f"{UDP}, max_bytes_per_datagram: 512, prefix: p",
            StatsdSinkSpec(ADDRESS, "", "p", StatsdTags.DOGSTATSD, 512),
        ),
        (
            GRAPHITE,
            f"{UDP}, max_bytes_per_datagram: 9",
            StatsdSinkSpec(ADDRESS, "", "envoy", StatsdTags.GRAPHITE, 9),
        ),
    ],
)
def test_sinks(kind: str, fields: str, expected: StatsdSinkSpec) -> None:
    parsed = parse(tcp(top=sink(kind, fields)))
    assert parsed.bootstrap.stats_sinks == (expected,)
    assert parsed.warnings == ()


@pytest.mark.parametrize(
    "fields",
    [
        f'"@type": {METRICS}MetricsServiceConfig, grpc_service: {{envoy_grpc: {{cluster_name: c}}}}',
        '"@type": type.googleapis.com/envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig',
        f'"@type": {METRICS}HystrixSink',
    ],
)
def test_others_are_skipped(fields: str) -> None:
    parsed = parse(tcp(top=f"stats_sinks: [{{name: s, typed_config: {{{fields}}}}}]"))
    assert parsed.bootstrap.stats_sinks == ()
    (warning,) = parsed.warnings
    told = str(warning)
    kind = fields.split(",")[0].rpartition(".")[2].removesuffix("}")
    assert kind in told
    for supported in ("StatsdSink", "DogStatsdSink", "GraphiteStatsdSink", "/stats/prometheus"):
        assert supported in told


@pytest.mark.parametrize(
    ("kind", "fields", "reason"),
    [
        (f"{METRICS}StatsdSink", "tcp_cluster_name: cc", "there is no cluster 'cc'; did you mean 'c'?"),
        (f"{METRICS}StatsdSink", "prefix: p", "required"),
        (f"{METRICS}DogStatsdSink", "prefix: p", "required"),
        (f"{METRICS}DogStatsdSink", f"{UDP}, max_bytes_per_datagram: 0", "greater than 0"),
        (f"{METRICS}StatsdSink", UDP.replace("127.0.0.1", "statsd.local"), "not an IP address"),
        ("type.googleapis.com/a.B", "", "unknown type 'a.B'"),
    ],
)
def test_mistakes(kind: str, fields: str, reason: str) -> None:
    (problem,) = problems(tcp(top=sink(kind, fields)))
    assert "stats_sinks[0].typed_config" in problem
    assert reason in problem


def test_flush_on_admin() -> None:
    assert parse("stats_flush_on_admin: true").bootstrap.stats_flush_on_admin
    assert not parse("{}").bootstrap.stats_flush_on_admin
