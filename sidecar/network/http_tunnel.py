"""TCP through HTTP: the `tunneling_config` of tcp_proxy. A stream with a CONNECT on it stands in for an upstream connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from config.model.network import TunnelingConfig
from protocols.http import names
from protocols.http.codec import HttpVersion, ResetReason
from protocols.http.headers import Headers
from sidecar.http.header_mutation import compile_request_mutations
from sidecar.telemetry.access_log.format import compile_format
from sidecar.upstream.api import UpstreamFailure

if TYPE_CHECKING:
    from sidecar.stream_info import StreamInfo, UpstreamInfo
    from sidecar.upstream.api import Cluster, LbContext, Pending, TcpUpstreamSink, UpstreamStream

_POST: Final = b"POST"


class Tunneling:
    """A `TunnelingConfig`, compiled."""

    def __init__(self, spec: TunnelingConfig) -> None:
        self._hostname = compile_format(spec.hostname, missing=b"")
        self._path = spec.post_path.encode() if spec.use_post else b""
        self._mutate = compile_request_mutations((spec.mutations,))

    def request(self, session: StreamInfo) -> Headers:
        """The head that opens the tunnel of a session."""
        method = _POST if self._path else names.CONNECT
        headers = Headers.request(method, self._path, self._hostname(session))
        self._mutate(headers, session)
        return headers

    def open(
        self, cluster: Cluster, context: LbContext, sink: TcpUpstreamSink, session: StreamInfo
    ) -> Pending:
        """Ask for a tunnel; `sink` is told as it is of a connection."""
        tunnel = HttpTunnel(sink, self.request(session))
        tunnel.wait(cluster.new_stream(context, tunnel, downstream_version=HttpVersion.HTTP11))
        return tunnel


class HttpTunnel:
    """Implements `UpstreamSink` for the pool, `TcpUpstream` and `Pending` for tcp_proxy."""

    __slots__ = (
        "_ended",
        "_full",
        "_open",
        "_pending",
        "_request",
        "_sink",
        "_stream",
        "_write_ended",
        "info",
        "was_reset",
    )

    def __init__(self, sink: TcpUpstreamSink, request: Headers) -> None:
        self._sink: TcpUpstreamSink | None = sink
        self._request = request
        self._pending: Pending | None = None
        self._stream: UpstreamStream | None = None
        self._open = False  # a 200 came
        self._ended = False  # the upstream has sent its end
        self._full = False  # the way to the upstream is
        self._write_ended = False
        self.was_reset = False
        self.info: UpstreamInfo

    def wait(self, pending: Pending) -> None:
        """`new_stream` has returned."""
        if self._stream is None and self._sink is not None:
            self._pending = pending

    # Pending

    def cancel(self) -> None:
        if not self._open:
            self._sink = None
            pending, self._pending = self._pending, None
            if pending is not None:
                pending.cancel()
            self._drop()

    # UpstreamSink

    def on_pool_ready(self, stream: UpstreamStream) -> None:
        self._pending = None
        self._stream = stream
        self.info = stream.info
        stream.send_headers(self._request, False)

    def on_pool_failure(self, failure: UpstreamFailure, details: str, info: UpstreamInfo) -> None:
        self._pending = None
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.on_tcp_failure(failure, details, info)

    def on_response_headers(self, headers: Headers, end: bool) -> None:
        sink, status = self._sink, headers.status
        if sink is None or (status < 200 and status != 101):
            return
        if end or status != 200:  # as in Envoy; RFC 9110 would take every 2xx
            self._drop()
            self.on_pool_failure(UpstreamFailure.CONNECT_FAILURE, f"tunnel response {status}", self.info)
            return
        self._open = True
        sink.on_tcp_ready(self)
        if self._full:
            self.on_upstream_full(True)

    def on_response_data(self, data: bytes, end: bool) -> None:
        self._ended = self._ended or end
        if self._sink is not None:
            self._sink.on_upstream_data(data, end)

    def on_response_trailers(self, trailers: Headers) -> None:
        self.on_response_data(b"", True)

    def on_upstream_reset(self, reason: ResetReason, details: str) -> None:
        self._stream = None
        sink, self._sink = self._sink, None
        if sink is None:
            return
        if not self._open:
            sink.on_tcp_failure(UpstreamFailure.CONNECT_FAILURE, details or reason.value, self.info)
            return
        self.was_reset = not self._ended and reason is not ResetReason.CONNECTION_TERMINATION
        sink.on_upstream_closed()

    def on_upstream_full(self, full: bool) -> None:
        self._full = full
        if self._sink is not None and self._open:
            self._sink.on_upstream_full(full)

    # TcpUpstream

    def write(self, data: bytes, end: bool = False) -> None:
        if self._stream is not None and not self._write_ended:
            self._write_ended = end
            self._stream.send_data(data, end)

    def close(self) -> None:
        """Politely: our end, if it was not said; what the upstream still sends is not wanted."""
        self._sink = None
        self.write(b"", True)
        if not self._ended:
            self._drop()
        self._stream = None

    def abort(self) -> None:
        self._sink = None
        self._drop()

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.reset()

    def pause_reading(self) -> None:
        if self._stream is not None:
            self._stream.pause_reading()

    def resume_reading(self) -> None:
        if self._stream is not None:
            self._stream.resume_reading()
