"""A collector of access logs: Envoy's access log service and OpenTelemetry's, over gRPC and over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from envoy.service.accesslog.v3 import als_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

from tests.support.process import wait_until

ALS = "envoy.service.accesslog.v3.AccessLogService"
OTLP = "opentelemetry.proto.collector.logs.v1.LogsService"

_LIMIT_S = 10.0


class LogCollector:
    """Writes down every message of both services."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.als: list[Any] = []  # StreamAccessLogsMessage
        self.streams = 0
        self.metadata: list[dict[str, str]] = []
        self.otlp: list[Any] = []  # ExportLogsServiceRequest
        self._pool = ThreadPoolExecutor(8, "log collector")
        self._server = grpc.server(self._pool)
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    ALS,
                    {
                        "StreamAccessLogs": grpc.stream_unary_rpc_method_handler(
                            self._stream,
                            als_pb2.StreamAccessLogsMessage.FromString,
                            lambda reply: reply.SerializeToString(),
                        )
                    },
                ),
                grpc.method_handlers_generic_handler(
                    OTLP,
                    {
                        "Export": grpc.unary_unary_rpc_method_handler(
                            self._export,
                            logs_service_pb2.ExportLogsServiceRequest.FromString,
                            lambda reply: reply.SerializeToString(),
                        )
                    },
                ),
            )
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self.posts: list[tuple[str, dict[str, str]]] = []  # path and headers of requests over HTTP
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.http_port: int = self._http.server_address[1]
        self._http_thread = threading.Thread(target=self._http.serve_forever, name="log collector http")
        self._http_thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self._body()
                request = logs_service_pb2.ExportLogsServiceRequest.FromString(body)
                with collector._lock:
                    collector.posts.append(
                        (self.path, {key.lower(): value for key, value in self.headers.items()})
                    )
                    collector.otlp.append(request)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def _body(self) -> bytes:
                if "content-length" in self.headers:
                    return self.rfile.read(int(self.headers["content-length"]))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, *args: object) -> None:
                return None

        return Handler

    def _stream(self, messages: Iterator[Any], context: grpc.ServicerContext) -> Any:
        with self._lock:
            self.streams += 1
            self.metadata.append({key: str(value) for key, value in context.invocation_metadata()})
        for message in messages:
            with self._lock:
                self.als.append(message)
        return als_pb2.StreamAccessLogsResponse()

    def _export(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._lock:
            self.otlp.append(request)
        return logs_service_pb2.ExportLogsServiceResponse()

    def entries(self) -> list[Any]:
        """All entries of the access log service, in the order of their arrival."""
        with self._lock:
            return [
                entry
                for message in self.als
                for entry in (*message.http_logs.log_entry, *message.tcp_logs.log_entry)
            ]

    def records(self) -> list[Any]:
        """All OpenTelemetry records, in the order of their arrival."""
        with self._lock:
            return [record for request in self.otlp for record in records_of(request)]

    def await_entries(self, count: int) -> list[Any]:
        return wait_until(
            lambda: found if len(found := self.entries()) >= count else None,
            timeout_s=_LIMIT_S,
            what=f"{count} access log entries",
        )

    def await_records(self, count: int) -> list[Any]:
        return wait_until(
            lambda: found if len(found := self.records()) >= count else None,
            timeout_s=_LIMIT_S,
            what=f"{count} log records",
        )

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._http_thread.join()
        self._server.stop(None).wait()
        self._pool.shutdown()


def records_of(request: Any) -> list[Any]:
    """The records of an `ExportLogsServiceRequest`, by today's name of their scope or by its former one."""
    return [
        record
        for resource in request.resource_logs
        for scope in getattr(resource, "scope_logs", None) or resource.instrumentation_library_logs
        for record in getattr(scope, "log_records", None) or scope.logs
    ]
