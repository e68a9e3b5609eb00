"""Tags by configuration (envoy.type.tracing.v3.CustomTag), compiled: what each says of a finished request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from config.model.tracing import (
    CustomTag,
    EnvironmentTag,
    FormatTag,
    LiteralTag,
    MetadataSource,
    MetadataTag,
    RequestHeaderTag,
)
from sidecar.telemetry.access_log.format import compile_format
from sidecar.telemetry.access_log.json_values import json_bytes

if TYPE_CHECKING:
    from config.model.core import Metadata
    from sidecar.stream_info import StreamInfo

#: None: the request has no such tag.
TagValue: TypeAlias = Callable[["StreamInfo"], "str | None"]
CompiledTags: TypeAlias = tuple[tuple[str, TagValue], ...]

_SOURCES: Final[Mapping[MetadataSource, Callable[[StreamInfo], Metadata | None]]] = {
    MetadataSource.REQUEST: lambda info: None,
    MetadataSource.ROUTE: lambda info: info.route_metadata,
    MetadataSource.CLUSTER: lambda info: info.cluster_metadata,
    MetadataSource.HOST: lambda info: info.upstream.host_metadata if info.upstream is not None else None,
}
#: What an operator prints when it has nothing to say.
_NOTHING: Final = ("", "-")


def compile_tags(tags: Iterable[CustomTag], environ: Mapping[str, str]) -> CompiledTags:
    """The first of several with one name counts, as in Envoy. May raise FormatError."""
    compiled: dict[str, TagValue] = {}
    for tag in tags:
        compiled.setdefault(tag.tag, _compile(tag, environ))
    return tuple(compiled.items())


def _compile(tag: CustomTag, environ: Mapping[str, str]) -> TagValue:
    if isinstance(tag, LiteralTag):
        return _constant(tag.value)
    if isinstance(tag, EnvironmentTag):
        return _constant(environ.get(tag.name, tag.default_value))
    if isinstance(tag, RequestHeaderTag):
        return _header(tag)
    if isinstance(tag, MetadataTag):
        return _metadata(tag)
    return _format(tag)


def _constant(value: str) -> TagValue:
    constant = value or None
    return lambda info: constant


def _header(tag: RequestHeaderTag) -> TagValue:
    name, default = tag.name.encode(), tag.default_value or None

    def read(info: StreamInfo) -> str | None:
        value = info.request_headers.get(name) if info.request_headers is not None else None
        return default if value is None else text_of(value)

    return read


def _metadata(tag: MetadataTag) -> TagValue:
    metadata_of, default = _SOURCES[tag.source], tag.default_value or None

    def read(info: StreamInfo) -> str | None:
        metadata = metadata_of(info)
        value: object = metadata.namespace(tag.key) if metadata is not None else None
        for key in tag.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is None or (not tag.path and not value):
            return default
        return value if isinstance(value, str) else text_of(json_bytes(value))

    return read


def _format(tag: FormatTag) -> TagValue:
    render = compile_format(tag.format)

    def read(info: StreamInfo) -> str | None:
        value = text_of(render(info))
        return None if value in _NOTHING else value

    return read


def text_of(value: bytes) -> str:
    """The text of header bytes; collectors want UTF-8."""
    return value.decode("utf-8", "replace")
