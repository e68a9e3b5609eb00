"""The streams on one downstream connection: what HTTP/1 and HTTP/2 have in common.

`Exchanges` stands between the codec of a connection and its streams; it is the codec's sink and what a stream calls. The
connection itself, its timers and its end are the connection manager's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from protocols.errors import RemoteProtocolError
from protocols.http.codec import Codec, CodecSettings, CodecSink, HttpVersion, ResetReason
from protocols.http.headers import Headers
from sidecar.http.stream import ActiveStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.http.connection_manager import ConnectionManager
    from sidecar.transport.timers import IdleTimer

#: A piece of body of this size is worth a write of its own.
WRITE_AT_ONCE_BYTES: Final = 16 * 1024


class Exchanges(ABC):
    """One for each connection, made when it is known which protocol the client speaks. Implements `CodecSink`.

    `in_codec`: the codec is running, so that what it is given to write is written when it returns.
    """

    #: The client can be told to stop while streams go on: `end` need not wait for them.
    ends_by_itself = False
    #: Of a stream whose head has not been read, or was refused.
    default_version = HttpVersion.HTTP11

    __deletable__ = ("codec",)  # for mypyc

    __slots__ = (
        "_accepted",
        "_flush_wanted",
        "codec",
        "config",
        "connection",
        "default_protocol",
        "in_codec",
        "info",
        "manager",
        "streams",
    )

    def __init__(
        self, manager: ConnectionManager, new_codec: Callable[[CodecSink, CodecSettings], Codec]
    ) -> None:
        self.manager = manager
        self.config = manager.config
        self.connection = manager.connection
        self.info = manager.info
        self.streams: dict[int, ActiveStream] = {}
        self.default_protocol: Final[str] = self.default_version.value
        self.in_codec = False
        self._accepted = 0  # requests so far
        self._flush_wanted = False
        self.codec = new_codec(self, manager.config.codec_settings)

    def let_go(self) -> None:
        """The connection is gone: the codec, which tells us of everything, keeps nothing alive any more."""
        del self.codec

    # --- input

    def receive(self, data: bytes) -> None:
        """Bytes from the client."""
        self.in_codec = True
        try:
            self.codec.receive(data)
            self._received()
        except RemoteProtocolError as error:
            self._on_protocol_error(error)
        except Exception as bug:  # the border: a bug costs this connection
            self.manager.on_bug(bug)
        self.in_codec = False
        self._settle()

    @abstractmethod
    def _received(self) -> None:
        """The codec has taken all input. May raise RemoteProtocolError."""

    @abstractmethod
    def _on_protocol_error(self, error: RemoteProtocolError) -> None: ...

    @abstractmethod
    def _settle(self) -> None:
        """The codec has run: write what it has, then close, stop reading, or go on."""

    def on_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        self._begin(stream_id).on_headers(headers, end)

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.on_data(data, end)

    def on_trailers(self, stream_id: int, trailers: Headers) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.on_trailers(trailers)

    @abstractmethod
    def on_reset(self, stream_id: int, reason: ResetReason, details: str) -> None: ...

    def on_goaway(self, last_stream_id: int) -> None:  # noqa: B027 (whatever the protocol)
        """A client's GOAWAY changes nothing for a server."""

    def on_writable(self, stream_id: int) -> None:  # noqa: B027 (only HTTP/2 has windows)
        """What waited for the client's window is on its way."""

    # --- streams

    @abstractmethod
    def _begin(self, stream_id: int) -> ActiveStream:
        """A request head is complete: its stream."""

    def _new_stream(self, stream_id: int) -> ActiveStream:
        stats = self.config.stats
        stats.downstream_rq_total.inc()
        stats.downstream_rq_active.inc()
        self._count_request()
        self._accepted += 1
        if self._accepted == self.config.spec.max_requests_per_connection:
            stats.downstream_cx_max_requests_reached.inc()
            self.manager.draining = True
        return ActiveStream(self, stream_id)

    @abstractmethod
    def _count_request(self) -> None:
        """`downstream_rq_http1_total` or its HTTP/2 twin."""

    def _show(self, stream: ActiveStream) -> None:
        """A stream that has its id: what the codec knows of it."""
        info, stream_id = stream.info, stream.id
        info.meter = self.codec.meter(stream_id)
        version = self.codec.version(stream_id)
        if version is not stream.downstream_version:
            stream.downstream_version = version
            info.protocol = version.value
        self.streams[stream_id] = stream

    @property
    def is_active(self) -> bool:
        """At least one stream has begun and not ended."""
        return bool(self.streams)

    @abstractmethod
    def take_streams(self) -> list[ActiveStream]:
        """All streams, the connection having ended; they are not known here any more."""

    # --- for the stream

    @abstractmethod
    def stream_idle_timer(self, stream: ActiveStream) -> IdleTimer | None:
        """The timer that a new stream touches when something moves."""

    def release_idle_timer(self, timer: IdleTimer) -> None:  # noqa: B027 (of HTTP/1 it is the connection's)
        """The stream does not touch it any more."""

    @abstractmethod
    def give_id(self, stream: ActiveStream) -> None:
        """A stream has timed out before its head was complete and is to be answered."""

    @abstractmethod
    def close_after_response(self) -> None:
        """What follows on this connection cannot be trusted to be a request."""

    @abstractmethod
    def ends_with(self, stream: ActiveStream, status: int) -> bool:
        """Asked once for each final response head: whether it is the last one, and has to say so."""

    @abstractmethod
    def on_upgraded(self) -> None:
        """The stream has become a tunnel."""

    @abstractmethod
    def on_response_ended(self, stream: ActiveStream) -> None:
        """The codec has the whole response."""

    @abstractmethod
    def on_stream_reset(self, stream: ActiveStream) -> None:
        """A stream was given up."""

    @abstractmethod
    def pause_request(self, stream: ActiveStream, full: bool) -> None:
        """Whoever takes the request is full, or takes again."""

    @abstractmethod
    def on_write_full(self, full: bool) -> None:
        """The connection takes no more, or takes again."""

    # --- output

    def flush_body(self, stream: ActiveStream, size_bytes: int) -> None:
        """A piece of body went to the codec. Much of it is written at once: only the transport's buffer says when it is full.

        In one turn uvloop may read megabytes from an upstream; nothing would stop it while they wait here.
        """
        if size_bytes >= WRITE_AT_ONCE_BYTES and not self.in_codec:
            self.flush()
        else:
            self.flush_soon()

    def flush_soon(self) -> None:
        """Write what the codec has at the end of this turn, together with what is still to come in it."""
        if not self._flush_wanted and not self.in_codec:
            self._flush_wanted = True
            self.config.timers.soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flush_wanted = False
        if not self.manager.gone:
            self.flush()

    def flush(self) -> None:
        output = self.codec.take_output()
        if output:
            self.connection.write(output)

    # --- the end

    def warn(self) -> None:  # noqa: B027 (HTTP/1 says so with its last response)
        """The connection drains: tell the client not to send more."""

    def end(self) -> None:
        """The drain is over and nothing is active."""
        self.manager.close()

    @abstractmethod
    def count_connection_end(self) -> None:
        """The connection is gone: gauges."""
