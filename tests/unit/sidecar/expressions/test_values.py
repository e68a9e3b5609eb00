from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from sidecar.expressions.unsigned import Unsigned
from sidecar.expressions.values import (
    FAILED,
    Duration,
    Timestamp,
    equal,
    from_datetime,
    from_timedelta,
    printed,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (-3, "-3"),
        (Unsigned(3), "3"),
        (1.0, "1"),
        (1.5, "1.5"),
        (1e6, "1e+06"),
        (123456789.0, "1.23457e+08"),
        (math.inf, "inf"),
        ("té", "té"),
        (b"a\xff", "a�"),
        (None, "NULL"),
        (Duration(0), "0"),
        (Duration(1), "1ns"),
        (Duration(1500), "1.5us"),
        (Duration(-12_345_678), "-12.345678ms"),
        (Duration(1_000_000_000), "1s"),
        (Duration(3_723_500_000_000), "1h2m3.5s"),
        (Duration(3_600_000_000_000), "1h"),
        (Timestamp(0), "1970-01-01T00:00:00+00:00"),
        (Timestamp(1_600_000_000_250_000_000), "2020-09-13T12:26:40.25+00:00"),
        ({}, "CelMap value"),
        ([], "CelList value"),
        (int, "CelType value"),
        (FAILED, None),
    ],
)
def test_printed(value: object, text: str | None) -> None:
    assert printed(value) == text


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (1, 1.0, True),
        (1, Unsigned(1), True),
        (1, True, False),
        (0, False, False),
        (True, True, True),
        ("1", 1, False),
        ("a", b"a", False),
        (None, None, True),
        (None, 0, False),
        (math.nan, math.nan, False),
        ([1, "a"], (1.0, "a"), True),
        ([1], [1, 2], False),
        ([1], {"a": 1}, False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"b": 1}, False),
        ({"a": 1}, 1, False),
        (Duration(1), Duration(1), True),
        (Duration(1), Timestamp(1), False),
    ],
)
def test_equal(left: object, right: object, expected: bool) -> None:
    assert equal(left, right) is expected
    assert equal(right, left) is expected


def test_times_of_the_library() -> None:
    moment = datetime(2020, 1, 2, tzinfo=UTC)
    assert (
        from_datetime(moment) == from_datetime(moment.replace(tzinfo=None)) == Timestamp(1577923200 * 10**9)
    )
    assert from_timedelta(timedelta(milliseconds=-5)) == Duration(-5_000_000)
    assert repr(FAILED) == "FAILED"


@pytest.mark.parametrize(
    ("nanos", "shown"),
    [
        (-62_135_596_800 * 10**9, "0001-01-01T00:00:00+00:00"),
        (-30_610_224_001 * 10**9 + 5 * 10**8, "0999-12-31T23:59:59.5+00:00"),
    ],
)
def test_years_have_four_digits(nanos: int, shown: str) -> None:
    assert printed(Timestamp(nanos)) == shown
