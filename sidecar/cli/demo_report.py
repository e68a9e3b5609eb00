"""What the demo shows: the path hop by hop, what was agreed, whom each side found, and Istio's metrics of both sidecars."""

from __future__ import annotations

import http.client
import json
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from prometheus_client.parser import text_string_to_metric_families

from sidecar.cli.demo_workloads import Ports

_DEADLINE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Series:
    """One sample of a page of metrics."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Expected:
    """A series that must be there, with at least this value."""

    sidecar: str
    name: str
    labels: Mapping[str, str]
    value: float


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def expected_series(requests: int, connections: int) -> list[Expected]:
    """What ten requests and five connections must leave behind on both sides."""
    pair = {"source_workload": "catalog-v1", "destination_workload": "movies-v1"}
    pair |= {"source_cluster": "host", "destination_cluster": "peer"}
    found = []
    for sidecar, reporter, policy in (
        ("catalog", "source", "unknown"),
        ("movies", "destination", "mutual_tls"),
    ):
        labels = {**pair, "reporter": reporter, "connection_security_policy": policy}
        http_labels = {**labels, "request_protocol": "http", "response_code": "200"}
        grpc_labels = {**labels, "request_protocol": "grpc", "response_code": "200"}
        found += [
            Expected(sidecar, "istio_requests_total", http_labels, requests),
            Expected(sidecar, "istio_request_duration_milliseconds_count", http_labels, requests),
            Expected(sidecar, "istio_request_bytes_count", http_labels, requests),
            Expected(sidecar, "istio_response_bytes_count", http_labels, requests),
            Expected(sidecar, "istio_requests_total", {**grpc_labels, "grpc_response_status": "0"}, requests),
            Expected(sidecar, "istio_requests_total", {**grpc_labels, "grpc_response_status": "5"}, 1),
            Expected(sidecar, "istio_request_messages_total", pair, requests + 1),
            Expected(sidecar, "istio_response_messages_total", pair, requests),
            Expected(sidecar, "istio_tcp_connections_opened_total", labels, connections),
            Expected(sidecar, "istio_tcp_connections_closed_total", labels, connections),
            Expected(sidecar, "istio_tcp_sent_bytes_total", labels, 1),
            Expected(sidecar, "istio_tcp_received_bytes_total", labels, 1),
        ]
    return found


def report(home: Path, ports: Ports, requests: int, connections: int) -> bool:
    """Print everything; whether all expected series were there."""
    wanted = expected_series(requests, connections)
    pages, missing = _collect(ports, wanted)
    _print_path(ports)
    _print_exchanges(home)
    _print_table(pages)
    if missing:
        print(_bold("missing series"))
        for each in missing:
            print(f"  {each.sidecar}: {each.name}{dict(each.labels)} >= {each.value:g}")
    else:
        print(f"All {len(wanted)} expected series are there, on both sides.")
    return not missing


def _collect(ports: Ports, wanted: Iterable[Expected]) -> tuple[dict[str, list[Series]], list[Expected]]:
    """The pages of both sidecars; asked again until they are complete, since the last connection may just be closing."""
    deadline_s = time.monotonic() + _DEADLINE_S
    while True:
        pages = {"catalog": _scrape(ports.catalog_admin), "movies": _scrape(ports.movies_admin)}
        missing = [each for each in wanted if not _present(pages[each.sidecar], each)]
        if not missing or time.monotonic() > deadline_s:
            return pages, missing
        time.sleep(0.1)


def _present(page: list[Series], wanted: Expected) -> bool:
    return any(
        series.name == wanted.name
        and series.value >= wanted.value
        and all(series.labels.get(name) == value for name, value in wanted.labels.items())
        for series in page
    )


def _scrape(admin_port: int) -> list[Series]:
    connection = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=10)
    try:
        connection.request("GET", "/stats/prometheus?filter=istio")
        page = connection.getresponse().read().decode()
    finally:
        connection.close()
    return [
        Series(sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    ]


def _print_path(ports: Ports) -> None:
    print(_bold("The path of a request"))
    print(f"""
  you ── plaintext ──> 127.0.0.1:{ports.catalog_in_http}   sidecar of catalog-v1, inbound (mTLS or plaintext)
                       127.0.0.1:{ports.catalog_http}   catalog-v1, the application (cluster host)
                       127.0.0.1:{ports.catalog_out_http}   sidecar of catalog-v1, outbound: movies.default
      ══ mTLS ═══════> 127.0.0.1:{ports.movies_in_http}   sidecar of movies-v1, inbound (mTLS only)
                       127.0.0.1:{ports.movies_http}   movies-v1, the application (cluster peer)

  gRPC: catalog-v1 ──> 127.0.0.1:{ports.catalog_out_grpc} ══ mTLS ══> 127.0.0.1:{ports.movies_in_grpc} ──> 127.0.0.1:{ports.movies_grpc}
  TCP:  catalog-v1 ──> 127.0.0.1:{ports.catalog_out_tcp} ══ mTLS ══> 127.0.0.1:{ports.movies_in_tcp} ──> 127.0.0.1:{ports.movies_tcp}
""")


_FIELDS: Final = [
    "protocol",
    "code",
    "flags",
    "in_alpn",
    "out_alpn",
    "tls",
    "client",
    "server",
    "downstream_peer",
    "upstream_peer",
    "connection_peer",
]


def _print_exchanges(home: Path) -> None:
    """One entry for each kind of traffic, under its sidecar, from the access logs."""
    print(_bold("What the sidecars agreed on, and whom they found"))
    for side, log in (("catalog-v1", home / "catalog-access.log"), ("movies-v1", home / "movies-access.log")):
        print(f"\n  sidecar of {side}")
        entries = [
            dict(zip(_FIELDS, line.split(" ", len(_FIELDS) - 1), strict=False)) for line in _lines(log)
        ]
        for text in dict.fromkeys(filter(None, map(_exchange, entries))):
            print(text)
    print()


def _lines(path: Path) -> list[str]:
    """The log's lines; it is flushed ten times a second."""
    deadline_s = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline_s:
        text = path.read_text() if path.exists() else ""
        if text.endswith("\n"):
            return text.splitlines()
        time.sleep(0.05)
    return []


def _exchange(entry: Mapping[str, str]) -> str:
    """Two lines on a connection that was mTLS; "" for one that was not."""
    kind = "TCP" if entry.get("protocol") == "-" else entry.get("protocol", "")
    client, server = entry.get("client", "-"), entry.get("server", "-")
    if client != "-":
        towards, alpn, identity, peer = "from", entry["in_alpn"], client, entry.get("downstream_peer", "-")
    elif server != "-":
        peer = entry.get("upstream_peer", "-")
        peer = peer if peer != "-" else entry.get("connection_peer", "-")
        towards, alpn, identity = "to", entry["out_alpn"], server
    else:
        return ""
    return (
        f"    {kind:8}  {towards:4}  {identity}, ALPN {alpn}\n    {'':8}        peer metadata: {_peer(peer)}"
    )


def _peer(text: str) -> str:
    try:
        values = json.loads(text)
    except ValueError:
        return "none"
    values = values.get("value", values) if isinstance(values, dict) else {}
    names = ("workload", "namespace", "cluster", "app", "version")
    return " ".join(f"{name}={values[name]}" for name in names if values.get(name)) or "none"


Row: TypeAlias = tuple[str, ...]

_COLUMNS: Final[Row] = (
    "istio_...",
    "reporter",
    "source",
    "destination",
    "security",
    "answer",
    "value (sum)",
)


def _print_table(pages: Mapping[str, list[Series]]) -> None:
    """The `istio_*` series of both sidecars with the labels that matter; a histogram is one row, without its buckets."""
    print(_bold("Istio's standard metrics on both sidecars"))
    groups = {sidecar: _rows(page) for sidecar, page in pages.items()}
    every = [_COLUMNS, *(row for rows in groups.values() for row in rows)]
    widths = [max(len(row[column]) for row in every) for column in range(len(_COLUMNS))]

    def show(row: Row) -> None:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  " + "  ".join((*cells[:-1], row[-1].rjust(widths[-1]))))

    show(_COLUMNS)
    for sidecar, rows in groups.items():
        title = f"── the sidecar of {sidecar} "
        print("  " + title.ljust(sum(widths) + 2 * len(widths) - 2, "─"))
        for row in rows:
            show(row)
    print()


def _answer(labels: Mapping[str, str]) -> str:
    """`http 200`, `grpc 5`: how it ended, in the words of its protocol."""
    ending = labels.get("grpc_response_status") or labels.get("response_code", "")
    return f"{labels.get('request_protocol', '')} {ending}".strip()


def _rows(page: Iterable[Series]) -> list[Row]:
    rows: dict[tuple[str, ...], str] = {}
    for series in page:
        labels = series.labels
        if series.name.endswith("_bucket") or "reporter" not in labels:
            continue
        value = f"{series.value:g}"
        base, _, last = series.name.rpartition("_")
        key = (
            base.removeprefix("istio_") if last in ("sum", "count") else series.name.removeprefix("istio_"),
            labels["reporter"],
            f"{labels['source_workload']}@{labels['source_cluster']}",
            f"{labels['destination_workload']}@{labels['destination_cluster']}",
            labels.get("connection_security_policy", ""),
            _answer(labels),
        )
        if last == "count":
            value = f"{value} ({rows.get(key, '')})"
        rows[key] = value
    return [(*key, value) for key, value in rows.items()]


def _own_command() -> str:
    """How this program was called, in short if a shell finds it."""
    return "sidecar" if shutil.which("sidecar") else sys.argv[0]


def explain_what_to_look_at(home: Path, ports: Ports) -> None:
    """The URLs, and how to change and rerun."""
    print(
        f"""
{_bold("Look around")}
  the application, through both sidecars   http://127.0.0.1:{ports.catalog_in_http}/catalog
  metrics of catalog-v1's sidecar          http://127.0.0.1:{ports.catalog_admin}/stats/prometheus
  metrics of movies-v1's sidecar           http://127.0.0.1:{ports.movies_admin}/stats/prometheus
  everything else the admin port knows     http://127.0.0.1:{ports.catalog_admin}/help
  configurations, certificates and logs    {home}
    change a workload file there and run   {_own_command()} run {home}/catalog.workload.yaml

Ctrl-C ends the demo.""",
        flush=True,
    )
