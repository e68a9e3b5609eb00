"""The connection manager as a client and a server see it: what comes in, what must go out, over both HTTP/1 codecs."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from config.model.core import TrafficDirection
from config.model.http import CodecType, Http1Options, HttpConnectionManagerSpec
from config.model.route import DirectResponseAction
from sidecar.stream_info import TlsInfo
from sidecar.transport.http1_codecs import H11, HTTP1_CODEC_KEY, HTTPTOOLS
from tests.support.http_floor import OK, HttpFloor, request, response, route, route_to, status_of

GET = request()
Make = Callable[..., HttpFloor]


@pytest.fixture(params=[HTTPTOOLS, H11])
def make(request: pytest.FixtureRequest) -> Make:
    """A floor with one route to the cluster `web`, over each of the two codecs."""

    def build(**fields: Any) -> HttpFloor:
        fields.setdefault("routes", [route("/", "web")])
        return HttpFloor(runtime={HTTP1_CODEC_KEY: request.param}, **fields)

    return build


class TestExchange:
    def test_request_goes_up_and_response_comes_down(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(request("GET", "/x?y"))
        server = floor.server()
        sent = server.take()
        assert sent.startswith(b"GET /x?y HTTP/1.1\r\nhost: host\r\n")
        assert b"x-envoy-expected-rq-timeout-ms: 15000\r\n" in sent
        server.send(OK)
        answer = client.take()
        assert status_of(answer) == 200
        assert answer.endswith(b"\r\n\r\nok")
        assert b"\r\nserver: envoy\r\n" in answer
        assert b"\r\nx-envoy-upstream-service-time: 0\r\n" in answer
        assert floor.last.code == 200
        assert floor.last.details == "via_upstream"
        assert (floor.last.received, floor.last.sent) == (0, 2)
        assert floor.idle()

    def test_head_and_body_of_one_turn_are_one_write(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(GET)
        floor.server().send(OK)
        assert len(client.transport.writes) == 1

    def test_connections_are_kept_on_both_sides(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        for _ in range(3):
            server.send(OK)
            assert status_of(client.take()) == 200
            client.send(GET)
        assert floor.asked() == 1
        assert floor.stat("downstream_rq_total") == 4
        assert not client.closed

    def test_body_is_streamed(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(request("POST", "/", "content-length: 6") + b"ab")
        server = floor.server()
        assert server.take().endswith(b"\r\n\r\nab")
        client.send(b"cd")
        assert server.take() == b"cd"
        client.send(b"ef")
        assert server.take() == b"ef"
        server.send(response(200, body=b"done"))
        assert client.take().endswith(b"done")
        assert (floor.last.received, floor.last.sent) == (6, 4)

    def test_chunked_body_byte_by_byte(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        whole = request("POST", "/", "transfer-encoding: chunked") + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        for at in range(len(whole)):
            client.send(whole[at : at + 1])
            if at == whole.index(b"\r\n\r\n") + 3:
                server = floor.server()
        assert b"transfer-encoding: chunked" in (sent := server.take())
        assert sent.endswith(b"0\r\n\r\n")
        server.send(OK)
        assert status_of(client.take()) == 200
        assert floor.last.received == 5
        assert floor.stat("downstream_rq_total") == 1

    def test_head_has_no_body(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(request("HEAD"))
        server = floor.server()
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
        answer = client.take()
        assert b"content-length: 10\r\n" in answer
        assert answer.endswith(b"\r\n\r\n")
        client.send(GET)
        server.send(OK)
        assert status_of(client.take()) == 200

    def test_interim_responses_are_dropped_without_proxy_100_continue(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(GET)
        floor.server().send(b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + OK)
        assert status_of(client.take()) == 200

    def test_interim_responses_pass_with_proxy_100_continue(self, make: Make) -> None:
        floor = make(proxy_100_continue=True)
        client = floor.connect()
        client.send(request("POST", "/", "expect: 100-continue", "content-length: 1"))
        server = floor.server()
        assert b"expect: 100-continue" in server.take()
        server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"x")
        server.send(OK)
        assert status_of(client.take()) == 200
        assert floor.stat("downstream_rq_1xx") == 1

    def test_interim_responses_that_the_client_does_not_read_are_dropped(self, make: Make) -> None:
        floor = make(proxy_100_continue=True)
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        client.full(True)
        for _ in range(3):
            server.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        client.full(False)
        server.send(OK)
        assert status_of(client.take()) == 200

    def test_expectation_is_answered_here(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(request("POST", "/", "Expect: 100-continue", "content-length: 1"))
        assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"x")
        server = floor.server()
        assert b"\r\nexpect:" not in server.take()
        server.send(OK)
        assert status_of(client.take()) == 200


class TestPipelining:
    def test_requests_of_one_read_are_answered_in_order(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(request("GET", "/1") + request("GET", "/2") + request("GET", "/3"))
        server = floor.server()
        assert not client.transport.reading, "nothing more is read while requests wait"
        for number in (1, 2, 3):
            sent = server.take()
            assert sent.startswith(b"GET /%d " % number)
            assert sent.count(b"HTTP/1.1\r\n") == 1
            server.send(response(body=b"%d" % number))
            assert client.take().endswith(b"%d" % number)
        assert client.transport.reading
        assert floor.asked() == 1

    def test_many_local_answers_neither_recurse_nor_keep_the_loop(self, make: Make) -> None:
        floor = make(routes=[])
        client = floor.connect()
        client._socket.data_received(GET * 2000)
        first = b"".join(client.transport.writes).count(b"404")
        assert 0 < first < 200, "others get their turn"
        floor.loop.turn()
        assert b"".join(client.transport.writes).count(b"HTTP/1.1 404") == 2000
        assert floor.stat("no_route") == 2000
        assert floor.idle()

    def test_a_client_that_reads_nothing_is_answered_no_further(self, make: Make) -> None:
        floor = make(routes=[])
        client = floor.connect()
        client.send(GET)
        client.full(True)
        assert not client.transport.reading
        client._socket.data_received(GET * 500)  # had been read already
        floor.loop.turn()
        assert floor.stat("no_route") < 200
        client.full(False)
        client.take()
        assert floor.stat("no_route") == 501
        assert client.transport.reading
        assert floor.idle()

    def test_a_request_under_way_is_read_while_its_answer_waits(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(request("POST", "/", "content-length: 4") + b"ab")
        server = floor.server()
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n1")
        client.full(True)
        assert client.transport.reading
        client.send(b"cd")
        assert server.take().endswith(b"abcd")
        server.send(b"2")
        client.full(False)
        assert client.take().endswith(b"12")

    def test_garbage_behind_a_request_is_refused_after_the_answer(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(GET + b"?!\r\n\r\n")
        server = floor.server()
        assert client.take() == b""
        server.send(OK)
        answer = client.take()
        assert status_of(answer) == 200
        assert b"HTTP/1.1 400 " in answer
        assert client.ended
        assert [line.code for line in floor.log] == [200, 400]


class TestClose:
    def test_client_asks_for_close(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(request("GET", "/", "connection: close"))
        floor.server().send(OK)
        assert b"\r\nconnection: close\r\n" in client.take()
        assert client.closed

    def test_draining_closes_after_the_response(self, make: Make) -> None:
        floor = make(direction=TrafficDirection.INBOUND)
        floor.drain.begin(frozenset((TrafficDirection.INBOUND,)))
        client = floor.connect()
        client.send(GET)
        floor.server().send(OK)
        assert b"\r\nconnection: close\r\n" in client.take()
        assert client.ended
        assert floor.stat("downstream_cx_drain_close") == 1

    def test_other_direction_does_not_drain(self, make: Make) -> None:
        floor = make(direction=TrafficDirection.OUTBOUND)
        floor.drain.begin(frozenset((TrafficDirection.INBOUND,)))
        client = floor.connect()
        client.send(GET)
        floor.server().send(OK)
        assert b"connection" not in client.take()
        assert not client.ended

    def test_requests_per_connection(self, make: Make) -> None:
        floor = make(max_requests_per_connection=2)
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        server.send(OK)
        assert b"connection: close" not in client.take()
        client.send(GET)
        server.send(OK)
        assert b"connection: close" in client.take()
        assert client.ended
        assert floor.stat("downstream_cx_max_requests_reached") == 1

    def test_client_that_ends_its_side_gets_no_answer(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        client.end()
        assert client.closed
        assert client.take() == b""
        assert server.closed, "the upstream request is given up"
        assert (floor.last.code, floor.last.flags) == (0, "DC")
        assert floor.last.details == "downstream_remote_disconnect"
        client.lose()
        assert floor.stat("downstream_cx_destroy_remote_active_rq") == 1
        assert floor.idle()

    def test_client_that_leaves_during_an_upload(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(request("POST", "/", "content-length: 10") + b"abc")
        server = floor.server()
        client.lose(ConnectionResetError())
        assert server.closed
        assert repr(floor.last) == "0 DC downstream_remote_disconnect"
        assert floor.idle()
        assert floor.stat("downstream_cx_active") == 0

    def test_client_that_leaves_within_a_head_is_logged(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(b"GET / HT")
        client.lose()
        assert repr(floor.last) == "0 DC downstream_remote_disconnect"
        assert floor.stat("downstream_rq_total") == 1
        assert floor.idle()

    def test_client_that_says_nothing_is_not(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(b"\r\n")
        client.lose()
        assert floor.log == []
        assert floor.stat("downstream_rq_total") == 0


class TestEarlyResponse:
    def test_connection_ends_with_a_response_that_comes_before_the_request_is_complete(
        self, make: Make
    ) -> None:
        floor = make()
        client = floor.connect()
        client.send(request("POST", "/", "content-length: 10") + b"abc")
        server = floor.server()
        server.send(OK)
        answer = client.take()
        assert status_of(answer) == 200
        assert b"connection: close" in answer
        assert client.transport.eof
        assert not client.closed, "the rest of the request is awaited and thrown away"
        client.send(b"defghij")
        assert not client.closed
        client.end()
        assert client.closed
        assert floor.stat("downstream_rq_response_before_rq_complete") == 1
        assert floor.stat("downstream_rq_rx_reset") == 1

    def test_client_that_never_ends_is_left_after_the_delay(self, make: Make) -> None:
        floor = make(routes=[])
        client = floor.connect()
        client.send(request("POST", "/", "content-length: 10") + b"abc")
        assert status_of(client.take()) == 404
        floor.advance(0.9)
        assert not client.closed
        floor.advance(0.2)
        assert client.closed
        client.lose()
        assert floor.stat("downstream_cx_delayed_close_timeout") == 1

    def test_upstream_failure_while_the_body_comes(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(request("POST", "/", "content-length: 10") + b"abc")
        floor.refuse()
        answer = client.take()
        assert status_of(answer) == 503
        assert b"connection: close" in answer
        assert repr(floor.last).startswith("503 UF upstream_reset_before_response_started{remote_connection")


class TestBadRequests:
    @pytest.mark.parametrize(
        ("sent", "status", "details"),
        [
            (b"GOT / HTTP/1.1\r\nhost: a\r\n\r\n", 400, "http1.codec_error"),
            (b"GET / HTTP/1.0\r\nhost: a\r\n\r\n", 426, "low_version"),
            (
                b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
                501,
                "http1.invalid_transfer_encoding",
            ),
            (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 100 + b"\r\n", 431, "http1.too_many_headers"),
        ],
    )
    def test_answered_and_closed(self, make: Make, sent: bytes, status: int, details: str) -> None:
        floor = make()
        client = floor.connect()
        client.send(sent)
        answer = client.take()
        assert status_of(answer) == status
        assert b"connection: close" in answer
        assert b"content-type: text/plain" in answer
        assert client.ended
        assert repr(floor.last) == f"{status} DPE {details}"
        assert floor.last.path is None
        assert floor.stat("downstream_cx_protocol_error") == 1
        assert floor.asked() == 0
        client.end()
        assert client.closed

    def test_missing_host_is_not_a_protocol_error(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(b"GET /p HTTP/1.1\r\n\r\n")
        assert status_of(client.take()) == 400
        assert repr(floor.last) == "400 - missing_host_header"
        assert client.ended

    def test_broken_chunk_before_the_response(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(request("POST", "/", "transfer-encoding: chunked") + b"3\r\nabc\r\n")
        server = floor.server()
        client.send(b"zz\r\n")
        assert status_of(client.take()) == 400
        assert repr(floor.last) == "400 DPE http1.codec_error"
        assert server.closed
        assert floor.idle()

    def test_broken_chunk_after_the_response_began(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(request("POST", "/", "transfer-encoding: chunked") + b"3\r\nabc\r\n")
        server = floor.server()
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab")
        client.send(b"zz\r\n")
        assert client.take().endswith(b"\r\n\r\nab")
        assert client.ended
        assert repr(floor.last) == "200 DPE http1.codec_error"
        assert server.closed

    @pytest.mark.parametrize(("alpn", "refused"), [("h2", True), ("http/1.1", False), ("", False)])
    def test_negotiated_protocol_decides(self, make: Make, alpn: str, refused: bool) -> None:
        """HTTP/1 text where HTTP/2 was negotiated is closed without an answer."""
        floor = make()
        client = floor.connect(TlsInfo("TLSv1.3", "X", alpn))
        client.send(GET)
        assert client.ended is refused
        assert client.take() == b""
        assert floor.stat("downstream_cx_ssl_total") == 1

    def test_codec_type_decides(self, make: Make) -> None:
        floor = make(codec_type=CodecType.HTTP2)
        client = floor.connect()
        client.send(GET)
        assert client.ended
        assert client.take() == b""
        assert floor.stat("downstream_cx_protocol_error") == 1


class TestTimeouts:
    def test_request_timeout(self, make: Make) -> None:
        floor = make(request_timeout_s=1.0)
        client = floor.connect()
        client.send(request("POST", "/", "content-length: 10") + b"abc")
        floor.server()
        floor.advance(1.1)
        answer = client.take()
        assert status_of(answer) == 408
        assert answer.endswith(b"request timeout")
        assert repr(floor.last) == "408 - request_overall_timeout"
        assert floor.stat("downstream_rq_timeout") == 1
        assert floor.idle()

    def test_complete_request_does_not_time_out(self, make: Make) -> None:
        floor = make(request_timeout_s=1.0, request_headers_timeout_s=1.0)
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        floor.advance(5)
        server.send(OK)
        assert status_of(client.take()) == 200

    @pytest.mark.parametrize(
        ("field", "details", "counter"),
        [
            ("request_headers_timeout_s", "request_header_timeout", "downstream_rq_header_timeout"),
            ("request_timeout_s", "request_overall_timeout", "downstream_rq_timeout"),
            ("max_stream_duration_s", "max_duration_timeout", "downstream_rq_max_duration_reached"),
        ],
    )
    def test_head_that_does_not_come(self, make: Make, field: str, details: str, counter: str) -> None:
        floor = make(**{field: 1.0})
        client = floor.connect()
        client.send(b"GET / HTTP/1.1\r\nho")
        floor.advance(1.1)
        assert status_of(client.take()) == 408
        assert client.ended
        assert repr(floor.last) == f"408 - {details}"
        assert floor.stat(counter) == 1
        assert floor.stat("downstream_rq_total") == 1

    def test_stream_idle_timeout_during_the_request(self, make: Make) -> None:
        floor = make(stream_idle_timeout_s=1.0)
        client = floor.connect()
        client.send(request("POST", "/", "content-length: 10"))
        floor.server()
        floor.advance(0.8)
        client.send(b"a")
        floor.advance(0.8)
        assert client.take() == b""
        floor.advance(0.4)
        assert status_of(client.take()) == 408
        assert repr(floor.last) == "408 SI stream_idle_timeout"

    def test_stream_idle_timeout_while_the_upstream_is_silent(self, make: Make) -> None:
        floor = make(stream_idle_timeout_s=1.0)
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        floor.advance(1.1)
        assert status_of(client.take()) == 504
        assert server.closed
        assert not client.ended, "the request was complete, so the connection is fine"

    def test_stream_idle_timeout_within_a_response_resets(self, make: Make) -> None:
        floor = make(stream_idle_timeout_s=1.0)
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
        floor.advance(1.1)
        assert client.take().endswith(b"abc")
        assert client.ended
        assert floor.last.flags == "SI"

    def test_stream_idle_timer_serves_the_next_stream(self, make: Make) -> None:
        floor = make(stream_idle_timeout_s=1.0)
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        server.send(OK)
        client.take()
        floor.advance(3.0)
        client.send(GET)
        floor.advance(0.9)
        assert client.take() == b""
        floor.advance(0.3)
        assert status_of(client.take()) == 504

    def test_route_turns_the_stream_idle_timeout_off(self, make: Make) -> None:
        floor = make(
            stream_idle_timeout_s=1.0, routes=[route("/", "web", idle_timeout_s=0.0, timeout_s=None)]
        )
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        floor.advance(50)
        server.send(OK)
        assert status_of(client.take()) == 200

    def test_route_has_its_own_stream_idle_timeout(self, make: Make) -> None:
        floor = make(stream_idle_timeout_s=100.0, routes=[route("/", "web", idle_timeout_s=0.5)])
        client = floor.connect()
        client.send(GET)
        floor.server()
        floor.advance(0.6)
        assert status_of(client.take()) == 504
        assert floor.last.flags == "SI"

    def test_idle_connection_before_any_byte(self, make: Make) -> None:
        floor = make(idle_timeout_s=1.0)
        client = floor.connect()
        floor.advance(1.1)
        assert client.closed
        assert floor.stat("downstream_cx_idle_timeout") == 1

    def test_idle_connection_drains_first(self, make: Make) -> None:
        floor = make(idle_timeout_s=1.0, drain_timeout_s=2.0)
        client = floor.connect()
        client.send(GET)
        floor.server().send(OK)
        client.take()
        floor.advance(2.0)
        assert not client.ended
        floor.advance(1.3)
        assert client.ended

    def test_busy_connection_is_not_idle(self, make: Make) -> None:
        floor = make(idle_timeout_s=1.0, stream_idle_timeout_s=None)
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        floor.advance(10)
        server.send(OK)
        assert status_of(client.take()) == 200
        assert not client.ended

    def test_connection_duration(self, make: Make) -> None:
        floor = make(max_connection_duration_s=1.0, drain_timeout_s=5.0)
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        server.send(OK)
        client.take()
        floor.advance(1.1)
        assert not client.ended
        client.send(GET)
        server.send(OK)
        assert b"connection: close" in client.take()
        assert client.ended
        assert floor.stat("downstream_cx_max_duration_reached") == 1


class TestFlowControl:
    def test_slow_client_stops_the_upstream(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nabc")
        client.full(True)
        assert not server.transport.reading
        client.full(False)
        assert server.transport.reading

    def test_client_that_is_slow_already(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        client.full(True)
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nabc")
        assert not server.transport.reading

    def test_slow_upstream_stops_the_client(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(request("POST", "/", "content-length: 1000000") + b"abc")
        server = floor.server()
        server.peer.socket.pause_writing()
        assert not client.transport.reading
        server.peer.socket.resume_writing()
        assert client.transport.reading
        assert floor.stat("downstream_flow_control_paused_reading_total") == 1
        assert floor.stat("downstream_flow_control_resumed_reading_total") == 1

    def test_body_that_waits_for_a_connection_is_bounded(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(request("POST", "/", f"content-length: {4 << 20}"))
        chunk = bytes(256 * 1024)
        sent = 0
        while client.transport.reading:
            client.send(chunk)
            sent += len(chunk)
            assert sent <= 2 << 20
        server = floor.server()
        assert client.transport.reading, "the connection is there"
        assert len(server.take()) > sent

    def test_streams_end_leaves_the_gate_open(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(request("POST", "/", "content-length: 1000000") + b"abc")
        server = floor.server()
        server.peer.socket.pause_writing()
        server.send(OK)
        assert client.transport.reading, "what still comes has to be thrown away"


class TestTruncation:
    def test_length_body(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
        server.end()
        assert client.take().endswith(b"\r\n\r\nabc")
        assert client.ended
        assert repr(floor.last) == "200 UPE upstream_reset_after_response_started{protocol_error}"
        assert floor.stat("downstream_rq_tx_reset") == 1

    def test_chunked_body_has_no_last_chunk(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        server.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        server.reset()
        answer = client.take()
        assert answer.endswith(b"3\r\nabc\r\n")
        assert client.ended

    def test_body_that_runs_to_the_close_is_cut_with_a_reset(self, make: Make) -> None:
        floor = make(http1=Http1Options(accept_http_10=True))
        client = floor.connect()
        client.send(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n")
        server = floor.server()
        server.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        server.reset()
        assert client.transport.aborted


class TestStats:
    def test_of_one_exchange(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(GET)
        floor.server().send(OK)
        answer = client.take()
        client.lose()
        found = {
            stat.name.removeprefix("http.test."): stat.value
            for stat in floor.store.counters.values()
            if stat.name.startswith("http.test.") and stat.value
        }
        assert found == {
            "downstream_cx_destroy": 1,
            "downstream_cx_destroy_remote": 1,
            "downstream_cx_http1_total": 1,
            "downstream_cx_rx_bytes_total": len(GET),
            "downstream_cx_total": 1,
            "downstream_cx_tx_bytes_total": len(answer),
            "downstream_rq_2xx": 1,
            "downstream_rq_completed": 1,
            "downstream_rq_http1_total": 1,
            "downstream_rq_total": 1,
            "rq_total": 1,
        }
        assert not any(gauge.value for name, gauge in floor.store.gauges.items() if name.startswith("http."))
        assert floor.value("listener.test.http.test.downstream_rq_2xx") == 1
        assert floor.value("http.test.downstream_rq_time") == 1

    def test_direct_response(self, make: Make) -> None:
        floor = make(routes=[route_to("/", DirectResponseAction(204))])
        client = floor.connect()
        client.send(GET)
        assert status_of(client.take()) == 204
        assert floor.stat("rq_direct_response") == 1
        assert repr(floor.last) == "204 - direct_response"

    def test_wire_bytes_are_metered(self, make: Make) -> None:
        floor = make()
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        sent = server.take()
        server.send(OK)
        answer = client.take()
        info = floor.last.info
        assert info.meter is not None
        assert (info.meter.wire_received, info.meter.wire_sent) == (len(GET), len(answer))
        assert info.upstream_exchange is not None
        meter = info.upstream_exchange.meter
        assert (meter.wire_received, meter.wire_sent) == (len(OK), len(sent))

    def test_spec_is_the_one_given(self, make: Make) -> None:
        assert isinstance(make().config.spec, HttpConnectionManagerSpec)


class TestGarbage:
    def test_nothing_is_left_for_the_collector(self) -> None:
        floor = HttpFloor([route("/", "web")])
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        server.send(OK)
        client.send(request("POST", body=b"abc"))
        server.send(OK)
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                client.send(GET)
                server.send(OK)
                client.send(request("POST", body=b"abc"))
                server.send(OK)
                floor.logger.lines.clear()
                client.take()
            assert gc.collect() == 0
        finally:
            gc.enable()
