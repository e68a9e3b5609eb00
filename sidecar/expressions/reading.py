"""What expressions are compiled to: objects that read a value of a stream, and hold others that do.

They are classes and not closures because compiled code calls a method of a class it knows directly, and reads its attributes where
they lie.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from sidecar.expressions.values import FAILED
from sidecar.stream_info import StreamInfo


class Reader(ABC):
    """Reads one value of a stream; `FAILED` if it has none."""

    __slots__ = ()

    @abstractmethod
    def value(self, info: StreamInfo) -> object: ...

    def is_there(self, info: StreamInfo) -> bool:
        """Whether there is a value, for who does not want it."""
        return self.value(info) is not FAILED


class Constant(Reader):
    """The same for all streams."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value: Final = value

    def value(self, info: StreamInfo) -> object:
        return self._value


#: What does not exist.
NEVER: Final = Constant(FAILED)


class Function(Reader):
    """By a function: what is read so often that the call matters has a class of its own."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[StreamInfo], object]) -> None:
        self._function: Final = function

    def value(self, info: StreamInfo) -> object:
        return self._function(info)


class OrElse(Reader):
    """`first`; `second` where that gives `NotImplemented`."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: Reader, second: Reader) -> None:
        self._first: Final = first
        self._second: Final = second

    def value(self, info: StreamInfo) -> object:
        value = self._first.value(info)
        return self._second.value(info) if value is NotImplemented else value
