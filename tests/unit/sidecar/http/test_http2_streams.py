"""Streams of a downstream HTTP/2 connection: how it is recognised, many at once, heads, bodies and trailers both ways."""

from __future__ import annotations

import random
from typing import Any

import pytest

from config.model.cluster import UpstreamHttpOptions, UpstreamHttpProtocol
from config.model.http import CodecType, HeadersWithUnderscoresAction, Http1Options
from config.model.http2 import Http2Options
from sidecar.stream_info import TlsInfo
from tests.support.http2_floor import (
    Fields,
    Http2End,
    body_of,
    head_of,
    http2_client,
    http2_server,
    request_fields,
)
from tests.support.http2_frames import PREFACE, FrameType, build_frame, build_settings
from tests.support.http_floor import OK, Client, HttpFloor, response, route
from tests.support.upstream import static_spec

GET = request_fields()
POST = request_fields("/", "POST")
H2_CLUSTER = [static_spec("web", http_options=UpstreamHttpOptions(UpstreamHttpProtocol.HTTP2))]


def make(**fields: Any) -> tuple[HttpFloor, Http2End, Client]:
    fields.setdefault("routes", [route("/", "web")])
    floor = HttpFloor(**fields)
    return floor, *http2_client(floor)


def tolerant(client: Http2End) -> None:
    """The library sends what it should not."""
    client.h2.config.validate_outbound_headers = False
    client.h2.config.normalize_outbound_headers = False


class TestRecognition:
    @pytest.mark.parametrize("size", range(1, 13))
    def test_what_only_begins_like_http2(self, size: int) -> None:
        """Nothing is known before the byte that differs; then all of it is HTTP/1."""
        floor = HttpFloor([route("/", "web")])
        client = floor.connect()
        client.send(PREFACE[:size])
        assert floor.stat("downstream_cx_http1_total") == 0
        assert floor.stat("downstream_cx_http2_total") == (size == 12)
        if size < 12:
            client.send(b"#\r\n\r\n")
            assert floor.stat("downstream_cx_http1_total") == 1
            assert client.take().startswith(b"HTTP/1.1 400 ")

    def test_an_http1_method_that_begins_like_it(self) -> None:
        floor = HttpFloor([route("/", "web")])
        client = floor.connect()
        client.send(b"P")
        client.send(b"UT /x HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        assert floor.server().take().startswith(b"PUT /x HTTP/1.1\r\n")

    def test_preface_and_request_at_once(self) -> None:
        floor = HttpFloor([route("/", "web")])
        client = floor.connect()
        end = Http2End(True, lambda data: None, lambda: b"")
        first = b"".join((PREFACE, build_settings(), head_frame(end, GET)))
        client.send(first)
        assert floor.server().take().startswith(b"GET / HTTP/1.1\r\n")

    @pytest.mark.parametrize("known", [True, False])
    def test_another_preface(self, known: bool) -> None:
        """Who does not speak HTTP/2 is not told so in HTTP/2."""
        floor = HttpFloor([route("/", "web")])
        client = floor.connect(TlsInfo("TLSv1.3", "X", "h2") if known else None)
        client.send(b"PRI * HTTP/2.0\r\n\r\nXX")
        assert client.take() == b""
        assert client.ended
        assert floor.stat("downstream_cx_protocol_error") == 1
        assert floor.log == []

    def test_http1_where_http2_is_configured(self) -> None:
        floor = HttpFloor([route("/", "web")], codec_type=CodecType.HTTP2)
        client = floor.connect()
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert client.take() == b""
        assert client.ended
        assert floor.stat("downstream_cx_http1_total") == 0

    def test_no_alpn_means_the_first_bytes(self) -> None:
        floor = HttpFloor([route("/", "web")])
        client = floor.connect(TlsInfo("TLSv1.3", "X", ""))
        client.send(PREFACE)
        assert floor.stat("downstream_cx_http2_total") == 1

    def test_settings_say_what_is_configured(self) -> None:
        options = Http2Options(
            max_concurrent_streams=7,
            initial_stream_window_size=70_000,
            initial_connection_window_size=80_000,
            allow_connect=True,
        )
        _, client, _ = make(http2=options)
        settings = client.h2.remote_settings
        assert settings.max_concurrent_streams == 7
        assert settings.initial_window_size == 70_000
        assert settings.enable_connect_protocol == 1
        assert client.h2.outbound_flow_control_window == 80_000


def head_frame(end: Http2End, fields: Fields) -> bytes:
    """The HEADERS of a request without a body."""
    end.h2.clear_outbound_data_buffer()
    end.h2.send_headers(1, fields, end_stream=True)
    frame: bytes = end.h2.data_to_send()
    return frame


class TestManyStreams:
    @pytest.mark.parametrize("clusters", [H2_CLUSTER, ()], ids=["h2", "h1"])
    def test_in_any_order(self, clusters: Any) -> None:
        chance = random.Random(1)
        floor, client, _ = make(clusters=clusters)
        streams = {client.request(request_fields(f"/{number}")): number for number in range(50)}
        assert floor.value("http2.streams_active") == floor.stat("downstream_rq_active") == 50
        order = list(streams.items())
        chance.shuffle(order)
        if clusters:
            server = http2_server(floor.server())
            for stream, number in order:
                assert head_of(server.told(stream))[":path"] == f"/{number}"
                server.answer(stream, 200, str(number).encode())
                assert body_of(client.told(stream)) == str(number).encode()
        else:
            servers = {}
            for _ in order:
                server_1 = floor.server()
                servers[server_1.take().split()[1].decode()] = server_1
            for stream, number in order:
                servers[f"/{number}"].send(response(200, body=str(number).encode()))
                assert body_of(client.told(stream)) == str(number).encode()
        assert floor.stat("downstream_rq_http2_total") == floor.stat("downstream_rq_2xx") == 50
        assert floor.value("http2.streams_active") == 0
        assert floor.idle()
        assert {line.info.protocol for line in floor.log} == {"HTTP/2"}

    def test_answers_of_one_turn_are_one_write(self) -> None:
        floor, client, connection = make(clusters=H2_CLUSTER)
        streams = [client.request(GET) for _ in range(10)]
        server = http2_server(floor.server())
        server.flush()
        connection.take()
        for stream in streams:
            server.h2.send_headers(stream, [(":status", "200")], end_stream=True)
        floor.fakes["web"].peers[0].send(server.h2.data_to_send())
        floor.loop.turn()
        assert len(connection.transport.writes) == 1
        assert [client.status(stream) for stream in streams] == ["200"] * 10


class TestMessages:
    def test_bodies_and_trailers_through_http2(self) -> None:
        floor, client, _ = make(clusters=H2_CLUSTER)
        stream = client.request(POST, None)
        server = http2_server(floor.server())
        client.data(stream, b"a")
        client.data(stream, b"b")
        client.trailers(stream, ("x-request", "1"))
        assert server.told(1)[1:] == [
            ("data", b"a"),
            ("data", b"b"),
            ("trailers", {"x-request": "1"}),
            ("end",),
        ]
        server.answer(1, 200, None)
        server.data(1, b"c")
        server.trailers(1, ("x-response", "2"))
        assert client.told(stream)[1:] == [("data", b"c"), ("trailers", {"x-response": "2"}), ("end",)]
        assert (floor.last.received, floor.last.sent) == (2, 1)
        assert floor.last.info.response_trailers is not None

    def test_trailers_of_an_http1_server(self) -> None:
        options = UpstreamHttpOptions(enable_trailers=True)
        floor, client, _ = make(
            clusters=[static_spec("web", http_options=options)], http1=Http1Options(enable_trailers=True)
        )
        stream = client.request([*POST, ("te", "trailers")], None)
        client.trailers(stream, ("x-request", "1"))
        server = floor.server()
        assert server.take().endswith(b"0\r\nx-request: 1\r\n\r\n")
        server.send(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-response: 2\r\n\r\n"
        )
        assert client.told(stream)[1:] == [("data", b"a"), ("trailers", {"x-response": "2"}), ("end",)]

    @pytest.mark.parametrize(("method", "status"), [("HEAD", "200"), ("GET", "204"), ("GET", "304")])
    def test_answers_without_a_body(self, method: str, status: str) -> None:
        floor, client, _ = make()
        stream = client.request(request_fields("/", method))
        length = b"" if status == "204" else b"content-length: 5\r\n"
        floor.server().send(b"HTTP/1.1 %s X\r\n%s\r\n" % (status.encode(), length))
        told = client.told(stream)
        assert [event[0] for event in told] == ["headers", "end"]
        assert head_of(told)[":status"] == status
        assert head_of(told).get("content-length") == (None if status == "204" else "5")
        assert floor.idle()

    def test_no_fields_of_a_hop(self) -> None:
        floor, client, _ = make()
        stream = client.request(GET)
        floor.server().send(
            b"HTTP/1.1 200 OK\r\nconnection: keep-alive, x-hop\r\nkeep-alive: timeout=5\r\nx-hop: 1\r\n"
            b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
        )
        head = head_of(client.told(stream))
        assert {"connection", "keep-alive", "transfer-encoding"}.isdisjoint(head)

    def test_interim_answers(self) -> None:
        floor, client, _ = make(proxy_100_continue=True)
        stream = client.request([*POST, ("expect", "100-continue")], None)
        server = floor.server()
        assert b"\r\nexpect: 100-continue\r\n" in server.take()
        server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert head_of(client.told(stream))[":status"] == "100"
        client.data(stream, b"a", True)
        server.send(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK)
        hints, head, *_ = client.told(stream)
        assert hints == ("headers", hints[1])
        assert isinstance(hints[1], dict) and hints[1][":status"] == "103"
        assert isinstance(head[1], dict) and head[1][":status"] == "200"

    def test_expectation_is_answered_here(self) -> None:
        floor, client, _ = make()
        stream = client.request([*POST, ("expect", "100-continue")], None)
        assert head_of(client.told(stream))[":status"] == "100"
        assert b"\r\nexpect:" not in floor.server().take()

    @pytest.mark.parametrize(
        ("action", "seen"),
        [
            (HeadersWithUnderscoresAction.ALLOW, True),
            (HeadersWithUnderscoresAction.DROP_HEADER, False),
        ],
    )
    def test_underscores(self, action: HeadersWithUnderscoresAction, seen: bool) -> None:
        floor, client, _ = make(headers_with_underscores_action=action)
        client.request([*GET, ("x_y", "1")])
        assert (b"\r\nx_y: 1\r\n" in floor.server().take()) is seen

    def test_body_size_that_was_not_declared(self) -> None:
        """An HTTP/1 server is told the length of a body in chunks."""
        floor, client, _ = make()
        stream = client.request(POST, b"abc")
        sent = floor.server().take()
        assert b"\r\ntransfer-encoding: chunked\r\n" in sent
        assert sent.endswith(b"3\r\nabc\r\n0\r\n\r\n")
        assert client.told(stream) == []


BAD_HEADS: list[tuple[Fields, str]] = [
    ([*GET, ("connection", "close")], "http2.invalid.header.field"),
    ([*GET, ("te", "gzip")], "http2.invalid.header.field"),
    ([*GET, ("X-Upper", "1")], "http2.invalid.header.field"),
    ([*GET, ("x-a", "1\0")], "http2.invalid.header.field"),
    ([("x-a", "1"), *GET], "http2.invalid.header.field"),
    ([*GET, (":path", "/two")], "http2.invalid.header.field"),
    ([field for field in GET if field[0] != ":path"], "http2.violation.of.messaging.rule"),
    ([field for field in GET if field[0] != ":scheme"], "http2.violation.of.messaging.rule"),
    ([(":method", "CONNECT"), *GET[1:]], "http2.violation.of.messaging.rule"),
]


class TestMalformed:
    @pytest.mark.parametrize(("fields", "details"), BAD_HEADS)
    @pytest.mark.parametrize("of_stream", [False, True])
    def test_heads(self, fields: Fields, details: str, of_stream: bool) -> None:
        floor, client, connection = make(http2=Http2Options(stream_error_on_invalid_http_message=of_stream))
        good = client.request(request_fields("/good"))
        server = floor.server()
        tolerant(client)
        bad = client.request(fields)
        assert client.told(bad) == ([("reset", 1)] if of_stream else [])
        assert floor.value("http2.rx_messaging_error") == 1
        assert floor.stat("downstream_rq_rx_reset") == (1 if of_stream else 2)
        assert floor.stat("downstream_cx_protocol_error") == (not of_stream)
        assert {repr(line) for line in floor.log} == {f"0 DPE {details}"}
        if of_stream:
            server.send(OK)
            assert client.status(good) == "200"
            assert not connection.ended
        else:
            assert client.goaways == [(bad, 1)]
            assert connection.ended
            assert server.closed
            connection.lose()
            assert floor.stat("downstream_cx_destroy_active_rq") == 1
        assert floor.idle()
        assert floor.value("http2.streams_active") == 0

    def test_underscores_that_are_rejected(self) -> None:
        floor, client, _ = make(
            headers_with_underscores_action=HeadersWithUnderscoresAction.REJECT_REQUEST,
            http2=Http2Options(stream_error_on_invalid_http_message=True),
        )
        stream = client.request([*GET, ("x_y", "1")])
        assert client.told(stream) == [("reset", 1)]
        assert floor.value("http2.requests_rejected_with_underscores_in_headers") == 1
        assert repr(floor.last) == "0 DPE http2.unexpected_underscore"

    @pytest.mark.parametrize("body", [b"too long", b"no"])
    def test_bodies_of_another_length(self, body: bytes) -> None:
        """It ends its stream, whatever is configured; the upstream is given up."""
        floor, client, connection = make()
        tolerant(client)
        stream = client.request([*POST, ("content-length", "5")], None)
        server = floor.server()
        connection.send(build_frame(FrameType.DATA, 1, stream, body))
        assert client.told(stream) == [("reset", 1)]
        assert floor.last.flags == "DPE"
        assert server.closed
        assert not connection.ended
        assert floor.idle()

    def test_trailers_that_are_malformed(self) -> None:
        floor, client, _ = make(http2=Http2Options(stream_error_on_invalid_http_message=True))
        stream = client.request(POST, None)
        server = floor.server()
        tolerant(client)
        client.h2.send_headers(stream, [("connection", "close")], end_stream=True)
        assert client.told(stream) == [("reset", 1)]
        assert server.closed
        assert repr(floor.last) == "0 DPE http2.invalid.header.field"

    def test_heads_over_the_limits(self) -> None:
        floor, client, connection = make(max_request_headers_kb=1)
        good = client.request(GET)
        server = floor.server()
        stream = client.request([*GET, ("x-a", "1" * 1100)])
        assert client.told(stream) == [("reset", 2)]
        assert repr(floor.last) == "0 DR http2.header_list_size_too_large"
        assert floor.value("http2.header_list_size_too_large") == 1
        server.send(OK)
        assert client.status(good) == "200"
        assert not connection.ended

    @pytest.mark.parametrize(
        ("frame", "code", "details"),
        [
            (build_frame(FrameType.DATA, 0, 99, b"x"), 1, "codec_error:DATA:_stream_in_idle"),
            (build_frame(FrameType.WINDOW_UPDATE, 0, 0, bytes(4)), 1, "codec_error:WINDOW_UPDATE:"),
            (build_frame(FrameType.SETTINGS, 0, 0, b"x"), 6, "codec_error:SETTINGS:_size"),
            (build_frame(FrameType.HEADERS, 5, 99, b"\xff" * 8), 9, "codec_error:"),
        ],
    )
    def test_errors_of_the_connection_end_every_stream(self, frame: bytes, code: int, details: str) -> None:
        floor, client, connection = make(http2=Http2Options(stream_error_on_invalid_http_message=True))
        for _ in range(3):
            client.request(GET)
        servers = [floor.server() for _ in range(3)]
        servers[0].send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
        connection.send(frame)
        client.flush()
        assert [goaway[1] for goaway in client.goaways] == [code]
        assert sorted(line.code for line in floor.log) == [0, 0, 200]
        assert all(line.flags == "DPE" and line.details.startswith(details) for line in floor.log)
        assert all(server.closed for server in servers)
        assert floor.idle()
        connection.send(frame)  # more of it is not looked at
        assert floor.stat("downstream_cx_protocol_error") == 1


class TestFloods:
    @pytest.mark.parametrize(
        ("options", "flood", "counter"),
        [
            (
                {"max_consecutive_inbound_frames_with_empty_payload": 3},
                build_frame(FrameType.DATA, 0, 1) * 4,
                "inbound_empty_frames_flood",
            ),
            (
                {"max_inbound_priority_frames_per_stream": 2},
                build_frame(FrameType.PRIORITY, 0, 1, bytes(5)) * 5,
                "inbound_priority_frames_flood",
            ),
            (
                {"max_inbound_window_update_frames_per_data_frame_sent": 1},
                build_frame(FrameType.WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 8,
                "inbound_window_update_frames_flood",
            ),
            ({"max_outbound_control_frames": 10}, build_settings() * 11, "outbound_control_flood"),
            (
                {"max_outbound_frames": 10},
                build_frame(FrameType.PING, 0, 0, bytes(8)) * 11,
                "outbound_flood",
            ),
        ],
    )
    def test_counted(self, options: dict[str, int], flood: bytes, counter: str) -> None:
        floor, client, connection = make(http2=Http2Options(**options))
        client.request(POST, None)
        server = floor.server()
        connection.transport.unwritten = 1  # nothing leaves
        connection.send(flood)
        assert connection.ended
        assert floor.value(f"http2.{counter}") == 1
        assert server.closed
        assert floor.last.flags == "DPE"
        assert floor.idle()

    def test_what_leaves_is_no_flood(self) -> None:
        _floor, _, connection = make(http2=Http2Options(max_outbound_control_frames=10))
        for _ in range(5):
            connection.send(build_frame(FrameType.PING, 0, 0, bytes(8)) * 8)
        assert not connection.ended

    @pytest.mark.parametrize(
        ("count", "age_s", "answered", "ended"),
        [
            (249, 0.0, False, False),
            (250, 0.0, False, True),
            (250, 1.9, False, True),
            (300, 2.1, False, False),
            (300, 0.0, True, False),
        ],
    )
    def test_premature_resets(self, count: int, age_s: float, answered: bool, ended: bool) -> None:
        """As Envoy counts them: within two seconds, and before the answer has begun."""
        floor, client, connection = make(clusters=H2_CLUSTER)
        streams = [client.request(GET) for _ in range(count)]
        if answered:
            server = http2_server(floor.server())
            for stream in streams:
                server.answer(stream, 200, None)
        floor.advance(age_s)
        for stream in streams:
            client.h2.reset_stream(stream)
        connection.send(client.h2.data_to_send())
        assert connection.ended is ended
        assert floor.stat("downstream_rq_too_many_premature_resets") == ended
        assert floor.idle()

    @pytest.mark.parametrize("good_for_each", [1, 2])
    def test_resets_among_good_requests(self, good_for_each: int) -> None:
        """Half of the streams are too many, fewer are not."""
        floor, client, connection = make(clusters=H2_CLUSTER)
        server = None
        for _ in range(260):
            if connection.ended:
                break
            for _ in range(good_for_each):
                good = client.request(GET)
                server = server or http2_server(floor.server())
                server.answer(good)
                assert client.status(good) == "200"
            client.reset(client.request(GET))
        assert connection.ended is (good_for_each == 1)
        assert floor.stat("downstream_rq_too_many_premature_resets") == (good_for_each == 1)

    def test_the_others_streams_end_with_it(self) -> None:
        floor, client, connection = make(clusters=H2_CLUSTER)
        client.request(GET)
        floor.advance(3)
        for stream in [client.request(GET) for _ in range(250)]:
            client.h2.reset_stream(stream)
        connection.send(client.h2.data_to_send())
        assert connection.ended
        assert repr(floor.last) == "0 - too_many_premature_resets"
        client.flush()
        assert [code for _, code in client.goaways] == [11]
