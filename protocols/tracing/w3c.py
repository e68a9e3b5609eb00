"""W3C Trace Context: `traceparent` and `tracestate` (https://www.w3.org/TR/trace-context/).

A `traceparent` that breaks the rules counts as none, and so does one that came twice: then `tracestate` means nothing either.
"""

from __future__ import annotations

import re
from typing import Final

from protocols.http.headers import Headers
from protocols.tracing.span import SPAN_ID_DIGITS, TRACE_ID_DIGITS, SpanContext

TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"

#: `VERSION-TRACE-SPAN-FLAGS`; a version of the future may have more behind another dash.
_PARENT_BYTES: Final = 55
_DASH: Final = ord("-")
_DIGITS: Final = b"0123456789abcdef"
_FORBIDDEN_VERSION: Final = b"ff"
_KNOWN_VERSION: Final = b"00"
_NO_TRACE: Final = b"0" * TRACE_ID_DIGITS
_NO_SPAN: Final = b"0" * SPAN_ID_DIGITS
#: Last digits of flags that say that it is sampled.
_SAMPLED: Final = frozenset(b"13579bdf")

_MAX_MEMBERS: Final = 32
_MAX_STATE_BYTES: Final = 4096
_MEMBER: Final = re.compile(
    rb"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    rb"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


def extract(headers: Headers) -> SpanContext | None:
    """The caller's place in its trace; None if there is none, or none that can be understood."""
    value = headers.get(TRACEPARENT)
    if value is None or (headers.has_repeats and len(headers.get_all(TRACEPARENT)) > 1):
        return None
    if len(value) < _PARENT_BYTES or not value[2] == value[35] == value[52] == _DASH:
        return None
    version, trace_id, span_id, flags = value[:2], value[3:35], value[36:52], value[53:_PARENT_BYTES]
    if b"".join((version, trace_id, span_id, flags)).translate(None, _DIGITS):
        return None
    if len(value) > _PARENT_BYTES and (version == _KNOWN_VERSION or value[_PARENT_BYTES] != _DASH):
        return None
    if version == _FORBIDDEN_VERSION or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return SpanContext(trace_id, span_id, b"", flags[1] in _SAMPLED, _state(headers))


def _state(headers: Headers) -> bytes:
    """The whole `tracestate`, or b"" when any of it is wrong."""
    joined = headers.joined(TRACESTATE)
    if not joined or len(joined) > _MAX_STATE_BYTES:
        return b""
    members = [member for each in joined.split(b",") if (member := each.strip(b" \t"))]
    if len(members) > _MAX_MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return b""
    return joined


def inject(headers: Headers, context: SpanContext) -> None:
    """Tell the next hop. A trace id of 16 digits is filled with zeros."""
    trace_id = context.trace_hex.zfill(TRACE_ID_DIGITS)
    headers.set(
        TRACEPARENT,
        b"".join((b"00-", trace_id, b"-", context.span_hex, b"-01" if context.sampled else b"-00")),
    )
    if context.state:
        headers.set(TRACESTATE, context.state)
    else:
        headers.remove(TRACESTATE)
