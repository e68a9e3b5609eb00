"""Protobuf's wire form, as far as messages are put together by hand (Protocol Buffers encoding)."""

from __future__ import annotations

from typing import Final

_LENGTH_DELIMITED: Final = 2
_VARINT: Final = 0
_FIXED64: Final = 1
_FIXED32: Final = 5


def varint(value: int) -> bytes:
    """A number that is not negative, seven bits a byte."""
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def delimited(field: int, data: bytes) -> bytes:
    """A string, bytes or a message as the field of that number."""
    return varint(field << 3 | _LENGTH_DELIMITED) + varint(len(data)) + data


def fixed64(field: int, value: int) -> bytes:
    return varint(field << 3 | _FIXED64) + value.to_bytes(8, "little")


def fixed32(field: int, value: int) -> bytes:
    return varint(field << 3 | _FIXED32) + value.to_bytes(4, "little")


def number(field: int, value: int) -> bytes:
    """A number that is not negative, or an enum."""
    return varint(field << 3 | _VARINT) + varint(value)


def utf8(value: bytes) -> bytes:
    """What a string may hold: bytes that are no UTF-8 become `!`, as in Envoy."""
    if value.isascii():
        return value
    return value.decode("utf-8", "replace").replace("\ufffd", "!").encode()
