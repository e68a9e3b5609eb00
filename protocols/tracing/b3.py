"""B3 (https://github.com/openzipkin/b3-propagation): the `x-b3-*` headers, and the one header `b3`.

Read as Envoy reads it: in either case, ids may be shorter than they should be, and of a trace id of more than 16 digits the last
16 are the lower half. What cannot be understood counts as nothing.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from protocols.http.headers import Headers
from protocols.tracing.span import SPAN_ID_DIGITS, TRACE_ID_DIGITS, SpanContext

SINGLE: Final = b"b3"
TRACE_ID: Final = b"x-b3-traceid"
SPAN_ID: Final = b"x-b3-spanid"
PARENT_ID: Final = b"x-b3-parentspanid"
SAMPLED: Final = b"x-b3-sampled"
FLAGS: Final = b"x-b3-flags"

_ID: Final = re.compile(rb"[0-9a-fA-F]+")
_ZERO: Final = b"0"
_LOWER_DIGITS: Final = b"0123456789abcdef"
#: How the one header decides; `d` asks for debugging, which means sampled.
_DECISIONS: Final = {b"0": False, b"1": True, b"d": True}
_TRUE: Final = (b"1", b"true")
_DEBUG: Final = b"1"


#: What came: the place in a trace (None: none), the decision (None: none), and whether it was by the one header.
Extracted: TypeAlias = tuple[SpanContext | None, bool | None, bool]

#: Where none of these is, nothing came.
DECIDING: Final = frozenset((SINGLE, TRACE_ID, SAMPLED, FLAGS))


def extract(headers: Headers) -> Extracted:
    single = headers.get(SINGLE)
    if single is not None:
        return _of_single(single)
    sampled = _sampled(headers)
    trace_id, span_id = headers.get(TRACE_ID), headers.get(SPAN_ID)
    if trace_id is None or span_id is None:
        return None, sampled, False
    parent_id = headers.get(PARENT_ID) or b""
    return _context(trace_id, span_id, parent_id, sampled), sampled, False


def _sampled(headers: Headers) -> bool | None:
    if headers.get(FLAGS) == _DEBUG:
        return True
    value = headers.get(SAMPLED)
    return None if value is None else value in _TRUE


def _of_single(value: bytes) -> Extracted:
    """A decision alone, or `TRACE-SPAN`, `TRACE-SPAN-DECISION`, `TRACE-SPAN-DECISION-PARENT`."""
    if value in _DECISIONS:
        return None, _DECISIONS[value], True
    trace_id, _, rest = value.partition(b"-")
    span_id, _, rest = rest.partition(b"-")
    decision, has_parent, parent_id = rest.partition(b"-")
    sampled = _DECISIONS.get(decision)
    if (decision and sampled is None) or (has_parent and not parent_id):
        return None, None, True
    return _context(trace_id, span_id, parent_id, sampled), sampled, True


def _context(trace_id: bytes, span_id: bytes, parent_id: bytes, sampled: bool | None) -> SpanContext | None:
    trace, span = _id(trace_id, TRACE_ID_DIGITS), _id(span_id, SPAN_ID_DIGITS)
    parent = _id(parent_id, SPAN_ID_DIGITS) if parent_id else b""
    if not trace or not span or parent is None:
        return None
    return SpanContext(trace, span, parent, bool(sampled))


def _id(text: bytes, max_digits: int) -> bytes | None:
    """In the form that is handed on: lower case, filled with zeros, 16 digits if these are enough. None: not an id."""
    if len(text) in (SPAN_ID_DIGITS, max_digits) and _is_normal(text):
        return text
    if len(text) > max_digits or _ID.fullmatch(text) is None:
        return None
    digits = text.lower().lstrip(_ZERO)
    if not digits:
        return None
    return digits.zfill(SPAN_ID_DIGITS if len(digits) <= SPAN_ID_DIGITS else TRACE_ID_DIGITS)


def _is_normal(text: bytes) -> bool:
    """Ids as nearly all are: of lower-case digits of which the first is not 0."""
    return not text.startswith(_ZERO) and not text.translate(None, _LOWER_DIGITS)


def inject(headers: Headers, context: SpanContext, *, single: bool) -> None:
    """Tell the next hop, by the one header or by many."""
    parent_id = context.parent_hex
    if single:
        value = b"%b-%b-%b" % (context.trace_hex, context.span_hex, b"1" if context.sampled else b"0")
        headers.set(SINGLE, b"%b-%b" % (value, parent_id) if parent_id else value)
        return
    headers.set(TRACE_ID, context.trace_hex)
    headers.set(SPAN_ID, context.span_hex)
    if parent_id:
        headers.set(PARENT_ID, parent_id)
    else:
        headers.remove(PARENT_ID)
    headers.set(SAMPLED, b"1" if context.sampled else b"0")
