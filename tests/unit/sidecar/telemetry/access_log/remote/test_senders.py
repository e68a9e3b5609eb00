from __future__ import annotations

from config.model.services import GrpcServiceSpec, HttpServiceSpec
from protocols.http.headers import Headers
from sidecar.telemetry.access_log.remote.senders import MAX_IN_FLIGHT, CallSender, HttpSender, StreamSender
from sidecar.transport.async_client import RequestFailure
from stats.families import RemoteAccessLogStats
from stats.store import Store
from tests.unit.sidecar.telemetry.access_log.remote.clients import RecordingClient

SERVICE = GrpcServiceSpec("collector")


def new_stats() -> RemoteAccessLogStats:
    return RemoteAccessLogStats(Store().scope("access_logs.x"))


def counts(stats: RemoteAccessLogStats) -> tuple[int, int]:
    return stats.grpc_entries_flushed.value, stats.grpc_entries_flush_failed.value


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
        self.sender.close(lambda: idle.append("without a stream"))
        self.sender.send([b"a"])
        self.sender.close(lambda: idle.append("closed"))
        assert self.client.streams[0].closed
        assert idle == ["without a stream"]
        self.client.streams[0].end(0)
        assert idle == ["without a stream", "closed"]


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
        sender.close(lambda: idle.append(True))
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
        sender.close(lambda: idle.append(True))
        assert idle == [True]
        assert counts(stats) == (2, 2)

    def test_only_so_many_are_under_way(self) -> None:
        service = HttpServiceSpec("collector", "logs.example", "/v1/logs", None)
        sender = HttpSender(RecordingClient(), service, b"x/y", b",".join, new_stats())
        assert [sender.send([b"a"]) for _ in range(MAX_IN_FLIGHT + 1)] == [*[True] * MAX_IN_FLIGHT, False]
