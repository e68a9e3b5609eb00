"""HTTP/2 by hand, and with the `h2` library at the other end: what the tests of the codec are made of.

Field blocks made here are literals without a table, so frames can be written one by one and in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event

from protocols.errors import RemoteProtocolError
from protocols.http.codec import CodecSettings, Http2Settings, ResetReason
from protocols.http.h2_client import Http2Client
from protocols.http.h2_server import Http2Server
from protocols.http.headers import Headers
from tests.support.http2_frames import (
    END_HEADERS,
    END_STREAM,
    PADDED,
    PREFACE,
    Frame,
    FrameType,
    build_frame,
    build_settings,
    take_frame,
)
from tests.unit.protocols.http.recorder import Recorder

Field = tuple[bytes, bytes]
Told = tuple[object, ...]

GET: list[Field] = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/p")]
POST: list[Field] = [(b":method", b"POST"), *GET[1:]]
OK: list[Field] = [(b":status", b"200")]

#: Where a window has to be small, and an upgrade possible.
SETTINGS = CodecSettings(enable_trailers=True, http2=Http2Settings(allow_connect=True))


def with_http2(settings: CodecSettings = SETTINGS, /, **changes: object) -> CodecSettings:
    """The settings with some of those of HTTP/2 changed."""
    return replace(settings, http2=replace(settings.http2, **changes))  # type: ignore[arg-type]


#: A malformed message costs its stream alone.
STREAM_ERRORS = with_http2(stream_errors=True)


class Http2Recorder(Recorder):
    """Writes down what HTTP/2 alone tells, too."""

    def on_reset(self, stream_id: int, reason: ResetReason, details: str) -> None:
        self.events.append(("reset", stream_id, reason, details))

    def on_goaway(self, last_stream_id: int) -> None:
        self.events.append(("goaway", last_stream_id))

    def on_writable(self, stream_id: int) -> None:
        self.events.append(("writable", stream_id))

    def told(self) -> list[Told]:
        """The events since the last call, with heads as they print: they can be compared."""
        return [
            tuple(repr(part) if isinstance(part, Headers) else part for part in event)
            for event in self.take()
        ]

    def kinds(self) -> list[Told]:
        """The events since the last call; of a head only the method or the status."""
        return [
            (event[0], event[1], event[2].method or event[2].status, *event[3:])
            if event[0] in ("headers", "trailers") and isinstance(event[2], Headers)
            else event
            for event in self.take()
        ]


#: Whichever role.
Http2Codec = Http2Server | Http2Client
Made = tuple[Http2Codec, Http2Recorder]


# --- frames


def integer(value: int, prefix_bits: int, pattern: int = 0) -> bytes:
    """An integer of HPACK (RFC 7541 section 5.1)."""
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes([pattern | value])
    octets = [pattern | most]
    value -= most
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*octets, value])


def literal(fields: Iterable[Field]) -> bytes:
    """A block that leaves no trace in a table."""
    return b"".join(
        b"\x00" + integer(len(name), 7) + name + integer(len(value), 7) + value for name, value in fields
    )


def headers(
    stream_id: int, fields: Iterable[Field], *, end: bool = False, whole: bool = True, flags: int = 0
) -> bytes:
    flags |= (END_STREAM if end else 0) | (END_HEADERS if whole else 0)
    return build_frame(FrameType.HEADERS, flags, stream_id, literal(fields))


def continuation(stream_id: int, block: bytes, *, whole: bool = True) -> bytes:
    return build_frame(FrameType.CONTINUATION, END_HEADERS if whole else 0, stream_id, block)


def data(stream_id: int, body: bytes, *, end: bool = False, pad: int | None = None) -> bytes:
    flags = END_STREAM if end else 0
    if pad is not None:
        return build_frame(FrameType.DATA, flags | PADDED, stream_id, bytes([pad]) + body + b"\x00" * pad)
    return build_frame(FrameType.DATA, flags, stream_id, body)


def rst(stream_id: int, code: int) -> bytes:
    return build_frame(FrameType.RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def window_update(stream_id: int, increment: int) -> bytes:
    return build_frame(FrameType.WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))


def goaway(last_stream_id: int, code: int = 0, debug: bytes = b"") -> bytes:
    payload = last_stream_id.to_bytes(4, "big") + code.to_bytes(4, "big") + debug
    return build_frame(FrameType.GOAWAY, 0, 0, payload)


def priority(stream_id: int, depends_on: int = 0, extra: bytes = b"") -> bytes:
    return build_frame(FrameType.PRIORITY, 0, stream_id, depends_on.to_bytes(4, "big") + b"\x10" + extra)


def ping(payload: bytes, *, ack: bool = False) -> bytes:
    return build_frame(FrameType.PING, int(ack), 0, payload)


def read_frames(text: bytes) -> list[Frame]:
    """All of it is frames."""
    buffer = bytearray(text)
    found = []
    while (frame := take_frame(buffer)) is not None:
        found.append(frame)
    assert not buffer
    return found


def written(codec: Http2Codec) -> list[Frame]:
    """What the codec wants to write, as frames."""
    return read_frames(codec.take_output().removeprefix(PREFACE))


def shape(frames: Iterable[Frame]) -> list[tuple[str, int, int, int]]:
    """Name, flags, stream and size of each."""
    return [
        (FrameType(frame.type).name, frame.flags, frame.stream_id, len(frame.payload)) for frame in frames
    ]


# --- codecs of ours


def server(
    settings: CodecSettings = SETTINGS, *peer_settings: tuple[int, int]
) -> tuple[Http2Server, Http2Recorder]:
    """A server whose client has said its preface, with these SETTINGS; they have told each other."""
    sink = Http2Recorder()
    codec = Http2Server(sink, settings)
    codec.receive(PREFACE + build_settings(*peer_settings))
    codec.receive(build_frame(FrameType.SETTINGS, 1, 0))
    codec.take_output()
    codec.flushed()
    return codec, sink


def client(
    settings: CodecSettings = SETTINGS, *peer_settings: tuple[int, int]
) -> tuple[Http2Client, Http2Recorder]:
    """A client whose server has said its SETTINGS; they have told each other."""
    sink = Http2Recorder()
    codec = Http2Client(sink, settings)
    codec.receive(build_settings(*peer_settings) + build_frame(FrameType.SETTINGS, 1, 0))
    codec.take_output()
    codec.flushed()
    return codec, sink


def ask(codec: Http2Client, method: bytes = b"GET", fields: Iterable[Field] = (), *, end: bool = True) -> int:
    """Begin an exchange."""
    stream_id = codec.new_stream()
    codec.send_headers(stream_id, Headers.request(method, b"/p", b"a", fields), end)
    return stream_id


def asking(
    settings: CodecSettings = SETTINGS,
    method: bytes = b"GET",
    fields: Iterable[Field] = (),
    *,
    end: bool = True,
) -> Callable[[], tuple[Http2Client, Http2Recorder]]:
    """Makes a client that waits for the response to stream 1."""

    def make() -> tuple[Http2Client, Http2Recorder]:
        codec, sink = client(settings)
        ask(codec, method, fields, end=end)
        codec.take_output()
        return codec, sink

    return make


# --- input in pieces


@dataclass(frozen=True)
class Outcome:
    """What came of an input."""

    told: Sequence[Told]
    error: tuple[str, int] | None
    output: bytes

    @property
    def frames(self) -> list[Frame]:
        return read_frames(self.output)


def feeds(text: bytes) -> Iterator[list[bytes]]:
    """Whole, in two pieces cut anywhere (of a long text: at a hundred places), byte by byte."""
    yield [text]
    step = 1 if len(text) <= 400 else len(text) // 100
    for at in range(1, len(text), step):
        yield [text[:at], text[at:]]
    yield [text[at : at + 1] for at in range(len(text))]


def feed(codec: Http2Codec, sink: Http2Recorder, pieces: Iterable[bytes]) -> Outcome:
    error = None
    for piece in pieces:
        try:
            codec.receive(piece)
        except RemoteProtocolError as broken:
            assert error is None, "after an error no more input is taken"
            error = (broken.details, broken.h2_code)
    return Outcome(sink.told(), error, codec.take_output())


def play(make: Callable[[], Made], *parts: bytes) -> Outcome:
    """What comes of an input, the same however it is cut."""
    text = b"".join(parts)
    first: Outcome | None = None
    for pieces in feeds(text):
        outcome = feed(*make(), pieces)
        if first is None:
            first = outcome
        assert outcome == first, pieces
    assert first is not None
    return first


# --- both roles


def _server(settings: CodecSettings = SETTINGS) -> Made:
    return server(settings)


def _client(settings: CodecSettings = SETTINGS) -> Made:
    """With a stream that is open: without one nothing that comes is in order."""
    return asking(settings, b"POST", end=False)()


#: A codec, and a head that its peer may send on stream 1 (the server has it already).
ROLES: dict[str, tuple[Callable[[CodecSettings], Made], list[Field]]] = {
    "server": (_server, POST),
    "client": (_client, OK),
}


class Role:
    """One of the two."""

    def __init__(self, make: Callable[[CodecSettings], Made], head: list[Field]) -> None:
        self._make = make
        self.head = head

    def fresh(self, settings: CodecSettings = SETTINGS) -> Made:
        return self._make(settings)

    def begun(self, settings: CodecSettings = SETTINGS) -> Made:
        """The head of the peer's message on stream 1 has come."""
        codec, sink = self._make(settings)
        codec.receive(headers(1, self.head))
        sink.take()
        return codec, sink

    def sending(self, streams: int = 1, settings: CodecSettings = SETTINGS) -> Made:
        """Both heads are through, on so many streams (1, 3, 5, ...); now come bodies."""
        codec, sink = self.begun(settings)
        for number in range(streams):
            if number and isinstance(codec, Http2Client):
                ask(codec, b"POST", end=False)
            if number:
                codec.receive(headers(2 * number + 1, self.head))
            if isinstance(codec, Http2Server):
                codec.send_headers(2 * number + 1, Headers.response(200), False)
        codec.take_output()
        sink.take()
        return codec, sink

    def play(self, *parts: bytes, settings: CodecSettings = SETTINGS) -> Outcome:
        return play(lambda: self.fresh(settings), *parts)

    def play_on(self, *parts: bytes, settings: CodecSettings = SETTINGS) -> Outcome:
        """After the head."""
        return play(lambda: self.begun(settings), *parts)


# --- the `h2` library at the other end


def h2_peer(*, client_side: bool, lax: bool = False) -> H2Connection:
    """`lax`: it sends what it is told, and checks nothing that comes."""
    return H2Connection(
        H2Configuration(
            client_side=client_side,
            header_encoding=None,
            validate_outbound_headers=not lax,
            normalize_outbound_headers=not lax,
            validate_inbound_headers=not lax,
        )
    )


class Joined:
    """A codec of ours and the library, with a wire between them."""

    def __init__(self, codec: Http2Codec, sink: Http2Recorder, peer: H2Connection, piece: int = 0) -> None:
        self.codec = codec
        self.sink = sink
        self.peer = peer
        self.events: list[Event] = []
        self._piece = piece

    def run(self) -> list[Event]:
        """Carry bytes until nobody has more; what the library has told since the last call."""
        while True:
            ours, theirs = self.codec.take_output(), self.peer.data_to_send()
            if not ours and not theirs:
                break
            for part in self._cut(theirs):
                self.codec.receive(part)
            for part in self._cut(ours):
                self.events += self.peer.receive_data(part)
            self.codec.flushed()
        events, self.events = self.events, []
        return events

    def run_to_peer(self) -> None:
        """Only what our side has to say, and only once."""
        for part in self._cut(self.codec.take_output()):
            self.events += self.peer.receive_data(part)

    def _cut(self, text: bytes) -> Iterator[bytes]:
        size = self._piece or len(text) or 1
        for at in range(0, len(text), size):
            yield text[at : at + size]


def joined_server(settings: CodecSettings = SETTINGS, piece: int = 0) -> Joined:
    """Our server, the library's client."""
    sink = Http2Recorder()
    peer = h2_peer(client_side=True)
    peer.initiate_connection()
    pair = Joined(Http2Server(sink, settings), sink, peer, piece)
    pair.run()
    return pair


def joined_client(settings: CodecSettings = SETTINGS, piece: int = 0) -> Joined:
    """Our client, the library's server."""
    sink = Http2Recorder()
    peer = h2_peer(client_side=False)
    peer.initiate_connection()
    pair = Joined(Http2Client(sink, settings), sink, peer, piece)
    pair.run()
    return pair
