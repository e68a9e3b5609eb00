"""`x-request-id`: random UUIDs (version 4), made cheaply, and what Envoy writes into them.

A digit of the id, the version of the UUID, says whether the request is traced and why, so that all proxies on its way decide alike;
its first digits are the random number by which the first of them decides.
"""

from __future__ import annotations

import enum
import os
import string
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64

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


class TraceReason(enum.Enum):
    """Why a request is traced; the value is the digit."""

    NOT_TRACEABLE = b"4"
    SAMPLING = b"9"
    SERVICE_FORCED = b"a"
    CLIENT_FORCED = b"b"

    __hash__ = object.__hash__  # that of Enum is Python, and this one counts requests


_UUID_LENGTH: Final = 36
_REASON_AT: Final = 14
#: By the byte that says so.
_REASONS: Final = {
    reason.value[0]: reason for reason in TraceReason if reason is not TraceReason.NOT_TRACEABLE
}
_VERSION_4: Final = ord("4")
_NUMBER_DIGITS: Final = 8
#: What each byte is as a hexadecimal digit.
_NO_DIGIT: Final = 0xFF
_DIGITS: Final = bytes(
    int(chr(byte), 16) if chr(byte) in string.hexdigits else _NO_DIGIT for byte in range(256)
)


def reason_of(request_id: bytes) -> TraceReason:
    """What an id says. Of anything that is not as long as a UUID: nothing."""
    if len(request_id) != _UUID_LENGTH:
        return TraceReason.NOT_TRACEABLE
    digit = request_id[_REASON_AT]
    if digit == _VERSION_4:
        return TraceReason.NOT_TRACEABLE
    return _REASONS.get(digit, TraceReason.NOT_TRACEABLE)


def with_reason(request_id: bytes, reason: TraceReason) -> bytes:
    """The id that says so; one that is not as long as a UUID stays."""
    if len(request_id) != _UUID_LENGTH:
        return request_id
    return request_id[:_REASON_AT] + reason.value + request_id[_REASON_AT + 1 :]


def random_number_of(request_id: bytes) -> int:
    """Of the first 8 digits; -1: there are not so many hexadecimal ones."""
    if len(request_id) < _NUMBER_DIGITS:
        return -1
    number: i64 = 0
    for at in range(_NUMBER_DIGITS):
        digit: i64 = _DIGITS[request_id[at]]
        if digit == _NO_DIGIT:
            return _prefixed(request_id[:_NUMBER_DIGITS])
        number = number << 4 | digit
    return number


def _prefixed(digits: bytes) -> int:
    """`0x` may stand before them, as C's `strtoull` takes it."""
    rest = digits[2:]
    if digits[:2] not in (b"0x", b"0X") or not all(_DIGITS[byte] != _NO_DIGIT for byte in rest):
        return -1
    return int(rest, 16)
