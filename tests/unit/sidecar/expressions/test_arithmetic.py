"""Arithmetic here against the CEL library: the same values, and the same errors."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.expression import parse_expression
from sidecar.expressions import library
from sidecar.expressions.attributes import Scope
from sidecar.expressions.operations import compile_reader
from sidecar.expressions.values import FAILED
from tests.unit.sidecar.expressions.streams import http_stream

_EDGES = (0, 1, -1, 2, -2, 7, -7, 2**31, 2**62, -(2**62), 2**63 - 1, -(2**63 - 1), -(2**63))
_NUMBERS = st.sampled_from(_EDGES) | st.integers(-(2**63), 2**63 - 1)


def _value(text: str) -> object:
    return compile_reader(parse_expression(text), Scope()).value(http_stream())


def _of_library(text: str) -> object:
    return library.load(parse_expression(text))({})


@given(_NUMBERS, st.sampled_from("+-*/%"), _NUMBERS)
@example(-(2**63), "%", -1)
@example(-(2**63), "/", -1)
def test_whole_numbers(left: int, operator: str, right: int) -> None:
    text = f"({left}) {operator} ({right})"
    assert _value(text) == _of_library(text)


@pytest.mark.parametrize("number", _EDGES)
def test_one_number(number: int) -> None:
    for text in (f"-({number})", f"string({number})"):
        assert _value(text) == _of_library(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'a' + 'b'", "ab"),
        ("'a' + 1", FAILED),
        ("1 + 'a'", FAILED),
        ("1u + 2u", 3),
        ("1 + 2u", FAILED),
        ("1.5 + 2.0", 3.5),
        ("1 + 2.0", FAILED),
        ("true + true", FAILED),
        ("-(1.5)", -1.5),
        ("string(1.5)", "1.5"),
        ("string(true)", "true"),
        ("string('a')", "a"),
        ("1.0 / 0.0", float("inf")),
        ("string(response.code / 100)", "2"),
        ("response.nothing + 1", FAILED),
        ("1 + response.nothing", FAILED),
        ("string(response.nothing)", FAILED),
        ("-response.nothing", FAILED),
        ("request.method + ' ' + request.protocol", "GET HTTP/1.1"),
    ],
)
def test_other_values(text: str, expected: object) -> None:
    assert _value(text) == expected
