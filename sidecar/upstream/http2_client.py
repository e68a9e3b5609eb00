"""One HTTP/2 connection of a pool, and the many exchanges on it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http.codec import HttpVersion, ResetReason
from protocols.http.h2_client import Http2Client as Http2Codec
from protocols.http.h2_resets import REMOTE_RESETS
from protocols.http.headers import Headers
from sidecar.stream_info import ConnectionFacts
from sidecar.transport.connection import Connection
from sidecar.transport.flow import Flow
from sidecar.transport.http2_stats import count_codec_error
from sidecar.transport.transport_socket import CloseReason
from sidecar.upstream.active_client import ActiveClient

if TYPE_CHECKING:
    from sidecar.stream_info import UpstreamInfo
    from sidecar.transport.http2_keepalive import Http2Keepalive
    from sidecar.upstream.api import UpstreamSink
    from sidecar.upstream.http_pool import HttpPool

#: A piece of body of this size is worth a write of its own.
_WRITE_AT_ONCE_BYTES: Final = 16 * 1024
#: Body that waits for the server's window before its source is stopped.
STREAM_BUFFER_BYTES: Final = 256 * 1024


class Http2Stream:
    """One exchange. Implements `UpstreamStream`; after its end every call is ignored."""

    __slots__ = (
        "_client",
        "_connection_full",
        "_full",
        "_owed",
        "_paused",
        "_window_full",
        "id",
        "info",
        "meter",
        "request_ended",
        "response_ended",
        "sink",
    )

    def __init__(self, client: Http2Client, stream_id: int, sink: UpstreamSink) -> None:
        self._client: Http2Client | None = client
        self.id = stream_id
        self.sink: UpstreamSink | None = sink
        self.meter = client.codec.meter(stream_id)
        self.info: UpstreamInfo = client.info
        self.request_ended = False
        self.response_ended = False  # of a tunnel whose request has not
        self._paused = False
        self._owed = 0  # bytes that were handed on while the receiver was full
        self._window_full = False
        self._connection_full = False
        self._full = False  # what the sink was told last

    @property
    def version(self) -> HttpVersion:
        return HttpVersion.HTTP2

    @property
    def is_alone(self) -> bool:
        return self._client is not None and len(self._client.streams) == 1

    # from the router

    def send_headers(self, headers: Headers, end: bool) -> None:
        client = self._client
        if client is None:
            return
        try:
            client.codec.send_headers(self.id, headers, end)
        except LocalProtocolError as error:
            client.fail_soon(self, str(error))
            return
        self.request_ended = end
        client.flush_soon()
        if not end and client.connection.write_full:
            self.set_connection_full(True)

    def send_data(self, data: bytes, end: bool) -> None:
        client = self._client
        if client is None:
            return
        try:
            client.codec.send_data(self.id, data, end)
        except LocalProtocolError as error:
            client.fail_soon(self, str(error))
            return
        client.flush_body(len(data))
        if end:
            self._end_request(client)
        if client.codec.unsent(self.id) > STREAM_BUFFER_BYTES:
            self._window_full = True
            self._tell_full()

    def send_trailers(self, trailers: Headers) -> None:
        client = self._client
        if client is None:
            return
        try:
            client.codec.send_trailers(self.id, trailers)
        except LocalProtocolError as error:
            client.fail_soon(self, str(error))
            return
        client.flush_soon()
        self._end_request(client)

    def _end_request(self, client: Http2Client) -> None:
        self.request_ended = True
        if self.response_ended:
            client.release(self)

    def reset(self) -> None:
        client = self._client
        if client is not None:
            client.give_up(self, ResetReason.LOCAL_RESET)

    def pause_reading(self) -> None:
        client = self._client
        if client is not None and not self._paused:
            self._paused = True
            client.pool.stats.upstream_flow_control_paused_reading_total.inc()

    def resume_reading(self) -> None:
        client = self._client
        if client is not None and self._paused:
            self._paused = False
            client.pool.stats.upstream_flow_control_resumed_reading_total.inc()
            owed, self._owed = self._owed, 0
            client.codec.credit(self.id, owed)
            client.flush_soon()

    # from the connection

    def on_data(self, data: bytes, end: bool) -> None:
        """A piece of the response: credited when the receiver takes it."""
        client, sink = self._client, self.sink
        if client is None or sink is None:
            return
        if end:
            client.end(self)
        sink.on_response_data(data, end)
        if self._paused and self._client is not None:
            self._owed += len(data)
        else:
            client.codec.credit(self.id, len(data))

    def set_connection_full(self, full: bool) -> None:
        self._connection_full = full
        self._tell_full()

    def on_writable(self) -> None:
        """What waited for the server's window is on its way."""
        self._window_full = False
        self._tell_full()

    def _tell_full(self) -> None:
        full = self._window_full or self._connection_full
        if full is not self._full and self.sink is not None:
            self._full = full
            self.sink.on_upstream_full(full)

    def detach(self) -> UpstreamSink | None:
        """The exchange is over. What its receiver has not taken is no concern of the connection any more."""
        client, self._client = self._client, None
        sink, self.sink = self.sink, None
        if client is not None:
            if self._owed:
                client.codec.credit(self.id, self._owed)
            if self._paused:
                client.pool.stats.upstream_flow_control_resumed_reading_total.inc()
        return sink


class Http2Client(ActiveClient):
    """Many exchanges at once."""

    __slots__ = ("_keepalive", "_limit", "_server_leaves", "codec", "http2_stats", "reset_code", "streams")

    def __init__(self, connection: Connection, pool: HttpPool) -> None:
        super().__init__(connection, pool)
        self.streams: dict[int, Http2Stream] = {}
        self.codec = Http2Codec(_Responses(self), pool.config.codec_settings)
        self.http2_stats = pool.config.http2_stats()
        self._keepalive: Http2Keepalive | None = None
        self._limit = -1  # of streams, as the server has said
        self._server_leaves = False  # it has said so (GOAWAY)
        self.reset_code = -1  # of the RST_STREAM that is being told
        pool.stats.upstream_cx_http2_total.inc()
        self.http2_stats.nghttp2_upstream_connections.inc()

    # for the pool

    def on_open(self) -> Flow:
        self._keepalive = self.pool.config.keepalive(
            self.codec, self.connection.timers, self.flush, self._on_silence
        )
        flow = super().on_open()
        self.flush_soon()  # the preface leaves also when nobody waits any more
        return flow

    @property
    def capacity(self) -> int:
        if self.draining or not self.opened or not self.codec.takes_streams:
            return 0
        codec = self.codec
        limit = codec.max_streams if codec.settings_seen else self.pool.streams_per_client
        room = limit - codec.open_streams
        return room if self.remaining < 0 else min(room, self.remaining)

    @property
    def is_busy(self) -> bool:
        return bool(self.streams)

    def start(self, sink: UpstreamSink) -> Http2Stream:
        self._requests += 1
        if self._keepalive is not None:
            self._keepalive.before_stream()
        stream_id = self.codec.new_stream()
        stream = self.streams[stream_id] = Http2Stream(self, stream_id, sink)
        self.http2_stats.streams_active.inc()
        return stream

    # for streams

    def flush(self) -> None:
        output = self.codec.take_output()
        if output:
            self.connection.write(output)
        if not self.connection.socket.write_buffer_bytes:
            self.codec.flushed()

    def flush_body(self, size_bytes: int) -> None:
        """A piece of body went to the codec; much of it is written at once, so that the transport says when it is full."""
        if size_bytes >= _WRITE_AT_ONCE_BYTES:
            self.flush()
        else:
            self.flush_soon()

    def end(self, stream: Http2Stream) -> None:
        """The response is complete; a request that is not is not wanted any more (RFC 9113 section 8.1)."""
        if not stream.request_ended:
            if self.codec.is_connected(stream.id):  # the other direction goes on
                stream.response_ended = True
                return
            self.codec.reset(stream.id, ResetReason.NO_ERROR)
            self.http2_stats.tx_reset.inc()
            self.pool.stats.upstream_rq_tx_reset.inc()
        self.release(stream)

    def give_up(self, stream: Http2Stream, reason: ResetReason) -> None:
        """The router does not want the rest."""
        self.codec.reset(stream.id, reason)
        self.pool.stats.upstream_rq_tx_reset.inc()
        self.http2_stats.tx_reset.inc()
        self.release(stream)
        self.flush_soon()

    def release(self, stream: Http2Stream) -> None:
        """An exchange is over: its place is free."""
        if self.streams.pop(stream.id, None) is None:
            return
        stream.detach()
        self.http2_stats.streams_active.dec()
        pool = self.pool
        pool.on_stream_ended()
        if pool.pending:
            self.connection.timers.soon(pool.serve_pending)
        if self.streams:
            pool.on_client_ready(self)
        elif self.draining or not self.codec.takes_streams:
            self.connection.timers.soon(self._close_when_drained)
        else:
            self.start_idle()
            pool.on_client_ready(self)

    def _close_when_drained(self) -> None:
        """Outside of the codec, which may have something to write."""
        if not self.streams and not self._gone:
            self.flush()
            self.close_idle()

    def count_reset(self, reason: ResetReason, details: str) -> None:
        """The server gave a stream up, or what it sent on it was refused. The cluster does not count all of it (Envoy)."""
        if details in REMOTE_RESETS:
            self.http2_stats.rx_reset.inc()
        elif reason is not ResetReason.NOT_PROCESSED:
            self.http2_stats.tx_reset.inc()
            count_codec_error(self.http2_stats, details)
        if reason in (ResetReason.REMOTE_RESET, ResetReason.LOCAL_RESET):
            self.pool.stats.upstream_rq_rx_reset.inc()
        elif reason is ResetReason.PROTOCOL_ERROR:
            self.pool.stats.upstream_rq_tx_reset.inc()

    def fail_soon(self, stream: Http2Stream, details: str) -> None:
        """A message that cannot be written: told in the next turn, for nothing is told inside of `send_*`."""

        def fail() -> None:
            if stream.id in self.streams:
                sink = stream.sink
                self.codec.reset(stream.id, ResetReason.PROTOCOL_ERROR)
                self.release(stream)
                self.flush_soon()
                if sink is not None:
                    sink.on_upstream_reset(ResetReason.PROTOCOL_ERROR, details)

        self.connection.timers.soon(fail)

    # network filter

    def on_data(self, data: bytes, end: bool) -> bytes:
        try:
            if data:
                self.codec.receive(data)
                if self._keepalive is not None:
                    self._keepalive.on_activity()
        except RemoteProtocolError as error:
            self._on_protocol_error(error)
            return b""
        if end:
            self._lose(ResetReason.CONNECTION_TERMINATION, "", remote=True)
        elif not self._gone:
            if self._limit != (limit := self.codec.max_streams) and self.codec.settings_seen:
                self._limit = limit
                self.pool.on_streams_limited(limit)
                self.pool.on_client_ready(self)  # the server may take more now
            self.flush()
            if self.pool.pending:
                self.pool.on_client_ready(self)
                self.pool.serve_pending()
        return b""

    def _on_protocol_error(self, error: RemoteProtocolError) -> None:
        """The codec has told the server why (GOAWAY)."""
        if self._gone:
            return
        self.pool.stats.upstream_cx_protocol_error.inc()
        if not error.of_stream:
            count_codec_error(self.http2_stats, error.details)
        self.flush()
        self._lose(ResetReason.PROTOCOL_ERROR, error.details, remote=False)

    def _on_connection_closed(self, reason: CloseReason | None) -> None:
        details = self.connection.close_details if reason is CloseReason.TRANSPORT_FAILURE else ""
        self._lose(ResetReason.CONNECTION_TERMINATION, details, remote=reason is not CloseReason.LOCAL)

    def _on_silence(self) -> None:
        """The server has not answered a PING in time."""
        self.http2_stats.keepalive_timeout.inc()
        self._lose(ResetReason.CONNECTION_TERMINATION, "", remote=False)

    def on_goaway(self) -> None:
        """The server takes no more streams; those that it did not look at are reset one by one."""
        if not self._server_leaves:
            self._server_leaves = True
            self.pool.stats.upstream_cx_close_notify.inc()
        self.draining = True
        self.pool.on_client_leaving(self)
        if not self.streams:
            self.connection.timers.soon(self._close_when_drained)

    def _facts(self, *, remote: bool | None = None) -> ConnectionFacts:
        """With what HTTP/2 says beyond TCP. How long it was idle is not known: exchanges overlap."""
        goaway = self.codec.goaway_received
        return dataclasses.replace(
            super()._facts(remote=remote),
            idle_since_ns=0,
            reset_code=self.reset_code,
            goaway=(goaway[0], goaway[1], goaway[2].decode("latin-1")) if goaway is not None else None,
        )

    # the ends

    def _lose(self, reason: ResetReason, details: str, *, remote: bool) -> None:
        lost = list(self.streams.values())
        if lost:
            self._leave_facts(remote=remote)
        self.streams.clear()
        sinks = [stream.detach() for stream in lost]
        stats = self.pool.stats
        broken = reason is ResetReason.CONNECTION_TERMINATION
        (stats.upstream_rq_pending_failure_eject if broken else stats.upstream_rq_tx_reset).add(len(lost))
        self.http2_stats.streams_active.sub(len(lost))
        for _ in lost:
            self.pool.on_stream_ended()
        self._close(remote=remote, with_stream=bool(lost) and broken)  # the others were reset first (Envoy)
        for sink in sinks:
            if sink is not None:
                sink.on_upstream_reset(reason, details)

    def _count_end(self) -> None:
        super()._count_end()
        if self._keepalive is not None:
            self._keepalive.stop()
            self._keepalive = None

    def _tell_full(self, full: bool) -> None:
        for stream in tuple(self.streams.values()):
            stream.set_connection_full(full)


class _Responses:
    """What the codec tells of the responses on a connection. Implements `CodecSink`."""

    __slots__ = ("_client",)

    def __init__(self, client: Http2Client) -> None:
        self._client = client

    def on_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        stream = self._client.streams.get(stream_id)
        if stream is None or stream.sink is None:
            return
        sink = stream.sink
        if end:
            self._client.end(stream)
        sink.on_response_headers(headers, end)

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        stream = self._client.streams.get(stream_id)
        if stream is None:
            self._client.codec.credit(stream_id, len(data))
        else:
            stream.on_data(data, end)

    def on_trailers(self, stream_id: int, trailers: Headers) -> None:
        stream = self._client.streams.get(stream_id)
        if stream is not None and stream.sink is not None:
            sink = stream.sink
            self._client.end(stream)
            sink.on_response_trailers(trailers)

    def on_reset(self, stream_id: int, reason: ResetReason, details: str) -> None:
        client = self._client
        stream = client.streams.get(stream_id)
        if stream is None:
            return
        sink = stream.sink
        client.count_reset(reason, details)
        client.release(stream)
        if reason is ResetReason.LOCAL_RESET:  # a head over the limits: to Envoy the server's doing
            reason = ResetReason.REMOTE_RESET
        if sink is not None:
            client.reset_code = client.codec.last_reset_code if details in REMOTE_RESETS else -1
            sink.on_upstream_reset(reason, "")  # there is no failure of the transport to tell
            client.reset_code = -1

    def on_goaway(self, last_stream_id: int) -> None:
        self._client.on_goaway()

    def on_writable(self, stream_id: int) -> None:
        stream = self._client.streams.get(stream_id)
        if stream is not None:
            stream.on_writable()
