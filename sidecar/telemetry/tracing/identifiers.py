"""New ids for traces and spans: random, never 0, and not to be foretold from earlier ones."""

from __future__ import annotations

import os
from binascii import hexlify
from typing import Final

from protocols.tracing.span import SPAN_ID_DIGITS

_BATCH: Final = 512
_ZERO: Final = b"0" * SPAN_ID_DIGITS


class Identifiers:
    """Takes its random digits from the system in batches: one system call for many requests."""

    __slots__ = ("_at", "_pool")

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def span_id(self) -> bytes:
        at = self._at
        if at >= len(self._pool):
            self._pool = _new_pool()
            at = 0
        end = self._at = at + SPAN_ID_DIGITS
        return self._pool[at:end]

    def trace_id(self) -> bytes:
        """Of 32 digits."""
        return self.span_id() + self.span_id()


def _new_pool() -> bytes:
    while True:
        pool = hexlify(os.urandom(_BATCH * SPAN_ID_DIGITS // 2))
        if _ZERO not in pool:
            return pool
