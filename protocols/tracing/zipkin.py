"""Spans for Zipkin: the JSON of its API, version 2 (https://zipkin.io/zipkin-api/)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import msgspec

from protocols.tracing.span import SpanKind, SpanRecord

_NANOSECONDS_PER_US: Final = 1000
#: How Envoy notes the end of a span: server send, client receive.
_END_ANNOTATION: Final = {SpanKind.SERVER: "ss", SpanKind.CLIENT: "cr"}
_KINDS: Final = {kind: kind.name.encode() for kind in SpanKind}
#: Ids are hexadecimal digits, so they need no escapes.
_SPAN: Final = (
    b'{"traceId":"%b","id":"%b","name":%b,"kind":"%b","timestamp":%d,"duration":%d,"localEndpoint":%b,'
    b'"annotations":[%b],"tags":%b%b%b}'
)
_encode_json: Final = msgspec.json.Encoder().encode


def endpoint(service_name: str, ip: str) -> bytes:
    """Who makes the spans: this proxy's service and address."""
    return _json({"serviceName": service_name, "ipv6" if ":" in ip else "ipv4": ip, "port": 0})


def encode(spans: Sequence[bytes]) -> bytes:
    """A report of encoded spans."""
    return b"[%b]" % b",".join(spans)


def encode_span(span: SpanRecord, local: bytes) -> bytes:
    """One span; `local` is our endpoint."""
    context = span.context
    start_us, end_us = span.start_ns // _NANOSECONDS_PER_US, span.end_ns // _NANOSECONDS_PER_US
    events = [_annotation(time_ns // _NANOSECONDS_PER_US, name) for name, time_ns in span.events]
    events.append(_annotation(end_us, _END_ANNOTATION[span.kind]))
    parent = b',"parentId":"%b"' % context.parent_hex if context.parent_hex else b""
    return _SPAN % (
        context.trace_hex,
        context.span_hex,
        _json(span.name),
        _KINDS[span.kind],
        start_us,
        max(1, end_us - start_us),
        local,
        b",".join(events),
        _json(span.tags),
        parent,
        b',"shared":true' if span.shared else b"",
    )


def _annotation(time_us: int, value: str) -> bytes:
    return b'{"timestamp":%d,"value":%b}' % (time_us, _json(value))


def _json(value: str | dict[str, str] | dict[str, object]) -> bytes:
    try:
        return _encode_json(value)
    except UnicodeEncodeError:  # half of a surrogate pair, from an environment that is no UTF-8
        return json.dumps(value, separators=(",", ":")).encode()
