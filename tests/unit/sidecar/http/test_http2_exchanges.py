"""HTTP/2 on a downstream connection, as a client sees it: streams, local replies, flow control, drains, floods."""

from __future__ import annotations

from typing import Any

import pytest

from config.model.http import CodecType, UpgradeConfig
from config.model.http2 import Http2Options, KeepaliveSpec
from config.model.route import ConnectConfig, PathMatchKind, RouteAction, RouteMatch, RouteSpec
from sidecar.http.http2_exchanges import STREAM_BUFFER_BYTES
from sidecar.stream_info import TlsInfo
from tests.support.http2_floor import Http2End, grpc_fields, http2_client, request_fields
from tests.support.http2_frames import PREFACE, FrameType, build_frame
from tests.support.http_floor import OK, Client, HttpFloor, response, route

GET = request_fields()


def make(**fields: Any) -> tuple[HttpFloor, Http2End, Client]:
    fields.setdefault("routes", [route("/", "web")])
    floor = HttpFloor(**fields)
    return floor, *http2_client(floor)


class TestProtocol:
    def test_preface_byte_by_byte(self) -> None:
        floor = HttpFloor([route("/", "web")])
        client = floor.connect()
        for octet in PREFACE:
            client.send(bytes((octet,)))
        assert floor.stat("downstream_cx_http2_total") == 1
        assert floor.stat("downstream_cx_http2_active") == 1
        client.lose()
        assert floor.stat("downstream_cx_http2_active") == 0

    @pytest.mark.parametrize(("alpn", "http2"), [("h2", True), ("http/1.1", False)])
    def test_what_was_negotiated_decides(self, alpn: str, http2: bool) -> None:
        floor = HttpFloor([route("/", "web")])
        floor.connect(TlsInfo("TLSv1.3", "X", alpn)).send(b"P")
        assert floor.stat("downstream_cx_http2_total") == http2

    def test_configuration_decides(self) -> None:
        floor = HttpFloor([route("/", "web")], codec_type=CodecType.HTTP1)
        client = floor.connect()
        client.send(PREFACE)
        assert client.take().startswith(b"HTTP/1.1 400 ")


class TestStreams:
    def test_answers_come_in_any_order(self) -> None:
        floor, client, _ = make()
        first, second = client.request(request_fields("/1")), client.request(request_fields("/2"))
        servers = [floor.server(), floor.server()]
        assert [server.take()[:6] for server in servers] == [b"GET /1", b"GET /2"]
        servers[1].send(OK)
        assert client.status(second) == "200"
        assert client.told(first) == []
        servers[0].send(OK)
        assert client.status(first) == "200"
        assert [line.path for line in floor.log] == [b"/2", b"/1"]
        assert floor.log[0].info.protocol == "HTTP/2"
        assert floor.idle()
        assert floor.value("http2.streams_active") == 0

    def test_bodies_and_trailers(self) -> None:
        floor, client, _ = make()
        stream = client.request(request_fields("/", "POST"), None)
        client.data(stream, b"abc")
        server = floor.server()
        client.trailers(stream, ("x-t", "1"))
        assert server.take().endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        server.send(response(200, body=b"hello"))
        head, body, end = client.told(stream)
        assert head[0] == "headers"
        assert (body, end) == (("data", b"hello"), ("end",))
        assert (floor.last.received, floor.last.sent) == (3, 5)

    def test_local_reply(self) -> None:
        floor, client, connection = make(routes=[route("/here", "web")])
        stream = client.request(request_fields("/elsewhere"))
        assert client.status(stream) == "404"
        assert repr(floor.last) == "404 NR route_not_found"
        assert not connection.closed

    def test_grpc_local_reply_is_trailers_only(self) -> None:
        floor, client, _ = make(routes=[route("/", "unknown")])
        stream = client.request(grpc_fields(), b"\0\0\0\0\0")
        head, end = client.told(stream)
        assert isinstance(head[1], dict)
        assert (head[1][":status"], head[1]["grpc-status"], end) == ("200", "14", ("end",))
        assert floor.last.flags == "NC"

    def test_answer_before_the_request_is_complete(self) -> None:
        floor, client, connection = make(routes=[route("/here", "web")])
        stream = client.request(request_fields("/elsewhere", "POST"), None)
        assert client.told(stream)[-1] == ("reset", 0)
        assert floor.stat("downstream_rq_response_before_rq_complete") == 1
        assert not connection.closed
        assert floor.idle()

    def test_client_gives_up(self) -> None:
        floor, client, _ = make()
        stream = client.request(GET)
        server = floor.server()
        client.reset(stream)
        assert server.closed
        assert repr(floor.last) == "0 DR http2.remote_reset"
        assert floor.value("http2.rx_reset") == 1
        assert floor.idle()

    def test_upstream_breaks_off(self) -> None:
        floor, client, connection = make()
        stream = client.request(GET)
        floor.server().send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab")
        assert [each[0] for each in client.told(stream)] == ["headers", "data"]
        other = client.request(GET)
        floor.server().send(OK)
        assert client.status(other) == "200"
        assert not connection.closed

    def test_reset_after_the_response_began(self) -> None:
        floor, client, connection = make()
        stream = client.request(GET)
        server = floor.server()
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab")
        server.reset()
        assert client.told(stream)[-1] == ("reset", 2)
        assert floor.last.flags == "UPE"
        assert not connection.closed

    def test_connection_lost_with_streams_open(self) -> None:
        floor, client, connection = make()
        client.request(GET)
        client.request(GET)
        connection.lose()
        assert [line.flags for line in floor.log] == ["DC", "DC"]
        assert floor.idle()
        assert floor.value("http2.streams_active") == 0


BAD = [*GET, ("connection", "close")]


def send_bad_request(client: Http2End) -> int:
    """A request with a field that HTTP/2 forbids."""
    client.h2.config.validate_outbound_headers = False
    client.h2.config.normalize_outbound_headers = False
    return client.request(BAD)


class TestBadInput:
    def test_malformed_request_ends_the_connection(self) -> None:
        floor, client, connection = make()
        client.request(GET)
        send_bad_request(client)
        assert [code for _, code in client.goaways] == [1]
        assert connection.ended
        assert {repr(line) for line in floor.log} == {"0 DPE http2.invalid.header.field"}
        assert {line.info.protocol for line in floor.log} == {"HTTP/2"}
        assert floor.stat("downstream_cx_protocol_error") == 1
        assert floor.value("http2.rx_messaging_error") == 1
        assert floor.idle()

    def test_malformed_request_ends_its_stream_where_configured(self) -> None:
        floor, client, connection = make(http2=Http2Options(stream_error_on_invalid_http_message=True))
        stream = send_bad_request(client)
        assert client.told(stream) == [("reset", 1)]
        assert repr(floor.last) == "0 DPE http2.invalid.header.field"
        assert not connection.ended

    def test_too_many_headers(self) -> None:
        floor, client, connection = make()
        stream = client.request([*GET, *((f"x-{number}", "1") for number in range(100))])
        assert client.told(stream) == [("reset", 2)]
        assert repr(floor.last) == "0 DR http2.too_many_headers"
        assert floor.value("http2.header_overflow") == 1
        assert not connection.ended

    def test_too_many_streams(self) -> None:
        floor, client, _ = make(http2=Http2Options(max_concurrent_streams=1))
        client.request(GET)
        client.h2.remote_settings.update({3: 10})  # the client does not care
        client.h2.remote_settings.acknowledge()
        stream = client.request(GET)
        assert client.told(stream) == [("reset", 7)]
        assert floor.value("http2.stream_refused_errors") == floor.value("http2.tx_reset") == 1
        assert floor.stat("downstream_rq_total") == 1
        assert floor.log == []

    def test_rapid_resets(self) -> None:
        floor, client, connection = make(routes=[route("/", "web")])
        for _ in range(300):
            if connection.ended:
                break
            stream = client.h2.get_next_available_stream_id()
            client.h2.send_headers(stream, GET, end_stream=True)
            client.h2.reset_stream(stream)
            client.raw(client.h2.data_to_send())
        assert connection.ended
        assert floor.stat("downstream_rq_too_many_premature_resets") == 1
        assert [code for _, code in client.goaways] == [11]
        assert floor.idle()

    def test_ping_flood(self) -> None:
        floor, _, connection = make()
        connection.transport.unwritten = 1  # nothing leaves
        connection.send(build_frame(FrameType.PING, 0, 0, b"12345678") * 1001)
        assert connection.ended
        assert floor.value("http2.outbound_control_flood") == 1


class TestFlowControl:
    def test_full_upstream_stops_its_stream_alone(self) -> None:
        floor, client, _ = make(http2=Http2Options(initial_stream_window_size=65535))
        stream = client.request(request_fields("/", "POST"), None)
        server = floor.server()
        server.peer.socket.pause_writing()
        client.data(stream, b"x" * 16000)
        client.data(stream, b"x" * 16000)
        client.data(stream, b"x" * 16000)
        assert client.h2.local_flow_control_window(stream) == 65535 - 48000
        other = client.request(GET)
        floor.server().send(OK)
        assert client.status(other) == "200"
        server.peer.socket.resume_writing()
        client.flush()
        assert client.h2.local_flow_control_window(stream) == 65535
        client.data(stream, b"", True)
        server.send(OK)
        assert client.status(stream) == "200"

    def test_client_window_stops_the_upstream(self) -> None:
        floor = HttpFloor([route("/", "web")])
        client, _ = http2_client(floor, window=0)
        client.credits = False
        stream = client.request(GET)
        server = floor.server()
        size = STREAM_BUFFER_BYTES + 1
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (2 * size) + b"x" * size)
        assert not server.transport.reading
        client.h2.increment_flow_control_window(2 * size, stream)
        client.h2.increment_flow_control_window(2 * size)
        client.flush()
        assert server.transport.reading
        server.send(b"x" * size)
        told = client.told(stream)
        assert (
            sum(len(each[1]) for each in told if each[0] == "data" and isinstance(each[1], bytes)) == 2 * size
        )
        assert told[-1] == ("end",)

    def test_full_transport_stops_all(self) -> None:
        floor, client, connection = make()
        streams = [client.request(GET), client.request(GET)]
        servers = [floor.server(), floor.server()]
        for server in servers:
            server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
        connection.full(True)
        assert [server.transport.reading for server in servers] == [False, False]
        connection.full(False)
        assert [server.transport.reading for server in servers] == [True, True]
        for server, stream in zip(servers, streams, strict=True):
            server.send(b"b")
            assert client.told(stream)[-1] == ("end",)


class TestEnd:
    def test_drain_in_two_steps(self) -> None:
        floor, client, connection = make(
            max_connection_duration_s=10.0, drain_timeout_s=5.0, routes=[route("/", "web", timeout_s=None)]
        )
        stream = client.request(GET)
        server = floor.server()
        floor.advance(10.2)
        goaway = connection.take()
        assert goaway[3] == FrameType.GOAWAY
        assert int.from_bytes(goaway[9:13], "big") == 2**31 - 1
        floor.advance(5.2)
        goaway = connection.take()
        assert int.from_bytes(goaway[9:13], "big") == stream
        assert not connection.ended
        server.send(OK)
        assert connection.take()[3] == FrameType.HEADERS
        assert connection.ended
        assert floor.stat("downstream_cx_max_duration_reached") == 1

    def test_idle_connection(self) -> None:
        floor, _, connection = make(idle_timeout_s=10.0)
        floor.advance(10.2)
        assert connection.take()[3] == FrameType.GOAWAY
        floor.advance(5.2)
        assert connection.ended
        assert floor.stat("downstream_cx_idle_timeout") == 1

    def test_number_of_requests(self) -> None:
        floor, client, connection = make(max_requests_per_connection=2)
        client.request(GET)
        server = floor.server()
        server.send(OK)
        client.h2.send_headers(client.h2.get_next_available_stream_id(), GET, end_stream=True)
        connection.send(client.h2.data_to_send())
        server.send(OK)
        assert bytes((FrameType.GOAWAY,)) in connection.take()
        floor.advance(5.2)
        assert connection.ended
        assert floor.stat("downstream_cx_max_requests_reached") == 1

    def test_process_ends(self) -> None:
        floor, _, connection = make()
        connection.connection.drain()
        assert connection.take()[3] == FrameType.GOAWAY
        floor.advance(0.4)
        assert connection.ended

    @pytest.mark.parametrize("by_route", [False, True])
    def test_idle_stream(self, by_route: bool) -> None:
        fields: dict[str, Any] = {"stream_idle_timeout_s": 10.0}
        if by_route:
            fields = {"routes": [route("/", "web", idle_timeout_s=10.0)]}
        floor, client, connection = make(**fields)
        stream = client.request(GET)
        floor.server()
        floor.advance(10.2)
        assert client.status(stream) == "504"
        assert floor.last.flags == "SI"
        assert not connection.ended

    def test_the_timeout_of_a_route_replaces_the_other(self) -> None:
        floor, client, _ = make(stream_idle_timeout_s=3.0, routes=[route("/", "web", idle_timeout_s=30.0)])
        stream = client.request(GET)
        floor.server()
        floor.advance(14)
        assert client.told(stream) == []

    def test_keepalive(self) -> None:
        options = Http2Options(keepalive=KeepaliveSpec(interval_s=10.0, timeout_s=3.0, interval_jitter=0.0))
        floor, client, connection = make(http2=options)
        floor.advance(10.2)
        client.flush()
        assert client.pings == 1
        floor.advance(10.2)
        client.flush()
        assert client.pings == 2
        assert not connection.closed
        floor.advance(10.2)  # this one is not read
        floor.advance(3.2)
        assert connection.closed
        assert floor.value("http2.keepalive_timeout") == 1


CONNECT = [(":method", "CONNECT"), (":authority", "there:443")]


class TestTunnels:
    def test_websocket_to_an_http1_server(self) -> None:
        floor, client, _ = make(
            http2=Http2Options(allow_connect=True), upgrade_configs=(UpgradeConfig("websocket"),)
        )
        fields = [(":method", "CONNECT"), *GET[1:], (":protocol", "websocket")]
        stream = client.request(fields, None)
        server = floor.server()
        head = server.take()
        assert head.startswith(b"GET / HTTP/1.1\r\n")
        assert b"upgrade: websocket\r\n" in head
        server.send(b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhi")
        head_event, data = client.told(stream)
        assert isinstance(head_event[1], dict)
        assert head_event[1][":status"] == "200"
        assert "upgrade" not in head_event[1]
        assert data == ("data", b"hi")
        client.data(stream, b"there")
        assert server.take() == b"there"
        assert floor.stat("downstream_cx_upgrades_active") == 1
        client.reset(stream)
        assert server.closed
        assert floor.stat("downstream_cx_upgrades_active") == 0

    def connect_route(self, **fields: Any) -> RouteSpec:
        action = RouteAction(cluster="web", connect_config=ConnectConfig(), **fields)
        return RouteSpec(RouteMatch(PathMatchKind.CONNECT), action)

    def test_connect_that_ends_here(self) -> None:
        floor, client, _ = make(routes=[self.connect_route(upgrade_configs={"connect": True})])
        stream = client.request(CONNECT, None)
        server = floor.server()
        assert client.status(stream) == "200"
        client.data(stream, b"ping")
        assert server.take() == b"ping"
        server.send(b"pong")
        assert client.told(stream) == [("data", b"pong")]
        server.end()  # one direction has ended, the other goes on
        assert client.told(stream)[-1] == ("end",)
        client.data(stream, b"more")
        assert server.take() == b"more"
        client.data(stream, b"", True)
        assert repr(floor.last) == "200 - via_upstream"
        assert floor.idle()

    def test_connect_is_refused_where_it_is_not_enabled(self) -> None:
        floor, client, _ = make(routes=[self.connect_route()])
        assert client.status(client.request(CONNECT, None)) == "403"
        assert repr(floor.last) == "403 - upgrade_failed"

    def test_connect_without_a_route(self) -> None:
        _, client, _ = make()
        assert client.status(client.request(CONNECT, None)) == "404"

    def test_connect_to_a_server_that_is_not_there(self) -> None:
        floor, client, _ = make(routes=[self.connect_route(upgrade_configs={"connect": True})])
        stream = client.request(CONNECT, None)
        floor.refuse()
        assert client.status(stream) == "503"
        assert floor.last.flags == "UF"
