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
- `take_output` joins what was produced since the last call: the hall makes one transport write of it per turn.
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


class UnderscorePolicy(enum.Enum):
    """What to do with header names that contain an underscore."""

    ALLOW = 0
    REJECT = 1
    DROP = 2


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


class StreamMeter:
    """Bytes of one stream on this side of the proxy, as the codec saw them (Envoy's BytesMeter). TLS not included.

    `wire` counts everything of the message: start line, fields, separators, chunk framing, body, trailers;
    `header` only the heads; body bytes alone are counted by the hall.
    """

    __slots__ = ("header_received", "header_sent", "wire_received", "wire_sent")

    def __init__(self) -> None:
        self.header_received = 0
        self.header_sent = 0
        self.wire_received = 0
        self.wire_sent = 0


class CodecSink(Protocol):
    """What a codec tells. `end` means that this is the last of the message in that direction."""

    def on_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        """A whole, checked head. A client also gets each 1xx head (status 100 to 199 other than 101) this way, `end` False."""

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        """A piece of body without framing; `data` may be empty when `end`."""

    def on_trailers(self, stream_id: int, trailers: Headers) -> None:
        """Trailers; always the end. Only when `enable_trailers` (else they are checked and dropped, and `on_data` ends)."""

    def on_reset(self, stream_id: int, reason: ResetReason) -> None:
        """The stream ended without its end. HTTP/1 client: the connection broke in the middle of a response."""

    def on_goaway(self, last_stream_id: int) -> None:
        """HTTP/2 only: the peer takes no stream above this id."""

    def on_writable(self, stream_id: int) -> None:
        """HTTP/2 only: the flow-control window of a stream opened again."""


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

    def shutdown(self) -> None:
        """HTTP/2: GOAWAY. HTTP/1 server: `connection: close` on the next final response head."""

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
