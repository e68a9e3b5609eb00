"""Access logs that go to a service (envoy.extensions.access_loggers.{grpc,open_telemetry}.v3)."""

from __future__ import annotations

from typing import Any, Final

from config.model.access_log import GrpcAccessLogSpec, OpenTelemetryAccessLogSpec
from config.model.services import GrpcServiceSpec, HttpServiceSpec
from config.proto.access_log_formats import check_formats, translate_formatters
from config.proto.core import duration_s, wrapped_int
from config.proto.fields import declare
from config.proto.path import Path
from config.proto.services import translate_grpc_service, translate_http_service
from config.proto.tracing import translate_custom_tags

HTTP_GRPC: Final = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
TCP_GRPC: Final = "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig"
OPEN_TELEMETRY: Final = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
_COMMON: Final = "envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig"
_OTLP_COMMON: Final = "opentelemetry.proto.common.v1"

_FLUSH_INTERVAL_S: Final = 1.0
_BUFFER_BYTES: Final = 16384

declare(
    HTTP_GRPC,
    "common_config additional_request_headers_to_log additional_response_headers_to_log "
    "additional_response_trailers_to_log",
)
declare(TCP_GRPC, "common_config")
declare(
    _COMMON,
    "log_name grpc_service buffer_flush_interval buffer_size_bytes filter_state_objects_to_log custom_tags",
    no_effect={"transport_api_version": "V3 is spoken"},
    ignored={"grpc_stream_retry_policy": "the next batch opens the stream again"},
)
declare(
    OPEN_TELEMETRY,
    "common_config grpc_service http_service disable_builtin_labels resource_attributes body attributes stat_prefix "
    "formatters log_name buffer_flush_interval buffer_size_bytes custom_tags",
    ignored={"filter_state_objects_to_log": "", "resource_detectors": ""},
)
declare(
    f"{_OTLP_COMMON}.AnyValue",
    "string_value array_value kvlist_value",
    refused=dict.fromkeys(
        ("bool_value", "int_value", "double_value", "bytes_value"),
        "only strings, lists and key-value lists, as in Envoy",
    ),
)
declare(f"{_OTLP_COMMON}.ArrayValue", "values")
declare(f"{_OTLP_COMMON}.KeyValueList", "values")
declare(f"{_OTLP_COMMON}.KeyValue", "key value")


#: Stands for a service that cannot be used, which was reported.
_NO_SERVICE: Final = GrpcServiceSpec("")


def translate_grpc(msg: Any, at: Path) -> GrpcAccessLogSpec:
    """`HttpGrpcAccessLogConfig` or `TcpGrpcAccessLogConfig`."""
    http = msg.DESCRIPTOR.full_name == HTTP_GRPC
    common, common_at = msg.common_config, at.field("common_config")

    def names(field: str) -> tuple[str, ...]:
        return tuple(name.lower() for name in getattr(msg, field)) if http else ()

    return GrpcAccessLogSpec(
        http,
        common.log_name,
        translate_grpc_service(common.grpc_service, common_at.field("grpc_service")) or _NO_SERVICE,
        _interval_s(common),
        wrapped_int(common, "buffer_size_bytes", _BUFFER_BYTES),
        tuple(common.filter_state_objects_to_log),
        names("additional_request_headers_to_log"),
        names("additional_response_headers_to_log"),
        names("additional_response_trailers_to_log"),
        translate_custom_tags(common.custom_tags, common_at.field("custom_tags")),
    )


def _interval_s(msg: Any) -> float:
    return (
        duration_s(msg.buffer_flush_interval) if msg.HasField("buffer_flush_interval") else _FLUSH_INTERVAL_S
    )


def translate_open_telemetry(msg: Any, at: Path) -> OpenTelemetryAccessLogSpec:
    """With a `common_config` its fields count, else the message's own."""
    buffered = msg.common_config if msg.HasField("common_config") else msg
    extensions = translate_formatters(msg.formatters, at)
    body = _any_value(msg.body) if msg.HasField("body") else None
    attributes = _key_values(msg.attributes)
    check_formats(body, at.field("body"), extensions)
    check_formats(attributes, at.field("attributes"), extensions)
    return OpenTelemetryAccessLogSpec(
        buffered.log_name,
        _service(msg, at) or _NO_SERVICE,
        _interval_s(buffered),
        wrapped_int(buffered, "buffer_size_bytes", _BUFFER_BYTES),
        body,
        attributes,
        _key_values(msg.resource_attributes),
        not msg.disable_builtin_labels,
        msg.stat_prefix,
        extensions,
        translate_custom_tags(buffered.custom_tags, at.field("custom_tags")),
    )


def _service(msg: Any, at: Path) -> GrpcServiceSpec | HttpServiceSpec | None:
    kinds = [kind for kind in ("common_config", "grpc_service", "http_service") if msg.HasField(kind)]
    if len(kinds) != 1:
        at.error("exactly one of http_service, grpc_service and common_config is needed")
        return None
    (kind,) = kinds
    if kind == "http_service":
        return translate_http_service(msg.http_service, at.field(kind))
    if kind == "grpc_service":
        return translate_grpc_service(msg.grpc_service, at.field(kind))
    return translate_grpc_service(msg.common_config.grpc_service, at.field(kind).field("grpc_service"))


def _any_value(value: Any) -> object:
    """A plain value; kinds that are refused were reported."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_any_value(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return _key_values(value.kvlist_value)
    return str(value.string_value)


def _key_values(values: Any) -> dict[str, object]:
    return {each.key: _any_value(each.value) for each in values.values}
