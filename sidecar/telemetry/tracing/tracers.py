"""All tracers of the process: one for each configuration, shared by all connection managers that have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.model.tracing import TracerSpec, ZipkinSpec
from sidecar.telemetry.exports import close_all

if TYPE_CHECKING:
    from sidecar.telemetry.tracing.context import TracerContext
    from sidecar.telemetry.tracing.opentelemetry import OpenTelemetryTracer
    from sidecar.telemetry.tracing.span import Tracer
    from sidecar.telemetry.tracing.zipkin import ZipkinTracer


class Tracers:
    """Made with the first connection manager that asks."""

    def __init__(self, context: TracerContext) -> None:
        self._context = context
        self._tracers: dict[TracerSpec, OpenTelemetryTracer | ZipkinTracer] = {}

    def __len__(self) -> int:
        return len(self._tracers)

    def get(self, spec: TracerSpec) -> Tracer:
        tracer = self._tracers.get(spec)
        if tracer is None:
            tracer = self._tracers[spec] = self._make(spec)
        return tracer

    def _make(self, spec: TracerSpec) -> OpenTelemetryTracer | ZipkinTracer:
        # imported when they are configured: most proxies have none, and none has both
        if isinstance(spec, ZipkinSpec):
            from sidecar.telemetry.tracing.zipkin import ZipkinTracer

            return ZipkinTracer(spec, self._context)
        from sidecar.telemetry.tracing.opentelemetry import OpenTelemetryTracer

        return OpenTelemetryTracer(spec, self._context)

    async def close(self, timeout_s: float) -> None:
        """Send what waits, and wait for the collectors, `timeout_s` at most."""
        await close_all([tracer.exporter.close for tracer in self._tracers.values()], timeout_s)
