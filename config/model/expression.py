"""A CEL expression as a tree (`cel.expr.Expr`): macros are expanded, operators are calls (`_==_`, `_&&_`, `_[_]`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal. `is_unsigned` tells `1u` from `1`."""

    value: bool | int | float | str | bytes | None
    is_unsigned: bool = False


@dataclass(frozen=True, slots=True)
class Identifier:
    """A name that the context gives a value to: `request`. A leading `.` means the outermost scope."""

    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.field`, or with `is_test` the macro `has(operand.field)`."""

    operand: Node
    field: str
    is_test: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A function or an operator; `target` is what a method is called on."""

    function: str
    arguments: tuple[Node, ...]
    target: Node | None = None


@dataclass(frozen=True, slots=True)
class ListOf:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map literal."""

    entries: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A protobuf message literal: `google.protobuf.Duration{seconds: 1}`."""

    message_name: str
    fields: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Comprehension:
    """What `all`, `exists`, `map` and `filter` expand to: a fold of `iter_range` into `accu_var`."""

    iter_var: str
    iter_var2: str
    iter_range: Node
    accu_var: str
    accu_init: Node
    loop_condition: Node
    loop_step: Node
    result: Node


Node: TypeAlias = Constant | Identifier | Select | Call | ListOf | MapOf | Message | Comprehension
