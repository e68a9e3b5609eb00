"""How a downstream HTTP/2 connection ends: drains in two steps, timeouts, PINGs without answer, clients that leave."""

from __future__ import annotations

from typing import Any

import pytest

from config.model.core import TrafficDirection
from config.model.http import CodecType
from config.model.http2 import Http2Options, KeepaliveSpec
from sidecar.stream_info import TlsInfo
from tests.support.http2_floor import Http2End, http2_client, request_fields
from tests.support.http2_frames import PREFACE, FrameType, build_frame, build_settings
from tests.support.http_floor import OK, Client, HttpFloor, route

GET = request_fields()
POST = request_fields("/", "POST")
WARNING = (2**31 - 1, 0)


def make(**fields: Any) -> tuple[HttpFloor, Http2End, Client]:
    fields.setdefault("routes", [route("/", "web", timeout_s=None)])
    floor = HttpFloor(**fields)
    return floor, *http2_client(floor)


def answer(floor: HttpFloor, client: Http2End, stream: int) -> None:
    floor.server().send(OK)
    assert client.status(stream) == "200"


class TestDrain:
    def test_requests_behind_the_warning_are_served(self) -> None:
        floor, client, connection = make(max_connection_duration_s=10.0, drain_timeout_s=5.0)
        floor.advance(10.2)
        client.flush()
        assert client.goaways == [WARNING]
        first = client.request(GET)
        server = floor.server()
        server.send(OK)
        assert client.status(first) == "200"
        assert not connection.ended
        second = client.request(GET)
        floor.advance(5.2)
        client.flush()
        assert client.goaways == [WARNING, (second, 0)]
        server.send(OK)
        assert client.status(second) == "200"
        assert connection.ended

    def test_requests_behind_the_last_goaway_are_ignored(self) -> None:
        floor, client, connection = make(max_connection_duration_s=10.0, drain_timeout_s=5.0)
        stream = client.request(GET)
        server = floor.server()
        floor.advance(15.4)
        late = client.request(GET)
        assert client.told(late) == []
        server.send(OK)
        assert client.status(stream) == "200"
        assert floor.stat("downstream_rq_total") == len(floor.log) == 1
        assert connection.ended

    def test_the_last_goaway_is_sent_once(self) -> None:
        floor, client, connection = make(max_connection_duration_s=10.0, drain_timeout_s=5.0)
        streams = [client.request(GET), client.request(GET)]
        servers = [floor.server(), floor.server()]
        floor.advance(15.4)
        servers[0].send(OK)
        client.flush()
        floor.advance(10)
        client.flush()
        assert client.goaways == [WARNING, (streams[1], 0)]
        assert floor.value("http2.goaway_sent") == 1
        assert not connection.ended
        servers[1].send(OK)
        client.flush()
        assert connection.ended
        connection.lose()
        floor.advance(100)

    def test_a_listener_that_drains_is_told_with_the_next_answer(self) -> None:
        floor, client, connection = make(direction=TrafficDirection.INBOUND, drain_timeout_s=5.0)
        stream = client.request(GET)
        server = floor.server()
        floor.drain.begin(frozenset({TrafficDirection.INBOUND}))
        assert client.told(stream) == client.goaways == []
        server.send(OK)
        assert client.status(stream) == "200"
        assert client.goaways == [WARNING]
        assert floor.stat("downstream_cx_drain_close") == 1
        other = client.request(GET)
        server.send(OK)
        assert client.status(other) == "200"
        assert floor.stat("downstream_cx_drain_close") == 1
        floor.advance(5.2)
        assert connection.ended

    def test_another_direction_drains(self) -> None:
        floor, client, connection = make(direction=TrafficDirection.INBOUND)
        floor.drain.begin(frozenset({TrafficDirection.OUTBOUND}))
        answer(floor, client, client.request(GET))
        assert client.goaways == []
        assert not connection.ended

    def test_the_process_ends_in_the_middle_of_a_request(self) -> None:
        floor, client, connection = make()
        stream = client.request(GET)
        server = floor.server()
        connection.connection.drain()
        floor.advance(0.4)
        client.flush()
        assert client.goaways == [WARNING, (stream, 0)]
        assert not connection.ended
        server.send(OK)
        assert client.status(stream) == "200"
        assert connection.ended

    def test_the_process_ends_before_a_byte_came(self) -> None:
        floor = HttpFloor([route("/", "web")])
        client = floor.connect()
        client.connection.drain()
        floor.advance(0.4)
        assert client.ended

    @pytest.mark.parametrize("limit", [1, 3])
    def test_number_of_requests(self, limit: int) -> None:
        floor, client, connection = make(max_requests_per_connection=limit, drain_timeout_s=5.0)
        streams = []
        for _ in range(limit):
            assert client.goaways == []
            streams.append(client.request(GET))
        assert client.goaways == [WARNING]
        late = client.request(GET)
        for server in [floor.server() for _ in (*streams, late)]:
            server.send(OK)
        assert [client.status(stream) for stream in (*streams, late)] == ["200"] * (limit + 1)
        floor.advance(5.2)
        client.flush()
        assert client.goaways == [WARNING, (late, 0)]
        assert connection.ended
        assert floor.stat("downstream_cx_max_requests_reached") == 1

    def test_a_stream_that_ends_with_the_drain_is_not_cut_off(self) -> None:
        """A reset is the end of the last stream, too."""
        floor, client, connection = make(max_connection_duration_s=10.0, drain_timeout_s=5.0)
        stream = client.request(POST, None)
        floor.server()
        floor.advance(15.4)
        client.flush()
        assert not connection.ended
        client.reset(stream)
        assert connection.ended


class TestIdle:
    def test_streams_keep_it_open(self) -> None:
        floor, client, connection = make(idle_timeout_s=10.0, drain_timeout_s=5.0)
        stream = client.request(GET)
        server = floor.server()
        floor.advance(30)
        server.send(OK)
        assert client.status(stream) == "200"
        assert client.goaways == []
        floor.advance(9.8)
        client.flush()
        assert client.goaways == []
        floor.advance(0.4)
        client.flush()
        assert client.goaways == [WARNING]
        floor.advance(5.2)
        assert connection.ended
        assert floor.stat("downstream_cx_idle_timeout") == 1

    @pytest.mark.parametrize("how", ["client", "upstream", "refused"])
    def test_a_stream_that_was_reset_has_ended_as_well(self, how: str) -> None:
        """It was there when the timeout came."""
        floor, client, connection = make(idle_timeout_s=10.0, http2=Http2Options(max_concurrent_streams=1))
        stream = client.request(GET)
        server = floor.server()
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        floor.advance(11)
        if how == "client":
            client.reset(stream)
        else:
            server.reset()
        if how == "refused":
            client.flush()
            client.request([*GET, *((f"x-{number}", "1") for number in range(100))])
        client.flush()
        assert floor.stat("downstream_rq_active") == 0
        floor.advance(10.3)
        floor.advance(5.2)
        assert connection.ended

    def test_pings_do_not_keep_it_open(self) -> None:
        floor, client, connection = make(idle_timeout_s=10.0, drain_timeout_s=5.0)
        for _ in range(3):
            floor.advance(4)
            client.h2.ping(b"12345678")
            client.flush()
        client.flush()
        assert client.goaways == [WARNING]
        floor.advance(5.2)
        assert connection.ended

    @pytest.mark.parametrize("sent", [b"", b"PRI", PREFACE[:-1], PREFACE])
    @pytest.mark.parametrize("known", [True, False])
    def test_a_client_that_does_not_begin(self, sent: bytes, known: bool) -> None:
        """Whether it is known that it wants HTTP/2, or only likely."""
        floor = HttpFloor([route("/", "web")], idle_timeout_s=10.0, drain_timeout_s=5.0)
        client = floor.connect(TlsInfo("TLSv1.3", "X", "h2") if known else None)
        client.send(sent)
        floor.advance(10.3)
        floor.advance(5.3)
        assert client.ended
        client.lose()
        assert floor.stat("downstream_cx_active") == floor.stat("downstream_cx_http2_active") == 0

    def test_the_process_ends_while_a_client_begins(self) -> None:
        floor = HttpFloor([route("/", "web")], codec_type=CodecType.HTTP2)
        client = floor.connect()
        client.send(PREFACE[:5])
        client.connection.drain()
        floor.advance(0.4)
        assert client.ended

    def test_half_a_head_is_no_stream(self) -> None:
        """The rest never comes: the connection is idle."""
        floor, client, connection = make(idle_timeout_s=10.0, drain_timeout_s=5.0)
        client.flush()
        connection.send(build_frame(FrameType.HEADERS, 0, 1, b"\x82"))
        floor.advance(16)
        assert connection.ended
        assert floor.stat("downstream_rq_total") == 0


class TestKeepalive:
    def make(self, **fields: float) -> tuple[HttpFloor, Http2End, Client]:
        spec = KeepaliveSpec(**{"interval_s": 10.0, "timeout_s": 3.0, "interval_jitter": 0.0, **fields})
        return make(http2=Http2Options(keepalive=spec))

    def test_silence_with_streams_open(self) -> None:
        floor, client, connection = self.make()
        client.request(GET)
        server = floor.server()
        floor.advance(10.2)
        floor.advance(3.2)
        assert connection.transport.aborted
        connection.lose()
        assert server.closed
        assert repr(floor.last) == "0 DC downstream_local_disconnect"
        assert floor.value("http2.keepalive_timeout") == 1
        assert floor.stat("downstream_cx_destroy_local_active_rq") == 1
        assert floor.idle()

    def test_other_bytes_are_no_answer(self) -> None:
        floor, _client, connection = self.make()
        floor.advance(10.2)
        connection.send(build_frame(FrameType.PING, 1, 0, b"12345678"))  # to a question nobody asked
        connection.send(build_settings())
        floor.advance(3.2)
        assert connection.closed

    def test_no_ping_before_the_client_has_begun(self) -> None:
        spec = KeepaliveSpec(interval_s=10.0, timeout_s=3.0, interval_jitter=0.0)
        floor = HttpFloor([route("/", "web")], http2=Http2Options(keepalive=spec))
        client = floor.connect()
        floor.advance(60)
        assert client.take() == b""
        assert not client.closed

    def test_it_stops_with_the_connection(self) -> None:
        floor, _client, connection = self.make()
        connection.lose()
        floor.advance(60)
        assert floor.value("http2.keepalive_timeout") == 0


class TestClientLeaves:
    @pytest.mark.parametrize("how", ["end", "lose"])
    def test_with_streams_open(self, how: str) -> None:
        floor, client, connection = make()
        client.request(GET)
        client.request(POST, None)
        servers = [floor.server(), floor.server()]
        connection.end() if how == "end" else connection.lose()
        if how == "end":
            assert connection.closed
            connection.lose()
        assert [repr(line) for line in floor.log] == ["0 DC downstream_remote_disconnect"] * 2
        assert all(server.closed for server in servers)
        assert floor.idle()
        assert floor.value("http2.streams_active") == 0
        assert floor.stat("downstream_cx_http2_active") == 0
        assert floor.stat("downstream_cx_destroy_remote_active_rq") == 1

    def test_goaway_of_the_client_changes_nothing(self) -> None:
        floor, client, connection = make()
        stream = client.request(GET)
        connection.send(build_frame(FrameType.GOAWAY, 0, 0, bytes(8)))
        answer(floor, client, stream)
        assert not connection.ended

    def test_frames_behind_its_end(self) -> None:
        floor, client, connection = make()
        client.request(GET)
        connection.end()
        connection.send(build_frame(FrameType.PING, 0, 0, b"12345678"))
        assert floor.idle()


class _BrokenCodec:
    """Fails when it is to read; all else is another's."""

    def __init__(self, other: object) -> None:
        self._other = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other, name)

    def receive(self, data: bytes) -> None:
        raise ZeroDivisionError


def test_a_bug_costs_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    floor, client, connection = make()
    client.request(GET)
    floor.server()
    other, other_connection = http2_client(floor)

    exchanges = floor.managers[0]._exchanges
    assert exchanges is not None
    monkeypatch.setattr(exchanges, "codec", _BrokenCodec(exchanges.codec))
    connection.send(build_frame(FrameType.PING, 0, 0, b"12345678"))
    assert connection.transport.aborted
    connection.lose()
    assert floor.value("server.envoy_bug_failures") == 1
    assert [line.flags for line in floor.log] == ["DC"]
    answer(floor, other, other.request(GET))
    assert not other_connection.closed
