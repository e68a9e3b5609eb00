"""One exchange on an upstream HTTP/2 connection: heads, resets, tunnels, back-pressure, and what is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from config.model.cluster import UpstreamHttpOptions, UpstreamHttpProtocol
from config.model.http2 import Http2Options, KeepaliveSpec
from protocols.http.codec import HttpVersion, ResetReason
from protocols.http.headers import Headers
from sidecar.upstream.api import UpstreamStream
from sidecar.upstream.http2_client import STREAM_BUFFER_BYTES
from tests.support.http2_floor import Http2End, body_of, head_of, http2_peer
from tests.support.http2_frames import FrameType, build_frame, build_settings
from tests.support.upstream import FakeCluster, RecordingSink, static_spec

WINDOW = 65535
UP = {"upstream_cx_active": 1, "connections": 1, "host cx_active": 1}


class World:
    """A cluster with one connection that is up; the streams begin at 3."""

    def __init__(self, *settings: tuple[int, int], **options: Any) -> None:
        http_options = UpstreamHttpOptions(UpstreamHttpProtocol.HTTP2, **options)
        self.fake = FakeCluster(static_spec(http_options=http_options))
        self.fake.request()
        self.peer = self.fake.peers[0].accept()
        self.server = http2_peer(self.peer, self.fake.loop.turn)
        if settings:
            self.server.raw(build_settings(*settings))
        self.server.answer(1)
        self.fake.loop.turn()

    def begin(self, method: bytes = b"POST", *, end: bool = False, upgrade: bytes = b"") -> RecordingSink:
        def send(stream: UpstreamStream) -> None:
            path = b"" if method == b"CONNECT" else b"/"
            headers = Headers.request(method, path, b"host")
            if upgrade:
                headers.set(b"connection", b"upgrade")
                headers.set(b"upgrade", upgrade)
            stream.send_headers(headers, end)

        sink = RecordingSink(send)
        self.fake.ask(sink)
        self.server.flush()
        return sink

    def counted(self, *names: str) -> tuple[int, ...]:
        return tuple(self.fake.value(name) for name in names)


def stream_of(sink: RecordingSink) -> UpstreamStream:
    assert sink.stream is not None
    return sink.stream


class TestHeads:
    def test_interim_ones(self) -> None:
        world = World()
        sink = world.begin(b"GET", end=True)
        world.server.h2.send_headers(3, [(":status", "103"), ("link", "x")])
        world.server.answer(3, 200)
        assert sink.events == [("ready",), ("headers", 103, False), ("headers", 200, True)]

    @pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
    def test_without_a_body(self, method: bytes, status: int) -> None:
        world = World()
        sink = world.begin(method, end=True)
        world.server.answer(3, status, b"", ("content-length", "5"))
        assert sink.events[1:] == [("headers", status, True)]
        assert world.fake.active_gauges() == UP

    def test_body_behind_a_head_that_has_none(self) -> None:
        world = World()
        sink = world.begin(b"HEAD", end=True)
        world.server.raw(build_frame(FrameType.HEADERS, 4, 3, b"\x88"))
        world.server.raw(build_frame(FrameType.DATA, 1, 3, b"x"))
        assert sink.events[-1] == ("reset", ResetReason.PROTOCOL_ERROR, "")

    def test_version_and_bytes(self) -> None:
        world = World()
        sink = world.begin()
        stream = stream_of(sink)
        assert stream.version is HttpVersion.HTTP2
        stream.send_data(b"abc", True)
        world.server.answer(3, 200, b"hello")
        assert stream.meter.wire_sent == stream.meter.header_sent + 9 + 3
        assert stream.meter.wire_received == stream.meter.header_received + 9 + 5


class TestResets:
    @pytest.mark.parametrize(
        ("code", "reason", "rx", "tx"),
        [
            (0, ResetReason.REMOTE_RESET, 1, 0),
            (1, ResetReason.PROTOCOL_ERROR, 0, 1),
            (2, ResetReason.REMOTE_RESET, 1, 0),
            (7, ResetReason.REMOTE_REFUSED, 0, 0),
            (8, ResetReason.REMOTE_RESET, 1, 0),
            (10, ResetReason.CONNECT_ERROR, 0, 0),
        ],
    )
    def test_by_the_server(self, code: int, reason: ResetReason, rx: int, tx: int) -> None:
        world = World()
        sink = world.begin()
        world.server.reset(3, code)
        assert sink.events[1:] == [("reset", reason, "")]
        assert world.counted("upstream_rq_rx_reset", "upstream_rq_tx_reset") == (rx, tx)
        assert world.counted("http2.rx_reset", "http2.tx_reset") == (1, 0)
        assert world.fake.active_gauges() == UP

    def test_behind_a_complete_response(self) -> None:
        """The server does not want the rest of the request, and says so."""
        world = World()
        sink = world.begin()
        world.server.h2.send_headers(3, [(":status", "200")], end_stream=True)
        world.server.h2.reset_stream(3, 0)
        world.server.flush()
        assert sink.events[1:] == [("headers", 200, True)]
        assert world.fake.active_gauges() == UP

    def test_by_us(self) -> None:
        world = World()
        sink = world.begin()
        stream_of(sink).reset()
        assert world.server.told(3)[-1] == ("reset", 8)
        world.server.raw(build_frame(FrameType.HEADERS, 5, 3, b"\x88"))  # it was on its way
        assert sink.events == [("ready",)]
        assert world.counted("upstream_rq_tx_reset", "http2.tx_reset") == (1, 1)
        assert world.fake.active_gauges() == UP

    def test_before_the_head(self) -> None:
        """The server never hears of it."""
        world = World()
        sink = RecordingSink()
        world.fake.ask(sink)
        stream_of(sink).reset()
        later = world.begin(b"GET", end=True)
        assert world.server.told(3) == []
        world.server.answer(5)
        assert later.events[1:] == [("headers", 200, True)]

    def test_after_the_end_nothing_has_an_effect(self) -> None:
        world = World()
        sink = world.begin(b"GET", end=True)
        stream = stream_of(sink)
        world.server.answer(3)
        stream.send_headers(Headers.request(b"GET", b"/", b"a"), True)
        stream.send_data(b"x", True)
        stream.send_trailers(Headers([(b"a", b"1")]))
        stream.pause_reading()
        stream.resume_reading()
        stream.reset()
        assert world.server.told(3)[1:] == [("end",)]
        assert world.counted("upstream_rq_tx_reset") == (0,)

    @pytest.mark.parametrize(
        "write",
        [
            lambda stream: stream.send_data(b"x", False),  # before the head
            lambda stream: stream.send_trailers(Headers([(b"a", b"1")])),
        ],
    )
    def test_what_cannot_be_written(self, write: Callable[[UpstreamStream], None]) -> None:
        world = World()
        sink = RecordingSink(write)
        world.fake.ask(sink)
        assert sink.events == [("ready",)]
        world.fake.loop.turn()
        assert sink.events[1][:2] == ("reset", ResetReason.PROTOCOL_ERROR)
        assert world.fake.active_gauges() == UP


BAD = bytes.fromhex("88") + b"\x00\x01A\x01b"  # a field name in upper case


class TestMalformed:
    def test_ends_the_connection(self) -> None:
        world = World()
        bad, other = world.begin(), world.begin()
        world.server.raw(build_frame(FrameType.HEADERS, 4, 3, BAD))
        for sink in (bad, other):
            assert sink.events[1][:2] == ("reset", ResetReason.PROTOCOL_ERROR)
        assert [code for _, code in world.server.goaways] == [1]
        assert world.counted("upstream_cx_protocol_error", "http2.rx_messaging_error") == (1, 1)
        assert world.counted("upstream_rq_tx_reset", "upstream_rq_pending_failure_eject") == (2, 0)
        assert world.counted("upstream_cx_destroy_local", "upstream_cx_destroy_with_active_rq") == (1, 0)
        assert world.fake.active_gauges() == {}

    def test_ends_its_stream_where_configured(self) -> None:
        world = World(http2=Http2Options(stream_error_on_invalid_http_message=True))
        bad, other = world.begin(), world.begin(b"GET", end=True)
        world.server.raw(build_frame(FrameType.HEADERS, 4, 3, BAD))
        assert bad.events[1] == ("reset", ResetReason.PROTOCOL_ERROR, "")
        assert world.server.told(3)[-1] == ("reset", 1)
        world.server.answer(5)
        assert other.events[1:] == [("headers", 200, True)]
        assert world.counted("upstream_cx_protocol_error", "upstream_rq_tx_reset") == (0, 1)
        assert world.fake.active_gauges() == UP

    @pytest.mark.parametrize(
        ("fields", "counter"),
        [
            ([(f"x-{number}", "1") for number in range(110)], "http2.header_overflow"),
            ([("x-a", "1" * 70_000)], "http2.header_list_size_too_large"),
        ],
    )
    def test_over_the_limits(self, fields: list[tuple[str, str]], counter: str) -> None:
        """To Envoy the server has reset the stream."""
        world = World()
        sink = world.begin(b"GET", end=True)
        world.server.h2.send_headers(3, [(":status", "200"), *fields], end_stream=True)
        world.server.flush()
        assert sink.events[1:] == [("reset", ResetReason.REMOTE_RESET, "")]
        assert world.counted("upstream_rq_rx_reset", counter) == (1, 1)
        assert world.fake.active_gauges() == UP

    @pytest.mark.parametrize("body", [b"short", b"much too long"])
    def test_bodies_of_another_length(self, body: bytes) -> None:
        world = World()
        sink = world.begin(b"GET", end=True)
        world.server.answer(3, 200, None, ("content-length", "10"))
        world.server.raw(build_frame(FrameType.DATA, 1, 3, body))
        assert sink.events[1] == ("headers", 200, False)
        assert sink.events[-1] == ("reset", ResetReason.PROTOCOL_ERROR, "")
        assert world.server.told(3)[-1] == ("reset", 1)
        assert world.fake.active_gauges() == UP

    @pytest.mark.parametrize(
        "frame",
        [
            build_frame(FrameType.PUSH_PROMISE, 4, 3, b"\0\0\0\2\x88"),
            build_frame(FrameType.HEADERS, 5, 99, b"\x88"),
            build_frame(FrameType.DATA, 0, 3, b"before the head"),
            build_frame(FrameType.SETTINGS, 0, 0, b"x"),
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
        ],
    )
    def test_what_breaks_the_connection(self, frame: bytes) -> None:
        world = World()
        sinks = [world.begin(), world.begin()]
        world.peer.send(frame)
        assert [sink.events[1][1] for sink in sinks] == [ResetReason.PROTOCOL_ERROR] * 2
        assert world.peer.transport.closed
        assert world.counted("upstream_cx_protocol_error") == (1,)
        assert world.fake.active_gauges() == {}


class TestTunnels:
    def test_connect_has_two_ends(self) -> None:
        world = World()
        sink = world.begin(b"CONNECT")
        world.server.answer(3, 200, None)
        world.server.data(3, b"bye", True)
        assert sink.events[1:] == [("headers", 200, False), ("data", b"bye", True)]
        stream = stream_of(sink)
        stream.send_data(b"more", False)
        assert body_of(world.server.told(3)) == b"more"
        assert world.fake.value("upstream_rq_active") == 1
        stream.send_data(b"", True)
        assert world.server.told(3) == [("end",)]
        assert world.fake.active_gauges() == UP

    def test_the_other_end_first(self) -> None:
        world = World()
        sink = world.begin(b"CONNECT")
        world.server.answer(3, 200, None)
        stream_of(sink).send_data(b"bye", True)
        assert world.fake.value("upstream_rq_active") == 1
        world.server.data(3, b"", True)
        assert sink.events[-1] == ("data", b"", True)
        assert world.fake.active_gauges() == UP

    def test_given_up_when_half_closed(self) -> None:
        world = World()
        sink = world.begin(b"CONNECT")
        world.server.answer(3, 200, None)
        world.server.data(3, b"", True)
        stream_of(sink).reset()
        assert world.server.told(3)[-1][0] == "reset"
        assert world.fake.active_gauges() == UP

    def test_refused(self) -> None:
        world = World()
        sink = world.begin(b"CONNECT")
        world.server.answer(3, 403, b"no")
        assert sink.events[1:] == [("headers", 403, False), ("data", b"no", True)]
        assert world.server.told(3)[-1] == ("reset", 0)
        assert world.fake.active_gauges() == UP

    def test_upgrade(self) -> None:
        world = World((8, 1))
        sink = world.begin(b"GET", upgrade=b"websocket")
        assert head_of(world.server.told(3))[":protocol"] == "websocket"
        world.server.answer(3, 200, None)
        assert sink.events[1:] == [("headers", 101, False)]

    def test_upgrade_that_the_server_does_not_take(self) -> None:
        world = World()
        sink = world.begin(b"GET", upgrade=b"websocket")
        world.fake.loop.turn()
        assert sink.events[1][:2] == ("reset", ResetReason.PROTOCOL_ERROR)
        assert world.server.told(3) == []


class TestBackPressure:
    def received(self, world: World, stream: int, times: int) -> None:
        world.server.answer(stream, 200, None)
        for _ in range(times):
            world.server.data(stream, b"x" * 16384)

    def test_what_was_held_back_goes_with_the_stream(self) -> None:
        """The window of the connection is whole again, whatever ended the stream."""
        options = Http2Options(initial_stream_window_size=WINDOW, initial_connection_window_size=WINDOW)
        world = World(http2=options)
        sinks = [world.begin(b"GET", end=True) for _ in range(3)]
        for sink, stream in zip(sinks, (3, 5, 7), strict=True):
            stream_of(sink).pause_reading()
            world.server.answer(stream, 200, None)
            world.server.data(stream, b"x" * 16384)
        assert world.server.h2.outbound_flow_control_window == WINDOW - 3 * 16384
        world.server.reset(3)
        stream_of(sinks[1]).reset()
        world.server.data(7, b"", True)
        stream_of(sinks[2]).resume_reading()
        world.fake.loop.turn()
        last = world.begin(b"GET", end=True)
        self.received(world, 9, 4)
        assert len(last.events) == 6
        assert world.fake.value("upstream_flow_control_paused_reading_total") == 3
        assert world.fake.value("upstream_flow_control_resumed_reading_total") == 3

    def test_a_pause_inside_of_the_delivery(self) -> None:
        """What is being delivered when the receiver gets full is not credited either."""
        world = World(http2=Http2Options(initial_stream_window_size=WINDOW))

        class Full(RecordingSink):
            def on_response_data(self, data: bytes, end: bool) -> None:
                super().on_response_data(data, end)
                stream_of(self).pause_reading()

        sink = Full(lambda stream: stream.send_headers(Headers.request(b"GET", b"/", b"host"), True))
        world.fake.ask(sink)
        world.server.flush()
        self.received(world, 3, 3)
        assert world.server.h2.local_flow_control_window(3) == WINDOW - 3 * 16384

    def test_full_twice_is_told_once(self) -> None:
        """The window of the stream and the transport: both have to take again."""
        world = World()
        world.server.credits = False
        sink = world.begin()
        stream_of(sink).send_data(b"x" * (WINDOW + STREAM_BUFFER_BYTES + 1), False)
        assert sink.events[1:] == [("full", True)]
        world.peer.socket.pause_writing()
        world.server.h2.increment_flow_control_window(1 << 20, 3)
        world.server.h2.increment_flow_control_window(1 << 20)
        world.peer.send(world.server.h2.data_to_send())
        assert sink.events[1:] == [("full", True)]
        world.peer.socket.resume_writing()
        assert sink.events[1:] == [("full", True), ("full", False)]
        assert world.counted(
            "upstream_flow_control_backed_up_total", "upstream_flow_control_drained_total"
        ) == (1, 1)

    def test_a_stream_that_begins_on_a_full_transport(self) -> None:
        world = World()
        world.peer.socket.pause_writing()
        sink = world.begin()
        assert sink.events == [("ready",), ("full", True)]
        world.peer.socket.resume_writing()
        assert sink.events[-1] == ("full", False)

    def test_trailers_wait_behind_the_body(self) -> None:
        world = World((4, 5))
        world.server.credits = False
        sink = world.begin()
        stream_of(sink).send_data(b"x" * 8, False)
        stream_of(sink).send_trailers(Headers([(b"x-t", b"1")]))
        assert body_of(world.server.told(3)) == b"x" * 5
        world.server.h2.increment_flow_control_window(10, 3)
        assert world.server.told(3) == [("data", b"xxx"), ("trailers", {"x-t": "1"}), ("end",)]


class TestKeepalive:
    def make(self, **fields: float) -> World:
        spec = KeepaliveSpec(**{"timeout_s": 3.0, "interval_jitter": 0.0, **fields})
        return World(http2=Http2Options(keepalive=spec))

    def test_before_a_stream_on_an_idle_connection(self) -> None:
        world = self.make(idle_interval_s=10.0)
        world.begin(b"GET", end=True)
        assert world.server.pings == 0
        world.server.answer(3)
        world.fake.loop.advance(10.2)
        world.begin(b"GET", end=True)
        world.begin(b"GET", end=True)
        assert world.server.pings == 1
        world.fake.loop.advance(5)
        assert not world.peer.transport.closed

    def test_no_answer_before_a_stream(self) -> None:
        world = self.make(idle_interval_s=10.0)
        world.fake.loop.advance(10.2)
        sink = RecordingSink()
        world.fake.ask(sink)
        world.fake.loop.advance(3.2)
        assert sink.events[-1] == ("reset", ResetReason.CONNECTION_TERMINATION, "")
        assert world.counted("http2.keepalive_timeout", "upstream_cx_destroy_local_with_active_rq") == (1, 1)
        assert world.fake.active_gauges() == {}

    def test_silence_of_an_idle_connection(self) -> None:
        world = self.make(interval_s=10.0)
        world.fake.loop.advance(10.2)
        world.fake.loop.advance(3.2)
        assert world.peer.transport.closed
        assert world.fake.active_gauges() == {}
        world.fake.loop.advance(100)
        assert world.counted("http2.keepalive_timeout") == (1,)

    def test_it_begins_with_the_connection(self) -> None:
        """Not while it is being opened."""
        spec = KeepaliveSpec(interval_s=1.0, timeout_s=1.0, interval_jitter=0.0)
        options = UpstreamHttpOptions(UpstreamHttpProtocol.HTTP2, http2=Http2Options(keepalive=spec))
        fake = FakeCluster(static_spec(http_options=options, connect_timeout_s=60.0))
        sink = fake.request()
        fake.loop.advance(10)
        assert sink.events == []
        server: Http2End = http2_peer(fake.peers[0].accept(), fake.loop.turn)
        server.answer(1)
        assert sink.events[-1] == ("headers", 200, True)


@pytest.mark.parametrize("value", [1, 100])
def test_settings_are_announced(value: int) -> None:
    options = Http2Options(
        max_concurrent_streams=value, initial_stream_window_size=70_000, initial_connection_window_size=80_000
    )
    world = World(http2=options)
    settings = world.server.h2.remote_settings
    assert (settings.max_concurrent_streams, settings.initial_window_size) == (value, 70_000)
    assert settings.enable_push == 0
    assert world.server.h2.outbound_flow_control_window == 80_000
