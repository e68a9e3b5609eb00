"""Counting of gRPC calls and messages. Names and numbers are what Envoy 1.40 showed for the same traffic."""

from __future__ import annotations

import pytest

from config.model.cluster import UpstreamHttpOptions
from config.model.grpc import GrpcStatsSpec, GrpcWebSpec
from config.model.http import Http1Options, HttpFilterSpec, RouterSpec
from config.model.route import DirectResponseAction
from protocols.grpc.framing import frame
from protocols.http.headers import Headers
from sidecar.http.api import Stream
from tests.support.http_floor import Client, HttpFloor, Server, request, response, route, route_to, stream_of
from tests.support.upstream import static_spec

GRPC = "content-type: application/grpc"
ALL_METHODS = GrpcStatsSpec(stats_for_all_methods=True)


def floor_of(*filters: HttpFilterSpec, routes: object = None) -> HttpFloor:
    return HttpFloor(
        routes or [route("/", "web")],  # type: ignore[arg-type]
        clusters=[static_spec("web", http_options=UpstreamHttpOptions(enable_trailers=True))],
        filters=[*filters, RouterSpec()],
        http1=Http1Options(enable_trailers=True),
    )


def chunked(*pieces: bytes, head: tuple[str, ...] = (GRPC,), status: int = 200, trailers: str = "") -> bytes:
    lines = [f"HTTP/1.1 {status} X", *head, "transfer-encoding: chunked"]
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body + f"0\r\n{trailers}\r\n".encode()


def call(
    floor: HttpFloor,
    answer: bytes,
    *,
    path: str = "/pkg.Svc/Method",
    body: bytes = frame(b"a"),
    fields: tuple[str, ...] = (GRPC,),
) -> tuple[Client, Server]:
    """One call on connections of its own."""
    client = floor.connect()
    client.send(request("POST", path, *fields, body=body))
    server = floor.server()
    server.send(answer)
    server.end()
    return client, server


def counts(floor: HttpFloor, of: str = "cluster.web.grpc") -> dict[str, int]:
    return {
        name.removeprefix(f"{of}."): counter.value
        for name, counter in floor.fakes["web"].store.counters.items()
        if name.startswith(f"{of}.")
    }


OK_CALL = chunked(frame(b"hello"), frame(b"2"), trailers="grpc-status: 0\r\n")


class TestNames:
    def test_all_calls_of_a_cluster_together(self) -> None:
        floor = floor_of(GrpcStatsSpec())
        assert counts(floor) == {}
        call(floor, OK_CALL, body=frame(b"a") + frame(b"b") + frame(b"c"))
        call(floor, chunked(trailers="grpc-status: 5\r\n"), path="/other/M")
        assert counts(floor) == {
            "0": 1,
            "5": 1,
            "success": 1,
            "failure": 1,
            "total": 2,
            "request_message_count": 4,
            "response_message_count": 2,
        }

    def test_all_methods(self) -> None:
        floor = floor_of(ALL_METHODS)
        call(floor, OK_CALL)
        call(floor, OK_CALL, path="/Other/M?q=1")
        assert counts(floor, "cluster.web.grpc.pkg.Svc.Method") == {
            "0": 1,
            "success": 1,
            "total": 1,
            "request_message_count": 1,
            "response_message_count": 2,
        }
        assert floor.value("cluster.web.grpc.Other.M.total") == 1
        assert floor.value("cluster.web.grpc.total") == 0

    def test_dots_of_a_service(self) -> None:
        spec = GrpcStatsSpec(stats_for_all_methods=True, replace_dots_in_grpc_service_name=True)
        floor = floor_of(spec)
        call(floor, OK_CALL)
        assert floor.value("cluster.web.grpc.pkg_Svc.Method.total") == 1

    def test_allowlist_keeps_its_dots(self) -> None:
        allowed = frozenset({("pkg.Svc", "Method")})
        floor = floor_of(GrpcStatsSpec(allowlist=allowed, replace_dots_in_grpc_service_name=True))
        call(floor, OK_CALL)
        call(floor, OK_CALL, path="/pkg.Svc/Other")
        assert floor.value("cluster.web.grpc.pkg.Svc.Method.total") == 1
        assert floor.value("cluster.web.grpc.total") == 1

    @pytest.mark.parametrize("path", ["/one", "/a/b/c", "/"])
    def test_path_that_names_no_method(self, path: str) -> None:
        floor = floor_of(GrpcStatsSpec(emit_filter_state=True))
        call(floor, OK_CALL, path=path)
        assert counts(floor) == {}
        assert floor.last.info.grpc_messages is not None

    def test_upstream_time(self) -> None:
        floor = floor_of(GrpcStatsSpec(stats_for_all_methods=True, enable_upstream_stats=True))
        client = floor.connect()
        client.send(request("POST", "/pkg.Svc/Method", GRPC, body=frame(b"a")))
        server = floor.server()
        floor.advance(0.25)
        server.send(chunked(frame(b"x"), trailers="grpc-status: 0\r\n"))
        histogram = floor.fakes["web"].store.histograms["cluster.web.grpc.pkg.Svc.Method.upstream_rq_time"]
        assert (histogram.count, histogram.sum) == (1, 250)

    def test_no_upstream_time_unless_asked(self) -> None:
        floor = floor_of(ALL_METHODS)
        call(floor, OK_CALL)
        assert not any(".grpc." in name for name in floor.fakes["web"].store.histograms)


class TestOutcome:
    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (response(200, GRPC, "grpc-status: 7"), {"7": 1, "failure": 1, "total": 1}),
            (response(200, "grpc-status: 7"), {"7": 1, "failure": 1, "total": 1}),
            (response(503, body=b"no"), {}),
            (chunked(frame(b"")), {"response_message_count": 1}),
            (
                chunked(head=(GRPC, "grpc-status: 3"), trailers="grpc-status: 0\r\n"),
                {"0": 1, "3": 1, "success": 1, "failure": 1, "total": 2},
            ),
            (
                chunked(frame(b"x"), status=503, trailers="grpc-status: 0\r\n"),
                {"0": 1, "success": 1, "total": 1},
            ),
            (
                chunked(frame(b"x"), head=(), trailers="grpc-status: 0\r\n"),
                {"0": 1, "success": 1, "total": 1},
            ),
        ],
    )
    def test_status_is_counted_where_it_goes_by(self, answer: bytes, expected: dict[str, int]) -> None:
        floor = floor_of(GrpcStatsSpec())
        call(floor, answer)
        assert counts(floor) == {**expected, "request_message_count": 1}

    def test_upstream_that_dies(self) -> None:
        floor = floor_of(GrpcStatsSpec())
        client = floor.connect()
        client.send(request("POST", "/pkg.Svc/Method", GRPC, body=frame(b"a")))
        floor.server().reset()
        assert counts(floor) == {"14": 1, "failure": 1, "total": 1, "request_message_count": 1}

    def test_local_replies_without_a_cluster_are_not_counted(self) -> None:
        floor = floor_of(GrpcStatsSpec(), routes=[route_to("/", DirectResponseAction(503))])
        client = floor.connect()
        client.send(request("POST", "/pkg.Svc/Method", GRPC))
        assert b"grpc-status: 14" in client.take()
        assert counts(floor) == {}


class TestMessages:
    def test_a_message_counts_from_its_first_byte_on(self) -> None:
        floor = floor_of(GrpcStatsSpec())
        call(floor, chunked(b"\x00", trailers="grpc-status: 0\r\n"), body=frame(b"a") + frame(b"b")[:3])
        assert floor.value("cluster.web.grpc.request_message_count") == 2
        assert floor.value("cluster.web.grpc.response_message_count") == 1

    def test_counted_as_they_come(self) -> None:
        floor = floor_of(GrpcStatsSpec(emit_filter_state=True))
        client = floor.connect()
        client.send(request("POST", "/pkg.Svc/Method", GRPC, "transfer-encoding: chunked"))
        server = floor.server()
        for number in range(1, 4):
            client.send(b"6\r\n" + frame(b"a") + b"\r\n")
            assert floor.value("cluster.web.grpc.request_message_count") == number
        server.send(chunked(frame(b"b"))[: -len(b"0\r\n\r\n")])
        assert floor.value("cluster.web.grpc.response_message_count") == 1

    @pytest.mark.parametrize("content_type", ["text/plain", "application/grpc-web", "application/grpc;x=1"])
    def test_what_is_not_grpc(self, content_type: str) -> None:
        floor = floor_of(GrpcStatsSpec(emit_filter_state=True))
        call(floor, OK_CALL, fields=(f"content-type: {content_type}",))
        assert counts(floor) == {}
        assert floor.last.info.grpc_messages is None

    def test_translated_grpc_web_is_grpc(self) -> None:
        floor = floor_of(GrpcWebSpec(), GrpcStatsSpec())
        call(floor, OK_CALL, fields=("content-type: application/grpc-web",))
        assert floor.value("cluster.web.grpc.total") == 1
        assert floor.value("cluster.web.grpc.response_message_count") == 2
        assert floor.value("cluster.web.grpc-web.pkg.Svc.Method.total") == 1


class TestFilterState:
    def test_counts_for_others(self) -> None:
        floor = floor_of(GrpcStatsSpec(emit_filter_state=True))
        call(floor, OK_CALL)
        messages = floor.last.info.grpc_messages
        assert messages is not None
        assert (messages.requests.count, messages.responses.count) == (1, 2)

    def test_none_unless_asked(self) -> None:
        floor = floor_of(GrpcStatsSpec())
        call(floor, OK_CALL)
        assert floor.last.info.grpc_messages is None

    def test_none_without_a_message(self) -> None:
        floor = floor_of(GrpcStatsSpec(emit_filter_state=True))
        call(floor, chunked(trailers="grpc-status: 0\r\n"), body=b"")
        assert floor.last.info.grpc_messages is None


def test_streams_that_are_no_grpc_share_one_filter() -> None:
    factory = floor_of(GrpcStatsSpec()).config.chain.factories[0]
    shared = factory.for_stream(stream_with("text/plain"))
    assert factory.for_stream(stream_with("application/json")) is shared
    assert factory.for_stream(stream_with("application/grpc")) is not shared


def stream_with(content_type: str) -> Stream:
    return stream_of(Headers([(b"content-type", content_type.encode())]))
