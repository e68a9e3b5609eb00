"""Operators that print metadata: METADATA, and the older ones that name its source themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

from config.model.core import Metadata
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.json_values import json_bytes, quote
from sidecar.telemetry.access_log.operator import (
    Argument,
    Builder,
    JsonBuilder,
    Operator,
    Reading,
    refuse_length,
)

_MetadataOf: TypeAlias = Callable[[StreamInfo], Metadata | None]

_SOURCES: Final[Mapping[str, _MetadataOf]] = {
    "CLUSTER": lambda info: info.cluster_metadata,
    "ROUTE": lambda info: info.route_metadata,
    "UPSTREAM_HOST": lambda info: info.upstream.host_metadata if info.upstream is not None else None,
    "DYNAMIC": lambda info: Metadata(info.dynamic_metadata) if info.dynamic_metadata is not None else None,
    "LISTENER": lambda info: None,
    "LISTENER_FILTER_CHAIN": lambda info: None,
    "VIRTUAL_HOST": lambda info: None,
}


def _print_metadata(metadata_of: _MetadataOf, path: list[str], argument: Argument, *, json: bool) -> Operator:
    """A text value as it is (a JSON string if `json`), any other as JSON."""
    namespace, keys = (path[0], path[1:]) if path else ("", [])
    max_length, missing = argument.max_length, argument.missing

    def read(info: StreamInfo) -> bytes:
        metadata = metadata_of(info)
        if metadata is None:
            return missing
        value: object = metadata.filter_metadata.get(namespace)
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is None:
            return missing
        if not isinstance(value, str):
            printed = json_bytes(value)
            return printed if json or max_length is None else printed[:max_length]
        printed = value.encode("utf-8", "replace")[:max_length]
        return quote(printed) if json else printed

    return Reading(read)


def _metadata(argument: Argument, *, json: bool = False) -> Operator:
    """`METADATA(TYPE:namespace:key:...)`."""
    source, *path = (argument.text or "").split(":")
    metadata_of = _SOURCES.get(source)
    if metadata_of is None:
        raise ValueError(f"METADATA needs one of {', '.join(_SOURCES)}")
    return _print_metadata(metadata_of, path, argument, json=json)


def _metadata_of(source: str) -> Builder:
    """The older operators that name the source themselves: `CLUSTER_METADATA(namespace:key:...)`."""

    def build(argument: Argument, *, json: bool = False) -> Operator:
        if not argument.text:
            raise ValueError("operator needs (NAMESPACE:KEY:...)")
        if source != "DYNAMIC":
            refuse_length(argument)
        return _print_metadata(_SOURCES[source], argument.text.split(":"), argument, json=json)

    return JsonBuilder(build, partial(build, json=True))


METADATA_OPERATORS: Final[Mapping[str, Builder]] = {
    "CLUSTER_METADATA": _metadata_of("CLUSTER"),
    "DYNAMIC_METADATA": _metadata_of("DYNAMIC"),
    "METADATA": JsonBuilder(_metadata, partial(_metadata, json=True)),
    "UPSTREAM_METADATA": _metadata_of("UPSTREAM_HOST"),
}
