"""Matchers (envoy.type.matcher.v3, and the header, query and listener matchers)."""

from __future__ import annotations

import functools
from typing import Any, Final

import re2

from config.model.matching import (
    AndMatch,
    AnyMatch,
    HeaderMatcher,
    ListenerFilterPredicate,
    NotMatch,
    OrMatch,
    PortRange,
    QueryParameterMatcher,
    SanMatcher,
    SanType,
    StringMatcher,
    StringMatchKind,
)
from config.proto.fields import declare
from config.proto.path import Path

_KINDS: Final = {
    "exact": StringMatchKind.EXACT,
    "prefix": StringMatchKind.PREFIX,
    "suffix": StringMatchKind.SUFFIX,
    "contains": StringMatchKind.CONTAINS,
}
_SAN_TYPES: Final = {1: SanType.EMAIL, 2: SanType.DNS, 3: SanType.URI, 4: SanType.IP_ADDRESS}
_PREDICATE: Final = "envoy.config.listener.v3.ListenerFilterChainMatchPredicate"

declare(
    "envoy.type.matcher.v3.StringMatcher",
    "exact prefix suffix safe_regex contains",
    partly={"ignore_case": "no effect on a regex"},
    refused="custom",
)
declare("envoy.type.matcher.v3.RegexMatcher", "regex", no_effect={"google_re2": "RE2 is always the engine"})
declare(
    "envoy.config.route.v3.HeaderMatcher",
    "name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match "
    "string_match invert_match treat_missing_header_as_empty",
)
declare("envoy.type.v3.Int64Range", "start end")
declare("envoy.type.v3.Int32Range", "start end")
declare("envoy.config.route.v3.QueryParameterMatcher", "name string_match present_match")
declare(
    "envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher",
    "matcher",
    partly={"san_type": "EMAIL, DNS, URI, IP_ADDRESS"},
    refused="oid",
)
declare(_PREDICATE, "or_match and_match not_match any_match destination_port_range")
declare(f"{_PREDICATE}.MatchSet", "rules")
declare("envoy.type.matcher.v3.ListStringMatcher", "patterns")
declare("envoy.type.matcher.v3.RegexMatchAndSubstitute", "pattern substitution")


@functools.lru_cache(maxsize=4096)
def _regex_problem(pattern: str) -> str | None:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        detail = error.args[0] if error.args else ""
        return detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
    return None


def check_regex(pattern: str, at: Path) -> None:
    """Report a pattern that RE2 does not take."""
    if (problem := _regex_problem(pattern)) is not None:
        at.error(f"not a valid RE2 regular expression: {problem}")


def translate_regex(msg: Any, at: Path) -> str:
    check_regex(msg.regex, at.field("regex"))
    return str(msg.regex)


def translate_string_matcher(msg: Any, at: Path) -> StringMatcher:
    kind = msg.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return StringMatcher(
            StringMatchKind.REGEX, translate_regex(msg.safe_regex, at.field("safe_regex")), msg.ignore_case
        )
    if kind not in _KINDS:
        return StringMatcher(StringMatchKind.EXACT, "", msg.ignore_case)
    return StringMatcher(_KINDS[kind], getattr(msg, kind), msg.ignore_case)


def translate_string_matchers(messages: Any, at: Path) -> tuple[StringMatcher, ...]:
    return tuple(translate_string_matcher(message, at.index(i)) for i, message in enumerate(messages))


def _header_string(msg: Any, kind: str, at: Path) -> StringMatcher | None:
    if kind == "string_match":
        return translate_string_matcher(msg.string_match, at.field(kind))
    if kind == "safe_regex_match":
        return StringMatcher(StringMatchKind.REGEX, translate_regex(msg.safe_regex_match, at.field(kind)))
    text_kind = _KINDS.get(kind.removesuffix("_match"))
    text = getattr(msg, kind)
    if text_kind is None or (text_kind is StringMatchKind.EXACT and not text):
        return None  # an empty `exact_match` means "is present", as in Envoy
    return StringMatcher(text_kind, text)


def translate_header_matcher(msg: Any, at: Path) -> HeaderMatcher:
    """The deprecated forms (`exact_match`, ...) become string matchers; no form at all means "is present"."""
    kind = msg.WhichOneof("header_match_specifier") or "present_match"
    string = _header_string(msg, kind, at)
    present: bool | None = None
    range_: tuple[int, int] | None = None
    if kind == "range_match":
        range_ = (msg.range_match.start, msg.range_match.end)
        if range_[0] >= range_[1]:
            at.field(kind).warning("matches nothing: end is not greater than start")
    elif string is None:
        present = msg.present_match if msg.HasField("present_match") else True
    return HeaderMatcher(
        msg.name.lower(), string, present, range_, msg.invert_match, msg.treat_missing_header_as_empty
    )


def translate_header_matchers(messages: Any, at: Path) -> tuple[HeaderMatcher, ...]:
    return tuple(translate_header_matcher(message, at.index(i)) for i, message in enumerate(messages))


def translate_query_parameter(msg: Any, at: Path) -> QueryParameterMatcher:
    if msg.HasField("string_match"):
        return QueryParameterMatcher(
            msg.name, translate_string_matcher(msg.string_match, at.field("string_match"))
        )
    return QueryParameterMatcher(msg.name, None, msg.present_match if msg.HasField("present_match") else True)


def translate_san_matcher(msg: Any, at: Path) -> SanMatcher:
    kind = _SAN_TYPES.get(msg.san_type)
    if kind is None:
        at.field("san_type").error("refused: only EMAIL, DNS, URI and IP_ADDRESS are supported")
        kind = SanType.DNS
    return SanMatcher(kind, translate_string_matcher(msg.matcher, at.field("matcher")))


def translate_predicate(msg: Any, at: Path) -> ListenerFilterPredicate:
    """`ListenerFilterChainMatchPredicate`; an unset rule was reported and matches nothing."""
    kind = msg.WhichOneof("rule")
    if kind == "destination_port_range":
        ports = PortRange(msg.destination_port_range.start, msg.destination_port_range.end)
        if ports.start >= ports.end:
            at.field(kind).warning("matches nothing: end is not greater than start")
        return ports
    if kind == "not_match":
        return NotMatch(translate_predicate(msg.not_match, at.field(kind)))
    if kind in ("or_match", "and_match"):
        rules_at = at.field(kind).field("rules")
        rules = getattr(msg, kind).rules
        inner = tuple(translate_predicate(rule, rules_at.index(i)) for i, rule in enumerate(rules))
        return OrMatch(inner) if kind == "or_match" else AndMatch(inner)
    return AnyMatch()
