"""When a route matches: RouteMatch compiled to one predicate on the path and a tuple of further conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from config.model.core import Percent
from config.model.matching import StringMatcher, StringMatchKind
from config.model.route import PathMatchKind, RouteMatch
from protocols.grpc.status import is_grpc_request
from protocols.http.headers import Headers
from sidecar.policy.header_matching import (
    HeadersPredicate,
    compile_header_matcher,
    compile_query_parameter_matcher,
    parse_query,
)
from sidecar.policy.matching import compile_bytes_matcher, encode_text

#: Judges the path without query and fragment.
PathPredicate: TypeAlias = Callable[[bytes], bool]
RandomValue: TypeAlias = Callable[[], int]
#: A condition beyond the path, with the words that `explain` uses for it.
Condition: TypeAlias = Callable[[Headers, RandomValue], bool]

_MILLION: Final = 1_000_000
_CONNECT: Final = b"CONNECT"


class CompiledMatch:
    """A RouteMatch ready for use. `path` None: the route is for CONNECT requests."""

    __slots__ = ("conditions", "description", "path")

    def __init__(self, spec: RouteMatch) -> None:
        self.path = _compile_path(spec)
        described = _compile_conditions(spec)
        self.conditions: tuple[Condition, ...] = tuple(condition for _, condition in described)
        self.description: tuple[str, ...] = tuple(text for text, _ in described)

    def matches(self, path: bytes, headers: Headers, random: RandomValue) -> bool:
        """`path`: without query and fragment; empty for CONNECT without a path."""
        if self.path is None:
            if headers.method != _CONNECT:
                return False
        elif not self.path(path):
            return False
        for condition in self.conditions:  # noqa: SIM110 - a generator would cost a frame for each request
            if not condition(headers, random):
                return False
        return True

    def first_miss(self, path: bytes, headers: Headers, random: RandomValue) -> str | None:
        """Which part does not match, in words; None if all do."""
        if self.path is None:
            if headers.method != _CONNECT:
                return "is for CONNECT only"
        elif not self.path(path):
            return "path does not match"
        for text, condition in zip(self.description, self.conditions, strict=True):
            if not condition(headers, random):
                return f"{text} does not match"
        return None


def matched_prefix(spec: RouteMatch) -> bytes | None:
    """The part of a matching path that `prefix_rewrite` replaces; None: all of it."""
    if spec.kind in (PathMatchKind.PREFIX, PathMatchKind.PATH_SEPARATED_PREFIX):
        return encode_text(spec.path)
    return None


def _compile_path(spec: RouteMatch) -> PathPredicate | None:
    pattern = encode_text(spec.path)
    if spec.kind is PathMatchKind.CONNECT:
        return None
    if spec.kind is PathMatchKind.SAFE_REGEX:
        return compile_bytes_matcher(StringMatcher(StringMatchKind.REGEX, spec.path))
    compare = _PATH_COMPARISONS[spec.kind]
    if spec.case_sensitive:
        return compare(pattern)
    folded = compare(pattern.lower())
    return lambda path: folded(path.lower())


def _prefix(pattern: bytes) -> PathPredicate:
    if pattern == b"/":  # the catch-all of nearly every route table
        return lambda path: path[:1] == b"/"
    return lambda path: path.startswith(pattern)


def _exact(pattern: bytes) -> PathPredicate:
    return lambda path: path == pattern


def _path_separated_prefix(pattern: bytes) -> PathPredicate:
    below = pattern + b"/"
    return lambda path: path == pattern or path.startswith(below)


_PATH_COMPARISONS: Final[dict[PathMatchKind, Callable[[bytes], PathPredicate]]] = {
    PathMatchKind.PREFIX: _prefix,
    PathMatchKind.PATH: _exact,
    PathMatchKind.PATH_SEPARATED_PREFIX: _path_separated_prefix,
}


def _compile_conditions(spec: RouteMatch) -> list[tuple[str, Condition]]:
    conditions: list[tuple[str, Condition]] = []
    if spec.runtime_fraction is not None:
        conditions.append(("runtime_fraction", _chance(spec.runtime_fraction)))
    if spec.grpc:
        conditions.append(("grpc", _on_headers(is_grpc_request)))
    conditions.extend(
        (f"header {header.name}", _on_headers(compile_header_matcher(header))) for header in spec.headers
    )
    if spec.query_parameters:
        conditions.append(("query parameters", _query(spec)))
    return conditions


def _chance(percent: Percent) -> Condition:
    threshold = round(percent.ratio * _MILLION)
    return lambda headers, random: random() % _MILLION < threshold


def _on_headers(predicate: HeadersPredicate) -> Condition:
    return lambda headers, random: predicate(headers)


def _query(spec: RouteMatch) -> Condition:
    matchers = tuple(compile_query_parameter_matcher(each) for each in spec.query_parameters)

    def matches(headers: Headers, random: RandomValue) -> bool:
        query = parse_query(headers.path)
        return all(matcher(query) for matcher in matchers)

    return matches
