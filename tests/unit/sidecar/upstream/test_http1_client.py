"""One HTTP/1 exchange on an upstream connection: every way it can go."""

from __future__ import annotations

import pytest

from config.model.cluster import UpstreamHttpOptions
from protocols.http.codec import HttpVersion, ResetReason
from protocols.http.headers import Headers
from sidecar.upstream.api import UpstreamStream
from tests.support.upstream import FakeCluster, Peer, RecordingSink, static_spec

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
ANSWERED = [("ready",), ("headers", 200, False), ("data", b"hi", True)]


def exchange(**options: object) -> tuple[FakeCluster, RecordingSink, Peer]:
    """A GET that was sent and waits for its answer."""
    fake = FakeCluster(static_spec(http_options=UpstreamHttpOptions(**options)))
    sink = fake.request()
    peer = fake.peers[0].accept()
    peer.transport.take()
    sink.events.clear()
    return fake, sink, peer


def upload(length: int = 10) -> tuple[FakeCluster, UpstreamStream, RecordingSink, Peer]:
    """A POST whose body is still to come."""
    fake = FakeCluster()
    sink = RecordingSink()
    fake.ask(sink)
    peer = fake.peers[0].accept()
    stream = sink.stream
    assert stream is not None
    headers = Headers.request(b"POST", b"/", b"host", [(b"content-length", b"%d" % length)])
    stream.send_headers(headers, False)
    sink.events.clear()
    return fake, stream, sink, peer


class TestAnswers:
    @pytest.mark.parametrize("size", [1, 2, 7, 1000])
    def test_in_pieces(self, size: int) -> None:
        fake, sink, peer = exchange()
        for at in range(0, len(OK), size):
            peer.send(OK[at : at + size])
        assert sink.events[0] == ("headers", 200, False)
        assert b"".join(event[1] for event in sink.events[1:]) == b"hi"
        assert sink.events[-1][-1] is True
        assert fake.active_gauges().keys() == {"upstream_cx_active", "connections", "host cx_active"}

    def test_without_a_body(self) -> None:
        _, sink, peer = exchange()
        peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert sink.events == [("headers", 204, True)]

    def test_head(self) -> None:
        fake = FakeCluster()
        sink = RecordingSink(
            lambda stream: stream.send_headers(Headers.request(b"HEAD", b"/", b"host"), True)
        )
        fake.ask(sink)
        fake.peers[0].accept().send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        assert sink.events == [("ready",), ("headers", 200, True)]
        assert not fake.peers[0].transport.closed

    def test_interim_responses(self) -> None:
        _, sink, peer = exchange()
        peer.send(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK)
        assert sink.events[:2] == [("headers", 103, False), ("headers", 100, False)]
        assert sink.events[2:] == ANSWERED[1:]

    def test_chunked_with_trailers(self) -> None:
        _, sink, peer = exchange(enable_trailers=True)
        peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-end: 1\r\n\r\n")
        assert sink.events == [
            ("headers", 200, False),
            ("data", b"hi", False),
            ("trailers", {b"x-end": b"1"}),
        ]
        assert not peer.transport.closed

    def test_connection_close(self) -> None:
        fake, sink, peer = exchange()
        peer.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi")
        assert sink.events == ANSWERED[1:]
        assert peer.transport.closed
        assert fake.value("upstream_cx_close_notify") == 1
        assert fake.value("upstream_cx_destroy_local") == 1
        assert fake.value("upstream_cx_destroy_with_active_rq") == 0

    def test_body_that_runs_to_the_close(self) -> None:
        fake, sink, peer = exchange()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        peer.end()
        assert sink.events == [("headers", 200, False), ("data", b"abc", False), ("data", b"", True)]
        assert fake.value("upstream_cx_destroy_remote") == 1
        assert fake.value("upstream_cx_destroy_with_active_rq") == 0
        assert fake.value("upstream_cx_protocol_error") == 0

    def test_bytes_behind_the_answer(self) -> None:
        """The answer is good, the connection is not."""
        fake, sink, peer = exchange()
        peer.send(OK + b"HTTP/1.1 200 OK\r\n")
        assert sink.events == ANSWERED[1:]
        assert peer.transport.closed
        assert fake.value("upstream_cx_protocol_error") == 1
        assert fake.value("upstream_cx_destroy_local") == 1
        assert fake.value("upstream_cx_destroy_with_active_rq") == 0
        assert fake.value("upstream_cx_close_notify") == 0

    def test_meter_and_version(self) -> None:
        _, sink, peer = exchange()
        stream = sink.stream
        assert stream is not None
        peer.send(OK)
        assert stream.meter.wire_received == len(OK)
        assert stream.meter.wire_sent == len(b"GET / HTTP/1.1\r\nhost: host\r\n\r\n")
        assert stream.version is HttpVersion.HTTP11


class TestFailures:
    @pytest.mark.parametrize("way", ["end", "reset"])
    def test_before_the_first_byte(self, way: str) -> None:
        fake, sink, peer = exchange()
        getattr(peer, way)()
        assert sink.events == [("reset", ResetReason.CONNECTION_TERMINATION, "")]
        assert fake.value("upstream_cx_destroy_remote_with_active_rq") == 1
        assert fake.value("upstream_cx_protocol_error") == 0

    @pytest.mark.parametrize("way", ["end", "reset"])
    @pytest.mark.parametrize(
        "cut",
        [
            b"HTTP/1.1 200 OK\r\ncontent-le",
            b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        ],
    )
    def test_in_the_middle(self, way: str, cut: bytes) -> None:
        fake, sink, peer = exchange()
        peer.send(cut)
        getattr(peer, way)()
        assert sink.events[-1] == ("reset", ResetReason.PROTOCOL_ERROR, "http1.codec_error")
        assert not any(event[-1] is True for event in sink.events)
        assert fake.value("upstream_cx_protocol_error") == 1
        assert fake.value("upstream_cx_destroy_remote_with_active_rq") == 1
        if way == "end":
            peer.gone()
        assert fake.active_gauges() == {}

    def test_a_reset_does_not_end_a_body_that_runs_to_the_close(self) -> None:
        _fake, sink, peer = exchange()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        peer.reset()
        assert sink.events[-1] == ("reset", ResetReason.CONNECTION_TERMINATION, "")

    def test_after_an_interim_response(self) -> None:
        fake, sink, peer = exchange()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.end()
        assert sink.events[-1] == ("reset", ResetReason.CONNECTION_TERMINATION, "")
        assert fake.value("upstream_cx_protocol_error") == 0

    @pytest.mark.parametrize(
        "garbage",
        [
            b"garbage garbage\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi",
            b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70000 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            b"\x00" * 10 + b"\n\n",
        ],
    )
    def test_garbage(self, garbage: bytes) -> None:
        fake, sink, peer = exchange()
        peer.send(garbage)
        assert sink.events[-1][:2] == ("reset", ResetReason.PROTOCOL_ERROR)
        assert peer.transport.closed
        assert fake.value("upstream_cx_protocol_error") == 1
        assert fake.value("upstream_cx_destroy_local_with_active_rq") == 1

    def test_a_head_that_cannot_be_written(self) -> None:
        fake = FakeCluster()
        sink = RecordingSink(
            lambda stream: stream.send_headers(Headers.request(b"GET", b"/a b", b"host"), True)
        )
        fake.ask(sink)
        peer = fake.peers[0].accept()
        assert sink.events == [("ready",)]
        fake.loop.turn()
        assert sink.events[-1][:2] == ("reset", ResetReason.PROTOCOL_ERROR)
        assert peer.transport.writes == []
        assert peer.transport.closed
        peer.gone()
        assert fake.active_gauges() == {}


class TestRequests:
    def test_head_and_body_of_one_turn_are_one_write(self) -> None:
        fake = FakeCluster()
        fake.request(body=b"abc")
        peer = fake.peers[0].accept()
        assert len(peer.transport.writes) == 1
        assert peer.transport.writes[0].endswith(b"content-length: 3\r\n\r\nabc")

    def test_a_head_alone_goes_out_in_the_next_turn(self) -> None:
        fake, stream, _, peer = upload()
        assert peer.transport.writes == []
        fake.loop.turn()
        assert peer.transport.take().startswith(b"POST / HTTP/1.1\r\n")
        stream.send_data(b"01234", False)
        stream.send_data(b"56789", True)
        assert peer.transport.take() == b"0123456789"

    def test_trailers(self) -> None:
        fake = FakeCluster(static_spec(http_options=UpstreamHttpOptions(enable_trailers=True)))
        sink = RecordingSink()
        fake.ask(sink)
        peer = fake.peers[0].accept()
        assert sink.stream is not None
        sink.stream.send_headers(Headers.request(b"POST", b"/", b"host"), False)
        sink.stream.send_data(b"abc", False)
        sink.stream.send_trailers(Headers([(b"x-end", b"1")]))
        assert peer.transport.take().endswith(b"3\r\nabc\r\n0\r\nx-end: 1\r\n\r\n")
        peer.send(OK)
        assert sink.events == ANSWERED
        assert not peer.transport.closed

    def test_an_early_answer_ends_the_exchange(self) -> None:
        fake, stream, sink, peer = upload()
        peer.send(OK)
        assert sink.events == ANSWERED[1:]
        assert peer.transport.closed
        assert fake.value("upstream_cx_destroy_local_with_active_rq") == 1
        peer.transport.take()
        stream.send_data(b"0123456789", True)
        stream.send_trailers(Headers())
        stream.reset()
        stream.pause_reading()
        stream.resume_reading()
        assert peer.transport.take() == b""
        assert fake.value("upstream_cx_destroy") == 1

    def test_reset_closes(self) -> None:
        fake, stream, sink, peer = upload()
        stream.reset()
        stream.reset()
        assert peer.transport.closed and not peer.transport.aborted
        peer.send(OK)
        peer.gone()
        assert sink.events == []
        assert fake.value("upstream_cx_destroy_local_with_active_rq") == 1
        assert fake.active_gauges() == {}

    def test_reset_aborts_when_the_upstream_does_not_read(self) -> None:
        _fake, stream, _, peer = upload()
        peer.transport.unwritten = 1000
        stream.reset()
        assert peer.transport.aborted

    def test_reset_inside_of_the_answer(self) -> None:
        fake, _sink, peer = exchange()

        class Resetting(RecordingSink):
            def on_response_headers(self, headers: Headers, end: bool) -> None:
                super().on_response_headers(headers, end)
                assert self.stream is not None
                self.stream.reset()

        peer.send(OK)
        resetting = Resetting(
            lambda stream: stream.send_headers(Headers.request(b"GET", b"/", b"host"), True)
        )
        fake.ask(resetting)
        peer.send(OK)
        assert resetting.events == [("ready",), ("headers", 200, False)]
        assert peer.transport.closed
        assert fake.value("upstream_cx_protocol_error") == 0


class TestFlowControl:
    def test_the_answer_is_too_fast(self) -> None:
        fake, sink, peer = exchange()
        stream = sink.stream
        assert stream is not None
        peer.send(OK[:-1])
        stream.pause_reading()
        stream.pause_reading()
        assert not peer.transport.reading
        stream.resume_reading()
        stream.resume_reading()
        assert peer.transport.reading
        assert fake.value("upstream_flow_control_paused_reading_total") == 1
        assert fake.value("upstream_flow_control_resumed_reading_total") == 1

    def test_a_paused_connection_is_given_back_reading(self) -> None:
        _fake, sink, peer = exchange()
        stream = sink.stream
        assert stream is not None
        stream.pause_reading()
        peer.send(OK)
        assert peer.transport.reading
        stream.pause_reading()
        assert peer.transport.reading

    def test_the_request_is_too_fast(self) -> None:
        fake, _, sink, peer = upload()
        peer.socket.pause_writing()
        peer.socket.resume_writing()
        assert sink.events == [("full", True), ("full", False)]
        assert fake.value("upstream_flow_control_backed_up_total") == 1
        assert fake.value("upstream_flow_control_drained_total") == 1
        assert peer.transport.limits == (512 * 1024, 1024 * 1024)


class TestTunnel:
    HEAD = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"

    def upgraded(self) -> tuple[FakeCluster, UpstreamStream, RecordingSink, Peer]:
        fake = FakeCluster()
        sink = RecordingSink()
        fake.ask(sink)
        peer = fake.peers[0].accept()
        stream = sink.stream
        assert stream is not None
        fields = [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]
        stream.send_headers(Headers.request(b"GET", b"/", b"host", fields), False)
        fake.loop.turn()
        peer.transport.take()
        peer.send(self.HEAD + b"hello")
        return fake, stream, sink, peer

    def test_both_ways(self) -> None:
        _, stream, sink, peer = self.upgraded()
        stream.send_data(b"ping", False)
        assert peer.transport.take() == b"ping"
        peer.send(b"pong")
        assert sink.events == [
            ("ready",),
            ("headers", 101, False),
            ("data", b"hello", False),
            ("data", b"pong", False),
        ]

    def test_the_client_ends_first(self) -> None:
        fake, stream, sink, peer = self.upgraded()
        stream.send_data(b"bye", True)
        assert peer.transport.take() == b"bye"
        assert peer.transport.eof
        peer.send(b"bye")
        peer.end()
        assert sink.events[-2:] == [
            ("data", b"bye", False),
            ("reset", ResetReason.CONNECTION_TERMINATION, ""),
        ]
        assert peer.transport.closed
        peer.gone()
        assert fake.active_gauges() == {}

    def test_the_upstream_ends_first(self) -> None:
        fake, _, sink, peer = self.upgraded()
        peer.end()
        assert sink.events[-1] == ("reset", ResetReason.CONNECTION_TERMINATION, "")
        assert peer.transport.closed
        assert fake.value("upstream_cx_destroy_with_active_rq") == 1
