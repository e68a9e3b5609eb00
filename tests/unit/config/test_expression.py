from __future__ import annotations

import pytest
from cel.expr import syntax_pb2
from google.api.expr.v1alpha1 import syntax_pb2 as v1alpha1
from google.protobuf.any_pb2 import Any as AnyMessage

from config.expression import (
    MAX_DEPTH,
    ExpressionError,
    library_env,
    library_form,
    node_of,
    parse_expression,
    parse_strictly,
)
from config.model.expression import Call, Constant, Identifier, Select

TEXTS = (
    "a.b['c'][0] == 'x' || has(a.b) && !c ? 1u : -2.5",
    "[1, {'a': b'x', 2: null}, []].exists(x, x == 1)",
    "google.protobuf.Duration{seconds: 1}",
    "{}",
    "a.f(1, true).g()",
    "'é' + r'\\d'",
)


def parsed(form: bytes) -> syntax_pb2.ParsedExpr:
    return syntax_pb2.ParsedExpr.FromString(AnyMessage.FromString(form).value)


def test_tree() -> None:
    assert parse_expression("has(a.b) || c[1u]") == Call(
        "_||_",
        (
            Select(Identifier("a"), "b", is_test=True),
            Call("_[_]", (Identifier("c"), Constant(1, is_unsigned=True))),
        ),
    )


@pytest.mark.parametrize("text", TEXTS)
def test_library_form_is_the_same_expression(text: str) -> None:
    node = parse_expression(text)
    form = library_form(node)
    assert node_of(parsed(form).expr) == node
    library_env().deserialize(form)


@pytest.mark.parametrize("text", TEXTS)
def test_the_older_messages_are_read_too(text: str) -> None:
    node = parse_expression(text)
    older = v1alpha1.Expr.FromString(parsed(library_form(node)).expr.SerializeToString())
    assert node_of(older) == node


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("cannot _ parse | 0", "1:8: Syntax error: mismatched input '_'"),
        ("", "1:1: Syntax error"),
        ("a +", "1:4: Syntax error"),
        ("has(a)", "1:5"),
        ("'" + "x" * 5, "Syntax error"),
        ("a" + "+1" * 100, "Exceeded max recursion depth"),
        ("'\ud800'", "surrogates not allowed"),
    ],
)
def test_what_is_no_expression(text: str, problem: str) -> None:
    with pytest.raises(ExpressionError, match=problem.replace("(", r"\(")):
        parse_expression(text)


def test_messages_that_are_no_expression() -> None:
    with pytest.raises(ExpressionError, match="empty"):
        node_of(syntax_pb2.Expr())
    deep = syntax_pb2.Expr()
    inner = deep
    for _ in range(MAX_DEPTH):
        inner = inner.select_expr.operand
    inner.ident_expr.name = "a"
    with pytest.raises(ExpressionError, match="deeper"):
        node_of(deep)
    timed = syntax_pb2.Expr()
    timed.const_expr.duration_value.seconds = 1
    with pytest.raises(ExpressionError, match="duration_value"):
        node_of(timed)
    listed = syntax_pb2.Expr()
    listed.list_expr.optional_indices.append(0)
    mapped = syntax_pb2.Expr()
    mapped.struct_expr.entries.add(optional_entry=True)
    for optional in (listed, mapped):
        with pytest.raises(ExpressionError, match="optional"):
            node_of(optional)
    assert node_of(syntax_pb2.Expr(const_expr=syntax_pb2.Constant())) == Constant(None)


@pytest.mark.parametrize(
    "text",
    [
        *TEXTS[:4],
        TEXTS[5],
        "a - b * c / d % -e <= f ? size(a) > 1 : 'x' in b",
        "a.matches('a.*') && matches(a, b) && a.size() >= 1",
        "timestamp(a).getHours('Europe/Berlin') == duration(b).getHours()",
        "[a].all(x, x.startsWith(string(b))) || {'a': b}.exists_one(k, k.endsWith(c)) || [a].map(x, x > 1, x)[0]",
    ],
)
def test_what_may_have_a_value_is_taken(text: str) -> None:
    assert parse_strictly(text) == parse_expression(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a.", "1:3: "),
        ("a.f(1, true).g()", "there is no function g of 1 operands"),
        ("[a].exists(x, nope(x))", "there is no function nope of 1 operands"),
        ("{'a': [b.split(',')]}", "there is no function split of 2 operands"),
        ("size()", "there is no function size of 0 operands"),
        ("a.matches('(')", "bad regular expression '('"),
        ("matches(a, 1)", "bad regular expression 1"),
    ],
)
def test_what_can_never_have_a_value_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        parse_strictly(text)
    assert problem in str(refused.value)
