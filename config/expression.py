"""CEL expressions: text or `cel.expr.Expr` -> a tree of frozen structs, and back to what the CEL library loads.

The grammar is the library's (`cel-expr-python`, the C++ implementation that Envoy uses). It is loaded when the first
expression is met: most configurations have none.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import re2
from cel.expr import syntax_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from msgspec import structs

from config.model.expression import (
    Call,
    Comprehension,
    Constant,
    Identifier,
    ListOf,
    MapOf,
    Message,
    Node,
    Select,
)
from config.spelling import did_you_mean

#: Levels of nesting; a longer chain of operators is refused rather than met by Python's limit of recursion.
MAX_DEPTH: Final = 100

_OPERATORS: Final = "_||_ _&&_ _==_ _!=_ _<_ _<=_ _>_ _>=_ _+_ _-_ _*_ _/_ _%_ @in _[_]"
_OF_ONE: Final = "!_ -_ size @not_strictly_false __not_strictly_false__"
_OF_TEXTS: Final = "matches contains startsWith endsWith"
_CONVERSIONS: Final = "int uint double string bytes bool type dyn duration timestamp"
_PARTS_OF_TIMES: Final = "getFullYear getMonth getDayOfYear getDayOfMonth getDate getDayOfWeek getHours getMinutes getSeconds getMilliseconds"
#: The functions of standard CEL, and how many operands (the target of a method is one) they have.
_FUNCTIONS: Final[Mapping[str, tuple[int, ...]]] = {
    **dict.fromkeys(_OPERATORS.split(), (2,)),
    **dict.fromkeys(_OF_ONE.split(), (1,)),
    "_?_:_": (3,),
    **dict.fromkeys(_CONVERSIONS.split(), (1,)),
    **dict.fromkeys(_OF_TEXTS.split(), (2,)),
    **dict.fromkeys(_PARTS_OF_TIMES.split(), (1, 2)),  # perhaps with a time zone
}


_NAMED_FUNCTIONS: Final = tuple(name for name in _FUNCTIONS if name.isalpha())


class ExpressionError(ValueError):
    """The text is no CEL expression, or one that cannot be taken; the message says where, for people."""


@functools.cache
def library_env() -> Any:
    """The library's environment: standard functions and macros, no declared variables."""
    from cel_expr_python import cel

    return cel.NewEnv()


def parse_expression(text: str) -> Node:
    """Raises ExpressionError. Names and types are not checked: what an attribute is shows when it is read (Envoy)."""
    try:
        text.encode()  # the library takes no lone surrogates
        parsed = library_env().compile(text, disable_check=True).serialize()
        message = syntax_pb2.ParsedExpr.FromString(AnyMessage.FromString(parsed).value)
    except (RuntimeError, UnicodeError, DecodeError) as error:
        raise ExpressionError(_first_problem(str(error))) from error
    return node_of(message.expr)


def parse_strictly(text: str) -> Node:
    """`parse_expression` for those who refuse what can never have a value: functions that do not exist, regular expressions that
    do not compile. Raises ExpressionError."""
    node = parse_expression(text)
    check_node(node)
    return node


def check_node(node: Node, *, plain: bool = False) -> None:
    """Raises ExpressionError for what can never have a value. `plain`: also for comprehensions and messages, which Envoy has
    switched off where an expression decides about access, and whose cost a client could choose."""
    if plain and (found := next(_kinds_in(node, (Comprehension, Message)), None)) is not None:
        what = "message" if isinstance(found, Message) else "macro over a list or map"
        raise ExpressionError(f"a {what} is not allowed here")
    for call in _kinds_in(node, (Call,)):
        assert isinstance(call, Call)
        check_call(call)


def check_call(call: Call) -> None:
    """Raises ExpressionError for a call that can never have a value."""
    operands = call.arguments if call.target is None else (call.target, *call.arguments)
    if call.function not in _FUNCTIONS:
        raise ExpressionError(
            f"there is no function {call.function} of {len(operands)} operands"
            f"{did_you_mean(call.function, _NAMED_FUNCTIONS)}"
        )
    if len(operands) not in _FUNCTIONS[call.function]:
        raise ExpressionError(f"there is no function {call.function} of {len(operands)} operands")
    if call.function == "matches" and isinstance(operands[1], Constant):
        _check_regex(operands[1].value)


def _kinds_in(value: object, kinds: tuple[type[Node], ...]) -> Iterator[Node]:
    """All nodes of these kinds in a tree: a node, a tuple of what nodes hold, or a leaf."""
    if isinstance(value, kinds):
        yield value
    if isinstance(value, tuple):
        for each in value:
            yield from _kinds_in(each, kinds)
    elif isinstance(value, msgspec.Struct):
        yield from _kinds_in(structs.astuple(value), kinds)


def _check_regex(pattern: object) -> None:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except (re2.error, TypeError) as error:
        raise ExpressionError(f"bad regular expression {pattern!r}: {error}") from None


def _first_problem(text: str) -> str:
    """`1:8: Syntax error: mismatched input ...` of the library's page."""
    first = text.partition("\n")[0]
    return first.removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: ").removeprefix("<input>:")


def node_of(expr: Any) -> Node:
    """The tree of a `cel.expr.Expr`, or of its twin `google.api.expr.v1alpha1.Expr`. Raises ExpressionError."""
    return _node(expr, MAX_DEPTH)


def _node(expr: Any, depth: int) -> Node:
    if depth == 0:
        raise ExpressionError(f"nested deeper than {MAX_DEPTH} levels")
    kind = expr.WhichOneof("expr_kind")
    if kind is None:
        raise ExpressionError("an expression is empty")
    below = depth - 1
    value = getattr(expr, kind)
    if kind == "const_expr":
        return _constant(value)
    if kind == "ident_expr":
        return Identifier(value.name)
    if kind == "select_expr":
        return Select(_node(value.operand, below), value.field, value.test_only)
    if kind == "call_expr":
        target = _node(value.target, below) if value.HasField("target") else None
        return Call(value.function, tuple(_node(each, below) for each in value.args), target)
    if kind == "list_expr":
        _refuse_optional(value.optional_indices)
        return ListOf(tuple(_node(each, below) for each in value.elements))
    if kind == "struct_expr":
        return _struct(value, below)
    return Comprehension(
        value.iter_var,
        getattr(value, "iter_var2", ""),
        _node(value.iter_range, below),
        value.accu_var,
        _node(value.accu_init, below),
        _node(value.loop_condition, below),
        _node(value.loop_step, below),
        _node(value.result, below),
    )


def _constant(value: Any) -> Constant:
    kind = value.WhichOneof("constant_kind")
    if kind is None or kind == "null_value":
        return Constant(None)
    if kind in ("duration_value", "timestamp_value"):
        raise ExpressionError(f"a constant of the deprecated kind {kind}")
    return Constant(getattr(value, kind), kind == "uint64_value")


def _refuse_optional(is_used: Any) -> None:
    if is_used:
        raise ExpressionError("optional values are not supported")


def _struct(value: Any, depth: int) -> Node:
    _refuse_optional([entry for entry in value.entries if entry.optional_entry])
    if value.message_name:
        fields = tuple((entry.field_key, _node(entry.value, depth)) for entry in value.entries)
        return Message(value.message_name, fields)
    return MapOf(tuple((_node(entry.map_key, depth), _node(entry.value, depth)) for entry in value.entries))


def library_form(node: Node) -> bytes:
    """What `library_env().deserialize` takes: a `cel.expr.ParsedExpr` in an `Any`."""
    message = syntax_pb2.ParsedExpr()
    _Writer().write(node, message.expr)
    packed = AnyMessage()
    packed.Pack(message)
    return packed.SerializeToString()


class _Writer:
    """Fills `cel.expr.Expr` messages; each gets a number of its own."""

    def __init__(self) -> None:
        self._last_id = 0

    def write(self, node: Node, expr: Any) -> None:
        self._last_id += 1
        expr.id = self._last_id
        if isinstance(node, Constant):
            _write_constant(node, expr.const_expr)
        elif isinstance(node, Identifier):
            expr.ident_expr.name = node.name
        elif isinstance(node, Select):
            expr.select_expr.field = node.field
            expr.select_expr.test_only = node.is_test
            self.write(node.operand, expr.select_expr.operand)
        elif isinstance(node, Call):
            expr.call_expr.function = node.function
            if node.target is not None:
                self.write(node.target, expr.call_expr.target)
            for argument in node.arguments:
                self.write(argument, expr.call_expr.args.add())
        elif isinstance(node, ListOf):
            expr.list_expr.SetInParent()
            for item in node.items:
                self.write(item, expr.list_expr.elements.add())
        elif isinstance(node, Comprehension):
            self._write_comprehension(node, expr.comprehension_expr)
        else:
            self._write_struct(node, expr.struct_expr)

    def _write_struct(self, node: MapOf | Message, expr: Any) -> None:
        expr.SetInParent()
        if isinstance(node, Message):
            expr.message_name = node.message_name
            for name, value in node.fields:
                entry = self._entry(expr)
                entry.field_key = name
                self.write(value, entry.value)
            return
        for key, value in node.entries:
            entry = self._entry(expr)
            self.write(key, entry.map_key)
            self.write(value, entry.value)

    def _entry(self, expr: Any) -> Any:
        self._last_id += 1
        return expr.entries.add(id=self._last_id)

    def _write_comprehension(self, node: Comprehension, expr: Any) -> None:
        expr.iter_var, expr.iter_var2, expr.accu_var = node.iter_var, node.iter_var2, node.accu_var
        self.write(node.iter_range, expr.iter_range)
        self.write(node.accu_init, expr.accu_init)
        self.write(node.loop_condition, expr.loop_condition)
        self.write(node.loop_step, expr.loop_step)
        self.write(node.result, expr.result)


def _write_constant(node: Constant, constant: Any) -> None:
    value = node.value
    if value is None:
        constant.null_value = 0
    elif isinstance(value, bool):
        constant.bool_value = value
    elif isinstance(value, int):
        if node.is_unsigned:
            constant.uint64_value = value
        else:
            constant.int64_value = value
    elif isinstance(value, float):
        constant.double_value = value
    elif isinstance(value, str):
        constant.string_value = value
    else:
        constant.bytes_value = value
