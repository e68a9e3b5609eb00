"""CEL's `uint`, which has no type of its own in Python."""

from __future__ import annotations


class Unsigned(int):
    """A CEL `uint`: equal to the `int` of the same number, but not to be added to it."""

    __slots__ = ()
