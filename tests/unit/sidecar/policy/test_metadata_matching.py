from __future__ import annotations

import pytest

from config.model.core import Metadata
from config.model.matching import StringMatcher, StringMatchKind
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
from sidecar.policy.metadata_matching import compile_metadata_matcher
from tests.unit.sidecar.expressions.streams import bare_stream

STRUCT = {
    "null": None,
    "one": 1.0,
    "text": "abc",
    "yes": True,
    "list": ["x", 2.0, ["nested"]],
    "empty": [],
    "deep": {"er": {"value": "abc"}},
}
ABC = StringValue(StringMatcher(StringMatchKind.PREFIX, "ab"))


def matches(matcher: MetadataMatcher) -> bool:
    info = bare_stream()
    info.add_dynamic_metadata("ns", STRUCT)
    return compile_metadata_matcher(matcher)(info)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("null",), NullValue(), True),
        (("nothing",), NullValue(), False),
        (("one",), NullValue(), False),
        (("one",), NumberValue(1.0), True),
        (("one",), NumberValue(2.0), False),
        (("one",), NumberValue(None, 1.0, 2.0), True),
        (("one",), NumberValue(None, 0.0, 1.0), False),
        (("yes",), NumberValue(1.0), False),
        (("text",), NumberValue(1.0), False),
        (("text",), ABC, True),
        (("one",), ABC, False),
        (("yes",), BoolValue(True), True),
        (("yes",), BoolValue(False), False),
        (("one",), BoolValue(True), False),
        (("null",), PresentValue(True), True),
        (("text",), PresentValue(False), False),
        (("nothing",), PresentValue(True), False),
        (("list",), ListValue(StringValue(StringMatcher(StringMatchKind.EXACT, "x"))), True),
        (("list",), ListValue(ABC), False),
        (("empty",), ListValue(PresentValue(True)), False),
        (("text",), ListValue(ABC), False),
        (("list",), ListValue(ListValue(StringValue(StringMatcher(StringMatchKind.EXACT, "nested")))), True),
        (("text",), OrValue((NullValue(), ABC)), True),
        (("one",), OrValue((NullValue(), ABC)), False),
        (("deep", "er", "value"), ABC, True),
        (("deep", "er"), ABC, False),
        (("text", "er"), ABC, False),
    ],
)
def test_values(path: tuple[str, ...], value: ValueMatcher, expected: bool) -> None:
    assert matches(MetadataMatcher("ns", path, value)) is expected
    assert matches(MetadataMatcher("ns", path, value, invert=True)) is not expected
    assert not matches(MetadataMatcher("other", path, value))


def test_no_metadata_at_all() -> None:
    for invert in (False, True):
        matcher = MetadataMatcher("ns", ("text",), ABC, invert)
        assert compile_metadata_matcher(matcher)(bare_stream()) is invert


@pytest.mark.parametrize("invert", [False, True])
def test_metadata_of_the_route(invert: bool) -> None:
    judge = compile_metadata_matcher(MetadataMatcher("ns", ("text",), ABC, invert, MetadataSource.ROUTE))
    info = bare_stream()
    assert not judge(info)  # without a route nothing matches, inverted or not
    info.route_metadata = Metadata({"ns": STRUCT})
    assert judge(info) is not invert
    info.route_metadata = Metadata()
    assert judge(info) is invert
