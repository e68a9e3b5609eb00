from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.telemetry.access_log.json_values import json_bytes, number_text, quote


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (3.0, "3"),
        (-3.0, "-3"),
        (1.5, "1.5"),
        (0.1, "0.1"),
        (12000.0, "12000"),
        (100000.0, "1e+05"),
        (3000000.0, "3e+06"),
        (123456.75, "123456.75"),
        (0.0001, "1e-04"),
        (1e-7, "1e-07"),
        (1e15, "1e+15"),
        (1e20, "1e+20"),
        (123456789012345678.0, "123456789012345680"),
        (1234567890123456789012.0, "1234567890123456774144"),
        (math.inf, "null"),
        (math.nan, "null"),
    ],
)
def test_numbers_are_written_as_envoy_writes_them(value: float, expected: str) -> None:
    assert number_text(value) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_what_was_written(value: float) -> None:
    assert float(number_text(value)) == value
    assert json.loads(number_text(value)) == value


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_reads_back(value: str) -> None:
    assert json.loads(quote(value.encode())) == value


@given(st.binary())
def test_any_bytes_make_a_json_string(value: bytes) -> None:
    assert isinstance(json.loads(quote(value)), str)


def test_keys_are_sorted_at_every_level() -> None:
    assert (
        json_bytes({"b": [{"z": None, "y": False}], "a": "é"})
        == '{"a":"é","b":[{"y":false,"z":null}]}'.encode()
    )
