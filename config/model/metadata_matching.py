"""Matchers of metadata and of the values in it (envoy.type.matcher.v3.MetadataMatcher, ValueMatcher)."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from config.model.matching import StringMatcher


class MetadataSource(enum.Enum):
    """Whose metadata is looked at."""

    DYNAMIC = 0
    ROUTE = 1


class NullValue(msgspec.Struct, frozen=True):
    """Matches null, not what is missing."""


class NumberValue(msgspec.Struct, frozen=True):
    """A number in [start, end), or exactly `exact`."""

    exact: float | None = None
    start: float = 0.0
    end: float = 0.0


class StringValue(msgspec.Struct, frozen=True):
    string: StringMatcher


class BoolValue(msgspec.Struct, frozen=True):
    value: bool


class PresentValue(msgspec.Struct, frozen=True):
    """Matches any value that is there, and with `present` False nothing (Envoy)."""

    present: bool


class ListValue(msgspec.Struct, frozen=True):
    """A list with an item that matches."""

    one_of: ValueMatcher


class OrValue(msgspec.Struct, frozen=True):
    values: tuple[ValueMatcher, ...]


ValueMatcher: TypeAlias = (
    NullValue | NumberValue | StringValue | BoolValue | PresentValue | ListValue | OrValue
)


class MetadataMatcher(msgspec.Struct, frozen=True):
    """`filter_name` is the namespace, `path` the keys in it."""

    filter_name: str
    path: tuple[str, ...]
    value: ValueMatcher
    invert: bool = False
    source: MetadataSource = MetadataSource.DYNAMIC
