"""A span that is under way, and what a tracer is to those who make spans."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from protocols.tracing.span import SpanContext, SpanKind, SpanRecord

if TYPE_CHECKING:
    from protocols.http.headers import Headers


class Tracer:
    """One for each collector that is configured.

    `reads`: where a request has none of these headers, it brings no place in a trace.
    """

    def __init__(self, reads: frozenset[bytes]) -> None:
        self.reads = reads

    @abstractmethod
    def start(self, span: Span, headers: Headers | None, *, as_server: bool, traced: bool) -> None:
        """The span of a request takes its place in a trace. `headers` may bring one (None: they do not); `traced` is what the
        connection manager decided."""

    @abstractmethod
    def name_of(self, host: str, outbound: bool) -> str:
        """What the span of a request to that host is called unless somebody has named it."""

    @abstractmethod
    def child(self, parent: Span, name: str) -> Span:
        """The span of an attempt towards an upstream."""

    @abstractmethod
    def inject(self, span: Span, headers: Headers) -> None:
        """Tell the next hop where in which trace it is."""

    @abstractmethod
    def report(self, record: SpanRecord) -> None:
        """A span has ended: it will be exported with others, or dropped when too many wait. Never blocks."""


class Span(SpanContext):
    """One request, or one attempt. Only of one that is sampled is anything kept, but each has its place in its trace."""

    __slots__ = ("is_server", "name", "remote_parent", "shared", "single_header", "tracer")

    def __init__(self, tracer: Tracer, name: str = "") -> None:
        super().__init__(b"", b"")
        self.tracer = tracer
        self.name = name  # "" until somebody names it
        self.is_server = False
        self.shared = False
        self.remote_parent = False
        self.single_header = False  # B3 came as the one header

    # what access logs read

    @property
    def trace_id(self) -> str:
        return self.trace_hex.decode()

    @property
    def span_id(self) -> str:
        return self.span_hex.decode()

    def child(self, name: str) -> Span:
        return self.tracer.child(self, name)

    def inject(self, headers: Headers) -> None:
        self.tracer.inject(self, headers)

    def finish(self, start_ns: int, end_ns: int, tags: dict[str, str], events: list[tuple[str, int]]) -> None:
        """Only of a sampled one. Times since the epoch."""
        self.tracer.report(
            SpanRecord(
                self,
                self.name,
                SpanKind.SERVER if self.is_server else SpanKind.CLIENT,
                start_ns,
                end_ns,
                tags,
                events,
                shared=self.shared,
                remote_parent=self.remote_parent,
            )
        )


class NoTracer(Tracer):
    """Without a provider there are no spans: nobody is told of any, and none is sampled."""

    def __init__(self) -> None:
        super().__init__(frozenset())

    def start(self, span: Span, headers: Headers | None, *, as_server: bool, traced: bool) -> None:
        pass

    def name_of(self, host: str, outbound: bool) -> str:
        return host

    def child(self, parent: Span, name: str) -> Span:
        return Span(self, name)

    def inject(self, span: Span, headers: Headers) -> None:
        pass

    def report(self, record: SpanRecord) -> None:
        pass
