"""Timeouts of HTTP/2 streams: each costs its stream, never the connection."""

from __future__ import annotations

from typing import Any

import pytest

from config.model.cluster import ClusterSpec
from tests.support.http2_floor import Fields, Http2End, grpc_fields, head_of, http2_client, request_fields
from tests.support.http_floor import OK, Client, HttpFloor, route

GET = request_fields()
POST = request_fields("/", "POST")
BEGINNING = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\na"


def make(**fields: Any) -> tuple[HttpFloor, Http2End, Client]:
    fields.setdefault("routes", [route("/", "web", timeout_s=None)])
    floor = HttpFloor(**fields)
    return floor, *http2_client(floor)


def goes_on(floor: HttpFloor, client: Http2End) -> None:
    """The connection takes other requests."""
    stream = client.request(GET)
    floor.server().send(OK)
    assert client.status(stream) == "200"


class TestRequestTimeout:
    def test_request_that_is_not_complete(self) -> None:
        floor, client, _ = make(request_timeout_s=5.0)
        stream = client.request(POST, None)
        server = floor.server()
        floor.advance(3)
        client.data(stream, b"slow")
        floor.advance(2.3)
        told = client.told(stream)
        assert head_of(told)[":status"] == "408"
        assert told[-2:] == [("end",), ("reset", 0)]
        assert repr(floor.last) == "408 - request_overall_timeout"
        assert floor.stat("downstream_rq_timeout") == 1
        assert server.closed
        goes_on(floor, client)

    def test_request_that_is_complete(self) -> None:
        floor, client, _ = make(request_timeout_s=5.0)
        stream = client.request(GET)
        server = floor.server()
        floor.advance(20)
        server.send(OK)
        assert client.status(stream) == "200"

    def test_response_that_has_begun(self) -> None:
        floor, client, connection = make(request_timeout_s=5.0)
        stream = client.request(POST, None)
        floor.server().send(BEGINNING)
        floor.advance(5.3)
        assert client.told(stream)[-1] == ("reset", 2)
        assert not connection.ended


class TestStreamIdleTimeout:
    @pytest.mark.parametrize(("body", "status"), [(b"", "504"), (None, "408")])
    def test_before_the_response(self, body: bytes | None, status: str) -> None:
        """Who is late depends on whether the request is complete."""
        floor, client, _ = make(stream_idle_timeout_s=10.0)
        stream = client.request(POST, body)
        server = floor.server()
        floor.advance(10.2)
        assert head_of(client.told(stream))[":status"] == status
        assert repr(floor.last) == f"{status} SI stream_idle_timeout"
        assert floor.stat("downstream_rq_idle_timeout") == 1
        assert server.closed
        goes_on(floor, client)

    def test_each_stream_has_its_own(self) -> None:
        floor, client, _ = make(stream_idle_timeout_s=10.0)
        first = client.request(GET)
        floor.server()
        floor.advance(5)
        second = client.request(GET)
        floor.server()
        floor.advance(5.2)
        assert client.status(first) == "504"
        assert client.told(second) == []
        floor.advance(5)
        assert client.status(second) == "504"

    @pytest.mark.parametrize("direction", ["request", "response"])
    def test_what_moves_is_not_idle(self, direction: str) -> None:
        floor, client, _ = make(stream_idle_timeout_s=10.0)
        stream = client.request(POST, None)
        server = floor.server()
        if direction == "response":
            server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        for _ in range(5):
            floor.advance(8)
            if direction == "request":
                client.data(stream, b"x")
            else:
                server.send(b"x")
        assert ("reset", 2) not in client.told(stream)
        if direction == "request":
            assert floor.log == []

    def test_after_the_response_began(self) -> None:
        floor, client, connection = make(stream_idle_timeout_s=10.0)
        stream = client.request(GET)
        server = floor.server()
        server.send(BEGINNING)
        floor.advance(10.2)
        assert client.told(stream)[-1] == ("reset", 2)
        assert repr(floor.last) == "200 SI stream_idle_timeout"
        assert server.closed
        assert not connection.ended

    def test_of_a_route(self) -> None:
        floor, client, _ = make(
            stream_idle_timeout_s=10.0,
            routes=[
                route("/slow", "web", timeout_s=None, idle_timeout_s=100.0),
                route("/never", "web", timeout_s=None, idle_timeout_s=0.0),
                route("/", "web", timeout_s=None),
            ],
        )
        streams = [client.request(request_fields(path)) for path in ("/", "/slow", "/never")]
        for _ in streams:
            floor.server()
        floor.advance(10.2)
        assert [client.status(stream) for stream in streams] == ["504", "", ""]
        floor.advance(90)
        assert [client.status(stream) for stream in streams] == ["", "504", ""]
        floor.advance(1000)
        assert client.status(streams[2]) == ""

    def test_over_with_the_stream(self) -> None:
        floor, client, connection = make(stream_idle_timeout_s=10.0)
        goes_on(floor, client)
        floor.advance(100)
        assert floor.stat("downstream_rq_idle_timeout") == 0
        assert len(floor.log) == 1
        assert not connection.ended


class TestDuration:
    def test_of_the_connection_manager(self) -> None:
        floor, client, _ = make(max_stream_duration_s=10.0)
        stream = client.request(POST, None)
        floor.server()
        for _ in range(3):
            floor.advance(3)
            client.data(stream, b"x")
        floor.advance(1.3)
        assert client.status(stream) == "408"
        assert repr(floor.last) == "408 - max_duration_timeout"
        assert floor.stat("downstream_rq_max_duration_reached") == 1
        goes_on(floor, client)

    @pytest.mark.parametrize(("of_route", "ended"), [(20.0, False), (0.0, False), (3.0, True)])
    def test_of_a_route_replaces_it(self, of_route: float, ended: bool) -> None:
        floor, client, _ = make(
            max_stream_duration_s=10.0,
            routes=[route("/", "web", timeout_s=None, max_stream_duration_s=of_route)],
        )
        stream = client.request(GET)
        floor.server()
        floor.advance(12)
        assert client.status(stream) == ("504" if ended else "")

    def test_of_a_response_that_has_begun(self) -> None:
        floor, client, _ = make(max_stream_duration_s=10.0)
        stream = client.request(GET)
        floor.server().send(BEGINNING)
        floor.advance(10.2)
        assert client.told(stream)[-1] == ("reset", 2)
        assert repr(floor.last) == "200 - max_duration_timeout"


def grpc(timeout: str = "") -> Fields:
    return grpc_fields(*((("grpc-timeout", timeout),) if timeout else ()))


class TestGrpcTimeout:
    """`grpc_timeout_header_max`: how long a stream may take is what the client says, up to a maximum."""

    def ask(self, asked: str, **fields: Any) -> tuple[HttpFloor, Http2End, int]:
        floor, client, _ = make(routes=[route("/", "web", timeout_s=None, **fields)])
        stream = client.request(grpc(asked), b"\0\0\0\0\0")
        floor.server()
        return floor, client, stream

    @pytest.mark.parametrize(
        ("asked", "maximum", "offset", "after"),
        [
            ("5S", 60.0, 0.0, 5.0),
            ("5000m", 60.0, 0.0, 5.0),
            ("2M", 60.0, 0.0, 60.0),
            ("2M", 0.0, 0.0, 120.0),
            ("10S", 60.0, 4.0, 6.0),
            ("3S", 60.0, 4.0, 3.0),
        ],
    )
    def test_ends_the_stream(self, asked: str, maximum: float, offset: float, after: float) -> None:
        floor, client, stream = self.ask(asked, grpc_timeout_max_s=maximum, grpc_timeout_offset_s=offset)
        floor.advance(after - 0.2)
        assert client.told(stream) == []
        floor.advance(0.5)
        told = client.told(stream)
        head = head_of(told)
        assert (head[":status"], head["grpc-status"]) == ("200", "4")
        assert told[-1] == ("end",)
        assert floor.last.details == "max_duration_timeout"

    @pytest.mark.parametrize("asked", ["", "5", "S", "1000000000S"])
    def test_without_one_that_counts(self, asked: str) -> None:
        floor, client, stream = self.ask(asked, grpc_timeout_max_s=10.0, max_stream_duration_s=20.0)
        floor.advance(11)
        assert client.told(stream) == []
        floor.advance(10)
        assert head_of(client.told(stream))["grpc-status"] == "4"

    def test_none_at_all(self) -> None:
        floor, client, stream = self.ask("5S")
        floor.advance(60)
        assert client.told(stream) == []


class TestMaxGrpcTimeout:
    """`max_grpc_timeout`: the timeout of the route is what the client says, and the server is told of it."""

    def ask(self, fields: Fields, **route_fields: Any) -> tuple[HttpFloor, Http2End, int, bytes]:
        floor, client, _ = make(routes=[route("/", "web", timeout_s=15.0, **route_fields)])
        stream = client.request(fields, b"\0\0\0\0\0")
        return floor, client, stream, floor.server().take()

    @pytest.mark.parametrize(
        ("asked", "maximum", "offset", "after", "told"),
        [
            ("5S", 60.0, 0.0, 5.0, b"5000m"),
            ("2M", 60.0, 0.0, 60.0, b"60000m"),
            ("2M", 0.0, 0.0, 120.0, b"120000m"),
            ("10S", 60.0, 4.0, 6.0, b"6000m"),
            ("3S", 60.0, 4.0, 3.0, b"3000m"),
            ("", 20.0, 0.0, 20.0, b"20000m"),
            ("0S", 20.0, 0.0, 20.0, b"20000m"),
        ],
    )
    def test_replaces_the_timeout(
        self, asked: str, maximum: float, offset: float, after: float, told: bytes
    ) -> None:
        floor, client, stream, head = self.ask(
            grpc(asked), max_grpc_timeout_s=maximum, max_grpc_timeout_offset_s=offset
        )
        assert b"\r\ngrpc-timeout: " + told + b"\r\n" in head
        floor.advance(after - 0.2)
        assert client.told(stream) == []
        floor.advance(0.5)
        answer = head_of(client.told(stream))
        assert (answer[":status"], answer["grpc-status"]) == ("200", "14")  # what 504 stands for
        assert repr(floor.last) == "200 UT response_timeout"

    @pytest.mark.parametrize("asked", ["", "0S"])
    def test_no_limit_at_all(self, asked: str) -> None:
        floor, client, stream, head = self.ask(grpc(asked), max_grpc_timeout_s=0.0)
        assert b"grpc-timeout" not in head
        floor.advance(1000)
        assert client.told(stream) == [] or floor.last.flags == "SI"

    def test_not_for_other_requests(self) -> None:
        fields = [*POST, ("grpc-timeout", "5S")]
        floor, client, stream, head = self.ask(fields, max_grpc_timeout_s=60.0)
        assert b"\r\ngrpc-timeout: 5S\r\n" in head
        floor.advance(14.8)
        assert client.told(stream) == []
        floor.advance(0.4)
        assert head_of(client.told(stream))[":status"] == "504"


class TestLocalReplies:
    @pytest.mark.parametrize(
        ("fields", "status"), [(GET, "503"), (request_fields("/", "HEAD"), "503"), (grpc(), "200")]
    )
    def test_no_healthy_upstream(self, fields: Fields, status: str) -> None:
        floor, client, connection = make(clusters=[ClusterSpec("web", "web")])
        stream = client.request(fields)
        told = client.told(stream)
        head = head_of(told)
        assert head[":status"] == status
        if status == "200":
            assert (head["grpc-status"], head["grpc-message"]) == ("14", "no healthy upstream")
        else:
            assert head["content-length"] == "19"
        bodies = [event[1] for event in told if event[0] == "data"]
        assert bodies == ([b"no healthy upstream"] if fields is GET else [])
        assert floor.last.flags == "UH"
        assert floor.last.info.response_code == int(status)
        assert not connection.ended

    def test_no_connection_header_in_http2(self) -> None:
        _, client, connection = make(routes=[])
        stream = client.request([*GET[:-1], (":path", "/a%00b")])
        head = head_of(client.told(stream))
        assert head[":status"] in ("400", "404")
        assert "connection" not in head
        assert not connection.ended
