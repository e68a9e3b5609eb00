"""HTTP/1.1 codecs whose bodies, counted and chunked, are decoded by h11; pure Python, and the judge of the other one.

h11 never sees the peer's head: it is given a canonical one that says what `head` decided.
"""

from __future__ import annotations

import h11

from protocols.errors import RemoteProtocolError
from protocols.http.chunked import ChunkGuard
from protocols.http.codec import CodecSettings, CodecSink
from protocols.http.h1 import BodyReader, BodyReaders
from protocols.http.h1_client import Http1Client
from protocols.http.h1_server import Http1Server
from protocols.http.head import CODEC_ERROR


class _H11Body(BodyReader):
    """The body of one message, read by an h11 connection of its own."""

    __slots__ = ("_connection",)

    def __init__(self, framing: bytes) -> None:
        super().__init__()
        self._connection = h11.Connection(h11.SERVER)
        self._connection.receive_data(b"POST / HTTP/1.1\r\nhost: x\r\n%b\r\n\r\n" % framing)
        self._connection.next_event()

    def feed(self, data: bytes) -> bytes:
        connection = self._connection
        pieces: list[bytes] = []
        try:
            if data:
                connection.receive_data(data)
            while True:
                event = connection.next_event()
                if isinstance(event, h11.Data):
                    pieces.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    self.done = True
                    self.surplus = bytes(connection.trailing_data[0])
                    break
                else:
                    break
        except h11.RemoteProtocolError as error:
            raise RemoteProtocolError(CODEC_ERROR) from error
        return b"".join(pieces)


class _ChunkedBody(_H11Body):
    __slots__ = ("_guard",)

    def __init__(self, settings: CodecSettings) -> None:
        super().__init__(b"transfer-encoding: chunked")
        self._guard = ChunkGuard(settings)

    def feed(self, data: bytes) -> bytes:
        guard = self._guard
        body = super().feed(guard.feed(data))
        if self.done is not guard.done or self.surplus:
            raise RemoteProtocolError(CODEC_ERROR)
        self.surplus = guard.surplus
        self.trailers = guard.trailers
        return body


class _BodyReaders(BodyReaders):
    __slots__ = ("_settings",)

    def __init__(self, settings: CodecSettings) -> None:
        self._settings = settings

    def counted(self, length: int) -> BodyReader:
        return _H11Body(b"content-length: %d" % length)

    def chunked(self) -> BodyReader:
        return _ChunkedBody(self._settings)


def server_codec(sink: CodecSink, settings: CodecSettings) -> Http1Server:
    """The server's side of one connection."""
    return Http1Server(sink, settings, _BodyReaders(settings))


def client_codec(sink: CodecSink, settings: CodecSettings) -> Http1Client:
    """The client's side of one connection."""
    return Http1Client(sink, settings, _BodyReaders(settings))
