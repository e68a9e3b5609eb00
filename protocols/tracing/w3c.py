"""W3C Trace Context: `traceparent` and `tracestate` (https://www.w3.org/TR/trace-context/).

A `traceparent` that breaks the rules counts as none, and so does one that came twice: then `tracestate` means nothing either.
"""

from __future__ import annotations

import re
from typing import Final

from protocols.http.headers import Headers
from protocols.tracing.span import SpanContext, long_trace_id

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
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


def extract(headers: Headers) -> SpanContext | None:
    """The caller's place in its trace; None if there is none, or none that can be understood."""
    value = headers.get(TRACEPARENT)
    if value is None or len(headers.get_all(TRACEPARENT)) > 1:
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
    return SpanContext(trace_id.decode(), span_id.decode(), "", sampled, _state(headers))


def _state(headers: Headers) -> str:
    """The whole `tracestate`, or "" when any of it is wrong."""
    joined = headers.joined(TRACESTATE)
    if not joined or len(joined) > _MAX_STATE_BYTES:
        return ""
    text = joined.decode("latin-1")
    members = [member for each in text.split(",") if (member := each.strip(" \t"))]
    if len(members) > _MAX_MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return ""
    return text


def inject(headers: Headers, context: SpanContext) -> None:
    """Tell the next hop. A trace id of 16 digits is filled with zeros."""
    flags = "01" if context.sampled else "00"
    trace_id = long_trace_id(context.trace_id)
    headers.set(TRACEPARENT, f"00-{trace_id}-{context.span_id}-{flags}".encode())
    if context.state:
        headers.set(TRACESTATE, context.state.encode("latin-1"))
    else:
        headers.remove(TRACESTATE)
