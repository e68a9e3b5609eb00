"""`envoy.filters.http.grpc_web`: clients that speak gRPC-Web talk to servers that speak gRPC.

The request becomes gRPC. In the response the trailers become a message at the end of the body. What is not gRPC (an error page
of a server, a local reply) becomes a gRPC error whose message is the beginning of its body; its HTTP status stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from config.model.grpc import GrpcWebSpec
from protocols.errors import RemoteProtocolError
from protocols.grpc import status as grpc
from protocols.grpc import web
from protocols.http import names
from protocols.http.headers import Headers
from sidecar.http.api import HttpFilter, HttpFilterFactory, Stream
from sidecar.transport.flow import CONTINUE, HOLD_HEADERS, Flow
from sidecar.upstream.services import FilterContext

if TYPE_CHECKING:
    from stats.filter_families import GrpcStats

_ACCEPT_ENCODING: Final = b"grpc-accept-encoding"
_IDENTITY: Final = b"identity"
_BAD_TEXT: Final = b"Bad gRPC-web request, invalid base64 data."

#: So much of the body of a response that is no gRPC becomes the message (Envoy).
_MAX_MESSAGE_BYTES: Final = 16 * 1024


class GrpcWeb(HttpFilter):
    """One request of gRPC-Web. `_translates` is off until its head has come by: a local reply before that is left alone."""

    __slots__ = ("_decoder", "_encoder", "_message", "_stats", "_translates")

    def __init__(self) -> None:
        self._translates = False
        self._decoder: web.TextDecoder | None = None  # None: the request is binary
        self._encoder: web.TextEncoder | None = None  # None: the client wants a binary response
        self._message: bytearray | None = None  # of the error that the response is made into
        self._stats: GrpcStats | None = None

    def on_request_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        self._translates = True
        if headers.joined(names.CONTENT_TYPE) in web.TEXT_TYPES:
            self._decoder = web.TextDecoder()
        if headers.joined(names.ACCEPT) in web.TEXT_TYPES:
            self._encoder = web.TextEncoder()
        headers.remove(names.CONTENT_LENGTH)
        headers.set(names.CONTENT_TYPE, grpc.CONTENT_TYPE)
        headers.set(names.TE, names.TRAILERS)
        if _ACCEPT_ENCODING not in headers:
            headers.set(_ACCEPT_ENCODING, _IDENTITY)
        called = grpc.service_and_method(headers.path)
        if stream.cluster is not None and called is not None:
            self._stats = stream.cluster.stats.grpc("grpc-web").method(*called)
        return CONTINUE

    def on_request_data(self, stream: Stream, data: bytes, end: bool) -> bytes:
        decoder = self._decoder
        if decoder is None:
            return data
        try:
            decoded = decoder.feed(data)
            if end:
                decoder.finish()
        except RemoteProtocolError as error:
            self._refuse(stream, error)
            return b""
        return decoded

    def on_request_trailers(self, stream: Stream, trailers: Headers) -> Flow:
        if self._decoder is not None:
            try:
                self._decoder.finish()
            except RemoteProtocolError as error:
                self._refuse(stream, error)
        return CONTINUE

    def _refuse(self, stream: Stream, error: RemoteProtocolError) -> None:
        stream.reply(400, _BAD_TEXT, details=error.details)

    def on_response_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        if not self._translates:
            return CONTINUE
        self._count_status(headers)
        translatable = end or _is_grpc(headers)
        headers.remove(names.CONTENT_LENGTH)
        headers.set(names.CONTENT_TYPE, web.BINARY_RESPONSE if self._encoder is None else web.TEXT_RESPONSE)
        if translatable:
            return CONTINUE
        self._message = bytearray()
        return HOLD_HEADERS

    def on_response_data(self, stream: Stream, data: bytes, end: bool) -> bytes:
        message, encoder = self._message, self._encoder
        if message is not None:
            message += data[: _MAX_MESSAGE_BYTES - len(message)]
            if end:
                _make_error(stream, message)
            return b""
        if encoder is None:
            return data
        text = encoder.feed(data)
        return text + encoder.finish() if end else text

    def on_response_trailers(self, stream: Stream, trailers: Headers) -> Flow | bytes:
        if not self._translates:
            return CONTINUE
        self._count_status(trailers)
        if self._message is not None:
            _make_error(stream, self._message)
            return b""
        frame = web.trailers_frame(trailers)
        if self._encoder is None:
            return frame
        return self._encoder.finish() + web.encode_segment(frame)

    def _count_status(self, headers: Headers) -> None:
        status = headers.get(names.GRPC_STATUS)
        if status is not None and self._stats is not None:
            self._stats.count_end(status)


def _is_grpc(headers: Headers) -> bool:
    """gRPC, or gRPC-Web already: its body is messages."""
    return headers.status == 200 and (
        grpc.has_grpc_content_type(headers) or headers.joined(names.CONTENT_TYPE) in web.BINARY_TYPES
    )


def _make_error(stream: Stream, message: bytearray) -> None:
    """The response that is held is a head without a body now."""
    headers = stream.info.response_headers
    assert headers is not None
    headers.set(names.GRPC_MESSAGE, grpc.encode_message(bytes(message)))
    headers.set(names.GRPC_STATUS, b"%d" % grpc.from_http(headers.status))
    headers.set(names.CONTENT_LENGTH, b"0")


class GrpcWebFactory(HttpFilterFactory):
    """Requests that are no gRPC-Web share a filter that does nothing."""

    def __init__(self) -> None:
        super().__init__(GrpcWeb)
        self._nothing = HttpFilter()

    def for_stream(self, stream: Stream) -> HttpFilter:
        headers = stream.request_headers
        if headers is not None and headers.path:
            content_type = headers.joined(names.CONTENT_TYPE)
            if content_type in web.BINARY_TYPES or content_type in web.TEXT_TYPES:
                return GrpcWeb()
        return self._nothing


def build(spec: GrpcWebSpec, context: FilterContext) -> HttpFilterFactory:
    return GrpcWebFactory()
