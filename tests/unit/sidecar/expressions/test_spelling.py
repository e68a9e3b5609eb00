"""Names that never have a value are found; those that may have one are not."""

from __future__ import annotations

import pytest

from config.expression import parse_expression
from sidecar.expressions.spelling import misspelt


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("request.mehtod", "'request.mehtod' never has a value; did you mean 'request.method'?"),
        ("reqest.method", "'reqest' never has a value; did you mean 'request'?"),
        ("request.zzz", "'request.zzz' never has a value"),
        ("x", "'x' never has a value"),
        (
            'has(request.hedaers) ? "a" : "b"',
            "'request.hedaers' never has a value; did you mean 'request.headers'?",
        ),
        (
            'request.path.startsWit("/a")',
            "there is no function startsWit of 2 operands; did you mean 'startsWith'?",
        ),
        ('request.path.contains("a", "b")', "there is no function contains of 3 operands"),
        ("strin(response.code)", "there is no function strin of 1 operands; did you mean 'string'?"),
        (
            "filter_state.downstream_peer.wrkload",
            (
                "'filter_state.downstream_peer.wrkload' never has a value; did you mean "
                "'filter_state.downstream_peer.workload'?"
            ),
        ),
        (
            'filter_state["upstrem_peer"].workload',
            "'filter_state.upstrem_peer' never has a value; did you mean 'filter_state.upstream_peer'?",
        ),
        (
            '["a"].exists(each, each == request.mthod)',
            "'request.mthod' never has a value; did you mean 'request.method'?",
        ),
        ('{"a": [respones.code]}', "'respones' never has a value; did you mean 'response'?"),
    ],
)
def test_misspelt_names_in_expressions(expression: str, problem: str) -> None:
    assert misspelt(parse_expression(expression)) == (problem,)


@pytest.mark.parametrize(
    "expression",
    [
        "request.headers['x-tenant']",
        "request.headers[request.method]",
        'has(request.headers.zzz) ? request.headers.zzz : "-"',
        "['a', 'b'].exists(each, each == request.path) ? 'yes' : 'no'",
        "string(response.code) + request.path",
        "xds.node.metadata.anything",
        "xds.cluster_metadata.filter_metadata.istio.services[0].name",
        "metadata.filter_metadata['a']['b']",
        "filter_state.downstream_peer.labels['role']",
        "filter_state.upstream_peer_obj.type",
        "filter_state['io.istio.peer_principal']",
        "type(request.path) == string ? 'a' : 'b'",
        "connection.mtls && source.port > 1 ? 'a' : 'b'",
        "google.protobuf.Duration{seconds: 1} < duration(request.path) ? 'a' : 'b'",
    ],
)
def test_no_warning_for_what_may_have_a_value(expression: str) -> None:
    assert misspelt(parse_expression(expression)) == ()


def test_every_misspelt_name_is_told_once() -> None:
    assert len(misspelt(parse_expression("request.a + reqest.b + request.a + foo(request.c)"))) == 4
