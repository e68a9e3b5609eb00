from __future__ import annotations

import asyncio
import json

import pytest

from config.model.access_log import GrpcAccessLogSpec, OpenTelemetryAccessLogSpec
from config.model.core import Node
from config.model.services import GrpcServiceSpec, HttpServiceSpec
from sidecar.telemetry.access_log.format import FormatError
from sidecar.telemetry.access_log.remote.build import RemoteAccessLogs
from sidecar.telemetry.access_log.remote.senders import MAX_IN_FLIGHT
from sidecar.transport.timers import Timers
from stats.metrics import Counter
from stats.store import Store
from tests.support.upstream import ManualLoop
from tests.unit.sidecar.telemetry.access_log.remote.clients import RecordingClient
from tests.unit.sidecar.telemetry.access_log.streams import proxied

SERVICE = GrpcServiceSpec("collector")


def test_there_may_be_none() -> None:
    logs = World().logs
    assert not logs
    asyncio.run(logs.close(60))
    logs.get(GrpcAccessLogSpec(True, "a", SERVICE))
    assert logs
    asyncio.run(logs.close(60))


class World:
    def __init__(self) -> None:
        self.client = RecordingClient()
        self.store = Store()
        self.logs = RemoteAccessLogs(
            self.client, Node("n", "c"), Timers(ManualLoop().as_loop()), self.store.root
        )


def test_logs_with_the_same_configuration_share_a_buffer() -> None:
    logs = World().logs
    first = logs.get(GrpcAccessLogSpec(True, "a", SERVICE))
    assert logs.get(GrpcAccessLogSpec(True, "a", SERVICE)) is first
    assert logs.get(GrpcAccessLogSpec(False, "a", SERVICE)) is not first
    assert logs.get(GrpcAccessLogSpec(True, "b", SERVICE)) is not first


def test_the_access_log_service() -> None:
    world = World()
    world.logs.get(GrpcAccessLogSpec(True, "a", SERVICE)).log(proxied())
    assert world.client.streams == []
    asyncio.run(world.logs.close(0.01))
    (stream,) = world.client.streams
    assert stream.path == b"/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
    assert len(stream.messages) == 1
    assert stream.closed
    assert world.store.find("access_logs.grpc_access_log.logs_written") is not None


def test_open_telemetry_by_grpc() -> None:
    world = World()
    spec = OpenTelemetryAccessLogSpec("a", SERVICE, buffer_bytes=0, body="x", stat_prefix="mine")
    world.logs.get(spec).log(proxied())
    (call,) = world.client.calls
    assert call.path == b"/opentelemetry.proto.collector.logs.v1.LogsService/Export"
    assert world.store.find("access_logs.open_telemetry_access_log.mine.logs_written") is not None


def test_what_a_service_does_not_take_in_the_end_is_counted() -> None:
    world = World()
    access_logger = world.logs.get(OpenTelemetryAccessLogSpec("a", SERVICE, buffer_bytes=0, body="x"))
    for _ in range(MAX_IN_FLIGHT + 3):
        access_logger.log(proxied())
    asyncio.run(world.logs.close(0.01))
    dropped = world.store.find("access_logs.open_telemetry_access_log.logs_dropped")
    assert isinstance(dropped, Counter)
    assert dropped.value == 3


@pytest.mark.parametrize("headers", [(), (("content-type", "application/json"),)])
def test_open_telemetry_by_http(headers: tuple[tuple[str, str], ...]) -> None:
    world = World()
    service = HttpServiceSpec("collector", "a", "/v1/logs", 1.0, headers)
    world.logs.get(OpenTelemetryAccessLogSpec("a", service, buffer_bytes=0, body="text")).log(proxied())
    (post,) = world.client.posts
    if headers:
        assert post.headers.get_all(b"content-type") == [b"application/json"]
        assert "resourceLogs" in json.loads(post.body)
    else:
        assert post.headers.get_all(b"content-type") == [b"application/x-protobuf"]
        assert b"text" in post.body


def test_bad_formats_are_refused() -> None:
    with pytest.raises(FormatError):
        World().logs.get(OpenTelemetryAccessLogSpec("a", SERVICE, body="%NOPE%"))
