from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.model.matching import HeaderMatcher, QueryParameterMatcher, StringMatcher, StringMatchKind
from protocols.http.headers import Headers
from sidecar.policy.header_matching import (
    compile_header_matcher,
    compile_query_parameter_matcher,
    parse_query,
)
from sidecar.policy.matching import MatcherError

Kind = StringMatchKind


def text(kind: StringMatchKind, pattern: str) -> StringMatcher:
    return StringMatcher(kind, pattern)


REQUESTS: dict[str, list[bytes]] = {
    "none": [],
    "a": [b"a"],
    "b": [b"b"],
    "ab": [b"a", b"b"],
    "ba": [b"b", b"a"],
    "a,b": [b"a,b"],
    "bc": [b"b", b"c"],
    "empty": [b""],
    "1": [b"1"],
    "12": [b"1", b"2"],
    "91": [b"9", b"1"],
    "19": [b"1", b"9"],
    "aempty": [b"a", b""],
    "05": [b"05"],
}

#: What matched in Envoy 1.40.
OBSERVED = [
    (HeaderMatcher("x-h", text(Kind.EXACT, "a")), "a ab ba aempty"),
    (HeaderMatcher("x-h", text(Kind.EXACT, "a,b")), "a,b"),
    (HeaderMatcher("x-h", text(Kind.PREFIX, "a")), "a ab ba a,b aempty"),
    (HeaderMatcher("x-h", text(Kind.SUFFIX, "b")), "b ab ba a,b bc"),
    (HeaderMatcher("x-h", text(Kind.CONTAINS, ",")), "a,b"),
    (HeaderMatcher("x-h", text(Kind.REGEX, "a")), "a ab ba aempty"),
    (HeaderMatcher("x-h", text(Kind.REGEX, "a.*b")), "a,b"),
    (HeaderMatcher("x-h", text(Kind.EXACT, "a"), invert=True), "b a,b bc empty 1 12 91 19 05"),
    (HeaderMatcher("x-h", text(Kind.REGEX, "a.*"), invert=True), "b bc empty 1 12 91 19 05"),
    (HeaderMatcher("x-h", range=(1, 5)), "1 12 91 19"),
    (HeaderMatcher("x-h", range=(1, 5), invert=True), "a b ab ba a,b bc empty aempty 05"),
    (HeaderMatcher("x-h", present=True), "a b ab ba a,b bc empty 1 12 91 19 aempty 05"),
    (HeaderMatcher("x-h", present=False), "none"),
    (HeaderMatcher("x-h", present=True, invert=True), "none"),
    (HeaderMatcher("x-h"), "a b ab ba a,b bc empty 1 12 91 19 aempty 05"),
    (HeaderMatcher("x-h", text(Kind.EXACT, ""), invert=True), "a b ab ba a,b bc 1 12 91 19 05"),
    (HeaderMatcher("x-h", text(Kind.EXACT, "")), "empty aempty"),
    (
        HeaderMatcher("x-h", text(Kind.EXACT, ""), invert=True, treat_missing_as_empty=True),
        "a b ab ba a,b bc 1 12 91 19 05",
    ),
    (
        HeaderMatcher("x-h", present=True, treat_missing_as_empty=True),
        "none a b ab ba a,b bc empty 1 12 91 19 aempty 05",
    ),
    (HeaderMatcher("x-h", present=False, treat_missing_as_empty=True), ""),
    (HeaderMatcher("x-h", range=(-1, 5), treat_missing_as_empty=True), "1 12 91 19"),
]


@pytest.mark.parametrize(("matcher", "names"), OBSERVED)
def test_matches_what_envoy_matches(matcher: HeaderMatcher, names: str) -> None:
    # "05" is in the list of no range although 5 is the excluded end: the value is judged as a number
    matches = compile_header_matcher(matcher)
    found = {
        name for name, values in REQUESTS.items() if matches(Headers([(b"x-h", value) for value in values]))
    }
    assert found == set(names.split())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"5", True),
        (b"-5", True),
        (b"+5", True),
        (b"10", False),
        (b"5x", False),
        (b"", False),
        (b"5_0", False),
        ("\u0665".encode(), False),
        (b"9" * 30, False),
    ],
)
def test_range_takes_ascii_numbers_only(value: bytes, expected: bool) -> None:
    matches = compile_header_matcher(HeaderMatcher("x-h", range=(-5, 10)))
    assert matches(Headers([(b"x-h", value)])) is expected


def test_pseudo_headers() -> None:
    headers = Headers.request(b"GET", b"/a", b"h.example", scheme=b"https")
    for name, value in (
        (":method", "GET"),
        (":path", "/a"),
        (":authority", "h.example"),
        ("host", "h.example"),
        (":scheme", "https"),
    ):
        assert compile_header_matcher(HeaderMatcher(name, text(Kind.EXACT, value)))(headers), name
        assert compile_header_matcher(HeaderMatcher(name, present=True))(headers), name
        assert not compile_header_matcher(HeaderMatcher(name, text(Kind.EXACT, "z")))(headers), name
    assert not compile_header_matcher(HeaderMatcher(":protocol", present=True))(headers)
    assert not compile_header_matcher(HeaderMatcher(":protocol", text(Kind.EXACT, ""), invert=True))(headers)


def test_bytes_that_are_not_utf8_do_not_slip_past_a_negative_match() -> None:
    deny = compile_header_matcher(HeaderMatcher("x-h", text(Kind.REGEX, "admin.*"), invert=True))
    assert not deny(Headers([(b"x-h", b"admin\xff")]))


def test_bad_regex_is_an_error() -> None:
    with pytest.raises(MatcherError):
        compile_header_matcher(HeaderMatcher("x-h", text(Kind.REGEX, "(")))


EVERYWHERE = "?q ?q= ?q=a ?q=b&q=a ?q=a&q=b ?q=a%20b ?q=a+b ?q=%61 ?q=12 ?q=a=b ?&q=a"
QUERIES = ["", "?%71=a", "?Q=a", "?r=1;q=a", *EVERYWHERE.split()]


@pytest.mark.parametrize(
    ("matcher", "queries"),
    [
        (QueryParameterMatcher("q", text(Kind.EXACT, "a")), "?q=a ?q=a&q=b ?&q=a"),
        (QueryParameterMatcher("q", text(Kind.EXACT, "a%20b")), "?q=a%20b"),
        (QueryParameterMatcher("q", text(Kind.EXACT, "a+b")), "?q=a+b"),
        (QueryParameterMatcher("q", text(Kind.EXACT, "")), "?q ?q="),
        (QueryParameterMatcher("q", text(Kind.REGEX, "[0-9]+")), "?q=12"),
        (QueryParameterMatcher("q", present=True), EVERYWHERE),
        (QueryParameterMatcher("q"), EVERYWHERE),
    ],
)
def test_query_parameters_as_envoy_judges_them(matcher: QueryParameterMatcher, queries: str) -> None:
    matches = compile_query_parameter_matcher(matcher)
    found = {query for query in QUERIES if matches(parse_query(b"/x" + query.encode()))}
    assert found == set(queries.split())


def test_absent_query_parameter() -> None:
    matches = compile_query_parameter_matcher(QueryParameterMatcher("q", present=False))
    assert matches(parse_query(b"/x"))
    assert matches(parse_query(b"/x?%71=a"))
    assert not matches(parse_query(b"/x?q"))


@given(st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_nothing_raises(value: bytes) -> None:
    headers = Headers([(b"x-h", value)])
    for matcher, _ in OBSERVED:
        assert compile_header_matcher(matcher)(headers) in (True, False)
    assert isinstance(parse_query(value), dict)
