"""Access loggers (envoy.config.accesslog.v3, envoy.extensions.access_loggers.{file,stream}.v3)."""

from __future__ import annotations

from typing import Any, Final

from config.model.access_log import (
    AccessLogSinkSpec,
    AccessLogSpec,
    FileAccessLogSpec,
    FilteredAccessLogSpec,
    TextFormat,
)
from config.proto.access_log_filter import translate_filter
from config.proto.access_log_formats import translate_json_format, translate_log_format
from config.proto.access_log_services import (
    HTTP_GRPC,
    OPEN_TELEMETRY,
    TCP_GRPC,
    translate_grpc,
    translate_open_telemetry,
)
from config.proto.core import check_format
from config.proto.fields import declare
from config.proto.path import Path
from config.proto.typed_config import ExtensionTable

_FILE: Final = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
_STDOUT: Final = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
_STDERR: Final = "envoy.extensions.access_loggers.stream.v3.StderrAccessLog"

declare(
    "envoy.config.accesslog.v3.AccessLog",
    "typed_config filter",
    no_effect={"name": "the type decides"},
)
declare(_FILE, "path format log_format json_format typed_json_format")
declare(_STDOUT, "log_format")
declare(_STDERR, "log_format")


def translate_file(msg: Any, at: Path) -> FileAccessLogSpec:
    """The file logger, and the stdout and stderr loggers as their devices."""
    name = msg.DESCRIPTOR.full_name
    path = msg.path if name == _FILE else "/dev/stdout" if name == _STDOUT else "/dev/stderr"
    kind = msg.WhichOneof("access_log_format")
    if kind == "log_format":
        return FileAccessLogSpec(path, translate_log_format(msg.log_format, at.field("log_format")))
    if kind == "format":
        check_format(msg.format, at.field("format"))
        return FileAccessLogSpec(path, TextFormat(msg.format) if msg.format else None)
    if kind is not None:
        return FileAccessLogSpec(path, translate_json_format(getattr(msg, kind), at.field(kind), False, ()))
    return FileAccessLogSpec(path)


ACCESS_LOGS: Final = ExtensionTable[AccessLogSinkSpec](
    "an access logger",
    {
        _FILE: translate_file,
        _STDOUT: translate_file,
        _STDERR: translate_file,
        HTTP_GRPC: translate_grpc,
        TCP_GRPC: translate_grpc,
        OPEN_TELEMETRY: translate_open_telemetry,
    },
)


def translate_access_logs(messages: Any, at: Path) -> tuple[AccessLogSpec, ...]:
    specs = (_translate_access_log(message, at.index(index)) for index, message in enumerate(messages))
    return tuple(spec for spec in specs if spec is not None)


def _translate_access_log(msg: Any, at: Path) -> AccessLogSpec | None:
    log = ACCESS_LOGS.translate(msg.typed_config, at.field("typed_config"))
    wanted = translate_filter(msg.filter, at.field("filter")) if msg.HasField("filter") else None
    return log if log is None or wanted is None else FilteredAccessLogSpec(log, wanted)
