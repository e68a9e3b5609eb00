"""What others use of this room: an expression from configuration to value, text or verdict.

    expression = Expression.parse("request.path + '?' + request.method", Scope(node))
    expression.text(info)      # as Envoy prints it (`%CEL(...)%`, label values); None: it has no value
    expression.is_true(info)   # a condition (access log filter, RBAC, `match`); no value, or no bool, is false
    expression.value(info)     # as Python has it; `FAILED` without a value

Parsing raises `ExpressionError` (`config.expression`), nothing else does: what goes wrong with a stream's values is `FAILED`.
"""

from __future__ import annotations

from config.expression import parse_expression
from config.model.expression import Node
from sidecar.expressions.attributes import Reader, Scope
from sidecar.expressions.closures import compile_closure
from sidecar.expressions.values import printed
from sidecar.stream_info import StreamInfo


class Expression:
    """One compiled expression; `value` is the closure itself."""

    __slots__ = ("value",)

    def __init__(self, node: Node, scope: Scope) -> None:
        self.value: Reader = compile_closure(node, scope)

    @classmethod
    def parse(cls, text: str, scope: Scope) -> Expression:
        """Raises ExpressionError."""
        return cls(parse_expression(text), scope)

    def text(self, info: StreamInfo) -> str | None:
        return printed(self.value(info))

    def is_true(self, info: StreamInfo) -> bool:
        return self.value(info) is True
