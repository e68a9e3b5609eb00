"""The HTTP/1 pool: who gets which connection, when connections are opened, and what the circuit breakers allow."""

from __future__ import annotations

from config.model.cluster import (
    CircuitBreakerThresholds,
    ClusterSpec,
    UpstreamHttpOptions,
    UpstreamHttpProtocol,
)
from config.model.core import RoutingPriority
from protocols.http.codec import HttpVersion, ResetReason
from sidecar.upstream.api import UpstreamFailure
from tests.support.upstream import FakeCluster, RecordingSink, static_spec

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
ANSWERED = [("ready",), ("headers", 200, False), ("data", b"hi", True)]


def limited(**limits: int) -> FakeCluster:
    breakers = {RoutingPriority.DEFAULT: CircuitBreakerThresholds(**limits)}
    return FakeCluster(static_spec(circuit_breakers=breakers))


def with_options(**fields: object) -> FakeCluster:
    return FakeCluster(static_spec(http_options=UpstreamHttpOptions(**fields)))


class TestReuse:
    def test_cold_then_warm(self) -> None:
        fake = FakeCluster()
        first = fake.request(b"/1")
        assert first.events == []
        peer = fake.peers[0].accept()
        assert peer.transport.take() == b"GET /1 HTTP/1.1\r\nhost: host\r\n\r\n"
        peer.send(OK)
        assert first.events == ANSWERED
        second = fake.request(b"/2")
        assert len(fake.peers) == 1
        peer.send(OK)
        assert second.events == ANSWERED
        assert fake.nonzero() == {
            "upstream_cx_active": 1,
            "upstream_cx_http1_total": 1,
            "upstream_cx_total": 1,
            "upstream_cx_rx_bytes_total": 2 * len(OK),
            "upstream_cx_tx_bytes_total": 2 * 31,
            "upstream_rq_pending_total": 1,
            "upstream_rq_total": 2,
        }

    def test_most_recently_used_first(self) -> None:
        fake = FakeCluster()
        sinks = [fake.request(b"/%d" % number) for number in range(3)]
        for peer in fake.peers:
            peer.accept()
        assert len(fake.peers) == 3
        for number in (2, 0, 1):
            fake.peers[number].send(OK)
        assert all(sink.events == ANSWERED for sink in sinks)
        fake.request()
        assert [bool(peer.transport.take().count(b"GET / ")) for peer in fake.peers] == [False, True, False]

    def test_waiting_requests_are_served_in_order(self) -> None:
        fake = limited(max_connections=1)
        sinks = [fake.request(b"/%d" % number) for number in range(3)]
        peer = fake.peers[0].accept()
        for number in range(3):
            assert b"GET /%d " % number in peer.transport.take()
            assert sinks[number].events == [("ready",)]
            peer.send(OK)
        assert len(fake.peers) == 1
        # each time somebody begins to wait, and each time somebody still waits when a connection was given away
        assert fake.value("upstream_cx_overflow") == 4
        assert fake.value("circuit_breakers.default.cx_open") == 1

    def test_a_request_made_at_the_end_of_another_takes_its_connection(self) -> None:
        fake = FakeCluster()
        first = fake.request(b"/1")
        later: list[RecordingSink] = []
        first.on_end = lambda: later.append(fake.request(b"/2"))
        peer = fake.peers[0].accept()
        peer.send(OK)
        assert len(fake.peers) == 1
        assert later[0].events == [("ready",)]

    def test_max_requests_per_connection(self) -> None:
        fake = with_options(max_requests_per_connection=2)
        for number in range(3):
            fake.request()
            peer = fake.peers[-1]
            if number != 1:
                peer.accept()
            peer.send(OK)
        assert [peer.transport.closed for peer in fake.peers] == [True, False]
        assert fake.value("upstream_cx_max_requests") == 1
        assert fake.value("upstream_cx_destroy_local") == 1
        assert fake.value("upstream_cx_destroy_with_active_rq") == 0

    def test_keys_keep_connections_apart(self) -> None:
        fake = FakeCluster()
        fake.request(priority=RoutingPriority.HIGH)
        fake.peers[0].accept().send(OK)
        fake.request()
        assert len(fake.peers) == 2
        # without TLS neither ALPN nor SNI mean anything
        fake.peers[1].accept().send(OK)
        fake.request(application_protocols=("istio-http/1.1",), server_name="a.b")
        assert len(fake.peers) == 2


class TestIdleConnections:
    def test_idle_timeout(self) -> None:
        fake = with_options(idle_timeout_s=60.0)
        fake.request()
        peer = fake.peers[0].accept()
        peer.send(OK)
        fake.loop.advance(50)
        fake.request()
        peer.send(OK)
        fake.loop.advance(50)
        assert not peer.transport.closed
        fake.loop.advance(11)
        assert peer.transport.closed
        peer.gone()
        assert fake.value("upstream_cx_idle_timeout") == 1
        assert fake.active_gauges() == {}

    def test_idle_timeout_spares_a_busy_connection(self) -> None:
        fake = with_options(idle_timeout_s=10.0)
        fake.request()
        peer = fake.peers[0].accept()
        peer.send(OK)
        busy = fake.request()
        fake.loop.advance(30)
        assert not peer.transport.closed
        peer.send(OK)
        assert busy.events == ANSWERED
        fake.loop.advance(11)
        assert peer.transport.closed

    def test_max_connection_duration(self) -> None:
        fake = with_options(max_connection_duration_s=10.0)
        fake.request()
        idle = fake.peers[0].accept()
        idle.send(OK)
        fake.loop.advance(11)
        assert idle.transport.closed
        sink = fake.request()
        busy = fake.peers[1].accept()
        fake.loop.advance(11)
        assert not busy.transport.closed
        busy.send(OK)
        assert sink.events == ANSWERED
        assert busy.transport.closed
        assert fake.value("upstream_cx_max_duration_reached") == 2

    def test_closed_by_the_upstream(self) -> None:
        fake = FakeCluster()
        fake.request()
        peer = fake.peers[0].accept()
        peer.send(OK)
        peer.end()
        assert peer.transport.closed
        peer.gone()
        assert fake.value("upstream_cx_destroy_remote") == 1
        assert fake.value("upstream_cx_destroy_with_active_rq") == 0
        fake.request()
        assert len(fake.peers) == 2

    def test_surplus_bytes_are_never_taken_for_an_answer(self) -> None:
        fake = FakeCluster()
        fake.request()
        peer = fake.peers[0].accept()
        peer.send(OK)
        peer.send(OK)
        assert peer.transport.closed
        assert fake.value("upstream_cx_protocol_error") == 1
        assert fake.value("upstream_cx_destroy_local") == 1
        fake.request()
        assert len(fake.peers) == 2

    def test_a_408_on_an_idle_connection_is_a_goodbye(self) -> None:
        fake = FakeCluster()
        fake.request()
        peer = fake.peers[0].accept()
        peer.send(OK)
        peer.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        assert peer.transport.closed
        assert fake.value("upstream_cx_protocol_error") == 0


class TestConnecting:
    def test_one_connection_for_each_that_waits(self) -> None:
        fake = FakeCluster()
        for _ in range(3):
            fake.request()
        assert len(fake.peers) == 3
        assert fake.value("upstream_rq_pending_active") == 3

    def test_refused(self) -> None:
        fake = FakeCluster()
        sinks = [fake.request(), fake.request()]
        fake.peers[0].refuse()
        text = "delayed connect error: Connection refused"
        assert [sink.events for sink in sinks] == [[("failure", UpstreamFailure.CONNECT_FAILURE, text)]] * 2
        info = sinks[0].info
        assert info is not None
        assert info.transport_failure_reason == text
        assert str(info.host_address) == "10.0.0.1:80"
        fake.peers[1].refuse()
        assert fake.active_gauges() == {}
        assert fake.nonzero() == {
            "upstream_cx_connect_fail": 2,
            "upstream_cx_destroy": 2,
            "upstream_cx_destroy_remote": 2,
            "upstream_cx_http1_total": 2,
            "upstream_cx_total": 2,
            "upstream_rq_pending_failure_eject": 2,
            "upstream_rq_pending_total": 2,
        }

    def test_timeout(self) -> None:
        fake = FakeCluster(static_spec(connect_timeout_s=1.0))
        sink = fake.request()
        fake.loop.advance(0.99)
        assert sink.events == []
        fake.loop.advance(0.02)
        assert sink.events == [("failure", UpstreamFailure.CONNECT_TIMEOUT, "")]
        assert fake.tasks[0].cancelled
        assert fake.value("upstream_cx_connect_timeout") == 1
        assert fake.value("upstream_cx_connect_fail") == 1
        assert fake.value("upstream_cx_destroy_local") == 1
        assert fake.active_gauges() == {}

    def test_asking_again_inside_of_the_failure_opens_a_new_connection(self) -> None:
        fake = FakeCluster()
        again: list[RecordingSink] = []

        class Retrying(RecordingSink):
            def on_pool_failure(self, *args: object) -> None:
                again.append(fake.request())

        fake.ask(Retrying())
        fake.peers[0].refuse()
        assert len(fake.peers) == 2
        fake.peers[1].accept().send(OK)
        assert again[0].events == ANSWERED

    def test_cancel_keeps_the_connection_for_the_next(self) -> None:
        fake = FakeCluster()
        sink = RecordingSink()
        pending = fake.ask(sink)
        pending.cancel()
        pending.cancel()
        assert fake.value("upstream_rq_cancelled") == 1
        assert fake.value("upstream_rq_pending_active") == 0
        peer = fake.peers[0].accept()
        assert sink.events == []
        other = fake.request()
        peer.send(OK)
        assert other.events == ANSWERED
        assert len(fake.peers) == 1


class TestCircuitBreakers:
    def test_pending_overflow(self) -> None:
        fake = limited(max_connections=1, max_pending_requests=1)
        fake.request(b"/1")
        fake.peers[0].accept()
        waiting = fake.request(b"/2")
        refused = fake.request(b"/3")
        assert waiting.events == []
        assert refused.events == [("failure", UpstreamFailure.OVERFLOW, "")]
        assert refused.info is not None and refused.info.host_address is None
        assert fake.value("upstream_rq_pending_overflow") == 1
        assert fake.value("circuit_breakers.default.rq_pending_open") == 1

    def test_active_requests_overflow(self) -> None:
        fake = limited(max_requests=1)
        first, second = fake.request(), fake.request()
        for peer in fake.peers:
            peer.accept()
        assert first.events == [("ready",)]
        assert second.events == [("failure", UpstreamFailure.OVERFLOW, "")]
        assert second.info is not None and str(second.info.host_address) == "10.0.0.1:80"
        assert fake.value("upstream_rq_active_overflow") == 1
        assert fake.value("circuit_breakers.default.rq_open") == 1
        fake.peers[0].send(OK)
        assert fake.value("circuit_breakers.default.rq_open") == 0
        assert fake.request().events == [("ready",)]

    def test_one_connection_is_always_allowed(self) -> None:
        fake = limited(max_connections=0)
        assert fake.value("circuit_breakers.default.cx_open") == 0  # Envoy looks only when something changes
        first, second = fake.request(), fake.request()
        assert fake.value("circuit_breakers.default.cx_open") == 1
        assert len(fake.peers) == 1
        peer = fake.peers[0].accept()
        peer.send(OK)
        peer.send(OK)
        assert first.events == second.events == ANSWERED
        assert fake.value("upstream_cx_overflow") == 3

    def test_priorities_have_their_own(self) -> None:
        fake = limited(max_requests=0)
        low, high = fake.request(), fake.request(priority=RoutingPriority.HIGH)
        for peer in fake.peers:
            peer.accept()
        assert low.events == [("failure", UpstreamFailure.OVERFLOW, "")]
        assert high.events == [("ready",)]


class TestProtocols:
    def test_the_downstream_protocol_chooses_the_pool(self) -> None:
        spec = static_spec(http_options=UpstreamHttpOptions(UpstreamHttpProtocol.USE_DOWNSTREAM))
        fake = FakeCluster(spec)
        (host,) = fake.cluster.hosts()
        fake.ask(RecordingSink(), downstream_version=HttpVersion.HTTP2)
        sink = fake.request()
        assert [key.protocol for key in host.pools] == [
            UpstreamHttpProtocol.HTTP2,
            UpstreamHttpProtocol.HTTP1,
        ]
        fake.peers[1].accept().send(OK)
        assert sink.events == ANSWERED

    def test_no_host(self) -> None:
        fake = FakeCluster(ClusterSpec("none", "none"))
        sink = fake.request()
        assert sink.events == [("failure", UpstreamFailure.NO_HEALTHY_HOST, "")]
        assert fake.value("upstream_cx_none_healthy") == 1


class TestEnd:
    def test_empty_pools_are_forgotten(self) -> None:
        fake = limited(max_pending_requests=1)
        (host,) = fake.cluster.hosts()
        fake.request()
        fake.request(priority=RoutingPriority.HIGH)
        assert len(host.pools) == 2
        fake.peers[0].accept().send(OK)
        fake.peers[0].end()
        fake.peers[1].refuse()
        assert host.pools == {}
        fake = limited(max_pending_requests=0)
        fake.request()
        (host,) = fake.cluster.hosts()
        assert host.pools == {}

    def test_a_connection_that_a_filter_has_just_closed_is_not_used(self) -> None:
        fake = FakeCluster()
        fake.request()
        peer = fake.peers[0].accept()
        peer.send(OK)
        peer.connection.close("by a filter")
        sink = fake.request()
        assert sink.events == []
        assert len(fake.peers) == 2
        peer.gone()
        fake.peers[1].accept().send(OK)
        assert sink.events == ANSWERED
        assert fake.value("upstream_cx_destroy") == 1

    def test_drain(self) -> None:
        fake = FakeCluster()
        busy = fake.request()
        fake.request()
        for peer in fake.peers:
            peer.accept()
        fake.peers[1].send(OK)
        fake.cluster.drain()
        assert [peer.transport.closed for peer in fake.peers] == [False, True]
        fake.peers[0].send(OK)
        assert busy.events == ANSWERED
        assert fake.peers[0].transport.closed
        for peer in fake.peers:
            peer.gone()
        assert fake.active_gauges() == {}
        assert all(not host.pools for host in fake.cluster.hosts())

    def test_close_tells_everybody(self) -> None:
        fake = limited(max_connections=1)
        busy, waiting = fake.request(), fake.request()
        peer = fake.peers[0].accept()
        fake.cluster.close()
        assert busy.events == [("ready",), ("reset", ResetReason.CONNECTION_TERMINATION, "")]
        assert waiting.events == [("failure", UpstreamFailure.CONNECT_FAILURE, "")]
        assert peer.transport.closed
        assert fake.active_gauges() == {}

    def test_nothing_leaks(self) -> None:
        """A thousand exchanges that end badly, each in another way."""
        fake = FakeCluster()
        for number in range(1000):
            sink = RecordingSink()
            pending = fake.ask(sink)
            peer = fake.peers[-1]
            way = number % 8
            if way == 0:
                pending.cancel()
                peer.accept()
                peer.end()
            elif way == 1:
                peer.refuse()
            elif way == 2:
                fake.loop.advance(6)
            else:
                peer.accept()
                assert sink.stream is not None
                if way == 3:
                    sink.stream.reset()
                elif way == 4:
                    peer.reset()
                elif way == 5:
                    peer.end()
                elif way == 6:
                    peer.send(b"garbage\r\n\r\n")
                else:
                    peer.send(OK)  # before the request was sent
            if peer.transport.closed:
                peer.socket.connection_lost(None)
        assert fake.active_gauges() == {}
        assert fake.value("upstream_cx_total") == 1000 == fake.value("upstream_cx_destroy")
