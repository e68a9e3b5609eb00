"""The server's role of HTTP/2: requests in, responses out."""

from __future__ import annotations

from typing import Final

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http import h2_frames as frames
from protocols.http import names
from protocols.http.codec import CodecSettings, CodecSink, ResetReason
from protocols.http.h2 import Http2
from protocols.http.h2_fields import Field, read_request, response_fields
from protocols.http.h2_output import Http2Stream
from protocols.http.headers import Headers

REFUSED: Final = "http2.refused_stream"


class Http2Server(Http2):
    """The server's side of a connection. Its SETTINGS leave when the client's preface is there (as Envoy's)."""

    __slots__ = ("_preface",)

    def __init__(self, sink: CodecSink, settings: CodecSettings) -> None:
        super().__init__(sink, settings)
        self._preface = frames.PREFACE  # what is still to come of it

    # --- input

    def receive(self, data: bytes) -> None:
        preface = self._preface
        if preface and not self._dead:
            size = min(len(preface), len(data))
            if data[:size] != preface[:size]:
                self._dead = True  # who does not speak HTTP/2 is not told in HTTP/2
                raise RemoteProtocolError("codec_error:bad_client_magic_byte_string")
            self._preface = preface[size:]
            if self._preface:
                return
            data = data[size:]
            http2 = self._settings.http2
            self._announce(
                {
                    frames.HEADER_TABLE_SIZE: http2.header_table_size,
                    frames.ENABLE_CONNECT_PROTOCOL: int(http2.allow_connect),
                    frames.MAX_CONCURRENT_STREAMS: http2.max_concurrent_streams,
                    frames.INITIAL_WINDOW_SIZE: http2.initial_stream_window_size,
                }
            )
        super().receive(data)

    def _on_first_of_block(self, stream_id: int) -> None:
        """Ids grow; the block of a stream that is over is decoded and ignored, as in Envoy."""
        if not stream_id & 1:
            raise RemoteProtocolError("codec_error:HEADERS:_even_stream_id")
        if stream_id <= self.highest_peer_id:
            return
        self.highest_peer_id = stream_id
        if 0 <= self._goaway_sent < stream_id:
            return
        self._guard.on_stream()
        self._streams[stream_id] = Http2Stream(
            stream_id, self._settings.http2.initial_stream_window_size, self._stream_send_window
        )

    def _stream_of_block(self, stream_id: int) -> Http2Stream | None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return None
        if not stream.recv_headers and len(self._streams) > self._settings.http2.max_concurrent_streams:
            self._forget(stream)
            self._output.append(frames.rst_stream(stream_id, frames.REFUSED_STREAM))
            self._guard.on_answer()
            self._sink.on_reset(stream_id, ResetReason.LOCAL_REFUSED, REFUSED)
            return None
        return stream

    def _read_head(self, stream: Http2Stream, fields: list[Field], end: bool) -> None:
        headers = read_request(fields, self._settings)
        method = stream.method = headers.method
        stream.tunnel = bool(headers.protocol) or method == names.CONNECT
        self._begin_body(stream, headers, end)
        self._sink.on_headers(stream.id, headers, end)

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id > self.highest_peer_id or not stream_id & 1

    def _on_peer_leaves(self, last_stream_id: int) -> None:
        self._sink.on_goaway(last_stream_id)

    @property
    def _client(self) -> bool:
        return False

    # --- output

    def new_stream(self) -> int:
        """What a client never asked is not answered."""
        raise LocalProtocolError("a server begins no exchange")

    def send_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        stream = self._sending(stream_id)
        if stream.send_headers:
            raise LocalProtocolError("a second response")
        status = headers.status
        block = self._encoder.encode(response_fields(headers))
        if status < 200 and status != 101:
            self._write_block(stream, block, False)
            return
        stream.send_headers = True
        if not 200 <= status < 300 and status != 101:
            stream.tunnel = False
        stream.send_ended = end
        self._write_block(stream, block, end)
        if end:
            self._settle(stream)

    def shutdown(self) -> None:
        """At first a warning that refuses nothing (RFC 9113 section 6.8), then the id of the last request taken."""
        self._leave(frames.MAX_STREAM_ID if self._goaway_sent < 0 else self.highest_peer_id)

    def refuse_more(self) -> None:
        """The second step of `shutdown`, also when there was no first one."""
        self._leave(self.highest_peer_id)

    def _leave(self, last_stream_id: int) -> None:
        if self._dead or self._preface or 0 <= self._goaway_sent < frames.MAX_STREAM_ID:
            return
        self._goaway_sent = last_stream_id
        self._output.append(frames.goaway(last_stream_id, frames.NO_ERROR))

    def ping(self, payload: bytes) -> None:
        """Our SETTINGS come first (RFC 9113 section 3.4); until then nobody is there to be asked."""
        if self._preface:
            self.last_ping_answered = payload
        else:
            super().ping(payload)

    @property
    def has_begun(self) -> bool:
        """The client's preface is there: it can be told something."""
        return not self._preface

    @property
    def must_close(self) -> bool:
        if not 0 <= self._goaway_sent < frames.MAX_STREAM_ID:
            return self._dead
        return not self._streams or (len(self._streams) == 1 and self._has_half_a_head)

    @property
    def _has_half_a_head(self) -> bool:
        """A stream has begun whose head is not complete: nobody waits for it."""
        stream = self._streams.get(self._block[0]) if self._block is not None else None
        return stream is not None and not stream.recv_headers


def server_codec(sink: CodecSink, settings: CodecSettings) -> Http2Server:
    """The server's side of one connection."""
    return Http2Server(sink, settings)
