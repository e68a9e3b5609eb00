"""The client's role of HTTP/2: requests out, responses in."""

from __future__ import annotations

from typing import Final

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http import h2_frames as frames
from protocols.http import names
from protocols.http.codec import CodecSettings, CodecSink, ResetReason
from protocols.http.h2 import Http2
from protocols.http.h2_fields import VIOLATION, Field, read_response, request_fields
from protocols.http.h2_output import Http2Stream
from protocols.http.headers import Headers

#: A connection whose ids are nearly used up takes no new streams: a retry must find room, too.
_LAST_NEW_ID: Final = frames.MAX_STREAM_ID - 2


class Http2Client(Http2):
    """The client's side of a connection. `max_streams` is how many may be open at once."""

    __slots__ = ("_left_by_peer", "_next_id")

    def __init__(self, sink: CodecSink, settings: CodecSettings) -> None:
        super().__init__(sink, settings)
        self._next_id = 1
        self._left_by_peer = False  # a GOAWAY came
        http2 = settings.http2
        self._output.append(frames.PREFACE)
        self._announce(
            {
                frames.ENABLE_PUSH: 0,
                frames.HEADER_TABLE_SIZE: http2.header_table_size,
                frames.ENABLE_CONNECT_PROTOCOL: int(http2.allow_connect),
                frames.MAX_CONCURRENT_STREAMS: http2.max_concurrent_streams,
                frames.INITIAL_WINDOW_SIZE: http2.initial_stream_window_size,
            }
        )

    @property
    def max_streams(self) -> int:
        return min(self.peer_max_streams, self._settings.http2.max_concurrent_streams)

    # --- output

    def new_stream(self) -> int:
        if self._dead or self._left_by_peer or self._next_id > _LAST_NEW_ID:
            raise LocalProtocolError("the connection takes no more streams")
        stream_id = self._next_id
        self._next_id += 2
        self._streams[stream_id] = Http2Stream(
            stream_id, self._settings.http2.initial_stream_window_size, self._stream_send_window
        )
        self._guard.on_stream()
        return stream_id

    def send_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        stream = self._sending(stream_id)
        if stream.send_headers:
            raise LocalProtocolError("a second request")
        upgrade = names.UPGRADE in headers and names.CONNECTION in headers
        if upgrade and not self.peer_allows_connect and self.settings_seen:
            raise LocalProtocolError("the server takes no extended CONNECT")
        block = self._encoder.encode(request_fields(headers))
        stream.method = headers.method
        stream.tunnel = upgrade or headers.method == names.CONNECT
        if upgrade:
            stream.protocol = headers.get(names.UPGRADE) or b""
        stream.early = not self.settings_seen
        stream.send_headers = True
        stream.send_ended = end
        self._write_block(stream, block, end)

    # --- input

    def _on_first_of_block(self, stream_id: int) -> None:
        if self._is_idle(stream_id):
            raise RemoteProtocolError("codec_error:HEADERS:_stream_in_idle")

    def _stream_of_block(self, stream_id: int) -> Http2Stream | None:
        return self._streams.get(stream_id)

    def _read_head(self, stream: Http2Stream, fields: list[Field], end: bool) -> None:
        headers = read_response(fields, self._settings)
        status = headers.status
        if status < 200:
            if end:
                raise RemoteProtocolError(VIOLATION)
            self._sink.on_headers(stream.id, headers, False)
            return
        if stream.tunnel:
            self._read_tunnel_head(stream, headers)
        self._begin_body(stream, headers, end)
        if stream.method == names.HEAD or status in (204, 304):
            stream.left = 0 if not end else -1
        if end:
            self._settle(stream)
        self._sink.on_headers(stream.id, headers, end)

    def _begin_body(self, stream: Http2Stream, headers: Headers, end: bool) -> None:
        """A response to HEAD, a 204 and a 304 may declare the length of a body that does not come."""
        if end and (stream.method == names.HEAD or headers.status in (204, 304)):
            stream.recv_headers = stream.recv_ended = True
            return
        super()._begin_body(stream, headers, end)

    def _read_tunnel_head(self, stream: Http2Stream, headers: Headers) -> None:
        """A 2xx to an extended CONNECT is, inside of the proxy, a 101 to an upgrade (RFC 8441 section 5)."""
        if headers.status >= 300:
            stream.tunnel = False
        elif stream.method != names.CONNECT:
            headers.status = 101
            headers.set(names.CONNECTION, names.UPGRADE)
            headers.set(names.UPGRADE, stream.protocol)

    def _is_idle(self, stream_id: int) -> bool:
        if stream_id >= self._next_id or not stream_id & 1:
            return True
        stream = self._streams.get(stream_id)
        return stream is not None and not stream.send_headers

    def _on_peer_leaves(self, last_stream_id: int) -> None:
        """Streams above that id were not looked at: they may be asked again elsewhere (RFC 9113 section 6.8)."""
        self._left_by_peer = True
        self._sink.on_goaway(last_stream_id)
        for stream in tuple(self._streams.values()):
            if stream.id > last_stream_id and stream.id in self._streams:
                self._forget(stream)
                self._sink.on_reset(stream.id, ResetReason.NOT_PROCESSED, "")

    @property
    def _client(self) -> bool:
        return True

    def is_connected(self, stream_id: int) -> bool:
        """A CONNECT that was granted: each of its directions has an end of its own."""
        stream = self._streams.get(stream_id)
        return stream is not None and stream.tunnel and stream.method == names.CONNECT

    def shutdown(self) -> None:
        """Take no further exchange; the streams that are open go on."""
        self._left_by_peer = True

    @property
    def must_close(self) -> bool:
        return self._dead or (self._left_by_peer and not self._streams)

    @property
    def takes_streams(self) -> bool:
        """Whether `new_stream` may be called, however many are open."""
        return not (self._dead or self._left_by_peer) and self._next_id <= _LAST_NEW_ID


def client_codec(sink: CodecSink, settings: CodecSettings) -> Http2Client:
    """The client's side of one connection."""
    return Http2Client(sink, settings)
