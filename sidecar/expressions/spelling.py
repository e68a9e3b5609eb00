"""Names in an expression that can never have a value: to CEL that is no mistake, to people it most often is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from config.expression import ExpressionError, check_call
from config.model.expression import (
    Call,
    Comprehension,
    Identifier,
    ListOf,
    MapOf,
    Message,
    Node,
    Select,
)
from config.spelling import did_you_mean
from sidecar.expressions.attributes import Key, is_attribute, names_below, roots
from sidecar.expressions.operations import attribute_path

#: Identifiers that are no attributes: the names of types.
_TYPES: Final = frozenset(
    ["bool", "bytes", "double", "google", "int", "list", "map", "null_type", "string", "type", "uint"]
)


def misspelt(node: Node) -> tuple[str, ...]:
    """One sentence for each name (attribute, function) that has no value, whatever the stream; each once."""
    return tuple(dict.fromkeys(_problems(node, frozenset())))


def _problems(node: Node, bound: frozenset[str]) -> Iterator[str]:
    """`bound`: names that a macro gives a value to."""
    path = attribute_path(node)
    if path is not None:
        if path[0] not in bound:
            yield from _of_path(*path)
        return
    if isinstance(node, Identifier):
        if node.name not in bound and node.name not in _TYPES and not node.name.startswith("."):
            yield f"{node.name!r} never has a value{did_you_mean(node.name, roots())}"
    elif isinstance(node, Select):
        whole = attribute_path(node.operand)
        if node.is_test and whole is not None and whole[0] not in bound:
            yield from _of_path(whole[0], (*whole[1], node.field))
        else:
            yield from _problems(node.operand, bound)
    elif isinstance(node, Call):
        try:
            check_call(node)
        except ExpressionError as error:
            yield str(error)
        for each in (*node.arguments, *((node.target,) if node.target is not None else ())):
            yield from _problems(each, bound)
    elif isinstance(node, Comprehension):
        inner = bound | {node.iter_var, node.iter_var2, node.accu_var}
        for each in (node.iter_range, node.accu_init):
            yield from _problems(each, bound)
        for each in (node.loop_condition, node.loop_step, node.result):
            yield from _problems(each, inner)
    else:
        for each in _parts(node):
            yield from _problems(each, bound)


def _parts(node: Node) -> tuple[Node, ...]:
    if isinstance(node, ListOf):
        return node.items
    if isinstance(node, MapOf):
        return tuple(part for entry in node.entries for part in entry)
    return tuple(value for _, value in node.fields) if isinstance(node, Message) else ()


def _of_path(root: str, keys: tuple[Key, ...]) -> Iterator[str]:
    assert is_attribute(root)
    for at, key in enumerate(keys):
        names = names_below(root, keys[:at])
        if names is None:
            return
        if key not in names:
            before = ".".join((root, *map(str, keys[:at])))
            guess = did_you_mean(str(key), names).replace(" mean '", f" mean '{before}.")
            yield f"'{before}.{key!s}' never has a value{guess}"
            return
