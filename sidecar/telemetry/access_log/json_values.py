"""JSON as Envoy writes it into log lines: compact, keys sorted, doubles in their shortest form."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

#: What a value that is not there is in JSON. Recognised by identity: no operator makes these bytes anew.
NULL: Final = bytes(bytearray(b"null"))

#: Bytes that a JSON string cannot hold as they are, or that may be no UTF-8.
UNSAFE: Final = bytes([*range(0x20), 0x22, 0x5C, *range(0x80, 0x100)])
#: Each byte of text that is no UTF-8, as if it were ISO-8859-1.
_BYTE_ESCAPES: Final = [
    f"\\u{byte:04x}" if byte < 0x20 or byte >= 0x7F or byte in b'"\\' else chr(byte) for byte in range(256)
]


def quote(value: bytes) -> bytes:
    """A JSON string. Text that is no UTF-8 is escaped byte by byte."""
    if value.translate(None, UNSAFE) == value:
        return b'"%b"' % value
    try:
        return json.dumps(value.decode(), ensure_ascii=False).encode()
    except UnicodeDecodeError:
        return f'"{"".join([_BYTE_ESCAPES[byte] for byte in value])}"'.encode()


def number_text(value: float) -> str:
    """The fewest digits that say it exactly, with an exponent where that is shorter (C++: std::to_chars)."""
    if not math.isfinite(value):
        return "null"
    sign, digits, exponent = Decimal(repr(float(value))).normalize().as_tuple()
    assert isinstance(exponent, int), "finite"
    power = exponent + len(digits) - 1
    fraction = "".join(map(str, digits[1:]))
    scientific = f"{'-' if sign else ''}{digits[0]}{'.' if fraction else ''}{fraction}e{power:+03d}"
    fixed = str(int(value)) if value == int(value) else f"{Decimal(repr(value)):f}"
    return fixed if len(fixed) <= len(scientific) else scientific


def json_bytes(value: object) -> bytes:
    """A plain value (as from a `google.protobuf.Struct`)."""
    return _text(value).encode("utf-8", "replace")


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join([f"{_string(key)}:{_text(value[key])}" for key in sorted(value)]) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number_text(value)
    return json.dumps(value)


def _string(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
