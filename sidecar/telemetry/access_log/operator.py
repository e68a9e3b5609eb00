"""What every operator of the format language is made of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from config.model.core import Node
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.json_values import quote


class Argument(NamedTuple):
    """What stands behind an operator's name: `(text)`, `:max_length`; and what to print for nothing.

    `node`: who we are, where the format knows it.
    """

    text: str | None
    max_length: int | None
    missing: bytes
    node: Node | None = None


class Operator:
    """Reads one value of a stream; one for each place in a format, built once.

    `settled`: when an HTTP request has ended, the value is what it will always be, so it may as well be read later.
    """

    __slots__ = ("settled",)

    def __init__(self, settled: bool = False) -> None:
        self.settled: Final = settled

    @abstractmethod
    def read(self, info: StreamInfo) -> bytes:
        """What the format prints."""


class Reading(Operator):
    """Of any function."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[StreamInfo], bytes], settled: bool = False) -> None:
        super().__init__(settled)
        self._read: Final = read

    def read(self, info: StreamInfo) -> bytes:
        return self._read(info)


class _Text(Operator):
    __slots__ = ("_get", "_missing")

    def __init__(self, get: Callable[[StreamInfo], str], missing: bytes, settled: bool) -> None:
        super().__init__(settled)
        self._get: Final = get
        self._missing: Final = missing

    def read(self, info: StreamInfo) -> bytes:
        value = self._get(info)
        return value.encode("utf-8", "surrogateescape") if value else self._missing


class _Number(Operator):
    __slots__ = ("_get",)

    def __init__(self, get: Callable[[StreamInfo], int], settled: bool) -> None:
        super().__init__(settled)
        self._get: Final = get

    def read(self, info: StreamInfo) -> bytes:
        return str(self._get(info)).encode()


def quoted(operator: Operator, missing: bytes) -> Operator:
    """Its text as a JSON string, or `missing` itself."""
    return Reading(
        lambda info: missing if (value := operator.read(info)) is missing else quote(value), operator.settled
    )


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


def refuse_argument(argument: Argument) -> None:
    """`()` is as good as nothing."""
    if argument.text:
        raise ValueError("operator takes no argument")
    refuse_length(argument)


def refuse_length(argument: Argument) -> None:
    if argument.max_length is not None:
        raise ValueError("operator takes no length")


def text(get: Callable[[StreamInfo], str], *, settled: bool = False) -> Builder:
    """A text fact; empty means that it is missing. `settled`: see `Operator`."""

    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return _Text(get, argument.missing, settled)

    return build


def present_text(get: Callable[[StreamInfo], str]) -> Builder:
    """A text fact that may be empty and still is there."""

    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return _Text(get, b"", False)

    return build


def number(get: Callable[[StreamInfo], int], *, settled: bool = False) -> Builder:
    """A number that is always there. `settled`: see `Operator`."""

    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return _Number(get, settled)

    return numeric(build)


def optional_number(get: Callable[[StreamInfo], int | None], *, settled: bool = False) -> Builder:
    """A number that may be missing. `settled`: see `Operator`."""

    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        missing = argument.missing
        return Reading(lambda info: missing if (value := get(info)) is None else b"%d" % value, settled)

    return numeric(build)


def absent(argument: Argument) -> Operator:
    """Something that is never there."""
    return printing(argument.missing)


def not_gathered(argument: Argument) -> Operator:
    """A fact of Envoy's that this proxy does not have."""
    refuse_argument(argument)
    return absent(argument)


def printing(value: bytes) -> Operator:
    """The same for every stream."""
    return Reading(lambda info: value, settled=True)


def constant(value: bytes) -> Builder:
    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return printing(value)

    return build
