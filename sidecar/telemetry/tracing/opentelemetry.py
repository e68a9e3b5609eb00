"""`envoy.tracers.opentelemetry`: W3C trace context in and out, spans to a collector by OTLP, over gRPC or HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from msgspec import structs

from config.model.tracing import OpenTelemetrySpec, OtelSampler
from protocols.http import names
from protocols.http.headers import Headers
from protocols.tracing import otlp, w3c
from protocols.tracing.span import SpanRecord
from sidecar.telemetry.exports import DEFAULT_TIMEOUT_S, ExportLog
from sidecar.telemetry.tracing.exporter import Exporter
from sidecar.telemetry.tracing.identifiers import Identifiers
from sidecar.telemetry.tracing.span import Span, Tracer
from sidecar.transport.async_client import post_head
from sidecar.version import VERSION
from stats.filter_families import OpenTelemetryTracerStats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config.model.services import GrpcServiceSpec
    from sidecar.telemetry.tracing.context import TracerContext
    from sidecar.transport.async_client import RequestFailure

_USER_AGENT: Final = f"OTel-OTLP-Exporter-sidecar-proxy/{VERSION}"
#: What the semantic conventions want to know of whoever makes spans.
_SDK: Final = {
    "telemetry.sdk.language": "python",
    "telemetry.sdk.name": "sidecar-proxy",
    "telemetry.sdk.version": VERSION,
}
_OK: Final = 200
_DEFAULT_FLUSH_INTERVAL_MS: Final = 5000
_DEFAULT_MIN_FLUSH_SPANS: Final = 512
_DEFAULT_SERVICE_NAME: Final = "unknown_service:envoy"


class OpenTelemetryTracer(Tracer):
    def __init__(self, spec: OpenTelemetrySpec, context: TracerContext) -> None:
        super().__init__(frozenset((w3c.TRACEPARENT,)))
        self._sampler = spec.sampler
        self._ids = Identifiers()
        self.exporter: Final = OtlpExporter(spec, context)

    def start(self, span: Span, headers: Headers | None, *, as_server: bool, traced: bool) -> None:
        span.is_server = as_server
        came = w3c.extract(headers) if headers is not None else None
        if came is None:
            span.trace_hex, span.span_hex = self._ids.trace_id(), self._ids.span_id()
            span.sampled = traced
        else:
            span.move_below(came, self._ids.span_id())
            span.sampled = self._samples(traced, came.sampled)
            span.remote_parent = True

    def name_of(self, host: str, outbound: bool) -> str:
        return f"egress {host}" if outbound else "ingress"

    def _samples(self, traced: bool, parent_sampled: bool) -> bool:
        """What the connection manager will not trace is not traced; the caller's no counts unless all is to be sampled."""
        return traced and (parent_sampled or self._sampler is OtelSampler.ALWAYS_ON)

    def child(self, parent: Span, name: str) -> Span:
        span = Span(self, name)
        span.move_below(parent, self._ids.span_id())
        span.sampled = parent.sampled
        return span

    def inject(self, span: Span, headers: Headers) -> None:
        w3c.inject(headers, span)

    def report(self, record: SpanRecord) -> None:
        self.exporter.add(record)


class OtlpExporter(Exporter):
    """One request with all spans that wait. Implements `UnaryCallbacks` and `RequestCallbacks`."""

    def __init__(self, spec: OpenTelemetrySpec, context: TracerContext) -> None:
        super().__init__(
            context.timers,
            flush_interval_s=context.number(
                "tracing.opentelemetry.flush_interval_ms", _DEFAULT_FLUSH_INTERVAL_MS
            )
            / 1000,
            min_flush_spans=context.number("tracing.opentelemetry.min_flush_spans", _DEFAULT_MIN_FLUSH_SPANS),
            max_waiting=spec.max_cache_size,
        )
        self._grpc = _prepared(spec.grpc_service)
        self._http = spec.http_service
        self._client = context.async_client
        self._resource = resource_of(spec, context.environ)
        service = spec.grpc_service or spec.http_service
        self._log = ExportLog("spans", service.cluster_name if service is not None else "")
        self._stats = OpenTelemetryTracerStats(context.scope.scope("tracing.opentelemetry"))

    def encode(self, record: SpanRecord) -> bytes:
        return otlp.encode_span(record)

    def export(self, spans: list[bytes]) -> None:
        self._stats.spans_sent.add(len(spans))
        body = otlp.encode(spans, self._resource)
        if self._grpc is not None:
            self._client.unary(self._grpc, otlp.EXPORT_PATH, body, self)
        elif self._http is not None:
            http = self._http
            headers = post_head(
                http, (names.CONTENT_TYPE, otlp.CONTENT_TYPE), (names.USER_AGENT, _USER_AGENT.encode())
            )
            self._client.request(
                http.cluster_name, headers, body, self, timeout_s=http.timeout_s or DEFAULT_TIMEOUT_S
            )
        else:
            self.done()

    def on_timer(self) -> None:
        self._stats.timer_flushed.inc()

    def on_dropped(self, count: int) -> None:
        self._stats.spans_dropped.add(count)

    def on_reply(self, message: bytes) -> None:
        self._over("")

    def on_call_failed(self, status: int, message: str) -> None:
        self._over(f"gRPC status {status} {message}")

    def on_response(self, headers: Headers, body: bytes) -> None:
        self._over("" if headers.status == _OK else f"HTTP status {headers.status}")

    def on_failure(self, failure: RequestFailure) -> None:
        self._over(failure.details)

    def _over(self, problem: str) -> None:
        """`problem` "": the collector has it."""
        if problem:
            self._stats.exports_failed_total.inc()
            self._log.failed(problem)
        else:
            self._log.succeeded()
        self.done()


def _prepared(service: GrpcServiceSpec | None) -> GrpcServiceSpec | None:
    if service is None:
        return None
    return structs.replace(
        service,
        initial_metadata=(("user-agent", _USER_AGENT), *service.initial_metadata),
        timeout_s=service.timeout_s or DEFAULT_TIMEOUT_S,
    )


def resource_of(spec: OpenTelemetrySpec, environ: Mapping[str, str]) -> dict[str, str]:
    """The attributes that tell who makes the spans; the service name of the configuration counts more than a detected one."""
    attributes = dict(_SDK)
    if spec.from_environment:
        for item in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
            key, equals, value = item.partition("=")
            if equals and key.strip():
                attributes[key.strip()] = unquote(value.strip())
    attributes.update(spec.attributes)
    if spec.service_name or "service.name" not in attributes:
        attributes["service.name"] = spec.service_name or _DEFAULT_SERVICE_NAME
    return attributes
