"""A CEL expression as a tree (`cel.expr.Expr`): macros are expanded, operators are calls (`_==_`, `_&&_`, `_[_]`)."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Constant(msgspec.Struct, frozen=True):
    """A literal. `is_unsigned` tells `1u` from `1`."""

    value: bool | int | float | str | bytes | None
    is_unsigned: bool = False


class Identifier(msgspec.Struct, frozen=True):
    """A name that the context gives a value to: `request`. A leading `.` means the outermost scope."""

    name: str


class Select(msgspec.Struct, frozen=True):
    """`operand.field`, or with `is_test` the macro `has(operand.field)`."""

    operand: Node
    field: str
    is_test: bool = False


class Call(msgspec.Struct, frozen=True):
    """A function or an operator; `target` is what a method is called on."""

    function: str
    arguments: tuple[Node, ...]
    target: Node | None = None


class ListOf(msgspec.Struct, frozen=True):
    items: tuple[Node, ...]


class MapOf(msgspec.Struct, frozen=True):
    """A map literal."""

    entries: tuple[tuple[Node, Node], ...]


class Message(msgspec.Struct, frozen=True):
    """A protobuf message literal: `google.protobuf.Duration{seconds: 1}`."""

    message_name: str
    fields: tuple[tuple[str, Node], ...]


class Comprehension(msgspec.Struct, frozen=True):
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
