"""The connection of a pool whose protocol the server chooses by ALPN (`auto_config`), until it has chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocols.http.codec import ResetReason
from sidecar.transport.flow import Flow
from sidecar.transport.transport_socket import CloseReason
from sidecar.upstream.active_client import ActiveClient
from sidecar.upstream.http1_client import Http1Client
from sidecar.upstream.http2_client import Http2Client

if TYPE_CHECKING:
    from sidecar.upstream.api import UpstreamSink, UpstreamStream

_ALPN_HTTP2: Final = "h2"


class AutoClient(ActiveClient):
    """Gives its place to a client of the negotiated protocol; without one it is HTTP/1 (Envoy)."""

    __slots__ = ()

    def on_open(self) -> Flow:
        tls = self.info.tls
        http2 = tls is not None and tls.alpn == _ALPN_HTTP2
        client = (Http2Client if http2 else Http1Client)(self.connection, self.pool)
        client.draining = self.draining
        self._gone = True
        self.connection.replace(self, client)
        self.pool.on_protocol_chosen(self, client)
        return client.on_open()

    @property
    def capacity(self) -> int:
        return 0

    @property
    def is_busy(self) -> bool:
        return False

    def start(self, sink: UpstreamSink) -> UpstreamStream:
        raise AssertionError("it has no capacity")

    def flush(self) -> None:
        """There is no codec yet."""

    def _on_connection_closed(self, reason: CloseReason | None) -> None:
        """It is never established."""

    def _lose(self, reason: ResetReason, details: str, *, remote: bool) -> None:
        self._close(remote=remote, with_stream=False)

    def _tell_full(self, full: bool) -> None:
        """Nobody sends yet."""
