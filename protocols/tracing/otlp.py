"""Spans for OpenTelemetry collectors: `ExportTraceServiceRequest` as bytes (opentelemetry-proto, trace.proto of OTLP 1.x).

The messages are few and small: they are written by hand, in today's form, which is newer than the messages that are installed.
"""

from __future__ import annotations

import functools
from binascii import unhexlify
from collections.abc import Mapping, Sequence
from typing import Final

from protocols.grpc.status import GrpcStatus
from protocols.protobuf import delimited, fixed32, fixed64, number
from protocols.tracing.span import TRACE_ID_DIGITS, SpanKind, SpanRecord

CONTENT_TYPE: Final = b"application/x-protobuf"
EXPORT_PATH: Final = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export"

_ERROR: Final = 2  # Status.STATUS_CODE_ERROR
#: Bits of a span's flags: those of W3C, and what is known of the parent.
_SAMPLED, _HAS_IS_REMOTE, _IS_REMOTE = 0x1, 0x100, 0x200

#: What the semantic conventions call a failure of the server; for a client everything but OK is one.
_SERVER_ERRORS: Final = frozenset(
    str(int(status))
    for status in (
        GrpcStatus.UNKNOWN,
        GrpcStatus.DEADLINE_EXCEEDED,
        GrpcStatus.UNIMPLEMENTED,
        GrpcStatus.INTERNAL,
        GrpcStatus.UNAVAILABLE,
        GrpcStatus.DATA_LOSS,
    )
)
_GRPC_OK: Final = "0"


def encode(spans: Sequence[bytes], resource: Mapping[str, str]) -> bytes:
    """One request with encoded spans. `resource`: the attributes of this proxy."""
    scope_spans = b"".join([delimited(2, span) for span in spans])
    resource_spans = delimited(1, _attributes(1, resource)) + delimited(2, scope_spans)
    return delimited(1, resource_spans)


def encode_span(span: SpanRecord) -> bytes:
    context = span.context
    flags = _SAMPLED | _HAS_IS_REMOTE | (_IS_REMOTE if span.remote_parent else 0)
    parts = [
        delimited(1, unhexlify(context.trace_hex.zfill(TRACE_ID_DIGITS))),
        delimited(2, unhexlify(context.span_hex)),
    ]
    if context.state:
        parts.append(delimited(3, context.state))
    if context.parent_hex:
        parts.append(delimited(4, unhexlify(context.parent_hex)))
    parts += (
        delimited(5, span.name.encode("utf-8", "replace")),
        number(6, span.kind),
        fixed64(7, span.start_ns),
        fixed64(8, span.end_ns),
        _attributes(9, span.tags),
    )
    parts += [
        delimited(11, fixed64(1, time_ns) + delimited(2, name.encode())) for name, time_ns in span.events
    ]
    if _failed(span):
        parts.append(delimited(15, number(3, _ERROR)))
    parts.append(fixed32(16, flags))
    return b"".join(parts)


def _attributes(field: int, values: Mapping[str, str]) -> bytes:
    return b"".join(
        [
            delimited(field, _key(key) + delimited(2, delimited(1, value.encode("utf-8", "replace"))))
            for key, value in values.items()
        ]
    )


@functools.lru_cache(maxsize=512)
def _key(key: str) -> bytes:
    """The names of tags are few."""
    return delimited(1, key.encode("utf-8", "replace"))


def _failed(span: SpanRecord) -> bool:
    """By the semantic conventions: a server fails with 5xx, a client sees a failure from 400 on."""
    grpc_status = span.tags.get("grpc.status_code")
    if grpc_status is not None:
        if span.kind is SpanKind.CLIENT:
            return grpc_status != _GRPC_OK
        return grpc_status in _SERVER_ERRORS
    status = span.tags.get("http.status_code", "")
    return status.isdecimal() and int(status) >= (400 if span.kind is SpanKind.CLIENT else 500)
