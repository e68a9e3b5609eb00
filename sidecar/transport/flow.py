"""Flow control in two ideas: the verdict of a filter, and the gate that stops a source while a sink is full."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final, Literal


class Flow(enum.Enum):
    """What a filter says about headers, an opened connection, or data it was given."""

    CONTINUE = enum.auto()  # pass it to the next filter
    HOLD = enum.auto()  # keep it; the filter will call resume or reply
    HOLD_HEADERS = enum.auto()  # HTTP headers only: keep them, but show me the body (see http/api.py)


Held = Literal[Flow.HOLD]
HOLD: Final = Flow.HOLD
CONTINUE: Final = Flow.CONTINUE
HOLD_HEADERS: Final = Flow.HOLD_HEADERS


class ReadGate:
    """Stops reading a source while anybody wants it stopped.

    Each closer has its own bit, so closing or opening twice is harmless; reads go on when the last bit is cleared.
    """

    __slots__ = ("_closers", "_pause", "_resume")

    #: Who may close a gate.
    SINK_FULL: Final = 1  # the other side's write buffer is above its high watermark
    FILTER: Final = 2  # a filter holds the connection
    CODEC: Final = 4  # input waits behind an unfinished exchange
    NOT_READY: Final = 8  # the upstream is still connecting
    STREAM: Final = 16  # one stream's receiver is slow (HTTP/1)
    CLOSING: Final = 32  # nothing more is wanted
    OUTPUT: Final = 64  # who does not read its answers is asked no further (HTTP)

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._closers = 0
        self._pause = pause
        self._resume = resume

    def close(self, closer: int) -> None:
        if not self._closers:
            self._pause()
        self._closers |= closer

    def open(self, closer: int) -> None:
        if self._closers & closer:
            self._closers &= ~closer
            if not self._closers:
                self._resume()

    def is_closed_by(self, closer: int) -> bool:
        return bool(self._closers & closer)

    @property
    def is_open(self) -> bool:
        return not self._closers

    def cut(self) -> None:
        """Drop the callbacks (they form a reference cycle with their owner)."""
        self._pause = self._resume = _nothing


def _nothing() -> None:
    """What a cut gate calls."""
