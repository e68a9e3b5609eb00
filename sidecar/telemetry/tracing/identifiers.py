"""New ids for traces and spans: random, never 0, and not to be foretold from earlier ones."""

from __future__ import annotations

import os
from typing import Final

from protocols.tracing.span import SPAN_ID_DIGITS

_BATCH: Final = 512
_ZERO: Final = "0" * SPAN_ID_DIGITS


class Identifiers:
    """Takes its random digits from the system in batches: one system call for many requests."""

    __slots__ = ("_at", "_pool")

    def __init__(self) -> None:
        self._pool = ""
        self._at = 0

    def span_id(self) -> str:
        at = self._at
        if at >= len(self._pool):
            self._pool = os.urandom(_BATCH * SPAN_ID_DIGITS // 2).hex()
            at = 0
        self._at = at + SPAN_ID_DIGITS
        digits = self._pool[at : at + SPAN_ID_DIGITS]
        return digits if digits != _ZERO else self.span_id()

    def trace_id(self) -> str:
        """Of 32 digits."""
        return self.span_id() + self.span_id()
