"""The remote access logs of the process, made on demand: logs with the same configuration share a buffer, as in Envoy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from config.model.access_log import GrpcAccessLogSpec, OpenTelemetryAccessLogSpec
from config.model.services import GrpcServiceSpec
from sidecar.telemetry.exports import close_all
from stats.families import RemoteAccessLogStats

if TYPE_CHECKING:
    from config.model.core import Node
    from sidecar.telemetry.access_log.remote.buffer import RemoteAccessLogger, Sender
    from sidecar.telemetry.access_log.remote.otlp import Encoding
    from sidecar.transport.async_client import AsyncClient
    from sidecar.transport.timers import Timers
    from stats.store import Scope


class RemoteAccessLogs:
    def __init__(self, client: AsyncClient, node: Node, timers: Timers, scope: Scope) -> None:
        """`scope` is the root scope."""
        self._client: Final = client
        self._node: Final = node
        self._timers: Final = timers
        self._scope: Final = scope.scope("access_logs")
        self._made: list[tuple[GrpcAccessLogSpec | OpenTelemetryAccessLogSpec, RemoteAccessLogger]] = []

    def get(self, spec: GrpcAccessLogSpec | OpenTelemetryAccessLogSpec) -> RemoteAccessLogger:
        """Raises FormatError."""
        for known, access_logger in self._made:
            if known == spec:
                return access_logger
        made = self._grpc(spec) if isinstance(spec, GrpcAccessLogSpec) else self._open_telemetry(spec)
        self._made.append((spec, made))
        return made

    def _grpc(self, spec: GrpcAccessLogSpec) -> RemoteAccessLogger:
        # imported when they are needed: most proxies never do, and Envoy's messages are large
        from sidecar.telemetry.access_log.remote import als
        from sidecar.telemetry.access_log.remote.buffer import RemoteAccessLogger
        from sidecar.telemetry.access_log.remote.senders import StreamSender

        stats = RemoteAccessLogStats(self._scope.scope("grpc_access_log"))
        message = als.compile_message(spec, self._node)
        return RemoteAccessLogger(
            als.compile_encoder(spec),
            StreamSender(self._client, spec.service, als.PATH, message, stats),
            spec.service.cluster_name,
            stats,
            self._timers,
            flush_interval_s=spec.flush_interval_s,
            buffer_bytes=spec.buffer_bytes,
        )

    def _open_telemetry(self, spec: OpenTelemetryAccessLogSpec) -> RemoteAccessLogger:
        from sidecar.telemetry.access_log.remote.buffer import RemoteAccessLogger  # see _grpc
        from sidecar.telemetry.access_log.remote.otlp import (
            PATH,
            Json,
            Protobuf,
            compile_record,
            compile_request,
        )
        from sidecar.telemetry.access_log.remote.senders import CallSender, HttpSender

        scope = self._scope.scope("open_telemetry_access_log")
        stats = RemoteAccessLogStats(scope.scope(spec.stat_prefix) if spec.stat_prefix else scope)
        service = spec.service
        encoding: Encoding = Protobuf()
        sender: Sender
        if isinstance(service, GrpcServiceSpec):
            sender = CallSender(
                self._client, service, PATH, compile_request(spec, encoding, self._node), stats
            )
        else:
            # OTLP/HTTP has two forms; the header that goes along says which one is meant
            if dict(service.headers).get("content-type") == Json.content_type.decode():
                encoding = Json()
            message = compile_request(spec, encoding, self._node)
            sender = HttpSender(self._client, service, encoding.content_type, message, stats)
        return RemoteAccessLogger(
            compile_record(spec, encoding, self._node),
            sender,
            service.cluster_name,
            stats,
            self._timers,
            flush_interval_s=spec.flush_interval_s,
            buffer_bytes=spec.buffer_bytes,
        )

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._made)

    async def close(self, timeout_s: float) -> None:
        """Send what waits, and wait for the services, `timeout_s` at most."""
        await close_all([access_logger.close for _, access_logger in self._made], timeout_s)
        for _, access_logger in self._made:
            access_logger.give_up()
