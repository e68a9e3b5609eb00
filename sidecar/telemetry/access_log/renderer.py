"""What makes a line, or the value of a header: the operators of a format and what joins their values."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.operator import Operator


class Renderer:
    """Called with a stream it makes the line at once.

    Of a request that has ended the line can be made later: what may change afterwards is read by `note`, at its end; `finish` reads
    the rest. Between two requests other things run, and code that has just run is several times as fast: many lines one after the
    other cost half of what they cost one by one.
    """

    __slots__ = ("_operators", "_unsettled")

    def __init__(self, operators: Sequence[Operator]) -> None:
        self._operators: Final = tuple(operators)
        self._unsettled: Final = tuple([operator for operator in operators if not operator.settled])

    def __call__(self, info: StreamInfo) -> bytes:
        return self.finish(info, self.note(info))

    def note(self, info: StreamInfo) -> list[bytes]:
        """What is to be given to `finish`."""
        return [operator.read(info) for operator in self._unsettled]

    @abstractmethod
    def finish(self, info: StreamInfo, noted: list[bytes]) -> bytes:
        """The line; `noted` is what `note` read of the same stream."""

    def values(self, info: StreamInfo, noted: list[bytes]) -> list[bytes]:
        """Of all operators, in their order."""
        found: list[bytes] = []
        at = 0
        for operator in self._operators:
            if operator.settled:
                found.append(operator.read(info))
            else:
                found.append(noted[at])
                at += 1
        return found


def template_of(literals: Sequence[bytes]) -> list[bytes]:
    """The literals of a line, with room for a value between each two."""
    return [piece for literal in literals for piece in (literal, b"")][:-1]


class Verbatim(Renderer):
    """What its one operator prints."""

    __slots__ = ()

    def __init__(self, operator: Operator) -> None:
        super().__init__((operator,))

    def __call__(self, info: StreamInfo) -> bytes:
        return self.shown(self._operators[0].read(info))

    def finish(self, info: StreamInfo, noted: list[bytes]) -> bytes:
        return self.shown(noted[0] if noted else self._operators[0].read(info))

    def shown(self, value: bytes) -> bytes:
        return value
