"""The router over HTTP/2: servers that leave or refuse, requests that are sent again, answers that come early."""

from __future__ import annotations

from typing import Any

import pytest

from config.model.cluster import (
    CircuitBreakerThresholds,
    ClusterSpec,
    UpstreamHttpOptions,
    UpstreamHttpProtocol,
)
from config.model.core import RoutingPriority
from config.model.http2 import Http2Options
from config.model.route import RetryPolicy
from sidecar.http.request_body import BODY_LIMIT_BYTES
from tests.support.http2_floor import (
    Http2End,
    body_of,
    head_of,
    http2_client,
    http2_server,
    request_fields,
)
from tests.support.http2_frames import FrameType, build_frame, build_settings
from tests.support.http_floor import HttpFloor, request, route
from tests.support.upstream import endpoint, static_spec

GET = request_fields()
POST = request_fields("/", "POST")
REFUSED_STREAM = 7
REFUSED = RetryPolicy(retry_on=("refused-stream",), num_retries=2)


def h2_cluster(*ports: int, **fields: Any) -> ClusterSpec:
    options = UpstreamHttpOptions(UpstreamHttpProtocol.HTTP2, **fields.pop("options", {}))
    return static_spec("web", *map(endpoint, ports or (80,)), http_options=options, **fields)


class World:
    """A client and servers that all speak HTTP/2, with one upstream connection that is up."""

    def __init__(
        self, *, policy: RetryPolicy | None = None, cluster: ClusterSpec | None = None, **fields: Any
    ) -> None:
        fields.setdefault("timeout_s", None)
        self.floor = HttpFloor(
            [route("/", "web", retry_policy=policy, **fields)], clusters=[cluster or h2_cluster()]
        )
        self.client, self.connection = http2_client(self.floor)
        warm = self.client.request(GET)
        self.server = self.accept()
        self.server.answer(1)
        assert self.client.status(warm) == "200"

    def accept(self) -> Http2End:
        return http2_server(self.floor.server())

    def leave(self, last_stream_id: int) -> None:
        """GOAWAY."""
        self.server.raw(build_frame(FrameType.GOAWAY, 0, 0, last_stream_id.to_bytes(4, "big") + bytes(4)))

    def value(self, name: str) -> int:
        return self.floor.value(f"cluster.web.{name}")

    def settled(self) -> bool:
        gauges = self.floor.fakes["web"].active_gauges()
        return self.floor.idle() and {"requests", "pending", "retries"}.isdisjoint(gauges)


class TestNotProcessed:
    """The server leaves without having looked at the request: it is sent once more, whatever it is."""

    @pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
    def test_any_method(self, method: str) -> None:
        world = World()
        stream = world.client.request(request_fields("/again", method), b"body" if method != "GET" else b"")
        world.leave(1)
        again = world.accept()
        told = again.told(1)
        assert (head_of(told)[":path"], body_of(told)) == ("/again", b"body" if method != "GET" else b"")
        assert told[-1] == ("end",)
        again.answer(1)
        assert world.client.status(stream) == "200"
        assert repr(world.floor.last) == "200 - via_upstream"
        assert world.floor.last.attempts == 1
        assert world.value("upstream_rq_retry") == 0
        assert world.settled()

    def test_those_that_were_looked_at_go_on(self) -> None:
        world = World()
        kept, lost = world.client.request(GET), world.client.request(GET)
        world.leave(3)
        world.server.answer(3)
        assert world.client.status(kept) == "200"
        world.accept().answer(1)
        assert world.client.status(lost) == "200"
        assert world.floor.fakes["web"].peers[0].transport.closed

    def test_many_at_once_share_the_new_connection(self) -> None:
        world = World()
        streams = [world.client.request(request_fields(f"/{number}")) for number in range(20)]
        world.leave(1)
        again = world.accept()
        assert world.floor.asked() == 2
        for stream in range(1, 41, 2):
            again.answer(stream)
        assert [world.client.status(stream) for stream in streams] == ["200"] * 20

    def test_body_that_is_still_coming(self) -> None:
        world = World()
        stream = world.client.request(POST, None)
        world.client.data(stream, b"one ")
        world.leave(1)
        world.client.data(stream, b"two ")
        again = world.accept()
        world.client.data(stream, b"three", True)
        assert body_of(again.told(1)) == b"one two three"
        again.answer(1)
        assert world.client.status(stream) == "200"

    def test_trailers(self) -> None:
        world = World()
        stream = world.client.request(POST, None)
        world.client.data(stream, b"x")
        world.client.trailers(stream, ("x-t", "1"))
        world.leave(1)
        assert world.accept().told(1)[1:] == [("data", b"x"), ("trailers", {"x-t": "1"}), ("end",)]

    @pytest.mark.parametrize("excess", [0, 1])
    def test_bound_of_the_body(self, excess: int) -> None:
        world = World()
        stream = world.client.request(POST, None)
        left = BODY_LIMIT_BYTES + excess
        while left:
            piece = min(left, 16384)
            world.client.data(stream, b"x" * piece)
            left -= piece
            world.server.flush()
        world.leave(1)
        if excess:
            assert head_of(world.client.told(stream))[":status"] == "503"
            assert repr(world.floor.last) == (
                "503 UR upstream_reset_before_response_started{remote_refused_stream_reset}"
            )
        else:
            world.client.data(stream, b"", True)
            assert len(body_of(world.accept().told(1))) == BODY_LIMIT_BYTES
        assert world.client.goaways == []

    def test_only_once(self) -> None:
        world = World()
        stream = world.client.request(GET)
        world.leave(1)
        world.server = world.accept()
        world.leave(0)
        assert world.client.status(stream) == "503"
        assert world.floor.last.flags == "UR"
        assert world.settled()

    def test_then_by_policy(self) -> None:
        world = World(policy=REFUSED)
        stream = world.client.request(GET)
        for _ in range(3):
            world.leave(1 if world.floor.asked() == 1 else 0)
            world.floor.advance(1)
            world.server = world.accept()
        world.server.answer(1)
        assert world.client.status(stream) == "200"
        assert world.value("upstream_rq_retry") == 2
        assert world.floor.last.attempts == 3
        assert world.settled()

    def test_another_host(self) -> None:
        world = World(cluster=h2_cluster(80, 81))
        stream = world.client.request(GET)
        leaving = world.accept()
        leaving.raw(build_frame(FrameType.GOAWAY, 0, 0, bytes(8)))
        world.server.answer(3)
        assert world.client.status(stream) == "200"
        assert world.floor.asked() == 2

    def test_a_client_of_http1(self) -> None:
        world = World()
        client = world.floor.connect()
        client.send(request("POST", body=b"body"))
        world.leave(1)
        again = world.accept()
        assert body_of(again.told(1)) == b"body"
        again.answer(1)
        assert client.take().startswith(b"HTTP/1.1 200 OK\r\n")

    def test_the_client_has_given_up(self) -> None:
        world = World()
        stream = world.client.request(GET)
        world.client.reset(stream)
        world.leave(1)
        assert world.floor.asked() == 1
        assert world.settled()

    @pytest.mark.parametrize("policy", [None, RetryPolicy(retry_on=("reset",), num_retries=1)])
    def test_the_way_was_full(self, policy: RetryPolicy | None) -> None:
        """That of the new attempt is not."""
        world = World(policy=policy)
        stream = world.client.request(POST, None)
        world.client.data(stream, b"one ")
        world.floor.fakes["web"].peers[0].socket.pause_writing()
        other = world.floor.connect()
        other.send(request("POST", "/", "content-length: 8") + b"one ")
        assert not other.transport.reading
        if policy is None:
            world.leave(1)
        else:
            world.floor.fakes["web"].peers[0].reset()
        world.floor.advance(1)
        again = world.accept()
        assert other.transport.reading
        other.send(b"more")
        world.client.data(stream, b"two")
        assert {body_of(again.told(number)) for number in (1, 3)} == {b"one more", b"one two"}
        stat = world.floor.stat
        assert stat("downstream_flow_control_paused_reading_total") == 2
        assert stat("downstream_flow_control_resumed_reading_total") == 2

    def test_circuit_breaker(self) -> None:
        """Whoever is sent again counts once."""
        breakers = {RoutingPriority.DEFAULT: CircuitBreakerThresholds(max_requests=1)}
        world = World(cluster=h2_cluster(circuit_breakers=breakers))
        stream = world.client.request(GET)
        world.leave(1)
        world.accept().answer(1)
        assert world.client.status(stream) == "200"
        assert world.settled()


class TestRefused:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_by_policy(self, method: str) -> None:
        world = World(policy=REFUSED)
        stream = world.client.request(request_fields("/", method), b"body" if method == "POST" else b"")
        world.server.flush()
        world.server.reset(3, REFUSED_STREAM)
        world.floor.advance(1)
        told = world.server.told(5)
        assert body_of(told) == (b"body" if method == "POST" else b"")
        world.server.answer(5)
        assert world.client.status(stream) == "200"
        assert world.value("upstream_rq_retry") == 1
        assert world.settled()

    def test_without_a_policy(self) -> None:
        world = World()
        stream = world.client.request(GET)
        world.server.flush()
        world.server.reset(3, REFUSED_STREAM)
        told = world.client.told(stream)
        assert body_of(told) == (
            b"upstream connect error or disconnect/reset before headers. "
            b"reset reason: remote refused stream reset"
        )
        assert repr(world.floor.last) == (
            "503 UR upstream_reset_before_response_started{remote_refused_stream_reset}"
        )

    def test_too_often(self) -> None:
        world = World(policy=REFUSED)
        stream = world.client.request(GET)
        for upstream_stream in (3, 5, 7):
            world.server.flush()
            world.server.reset(upstream_stream, REFUSED_STREAM)
            world.floor.advance(1)
        assert world.client.status(stream) == "503"
        assert world.floor.last.flags == "URX,UR"
        assert world.settled()

    def test_a_policy_for_something_else(self) -> None:
        world = World(policy=RetryPolicy(retry_on=("connect-failure",)))
        stream = world.client.request(GET)
        world.server.flush()
        world.server.reset(3, REFUSED_STREAM)
        assert world.client.status(stream) == "503"

    def test_before_the_server_has_said_how_many_it_takes(self) -> None:
        """It could not have been known: the refused ones are sent again without a policy."""
        floor = HttpFloor([route("/", "web")], clusters=[h2_cluster()])
        client, _ = http2_client(floor)
        streams = [client.request(GET), client.request(GET)]
        server = floor.server()
        end = http2_server(server)
        end.raw(build_settings((3, 1)))
        end.reset(3, REFUSED_STREAM)
        assert floor.asked() == 2
        http2_server(floor.server()).answer(1)
        end.answer(1)
        assert [client.status(stream) for stream in streams] == ["200", "200"]


class TestResets:
    @pytest.mark.parametrize(
        ("code", "status", "flags", "reason"),
        [
            (0, "503", "UR", "remote_reset"),
            (1, "502", "UPE", "protocol_error"),
            (2, "503", "UR", "remote_reset"),
            (8, "503", "UR", "remote_reset"),
            (10, "503", "UR", "remote_error_with_CONNECT_request"),
        ],
    )
    def test_before_the_response(self, code: int, status: str, flags: str, reason: str) -> None:
        world = World()
        stream = world.client.request(GET)
        world.server.flush()
        world.server.reset(3, code)
        assert world.client.status(stream) == status
        assert (
            repr(world.floor.last) == f"{status} {flags} upstream_reset_before_response_started{{{reason}}}"
        )

    @pytest.mark.parametrize("code", [0, 1, 2, 7, 8])
    def test_in_the_response(self, code: int) -> None:
        """Never sent again, whatever the policy."""
        world = World(policy=RetryPolicy(retry_on=("reset", "refused-stream", "5xx"), num_retries=3))
        stream = world.client.request(GET)
        world.server.answer(3, 200, None)
        world.server.data(3, b"part")
        world.server.reset(3, code)
        told = world.client.told(stream)
        assert (body_of(told), told[-1]) == (b"part", ("reset", 2))
        assert world.floor.last.code == 200
        assert world.floor.last.details.startswith("upstream_reset_after_response_started")
        assert world.settled()

    def test_connection_lost_with_many(self) -> None:
        world = World()
        streams = [world.client.request(POST, None) for _ in range(3)]
        world.server.answer(3, 200, None)
        world.floor.fakes["web"].peers[0].reset()
        assert world.client.told(streams[0])[-1] == ("reset", 2)
        assert [world.client.status(stream) for stream in streams[1:]] == ["503", "503"]
        assert {line.flags for line in world.floor.log[1:]} == {"UC"}
        assert world.settled()

    def test_get_on_a_connection_that_was_idle(self) -> None:
        """As on HTTP/1: its server may just have been closing it."""
        world = World()
        stream = world.client.request(GET)
        world.floor.fakes["web"].peers[0].end()
        world.accept().answer(1)
        assert world.client.status(stream) == "200"


class TestTimeouts:
    def test_of_the_route(self) -> None:
        world = World(timeout_s=5.0)
        stream = world.client.request(GET)
        world.floor.advance(5.3)
        assert world.client.status(stream) == "504"
        assert world.server.told(3)[-1] == ("reset", 8)
        assert repr(world.floor.last) == "504 UT response_timeout"
        other = world.client.request(GET)
        world.server.answer(5)
        assert world.client.status(other) == "200"
        assert world.floor.asked() == 1

    def test_per_try(self) -> None:
        policy = RetryPolicy(retry_on=("5xx",), num_retries=1, per_try_timeout_s=2.0)
        world = World(policy=policy)
        stream = world.client.request(POST, b"body")
        world.floor.advance(2.5)
        assert [event[0] for event in world.server.told(3)] == ["headers", "data", "end", "reset"]
        assert body_of(world.server.told(5)) == b"body"
        world.server.answer(5)
        assert world.client.status(stream) == "200"
        assert world.value("upstream_rq_per_try_timeout") == 1
        assert world.settled()


class TestEarlyAnswers:
    def test_both_sides_are_told(self) -> None:
        world = World()
        stream = world.client.request(POST, None)
        world.client.data(stream, b"some")
        world.server.answer(3, 413, b"big")
        told = world.client.told(stream)
        assert (head_of(told)[":status"], body_of(told)) == ("413", b"big")
        assert told[-2:] == [("end",), ("reset", 0)]
        assert world.server.told(3)[-1] == ("reset", 0)
        assert world.value("upstream_rq_tx_reset") == 1
        assert world.floor.stat("downstream_rq_rx_reset") == 1
        assert repr(world.floor.last) == "413 - via_upstream"
        assert world.settled()

    def test_a_large_one_waits_for_the_client(self) -> None:
        world = World()
        world.client.h2.update_settings({4: 10})
        world.client.credits = False
        stream = world.client.request(POST, None)
        world.server.answer(3, 413, b"x" * 100)
        assert body_of(world.client.told(stream)) == b"x" * 10
        world.client.h2.increment_flow_control_window(100, stream)
        told = world.client.told(stream)
        assert (body_of(told), told[-2:]) == (b"x" * 90, [("end",), ("reset", 0)])
        assert world.settled()


def test_a_busy_connection_makes_room() -> None:
    """Who waits is served by whatever frees a place, also by a client that gives up."""
    options = {"http2": Http2Options(max_concurrent_streams=1)}
    breakers = {RoutingPriority.DEFAULT: CircuitBreakerThresholds(max_connections=1)}
    world = World(cluster=h2_cluster(options=options, circuit_breakers=breakers))
    first, second, third = (world.client.request(request_fields(f"/{number}")) for number in range(3))
    assert world.value("upstream_rq_pending_active") == 2
    world.client.reset(first)
    assert head_of(world.server.told(5))[":path"] == "/1"
    world.server.answer(5)
    assert world.client.status(second) == "200"
    assert head_of(world.server.told(7))[":path"] == "/2"
    world.server.answer(7)
    assert world.client.status(third) == "200"
    assert world.settled()
