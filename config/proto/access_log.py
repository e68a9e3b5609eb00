"""Access loggers (envoy.config.accesslog.v3, envoy.extensions.access_loggers.{file,stream}.v3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from config.model.access_log import (
    AccessLogSinkSpec,
    AccessLogSpec,
    FileAccessLogSpec,
    FilteredAccessLogSpec,
    JsonFormat,
    LogFormat,
    TextFormat,
)
from config.proto.access_log_filter import translate_filter
from config.proto.core import check_format, translate_data_source
from config.proto.fields import declare
from config.proto.path import Path
from config.proto.typed_config import ExtensionTable, struct_to_plain

_FILE: Final = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
_STDOUT: Final = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
_STDERR: Final = "envoy.extensions.access_loggers.stream.v3.StderrAccessLog"
_METADATA: Final = "envoy.extensions.formatter.metadata.v3.Metadata"
_REQ_WITHOUT_QUERY: Final = "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"

declare(
    "envoy.config.accesslog.v3.AccessLog",
    "typed_config filter",
    no_effect={"name": "the type decides"},
)
declare(_FILE, "path format log_format json_format typed_json_format")
declare(_STDOUT, "log_format")
declare(_STDERR, "log_format")
declare(
    "envoy.config.core.v3.SubstitutionFormatString",
    "text_format json_format omit_empty_values formatters",
    partly={"text_format_source": "inline forms"},
    no_effect={
        "content_type": "for local replies only",
        "json_format_options": "keys are sorted in any case, as in Envoy",
    },
)
declare(_METADATA)
declare(_REQ_WITHOUT_QUERY)


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
        return FileAccessLogSpec(path, _json_format(getattr(msg, kind), at.field(kind), False, ()))
    return FileAccessLogSpec(path)


def translate_log_format(msg: Any, at: Path) -> LogFormat | None:
    """`SubstitutionFormatString`; `None` when it is empty, or cannot be used (which is reported)."""
    kind = msg.WhichOneof("format")
    extensions = _formatters(msg.formatters, at)
    if kind == "json_format":
        return _json_format(msg.json_format, at.field(kind), msg.omit_empty_values, extensions)
    text = _text(msg, kind, at)
    if not text:
        return None
    check_format(text, at.field(kind), extensions)
    return TextFormat(text, msg.omit_empty_values, extensions)


def _text(msg: Any, kind: str | None, at: Path) -> str:
    if kind == "text_format":
        return str(msg.text_format)
    if kind is None:
        return ""
    source_at = at.field(kind)
    source = translate_data_source(msg.text_format_source, source_at)
    if source.inline is None:
        source_at.error("refused: give the format inline; it is not read from files or the environment")
        return ""
    return source.inline.decode(errors="replace")


def _json_format(struct: Any, at: Path, omit_empty: bool, extensions: tuple[str, ...]) -> JsonFormat:
    fields = struct_to_plain(struct)
    for text, text_at in _strings(fields, at):
        check_format(text, text_at, extensions)
    return JsonFormat(fields, omit_empty, extensions)


def _strings(value: object, at: Path) -> Iterator[tuple[str, Path]]:
    """All format strings of a table, with their places."""
    if isinstance(value, str):
        yield value, at
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _strings(each, at.key(key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _strings(each, at.index(index))


# Formatters: what matters is which of them are there

FORMATTERS: Final = ExtensionTable[str](
    "a formatter",
    {name: lambda msg, at: str(msg.DESCRIPTOR.full_name) for name in (_METADATA, _REQ_WITHOUT_QUERY)},
)


def _formatters(messages: Any, at: Path) -> tuple[str, ...]:
    names = (
        FORMATTERS.translate(message.typed_config, at.item("formatters", index).field("typed_config"))
        for index, message in enumerate(messages)
    )
    return tuple(name for name in names if name is not None)


ACCESS_LOGS: Final = ExtensionTable[AccessLogSinkSpec](
    "an access logger", {_FILE: translate_file, _STDOUT: translate_file, _STDERR: translate_file}
)


def translate_access_logs(messages: Any, at: Path) -> tuple[AccessLogSpec, ...]:
    specs = (_translate_access_log(message, at.index(index)) for index, message in enumerate(messages))
    return tuple(spec for spec in specs if spec is not None)


def _translate_access_log(msg: Any, at: Path) -> AccessLogSpec | None:
    log = ACCESS_LOGS.translate(msg.typed_config, at.field("typed_config"))
    wanted = translate_filter(msg.filter, at.field("filter")) if msg.HasField("filter") else None
    return log if log is None or wanted is None else FilteredAccessLogSpec(log, wanted)
