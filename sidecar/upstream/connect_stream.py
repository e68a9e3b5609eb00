"""A CONNECT that ends here: HTTP towards the client, a TCP connection of its own towards the upstream (Envoy's TCP pool)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.http.codec import HttpVersion, ResetReason, StreamMeter
from protocols.http.headers import Headers

if TYPE_CHECKING:
    from sidecar.stream_info import UpstreamInfo
    from sidecar.transport.timers import Timers
    from sidecar.upstream.api import TcpUpstream, UpstreamFailure, UpstreamSink


class ConnectStream:
    """Implements `TcpUpstreamSink` for the pool and `UpstreamStream` for the router. The answer of our own is 200."""

    __slots__ = ("_answered", "_ended", "_sink", "_tcp", "_timers", "info", "meter")

    def __init__(self, sink: UpstreamSink, timers: Timers) -> None:
        self._sink: UpstreamSink | None = sink
        self._timers = timers
        self._tcp: TcpUpstream | None = None
        self._answered = False
        self._ended = False  # the upstream has sent its end
        self.meter = StreamMeter()
        self.info: UpstreamInfo

    # from the pool

    def on_tcp_ready(self, connection: TcpUpstream) -> None:
        self._tcp = connection
        self.info = connection.info
        if self._sink is not None:
            self._sink.on_pool_ready(self)

    def on_tcp_failure(self, failure: UpstreamFailure, details: str, info: UpstreamInfo) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.on_pool_failure(failure, details, info)

    def on_upstream_data(self, data: bytes, end: bool) -> None:
        self.meter.wire_received += len(data)
        self._answer()
        self._ended = self._ended or end
        if self._sink is not None:
            self._sink.on_response_data(data, end)

    def on_upstream_closed(self) -> None:
        tcp, self._tcp = self._tcp, None
        sink = self._sink
        if tcp is None or sink is None:
            return
        self._answer()
        if tcp.was_reset:  # also after its end, for then it does not take what is still sent to it
            self._sink = None
            sink.on_upstream_reset(ResetReason.CONNECTION_TERMINATION, "")
        elif not self._ended:
            sink.on_response_data(b"", True)

    def on_upstream_full(self, full: bool) -> None:
        if self._sink is not None:
            self._sink.on_upstream_full(full)

    # for the router

    @property
    def version(self) -> HttpVersion:
        """The tunnel itself speaks nothing; for policies it counts as HTTP/1."""
        return HttpVersion.HTTP11

    @property
    def is_alone(self) -> bool:
        return True

    def send_headers(self, headers: Headers, end: bool) -> None:
        """Nothing of the head goes out. The answer comes in the next turn: nothing is told inside of `send_*`."""
        if end:
            self.send_data(b"", True)
        self._timers.soon(self._answer)

    def _answer(self) -> None:
        if not self._answered and self._sink is not None:
            self._answered = True
            self._sink.on_response_headers(Headers.response(200), False)

    def send_data(self, data: bytes, end: bool) -> None:
        if self._tcp is not None:
            self.meter.wire_sent += len(data)
            self._tcp.write(data, end)

    def send_trailers(self, trailers: Headers) -> None:
        self.send_data(b"", True)

    def reset(self) -> None:
        """What was written still arrives; then the connection is closed."""
        self._sink = None
        tcp, self._tcp = self._tcp, None
        if tcp is not None:
            tcp.close()

    def pause_reading(self) -> None:
        if self._tcp is not None:
            self._tcp.pause_reading()

    def resume_reading(self) -> None:
        if self._tcp is not None:
            self._tcp.resume_reading()
