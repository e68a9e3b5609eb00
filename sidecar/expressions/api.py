"""What others use of this room: an expression from configuration to value, text or verdict.

    expression = Expression.parse("request.path + '?' + request.method", Scope(node))
    expression.text(info)      # as Envoy prints it (`%CEL(...)%`, label values); None: it has no value
    expression.is_true(info)   # a condition (access log filter, RBAC, `match`); no value, or no bool, is false
    expression.value(info)     # as Python has it; `FAILED` without a value

Parsing raises `ExpressionError` (`config.expression`), nothing else does: what goes wrong with a stream's values is `FAILED`, an
exception that nobody thought of included (it is logged, once for each expression): traffic is reported in any case.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeVar

from config.expression import parse_expression
from config.model.expression import Node
from sidecar.expressions.attributes import Scope
from sidecar.expressions.closures import compile_closure
from sidecar.expressions.values import FAILED, printed
from sidecar.stream_info import StreamInfo

logger = logging.getLogger(__name__)

_Missing = TypeVar("_Missing")


class Expression:
    """One compiled expression. No evaluation raises."""

    __slots__ = ("_closure", "_has_raised", "_node", "text")

    def __init__(self, node: Node, scope: Scope) -> None:
        self._node = node
        self._closure = compile_closure(node, scope)
        self._has_raised = False
        #: the value as Envoy prints it, None without one
        self.text: Final = self.printer(None)

    @classmethod
    def parse(cls, text: str, scope: Scope) -> Expression:
        """Raises ExpressionError."""
        return cls(parse_expression(text), scope)

    def value(self, info: StreamInfo) -> object:
        try:
            return self._closure(info)
        except Exception:
            self._note_exception()
            return FAILED

    def printer(
        self, missing: _Missing, max_characters: int | None = None
    ) -> Callable[[StreamInfo], str | _Missing]:
        """The value as Envoy prints it, cut, or `missing`: one call, for what is read of every stream."""
        closure = self._closure

        def read(info: StreamInfo) -> str | _Missing:
            try:
                value = closure(info)
                text = value if type(value) is str else printed(value)
            except Exception:
                self._note_exception()
                return missing
            return missing if text is None else text[:max_characters]

        return read

    def is_true(self, info: StreamInfo) -> bool:
        try:
            return self._closure(info) is True
        except Exception:
            self._note_exception()
            return False

    def _note_exception(self) -> None:
        """A defect of this proxy: once is enough to know of it."""
        if not self._has_raised:
            self._has_raised = True
            logger.exception("an expression has no value where it raises an exception: %.1000s", self._node)
