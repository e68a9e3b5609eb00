"""Arithmetic and conversions of the values that attributes mostly have: whole numbers, and texts.

Of all other values (doubles, unsigned numbers, times) these functions know nothing: `NotImplemented` sends the expression to the
library. CEL's whole numbers have 64 bits, what does not fit is an error; division goes towards zero.
"""

from __future__ import annotations

from typing import Final

from sidecar.expressions.values import FAILED

_LIMIT: Final = 1 << 63


def _fitting(value: int) -> object:
    return value if -_LIMIT <= value < _LIMIT else FAILED


def add(left: object, right: object) -> object:
    if type(left) is str and type(right) is str:
        return left + right
    return _fitting(left + right) if type(left) is int and type(right) is int else NotImplemented


def subtract(left: object, right: object) -> object:
    return _fitting(left - right) if type(left) is int and type(right) is int else NotImplemented


def multiply(left: object, right: object) -> object:
    return _fitting(left * right) if type(left) is int and type(right) is int else NotImplemented


def divide(left: object, right: object) -> object:
    if type(left) is not int or type(right) is not int:
        return NotImplemented
    if right == 0:
        return FAILED
    if left >= 0 and right > 0:
        return left // right
    quotient = abs(left) // abs(right)
    return _fitting(quotient if (left < 0) == (right < 0) else -quotient)


def remainder(left: object, right: object) -> object:
    """With the sign of `left`. An error where the quotient does not fit, too."""
    if type(left) is not int or type(right) is not int:
        return NotImplemented
    if right == 0 or (left == -_LIMIT and right == -1):
        return FAILED
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def negate(value: object) -> object:
    return _fitting(-value) if type(value) is int else NotImplemented


def to_string(value: object) -> object:
    if type(value) is str:
        return value
    return str(value) if type(value) is int else NotImplemented
