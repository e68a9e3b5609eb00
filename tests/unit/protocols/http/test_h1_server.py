"""The server's role: exchanges in order, when the connection stays and when it goes."""

from __future__ import annotations

from types import ModuleType

import pytest

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http.codec import Codec, CodecSettings, HttpVersion, ResetReason
from protocols.http.headers import Headers
from tests.unit.protocols.http.recorder import CODECS, Recorder, closes, codec_name, idle

SETTINGS = CodecSettings(allowed_upgrades=frozenset((b"websocket",)))
GET = b"GET /p HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
UPGRADE = b"GET /p HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHING = Headers.response(101, [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")])
OK_EMPTY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
OK_CLOSE = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture(params=CODECS, ids=codec_name)
def module(request: pytest.FixtureRequest) -> ModuleType:
    found: ModuleType = request.param
    return found


@pytest.fixture
def sink() -> Recorder:
    return Recorder()


@pytest.fixture
def codec(module: ModuleType, sink: Recorder) -> Codec:
    made: Codec = module.server_codec(sink, SETTINGS)
    return made


def kinds(sink: Recorder) -> list[tuple[object, ...]]:
    """Events without the header maps."""
    return [(e[0], e[1], e[3]) if e[0] == "headers" else e for e in sink.take()]


def ok(codec: Codec, stream_id: int) -> bytes:
    codec.send_headers(stream_id, Headers.response(200), True)
    return codec.take_output()


def test_an_exchange(codec: Codec, sink: Recorder) -> None:
    assert idle(codec)
    codec.receive(GET)
    assert kinds(sink) == [("headers", 1, True)]
    assert not idle(codec)
    assert ok(codec, 1) == OK_EMPTY
    assert idle(codec)
    assert not closes(codec)
    codec.receive(POST + b"hel")
    codec.receive(b"lo")
    assert kinds(sink) == [("headers", 2, False), ("data", 2, b"hel", False), ("data", 2, b"lo", True)]
    assert ok(codec, 2) == OK_EMPTY


def test_chunked_response(codec: Codec) -> None:
    codec.receive(GET)
    codec.send_headers(1, Headers.response(200), False)
    codec.send_data(1, b"hello", False)
    codec.send_data(1, b"", False)
    codec.send_data(1, b"x" * 16, True)
    assert codec.take_output() == (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n10\r\n"
        + b"x" * 16
        + b"\r\n0\r\n\r\n"
    )
    assert codec.take_output() == b""


def test_trailers_are_written_when_enabled(module: ModuleType, sink: Recorder) -> None:
    for enabled, end in ((True, b"0\r\nx-t: 1\r\n\r\n"), (False, b"0\r\n\r\n")):
        codec = module.server_codec(sink, CodecSettings(enable_trailers=enabled))
        codec.receive(GET)
        codec.send_headers(1, Headers.response(200), False)
        codec.send_trailers(1, Headers([(b"x-t", b"1")]))
        assert codec.take_output() == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + end
        assert idle(codec)


def test_trailers_are_told_when_enabled(module: ModuleType) -> None:
    text = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-T: 1\r\n\r\n"
    sink = Recorder()
    module.server_codec(sink, CodecSettings(enable_trailers=True)).receive(text)
    assert [event[0] for event in sink.events] == ["headers", "data", "trailers"]
    assert sink.events[1] == ("data", 1, b"a", False)
    sink = Recorder()
    module.server_codec(sink, CodecSettings()).receive(text)
    assert kinds(sink) == [("headers", 1, False), ("data", 1, b"a", True)]


def test_pipelined_requests_wait_for_their_turn(codec: Codec, sink: Recorder) -> None:
    codec.receive(GET + POST + b"hello" + GET[:5])
    assert kinds(sink) == [("headers", 1, True)]
    assert not codec.wants_input
    codec.proceed()  # not answered yet
    assert kinds(sink) == []
    ok(codec, 1)
    assert kinds(sink) == []  # nothing is told inside of send_*
    codec.proceed()
    assert kinds(sink) == [("headers", 2, False), ("data", 2, b"hello", True)]
    codec.receive(GET[5:])
    ok(codec, 2)
    codec.proceed()
    assert kinds(sink) == [("headers", 3, True)]
    assert codec.wants_input


def test_hundreds_of_pipelined_requests_do_not_recurse(module: ModuleType) -> None:
    class Hall(Recorder):
        def on_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
            super().on_headers(stream_id, headers, end)
            server.send_headers(stream_id, Headers.response(200), True)
            server.proceed()

    hall = Hall()
    server = module.server_codec(hall, SETTINGS)
    server.receive(GET * 3000)
    assert len(hall.events) == 3000
    assert server.take_output() == OK_EMPTY * 3000


def test_an_answer_inside_the_callback_without_proceed_holds_the_rest(module: ModuleType) -> None:
    class Hall(Recorder):
        def on_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
            super().on_headers(stream_id, headers, end)
            server.send_headers(stream_id, Headers.response(200), True)

    hall = Hall()
    server = module.server_codec(hall, SETTINGS)
    server.receive(GET + GET)
    assert len(hall.events) == 1
    assert not server.wants_input
    server.proceed()
    assert len(hall.events) == 2


@pytest.mark.parametrize(
    "line", [b"Connection: close", b"Proxy-Connection: close", b"Connection: keep-alive, close"]
)
def test_the_clients_wish_to_close(codec: Codec, sink: Recorder, line: bytes) -> None:
    codec.receive(b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n" + GET)
    assert ok(codec, 1) == OK_CLOSE
    assert closes(codec)
    codec.proceed()
    codec.receive(GET)
    assert kinds(sink) == [("headers", 1, True)]


def test_the_halls_wish_to_close(codec: Codec) -> None:
    codec.receive(GET)
    codec.send_headers(1, Headers.response(200, [(b"connection", b"close")]), True)
    assert codec.take_output() == OK_CLOSE
    assert closes(codec)


def test_shutdown(module: ModuleType, sink: Recorder) -> None:
    codec = module.server_codec(sink, SETTINGS)
    codec.receive(GET)
    codec.shutdown()
    assert not closes(codec)
    assert ok(codec, 1) == OK_CLOSE
    assert closes(codec)
    codec = module.server_codec(sink, SETTINGS)
    codec.shutdown()
    assert closes(codec)


def test_interim_responses(codec: Codec) -> None:
    codec.receive(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    codec.send_headers(1, Headers.response(100), False)
    codec.send_headers(1, Headers.response(103, [(b"link", b"x")]), False)
    assert codec.take_output() == b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Unknown\r\nlink: x\r\n\r\n"
    codec.receive(b"a")
    assert ok(codec, 1) == OK_EMPTY


def test_an_answer_before_the_request_is_complete(codec: Codec, sink: Recorder) -> None:
    codec.receive(POST + b"he")
    sink.take()
    codec.send_headers(1, Headers.response(403), True)
    assert codec.take_output() == b"HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    assert closes(codec)
    codec.receive(b"llo" + GET)
    assert sink.take() == []


def test_a_body_that_goes_on_after_the_answer_began(codec: Codec, sink: Recorder) -> None:
    codec.receive(POST)
    codec.send_headers(1, Headers.response(200), False)
    codec.send_data(1, b"a", False)
    assert not closes(codec)
    codec.receive(b"hello")
    assert sink.events[-1] == ("data", 1, b"hello", True)
    codec.send_data(1, b"b", True)
    assert closes(codec)


def test_head_requests_get_no_body(codec: Codec) -> None:
    codec.receive(GET.replace(b"GET", b"HEAD"))
    codec.send_headers(1, Headers.response(200, [(b"content-length", b"5")]), False)
    codec.send_data(1, b"hello", True)
    assert codec.take_output() == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    assert idle(codec)


@pytest.mark.parametrize("sent", [b"hell", b"hello!"])
def test_a_body_must_match_its_length(codec: Codec, sent: bytes) -> None:
    codec.receive(GET)
    codec.send_headers(1, Headers.response(200, [(b"content-length", b"5")]), False)
    with pytest.raises(LocalProtocolError):
        codec.send_data(1, sent, True)
    assert closes(codec)


def test_http_1_0(module: ModuleType, sink: Recorder) -> None:
    settings = CodecSettings(accept_http_10=True)
    codec = module.server_codec(sink, settings)
    codec.receive(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    assert codec.version(1) is HttpVersion.HTTP10
    codec.send_headers(1, Headers.response(100), False)
    codec.send_headers(1, Headers.response(200), False)
    codec.send_data(1, b"abc", True)
    assert codec.take_output() == b"HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nabc"
    assert closes(codec)

    codec = module.server_codec(sink, settings)
    codec.receive(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
    assert ok(codec, 1) == b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n"
    assert idle(codec)


# --- upgrades


@pytest.mark.parametrize("together", [True, False])
def test_a_tunnel_opens_with_the_answer(codec: Codec, sink: Recorder, together: bool) -> None:
    if together:
        codec.receive(UPGRADE + b"early")
    else:
        codec.receive(UPGRADE)
        codec.receive(b"early")
    assert kinds(sink) == [("headers", 1, False)]
    assert not codec.wants_input
    codec.send_headers(1, SWITCHING, False)
    assert codec.take_output() == (
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
    )
    assert sink.take() == []
    codec.proceed()
    assert sink.take() == [("data", 1, b"early", False)]
    codec.receive(b"more")
    assert sink.take() == [("data", 1, b"more", False)]
    codec.send_data(1, b"raw", False)
    assert codec.take_output() == b"raw"
    assert not closes(codec)
    codec.receive_eof()
    assert sink.take() == [("data", 1, b"", True)]
    codec.send_data(1, b"last", True)
    assert codec.take_output() == b"last"
    assert closes(codec)


def test_an_upgrade_that_is_refused(codec: Codec, sink: Recorder) -> None:
    codec.receive(UPGRADE + GET)
    codec.send_headers(1, Headers.response(403), True)
    assert codec.take_output() == b"HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    assert closes(codec)
    codec.proceed()
    assert len(sink.events) == 1


def test_only_allowed_protocols_are_switched_to(codec: Codec) -> None:
    codec.receive(UPGRADE.replace(b"websocket", b"other"))
    with pytest.raises(LocalProtocolError):
        codec.send_headers(1, SWITCHING, False)
    codec.send_headers(1, Headers.response(403), True)
    assert closes(codec)


def test_no_switch_without_a_request_for_it(codec: Codec) -> None:
    codec.receive(GET)
    with pytest.raises(LocalProtocolError):
        codec.send_headers(1, SWITCHING, False)


def test_connect(codec: Codec, sink: Recorder) -> None:
    codec.receive(b"CONNECT b:80 HTTP/1.1\r\nHost: b\r\n\r\nraw")
    assert kinds(sink) == [("headers", 1, False)]
    codec.send_headers(1, Headers.response(200, [(b"content-length", b"3")]), False)
    codec.proceed()
    assert codec.take_output() == b"HTTP/1.1 200 OK\r\n\r\n"
    assert sink.take() == [("data", 1, b"raw", False)]


# --- errors and ends


def test_a_bad_head_is_answered_under_a_new_id(codec: Codec, sink: Recorder) -> None:
    with pytest.raises(RemoteProtocolError):
        codec.receive(b"GET p HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
    assert not closes(codec)
    codec.receive(GET)
    assert sink.take() == []
    stream_id = codec.new_stream()
    codec.send_headers(stream_id, Headers.response(400), True)
    assert (
        codec.take_output() == b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    )
    assert closes(codec)
    with pytest.raises(LocalProtocolError):
        codec.new_stream()


def test_a_head_that_never_comes_whole_can_be_answered(codec: Codec, sink: Recorder) -> None:
    codec.receive(GET[:10])
    assert not idle(codec)
    codec.send_headers(codec.new_stream(), Headers.response(408), True)
    assert closes(codec)
    codec.receive(GET[10:])
    assert sink.take() == []


def test_a_bad_body_is_answered_in_its_stream(codec: Codec, sink: Recorder) -> None:
    text = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with pytest.raises(RemoteProtocolError):
        codec.receive(text + b"5\r\nhelloXY")
    codec.send_headers(1, Headers.response(400), True)
    assert closes(codec)


def test_a_server_begins_nothing(codec: Codec) -> None:
    codec.receive(GET)
    with pytest.raises(LocalProtocolError):
        codec.new_stream()
    with pytest.raises(LocalProtocolError):
        codec.send_headers(2, Headers.response(200), True)
    with pytest.raises(LocalProtocolError):
        codec.send_data(1, b"", True)
    ok(codec, 1)
    with pytest.raises(LocalProtocolError):
        codec.send_headers(1, Headers.response(200), True)


def test_the_client_goes_away(module: ModuleType) -> None:
    def after(text: bytes) -> tuple[Codec, Recorder]:
        sink = Recorder()
        codec: Codec = module.server_codec(sink, SETTINGS)
        codec.receive(text)
        sink.take()
        codec.receive_eof()
        return codec, sink

    for text in (POST + b"he", UPGRADE):
        codec, sink = after(text)
        assert sink.take() == [("reset", 1, ResetReason.CONNECTION_TERMINATION)]
        assert closes(codec)
    codec, sink = after(GET)  # half-closed: the answer may still be wanted
    assert sink.take() == []
    assert ok(codec, 1) == OK_CLOSE
    assert closes(codec)
    codec, sink = after(GET[:7])
    assert sink.take() == []
    assert closes(codec)


def test_reset(codec: Codec, sink: Recorder) -> None:
    codec.receive(POST)
    sink.take()
    codec.reset(1, ResetReason.LOCAL_RESET)
    assert closes(codec)
    codec.receive(b"hello")
    assert sink.take() == []


def test_meter(codec: Codec) -> None:
    text = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"5;x\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
    codec.receive(text + body[:7])
    codec.receive(body[7:] + GET)
    meter = codec.meter(1)
    assert meter.header_received == len("Host:a\r\nTransfer-Encoding:chunked\r\n")
    assert meter.wire_received == len(text) + len(body)
    codec.send_headers(1, Headers.response(200), False)
    codec.send_data(1, b"hello", True)
    output = codec.take_output()
    assert meter.wire_sent == len(output)
    assert meter.header_sent == output.index(b"5\r\n") - len("HTTP/1.1 200 OK\r\n\r\n")
    codec.proceed()
    assert codec.meter(2) is not meter
    assert codec.meter(2).wire_received == len(GET)


def test_chunked_bodies_one_after_the_other(codec: Codec, sink: Recorder) -> None:
    text = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    for number in range(1, 4):
        codec.receive(text + b"%x\r\n" % number)
        codec.receive(b"x" * number + b"\r\n0\r\n\r\n")
        assert sink.body == b"x" * number
        assert sink.take()[-1][-1] is True
        assert ok(codec, number) == OK_EMPTY
