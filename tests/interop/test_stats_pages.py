"""The pages of statistics: read by the parsers that will read them, and compared with the real Envoy's."""

from __future__ import annotations

import gzip
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from tests.interop.pair import has_istio_filters, service_cluster
from tests.interop.stage import H2, Stage
from tests.interop.tracing import otel_http
from tests.support import prometheus_text
from tests.support.bootstraps import (
    cluster,
    http_filter_chain,
    listener,
    route_config,
    route_to,
    tcp_filter_chain,
)
from tests.support.envoy import require_envoy, require_program
from tests.support.grpc_client import GrpcClient
from tests.support.grpc_echo import GrpcServer
from tests.support.http_client import Response, get
from tests.support.istio_config import istio_stats_filter, node
from tests.support.metric_family import read_delimited
from tests.support.ports import free_ports
from tests.support.process import ChildProcess, ProxyCommand, sidecar_command, wait_until

PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
#: What Prometheus 2.42 sends, and with native histograms.
PROMETHEUS = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
PROMETHEUS_NATIVE = f"{PROTOBUF},{PROMETHEUS.replace('1.0.0', '1.0.0;q=0.8')}"

TRACE = "463ac35c9f6413ad48485a3953bb6124"
_GRPC_STATS = "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"


class Visited:
    """A proxy that has carried HTTP, gRPC and TCP."""

    def __init__(self, command: ProxyCommand, directory: Path) -> None:
        self.stage = stage = Stage(directory, command)
        self.ports = free_ports(3)
        self._grpc_server = GrpcServer("127.0.0.1", free_ports(1)[0]).start()
        istio = [istio_stats_filter()] if has_istio_filters(command) else []
        grpc_stats = {
            "name": "grpc_stats",
            "typed_config": {"@type": _GRPC_STATS, "emit_filter_state": True, "stats_for_all_methods": True},
        }
        chains = [
            http_filter_chain(
                route_config(route_to(name)),
                stat_prefix=name,
                http_filters=[grpc_stats, *istio],
                tracing={"provider": otel_http()},
            )
            for name in ("http", "grpc")
        ]
        tcp_chain = tcp_filter_chain("tcp")
        tcp_chain["filters"][:0] = istio
        names = ("http", "grpc", "tcp")
        stage.start(
            [
                listener(name, port, chain, traffic_direction="INBOUND", stat_prefix=name)
                for name, port, chain in zip(names, self.ports, [*chains, tcp_chain], strict=True)
            ],
            [
                service_cluster("http", stage.http_backend().address),
                service_cluster("grpc", self._grpc_server.address, **H2),
                service_cluster("tcp", stage.tcp_backend("echo").address),
                cluster("otlp_http", ("127.0.0.1", free_ports(1)[0])),  # nobody collects
            ],
            node=node("server"),
        )
        self._visit()

    def _visit(self) -> None:
        http, grpc, tcp = (("127.0.0.1", port) for port in self.ports)
        traceparent = f"00-{TRACE}-a2fb4a1d1a96d312-01"
        assert get(http, "/", headers=[("traceparent", traceparent)]).status == 200
        assert get(http, "/", host='evil"\\host').status in (200, 400)
        with GrpcClient(grpc) as client:
            assert client.ask(b"ping")
        with socket.create_connection(tcp) as connection:
            connection.sendall(b"hello")
            assert connection.recv(5) == b"hello"
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(5) == b""
        self.stage.settled(tcp__tcp__downstream_cx_total=1, cluster__tcp__upstream_cx_active=0)

    def page(self, query: str = "", path: str = "/stats/prometheus", **headers: str) -> Response:
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return get(self.stage.proxy.admin_address, f"{path}?{query}", headers=fields)

    def close(self) -> None:
        self.stage.close()
        self._grpc_server.stop()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visited]:
    visited = Visited(sidecar_command(), tmp_path_factory.mktemp("ours"))
    yield visited
    visited.close()


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visited]:
    visited = Visited(require_envoy(), tmp_path_factory.mktemp("envoy"))

    def published() -> bool:  # histograms are shown after a flush
        return b"http.http.downstream_rq_time: P0" in visited.page(path="/stats").body

    wait_until(published, timeout_s=15, what="histograms are published")
    yield visited
    visited.close()


QUERIES = [
    "",
    "usedonly",
    "text_readouts",
    "filter=istio",
    "histogram_buckets=summary",
    "filter=nothing-at-all",
]


@pytest.mark.parametrize("query", QUERIES)
def test_parsers_read_the_text_page(ours: Visited, query: str) -> None:
    text = ours.page(query).body.decode()
    found = list(text_families(text))
    assert len(found) == text.count("# TYPE")
    families = {family.name: family for family in found}  # it takes `_total` off the names of counters
    if "summary" not in query:
        prometheus_text.parse(text)
    if not query:
        for name in ("istio_requests", "istio_request_messages", "istio_tcp_sent_bytes", "istio_build"):
            assert families[name].samples, name


@pytest.mark.parametrize("query", QUERIES)
def test_the_parser_reads_the_openmetrics_page(ours: Visited, query: str) -> None:
    response = ours.page(query, accept=PROMETHEUS)
    assert response.values("content-type") == ["application/openmetrics-text; version=1.0.0; charset=utf-8"]
    families = {family.name: family for family in openmetrics_families(response.body.decode())}
    if not query:
        assert families["istio_requests"].type == "counter"
        assert families["istio_request_duration_milliseconds"].unit == "milliseconds"


def test_exemplars_for_those_who_ask(ours: Visited) -> None:
    families = openmetrics_families(
        ours.page("filter=istio_request_duration", accept=PROMETHEUS).body.decode()
    )
    found = [sample for family in families for sample in family.samples if sample.exemplar]
    assert TRACE in {sample.exemplar.labels["trace_id"] for sample in found}
    assert {sample.name for sample in found} == {"istio_request_duration_milliseconds_bucket"}
    assert all(sample.exemplar.value <= float(sample.labels["le"]) for sample in found)
    (duration,) = read_delimited(ours.page("filter=istio_request_duration", accept=PROTOBUF).body)
    buckets = [bucket for metric in duration.metric for bucket in metric.histogram.bucket]
    traces = {
        label.value for bucket in buckets for label in bucket.exemplar.label if label.name == "trace_id"
    }
    assert TRACE in traces
    assert TRACE.encode() not in ours.page().body


@pytest.mark.parametrize("query", [*QUERIES, "histogram_buckets=prometheusnative"])
def test_the_protobuf_page_is_read(ours: Visited, query: str) -> None:
    response = ours.page(query, accept=PROMETHEUS_NATIVE)
    names = [family.name for family in read_delimited(response.body)]
    assert len(set(names)) == len(names)
    if not query:
        assert names == list(prometheus_text.parse(ours.page().body.decode()))


def test_promtool_finds_nothing_wrong_but_envoys_names(ours: Visited, envoy: Visited) -> None:
    """Names of Envoy's counters do not end in `_total`; its own page has no other problems than ours."""
    mine, theirs = _problems(ours.page().body), _problems(envoy.page().body)
    assert [each for each in mine if each not in theirs and not _is_expected(each)] == []
    istio = ours.page("filter=^istio").body
    assert b"istio_requests_total" in istio
    assert b"istio_stats_series_overflow_total" in istio
    assert [each for each in _problems(istio) if not _is_expected(each)] == []


def _problems(page: bytes) -> list[str]:
    promtool = require_program("promtool", "prometheus")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, timeout=30, check=False
    )
    output = (done.stdout + done.stderr).decode()
    assert "error while linting" not in output
    return output.splitlines()


def _is_expected(problem: str) -> bool:
    """Istio's own names: no help text, milliseconds, and a gauge that says a version."""
    return "no help text" in problem or "use base unit" in problem


def test_cardinality(ours: Visited) -> None:
    text = ours.page("cardinality", "/stats").body.decode()
    assert "istio_request_bytes" in text
    found = json.loads(ours.page("cardinality&format=json&top=3&filter=istio_requests", "/stats").body)
    assert found["max_label_sets"] == 2000
    (metric,) = found["top"]
    assert metric["name"] == "istio_requests_total"
    assert metric["series"] == metric["label_sets"] >= 2
    assert {"name": "request_protocol", "values": 2} in metric["labels"]
    assert ours.page("cardinality&format=html", "/stats").status == 400


def test_gzip(ours: Visited) -> None:
    response = ours.page("filter=^http", accept_encoding="gzip")
    assert response.values("content-encoding") == ["gzip"]
    plain = gzip.decompress(response.body).decode()
    assert list(prometheus_text.parse(plain)) == list(
        prometheus_text.parse(ours.page("filter=^http").body.decode())
    )


REFUSALS = [
    ("/stats/prometheus", "histogram_buckets=disjoint", ""),
    ("/stats/prometheus", "histogram_buckets=detailed", PROTOBUF),
    ("/stats/prometheus", "histogram_buckets=prometheusnative", ""),
    ("/stats/prometheus", "histogram_buckets=bogus", PROTOBUF),
    ("/stats/prometheus", "filter=(", ""),
    ("/stats", "histogram_buckets=prometheusnative", ""),
    ("/stats", "histogram_buckets=bogus", ""),
    ("/stats", "hidden=bogus", ""),
    ("/stats", "type=bogus", ""),
    ("/stats", "format=bogus", ""),
]


@pytest.mark.parametrize(("path", "query", "accept"), REFUSALS)
def test_what_is_refused_is_refused_in_the_same_words(
    ours: Visited, envoy: Visited, path: str, query: str, accept: str
) -> None:
    mine, theirs = (each.page(query, path, accept=accept or "*/*") for each in (ours, envoy))
    assert (mine.status, mine.body) == (theirs.status, theirs.body)
    assert mine.status == 400


#: Stats that both have and that do not change while they are looked at.
_STEADY = r"filter=^http.(http|grpc).downstream_(rq_2xx|rq_time|cx_total|cx_upgrades_active)$"
SHOWN = [
    ("/stats/prometheus", "", ""),
    ("/stats/prometheus", "", "application/openmetrics-text;q=0.5, text/plain"),
    ("/stats/prometheus", "usedonly", ""),
    ("/stats/prometheus", "histogram_buckets=summary", ""),
    ("/stats/prometheus", "histogram_buckets=", ""),
    ("/stats/prometheus", "invert_filter", ""),
    ("/stats", "", ""),
    ("/stats", "hidden=only", ""),
    ("/stats", "type=Gauges", ""),
    ("/stats", "histogram_buckets=cumulative", ""),
    ("/stats", "histogram_buckets=disjoint", ""),
    ("/stats", "format=prometheus", ""),
]


@pytest.mark.parametrize(("path", "query", "accept"), SHOWN)
def test_pages_have_the_lines_of_envoys(
    ours: Visited, envoy: Visited, path: str, query: str, accept: str
) -> None:
    def names(visited: Visited) -> list[str]:
        response = visited.page(f"{query}&{_STEADY}", path, accept=accept or "*/*")
        assert response.status == 200
        lines = response.body.decode().splitlines()
        if "invert_filter" in query:  # the rest of everything differs; what is filtered out must not be there
            assert len(lines) > 100
            return [line for line in lines if 'prefix="http"' in line and "downstream_cx_total" in line]
        separator = " " if "prometheus" in path + query else ":"
        return [line if line.startswith("#") else line.rpartition(separator)[0] for line in lines]

    mine, theirs = names(ours), names(envoy)
    assert mine == theirs


@pytest.mark.parametrize("shown", ["html", "active-html"])
def test_html_has_the_lines_too(ours: Visited, envoy: Visited, shown: str) -> None:
    for visited in (ours, envoy):
        response = visited.page(f"format={shown}&{_STEADY}", "/stats")
        assert response.values("content-type") == ["text/html; charset=UTF-8"]
        assert response.body.startswith(b"<!DOCTYPE html>")
        if shown == "html":  # Envoy's active page fetches its lines
            assert b"http.http.downstream_cx_total: 2\n" in response.body


def test_json_has_the_shape_of_envoys(ours: Visited, envoy: Visited) -> None:
    for query in ("format=json", "format=json&histogram_buckets=disjoint"):
        mine, theirs = (
            _shape(json.loads(each.page(f"{query}&{_STEADY}", "/stats").body)) for each in (ours, envoy)
        )
        assert mine == theirs


def _shape(value: Any) -> Any:
    """Keys and names, but no numbers."""
    if isinstance(value, dict):
        return {key: item if key == "name" else _shape(item) for key, item in value.items()}
    return [_shape(item) for item in value] if isinstance(value, list) else None


@pytest.mark.parametrize("mode", ["cumulative", "summary", "prometheusnative"])
def test_protobuf_has_the_fields_of_envoys(ours: Visited, envoy: Visited, mode: str) -> None:
    def families(visited: Visited) -> list[Any]:
        response = visited.page(f"histogram_buckets={mode}&{_STEADY}", accept=PROTOBUF)
        assert response.values("content-type") == [PROTOBUF.replace(";", "; ")]
        return [
            (
                family.name,
                family.type,
                [[(pair.name, pair.value) for pair in metric.label] for metric in family.metric],
                [_fields(metric) for metric in family.metric],
            )
            for family in read_delimited(response.body)
        ]

    assert families(ours) == families(envoy)


def _fields(message: Any) -> Any:
    """The names of the fields that are set, those of native buckets left out: they depend on the values."""
    names = {}
    for field, value in message.ListFields():
        if field.name.startswith("positive_"):
            continue
        if field.message_type is None:
            names[field.name] = None
        else:
            names[field.name] = [_fields(each) for each in value] if field.is_repeated else _fields(value)
    return names


class ScrapingPrometheus:
    """A real Prometheus that scrapes one proxy."""

    def __init__(self, target: tuple[str, int], directory: Path, features: str, **params: str) -> None:
        program = require_program("prometheus", "prometheus")
        self.address = ("127.0.0.1", free_ports(1)[0])
        job = {
            "job_name": "proxy",
            "metrics_path": "/stats/prometheus",
            "params": {name: [value] for name, value in params.items()},
            "static_configs": [{"targets": [f"{target[0]}:{target[1]}"]}],
        }
        config = {"global": {"scrape_interval": "200ms"}, "scrape_configs": [job]}
        (directory / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
        self._process = ChildProcess(
            [
                program,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={self.address[0]}:{self.address[1]}",
                f"--enable-feature={features}",
            ],
            directory / "prometheus.log",
        )

    def _ask(self, path: str) -> Any:
        try:
            return json.loads(get(self.address, path).body)["data"]
        except (OSError, ValueError, KeyError):
            return None

    def value(self, query: str) -> float:
        """The value of a query that has one result, as soon as it has."""

        def results() -> list[Any] | None:
            data = self._ask(f"/api/v1/query?query={quote(query)}")
            return (data and data["result"]) or None

        found = wait_until(results, timeout_s=30, what=query)
        return float(found[0]["value"][1])

    def names(self) -> set[str]:
        return set(self._ask("/api/v1/label/__name__/values"))

    def close(self) -> None:
        self._process.terminate()


_NOT_OURS = re.compile(r"^(up|scrape_.*)$")


def test_a_real_prometheus_asks_for_openmetrics_and_finds_the_same_names(
    ours: Visited, tmp_path: Path
) -> None:
    prometheus = ScrapingPrometheus(ours.stage.proxy.admin_address, tmp_path, "exemplar-storage")
    try:
        assert prometheus.value("sum(istio_requests_total)") >= 2
        assert prometheus.value("count(istio_request_bytes_bucket{le='10.0'})") >= 1  # canonical bounds
        text = prometheus_text.parse(ours.page().body.decode())
        samples = {sample.name for family in text.values() for sample in family.samples}
        assert {name for name in prometheus.names() if not _NOT_OURS.match(name)} == samples
    finally:
        prometheus.close()


def test_a_real_prometheus_reads_native_histograms(ours: Visited, tmp_path: Path) -> None:
    prometheus = ScrapingPrometheus(
        ours.stage.proxy.admin_address, tmp_path, "native-histograms", histogram_buckets="prometheusnative"
    )
    try:
        requests = prometheus.value("sum(istio_requests_total)")
        assert prometheus.value("histogram_count(sum(istio_request_duration_milliseconds))") == requests
        half = prometheus.value("histogram_quantile(0.5, sum(istio_request_bytes))")
        mean = prometheus.value("histogram_sum(sum(istio_request_bytes))") / requests
        assert mean / 3 < half < 3 * mean
        assert "istio_request_bytes_bucket" not in prometheus.names()
    finally:
        prometheus.close()
