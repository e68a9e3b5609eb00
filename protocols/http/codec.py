"""The seam between a codec and the hall: one interface for HTTP/1 and HTTP/2, server and client.

A codec is sans-IO: bytes in by `receive`, callbacks out to a `CodecSink`, bytes to write collected by `take_output`. It
knows no clock, socket or policy. A *stream* is one exchange of request and response; ids count 1, 2, 3, ... for
HTTP/1 and are the stream ids for HTTP/2.

Rules that hold for every codec:
- `receive` either accepts its input or raises `RemoteProtocolError`; nothing else may come out of it, whatever the bytes.
  After an error the codec accepts no more input; a server may still answer with `send_*` (the hall sends the error reply) and
  must then close the connection.
- Callbacks to the sink happen only inside `receive`, `receive_eof` and `proceed`, never inside `send_*`: no recursion.
- HTTP/1 server: the next pipelined request is parsed only after the response to the one before it was sent completely.
  Bytes that came early wait in the codec; after the hall has finished with a stream it calls `proceed`.
- HTTP/1 client: one exchange at a time; bytes from the upstream that belong to no exchange raise.
- HTTP/2: what the peer's flow-control windows do not let through waits in the codec; the hall asks `unsent` after it has
  handed body over, stops its source when that is much, and is told by `on_writable` when it may go on.
- `take_output` joins what was produced since the last call: the hall makes one transport write of it per turn, and says by
  `flushed` when the transport holds nothing of it any more.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from protocols.http.headers import Headers


class HttpVersion(enum.Enum):
    """What access logs call `%PROTOCOL%`."""

    HTTP10 = "HTTP/1.0"
    HTTP11 = "HTTP/1.1"
    HTTP2 = "HTTP/2"


class ResetReason(enum.Enum):
    """Why a stream ended without its end (Envoy's StreamResetReason)."""

    LOCAL_RESET = "local_reset"
    REMOTE_RESET = "remote_reset"
    LOCAL_REFUSED = "local_refused_stream_reset"
    REMOTE_REFUSED = "remote_refused_stream_reset"
    PROTOCOL_ERROR = "protocol_error"
    CONNECTION_TERMINATION = "connection_termination"
    CONNECTION_FAILURE = "connection_failure"
    OVERFLOW = "overflow"
    NOT_PROCESSED = "not_processed"  # HTTP/2: the server left (GOAWAY) without having looked at the request
    CONNECT_ERROR = "connect_error"  # HTTP/2: a tunnel was broken off
    NO_ERROR = "no_error"  # HTTP/2: the rest of the message is not wanted, and that is no failure


class UnderscorePolicy(enum.Enum):
    """What to do with header names that contain an underscore."""

    ALLOW = 0
    REJECT = 1
    DROP = 2


@dataclass(frozen=True, slots=True)
class Http2Settings:
    """`Http2ProtocolOptions`, with Envoy's defaults. Windows and tables in bytes.

    `stream_errors` (Envoy's `override_stream_error_on_invalid_http_message`): a message that breaks the rules of HTTP ends its
    stream; off, it ends the connection. The limits on frames are those against floods: what the peer causes us to queue
    (`max_outbound_*`), and what it may send to no purpose.
    """

    max_concurrent_streams: int = 1024
    initial_stream_window_size: int = 16 * 1024 * 1024
    initial_connection_window_size: int = 24 * 1024 * 1024
    header_table_size: int = 4096
    allow_connect: bool = False
    stream_errors: bool = False
    custom_settings: tuple[tuple[int, int], ...] = ()  # identifier, value: said after our own
    max_outbound_frames: int = 10_000
    max_outbound_control_frames: int = 1_000
    max_consecutive_empty_frames: int = 1
    max_priority_frames_per_stream: int = 100
    max_window_updates_per_data_frame: int = 10


@dataclass(frozen=True, slots=True)
class CodecSettings:
    """The few numbers a codec needs; the hall copies them from its configuration.

    `max_head_bytes` bounds a request or response head (start line and fields; trailers too), refused with 431 also while
    still incomplete. `max_headers` bounds the number of fields. `accept_http_10` off: 426 (Envoy's answer to every
    version but 1.1). `allowed_upgrades`: lower-case tokens for which `Upgrade` may switch protocols; the codec writes a 101
    for no other (the hall answers 403).
    """

    max_head_bytes: int = 60 * 1024
    max_headers: int = 100
    accept_http_10: bool = False
    default_host_for_http_10: bytes = b""
    allow_absolute_url: bool = True
    enable_trailers: bool = False
    underscores: UnderscorePolicy = UnderscorePolicy.ALLOW
    allowed_upgrades: frozenset[bytes] = frozenset()
    http2: Http2Settings = Http2Settings()


class StreamMeter:
    """Bytes of one stream on this side of the proxy, as the codec saw them (Envoy's BytesMeter). TLS not included.

    `wire` counts everything of the message: start line, fields, separators, chunk framing, body, trailers;
    `header` only the fields of heads, counted as Envoy does: in HTTP/1 without start line, empty line and the blanks behind received
    names. Body bytes alone are counted by the hall.
    """

    __slots__ = ("header_received", "header_sent", "wire_received", "wire_sent")

    def __init__(self) -> None:
        self.header_received = 0
        self.header_sent = 0
        self.wire_received = 0
        self.wire_sent = 0


def sum_of(one: StreamMeter | None, other: StreamMeter) -> StreamMeter:
    total = StreamMeter()
    for meter in (one, other):
        if meter is not None:
            total.header_received += meter.header_received
            total.header_sent += meter.header_sent
            total.wire_received += meter.wire_received
            total.wire_sent += meter.wire_sent
    return total


class CodecSink(Protocol):
    """What a codec tells. `end` means that this is the last of the message in that direction."""

    def on_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        """A whole, checked head. A client also gets each 1xx head (status 100 to 199 other than 101) this way, `end` False."""

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        """A piece of body without framing; `data` may be empty when `end`."""

    def on_trailers(self, stream_id: int, trailers: Headers) -> None:
        """Trailers; always the end. Only when `enable_trailers` (else they are checked and dropped, and `on_data` ends)."""

    def on_reset(self, stream_id: int, reason: ResetReason, details: str) -> None:
        """The stream ended without its end; `details` is Envoy's response code detail, "" if it has none.

        HTTP/1 client: the connection broke in the middle of a response. HTTP/2 server: also for a request that was refused
        before its head was complete, so without `on_headers`.
        """

    def on_goaway(self, last_stream_id: int) -> None:
        """HTTP/2 only: the peer takes no stream above this id."""

    def on_writable(self, stream_id: int) -> None:
        """HTTP/2 only: most of what waited in the codec for the stream's window has been sent; of a message that has ended, all.

        Only after `unsent` has said that it was much, or that anything of such a message waits.
        """


class Codec(Protocol):
    """What a codec is told; the same for both protocols and both roles."""

    def receive(self, data: bytes) -> None:
        """Bytes from the peer. May raise RemoteProtocolError."""

    def receive_eof(self) -> None:
        """The peer sent its last byte. May raise RemoteProtocolError (truncated message) or end a body that runs to the close."""

    def proceed(self) -> None:
        """Go on with input held back behind a finished exchange (pipelining). May raise RemoteProtocolError."""

    def new_stream(self) -> int:
        """Client: begin an exchange, returns its id. HTTP/1 raises LocalProtocolError while another is unfinished.

        HTTP/1 server: only for a request head that was refused or never came whole: the id under which it is answered.
        No further input is taken.
        """

    def send_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        """A request head (client), or a response head (server; status 100 to 199 may come first, several times).

        Raises LocalProtocolError for a head that could not be written safely (a name that is not a token, CR, LF or NUL in
        a value, white space in method or path): the writer is the last check against smuggling.
        """

    def send_data(self, stream_id: int, data: bytes, end: bool) -> None: ...

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        """Ends the message. HTTP/1: written only after a chunked body and when trailers are enabled, else only the end."""

    def reset(self, stream_id: int, reason: ResetReason) -> None:
        """Give a stream up. HTTP/1 cannot: the connection must be closed, `must_close` becomes true."""

    def credit(self, stream_id: int, size: int) -> None:
        """HTTP/2: `size` bytes of body were taken, the peer may send that much more. HTTP/1: nothing."""

    def unsent(self, stream_id: int) -> int:
        """Bytes of body that wait for the peer's window. HTTP/1: always 0."""

    def flushed(self) -> None:
        """The transport holds nothing more of what `take_output` gave."""

    def shutdown(self) -> None:
        """Take no further exchange. HTTP/1 server: `connection: close` on the next final response head.

        HTTP/2: a GOAWAY that refuses nothing yet, since requests may be on their way; called again, one that does.
        """

    def take_output(self) -> bytes:
        """Everything to write now, once."""

    def meter(self, stream_id: int) -> StreamMeter:
        """The byte counts of a stream; the object stays valid after the stream ended."""

    def version(self, stream_id: int) -> HttpVersion:
        """The version of the peer's message."""

    @property
    def must_close(self) -> bool:
        """After the output now pending is flushed, the connection is to be closed (no further exchange is possible)."""

    @property
    def wants_input(self) -> bool:
        """False while input is held back behind an unfinished exchange: the hall stops reading the socket."""

    @property
    def idle(self) -> bool:
        """No exchange is open and no partial message has been received."""
