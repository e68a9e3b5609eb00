"""A span that is under way, and what a tracer is to those who make spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from protocols.tracing.span import SpanContext, SpanKind, SpanRecord

if TYPE_CHECKING:
    from protocols.http.headers import Headers


class Tracer(Protocol):
    """One for each collector that is configured."""

    def start(
        self, headers: Headers, *, name: str, host: str, as_server: bool, traced: bool, start_ns: int
    ) -> Span:
        """The span of a request. `headers` may bring the place in a trace; `traced` is what the connection manager decided.

        `name` is what the direction gives, `host` that of the request: it is the tracer's choice. `start_ns`: since the epoch.
        """

    def child(self, parent: Span, name: str, start_ns: int) -> Span:
        """The span of an attempt towards an upstream."""

    def inject(self, span: Span, headers: Headers) -> None:
        """Tell the next hop where in which trace it is."""

    def report(self, record: SpanRecord) -> None:
        """A span has ended: it will be exported with others, or dropped when too many wait. Never blocks."""


class Span:
    """One request, or one attempt. Only of one that is sampled is anything kept, but each has its place in its trace."""

    __slots__ = ("_tracer", "context", "kind", "name", "remote_parent", "shared", "single_header", "start_ns")

    def __init__(
        self,
        tracer: Tracer,
        context: SpanContext,
        name: str,
        kind: SpanKind,
        start_ns: int,
        *,
        shared: bool = False,
        remote_parent: bool = False,
        single_header: bool = False,
    ) -> None:
        self._tracer = tracer
        self.context = context
        self.name = name
        self.kind = kind
        self.start_ns = start_ns
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

    def child(self, name: str, start_ns: int) -> Span:
        return self._tracer.child(self, name, start_ns)

    def inject(self, headers: Headers) -> None:
        self._tracer.inject(self, headers)

    def finish(self, end_ns: int, tags: dict[str, str], events: list[tuple[str, int]]) -> None:
        """Only of a sampled one."""
        self._tracer.report(
            SpanRecord(
                self.context,
                self.name,
                self.kind,
                self.start_ns,
                end_ns,
                tags,
                events,
                shared=self.shared,
                remote_parent=self.remote_parent,
            )
        )
