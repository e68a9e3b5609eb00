"""Lines made at once, and lines made after a request has ended."""

from __future__ import annotations

import json

import pytest

from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.format import compile_format
from sidecar.telemetry.access_log.json_format import compile_json_format
from sidecar.telemetry.access_log.operator import Argument, Reading, printing
from sidecar.telemetry.access_log.operators import build_operator
from sidecar.telemetry.access_log.renderer import Renderer, Verbatim
from tests.support.settled import settled_operators
from tests.unit.sidecar.telemetry.access_log.streams import no_route as bare_stream
from tests.unit.sidecar.telemetry.access_log.streams import proxied as http_stream

_TEXT = "%PROTOCOL% %UPSTREAM_TRANSPORT_FAILURE_REASON% %RESPONSE_CODE% %ACCESS_LOG_TYPE%"


@pytest.mark.parametrize(
    "render",
    [
        compile_format(f"{_TEXT}\n"),
        compile_format("%PROTOCOL%"),
        compile_format("%ACCESS_LOG_TYPE%"),
        compile_format("no operator\n"),
        compile_json_format(
            {"a": "%PROTOCOL%", "b": {"c": "%ACCESS_LOG_TYPE%", "d": "%RESPONSE_CODE%"}, "e": 5}
        ),
        compile_json_format({"a": _TEXT}),
        compile_json_format({"a": "%PROTOCOL%", "b": "%ACCESS_LOG_TYPE%"}, omit_empty=True),
        compile_json_format({"a": "nothing to read"}),
    ],
)
def test_in_one_step_and_in_two_it_is_the_same(render: Renderer) -> None:
    for info in (http_stream(), bare_stream()):
        info.log_type = "DownstreamEnd"
        at_once = render(info)
        noted = render.note(info)
        info.log_type = "changed afterwards"
        assert render.finish(info, noted) == at_once
        assert render(info) == at_once.replace(b"DownstreamEnd", b"changed afterwards")


def test_what_may_change_is_read_first_and_only_once() -> None:
    read: list[str] = []

    def reading(name: str, *, settled: bool) -> Reading:
        def note(info: StreamInfo) -> bytes:
            read.append(name)
            return name.encode()

        return Reading(note, settled)

    render = Renderer([reading("a", settled=True), reading("b", settled=False), reading("c", settled=True)])
    info = http_stream()
    noted = render.note(info)
    assert read == ["b"]
    assert render.values(info, noted) == [b"a", b"b", b"c"]
    assert read == ["b", "a", "c"]


def test_one_operator_as_it_is() -> None:
    info = http_stream()
    assert Verbatim(printing(b"\x00"))(info) == b"\x00"
    unsettled = Verbatim(Reading(lambda info: info.log_type.encode()))
    info.log_type = "then"
    noted = unsettled.note(info)
    info.log_type = "now"
    assert unsettled.finish(info, noted) == b"then"


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("ACCESS_LOG_TYPE", None),  # another log of the same stream changes it
        ("EMIT_TIME", None),
        ("UPSTREAM_TRANSPORT_FAILURE_REASON", None),  # the upstream connection may fail later
        ("FILTER_STATE", "downstream_peer"),
        ("METADATA", "DYNAMIC:a"),
        ("UPSTREAM_WIRE_BYTES_SENT", None),
        ("CEL", "connection.id"),
        ("UNIQUE_ID", None),
        ("COALESCE", '{"operators": ["PROTOCOL", "EMIT_TIME"]}'),
    ],
)
def test_what_is_read_at_the_end(name: str, argument: str | None) -> None:
    assert not build_operator(name, Argument(argument, None, b"-")).settled


def test_what_most_logs_print_may_be_read_later() -> None:
    names = {name.partition("(")[0] for name, _ in settled_operators()}
    assert {"REQ", "RESP", "START_TIME", "DURATION", "RESPONSE_CODE", "BYTES_SENT", "UPSTREAM_HOST"} <= names
    line = json.loads(compile_json_format({"a": "%REQ(:METHOD)%", "b": "%UPSTREAM_HOST%"})(http_stream()))
    assert set(line) == {"a", "b"}
