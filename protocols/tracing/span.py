"""A place in a trace, and a span that has ended: what all languages of tracing have in common."""

from __future__ import annotations

import enum
from typing import Final

SPAN_ID_DIGITS: Final = 16
TRACE_ID_DIGITS: Final = 32


def long_trace_id(trace_id: str) -> str:
    """With all 32 digits, where B3 has 16."""
    return trace_id.zfill(TRACE_ID_DIGITS)


class SpanKind(enum.IntEnum):
    """With the numbers of OTLP."""

    SERVER = 2
    CLIENT = 3


class SpanContext:
    """Where in which trace. Ids as they travel: lower-case hexadecimal, 16 digits of a span, 32 (in B3 also 16) of a trace.

    `parent_hex` b"" is the root. `state` is the W3C `tracestate`.
    """

    __slots__ = ("parent_hex", "sampled", "span_hex", "state", "trace_hex")

    def __init__(
        self,
        trace_hex: bytes,
        span_hex: bytes,
        parent_hex: bytes = b"",
        sampled: bool = False,
        state: bytes = b"",
    ) -> None:
        self.trace_hex = trace_hex
        self.span_hex = span_hex
        self.parent_hex = parent_hex
        self.sampled = sampled
        self.state = state

    def move_to(self, place: SpanContext) -> None:
        """The same span as another; `sampled` stays."""
        self.trace_hex = place.trace_hex
        self.span_hex = place.span_hex
        self.parent_hex = place.parent_hex
        self.state = place.state

    def move_below(self, parent: SpanContext, span_hex: bytes) -> None:
        """A child of another span; `sampled` stays."""
        self.trace_hex = parent.trace_hex
        self.span_hex = span_hex
        self.parent_hex = parent.span_hex
        self.state = parent.state

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpanContext) and self._fields() == other._fields()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"SpanContext{self._fields()}"

    def _fields(self) -> tuple[object, ...]:
        return self.trace_hex, self.span_hex, self.parent_hex, self.sampled, self.state


class SpanRecord:
    """A span that has ended. Times in nanoseconds since the epoch; `events` are names and times.

    `shared`: client and server report it under one id (Zipkin). `remote_parent`: the parent is another process's.
    """

    __slots__ = ("context", "end_ns", "events", "kind", "name", "remote_parent", "shared", "start_ns", "tags")

    def __init__(
        self,
        context: SpanContext,
        name: str,
        kind: SpanKind,
        start_ns: int,
        end_ns: int,
        tags: dict[str, str],
        events: list[tuple[str, int]],
        *,
        shared: bool = False,
        remote_parent: bool = False,
    ) -> None:
        self.context = context
        self.name = name
        self.kind = kind
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.tags = tags
        self.events = events
        self.shared = shared
        self.remote_parent = remote_parent
