"""An expression becomes a tree of `Reader`: nothing is parsed or looked up when it is evaluated.

Attribute paths, literals, logic, comparisons, the plain string functions and the arithmetic of whole numbers are readers of our
own. What is left (macros, conversions, regular expressions, ...) goes to the library as one program, whose variables are the
attributes in it.
"""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    HeaderByName,
    Key,
    Scope,
    header_field_of,
    is_attribute,
    reader,
)
from sidecar.expressions.reading import Constant as ConstantReader
from sidecar.expressions.reading import OrElse, Reader
from sidecar.expressions.unsigned import Unsigned
from sidecar.expressions.values import FAILED, Duration, Timestamp, equal, is_number
from sidecar.stream_info import StreamInfo

_Two: TypeAlias = Callable[[object, object], object]


def compile_reader(node: Node, scope: Scope) -> Reader:
    """The value of `node` for a stream; `FAILED` if it has none."""
    if isinstance(node, Constant):
        return ConstantReader(_constant(node))
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


class _Presence(Reader):
    """`has(path.field)`: an error, not false, where the path leads to no map."""

    __slots__ = ("_field", "_whole")

    def __init__(self, field: Reader, whole: Reader) -> None:
        self._field: Final = field
        self._whole: Final = whole

    def value(self, info: StreamInfo) -> object:
        if self._field.is_there(info):
            return True
        return False if isinstance(self._whole.value(info), Mapping) else FAILED


def _presence(node: Select, scope: Scope) -> Reader | None:
    path = attribute_path(node.operand)
    if path is None:
        return None
    root, keys = path
    return _Presence(reader(root, (*keys, node.field), scope), reader(root, keys, scope))


# Logic: an error on one side does not matter if the other side decides


class _Decision(Reader):
    """`||` (decisive: True) and `&&` (decisive: False)."""

    __slots__ = ("_decisive", "_left", "_right")

    def __init__(self, decisive: bool, left: Reader, right: Reader) -> None:
        self._decisive: Final = decisive
        self._left: Final = left
        self._right: Final = right

    def value(self, info: StreamInfo) -> object:
        decisive = self._decisive
        one = self._left.value(info)
        if isinstance(one, bool) and one == decisive:
            return decisive
        other = self._right.value(info)
        if isinstance(other, bool):
            if other == decisive:
                return decisive
            if isinstance(one, bool):
                return not decisive
        return FAILED


def _or(node: Call, scope: Scope) -> Reader:
    left, right = _compiled(node.arguments, scope)
    return _Decision(True, left, right)


def _and(node: Call, scope: Scope) -> Reader:
    left, right = _compiled(node.arguments, scope)
    return _Decision(False, left, right)


def _compiled(nodes: Iterable[Node], scope: Scope) -> list[Reader]:
    return [compile_reader(each, scope) for each in nodes]


class _Not(Reader):
    __slots__ = ("_inner",)

    def __init__(self, inner: Reader) -> None:
        self._inner: Final = inner

    def value(self, info: StreamInfo) -> object:
        value = self._inner.value(info)
        return (not value) if isinstance(value, bool) else FAILED


def _not(node: Call, scope: Scope) -> Reader:
    return _Not(compile_reader(node.arguments[0], scope))


class _Choice(Reader):
    __slots__ = ("_chosen", "_condition", "_other")

    def __init__(self, condition: Reader, chosen: Reader, other: Reader) -> None:
        self._condition: Final = condition
        self._chosen: Final = chosen
        self._other: Final = other

    def value(self, info: StreamInfo) -> object:
        value = self._condition.value(info)
        if value is True:
            return self._chosen.value(info)
        return self._other.value(info) if value is False else FAILED


def _choice(node: Call, scope: Scope) -> Reader:
    condition, chosen, other = _compiled(node.arguments, scope)
    return _Choice(condition, chosen, other)


# Two values


class _Binary(Reader):
    """A function of two values that are both there."""

    __slots__ = ("_left", "_right")

    def __init__(self, left: Reader, right: Reader) -> None:
        self._left: Final = left
        self._right: Final = right

    def value(self, info: StreamInfo) -> object:
        one = self._left.value(info)
        if one is FAILED:
            return FAILED
        other = self._right.value(info)
        return FAILED if other is FAILED else self.of(one, other)

    @abstractmethod
    def of(self, left: object, right: object) -> object: ...


class _Equality(_Binary):
    """`==` and `!=`."""

    __slots__ = ("_wanted",)

    def __init__(self, left: Reader, right: Reader, wanted: bool) -> None:
        super().__init__(left, right)
        self._wanted: Final = wanted

    def of(self, left: object, right: object) -> object:
        return equal(left, right) == self._wanted


class _OfTwo(_Binary):
    __slots__ = ("_of",)

    def __init__(self, left: Reader, right: Reader, of: _Two) -> None:
        super().__init__(left, right)
        self._of: Final = of

    def of(self, left: object, right: object) -> object:
        return self._of(left, right)


def _operands(node: Call, scope: Scope) -> list[Reader]:
    return _compiled(node.arguments if node.target is None else (node.target, *node.arguments), scope)


def _binary(of: _Two) -> Callable[[Call, Scope], Reader]:
    def build(node: Call, scope: Scope) -> Reader:
        left, right = _operands(node, scope)
        return _OfTwo(left, right, of)

    return build


def _equality(wanted: bool) -> Callable[[Call, Scope], Reader]:
    def build(node: Call, scope: Scope) -> Reader:
        left, right = _operands(node, scope)
        return _Equality(left, right, wanted)

    return build


#: What has an order, within one type.
_ORDERED: Final = (str, bytes, bool, Duration, Timestamp)


class _Ordering(_Binary):
    """`<` or `<=`, or the opposite of one of them."""

    __slots__ = ("_compare", "_equal_is", "_less_is")

    def __init__(self, left: Reader, right: Reader, compare: Callable[..., object]) -> None:
        super().__init__(left, right)
        self._compare: Final = compare
        #: what whole numbers give
        self._less_is: Final = bool(compare(0, 1))
        self._equal_is: Final = bool(compare(0, 0))

    def of(self, left: object, right: object) -> object:
        if type(left) is int and type(right) is int:
            if left == right:
                return self._equal_is
            return (left < right) == self._less_is
        if is_number(left) and is_number(right):
            return self._compare(left, right)
        kind = type(left)
        return self._compare(left, right) if kind in _ORDERED and kind is type(right) else FAILED


def _ordering(compare: Callable[..., object]) -> Callable[[Call, Scope], Reader]:
    def build(node: Call, scope: Scope) -> Reader:
        left, right = _operands(node, scope)
        return _Ordering(left, right, compare)

    return build


def _text_function(of: Callable[[str, str], bool]) -> _Two:
    return lambda text, part: of(text, part) if isinstance(text, str) and isinstance(part, str) else FAILED


# Arithmetic: whole numbers and texts here, whatever else in the library


class _OfOne(Reader):
    """A function of a value that is there."""

    __slots__ = ("_inner", "_of")

    def __init__(self, inner: Reader, of: Callable[[object], object]) -> None:
        self._inner: Final = inner
        self._of: Final = of

    def value(self, info: StreamInfo) -> object:
        value = self._inner.value(info)
        return FAILED if value is FAILED else self._of(value)


def _unary(of: Callable[[object], object]) -> Callable[[Call, Scope], Reader]:
    return lambda node, scope: _OfOne(compile_reader(node.arguments[0], scope), of)


def _or_library(build: Callable[[Call, Scope], Reader]) -> Callable[[Call, Scope], Reader]:
    """What gives `NotImplemented` for the values of a stream is the library's matter."""
    return lambda node, scope: OrElse(build(node, scope), _with_library(node, scope))


# Membership


def _is_text(node: Node) -> bool:
    return isinstance(node, Constant) and isinstance(node.value, str)


class _InTexts(Reader):
    __slots__ = ("_inner", "_texts")

    def __init__(self, inner: Reader, texts: frozenset[object]) -> None:
        self._inner: Final = inner
        self._texts: Final = texts

    def value(self, info: StreamInfo) -> object:
        value = self._inner.value(info)
        return FAILED if value is FAILED else isinstance(value, str) and value in self._texts


def _in_list(node: Call, scope: Scope) -> Reader | None:
    """`x in ['a', 'b']`: a list of literal texts."""
    candidates = node.arguments[1]
    if not isinstance(candidates, ListOf) or not all(_is_text(each) for each in candidates.items):
        return None
    texts = frozenset(each.value for each in candidates.items if isinstance(each, Constant))
    return _InTexts(compile_reader(node.arguments[0], scope), texts) if texts else None


def _in(node: Call, scope: Scope) -> Reader | None:
    return _in_headers(node, scope) or _in_list(node, scope)


class _IsThere(Reader):
    __slots__ = ("_inner",)

    def __init__(self, inner: Reader) -> None:
        self._inner: Final = inner

    def value(self, info: StreamInfo) -> object:
        return self._inner.is_there(info)


class _HeaderByName(Reader):
    """`request.headers[name]` with a name that is computed, or (`asks`) `name in request.headers`."""

    __slots__ = ("_asks", "_field", "_name")

    def __init__(self, field: HeaderByName, name: Reader, asks: bool) -> None:
        self._field: Final = field
        self._name: Final = name
        self._asks: Final = asks

    def value(self, info: StreamInfo) -> object:
        name = self._name.value(info)
        if not isinstance(name, str):
            return False if self._asks and name is not FAILED else FAILED
        value = self._field.value(info, name)
        return value is not FAILED if self._asks else value


def _in_headers(node: Call, scope: Scope) -> Reader | None:
    """`'name' in request.headers`."""
    sought, path = node.arguments[0], attribute_path(node.arguments[1])
    field = header_field_of(path) if path is not None else None
    if path is None or field is None:
        return None
    if isinstance(sought, Constant) and isinstance(sought.value, str):
        return _IsThere(reader(path[0], (*path[1], sought.value), scope))
    return _HeaderByName(field, compile_reader(sought, scope), asks=True)


def _header_by_name(node: Call, scope: Scope) -> Reader | None:
    """`request.headers[name]` with a name that is computed; one that is written down is an attribute path."""
    path = attribute_path(node.arguments[0])
    field = header_field_of(path) if path is not None else None
    return (
        _HeaderByName(field, compile_reader(node.arguments[1], scope), asks=False)
        if field is not None
        else None
    )


#: (function, number of arguments, is it a method) -> builder; None: not this time.
_CALLS: Final[dict[tuple[str, int, bool], Callable[[Call, Scope], Reader | None]]] = {
    ("_||_", 2, False): _or,
    ("_&&_", 2, False): _and,
    ("!_", 1, False): _not,
    ("_?_:_", 3, False): _choice,
    ("_==_", 2, False): _equality(True),
    ("_!=_", 2, False): _equality(False),
    ("_<_", 2, False): _ordering(operator.lt),
    ("_<=_", 2, False): _ordering(operator.le),
    ("_>_", 2, False): _ordering(operator.gt),
    ("_>=_", 2, False): _ordering(operator.ge),
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


class _Program(Reader):
    """One of the library's, over the variables that have a value."""

    __slots__ = ("_program", "_readers")

    def __init__(
        self,
        program: Callable[[Mapping[str, object]], object],
        readers: Sequence[tuple[str, Reader]],
    ) -> None:
        self._program: Final = program
        self._readers: Final = readers

    def value(self, info: StreamInfo) -> object:
        values = {name: value for name, read in self._readers if (value := read.value(info)) is not FAILED}
        return self._program(values)


def _with_library(node: Node, scope: Scope) -> Reader:
    variables = _Variables(scope)
    program = library.load(variables.taken_from(node, frozenset()))
    attributes = [(name, reader(*path, scope)) for path, name in variables.names.items()]
    return _Program(program, (*attributes, *variables.readers))


class _Variables:
    """Puts a variable in the place of each attribute path, so that no more than its value is handed to the library."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.names: dict[tuple[str, tuple[Key, ...]], str] = {}
        #: what asks for a header field by its name, in any case: the library would look for the name as it stands
        self.readers: list[tuple[str, Reader]] = []

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
                self.readers.append((f"field_{len(self.readers)}", asks))
                return Identifier(self.readers[-1][0])
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
