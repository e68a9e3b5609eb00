"""New ids for traces and spans: random, never 0."""

from __future__ import annotations

import random

from protocols.tracing.span import SPAN_ID_DIGITS, TRACE_ID_DIGITS


class Identifiers:
    """Random ids; for telling requests apart, not for keeping secrets."""

    __slots__ = ("_random",)

    def __init__(self, chance: random.Random) -> None:
        self._random = chance

    def span_id(self) -> str:
        return f"{self._random.getrandbits(64) or 1:0{SPAN_ID_DIGITS}x}"

    def trace_id(self) -> str:
        """Of 32 digits."""
        return f"{self._random.getrandbits(128) or 1:0{TRACE_ID_DIGITS}x}"
