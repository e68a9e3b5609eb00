from __future__ import annotations

import subprocess
import sys

import pytest

from config.expression import parse_expression
from config.model.expression import Call, Comprehension, Constant, Identifier, Message, Node
from sidecar.expressions.library import load
from sidecar.expressions.operations import compile_reader
from sidecar.expressions.unsigned import Unsigned
from sidecar.expressions.values import FAILED, Duration, Timestamp
from tests.unit.sidecar.expressions.streams import SCOPE, bare_stream


@pytest.mark.parametrize(
    "value",
    [
        "té", "a\x00b", b"\x00\xff", 5, -5, Unsigned(5), 1.5, True, None, Duration(-1_500_000_000), Duration(7_000),
        Timestamp(1_600_000_000_123_456_000), [1, "a", [None]], {"a": {"b": [b"x"]}},
    ],
    ids=repr,
)  # fmt: skip
def test_values_come_back_as_they_were(value: object) -> None:
    result = load(parse_expression("x"))({"x": value})
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("value", ["\udc80", 2**70])
def test_what_the_library_cannot_take_fails(value: object) -> None:
    assert load(parse_expression("x"))({"x": value}) is FAILED


def test_missing_variables_are_errors_where_they_are_used() -> None:
    assert load(parse_expression("x"))({}) is FAILED
    assert load(parse_expression("true || x"))({}) is True


@pytest.mark.parametrize(
    "node",
    [
        Message("no.such.Type", ()),
        Message("google.protobuf.Duration", (("nope", Constant(1)),)),
        Call("_&&_", ()),
        Call("_[_]", ()),
        Call("no_such_function", (), Constant(1)),
        Identifier(""),
        Comprehension("", "", Constant(1), "", Constant(1), Constant(True), Constant(1), Constant(1)),
    ],
    ids=repr,
)
def test_what_makes_no_sense_fails_each_time(node: Node) -> None:
    """Trees that come as messages may be anything."""
    program = load(node)
    assert [program({}) for _ in range(3)] == [FAILED] * 3
    assert compile_reader(node, SCOPE).value(bare_stream()) is FAILED


def test_nulls_in_lists_and_maps_do_not_use_none_up() -> None:
    """The library drops a reference to None for each; before Python 3.12 the process aborts when the last one is gone."""
    program = (
        "from sidecar.expressions.api import Expression\n"
        "from tests.unit.sidecar.expressions.streams import SCOPE, http_stream\n"
        "expression, info = Expression.parse('[request.path, null, null, null]', SCOPE), http_stream()\n"
        "print(sum(expression.is_true(info) for _ in range(10_000)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr
