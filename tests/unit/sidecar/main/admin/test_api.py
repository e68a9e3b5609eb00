"""Targets, patterns and JSON of the admin interface."""

from __future__ import annotations

import json

import pytest
import re2

from sidecar.main.admin.api import compile_pattern, json_response, parse_target


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/ready", "/ready", {}),
        (b"/stats?usedonly&filter=a.b", "/stats", {"usedonly": "", "filter": "a.b"}),
        (
            b"/stats?usedonly&filter=^(cluster_manager\\.cds|x)\\.y$",
            "/stats",
            {"usedonly": "", "filter": "^(cluster_manager\\.cds|x)\\.y$"},
        ),
        (b"/stats?filter=a%2Bb+c", "/stats", {"filter": "a+b+c"}),
        (b"/stats?a=1&a=2", "/stats", {"a": "2"}),
        (b"/stats?&&=&x", "/stats", {"": "", "x": ""}),
        (b"/stats?filter=a=b", "/stats", {"filter": "a=b"}),
        (b"/%72eady", "/%72eady", {}),
        (b"/stats?x=%ff%zz", "/stats", {"x": "\ufffd%zz"}),
        (b"", "", {}),
        (b"?", "", {}),
    ],
)
def test_targets(target: bytes, path: str, query: dict[str, str]) -> None:
    request = parse_target(b"GET", target)
    assert (request.path, dict(request.query)) == (path, query)


def test_flags() -> None:
    request = parse_target(b"POST", b"/drain_listeners?graceful&inboundonly=false")
    assert request.flag("graceful") and request.flag("inboundonly") and not request.flag("skip_exit")


def test_patterns() -> None:
    assert compile_pattern("a|b").search("xbx")
    with pytest.raises(re2.error):
        compile_pattern("(")


def test_json_looks_like_envoys() -> None:
    response = json_response({"a": [1], "ü": "x"})
    assert response.body == '{\n "a": [\n  1\n ],\n "ü": "x"\n}\n'
    assert json.loads(str(response.body)) == {"a": [1], "ü": "x"}
    assert response.content_type == b"application/json"
