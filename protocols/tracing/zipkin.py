"""Spans for Zipkin: the JSON of its API, version 2 (https://zipkin.io/zipkin-api/)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from protocols.tracing.span import SpanKind, SpanRecord

_NANOSECONDS_PER_US: Final = 1000
#: How Envoy notes the end of a span: server send, client receive.
_END_ANNOTATION: Final = {SpanKind.SERVER: "ss", SpanKind.CLIENT: "cr"}


def endpoint(service_name: str, ip: str) -> Mapping[str, object]:
    """Who makes the spans: this proxy's service and address."""
    return {"serviceName": service_name, "ipv6" if ":" in ip else "ipv4": ip, "port": 0}


def encode(spans: Sequence[bytes]) -> bytes:
    """A report of encoded spans."""
    return b"[%b]" % b",".join(spans)


def encode_span(span: SpanRecord, local: Mapping[str, object]) -> bytes:
    """One span; `local` is our endpoint."""
    context = span.context
    end_us = span.end_ns // _NANOSECONDS_PER_US
    annotations = [
        {"timestamp": time_ns // _NANOSECONDS_PER_US, "value": name} for name, time_ns in span.events
    ]
    annotations.append({"timestamp": end_us, "value": _END_ANNOTATION[span.kind]})
    start_us = span.start_ns // _NANOSECONDS_PER_US
    message: dict[str, object] = {
        "traceId": context.trace_hex.decode(),
        "id": context.span_hex.decode(),
        "name": span.name,
        "kind": span.kind.name,
        "timestamp": start_us,
        "duration": max(1, end_us - start_us),
        "localEndpoint": local,
        "annotations": annotations,
        "tags": span.tags,
    }
    if context.parent_hex:
        message["parentId"] = context.parent_hex.decode()
    if span.shared:
        message["shared"] = True
    return json.dumps(message, separators=(",", ":")).encode()
