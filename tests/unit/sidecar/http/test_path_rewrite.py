from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.model.route import RegexRewrite
from sidecar.http.path_rewrite import compile_path_rewrite, path_only
from sidecar.policy.matching import MatcherError


def test_nothing_to_rewrite() -> None:
    assert compile_path_rewrite("", None, b"/") is None


def test_bad_regex_is_an_error() -> None:
    with pytest.raises(MatcherError):
        compile_path_rewrite("", RegexRewrite("(", ""), None)


@pytest.mark.parametrize(
    ("path", "expected"), [(b"/a?b#c", b"/a"), (b"/a#b?c", b"/a"), (b"/a", b"/a"), (b"", b"")]
)
def test_path_only(path: bytes, expected: bytes) -> None:
    assert path_only(path) == expected


@given(st.binary(max_size=40), st.binary(max_size=10))
@settings(max_examples=100, deadline=None)
def test_query_survives_and_nothing_raises(path: bytes, query: bytes) -> None:
    rewrite = compile_path_rewrite("", RegexRewrite("[a-m]+", r"<\0>"), None)
    assert rewrite is not None
    assert rewrite(path_only(b"/" + path) + b"?" + query).endswith(b"?" + query)
