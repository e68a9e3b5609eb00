"""Header and query parameter matchers compiled to predicates, for routes and for RBAC alike."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from config.model.matching import HeaderMatcher, QueryParameterMatcher
from protocols.http.headers import PSEUDO_HEADERS, Headers
from sidecar.policy.matching import BytesPredicate, compile_bytes_matcher

HeadersPredicate: TypeAlias = Callable[[Headers], bool]
#: Judges the parsed query: name -> first value, as they stand in the path.
QueryPredicate: TypeAlias = Callable[[dict[bytes, bytes]], bool]

_DECIMAL: Final = re.compile(rb"[+-]?[0-9]{1,19}")


def compile_header_matcher(matcher: HeaderMatcher) -> HeadersPredicate:
    """Envoy's rules. Each line of a repeated header is judged for itself, and one that matches is enough; `invert` turns
    the outcome round. A missing header never matches a value, inverted or not, unless `treat_missing_as_empty`.

    Raises MatcherError for a bad regular expression. The predicate never raises.
    """
    wanted = not matcher.invert
    if matcher.string is None and matcher.range is None:
        return _presence(matcher, wanted)
    judge = _judge(matcher)
    missing = judge(b"") is wanted if matcher.treat_missing_as_empty else False
    name = matcher.name.encode()
    pseudo = PSEUDO_HEADERS.get(name)
    if pseudo is not None:
        return lambda headers: judge(value) is wanted if (value := pseudo(headers)) else missing

    def matches(headers: Headers) -> bool:
        value = headers.get(name)
        if value is None:
            return missing
        if judge(value):
            return wanted
        values = headers.get_all(name)
        return (len(values) > 1 and any(judge(each) for each in values)) is wanted

    return matches


def _presence(matcher: HeaderMatcher, wanted: bool) -> HeadersPredicate:
    present = matcher.present if matcher.present is not None else True
    if matcher.treat_missing_as_empty:
        return lambda headers: present is wanted
    name = matcher.name.encode()
    pseudo = PSEUDO_HEADERS.get(name)
    if pseudo is not None:
        return lambda headers: (bool(pseudo(headers)) is present) is wanted
    return lambda headers: ((name in headers) is present) is wanted


def _judge(matcher: HeaderMatcher) -> BytesPredicate:
    if matcher.string is not None:
        return compile_bytes_matcher(matcher.string)
    start, end = matcher.range or (0, 0)

    def in_range(value: bytes) -> bool:
        return _DECIMAL.fullmatch(value) is not None and start <= int(value) < end

    return in_range


def compile_query_parameter_matcher(matcher: QueryParameterMatcher) -> QueryPredicate:
    """Judges the first parameter of that name. Raises MatcherError."""
    name = matcher.name.encode()
    if matcher.string is None:
        present = matcher.present if matcher.present is not None else True
        return lambda query: (name in query) is present
    judge = compile_bytes_matcher(matcher.string)
    return lambda query: (value := query.get(name)) is not None and judge(value)


def parse_query(path: bytes) -> dict[bytes, bytes]:
    """The query parameters of a path, the first of each name. As in Envoy nothing is percent-decoded. Never raises."""
    _, mark, query = path.partition(b"?")
    found: dict[bytes, bytes] = {}
    if mark:
        for pair in query.partition(b"#")[0].split(b"&"):
            name, _, value = pair.partition(b"=")
            found.setdefault(name, value)
    return found
