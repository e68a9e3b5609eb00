"""Connections for tcp_proxy."""

from __future__ import annotations

import logging

import pytest

from config.model.cluster import CircuitBreakerThresholds, ClusterSpec
from config.model.core import RoutingPriority
from sidecar.upstream.api import LbContext, Pending, UpstreamFailure
from tests.support.upstream import FakeCluster, Peer, RecordingTcpSink, static_spec


def connect(fake: FakeCluster) -> tuple[RecordingTcpSink, Pending]:
    sink = RecordingTcpSink()
    return sink, fake.cluster.new_connection(LbContext(), sink)


def connected() -> tuple[FakeCluster, RecordingTcpSink, Peer]:
    fake = FakeCluster()
    sink, _ = connect(fake)
    peer = fake.peers[0].accept()
    assert sink.events == [("ready",)]
    sink.events.clear()
    return fake, sink, peer


def limited(**limits: int) -> FakeCluster:
    breakers = {RoutingPriority.DEFAULT: CircuitBreakerThresholds(**limits)}
    return FakeCluster(static_spec(circuit_breakers=breakers))


def test_a_session() -> None:
    fake, sink, peer = connected()
    assert sink.upstream is not None
    sink.upstream.write(b"ping")
    peer.send(b"pong")
    assert peer.transport.take() == b"ping"
    sink.upstream.write(b"more", True)
    assert peer.transport.take() == b"more" and peer.transport.eof
    peer.end()
    assert sink.events == [("data", b"pong", False), ("data", b"", True)]
    sink.upstream.close()
    assert peer.transport.closed
    peer.gone()
    assert fake.active_gauges() == {}
    assert fake.nonzero() == {
        "upstream_cx_destroy": 1,
        "upstream_cx_destroy_remote": 1,
        "upstream_cx_destroy_remote_with_active_rq": 1,
        "upstream_cx_destroy_with_active_rq": 1,
        "upstream_cx_rx_bytes_total": 4,
        "upstream_cx_total": 1,
        "upstream_cx_tx_bytes_total": 8,
        "upstream_rq_pending_total": 1,
        "upstream_rq_total": 1,
    }


def test_the_upstream_ended_first() -> None:
    """It is closed by whoever ended last: by us."""
    fake, sink, peer = connected()
    assert sink.upstream is not None
    peer.end()
    sink.upstream.write(b"", True)
    sink.upstream.close()
    assert fake.value("upstream_cx_destroy_local_with_active_rq") == 1


def test_closed_from_here() -> None:
    fake, sink, peer = connected()
    assert sink.upstream is not None
    peer.end()
    sink.upstream.close()
    sink.upstream.close()
    sink.upstream.abort()
    sink.upstream.write(b"late")
    peer.gone()
    assert fake.value("upstream_cx_destroy_local_with_active_rq") == 1
    assert fake.value("upstream_cx_destroy") == 1
    assert sink.events == [("data", b"", True)]


def test_reset_by_the_upstream() -> None:
    fake, sink, peer = connected()
    peer.reset()
    assert sink.events == [("closed",)]
    assert fake.value("upstream_cx_destroy_remote_with_active_rq") == 1
    assert fake.active_gauges() == {}


def test_abort_is_a_reset() -> None:
    _, sink, peer = connected()
    assert sink.upstream is not None
    sink.upstream.abort()
    assert peer.transport.aborted


def test_never_reused() -> None:
    fake, sink, _ = connected()
    assert sink.upstream is not None
    sink.upstream.close()
    connect(fake)
    assert len(fake.peers) == 2


def test_refused() -> None:
    fake = FakeCluster()
    sink, _ = connect(fake)
    fake.peers[0].refuse()
    text = "delayed connect error: Connection refused"
    assert sink.events == [("failure", UpstreamFailure.CONNECT_FAILURE, text)]
    assert sink.info is not None and str(sink.info.host_address) == "10.0.0.1:80"
    assert fake.active_gauges() == {}
    assert fake.nonzero() == {
        "upstream_cx_connect_fail": 1,
        "upstream_cx_destroy": 1,
        "upstream_cx_destroy_remote": 1,
        "upstream_cx_total": 1,
        "upstream_rq_pending_failure_eject": 1,
        "upstream_rq_pending_total": 1,
    }


def test_timeout() -> None:
    fake = FakeCluster(static_spec(connect_timeout_s=1.0))
    sink, _ = connect(fake)
    fake.loop.advance(1.1)
    assert sink.events == [("failure", UpstreamFailure.CONNECT_TIMEOUT, "")]
    assert fake.value("upstream_cx_connect_timeout") == 1
    assert fake.value("upstream_cx_destroy_local") == 1
    assert fake.active_gauges() == {}


def test_failed_attempts_are_explained_in_the_debug_log(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeCluster(static_spec(connect_timeout_s=1.0))
    connect(fake)
    fake.peers[0].refuse()
    assert caplog.messages == []
    with caplog.at_level(logging.DEBUG, "sidecar.upstream"):
        connect(fake)
        fake.peers[1].refuse()
        connect(fake)
        fake.loop.advance(1.1)
        _, pending = connect(fake)
        pending.cancel()
        connect(fake)
        fake.peers[4].accept().reset()
    assert caplog.messages == [
        "cluster test: no connection to 10.0.0.1:80: remote_reset: delayed connect error: Connection refused",
        "cluster test: no connection to 10.0.0.1:80: timeout",
    ]


def test_cancel() -> None:
    fake = FakeCluster()
    sink, pending = connect(fake)
    pending.cancel()
    pending.cancel()
    assert fake.tasks[0].cancelled
    fake.loop.advance(10)
    assert sink.events == []
    assert fake.value("upstream_rq_cancelled") == 1
    assert fake.active_gauges() == {}


def test_cancel_after_ready_is_harmless() -> None:
    fake = FakeCluster()
    sink, pending = connect(fake)
    fake.peers[0].accept()
    pending.cancel()
    assert not fake.peers[0].transport.closed
    assert sink.events == [("ready",)]


@pytest.mark.parametrize("limit", ["max_connections", "max_pending_requests"])
def test_circuit_breakers(limit: str) -> None:
    fake = limited(**{limit: 1})
    first, _ = connect(fake)
    second, _ = connect(fake)
    assert first.events == []
    assert second.events == [("failure", UpstreamFailure.OVERFLOW, "")]
    counter = "upstream_cx_overflow" if limit == "max_connections" else "upstream_rq_pending_overflow"
    assert fake.value(counter) == 1


def test_no_host() -> None:
    fake = FakeCluster(ClusterSpec("none", "none"))
    sink, _ = connect(fake)
    assert sink.events == [("failure", UpstreamFailure.NO_HEALTHY_HOST, "")]
    assert fake.value("upstream_cx_none_healthy") == 1


def test_watermarks() -> None:
    fake, sink, peer = connected()
    peer.socket.pause_writing()
    peer.socket.resume_writing()
    assert sink.events == [("full", True), ("full", False)]
    assert fake.value("upstream_flow_control_backed_up_total") == 1


def test_a_peer_that_does_not_read_is_cut_off_in_the_end() -> None:
    fake, sink, peer = connected()
    assert sink.upstream is not None
    peer.transport.unwritten = 100
    sink.upstream.close()
    assert not peer.transport.aborted
    fake.loop.advance(3700)
    assert peer.transport.aborted


def test_shutdown_tells() -> None:
    fake, sink, peer = connected()
    waiting, _ = connect(fake)
    fake.cluster.close()
    assert sink.events == [("closed",)]
    assert waiting.events == [("failure", UpstreamFailure.CONNECT_FAILURE, "")]
    assert peer.transport.closed
    assert fake.active_gauges() == {}
