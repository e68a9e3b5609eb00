"""The HTTP/2 client and the scriptable HTTP/2 backend, against each other and without a proxy."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from tests.support.backends import Do, LoopThread
from tests.support.certificates import Mesh
from tests.support.h2_backend import (
    BodyEnd,
    Data,
    Echo,
    Gate,
    Goaway,
    H2Backend,
    H2Request,
    H2Script,
    Head,
    Pattern,
    Rst,
    Trailers,
    Wait,
    ok,
)
from tests.support.h2_client import H2Client
from tests.support.h2_common import FrameSieve
from tests.support.http2_frames import PREFACE, FrameType, build_frame, build_settings
from tests.support.pattern import piece

MIB = 1 << 20
WINDOW = 4
MAX_STREAMS = 3

MakeBackend = Callable[..., H2Backend]


@pytest.fixture
def make_backend() -> Iterator[MakeBackend]:
    loop = LoopThread()
    made = []

    def make(
        answer: Callable[[H2Request], H2Script] | None = None,
        settings: dict[int, int] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> H2Backend:
        backend = H2Backend(loop, settings=settings)
        if answer is not None:
            backend.answer = answer
        made.append(backend)
        return backend.start(context=context)

    yield make
    for backend in made:
        backend.stop()
        assert backend.violations == []
    loop.close()


def test_request_and_answer(make_backend: MakeBackend) -> None:
    backend = make_backend(lambda _: ok(b"body", [("x-one", "1"), ("x-one", "2")], [("x-end", "3")]))
    with H2Client(backend.address) as client:
        answer = client.request("POST", "/p", [("x-a", "1")], b"data", trailers=[("x-t", "2")])
    assert (answer.status, answer.body, answer.trailers) == (200, b"body", [("x-end", "3")])
    assert answer.values("x-one") == ["1", "2"] and answer.header("x-two") is None
    assert answer.ended and answer.reset is None
    (request,) = backend.requests
    assert (request.method, request.path, request.body) == ("POST", "/p", b"data")
    assert request.fields[:4] == [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a.example"),
        (":path", "/p"),
    ]
    assert request.complete and request.trailers == [("x-t", "2")] and request.value("x-a") == "1"


def test_many_streams_are_open_together(make_backend: MakeBackend) -> None:
    gate = Gate()
    backend = make_backend(lambda _: [Wait(gate), *ok()])
    with H2Client(backend.address) as client:
        streams = [client.begin("GET", f"/{number}", end=True) for number in range(50)]
        backend.wait_requests(50)
        gate.open()
        assert [client.wait(stream).status for stream in streams] == [200] * 50
    assert backend.connections[0].streams_at_once == 50


def test_large_bodies_pass_small_windows(make_backend: MakeBackend) -> None:
    backend = make_backend(settings={WINDOW: 20_000})
    with H2Client(backend.address) as client:
        stream = client.begin("POST", "/upload")
        assert sum(client.send(stream, piece(at, MIB)) for at in range(0, 4 * MIB, MIB)) == 4 * MIB
        client.end(stream)
        assert client.wait(stream).status == 200
        answer = client.request("GET", f"/bytes/{4 * MIB}", check=True)
    assert answer.check is not None and answer.check.is_exactly(4 * MIB)
    upload = backend.requests[0].check
    assert upload is not None and upload.is_exactly(4 * MIB)


def test_a_held_stream_stops_at_its_window_and_others_go_on(make_backend: MakeBackend) -> None:
    backend = make_backend()
    with H2Client(backend.address, connection_window=MIB) as client:
        held = client.begin("GET", "/bytes/300000", end=True)
        client.hold(held)
        client.wait_until(lambda: client.answers[held].body_length == 65535, "a full window")
        assert client.request("GET", "/bytes/300000").body_length == 300_000
        assert client.answers[held].body_length == 65535
        client.release(held)
        assert client.wait(held).body_length == 300_000


def test_a_backend_that_acknowledges_nothing(make_backend: MakeBackend) -> None:
    backend = make_backend()
    backend.acknowledge = False
    with H2Client(backend.address) as client:
        stream = client.begin("POST", "/")
        with pytest.raises(TimeoutError):
            client.timeout_s = 0.1
            client.send(stream, bytes(70_000))
        assert client.window(stream) == 0
    backend.wait(lambda: backend.requests[0].aborted, "the end of the connection")


@pytest.mark.parametrize("code", [ErrorCodes.REFUSED_STREAM, ErrorCodes.INTERNAL_ERROR, ErrorCodes.NO_ERROR])
def test_streams_reset_by_the_backend(make_backend: MakeBackend, code: int) -> None:
    backend = make_backend(lambda request: [Rst(code)] if request.path == "/" else [Head(), Rst(code)])
    with H2Client(backend.address) as client:
        before = client.request("GET", "/")
        assert (before.status, before.reset) == (None, code)
        behind = client.request("GET", "/head")
        assert (behind.status, behind.reset, behind.ended) == (200, code, False)


def test_streams_reset_by_the_client(make_backend: MakeBackend) -> None:
    backend = make_backend(lambda _: [Head(), Wait(Gate())])
    with H2Client(backend.address) as client:
        stream = client.begin("POST", "/")
        assert client.wait_head(stream).status == 200
        client.reset(stream, ErrorCodes.INTERNAL_ERROR)
        (request,) = backend.requests
        backend.wait(lambda: request.reset is not None, "a reset")
        assert request.reset == ErrorCodes.INTERNAL_ERROR
        client.ping()


def test_streams_go_on_behind_goaway(make_backend: MakeBackend) -> None:
    backend = make_backend(lambda _: [Head(), Goaway(code=0), Data(b"late", end=True)])
    with H2Client(backend.address) as client:
        answer = client.request("GET", "/")
        assert answer.body == b"late" and client.goaways == [(1, 0)]
        backend.connections[0].goaway(last=0, code=ErrorCodes.ENHANCE_YOUR_CALM)
        client.wait_until(lambda: len(client.goaways) == 2, "a GOAWAY")
        assert client.goaways[1] == (0, ErrorCodes.ENHANCE_YOUR_CALM)
        backend.connections[0].close()
        client.wait_closed()


@pytest.mark.parametrize("how", ["close", "rst"])
def test_connections_that_end_inside_an_answer(make_backend: MakeBackend, how: str) -> None:
    backend = make_backend(lambda _: [Head(), Data(b"part"), Do(how)])
    with H2Client(backend.address) as client:
        stream = client.begin("POST", "/")
        with pytest.raises(ConnectionError):
            client.wait(stream)
    backend.wait(lambda: backend.requests[0].aborted, "the end of the connection")
    assert backend.open_connections() == []


def test_streams_beyond_the_limit_are_refused(make_backend: MakeBackend) -> None:
    gate = Gate()
    backend = make_backend(lambda _: [Wait(gate), *ok()], settings={MAX_STREAMS: 2})
    with H2Client(backend.address) as client:
        streams = [client.begin("GET", "/", end=True) for _ in range(2)]
        client.wait_until(lambda: client.peer_settings.get(MAX_STREAMS) == 2, "the settings")
        backend.wait_requests(2)
        client.h2.remote_settings.max_concurrent_streams = 3
        client.h2.remote_settings.acknowledge()
        third = client.wait(client.begin("GET", "/", end=True))
        assert third.reset == ErrorCodes.REFUSED_STREAM and backend.refused == 1
        gate.open()
        assert [client.wait(stream).status for stream in streams] == [200, 200]
        assert client.request("GET", "/").status == 200


def test_an_early_answer_and_a_body_that_goes_on(make_backend: MakeBackend) -> None:
    backend = make_backend(lambda _: [Head(413, end=True)])
    with H2Client(backend.address) as client:
        stream = client.begin("POST", "/")
        assert client.wait(stream).status == 413
        client.send(stream, b"more", end=True)
        (request,) = backend.requests
        backend.wait(lambda: request.complete, "the end of the request")
        assert request.body == b"more"


def test_interim_heads_and_extended_connect(make_backend: MakeBackend) -> None:
    script = [Head(103, [("link", "</a>")]), Head(200), Echo()]
    backend = make_backend(lambda _: script, settings={8: 1})
    with H2Client(backend.address) as client:
        stream = client.open(
            [
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":authority", "a.example"),
                (":path", "/chat"),
            ]
        )
        assert client.wait_head(stream).interim == [[(":status", "103"), ("link", "</a>")]]
        assert client.peer_settings[8] == 1
        client.send(stream, b"one")
        client.wait_until(lambda: client.answers[stream].body == b"one", "the echo")
        client.send(stream, b" two", end=True)
        assert client.wait(stream).body == b"one two"
    assert backend.requests[0].value(":protocol") == "websocket"


def test_connect_has_no_path(make_backend: MakeBackend) -> None:
    backend = make_backend(lambda _: [Head(200), Echo()])
    with H2Client(backend.address) as client:
        stream = client.connect("b.example:80")
        client.send(stream, b"x", end=True)
        assert client.wait(stream).body == b"x"
    assert backend.requests[0].fields == [(":method", "CONNECT"), (":authority", "b.example:80")]


def test_pings_that_nobody_answers(make_backend: MakeBackend) -> None:
    backend = make_backend()
    with H2Client(backend.address) as client:
        client.ping()
        backend.answer_pings = False
        client.timeout_s = 0.1
        with pytest.raises(TimeoutError):
            client.ping()
    assert backend.connections[0].pings == 2


def test_over_tls_with_alpn(make_backend: MakeBackend, tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    backend = make_backend(context=mesh.server_context("server", alpn=["h2"]))
    context = mesh.client_context("client", alpn=["http/1.1", "h2"])
    with H2Client(backend.address, context=context) as client:
        assert client.alpn == "h2"
        assert client.request("GET", f"/bytes/{MIB}", check=True).body_length == MIB
    assert backend.connections[0].alpn == "h2"
    assert backend.requests[0].value(":scheme") == "https"


def test_what_the_library_forbids_is_recorded(make_backend: MakeBackend) -> None:
    backend = make_backend()
    with H2Client(backend.address, strict=False) as client:
        client.begin("GET", "/", [("connection", "close")], end=True)
        client.wait_closed()
    assert len(backend.violations) == 1
    backend.violations.clear()


def test_a_strict_client_sends_nothing_that_is_forbidden(make_backend: MakeBackend) -> None:
    backend = make_backend()
    with H2Client(backend.address) as client:
        client.ping()
        with pytest.raises(ProtocolError):
            client.begin("GET", "/", [("connection", "close")], end=True)


def test_trailers_and_pattern_steps(make_backend: MakeBackend) -> None:
    backend = make_backend(
        lambda _: [BodyEnd(), Head(), Pattern(MIB + 1, end=False), Trailers([("x-end", "1")])]
    )
    with H2Client(backend.address) as client:
        answer = client.request("GET", "/", check=True)
    assert answer.check is not None and answer.check.is_exactly(MIB + 1)
    assert answer.trailers == [("x-end", "1")]


def test_run_for_reads_meanwhile(make_backend: MakeBackend) -> None:
    backend = make_backend(lambda _: [Head(end=True)])
    with H2Client(backend.address) as client:
        stream = client.begin("GET", "/", end=True)
        started = time.monotonic()
        client.run_for(0.2)
        assert time.monotonic() - started >= 0.2
        assert client.answers[stream].ended


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_the_sieve_keeps_the_order(chunk: int) -> None:
    settings, data = build_settings((1, 2)), build_frame(FrameType.DATA, 0, 1, bytes(300))
    ping = build_frame(FrameType.PING, 0, 0, bytes(8))
    stream = PREFACE + settings + ping + data + ping + data
    sieve = FrameSieve({FrameType.PING}, preface=True)
    passed, taken = b"", 0
    for at in range(0, len(stream), chunk):
        clean, frames = sieve.feed(stream[at : at + chunk])
        passed += clean
        taken += len(frames)
    assert (passed, taken) == (PREFACE + settings + data + data, 2)
