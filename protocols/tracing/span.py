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
    """Where in which trace. Ids are lower-case hexadecimal: 16 digits of a span, 32 (in B3 also 16) of a trace.

    `parent_id` "" is the root. `sampled` None: nobody has decided yet. `state` is the W3C `tracestate`.
    """

    __slots__ = ("parent_id", "sampled", "span_id", "state", "trace_id")

    def __init__(
        self, trace_id: str, span_id: str, parent_id: str = "", sampled: bool | None = None, state: str = ""
    ) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id
        self.sampled = sampled
        self.state = state

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpanContext) and self._fields() == other._fields()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"SpanContext{self._fields()}"

    def _fields(self) -> tuple[object, ...]:
        return self.trace_id, self.span_id, self.parent_id, self.sampled, self.state


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
