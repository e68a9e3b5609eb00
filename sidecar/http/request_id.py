"""`x-request-id`: random UUIDs (version 4), made cheaply."""

from __future__ import annotations

import os
from typing import Final

_BYTES: Final = 16
_BATCH: Final = 256

#: The four possible variant digits, by the low bits of a random byte.
_VARIANT: Final = "89ab"


class RequestIds:
    """Takes its random bytes from the system in batches: one system call for many requests."""

    __slots__ = ("_at", "_pool")

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def next(self) -> bytes:
        at = self._at
        pool = self._pool
        if at >= len(pool):
            self._pool = pool = os.urandom(_BYTES * _BATCH)
            at = 0
        self._at = at + _BYTES
        text = pool[at : at + _BYTES].hex()
        variant = _VARIANT[pool[at] & 3]
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}".encode()
