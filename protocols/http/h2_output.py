"""What one side of an HTTP/2 connection sends: frames as the peer's windows allow; the rest waits in its stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from typing import Final

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http import h2_frames as frames
from protocols.http.codec import CodecSettings, CodecSink, ResetReason, StreamMeter
from protocols.http.h2_fields import Field, check_for_writing, trailer_fields
from protocols.http.h2_guard import FloodGuard
from protocols.http.h2_hpack import HpackEncoder
from protocols.http.headers import Headers

#: With more than this waiting for its window, a stream is not writable again.
_WRITABLE_BELOW_BYTES: Final = 64 * 1024
_LENGTH_UNKNOWN: Final = -1

_RESET_CODES: Final = {
    ResetReason.NO_ERROR: frames.NO_ERROR,
    ResetReason.LOCAL_REFUSED: frames.REFUSED_STREAM,
    ResetReason.CONNECT_ERROR: frames.CONNECT_ERROR,
    ResetReason.PROTOCOL_ERROR: frames.PROTOCOL_ERROR,
}


class Http2Stream:
    """One exchange, both directions."""

    __slots__ = (
        "early",
        "full",
        "id",
        "left",
        "meter",
        "method",
        "protocol",
        "queue",
        "queued_bytes",
        "recv_ended",
        "recv_headers",
        "recv_window",
        "send_ended",
        "send_headers",
        "send_window",
        "trailers",
        "tunnel",
        "uncredited",
    )

    def __init__(self, stream_id: int, recv_window: int, send_window: int) -> None:
        self.id = stream_id
        self.meter = StreamMeter()
        self.method = b""
        self.protocol = b""  # of an extended CONNECT
        self.early = False  # it began before the server had said how many streams it takes
        self.tunnel = False  # CONNECT, plain or extended: bytes both ways, no length, no trailers
        self.recv_headers = False  # the final head is here
        self.recv_ended = False
        self.recv_window = recv_window
        self.uncredited = 0  # taken by the hall, not yet told to the peer
        self.left = _LENGTH_UNKNOWN  # of the incoming body, as declared
        self.send_headers = False
        self.send_ended = False  # the end was asked for; it may still wait behind `queue`
        self.send_window = send_window
        self.queue: deque[bytes | memoryview] | None = None  # what the peer's windows did not let through
        self.queued_bytes = 0
        self.trailers: list[Field] | None = None  # behind `queue`
        self.full = False  # somebody waits for `on_writable`


class Http2Output(ABC):
    """The half of `Http2` that writes."""

    __slots__ = (
        "_blocked",
        "_dead",
        "_encoder",
        "_guard",
        "_max_frame_size",
        "_output",
        "_recv_window",
        "_send_window",
        "_settings",
        "_sink",
        "_stalled",
        "_stream_send_window",
        "_streams",
        "_uncredited",
    )

    def __init__(self, sink: CodecSink, settings: CodecSettings) -> None:
        self._sink = sink
        self._settings = settings
        self._guard = FloodGuard(settings.http2)
        self._encoder = HpackEncoder()
        self._streams: dict[int, Http2Stream] = {}
        #: with a queue: those that only the connection's window holds back, in turn, and those whose own window is closed
        self._blocked: OrderedDict[int, Http2Stream] = OrderedDict()
        self._stalled: dict[int, Http2Stream] = {}
        self._output: list[bytes | memoryview] = []
        self._dead = False
        self._recv_window = settings.http2.initial_connection_window_size
        self._uncredited = 0
        self._send_window = frames.DEFAULT_WINDOW
        self._stream_send_window = frames.DEFAULT_WINDOW
        self._max_frame_size = frames.DEFAULT_FRAME_SIZE

    @property
    @abstractmethod
    def _client(self) -> bool: ...

    def _settle(self, stream: Http2Stream) -> None:
        """Forget a stream whose two directions have ended, all written."""
        if stream.recv_ended and stream.send_ended and stream.queue is None:
            self._forget(stream)

    def _forget(self, stream: Http2Stream) -> None:
        self._streams.pop(stream.id, None)
        if stream.queue is not None:
            stream.queue = None
            self._blocked.pop(stream.id, None)
            self._stalled.pop(stream.id, None)

    def _forget_queues(self) -> None:
        self._blocked.clear()
        self._stalled.clear()

    def send_data(self, stream_id: int, data: bytes, end: bool) -> None:
        stream = self._sending(stream_id)
        if stream.send_ended or not stream.send_headers:
            raise LocalProtocolError("body outside of a message")
        stream.send_ended = end
        size = len(data)
        if stream.queue is None:
            if not size or (
                size <= self._max_frame_size and size <= stream.send_window and size <= self._send_window
            ):
                self._write_data(stream, data, end)
                if end:
                    self._settle(stream)
                return
            stream.queue = deque()
            self._blocked[stream_id] = stream
        if size:  # an end alone goes with the last piece that waits
            stream.queue.append(memoryview(data) if size > self._max_frame_size else data)
            stream.queued_bytes += size
        if stream_id in self._blocked:
            while self._pump(stream):
                pass

    def _sending(self, stream_id: int) -> Http2Stream:
        stream = self._streams.get(stream_id)
        if stream is None:
            raise LocalProtocolError("a stream that is over")
        return stream

    def _write_data(self, stream: Http2Stream, data: bytes | memoryview, end: bool) -> None:
        """One DATA frame that the windows let through."""
        size = len(data)
        if not size and not end:
            return
        self._output.append(frames.header(size, frames.DATA, frames.END_STREAM if end else 0, stream.id))
        if size:
            self._output.append(data)
            stream.send_window -= size
            self._send_window -= size
        stream.meter.wire_sent += size + frames.HEADER_BYTES
        self._guard.on_data_sent(1)

    def _pump(self, stream: Http2Stream) -> bool:
        """Send one frame of a stream's queue if the windows let it through; whether it is worth asking again."""
        queue = stream.queue
        assert queue is not None
        allowed = min(self._send_window, stream.send_window, self._max_frame_size)
        if allowed <= 0:
            if stream.send_window <= 0:  # nothing but its own window will help
                del self._blocked[stream.id]
                self._stalled[stream.id] = stream
            return False
        data = queue[0]
        size = len(data)
        if size < allowed and len(queue) > 1:
            size = len(data := frames.join_pieces(queue, allowed))
        if size > allowed:
            self._write_data(stream, data[:allowed], False)
            queue[0] = data[allowed:]
            stream.queued_bytes -= allowed
            return True
        queue.popleft()
        stream.queued_bytes -= size
        self._write_data(stream, data, stream.send_ended and not queue and stream.trailers is None)
        if queue:
            return True
        self._end_queue(stream)
        return False

    def _end_queue(self, stream: Http2Stream) -> None:
        """Nothing of the body waits any more."""
        stream.queue = None
        del self._blocked[stream.id]
        trailers, stream.trailers = stream.trailers, None
        if trailers is not None:
            self._write_block(stream, self._encoder.encode(trailers), True)
        if stream.send_ended:
            self._settle(stream)

    def _serve_blocked(self) -> None:
        """The window of the connection is open: streams that wait for it take turns, a frame each.

        Who had a turn stands behind who had none; the last may have got only the rest of the window, so it stands in front of
        the others that were served. Each turn costs the peer a byte of window at least, for streams whose own window is
        closed are not among those looked at.
        """
        blocked = self._blocked
        served: dict[int, Http2Stream] = {}
        turn: dict[int, None] = {}  # who has had this turn, in order
        while blocked and self._send_window > 0:
            stream_id, stream = next(iter(blocked.items()))
            served[stream_id] = stream
            if stream_id in turn:
                turn.clear()
            turn[stream_id] = None
            if self._pump(stream):
                blocked.move_to_end(stream_id)
        if not self._send_window:
            for stream_id in list(turn)[:-1]:
                if stream_id in blocked:
                    blocked.move_to_end(stream_id)
        for stream in served.values():
            self._tell_writable(stream)

    def _on_stream_window(self, stream: Http2Stream) -> None:
        """The window of a stream that waits was opened."""
        if stream.send_window <= 0:
            return
        if self._stalled.pop(stream.id, None) is not None:
            self._blocked[stream.id] = stream
        while self._pump(stream):
            pass
        self._tell_writable(stream)

    def _shift_windows(self, change: int) -> None:
        """The peer has changed the initial window of streams, which counts for those that exist (RFC 9113 section 6.9.2)."""
        for stream in self._streams.values():
            stream.send_window += change
            if stream.send_window > frames.MAX_WINDOW:
                raise broken("SETTINGS: stream window overflow", frames.FLOW_CONTROL_ERROR)
        if change > 0:
            for stream in [stream for stream in self._stalled.values() if stream.send_window > 0]:
                self._blocked[stream.id] = self._stalled.pop(stream.id)
            self._serve_blocked()

    def _tell_writable(self, stream: Http2Stream) -> None:
        """Somebody waits for what the windows held back, and it has become little enough."""
        if not stream.full:
            return
        if stream.send_ended:
            writable = stream.queue is None
        else:
            writable = stream.queued_bytes <= _WRITABLE_BELOW_BYTES and stream.id in self._streams
        if writable:
            stream.full = False
            self._sink.on_writable(stream.id)

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        stream = self._sending(stream_id)
        if stream.send_ended or not stream.send_headers:
            raise LocalProtocolError("trailers outside of a message")
        fields = trailer_fields(trailers)
        if not fields or stream.tunnel:
            self.send_data(stream_id, b"", True)
            return
        for field in fields:
            check_for_writing(field)
        stream.send_ended = True
        if stream.queue is not None:
            stream.trailers = fields
            return
        self._write_block(stream, self._encoder.encode(fields), True)
        self._settle(stream)

    def _write_block(self, stream: Http2Stream, block: bytes, end: bool) -> None:
        data = frames.headers(stream.id, block, end, self._max_frame_size)
        self._output.append(data)
        self._guard.on_frame_sent()
        meter = stream.meter
        meter.header_sent += len(data)
        meter.wire_sent += len(data)

    def reset(self, stream_id: int, reason: ResetReason) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None and not self._dead:
            self._forget(stream)
            if self._client and not stream.send_headers:
                return  # the server has never heard of it
            code = _RESET_CODES.get(reason, frames.CANCEL if self._client else frames.INTERNAL_ERROR)
            self._output.append(frames.rst_stream(stream_id, code))

    def credit(self, stream_id: int, size: int) -> None:
        """The window of a stream is opened again when half of it was used."""
        self._credit_connection(size)
        stream = self._streams.get(stream_id)
        if stream is None or stream.recv_ended:
            return
        stream.uncredited += size
        if 2 * stream.uncredited >= self._settings.http2.initial_stream_window_size and not self._dead:
            self._output.append(frames.window_update(stream_id, stream.uncredited))
            stream.recv_window += stream.uncredited
            stream.uncredited = 0

    def _credit_connection(self, size: int) -> None:
        """That of the connection: when half of it was used but for what streams hold back, which may be most of it."""
        self._uncredited += size
        if self._uncredited >= max(self._recv_window, 1) and not self._dead:
            self._output.append(frames.window_update(0, self._uncredited))
            self._recv_window += self._uncredited
            self._uncredited = 0

    def ping(self, payload: bytes) -> None:
        """Ask the peer for a sign of life; `last_ping_answered` shows it. `payload` has eight bytes."""
        if not self._dead:
            self._output.append(frames.ping(payload, ack=False))

    def unsent(self, stream_id: int) -> int:
        stream = self._streams.get(stream_id)
        if stream is None or stream.queue is None:
            return 0
        stream.full = stream.send_ended or stream.queued_bytes > _WRITABLE_BELOW_BYTES
        return stream.queued_bytes

    def flushed(self) -> None:
        self._guard.on_flushed()

    def take_output(self) -> bytes:
        output = self._output
        if not output:
            return b""
        data = b"".join(output)
        output.clear()
        return data

    def proceed(self) -> None:  # noqa: B027 (nothing is held back, in either role)
        """Nothing is held back."""


def broken(text: str, code: int = frames.PROTOCOL_ERROR) -> RemoteProtocolError:
    """An error of the connection; details hold no white space."""
    return RemoteProtocolError("codec_error:" + text.replace(" ", "_"), h2_code=code)
