"""Which stats exist, and which bounds a histogram gets: settings turned into functions over names."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import re2

from stats.metrics import DEFAULT_BUCKETS


class NameMatchKind(enum.Enum):
    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "regex"  # RE2, must match the whole name


class NameMatch(msgspec.Struct, frozen=True):
    """One string matcher. `ignore_case` has no effect on REGEX, as in Envoy."""

    kind: NameMatchKind
    pattern: str
    ignore_case: bool = False


def matches_any(matchers: Sequence[NameMatch]) -> Callable[[str], bool]:
    """Whether a name matches one of `matchers`: one test for all prefixes, one for all suffixes, and so on.

    Raises ValueError for a regex that does not compile.
    """
    plain = [m for m in matchers if not m.ignore_case or m.kind is NameMatchKind.REGEX]
    tests = _tests(plain)
    folded = _tests(
        [
            NameMatch(m.kind, m.pattern.lower())
            for m in matchers
            if m.ignore_case and m.kind is not NameMatchKind.REGEX
        ]
    )
    if not tests and not folded:
        return lambda name: False

    def matches(name: str) -> bool:
        for test in tests:
            if test(name):
                return True
        if folded:
            lower = name.lower()
            for test in folded:
                if test(lower):
                    return True
        return False

    return matches


def _tests(matchers: Sequence[NameMatch]) -> list[Callable[[str], Any]]:
    def patterns(kind: NameMatchKind) -> tuple[str, ...]:
        return tuple(m.pattern for m in matchers if m.kind is kind)

    tests: list[Callable[[str], Any]] = []
    if exact := frozenset(patterns(NameMatchKind.EXACT)):
        tests.append(exact.__contains__)
    if prefixes := patterns(NameMatchKind.PREFIX):
        tests.append(lambda name: name.startswith(prefixes))
    if suffixes := patterns(NameMatchKind.SUFFIX):
        tests.append(lambda name: name.endswith(suffixes))
    if parts := patterns(NameMatchKind.CONTAINS):
        tests.append(lambda name: any(part in name for part in parts))
    tests.extend(compile_regex(regex).fullmatch for regex in patterns(NameMatchKind.REGEX))
    return tests


def compile_regex(regex: str) -> Any:
    """A compiled RE2 pattern, silent on errors. Raises ValueError with Envoy's words."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(regex, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"Invalid re2 regex: {text}") from None


def make_rejects(
    reject_all: bool = False,
    inclusion: Sequence[NameMatch] | None = None,
    exclusion: Sequence[NameMatch] | None = None,
) -> Callable[[str], bool]:
    """The stats matcher as a function: True for the full name of a stat that shall not exist.

    At most one of the three is given: reject all, keep only the inclusion list, drop the exclusion list. Raises ValueError
    for a regex that does not compile.
    """
    if reject_all:
        return lambda name: True
    if inclusion is not None:
        included = matches_any(inclusion)
        return lambda name: not included(name)
    if exclusion is not None:
        return matches_any(exclusion)
    return lambda name: False


def make_bounds_for(
    settings: Sequence[tuple[NameMatch, Sequence[float]]],
) -> Callable[[str], tuple[float, ...]]:
    """`histogram_bucket_settings` as a function from the full name of a histogram to its bounds; the first match wins.

    Raises ValueError for bounds that are not ascending or not above zero, and for a regex that does not compile.
    """
    compiled = []
    for match, buckets in settings:
        bounds = tuple(buckets)
        if not bounds or bounds[0] <= 0 or any(a >= b for a, b in itertools.pairwise(bounds)):
            raise ValueError(f"histogram buckets must be ascending and greater than 0: {list(bounds)}")
        compiled.append((matches_any([match]), bounds))
    if not compiled:
        return lambda name: DEFAULT_BUCKETS

    def bounds_for(name: str) -> tuple[float, ...]:
        for matches, bounds in compiled:
            if matches(name):
                return bounds
        return DEFAULT_BUCKETS

    return bounds_for
