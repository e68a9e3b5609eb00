"""Matchers (envoy.type.matcher.v3 and the header and query matchers of envoy.config.route.v3)."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec


class StringMatchKind(enum.Enum):
    EXACT = enum.auto()
    PREFIX = enum.auto()
    SUFFIX = enum.auto()
    CONTAINS = enum.auto()
    REGEX = enum.auto()  # RE2, must match the whole value


class StringMatcher(msgspec.Struct, frozen=True):
    """`envoy.type.matcher.v3.StringMatcher`. `ignore_case` has no effect on REGEX."""

    kind: StringMatchKind
    pattern: str
    ignore_case: bool = False


class HeaderMatcher(msgspec.Struct, frozen=True):
    """`envoy.config.route.v3.HeaderMatcher`. Exactly one of `string`, `present`, `range` is set.

    `name` is lower case; `:method`, `:path`, `:authority` and `:scheme` name the pseudo-headers. Each line of a
    repeated header is judged for itself, one that matches is enough (Envoy 1.40). `range` is [start, end) on the decimal value. `treat_missing_as_empty`: a
    missing header is judged as the empty string.
    """

    name: str
    string: StringMatcher | None = None
    present: bool | None = None
    range: tuple[int, int] | None = None
    invert: bool = False
    treat_missing_as_empty: bool = False


class QueryParameterMatcher(msgspec.Struct, frozen=True):
    """`string` or presence (`present`); the first parameter of that name is judged."""

    name: str
    string: StringMatcher | None = None
    present: bool | None = None


class SanType(enum.Enum):
    DNS = enum.auto()
    URI = enum.auto()
    EMAIL = enum.auto()
    IP_ADDRESS = enum.auto()


class SanMatcher(msgspec.Struct, frozen=True):
    """`SubjectAltNameMatcher`. The deprecated `match_subject_alt_names` gives one matcher for each SAN type."""

    san_type: SanType
    matcher: StringMatcher


class PortRange(msgspec.Struct, frozen=True):
    """[start, end) of destination ports."""

    start: int
    end: int


class AnyMatch(msgspec.Struct, frozen=True):
    """Matches every connection."""


class NotMatch(msgspec.Struct, frozen=True):
    rule: ListenerFilterPredicate


class AndMatch(msgspec.Struct, frozen=True):
    rules: tuple[ListenerFilterPredicate, ...]


class OrMatch(msgspec.Struct, frozen=True):
    rules: tuple[ListenerFilterPredicate, ...]


#: `ListenerFilterChainMatchPredicate`, judged on the destination port.
ListenerFilterPredicate: TypeAlias = PortRange | AnyMatch | NotMatch | AndMatch | OrMatch
