"""Requests on our own behalf: what goes out, what the owner is told and when, what is counted, and that nothing is left behind."""

from __future__ import annotations

import pytest

from config.model.cluster import UpstreamHttpProtocol
from config.model.services import GrpcServiceSpec
from protocols.grpc.framing import COMPRESSED, frame
from protocols.http.headers import Headers
from sidecar.transport.async_client import MAX_BODY_BYTES, Call, GrpcStream
from sidecar.upstream.async_client import PENDING_BYTES
from tests.support.async_client import CLUSTER, LOCAL_ADDRESS, CallLog, FakeAsyncClient
from tests.support.http2_floor import Http2End, body_of, head_of
from tests.support.http2_frames import FrameType, build_frame
from tests.support.upstream import Peer

SERVICE = GrpcServiceSpec(CLUSTER)
PATH = b"/test.Calls/Chat"
OK = ("grpc-status", "0")
GRPC = ("content-type", "application/grpc")


def post(
    world: FakeAsyncClient,
    log: CallLog,
    body: bytes = b"hi",
    *,
    name: str = CLUSTER,
    max_bytes: int = MAX_BODY_BYTES,
) -> Call:
    headers = Headers.request(b"POST", b"/v1/traces", b"collector.example", [(b"content-type", b"a/b")])
    return world.client.request(name, headers, body, log, timeout_s=1.0, max_bytes=max_bytes)


def is_idle(world: FakeAsyncClient) -> bool:
    world.loop.turn()
    gauges = world.fake.active_gauges()
    return not {name for name in gauges if "rq" in name or name in ("requests", "pending")}


class TestRequest:
    def test_over_http1(self) -> None:
        world, log = FakeAsyncClient(UpstreamHttpProtocol.HTTP1), CallLog()
        post(world, log)
        world.loop.turn()
        peer: Peer = world.fake.peers[0].accept()
        world.loop.turn()
        head, _, body = peer.transport.take().partition(b"\r\n\r\n")
        assert head.split(b"\r\n")[0] == b"POST /v1/traces HTTP/1.1"
        assert set(head.split(b"\r\n")[1:]) == {
            b"host: collector.example",
            b"content-type: a/b",
            b"content-length: 2",
            b"x-envoy-internal: true",
            b"x-envoy-expected-rq-timeout-ms: 1000",
            b"x-forwarded-for: " + LOCAL_ADDRESS.encode(),
        }
        assert body == b"hi"
        peer.send(b"HTTP/1.1 202 Accepted\r\ncontent-length: 4\r\n\r\nfine")
        assert log.events == [("response", 202, b"fine")]
        world.loop.advance(5)
        assert log.events == [("response", 202, b"fine")]
        assert is_idle(world)

    def test_over_http2_in_pieces_and_with_trailers(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        post(world, log)
        server = world.server()
        told = server.told(1)
        assert head_of(told)["content-length"] == "2"
        assert body_of(told) == b"hi"
        server.answer(1, 200, None)
        server.data(1, b"a")
        server.data(1, b"b")
        assert log.events == []
        server.trailers(1, ("x", "y"))
        assert log.events == [("response", 200, b"ab")]
        assert is_idle(world)

    def test_without_a_body(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        post(world, log, b"")
        server = world.server()
        told = server.told(1)
        assert "content-length" not in head_of(told)
        assert told[-1] == ("end",)
        server.answer(1, 204)
        assert log.events == [("response", 204, b"")]

    def test_counts_as_a_request_from_inside(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        post(world, log)
        server = world.server()
        server.answer(1, 500)
        assert log.events == [("response", 500, b"")]
        counted = {
            name: world.value(name)
            for name in (
                "upstream_rq_total",
                "upstream_rq_500",
                "upstream_rq_completed",
                "internal.upstream_rq_500",
                "internal.upstream_rq_5xx",
                "internal.upstream_rq_completed",
                "internal.upstream_rq_time",
                "external.upstream_rq_500",
            )
        }
        assert counted == {**dict.fromkeys(counted, 1), "external.upstream_rq_500": 0}
        (host,) = world.fake.cluster.hosts()
        assert (host.rq_total, host.rq_error, host.rq_success) == (1, 1, 0)
        total = world.fake.store.find("http.async-client.rq_total")
        assert total is not None and total.value == 1

    def test_timeout(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        post(world, log)
        server = world.server()
        world.loop.advance(1.1)
        assert log.events == [("failure", 504, "response_timeout")]
        assert server.told(1)[-1] == ("reset", 8)
        assert world.value("upstream_rq_timeout") == world.value("internal.upstream_rq_504") == 1
        assert is_idle(world)

    def test_timeout_while_it_waits_for_a_connection(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        post(world, log)
        world.loop.advance(1.1)
        assert log.events == [("failure", 504, "response_timeout")]
        assert is_idle(world)

    def test_no_such_cluster(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        post(world, log, name="nobody")
        assert log.events == []
        world.loop.turn()
        assert log.events == [("failure", 503, "cluster_not_found")]
        missing = world.fake.store.find("http.async-client.no_cluster")
        assert missing is not None and missing.value == 1

    def test_refused(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        post(world, log)
        world.loop.turn()
        world.fake.peers[0].refuse()
        ((kind, status, details),) = log.events
        assert (kind, status) == ("failure", 503)
        assert "remote_connection_failure|delayed_connect_error:_Connection_refused" in str(details)
        assert world.value("internal.upstream_rq_503") == 1
        assert is_idle(world)

    def test_reset_before_and_within_the_answer(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        post(world, log)
        post(world, log)
        server = world.server()
        server.reset(1)
        server.answer(3, 200, None)
        server.reset(3)
        assert [event[2] for event in log.events] == [
            "upstream_reset_before_response_started{remote_reset}",
            "upstream_reset_after_response_started{remote_reset}",
        ]
        assert world.value("internal.upstream_rq_503") == 1  # the other one had its 200
        assert is_idle(world)

    def test_an_answer_that_is_too_long(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        post(world, log, max_bytes=3)
        server = world.server()
        server.answer(1, 200, b"four")
        assert log.events == [("failure", 500, "response_payload_too_large")]
        assert is_idle(world)

    def test_an_answer_that_is_too_long_and_goes_on(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        post(world, log, max_bytes=3)
        server = world.server()
        server.told(1)
        server.answer(1, 200, None)
        server.data(1, b"four")
        assert log.events == [("failure", 500, "response_payload_too_large")]
        assert server.told(1) == [("reset", 8)]

    @pytest.mark.parametrize("connected", [False, True])
    def test_cancelled(self, connected: bool) -> None:
        world, log = FakeAsyncClient(), CallLog()
        call = post(world, log)
        server = world.server() if connected else None
        call.cancel()
        call.cancel()
        world.loop.advance(5)
        assert log.events == []
        assert is_idle(world)
        if server is not None:
            assert server.told(1)[-1] == ("reset", 8)

    def test_cancelled_before_anything_was_done(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        post(world, log).cancel()
        world.loop.advance(5)
        assert log.events == []
        assert world.fake.peers == []

    def test_a_server_that_leaves_without_looking_at_it(self) -> None:
        """RFC 9113 section 6.8: it may be sent again, and is, once."""
        world, log = FakeAsyncClient(), CallLog()
        post(world, log)
        goaway = build_frame(FrameType.GOAWAY, 0, 0, bytes(8))
        world.server().raw(goaway)
        second = world.server(1)
        assert body_of(second.told(1)) == b"hi"
        second.raw(goaway)
        assert [event[2] for event in log.events] == [
            "upstream_reset_before_response_started{remote_refused_stream_reset}"
        ]
        assert is_idle(world)

    def test_an_owner_that_fails_breaks_nothing_else(self) -> None:
        world, log, other = FakeAsyncClient(), CallLog(), CallLog()

        def fail() -> None:
            raise RuntimeError("of the owner")

        log.on_event = fail
        post(world, log)
        post(world, other)
        server = world.server()
        server.answer(1)
        server.answer(3)
        assert [str(bug) for bug in world.bugs] == ["of the owner"]
        assert other.events == [("response", 200, b"")]
        assert is_idle(world)


class TestUnary:
    def test_what_goes_out(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        service = GrpcServiceSpec(CLUSTER, "als.example", 0.25, (("x-token", "t"),))
        world.client.unary(service, PATH, b"ping", log)
        server = world.server()
        told = server.told(1)
        assert head_of(told) == {
            ":method": "POST",
            ":scheme": "http",
            ":authority": "als.example",
            ":path": "/test.Calls/Chat",
            "te": "trailers",
            "content-type": "application/grpc",
            "grpc-timeout": "250m",
            "x-token": "t",
            "x-envoy-internal": "true",
            "x-envoy-expected-rq-timeout-ms": "250",
            "x-forwarded-for": LOCAL_ADDRESS,
        }
        assert body_of(told) == frame(b"ping")
        assert told[-1] == ("end",)
        server.answer(1, 200, None, GRPC)
        server.data(1, frame(b"pong"))
        assert log.events == []
        server.trailers(1, OK)
        assert log.events == [("reply", b"pong")]
        assert world.value("internal.upstream_rq_200") == 1
        assert is_idle(world)

    def test_the_server_is_not_told_of_envoy(self) -> None:
        world = FakeAsyncClient()
        world.client.unary(GrpcServiceSpec(CLUSTER, skip_envoy_headers=True), PATH, b"", CallLog())
        head = head_of(world.server().told(1))
        assert [name for name in head if name.startswith("x-")] == []
        assert head[":authority"] == CLUSTER

    @pytest.mark.parametrize(
        ("fields", "event"),
        [
            ((("grpc-status", "7"), ("grpc-message", "not%20you")), ("failed", 7, "not you")),
            ((("grpc-status", "0"),), ("failed", 13, "")),  # no message
            ((), ("failed", 2, "")),
        ],
    )
    def test_failed(self, fields: tuple[tuple[str, str], ...], event: tuple[object, ...]) -> None:
        world, log = FakeAsyncClient(), CallLog()
        world.client.unary(SERVICE, PATH, b"", log)
        world.server().answer(1, 200, b"", GRPC, *fields)
        assert log.events == [event]
        assert is_idle(world)

    def test_timeout(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        world.client.unary(GrpcServiceSpec(CLUSTER, timeout_s=0.5), PATH, b"", log)
        server = world.server()
        world.loop.advance(0.6)
        assert log.events == [("failed", 14, "upstream request timeout")]
        assert server.told(1)[-1] == ("reset", 8)

    def test_no_such_cluster(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        world.client.unary(GrpcServiceSpec("nobody"), PATH, b"", log)
        world.loop.turn()
        assert log.events == [("failed", 14, "cluster_not_found")]


class Streaming:
    """A stream that is open, and its server."""

    def __init__(self, service: GrpcServiceSpec = SERVICE, window: int | None = None) -> None:
        self.world = FakeAsyncClient()
        self.log = CallLog()
        self.stream: GrpcStream = self.world.client.stream(service, PATH, self.log)
        self.server: Http2End = self.world.server(window=window)

    def open(self) -> Streaming:
        self.server.answer(1, 200, None, GRPC)
        self.log.events.clear()
        return self


class TestStream:
    def test_both_directions(self) -> None:
        it = Streaming()
        head = head_of(it.server.told(1))
        assert head[":path"] == "/test.Calls/Chat"
        assert "grpc-timeout" not in head and "x-envoy-expected-rq-timeout-ms" not in head
        assert it.stream.send(b"one")
        it.world.loop.turn()
        assert it.server.told(1) == [("data", frame(b"one"))]
        it.server.answer(1, 200, None, GRPC)
        it.server.data(1, frame(b"re")[:3])
        it.server.data(1, frame(b"re")[3:] + frame(b""))
        assert it.stream.send(b"two", last=True)
        assert not it.stream.send(b"three")
        assert it.server.told(1) == [("data", frame(b"two")), ("end",)]
        assert not it.stream.is_over
        it.server.trailers(1, OK)
        assert it.log.events == [("headers", 200), ("message", b"re"), ("message", b""), ("closed", 0, "")]
        assert it.stream.is_over
        assert is_idle(it.world)

    def test_what_is_sent_before_there_is_a_connection(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        stream = world.client.stream(SERVICE, PATH, log)
        assert stream.send(b"one") and stream.send(b"two")
        stream.close()
        server = world.server()
        told = server.told(1)
        assert body_of(told) == frame(b"one") + frame(b"two")
        assert told[-1] == ("end",)

    def test_full_while_there_is_no_connection(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        stream = world.client.stream(SERVICE, PATH, log)
        assert stream.send(bytes(PENDING_BYTES))
        assert not stream.send(b"more")
        server = world.server(window=1 << 20)
        server.told(1)
        assert log.events[0] == ("writable",)
        assert stream.send(b"more")
        assert body_of(server.told(1)) == frame(b"more")

    def test_full_when_the_server_does_not_read(self) -> None:
        it = Streaming().open()
        it.server.credits = False
        sent = 0
        while it.stream.send(bytes(64 * 1024)):
            it.world.loop.turn()
            sent += 1
        assert it.stream.is_full
        assert 4 <= sent <= 8  # the window and the bound
        assert it.log.events == []
        it.server.h2.increment_flow_control_window(1 << 20)
        it.server.h2.increment_flow_control_window(1 << 20, 1)
        it.server.flush()
        assert it.log.events == [("writable",)]
        assert it.stream.send(b"more")

    def test_who_was_never_told_no_is_not_told_yes(self) -> None:
        it = Streaming().open()
        it.server.credits = False
        for _ in range(5):
            assert it.stream.send(bytes(64 * 1024))
        it.server.h2.increment_flow_control_window(1 << 20)
        it.server.h2.increment_flow_control_window(1 << 20, 1)
        it.server.flush()
        assert it.log.events == []

    def test_an_owner_that_does_not_read_holds_the_server_up(self) -> None:
        it = Streaming().open()
        it.stream.pause_reading()
        before = it.server.h2.local_flow_control_window(1)
        it.server.data(1, frame(bytes(1000)))
        assert before - it.server.h2.local_flow_control_window(1) == 1005
        it.stream.resume_reading()
        it.stream.resume_reading()
        it.server.flush()
        assert it.world.value("upstream_flow_control_paused_reading_total") == 1
        assert it.world.value("upstream_flow_control_resumed_reading_total") == 1

    def test_paused_before_there_is_a_connection(self) -> None:
        world, log = FakeAsyncClient(), CallLog()
        stream = world.client.stream(SERVICE, PATH, log)
        stream.pause_reading()
        world.server()
        assert world.value("upstream_flow_control_paused_reading_total") == 1

    def test_reset_by_its_owner(self) -> None:
        it = Streaming().open()
        it.stream.reset()
        assert it.stream.is_over and not it.stream.send(b"x")
        it.world.loop.turn()
        assert it.server.told(1)[-1] == ("reset", 8)
        assert it.log.events == []
        assert is_idle(it.world)

    def test_reset_by_its_owner_within_a_message(self) -> None:
        it = Streaming().open()
        it.log.on_event = it.stream.reset
        it.server.data(1, frame(b"a") + frame(b"b"), end=True)
        assert it.log.events == [("message", b"a")]
        assert is_idle(it.world)

    def test_closed_when_it_is_over_is_harmless(self) -> None:
        it = Streaming().open()
        it.server.trailers(1, OK)
        it.stream.close()
        it.stream.reset()
        assert it.log.events == [("closed", 0, "")]

    def test_reset_by_the_server(self) -> None:
        it = Streaming()
        it.server.reset(1)
        ((kind, status, text),) = it.log.events
        assert (kind, status) == ("closed", 14)
        assert str(text).endswith("reset reason: remote reset")

    def test_reset_by_the_server_later(self) -> None:
        it = Streaming().open()
        it.server.reset(1)
        ((kind, status, _),) = it.log.events
        assert (kind, status) == ("closed", 13)

    def test_the_connection_is_lost(self) -> None:
        it = Streaming().open()
        it.world.fake.peers[0].reset()
        assert [event[:2] for event in it.log.events] == [("closed", 13)]
        assert is_idle(it.world)

    def test_restarted_by_its_owner_within_the_end(self) -> None:
        it = Streaming().open()
        again: list[GrpcStream] = []

        def restart() -> None:
            it.log.on_event = lambda: None
            again.append(it.world.client.stream(SERVICE, PATH, it.log))
            assert again[0].send(b"again")

        it.log.on_event = restart
        it.server.trailers(1, ("grpc-status", "14"))
        assert it.log.events == [("closed", 14, "")]
        assert body_of(it.server.told(3)) == frame(b"again")

    @pytest.mark.parametrize(
        ("status", "fields", "code"),
        [
            (404, (), 12),
            (503, (("grpc-status", "8"),), 8),
            (503, (), 14),
        ],
    )
    def test_an_answer_that_is_not_200(
        self, status: int, fields: tuple[tuple[str, str], ...], code: int
    ) -> None:
        it = Streaming()
        it.server.answer(1, status, b"", *fields)
        assert it.log.events == [("closed", code, "")]

    def test_an_answer_that_is_not_200_and_goes_on(self) -> None:
        it = Streaming()
        it.server.answer(1, 503, None)
        assert it.log.events == [("closed", 14, "")]
        it.world.loop.turn()
        assert it.server.told(1)[-1] == ("reset", 8)

    @pytest.mark.parametrize(
        ("service", "data", "code"),
        [
            (SERVICE, frame(b"x", COMPRESSED), 13),
            (GrpcServiceSpec(CLUSTER, max_receive_message_length=3), frame(b"four"), 8),
        ],
    )
    def test_a_message_that_cannot_be_read(self, service: GrpcServiceSpec, data: bytes, code: int) -> None:
        it = Streaming(service).open()
        it.server.data(1, data)
        assert [event[:2] for event in it.log.events] == [("closed", code)]
        assert it.stream.is_over
        assert is_idle(it.world)

    def test_an_end_without_a_status(self) -> None:
        it = Streaming().open()
        it.server.data(1, frame(b"last"), end=True)
        assert it.log.events == [("message", b"last"), ("closed", 2, "")]
