"""`io.istio.http.peer_metadata.Config`: Istio workloads tell each other who they are in two headers of request and response.

Discovery tries its methods in order until one yields a peer, and takes the exchange headers out of the message, whoever won.
Propagation puts our own in. What was found is for metrics and logs only, never for a decision about access.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import structs

from config.model.core import Address, SocketAddress
from config.model.istio import (
    IstioHeadersMethod,
    PeerMetadataSpec,
    PeerMethod,
    WorkloadDiscoveryMethod,
)
from protocols.http.headers import Headers
from protocols.peer_metadata import (
    METADATA_HEADER,
    METADATA_ID_HEADER,
    PeerCache,
    PeerMetadata,
    encode_header,
    peer_from_node,
)
from sidecar.http.api import HttpFilter, HttpFilterFactory, PassThrough, Stream
from sidecar.telemetry.istio_setup import reports_callers
from sidecar.transport.flow import CONTINUE, Flow
from sidecar.upstream.services import FilterContext

if TYPE_CHECKING:
    from sidecar.stream_info import TlsInfo
    from sidecar.upstream.api import Cluster

_EXCHANGE_HEADERS: Final = frozenset((METADATA_ID_HEADER, METADATA_HEADER))
_PASSTHROUGH_CLUSTER: Final = "PassthroughCluster"

#: Finds the peer of one direction: the message's headers, the peer's address, its TLS session.
Discovery: TypeAlias = "Callable[[Headers, Address | None, TlsInfo | None], PeerMetadata | None]"


class PeerMetadataFilter(PassThrough):
    """One stream, if the request decides what the response carries; else shared by all."""

    __slots__ = ("_factory", "_has_id", "_has_metadata")

    def __init__(self, factory: PeerMetadataFactory) -> None:
        self._factory = factory
        self._has_id = False
        self._has_metadata = False

    def on_request_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        factory = self._factory
        info = stream.info
        discovery = factory.downstream_discovery
        if discovery:
            connection = stream.connection_info
            if info.downstream_peer is None and connection.downstream_peer is None:
                info.downstream_peer = _first(
                    discovery, headers, info.remote_address or connection.remote_address, connection.tls
                )
            if factory.strips_request:
                if factory.answers:
                    self._has_id = METADATA_ID_HEADER in headers
                    self._has_metadata = METADATA_HEADER in headers
                headers.remove(METADATA_ID_HEADER)
                headers.remove(METADATA_HEADER)
        propagation = factory.upstream_propagation
        if propagation is not None and not _skips(propagation, stream.cluster):
            headers.set(METADATA_ID_HEADER, factory.own_id)
            headers.set(METADATA_HEADER, factory.own_metadata)
        return CONTINUE

    def on_response_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        factory = self._factory
        info = stream.info
        discovery = factory.upstream_discovery
        if discovery:
            if info.upstream_peer is None and stream.connection_info.upstream_peer is None:
                upstream = info.upstream
                address = upstream.host_address if upstream is not None else None
                tls = upstream.tls if upstream is not None else None
                info.upstream_peer = _first(discovery, headers, address, tls)
            if factory.strips_response and headers.has_any(_EXCHANGE_HEADERS):
                headers.remove(METADATA_ID_HEADER)
                headers.remove(METADATA_HEADER)
        propagation = factory.downstream_propagation
        if propagation is not None and (self._has_id or self._has_metadata):
            if not factory.reports_callers and _skips(propagation, stream.cluster):
                return CONTINUE
            if self._has_id:
                headers.set(METADATA_ID_HEADER, factory.own_id)
            if self._has_metadata:
                headers.set(METADATA_HEADER, factory.own_metadata)
        return CONTINUE


def _first(
    discovery: tuple[Discovery, ...], headers: Headers, address: Address | None, tls: TlsInfo | None
) -> PeerMetadata | None:
    for method in discovery:
        peer = method(headers, address, tls)
        if peer is not None:
            return peer
    return None


def _skips(method: IstioHeadersMethod, cluster: Cluster | None) -> bool:
    """Whether a cluster is not to be told who we are. Only true booleans in its metadata count."""
    if cluster is None:
        return False
    metadata = cluster.metadata.namespace("istio")
    if metadata.get("disable_mx") is True:
        return True
    return method.skip_external_clusters and (
        cluster.name == _PASSTHROUGH_CLUSTER or metadata.get("external") is True
    )


def _with_callers(spec: PeerMetadataSpec) -> PeerMetadataSpec:
    """A gateway's exchange, with its callers as well: as inbound, and no headers leave for who is not of the mesh."""
    if spec.downstream_discovery:
        return spec  # somebody has said how
    return structs.replace(
        spec,
        downstream_discovery=(IstioHeadersMethod(), WorkloadDiscoveryMethod()),
        downstream_propagation=(IstioHeadersMethod(),),
        upstream_propagation=tuple(
            IstioHeadersMethod(skip_external_clusters=True) if isinstance(each, IstioHeadersMethod) else each
            for each in spec.upstream_propagation
        ),
    )


def _principal(tls: TlsInfo | None) -> str:
    """Who the peer proved to be; "" without mTLS."""
    if tls is None or tls.peer is None:
        return ""
    uris = tls.peer.uri_sans
    return uris[0] if uris else ""


class PeerMetadataFactory:
    """Compiled once: discovery methods, our own header values, the cache of decoded peers."""

    filter_type: type[HttpFilter] = PeerMetadataFilter

    def __init__(self, spec: PeerMetadataSpec, context: FilterContext) -> None:
        services = context.services
        #: a gateway that is a destination too: the cluster behind it says nothing about its callers
        self.reports_callers: Final = reports_callers(services.telemetry, services.node, context.direction)
        if self.reports_callers:
            spec = _with_callers(spec)
        self._lookup = services.peer_lookup
        self._cache: Final = PeerCache(spec.additional_labels)
        own = peer_from_node(services.node.metadata, spec.additional_labels)
        self.own_id: Final = services.node.id.encode("utf-8", "surrogateescape")
        self.own_metadata: Final = encode_header(own)
        self.downstream_discovery: Final = self._discoveries(spec.downstream_discovery)
        self.upstream_discovery: Final = self._discoveries(spec.upstream_discovery)
        self.strips_request: Final = _headers_method(spec.downstream_discovery) is not None
        self.strips_response: Final = _headers_method(spec.upstream_discovery) is not None
        self.downstream_propagation: Final = _headers_method(spec.downstream_propagation)
        self.upstream_propagation: Final = _headers_method(spec.upstream_propagation)
        #: the response carries what the request carried: remembered from one to the other
        self.answers: Final = self.strips_request and self.downstream_propagation is not None
        self._shared: Final = PeerMetadataFilter(self)

    def _discoveries(self, methods: tuple[PeerMethod, ...]) -> tuple[Discovery, ...]:
        found: list[Discovery] = []
        for method in methods:
            if isinstance(method, IstioHeadersMethod):
                found.append(self._by_headers)
            elif isinstance(method, WorkloadDiscoveryMethod) and self._lookup is not None:
                found.append(self._by_address)
        return tuple(found)

    def _by_headers(
        self, headers: Headers, address: Address | None, tls: TlsInfo | None
    ) -> PeerMetadata | None:
        value = headers.get(METADATA_HEADER)
        if not value:
            return None
        return self._cache.decode(_principal(tls), headers.get(METADATA_ID_HEADER) or b"", value)

    def _by_address(
        self, headers: Headers, address: Address | None, tls: TlsInfo | None
    ) -> PeerMetadata | None:
        lookup = self._lookup
        if lookup is None or not isinstance(address, SocketAddress):
            return None
        return lookup(address.address)

    def for_stream(self, stream: Stream) -> PeerMetadataFilter:
        return PeerMetadataFilter(self) if self.answers else self._shared


def _headers_method(methods: tuple[PeerMethod, ...]) -> IstioHeadersMethod | None:
    """The `istio_headers` method of a list, the first one if there are several."""
    for method in methods:
        if isinstance(method, IstioHeadersMethod):
            return method
    return None


def build(spec: PeerMetadataSpec, context: FilterContext) -> HttpFilterFactory:
    return PeerMetadataFactory(spec, context)
