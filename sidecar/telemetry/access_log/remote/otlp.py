"""Log records for OpenTelemetry collectors (opentelemetry-proto, logs.proto; OTLP/HTTP also in JSON).

The messages are few and small: they are written by hand, in today's form, which is newer than the installed messages.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol, TypeAlias

from config.model.access_log import OpenTelemetryAccessLogSpec
from config.model.core import Node
from protocols.protobuf import delimited, fixed64, utf8
from protocols.tracing.span import long_trace_id
from sidecar.stream_info import StreamInfo, Trace
from sidecar.telemetry.access_log.format import compile_format
from sidecar.telemetry.access_log.json_values import quote
from sidecar.telemetry.access_log.renderer import Renderer
from sidecar.telemetry.tracing.custom_tags import compile_tags

PATH: Final = b"/opentelemetry.proto.collector.logs.v1.LogsService/Export"

_US_PER_S: Final = 1_000_000

#: Encoded pieces of a message.
_Render: TypeAlias = Callable[[StreamInfo], bytes]


class Encoding(Protocol):
    """One of the two forms of OTLP. Values are AnyValues that were encoded by the same object."""

    content_type: bytes

    def text(self, value: bytes) -> bytes: ...

    def array(self, values: list[bytes]) -> bytes: ...

    def pairs(self, pairs: list[tuple[str, bytes]]) -> bytes: ...

    def record(
        self, time_ns: int, body: bytes | None, attributes: list[tuple[str, bytes]], trace: Trace | None
    ) -> bytes: ...

    def request(self, resource: list[tuple[str, bytes]], records: list[bytes]) -> bytes: ...


class Protobuf:
    """Implements `Encoding`."""

    content_type = b"application/x-protobuf"

    def text(self, value: bytes) -> bytes:
        return delimited(1, value)

    def array(self, values: list[bytes]) -> bytes:
        return delimited(5, b"".join([delimited(1, value) for value in values]))

    def pairs(self, pairs: list[tuple[str, bytes]]) -> bytes:
        return delimited(6, b"".join(self._key_values(1, pairs)))

    def record(
        self, time_ns: int, body: bytes | None, attributes: list[tuple[str, bytes]], trace: Trace | None
    ) -> bytes:
        parts = [fixed64(1, time_ns)]
        if body is not None:
            parts.append(delimited(5, body))
        parts += self._key_values(6, attributes)
        if trace is not None:
            parts.append(
                delimited(9, bytes.fromhex(long_trace_id(trace.trace_id)))
                + delimited(10, bytes.fromhex(trace.span_id))
            )
        return b"".join(parts)

    def request(self, resource: list[tuple[str, bytes]], records: list[bytes]) -> bytes:
        scope_logs = b"".join([delimited(2, record) for record in records])
        resource_logs = delimited(1, b"".join(self._key_values(1, resource))) + delimited(2, scope_logs)
        return delimited(1, resource_logs)

    @staticmethod
    def _key_values(field: int, pairs: list[tuple[str, bytes]]) -> list[bytes]:
        return [delimited(field, delimited(1, key.encode()) + delimited(2, value)) for key, value in pairs]


class Json:
    """Implements `Encoding`."""

    content_type = b"application/json"

    def text(self, value: bytes) -> bytes:
        return b'{"stringValue":%b}' % quote(value)

    def array(self, values: list[bytes]) -> bytes:
        return b'{"arrayValue":{"values":[%b]}}' % b",".join(values)

    def pairs(self, pairs: list[tuple[str, bytes]]) -> bytes:
        return b'{"kvlistValue":{"values":%b}}' % self._key_values(pairs)

    def record(
        self, time_ns: int, body: bytes | None, attributes: list[tuple[str, bytes]], trace: Trace | None
    ) -> bytes:
        parts = [b'"timeUnixNano":"%d"' % time_ns]
        if body is not None:
            parts.append(b'"body":%b' % body)
        if attributes:
            parts.append(b'"attributes":%b' % self._key_values(attributes))
        if trace is not None:
            parts.append(f'"traceId":"{long_trace_id(trace.trace_id)}","spanId":"{trace.span_id}"'.encode())
        return b"{%b}" % b",".join(parts)

    def request(self, resource: list[tuple[str, bytes]], records: list[bytes]) -> bytes:
        return b'{"resourceLogs":[{"resource":{"attributes":%b},"scopeLogs":[{"logRecords":[%b]}]}]}' % (
            self._key_values(resource),
            b",".join(records),
        )

    @staticmethod
    def _key_values(pairs: list[tuple[str, bytes]]) -> bytes:
        return b"[%b]" % b",".join(
            [b'{"key":%b,"value":%b}' % (quote(key.encode()), value) for key, value in pairs]
        )


def compile_record(spec: OpenTelemetryAccessLogSpec, encoding: Encoding, node: Node) -> _Render:
    """A log record of a stream. Raises FormatError."""
    compile_text = partial(compile_format, extensions=spec.extensions, node=node)
    body = _compile(spec.body, encoding, compile_text) if spec.body is not None else None
    attributes = [(key, _compile(value, encoding, compile_text)) for key, value in spec.attributes.items()]
    tags = compile_tags(spec.custom_tags, os.environ)

    def render(info: StreamInfo) -> bytes:
        pairs = [(key, value(info)) for key, value in attributes]
        for tag, value_of in tags:
            if (text := value_of(info)) is not None:
                pairs.append((tag, encoding.text(text.encode("utf-8", "replace"))))
        return encoding.record(
            int(info.start_s * _US_PER_S) * 1000, body(info) if body is not None else None, pairs, info.trace
        )

    return render


def _compile(value: object, encoding: Encoding, compile_text: Callable[[str], Renderer]) -> _Render:
    if isinstance(value, Mapping):
        pairs = [(str(key), _compile(each, encoding, compile_text)) for key, each in value.items()]
        return lambda info: encoding.pairs([(key, each(info)) for key, each in pairs])
    if isinstance(value, (list, tuple)):
        items = [_compile(each, encoding, compile_text) for each in value]
        return lambda info: encoding.array([each(info) for each in items])
    render = compile_text(str(value))
    return lambda info: encoding.text(utf8(render(info)))


def compile_request(
    spec: OpenTelemetryAccessLogSpec, encoding: Encoding, node: Node
) -> Callable[[list[bytes]], bytes]:
    """A request with all of the records that it is given."""
    resource: dict[str, object] = {}
    if spec.builtin_labels:
        resource = {
            "log_name": spec.log_name,
            "zone_name": node.locality.zone,
            "cluster_name": node.cluster,
            "node_name": node.id,
        }
    resource.update(spec.resource)
    pairs = [(key, _constant(value, encoding)) for key, value in resource.items()]
    return lambda records: encoding.request(pairs, records)


def _constant(value: object, encoding: Encoding) -> bytes:
    if isinstance(value, Mapping):
        return encoding.pairs([(str(key), _constant(each, encoding)) for key, each in value.items()])
    if isinstance(value, (list, tuple)):
        return encoding.array([_constant(each, encoding) for each in value])
    return encoding.text(str(value).encode())
