"""Spans as an OTLP request, read back with the messages of the installed API."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from protocols.tracing import otlp
from protocols.tracing.span import SpanKind, SpanRecord
from tests.support.spans import place

TRACE, SPAN, PARENT = "1" * 32, "2" * 16, "3" * 16


def record(kind: SpanKind = SpanKind.SERVER, remote: bool = False, **tags: str) -> SpanRecord:
    named = {name.replace("__", "."): value for name, value in tags.items()}
    context = place(TRACE, SPAN, PARENT, True, "a=b")
    return SpanRecord(context, "op", kind, 5, 9, named, [("first", 7)], remote_parent=remote)


def sent(*records: SpanRecord) -> Any:
    return ExportTraceServiceRequest.FromString(
        otlp.encode(list(map(otlp.encode_span, records)), {"service.name": "svc"})
    )


def test_a_span() -> None:
    (group,) = sent(record(x="y")).resource_spans
    assert [(each.key, each.value.string_value) for each in group.resource.attributes] == [
        ("service.name", "svc")
    ]
    (scope,) = group.instrumentation_library_spans
    (span,) = scope.spans
    assert (span.trace_id, span.span_id, span.parent_span_id) == tuple(
        map(bytes.fromhex, (TRACE, SPAN, PARENT))
    )
    assert (span.name, span.kind, span.trace_state) == ("op", 2, "a=b")
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (5, 9)
    assert [(each.key, each.value.string_value) for each in span.attributes] == [("x", "y")]
    assert [(each.name, each.time_unix_nano) for each in span.events] == [("first", 7)]


def test_a_root_with_a_short_trace_id() -> None:
    root = SpanRecord(place(SPAN, SPAN, "", True), "op", SpanKind.CLIENT, 1, 2, {}, [])
    span = sent(root).resource_spans[0].instrumentation_library_spans[0].spans[0]
    assert span.trace_id == bytes(8) + bytes.fromhex(SPAN)
    assert span.parent_span_id == b""


@pytest.mark.parametrize(("remote", "flags"), [(False, 0x101), (True, 0x301)])
def test_flags_stand_behind_what_the_messages_know(remote: bool, flags: int) -> None:
    data = otlp.encode_span(record(remote=remote))
    assert b"\x85\x01" + flags.to_bytes(4, "little") in data


@pytest.mark.parametrize(
    ("kind", "tags", "failed"),
    [
        (SpanKind.SERVER, {"http__status_code": "404"}, False),
        (SpanKind.CLIENT, {"http__status_code": "404"}, True),
        (SpanKind.SERVER, {"http__status_code": "503"}, True),
        (SpanKind.SERVER, {"http__status_code": "0"}, False),
        (SpanKind.SERVER, {"http__status_code": "200", "grpc__status_code": "5"}, False),
        (SpanKind.CLIENT, {"http__status_code": "200", "grpc__status_code": "5"}, True),
        (SpanKind.SERVER, {"http__status_code": "200", "grpc__status_code": "14"}, True),
        (SpanKind.CLIENT, {"http__status_code": "200", "grpc__status_code": "0"}, False),
    ],
)
def test_status(kind: SpanKind, tags: dict[str, str], failed: bool) -> None:
    span = sent(record(kind, **tags)).resource_spans[0].instrumentation_library_spans[0].spans[0]
    assert span.status.code == (2 if failed else 0)
