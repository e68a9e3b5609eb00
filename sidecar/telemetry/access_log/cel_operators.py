"""Operators that evaluate a CEL expression over the attributes of a stream: `%CEL(expression)%`, `%TYPED_CEL(expression)%`.

Their argument ends, as that of any operator, at the first `)%` (or `):N%`): only these must not stand inside of a text in it. An
expression without a value (an attribute that is not there, an error) is a missing value.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Final

from config.expression import ExpressionError, parse_strictly
from sidecar.expressions.api import Expression
from sidecar.expressions.attributes import Scope
from sidecar.expressions.library import json_text
from sidecar.expressions.values import Duration, Timestamp
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.json_values import json_bytes
from sidecar.telemetry.access_log.operator import Argument, Builder, JsonBuilder, Operator, Reading


def _parse(argument: Argument) -> Expression:
    try:
        return Expression(parse_strictly(argument.text or ""), Scope(argument.node))
    except ExpressionError as error:
        raise ValueError(f"not a CEL expression: {error}") from None


def _cel(argument: Argument) -> Operator:
    """As Envoy prints the value, cut to `:max_length` bytes."""
    text_of, missing, length = _parse(argument).text, argument.missing, argument.max_length

    def read(info: StreamInfo) -> bytes:
        text = text_of(info)
        return missing if text is None else text.encode("utf-8", "replace")[:length]

    return Reading(read)


def _typed_json(argument: Argument) -> Operator:
    """The value as JSON has it; only a text is cut."""
    value_of, missing, length = _parse(argument).value, argument.missing, argument.max_length

    def read(info: StreamInfo) -> bytes:
        try:
            value = plain(value_of(info))
        except ValueError:
            return missing
        if value is None:
            return missing
        if isinstance(value, str) and length is not None:
            value = value.encode("utf-8", "replace")[:length].decode("utf-8", "replace")
        return json_bytes(value)

    return Reading(read)


def plain(value: object) -> object:
    """What JSON has for a value of CEL (`google.protobuf.Value`).

    Raises ValueError where it has nothing: an error, a type, a map whose keys are no texts.
    """
    if value is None or isinstance(value, (str, bool, float)):
        return value
    if isinstance(value, int):
        return float(value)  # JSON's numbers are doubles in Envoy: what is beyond 2^53 is rounded
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, (Duration, Timestamp)):
        return json_text(value)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    raise ValueError("a value that JSON does not have")


CEL_OPERATORS: Final[Mapping[str, Builder]] = {
    "CEL": _cel,
    "TYPED_CEL": JsonBuilder(_cel, _typed_json),
}
