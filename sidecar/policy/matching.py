"""String matchers compiled to callables: the only place that decides what exact, prefix, suffix, contains and regex mean.

Compiled once at configuration time. A compiled matcher never raises, whatever text it is given: text that cannot be
judged does not match. `ignore_case` folds A-Z only (Envoy: ASCII), never Unicode, so no other letter can pose as an
ASCII one. Regular expressions are RE2 and must match the whole value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import AnyStr, Final, Protocol, TypeAlias, cast

import re2

from config.model.matching import StringMatcher, StringMatchKind

StringPredicate: TypeAlias = Callable[[str], bool]
BytesPredicate: TypeAlias = Callable[[bytes], bool]


class MatcherError(ValueError):
    """The configured pattern is not a valid RE2 expression."""


class _Regex(Protocol):
    def fullmatch(self, text: bytes) -> object | None: ...


_ASCII_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def lower_ascii(text: str) -> str:
    """Lower-case A-Z and nothing else (`str.lower` would turn the Kelvin sign into `k`)."""
    return text.lower() if text.isascii() else text.translate(_ASCII_LOWER)


def compile_string_matcher(matcher: StringMatcher) -> StringPredicate:
    """A predicate on text. Raises MatcherError for a pattern that RE2 refuses."""
    if matcher.kind is StringMatchKind.REGEX:
        matches = compile_regex(matcher.pattern)
        return lambda text: matches(encode_text(text))
    if matcher.ignore_case:
        compare = _compare(matcher.kind, lower_ascii(matcher.pattern))
        return lambda text: compare(lower_ascii(text))
    return _compare(matcher.kind, matcher.pattern)


def compile_bytes_matcher(matcher: StringMatcher) -> BytesPredicate:
    """A predicate on bytes from the wire; the pattern is its UTF-8 form. Raises MatcherError for a bad regex."""
    if matcher.kind is StringMatchKind.REGEX:
        return compile_regex(matcher.pattern)
    pattern = encode_text(matcher.pattern)
    if matcher.ignore_case:
        compare = _compare(matcher.kind, pattern.lower())
        return lambda text: compare(text.lower())
    return _compare(matcher.kind, pattern)


def compile_regex(pattern: str) -> BytesPredicate:
    """An RE2 full match on bytes. Raises MatcherError.

    Text that is not UTF-8 is judged byte for byte (Latin-1), so that one broken byte cannot slip past a rule that is
    meant to forbid: in UTF-8 mode RE2 matches nothing that contains it, not even `.*`.
    """
    raw = encode_text(pattern)
    utf8_match = _compile(raw, latin1=False).fullmatch
    try:
        latin1_match = _compile(raw, latin1=True).fullmatch
    except MatcherError:  # a class that only exists in UTF-8: broken text cannot match it
        latin1_match = utf8_match

    def matches(text: bytes) -> bool:
        if text.isascii() or _is_utf8(text):
            return utf8_match(text) is not None
        return latin1_match(text) is not None

    return matches


def encode_text(text: str) -> bytes:
    """UTF-8 for any `str`: escaped bytes (surrogateescape) become those bytes again, other surrogates their code."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _compile(pattern: bytes, *, latin1: bool) -> _Regex:
    options = re2.Options()
    options.log_errors = False
    if latin1:
        options.encoding = re2.Options.Encoding.LATIN1
    try:
        return cast(_Regex, re2.compile(pattern, options))
    except re2.error as error:
        reason = error.args[0] if error.args else "invalid"
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise MatcherError(f"invalid regular expression: {text}") from None


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _compare(kind: StringMatchKind, pattern: AnyStr) -> Callable[[AnyStr], bool]:
    match kind:
        case StringMatchKind.PREFIX:
            return lambda text: text.startswith(pattern)
        case StringMatchKind.SUFFIX:
            return lambda text: text.endswith(pattern)
        case StringMatchKind.CONTAINS:
            return lambda text: pattern in text
        case _:
            return lambda text: text == pattern
