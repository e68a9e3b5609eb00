"""Matchers of metadata (envoy.type.matcher.v3.MetadataMatcher)."""

from __future__ import annotations

from typing import Any, Final

from config.model.metadata_matching import (
    BoolValue,
    ListValue,
    MetadataMatcher,
    MetadataSource,
    NullValue,
    NumberValue,
    OrValue,
    PresentValue,
    StringValue,
    ValueMatcher,
)
from config.proto.fields import declare
from config.proto.matching import translate_string_matcher
from config.proto.path import Path

_PACKAGE: Final = "envoy.type.matcher.v3"

declare(f"{_PACKAGE}.MetadataMatcher", "filter path value invert")
declare(f"{_PACKAGE}.MetadataMatcher.PathSegment", "key")
declare(
    f"{_PACKAGE}.ValueMatcher",
    "null_match double_match string_match bool_match present_match list_match or_match",
)
declare(f"{_PACKAGE}.ValueMatcher.NullMatch")
declare(f"{_PACKAGE}.DoubleMatcher", "exact range")
declare("envoy.type.v3.DoubleRange", "start end")
declare(f"{_PACKAGE}.ListMatcher", "one_of")
declare(f"{_PACKAGE}.OrMatcher", "value_matchers")


def translate_metadata_matcher(
    msg: Any, at: Path, source: MetadataSource = MetadataSource.DYNAMIC
) -> MetadataMatcher:
    return MetadataMatcher(
        msg.filter,
        tuple(segment.key for segment in msg.path),
        _translate_value(msg.value, at.field("value")),
        msg.invert,
        source,
    )


def _translate_value(msg: Any, at: Path) -> ValueMatcher:
    """An unset matcher was reported and matches nothing."""
    kind = msg.WhichOneof("match_pattern")
    if kind == "null_match":
        return NullValue()
    if kind == "double_match":
        number = msg.double_match
        if number.WhichOneof("match_pattern") == "range":
            return NumberValue(None, number.range.start, number.range.end)
        return NumberValue(number.exact)
    if kind == "string_match":
        return StringValue(translate_string_matcher(msg.string_match, at.field(kind)))
    if kind == "bool_match":
        return BoolValue(msg.bool_match)
    if kind == "list_match":
        return ListValue(_translate_value(msg.list_match.one_of, at.field(kind).field("one_of")))
    if kind == "or_match":
        values_at = at.field(kind).field("value_matchers")
        values = enumerate(msg.or_match.value_matchers)
        return OrValue(tuple(_translate_value(each, values_at.index(i)) for i, each in values))
    return PresentValue(msg.present_match)
