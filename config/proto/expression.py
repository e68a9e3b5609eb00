"""CEL expressions in the configuration."""

from __future__ import annotations

from typing import Final

from config.expression import ExpressionError, parse_expression, parse_strictly
from config.model.expression import Node
from config.proto.fields import declare
from config.proto.path import Path

_PACKAGE: Final = "google.api.expr.v1alpha1"
_EXPR: Final = f"{_PACKAGE}.Expr"
_NO_OPTIONALS: Final = "optional values are not supported"

declare(
    _EXPR,
    "const_expr ident_expr select_expr call_expr list_expr struct_expr comprehension_expr",
    no_effect={"id": ""},
)
declare(
    f"{_PACKAGE}.Constant",
    "null_value bool_value int64_value uint64_value double_value string_value bytes_value",
    refused={"duration_value": "deprecated", "timestamp_value": "deprecated"},
)
declare(f"{_EXPR}.Ident", "name")
declare(f"{_EXPR}.Select", "operand field test_only")
declare(f"{_EXPR}.Call", "target function args")
declare(f"{_EXPR}.CreateList", "elements", refused={"optional_indices": _NO_OPTIONALS})
declare(f"{_EXPR}.CreateStruct", "message_name entries")
declare(
    f"{_EXPR}.CreateStruct.Entry",
    "field_key map_key value",
    no_effect={"id": ""},
    refused={"optional_entry": _NO_OPTIONALS},
)
declare(
    f"{_EXPR}.Comprehension",
    "iter_var iter_var2 iter_range accu_var accu_init loop_condition loop_step result",
)
declare(
    f"{_PACKAGE}.CheckedExpr",
    "expr",
    no_effect="reference_map type_map source_info expr_version",
)


def warn_of_expression(text: str, at: Path) -> None:
    """For an expression whose consumer leaves it out when it does not parse."""
    try:
        parse_expression(text)
    except ExpressionError as error:
        at.warning(f"left out, not a CEL expression: {error}")


def translate_expression(text: str, at: Path) -> Node | None:
    """`None` for what does not parse, or can never have a value, which is reported."""
    try:
        return parse_strictly(text)
    except ExpressionError as error:
        at.error(f"not a CEL expression: {error}")
        return None
