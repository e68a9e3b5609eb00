"""Streams and their filters: order, holds, local replies, tasks, failures of filters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from config.model.cluster import UpstreamHttpOptions
from config.model.core import DataSource, HeaderMutations, HeaderValueOption
from config.model.http import Http1Options
from config.model.route import DirectResponseAction
from protocols.http.headers import Headers
from sidecar.http.api import HttpFilter, HttpFilterFactory, Stream
from sidecar.transport.flow import CONTINUE, HOLD, HOLD_HEADERS, Flow, Held
from tests.support.http_floor import (
    OK,
    Client,
    HttpFloor,
    Server,
    request,
    response,
    route,
    route_to,
    status_of,
)
from tests.support.upstream import static_spec

GET = request()


class Shared(HttpFilterFactory):
    """A factory that gives every stream the same filter."""

    def __init__(self, shared: HttpFilter) -> None:
        super().__init__(type(shared))
        self.shared = shared

    def for_stream(self, stream: Stream) -> HttpFilter:
        return self.shared


class Tracer(HttpFilter):
    """Notes every phase it takes part in."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name = name
        self.notes = notes

    def on_request_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        self.notes.append(f"{self.name}>head")
        return CONTINUE

    def on_request_data(self, stream: Stream, data: bytes, end: bool) -> bytes | Held:
        self.notes.append(f"{self.name}>{data.decode()}")
        return data

    def on_response_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        self.notes.append(f"{self.name}<head")
        return CONTINUE

    def on_response_data(self, stream: Stream, data: bytes, end: bool) -> bytes | Held:
        self.notes.append(f"{self.name}<{data.decode()}")
        return data

    def on_stream_end(self, stream: Stream) -> None:
        self.notes.append(f"{self.name} end")


class Holder(HttpFilter):
    """Answers HOLD where its name stands in `holds`, and remembers the stream."""

    def __init__(self, *holds: str) -> None:
        self.holds = set(holds)
        self.stream: Stream | None = None
        self.seen: list[bytes] = []

    def _flow(self, phase: str, stream: Stream) -> Flow:
        self.stream = stream
        return HOLD if phase in self.holds else CONTINUE

    def on_request_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        return self._flow("request headers", stream)

    def on_request_data(self, stream: Stream, data: bytes, end: bool) -> bytes | Held:
        self.seen.append(data)
        return HOLD if self._flow("request data", stream) is HOLD else data

    def on_request_trailers(self, stream: Stream, trailers: Headers) -> Flow:
        return self._flow("request trailers", stream)

    def on_response_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        return self._flow("response headers", stream)

    def on_response_data(self, stream: Stream, data: bytes, end: bool) -> bytes | Held:
        self.seen.append(data)
        return HOLD if self._flow("response data", stream) is HOLD else data

    def on_response_trailers(self, stream: Stream, trailers: Headers) -> Flow:
        return self._flow("response trailers", stream)

    def resume_request(self) -> None:
        assert self.stream is not None
        self.stream.resume_request()

    def resume_response(self) -> None:
        assert self.stream is not None
        self.stream.resume_response()


def floor_with(*filters: HttpFilter, **fields: Any) -> HttpFloor:
    fields.setdefault("routes", [route("/", "web")])
    return HttpFloor(factories=[Shared(each) for each in filters], **fields)


def begin(floor: HttpFloor, sent: bytes = GET) -> tuple[Client, Server]:
    client = floor.connect()
    client.send(sent)
    return client, floor.server()


class TestOrder:
    def test_requests_forwards_responses_backwards(self) -> None:
        notes: list[str] = []
        floor = floor_with(Tracer("a", notes), Tracer("b", notes))
        client, server = begin(floor, request("POST", body=b"in"))
        server.send(response(body=b"out"))
        assert client.take().endswith(b"out")
        assert notes == [
            *("a>head", "b>head", "a>in", "b>in"),
            *("b<head", "a<head", "b<out", "a<out"),
            *("b end", "a end"),
        ]

    def test_filters_change_the_body(self) -> None:
        class Upper(HttpFilter):
            def on_request_data(self, stream: Stream, data: bytes, end: bool) -> bytes | Held:
                return data.upper()

            def on_response_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
                headers.remove(b"content-length")
                return CONTINUE

            def on_response_data(self, stream: Stream, data: bytes, end: bool) -> bytes | Held:
                return data + b"!" if end else b""

        floor = floor_with(Upper())
        client, server = begin(floor, request("POST", body=b"in"))
        assert server.take().endswith(b"IN")
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nout")
        assert client.take().endswith(b"\r\n\r\n"), "the first piece was swallowed"
        server.send(b"put")
        assert client.take() == b"4\r\nput!\r\n0\r\n\r\n"

    def test_local_replies_run_the_response_filters(self) -> None:
        notes: list[str] = []
        floor = floor_with(Tracer("a", notes), routes=[])
        client = floor.connect()
        client.send(GET)
        assert status_of(client.take()) == 404
        assert notes == ["a>head", "a<head", "a end"]

    def test_even_for_a_head_that_was_never_understood(self) -> None:
        notes: list[str] = []
        floor = floor_with(Tracer("a", notes))
        client = floor.connect()
        client.send(b"!\r\n\r\n")
        assert status_of(client.take()) == 400
        assert notes == ["a<head", "a<Bad Request", "a end"]

    def test_response_edits_of_the_route(self) -> None:
        option = HeaderValueOption("x-code", "%RESPONSE_CODE%")
        host = {"mutations": HeaderMutations(response_add=(option,), response_remove=("x-secret",))}
        floor = floor_with(virtual_host=host)
        client, server = begin(floor)
        server.send(response(200, "x-secret: 1"))
        answer = client.take()
        assert b"x-secret" not in answer
        assert b"x-code: 200\r\n" in answer

    def test_response_edits_of_the_route_on_a_local_reply(self) -> None:
        """They see a head that has no status in the log, and nothing of the body yet; their content-type stays."""
        options = (
            HeaderValueOption("x-code", "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESP(content-type)%."),
            HeaderValueOption("content-type", "application/json"),
            HeaderValueOption("content-length", "7"),
        )
        host = {"mutations": HeaderMutations(response_add=options)}
        floor = floor_with(virtual_host=host, routes=[route("/", "gone")])
        client = floor.connect()
        client.send(GET)
        answer = client.take()
        assert b"x-code: 0 cluster_not_found .\r\n" in answer
        assert b"content-length: 0\r\n" in answer
        assert b"content-type" not in answer


class TestHoldRequest:
    def test_headers(self) -> None:
        holder = Holder("request headers")
        floor = floor_with(holder)
        client = floor.connect()
        client.send(request("POST", body=b"body"))
        assert floor.asked() == 0
        assert holder.seen == []
        holder.resume_request()
        server = floor.server()
        assert server.take().endswith(b"\r\n\r\nbody")
        assert holder.seen == [b"body"]
        server.send(OK)
        assert status_of(client.take()) == 200
        assert floor.idle()

    def test_what_is_held_is_bounded(self) -> None:
        holder = Holder("request headers")
        floor = floor_with(holder)
        client = floor.connect()
        client.send(request("POST", "/", f"content-length: {8 << 20}"))
        sent = 0
        while client.transport.reading:
            client.send(bytes(128 * 1024))
            sent += 128 * 1024
            assert sent <= 2 << 20
        holder.resume_request()
        server = floor.server()
        assert client.transport.reading
        assert len(server.take()) > sent

    def test_data_goes_on_with_what_the_holder_returns(self) -> None:
        holder = Holder("request data")
        floor = floor_with(holder)
        client, server = begin(floor, request("POST", "/", "content-length: 6") + b"ab")
        assert server.take().endswith(b"\r\n\r\n")
        client.send(b"cd")
        assert server.take() == b""
        holder.holds.clear()
        client.send(b"ef")
        assert server.take() == b"abcdef"
        server.send(OK)
        assert status_of(client.take()) == 200

    def test_data_goes_on_with_resume(self) -> None:
        holder = Holder("request data")
        floor = floor_with(holder)
        client, server = begin(floor, request("POST", body=b"abcdef"))
        server.take()
        holder.resume_request()
        assert server.take() == b"abcdef"
        server.send(OK)
        assert status_of(client.take()) == 200

    def test_trailers_release_the_body(self) -> None:
        holder = Holder("request data")
        floor = floor_with(holder, http1=Http1Options(enable_trailers=True))
        sent = request("POST", "/", "transfer-encoding: chunked") + b"3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n"
        _, server = begin(floor, sent)
        assert b"3\r\nabc\r\n" in server.take()

    def test_trailers_wait(self) -> None:
        holder = Holder("request trailers")
        floor = floor_with(holder, http1=Http1Options(enable_trailers=True))
        sent = request("POST", "/", "transfer-encoding: chunked") + b"3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n"
        client, server = begin(floor, sent)
        assert server.take().endswith(b"3\r\nabc\r\n")
        holder.resume_request()
        assert server.take().endswith(b"0\r\n\r\n")
        server.send(OK)
        assert status_of(client.take()) == 200

    def test_two_holders_resume_in_reverse(self) -> None:
        first, second = Holder("request data"), Holder("request data")
        floor = floor_with(first, second)
        first.holds.clear()
        client, server = begin(floor, request("POST", "/", "content-length: 4") + b"ab")
        server.take()
        first.holds.add("request data")
        client.send(b"cd")
        second.holds.clear()
        first.resume_request()
        assert server.take() == b"abcd"

    def test_answer_in_place_of_resume(self) -> None:
        holder = Holder("request headers")
        floor = floor_with(holder)
        client = floor.connect()
        client.send(request("POST", body=b"abc"))
        assert holder.stream is not None
        holder.stream.reply(403, b"no", details="rbac_access_denied", headers=((b"x-a", b"b"),))
        answer = client.take()
        assert status_of(answer) == 403
        assert b"x-a: b\r\n" in answer
        assert answer.endswith(b"no")
        assert repr(floor.last) == "403 - rbac_access_denied"
        assert floor.asked() == 0
        client.send(GET)
        assert floor.stat("downstream_rq_total") == 2

    def test_client_that_leaves_meanwhile(self) -> None:
        holder = Holder("request headers")
        floor = floor_with(holder)
        client = floor.connect()
        client.send(GET)
        client.lose()
        holder.resume_request()
        assert floor.asked() == 0
        assert floor.last.flags == "DC"

    @pytest.mark.parametrize("phase", ["request headers", "request data"])
    def test_resume_before_the_hold_was_seen(self, phase: str) -> None:
        class Eager(Holder):
            def _flow(self, at: str, stream: Stream) -> Flow:
                flow = super()._flow(at, stream)
                if flow is HOLD:
                    stream.resume_request()
                return flow

        floor = floor_with(Eager(phase))
        client, server = begin(floor, request("POST", body=b"abc"))
        assert server.take().endswith(b"\r\n\r\nabc")
        server.send(OK)
        assert status_of(client.take()) == 200


class TestHoldResponse:
    def test_headers(self) -> None:
        holder = Holder("response headers")
        floor = floor_with(holder)
        client, server = begin(floor)
        server.send(response(body=b"body"))
        assert client.take() == b""
        holder.resume_response()
        assert client.take().endswith(b"\r\n\r\nbody")
        assert floor.idle()

    def test_held_response_stops_the_upstream(self) -> None:
        holder = Holder("response headers")
        floor = floor_with(holder)
        client, server = begin(floor)
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (8 << 20))
        sent = 0
        while server.transport.reading:
            server.send(bytes(128 * 1024))
            sent += 128 * 1024
            assert sent <= 2 << 20
        holder.resume_response()
        assert server.transport.reading
        assert len(client.take()) > sent

    def test_data(self) -> None:
        holder = Holder("response data")
        floor = floor_with(holder)
        client, server = begin(floor)
        server.send(response(body=b"body"))
        assert client.take().endswith(b"\r\n\r\n")
        holder.resume_response()
        assert client.take() == b"body"
        assert floor.idle()

    def test_local_reply_is_held_too(self) -> None:
        holder = Holder("response headers")
        floor = floor_with(holder, routes=[route_to("/", DirectResponseAction(200))])
        client = floor.connect()
        client.send(GET)
        assert client.take() == b""
        holder.resume_response()
        assert status_of(client.take()) == 200

    def test_filter_answers_in_place_of_the_response(self) -> None:
        class Judge(HttpFilter):
            def on_response_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
                if headers.status == 200:
                    stream.reply(502, b"not good", details="judged")
                return HOLD

        floor = floor_with(Judge())
        client, server = begin(floor)
        server.send(response(body=b"secret"))
        answer = client.take()
        assert status_of(answer) == 502
        assert b"secret" not in answer
        assert repr(floor.last) == "502 - judged"
        assert floor.idle()

    def test_reply_after_the_response_began_resets(self) -> None:
        class Late(HttpFilter):
            def on_response_data(self, stream: Stream, data: bytes, end: bool) -> bytes | Held:
                stream.reply(500, details="too_late")
                return HOLD

        floor = floor_with(Late())
        client, server = begin(floor)
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab")
        assert b"500" not in client.take()
        assert client.ended
        assert repr(floor.last) == "200 - too_late"


class Watcher(HttpFilter):
    """Holds the headers until it has seen the whole body; says in them how much it was, and passes `answer` on."""

    def __init__(self, answer: bytes = b"") -> None:
        self.answer = answer
        self.sizes = [0, 0]

    def on_request_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        return CONTINUE if end else HOLD_HEADERS

    def on_request_data(self, stream: Stream, data: bytes, end: bool) -> bytes | Held:
        self.sizes[0] += len(data)
        if not end:
            return HOLD
        assert stream.request_headers is not None
        stream.request_headers.set(b"x-size", b"%d" % self.sizes[0])
        return data

    def on_response_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        return CONTINUE if end else HOLD_HEADERS

    def on_response_data(self, stream: Stream, data: bytes, end: bool) -> bytes | Held:
        self.sizes[1] += len(data)
        if not end:
            return b""
        self._finish(stream)
        return self.answer

    def on_response_trailers(self, stream: Stream, trailers: Headers) -> Flow | bytes:
        self._finish(stream)
        return self.answer

    def _finish(self, stream: Stream) -> None:
        headers = stream.info.response_headers
        assert headers is not None
        headers.remove(b"content-length")
        headers.set(b"x-size", b"%d" % self.sizes[1])


class Ender(HttpFilter):
    """Ends a response with `answer` in place of its trailers."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def on_response_trailers(self, stream: Stream, trailers: Headers) -> Flow | bytes:
        return self.answer


TRAILERS = Http1Options(enable_trailers=True)
WITH_TRAILERS = [static_spec("web", http_options=UpstreamHttpOptions(enable_trailers=True))]
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class TestHoldHeaders:
    def test_request_is_sent_when_its_body_was_seen(self) -> None:
        notes: list[str] = []
        floor = floor_with(Watcher(), Tracer("after", notes))
        client = floor.connect()
        client.send(request("POST", "/", "content-length: 6") + b"one")
        assert (floor.asked(), notes) == (0, [])
        client.send(b"two")
        sent = floor.server().take()
        assert b"x-size: 6\r\n" in sent
        assert sent.endswith(b"onetwo")
        assert notes == ["after>head", "after>onetwo"]

    def test_response_is_sent_when_its_body_was_seen(self) -> None:
        notes: list[str] = []
        floor = floor_with(Tracer("after", notes), Watcher(b"whole"))
        client, server = begin(floor)
        server.send(CHUNKED + b"3\r\none\r\n")
        server.send(b"3\r\ntwo\r\n")
        assert (client.take(), notes[1:]) == (b"", [])
        server.send(b"0\r\n\r\n")
        answer = client.take()
        assert b"x-size: 6\r\n" in answer
        assert answer.endswith(b"\r\n5\r\nwhole\r\n0\r\n\r\n")
        assert notes[1:] == ["after<head", "after<whole", "after end"]
        assert floor.idle()

    def test_trailers_let_the_response_go(self) -> None:
        floor = floor_with(Watcher(b"whole"), http1=TRAILERS, clusters=WITH_TRAILERS)
        client, server = begin(floor)
        server.send(CHUNKED + b"3\r\none\r\n0\r\nx-t: 1\r\n\r\n")
        answer = client.take()
        assert b"x-size: 3\r\n" in answer
        assert answer.endswith(b"\r\n5\r\nwhole\r\n0\r\n\r\n")

    def test_local_reply_is_watched_too(self) -> None:
        floor = floor_with(
            Watcher(b"whole"), routes=[route_to("/", DirectResponseAction(404, DataSource(inline=b"no")))]
        )
        client = floor.connect()
        client.send(GET)
        answer = client.take()
        assert status_of(answer) == 404
        assert b"x-size: 2\r\n" in answer
        assert answer.endswith(b"\r\n5\r\nwhole\r\n0\r\n\r\n")

    def test_what_is_held_goes_when_the_filter_resumes_by_itself(self) -> None:
        class Late(Holder):
            def on_response_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
                self.stream = stream
                return HOLD_HEADERS

        late = Late("response data")
        floor = floor_with(late)
        client, server = begin(floor)
        server.send(response(body=b"body"))
        assert client.take() == b""
        assert b"".join(late.seen) == b"body"
        late.resume_response()
        assert client.take().endswith(b"\r\n\r\nbody")
        assert floor.idle()

    def test_client_that_leaves_meanwhile(self) -> None:
        floor = floor_with(Watcher())
        client, server = begin(floor)
        server.send(CHUNKED + b"3\r\none\r\n")
        client.lose()
        assert floor.last.flags == "DC"
        assert floor.idle()


class TestDataInPlaceOfTrailers:
    def answer(self, floor: HttpFloor) -> bytes:
        client, server = begin(floor)
        server.send(CHUNKED + b"3\r\none\r\n0\r\nx-t: 1\r\n\r\n")
        assert floor.idle()
        return client.take()

    def test_it_is_the_end_of_the_body(self) -> None:
        notes: list[str] = []
        filters = Tracer("after", notes), Ender(b"end"), Tracer("before", notes)
        floor = floor_with(*filters, http1=TRAILERS, clusters=WITH_TRAILERS)
        assert self.answer(floor).endswith(b"3\r\none\r\n3\r\nend\r\n0\r\n\r\n")
        assert notes[4:] == ["before<one", "after<one", "after<end", "before end", "after end"]
        assert floor.last.sent == 6

    def test_the_upstreams_trailers_are_still_known(self) -> None:
        floor = floor_with(Ender(b"end"), http1=TRAILERS, clusters=WITH_TRAILERS)
        self.answer(floor)
        trailers = floor.last.info.response_trailers
        assert trailers is not None
        assert trailers.get(b"x-t") == b"1"

    def test_nothing_in_their_place(self) -> None:
        floor = floor_with(Ender(b""), http1=TRAILERS, clusters=WITH_TRAILERS)
        assert self.answer(floor).endswith(b"3\r\none\r\n0\r\n\r\n")

    def test_behind_a_body_that_a_filter_holds(self) -> None:
        holder = Holder("response data")
        floor = floor_with(holder, Ender(b"end"), http1=TRAILERS, clusters=WITH_TRAILERS)
        client, server = begin(floor)
        server.send(CHUNKED + b"3\r\none\r\n0\r\nx-t: 1\r\n\r\n")
        assert not client.take().endswith(b"0\r\n\r\n")
        assert holder.seen == [b"one", b"end"]
        holder.resume_response()
        assert client.take().endswith(b"6\r\noneend\r\n0\r\n\r\n")
        assert floor.idle()


class TestLocalRepliesForGrpc:
    class Renamer(HttpFilter):
        """Changes what the request says it is."""

        def __init__(self, content_type: bytes) -> None:
            self.content_type = content_type

        def on_request_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
            headers.set(b"content-type", self.content_type)
            return CONTINUE

    def answer(self, sent: str, then: bytes) -> bytes:
        floor = floor_with(self.Renamer(then), routes=[])
        client = floor.connect()
        client.send(request("GET", "/", f"content-type: {sent}"))
        return client.take()

    def test_the_clients_word_counts_not_a_filters(self) -> None:
        answer = self.answer("application/grpc", b"text/plain")
        assert status_of(answer) == 200
        assert b"grpc-status: 12\r\n" in answer
        answer = self.answer("application/grpc-web", b"application/grpc")
        assert status_of(answer) == 404
        assert b"grpc-status" not in answer


class TestFailures:
    @pytest.mark.parametrize("phase", ["on_request_headers", "on_request_data"])
    def test_bug_in_the_request_path_costs_the_connection(self, phase: str) -> None:
        floor = floor_with(_broken(phase))
        client = floor.connect()
        client.send(request("POST", body=b"abc"))
        assert client.closed
        client.lose()
        assert floor.idle()
        assert floor.connect().closed is False

    def test_bug_in_the_response_path_costs_the_stream(self) -> None:
        floor = floor_with(_broken("on_response_headers", once=True))
        client, server = begin(floor)
        server.send(OK)
        assert status_of(client.take()) == 500
        assert repr(floor.last) == "500 - internal_error"
        assert floor.idle()

    def test_bug_after_the_response_began(self) -> None:
        floor = floor_with(_broken("on_response_data"))
        client, server = begin(floor)
        server.send(OK)
        assert client.ended
        assert floor.last.details == "internal_error"
        assert floor.idle()


def _broken(phase: str, once: bool = False) -> HttpFilter:
    calls = 0

    def method(self: HttpFilter, *arguments: object) -> Flow:
        nonlocal calls
        calls += 1
        if once and calls > 1:
            return CONTINUE
        raise ValueError("a bug")

    broken: type[HttpFilter] = type("Broken", (HttpFilter,), {phase: method})
    return broken()


class TestSpawn:
    def _run(self, work: Callable[[Stream], Any]) -> tuple[HttpFloor, Client, list[Stream]]:
        streams: list[Stream] = []

        class Waits(HttpFilter):
            def on_request_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
                streams.append(stream)
                stream.spawn(work(stream))
                return HOLD

        floor = floor_with(Waits())
        return floor, floor.connect(), streams

    def test_resumes(self) -> None:
        async def scenario() -> None:
            async def work(stream: Stream) -> None:
                await asyncio.sleep(0)
                stream.resume_request()

            floor, client, _ = self._run(work)
            client.send(GET)
            assert floor.asked() == 0
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            floor.server().send(OK)
            assert status_of(client.take()) == 200

        asyncio.run(scenario())

    def test_failure_is_a_500(self) -> None:
        async def scenario() -> None:
            async def work(stream: Stream) -> None:
                raise ValueError("a bug")

            floor, client, _ = self._run(work)
            client.send(GET)
            for _ in range(3):
                await asyncio.sleep(0)
            assert status_of(client.take()) == 500
            assert floor.last.details == "internal_error"
            assert floor.value("server.envoy_bug_failures") == 1

        asyncio.run(scenario())

    def test_cancelled_with_the_stream(self) -> None:
        async def scenario() -> None:
            outcome: list[str] = []

            async def work(stream: Stream) -> None:
                try:
                    await asyncio.sleep(100)
                except asyncio.CancelledError:
                    outcome.append("cancelled")
                    raise

            floor, client, streams = self._run(work)
            client.send(GET)
            await asyncio.sleep(0)
            client.lose()
            for _ in range(3):
                await asyncio.sleep(0)
            assert outcome == ["cancelled"]
            assert floor.idle()
            streams[0].spawn(work(streams[0]))
            assert len(asyncio.all_tasks()) == 1

        asyncio.run(scenario())


class TestFacts:
    def test_times_are_in_order(self) -> None:
        floor = floor_with()
        client = floor.connect()
        client.send(b"GET / HTTP/1.1\r\n")
        floor.advance(0.01)
        client.send(b"host: a\r\n\r\n")
        floor.advance(0.01)
        server = floor.server()
        floor.advance(0.01)
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
        floor.advance(0.01)
        server.send(b"ok")
        info = floor.last.info
        times = [
            info.start_ns,
            info.last_request_byte_ns,
            info.last_upstream_tx_byte_ns,
            info.first_upstream_rx_byte_ns,
            info.last_upstream_rx_byte_ns,
        ]
        assert times == sorted(times)
        assert len(set(times)) == len(times)
        assert info.first_response_byte_ns == info.first_upstream_rx_byte_ns
        assert info.end_ns == info.last_upstream_rx_byte_ns
        assert status_of(client.take()) == 200

    def test_route_and_cluster(self) -> None:
        floor = floor_with()
        _, server = begin(floor)
        server.send(OK)
        info = floor.last.info
        assert (info.cluster_name, info.virtual_host_name, info.protocol) == ("web", "all", "HTTP/1.1")
        assert info.upstream is not None
        assert str(info.upstream.host_address) == "10.0.0.1:80"
