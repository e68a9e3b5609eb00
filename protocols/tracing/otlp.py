"""Spans for OpenTelemetry collectors: `ExportTraceServiceRequest` as bytes (opentelemetry-proto, OTLP 1.x).

The installed messages are of an early version, whose wire form is that of today; the span's flags, which are newer, are added as
the bytes that they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from protocols.grpc.status import GrpcStatus
from protocols.tracing.span import SpanKind, SpanRecord

if TYPE_CHECKING:
    from collections.abc import MutableSequence

CONTENT_TYPE: Final = b"application/x-protobuf"
EXPORT_PATH: Final = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export"

_ERROR: Final = 2  # Status.STATUS_CODE_ERROR
#: The field `flags` (number 16, fixed32).
_FLAGS_KEY: Final = b"\x85\x01"
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


def encode(spans: Sequence[SpanRecord], resource: Mapping[str, str]) -> bytes:
    """One request with all spans. `resource`: the attributes of this proxy."""
    # imported with the first export: most proxies never need it
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request: Any = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    _set_attributes(group.resource.attributes, resource)
    scope = group.instrumentation_library_spans.add()
    for span in spans:
        _fill(scope.spans.add(), span)
    data: bytes = request.SerializeToString()
    return data


def _fill(message: Any, span: SpanRecord) -> None:
    context = span.context
    message.trace_id = bytes.fromhex(context.trace_id.zfill(32))
    message.span_id = bytes.fromhex(context.span_id)
    if context.parent_id:
        message.parent_span_id = bytes.fromhex(context.parent_id)
    message.trace_state = context.state
    message.name = span.name
    message.kind = int(span.kind)
    message.start_time_unix_nano = span.start_ns
    message.end_time_unix_nano = span.end_ns
    _set_attributes(message.attributes, span.tags)
    for name, time_ns in span.events:
        message.events.add(name=name, time_unix_nano=time_ns)
    if _failed(span):
        message.status.code = _ERROR
    flags = _SAMPLED | _HAS_IS_REMOTE | (_IS_REMOTE if span.remote_parent else 0)
    message.MergeFromString(_FLAGS_KEY + flags.to_bytes(4, "little"))


def _set_attributes(attributes: MutableSequence[Any], values: Mapping[str, str]) -> None:
    for key, value in values.items():
        item = attributes.add()  # type: ignore[attr-defined]
        item.key = key
        item.value.string_value = value


def _failed(span: SpanRecord) -> bool:
    """By the semantic conventions: a server fails with 5xx, a client sees a failure from 400 on."""
    grpc_status = span.tags.get("grpc.status_code")
    if grpc_status is not None:
        if span.kind is SpanKind.CLIENT:
            return grpc_status != _GRPC_OK
        return grpc_status in _SERVER_ERRORS
    status = span.tags.get("http.status_code", "")
    return status.isdecimal() and int(status) >= (400 if span.kind is SpanKind.CLIENT else 500)
