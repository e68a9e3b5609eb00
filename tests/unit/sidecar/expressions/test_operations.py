"""The readers against the library: same expression, same stream, same value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.expression import parse_expression
from sidecar.expressions import library
from sidecar.expressions.api import Expression
from sidecar.expressions.attributes import reader
from sidecar.expressions.operations import compile_reader
from sidecar.expressions.unsigned import Unsigned
from sidecar.expressions.values import FAILED, Duration, equal
from tests.unit.sidecar.expressions.streams import SCOPE, bare_stream, http_stream

ROOTS = (
    "request", "response", "source", "destination", "connection", "upstream", "xds", "filter_state", "upstream_filter_state",
)  # fmt: skip


def judged(text: str, info: Any) -> object:
    """What the library alone makes of it, with all attributes at hand."""
    variables = {root: reader(root, (), SCOPE).value(info) for root in ROOTS}
    variables["xds"]["node"] = reader("xds", ("node",), SCOPE).value(info)  # type: ignore[index]  # a map
    return library.load(parse_expression(text))(variables)


def same(one: object, other: object) -> bool:
    if one is FAILED or other is FAILED:
        return one is other
    return equal(one, other) and type(one) is type(other)


PATHS = st.sampled_from(
    (
        "request.method", "request.path", "request.headers['user-agent']", "request.headers['none']",
        "request.headers", "request.size", "request.duration", "request.time", "response.code", "response.flags", "source.port",
        "connection.mtls", "connection.id", "upstream.port", "upstream.request_attempt_count", "xds.route_name",
        "xds.node.metadata", "xds.node.metadata.NAMESPACE", "xds.node.metadata.LABELS.role", "xds.node.metadata.PORTS",
        "xds.node.metadata.PORTS[0]", "xds.node.metadata.PORTS[5]",
        "xds.cluster_metadata.filter_metadata.istio.services[0].name", "filter_state.downstream_peer.labels",
        "filter_state.upstream_peer.labels['role']", "filter_state.nobody", "nothing", "nothing.at.all",
    )
)  # fmt: skip
LITERALS = st.one_of(
    st.integers(-5, 5).map(str),
    st.integers(0, 5).map(lambda number: f"{number}u"),
    st.sampled_from(
        ("1.0", "80.0", "0.5", "true", "false", "null", "200", "'GET'", "''", "'a'", "'é'", "b'GET'", "'Z'")
    ),
)
TESTS = st.sampled_from(
    (
        "has(request.path)", "has(request.referer)", "has(request.headers.server)", "has(request.headers.none)",
        "has(xds.node.metadata.LABELS)", "has(filter_state.nobody.x)", "has(request.method.x)", "has(nothing.x)",
        "request.method in ['GET', 'PUT']", "response.code in ['200']", "request.path in []", "nothing in ['a']",
        "'x-many' in request.headers", "size(request.path)", "request.path.matches('/a.*')",
        "[request.method].exists(request, request == 'GET')", "type(response.code) == int", "type(response.code)", "int",
    )
)  # fmt: skip


def _calls(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(("||", "&&", "==", "!=", "<", "<=", ">", ">=", "+"))
    methods = st.sampled_from(("startsWith", "endsWith", "contains"))
    return st.one_of(
        st.builds("({} {} {})".format, inner, operators, inner),
        st.builds("({}).{}({})".format, inner, methods, inner),
        st.builds("!({})".format, inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
    )


EXPRESSIONS = st.recursive(st.one_of(PATHS, LITERALS, TESTS), _calls, max_leaves=6)


@settings(max_examples=1500, deadline=None)
@given(EXPRESSIONS, st.booleans())
def test_readers_agree_with_the_library(text: str, is_bare: bool) -> None:
    info = bare_stream() if is_bare else http_stream()
    mine, theirs = compile_reader(parse_expression(text), SCOPE).value(info), judged(text, info)
    assert same(mine, theirs), f"{text}: {mine!r}, library: {theirs!r}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'_' + xds.node.metadata['NAMESPACE']", "_default"),
        ("xds.route_name + ',' + xds.cluster_name + ',' + request.method", "client_route,server-cluster,GET"),
        ("'_' + request.referer", FAILED),
        ("request.referer == 'x' || true", True),
        ("request.referer == 'x' && false", False),
        ("request.referer == 'x' || false", FAILED),
        ("response.code >= 400 ? 'bad' : 'good'", "good"),
        ("request.size + 1", 11),
        ("request.duration > duration('5ms')", True),
        ("request.time.getFullYear()", 2020),
        ("request.time + request.duration > request.time", True),
        ("request.headers.map(name, name).exists(name, name == 'x-many')", True),
        ("request.path.split('/')", FAILED),  # no such function
        ("connection.id + 1u > 0u", True),
        ("upstream.request_attempt_count + 1u", Unsigned(2)),
        ("duration('1.5s')", Duration(1_500_000_000)),
        ("1 / 0", FAILED),
        ("{'a': request.method}.a", "GET"),
        ("google.protobuf.Duration{seconds: 2}", Duration(2_000_000_000)),
        ("[1, request.size]", [1, 10]),
        ("request.headers[request.method]", FAILED),
        # the library's types compare to nothing but types
        ("null == type(response.code) == int", False),
        ("type(response.code) == int", True),
        ("type(response.code) == null", False),
        ("type(response.code) != request.method", True),
        ("request.method == type(request.method)", False),
        ("b'GET' == type(request.method)", False),
        ("request.duration == type(request.duration)", False),
        ("[type(1)] == [1]", False),
        ("{'a': type(1)} == {'a': null}", False),
        ("type(response.code) < type(request.method)", FAILED),
        ("type(response.code) in [request.method]", False),
        ("type(response.code) in ['int']", False),
    ],
)
def test_values(text: str, expected: object) -> None:
    assert same(Expression.parse(text, SCOPE).value(http_stream()), expected)


def test_a_name_of_a_macro_hides_the_attribute() -> None:
    assert Expression.parse("[1, 2].exists(request, request == 2)", SCOPE).is_true(bare_stream())


def test_only_true_is_true() -> None:
    assert Expression.parse("response.code == 200", SCOPE).is_true(http_stream())
    for text in ("'true'", "1", "nothing", "null", "response.code == 201"):
        assert not Expression.parse(text, SCOPE).is_true(http_stream())
