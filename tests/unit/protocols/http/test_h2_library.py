"""The codec and the `h2` library at the two ends of a wire: whole exchanges, and what only a peer with a mind can judge."""

from __future__ import annotations

import pytest
from h2 import events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError as LibraryError
from h2.settings import SettingCodes

from protocols.http.codec import ResetReason
from protocols.http.h2_server import server_codec
from protocols.http.headers import Headers
from tests.unit.protocols.http.h2_wire import (
    GET,
    OK,
    POST,
    Field,
    Http2Recorder,
    Joined,
    h2_peer,
    joined_client,
    joined_server,
    with_http2,
)
from tests.unit.protocols.http.recorder import closes, idle

BODY = bytes(number % 251 for number in range(200_000))
SMALL_WINDOWS = with_http2(initial_stream_window_size=1000, initial_connection_window_size=65_535)
TRAILERS: list[Field] = [(b"grpc-status", b"0"), (b"grpc-message", b"done")]


class Messages:
    """What the library was told, message by message; it gives its windows back at once."""

    def __init__(self, pair: Joined) -> None:
        self.heads: dict[int, list[list[Field]]] = {}
        self.bodies: dict[int, bytes] = {}
        self.trailers: dict[int, list[Field]] = {}
        self.ended: set[int] = set()
        self.others: list[events.Event] = []
        self._pair = pair

    def run(self) -> None:
        while told := self._pair.run():
            for event in told:
                self._note(event)

    def _note(self, event: events.Event) -> None:
        if isinstance(
            event, events.RequestReceived | events.ResponseReceived | events.InformationalResponseReceived
        ):
            self.heads.setdefault(event.stream_id, []).append(plain(event.headers))
        elif isinstance(event, events.DataReceived):
            self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + event.data
            if event.flow_controlled_length:
                self._pair.peer.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.TrailersReceived):
            self.trailers[event.stream_id] = plain(event.headers)
        elif isinstance(event, events.StreamEnded):
            self.ended.add(event.stream_id)
        else:
            self.others.append(event)

    def kinds(self) -> set[type[events.Event]]:
        return {type(event) for event in self.others}


def plain(fields: object) -> list[Field]:
    return [(bytes(name), bytes(value)) for name, value in fields]  # type: ignore[attr-defined]


def send_all(pair: Joined, stream_id: int, body: bytes) -> bytes:
    """The library sends as much as it may, our side takes it, and so on, to the end. Returns what our side took."""
    taken = b""
    while body:
        pair.run()
        room = min(pair.peer.local_flow_control_window(stream_id), pair.peer.max_outbound_frame_size)
        assert room > 0, "the window is opened again in time"
        pair.peer.send_data(stream_id, body[:room])
        body = body[room:]
        pair.run()
        for event in pair.sink.events[:]:
            if event[0] == "data" and isinstance(event[2], bytes):
                pair.codec.credit(stream_id, len(event[2]))
        taken += pair.sink.body
        pair.sink.events = [event for event in pair.sink.events if event[0] != "data"]
    pair.peer.end_stream(stream_id)
    pair.run()
    return taken


# --- our server


@pytest.mark.parametrize("piece", [0, 1, 7])
def test_a_request_and_its_response(piece: int) -> None:
    pair = joined_server(piece=piece)
    got = Messages(pair)
    pair.peer.send_headers(1, [*POST, (b"x-a", b"b"), (b"cookie", b"a=1"), (b"cookie", b"b=2")])
    pair.peer.send_data(1, b"hello", pad_length=20)
    pair.peer.send_headers(1, TRAILERS, end_stream=True)
    got.run()
    (head, body, trailers) = pair.sink.events
    assert (head[0], repr(head[2])) == (
        "headers",
        "Headers(:method=b'POST', :scheme=b'http', :authority=b'a', :path=b'/p', b'x-a': b'b', b'cookie': b'a=1; b=2')",
    )
    assert body == ("data", 1, b"hello", False)
    assert trailers[0] == "trailers" and isinstance(trailers[2], Headers)
    assert list(trailers[2].items()) == TRAILERS
    pair.codec.send_headers(1, Headers.response(103, [(b"link", b"</a>")]), False)
    pair.codec.send_headers(1, Headers.response(200, [(b"x-a", b"b"), (b"set-cookie", b"s")]), False)
    pair.codec.send_data(1, b"world", False)
    pair.codec.send_trailers(1, Headers(TRAILERS))
    got.run()
    assert got.heads[1] == [
        [(b":status", b"103"), (b"link", b"</a>")],
        [(b":status", b"200"), (b"x-a", b"b"), (b"set-cookie", b"s")],
    ]
    assert (got.bodies, got.trailers, got.ended) == ({1: b"world"}, {1: TRAILERS}, {1})
    assert idle(pair.codec)


def test_bodies_larger_than_the_windows_to_our_server() -> None:
    pair = joined_server(SMALL_WINDOWS)
    pair.peer.send_headers(1, [*POST, (b"content-length", b"%d" % len(BODY))])
    assert send_all(pair, 1, BODY) == BODY
    assert pair.sink.kinds() == [("headers", 1, b"POST", False), ("data", 1, b"", True)]


def test_bodies_larger_than_the_windows_from_our_server() -> None:
    pair = joined_server()
    got = Messages(pair)
    for stream_id in (1, 3, 5):
        pair.peer.send_headers(stream_id, GET, end_stream=True)
    got.run()
    for stream_id in (1, 3, 5):
        pair.codec.send_headers(stream_id, Headers.response(200), False)
        pair.codec.send_data(stream_id, BODY, False)
        pair.codec.send_data(stream_id, b"%d" % stream_id, stream_id != 5)
    pair.codec.send_trailers(5, Headers(TRAILERS))
    got.run()
    assert got.bodies == {stream_id: BODY + b"%d" % stream_id for stream_id in (1, 3, 5)}
    assert (got.ended, got.trailers) == ({1, 3, 5}, {5: TRAILERS})
    assert idle(pair.codec)


@pytest.mark.parametrize("window", [0, 1, 100, 1 << 20])
def test_the_window_changes_in_the_middle(window: int) -> None:
    pair = joined_server()
    got = Messages(pair)
    pair.peer.send_headers(1, GET, end_stream=True)
    got.run()
    pair.codec.send_headers(1, Headers.response(200), False)
    pair.codec.send_data(1, BODY[:50_000], False)
    pair.run_to_peer()
    pair.peer.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.MAX_FRAME_SIZE: 30_000})
    got.run()
    pair.codec.send_data(1, BODY[50_000:], True)
    pair.peer.increment_flow_control_window(300_000)
    pair.peer.increment_flow_control_window(300_000, 1)
    got.run()
    assert got.bodies[1] == BODY
    assert got.ended == {1}


def test_the_table_of_the_peer_goes_away_and_comes_back() -> None:
    pair = joined_server()
    got = Messages(pair)
    for at, size in enumerate((4096, 0, 0, 4096, 100, 65_536)):
        stream_id = 2 * at + 1
        pair.peer.update_settings({SettingCodes.HEADER_TABLE_SIZE: size})
        got.run()
        pair.peer.send_headers(stream_id, [*GET, (b"x-a", b"b")], end_stream=True)
        got.run()
        pair.codec.send_headers(stream_id, Headers.response(200, [(b"x-a", b"b"), (b"x-b", b"c" * 30)]), True)
        got.run()
        assert got.heads[stream_id] == [[(b":status", b"200"), (b"x-a", b"b"), (b"x-b", b"c" * 30)]]


@pytest.mark.parametrize("size", [0, 100, 4096, 65_536])
def test_the_table_that_we_allow(size: int) -> None:
    pair = joined_server(with_http2(header_table_size=size))
    for number in range(20):
        stream_id = 2 * number + 1
        fields = [(b"x-%d" % (number % 4), b"v" * 50), (b"x-%d" % number, b"")]
        pair.peer.send_headers(stream_id, [*GET, *fields], end_stream=True)
        pair.run()
        assert list(pair.sink.headers[-1].items()) == fields
        pair.codec.send_headers(stream_id, Headers.response(200), True)


@pytest.mark.parametrize("method", [b"HEAD", b"GET"])
def test_a_length_without_a_body_from_our_server(method: bytes) -> None:
    pair = joined_server()
    got = Messages(pair)
    pair.peer.send_headers(1, [(b":method", method), *GET[1:]], end_stream=True)
    got.run()
    status = 200 if method == b"HEAD" else 304
    pair.codec.send_headers(1, Headers.response(status, [(b"content-length", b"5")]), True)
    got.run()
    assert got.ended == {1}


@pytest.mark.parametrize(
    ("reason", "code"),
    [(ResetReason.LOCAL_RESET, ErrorCodes.INTERNAL_ERROR), (ResetReason.NO_ERROR, ErrorCodes.NO_ERROR)],
)
def test_resets_of_our_server(reason: ResetReason, code: ErrorCodes) -> None:
    pair = joined_server()
    pair.peer.send_headers(1, POST)
    pair.run()
    pair.codec.reset(1, reason)
    (event,) = pair.run()
    assert isinstance(event, events.StreamReset)
    assert (event.stream_id, event.error_code) == (1, code)


def test_resets_of_the_client() -> None:
    pair = joined_server()
    for stream_id, code in ((1, ErrorCodes.CANCEL), (3, ErrorCodes.REFUSED_STREAM)):
        pair.peer.send_headers(stream_id, POST)
        pair.peer.reset_stream(stream_id, code)
    pair.run()
    assert [event[2] for event in pair.sink.events if event[0] == "reset"] == [
        ResetReason.REMOTE_RESET,
        ResetReason.REMOTE_REFUSED,
    ]


def test_the_end_of_our_server_in_two_steps() -> None:
    pair = joined_server()
    pair.peer.send_headers(1, GET, end_stream=True)
    pair.run()
    pair.codec.send_headers(1, Headers.response(200), True)
    pair.codec.shutdown()
    pair.codec.shutdown()  # the library takes nothing behind a GOAWAY
    ids = [event.last_stream_id for event in pair.run() if isinstance(event, events.ConnectionTerminated)]
    assert ids == [2**31 - 1, 1]
    assert closes(pair.codec)


def test_signs_of_life() -> None:
    pair = joined_server()
    pair.peer.ping(b"12345678")
    (event,) = pair.run()
    assert isinstance(event, events.PingAckReceived)
    pair.codec.ping(b"abcdefgh")
    pair.run()
    assert pair.codec.last_ping_answered == b"abcdefgh"


def test_more_streams_than_allowed() -> None:
    """Before the client knows better."""
    sink = Http2Recorder()
    peer = h2_peer(client_side=True)
    peer.initiate_connection()
    pair = Joined(server_codec(sink, with_http2(max_concurrent_streams=2)), sink, peer)
    for stream_id in (1, 3, 5):
        pair.peer.send_headers(stream_id, POST)
    (event,) = [event for event in pair.run() if isinstance(event, events.StreamReset)]
    assert (event.stream_id, event.error_code) == (5, ErrorCodes.REFUSED_STREAM)


def test_an_upgrade_to_our_server() -> None:
    pair = joined_server()
    got = Messages(pair)
    fields = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]
    pair.peer.send_headers(1, fields)
    pair.peer.send_data(1, b"ping")
    got.run()
    pair.codec.send_headers(
        1, Headers.response(101, [(b"connection", b"upgrade"), (b"content-length", b"0")]), False
    )
    pair.codec.send_data(1, b"pong", True)
    got.run()
    assert got.heads[1] == [[(b":status", b"200")]]
    assert (got.bodies[1], got.ended, pair.sink.body) == (b"pong", {1}, b"ping")


# --- our client


@pytest.mark.parametrize("piece", [0, 1, 7])
def test_a_response_to_our_client(piece: int) -> None:
    pair = joined_client(piece=piece)
    got = Messages(pair)
    stream_id = pair.codec.new_stream()
    fields = [
        (b"x-a", b"b"),
        (b"authorization", b"secret"),
        (b"te", b"trailers"),
        (b"connection", b"keep-alive"),
    ]
    pair.codec.send_headers(stream_id, Headers.request(b"POST", b"/p?q", b"a:80", fields, b"https"), False)
    pair.codec.send_data(stream_id, b"hello", False)
    pair.codec.send_trailers(stream_id, Headers(TRAILERS))
    got.run()
    assert got.heads[1] == [
        [
            (b":authority", b"a:80"),
            (b":path", b"/p?q"),
            (b":method", b"POST"),
            (b":scheme", b"https"),
            *fields[:3],
        ]
    ]
    assert (got.bodies, got.trailers, got.ended) == ({1: b"hello"}, {1: TRAILERS}, {1})
    pair.peer.send_headers(1, [(b":status", b"103"), (b"link", b"</a>")])
    pair.peer.send_headers(1, [*OK, (b"content-length", b"5")])
    pair.peer.send_data(1, b"world", pad_length=3)
    pair.peer.send_headers(1, TRAILERS, end_stream=True)
    got.run()
    assert pair.sink.kinds() == [
        ("headers", 1, 103, False),
        ("headers", 1, 200, False),
        ("data", 1, b"world", False),
        ("trailers", 1, 0),
    ]
    assert idle(pair.codec)


def test_bodies_larger_than_the_windows_to_our_client() -> None:
    pair = joined_client(SMALL_WINDOWS)
    pair.codec.send_headers(pair.codec.new_stream(), Headers.request(b"GET", b"/", b"a"), True)
    pair.run()
    pair.peer.send_headers(1, [*OK, (b"content-length", b"%d" % len(BODY))])
    assert send_all(pair, 1, BODY) == BODY
    assert idle(pair.codec)


def test_bodies_larger_than_the_windows_from_our_client() -> None:
    pair = joined_client()
    got = Messages(pair)
    for _ in range(3):
        stream_id = pair.codec.new_stream()
        fields = [(b"content-length", b"%d" % len(BODY))]
        pair.codec.send_headers(stream_id, Headers.request(b"PUT", b"/", b"a", fields), False)
        pair.codec.send_data(stream_id, BODY, stream_id != 3)
    pair.codec.send_trailers(3, Headers(TRAILERS))
    got.run()
    assert got.bodies == {1: BODY, 3: BODY, 5: BODY}
    assert (got.ended, got.trailers) == ({1, 3, 5}, {3: TRAILERS})


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", b"200"), (b"GET", b"304"), (b"GET", b"204")])
def test_a_length_without_a_body_to_our_client(method: bytes, status: bytes) -> None:
    pair = joined_client()
    pair.codec.send_headers(pair.codec.new_stream(), Headers.request(method, b"/", b"a"), True)
    pair.run()
    pair.peer.send_headers(1, [(b":status", status), (b"content-length", b"5")], end_stream=True)
    pair.run()
    assert pair.sink.kinds() == [("headers", 1, int(status), True)]


def test_a_server_that_leaves() -> None:
    pair = joined_client()
    for _ in range(2):
        pair.codec.send_headers(pair.codec.new_stream(), Headers.request(b"GET", b"/", b"a"), True)
    pair.run()
    pair.peer.close_connection(last_stream_id=1)
    pair.run()
    assert pair.sink.told() == [("goaway", 1), ("reset", 3, ResetReason.NOT_PROCESSED, "")]


def test_resets_of_our_client() -> None:
    pair = joined_client()
    pair.codec.send_headers(pair.codec.new_stream(), Headers.request(b"GET", b"/", b"a"), False)
    pair.run()
    pair.codec.reset(1, ResetReason.LOCAL_RESET)
    (event,) = pair.run()
    assert isinstance(event, events.StreamReset)
    assert event.error_code == ErrorCodes.CANCEL


def test_a_request_that_was_never_sent_is_no_matter_to_the_server() -> None:
    pair = joined_client()
    stream_id = pair.codec.new_stream()
    pair.codec.reset(stream_id, ResetReason.PROTOCOL_ERROR)
    pair.codec.send_headers(pair.codec.new_stream(), Headers.request(b"GET", b"/", b"a"), True)
    got = Messages(pair)
    got.run()
    assert got.ended == {3}


def test_an_upgrade_of_our_client() -> None:
    pair = joined_client()
    pair.peer.update_settings({SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
    got = Messages(pair)
    got.run()
    fields = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket"), (b"content-length", b"0")]
    pair.codec.send_headers(pair.codec.new_stream(), Headers.request(b"GET", b"/chat", b"a", fields), False)
    pair.codec.send_data(1, b"ping", False)
    got.run()
    assert (b":protocol", b"websocket") in got.heads[1][0]
    pair.peer.send_headers(1, OK)
    pair.peer.send_data(1, b"pong")
    got.run()
    assert pair.sink.kinds() == [("headers", 1, 101, False), ("data", 1, b"pong", False)]
    assert got.bodies[1] == b"ping"


def test_the_judge_refuses_a_reset_of_an_idle_stream() -> None:
    """So the test above says something."""
    pair = joined_client()
    with pytest.raises(LibraryError):
        pair.peer.receive_data(bytes.fromhex("000004030000000001") + bytes(4))
