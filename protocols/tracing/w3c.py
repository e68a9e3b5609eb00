"""W3C Trace Context: `traceparent` and `tracestate` (https://www.w3.org/TR/trace-context/).

A `traceparent` that breaks the rules counts as none, and so does one that came twice: then `tracestate` means nothing either.
"""

from __future__ import annotations

import re
from typing import Final

from protocols.http.headers import Headers
from protocols.tracing.span import TRACE_ID_DIGITS, SpanContext

TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"

_SAMPLED: Final = 1
#: A version of the future may have more behind another dash.
_PARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_FORBIDDEN_VERSION: Final = b"ff"
_KNOWN_VERSION: Final = b"00"
_ZERO: Final = b"0"

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
    match = _PARENT.fullmatch(value)
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == _FORBIDDEN_VERSION or (version == _KNOWN_VERSION and rest is not None):
        return None
    if not trace_id.strip(_ZERO) or not span_id.strip(_ZERO):
        return None
    sampled = bool(int(flags, 16) & _SAMPLED)
    return SpanContext(trace_id, span_id, b"", sampled, _state(headers))


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
