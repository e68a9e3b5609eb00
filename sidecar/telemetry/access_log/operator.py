"""What every operator of the format language is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from config.model.core import Node
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.source import Operator, operator_of


class Argument(NamedTuple):
    """What stands behind an operator's name: `(text)`, `:max_length`; and what to print for nothing.

    `node`: who we are, where the format knows it.
    """

    text: str | None
    max_length: int | None
    missing: bytes
    node: Node | None = None


Builder: TypeAlias = Callable[[Argument], Operator]


class JsonBuilder:
    """A builder whose operators can also print a JSON value: a number, or a structured fact.

    All others print text, which becomes a JSON string.
    """

    __slots__ = ("_text", "json")

    def __init__(self, text: Builder, json: Builder) -> None:
        self._text = text
        self.json = json

    def __call__(self, argument: Argument) -> Operator:
        return self._text(argument)


def numeric(build: Builder) -> JsonBuilder:
    """An operator whose text is a JSON number as it stands."""
    return JsonBuilder(build, build)


#: A fact of a stream: a function, or an expression over `info` (see `source`).
_TextOf: TypeAlias = "str | Callable[[StreamInfo], str]"
_NumberOf: TypeAlias = "str | Callable[[StreamInfo], int]"
_OptionalNumberOf: TypeAlias = "str | Callable[[StreamInfo], int | None]"


def _expression(get: str | Callable[[StreamInfo], object]) -> str:
    return get if isinstance(get, str) else "{get}(info)"


def refuse_argument(argument: Argument) -> None:
    """`()` is as good as nothing."""
    if argument.text:
        raise ValueError("operator takes no argument")
    refuse_length(argument)


def refuse_length(argument: Argument) -> None:
    if argument.max_length is not None:
        raise ValueError("operator takes no length")


def text(get: _TextOf) -> Builder:
    """A text fact; empty means that it is missing."""
    source = f"value.encode('utf-8', 'surrogateescape') if (value := {_expression(get)}) else {{missing}}"

    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return operator_of(source, get=get, missing=argument.missing)

    return build


def present_text(get: _TextOf) -> Builder:
    """A text fact that may be empty and still is there."""
    source = f"({_expression(get)}).encode('utf-8', 'surrogateescape')"

    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return operator_of(source, get=get)

    return build


def number(get: _NumberOf) -> Builder:
    """A number that is always there."""
    source = f"b'%d' % ({_expression(get)})"

    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return operator_of(source, get=get)

    return numeric(build)


def optional_number(get: _OptionalNumberOf) -> Builder:
    """A number that may be missing."""
    source = f"{{missing}} if (value := {_expression(get)}) is None else b'%d' % value"

    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return operator_of(source, get=get, missing=argument.missing)

    return numeric(build)


def absent(argument: Argument) -> Operator:
    """Something that is never there."""
    return operator_of("{missing}", missing=argument.missing)


def not_gathered(argument: Argument) -> Operator:
    """A fact of Envoy's that this proxy does not have."""
    refuse_argument(argument)
    return absent(argument)


def constant(value: bytes) -> Builder:
    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return operator_of("{value}", value=value)

    return build
