"""Path templates: what they match, and which are refused. The cases are those that Envoy documents."""

from __future__ import annotations

import pytest
import re2

from config.proto.uri_template import template_regex


@pytest.mark.parametrize(
    ("template", "matching", "others"),
    [
        ("/", ["/"], ["", "/a"]),
        ("/a/b", ["/a/b"], ["/a", "/a/b/", "/a/b/c"]),
        ("/a/", ["/a/"], ["/a", "/a/b"]),
        ("/a.b", ["/a.b"], ["/axb"]),
        (
            "/videos/*/*/*.m4s",
            ["/videos/1/hls/x.m4s"],
            ["/videos/1/x.m4s", "/videos/1/hls/.m4s", "/videos/1/2/3/x.m4s"],
        ),
        ("/videos/{file}", ["/videos/1080p5000_00001.m4s"], ["/videos/", "/videos/a/b"]),
        ("/**.mpd", ["/content/123/india/dash/55/manifest.mpd", "/.mpd"], ["/content/manifest.mp"]),
        (
            "/**/path/template",
            ["/a/b/path/template", "//path/template"],
            ["/path/template", "/a/path/template/b"],
        ),
        ("/a/{rest=**}", ["/a/", "/a/b/c"], ["/a"]),
        ("/a/{id=videos/*}/b", ["/a/videos/1/b"], ["/a/audio/1/b", "/a/videos/1/2/b"]),
        ("/a/{x}.json", ["/a/b.json"], ["/a/b.xml", "/a/.json"]),
    ],
)
def test_templates(template: str, matching: list[str], others: list[str]) -> None:
    regex = re2.compile(template_regex(template))
    assert [path for path in matching if regex.fullmatch(path) is None] == []
    assert [path for path in others if regex.fullmatch(path) is not None] == []


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("a", "must begin with /"),
        ("", "must begin with /"),
        ("/a b", "printable"),
        ("/é", "printable"),
        ("/a*", "neither"),
        ("/a//b", "neither"),
        ("/a=b", "neither"),
        ("/{1x}", "neither"),
        ("/{x", "neither"),
        ("/*a/b", "only at the end"),
        ("/***", "only at the end"),
        ("/**/*", "nothing but literals"),
        ("/**/{x}", "nothing but literals"),
        ("/{x=**}/*", "nothing but literals"),
        ("/{x=a*}", "neither"),
        ("/{x=a/}", "neither"),
        ("/{x=*b}", "only at the end"),
        ("/{x}/{x}", "twice"),
        (f"/{{{'x' * 17}}}", "longer than 16"),
        ("/{a}/{b}/{c}/{d}/{e}/{f}", "more than 5"),
    ],
)
def test_refused_templates(template: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        template_regex(template)
