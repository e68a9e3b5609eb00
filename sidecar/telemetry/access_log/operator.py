"""What every operator of the format language is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from sidecar.stream_info import StreamInfo

Operator: TypeAlias = Callable[[StreamInfo], bytes]


class Argument(NamedTuple):
    """What stands behind an operator's name: `(text)`, `:max_length`; and what to print for nothing."""

    text: str | None
    max_length: int | None
    missing: bytes


Builder: TypeAlias = Callable[[Argument], Operator]
_TextOf: TypeAlias = Callable[[StreamInfo], str]
_NumberOf: TypeAlias = Callable[[StreamInfo], int]


def refuse_argument(argument: Argument) -> None:
    if argument.text is not None:
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


def number(get: _NumberOf) -> Builder:
    """A number that is always there."""

    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return lambda info: b"%d" % get(info)

    return build


def positive(get: _NumberOf) -> Builder:
    """A number for which 0 means that it is missing."""

    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        missing = argument.missing
        return lambda info: b"%d" % value if (value := get(info)) else missing

    return build


def not_gathered(argument: Argument) -> Operator:
    """A fact of Envoy's that this proxy does not have."""
    missing = argument.missing
    return lambda info: missing


def constant(value: bytes) -> Builder:
    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return lambda info: value

    return build
