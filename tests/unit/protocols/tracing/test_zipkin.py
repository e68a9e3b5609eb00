"""Spans as Zipkin's JSON."""

from __future__ import annotations

import json

from protocols.tracing import zipkin
from protocols.tracing.span import SpanKind, SpanRecord
from tests.support.spans import place

TRACE, SPAN, PARENT = "1" * 32, "2" * 16, "3" * 16


def test_a_span_with_everything() -> None:
    record = SpanRecord(
        place(TRACE, SPAN, PARENT, True),
        "op",
        SpanKind.SERVER,
        1_000_000,
        3_500_000,
        {"component": "proxy", "x": "ü"},
        [("first", 2_000_000)],
        shared=True,
    )
    assert json.loads(zipkin.encode([zipkin.encode_span(record, zipkin.endpoint("svc", "10.0.0.1"))])) == [
        {
            "traceId": TRACE,
            "id": SPAN,
            "parentId": PARENT,
            "name": "op",
            "kind": "SERVER",
            "timestamp": 1000,
            "duration": 2500,
            "localEndpoint": {"serviceName": "svc", "ipv4": "10.0.0.1", "port": 0},
            "annotations": [{"timestamp": 2000, "value": "first"}, {"timestamp": 3500, "value": "ss"}],
            "tags": {"component": "proxy", "x": "ü"},
            "shared": True,
        }
    ]


def test_a_root_of_a_client() -> None:
    record = SpanRecord(place(SPAN, SPAN, "", True), "op", SpanKind.CLIENT, 1000, 1000, {}, [])
    ((span),) = json.loads(zipkin.encode([zipkin.encode_span(record, zipkin.endpoint("svc", "::1"))]))
    assert "parentId" not in span and "shared" not in span
    assert span["kind"] == "CLIENT"
    assert span["duration"] == 1  # 0 would mean that it is not known
    assert span["annotations"] == [{"timestamp": 1, "value": "cr"}]
    assert span["localEndpoint"]["ipv6"] == "::1"


def test_text_that_is_no_unicode() -> None:
    tags = {"x": "\udc80", "y": '"\n'}
    record = SpanRecord(place(SPAN, SPAN, "", True), "\udc80", SpanKind.CLIENT, 1000, 1000, tags, [])
    ((span),) = json.loads(zipkin.encode([zipkin.encode_span(record, zipkin.endpoint('"\udc80', "::1"))]))
    assert (span["name"], span["tags"]) == ("\udc80", tags)
    assert span["localEndpoint"]["serviceName"] == '"\udc80'
