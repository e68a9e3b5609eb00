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
from protocols.tracing.span import SpanContext, SpanKind, SpanRecord
from sidecar.telemetry.exports import DEFAULT_TIMEOUT_S, ExportLog
from sidecar.telemetry.tracing.exporter import Exporter
from sidecar.telemetry.tracing.identifiers import Identifiers
from sidecar.telemetry.tracing.span import Span
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


class ZipkinTracer:
    """Implements `Tracer`."""

    def __init__(self, spec: ZipkinSpec, context: TracerContext) -> None:
        self._long_trace_ids = spec.trace_id_128bit
        self._shared = spec.shared_span_context
        self._split = spec.split_spans
        self._w3c = spec.trace_context is TraceContextOption.USE_B3_WITH_W3C_PROPAGATION
        self._ids = Identifiers()
        self.exporter: Final = ZipkinExporter(spec, context)

    def start(self, headers: Headers, *, as_server: bool, traced: bool) -> Span:
        as_server = as_server or self._split
        came, sampled, single = b3.extract(headers)
        if came is None and self._w3c:
            came = w3c.extract(headers)
            if came is not None:
                sampled = came.sampled
        if sampled is None:
            sampled = traced
        if came is None:
            context = self._new(sampled)
        elif as_server and self._shared:
            context = came
            came.sampled = sampled
        else:
            context = SpanContext(came.trace_id, self._ids.span_id(), came.span_id, sampled, came.state)
        return Span(
            self,
            context,
            SpanKind.SERVER if as_server else SpanKind.CLIENT,
            shared=as_server and self._shared,
            single_header=single,
        )

    def name_of(self, host: str, outbound: bool) -> str:
        return host

    def _new(self, sampled: bool) -> SpanContext:
        """The beginning of a trace: its id ends with that of its first span (Envoy)."""
        span_id = self._ids.span_id()
        trace_id = self._ids.span_id() + span_id if self._long_trace_ids else span_id
        return SpanContext(trace_id, span_id, "", sampled)

    def child(self, parent: Span, name: str) -> Span:
        above = parent.context
        context = SpanContext(above.trace_id, self._ids.span_id(), above.span_id, above.sampled, above.state)
        return Span(self, context, SpanKind.CLIENT, name, single_header=parent.single_header)

    def inject(self, span: Span, headers: Headers) -> None:
        b3.inject(headers, span.context, single=span.single_header)
        if self._w3c:
            w3c.inject(headers, span.context)

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
