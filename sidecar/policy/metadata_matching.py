"""Metadata matchers compiled to predicates on a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from config.model.metadata_matching import (
    BoolValue,
    ListValue,
    MetadataMatcher,
    MetadataSource,
    NullValue,
    NumberValue,
    OrValue,
    StringValue,
    ValueMatcher,
)
from sidecar.policy.matching import compile_string_matcher
from sidecar.stream_info import StreamInfo

_Judge: TypeAlias = Callable[[object], bool]

#: No such key; None is the null of a Struct.
_MISSING: Final = object()

_NO_METADATA: Final[Mapping[str, Mapping[str, object]]] = {}


def compile_metadata_matcher(matcher: MetadataMatcher) -> Callable[[StreamInfo], bool]:
    """Raises MatcherError for a bad regular expression. A stream without a route has no route metadata: no match (Envoy)."""
    judge, namespace, path = _compile_value(matcher.value), matcher.filter_name, matcher.path
    wanted, is_route = not matcher.invert, matcher.source is MetadataSource.ROUTE

    def matches(info: StreamInfo) -> bool:
        namespaces: Mapping[str, Mapping[str, object]]
        if is_route:
            if info.route_metadata is None:
                return False
            namespaces = info.route_metadata.filter_metadata
        else:
            namespaces = info.dynamic_metadata if info.dynamic_metadata is not None else _NO_METADATA
        value: object = namespaces.get(namespace, _MISSING)
        for key in path:
            value = value.get(key, _MISSING) if isinstance(value, Mapping) else _MISSING
        return (value is not _MISSING and judge(value)) is wanted

    return matches


def _compile_value(matcher: ValueMatcher) -> _Judge:
    if isinstance(matcher, NullValue):
        return lambda value: value is None
    if isinstance(matcher, NumberValue):
        return _number(matcher)
    if isinstance(matcher, StringValue):
        text_matches = compile_string_matcher(matcher.string)
        return lambda value: isinstance(value, str) and text_matches(value)
    if isinstance(matcher, BoolValue):
        wanted = matcher.value
        return lambda value: value is wanted
    if isinstance(matcher, ListValue):
        item_matches = _compile_value(matcher.one_of)
        return lambda value: isinstance(value, (list, tuple)) and any(item_matches(each) for each in value)
    if isinstance(matcher, OrValue):
        judges = tuple(_compile_value(each) for each in matcher.values)
        return lambda value: any(judge(value) for judge in judges)
    present = matcher.present
    return lambda value: present


def _number(matcher: NumberValue) -> _Judge:
    exact, start, end = matcher.exact, matcher.start, matcher.end

    def judge(value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return value == exact if exact is not None else start <= value < end

    return judge
