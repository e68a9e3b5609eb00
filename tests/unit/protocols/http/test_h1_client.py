"""The client's role: one exchange at a time, and no byte that belongs to nobody."""

from __future__ import annotations

from types import ModuleType

import pytest

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http.codec import Codec, CodecSettings, HttpVersion, ResetReason
from protocols.http.headers import Headers
from tests.unit.protocols.http.recorder import CODECS, Recorder, closes, codec_name, idle

SETTINGS = CodecSettings()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(params=CODECS, ids=codec_name)
def module(request: pytest.FixtureRequest) -> ModuleType:
    found: ModuleType = request.param
    return found


@pytest.fixture
def sink() -> Recorder:
    return Recorder()


@pytest.fixture
def codec(module: ModuleType, sink: Recorder) -> Codec:
    made: Codec = module.client_codec(sink, SETTINGS)
    return made


def ask(
    codec: Codec, method: bytes = b"GET", fields: list[tuple[bytes, bytes]] | None = None, end: bool = True
) -> int:
    stream_id = codec.new_stream()
    codec.send_headers(stream_id, Headers.request(method, b"/p", b"a", fields or []), end)
    return stream_id


def kinds(sink: Recorder) -> list[tuple[object, ...]]:
    return [
        (e[0], e[2].status, e[3]) if e[0] == "headers" and isinstance(e[2], Headers) else e
        for e in sink.take()
    ]


def test_two_exchanges(codec: Codec, sink: Recorder) -> None:
    assert idle(codec)
    assert ask(codec) == 1
    assert codec.take_output() == b"GET /p HTTP/1.1\r\nhost: a\r\n\r\n"
    assert not idle(codec)
    codec.receive(OK[:-1])
    codec.receive(OK[-1:])
    assert kinds(sink) == [("headers", 200, False), ("data", 1, b"o", False), ("data", 1, b"k", True)]
    assert idle(codec)
    assert not closes(codec)
    assert ask(codec, b"POST", end=False) == 2
    codec.send_data(2, b"hello", True)
    assert codec.take_output() == (
        b"POST /p HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )


def test_one_exchange_at_a_time(codec: Codec) -> None:
    codec.new_stream()
    with pytest.raises(LocalProtocolError):
        codec.new_stream()
    codec.send_headers(1, Headers.request(b"GET", b"/", b"a"), True)
    with pytest.raises(LocalProtocolError):
        codec.new_stream()
    with pytest.raises(LocalProtocolError):
        codec.send_headers(1, Headers.request(b"GET", b"/", b"a"), True)


@pytest.mark.parametrize(
    ("method", "text", "body"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b""),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", b""),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\n\r\n", b"ok"),
    ],
)
def test_framing(codec: Codec, sink: Recorder, method: bytes, text: bytes, body: bytes) -> None:
    ask(codec, method)
    codec.receive(text)
    assert sink.body == body
    assert sink.events[-1][-1] is True
    assert idle(codec)
    assert not closes(codec)


def test_a_body_that_runs_to_the_close(codec: Codec, sink: Recorder) -> None:
    ask(codec)
    codec.receive(b"HTTP/1.1 200 OK\r\n\r\nhel")
    codec.receive(b"lo")
    codec.receive_eof()
    assert kinds(sink) == [
        ("headers", 200, False),
        ("data", 1, b"hel", False),
        ("data", 1, b"lo", False),
        ("data", 1, b"", True),
    ]
    assert closes(codec)


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_the_upstreams_wish_to_close(codec: Codec, text: bytes) -> None:
    ask(codec)
    codec.receive(text)
    assert closes(codec)
    with pytest.raises(LocalProtocolError):
        codec.new_stream()


def test_http_1_0_keep_alive(codec: Codec) -> None:
    ask(codec)
    codec.receive(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n")
    assert codec.version(1) is HttpVersion.HTTP10
    assert not closes(codec)


def test_shutdown(codec: Codec) -> None:
    ask(codec)
    codec.shutdown()
    assert not closes(codec)
    codec.receive(OK)
    assert closes(codec)


def test_interim_responses(codec: Codec, sink: Recorder) -> None:
    ask(codec)
    codec.receive(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)
    assert kinds(sink) == [
        ("headers", 100, False),
        ("headers", 103, False),
        ("headers", 200, False),
        ("data", 1, b"ok", True),
    ]


def test_an_answer_before_the_request_is_complete(codec: Codec) -> None:
    ask(codec, b"POST", end=False)
    codec.receive(OK)
    assert closes(codec)
    codec.send_data(1, b"x", True)
    assert not closes(codec)
    assert idle(codec)


# --- poisoning


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (b"GET", OK + b"HTTP/1.1 200 OK\r\nX-Poison: 1\r\n\r\n"),
        (b"GET", OK + b"\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        (b"GET", b"HTTP/1.1 304 N\r\nContent-Length: 5\r\n\r\nhello"),
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX"),
    ],
)
def test_surplus_bytes_end_the_connection(module: ModuleType, method: bytes, text: bytes) -> None:
    class Pool(Recorder):
        """Would use the connection again at once."""

        def _again(self, end: bool) -> None:
            if end:
                assert closes(client)
                with pytest.raises(LocalProtocolError):
                    client.new_stream()

        def on_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
            super().on_headers(stream_id, headers, end)
            self._again(end)

        def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
            super().on_data(stream_id, data, end)
            self._again(end)

    pool = Pool()
    client = module.client_codec(pool, SETTINGS)
    ask(client, method)
    with pytest.raises(RemoteProtocolError):
        client.receive(text)
    assert len(pool.headers) == 1
    assert pool.events[-1][-1] is True
    assert closes(client)


def test_unasked_bytes(module: ModuleType, sink: Recorder) -> None:
    codec = module.client_codec(sink, SETTINGS)
    with pytest.raises(RemoteProtocolError):
        codec.receive(OK)
    assert sink.events == []
    codec = module.client_codec(sink, SETTINGS)
    codec.new_stream()
    with pytest.raises(RemoteProtocolError):
        codec.receive(OK)  # before the request was sent
    assert sink.events == []
    codec.receive(OK)
    assert sink.events == []


def test_the_pool_may_use_the_connection_again_inside_the_callback(module: ModuleType) -> None:
    class Pool(Recorder):
        def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
            super().on_data(stream_id, data, end)
            if end and stream_id == 1:
                ask(client)

    pool = Pool()
    client = module.client_codec(pool, SETTINGS)
    ask(client)
    client.receive(OK)
    client.receive(OK)
    assert [event[1] for event in pool.events] == [1, 1, 2, 2]


# --- upgrades


def upgrade(codec: Codec) -> None:
    ask(codec, fields=[(b"connection", b"Upgrade"), (b"upgrade", b"websocket")], end=False)


def test_a_tunnel(codec: Codec, sink: Recorder) -> None:
    upgrade(codec)
    assert codec.take_output() == (
        b"GET /p HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
    )
    codec.receive(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw")
    assert kinds(sink) == [("headers", 101, False), ("data", 1, b"raw", False)]
    codec.send_data(1, b"up", False)
    assert codec.take_output() == b"up"
    codec.receive_eof()
    assert sink.take() == [("reset", 1, ResetReason.CONNECTION_TERMINATION)]


def test_an_upgrade_refused_by_the_upstream(codec: Codec, sink: Recorder) -> None:
    upgrade(codec)
    codec.receive(OK)
    assert kinds(sink) == [("headers", 200, False), ("data", 1, b"ok", True)]
    assert closes(codec)


def test_a_101_nobody_asked_for(codec: Codec, sink: Recorder) -> None:
    ask(codec)
    with pytest.raises(RemoteProtocolError):
        codec.receive(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw")
    assert sink.take() == []


def test_connect(codec: Codec, sink: Recorder) -> None:
    stream_id = codec.new_stream()
    codec.send_headers(stream_id, Headers.request(b"CONNECT", b"", b"b:80"), False)
    assert codec.take_output() == b"CONNECT b:80 HTTP/1.1\r\nhost: b:80\r\n\r\n"
    codec.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nraw")
    assert kinds(sink) == [("headers", 200, False), ("data", 1, b"raw", False)]
    codec.send_data(1, b"up", True)
    assert codec.take_output() == b"up"
    assert closes(codec)


# --- ends


def test_closed_before_any_byte_of_the_response(codec: Codec, sink: Recorder) -> None:
    ask(codec)
    codec.receive(b"HTTP/1.1 100 Continue\r\n\r\n")
    sink.take()
    codec.receive_eof()
    assert sink.take() == [("reset", 1, ResetReason.CONNECTION_TERMINATION)]
    assert closes(codec)


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\nConte",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
    ],
)
def test_a_truncated_response(codec: Codec, sink: Recorder, text: bytes) -> None:
    ask(codec)
    codec.receive(text)
    with pytest.raises(RemoteProtocolError):
        codec.receive_eof()
    assert closes(codec)
    assert not any(event[-1] is True for event in sink.events)


def test_closed_between_exchanges(codec: Codec, sink: Recorder) -> None:
    codec.receive_eof()
    assert closes(codec)
    assert sink.events == []


def test_reset(codec: Codec, sink: Recorder) -> None:
    ask(codec)
    codec.reset(1, ResetReason.LOCAL_RESET)
    assert closes(codec)
    codec.receive(OK)
    assert sink.events == []


def test_meter(codec: Codec) -> None:
    ask(codec)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    body = b"2\r\nok\r\n0\r\n\r\n"
    meter = codec.meter(1)
    codec.receive(interim + head + body)
    assert meter.header_received == len("Transfer-Encoding:chunked\r\n")
    assert meter.wire_received == len(interim + head + body)
    sent = codec.take_output()
    assert meter.wire_sent == len(sent)
    assert meter.header_sent == len(sent) - len(sent.split(b"\n")[0]) - 3
