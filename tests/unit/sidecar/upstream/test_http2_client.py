"""HTTP/2 towards a server: many streams on one connection, what the server may say, and every way to end."""

from __future__ import annotations

from typing import Any

from config.model.cluster import CircuitBreakerThresholds, UpstreamHttpOptions, UpstreamHttpProtocol
from config.model.core import RoutingPriority
from config.model.http2 import Http2Options, KeepaliveSpec
from protocols.http.codec import ResetReason
from protocols.http.headers import Headers
from sidecar.upstream.api import UpstreamFailure, UpstreamStream
from sidecar.upstream.http2_client import STREAM_BUFFER_BYTES
from tests.support.http2_floor import Http2End, http2_peer
from tests.support.http2_frames import FrameType, build_frame, build_settings
from tests.support.upstream import FakeCluster, RecordingSink, static_spec

ANSWERED = [("ready",), ("headers", 200, True)]


def make(fields: dict[str, Any] | None = None, **options: Any) -> FakeCluster:
    http_options = UpstreamHttpOptions(UpstreamHttpProtocol.HTTP2, **options)
    return FakeCluster(static_spec(http_options=http_options, **(fields or {})))


def accept(fake: FakeCluster, number: int = 0, window: int | None = None) -> Http2End:
    return http2_peer(fake.peers[number].accept(), fake.loop.turn, window)


def goaway(last_stream_id: int) -> bytes:
    return build_frame(FrameType.GOAWAY, 0, 0, last_stream_id.to_bytes(4, "big") + bytes(4))


def unfinished(fake: FakeCluster) -> RecordingSink:
    """A request whose body is still to come."""

    def send(stream: UpstreamStream) -> None:
        stream.send_headers(Headers.request(b"POST", b"/", b"host"), False)

    sink = RecordingSink(send)
    fake.ask(sink)
    return sink


class TestMultiplexing:
    def test_all_wait_for_one_connection_and_share_it(self) -> None:
        fake = make()
        sinks = [fake.request(b"/%d" % number) for number in range(3)]
        assert len(fake.peers) == 1
        server = accept(fake)
        for stream_id, sink in ((5, sinks[2]), (1, sinks[0]), (3, sinks[1])):
            assert server.told(stream_id)[-1] == ("end",)
            server.answer(stream_id)
            assert sink.events == ANSWERED
        assert fake.value("upstream_cx_http2_total") == 1
        assert fake.value("upstream_rq_total") == 3
        assert fake.value("http2.streams_active") == 0
        assert fake.active_gauges() == {"upstream_cx_active": 1, "connections": 1, "host cx_active": 1}

    def test_body_and_trailers(self) -> None:
        fake = make()
        sink = unfinished(fake)
        server = accept(fake)
        assert sink.stream is not None
        sink.stream.send_data(b"abc", False)
        sink.stream.send_trailers(Headers([(b"x-t", b"1")]))
        assert server.told(1)[1:] == [("data", b"abc"), ("trailers", {"x-t": "1"}), ("end",)]
        server.answer(1, 200, None)
        server.data(1, b"hello")
        server.trailers(1, ("grpc-status", "0"))
        assert sink.events[1:] == [
            ("headers", 200, False),
            ("data", b"hello", False),
            ("trailers", {b"grpc-status": b"0"}),
        ]

    def test_the_server_allows_fewer_streams(self) -> None:
        fake = make()
        sinks = [fake.request() for _ in range(3)]
        server = accept(fake)
        server.raw(build_settings((3, 1)))
        late = fake.request()
        assert late.events == []
        assert len(fake.peers) == 2  # for the one that waits
        for stream_id in (1, 3, 5):
            server.answer(stream_id)
        assert [sink.events for sink in sinks] == [ANSWERED] * 3
        assert late.events == [("ready",)]

    def test_circuit_breaker_of_requests(self) -> None:
        breakers = {RoutingPriority.DEFAULT: CircuitBreakerThresholds(max_requests=1)}
        fake = make({"circuit_breakers": breakers})
        fake.request()
        server = accept(fake)
        refused = fake.request()
        assert refused.events == [("failure", UpstreamFailure.OVERFLOW, "")]
        server.answer(1)
        assert fake.request().events == [("ready",)]

    def test_number_of_requests_on_a_connection(self) -> None:
        fake = make(max_requests_per_connection=2)
        fake.request()
        fake.request()
        third = fake.request()
        server = accept(fake)
        assert len(fake.peers) == 2
        server.answer(1)
        server.answer(3)
        fake.loop.turn()
        assert fake.peers[0].transport.closed
        accept(fake, 1).answer(1)
        assert third.events == ANSWERED


class TestEnds:
    def test_goaway_loses_nothing_that_was_processed(self) -> None:
        fake = make()
        first, second = fake.request(), fake.request()
        server = accept(fake)
        server.raw(goaway(1))
        assert second.events == [("ready",), ("reset", ResetReason.NOT_PROCESSED, "")]
        fake.request()
        assert len(fake.peers) == 2
        server.answer(1)
        assert first.events == ANSWERED
        fake.loop.turn()
        assert fake.peers[0].transport.closed

    def test_reset_by_the_server(self) -> None:
        fake = make()
        early = fake.request()
        server = accept(fake)
        first, second, third = fake.request(), fake.request(), fake.request()
        server.reset(1, 7)
        server.reset(3, 2)
        server.reset(5, 7)
        server.answer(7)
        # it was sent before the server had said how many streams it takes: any number may have been too many
        assert early.events[1][:2] == ("reset", ResetReason.NOT_PROCESSED)
        assert first.events[1][:2] == ("reset", ResetReason.REMOTE_RESET)
        assert second.events[1][:2] == ("reset", ResetReason.REMOTE_REFUSED)
        assert third.events == ANSWERED
        assert fake.value("http2.rx_reset") == 3

    def test_limit_of_a_server_holds_for_its_next_connections(self) -> None:
        fake = make()
        early = [fake.request() for _ in range(3)]
        server = accept(fake)
        server.raw(build_frame(FrameType.SETTINGS, 0, 0, b"\x00\x03" + (2).to_bytes(4, "big")))
        assert [sink.events for sink in early] == [[("ready",)]] * 3  # all were sent: nothing was known
        late = [fake.request() for _ in range(3)]
        assert len(fake.peers) == 3  # one for two requests
        fake.peers[1].accept()
        assert [sink.events for sink in late] == [[("ready",)], [("ready",)], []]
        fake.peers[2].accept()
        assert late[2].events == [("ready",)]

    def test_router_gives_up(self) -> None:
        fake = make()
        sink, other = fake.request(), fake.request()
        server = accept(fake)
        assert sink.stream is not None
        sink.stream.reset()
        assert server.told(1)[-1] == ("reset", 8)
        server.answer(3)
        assert other.events == ANSWERED
        assert fake.value("upstream_rq_tx_reset") == 1

    def test_connection_lost(self) -> None:
        fake = make()
        sinks = [fake.request(), fake.request()]
        accept(fake)
        fake.peers[0].reset()
        for sink in sinks:
            assert sink.events[1:] == [("reset", ResetReason.CONNECTION_TERMINATION, "")]
        assert fake.active_gauges() == {}
        assert fake.value("http2.streams_active") == 0
        assert fake.value("upstream_cx_destroy_remote_with_active_rq") == 1

    def test_connection_refused(self) -> None:
        fake = make()
        sinks = [fake.request(), fake.request()]
        fake.peers[0].refuse()
        assert [sink.events[0][1] for sink in sinks] == [UpstreamFailure.CONNECT_FAILURE] * 2
        assert fake.active_gauges() == {}

    def test_malformed_response(self) -> None:
        fake = make()
        bad, other = fake.request(), fake.request()
        server = accept(fake)
        server.raw(build_frame(FrameType.HEADERS, 4, 1, b"\x00\x07:status\x0220"))
        assert bad.events[1][:2] == ("reset", ResetReason.PROTOCOL_ERROR)
        assert other.events[1][:2] == ("reset", ResetReason.PROTOCOL_ERROR)
        assert fake.value("upstream_cx_protocol_error") == 1
        assert fake.value("http2.rx_messaging_error") == 1
        assert fake.active_gauges() == {}

    def test_early_answer_ends_the_request(self) -> None:
        fake = make()
        sink = unfinished(fake)
        server = accept(fake)
        server.answer(1)
        assert sink.events == ANSWERED
        assert server.told(1)[-1] == ("reset", 0)

    def test_idle_connection(self) -> None:
        fake = make(idle_timeout_s=10.0)
        fake.request()
        accept(fake).answer(1)
        fake.loop.advance(10.3)
        assert fake.peers[0].transport.closed
        assert fake.value("upstream_cx_idle_timeout") == 1

    def test_drained_while_busy(self) -> None:
        fake = make()
        sink = fake.request()
        server = accept(fake)
        fake.cluster.drain()
        assert not fake.peers[0].transport.closed
        server.answer(1)
        fake.loop.turn()
        assert sink.events == ANSWERED
        assert fake.peers[0].transport.closed
        assert fake.active_gauges() == {}

    def test_silence(self) -> None:
        keepalive = KeepaliveSpec(interval_s=10.0, timeout_s=3.0, interval_jitter=0.0)
        fake = make(http2=Http2Options(keepalive=keepalive))
        sink = fake.request()
        server = accept(fake)
        fake.loop.advance(10.3)
        server.flush()
        assert server.pings == 1
        fake.loop.advance(10.3)
        fake.loop.advance(3.3)
        assert sink.events[-1] == ("reset", ResetReason.CONNECTION_TERMINATION, "")
        assert fake.value("http2.keepalive_timeout") == 1


class TestFlowControl:
    def test_receiver_that_is_full_stops_its_stream(self) -> None:
        fake = make(http2=Http2Options(initial_stream_window_size=65535))
        slow, quick = fake.request(), fake.request()
        server = accept(fake)
        assert slow.stream is not None
        slow.stream.pause_reading()
        for stream_id in (1, 3):
            server.answer(stream_id, 200, None)
            server.data(stream_id, b"x" * 16384)
            server.data(stream_id, b"x" * 16384)
            server.data(stream_id, b"x" * 16384)
        assert server.h2.local_flow_control_window(1) == 65535 - 3 * 16384
        assert server.h2.local_flow_control_window(3) > 65535 - 2 * 16384
        slow.stream.resume_reading()
        fake.loop.turn()
        server.flush()
        assert server.h2.local_flow_control_window(1) == 65535
        assert len(quick.events) == 5

    def test_window_of_the_server(self) -> None:
        fake = make()
        sink = unfinished(fake)
        server = accept(fake, window=0)
        server.credits = False
        assert sink.stream is not None
        sink.stream.send_data(b"x" * (STREAM_BUFFER_BYTES + 1), True)
        assert sink.events[-1] == ("full", True)
        server.h2.increment_flow_control_window(2 * STREAM_BUFFER_BYTES, 1)
        server.h2.increment_flow_control_window(2 * STREAM_BUFFER_BYTES)
        server.flush()
        assert sink.events[-1] == ("full", False)
        assert server.told(1)[-1] == ("end",)

    def test_full_transport(self) -> None:
        fake = make()
        sinks = [unfinished(fake), unfinished(fake)]
        accept(fake)
        fake.peers[0].socket.pause_writing()
        assert [sink.events[-1] for sink in sinks] == [("full", True)] * 2
        fake.peers[0].socket.resume_writing()
        assert [sink.events[-1] for sink in sinks] == [("full", False)] * 2


def test_a_head_that_cannot_be_written() -> None:
    fake = make()

    def send(stream: UpstreamStream) -> None:
        stream.send_headers(Headers.request(b"GET", b"/ /", b"host"), True)

    sink = RecordingSink(send)
    fake.ask(sink)
    accept(fake)
    fake.loop.turn()
    assert sink.events[1][:2] == ("reset", ResetReason.PROTOCOL_ERROR)
    assert fake.request().events == [("ready",)]
