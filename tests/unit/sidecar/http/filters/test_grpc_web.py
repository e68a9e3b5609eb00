"""gRPC-Web on one side, gRPC on the other. The bytes are those of Envoy 1.40 for the same messages, except where it is said."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from config.model.cluster import UpstreamHttpOptions
from config.model.core import DataSource
from config.model.grpc import GrpcWebSpec
from config.model.http import Http1Options, RouterSpec
from config.model.route import DirectResponseAction
from protocols.grpc.framing import frame
from tests.support.http_floor import Client, HttpFloor, Server, request, response, route, route_to
from tests.support.upstream import static_spec

BINARY = "content-type: application/grpc-web"
TEXT = "content-type: application/grpc-web-text"
WANTS_TEXT = "accept: application/grpc-web-text"
GRPC = "content-type: application/grpc"
BAD_TEXT = b"grpc-message: Bad gRPC-web request, invalid base64 data.\r\n"


def floor_of(*routes: object, **fields: Any) -> HttpFloor:
    return HttpFloor(
        routes or [route("/", "web")],  # type: ignore[arg-type]
        clusters=[static_spec("web", http_options=UpstreamHttpOptions(enable_trailers=True))],
        filters=[GrpcWebSpec(), RouterSpec()],
        http1=Http1Options(enable_trailers=True),
        **fields,
    )


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def chunked(*pieces: bytes, head: tuple[str, ...] = (GRPC,), status: int = 200, trailers: str = "") -> bytes:
    lines = [f"HTTP/1.1 {status} X", *head, "transfer-encoding: chunked"]
    return (
        "\r\n".join(lines).encode()
        + b"\r\n\r\n"
        + b"".join(map(chunk, pieces))
        + f"0\r\n{trailers}\r\n".encode()
    )


def parts(message: bytes) -> tuple[bytes, bytes]:
    """Head and body of a message; a chunked body is put together, and must be whole."""
    head, _, body = message.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head:
        whole = b""
        while True:
            size, _, body = body.partition(b"\r\n")
            if not int(size, 16):
                assert body == b"\r\n"
                return head + b"\r\n", whole
            whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return head + b"\r\n", body


def ask(floor: HttpFloor, *fields: str, body: bytes = frame(b"a")) -> tuple[Client, Server]:
    client = floor.connect()
    client.send(request("POST", "/pkg.Svc/Method", *fields, body=body))
    return client, floor.server()


def answer_to(answer: bytes, *fields: str) -> tuple[bytes, bytes]:
    """What the client gets when the server answers so."""
    floor = floor_of()
    client, server = ask(floor, *(fields or (BINARY,)))
    server.send(answer)
    assert floor.idle()
    return parts(client.take())


OK = chunked(frame(b"hello"), trailers="grpc-status: 0\r\ngrpc-message: fine\r\nx-t: 1\r\n")
OK_TRAILERS = b"\x80\x00\x00\x00\x29grpc-status:0\r\ngrpc-message:fine\r\nx-t:1\r\n"


class TestRequest:
    @pytest.mark.parametrize("suffix", ["", "+proto"])
    def test_binary(self, suffix: str) -> None:
        _, server = ask(floor_of(), BINARY + suffix, body=frame(b"abc"))
        head, body = parts(server.take())
        for line in (b"content-type: application/grpc", b"te: trailers", b"grpc-accept-encoding: identity"):
            assert b"\r\n" + line + b"\r\n" in head
        assert b"content-length" not in head
        assert body == frame(b"abc")

    @pytest.mark.parametrize("suffix", ["", "+proto"])
    def test_text(self, suffix: str) -> None:
        _, server = ask(floor_of(), TEXT + suffix, body=base64.b64encode(frame(b"abc")))
        head, body = parts(server.take())
        assert b"\r\ncontent-type: application/grpc\r\n" in head
        assert body == frame(b"abc")

    def test_encodings_of_the_client_stay(self) -> None:
        _, server = ask(floor_of(), BINARY, "grpc-accept-encoding: gzip")
        assert b"grpc-accept-encoding: gzip\r\n" in server.take()

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/grpc",
            "application/grpc-web+json",
            "application/grpc-web; charset=utf-8",
            "Application/grpc-web",
        ],
    )
    def test_what_is_not_grpc_web_stays_as_it_is(self, content_type: str) -> None:
        floor = floor_of()
        client, server = ask(floor, f"content-type: {content_type}")
        head, _ = parts(server.take())
        assert f"content-type: {content_type}\r\n".encode() in head
        assert b"content-length: 6\r\n" in head
        assert b"grpc-accept-encoding" not in head
        server.send(OK)
        assert client.take().endswith(b"0\r\ngrpc-status: 0\r\ngrpc-message: fine\r\nx-t: 1\r\n\r\n")

    def test_text_in_pieces(self) -> None:
        floor = floor_of()
        client = floor.connect()
        client.send(request("POST", "/a.B/C", TEXT, "transfer-encoding: chunked"))
        server = floor.server()
        for each in base64.b64encode(frame(b"abc")) + base64.b64encode(frame(b"")):
            client.send(chunk(bytes((each,))))
        client.send(b"0\r\n\r\n")
        assert parts(server.take())[1] == frame(b"abc") + frame(b"")

    def test_padded_segments_in_one_piece(self) -> None:
        """Envoy takes them only when each comes by itself, so it depends on the network."""
        text = base64.b64encode(frame(b"abc")) + base64.b64encode(frame(b""))
        _, server = ask(floor_of(), TEXT, body=text)
        assert parts(server.take())[1] == frame(b"abc") + frame(b"")

    @pytest.mark.parametrize(
        ("text", "details"),
        [
            (b"AA*A", "grpc_base_64_decode_failed"),
            (b"AA-_", "grpc_base_64_decode_failed"),
            (b"AB==", "grpc_base_64_decode_failed"),
            (b"AAAAA", "grpc_base_64_decode_failed_bad_size"),
        ],
    )
    @pytest.mark.parametrize("wants", ["", WANTS_TEXT])
    def test_bad_text(self, text: bytes, details: str, wants: str) -> None:
        floor = floor_of()
        client = floor.connect()
        client.send(request("POST", "/a.B/C", TEXT, *filter(None, [wants]), body=text))
        head, body = parts(client.take())
        assert head.startswith(b"HTTP/1.1 400 ")
        kind = b"-text+proto" if wants else b"+proto"
        assert b"content-type: application/grpc-web" + kind + b"\r\n" in head
        assert BAD_TEXT in head
        assert b"grpc-status: 13\r\n" in head
        assert b"content-length: 0\r\n" in head
        assert body == b""
        assert floor.last.details == details
        assert floor.idle()

    def test_bad_text_behind_good(self) -> None:
        floor = floor_of()
        client = floor.connect()
        client.send(request("POST", "/a.B/C", TEXT, "transfer-encoding: chunked") + chunk(b"AAAA"))
        server = floor.server()
        assert server.take().endswith(chunk(b"\x00\x00\x00"))
        client.send(chunk(b"****"))
        assert BAD_TEXT in client.take()
        assert server.closed

    def test_text_that_trailers_cut_off(self) -> None:
        floor = floor_of()
        client = floor.connect()
        client.send(request("POST", "/a.B/C", TEXT, "transfer-encoding: chunked"))
        floor.server()
        client.send(chunk(b"AAA") + b"0\r\nx-t: 1\r\n\r\n")
        assert BAD_TEXT in client.take()

    def test_no_text_at_all(self) -> None:
        floor = floor_of()
        client, server = ask(floor, TEXT, body=b"")
        server.send(OK)
        assert parts(client.take())[1] == frame(b"hello") + OK_TRAILERS


class TestResponse:
    def test_trailers_end_the_body(self) -> None:
        head, body = answer_to(OK)
        assert b"content-type: application/grpc-web+proto\r\n" in head
        assert body == frame(b"hello") + OK_TRAILERS

    @pytest.mark.parametrize("suffix", ["", "+proto"])
    def test_text_where_the_client_accepts_it(self, suffix: str) -> None:
        head, body = answer_to(OK, BINARY, WANTS_TEXT + suffix)
        assert b"content-type: application/grpc-web-text+proto\r\n" in head
        assert body == base64.b64encode(frame(b"hello")) + base64.b64encode(OK_TRAILERS)

    @pytest.mark.parametrize("accept", ["*/*", "application/grpc-web-text, */*", "application/grpc-web"])
    def test_binary_where_it_does_not(self, accept: str) -> None:
        assert answer_to(OK, BINARY, f"accept: {accept}")[1] == frame(b"hello") + OK_TRAILERS

    def test_text_is_binary_unless_asked_for(self) -> None:
        floor = floor_of()
        client, server = ask(floor, TEXT, body=base64.b64encode(frame(b"a")))
        server.send(OK)
        assert parts(client.take())[1] == frame(b"hello") + OK_TRAILERS

    def test_messages_are_given_when_they_are_whole(self) -> None:
        floor = floor_of()
        client, server = ask(floor, BINARY, WANTS_TEXT)
        begin, end = OK.split(chunk(frame(b"hello")))
        server.send(begin)
        client.take()
        server.send(chunk(frame(b"hello")[:7]))
        assert client.take() == chunk(base64.b64encode(frame(b"hello")[:6]))
        server.send(chunk(frame(b"hello")[7:]))
        assert client.take() == chunk(base64.b64encode(frame(b"hello")[6:]))
        server.send(end)
        assert client.take() == chunk(base64.b64encode(OK_TRAILERS)) + b"0\r\n\r\n"

    @pytest.mark.parametrize("wants", ["", WANTS_TEXT])
    def test_trailers_only(self, wants: str) -> None:
        answer = response(200, GRPC, "grpc-status: 5", "grpc-message: not%20found")
        head, body = answer_to(answer, BINARY, *filter(None, [wants]))
        assert b"grpc-status: 5\r\ngrpc-message: not%20found\r\n" in head
        assert b"content-type: application/grpc-web" in head
        assert b"content-length: 0\r\n" in head
        assert body == b""

    def test_body_without_trailers(self) -> None:
        answer = response(200, GRPC, body=frame(b"hello"))
        head, body = answer_to(answer)
        assert b"content-length" not in head
        assert body == frame(b"hello")

    def test_text_without_trailers(self) -> None:
        """Envoy never ends such a response."""
        answer = response(200, GRPC, body=frame(b"hello")[:7])
        assert answer_to(answer, BINARY, WANTS_TEXT)[1] == base64.b64encode(frame(b"hello")[:7])

    def test_text_of_what_is_no_message(self) -> None:
        """In Envoy the rest of such a body is lost."""
        strange = b"\x02\x00\x00\x00\x01x\x00\x00\x00\x00\x09cut"
        answer = chunked(strange, trailers="grpc-status: 0\r\n")
        body = answer_to(answer, BINARY, WANTS_TEXT)[1]
        trailers = b"\x80\x00\x00\x00\x0fgrpc-status:0\r\n"
        expected = [strange[:6], strange[6:], trailers]
        assert body == b"".join(map(base64.b64encode, expected))

    @pytest.mark.parametrize("kind", ["application/grpc-web", "application/grpc-web+proto"])
    def test_server_that_speaks_grpc_web_itself(self, kind: str) -> None:
        answer = response(200, f"content-type: {kind}", body=frame(b"hello") + OK_TRAILERS)
        assert answer_to(answer)[1] == frame(b"hello") + OK_TRAILERS
        text = answer_to(answer, BINARY, WANTS_TEXT)[1]
        assert text == base64.b64encode(frame(b"hello")) + base64.b64encode(OK_TRAILERS)

    def test_logs_and_metrics_know_the_trailers(self) -> None:
        """In Envoy they are gone, so that its logs say that every call ended with UNKNOWN."""
        floor = floor_of()
        _, server = ask(floor, BINARY)
        server.send(OK)
        trailers = floor.last.info.response_trailers
        assert trailers is not None
        assert trailers.get(b"grpc-status") == b"0"


class TestErrors:
    @pytest.mark.parametrize("wants", ["", WANTS_TEXT])
    @pytest.mark.parametrize(
        ("answer", "status", "message"),
        [
            (response(503, "content-type: text/plain", body=b"broken %\n"), b"14", b"broken %25%0A"),
            (response(200, "content-type: text/plain", body=b"hello"), b"2", b"hello"),
            (response(404, body=b"no"), b"12", b"no"),
            (response(503, GRPC, body=b"\x00~"), b"14", b"%00%7E"),
            (response(503, GRPC, "grpc-status: 8", "grpc-message: m", body=b"x"), b"14", b"x"),
            (response(200, "content-type: application/grpc-web-text", body=b"x"), b"2", b"x"),
            (chunked(b"one", b"two", head=(), status=503, trailers="x-t: 1\r\n"), b"14", b"onetwo"),
            (chunked(head=(), status=500), b"2", b""),
            (response(503, body=b"a" * 40_000), b"14", b"a" * 16_384),
        ],
    )
    def test_what_is_no_grpc(self, answer: bytes, status: bytes, message: bytes, wants: str) -> None:
        head, body = answer_to(answer, BINARY, *filter(None, [wants]))
        assert head[9:12] == answer[9:12]
        assert head.count(b"grpc-status: " + status + b"\r\n") == head.count(b"grpc-status") == 1
        assert head.count(b"grpc-message: " + message + b"\r\n") == head.count(b"grpc-message") == 1
        assert head.count(b"content-length: 0\r\n") == head.count(b"content-length") == 1
        assert b"content-type: application/grpc-web" in head
        assert body == b""

    @pytest.mark.parametrize("status", [200, 503])
    def test_head_alone_says_no_more_than_the_server_did(self, status: int) -> None:
        head, body = answer_to(response(status, "content-type: text/plain"))
        assert head[9:12] == b"%d" % status
        assert b"content-type: application/grpc-web+proto\r\n" in head
        assert b"grpc-status" not in head
        assert body == b""

    def test_error_that_comes_slowly(self) -> None:
        floor = floor_of()
        client, server = ask(floor, BINARY)
        server.send(b"HTTP/1.1 503 X\r\ncontent-length: 6\r\n\r\n")
        server.send(b"one")
        assert client.take() == b""
        server.send(b"two")
        assert b"grpc-message: onetwo\r\n" in client.take()

    def test_server_that_dies_within_its_error(self) -> None:
        floor = floor_of()
        client, server = ask(floor, BINARY)
        server.send(b"HTTP/1.1 503 X\r\ncontent-length: 6\r\n\r\none")
        server.end()
        assert client.ended
        assert floor.idle()

    def test_error_that_takes_too_long(self) -> None:
        """What is said in place of a response that the filter has seen is not for it to change (Envoy)."""
        floor = floor_of(stream_idle_timeout_s=1.0)
        client, server = ask(floor, BINARY)
        server.send(b"HTTP/1.1 503 X\r\ncontent-length: 6\r\n\r\none")
        floor.advance(1.5)
        head, body = parts(client.take())
        assert head.startswith(b"HTTP/1.1 504 ")
        assert b"content-type: text/plain\r\n" in head
        assert body == b"stream timeout"
        assert floor.idle()

    def test_local_reply(self) -> None:
        floor = floor_of(route_to("/", DirectResponseAction(418, DataSource(inline=b"50% ~ tea"))))
        client = floor.connect()
        client.send(request("POST", "/a.B/C", BINARY))
        head, body = parts(client.take())
        assert head.startswith(b"HTTP/1.1 418 ")
        assert b"grpc-message: 50%25 %7E tea\r\n" in head
        assert b"grpc-status: 2\r\n" in head
        assert body == b""

    def test_local_reply_without_a_body(self) -> None:
        floor = floor_of(route("/", "nope"))
        client = floor.connect()
        client.send(request("POST", "/a.B/C", BINARY))
        head, _ = parts(client.take())
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"content-type: application/grpc-web+proto\r\n" in head
        assert b"grpc-status" not in head

    def test_request_that_is_refused_before_it_reaches_the_filter(self) -> None:
        floor = floor_of()
        client = floor.connect()
        client.send(request("POST", "/a#b", BINARY))
        head, _ = parts(client.take())
        assert b"grpc-web" not in head


class TestStats:
    def test_calls_are_counted_by_method(self) -> None:
        floor = floor_of()
        for answer in (OK, response(200, GRPC, "grpc-status: 5"), response(503, body=b"no")):
            _, server = ask(floor, BINARY)
            server.send(answer)
            server.end()
        names = {"0": 1, "5": 1, "success": 1, "failure": 1, "total": 2}
        prefix = "cluster.web.grpc-web.pkg.Svc.Method."
        assert {name: floor.value(prefix + name) for name in names} == names
        assert not any(
            ".grpc-web." in name and not name.startswith(prefix) for name in floor.fakes["web"].store.counters
        )
