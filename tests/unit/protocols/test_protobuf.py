from __future__ import annotations

import pytest
from google.protobuf import struct_pb2, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st

from protocols.protobuf import delimited, fixed32, fixed64, number, utf8, varint


@given(st.integers(0, 2**64 - 1))
def test_numbers_read_back(value: int) -> None:
    assert wrappers_pb2.UInt64Value.FromString(b"\x08" + varint(value)).value == value


@given(st.binary())
def test_bytes_read_back(value: bytes) -> None:
    assert wrappers_pb2.BytesValue.FromString(delimited(1, value)).value == value


def test_messages_nest() -> None:
    text = struct_pb2.Value(string_value="v")
    assert struct_pb2.ListValue.FromString(delimited(1, delimited(3, b"v"))).values[0] == text


@pytest.mark.parametrize("field", [1, 15, 16, 2047, 2048])
def test_field_numbers(field: int) -> None:
    assert delimited(field, b"") == varint(field * 8 + 2) + b"\0"


def test_fixed_numbers_are_little_endian() -> None:
    assert fixed64(1, 2) == b"\x09\x02" + bytes(7)
    assert fixed32(1, 2) == b"\x0d\x02" + bytes(3)


@given(st.integers(0, 2**64 - 1))
def test_fields_that_are_numbers_read_back(value: int) -> None:
    assert wrappers_pb2.UInt64Value.FromString(number(1, value)).value == value


@pytest.mark.parametrize(
    ("value", "text"),
    [(b"", ""), (b"a", "a"), ("é".encode(), "é"), (b"a\xffb", "a!b"), (b"\xed\xa0\x80", "!!!")],
)
def test_texts_are_utf8(value: bytes, text: str) -> None:
    assert utf8(value).decode() == text
