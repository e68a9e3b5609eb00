"""The server's role of HTTP/1.1: requests in, responses out, pipelining, upgrades."""

from __future__ import annotations

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http import names
from protocols.http.codec import CodecSettings, CodecSink, ResetReason, StreamMeter
from protocols.http.h1 import (
    BODY,
    DEAD,
    ENDED,
    HEAD,
    HTTP11,
    SENDING,
    SENT,
    SWITCHING,
    TUNNEL,
    UNSENT,
    BodyReaders,
    Http1,
)
from protocols.http.head import UNTIL_CLOSE, fields_size, read_request_head
from protocols.http.head_writer import write_response_head
from protocols.http.headers import Headers


class Http1Server(Http1):
    """The server's side of a connection: requests in, responses out."""

    __slots__ = ("_held", "_method", "_proceed", "_running", "_upgrade")

    def __init__(self, sink: CodecSink, settings: CodecSettings, bodies: BodyReaders) -> None:
        super().__init__(sink, settings, bodies)
        self._held: list[bytes] = []
        self._method = b""
        self._upgrade = b""
        self._running = False  # input is being worked on: a callback may be on the stack
        self._proceed = False  # asked for in such a callback
        self._sending = SENT

    # --- input

    def receive(self, data: bytes) -> None:
        if not data or self._reading == DEAD:
            return
        if self._held or self._running:
            self._held.append(data)
            if self._reading == TUNNEL:
                self.proceed()
            return
        self._run(data)

    def proceed(self) -> None:
        if self._running:
            self._proceed = True
        elif self._held and self._reading in (HEAD, TUNNEL):
            data = b"".join(self._held)
            self._held.clear()
            self._run(data)

    def _run(self, data: bytes) -> None:
        self._running = True
        try:
            while data:
                reading = self._reading
                if reading == HEAD:
                    self._proceed = False
                    data = self._read_head(data)
                elif reading == BODY:
                    data = self._read_body(data)
                elif reading == TUNNEL:
                    self._meter.wire_received += len(data)
                    self._sink.on_data(self._stream_id, data, False)
                    data = b""
                elif reading == DEAD:
                    return
                else:
                    self._held.insert(0, data)
                    return
                if self._reading == HEAD and not self._proceed:
                    if data:
                        self._held.insert(0, data)
                    return
                if not data and self._held:  # came while a callback was on the stack
                    data = b"".join(self._held)
                    self._held.clear()
        except RemoteProtocolError:
            self._fail()
            raise
        finally:
            self._running = False

    def _read_head(self, data: bytes) -> bytes:
        data = self._collect_head(data)
        if not data:
            return b""
        head = read_request_head(data, self._settings)
        if head is None:
            self._partial = bytearray(data)
            return b""
        headers = head.headers
        length = head.length
        size = head.size
        self._stream_id += 1
        self._meter = meter = StreamMeter()
        meter.header_received = fields_size(data, size)
        meter.wire_received = size
        self._sending = UNSENT
        self._version = head.version
        self._keep_alive = head.keep_alive
        self._method = method = headers.method
        self._upgrade = head.upgrade
        if head.upgrade or method == names.CONNECT:
            self._reading = SWITCHING
            self._sink.on_headers(self._stream_id, headers, False)
        elif length == 0:
            self._reading = ENDED
            self._sink.on_headers(self._stream_id, headers, True)
        else:
            self._reading = BODY
            self._body = self._bodies.of(length)
            self._sink.on_headers(self._stream_id, headers, False)
        return data[size:] if len(data) > size else b""

    def receive_eof(self) -> None:
        """A client that is gone gets no further exchange; one that waits for its answer may still get it."""
        reading = self._reading
        self._keep_alive = False
        if reading in (BODY, SWITCHING):
            self._die()
            if self._sending != SENT:
                self._sink.on_reset(self._stream_id, ResetReason.CONNECTION_TERMINATION, "")
        elif reading == TUNNEL:
            self._sink.on_data(self._stream_id, b"", True)
        elif reading == HEAD:
            self._die()

    def _listening(self) -> bool:
        return self._sending != SENT

    def _message_received(self, surplus: bytes) -> None:
        self._reading = ENDED
        if self._sending == SENT:
            self._exchange_ended()

    def _fail(self) -> None:
        self._reading = DEAD
        self._body = None
        self._partial = None
        self._held.clear()
        self._keep_alive = False
        if self._sending == SENDING:
            self._closing = True

    # --- output

    def new_stream(self) -> int:
        """The id under which a head that was refused, or never came whole, is answered. No more input is taken."""
        if self._sending != SENT or self._closing or self._reading not in (HEAD, DEAD):
            raise LocalProtocolError("a server begins no exchange")
        self._reading = DEAD
        self._partial = None
        self._held.clear()
        self._stream_id += 1
        self._meter = StreamMeter()
        self._sending = UNSENT
        self._method = b""
        self._version = HTTP11
        return self._stream_id

    def send_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        if self._sending != UNSENT or stream_id != self._stream_id:
            raise LocalProtocolError("a response outside of an exchange")
        status = headers.status
        if status < 200 and status != 101:
            self._send_interim(headers)
            return
        close = self._shutdown or not self._keep_alive or self._says_close(headers)
        reading = self._reading
        switch = False
        if reading == SWITCHING:
            switch = self._switches(status)
            if not switch:
                # Whether the bytes behind such a head are a body, a tunnel or a request is open to argument: none is taken.
                self._reading = DEAD
                self._held.clear()
                close = True
        elif status == 101:
            raise LocalProtocolError("101 without an upgrade request")
        elif reading != ENDED:
            close = True  # as Envoy: an answer that comes before the end of the request ends the connection
        text, length = write_response_head(
            headers,
            end,
            method=self._method,
            version=self._version,
            close=close and not switch,
            upgrade=status == 101,
        )
        self._write_head(text)
        self._left = length
        self._sending = SENDING
        self._keep_alive = not close and length != UNTIL_CLOSE
        if switch:
            self._reading = TUNNEL
        elif end:
            self._sending = SENT
            self._message_sent()

    def _send_interim(self, headers: Headers) -> None:
        if self._version is HTTP11:
            text, _ = write_response_head(
                headers, True, method=self._method, version=HTTP11, close=False, upgrade=False
            )
            self._write_head(text)

    def _says_close(self, headers: Headers) -> bool:
        option = headers.get(names.CONNECTION)
        return option is not None and option.lower() == names.CLOSE

    def _switches(self, status: int) -> bool:
        if self._method == names.CONNECT:
            return 200 <= status < 300
        if status == 101 and self._upgrade not in self._settings.allowed_upgrades:
            raise LocalProtocolError("101 to an upgrade that is not allowed")
        return status == 101

    def _message_sent(self) -> None:
        reading = self._reading
        if reading == ENDED:
            self._exchange_ended()
        elif reading in (DEAD, TUNNEL):
            self._closing = True

    def _exchange_ended(self) -> None:
        if self._keep_alive and not self._shutdown:
            self._reading = HEAD
        else:
            self._die()
            self._held.clear()

    def shutdown(self) -> None:
        self._shutdown = True
        if self.idle:
            self._die()

    # --- state

    @property
    def must_close(self) -> bool:
        return self._closing or (self._sending == SENT and self._reading == BODY)

    @property
    def wants_input(self) -> bool:
        return not self._held

    @property
    def idle(self) -> bool:
        return self._reading == HEAD and self._partial is None and not self._held
