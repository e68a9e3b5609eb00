"""OTLP exports: over gRPC and over HTTP, and whose spans they are."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from config.model.core import Node
from config.model.services import GrpcServiceSpec, HttpServiceSpec
from config.model.tracing import OpenTelemetrySpec
from protocols.grpc.framing import PREFIX_BYTES
from sidecar.telemetry.exports import DEFAULT_TIMEOUT_S
from sidecar.telemetry.tracing.context import TracerContext
from sidecar.telemetry.tracing.exporter import MAX_IN_FLIGHT
from sidecar.telemetry.tracing.opentelemetry import OpenTelemetryTracer, resource_of
from sidecar.telemetry.tracing.span import Span
from sidecar.version import VERSION
from tests.support.async_client import CLUSTER, FakeAsyncClient
from tests.support.http2_floor import body_of, head_of

GRPC = OpenTelemetrySpec(GrpcServiceSpec(CLUSTER, timeout_s=1.0), service_name="svc")
HTTP = OpenTelemetrySpec(
    http_service=HttpServiceSpec(CLUSTER, "otel:4318", "/v1/traces", 1.0, (("authorization", "t"),)),
    service_name="svc",
)


class World:
    def __init__(self, spec: OpenTelemetrySpec, **runtime: object) -> None:
        self.client = FakeAsyncClient()
        self.store = self.client.fake.store
        named = {f"tracing.opentelemetry.{name}": value for name, value in runtime.items()}
        self.tracer = OpenTelemetryTracer(
            spec,
            TracerContext(
                self.client.client,
                self.client.fake.timers,
                self.store.root,
                Node(id="node", cluster="svc"),
                "10.0.0.1",
                named,
            ),
        )

    def span(self, name: str = "op") -> None:
        span = Span(self.tracer, name)
        self.tracer.start(span, None, as_server=True, traced=True)
        span.finish(1, 2, {"a": "b"}, [])

    def stat(self, name: str) -> int:
        found = self.store.find(f"tracing.opentelemetry.{name}")
        assert found is not None
        return int(found.value)


def names_of(body: bytes) -> list[str]:
    request: Any = ExportTraceServiceRequest.FromString(body)
    (group,) = request.resource_spans
    return [span.name for span in group.instrumentation_library_spans[0].spans]


def test_over_grpc() -> None:
    it = World(GRPC, min_flush_spans=2)
    it.span("one")
    it.span("two")
    server = it.client.server()
    told = server.told(1)
    head = head_of(told)
    assert head[":path"] == "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    assert head["user-agent"] == f"OTel-OTLP-Exporter-sidecar-proxy/{VERSION}"
    assert names_of(body_of(told)[PREFIX_BYTES:]) == ["one", "two"]
    server.answer(1, 200, b"", ("grpc-status", "0"))
    assert it.stat("spans_sent") == 2


def test_over_http() -> None:
    it = World(HTTP, min_flush_spans=1)
    it.span()
    told = it.client.server().told(1)
    head = head_of(told)
    assert (head[":method"], head[":authority"], head[":path"]) == ("POST", "otel:4318", "/v1/traces")
    assert (head["content-type"], head["authorization"]) == ("application/x-protobuf", "t")
    assert names_of(body_of(told)) == ["op"]


def test_flushed_by_the_clock() -> None:
    it = World(GRPC, flush_interval_ms=200)
    it.span()
    it.client.loop.advance(0.1)
    assert it.stat("timer_flushed") == 0
    it.client.loop.advance(0.2)
    assert names_of(body_of(it.client.server().told(1))[PREFIX_BYTES:]) == ["op"]
    assert it.stat("timer_flushed") == 1


def test_bounded() -> None:
    spec = OpenTelemetrySpec(GrpcServiceSpec(CLUSTER), max_cache_size=3)
    it = World(spec, min_flush_spans=100)
    for _ in range(5):
        it.span()
    assert it.stat("spans_dropped") == 2


@pytest.mark.parametrize("spec", [GRPC, HTTP])
def test_a_collector_that_fails_costs_its_spans(
    spec: OpenTelemetrySpec, caplog: pytest.LogCaptureFixture
) -> None:
    it = World(spec, min_flush_spans=1)
    for _ in range(20):
        it.span()
        it.client.loop.turn()
        it.client.fake.peers[-1].refuse()
    assert (it.stat("spans_sent"), it.stat("exports_failed_total")) == (20, 20)
    assert it.client.bugs == []
    assert len(caplog.records) == 1


@pytest.mark.parametrize("spec", [GRPC, HTTP])
def test_a_collector_that_answers_badly_and_then_well(
    spec: OpenTelemetrySpec, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    it = World(spec, min_flush_spans=1)
    it.span()
    server = it.client.server()
    server.told(1)
    server.answer(1, 503, b"")
    it.span()
    server.told(3)
    server.answer(3, 200, None)
    server.data(3, b"\0\0\0\0\0")
    server.trailers(3, ("grpc-status", "0"))
    assert it.stat("exports_failed_total") == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


@pytest.mark.parametrize(
    "spec",
    [
        OpenTelemetrySpec(GrpcServiceSpec(CLUSTER)),
        OpenTelemetrySpec(http_service=HttpServiceSpec(CLUSTER, "otel:4318", "/v1/traces", None)),
    ],
)
def test_without_a_timeout_a_collector_that_does_not_answer_is_given_up(spec: OpenTelemetrySpec) -> None:
    it = World(spec, min_flush_spans=1)
    for _ in range(MAX_IN_FLIGHT + 1):
        it.span()
    it.client.server()
    it.client.loop.advance(DEFAULT_TIMEOUT_S - 0.1)
    assert (it.stat("spans_sent"), it.stat("exports_failed_total")) == (MAX_IN_FLIGHT, 0)
    it.client.loop.advance(0.3)
    it.span()
    assert (it.stat("spans_sent"), it.stat("exports_failed_total")) == (MAX_IN_FLIGHT + 2, MAX_IN_FLIGHT)


def test_without_a_collector() -> None:
    it = World(OpenTelemetrySpec(), min_flush_spans=1)
    for _ in range(20):
        it.span()
    assert it.stat("spans_sent") == 20
    it.client.loop.turn()
    assert it.client.fake.peers == []


class TestResource:
    SDK = ("telemetry.sdk.language", "telemetry.sdk.name", "telemetry.sdk.version")

    @staticmethod
    def of(spec: OpenTelemetrySpec, **environ: str) -> dict[str, str]:
        found = resource_of(spec, environ)
        return {name: value for name, value in found.items() if not name.startswith("telemetry.sdk.")}

    def test_the_service(self) -> None:
        assert self.of(GRPC) == {"service.name": "svc"}
        assert self.of(OpenTelemetrySpec()) == {"service.name": "unknown_service:envoy"}
        assert set(self.SDK) <= set(resource_of(GRPC, {}))

    def test_detected(self) -> None:
        spec = OpenTelemetrySpec(
            attributes=(("a", "static"), ("service.name", "found")), from_environment=True
        )
        environ = {"OTEL_RESOURCE_ATTRIBUTES": "a=env, b=x%20y,,broken,=z"}
        assert self.of(spec, **environ) == {"a": "static", "b": "x y", "service.name": "found"}

    def test_the_environment_is_not_asked(self) -> None:
        assert self.of(GRPC, OTEL_RESOURCE_ATTRIBUTES="a=b") == {"service.name": "svc"}
