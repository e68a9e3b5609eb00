"""Back-pressure on a downstream HTTP/2 connection: windows towards the client and from it, full transports, late readers."""

from __future__ import annotations

from typing import Any

import pytest

from config.model.cluster import UpstreamHttpOptions, UpstreamHttpProtocol
from config.model.core import DataSource
from config.model.http2 import Http2Options
from config.model.route import DirectResponseAction
from sidecar.http.http2_exchanges import STREAM_BUFFER_BYTES
from tests.support.http2_floor import (
    Http2End,
    body_of,
    grpc_fields,
    http2_client,
    http2_server,
    request_fields,
)
from tests.support.http2_frames import FrameType
from tests.support.http_floor import OK, Client, HttpFloor, response, route, route_to
from tests.support.upstream import static_spec

GET = request_fields()
POST = request_fields("/", "POST")
WINDOW = 65535
SMALL_WINDOWS = Http2Options(initial_stream_window_size=WINDOW)


def make(window: int | None = None, **fields: Any) -> tuple[HttpFloor, Http2End, Client]:
    fields.setdefault("routes", [route("/", "web", timeout_s=None)])
    floor = HttpFloor(**fields)
    return floor, *http2_client(floor, window)


def h2_cluster(**options: Any) -> dict[str, Any]:
    http_options = UpstreamHttpOptions(UpstreamHttpProtocol.HTTP2, **options)
    return {"clusters": [static_spec("web", http_options=http_options)]}


def open_window(client: Http2End, stream: int, size: int) -> None:
    """The client takes so much more, on the stream and on the connection."""
    client.h2.increment_flow_control_window(size, stream)
    client.h2.increment_flow_control_window(size)
    client.flush()


class TestRequests:
    """The client's body, towards an upstream that does not take it."""

    def test_bytes_are_credited_once_half_a_window_was_taken(self) -> None:
        floor, client, _ = make(http2=SMALL_WINDOWS)
        stream = client.request(POST, None)
        floor.server()
        client.data(stream, b"x" * 16384)
        assert client.h2.local_flow_control_window(stream) == WINDOW - 16384
        client.data(stream, b"x" * 16384)
        assert client.h2.local_flow_control_window(stream) == WINDOW

    def test_no_upstream_yet(self) -> None:
        """A megabyte is taken; then no more is credited than came within the window."""
        floor, client, _ = make(http2=Http2Options(initial_stream_window_size=1 << 21))
        stream = client.request(POST, None)
        piece = b"x" * 16384
        sent = 0
        while client.h2.local_flow_control_window(stream) >= len(piece):
            client.data(stream, piece)
            sent += len(piece)
        assert sent == (1 << 20) + (1 << 21)
        assert floor.stat("downstream_flow_control_paused_reading_total") == 1
        server = floor.server()
        assert len(server.take()) > 1 << 20
        client.flush()
        assert client.h2.local_flow_control_window(stream) >= 1 << 20
        assert floor.stat("downstream_flow_control_resumed_reading_total") == 1

    def test_two_reasons_to_wait(self) -> None:
        """Both have to go: nothing is credited as long as one is left."""
        floor, client, _ = make(http2=SMALL_WINDOWS)
        stream = client.request(POST, None)
        server = floor.server()
        exchanges = next(iter(floor.managers[0]._exchanges.streams.values()))
        server.peer.socket.pause_writing()
        exchanges.pause_request(True)
        client.data(stream, b"x" * 16384)
        client.data(stream, b"x" * 16384)
        server.peer.socket.resume_writing()
        client.flush()
        assert client.h2.local_flow_control_window(stream) == WINDOW - 32768
        exchanges.pause_request(False)
        floor.loop.turn()
        client.flush()
        assert client.h2.local_flow_control_window(stream) == WINDOW

    @pytest.mark.parametrize("how", ["client resets", "server answers", "server breaks"])
    def test_what_was_held_back_is_given_to_the_connection_at_the_end(self, how: str) -> None:
        """The stream is over, others still need the connection's window."""
        options = Http2Options(initial_stream_window_size=WINDOW, initial_connection_window_size=2 * WINDOW)
        floor, client, _ = make(http2=options)
        stream = client.request(POST, None)
        server = floor.server()
        server.peer.socket.pause_writing()
        for _ in range(3):
            client.data(stream, b"x" * 16384)
        client.data(stream, b"x" * (WINDOW - 3 * 16384))
        assert client.h2.outbound_flow_control_window == WINDOW
        if how == "client resets":
            client.reset(stream)
        elif how == "server answers":
            server.send(OK)
        else:
            server.reset()
        client.flush()
        other = client.request(POST, None)
        floor.server()
        for _ in range(3):
            client.data(other, b"x" * 16384)
        client.data(other, b"x" * (WINDOW - 3 * 16384))
        assert client.h2.outbound_flow_control_window >= WINDOW
        assert client.h2.local_flow_control_window(other) >= WINDOW // 2

    def test_padding_is_credited_too(self) -> None:
        floor, client, _ = make(http2=SMALL_WINDOWS)
        stream = client.request(POST, None)
        server = floor.server()
        server.take()
        for _ in range(200):
            client.h2.send_data(stream, b"x", pad_length=255)
            client.flush()
        assert client.h2.local_flow_control_window(stream) > WINDOW // 2
        client.data(stream, b"", True)
        assert server.take().count(b"1\r\nx\r\n") == 200
        assert floor.value("http.test.downstream_rq_active") == 1

    def test_body_behind_an_answer_is_thrown_away_and_credited(self) -> None:
        """The client has not seen the reset yet."""
        options = Http2Options(initial_connection_window_size=WINDOW)
        _floor, client, connection = make(http2=options, routes=[])
        stream = client.request(POST, None)
        client.told(stream)
        for _ in range(8):
            data = b"\x00\x40\x00\x00\x00" + stream.to_bytes(4, "big") + b"x" * 16384
            connection.send(data)
            client.flush()
        assert not connection.closed
        assert client.goaways == []


class TestResponses:
    """The answer, towards a client that does not take it."""

    def test_trailers_wait_behind_the_body(self) -> None:
        floor, client, _ = make(0, **h2_cluster())
        client.credits = False
        stream = client.request(grpc_fields())
        server = http2_server(floor.server())
        server.answer(1, 200, None, ("content-type", "application/grpc"))
        server.data(1, b"x" * 10)
        server.trailers(1, ("grpc-status", "0"))
        assert [event[0] for event in client.told(stream)] == ["headers"]
        assert floor.log == []
        open_window(client, stream, 5)
        assert client.told(stream) == [("data", b"x" * 5)]
        open_window(client, stream, 5)
        assert client.told(stream) == [("data", b"x" * 5), ("trailers", {"grpc-status": "0"}), ("end",)]
        assert repr(floor.last) == "200 - via_upstream"
        assert floor.idle()

    def test_the_window_of_the_connection(self) -> None:
        """The streams' own windows are wide open."""
        floor, client, _ = make(1 << 24)
        client.credits = False
        streams = [client.request(GET), client.request(GET)]
        for server in [floor.server(), floor.server()]:
            server.send(response(200, body=b"x" * 60_000))
        client.flush()
        received = [len(body_of(client.told(stream))) for stream in streams]
        assert sum(received) == WINDOW
        client.h2.increment_flow_control_window(1 << 20)
        client.flush()
        received = [
            size + len(body_of(client.told(stream))) for size, stream in zip(received, streams, strict=True)
        ]
        assert received == [60_000, 60_000]
        assert floor.idle()

    def test_a_larger_initial_window_lets_go_on(self) -> None:
        floor, client, _ = make(0)
        stream = client.request(GET)
        floor.server().send(response(200, body=b"hello"))
        assert body_of(client.told(stream)) == b""
        client.h2.update_settings({4: 100})
        assert body_of(client.told(stream)) == b"hello"
        assert floor.idle()

    def test_upstream_is_asked_for_more_before_the_client_runs_dry(self) -> None:
        floor, client, _ = make(0, **h2_cluster(http2=Http2Options(initial_stream_window_size=1 << 20)))
        client.credits = False
        stream = client.request(GET)
        server = http2_server(floor.server())
        server.answer(1, 200, None)
        piece = b"x" * 16384
        while server.h2.local_flow_control_window(1) >= len(piece):
            server.data(1, piece)
        assert server.h2.local_flow_control_window(1) < len(piece)
        assert floor.value("cluster.web.upstream_flow_control_paused_reading_total") == 1
        open_window(client, stream, 2 << 20)
        server.flush()
        assert server.h2.local_flow_control_window(1) > 1 << 19
        assert floor.value("cluster.web.upstream_flow_control_resumed_reading_total") == 1
        assert len(body_of(client.told(stream))) > 1 << 19

    def test_a_window_that_opens_while_the_transport_is_full(self) -> None:
        floor, client, connection = make(0)
        client.credits = False
        stream = client.request(GET)
        server = floor.server()
        size = STREAM_BUFFER_BYTES + 1
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (size + 1) + b"x" * size)
        assert not server.transport.reading
        connection.full(True)
        open_window(client, stream, 2 * size)
        assert not server.transport.reading
        connection.full(False)
        assert server.transport.reading

    def test_a_transport_that_takes_again_while_the_window_is_used_up(self) -> None:
        floor, client, connection = make(0)
        client.credits = False
        stream = client.request(GET)
        server = floor.server()
        size = STREAM_BUFFER_BYTES + 1
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (size + 1) + b"x" * size)
        connection.full(True)
        connection.full(False)
        assert not server.transport.reading
        open_window(client, stream, 2 * size)
        assert server.transport.reading

    def test_a_response_that_begins_while_the_transport_is_full(self) -> None:
        floor, client, connection = make()
        client.request(GET)
        server = floor.server()
        connection.full(True)
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
        assert not server.transport.reading
        connection.full(False)
        assert server.transport.reading

    def test_much_is_written_at_once(self) -> None:
        """Not at the end of the turn: the transport has to say when it is full."""
        floor, client, connection = make()
        client.request(GET)
        server = floor.server()
        connection.take()
        server.peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n" + b"x" * 16384)
        assert sum(map(len, connection.transport.writes)) > 16384


class TestUnflushed:
    """A response that is complete but for what the client's window holds back: the stream goes on."""

    def answered(self, **fields: Any) -> tuple[HttpFloor, Http2End, Client, int]:
        floor, client, connection = make(10, **fields)
        client.credits = False
        stream = client.request(GET)
        floor.server().send(response(200, body=b"x" * 25))
        assert body_of(client.told(stream)) == b"x" * 10
        assert floor.log == []
        assert floor.stat("downstream_rq_active") == floor.value("http2.streams_active") == 1
        assert floor.value("cluster.web.upstream_rq_active") == 0
        return floor, client, connection, stream

    def test_the_rest_is_taken(self) -> None:
        floor, client, _, stream = self.answered()
        open_window(client, stream, 10)
        assert floor.log == []
        open_window(client, stream, 10)
        assert client.told(stream) == [("data", b"x" * 10), ("data", b"x" * 5), ("end",)]
        assert repr(floor.last) == "200 - via_upstream"
        assert floor.stat("downstream_rq_time") == 1
        assert floor.idle()
        assert floor.value("http2.streams_active") == 0
        floor.advance(1000)
        assert len(floor.log) == 1

    def test_the_client_gives_up(self) -> None:
        floor, client, connection, stream = self.answered()
        client.reset(stream)
        assert [repr(line) for line in floor.log] == ["200 DR http2.remote_reset"]
        assert floor.stat("downstream_rq_total") == floor.value("http2.rx_reset") == 1
        assert floor.idle()
        assert not connection.closed

    def test_the_connection_is_lost(self) -> None:
        floor, _, connection, _ = self.answered()
        connection.lose()
        assert [repr(line) for line in floor.log] == ["200 DC downstream_remote_disconnect"]
        assert floor.stat("downstream_cx_destroy_active_rq") == 1
        assert floor.idle()
        floor.advance(1000)

    @pytest.mark.parametrize("by_route", [False, True])
    def test_the_client_never_takes_it(self, by_route: bool) -> None:
        fields: dict[str, Any] = {"stream_idle_timeout_s": 20.0}
        if by_route:
            fields["routes"] = [route("/", "web", idle_timeout_s=10.0)]
        floor, client, connection, stream = self.answered(**fields)
        floor.advance(9.9 if by_route else 19.9)
        open_window(client, stream, 1)
        assert floor.log == []
        floor.advance(0.3)
        assert client.told(stream) == [("data", b"x"), ("reset", 2)]
        assert [repr(line) for line in floor.log] == ["200 - via_upstream"]
        assert floor.value("http2.tx_flush_timeout") == floor.value("http2.tx_reset") == 1
        assert floor.stat("downstream_rq_idle_timeout") == 0
        assert floor.idle()
        assert not connection.closed

    def test_without_a_stream_idle_timeout_it_is_waited_for(self) -> None:
        floor, client, connection, stream = self.answered(stream_idle_timeout_s=None, idle_timeout_s=30.0)
        floor.advance(1000)
        assert not connection.ended
        open_window(client, stream, 100)
        assert client.told(stream)[-1] == ("end",)
        floor.advance(40)
        assert connection.ended

    def test_no_other_timeout_applies(self) -> None:
        floor, client, _, stream = self.answered(
            routes=[route("/", "web", timeout_s=5.0, max_stream_duration_s=10.0)],
            request_timeout_s=5.0,
            stream_idle_timeout_s=100.0,
        )
        floor.advance(50)
        open_window(client, stream, 100)
        assert client.told(stream)[-1] == ("end",)
        assert repr(floor.last) == "200 - via_upstream"

    def test_the_connection_drains_meanwhile(self) -> None:
        floor, client, connection, stream = self.answered()
        connection.connection.drain()
        floor.advance(1)
        assert not connection.ended
        open_window(client, stream, 100)
        assert client.told(stream)[-1] == ("end",)
        assert client.goaways == [(2**31 - 1, 0), (stream, 0)]
        assert connection.ended

    def test_an_early_answer_is_whole_before_the_request_is_refused(self) -> None:
        floor, client, _ = make(10, routes=[route_to("/", DirectResponseAction(413, DATA))])
        client.credits = False
        stream = client.request(POST, None)
        assert body_of(client.told(stream)) == b"x" * 10
        client.data(stream, b"more")
        open_window(client, stream, 100)
        assert client.told(stream) == [("data", b"x" * 15), ("end",), ("reset", 0)]
        assert repr(floor.last) == "413 - direct_response"
        assert floor.last.received == 4
        assert floor.idle()

    def test_a_request_that_ends_in_time_is_not_refused(self) -> None:
        floor, client, _ = make(10, routes=[route_to("/", DirectResponseAction(413, DATA))])
        client.credits = False
        stream = client.request(POST, None)
        client.data(stream, b"more", True)
        open_window(client, stream, 100)
        assert client.told(stream)[-1] == ("end",)
        assert floor.value("http2.tx_reset") == 0
        assert floor.idle()

    def test_the_upstream_is_not_kept_for_it(self) -> None:
        """An answer of our own, in the middle of a request."""
        floor, client, _ = make(0, stream_idle_timeout_s=10.0)
        stream = client.request(POST, None)
        server = floor.server()
        floor.advance(10.2)
        assert [event[0] for event in client.told(stream)] == ["headers"]
        assert server.closed
        client.data(stream, b"late")
        open_window(client, stream, 100)
        assert client.told(stream)[-2:] == [("end",), ("reset", 0)]
        assert repr(floor.last) == "408 SI stream_idle_timeout"


DATA = DataSource(inline=b"x" * 25)


def test_memory_of_many_late_readers_is_bounded() -> None:
    """Each stream holds little more than its buffer, whatever the upstream has."""
    floor, client, connection = make(0)
    client.credits = False
    streams = [client.request(GET) for _ in range(5)]
    for _ in streams:
        server = floor.server()
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        while server.transport.reading:
            server.send(b"x" * 65536)
    exchanges = floor.managers[0]._exchanges
    assert exchanges is not None
    assert all(
        STREAM_BUFFER_BYTES < exchanges.codec.unsent(stream) <= STREAM_BUFFER_BYTES + 65536
        for stream in streams
    )
    connection.lose()
    assert floor.idle()


def test_control_frames_are_not_held_back_by_windows() -> None:
    floor, client, connection = make(0)
    client.request(GET)
    floor.server().send(response(200, body=b"x" * 100))
    connection.take()
    client.h2.ping(b"12345678")
    connection.send(client.h2.data_to_send())
    assert connection.take()[3] == FrameType.PING


def test_a_client_that_reads_nothing_is_asked_no_further() -> None:
    """What its requests cost stays bounded, for no more of them are read."""
    _, client, raw = make(routes=[])
    raw.full(True)
    assert not raw.transport.reading
    raw.full(False)
    assert raw.transport.reading
    assert client.status(client.request(GET)) == "404"
