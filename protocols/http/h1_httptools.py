"""HTTP/1.1 codecs whose chunked bodies are decoded by httptools (llhttp); the default.

llhttp never sees the peer's head: it is given a canonical one that says what `head` decided. A body of known length needs
no parser, it is counted (measured: a tenth of the cost).
"""

from __future__ import annotations

from typing import Final

import httptools

from protocols.errors import RemoteProtocolError
from protocols.http.chunked import ChunkGuard
from protocols.http.codec import CodecSettings, CodecSink
from protocols.http.h1 import BodyReader, BodyReaders
from protocols.http.h1_client import Http1Client
from protocols.http.h1_server import Http1Server
from protocols.http.head import CODEC_ERROR

_CANONICAL_HEAD: Final = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"


class _Pieces:
    """What the parser calls; it only collects, so that nothing is raised or re-entered inside of the parser."""

    __slots__ = ("complete", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.complete = False

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.complete = True


class _Decoder:
    """The parser of one connection; it goes from one complete message to the next, as it does in any server."""

    __slots__ = ("collected", "parser")

    def __init__(self) -> None:
        self.collected = _Pieces()
        self.parser = httptools.HttpRequestParser(self.collected)


class _ChunkedBody(BodyReader):
    __slots__ = ("_collected", "_guard", "_parser")

    def __init__(self, settings: CodecSettings, decoder: _Decoder) -> None:
        super().__init__()
        self._guard = ChunkGuard(settings)
        self._collected = decoder.collected
        self._collected.complete = False
        self._parser = decoder.parser
        self._parser.feed_data(_CANONICAL_HEAD)

    def feed(self, data: bytes) -> bytes:
        guard = self._guard
        canonical = guard.feed(data)
        collected = self._collected
        try:
            self._parser.feed_data(canonical)
        except httptools.HttpParserError as error:
            raise RemoteProtocolError(CODEC_ERROR) from error
        if collected.complete is not guard.done:
            raise RemoteProtocolError(CODEC_ERROR)
        if guard.done:
            self.done = True
            self.surplus = guard.surplus
            self.trailers = guard.trailers
        pieces = collected.pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return body


class _BodyReaders(BodyReaders):
    __slots__ = ("_decoder", "_settings")

    def __init__(self, settings: CodecSettings) -> None:
        self._settings = settings
        self._decoder: _Decoder | None = None  # made when the first chunked body comes

    def chunked(self) -> BodyReader:
        if self._decoder is None:
            self._decoder = _Decoder()
        return _ChunkedBody(self._settings, self._decoder)


def server_codec(sink: CodecSink, settings: CodecSettings) -> Http1Server:
    """The server's side of one connection."""
    return Http1Server(sink, settings, _BodyReaders(settings))


def client_codec(sink: CodecSink, settings: CodecSettings) -> Http1Client:
    """The client's side of one connection."""
    return Http1Client(sink, settings, _BodyReaders(settings))
