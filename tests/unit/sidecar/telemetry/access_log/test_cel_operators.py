"""`%CEL(...)%` and `%TYPED_CEL(...)%`; what Envoy prints for the same is compared in tests/interop."""

from __future__ import annotations

import json

import pytest

from config.model.access_log import JsonFormat, TextFormat
from config.model.core import Node
from sidecar.telemetry.access_log.format import FormatError, compile_format
from sidecar.telemetry.access_log.json_format import compile_json_format
from sidecar.telemetry.access_log.log_format import compile_log_format
from tests.unit.sidecar.telemetry.access_log.streams import proxied, tcp

FORMATTER = "envoy.extensions.formatter.cel.v3.Cel"


@pytest.mark.parametrize(
    ("operator", "printed"),
    [
        ("%CEL(response.code)%", "200"),
        ("%CEL(response.code):2%", "20"),
        ("%CEL(response.code):0%", ""),
        ("%CEL(nothing)%", "-"),
        ("%CEL(1 / 0)%", "-"),
        ("%CEL(null)%", "NULL"),
        ("%CEL((response.code + (1)) % 2 == 1)%", "true"),
        ("%CEL(response.code >= 400 ? 'bad, (so)' : \"it's: good\")%", "it's: good"),
        ("%CEL({'a': 1}['a'] == 1 ? 'x):3' : 'y')%", "x):3"),
        ("%CEL('éé'):2%", "é"),
        ("%CEL('%%')%", "%%"),
        ("%CEL('a\\nb')%", r"a\x0ab"),  # one entry stays one line
        ("%TYPED_CEL(response.code)%", "200"),
        ("%TYPED_CEL(response.code):1%", "2"),
        ("%TYPED_CEL([1])%", "CelList value"),
        ('%COALESCE({"operators":[{"command":"CEL","param":"nothing"},{"command":"CEL","param":"response.code"}]})%', "200"),
    ],
)  # fmt: skip
def test_text(operator: str, printed: str) -> None:
    assert compile_format(f"[{operator}]")(proxied()).decode() == f"[{printed}]"
    assert compile_format(operator, extensions=(FORMATTER,))(proxied()).decode() == printed


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("%CEL(response.code)%", "200"),
        ("%CEL(nothing)%", None),
        ("%CEL(null)%", "NULL"),
        ("%CEL('\"')%", '"'),
        ("a%CEL(nothing)%b", "a-b"),
        ("%TYPED_CEL(response.code)%", 200),
        ("%TYPED_CEL(nothing)%", None),
        ("%TYPED_CEL(null)%", None),
        ("%TYPED_CEL(true)%", True),
        ("%TYPED_CEL('abc'):2%", "ab"),
        ("%TYPED_CEL(123):2%", 123),
        ("%TYPED_CEL(9007199254740993)%", 9007199254740992),
        ("%TYPED_CEL(2u)%", 2),
        ("%TYPED_CEL(1.5)%", 1.5),
        ("%TYPED_CEL(b'ab')%", "YWI="),
        ("%TYPED_CEL([1, 'a', null, [true]])%", [1, "a", None, [True]]),
        ("%TYPED_CEL({'z': 1, 'a': {'b': 2}})%", {"a": {"b": 2}, "z": 1}),
        ("%TYPED_CEL({1: 2})%", None),
        ("%TYPED_CEL([type(1)])%", None),
        ("%TYPED_CEL(duration('90.5s'))%", "90.500s"),
        ("%TYPED_CEL(timestamp('2020-01-02T03:04:05.25Z'))%", "2020-01-02T03:04:05.250Z"),
    ],
)
def test_json(operator: str, value: object) -> None:
    assert json.loads(compile_json_format({"v": operator})(proxied())) == {"v": value}
    kept = {} if value is None else {"v": value if value != "a-b" else "ab"}
    assert json.loads(compile_json_format({"v": operator}, omit_empty=True)(proxied())) == kept


def test_what_json_has_no_number_for_is_null() -> None:
    """Envoy prints `inf`, which is no JSON."""
    for text in ("1.0 / 0.0", "-1.0 / 0.0", "0.0 / 0.0"):
        assert compile_json_format({"v": f"%TYPED_CEL({text})%"})(proxied()) == b'{"v":null}\n'


def test_who_we_are_is_known_to_logs() -> None:
    node = Node("node-id")
    text, fields = "%CEL(xds.node.id)%", {"v": "a%CEL(xds.node.id)%"}
    assert compile_log_format(TextFormat(text), node)(tcp()) == b"node-id"
    assert compile_log_format(JsonFormat(fields), node)(tcp()) == b'{"v":"anode-id"}\n'
    assert compile_format(text)(tcp()) == b"-"


@pytest.mark.parametrize("name", ["CEL", "TYPED_CEL"])
@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("", "not a CEL expression: 1:1: "),
        ("()", "not a CEL expression: 1:1: "),
        ("(request.)", "not a CEL expression: 1:9: "),
        ("(')% == 'a'%", "not a CEL expression: 1:"),  # the argument ends at the first `)%`
        ("('a'.split(','))", "there is no function split of 2 operands"),
        ("(size(1, 2))", "there is no function size of 2 operands"),
        ("(request.path.matches('('))", "bad regular expression '('"),
    ],
)
def test_bad_expressions_are_found_at_configuration_time(name: str, argument: str, message: str) -> None:
    for compiled in (compile_format, lambda text: compile_json_format({"v": text})):
        with pytest.raises(FormatError) as refused:
            compiled(f"ab %{name}{argument}%")
        assert message in refused.value.message
        assert refused.value.position == 3
