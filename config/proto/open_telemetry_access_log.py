"""`OpenTelemetryAccessLogConfig` as Envoy 1.40 has it; the installed API knows an older form, without HTTP.

A message of the same name and the same numbers (logs_service.proto of Envoy's API, fields 1 to 15). The installed form is never
imported: two messages of one name cannot be in one pool.
"""

from __future__ import annotations

from typing import Final

from envoy.config.core.v3 import extension_pb2, grpc_service_pb2, http_service_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.type.tracing.v3 import custom_tag_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, wrappers_pb2
from opentelemetry.proto.common.v1 import common_pb2

_PACKAGE: Final = "envoy.extensions.access_loggers.open_telemetry.v3"
_FIELD: Final = descriptor_pb2.FieldDescriptorProto

#: Name, number, type (a message by its name), whether it is repeated.
_FIELDS: Final = (
    ("common_config", 1, "envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig", False),
    ("body", 2, "opentelemetry.proto.common.v1.AnyValue", False),
    ("attributes", 3, "opentelemetry.proto.common.v1.KeyValueList", False),
    ("resource_attributes", 4, "opentelemetry.proto.common.v1.KeyValueList", False),
    ("disable_builtin_labels", 5, _FIELD.TYPE_BOOL, False),
    ("stat_prefix", 6, _FIELD.TYPE_STRING, False),
    ("formatters", 7, "envoy.config.core.v3.TypedExtensionConfig", True),
    ("http_service", 8, "envoy.config.core.v3.HttpService", False),
    ("grpc_service", 9, "envoy.config.core.v3.GrpcService", False),
    ("log_name", 10, _FIELD.TYPE_STRING, False),
    ("buffer_flush_interval", 11, "google.protobuf.Duration", False),
    ("buffer_size_bytes", 12, "google.protobuf.UInt32Value", False),
    ("filter_state_objects_to_log", 13, _FIELD.TYPE_STRING, True),
    ("custom_tags", 14, "envoy.type.tracing.v3.CustomTag", True),
    ("resource_detectors", 15, "envoy.config.core.v3.TypedExtensionConfig", True),
)


def _describe() -> None:
    used = (
        als_pb2,
        common_pb2,
        custom_tag_pb2,
        duration_pb2,
        extension_pb2,
        grpc_service_pb2,
        http_service_pb2,
        wrappers_pb2,
    )
    file = descriptor_pb2.FileDescriptorProto(
        name="config/proto/open_telemetry_access_log.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[module.DESCRIPTOR.name for module in used],
    )
    message = file.message_type.add(name="OpenTelemetryAccessLogConfig")
    for name, number, kind, repeated in _FIELDS:
        field = message.field.add(name=name, number=number)
        field.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
        if isinstance(kind, str):
            field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{kind}"
        else:
            field.type = kind
    descriptor_pool.Default().Add(file)


_describe()
