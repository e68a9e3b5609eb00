"""What no reader of ours evaluates goes to the CEL library, with the few values that it needs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration as DurationMessage
from google.protobuf.timestamp_pb2 import Timestamp as TimestampMessage
from google.protobuf.wrappers_pb2 import BytesValue, StringValue, UInt64Value

from config.expression import library_env, library_form
from config.model.expression import Node
from sidecar.expressions.unsigned import Unsigned
from sidecar.expressions.values import FAILED, Duration, Timestamp, from_datetime, from_timedelta

_NANOS: Final = 1_000_000_000
_MANY_REFERENCES: Final = 1 << 60


def _keep_none() -> None:
    """Give None more references than can be lost, as Python does itself from 3.12 on.

    The library drops one for each null in a list or map that it hands out; without the last one the process aborts.
    """
    if sys.version_info < (3, 12):
        import ctypes

        references = ctypes.c_ssize_t.from_address(id(None))
        references.value = max(references.value, _MANY_REFERENCES)


def load(node: Node) -> Callable[[Mapping[str, object]], object]:
    """The evaluation of `node` over variables by their names; `FAILED` if it fails, as what makes no sense does each time.

    The argument holds plain values; a name that is not in it is an error where the expression uses it.
    """
    _keep_none()
    program = library_env().deserialize(library_form(node))

    def evaluate(variables: Mapping[str, object]) -> object:
        try:
            data = {name: _to_library(value) for name, value in variables.items()}
            result = program.eval(data=data)
            return _from_library(result, result.type().name())
        except (RuntimeError, ValueError, OverflowError, TypeError):
            return FAILED

    return evaluate


def _to_library(value: object) -> object:
    """The library reads what is plain as it is, but ends texts and bytes at a NUL, knows no `datetime`, and no unsigned."""
    if isinstance(value, str):
        return StringValue(value=value) if "\x00" in value else value
    if isinstance(value, bytes):
        return BytesValue(value=value)
    if isinstance(value, Unsigned):
        return UInt64Value(value=value)
    if isinstance(value, (Duration, Timestamp)):
        return _message_of(value)
    if isinstance(value, Mapping):
        return {key: _to_library(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_library(each) for each in value]
    return value


def _message_of(value: Duration | Timestamp) -> DurationMessage | TimestampMessage:
    if isinstance(value, Timestamp):
        seconds, nanos = divmod(value.nanos, _NANOS)
        return TimestampMessage(seconds=seconds, nanos=nanos)
    seconds, nanos = divmod(abs(value.nanos), _NANOS)
    sign = 1 if value.nanos >= 0 else -1
    return DurationMessage(seconds=sign * seconds, nanos=sign * nanos)


def json_text(value: Duration | Timestamp) -> str:
    """As protobuf writes it in JSON: `1.500s`, `2020-01-02T03:04:05Z`. Raises ValueError for what protobuf cannot hold."""
    return _message_of(value).ToJsonString()


def _from_library(result: Any, type_name: str) -> object:
    if type_name == "ERROR":
        return FAILED
    value = result.plain_value()
    return Unsigned(value) if type_name == "UINT" else _plain(value)


def _plain(value: object) -> object:
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, datetime):
        return from_datetime(value)
    if isinstance(value, timedelta):
        return from_timedelta(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
