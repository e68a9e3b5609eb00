"""JSON formats: a nested table of format strings, compiled to one renderer of a line.

A format string that is one operator alone gives the operator's own type (a number, an object, null for what is missing); any other
one gives a string. Keys are sorted: a table has no order of its own in protobuf.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple, TypeAlias

from config.model.core import Node
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.format import FormatError, Piece, build_operators, parse_format
from sidecar.telemetry.access_log.json_values import NULL, UNSAFE, json_bytes, quote
from sidecar.telemetry.access_log.operator import Argument, Operator, Reading
from sidecar.telemetry.access_log.operators import build_value_operator
from sidecar.telemetry.access_log.renderer import Renderer, Verbatim, template_of

_Render: TypeAlias = Callable[[StreamInfo], bytes]
#: A constant, or what renders the JSON of a value; `NULL` itself for a value that is not there.
_Value: TypeAlias = "bytes | _Render"
_Join: TypeAlias = Callable[[StreamInfo], "list[bytes]"]


class _Column(NamedTuple):
    """What reads one value; that of a text stands between quotes of the template."""

    operator: Operator
    is_text: bool


def compile_json_format(
    fields: Mapping[str, object],
    *,
    omit_empty: bool = False,
    extensions: Collection[str] = (),
    node: Node | None = None,
) -> Renderer:
    """The renderer of a line, with its newline. Raises FormatError.

    `fields` holds format strings, numbers, booleans, None, mappings and lists. `omit_empty`: what is missing is left out, and
    objects that are empty for it. `extensions`, `node`: see `compile_format`.
    """
    compiler = _Omitting(extensions, node) if omit_empty else _Compiler(extensions, node)
    return compiler.line(fields)


class _Line(Renderer):
    """One template of all keys, with the quotes of texts."""

    __slots__ = ("_template", "_text_places")

    def __init__(self, literals: list[bytes], columns: list[_Column]) -> None:
        super().__init__([column.operator for column in columns])
        self._template: Final = template_of(literals)
        self._text_places: Final = [2 * n + 1 for n, column in enumerate(columns) if column.is_text]

    def finish(self, info: StreamInfo, noted: list[bytes]) -> bytes:
        pieces = self._template.copy()
        pieces[1::2] = self.values(info, noted)
        texts: list[bytes] = []
        for at in self._text_places:
            value = pieces[at]
            if value is NULL:
                pieces[at - 1] = pieces[at - 1][:-1]
                pieces[at + 1] = pieces[at + 1][1:]
            else:
                texts.append(value)
        # one pass in C over all of them says whether any needs escaping
        together = b"".join(texts)
        if len(together.translate(None, UNSAFE)) != len(together):
            self._escape(pieces)
        return b"".join(pieces)

    def _escape(self, pieces: list[bytes]) -> None:
        for at in self._text_places:
            if pieces[at] is not NULL:
                pieces[at] = quote(pieces[at])[1:-1]


class _Compiler:
    """All keys are always there: the line is one template."""

    missing = b"-"  # inside of a string

    def __init__(self, extensions: Collection[str], node: Node | None) -> None:
        self._extensions = extensions
        self._node = node
        self._settled = True  # all operators are

    def line(self, fields: Mapping[str, object]) -> Renderer:
        literals: list[bytes] = [b""]
        columns: list[_Column] = []
        self._flatten(fields, literals, columns)
        literals[-1] += b"\n"
        return _Line(literals, columns)

    def _flatten(self, value: object, literals: list[bytes], columns: list[_Column]) -> None:
        if isinstance(value, Mapping):
            before = b"{"
            for key in sorted(value):
                literals[-1] += before + json_bytes(key) + b":"
                self._flatten(value[key], literals, columns)
                before = b","
            literals[-1] += b"}" if value else b"{}"
        elif isinstance(value, (list, tuple)):
            literals[-1] += b"["
            for index, item in enumerate(value):
                literals[-1] += b"," if index else b""
                self._flatten(item, literals, columns)
            literals[-1] += b"]"
        else:
            leaf = self.leaf(value)
            if isinstance(leaf, bytes):
                literals[-1] += leaf
            else:
                columns.append(leaf)
                quotes = b'"' if leaf.is_text else b""
                literals[-1] += quotes
                literals.append(quotes)

    def leaf(self, value: object) -> bytes | _Column:
        if not isinstance(value, str):
            return NULL if value is None else json_bytes(value)
        pieces = parse_format(value)
        if not any(isinstance(piece, Piece) for piece in pieces):
            return quote(b"".join(piece for piece in pieces if isinstance(piece, bytes)))
        if len(pieces) == 1 and isinstance(pieces[0], Piece):
            column = self._typed(value, pieces[0])
        else:
            column = self._string(value)
        self._settled = self._settled and column.operator.settled
        return column

    def _typed(self, text: str, piece: Piece) -> _Column:
        argument = Argument(piece.argument, piece.max_length, NULL, self._node)
        try:
            return _Column(*build_value_operator(piece.name, argument, self._extensions))
        except ValueError as error:
            raise FormatError(text, piece.position, str(error)) from None

    def _string(self, text: str) -> _Column:
        literals, operators = build_operators(text, self.missing, self._extensions, self._node)
        template = template_of(literals)

        def read(info: StreamInfo) -> bytes:
            pieces = template.copy()
            pieces[1::2] = [operator.read(info) for operator in operators]
            return b"".join(pieces)

        return _Column(Reading(read, all(operator.settled for operator in operators)), True)


class _Omitting(_Compiler):
    """What is missing is left out, with its key."""

    missing = b""

    def line(self, fields: Mapping[str, object]) -> Renderer:
        members = self._members(fields)
        return Verbatim(Reading(lambda info: b"{%b}\n" % b",".join(members(info)), self._settled))

    def _value(self, value: object) -> _Value:
        if isinstance(value, Mapping):
            members = self._members(value)
            return lambda info: b"{%b}" % b",".join(found) if (found := members(info)) else NULL
        if isinstance(value, (list, tuple)):
            items = self._items(value)
            return lambda info: b"[%b]" % b",".join(items(info))
        leaf = self.leaf(value)
        if isinstance(leaf, bytes):
            return leaf
        read = leaf.operator.read
        if not leaf.is_text:
            return read
        return lambda info: NULL if (found := read(info)) is NULL else quote(found)

    def _members(self, fields: Mapping[str, object]) -> _Join:
        members = tuple((json_bytes(key) + b":", _reader(self._value(fields[key]))) for key in sorted(fields))

        def join(info: StreamInfo) -> list[bytes]:
            return [key + value for key, read in members if (value := read(info)) is not NULL]

        return join

    def _items(self, values: list[object] | tuple[object, ...]) -> _Join:
        reads: Final = tuple(_reader(self._value(each)) for each in values)

        def join(info: StreamInfo) -> list[bytes]:
            return [value for read in reads if (value := read(info)) is not NULL]

        return join


def _reader(value: _Value) -> _Render:
    return (lambda info: value) if isinstance(value, bytes) else value
