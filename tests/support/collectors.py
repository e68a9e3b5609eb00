"""Collectors of traces: they keep what they are sent, for tests to wait for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from tests.support.backends import HttpBackend, LoopThread, RecordedRequest, Script, Send, ok_response
from tests.support.process import wait_until

_EXPORT = "opentelemetry.proto.collector.trace.v1.TraceService"
_WAIT_S = 10.0

#: A span as a plain dictionary; times are left out.
Span = dict[str, Any]


class Collector:
    """What all have: the spans so far, each in the form of its protocol."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[Any] = []

    def _keep(self, spans: list[Any]) -> None:
        with self._lock:
            self._spans += spans

    @property
    def spans(self) -> list[Any]:
        with self._lock:
            return list(self._spans)

    def forget(self) -> None:
        with self._lock:
            self._spans.clear()

    def wait(self, count: int) -> list[Any]:
        """All spans, once there are `count`. Raises TimeoutError."""
        wait_until(lambda: len(self.spans) >= count, timeout_s=_WAIT_S, what=f"{count} spans")
        return self.spans


class ZipkinCollector(Collector):
    """Zipkin's `/api/v2/spans`; spans are the JSON objects."""

    def __init__(self, loop: LoopThread, answer: Callable[[RecordedRequest], Script] | None = None) -> None:
        super().__init__()
        self.requests: list[RecordedRequest] = []
        self.backend = HttpBackend(loop, name="zipkin")
        self.backend.answer = answer or self._answer
        self.backend.start()

    def _answer(self, request: RecordedRequest) -> Script:
        self.requests.append(request)
        self._keep(json.loads(request.body))
        return [Send(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")]

    @property
    def address(self) -> tuple[str, int]:
        return self.backend.address


class OtlpHttpCollector(Collector):
    """OTLP over HTTP, protobuf; spans are the messages, each with its resource."""

    def __init__(self, loop: LoopThread) -> None:
        super().__init__()
        self.requests: list[RecordedRequest] = []
        self.backend = HttpBackend(loop, name="otlp")
        self.backend.answer = self._answer
        self.backend.start()

    def _answer(self, request: RecordedRequest) -> Script:
        self.requests.append(request)
        self._keep(otlp_spans(trace_service_pb2.ExportTraceServiceRequest.FromString(request.body)))
        return [Send(ok_response(b""))]

    @property
    def address(self) -> tuple[str, int]:
        return self.backend.address


class OtlpGrpcCollector(Collector):
    """OTLP over gRPC; spans are the messages, each with its resource."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.address = ("127.0.0.1", port)
        self.metadata: list[dict[str, str]] = []
        self._pool = ThreadPoolExecutor(4, "collector")
        self._server = grpc.server(self._pool, options=[("grpc.so_reuseport", 0)])
        handler = grpc.unary_unary_rpc_method_handler(
            self._export,
            trace_service_pb2.ExportTraceServiceRequest.FromString,
            trace_service_pb2.ExportTraceServiceResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_EXPORT, {"Export": handler}),)
        )
        self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def _export(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.metadata.append({item.key: str(item.value) for item in context.invocation_metadata()})
        self._keep(otlp_spans(request))
        return trace_service_pb2.ExportTraceServiceResponse()

    def stop(self) -> None:
        self._server.stop(None).wait()
        self._pool.shutdown()


def otlp_spans(request: Any) -> list[tuple[Any, Any]]:
    """The spans of an export, each with its resource."""
    return [
        (span, group.resource)
        for group in request.resource_spans
        for library in group.instrumentation_library_spans
        for span in library.spans
    ]
