"""Path rules, against outcomes recorded from Envoy 1.40."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from protocols.http.path import (
    EscapedSlashes,
    PathRules,
    PathVerdict,
    apply_path_rules,
    normalize_path,
    split_path,
)

NONE = PathRules()
NORMALIZE = PathRules(normalize=True)
MERGE = PathRules(normalize=True, merge_slashes=True)
MERGE_ONLY = PathRules(merge_slashes=True)
REJECT = PathRules(normalize=True, escaped_slashes=EscapedSlashes.REJECT_REQUEST)
REDIRECT = PathRules(normalize=True, escaped_slashes=EscapedSlashes.UNESCAPE_AND_REDIRECT)
UNESCAPE = PathRules(normalize=True, escaped_slashes=EscapedSlashes.UNESCAPE_AND_FORWARD)
UNESCAPE_ONLY = PathRules(escaped_slashes=EscapedSlashes.UNESCAPE_AND_FORWARD)

FORWARD = PathVerdict.FORWARD

#: Target, normalised, with merged slashes too, with merged slashes alone.
NORMALIZED = """
/a/./b              /a/b            /a/b        /a/./b
/a/../b             /b              /b          /a/../b
/a/..               /               /           /a/..
/a/.                /a/             /a/         /a/.
/..                 /               /           /..
/.                  /               /           /.
/../                /               /           /../
/a/..;x/b           /b              /b          /a/..;x/b
/a/.;x/b            /a/b            /a/b        /a/.;x/b
/a/..;/             /               /           /a/..;/
/a/..;              /               /           /a/..;
/;/..               /               /           /;/..
/a/%2e%2e/b         /b              /b          /a/%2e%2e/b
/a/%2E/b            /a/b            /a/b        /a/%2E/b
/a/.%2e/b           /b              /b          /a/.%2e/b
/a/..%2f/b          /a/..%2f/b      /a/..%2f/b  /a/..%2f/b
/a/...              /a/...          /a/...      /a/...
/a/.../b            /a/.../b        /a/.../b    /a/.../b
//a/../b            //b             /b          /a/../b
/a//../b            /a/b            /a/b        /a/../b
/a/b//../../c       /a/c            /a/c        /a/b/../../c
/%2e                /               /           /%2e
/a%2e%2e/b          /a../b          /a../b      /a%2e%2e/b
/a/..b/c            /a/..b/c        /a/..b/c    /a/..b/c
/\\a                //a             /a          /\\a
/a\\..\\b           /b              /b          /a\\..\\b
/a\\b?c\\d/../e     /a/b?c\\d/../e  /a/b?c\\d/../e  /a\\b?c\\d/../e
/a?b=../c           /a?b=../c       /a?b=../c   /a?b=../c
/a;b/../c           /c              /c          /a;b/../c
/a;x=../b           /a;x=../b       /a;x=../b   /a;x=../b
/%zz/../a           /a              /a          /%zz/../a
/%2                 /%2             /%2         /%2
/%                  /%              /%          /%
/%c0%ae%c0%ae/a     /%c0%ae%c0%ae/a /%c0%ae%c0%ae/a  /%c0%ae%c0%ae/a
/%252e%252e/a       /%252e%252e/a   /%252e%252e/a    /%252e%252e/a
/%%32%65/a          /%252e/a        /%252e/a    /%%32%65/a
/%%34%31            /%2541          /%2541      /%%34%31
/%4%31              /%2541          /%2541      /%4%31
/%%41               /%A             /%A         /%%41
/%%%41              /%%A            /%%A        /%%%41
/%%2e%2e/x          /%../x          /%../x      /%%2e%2e/x
/%%25               /%%25           /%%25       /%%25
/%2%65/x            /%252e/x        /%252e/x    /%2%65/x
/%%30%30            /%2500          /%2500      /%%30%30
/%25%34%31          /%2541          /%2541      /%25%34%31
/a;..;/b            /a;..;/b        /a;..;/b    /a;..;/b
/.;/a               /a              /a          /.;/a
/..;a=1/x           /x              /x          /..;a=1/x
/a/b/..;/..;/c      /c              /c          /a/b/..;/..;/c
/a/..%3b/b          /a/..%3b/b      /a/..%3b/b  /a/..%3b/b
/a/..,x/b           /a/..,x/b       /a/..,x/b   /a/..,x/b
/http://x/../y      /http://y       /http:/y    /http:/x/../y
/a/..?x             /?x             /?x         /a/..?x
/a|b                /a%7Cb          /a%7Cb      /a|b
/a"<>^`{}b          /a%22%3C%3E%5E%60%7B%7Db  /a%22%3C%3E%5E%60%7B%7Db  /a"<>^`{}b
/a[b]c              /a[b]c          /a[b]c      /a[b]c
/a/b/../            /a/             /a/         /a/b/../
/a/b/./             /a/b/           /a/b/       /a/b/./
/%7e%5F%2d%41%7A    /~_-Az          /~_-Az      /%7e%5F%2d%41%7A
/a%20b%2Bb+c        /a%20b%2Bb+c    /a%20b%2Bb+c /a%20b%2Bb+c
/a?x=//b            /a?x=//b        /a?x=//b    /a?x=//b
"""


def rows(table: str) -> list[list[str]]:
    return [line.replace("\\\\", "\\").split() for line in table.splitlines() if line]


@pytest.mark.parametrize(("target", "normalized", "merged", "merged_only"), rows(NORMALIZED))
def test_normalisation(target: str, normalized: str, merged: str, merged_only: str) -> None:
    assert apply_path_rules(target.encode(), NONE) == (target.encode(), FORWARD)
    assert apply_path_rules(target.encode(), NORMALIZE) == (normalized.encode(), FORWARD)
    assert apply_path_rules(target.encode(), MERGE) == (merged.encode(), FORWARD)
    assert apply_path_rules(target.encode(), MERGE_ONLY) == (merged_only.encode(), FORWARD)


#: Stricter than the reference: dot segments with parameters whose dots were escaped.
@pytest.mark.parametrize("target", [b"/a/%2e%2e;x/b", b"/a/.%2E;/b", b"/%2e;/b"])
def test_escaped_dot_segments_with_parameters(target: bytes) -> None:
    assert apply_path_rules(target, NORMALIZE) == (b"/b", FORWARD)


ESCAPED = """
/a/..%2f/b      //b         /a/..//b
/a/..%5cb       /b          /a/..\\b
/a%5c..%5Cb     /b          /a\\..\\b
/%41%2F%42      /A/B        /%41/%42
/a%2fb?x=%2f    /a/b?x=%2f  /a/b?x=%2f
"""


@pytest.mark.parametrize(("target", "unescaped", "unescaped_only"), rows(ESCAPED))
def test_escaped_slashes(target: str, unescaped: str, unescaped_only: str) -> None:
    assert apply_path_rules(target.encode(), REJECT)[1] is PathVerdict.REJECT
    assert apply_path_rules(target.encode(), REDIRECT) == (unescaped.encode(), PathVerdict.REDIRECT)
    assert apply_path_rules(target.encode(), UNESCAPE) == (unescaped.encode(), FORWARD)
    assert apply_path_rules(target.encode(), UNESCAPE_ONLY) == (unescaped_only.encode(), FORWARD)


def test_only_escaped_slashes_redirect() -> None:
    assert apply_path_rules(b"/%61/../b?x=%2f", REDIRECT) == (b"/b?x=%2f", FORWARD)
    assert apply_path_rules(b"/%61/../b?x=%2f", REJECT) == (b"/b?x=%2f", FORWARD)


@pytest.mark.parametrize("rules", [NONE, NORMALIZE, MERGE, UNESCAPE])
def test_fragments(rules: PathRules) -> None:
    for target in (b"/a#b", b"/a?x#b", b"/#", b"*#"):
        assert apply_path_rules(target, rules)[1] is PathVerdict.REJECT
    assert apply_path_rules(b"/a?x#b", PathRules(strip_fragment=True)) == (b"/a?x", FORWARD)


@pytest.mark.parametrize("target", [b"/a%00b", b"/%00", b"/a\x00b"])
def test_nul_is_refused_when_normalising(target: bytes) -> None:
    assert apply_path_rules(target, NORMALIZE)[1] is PathVerdict.REJECT
    assert apply_path_rules(b"/a?%00", NORMALIZE) == (b"/a?%00", FORWARD)


@pytest.mark.parametrize("target", [b"*", b"", b"?x=%2e"])
def test_other_targets_are_left_alone(target: bytes) -> None:
    assert apply_path_rules(target, MERGE) == (target, FORWARD)


def test_every_octet_escaped() -> None:
    unreserved = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    for octet in range(1, 256):
        escaped = b"%%%02X" % octet
        expected = bytes((octet,)) if octet in unreserved else escaped
        assert normalize_path(b"/a" + escaped + b"b") == b"/a" + expected + b"b"


def test_split_path() -> None:
    assert split_path(b"/a?b?c") == (b"/a", b"?b?c")
    assert split_path(b"/a") == (b"/a", b"")


def test_time_is_linear() -> None:
    started = time.process_time()
    for target in (b"/a" + b"/../a" * 12_000, b"/" + b"%2e" * 20_000, b"/" + b"%" * 60_000, b"/" * 60_000):
        apply_path_rules(target, MERGE)
    assert time.process_time() - started < 1.0


def corpus() -> list[dict[str, object]]:
    path = Path(__file__).parents[3] / "corpora" / "http1.json"
    cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
    return [case for case in cases if case["class"] == "path"]


@pytest.mark.parametrize("case", corpus(), ids=lambda case: str(case["id"]))
def test_corpus(case: dict[str, str]) -> None:
    """With Istio's settings, judged and forwarded as the reference does."""
    target = base64.b64decode(case["input_b64"]).split(b" ")[1]
    path, verdict = apply_path_rules(target, NORMALIZE)
    mesh: dict[str, list[str]] = case["envoy_mesh"]  # type: ignore[assignment]  # as recorded
    logged = mesh["log"][0].split(" ")[1].encode()
    assert verdict is FORWARD
    assert path.startswith(logged.rstrip(b"."))
    assert (str(mesh["outcome"]) == "reject-403") == path.startswith(b"/admin")
