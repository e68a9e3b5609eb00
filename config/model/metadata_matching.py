"""Matchers of metadata and of the values in it (envoy.type.matcher.v3.MetadataMatcher, ValueMatcher)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from config.model.matching import StringMatcher


class MetadataSource(enum.Enum):
    """Whose metadata is looked at."""

    DYNAMIC = 0
    ROUTE = 1


@dataclass(frozen=True, slots=True)
class NullValue:
    """Matches null, not what is missing."""


@dataclass(frozen=True, slots=True)
class NumberValue:
    """A number in [start, end), or exactly `exact`."""

    exact: float | None = None
    start: float = 0.0
    end: float = 0.0


@dataclass(frozen=True, slots=True)
class StringValue:
    string: StringMatcher


@dataclass(frozen=True, slots=True)
class BoolValue:
    value: bool


@dataclass(frozen=True, slots=True)
class PresentValue:
    """Matches any value that is there, and with `present` False nothing (Envoy)."""

    present: bool


@dataclass(frozen=True, slots=True)
class ListValue:
    """A list with an item that matches."""

    one_of: ValueMatcher


@dataclass(frozen=True, slots=True)
class OrValue:
    values: tuple[ValueMatcher, ...]


ValueMatcher: TypeAlias = (
    NullValue | NumberValue | StringValue | BoolValue | PresentValue | ListValue | OrValue
)


@dataclass(frozen=True, slots=True)
class MetadataMatcher:
    """`filter_name` is the namespace, `path` the keys in it."""

    filter_name: str
    path: tuple[str, ...]
    value: ValueMatcher
    invert: bool = False
    source: MetadataSource = MetadataSource.DYNAMIC
