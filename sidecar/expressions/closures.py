"""An expression becomes a closure over StreamInfo: nothing is parsed, looked up or allocated when it is evaluated.

Attribute paths, literals, logic, comparisons, the plain string functions and the arithmetic of whole numbers are closures of our
own. What is left (macros, conversions, regular expressions, ...) goes to the library as one program, whose variables are the
attributes in it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

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
from sidecar.expressions import arithmetic, library
from sidecar.expressions.attributes import (
    Key,
    Reader,
    Scope,
    constant,
    header_field_of,
    is_attribute,
    reader,
)
from sidecar.expressions.unsigned import Unsigned
from sidecar.expressions.values import FAILED, Duration, Timestamp, equal, is_number
from sidecar.stream_info import StreamInfo

_Two: TypeAlias = Callable[[object, object], object]


def compile_closure(node: Node, scope: Scope) -> Reader:
    """The value of `node` for a stream; `FAILED` if it has none."""
    if isinstance(node, Constant):
        return constant(_constant(node))
    path = attribute_path(node)
    if path is not None:
        return reader(*path, scope)
    compiled: Reader | None = None
    if isinstance(node, Select) and node.is_test:
        compiled = _presence(node, scope)
    elif isinstance(node, Call):
        build = _CALLS.get((node.function, len(node.arguments), node.target is not None))
        compiled = build(node, scope) if build is not None else None
    return compiled if compiled is not None else _with_library(node, scope)


def _constant(node: Constant) -> object:
    return Unsigned(node.value) if node.is_unsigned and isinstance(node.value, int) else node.value


def attribute_path(node: Node) -> tuple[str, tuple[Key, ...]] | None:
    """`request.headers['a']` as ("request", ("headers", "a")); None for anything else."""
    keys: list[Key] = []
    while not isinstance(node, Identifier):
        if isinstance(node, Select) and not node.is_test:
            keys.append(node.field)
            node = node.operand
        elif isinstance(node, Call) and (key := _index_of(node)) is not None:
            keys.append(key.value)
            node = node.arguments[0]
        else:
            return None
    return (node.name, tuple(reversed(keys))) if is_attribute(node.name) else None


def _index_of(node: Call) -> Constant | None:
    """The literal in `operand['literal']`. Trees that come as messages may hold any number of arguments."""
    if node.function != "_[_]" or len(node.arguments) != 2:
        return None
    key = node.arguments[1]
    return key if isinstance(key, Constant) else None


def _presence(node: Select, scope: Scope) -> Reader | None:
    """`has(path.field)`: an error, not false, where the path leads to no map."""
    path = attribute_path(node.operand)
    if path is None:
        return None
    root, keys = path
    field, whole = reader(root, (*keys, node.field), scope), reader(root, keys, scope)

    def evaluate(info: StreamInfo) -> object:
        if field(info) is not FAILED:
            return True
        return False if isinstance(whole(info), Mapping) else FAILED

    return evaluate


# Logic: an error on one side does not matter if the other side decides


def _or(node: Call, scope: Scope) -> Reader:
    left, right = (compile_closure(each, scope) for each in node.arguments)

    def evaluate(info: StreamInfo) -> object:
        one = left(info)
        if one is True:
            return True
        other = right(info)
        if other is True:
            return True
        return False if one is False and other is False else FAILED

    return evaluate


def _and(node: Call, scope: Scope) -> Reader:
    left, right = (compile_closure(each, scope) for each in node.arguments)

    def evaluate(info: StreamInfo) -> object:
        one = left(info)
        if one is False:
            return False
        other = right(info)
        if other is False:
            return False
        return True if one is True and other is True else FAILED

    return evaluate


def _not(node: Call, scope: Scope) -> Reader:
    inner = compile_closure(node.arguments[0], scope)
    return lambda info: (not value) if isinstance(value := inner(info), bool) else FAILED


def _choice(node: Call, scope: Scope) -> Reader:
    condition, chosen, other = (compile_closure(each, scope) for each in node.arguments)

    def evaluate(info: StreamInfo) -> object:
        value = condition(info)
        if value is True:
            return chosen(info)
        return other(info) if value is False else FAILED

    return evaluate


# Two values


def _binary(of: _Two) -> Callable[[Call, Scope], Reader]:
    """A function of two values that are both there."""

    def build(node: Call, scope: Scope) -> Reader:
        operands = node.arguments if node.target is None else (node.target, *node.arguments)
        left, right = (compile_closure(each, scope) for each in operands)

        def evaluate(info: StreamInfo) -> object:
            one = left(info)
            if one is FAILED:
                return FAILED
            other = right(info)
            return FAILED if other is FAILED else of(one, other)

        return evaluate

    return build


def _not_equal(left: object, right: object) -> bool:
    return not equal(left, right)


#: What has an order, within one type.
_ORDERED: Final = (str, bytes, bool, Duration, Timestamp)


def _ordering(compare: Callable[..., object]) -> _Two:
    def judge(left: object, right: object) -> object:
        if is_number(left) and is_number(right):
            return compare(left, right)
        kind = type(left)
        return compare(left, right) if kind in _ORDERED and kind is type(right) else FAILED

    return judge


def _text_function(of: Callable[[str, str], bool]) -> _Two:
    return lambda text, part: of(text, part) if isinstance(text, str) and isinstance(part, str) else FAILED


# Arithmetic: whole numbers and texts here, whatever else in the library


def _unary(of: Callable[[object], object]) -> Callable[[Call, Scope], Reader]:
    """A function of a value that is there."""

    def build(node: Call, scope: Scope) -> Reader:
        inner = compile_closure(node.arguments[0], scope)
        return lambda info: FAILED if (value := inner(info)) is FAILED else of(value)

    return build


def _or_library(build: Callable[[Call, Scope], Reader]) -> Callable[[Call, Scope], Reader]:
    """What gives `NotImplemented` for the values of a stream is the library's matter."""

    def build_both(node: Call, scope: Scope) -> Reader:
        ours, otherwise = build(node, scope), _with_library(node, scope)
        return lambda info: otherwise(info) if (value := ours(info)) is NotImplemented else value

    return build_both


# Membership


def _is_text(node: Node) -> bool:
    return isinstance(node, Constant) and isinstance(node.value, str)


def _in_list(node: Call, scope: Scope) -> Reader | None:
    """`x in ['a', 'b']`: a list of literal texts."""
    candidates = node.arguments[1]
    if not isinstance(candidates, ListOf) or not all(_is_text(each) for each in candidates.items):
        return None
    texts = frozenset(each.value for each in candidates.items if isinstance(each, Constant))
    if not texts:
        return None
    inner = compile_closure(node.arguments[0], scope)
    return lambda info: (
        FAILED if (value := inner(info)) is FAILED else isinstance(value, str) and value in texts
    )


def _in(node: Call, scope: Scope) -> Reader | None:
    return _in_headers(node, scope) or _in_list(node, scope)


def _in_headers(node: Call, scope: Scope) -> Reader | None:
    """`'name' in request.headers`."""
    sought, path = node.arguments[0], attribute_path(node.arguments[1])
    field = header_field_of(path) if path is not None else None
    if path is None or field is None:
        return None
    if isinstance(sought, Constant) and isinstance(sought.value, str):
        read = reader(path[0], (*path[1], sought.value), scope)
        return lambda info: read(info) is not FAILED
    name_of = compile_closure(sought, scope)

    def evaluate(info: StreamInfo) -> object:
        name = name_of(info)
        if name is FAILED:
            return FAILED
        return isinstance(name, str) and field(info, name) is not FAILED

    return evaluate


def _header_by_name(node: Call, scope: Scope) -> Reader | None:
    """`request.headers[name]` with a name that is computed; one that is written down is an attribute path."""
    path = attribute_path(node.arguments[0])
    field = header_field_of(path) if path is not None else None
    if field is None:
        return None
    name_of = compile_closure(node.arguments[1], scope)
    return lambda info: field(info, name) if isinstance(name := name_of(info), str) else FAILED


#: (function, number of arguments, is it a method) -> builder; None: not this time.
_CALLS: Final[dict[tuple[str, int, bool], Callable[[Call, Scope], Reader | None]]] = {
    ("_||_", 2, False): _or,
    ("_&&_", 2, False): _and,
    ("!_", 1, False): _not,
    ("_?_:_", 3, False): _choice,
    ("_==_", 2, False): _binary(equal),
    ("_!=_", 2, False): _binary(_not_equal),
    ("_<_", 2, False): _binary(_ordering(operator.lt)),
    ("_<=_", 2, False): _binary(_ordering(operator.le)),
    ("_>_", 2, False): _binary(_ordering(operator.gt)),
    ("_>=_", 2, False): _binary(_ordering(operator.ge)),
    ("_+_", 2, False): _or_library(_binary(arithmetic.add)),
    ("_-_", 2, False): _or_library(_binary(arithmetic.subtract)),
    ("_*_", 2, False): _or_library(_binary(arithmetic.multiply)),
    ("_/_", 2, False): _or_library(_binary(arithmetic.divide)),
    ("_%_", 2, False): _or_library(_binary(arithmetic.remainder)),
    ("-_", 1, False): _or_library(_unary(arithmetic.negate)),
    ("string", 1, False): _or_library(_unary(arithmetic.to_string)),
    ("@in", 2, False): _in,
    ("_[_]", 2, False): _header_by_name,
    ("startsWith", 1, True): _binary(_text_function(str.startswith)),
    ("endsWith", 1, True): _binary(_text_function(str.endswith)),
    ("contains", 1, True): _binary(_text_function(str.__contains__)),
}


def _of_headers(node: Call, scope: Scope) -> Reader | None:
    if len(node.arguments) != 2 or node.target is not None:
        return None
    if node.function == "@in":
        return _in_headers(node, scope)
    return _header_by_name(node, scope) if node.function == "_[_]" else None


# The library


def _with_library(node: Node, scope: Scope) -> Reader:
    variables = _Variables(scope)
    program = library.load(variables.taken_from(node, frozenset()))
    readers = (
        *((name, reader(*path, scope)) for path, name in variables.names.items()),
        *variables.closures,
    )

    def evaluate(info: StreamInfo) -> object:
        values = {name: value for name, read in readers if (value := read(info)) is not FAILED}
        return program(values)

    return evaluate


class _Variables:
    """Puts a variable in the place of each attribute path, so that no more than its value is handed to the library."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.names: dict[tuple[str, tuple[Key, ...]], str] = {}
        #: what asks for a header field by its name, in any case: the library would look for the name as it stands
        self.closures: list[tuple[str, Reader]] = []

    def taken_from(self, node: Node, bound: frozenset[str]) -> Node:
        """`bound`: names that a macro gives a value to."""
        path = attribute_path(node)
        if path is not None and path[0] not in bound:
            return Identifier(self.names.setdefault(path, f"attribute_{len(self.names)}"))
        if isinstance(node, Select):
            return Select(self.taken_from(node.operand, bound), node.field, node.is_test)
        if isinstance(node, Call):
            asks = _of_headers(node, self._scope) if not bound else None
            if asks is not None:
                self.closures.append((f"field_{len(self.closures)}", asks))
                return Identifier(self.closures[-1][0])
            target = self.taken_from(node.target, bound) if node.target is not None else None
            return Call(node.function, self._all(node.arguments, bound), target)
        if isinstance(node, ListOf):
            return ListOf(self._all(node.items, bound))
        if isinstance(node, MapOf):
            entries = [
                (self.taken_from(key, bound), self.taken_from(value, bound)) for key, value in node.entries
            ]
            return MapOf(tuple(entries))
        if isinstance(node, Message):
            fields = tuple((name, self.taken_from(value, bound)) for name, value in node.fields)
            return Message(node.message_name, fields)
        return self._comprehension(node, bound) if isinstance(node, Comprehension) else node

    def _all(self, nodes: tuple[Node, ...], bound: frozenset[str]) -> tuple[Node, ...]:
        return tuple(self.taken_from(each, bound) for each in nodes)

    def _comprehension(self, node: Comprehension, bound: frozenset[str]) -> Comprehension:
        inner = bound | {node.iter_var, node.iter_var2, node.accu_var}
        return Comprehension(
            node.iter_var,
            node.iter_var2,
            self.taken_from(node.iter_range, bound),
            node.accu_var,
            self.taken_from(node.accu_init, bound),
            self.taken_from(node.loop_condition, inner),
            self.taken_from(node.loop_step, inner),
            self.taken_from(node.result, inner),
        )
