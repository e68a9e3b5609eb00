"""Access loggers (envoy.config.accesslog.v3, envoy.extensions.access_loggers.{file,stream}.v3)."""

from __future__ import annotations

from typing import Any, Final

from config.model.access_log import AccessLogSpec, FileAccessLogSpec
from config.proto.core import check_format, translate_data_source
from config.proto.fields import declare
from config.proto.path import Path
from config.proto.typed_config import ExtensionTable

_FILE: Final = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
_STDOUT: Final = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
_STDERR: Final = "envoy.extensions.access_loggers.stream.v3.StderrAccessLog"
_ONLY_TEXT: Final = "only text formats are supported"

declare(
    "envoy.config.accesslog.v3.AccessLog",
    "typed_config",
    no_effect={"name": "the type decides"},
    refused={"filter": "access log filters are not supported"},
)
declare(_FILE, "path format log_format", refused={"json_format": _ONLY_TEXT, "typed_json_format": _ONLY_TEXT})
declare(_STDOUT, "log_format")
declare(_STDERR, "log_format")
declare(
    "envoy.config.core.v3.SubstitutionFormatString",
    "text_format",
    partly={"text_format_source": "inline forms"},
    ignored={"omit_empty_values": "an empty value is written as '-'"},
    no_effect={
        "content_type": "for local replies only",
        "json_format_options": "for JSON formats only",
    },
    refused={"json_format": _ONLY_TEXT, "formatters": "formatter extensions are not supported"},
)


def translate_file(msg: Any, at: Path) -> AccessLogSpec:
    """The file logger, and the stdout and stderr loggers as their devices."""
    name = msg.DESCRIPTOR.full_name
    path = msg.path if name == _FILE else "/dev/stdout" if name == _STDOUT else "/dev/stderr"
    if name == _FILE and msg.WhichOneof("access_log_format") == "format":
        check_format(msg.format, at.field("format"))
        return FileAccessLogSpec(path, msg.format or None)
    text = (
        translate_text_format(msg.log_format, at.field("log_format")) if msg.HasField("log_format") else None
    )
    return FileAccessLogSpec(path, text or None)


def translate_text_format(msg: Any, at: Path) -> str | None:
    """`SubstitutionFormatString` as its text; `None` when it has none (which is reported)."""
    kind = msg.WhichOneof("format")
    if kind == "text_format":
        check_format(msg.text_format, at.field(kind))
        return str(msg.text_format)
    if kind != "text_format_source":
        return None
    source_at = at.field(kind)
    source = translate_data_source(msg.text_format_source, source_at)
    if source.inline is None:
        source_at.error("refused: give the format inline; it is not read from files or the environment")
        return None
    text = source.inline.decode(errors="replace")
    check_format(text, source_at)
    return text


ACCESS_LOGS: Final = ExtensionTable[AccessLogSpec](
    "an access logger", {_FILE: translate_file, _STDOUT: translate_file, _STDERR: translate_file}
)


def translate_access_logs(messages: Any, at: Path) -> tuple[AccessLogSpec, ...]:
    specs = (
        ACCESS_LOGS.translate(message.typed_config, at.index(index).field("typed_config"))
        for index, message in enumerate(messages)
    )
    return tuple(spec for spec in specs if spec is not None)
