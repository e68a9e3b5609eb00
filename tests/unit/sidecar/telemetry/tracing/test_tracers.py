"""The tracers of a process: shared, and ended."""

from __future__ import annotations

import asyncio

from config.model.core import Node
from config.model.services import GrpcServiceSpec, HttpServiceSpec
from config.model.tracing import OpenTelemetrySpec, ZipkinSpec
from sidecar.telemetry.tracing.context import TracerContext
from sidecar.telemetry.tracing.opentelemetry import OpenTelemetryTracer
from sidecar.telemetry.tracing.span import Span
from sidecar.telemetry.tracing.tracers import Tracers
from sidecar.telemetry.tracing.zipkin import ZipkinTracer
from tests.support.async_client import CLUSTER, FakeAsyncClient

OTEL = OpenTelemetrySpec(GrpcServiceSpec(CLUSTER))
ZIPKIN = ZipkinSpec(HttpServiceSpec(CLUSTER, "z", "/", None))


def made() -> tuple[FakeAsyncClient, Tracers]:
    fake = FakeAsyncClient()
    context = TracerContext(
        fake.client, fake.fake.timers, fake.fake.store.root, Node(cluster="svc"), "10.0.0.1"
    )
    return fake, Tracers(context)


def test_one_for_each_configuration() -> None:
    _, tracers = made()
    assert not tracers
    assert isinstance(tracers.get(OTEL), OpenTelemetryTracer)
    assert isinstance(tracers.get(ZIPKIN), ZipkinTracer)
    assert tracers.get(OpenTelemetrySpec(GrpcServiceSpec(CLUSTER))) is tracers.get(OTEL)
    assert len(tracers) == 2


def test_the_end_without_any() -> None:
    _, tracers = made()
    asyncio.run(tracers.close(5.0))


def test_the_end_waits_for_collectors_but_not_for_ever() -> None:
    fake, tracers = made()
    tracer = tracers.get(OTEL)
    span = Span(tracer)
    tracer.start(span, None, as_server=True, traced=True)
    span.finish(1, 2, {}, [])
    asyncio.run(tracers.close(0.01))
    assert fake.server().told(1)  # it was sent all the same


def test_the_end_is_when_all_have_answered() -> None:
    fake, tracers = made()
    tracer = tracers.get(OTEL)
    span = Span(tracer)
    tracer.start(span, None, as_server=True, traced=True)
    span.finish(1, 2, {}, [])
    tracers.get(ZIPKIN)

    async def end() -> None:
        closing = asyncio.ensure_future(tracers.close(30.0))
        await asyncio.sleep(0)
        fake.server().answer(1, 200, b"", ("grpc-status", "0"))
        await closing

    asyncio.run(end())
