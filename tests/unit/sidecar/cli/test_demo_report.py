"""What the demo shows, from access log lines and metrics pages."""

from __future__ import annotations

import json

import pytest

from sidecar.cli import demo_report
from sidecar.cli.demo_report import Expected, Series

MOVIES = "spiffe://cluster.local/ns/default/sa/movies"


def series(name: str, value: float, **labels: str) -> Series:
    standard = {
        "reporter": "source",
        "source_workload": "catalog-v1",
        "source_cluster": "host",
        "destination_workload": "movies-v1",
        "destination_cluster": "peer",
        "connection_security_policy": "unknown",
        "request_protocol": "http",
        "response_code": "200",
    }
    return Series(name, standard | labels, value)


def test_a_histogram_is_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    page = [
        series("istio_requests_total", 10),
        series("istio_request_bytes_bucket", 3, le="1"),
        series("istio_request_bytes_sum", 910),
        series("istio_request_bytes_count", 10),
        Series("istio_build", {"component": "proxy"}, 1),
    ]
    demo_report._print_table({"catalog": page})
    title, *lines = (line.split() for line in capsys.readouterr().out.splitlines()[2:] if line)
    assert title[:5] == ["──", "the", "sidecar", "of", "catalog"]
    assert lines == [
        "requests_total source catalog-v1@host movies-v1@peer unknown http 200 10".split(),  # noqa: SIM905
        "request_bytes source catalog-v1@host movies-v1@peer unknown http 200 10 (910)".split(),  # noqa: SIM905
    ]


def test_the_table_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    page = [
        series("istio_request_duration_milliseconds_sum", 123456),
        series("istio_request_duration_milliseconds_count", 1000),
        series("istio_tcp_sent_bytes_total", 123456, connection_security_policy="mutual_tls"),
    ]
    demo_report._print_table({"catalog": page, "movies": page})
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 120


def test_an_exchange() -> None:
    peer = json.dumps(
        {"workload": "movies-v1", "cluster": "peer", "labels": {"a": "b"}}, separators=(",", ":")
    )
    entry = {"protocol": "-", "out_alpn": "istio-peer-exchange", "server": MOVIES, "connection_peer": peer}
    text = demo_report._exchange(entry)
    assert text.splitlines()[0].split() == ["TCP", "to", f"{MOVIES},", "ALPN", "istio-peer-exchange"]
    assert text.endswith("peer metadata: workload=movies-v1 cluster=peer")


def test_plaintext_is_no_exchange() -> None:
    assert demo_report._exchange({"protocol": "HTTP/1.1", "client": "-", "server": "-"}) == ""


@pytest.mark.parametrize("text", ["-", "", "{}", "[]", "not json"])
def test_no_peer(text: str) -> None:
    assert demo_report._peer(text) == "none"


@pytest.mark.parametrize(
    ("value", "labels", "present"),
    [(10, {}, True), (11, {}, False), (10, {"reporter": "destination"}, False), (10, {"more": "x"}, False)],
)
def test_expected_series(value: float, labels: dict[str, str], present: bool) -> None:
    page = [series("istio_requests_total", 10)]
    wanted = Expected("catalog", "istio_requests_total", {"reporter": "source"} | labels, value)
    assert demo_report._present(page, wanted) is present


def test_series_of_all_three_protocols_are_expected_on_both_sides() -> None:
    expected = demo_report.expected_series(10, 5)
    assert len(expected) == 24
    assert {each.labels.get("request_protocol") for each in expected} == {None, "http", "grpc"}
    assert {each.sidecar for each in expected} == {"catalog", "movies"}
