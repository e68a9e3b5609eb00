"""What every operator of the format language is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from config.model.core import Node
from sidecar.stream_info import StreamInfo

Operator: TypeAlias = Callable[[StreamInfo], bytes]


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


_TextOf: TypeAlias = Callable[[StreamInfo], str]
_NumberOf: TypeAlias = Callable[[StreamInfo], int]


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

    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        missing = argument.missing
        return lambda info: get(info).encode("utf-8", "surrogateescape") or missing

    return build


def present_text(get: _TextOf) -> Builder:
    """A text fact that may be empty and still is there."""

    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return lambda info: get(info).encode("utf-8", "surrogateescape")

    return build


def number(get: _NumberOf) -> Builder:
    """A number that is always there."""

    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return lambda info: b"%d" % get(info)

    return numeric(build)


def optional_number(get: Callable[[StreamInfo], int | None]) -> Builder:
    """A number that may be missing."""

    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        missing = argument.missing
        return lambda info: missing if (value := get(info)) is None else b"%d" % value

    return numeric(build)


def absent(argument: Argument) -> Operator:
    """Something that is never there."""
    missing = argument.missing
    return lambda info: missing


def not_gathered(argument: Argument) -> Operator:
    """A fact of Envoy's that this proxy does not have."""
    refuse_argument(argument)
    return absent(argument)


def constant(value: bytes) -> Builder:
    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return lambda info: value

    return build
