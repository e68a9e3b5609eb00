"""The admin server: HTTP/1 on its own listener, endpoints from a table, answers in slices."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

from config.model.core import Address, TrafficDirection
from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http.codec import CodecSettings, ResetReason
from protocols.http.headers import Headers
from sidecar.http.response_headers import HttpDate
from sidecar.main.admin.api import AdminRequest, AdminResponse, Endpoint, parse_target
from sidecar.main.admin.browser import is_foreign
from sidecar.main.admin.negotiation import accepts_gzip
from sidecar.stream_info import ConnectionInfo, StreamInfo
from sidecar.telemetry.access_log.schedule import LogType
from sidecar.transport import sockets
from sidecar.worker.garbage import GarbageCollector

if TYPE_CHECKING:
    from sidecar.main.admin.server_stats import AdminStats
    from sidecar.telemetry.access_log.api import AccessLogger
    from sidecar.transport.http1_codecs import NewCodec

logger = logging.getLogger(__name__)

#: Answers are written in pieces of about this size, with a turn of the loop between two of them.
SLICE_BYTES: Final = 64 * 1024

#: An answer that is known to be shorter is not compressed.
_MIN_GZIP_BYTES: Final = 1024
#: When the endpoints that are not needed at the start are loaded, and with what pauses between them.
_LOAD_AFTER_S: Final = 2.0
_LOAD_EVERY_S: Final = 0.1
#: The fastest: metrics shrink to a tenth with any level, and the loop waits meanwhile.
_GZIP_LEVEL: Final = 1
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


#: Makes one endpoint.
NewEndpoint = Callable[[], Endpoint]
Ask = Callable[[str, Mapping[str, str], Callable[[], None]], bool]


def _ask_nobody(path: str, query: Mapping[str, str], done: Callable[[], None]) -> bool:
    return False


class AdminServer:
    """Serves the endpoints of a table on one address."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        stats: AdminStats,
        new_codec: NewCodec,
        access_loggers: tuple[AccessLogger, ...] = (),
        garbage: GarbageCollector | None = None,
        ask: Ask = _ask_nobody,
        on_demand: Mapping[str, NewEndpoint] | None = None,
    ) -> None:
        """`new_codec` makes the HTTP/1 server codec of a connection.

        `ask` gets path and query of each request, and what to call when other processes have told what the answer shows, or have done
        what it says; False: there is nobody to ask.
        `on_demand`: endpoints that are made when their path is asked for first, or after a while. None of them mutates.
        """
        self.garbage = garbage or GarbageCollector()
        self._endpoints = {endpoint.path: endpoint for endpoint in endpoints}
        self._on_demand = dict(on_demand or {})
        self.stats = stats
        self.new_codec = new_codec
        self.date = HttpDate()
        self._access_loggers = access_loggers
        self.ask = ask
        self._loading: asyncio.TimerHandle | None = None
        self._socket: socket.socket | None = None
        self._server: asyncio.AbstractServer | None = None
        self._connections: set[AdminConnection] = set()

    def bind(self, address: Address) -> Address:
        """Returns the real address (port 0 has become a number). Raises BindError."""
        self._socket = sockets.listen(address, backlog=128, reuse_port=False)
        return sockets.address_of(self._socket.getsockname())

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._socket is not None, "bind() comes first"
        if self._socket.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(
                lambda: AdminConnection(self, loop), sock=self._socket
            )
        else:
            self._server = await loop.create_server(lambda: AdminConnection(self, loop), sock=self._socket)
        self._loading = loop.call_later(_LOAD_AFTER_S, self._load_next, loop, list(self._on_demand))

    def _load_next(self, loop: asyncio.AbstractEventLoop, paths: list[str]) -> None:
        """One after the other (some ms each) long after the start: who needs a page because descriptors or memory are short finds it."""
        self._loading = None
        if not paths:
            return
        path = paths.pop()
        try:
            self._find(path)
        except Exception:  # the next one who asks tries again, and is told
            logger.exception("admin endpoint %s cannot be loaded", path)
        self._loading = loop.call_later(_LOAD_EVERY_S, self._load_next, loop, paths)

    def close(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
        if self._server is not None:
            self._server.close()
        elif self._socket is not None:
            self._socket.close()
        for connection in list(self._connections):
            connection.close()

    def opened(self, connection: AdminConnection) -> None:
        self._connections.add(connection)
        self.stats.opened()

    def closed(self, connection: AdminConnection, opened_ns: int, *, remote: bool) -> None:
        self._connections.discard(connection)
        self.stats.closed(opened_ns, remote=remote)

    def answer(self, request: AdminRequest) -> AdminResponse:
        """Find the endpoint and run it. A failing handler costs one answer, never the process."""
        try:
            return self._run(request)
        except Exception:
            logger.exception("admin endpoint %s failed", request.path)
            return AdminResponse("the admin endpoint failed; the log says why\n", 500)

    def _run(self, request: AdminRequest) -> AdminResponse:
        endpoint = self._find(request.path)
        if endpoint is None:
            return AdminResponse(f"invalid path. {self.help_text()}", 404)
        if endpoint.mutates and request.method != "POST":
            logger.error(
                'admin path "%s" mutates state, method=%s rather than POST', request.path, request.method
            )
            return AdminResponse(f"Method {request.method} not allowed, POST required.", 405)
        return endpoint.handler(request)

    def _find(self, path: str) -> Endpoint | None:
        make = self._on_demand.get(path)
        if make is not None:
            self._endpoints[path] = make()
            del self._on_demand[path]
        return self._endpoints.get(path)

    def mutates(self, path: str) -> bool:
        endpoint = self._endpoints.get(path)
        return endpoint is not None and endpoint.mutates

    def help_text(self) -> str:
        for path in list(self._on_demand):
            self._find(path)
        lines = ["admin commands are:"]
        for path in sorted(self._endpoints):
            endpoint = self._endpoints[path]
            lines.append(f"  {path}{' (POST)' if endpoint.mutates else ''}: {endpoint.help}")
            lines += [f"      {name}: {text}" for name, text in endpoint.parameters.items()]
        return "\n".join(lines) + "\n"

    def log(self, info: StreamInfo) -> None:
        info.log_type = LogType.DOWNSTREAM_END
        for access_logger in self._access_loggers:
            access_logger.log(info)


class AdminConnection(asyncio.Protocol):
    """One client: an HTTP/1 server codec over an asyncio transport. Implements `CodecSink`."""

    def __init__(self, server: AdminServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._codec = server.new_codec(self, CodecSettings(accept_http_10=True))
        self._request: Headers | None = None
        self._pieces: Iterator[bytes] | None = None
        self._stream_id = 0
        self._info: StreamInfo | None = None
        self._response: AdminResponse | None = None
        self._writable = True
        self._closing = False
        self._slice_is_due = False
        self._asking = False
        self._request_ns = 0
        self._opened_ns = time.monotonic_ns()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        self._server.stats.http.downstream_cx_rx_bytes_total.add(len(data))
        self._drive(lambda: self._codec.receive(data))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        transport, self._transport = self._transport, None
        self._server.closed(
            self, self._opened_ns, remote=exc is not None or (transport is not None and not self._closing)
        )
        self._end_request(complete=False)
        self._pieces = None

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._send_slice_soon()

    def close(self) -> None:
        if self._transport is not None:
            self._closing = True
            self._transport.close()

    def _drive(self, step: Callable[[], None]) -> None:
        try:
            step()
        except RemoteProtocolError as error:
            self._server.stats.http.downstream_cx_protocol_error.inc()
            self._refuse(error)
        self._flush()
        if self._transport is not None and self._pieces is None:
            if self._codec.must_close and not self._asking:
                self.close()
            elif not self._codec.wants_input:
                self._transport.pause_reading()

    def _refuse(self, error: RemoteProtocolError) -> None:
        transport = self._transport
        if transport is not None:
            transport.write(
                b"HTTP/1.1 %d Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % error.status
            )
            self.close()

    def _flush(self) -> None:
        output = self._codec.take_output()
        if output and self._transport is not None:
            self._server.stats.http.downstream_cx_tx_bytes_total.add(len(output))
            self._transport.write(output)

    # CodecSink

    def on_headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        self._server.stats.request()
        self._stream_id = stream_id
        self._request = headers
        self._request_ns = time.monotonic_ns()
        if end:
            self._serve()

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        if end:
            self._serve()

    def on_trailers(self, stream_id: int, trailers: Headers) -> None:
        self._serve()

    def on_reset(self, stream_id: int, reason: ResetReason, details: str) -> None:
        self._end_request(complete=False)

    def on_goaway(self, last_stream_id: int) -> None:
        """HTTP/2 only."""

    def on_writable(self, stream_id: int) -> None:
        """HTTP/2 only."""

    # answering

    def _end_request(self, *, complete: bool) -> None:
        if self._request is None:
            return
        self._request = None
        took_ms = (time.monotonic_ns() - self._request_ns) // 1_000_000
        self._server.stats.request_ended(took_ms if complete else None)

    def _serve(self) -> None:
        request = self._request
        assert request is not None
        self._begin_log(request)
        admin_request = parse_target(request.method, request.path, request)
        refusal = self._refusal(request)
        if refusal is not None:
            self._answer(admin_request, refusal)
            return

        response = None
        if self._server.mutates(admin_request.path):
            response = self._server.answer(admin_request)

        def answer() -> None:
            self._asking = False
            if self._request is request and self._transport is not None:
                self._answer(admin_request, response or self._server.answer(admin_request))

        self._asking = True
        if not self._server.ask(admin_request.path, admin_request.query, answer):
            answer()

    def _answer(self, admin_request: AdminRequest, response: AdminResponse) -> None:
        self._response = response
        may_gzip = _is_worth_gzip(response)
        gzip = may_gzip and accepts_gzip(admin_request.header(b"accept-encoding"))
        headers = Headers.response(
            response.status,
            [
                (b"content-type", response.content_type),
                *(((b"content-encoding", b"gzip"),) if gzip else ()),
                *(((b"vary", b"accept-encoding"),) if may_gzip else ()),
                (b"cache-control", b"no-cache, max-age=0"),
                (b"x-content-type-options", b"nosniff"),
                (b"date", self._server.date.now()),
                (b"server", b"envoy"),
            ],
        )
        self._server.stats.response(response.status)
        pieces = self._server.garbage.in_pieces(_slices(response))
        self._pieces = _gzipped(pieces) if gzip else pieces
        self._codec.send_headers(self._stream_id, headers, end=False)
        self._send_slice()

    def _refusal(self, request: Headers) -> AdminResponse | None:
        """What a browser sends that a foreign page has led here."""
        assert self._info is not None, "the request is being logged"
        local = self._info.connection.direct_local_address
        if is_foreign(request, local):
            host = request.authority.decode("latin-1")
            logger.warning(
                "admin request for host %r refused: from another site's page, or by a foreign name", host
            )
            return AdminResponse(
                "The admin interface is not for other sites' pages; ask by localhost or an IP address.\n", 403
            )
        return None

    def _begin_log(self, request: Headers) -> None:
        transport = self._transport
        assert transport is not None
        connection = ConnectionInfo(
            sockets.address_of(transport.get_extra_info("peername")),
            sockets.address_of(transport.get_extra_info("sockname")),
            "admin",
            TrafficDirection.UNSPECIFIED,
        )
        self._info = StreamInfo(connection, time.time(), time.monotonic_ns())
        self._info.request_headers = request
        self._info.protocol = "HTTP/1.1"

    def _send_slice(self) -> None:
        """One piece of the answer now, the next one in the next turn of the loop, or when the client has read some."""
        pieces = self._pieces
        self._slice_is_due = False
        if pieces is None or not self._writable or self._transport is None:
            return
        try:
            piece = next(pieces)
        except StopIteration:
            self._finish()
            return
        except Exception:
            logger.exception("admin answer broke off")
            self.close()
            return
        if piece:
            self._codec.send_data(self._stream_id, piece, end=False)
        self._flush()
        self._send_slice_soon()

    def _send_slice_soon(self) -> None:
        if not self._slice_is_due:
            self._slice_is_due = True
            self._loop.call_soon(self._send_slice)

    def _finish(self) -> None:
        self._pieces = None
        self._end_request(complete=True)
        response, self._response = self._response, None
        assert response is not None
        try:
            self._codec.send_data(self._stream_id, b"", end=True)
        except LocalProtocolError:
            self.close()
            return
        self._flush()
        if self._info is not None:
            self._info.response_code = response.status
            self._info.end_ns = time.monotonic_ns()
            self._server.log(self._info)
        if response.after is not None:
            self._loop.call_soon(response.after)
        transport = self._transport
        if transport is None:
            return
        if self._codec.must_close:
            self.close()
            return
        transport.resume_reading()
        self._drive(self._codec.proceed)


def _slices(response: AdminResponse) -> Iterator[bytes]:
    """The body as bytes in pieces worth a write each; b"" is a pause."""
    if isinstance(response.body, str):
        data = response.body.encode("utf-8", "replace")
        for begin in range(0, len(data), SLICE_BYTES):
            yield data[begin : begin + SLICE_BYTES]
        return
    for piece in response.body:
        yield piece.encode("utf-8", "replace") if isinstance(piece, str) else piece


def _is_worth_gzip(response: AdminResponse) -> bool:
    return not isinstance(response.body, str) or len(response.body) >= _MIN_GZIP_BYTES


def _gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Compressed piece by piece, so that no turn of the loop compresses more than one."""
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()
