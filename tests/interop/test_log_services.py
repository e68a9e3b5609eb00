"""Access logs that go to services: what Envoy and this proxy tell real gRPC servers about the same exchanges."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from tests.interop.access_logs import EXCHANGES, SERVICE_TIME, Surroundings
from tests.interop.differences import ACCESS_LOG_ENTRY_FIELDS
from tests.support.envoy import require_envoy
from tests.support.log_collector import LogCollector, records_of
from tests.support.process import ProxyCommand, sidecar_command

#: What differs from run to run: only whether it is there is compared.
_VOLATILE = re.compile(r".*(time_|-time|start_time|duration|port_value|stream_id|request_id)[^.]*")


#: Sizes in which the digits of the service time are.
_SIZES = (
    "common_properties.downstream_wire_bytes_sent",
    "response.downstream_header_bytes_sent",
    "response.response_headers_bytes",
)


@dataclass(frozen=True)
class Told:
    """What one proxy told the collector."""

    entries: list[dict[str, object]]
    records: dict[str, list[dict[str, Any]]]
    resources: list[dict[str, Any]]
    collector: LogCollector


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Told]]:
    surroundings = Surroundings(tmp_path_factory.mktemp("log-services"))
    collectors: list[LogCollector] = []

    def run(command: ProxyCommand) -> Told:
        collector = LogCollector()
        collectors.append(collector)
        surroundings.run_services(command, collector)
        return _told(collector)

    try:
        yield {"envoy": run(require_envoy()), "ours": run(sidecar_command())}
    finally:
        for collector in collectors:
            collector.stop()
        surroundings.close()


def _told(collector: LogCollector) -> Told:
    entries = sorted(
        (_flat(MessageToDict(entry, preserving_proto_field_name=True)) for entry in collector.entries()),
        key=lambda entry: str(entry["common_properties.start_time"]),
    )
    records: dict[str, list[dict[str, Any]]] = {}
    resources = []
    for request in collector.otlp:
        (resource_logs,) = request.resource_logs
        resource = MessageToDict(resource_logs.resource)
        resources.append(resource)
        name = resource["attributes"][0]["value"]["stringValue"]
        records.setdefault(name, []).extend(map(MessageToDict, records_of(request)))
    for each in records.values():
        each.sort(key=lambda record: str(record["timeUnixNano"]))
    return Told(entries, records, resources, collector)


def _flat(value: object, path: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {path: value}
    found: dict[str, object] = {}
    for key, each in value.items():
        found.update(_flat(each, f"{path}.{key}" if path else key))
    return found


def _steady(entry: dict[str, object]) -> dict[str, object]:
    entry = dict(entry)
    digits = len(str(entry.get(f"response.response_headers.{SERVICE_TIME}", "")))
    entry.update({key: int(str(entry[key])) - digits for key in _SIZES if key in entry})
    return {
        key: "<volatile>" if _VOLATILE.fullmatch(key) else value
        for key, value in entry.items()
        if not any(re.fullmatch(pattern, key) for pattern in ACCESS_LOG_ENTRY_FIELDS)
    }


@pytest.mark.parametrize("number", range(len(EXCHANGES)))
def test_same_entries(told: dict[str, Told], number: int) -> None:
    assert _steady(told["ours"].entries[number]) == _steady(told["envoy"].entries[number])


@pytest.mark.parametrize("name", ["otlp", "otlp-http"])
def test_same_records(told: dict[str, Told], name: str) -> None:
    def steady(record: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in record.items() if key != "timeUnixNano"}

    ours, envoy = told["ours"].records[name], told["envoy"].records[name]
    assert len(ours) == len(EXCHANGES)
    assert list(map(steady, ours)) == list(map(steady, envoy))
    assert all(int(record["timeUnixNano"]) > 0 for record in ours)


def test_same_resources(told: dict[str, Told]) -> None:
    def distinct(side: str) -> list[str]:
        return sorted({json.dumps(each) for each in told[side].resources})

    assert distinct("ours") == distinct("envoy")


def test_same_requests_over_http(told: dict[str, Told]) -> None:
    for side in ("ours", "envoy"):
        posts = told[side].collector.posts
        assert {path for path, _ in posts} == {"/v1/logs"}
        assert {headers["content-type"] for _, headers in posts} == {"application/x-protobuf"}
        assert {headers["host"] for _, headers in posts} == {"logs.example"}


def test_each_stream_begins_with_who_we_are(told: dict[str, Told]) -> None:
    for side in ("ours", "envoy"):
        collector = told[side].collector
        named = [message for message in collector.als if message.HasField("identifier")]
        assert len(named) == collector.streams == 2  # of HTTP and of TCP
        assert {message.identifier.log_name for message in named} == {"als"}
        assert {message.identifier.node.id for message in named} == {"node"}


def test_what_waits_is_sent_at_the_end(tmp_path: Path) -> None:
    surroundings, collector = Surroundings(tmp_path), LogCollector()
    try:
        surroundings.run_services(sidecar_command(), collector, only_at_the_end=True)
        assert len(collector.entries()) == len(EXCHANGES)
        assert len(collector.records()) == 2 * len(EXCHANGES)
    finally:
        collector.stop()
        surroundings.close()


def test_differences_have_reasons() -> None:
    assert all(ACCESS_LOG_ENTRY_FIELDS.values())
