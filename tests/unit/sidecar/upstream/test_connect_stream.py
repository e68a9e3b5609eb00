"""A CONNECT that ends here: HTTP towards the router, TCP towards the upstream."""

from __future__ import annotations

from protocols.http.codec import HttpVersion, ResetReason
from protocols.http.headers import Headers
from sidecar.upstream.api import LbContext, UpstreamFailure, UpstreamStream
from sidecar.upstream.connect_stream import ConnectStream
from tests.support.upstream import FakeCluster, RecordingSink


def ask(fake: FakeCluster) -> RecordingSink:
    def send(stream: UpstreamStream) -> None:
        stream.send_headers(Headers.request(b"CONNECT", b"", b"there:1"), False)

    sink = RecordingSink(send)
    fake.cluster.new_connection(LbContext(), ConnectStream(sink, fake.timers))
    return sink


def test_a_tunnel_both_ways() -> None:
    fake = FakeCluster()
    sink = ask(fake)
    peer = fake.peers[0].accept()
    assert sink.events == [("ready",)]
    fake.loop.turn()
    assert sink.events[1:] == [("headers", 200, False)]
    stream = sink.stream
    assert stream is not None
    assert stream.version is HttpVersion.HTTP11
    stream.send_data(b"ping", False)
    assert peer.transport.take() == b"ping"
    peer.send(b"pong")
    peer.end()
    assert sink.events[2:] == [("data", b"pong", False), ("data", b"", True)]
    stream.send_data(b"more", True)
    assert peer.transport.take() == b"more"
    assert peer.transport.eof
    assert (stream.meter.wire_sent, stream.meter.wire_received) == (8, 4)
    stream.reset()
    assert peer.transport.closed
    assert fake.active_gauges() == {}


def test_a_server_that_speaks_first() -> None:
    fake = FakeCluster()
    sink = ask(fake)
    fake.peers[0].accept().send(b"hello")
    fake.loop.turn()
    assert sink.events == [("ready",), ("headers", 200, False), ("data", b"hello", False)]


def test_a_reset_is_one() -> None:
    fake = FakeCluster()
    sink = ask(fake)
    fake.peers[0].accept().reset()
    assert sink.events[-1] == ("reset", ResetReason.CONNECTION_TERMINATION, "")


def test_no_connection() -> None:
    fake = FakeCluster()
    sink = ask(fake)
    fake.peers[0].refuse()
    assert sink.events[0][:2] == ("failure", UpstreamFailure.CONNECT_FAILURE)


def test_back_pressure() -> None:
    fake = FakeCluster()
    sink = ask(fake)
    peer = fake.peers[0].accept()
    assert sink.stream is not None
    sink.stream.pause_reading()
    assert not peer.transport.reading
    sink.stream.resume_reading()
    assert peer.transport.reading
    peer.socket.pause_writing()
    assert sink.events[-1] == ("full", True)


def test_a_reset_behind_its_end_is_one_too() -> None:
    """The server does not take what is still sent to it."""
    fake = FakeCluster()
    sink = ask(fake)
    peer = fake.peers[0].accept()
    fake.loop.turn()
    peer.end()
    assert sink.events[-1] == ("data", b"", True)
    peer.reset()
    assert sink.events[-1] == ("reset", ResetReason.CONNECTION_TERMINATION, "")
    assert fake.active_gauges() == {}


def test_given_up_before_there_is_a_connection() -> None:
    fake = FakeCluster()
    sink = RecordingSink()
    fake.cluster.new_connection(LbContext(), ConnectStream(sink, fake.timers)).cancel()
    assert sink.events == []
    assert fake.active_gauges() == {}


def test_nothing_is_told_after_a_reset_of_ours() -> None:
    fake = FakeCluster()
    sink = ask(fake)
    peer = fake.peers[0].accept()
    stream = sink.stream
    assert stream is not None
    stream.reset()
    fake.loop.turn()
    peer.send(b"late")
    stream.send_data(b"x", True)
    stream.pause_reading()
    stream.resume_reading()
    assert sink.events == [("ready",)]
    assert peer.transport.closed


def test_a_request_that_has_ended_ends_the_direction() -> None:
    fake = FakeCluster()
    sink = RecordingSink(
        lambda stream: stream.send_headers(Headers.request(b"CONNECT", b"", b"there:1"), True)
    )
    fake.cluster.new_connection(LbContext(), ConnectStream(sink, fake.timers))
    peer = fake.peers[0].accept()
    fake.loop.turn()
    assert peer.transport.eof
    peer.send(b"hello")
    assert sink.events == [("ready",), ("headers", 200, False), ("data", b"hello", False)]


def test_closed_without_an_end_of_its_own() -> None:
    fake = FakeCluster()
    sink = ask(fake)
    peer = fake.peers[0].accept()
    peer.transport.closed = True
    peer.gone()
    assert sink.events == [("ready",), ("headers", 200, False), ("data", b"", True)]


def test_trailers_are_the_end() -> None:
    fake = FakeCluster()
    sink = ask(fake)
    peer = fake.peers[0].accept()
    assert sink.stream is not None
    sink.stream.send_trailers(Headers([(b"x-t", b"1")]))
    assert peer.transport.eof
    assert peer.transport.take() == b""
