"""Bootstrap text -> plain values, and field paths -> positions in the text.

YAML and JSON are read by the same parser, as a YAML flow parser does: a trailing comma is no mistake. Plain scalars
get the types Envoy gives them: booleans by YAML 1.1's words, 32-bit integers in decimal, octal or hexadecimal,
`null`; every other plain scalar is text (also `1.5`: a message field of type double takes text).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec
import yaml

from config.errors import Position
from config.proto.path import MapKey, Path, Problems, Step

#: None, bool, int, float, str, list of these, dict of str to these.
Plain: TypeAlias = object

MAX_VALUES: Final = 5_000_000  # expanded through aliases
MAX_DEPTH: Final = 200
_HARMLESS_DEPTH: Final = 4000
_FASTEST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
_WORDS: Final = {
    spelling: value
    for word, value in (
        ("y", True), ("yes", True), ("true", True), ("on", True),
        ("n", False), ("no", False), ("false", False), ("off", False),
    )
    for spelling in (word, word.upper(), word.capitalize())
}  # fmt: skip
_INTEGER: Final = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+)\Z", re.ASCII)
_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z", re.ASCII)
_SURROGATES: Final = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


class _Loader(_FASTEST):  # type: ignore[misc]  # whichever the installed library has
    """Gives no node a type: that is decided here, as Envoy does."""

    def resolve(self, kind: object, value: object, implicit: object) -> str:
        return ""

    def descend_resolver(self, current_node: object, current_index: object) -> None:
        pass

    def ascend_resolver(self) -> None:
        pass


class Source(msgspec.Struct, frozen=True):
    """A configuration text. `name` stands in error messages: the path of the file, or `--config-yaml`."""

    name: str
    text: str


class Document(msgspec.Struct, frozen=True):
    """A text that could be read: its values, and its node tree for positions."""

    source: Source
    root: yaml.Node
    value: dict[str, Plain]


def parse_integer(text: str) -> int | None:
    """Decimal, octal (`017`) or hexadecimal (`0x1f`); `None` if it is none of these."""
    if len(text) > 40 or not _INTEGER.match(text):
        return None
    digits = text.lstrip("+-")
    if digits[:2] in ("0x", "0X"):
        value = int(digits, 16)
    elif digits[0] == "0" and len(digits) > 1:
        if digits.strip("01234567"):
            return None
        value = int(digits, 8)
    else:
        value = int(digits)
    return -value if text[0] == "-" else value


def _scalar(node: yaml.ScalarNode, json: bool) -> Plain:
    text: str = node.value
    if node.style:  # quoted, or a block
        return text
    if json and (match := _JSON_NUMBER.match(text)):
        return float(text) if match[1] or match[2] or len(text) > 300 else int(text)
    if text in _NULLS:
        return None
    if text in _WORDS:
        return _WORDS[text]
    number = parse_integer(text)
    return text if number is None or not -(2**31) <= number < 2**31 else number


class _Reader:
    """Turns one node tree into plain values; counts, so that aliases cannot blow up."""

    def __init__(self, source: Source, problems: Problems) -> None:
        self._source = source
        self._json = source.name.endswith(".json")
        self._problems = problems
        self._left = MAX_VALUES
        self._open: set[int] = set()

    def _position(self, node: yaml.Node) -> Position:
        return _position(self._source, node)

    def read(self, node: yaml.Node, at: Path) -> Plain:
        self._left -= 1
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node, self._json)
        if self._left < 0 or id(node) in self._open or len(self._open) > MAX_DEPTH:
            if self._left >= 0:
                reason = (
                    "an alias that contains itself"
                    if id(node) in self._open
                    else f"nested more than {MAX_DEPTH} levels deep"
                )
                self._problems.error(at, reason, self._position(node))
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                parent = at
                return [self.read(item, parent.index(i)) for i, item in enumerate(node.value)]
            return self._mapping(node, at)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.Node, at: Path) -> dict[str, Plain]:
        result: dict[str, Plain] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._problems.error(at, "a key must be a scalar", self._position(key))
                continue
            if key.value == "<<" and not key.style:
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
                continue
            name: str = key.value
            if name in result:
                self._problems.error(at.field(name), "given twice", self._position(key))
                continue
            result[name] = self.read(value, at.field(name))
        for node_ in merged:
            if not isinstance(node_, yaml.MappingNode):
                self._problems.error(at, "a merge key (<<) takes mappings only", self._position(node_))
                continue
            values = self.read(node_, at)
            if isinstance(values, dict):
                result = {**values, **result}
        return result

    @property
    def overflowed(self) -> bool:
        return self._left < 0


def _position(source: Source, node: yaml.Node) -> Position:
    return Position(source.name, node.start_mark.line + 1, node.start_mark.column + 1)


def _syntax_position(source: Source, error: yaml.YAMLError) -> Position:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        return Position(source.name, mark.line + 1, mark.column + 1)
    offset = getattr(error, "position", 0)
    return _offset_position(source, offset if isinstance(offset, int) else 0)


def _offset_position(source: Source, offset: int) -> Position:
    before = source.text[:offset]
    return Position(source.name, before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


def _join_surrogates(text: str) -> str:
    """JSON writes characters above U+FFFF as two escapes; YAML knows only one escape of eight digits."""

    def join(match: re.Match[str]) -> str:
        high, low = int(match[1], 16), int(match[2], 16)
        return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"

    return _SURROGATES.sub(join, text)


def _is_too_deep(text: str) -> bool:
    """Nesting that the reader, which recurses in C, could not survive.

    Flow collections nest no deeper than there are opening brackets, block collections no deeper than twice the longest
    line; only a text that could be too deep is read once more, event by event.
    """
    brackets = text.count("[") + text.count("{")
    if brackets + 2 * max(map(len, text.split("\n"))) < _HARMLESS_DEPTH:
        return False
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return False


def read_document(source: Source, problems: Problems, at: Path) -> Document | None:
    """The text as plain values. Syntax errors are reported, one for each text, and give `None`."""
    try:
        text = _join_surrogates(source.text)
        if _is_too_deep(text):
            problems.error(at, f"nested more than {MAX_DEPTH} levels deep", Position(source.name, 1, 1))
            return None
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        context = getattr(error, "context", None)
        what = f"{context}: {reason}" if context else str(reason)
        problems.error(at, f"not valid YAML or JSON: {what}", _syntax_position(source, error))
        return None
    except (UnicodeError, RecursionError, ValueError) as error:
        broken = error.start if isinstance(error, UnicodeEncodeError) else 0
        reason = "not valid UTF-8" if isinstance(error, UnicodeError) else f"not valid YAML or JSON: {error}"
        problems.error(at, reason, _offset_position(source, broken))
        return None
    if root is None:
        problems.error(at, "the configuration is empty", Position(source.name, 1, 1))
        return None
    reader = _Reader(source, problems)
    value = reader.read(root, at)
    if reader.overflowed:
        problems.error(at, f"expands to more than {MAX_VALUES} values", _position(source, root))
        return None
    if not isinstance(value, dict):
        problems.error(at, "the configuration must be a mapping of fields", _position(source, root))
        return None
    return Document(source, root, value)


def camel_case(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


def _children(node: yaml.Node, step: str) -> list[tuple[yaml.Node, yaml.Node]]:
    """The (key, value) pairs of a mapping that a field or map key names, merged ones last."""
    spellings = (step,) if isinstance(step, MapKey) else (step, camel_case(step))
    found: list[tuple[yaml.Node, yaml.Node]] = []
    merged: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in spellings:
                    found.append((key, value))
                elif key.value == "<<":
                    merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
    if not found:
        for parent in merged:
            found += _children(parent, step)
    return found[:1]


#: A document, and the nodes of a key and its value in it.
_Place: TypeAlias = tuple[Document, yaml.Node, yaml.Node]


class DocumentLocator:
    """Finds the position of a field path over all documents, merged as their messages are.

    Repeated fields of later documents follow those of earlier ones; anything else is where it was said last. Nothing
    is prepared: only a problem pays for the search.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = documents

    def __call__(self, steps: tuple[Step, ...], of_key: bool) -> Position | None:
        for length in range(len(steps), -1, -1):  # the closest enclosing value that was written
            places = self._find(steps[:length])
            if places:
                document, key, value = places[-1]
                return _position(document.source, key if of_key and length == len(steps) else value)
        return None

    def _find(self, steps: tuple[Step, ...]) -> list[_Place]:
        places = [(document, document.root, document.root) for document in self._documents]
        for step in steps:
            places = self._enter(places, step)
        return places

    def merged(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """The path that a field of one more document has after merging: its list items follow those before."""
        for number, step in enumerate(steps):
            if isinstance(step, int):
                places = self._find(steps[:number])
                before = sum(len(self._items(node)) for _, _, node in places or ())
                return (*steps[:number], step + before, *steps[number + 1 :])
        return steps

    @staticmethod
    def _items(node: yaml.Node) -> list[yaml.Node]:
        return node.value if isinstance(node, yaml.SequenceNode) else [node]  # one stands for a list

    @classmethod
    def _enter(cls, places: list[_Place], step: Step) -> list[_Place]:
        if not isinstance(step, int):
            return [(doc, k, v) for doc, _, node in places for k, v in _children(node, step)]
        for document, _, node in places:
            items = cls._items(node)
            if step < len(items):
                return [(document, items[step], items[step])]
            step -= len(items)
        return []
