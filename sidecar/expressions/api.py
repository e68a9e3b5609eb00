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
from typing import Final

from config.expression import parse_expression
from config.model.expression import Node
from sidecar.expressions.attributes import Scope
from sidecar.expressions.operations import compile_reader
from sidecar.expressions.values import FAILED, printed
from sidecar.stream_info import StreamInfo

logger = logging.getLogger(__name__)


class Expression:
    """One compiled expression. No evaluation raises."""

    __slots__ = ("_has_raised", "_node", "_reader")

    def __init__(self, node: Node, scope: Scope) -> None:
        self._node: Final = node
        self._reader: Final = compile_reader(node, scope)
        self._has_raised = False

    @classmethod
    def parse(cls, text: str, scope: Scope) -> Expression:
        """Raises ExpressionError."""
        return cls(parse_expression(text), scope)

    def value(self, info: StreamInfo) -> object:
        try:
            return self._reader.value(info)
        except Exception:
            self._note_exception()
            return FAILED

    def text(self, info: StreamInfo) -> str | None:
        """The value as Envoy prints it, None without one."""
        try:
            value = self._reader.value(info)
            return value if type(value) is str else printed(value)
        except Exception:
            self._note_exception()
            return None

    def label(self, info: StreamInfo, missing: str, max_characters: int) -> str:
        """The same, cut; `missing` without one."""
        text = self.text(info)
        if text is None:
            return missing
        return text if len(text) <= max_characters else text[:max_characters]

    def is_true(self, info: StreamInfo) -> bool:
        try:
            return self._reader.value(info) is True
        except Exception:
            self._note_exception()
            return False

    def _note_exception(self) -> None:
        """A defect of this proxy: once is enough to know of it."""
        if not self._has_raised:
            self._has_raised = True
            logger.exception("an expression has no value where it raises an exception: %.1000s", self._node)
