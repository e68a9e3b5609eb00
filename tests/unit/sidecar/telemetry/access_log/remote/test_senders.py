from __future__ import annotations

import logging

import pytest
from msgspec import structs

from config.model.services import GrpcServiceSpec, HttpServiceSpec
from protocols.http.headers import Headers
from sidecar.telemetry.access_log.remote import senders
from sidecar.telemetry.access_log.remote.senders import MAX_IN_FLIGHT, CallSender, HttpSender, StreamSender
from sidecar.telemetry.exports import DEFAULT_TIMEOUT_S
from sidecar.transport.async_client import RequestFailure
from stats.families import RemoteAccessLogStats
from stats.store import Store
from tests.unit.sidecar.telemetry.access_log.remote.clients import RecordingClient

SERVICE = GrpcServiceSpec("collector")


def new_stats() -> RemoteAccessLogStats:
    return RemoteAccessLogStats(Store().scope("access_logs.x"))


def counts(stats: RemoteAccessLogStats) -> tuple[int, int]:
    return stats.grpc_entries_flushed.value, stats.grpc_entries_flush_failed.value


def nothing_waits() -> bool:
    return True


class Waiting:
    """A buffer with one entry."""

    def __init__(self, sender: StreamSender | CallSender, entry: bytes) -> None:
        self.sender = sender
        self.entries = [entry]

    def send(self) -> bool:
        if self.entries and self.sender.send(self.entries):
            self.entries = []
        return not self.entries


class TestStream:
    def setup_method(self) -> None:
        self.client = RecordingClient()
        self.stats = new_stats()

        def message(entries: list[bytes], first: bool) -> bytes:
            return (b"first:" if first else b"") + b",".join(entries)

        self.sender = StreamSender(self.client, SERVICE, b"/path", message, self.stats)

    def test_one_stream_whose_first_message_says_who_we_are(self) -> None:
        assert self.sender.send([b"a", b"b"])
        assert self.sender.send([b"c"])
        (stream,) = self.client.streams
        assert stream.path == b"/path"
        assert stream.messages == [b"first:a,b", b"c"]
        assert counts(self.stats) == (3, 0)

    def test_a_stream_that_ended_is_opened_again_by_the_next_batch(self) -> None:
        self.sender.send([b"a"])
        self.client.streams[0].end(14)
        assert len(self.client.streams) == 1
        self.sender.send([b"b"])
        assert self.client.streams[1].messages == [b"first:b"]

    def test_a_full_stream_takes_nothing(self) -> None:
        self.sender.send([b"a"])
        self.client.streams[0].is_full = True
        assert not self.sender.send([b"b"])
        assert counts(self.stats) == (1, 0)

    def test_what_a_broken_stream_refuses_is_lost(self) -> None:
        self.sender.send([b"a"])
        self.client.streams[0].refuses = True
        assert self.sender.send([b"b", b"c"])
        assert counts(self.stats) == (1, 2)

    def test_the_end_closes_the_stream_and_waits_for_the_server(self) -> None:
        idle: list[str] = []
        self.sender.close(nothing_waits, lambda: idle.append("without a stream"))
        self.sender.send([b"a"])
        self.sender.close(nothing_waits, lambda: idle.append("closed"))
        assert self.client.streams[0].closed
        assert idle == ["without a stream"]
        self.client.streams[0].end(0)
        assert idle == ["without a stream", "closed"]

    def test_who_waits_for_the_end_is_told_once(self) -> None:
        idle: list[bool] = []
        self.sender.send([b"a"])
        self.sender.close(nothing_waits, lambda: idle.append(True))
        self.client.streams[0].end(0)
        self.sender.send([b"late"])
        self.client.streams[1].end(0)
        assert idle == [True]

    def test_the_end_waits_for_room_on_a_full_stream(self) -> None:
        self.sender.send([b"a"])
        (stream,) = self.client.streams
        stream.is_full = True
        waiting = Waiting(self.sender, b"b")
        self.sender.close(waiting.send, lambda: None)
        stream.callbacks.on_stream_writable()
        assert not stream.closed
        stream.is_full = False
        stream.callbacks.on_stream_writable()
        assert (stream.messages, stream.closed) == ([b"first:a", b"b"], True)

    def test_the_log_says_once_that_the_service_is_away(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        caplog.set_level(logging.INFO)
        now_s = 100.0
        monkeypatch.setattr(senders.time, "monotonic", lambda: now_s)
        for number in range(3):
            self.sender.send([b"a"])
            self.client.streams[number].end(14)
        self.sender.send([b"a"])
        self.sender.send([b"a"])
        assert len(caplog.records) == 1
        now_s += DEFAULT_TIMEOUT_S + 1
        self.sender.send([b"a"])
        assert [record.getMessage() for record in caplog.records] == [
            "exports of access logs to cluster collector fail, what they have is lost: gRPC status 14 the end",
            "exports of access logs to cluster collector are taken again, 3 have failed",
        ]


class TestCalls:
    def test_each_batch_is_a_call(self) -> None:
        client, stats = RecordingClient(), new_stats()
        sender = CallSender(client, SERVICE, b"/path", b",".join, stats)
        assert sender.send([b"a", b"b"])
        assert (client.calls[0].path, client.calls[0].message) == (b"/path", b"a,b")
        assert counts(stats) == (0, 0)
        client.calls[0].callbacks.on_reply(b"")
        sender.send([b"c"])
        idle: list[bool] = []
        sender.close(nothing_waits, lambda: idle.append(True))
        assert idle == []
        client.calls[1].callbacks.on_call_failed(14, "gone")
        assert idle == [True]
        assert counts(stats) == (2, 1)

    def test_only_so_many_are_under_way(self) -> None:
        client = RecordingClient()
        sender = CallSender(client, SERVICE, b"/path", b",".join, new_stats())
        assert [sender.send([b"a"]) for _ in range(MAX_IN_FLIGHT + 1)] == [*[True] * MAX_IN_FLIGHT, False]
        client.calls[0].callbacks.on_reply(b"")
        assert sender.send([b"a"])

    def test_none_is_under_way_for_ever(self) -> None:
        client = RecordingClient()
        for service, timeout_s in (
            (SERVICE, DEFAULT_TIMEOUT_S),
            (structs.replace(SERVICE, timeout_s=2.5), 2.5),
        ):
            CallSender(client, service, b"/path", b",".join, new_stats()).send([b"a"])
            assert client.calls[-1].timeout_s == timeout_s

    def test_the_end_sends_what_waited_for_a_call_to_end(self) -> None:
        client = RecordingClient()
        sender = CallSender(client, SERVICE, b"/path", b",".join, new_stats())
        for _ in range(MAX_IN_FLIGHT):
            sender.send([b"a"])
        idle: list[bool] = []
        sender.close(Waiting(sender, b"b").send, lambda: idle.append(True))
        assert len(client.calls) == MAX_IN_FLIGHT
        for call in client.calls[:MAX_IN_FLIGHT]:
            call.callbacks.on_reply(b"")
        assert (client.calls[-1].message, idle) == (b"b", [])
        client.calls[-1].callbacks.on_reply(b"")
        assert idle == [True]

    def test_the_log_says_once_that_calls_fail(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        client = RecordingClient()
        sender = CallSender(client, SERVICE, b"/path", b",".join, new_stats())
        for _ in range(3):
            sender.send([b"a"])
            client.calls[-1].callbacks.on_call_failed(14, "gone")
        assert len(caplog.records) == 1
        sender.send([b"a"])
        client.calls[-1].callbacks.on_reply(b"")
        assert len(caplog.records) == 2


class TestHttp:
    def test_each_batch_is_a_post(self) -> None:
        client, stats = RecordingClient(), new_stats()
        service = HttpServiceSpec("collector", "logs.example", "/v1/logs", 2.5, (("X-Key", "k"),))
        sender = HttpSender(client, service, b"application/x-protobuf", b",".join, stats)
        assert sender.send([b"a", b"b"])
        (post,) = client.posts
        assert (post.cluster, post.body, post.timeout_s) == ("collector", b"a,b", 2.5)
        headers = post.headers
        assert (headers.method, headers.authority, headers.path) == (b"POST", b"logs.example", b"/v1/logs")
        assert headers.get(b"content-type") == b"application/x-protobuf"
        assert headers.get(b"x-key") == b"k"
        post.callbacks.on_response(Headers.response(200), b"")
        for _ in range(2):
            sender.send([b"c"])
        client.posts[1].callbacks.on_response(Headers.response(503), b"")
        client.posts[2].callbacks.on_failure(RequestFailure(503, "no_healthy_upstream", ""))
        idle: list[bool] = []
        sender.close(nothing_waits, lambda: idle.append(True))
        assert idle == [True]
        assert counts(stats) == (2, 2)

    def test_only_so_many_are_under_way(self) -> None:
        service = HttpServiceSpec("collector", "logs.example", "/v1/logs", None)
        client = RecordingClient()
        sender = HttpSender(client, service, b"x/y", b",".join, new_stats())
        assert [sender.send([b"a"]) for _ in range(MAX_IN_FLIGHT + 1)] == [*[True] * MAX_IN_FLIGHT, False]
        assert client.posts[0].timeout_s == DEFAULT_TIMEOUT_S
