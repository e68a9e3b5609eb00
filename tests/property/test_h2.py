"""HTTP/2 under mutated input: accepted or refused, never anything else, and what is accepted can be handed on.

And whole exchanges between our codec, itself and the `h2` library: what one end says is what the other end hears.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import hpack
from h2 import events
from h2.settings import SettingCodes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError
from protocols.http.codec import CodecSettings, Http2Settings, HttpVersion, ResetReason
from protocols.http.h2_client import Http2Client
from protocols.http.h2_fields import request_fields, response_fields, trailer_fields
from protocols.http.h2_hpack import HpackDecoder, HpackEncoder, HpackError
from protocols.http.h2_server import Http2Server
from protocols.http.head import read_request_head, read_response_head
from protocols.http.head_lines import METHODS
from protocols.http.head_writer import write_request_head, write_response_head, write_trailers
from protocols.http.headers import Headers
from tests.property.test_h1 import cut, unambiguous
from tests.support.http2_frames import (
    END_HEADERS,
    END_STREAM,
    PADDED,
    PREFACE,
    PRIORITY_FIELDS,
    Frame,
    build_frame,
    build_settings,
    take_frame,
)
from tests.unit.protocols.http.h2_wire import (
    GET,
    OK,
    POST,
    Field,
    Http2Codec,
    Http2Recorder,
    ask,
    continuation,
    data,
    feed,
    goaway,
    h2_peer,
    headers,
    ping,
    priority,
    read_frames,
    rst,
    window_update,
)

EXAMPLES = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LENIENT = CodecSettings(max_head_bytes=1 << 20, max_headers=1000)

_TRAILERS: list[Field] = [(b"grpc-status", b"0"), (b"x-a", b"b")]
_LENGTH: Field = (b"content-length", b"5")
_EXTENDED: list[Field] = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"https"),
    (b":path", b"/chat"),
    (b":authority", b"a"),
]
_CONNECT: list[Field] = [(b":method", b"CONNECT"), (b":authority", b"a:80")]
_REMEMBERED = b"\x82\x86\x84\x41\x01a\x40\x03x-a\x01b\xbe"

REQUESTS: list[bytes] = [
    headers(1, GET, end=True) + headers(3, [*GET, (b"x-a", b"b"), (b"cookie", b"c")], end=True),
    headers(1, [*POST, _LENGTH]) + data(1, b"hel") + data(1, b"lo", end=True),
    headers(1, POST) + data(1, b"hello", pad=7) + headers(1, _TRAILERS, end=True),
    headers(1, _EXTENDED) + data(1, b"frames") + data(1, b"", end=True),
    headers(1, _CONNECT) + data(1, b"bytes") + rst(1, 8),
    headers(1, GET[:2], whole=False) + continuation(1, b"", whole=False) + continuation(1, b"\x01\x01a\x04\x02/p"),
    build_frame(1, END_HEADERS | END_STREAM | PRIORITY_FIELDS | PADDED, 1, b"\x02" + bytes(5) + _REMEMBERED + bytes(2)),
    build_frame(1, END_HEADERS, 1, _REMEMBERED) + build_frame(1, END_HEADERS | END_STREAM, 3, _REMEMBERED[:4] + b"\xbe\xbf"),
    priority(1) + ping(b"12345678") + window_update(0, 5) + headers(1, GET, end=True) + goaway(0),
    headers(1, POST) + headers(3, POST) + data(3, b"x" * 50) + data(1, b"y" * 50) + rst(3, 0) + data(1, b"", end=True),
    build_settings((1, 0), (4, 5), (5, 20_000)) + headers(1, GET, end=True) + build_settings((4, 65_535), (1, 100)),
    headers(1, [*GET, (b"te", b"trailers"), (b"host", b"a"), (b"x_y", b" v ")], end=True) + window_update(1, 9),
]  # fmt: skip
RESPONSES: list[bytes] = [
    headers(1, OK, end=True) + headers(3, OK) + data(3, b"x", end=True),
    headers(1, [(b":status", b"103"), (b"link", b"</a>")]) + headers(1, [*OK, _LENGTH]) + data(1, b"hello", end=True),
    headers(1, OK) + data(1, b"hello", pad=9) + headers(1, _TRAILERS, end=True),
    headers(1, [(b":status", b"304"), _LENGTH], end=True) + headers(3, [(b":status", b"204")], end=True),
    headers(1, OK, whole=False) + continuation(1, b"\x40\x03x-a\x01b") + data(1, b"x") + rst(1, 7),
    build_frame(1, END_HEADERS, 1, b"\x88\x40\x03x-a\x01b") + build_frame(1, END_HEADERS | END_STREAM, 3, b"\x88\xbe"),
    goaway(2**31 - 1) + headers(1, OK) + goaway(1) + data(1, b"x", end=True),
    build_settings((4, 3), (3, 1), (8, 1)) + window_update(1, 5) + headers(1, [(b":status", b"403")]) + rst(3, 8),
]  # fmt: skip
_INTERESTING: list[bytes] = [
    ping(bytes(8)), build_settings(), build_frame(4, 1, 0), window_update(0, 1), window_update(1, 2**31 - 1), rst(1, 8),
    data(1, b""), data(1, b"x", end=True), headers(1, _TRAILERS, end=True), goaway(0), goaway(1, 2), build_frame(0xEE, 0, 1),
    build_settings((4, 0)), build_settings((4, 2**31 - 1)), build_settings((5, 1 << 14)), continuation(1, b"\x82"),
    headers(5, GET), headers(5, OK), headers(2, GET), b"\x00", b"\xff\xff\xff", b"\r\n",
]  # fmt: skip

_CORPUS = json.loads((Path(__file__).parents[1] / "corpora" / "http2.json").read_text(encoding="utf-8"))
_STARTS = [
    b"".join(
        bytes.fromhex(step["hex"]) * min(step.get("repeat", 1), 3) for step in case["steps"] if "hex" in step
    )
    for case in _CORPUS["cases"]
]
#: What the clients of the corpus send behind the preface, as far as it is short.
PLAYED = [text[len(PREFACE) :] for text in _STARTS if text.startswith(PREFACE) and len(text) < 1500]


def _frames(text: bytes) -> tuple[list[Frame], bytes]:
    """Frames, and what is left behind them."""
    buffer = bytearray(text)
    found = []
    while (frame := take_frame(buffer)) is not None:
        found.append(frame)
    return found, bytes(buffer)


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with frames changed, doubled, dropped or put in; sometimes bytes without regard to frames."""
    frames, rest = _frames(draw(st.sampled_from(seeds)))
    parts = [build_frame(*frame) for frame in frames]
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(parts)))
        kind = draw(st.integers(0, 6))
        if kind == 0:
            parts.insert(at, draw(st.sampled_from(_INTERESTING)))
        elif kind == 1:
            parts.append(draw(st.sampled_from(seeds)))
        elif at < len(parts):
            parts[at : at + 1] = draw(_changes(parts[at]))
    text = b"".join(parts) + rest
    if draw(st.booleans()):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.binary(max_size=3)) + text[at + draw(st.integers(0, 3)) :]
    return text


@st.composite
def _changes(draw: st.DrawFn, part: bytes) -> list[bytes]:
    """One frame changed in one way."""
    frames, _ = _frames(part)
    if not frames:
        return []
    kind, flags, stream_id, payload = frames[0]
    way = draw(st.integers(0, 5))
    if way == 0:
        return []
    if way == 1:
        return [part, part]
    if way == 2:
        return [build_frame(kind, flags ^ (1 << draw(st.integers(0, 7))), stream_id, payload)]
    if way == 3:
        return [build_frame(kind, flags, draw(st.sampled_from([0, 1, 2, 3, 5, 7, 2**31 - 1])), payload)]
    if way == 4:
        return [build_frame(draw(st.integers(0, 10)), flags, stream_id, payload)]
    at = draw(st.integers(0, len(payload)))
    to = at + draw(st.integers(0, 3))
    return [build_frame(kind, flags, stream_id, payload[:at] + draw(st.binary(max_size=3)) + payload[to:])]


# --- mutated input


def _settings(stream_errors: bool) -> CodecSettings:
    http2 = Http2Settings(
        allow_connect=True,
        stream_errors=stream_errors,
        initial_stream_window_size=200,
        initial_connection_window_size=65_535,
        max_concurrent_streams=3,
    )
    return CodecSettings(max_head_bytes=2000, max_headers=20, enable_trailers=True, http2=http2)


class Hall(Http2Recorder):
    """Answers every request, takes every body, and writes what it gets for HTTP/1 and for HTTP/2."""

    codec: Http2Codec

    def on_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        super().on_headers(stream_id, headers, end)
        if headers.status:
            _check_response(headers, end)
        else:
            _check_request(headers, end)
            self.codec.send_headers(stream_id, Headers.response(200, [(b"x-a", b"b")]), False)
            self.codec.send_data(stream_id, b"body of a response", False)
            if end:
                self.codec.send_trailers(stream_id, Headers(_TRAILERS))

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        super().on_data(stream_id, data, end)
        assert data or end
        self.codec.credit(stream_id, len(data))
        if end and isinstance(self.codec, Http2Server):
            self.codec.send_data(stream_id, b"", True)

    def on_trailers(self, stream_id: int, trailers: Headers) -> None:
        super().on_trailers(stream_id, trailers)
        write_trailers(trailers)
        trailer_fields(trailers)
        if isinstance(self.codec, Http2Server):
            self.codec.reset(stream_id, ResetReason.NO_ERROR)


def _check_request(head: Headers, end: bool) -> None:
    upgrade = bool(head.protocol)
    text, length = write_request_head(head.copy(), end, upgrade)
    unambiguous(text)
    if head.method in METHODS and not upgrade and head.method != b"CONNECT":
        found = read_request_head(text, LENIENT)
        assert found is not None
        assert (found.size, found.length) == (len(text), length)
        assert (found.headers.method, found.headers.path, found.headers.authority) == (
            head.method,
            head.path,
            head.authority,
        )
    HpackEncoder().encode(request_fields(head))


def _check_response(head: Headers, end: bool) -> None:
    upgrade = head.status == 101
    text, _ = write_response_head(
        head.copy(), end, method=b"GET", version=HttpVersion.HTTP11, close=False, upgrade=upgrade
    )
    found = read_response_head(text, LENIENT)
    assert found is not None
    assert (found.size, found.headers.status) == (len(text), head.status)
    HpackEncoder().encode(response_fields(head))


def _play(make: Callable[[Hall], Http2Codec], text: bytes, points: list[int]) -> None:
    """Whole and in pieces it is the same, and what the codec writes is frames."""
    seen = []
    for pieces in ([text], cut(text, points)):
        hall = Hall()
        hall.codec = make(hall)
        hall.codec.take_output()
        outcome = feed(hall.codec, hall, pieces)
        read_frames(outcome.output)
        if outcome.error is None:
            hall.codec.receive_eof()
        assert hall.codec.must_close
        assert hall.codec.idle
        seen.append((outcome, hall.told()))
    assert seen[0] == seen[1]


POINTS = st.lists(st.integers(0, 2000), max_size=4)


@EXAMPLES
@given(mutated(REQUESTS), POINTS, st.booleans())
def test_mutated_requests(text: bytes, points: list[int], stream_errors: bool) -> None:
    _play(lambda hall: _server(hall, stream_errors, build_settings()), text, points)


@EXAMPLES
@given(mutated(PLAYED), POINTS, st.booleans())
def test_mutated_connections(text: bytes, points: list[int], stream_errors: bool) -> None:
    _play(lambda hall: _server(hall, stream_errors, b""), text, points)


def _server(hall: Hall, stream_errors: bool, start: bytes) -> Http2Codec:
    codec = Http2Server(hall, _settings(stream_errors))
    codec.receive(PREFACE + start)
    return codec


@EXAMPLES
@given(mutated(RESPONSES), POINTS, st.booleans(), st.sampled_from(["get", "post", "upgrade"]))
def test_mutated_responses(text: bytes, points: list[int], stream_errors: bool, kind: str) -> None:
    upgrade = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")] if kind == "upgrade" else []

    def make(hall: Hall) -> Http2Codec:
        codec = Http2Client(hall, _settings(stream_errors))
        codec.receive(build_settings((8, 1)))
        for _ in range(2):
            ask(codec, b"POST" if kind == "post" else b"GET", upgrade, end=kind == "get")
        if kind == "post":
            codec.send_data(1, bytes(100_000), True)
        return codec

    _play(make, text, points)


# --- what may be asked for in writing

_NAMES = st.one_of(
    st.sampled_from(
        [b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"host", b"te", b"x-a", b":path", b"X", b""]
    ),
    st.binary(max_size=4),
)  # fmt: skip
_VALUES = st.one_of(st.sampled_from([b"5", b"websocket", b"trailers", b"close"]), st.binary(max_size=6))
_FIELDS = st.lists(st.tuples(_NAMES, _VALUES), max_size=5)
_WORDS = st.one_of(
    st.sampled_from([b"GET", b"CONNECT", b"/p", b"a:80", b"*"]), st.binary(max_size=4), st.just(b"/\x80")
)
_WRITTEN_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+|:(?:authority|method|path|protocol|scheme|status)")


@EXAMPLES
@given(_WORDS, _WORDS, _WORDS, _FIELDS, st.booleans())
def test_written_requests_are_well_formed(
    method: bytes, path: bytes, authority: bytes, fields: list[Field], end: bool
) -> None:
    """Whatever is in `Headers`: pseudo-headers first and once, no field of one hop, nothing that HTTP/1 could misread."""
    codec = Http2Client(Http2Recorder(), CodecSettings())
    codec.take_output()
    try:
        codec.send_headers(codec.new_stream(), Headers.request(method, path, authority, fields), end)
    except LocalProtocolError:
        return
    (frame,) = read_frames(codec.take_output())
    written = [(bytes(name), bytes(value)) for name, value in hpack.Decoder().decode(frame.payload, raw=True)]
    names = [name for name, _ in written]
    pseudo = [name for name in names if name.startswith(b":")]
    assert names[: len(pseudo)] == pseudo
    assert len(set(pseudo)) == len(pseudo)
    assert {b":method"} <= set(pseudo) <= {b":method", b":path", b":scheme", b":authority", b":protocol"}
    hop = {b"connection", b"upgrade", b"host", b"transfer-encoding", b"keep-alive", b"http2-settings"}
    assert not hop & set(names)
    assert all(_WRITTEN_NAME.fullmatch(name) for name in names)
    assert not any(re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value) for _, value in written)
    assert all(b" " not in value and b"\t" not in value for _, value in written[: len(pseudo)])


# --- whole exchanges


class Message:
    """One direction of an exchange, as it is to be sent or as it was heard."""

    def __init__(
        self, head: list[Field], pieces: Sequence[bytes] = (), trailers: list[Field] | None = None
    ) -> None:
        self.interim: list[list[Field]] = []
        self.head = head
        self.pieces = list(pieces)
        self.trailers = trailers
        self.ended = False

    def heard(self) -> tuple[object, ...]:
        return self.interim, sorted(self.head), b"".join(self.pieces), self.trailers, self.ended


_NAME = st.sampled_from(
    [b"x-a", b"x-b", b"accept", b"content-type", b"authorization", b"etag", b"x-" + b"n" * 70]
)
_VALUE = st.sampled_from([b"", b"a", b"b", b"gzip, deflate", b"\xff\x80", b"v" * 200, b"w" * 3500])
_REGULAR = st.lists(st.tuples(_NAME, _VALUE), max_size=6, unique_by=lambda field: field[0])
_TRAILER = _REGULAR.map(lambda fields: [field for field in fields if field[0] != b"authorization"]).filter(
    bool
)
_PIECES = st.lists(st.sampled_from([1, 100, 5000, 20_000]).map(lambda size: bytes(range(250)) * (size // 250) + bytes(size % 250)), max_size=3)  # fmt: skip


@st.composite
def messages(draw: st.DrawFn, request: bool) -> Message:
    if request:
        head = [
            (b":method", draw(st.sampled_from([b"GET", b"POST", b"PUT", b"FROB"]))),
            (b":scheme", draw(st.sampled_from([b"http", b"https"]))),
            (b":authority", draw(st.sampled_from([b"a", b"b:80"]))),
            (b":path", draw(st.sampled_from([b"/", b"/p?q=%20"]))),
        ]
    else:
        head = [(b":status", draw(st.sampled_from([b"200", b"404", b"503"])))]
    message = Message(head + draw(_REGULAR), draw(_PIECES), draw(st.one_of(st.none(), _TRAILER)))
    if not request and draw(st.booleans()):
        message.interim = [[(b":status", b"103"), (b"link", b"</a>")]]
    return message


class Ours:
    """Our codec at one end: bodies are taken at once, what was heard is kept."""

    def __init__(self, client: bool, http2: Http2Settings) -> None:
        chosen = CodecSettings(enable_trailers=True, http2=http2)
        self.codec: Http2Codec = Http2Client(self, chosen) if client else Http2Server(self, chosen)
        self.heard: dict[int, Message] = {}
        self.on_head: Callable[[int], None] = lambda stream_id: None

    def send(self, stream_id: int, message: Message) -> None:
        for fields in message.interim:
            self.codec.send_headers(stream_id, _to_headers(fields), False)
        bare = not message.pieces and message.trailers is None
        self.codec.send_headers(stream_id, _to_headers(message.head), bare)
        for number, piece in enumerate(message.pieces, 1):
            self.codec.send_data(stream_id, piece, number == len(message.pieces) and message.trailers is None)
        if message.trailers is not None:
            self.codec.send_trailers(stream_id, _to_headers(message.trailers))

    def new_stream(self) -> int:
        return self.codec.new_stream()

    def receive(self, text: bytes) -> None:
        self.codec.receive(text)

    def output(self) -> bytes:
        self.codec.flushed()
        return self.codec.take_output()

    # the sink

    def on_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        fields = _to_fields(headers)
        if 100 <= headers.status < 200:
            self.heard.setdefault(stream_id, Message([])).interim.append(fields)
            return
        message = self.heard.setdefault(stream_id, Message([]))
        message.head, message.ended = fields, end
        self.on_head(stream_id)

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        message = self.heard[stream_id]
        message.pieces.append(data)
        message.ended = end
        self.codec.credit(stream_id, len(data))

    def on_trailers(self, stream_id: int, trailers: Headers) -> None:
        message = self.heard[stream_id]
        message.trailers, message.ended = list(trailers.items()), True

    def on_reset(self, stream_id: int, reason: ResetReason, details: str) -> None:
        raise AssertionError((stream_id, reason, details))

    def on_goaway(self, last_stream_id: int) -> None:
        raise AssertionError("nobody leaves")

    def on_writable(self, stream_id: int) -> None:
        """Nobody asks `unsent` here."""


def _to_headers(fields: list[Field]) -> Headers:
    made = Headers([field for field in fields if not field[0].startswith(b":")])
    pseudo = dict(field for field in fields if field[0].startswith(b":"))
    made.method, made.path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    made.scheme, made.authority = pseudo.get(b":scheme", b""), pseudo.get(b":authority", b"")
    made.status = int(pseudo.get(b":status", b"0"))
    return made


def _to_fields(headers: Headers) -> list[Field]:
    pseudo = [
        (b":method", headers.method),
        (b":scheme", headers.scheme),
        (b":authority", headers.authority),
        (b":path", headers.path),
        (b":status", b"%d" % headers.status if headers.status else b""),
    ]
    return [field for field in pseudo if field[1]] + list(headers.items())


class Theirs:
    """The `h2` library at one end."""

    def __init__(self, client: bool, http2: Http2Settings) -> None:
        self.peer = h2_peer(client_side=client)
        self.peer.initiate_connection()
        self.peer.update_settings(
            {
                SettingCodes.INITIAL_WINDOW_SIZE: http2.initial_stream_window_size,
                SettingCodes.HEADER_TABLE_SIZE: http2.header_table_size,
            }
        )
        self.heard: dict[int, Message] = {}
        self.on_head: Callable[[int], None] = lambda stream_id: None
        self._waiting: dict[int, tuple[list[bytes], list[Field] | None]] = {}
        self._next_id = 1

    def new_stream(self) -> int:
        stream_id, self._next_id = self._next_id, self._next_id + 2
        return stream_id

    def send(self, stream_id: int, message: Message) -> None:
        for fields in message.interim:
            self.peer.send_headers(stream_id, fields)
        bare = not message.pieces and message.trailers is None
        self.peer.send_headers(stream_id, message.head, end_stream=bare)
        if not bare:
            self._waiting[stream_id] = (message.pieces[:], message.trailers)

    def receive(self, text: bytes) -> None:
        for event in self.peer.receive_data(text):
            self._note(event)

    def _note(self, event: events.Event) -> None:
        if isinstance(event, events.InformationalResponseReceived):
            self.heard.setdefault(event.stream_id, Message([])).interim.append(_plain(event.headers))
        elif isinstance(event, events.RequestReceived | events.ResponseReceived):
            self.heard.setdefault(event.stream_id, Message([])).head = _plain(event.headers)
            self.on_head(event.stream_id)
        elif isinstance(event, events.DataReceived):
            self.heard[event.stream_id].pieces.append(event.data)
            if event.flow_controlled_length:
                self.peer.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.TrailersReceived):
            self.heard[event.stream_id].trailers = _plain(event.headers)
        elif isinstance(event, events.StreamEnded):
            self.heard[event.stream_id].ended = True
        else:
            assert not isinstance(event, events.StreamReset | events.ConnectionTerminated)

    def output(self) -> bytes:
        for stream_id in tuple(self._waiting):
            self._send_waiting(stream_id)
        return self.peer.data_to_send()

    def _send_waiting(self, stream_id: int) -> None:
        pieces, trailers = self._waiting[stream_id]
        while pieces:
            room = min(self.peer.local_flow_control_window(stream_id), self.peer.max_outbound_frame_size)
            if room <= 0:
                return
            piece, rest = pieces[0][:room], pieces[0][room:]
            self.peer.send_data(stream_id, piece)
            pieces[:1] = [rest] if rest else []
        del self._waiting[stream_id]
        if trailers is not None:
            self.peer.send_headers(stream_id, trailers, end_stream=True)
        else:
            self.peer.end_stream(stream_id)


def _plain(fields: Iterable[Field]) -> list[Field]:
    return [(bytes(name), bytes(value)) for name, value in fields]


def _carry(one: Ours | Theirs, other: Ours | Theirs, sizes: list[int]) -> None:
    """Until nobody has more to say, in pieces of these sizes."""
    turn = 0
    while True:
        texts = one.output(), other.output()
        if not any(texts):
            return
        for receiver, text in ((other, texts[0]), (one, texts[1])):
            at = 0
            while at < len(text):
                size = sizes[turn % len(sizes)]
                receiver.receive(text[at : at + size])
                at += size
                turn += 1


_OPTIONS = st.builds(
    Http2Settings,
    initial_stream_window_size=st.sampled_from([150, 5000, 65_535, 1 << 20]),
    initial_connection_window_size=st.sampled_from([65_535, 1 << 20]),
    header_table_size=st.sampled_from([0, 64, 4096, 65_536]),
)
_PAIRS: list[tuple[type[Ours | Theirs], type[Ours | Theirs]]] = [(Ours, Ours), (Ours, Theirs), (Theirs, Ours)]


@settings(EXAMPLES, max_examples=120)
@given(
    st.sampled_from(_PAIRS),
    _OPTIONS,
    _OPTIONS,
    st.lists(st.tuples(messages(request=True), messages(request=False)), min_size=1, max_size=4),
    st.lists(st.sampled_from([1, 9, 100, 4096, 1 << 20]), min_size=1, max_size=3).filter(
        lambda sizes: max(sizes) > 99
    ),
    st.booleans(),
)
def test_what_one_end_says_the_other_hears(
    pair: tuple[type[Ours | Theirs], type[Ours | Theirs]],
    of_client: Http2Settings,
    of_server: Http2Settings,
    exchanges: list[tuple[Message, Message]],
    sizes: list[int],
    one_by_one: bool,
) -> None:
    client, server = pair[0](True, of_client), pair[1](False, of_server)
    if min(of_client.initial_stream_window_size, of_server.initial_stream_window_size) < 65_535:
        _carry(client, server, sizes)  # until it is told, a window has the default size
    answers: dict[int, Message] = {}
    server.on_head = lambda stream_id: server.send(stream_id, answers[stream_id])
    for request, response in exchanges:
        stream_id = client.new_stream()
        answers[stream_id] = response
        client.send(stream_id, request)
        if one_by_one:
            _carry(client, server, sizes)
    _carry(client, server, sizes)
    for number, (request, response) in enumerate(exchanges):
        request.ended = response.ended = True
        assert server.heard[2 * number + 1].heard() == request.heard()
        assert client.heard[2 * number + 1].heard() == response.heard()
    for end in (client, server):
        if isinstance(end, Ours):
            assert end.codec.idle


# --- HPACK

_BLOCK = st.lists(
    st.one_of(
        st.sampled_from([(b":method", b"GET"), (b":path", b"/"), (b"date", b"now"), (b"cookie", b"c")]),
        st.tuples(
            st.sampled_from([b"x-a", b"x-b", b"server", b"n" * 130]),
            st.one_of(st.sampled_from([b"", b"v" * 500, b"v" * 3000, b"w" * 5000]), st.binary(max_size=3)),
        ),
    ),
    max_size=8,
)
_STEPS = st.lists(st.one_of(_BLOCK, st.sampled_from([0, 31, 40, 600, 4095, 4096, 9000])), max_size=12)


@EXAMPLES
@given(_STEPS, st.booleans())
def test_blocks_of_the_library_are_read(steps: list[list[Field] | int], huffman: bool) -> None:
    encoder, decoder = hpack.Encoder(), HpackDecoder(9000)
    for step in steps:
        if isinstance(step, int):
            if step != encoder.header_table_size:
                encoder.header_table_size = step
        else:
            assert decoder.decode(encoder.encode(step, huffman=huffman)) == step


@EXAMPLES
@given(_STEPS)
def test_our_blocks_are_read_by_the_library(steps: list[list[Field] | int]) -> None:
    """Also after one that could not be written."""
    encoder, judge, decoder = HpackEncoder(), hpack.Decoder(1 << 24), HpackDecoder()
    for step in steps:
        if isinstance(step, int):
            encoder.set_max_table_size(step)
            judge.max_allowed_table_size = step
            continue
        try:
            block = encoder.encode(step)
        except LocalProtocolError:
            continue
        assert _plain(judge.decode(block, raw=True)) == step
        assert decoder.decode(block) == step


@st.composite
def _spoilt(draw: st.DrawFn) -> list[bytes]:
    """Blocks of the library, some of them changed."""
    encoder = hpack.Encoder()
    blocks = []
    for step in draw(st.lists(_BLOCK, min_size=1, max_size=3)):
        block = encoder.encode(step, huffman=draw(st.booleans()))
        if draw(st.booleans()):
            at = draw(st.integers(0, min(len(block), 40)))
            block = block[:at] + draw(st.binary(max_size=3)) + block[at + draw(st.integers(0, 3)) :]
        blocks.append(block)
    return [*blocks, draw(st.binary(max_size=12))]


@EXAMPLES
@given(_spoilt())
def test_any_bytes_are_decoded_as_the_library_does_or_refused(blocks: list[bytes]) -> None:
    """It takes longer integers."""
    decoder, judge = HpackDecoder(), hpack.Decoder(1 << 24)
    for block in blocks:
        try:
            expected: list[Field] | None = _plain(judge.decode(block, raw=True))
        except hpack.HPACKError:
            expected = None
        try:
            found = decoder.decode(block)
        except HpackError as error:
            assert expected is None or "integer" in str(error)
            return
        assert found == expected
