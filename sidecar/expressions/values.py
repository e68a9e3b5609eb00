"""The values of CEL as Python has them, what is equal among them, and how Envoy prints them.

bool, int, float, str, bytes, None, list (or tuple) and mapping are themselves. Unsigned numbers, times and durations have
classes of their own. `FAILED` stands for every error: a missing attribute, a wrong type, a division by zero. An exception
would cost more, and CEL's `||` and `&&` go on after an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final


class Failed:
    """The type of `FAILED`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "FAILED"


FAILED: Final = Failed()


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    nanos: int


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """`nanos` since the epoch."""

    nanos: int


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NUMBERS: Final = (int, float)


def is_number(value: object) -> bool:
    """A bool is none."""
    return isinstance(value, _NUMBERS) and not isinstance(value, bool)


def equal(left: object, right: object) -> bool:
    """CEL's equality: numbers by their value whatever their type, anything else only within one type."""
    if type(left) is str and type(right) is str:
        return left == right
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if is_number(left):
        return is_number(right) and left == right
    if isinstance(left, (list, tuple)):
        return (
            isinstance(right, (list, tuple))
            and len(left) == len(right)
            and all(equal(one, other) for one, other in zip(left, right, strict=True))
        )
    if isinstance(left, Mapping):
        return (
            isinstance(right, Mapping)
            and left.keys() == right.keys()
            and all(equal(left[key], right[key]) for key in left)
        )
    return (
        type(left) is type(right) and left == right
    )  # the library's types raise when compared to anything else


def from_datetime(value: datetime) -> Timestamp:
    """What has no time zone is UTC."""
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return Timestamp((aware - _EPOCH) // _MICROSECOND * 1000)


def from_timedelta(value: timedelta) -> Duration:
    return Duration(value // _MICROSECOND * 1000)


def printed(value: object) -> str | None:
    """As Envoy prints the result of an expression; None for `FAILED`."""
    if type(value) is str:
        return value
    if value is FAILED:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return _print_double(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if value is None:
        return "NULL"
    if isinstance(value, Duration):
        return _print_duration(value.nanos)
    if isinstance(value, Timestamp):
        return _print_timestamp(value.nanos)
    if isinstance(value, Mapping):
        return "CelMap value"
    return "CelList value" if isinstance(value, (list, tuple)) else "CelType value"


def _print_double(value: float) -> str:
    """Six significant digits."""
    return f"{value:.6g}"


#: Units of a duration shorter than a second, with the digits that a fraction of them may have.
_SHORT_UNITS: Final = ((1_000_000, "ms"), (1_000, "us"), (1, "ns"))


def _print_duration(nanos: int) -> str:
    """`1h2m3.5s`, `12.5ms`, `0`: units that are zero are left out."""
    if nanos == 0:
        return "0"
    sign, rest = ("-", -nanos) if nanos < 0 else ("", nanos)
    if rest < 1_000_000_000:
        unit, name = next((size, name) for size, name in _SHORT_UNITS if rest >= size)
        return f"{sign}{_decimal(rest, unit)}{name}"
    minutes, seconds = divmod(rest, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h" if hours else ""
    text += f"{minutes}m" if minutes else ""
    return sign + (text + f"{_decimal(seconds, 1_000_000_000)}s" if seconds else text)


def _decimal(value: int, unit: int) -> str:
    """`value / unit` without an exponent and without closing zeros; `unit` is a power of ten."""
    whole, fraction = divmod(value, unit)
    if not fraction:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{fraction:0{digits}d}".rstrip("0")


def _print_timestamp(nanos: int) -> str:
    """RFC 3339 in UTC, the fraction as long as it has to be: `2020-01-02T03:04:05.25+00:00`."""
    seconds, fraction = divmod(nanos, 1_000_000_000)
    moment = _EPOCH + timedelta(seconds=seconds)
    text = moment.replace(tzinfo=None).isoformat(timespec="seconds")  # strftime writes the year 1 as 1
    return (f"{text}.{fraction:09d}".rstrip("0") if fraction else text) + "+00:00"
