"""Places in traces, from text."""

from __future__ import annotations

from protocols.tracing.span import SpanContext


def place(trace: str, span: str, parent: str = "", sampled: bool = False, state: str = "") -> SpanContext:
    return SpanContext(trace.encode(), span.encode(), parent.encode(), sampled, state.encode())
