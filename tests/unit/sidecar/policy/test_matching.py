"""String matchers: five kinds, on text and on bytes, and what never gets out of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.model.matching import StringMatcher, StringMatchKind
from sidecar.policy.matching import (
    MatcherError,
    compile_bytes_matcher,
    compile_regex,
    compile_string_matcher,
    encode_text,
    lower_ascii,
)

K = StringMatchKind
CASES = [
    (K.EXACT, "abc", False, "abc", True),
    (K.EXACT, "abc", False, "abcd", False),
    (K.EXACT, "abc", False, "ABC", False),
    (K.EXACT, "aBc", True, "AbC", True),
    (K.EXACT, "", False, "", True),
    (K.PREFIX, "ab", False, "abc", True),
    (K.PREFIX, "ab", False, "cab", False),
    (K.PREFIX, "AB", True, "abc", True),
    (K.SUFFIX, "bc", False, "abc", True),
    (K.SUFFIX, "bc", False, "bca", False),
    (K.CONTAINS, "b", False, "abc", True),
    (K.CONTAINS, "B", True, "abc", True),
    (K.CONTAINS, "x", False, "abc", False),
    (K.REGEX, "a.c", False, "abc", True),
    (K.REGEX, "a.c", False, "abcd", False),
    (K.REGEX, "b", False, "abc", False),
    (K.REGEX, "ABC", True, "abc", False),
    (K.REGEX, "a|ab", False, "ab", True),
    (K.REGEX, "é.", False, "éx", True),
    (K.REGEX, "[à-ë]", False, "é", True),
    (K.EXACT, "é", True, "É", False),
    (K.EXACT, "k", True, "\u212a", False),  # the Kelvin sign
    (K.EXACT, "s", True, "\u017f", False),  # the long s
    (K.EXACT, "a\0b", False, "a", False),
]


@pytest.mark.parametrize(("kind", "pattern", "ignore_case", "text", "matches"), CASES)
def test_text_and_bytes_agree(kind: K, pattern: str, ignore_case: bool, text: str, matches: bool) -> None:
    matcher = StringMatcher(kind, pattern, ignore_case)
    assert compile_string_matcher(matcher)(text) is matches
    assert compile_bytes_matcher(matcher)(text.encode()) is matches


@pytest.mark.parametrize("text", [b"admin\xff", b"\xffadmin", b"ad\xc3min"])
def test_broken_utf8_does_not_slip_past_a_rule_that_forbids(text: bytes) -> None:
    assert compile_regex(".*")(text)
    assert compile_regex("(?s).*min.*")(text) is (b"min" in text)
    assert not compile_regex("admin")(text)


@pytest.mark.parametrize("pattern", ["(", "a{2000}", "(?=a)", "[z-a]", "\\1"])
def test_bad_patterns(pattern: str) -> None:
    for compile_matcher in (compile_string_matcher, compile_bytes_matcher):
        with pytest.raises(MatcherError, match="invalid regular expression"):
            compile_matcher(StringMatcher(K.REGEX, pattern))


def test_a_nested_repetition_is_linear() -> None:
    assert not compile_regex("(a+)+$")(b"a" * 8192 + b"b")


@pytest.mark.parametrize("text", ["\udcff", "\ud800", "a\udfff"])
def test_text_that_has_no_utf8_form(text: str) -> None:
    assert compile_string_matcher(StringMatcher(K.REGEX, "x"))(text) is False
    assert isinstance(encode_text(text), bytes)


def test_escaped_bytes_are_judged_as_those_bytes() -> None:
    assert encode_text("a\udcff") == b"a\xff"


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(list(K)), st.text(max_size=10), st.booleans(), st.binary(max_size=30))
def test_a_compiled_matcher_never_raises(kind: K, pattern: str, ignore_case: bool, data: bytes) -> None:
    matcher = StringMatcher(kind, pattern, ignore_case)
    try:
        on_bytes, on_text = compile_bytes_matcher(matcher), compile_string_matcher(matcher)
    except MatcherError:
        return
    assert on_bytes(data) in (True, False)
    assert on_text(data.decode("utf-8", "surrogateescape")) in (True, False)


def test_lower_ascii_leaves_the_rest_alone() -> None:
    assert lower_ascii("ABC\u212aÉz") == "abc\u212aÉz"
