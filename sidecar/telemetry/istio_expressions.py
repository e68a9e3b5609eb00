"""The CEL expressions of one `istio_stats` configuration: labels, conditions and custom values."""

from __future__ import annotations

from typing import Final

from config.expression import ExpressionError, parse_expression
from config.model.core import Node
from sidecar.expressions.api import Expression
from sidecar.expressions.attributes import Scope
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.istio import UNKNOWN
from sidecar.telemetry.istio_report import Expressions
from stats.istio import HOLDS

#: A client may choose what an expression reads, and series live long.
_MAX_LABEL_CHARACTERS: Final = 1024


class _Compiled:
    """One expression in its two forms: at the end of a stream, and on the way (without the heads of request and response)."""

    __slots__ = ("_at_end", "_is_condition", "_on_the_way")

    def __init__(self, at_end: Expression, on_the_way: Expression, is_condition: bool) -> None:
        self._at_end: Final = at_end
        self._on_the_way: Final = on_the_way
        self._is_condition: Final = is_condition

    def text(self, stream: StreamInfo, ended: bool) -> str:
        expression = self._at_end if ended else self._on_the_way
        if self._is_condition:
            return HOLDS if expression.is_true(stream) else ""
        return expression.label(stream, UNKNOWN, _MAX_LABEL_CHARACTERS)


class ConfiguredExpressions(Expressions):
    """Collects and compiles them (`stats.istio.ExpressionSink`), then evaluates them (`istio_report.Expressions`).

    The same text in the same role is evaluated once. What does not parse is left out; the reader of the configuration has
    warned of it.
    """

    def __init__(self, node: Node) -> None:
        self._end_scope = Scope(node)
        self._way_scope = Scope(node, has_headers=False)
        self._numbers: dict[tuple[str, bool], int] = {}
        self._labels: list[_Compiled] = []
        self._value_numbers: dict[str, int] = {}
        self._values: list[_Compiled] = []

    @property
    def is_empty(self) -> bool:
        return not self._labels and not self._values

    def add_label(self, text: str) -> int | None:
        return self._add_extra(text, is_condition=False)

    def add_condition(self, text: str) -> int | None:
        return self._add_extra(text, is_condition=True)

    def add_value(self, text: str) -> int | None:
        number = self._value_numbers.get(text)
        if number is None and (compiled := self._compile(text)) is not None:
            number = self._value_numbers[text] = len(self._values)
            self._values.append(compiled)
        return number

    def _add_extra(self, text: str, is_condition: bool) -> int | None:
        number = self._numbers.get((text, is_condition))
        if number is None:
            compiled = self._compile(text, is_condition)
            if compiled is not None:
                number = self._numbers[text, is_condition] = len(self._labels)
                self._labels.append(compiled)
        return number

    def _compile(self, text: str, is_condition: bool = False) -> _Compiled | None:
        try:
            node = parse_expression(text)
        except ExpressionError:
            return None
        return _Compiled(Expression(node, self._end_scope), Expression(node, self._way_scope), is_condition)

    def labels(self, stream: StreamInfo, ended: bool) -> tuple[str, ...]:
        return tuple([each.text(stream, ended) for each in self._labels])

    def values(self, stream: StreamInfo, ended: bool) -> tuple[str, ...]:
        return tuple([each.text(stream, ended) for each in self._values])
