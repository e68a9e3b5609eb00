"""`envoy.tracers.zipkin`: B3 in and out (W3C too if asked for), spans to a collector as JSON.

A span may be shared: then the server's span has the id of the client's, who sent it. Who is a server in Zipkin's sense: an inbound
proxy, and an outbound one whose attempts have spans of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from config.model.tracing import TraceContextOption, ZipkinSpec
from protocols.http import names
from protocols.http.headers import Headers
from protocols.tracing import b3, w3c, zipkin
from protocols.tracing.span import SpanContext, SpanRecord
from sidecar.telemetry.exports import DEFAULT_TIMEOUT_S, ExportLog
from sidecar.telemetry.tracing.exporter import Exporter
from sidecar.telemetry.tracing.identifiers import Identifiers
from sidecar.telemetry.tracing.span import Span, Tracer
from sidecar.transport.async_client import post_head
from stats.filter_families import ZipkinTracerStats

if TYPE_CHECKING:
    from sidecar.telemetry.tracing.context import TracerContext
    from sidecar.transport.async_client import RequestFailure

_ACCEPTED: Final = 202
_NO_CLUSTER: Final = "cluster_not_found"
_JSON: Final = b"application/json"
_DEFAULT_FLUSH_INTERVAL_MS: Final = 5000
_DEFAULT_MIN_FLUSH_SPANS: Final = 5
_MAX_WAITING: Final = 1024


class ZipkinTracer(Tracer):
    def __init__(self, spec: ZipkinSpec, context: TracerContext) -> None:
        self._long_trace_ids = spec.trace_id_128bit
        self._shared = spec.shared_span_context
        self._split = spec.split_spans
        self._w3c = spec.trace_context is TraceContextOption.USE_B3_WITH_W3C_PROPAGATION
        super().__init__(b3.DECIDING | {w3c.TRACEPARENT} if self._w3c else b3.DECIDING)
        self._ids = Identifiers()
        self.exporter: Final = ZipkinExporter(spec, context)

    def start(self, span: Span, headers: Headers | None, *, as_server: bool, traced: bool) -> None:
        as_server = as_server or self._split
        span.is_server = as_server
        span.shared = as_server and self._shared
        span.sampled = traced
        came = self._extract(span, headers) if headers is not None else None
        if came is None:
            self._begin(span)
        elif span.shared:
            span.move_to(came)
        else:
            span.move_below(came, self._ids.span_id())

    def _extract(self, span: Span, headers: Headers) -> SpanContext | None:
        """The caller's place in its trace; what it has decided counts."""
        came, sampled, span.single_header = b3.extract(headers)
        if came is None and self._w3c:
            came = w3c.extract(headers)
            if came is not None:
                sampled = came.sampled
        if sampled is not None:
            span.sampled = sampled
        return came

    def name_of(self, host: str, outbound: bool) -> str:
        return host

    def _begin(self, span: Span) -> None:
        """The beginning of a trace: its id ends with that of its first span (Envoy)."""
        span_hex = span.span_hex = self._ids.span_id()
        span.trace_hex = self._ids.span_id() + span_hex if self._long_trace_ids else span_hex

    def child(self, parent: Span, name: str) -> Span:
        span = Span(self, name)
        span.move_below(parent, self._ids.span_id())
        span.sampled = parent.sampled
        span.single_header = parent.single_header
        return span

    def inject(self, span: Span, headers: Headers) -> None:
        b3.inject(headers, span, single=span.single_header)
        if self._w3c:
            w3c.inject(headers, span)

    def report(self, record: SpanRecord) -> None:
        self.exporter.add(record)


class ZipkinExporter(Exporter):
    """One request with all spans that wait. Implements `RequestCallbacks`."""

    def __init__(self, spec: ZipkinSpec, context: TracerContext) -> None:
        super().__init__(
            context.timers,
            flush_interval_s=context.number("tracing.zipkin.flush_interval_ms", _DEFAULT_FLUSH_INTERVAL_MS)
            / 1000,
            min_flush_spans=context.number("tracing.zipkin.min_flush_spans", _DEFAULT_MIN_FLUSH_SPANS),
            max_waiting=_MAX_WAITING,
        )
        self._collector = spec.collector
        self._client = context.async_client
        timeout_ms = context.number("tracing.zipkin.request_timeout", 0)
        self._timeout_s = timeout_ms / 1000 if timeout_ms else spec.collector.timeout_s or DEFAULT_TIMEOUT_S
        self._log = ExportLog("spans", spec.collector.cluster_name)
        self._endpoint = zipkin.endpoint(context.node.cluster, context.local_address)
        self._stats = ZipkinTracerStats(context.scope.scope("tracing.zipkin"))

    def encode(self, record: SpanRecord) -> bytes:
        return zipkin.encode_span(record, self._endpoint)

    def export(self, spans: list[bytes]) -> None:
        self._stats.spans_sent.add(len(spans))
        collector = self._collector
        headers = post_head(collector, (names.CONTENT_TYPE, _JSON))
        body = zipkin.encode(spans)
        self._client.request(collector.cluster_name, headers, body, self, timeout_s=self._timeout_s)

    def on_timer(self) -> None:
        self._stats.timer_flushed.inc()

    def on_dropped(self, count: int) -> None:
        self._stats.reports_dropped.add(count)

    def on_response(self, headers: Headers, body: bytes) -> None:
        if headers.status == _ACCEPTED:
            self._stats.reports_sent.inc()
            self._log.succeeded()
        else:
            self._stats.reports_dropped.inc()
            self._log.failed(f"HTTP status {headers.status}")
        self.done()

    def on_failure(self, failure: RequestFailure) -> None:
        if failure.details == _NO_CLUSTER:
            self._stats.reports_skipped_no_cluster.inc()
        else:
            self._stats.reports_failed.inc()
        self._log.failed(failure.details)
        self.done()
