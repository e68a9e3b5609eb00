"""One HTTP/1 connection of a pool, and the exchange that is on it.

`Http1Client` stands at the end of the connection's network filters and between the codec and whoever uses the stream. The
last event of a response is told only after the codec has returned: by then it is known whether bytes came behind the
response (then the connection is of no use any more), and the connection is back in its pool.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http import names
from protocols.http.codec import Codec, CodecSettings, CodecSink, HttpVersion, ResetReason
from protocols.http.headers import Headers
from sidecar.stream_info import ConnectionFacts
from sidecar.transport.connection import Connection
from sidecar.transport.flow import ReadGate
from sidecar.transport.transport_socket import CloseReason
from sidecar.upstream.active_client import ActiveClient

if TYPE_CHECKING:
    from sidecar.stream_info import UpstreamInfo
    from sidecar.upstream.api import UpstreamSink
    from sidecar.upstream.http_pool import HttpPool

#: Makes the client codec of a connection.
NewCodec = Callable[[CodecSink, CodecSettings], Codec]

#: A server that gives an idle connection up may say so; Envoy does not count it as a protocol error.
_IDLE_GOODBYE: Final = (b"HTTP/1.1 408", b"HTTP/1.0 408")


class Http1Stream:
    """One exchange. Implements `UpstreamStream`; after its end every call is ignored."""

    __slots__ = ("_client", "_id", "_paused", "info", "meter", "request_ended")

    def __init__(self, client: Http1Client) -> None:
        codec = client.codec
        self._client: Http1Client | None = client
        self._id = codec.new_stream()
        self.meter = codec.meter(self._id)
        self.info: UpstreamInfo = client.info
        self.request_ended = False
        self._paused = False

    @property
    def version(self) -> HttpVersion:
        return HttpVersion.HTTP11

    @property
    def is_alone(self) -> bool:
        return True

    def send_headers(self, headers: Headers, end: bool) -> None:
        client = self._client
        if client is None:
            return
        try:
            client.codec.send_headers(self._id, headers, end)
            client.expect_tunnel(headers.method == names.CONNECT)
        except LocalProtocolError as error:
            client.fail_soon(self, str(error))
            return
        if end:
            self.request_ended = True
            client.flush()
        else:
            client.flush_soon()  # the first piece of body often comes in the same turn

    def send_data(self, data: bytes, end: bool) -> None:
        client = self._client
        if client is None:
            return
        try:
            client.codec.send_data(self._id, data, end)
        except LocalProtocolError as error:
            client.fail_soon(self, str(error))
            return
        if end:
            self.request_ended = True
        client.flush()
        if end and client.in_tunnel:  # half-close
            client.connection.write(b"", True)

    def send_trailers(self, trailers: Headers) -> None:
        client = self._client
        if client is None:
            return
        try:
            client.codec.send_trailers(self._id, trailers)
        except LocalProtocolError as error:
            client.fail_soon(self, str(error))
            return
        self.request_ended = True
        client.flush()

    def reset(self) -> None:
        client = self._client
        if client is not None:
            client.codec.reset(self._id, ResetReason.LOCAL_RESET)
            client.abandon()

    def pause_reading(self) -> None:
        client = self._client
        if client is not None and not self._paused:
            self._paused = True
            client.pool.stats.upstream_flow_control_paused_reading_total.inc()
            client.connection.gate.close(ReadGate.STREAM)

    def resume_reading(self) -> None:
        client = self._client
        if client is not None and self._paused:
            self._paused = False
            client.pool.stats.upstream_flow_control_resumed_reading_total.inc()
            client.connection.gate.open(ReadGate.STREAM)

    def detach(self) -> None:
        """The exchange is over; the connection belongs to the next one."""
        client, self._client = self._client, None
        if client is not None and self._paused:
            self._paused = False
            client.pool.stats.upstream_flow_control_resumed_reading_total.inc()
            client.connection.gate.open(ReadGate.STREAM)


class ResponseReceiver:
    """What the codec tells of the response on a connection. Implements `CodecSink`."""

    __slots__ = ("began", "connects", "final", "final_is_trailers", "in_tunnel", "sink", "stream")

    def __init__(self) -> None:
        #: both None while nothing is awaited; the stream does not know its sink, so that there is no reference cycle
        self.stream: Http1Stream | None = None
        self.sink: UpstreamSink | None = None
        self.final: Headers | bytes | None = None  # the last event, not told yet
        self.final_is_trailers = False
        self.began = False  # a byte of the response has come
        self.connects = False  # the request is a CONNECT
        self.in_tunnel = False

    def on_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        sink = self.sink
        if sink is None:
            return
        if end:
            self.final = headers
            return
        status = headers.status
        if status == 101 or (self.connects and 200 <= status < 300):
            self.in_tunnel = True
        elif status < 200:
            self.began = False
        sink.on_response_headers(headers, False)

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        sink = self.sink
        if sink is None:
            return
        if end:
            self.final = data
        else:
            sink.on_response_data(data, False)

    def on_trailers(self, stream_id: int, trailers: Headers) -> None:
        if self.sink is not None:
            self.final = trailers
            self.final_is_trailers = True

    def on_reset(self, stream_id: int, reason: ResetReason, details: str) -> None:
        """The end of the connection came before the response: whoever told the codec of the end knows."""

    def on_goaway(self, last_stream_id: int) -> None:
        """HTTP/2 only."""

    def on_writable(self, stream_id: int) -> None:
        """HTTP/2 only."""

    def tell_final(self, sink: UpstreamSink) -> None:
        """Hand on the last event of the response."""
        final, self.final = self.final, None
        if isinstance(final, bytes):
            sink.on_response_data(final, True)
        elif final is not None:
            if self.final_is_trailers:
                self.final_is_trailers = False
                sink.on_response_trailers(final)
            else:
                sink.on_response_headers(final, True)


class Http1Client(ActiveClient):
    """One exchange at a time."""

    __slots__ = ("_broken", "_receiver", "codec")

    def __init__(self, connection: Connection, pool: HttpPool) -> None:
        super().__init__(connection, pool)
        self._receiver = receiver = ResponseReceiver()
        self.codec = pool.config.new_codec(receiver, pool.config.codec_settings)
        self._broken = False  # a protocol error was seen
        pool.stats.upstream_cx_http1_total.inc()

    # for the pool

    @property
    def capacity(self) -> int:
        return 0 if self._receiver.stream is not None or self.draining or not self.opened else 1

    @property
    def is_busy(self) -> bool:
        return self._receiver.stream is not None

    def start(self, sink: UpstreamSink) -> Http1Stream:
        self._requests += 1
        receiver = self._receiver
        receiver.began = False
        receiver.sink = sink
        stream = receiver.stream = Http1Stream(self)
        return stream

    # for the stream

    @property
    def in_tunnel(self) -> bool:
        return self._receiver.in_tunnel

    def expect_tunnel(self, connects: bool) -> None:
        """The request that was just sent is a CONNECT, or is not."""
        self._receiver.connects = connects

    def flush(self) -> None:
        output = self.codec.take_output()
        if output:
            self.connection.write(output)

    def abandon(self) -> None:
        """The exchange was given up: HTTP/1 has no other way to say so than to close."""
        self._end_exchange()
        self._close(remote=False, with_stream=True)

    def fail_soon(self, stream: Http1Stream, details: str) -> None:
        """A head or body that cannot be written: told in the next turn, for nothing is told inside of `send_*`."""

        def fail() -> None:
            if self._receiver.stream is stream:
                self._lose(ResetReason.PROTOCOL_ERROR, details, remote=False)

        self.connection.timers.soon(fail)

    # network filter

    def on_data(self, data: bytes, end: bool) -> bytes:
        receiver = self._receiver
        if receiver.stream is None:
            self._on_idle_input(data, end)
            return b""
        try:
            if data:
                receiver.began = True
                self.codec.receive(data)
            if end and receiver.final is None and receiver.stream is not None:
                self.codec.receive_eof()
        except RemoteProtocolError as error:
            self._on_protocol_error(error, remote=end)
        if receiver.final is not None:
            self._finish(remote=end)
        elif end:
            self._lose(ResetReason.CONNECTION_TERMINATION, "", remote=True)
        return b""

    def _on_idle_input(self, data: bytes, end: bool) -> None:
        if self._gone:
            return
        if data and not data.startswith(_IDLE_GOODBYE):
            self.pool.stats.upstream_cx_protocol_error.inc()
        self._close(remote=end and not data, with_stream=False)

    def _on_protocol_error(self, error: RemoteProtocolError, *, remote: bool) -> None:
        self._broken = True
        if self._gone:
            return
        self.pool.stats.upstream_cx_protocol_error.inc()
        if self._receiver.final is None:
            self._lose(ResetReason.PROTOCOL_ERROR, error.details, remote=remote)

    def _on_connection_closed(self, reason: CloseReason | None) -> None:
        connection = self.connection
        remote = reason is not CloseReason.LOCAL
        details = connection.close_details if reason is CloseReason.TRANSPORT_FAILURE else ""
        receiver = self._receiver
        if receiver.stream is not None and receiver.began and reason is not CloseReason.TRANSPORT_FAILURE:
            try:
                self.codec.receive_eof()
            except RemoteProtocolError as error:
                self._on_protocol_error(error, remote=remote)
                return
            # A body without a length that was cut off by a reset is not complete, whatever the codec thinks.
            receiver.final = None
        self._lose(ResetReason.CONNECTION_TERMINATION, details, remote=remote)

    def _facts(self, *, remote: bool | None = None) -> ConnectionFacts:
        return dataclasses.replace(super()._facts(remote=remote), response_began=self._receiver.began)

    # the ends

    def _finish(self, *, remote: bool) -> None:
        """The response is complete: give the connection back or away, then tell the rest."""
        receiver = self._receiver
        stream, sink = receiver.stream, receiver.sink
        if stream is None or sink is None:
            receiver.final = None
            return
        complete = stream.request_ended
        pool = self.pool
        receiver.stream = receiver.sink = None
        stream.detach()
        pool.on_stream_ended()
        if (
            complete
            and not remote
            and not self.draining
            and not self._broken
            and not self.codec.must_close
            and self.connection.close_reason is None
        ):
            self.start_idle()
            pool.on_client_ready(self)
        else:
            if complete and not self._broken and not receiver.in_tunnel and self.codec.must_close:
                # The upstream said `connection: close`, or ended the body by closing, which goes with saying so.
                pool.stats.upstream_cx_close_notify.inc()
            self._close(remote=remote, with_stream=not complete)
        receiver.tell_final(sink)
        if pool.pending:
            pool.serve_pending()

    def _lose(self, reason: ResetReason, details: str, *, remote: bool) -> None:
        """The connection is gone or must go; an exchange on it did not end."""
        sink = self._receiver.sink
        if sink is not None:
            self._leave_facts(remote=remote)
            self._end_exchange()
        self._close(remote=remote, with_stream=sink is not None)
        if sink is not None:
            sink.on_upstream_reset(reason, details)

    def _end_exchange(self) -> None:
        receiver = self._receiver
        stream, receiver.stream = receiver.stream, None
        receiver.sink = None
        if stream is not None:
            stream.detach()
            self.pool.on_stream_ended()

    def _tell_full(self, full: bool) -> None:
        sink = self._receiver.sink
        if sink is not None:
            sink.on_upstream_full(full)
