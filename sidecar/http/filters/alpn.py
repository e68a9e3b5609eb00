"""`istio.alpn`: which ALPN tokens the TLS handshake with the upstream offers for this request.

It tells a mesh server, before a byte of HTTP, that HTTP follows: `istio-http/1.1` in front of `http/1.1`. No effect on
plaintext upstreams; connections with different offers are never shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from config.model.cluster import UpstreamHttpProtocol
from config.model.istio import AlpnOverrideSpec, AlpnUpstreamProtocol
from protocols.http.codec import HttpVersion
from protocols.http.headers import Headers
from sidecar.http.api import HttpFilter, HttpFilterFactory, PassThrough, Stream
from sidecar.transport.flow import CONTINUE, Flow
from sidecar.upstream.services import FilterContext

if TYPE_CHECKING:
    from sidecar.upstream.api import Cluster

_OF_DOWNSTREAM: Final = {
    HttpVersion.HTTP10: AlpnUpstreamProtocol.HTTP10,
    HttpVersion.HTTP11: AlpnUpstreamProtocol.HTTP11,
    HttpVersion.HTTP2: AlpnUpstreamProtocol.HTTP2,
}


class Alpn(PassThrough):
    """Shared by all streams."""

    __slots__ = ("_overrides",)

    def __init__(self, overrides: dict[AlpnUpstreamProtocol, tuple[str, ...]]) -> None:
        self._overrides = overrides

    def on_request_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        cluster = stream.cluster
        if cluster is not None and not _opts_out(cluster):
            offer = self._overrides.get(_upstream_protocol(cluster, stream.downstream_version))
            if offer:
                stream.info.application_protocols = offer
        return CONTINUE


def _opts_out(cluster: Cluster) -> bool:
    """Metadata `istio.alpn_override` is the string "false": a real external server is not to see these tokens."""
    return cluster.metadata.namespace("istio").get("alpn_override") == "false"


def _upstream_protocol(cluster: Cluster, downstream: HttpVersion) -> AlpnUpstreamProtocol:
    """The first protocol that the cluster would speak for this downstream one."""
    protocol = cluster.spec.http_options.protocol
    if protocol is UpstreamHttpProtocol.HTTP1:
        return AlpnUpstreamProtocol.HTTP11
    if protocol is UpstreamHttpProtocol.USE_DOWNSTREAM:
        return _OF_DOWNSTREAM[downstream]
    return AlpnUpstreamProtocol.HTTP2


class AlpnFactory:
    """Compiled once. Of a protocol listed twice the first entry counts."""

    filter_type: type[HttpFilter] = Alpn

    def __init__(self, spec: AlpnOverrideSpec) -> None:
        overrides: dict[AlpnUpstreamProtocol, tuple[str, ...]] = {}
        for protocol, tokens in spec.overrides:
            overrides.setdefault(protocol, tokens)
        self._shared = Alpn(overrides)

    def for_stream(self, stream: Stream) -> Alpn:
        return self._shared


def build(spec: AlpnOverrideSpec, context: FilterContext) -> HttpFilterFactory:
    return AlpnFactory(spec)
