"""HTTP/2 as a state machine (RFC 9113): what both roles share (`h2_server` and `h2_client` add theirs).

Frames are cut out of the input, judged against the state of the connection and of their stream, and told to the sink. What is
to be sent is the matter of `h2_output`; floods are counted by `h2_guard`, field blocks decoded by `h2_hpack` and judged by
`h2_fields`.

Three ways to go wrong: the connection is broken (GOAWAY with a code, RemoteProtocolError); a message is malformed (the same,
or RST_STREAM for its stream alone when `stream_errors` is set); a message is refused (RST_STREAM: too many streams, a
head over the limits, a body that does not match its content-length).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

from protocols.errors import RemoteProtocolError
from protocols.http import h2_frames as frames
from protocols.http import names
from protocols.http.codec import CodecSettings, CodecSink, HttpVersion, ResetReason, StreamMeter
from protocols.http.h2_fields import VIOLATION, Field, read_trailers
from protocols.http.h2_hpack import DEFAULT_TABLE_SIZE, HpackDecoder, HpackError
from protocols.http.h2_output import Http2Output, Http2Stream, broken
from protocols.http.h2_resets import OTHER_RESET, REMOTE_REFUSED, RESETS_BY_CODE
from protocols.http.headers import Headers

#: CONTINUATION frames of one block: a sender that fills its frames needs no more for the largest head allowed.
_MAX_CONTINUATIONS: Final = 32
#: Entries of one SETTINGS frame (CVE-2020-11080; as in nghttp2).
_MAX_SETTINGS: Final = 32
#: Fields of one block beyond which it is an attack, and not worth keeping the connection for.
_MAX_FIELDS_DECODED: Final = 10_000

TOO_MANY_HEADERS: Final = "http2.too_many_headers"
HEAD_TOO_LARGE: Final = "http2.header_list_size_too_large"
#: So much of a GOAWAY's debug data is kept.
_GOAWAY_TEXT_BYTES: Final = 128


class Http2(Http2Output):
    """Both roles. Implements `Codec` but for the direction of heads."""

    __slots__ = (
        "_block",
        "_block_size",
        "_continuations",
        "_decoder",
        "_goaway_sent",
        "_need",
        "_partial",
        "_settings_unacked",
        "goaway_received",
        "highest_peer_id",
        "last_ping_answered",
        "last_reset_code",
        "peer_allows_connect",
        "peer_max_streams",
        "settings_seen",
    )

    def __init__(self, sink: CodecSink, settings: CodecSettings) -> None:
        super().__init__(sink, settings)
        self._decoder = HpackDecoder(settings.http2.header_table_size)
        self._partial: bytearray | None = None  # an incomplete frame (at first the preface)
        self._need = 0  # bytes until it is worth looking again
        self._block: tuple[int, int, list[bytes]] | None = (
            None  # stream id, flags, pieces of an unfinished block
        )
        self._block_size = 0  # of its frames so far
        self._continuations = 0
        self.settings_seen = False
        self._settings_unacked = 1
        self._goaway_sent = -1  # the last stream id told in a GOAWAY; -1: none was sent
        self.peer_max_streams = frames.MAX_STREAM_ID
        self.peer_allows_connect = False
        self.highest_peer_id = 0  # of the streams that the peer began
        self.last_ping_answered = b""
        self.last_reset_code = -1  # of the peer's RST_STREAM that came last
        #: the peer's last GOAWAY: last stream id, code, debug data
        self.goaway_received: tuple[int, int, bytes] | None = None

    def _announce(self, values: dict[int, int]) -> None:
        """Our SETTINGS, and the window of the connection."""
        self._output.append(frames.settings({**values, **dict(self._settings.http2.custom_settings)}))
        increment = self._recv_window - frames.DEFAULT_WINDOW
        if increment > 0:
            self._output.append(frames.window_update(0, increment))

    # --- input

    def receive(self, data: bytes) -> None:
        if self._dead:
            return
        partial = self._partial
        if partial is not None:
            partial += data
            if len(partial) < self._need:
                return
            data = bytes(partial)
            self._partial = None
        try:
            self._read_frames(data)
        except RemoteProtocolError as error:
            self._break(error)
            raise

    def _read_frames(self, data: bytes) -> None:
        pos, size = 0, len(data)
        handlers = _HANDLERS
        while size - pos >= frames.HEADER_BYTES:
            high, low, kind, flags, stream_id = frames.unpack_header(data, pos)
            length = high << 8 | low
            if length > frames.DEFAULT_FRAME_SIZE:
                raise broken("too large frame size", frames.FRAME_SIZE_ERROR)
            end = pos + frames.HEADER_BYTES + length
            if end > size:
                self._hold(data, pos, end - pos)
                return
            payload = data[pos + frames.HEADER_BYTES : end]
            pos = end
            if self._block is not None and kind != frames.CONTINUATION:
                raise broken("unexpected non-CONTINUATION frame")
            if not self.settings_seen and (kind != frames.SETTINGS or flags & frames.ACK):
                raise broken("SETTINGS expected")
            if kind < len(handlers):
                handlers[kind](self, stream_id & frames.MAX_STREAM_ID, flags, payload)
                if self._dead:
                    return
        if pos < size:
            self._hold(data, pos, frames.HEADER_BYTES)

    def _hold(self, data: bytes, pos: int, need: int) -> None:
        self._partial = bytearray(data[pos:])
        self._need = need

    def _break(self, error: RemoteProtocolError) -> None:
        """The connection is of no use any more: say why."""
        if not self._dead:
            self._dead = True
            last = self.highest_peer_id
            if self._goaway_sent >= 0:
                last = min(last, self._goaway_sent)  # what was refused stays refused
            self._output.append(
                frames.goaway(last, error.h2_code, error.details.encode("latin-1", "replace"))
            )
        self._streams.clear()
        self._forget_queues()
        self._block = self._partial = None

    def receive_eof(self) -> None:
        """The peer sends no more: every stream has ended where it was."""
        if self._dead:
            return
        self._dead = True
        for stream in tuple(self._streams.values()):
            self._forget(stream)
            self._sink.on_reset(stream.id, ResetReason.CONNECTION_TERMINATION, "")

    # --- frames of streams

    def _on_headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        if not stream_id:
            raise broken("HEADERS: stream_id == 0")
        size = frames.HEADER_BYTES + len(payload)
        if flags & frames.PADDED:
            payload = _unpadded(payload, "HEADERS")
        self._guard.on_payload(len(payload), bool(flags & frames.END_STREAM))
        if flags & frames.HAS_PRIORITY:
            if len(payload) < 5:
                raise broken("HEADERS: too short", frames.FRAME_SIZE_ERROR)
            _check_dependency(stream_id, payload)
            payload = payload[5:]
        self._on_first_of_block(stream_id)
        if flags & frames.END_HEADERS:
            self._on_block(stream_id, flags, payload, size)
        else:
            self._block = (stream_id, flags, [payload])
            self._block_size = size
            self._continuations = 0

    def _on_continuation(self, stream_id: int, flags: int, payload: bytes) -> None:
        block = self._block
        if block is None or block[0] != stream_id:
            raise broken("CONTINUATION: unexpected")
        pieces = block[2]
        self._guard.on_payload(len(payload), False)
        self._continuations += 1
        self._block_size += frames.HEADER_BYTES + len(payload)
        pieces.append(payload)
        if flags & frames.END_HEADERS:
            self._block = None
            self._on_block(stream_id, block[1], b"".join(pieces), self._block_size)
        elif self._continuations >= _MAX_CONTINUATIONS:
            raise RemoteProtocolError(TOO_MANY_HEADERS, h2_code=frames.ENHANCE_YOUR_CALM)
        elif self._block_size > 2 * self._settings.max_head_bytes + _MAX_CONTINUATIONS * frames.HEADER_BYTES:
            raise RemoteProtocolError(HEAD_TOO_LARGE, h2_code=frames.ENHANCE_YOUR_CALM)

    def _on_block(self, stream_id: int, flags: int, block: bytes, size: int) -> None:
        """A whole field block. It is decoded whatever becomes of its stream: the tables go on."""
        if len(block) > 2 * self._settings.max_head_bytes:
            raise RemoteProtocolError(HEAD_TOO_LARGE, h2_code=frames.ENHANCE_YOUR_CALM)
        try:
            fields = self._decoder.decode(block)
        except HpackError as bad_block:
            raise broken(str(bad_block), frames.COMPRESSION_ERROR) from None
        if len(fields) > _MAX_FIELDS_DECODED:
            raise RemoteProtocolError(TOO_MANY_HEADERS, h2_code=frames.ENHANCE_YOUR_CALM)
        stream = self._stream_of_block(stream_id)
        if stream is None:
            return
        meter = stream.meter
        meter.header_received += size
        meter.wire_received += size
        end = bool(flags & frames.END_STREAM)
        if stream.recv_ended:
            raise broken("HEADERS: stream in half-closed(remote)", frames.STREAM_CLOSED)
        excess = self._excess(fields, len(block))
        if excess:
            self._refuse(stream, frames.INTERNAL_ERROR, ResetReason.LOCAL_RESET, excess)
            return
        if stream.recv_headers and stream.tunnel:  # RFC 9113 section 8.5
            self._refuse(stream, frames.PROTOCOL_ERROR, ResetReason.PROTOCOL_ERROR, VIOLATION)
            return
        try:
            if stream.recv_headers:
                if not end:
                    raise RemoteProtocolError(VIOLATION)
                trailers = read_trailers(fields)
            else:
                self._read_head(stream, fields, end)
                return
        except RemoteProtocolError as error:
            self._malformed(stream, error)
            return
        self._on_received_trailers(stream, trailers)

    def _excess(self, fields: list[Field], block_size: int) -> str:
        """The limit that a field list passes, if it does. It is added up only where it could be too large.

        A field from the table is no larger than the table, one that was spelt out no larger than Huffman code makes it.
        """
        count, limit = len(fields), self._settings.max_head_bytes
        if count > self._settings.max_headers:
            size = sum([len(name) + len(value) for name, value in fields[: self._settings.max_headers]])
            return HEAD_TOO_LARGE if size > limit else TOO_MANY_HEADERS
        if count * max(self._settings.http2.header_table_size, DEFAULT_TABLE_SIZE) + 2 * block_size > limit:
            size = sum([len(name) + len(value) for name, value in fields])
            if size > limit:
                return HEAD_TOO_LARGE
        return ""

    @abstractmethod
    def _on_first_of_block(self, stream_id: int) -> None:
        """A HEADERS frame came: its stream may begin with it."""

    @abstractmethod
    def _stream_of_block(self, stream_id: int) -> Http2Stream | None:
        """The stream that a decoded block belongs to; None: the block is to be ignored."""

    @abstractmethod
    def _read_head(self, stream: Http2Stream, fields: list[Field], end: bool) -> None:
        """Judge the head and tell it. Raises RemoteProtocolError for a malformed one."""

    def _begin_body(self, stream: Http2Stream, headers: Headers, end: bool) -> None:
        """A final head has been judged: what of a body may follow. Raises RemoteProtocolError."""
        stream.recv_headers = True
        if end:
            stream.recv_ended = True
        if stream.tunnel:
            headers.remove(names.CONTENT_LENGTH)
            return
        declared = headers.get(names.CONTENT_LENGTH)
        if declared is not None:
            stream.left = int(declared)
            if end and stream.left:
                raise RemoteProtocolError(VIOLATION)

    def _on_received_trailers(self, stream: Http2Stream, trailers: Headers) -> None:
        stream.recv_ended = True
        if stream.left > 0:
            self._refuse(stream, frames.PROTOCOL_ERROR, ResetReason.PROTOCOL_ERROR, VIOLATION)
            return
        self._settle(stream)
        self._sink.on_trailers(stream.id, trailers)

    def _on_data(self, stream_id: int, flags: int, payload: bytes) -> None:
        if not stream_id:
            raise broken("DATA: stream_id == 0")
        size = len(payload)
        end = bool(flags & frames.END_STREAM)
        self._recv_window -= size
        if self._recv_window < 0:
            raise broken("DATA: connection window exceeded", frames.FLOW_CONTROL_ERROR)
        if flags & frames.PADDED:
            payload = _unpadded(payload, "DATA")
        self._guard.on_payload(len(payload), end)
        stream = self._streams.get(stream_id)
        if stream is None:
            if self._is_idle(stream_id):
                raise broken("DATA: stream in idle")
            self._credit_connection(size)  # for a stream that is over: nobody will take it
            return
        if stream.recv_ended:
            raise broken("DATA: stream in half-closed(remote)", frames.STREAM_CLOSED)
        if not stream.recv_headers:
            raise broken("DATA: before HEADERS")
        stream.recv_window -= size
        if stream.recv_window < 0:
            raise broken("DATA: stream window exceeded", frames.FLOW_CONTROL_ERROR)
        stream.meter.wire_received += size + frames.HEADER_BYTES
        body = len(payload)
        if size != body:
            self.credit(stream_id, size - body)
        if stream.left >= 0:
            stream.left -= body
            if stream.left < 0 or (end and stream.left):
                self._credit_connection(body)
                self._refuse(stream, frames.PROTOCOL_ERROR, ResetReason.PROTOCOL_ERROR, VIOLATION)
                return
        if end:
            stream.recv_ended = True
            self._settle(stream)
        if body or end:
            self._sink.on_data(stream_id, payload, end)

    def _on_rst_stream(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise broken("RST_STREAM: size", frames.FRAME_SIZE_ERROR)
        if not stream_id or self._is_idle(stream_id):
            raise broken("RST_STREAM: stream in idle")
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.meter.wire_received += frames.HEADER_BYTES + 4
        self._forget(stream)
        (code,) = frames.unpack_number(payload)
        self.last_reset_code = code
        if code == frames.REFUSED_STREAM and stream.early:
            self._sink.on_reset(stream_id, ResetReason.NOT_PROCESSED, REMOTE_REFUSED)
        else:
            self._sink.on_reset(stream_id, *RESETS_BY_CODE.get(code, OTHER_RESET))

    def _on_priority(self, stream_id: int, flags: int, payload: bytes) -> None:
        """Its meaning is gone (RFC 9113 section 5.3.2), its rules are not."""
        if not stream_id:
            raise broken("PRIORITY: stream_id == 0")
        if len(payload) != 5:
            raise broken("PRIORITY: size", frames.FRAME_SIZE_ERROR)
        _check_dependency(stream_id, payload)
        self._guard.on_priority()

    def _on_window_update(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise broken("WINDOW_UPDATE: size", frames.FRAME_SIZE_ERROR)
        self._guard.on_window_update()
        increment = frames.unpack_number(payload)[0] & frames.MAX_WINDOW
        if not stream_id:
            self._send_window += increment
            if not increment:
                raise broken("WINDOW_UPDATE: increment == 0")
            if self._send_window > frames.MAX_WINDOW:
                raise broken("WINDOW_UPDATE: connection window overflow", frames.FLOW_CONTROL_ERROR)
            self._serve_blocked()
            return
        if self._is_idle(stream_id):
            raise broken("WINDOW_UPDATE: stream in idle")
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.send_window += increment
        if not increment:
            self._malformed(stream, broken("WINDOW_UPDATE: increment == 0"))
        elif stream.send_window > frames.MAX_WINDOW:
            self._malformed(
                stream, broken("WINDOW_UPDATE: stream window overflow", frames.FLOW_CONTROL_ERROR)
            )
        elif stream.queue is not None:
            self._on_stream_window(stream)

    # --- frames of the connection

    def _on_settings(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise broken("SETTINGS: stream_id != 0")
        if flags & frames.ACK:
            if payload:
                raise broken("SETTINGS: ACK with a payload", frames.FRAME_SIZE_ERROR)
            if not self._settings_unacked:
                raise broken("SETTINGS: unexpected ACK")
            self._settings_unacked -= 1
            self._decoder.on_settings_acknowledged()
            return
        if len(payload) % 6:
            raise broken("SETTINGS: size", frames.FRAME_SIZE_ERROR)
        if len(payload) > 6 * _MAX_SETTINGS:
            raise broken("SETTINGS: too many entries", frames.ENHANCE_YOUR_CALM)
        self.settings_seen = True
        window = self._stream_send_window
        for name, value in frames.read_settings(payload):
            self._apply_setting(name, value)
        self._output.append(frames.SETTINGS_ACK)
        self._guard.on_answer()
        if self._stream_send_window != window:
            self._guard.on_window_change()
            self._shift_windows(self._stream_send_window - window)

    def _apply_setting(self, name: int, value: int) -> None:
        if name == frames.HEADER_TABLE_SIZE:
            self._encoder.set_max_table_size(value)
        elif name == frames.ENABLE_PUSH:
            if value > 1 or (value and self._client):
                raise broken("SETTINGS: invalid ENABLE_PUSH")
        elif name == frames.MAX_CONCURRENT_STREAMS:
            self.peer_max_streams = value
        elif name == frames.INITIAL_WINDOW_SIZE:
            if value > frames.MAX_WINDOW:
                raise broken("SETTINGS: too large INITIAL_WINDOW_SIZE", frames.FLOW_CONTROL_ERROR)
            self._stream_send_window = value
        elif name == frames.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME_SIZE <= value <= frames.MAX_FRAME_SIZE_LIMIT:
                raise broken("SETTINGS: invalid MAX_FRAME_SIZE")
            self._max_frame_size = value
        elif name == frames.ENABLE_CONNECT_PROTOCOL:
            if value > 1:
                raise broken("SETTINGS: invalid ENABLE_CONNECT_PROTOCOL")
            self.peer_allows_connect = bool(value)

    def _on_push_promise(self, stream_id: int, flags: int, payload: bytes) -> None:
        raise broken("PUSH_PROMISE: push disabled")

    def _on_ping(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise broken("PING: stream_id != 0")
        if len(payload) != 8:
            raise broken("PING: size", frames.FRAME_SIZE_ERROR)
        if flags & frames.ACK:
            self.last_ping_answered = payload
            return
        self._output.append(frames.ping(payload, ack=True))
        self._guard.on_answer()

    def _on_goaway(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise broken("GOAWAY: stream_id != 0")
        if len(payload) < 8:
            raise broken("GOAWAY: size", frames.FRAME_SIZE_ERROR)
        last_stream_id, code = frames.unpack_goaway(payload)
        last_stream_id &= frames.MAX_STREAM_ID
        self.goaway_received = (last_stream_id, code, payload[8 : 8 + _GOAWAY_TEXT_BYTES])
        self._on_peer_leaves(last_stream_id)

    @abstractmethod
    def _on_peer_leaves(self, last_stream_id: int) -> None: ...

    @abstractmethod
    def _is_idle(self, stream_id: int) -> bool:
        """No stream with this id was ever begun."""

    # --- the end of streams

    def _refuse(self, stream: Http2Stream, code: int, reason: ResetReason, details: str) -> None:
        """End one stream because of what came on it."""
        self._forget(stream)
        self._output.append(frames.rst_stream(stream.id, code))
        self._guard.on_answer()
        self._sink.on_reset(stream.id, reason, details)

    def _malformed(self, stream: Http2Stream, error: RemoteProtocolError) -> None:
        """A message that breaks the rules costs its connection, as in Envoy, or its stream where that is configured."""
        if self._settings.http2.stream_errors:
            self._refuse(stream, error.h2_code, ResetReason.PROTOCOL_ERROR, error.details)
            return
        self._forget(stream)
        self._sink.on_reset(stream.id, ResetReason.PROTOCOL_ERROR, error.details)
        error.of_stream = True
        raise error

    # --- state

    def meter(self, stream_id: int) -> StreamMeter:
        stream = self._streams.get(stream_id)
        return stream.meter if stream is not None else StreamMeter()

    def version(self, stream_id: int) -> HttpVersion:
        return HttpVersion.HTTP2

    @property
    def wants_input(self) -> bool:
        return True

    @property
    def idle(self) -> bool:
        return not self._streams

    @property
    def open_streams(self) -> int:
        """How many streams are open, both directions counted."""
        return len(self._streams)


#: By the type of a frame. Functions, not methods of each connection: these would keep it alive until the garbage collector looks.
_HANDLERS: Final = (
    Http2._on_data,
    Http2._on_headers,
    Http2._on_priority,
    Http2._on_rst_stream,
    Http2._on_settings,
    Http2._on_push_promise,
    Http2._on_ping,
    Http2._on_goaway,
    Http2._on_window_update,
    Http2._on_continuation,
)


def _unpadded(payload: bytes, kind: str) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise broken(f"{kind}: invalid padding")
    return payload[1 : len(payload) - payload[0]]


def _check_dependency(stream_id: int, payload: bytes) -> None:
    if frames.unpack_number(payload)[0] & frames.MAX_STREAM_ID == stream_id:
        raise broken("PRIORITY: depends on itself")
