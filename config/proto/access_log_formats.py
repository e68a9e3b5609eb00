"""Formats of access logs (envoy.config.core.v3.SubstitutionFormatString) and the formatters that extend them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from config.model.access_log import JsonFormat, LogFormat, TextFormat
from config.proto.core import check_format, translate_data_source
from config.proto.fields import declare
from config.proto.path import Path
from config.proto.typed_config import ExtensionTable, struct_to_plain

_CEL: Final = "envoy.extensions.formatter.cel.v3.Cel"
_METADATA: Final = "envoy.extensions.formatter.metadata.v3.Metadata"
_REQ_WITHOUT_QUERY: Final = "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"

declare(
    "envoy.config.core.v3.SubstitutionFormatString",
    "text_format json_format omit_empty_values formatters",
    partly={"text_format_source": "inline forms"},
    no_effect={
        "content_type": "for local replies only",
        "json_format_options": "keys are sorted in any case, as in Envoy",
    },
)
declare(_CEL)
declare(_METADATA)
declare(_REQ_WITHOUT_QUERY)


def translate_log_format(msg: Any, at: Path) -> LogFormat | None:
    """`SubstitutionFormatString`; `None` when it is empty, or cannot be used (which is reported)."""
    kind = msg.WhichOneof("format")
    extensions = translate_formatters(msg.formatters, at)
    if kind == "json_format":
        return translate_json_format(msg.json_format, at.field(kind), msg.omit_empty_values, extensions)
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


def translate_json_format(struct: Any, at: Path, omit_empty: bool, extensions: tuple[str, ...]) -> JsonFormat:
    fields = struct_to_plain(struct)
    check_formats(fields, at, extensions)
    return JsonFormat(fields, omit_empty, extensions)


def check_formats(value: object, at: Path, extensions: tuple[str, ...]) -> None:
    """Report every format string of a table that cannot be compiled."""
    for text, text_at in _strings(value, at):
        check_format(text, text_at, extensions)


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
    {name: lambda msg, at: str(msg.DESCRIPTOR.full_name) for name in (_CEL, _METADATA, _REQ_WITHOUT_QUERY)},
)


def translate_formatters(messages: Any, at: Path) -> tuple[str, ...]:
    names = (
        FORMATTERS.translate(message.typed_config, at.item("formatters", index).field("typed_config"))
        for index, message in enumerate(messages)
    )
    return tuple(name for name in names if name is not None)
