"""The client's role of HTTP/1.1: requests out, responses in, nothing between exchanges."""

from __future__ import annotations

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http import names
from protocols.http.codec import CodecSettings, CodecSink, ResetReason, StreamMeter
from protocols.http.h1 import (
    BODY,
    DEAD,
    ENDED,
    HEAD,
    IDLE,
    SENDING,
    SENT,
    TO_CLOSE,
    TUNNEL,
    UNSENT,
    BodyReaders,
    Http1,
)
from protocols.http.head import CODEC_ERROR, UNTIL_CLOSE, fields_size, read_response_head
from protocols.http.head_writer import write_request_head
from protocols.http.headers import Headers


class Http1Client(Http1):
    """The client's side of a connection: requests out, responses in."""

    __slots__ = ("_method", "_switch")

    def __init__(self, sink: CodecSink, settings: CodecSettings, bodies: BodyReaders) -> None:
        super().__init__(sink, settings, bodies)
        self._reading = IDLE
        self._sending = SENT
        self._method = b""
        self._switch = False

    # --- output

    def new_stream(self) -> int:
        if self._reading != IDLE or self._closing or self._sending != SENT:
            raise LocalProtocolError("another exchange is unfinished, or the connection is to be closed")
        self._stream_id += 1
        self._meter = StreamMeter()
        self._sending = UNSENT
        return self._stream_id

    def send_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        if self._sending != UNSENT or stream_id != self._stream_id:
            raise LocalProtocolError("a request outside of an exchange")
        upgrade = names.UPGRADE in headers and names.CONNECTION in headers
        text, length = write_request_head(headers, end, upgrade)
        self._write_head(text)
        self._method = headers.method
        self._switch = upgrade or self._method == names.CONNECT
        self._left = length
        self._reading = HEAD
        self._sending = SENT if end else SENDING

    def _message_sent(self) -> None:
        if self._reading == ENDED:
            self._exchange_ended()
        elif self._reading == TUNNEL:
            self._closing = True

    # --- input

    def receive(self, data: bytes) -> None:
        try:
            while data:
                reading = self._reading
                if reading == HEAD:
                    data = self._read_head(data)
                elif reading == BODY:
                    data = self._read_body(data)
                elif reading in (TO_CLOSE, TUNNEL):
                    self._meter.wire_received += len(data)
                    self._sink.on_data(self._stream_id, data, False)
                    return
                elif reading == DEAD:
                    return
                else:
                    raise RemoteProtocolError(CODEC_ERROR)
        except RemoteProtocolError:
            self._die()
            raise

    def _read_head(self, data: bytes) -> bytes:
        data = self._collect_head(data)
        if not data:
            return b""
        head = read_response_head(data, self._settings)
        if head is None:
            self._partial = bytearray(data)
            return b""
        size = head.size
        meter = self._meter
        meter.header_received += fields_size(data, size)
        meter.wire_received += size
        self._version = head.version
        surplus = data[size:] if len(data) > size else b""
        headers = head.headers
        status = headers.status
        stream_id = self._stream_id
        if status < 200 and status != 101:
            self._sink.on_headers(stream_id, headers, False)
            return surplus
        if self._switch and (status == 101 or (self._method == names.CONNECT and status < 300)):
            headers.remove(names.CONTENT_LENGTH)
            self._reading = TUNNEL
            self._left = UNTIL_CLOSE
            self._sink.on_headers(stream_id, headers, False)
            return surplus
        if status == 101:
            raise RemoteProtocolError(CODEC_ERROR)
        length = head.length
        if status in (204, 304) or self._method == names.HEAD:
            length = 0
        self._keep_alive = head.keep_alive and length != UNTIL_CLOSE
        if length == 0:
            self._message_received(surplus)
            self._sink.on_headers(stream_id, headers, True)
            return surplus
        if length == UNTIL_CLOSE:
            self._reading = TO_CLOSE
        else:
            self._reading = BODY
            self._body = self._bodies.of(length)
        self._sink.on_headers(stream_id, headers, False)
        return surplus

    def receive_eof(self) -> None:
        """End a body that runs to the close; a response cut off anywhere else raises (Envoy: protocol error).

        A tunnel has no end of its own: it breaks (Envoy).
        """
        reading = self._reading
        stream_id = self._stream_id
        incomplete = self._partial is not None or reading == BODY
        self._die()
        if incomplete:
            raise RemoteProtocolError(CODEC_ERROR)
        if reading == TO_CLOSE:
            self._sink.on_data(stream_id, b"", True)
        elif reading in (HEAD, TUNNEL):
            self._sink.on_reset(stream_id, ResetReason.CONNECTION_TERMINATION, "")

    def _message_received(self, surplus: bytes) -> None:
        """Bytes behind the end belong to nobody: nothing may be sent on this connection any more."""
        if surplus:
            self._closing = True
        self._reading = ENDED
        if self._sending == SENT:
            self._exchange_ended()

    def _exchange_ended(self) -> None:
        if self._shutdown or not self._keep_alive:
            self._closing = True
        self._reading = IDLE

    def proceed(self) -> None:
        """A client holds nothing back."""

    def shutdown(self) -> None:
        """The connection is to be closed after the exchange in progress."""
        self._shutdown = True
        if self._reading == IDLE:
            self._die()

    # --- state

    @property
    def must_close(self) -> bool:
        return self._closing or self._reading == ENDED

    @property
    def wants_input(self) -> bool:
        return True

    @property
    def idle(self) -> bool:
        return self._reading == IDLE and self._sending == SENT
