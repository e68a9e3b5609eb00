"""Reports to Zipkin, and what is counted of them."""

from __future__ import annotations

import json

import pytest

from config.model.cluster import UpstreamHttpProtocol
from config.model.core import Node
from config.model.services import HttpServiceSpec
from config.model.tracing import ZipkinSpec
from sidecar.telemetry.exports import DEFAULT_TIMEOUT_S
from sidecar.telemetry.tracing.context import TracerContext
from sidecar.telemetry.tracing.span import Span
from sidecar.telemetry.tracing.zipkin import ZipkinTracer
from tests.support.async_client import CLUSTER, FakeAsyncClient
from tests.support.http_floor import response


class World:
    def __init__(self, cluster: str = CLUSTER, timeout_s: float | None = 5.0, **runtime: object) -> None:
        self.client = FakeAsyncClient(UpstreamHttpProtocol.HTTP1)
        self.loop = self.client.loop
        self.peers = self.client.fake.peers
        collector = HttpServiceSpec(cluster, "zipkin:9411", "/api/v2/spans", timeout_s, (("x-a", "b"),))
        self.tracer = ZipkinTracer(
            ZipkinSpec(collector),
            TracerContext(
                self.client.client,
                self.client.fake.timers,
                self.client.fake.store.root,
                Node(id="node", cluster="svc"),
                "10.0.0.1",
                {f"tracing.zipkin.{name}": value for name, value in runtime.items()},
            ),
        )

    def span(self) -> None:
        span = Span(self.tracer)
        self.tracer.start(span, None, as_server=True, traced=True)
        span.finish(1, 2, {"a": "b"}, [])

    def counted(self) -> dict[str, int]:
        """What is not 0."""
        prefix = "tracing.zipkin."
        return {
            stat.name.removeprefix(prefix): int(stat.value)
            for stat in self.client.fake.store
            if stat.name.startswith(prefix) and stat.value
        }


def test_a_report() -> None:
    it = World()
    for _ in range(5):
        it.span()
    it.loop.turn()
    peer = it.peers[0].accept()
    it.loop.turn()
    head, _, body = peer.transport.take().partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /api/v2/spans HTTP/1.1"
    assert {"host: zipkin:9411", "content-type: application/json", "x-a: b"} <= set(lines)
    spans = json.loads(body)
    assert len(spans) == 5
    assert spans[0]["localEndpoint"] == {"serviceName": "svc", "ipv4": "10.0.0.1", "port": 0}
    peer.send(response(202))
    assert it.counted() == {"spans_sent": 5, "reports_sent": 1}


def test_a_collector_that_does_not_want_it() -> None:
    it = World(min_flush_spans=1)
    it.span()
    it.loop.turn()
    peer = it.peers[0].accept()
    it.loop.turn()
    peer.send(response(500))
    assert it.counted() == {"spans_sent": 1, "reports_dropped": 1}


def test_a_collector_that_does_not_answer() -> None:
    it = World(min_flush_spans=1, request_timeout=100)
    it.span()
    it.loop.turn()
    it.peers[0].accept()
    it.loop.advance(0.2)
    assert it.counted() == {"spans_sent": 1, "reports_failed": 1}


def test_without_a_timeout_a_collector_that_does_not_answer_is_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    it = World(timeout_s=None, min_flush_spans=1)
    for _ in range(2):
        it.span()
    it.loop.turn()
    for peer in it.peers:
        peer.accept()
    it.loop.advance(DEFAULT_TIMEOUT_S - 0.1)
    assert it.counted()["spans_sent"] == 2
    assert "reports_failed" not in it.counted()
    it.loop.advance(0.3)
    assert it.counted()["reports_failed"] == 2
    assert [record.getMessage() for record in caplog.records] == [
        "exports of spans to cluster collector fail, what they have is lost: response_timeout"
    ]


def test_a_collector_that_is_not_configured() -> None:
    it = World("nobody", min_flush_spans=1)
    it.span()
    it.loop.turn()
    assert it.counted() == {"spans_sent": 1, "reports_skipped_no_cluster": 1}


def test_flushed_by_the_clock() -> None:
    it = World()
    it.span()
    it.loop.advance(5.2)
    assert it.counted() == {"spans_sent": 1, "timer_flushed": 1}
