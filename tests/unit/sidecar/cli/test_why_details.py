"""Every word that a record of a failure can show is explained: the words are collected from the sources that make them."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from sidecar.cli.why_details import DETAILS, KINDS, RESETS, explain
from sidecar.cli.why_flags import FLAGS
from sidecar.telemetry.failure_story import _STORIES
from sidecar.upstream import failed_attempt
from stats import failure_family

_ROOT = Path(__file__).parents[4]
_SOURCES = ("protocols/http", "protocols/grpc", "sidecar/http", "sidecar/listener", "sidecar/network")
#: Who is given details, and as which argument.
_TAKES_DETAILS: dict[str, int | str] = {
    "RemoteProtocolError": 0,
    "_flood": 0,
    "Failure": 1,
    "Refusal": 1,
    "protocol_error": 1,
    "apply_underscore_policy": 2,
    "reply": "details",
    "reset": 0,
}
_OF_CODECS = re.compile(r"(http|http1|http2|grpc)\.[a-z_.]+\Z")


def _modules() -> Iterator[tuple[ModuleType, ast.Module]]:
    files = [_ROOT / "sidecar/upstream/failed_attempt.py"]
    for folder in _SOURCES:
        files += sorted((_ROOT / folder).rglob("*.py"))
    for file in files:
        name = ".".join(file.relative_to(_ROOT).with_suffix("").parts).removesuffix(".__init__")
        yield importlib.import_module(name), ast.parse(file.read_text())


def _texts(value: ast.expr | None, module: ModuleType) -> Iterator[str]:
    """What an expression can be, as far as it can be known without running it."""
    match value:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Name(id=name) if isinstance(text := getattr(module, name, None), str):
            yield text
        case ast.Attribute(value=ast.Name(id=owner), attr=name) if isinstance(
            text := getattr(getattr(module, owner, None), name, None), str
        ):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from _texts(body, module)
            yield from _texts(orelse, module)
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
            yield re.split(r"[{\[]", text)[0]
        case ast.BinOp(left=left):
            yield from _texts(left, module)


def _details(module: ModuleType, node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args, keywords=keywords):
            place = _TAKES_DETAILS.get(name)
            if isinstance(place, int) and place < len(args):
                yield from _texts(args[place], module)
            for keyword in keywords:
                if keyword.arg == place:
                    yield from _texts(keyword.value, module)
        case ast.Assign(targets=[ast.Attribute(attr="response_code_details")], value=value):
            yield from _texts(value, module)
        case ast.AnnAssign(value=ast.Constant(value=str(text))) if _OF_CODECS.match(text):
            yield text


def _all_details() -> set[str]:
    found = set()
    for module, tree in _modules():
        for node in ast.walk(tree):
            found.update(_details(module, node))
    return {re.split(r"[{\[:]", each)[0] for each in found}


def test_every_detail_is_explained() -> None:
    found = _all_details()
    known = {"http1.codec_error", "codec_error", "low_version", "route_not_found", "via_upstream"}
    known |= {
        "upstream_reset_before_response_started",
        "rbac_access_denied_matched_policy",
        "http2.ping_timeout",
    }
    known |= {"missing_host_header", "downstream_remote_disconnect", "filter_chain_not_found"}
    assert known - found <= {"http2.ping_timeout", "rbac_access_denied_matched_policy"}, (
        "the collector is blind"
    )
    assert found - set(DETAILS) == set()


def test_every_reset_is_explained() -> None:
    resets = {each.name for each in (*failed_attempt._FAILURES.values(), *failed_attempt._RESETS.values())}
    assert resets == set(RESETS)


def test_every_kind_is_explained_and_told() -> None:
    assert set(failure_family.KINDS) == set(KINDS) == set(_STORIES)


def test_explanations_point_to_what_is_there() -> None:
    for text in (*DETAILS.values(), *RESETS.values(), *KINDS.values()):
        for flags in re.findall(r"see ((?:[A-Z]+(?:, | or )?)+)\b", text):
            assert set(re.split(", | or ", flags)) <= set(FLAGS), text


@pytest.mark.parametrize(
    ("word", "sentences"),
    [
        ("Upstream_Closed", 1),
        ("upstream_reset_before_response_started{overflow}", 2),
        ("upstream_reset_before_response_started{remote_error_with_CONNECT_request}", 2),
        ("rbac_access_denied_matched_policy[ns/default]", 1),
        ("codec_error:HEADERS:_stream_in_idle", 1),
        ("overflow", 1),
        ("nonsense", 0),
        ("", 0),
    ],
)
def test_words(word: str, sentences: int) -> None:
    assert len(explain(word)) == sentences
