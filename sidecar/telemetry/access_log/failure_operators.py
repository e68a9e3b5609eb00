"""Why it failed, in an access log: `%FAILURE_CAUSE%` in one line, `%FAILURE(field)%` fact by fact. Not Envoy's.

The fields are those of `/failures?format=json`; a request that did not fail has none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from config.spelling import did_you_mean
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.json_values import json_bytes
from sidecar.telemetry.access_log.operator import (
    Argument,
    Builder,
    JsonBuilder,
    Operator,
    Reading,
    refuse_length,
)
from sidecar.telemetry.failures import FIELDS


def _cause(argument: Argument) -> Operator:
    """`%FAILURE_CAUSE%` or `%FAILURE_CAUSE:max_length%`."""
    if argument.text is not None:
        raise ValueError("operator takes no argument; %FAILURE(field)% gives single facts")
    missing, length = argument.missing, argument.max_length

    def read(info: StreamInfo) -> bytes:
        failure = info.failure
        return failure.story.encode("utf-8", "replace")[:length] if failure is not None else missing

    return Reading(read)


def _field(argument: Argument, *, json: bool = False) -> Operator:
    refuse_length(argument)
    name = (argument.text or "").lower()
    if not name:
        raise ValueError("FAILURE needs (FIELD)")
    if name not in FIELDS:
        hint = did_you_mean(name, FIELDS) or f"; one of {', '.join(FIELDS)}"
        raise ValueError(f"FAILURE has no field {argument.text}{hint}")
    missing = argument.missing

    def read(info: StreamInfo) -> bytes:
        failure = info.failure
        value = failure.value(name) if failure is not None else None
        if value is None:
            return missing
        return json_bytes(value) if json or isinstance(value, bool) else str(value).encode("utf-8", "replace")

    return Reading(read)


FAILURE_OPERATORS: Final[Mapping[str, Builder]] = {
    "FAILURE": JsonBuilder(_field, partial(_field, json=True)),
    "FAILURE_CAUSE": _cause,
}
