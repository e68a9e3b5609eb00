"""`istio.alpn`: which ALPN tokens the TLS handshake with the upstream offers for this request.

It tells a mesh server, before a byte of HTTP, that HTTP follows: `istio-http/1.1` in front of `http/1.1`. No effect on
plaintext upstreams; connections with different offers are never shared. The rule itself is in `alpn.override`.
"""

from __future__ import annotations

from typing import Final

from alpn.override import (
    METADATA_NAMESPACE,
    ClusterHttpMode,
    OverrideTable,
    UpstreamProtocol,
    override,
    override_table,
)
from config.model.cluster import UpstreamHttpProtocol
from config.model.istio import AlpnOverrideSpec
from protocols.http.codec import HttpVersion
from protocols.http.headers import Headers
from sidecar.http.api import HttpFilter, HttpFilterFactory, Stream
from sidecar.transport.flow import CONTINUE, Flow
from sidecar.upstream.services import FilterContext

_OF_DOWNSTREAM: Final = {
    HttpVersion.HTTP10: UpstreamProtocol.HTTP10,
    HttpVersion.HTTP11: UpstreamProtocol.HTTP11,
    HttpVersion.HTTP2: UpstreamProtocol.HTTP2,
}
_MODES: Final = {
    UpstreamHttpProtocol.HTTP1: ClusterHttpMode.EXPLICIT_HTTP1,
    UpstreamHttpProtocol.HTTP2: ClusterHttpMode.EXPLICIT_HTTP2,
    UpstreamHttpProtocol.USE_DOWNSTREAM: ClusterHttpMode.USE_DOWNSTREAM,
    UpstreamHttpProtocol.AUTO: ClusterHttpMode.AUTO,
}


class Alpn(HttpFilter):
    """Shared by all streams."""

    __slots__ = ("_table",)

    def __init__(self, table: OverrideTable) -> None:
        self._table = table

    def on_request_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        cluster = stream.cluster
        if cluster is not None:
            offer = override(
                self._table,
                _MODES[cluster.spec.http_options.protocol],
                _OF_DOWNSTREAM[stream.downstream_version],
                cluster.metadata.namespace(METADATA_NAMESPACE),
            )
            if offer is not None:
                stream.info.application_protocols = offer
        return CONTINUE


class AlpnFactory(HttpFilterFactory):
    """Compiled once. Of a protocol listed twice the first entry counts."""

    def __init__(self, spec: AlpnOverrideSpec) -> None:
        super().__init__(Alpn)
        entries = ((UpstreamProtocol(protocol.value), tokens) for protocol, tokens in spec.overrides)
        self._shared = Alpn(override_table(entries))

    def for_stream(self, stream: Stream) -> Alpn:
        return self._shared


def build(spec: AlpnOverrideSpec, context: FilterContext) -> HttpFilterFactory:
    return AlpnFactory(spec)
