"""A span that is under way, and what a tracer is to those who make spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from protocols.tracing.span import SpanContext, SpanKind, SpanRecord

if TYPE_CHECKING:
    from protocols.http.headers import Headers


class Tracer(Protocol):
    """One for each collector that is configured."""

    def start(self, headers: Headers, *, as_server: bool, traced: bool) -> Span:
        """The span of a request. `headers` may bring the place in a trace; `traced` is what the connection manager decided."""

    def name_of(self, host: str, outbound: bool) -> str:
        """What the span of a request to that host is called unless somebody has named it."""

    def child(self, parent: Span, name: str) -> Span:
        """The span of an attempt towards an upstream."""

    def inject(self, span: Span, headers: Headers) -> None:
        """Tell the next hop where in which trace it is."""

    def report(self, record: SpanRecord) -> None:
        """A span has ended: it will be exported with others, or dropped when too many wait. Never blocks."""


class Span:
    """One request, or one attempt. Only of one that is sampled is anything kept, but each has its place in its trace."""

    __slots__ = ("context", "kind", "name", "remote_parent", "shared", "single_header", "tracer")

    def __init__(
        self,
        tracer: Tracer,
        context: SpanContext,
        kind: SpanKind,
        name: str = "",
        *,
        shared: bool = False,
        remote_parent: bool = False,
        single_header: bool = False,
    ) -> None:
        self.tracer = tracer
        self.context = context
        self.name = name  # "" until somebody names it
        self.kind = kind
        self.shared = shared
        self.remote_parent = remote_parent
        self.single_header = single_header  # B3 came as the one header

    @property
    def trace_id(self) -> str:
        return self.context.trace_id

    @property
    def span_id(self) -> str:
        return self.context.span_id

    @property
    def sampled(self) -> bool:
        return bool(self.context.sampled)

    def child(self, name: str) -> Span:
        return self.tracer.child(self, name)

    def inject(self, headers: Headers) -> None:
        self.tracer.inject(self, headers)

    def finish(self, start_ns: int, end_ns: int, tags: dict[str, str], events: list[tuple[str, int]]) -> None:
        """Only of a sampled one. Times since the epoch."""
        self.tracer.report(
            SpanRecord(
                self.context,
                self.name,
                self.kind,
                start_ns,
                end_ns,
                tags,
                events,
                shared=self.shared,
                remote_parent=self.remote_parent,
            )
        )
