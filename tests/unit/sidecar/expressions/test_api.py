"""Whatever happens in an evaluation: what reports a request gets an answer, never an exception."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, cast

import pytest

from config.expression import parse_expression
from sidecar.expressions.api import Expression
from sidecar.expressions.attributes import _FAMILIES
from sidecar.expressions.reading import Function, Reader
from sidecar.expressions.values import FAILED
from sidecar.stream_info import StreamInfo
from tests.unit.sidecar.expressions.streams import SCOPE, http_stream

EXCEPTIONS = (
    TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError, RecursionError, MemoryError, OverflowError,
    ZeroDivisionError, AssertionError, UnicodeEncodeError("utf-8", "x", 0, 1, "no"), StopIteration, SystemError, Exception,
)  # fmt: skip


#: What of a request expressions can ask for.
REQUEST = cast("dict[str, Reader]", _FAMILIES["request"])


def raising(problem: Any) -> Any:
    def evaluate(info: StreamInfo) -> object:
        raise problem

    return Function(evaluate)


@pytest.mark.parametrize("problem", EXCEPTIONS, ids=str)
def test_no_exception_of_any_kind_escapes(
    problem: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(REQUEST, "protocol", raising(problem))
    expression, info = Expression.parse("request.protocol", SCOPE), http_stream()
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert expression.value(info) is FAILED
            assert expression.text(info) is None
            assert expression.is_true(info) is False
    (record,) = caplog.records  # once for an expression, not for each request
    assert "request" in record.getMessage()


def test_none_escapes_from_printing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd:
        @property
        def __class__(self) -> Any:
            raise RuntimeError("what am I")

    monkeypatch.setitem(REQUEST, "protocol", Function(lambda info: Odd()))
    assert Expression.parse("request.protocol", SCOPE).text(http_stream()) is None


def _attributes() -> Iterator[str]:
    for root, family in _FAMILIES.items():
        yield root
        for name in family:
            yield f"{root}['{name}']"
            yield f"{root}['{name}'].deeper['and'][0].still"


@pytest.mark.parametrize(
    "form", ["{}", "{} == 'x'", "size({})", "{} + 'x'", "has({}.x)", "[{}].exists(x, x == 1)"]
)
def test_no_attribute_that_is_broken_raises(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for family in _FAMILIES.values():
        for name in family:
            monkeypatch.setitem(
                cast("dict[str, Reader]", family), name, raising(RuntimeError(f"no {name} today"))
            )
    info = http_stream()
    for path in _attributes():
        expression = Expression.parse(form.format(path), SCOPE)
        expression.value(info)
        expression.text(info)
        expression.is_true(info)


def test_what_the_binding_raises_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """One side of `||` fails, and the other decides."""

    class Program:
        def eval(self, data: object) -> object:
            raise TypeError("unregistered type")

    class Environment:
        def deserialize(self, form: bytes) -> Program:
            return Program()

    node = parse_expression("size(request.path) > 1 || request.method == 'GET'")
    monkeypatch.setattr("sidecar.expressions.library.library_env", Environment)
    assert Expression(node, SCOPE).value(http_stream()) is True
