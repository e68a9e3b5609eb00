"""A pool of HTTP/2 connections: how many it opens, what the server's limits mean, and how its connections leave."""

from __future__ import annotations

from typing import Any

import pytest

from config.model.cluster import CircuitBreakerThresholds, UpstreamHttpOptions, UpstreamHttpProtocol
from config.model.core import RoutingPriority
from config.model.http2 import Http2Options
from protocols.http.codec import HttpVersion, ResetReason
from protocols.http.headers import Headers
from sidecar.upstream.api import UpstreamFailure, UpstreamStream
from tests.support.http2_floor import Http2End, head_of, http2_peer
from tests.support.http2_frames import FrameType, build_frame, build_settings
from tests.support.upstream import FakeCluster, RecordingSink, endpoint, static_spec

ANSWERED = [("ready",), ("headers", 200, True)]
MAX_STREAMS = 3
UP = {"upstream_cx_active": 1, "connections": 1, "host cx_active": 1}


def make(fields: dict[str, Any] | None = None, **options: Any) -> FakeCluster:
    http_options = UpstreamHttpOptions(UpstreamHttpProtocol.HTTP2, **options)
    return FakeCluster(static_spec(http_options=http_options, **(fields or {})))


def breakers(**limits: int) -> dict[str, Any]:
    return {"circuit_breakers": {RoutingPriority.DEFAULT: CircuitBreakerThresholds(**limits)}}


def accept(fake: FakeCluster, number: int = 0, *settings: tuple[int, int]) -> Http2End:
    end = http2_peer(fake.peers[number].accept(), fake.loop.turn)
    if settings:
        end.raw(build_settings(*settings))
    return end


def up(fake: FakeCluster, *settings: tuple[int, int]) -> Http2End:
    """A connection that is up and has seen the server's settings; the stream 1 was used."""
    fake.request()
    end = accept(fake, len(fake.peers) - 1, *settings)
    end.answer(1)
    return end


def goaway(last_stream_id: int) -> bytes:
    return build_frame(FrameType.GOAWAY, 0, 0, last_stream_id.to_bytes(4, "big") + bytes(4))


def unfinished(fake: FakeCluster) -> RecordingSink:
    """A request whose body is still to come."""

    def send(stream: UpstreamStream) -> None:
        stream.send_headers(Headers.request(b"POST", b"/", b"host"), False)

    sink = RecordingSink(send)
    fake.ask(sink)
    return sink


def closed(fake: FakeCluster, number: int = 0) -> bool:
    fake.loop.turn()
    return fake.peers[number].transport.closed


class TestLimitsOfTheServer:
    def test_a_full_connection_makes_another(self) -> None:
        fake = make()
        first = up(fake, (MAX_STREAMS, 2))
        sinks = [fake.request() for _ in range(3)]
        assert len(fake.peers) == 2
        assert [len(sink.events) for sink in sinks] == [1, 1, 0]
        accept(fake, 1).answer(1)
        first.answer(3)
        first.answer(5)
        assert [sink.events for sink in sinks] == [ANSWERED] * 3

    def test_lowered_below_what_is_open(self) -> None:
        fake = make(breakers(max_connections=1))
        server = up(fake)
        sinks = [fake.request() for _ in range(4)]
        server.raw(build_settings((MAX_STREAMS, 2)))
        late = fake.request()
        for number, stream in enumerate((3, 5, 7)):
            assert late.events == []
            server.answer(stream)
            assert sinks[number].events == ANSWERED
        assert late.events == [("ready",)]
        server.answer(9)
        server.answer(11)
        assert late.events == ANSWERED
        assert fake.active_gauges() == UP

    def test_raised_again(self) -> None:
        fake = make(breakers(max_connections=1))
        server = up(fake, (MAX_STREAMS, 1))
        fake.request()
        waiting = [fake.request() for _ in range(3)]
        assert [sink.events for sink in waiting] == [[], [], []]
        server.raw(build_settings((MAX_STREAMS, 3)))
        assert [len(sink.events) for sink in waiting] == [1, 1, 0]
        server.raw(build_settings((MAX_STREAMS, 100)))
        assert waiting[2].events == [("ready",)]

    def test_raised_while_nobody_waits(self) -> None:
        """No other connection is needed from then on."""
        fake = make()
        server = up(fake, (MAX_STREAMS, 1))
        fake.request()
        server.raw(build_settings((MAX_STREAMS, 3)))
        assert fake.request().events == [("ready",)]
        assert len(fake.peers) == 1

    def test_what_one_connection_was_told_is_expected_of_the_next(self) -> None:
        fake = make()
        up(fake, (MAX_STREAMS, 2))
        sinks = [fake.request() for _ in range(6)]
        assert len(fake.peers) == 3
        accept(fake, 1, (MAX_STREAMS, 2))
        accept(fake, 2, (MAX_STREAMS, 2))
        assert [sink.events for sink in sinks] == [[("ready",)]] * 6
        assert len(fake.peers) == 3

    def test_the_next_connection_takes_more_than_expected(self) -> None:
        fake = make()
        up(fake, (MAX_STREAMS, 1))
        fake.request()
        fake.request()
        accept(fake, 1, (MAX_STREAMS, 10))
        assert fake.request().events == [("ready",)]
        assert len(fake.peers) == 2

    def test_none_at_all_and_then_some(self) -> None:
        fake = make(breakers(max_connections=1))
        server = up(fake)
        server.raw(build_settings((MAX_STREAMS, 0)))
        waiting = [fake.request(), fake.request()]
        assert [sink.events for sink in waiting] == [[], []]
        server.raw(build_settings((MAX_STREAMS, 1)))
        assert [len(sink.events) for sink in waiting] == [1, 0]
        server.answer(3)
        server.answer(5)
        assert [sink.events for sink in waiting] == [ANSWERED] * 2
        assert fake.active_gauges() == UP

    def test_none_at_all_does_not_open_connections_without_end(self) -> None:
        fake = make()
        for number in range(5):
            fake.request()
            accept(fake, number, (MAX_STREAMS, 0))
        assert len(fake.peers) == 5

    def test_our_own_limit(self) -> None:
        fake = make(http2=Http2Options(max_concurrent_streams=2))
        sinks = [fake.request() for _ in range(5)]
        assert len(fake.peers) == 3
        for number in range(3):
            accept(fake, number)
        assert [sink.events for sink in sinks] == [[("ready",)]] * 5
        assert fake.value("upstream_cx_total") == 3

    def test_a_request_that_still_leaves_counts(self) -> None:
        """Its response is complete, but the server's window holds back its body: the stream is open there."""
        fake = make(breakers(max_connections=1))
        server = up(fake, (MAX_STREAMS, 1), (4, 3))
        first = fake.request(body=b"abcdef")
        server.flush()
        server.answer(3)
        assert first.events == ANSWERED
        second = fake.request()
        assert second.events == []
        server.h2.increment_flow_control_window(10, 3)
        server.flush()
        assert second.events == [("ready",)]
        server.answer(5)
        assert second.events == ANSWERED


class TestCircuitBreakers:
    def test_connections(self) -> None:
        """One may always be opened by a pool that has none."""
        fake = make(breakers(max_connections=1), http2=Http2Options(max_concurrent_streams=1))
        sinks = [fake.request(), fake.request(), fake.request()]
        assert len(fake.peers) == 1
        assert fake.value("upstream_cx_overflow") >= 1
        server = accept(fake)
        for stream in (1, 3, 5):
            server.answer(stream)
        assert [sink.events for sink in sinks] == [ANSWERED] * 3
        assert fake.active_gauges() == UP

    def test_pending(self) -> None:
        fake = make(breakers(max_pending_requests=2))
        sinks = [fake.request() for _ in range(3)]
        assert [sink.events for sink in sinks] == [[], [], [("failure", UpstreamFailure.OVERFLOW, "")]]
        assert fake.value("upstream_rq_pending_overflow") == 1
        server = accept(fake)
        for stream in (1, 3):
            server.answer(stream)
        assert fake.active_gauges() == UP

    def test_requests(self) -> None:
        """Those who waited fail as well when their turn comes."""
        fake = make(breakers(max_requests=2))
        sinks = [fake.request() for _ in range(3)]
        server = accept(fake)
        assert sinks[2].events == [("failure", UpstreamFailure.OVERFLOW, "")]
        assert fake.value("upstream_rq_active_overflow") == 1
        server.answer(1)
        server.answer(3)
        assert fake.active_gauges() == UP

    def test_a_place_that_was_given_up_is_taken(self) -> None:
        fake = make(breakers(max_connections=1), http2=Http2Options(max_concurrent_streams=1))
        first, second = fake.request(), fake.request(b"/second")
        server = accept(fake)
        assert second.events == []
        assert first.stream is not None
        first.stream.reset()
        fake.loop.turn()
        assert second.events == [("ready",)]
        assert head_of(server.told(3))[":path"] == "/second"

    def test_a_head_that_cannot_be_written_leaves_its_place(self) -> None:
        fake = make(breakers(max_connections=1), http2=Http2Options(max_concurrent_streams=1))
        bad, good = fake.request(b"/ /"), fake.request()
        accept(fake)
        fake.loop.turn()
        assert bad.events[1][:2] == ("reset", ResetReason.PROTOCOL_ERROR)
        assert good.events == [("ready",)]


class TestRequestsPerConnection:
    def test_as_many_connections_as_that_needs(self) -> None:
        fake = make(max_requests_per_connection=2)
        sinks = [fake.request() for _ in range(5)]
        assert len(fake.peers) == 3
        servers = [accept(fake, number) for number in range(3)]
        servers[0].answer(1)
        servers[0].answer(3)
        servers[1].answer(1)
        servers[1].answer(3)
        servers[2].answer(1)
        assert [sink.events for sink in sinks] == [ANSWERED] * 5
        assert [closed(fake, number) for number in range(3)] == [True, True, False]
        assert fake.value("upstream_cx_max_requests") == 2
        assert fake.active_gauges() == UP

    def test_one_by_one(self) -> None:
        fake = make(max_requests_per_connection=3)
        for number in range(7):
            sink = fake.request()
            connection = number // 3
            if number % 3 == 0:
                server = accept(fake, connection)
            server.answer(2 * (number % 3) + 1)
            assert sink.events == ANSWERED
        assert len(fake.peers) == 3


class TestLeaving:
    def test_warning_then_goaway(self) -> None:
        fake = make()
        server = up(fake)
        sinks = [fake.request(), fake.request()]
        server.raw(goaway(2**31 - 1))
        assert [sink.events for sink in sinks] == [[("ready",)]] * 2
        new = fake.request()
        assert (new.events, len(fake.peers)) == ([], 2)
        server.raw(goaway(3))
        assert sinks[1].events == [("ready",), ("reset", ResetReason.NOT_PROCESSED, "")]
        assert not closed(fake)
        server.answer(3)
        assert sinks[0].events == ANSWERED
        assert closed(fake)
        accept(fake, 1).answer(1)
        assert new.events == ANSWERED
        assert fake.value("upstream_cx_close_notify") == 1
        assert fake.value("http2.tx_reset") == fake.value("http2.rx_reset") == 0
        assert fake.active_gauges() == UP

    def test_idle(self) -> None:
        fake = make()
        up(fake).raw(goaway(1))
        assert closed(fake)
        assert fake.active_gauges() == {}
        assert fake.value("upstream_cx_destroy_local") == 1
        assert fake.value("upstream_cx_protocol_error") == 0

    def test_before_anything_was_asked(self) -> None:
        fake = make()
        fake.request()
        accept(fake).raw(goaway(0))
        assert closed(fake)
        assert fake.active_gauges() == {}

    def test_and_closes_at_once(self) -> None:
        """The end comes in the same piece: only the streams that it has seen are lost with the connection."""
        fake = make()
        server = up(fake)
        seen, unseen = fake.request(), fake.request()
        server.flush()
        fake.peers[0].send(goaway(3))
        fake.peers[0].end()
        assert seen.events[1:] == [("reset", ResetReason.CONNECTION_TERMINATION, "")]
        assert unseen.events[1:] == [("reset", ResetReason.NOT_PROCESSED, "")]
        assert fake.active_gauges() == {}

    def test_who_is_told_may_ask_again_at_once(self) -> None:
        fake = make()
        server = up(fake)
        again = RecordingSink()

        class Insistent(RecordingSink):
            def on_upstream_reset(self, reason: ResetReason, details: str) -> None:
                fake.ask(again)

        fake.ask(Insistent(lambda stream: stream.send_headers(Headers.request(b"GET", b"/", b"host"), True)))
        server.raw(goaway(1))
        assert len(fake.peers) == 2
        accept(fake, 1)
        assert again.events == [("ready",)]

    def test_who_waits_gets_another_connection(self) -> None:
        fake = make(breakers(max_connections=1), http2=Http2Options(max_concurrent_streams=1))
        server = up(fake)
        busy, waiting = fake.request(), fake.request()
        server.raw(goaway(3))
        server.answer(3)
        assert busy.events == ANSWERED
        assert closed(fake)
        accept(fake, 1).answer(1)
        assert waiting.events == ANSWERED


class TestTimers:
    def test_idle_only_without_streams(self) -> None:
        fake = make(idle_timeout_s=10.0)
        server = up(fake)
        fake.request()
        fake.loop.advance(30)
        assert not closed(fake)
        server.answer(3)
        fake.loop.advance(9.8)
        assert not closed(fake)
        fake.loop.advance(0.5)
        assert closed(fake)
        assert fake.value("upstream_cx_idle_timeout") == 1
        assert fake.active_gauges() == {}

    def test_idle_after_a_reset(self) -> None:
        fake = make(idle_timeout_s=10.0)
        server = up(fake)
        sinks = [fake.request(), fake.request()]
        fake.loop.advance(11)
        server.reset(3)
        assert sinks[1].stream is not None
        sinks[1].stream.reset()
        fake.loop.advance(10.3)
        assert closed(fake)

    def test_idle_though_nobody_ever_came(self) -> None:
        fake = make(idle_timeout_s=10.0)
        sink = RecordingSink()
        pending = fake.ask(sink)
        pending.cancel()
        accept(fake)
        fake.loop.advance(10.3)
        assert closed(fake)
        assert sink.events == []
        assert fake.active_gauges() == {}

    def test_duration(self) -> None:
        fake = make(max_connection_duration_s=10.0)
        server = up(fake)
        sink = fake.request()
        fake.loop.advance(10.2)
        assert not closed(fake)
        later = fake.request()
        assert (later.events, len(fake.peers)) == ([], 2)
        server.answer(3)
        assert sink.events == ANSWERED
        assert closed(fake)
        assert fake.value("upstream_cx_max_duration_reached") == 1
        accept(fake, 1).answer(1)
        assert later.events == ANSWERED

    def test_duration_of_an_idle_connection(self) -> None:
        fake = make(max_connection_duration_s=10.0)
        up(fake)
        fake.loop.advance(10.2)
        assert closed(fake)
        assert fake.active_gauges() == {}


class TestDrain:
    def test_idle(self) -> None:
        fake = make()
        up(fake)
        fake.cluster.drain()
        assert closed(fake)
        assert fake.active_gauges() == {}
        (host,) = fake.cluster.hosts()
        assert host.pools == {}

    def test_busy(self) -> None:
        fake = make()
        server = up(fake)
        sinks = [fake.request(), unfinished(fake)]
        fake.cluster.drain()
        server.answer(3)
        assert not closed(fake)
        assert sinks[1].stream is not None
        sinks[1].stream.send_data(b"x", True)
        server.flush()
        server.answer(5)
        assert [sink.events for sink in sinks] == [ANSWERED] * 2
        assert closed(fake)
        assert fake.active_gauges() == {}

    def test_who_waits_is_served_first(self) -> None:
        fake = make()
        sinks = [fake.request(), fake.request()]
        fake.cluster.drain()
        server = accept(fake)
        assert len(fake.peers) == 1
        server.answer(1)
        assert not closed(fake)
        server.answer(3)
        assert [sink.events for sink in sinks] == [ANSWERED] * 2
        assert closed(fake)
        assert fake.active_gauges() == {}

    def test_nobody_waits_any_more(self) -> None:
        fake = make()
        pending = fake.ask(RecordingSink())
        pending.cancel()
        fake.cluster.drain()
        accept(fake)
        assert closed(fake)
        assert fake.active_gauges() == {}

    def test_close_tells_everybody(self) -> None:
        fake = make(breakers(max_connections=1), http2=Http2Options(max_concurrent_streams=1))
        server = up(fake)
        busy, waiting = fake.request(), fake.request()
        server.flush()
        fake.cluster.close()
        assert busy.events[1:] == [("reset", ResetReason.CONNECTION_TERMINATION, "")]
        assert waiting.events == [("failure", UpstreamFailure.CONNECT_FAILURE, "")]
        assert closed(fake)
        assert fake.active_gauges() == {}

    def test_a_connection_that_is_being_closed_takes_nothing(self) -> None:
        """A filter has closed it, and the event loop has not said so yet."""
        fake = make()
        up(fake)
        busy = fake.request()
        fake.peers[0].connection.close("by a filter")
        later = fake.request()
        assert (later.events, len(fake.peers)) == ([], 2)
        fake.peers[0].gone()
        assert busy.events[1:] == [("reset", ResetReason.CONNECTION_TERMINATION, "")]
        accept(fake, 1).answer(1)
        assert later.events == ANSWERED


class TestFailures:
    @pytest.mark.parametrize("times", [1, 3])
    def test_all_who_wait_fail_together(self, times: int) -> None:
        fake = make(http2=Http2Options(max_concurrent_streams=1))
        sinks = [fake.request() for _ in range(times)]
        fake.peers[0].refuse()
        assert all(sink.events[0][:2] == ("failure", UpstreamFailure.CONNECT_FAILURE) for sink in sinks)
        assert fake.value("upstream_rq_pending_failure_eject") == times
        for peer in fake.peers[1:]:
            peer.refuse()
        assert fake.active_gauges() == {}

    @pytest.mark.parametrize("how", ["FIN", "RST", "FIN with data"])
    def test_lost(self, how: str) -> None:
        fake = make()
        server = up(fake)
        sinks = [fake.request(), unfinished(fake)]
        server.answer(5, 200, None)
        peer = fake.peers[0]
        if how == "RST":
            peer.reset()
        else:
            if how == "FIN with data":
                peer.send(build_frame(FrameType.DATA, 0, 5, b"last"))
            peer.end()
        for sink in sinks:
            assert sink.events[-1] == ("reset", ResetReason.CONNECTION_TERMINATION, "")
        assert (("data", b"last", False) in sinks[1].events) is (how == "FIN with data")
        assert fake.value("upstream_cx_destroy_remote_with_active_rq") == 1
        assert fake.value("upstream_rq_pending_failure_eject") == 2
        assert fake.value("http2.streams_active") == 0
        assert fake.active_gauges() == {}

    def test_lost_while_others_wait(self) -> None:
        fake = make(breakers(max_connections=1), http2=Http2Options(max_concurrent_streams=1))
        up(fake)
        fake.request()
        waiting = fake.request()
        fake.peers[0].reset()
        assert len(fake.peers) == 2
        accept(fake, 1).answer(1)
        assert waiting.events == ANSWERED


class TestPools:
    def test_one_for_each_priority(self) -> None:
        fake = make()
        up(fake)
        other = fake.request(priority=RoutingPriority.HIGH)
        assert (other.events, len(fake.peers)) == ([], 2)

    def test_one_for_each_host(self) -> None:
        http_options = UpstreamHttpOptions(UpstreamHttpProtocol.HTTP2)
        fake = FakeCluster(static_spec("test", endpoint(80), endpoint(81), http_options=http_options))
        for _ in range(4):
            fake.request()
        assert len(fake.peers) == 2

    def test_of_the_downstream_protocol(self) -> None:
        options = UpstreamHttpOptions(UpstreamHttpProtocol.USE_DOWNSTREAM)
        fake = FakeCluster(static_spec(http_options=options))
        h1 = fake.request(downstream_version=HttpVersion.HTTP11)
        h2 = [fake.request(downstream_version=HttpVersion.HTTP2) for _ in range(2)]
        assert len(fake.peers) == 2
        fake.peers[0].accept().send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        server = accept(fake, 1)
        server.answer(1)
        server.answer(3)
        assert [sink.events for sink in (h1, *h2)] == [ANSWERED] * 3
        assert fake.value("upstream_cx_http1_total") == fake.value("upstream_cx_http2_total") == 1

    def test_streams_of_a_connection_are_counted_at_its_end(self) -> None:
        fake = make()
        server = up(fake)
        for stream in (3, 5):
            fake.request()
            server.answer(stream)
        fake.cluster.drain()
        assert fake.value("upstream_rq_per_cx") == 1
