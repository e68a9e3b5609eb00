"""`io.istio.http.peer_metadata.Config`: Istio workloads tell each other who they are in two headers of request and response.

Discovery tries its methods in order until one yields a peer, and takes the exchange headers out of the message, whoever won.
Propagation puts our own in. What was found is for metrics and logs only, never for a decision about access.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec import structs

from config.model.core import Address, Metadata, SocketAddress
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
from sidecar.http.api import HttpFilter, HttpFilterFactory, Stream
from sidecar.telemetry.istio_setup import reports_callers
from sidecar.transport.flow import CONTINUE, Flow
from sidecar.upstream.services import FilterContext

if TYPE_CHECKING:
    from sidecar.stream_info import ConnectionMemory, TlsInfo
    from sidecar.upstream.api import Cluster

_EXCHANGE_HEADERS: Final = frozenset((METADATA_ID_HEADER, METADATA_HEADER))
_PASSTHROUGH_CLUSTER: Final = "PassthroughCluster"
#: Clusters that are remembered; beyond this many all are forgotten.
_MAX_REMEMBERED: Final = 1024


class PeerMetadataFilter(HttpFilter):
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
                address = info.remote_address or connection.remote_address
                info.downstream_peer = factory.find(discovery, headers, connection, address, connection.tls)
            if factory.strips_request:
                has_id = headers.remove(METADATA_ID_HEADER)
                has_metadata = headers.remove(METADATA_HEADER)
                if factory.answers:
                    self._has_id, self._has_metadata = has_id, has_metadata
        propagation = factory.upstream_propagation
        if propagation is not None and not propagation.skips(stream.cluster):
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
                info.upstream_peer = factory.find(discovery, headers, upstream, address, tls)
            if factory.strips_response and headers.has_any(_EXCHANGE_HEADERS):
                headers.remove(METADATA_ID_HEADER)
                headers.remove(METADATA_HEADER)
        propagation = factory.downstream_propagation
        if propagation is not None and (self._has_id or self._has_metadata):
            if not factory.reports_callers and propagation.skips(stream.cluster):
                return CONTINUE
            if self._has_id:
                headers.set(METADATA_ID_HEADER, factory.own_id)
            if self._has_metadata:
                headers.set(METADATA_HEADER, factory.own_metadata)
        return CONTINUE


class _Propagation:
    """Our own headers in one direction, and which clusters are not to be told who we are."""

    __slots__ = ("_skips_external", "_verdicts")

    def __init__(self, method: IstioHeadersMethod) -> None:
        self._skips_external: Final = method.skip_external_clusters
        #: name of a cluster -> its metadata, and whether it is skipped
        self._verdicts: dict[str, tuple[Metadata, bool]] = {}

    def skips(self, cluster: Cluster | None) -> bool:
        if cluster is None:
            return False
        name, metadata = cluster.name, cluster.metadata
        known = self._verdicts.get(name)
        if known is not None and known[0] is metadata:
            return known[1]
        if len(self._verdicts) >= _MAX_REMEMBERED:
            self._verdicts.clear()
        skipped = self._judge(name, metadata.namespace("istio"))
        self._verdicts[name] = metadata, skipped
        return skipped

    def _judge(self, name: str, metadata: Mapping[str, object]) -> bool:
        """Only true booleans in its metadata count."""
        if metadata.get("disable_mx") is True:
            return True
        return self._skips_external and (name == _PASSTHROUGH_CLUSTER or metadata.get("external") is True)


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


class PeerMetadataFactory(HttpFilterFactory):
    """Compiled once: discovery methods, our own header values, the cache of decoded peers."""

    def __init__(self, spec: PeerMetadataSpec, context: FilterContext) -> None:
        super().__init__(PeerMetadataFilter)
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
        self.strips_request: Final = True in self.downstream_discovery
        self.strips_response: Final = True in self.upstream_discovery
        self.downstream_propagation: Final = _propagation(spec.downstream_propagation)
        self.upstream_propagation: Final = _propagation(spec.upstream_propagation)
        #: the response carries what the request carried: remembered from one to the other
        self.answers: Final = self.strips_request and self.downstream_propagation is not None
        self._shared: Final = PeerMetadataFilter(self)

    def _discoveries(self, methods: tuple[PeerMethod, ...]) -> tuple[bool, ...]:
        """For each method that can be used, in order, whether it is the one of the headers."""
        return tuple(
            [
                isinstance(each, IstioHeadersMethod)
                for each in methods
                if isinstance(each, IstioHeadersMethod)
                or (isinstance(each, WorkloadDiscoveryMethod) and self._lookup is not None)
            ]
        )

    def find(
        self,
        discovery: tuple[bool, ...],
        headers: Headers,
        memory: ConnectionMemory | None,
        address: Address | None,
        tls: TlsInfo | None,
    ) -> PeerMetadata | None:
        """The peer of one direction, by the message's headers, the address of the peer and its TLS session."""
        for by_headers in discovery:
            peer = self._by_headers(headers, memory, tls) if by_headers else self._by_address(address)
            if peer is not None:
                return peer
        return None

    def _by_headers(
        self, headers: Headers, memory: ConnectionMemory | None, tls: TlsInfo | None
    ) -> PeerMetadata | None:
        """What comes on one connection is from one principal, and mostly the same: comparing costs less than a look-up."""
        value = headers.get(METADATA_HEADER)
        if not value:
            return None
        peer_id = headers.get(METADATA_ID_HEADER) or b""
        known = memory.known_peer if memory is not None else None
        if (
            known is None
            or known.cache is not self._cache
            or known.value != value
            or known.peer_id != peer_id
        ):
            known = self._cache.find(_principal(tls), peer_id, value)
            if memory is not None:
                memory.known_peer = known
        return known.peer if known is not None else None

    def _by_address(self, address: Address | None) -> PeerMetadata | None:
        lookup = self._lookup
        if lookup is None or not isinstance(address, SocketAddress):
            return None
        return lookup(address.address)

    def for_stream(self, stream: Stream) -> PeerMetadataFilter:
        return PeerMetadataFilter(self) if self.answers else self._shared


def _propagation(methods: tuple[PeerMethod, ...]) -> _Propagation | None:
    """By the `istio_headers` method of a list, the first one if there are several."""
    for method in methods:
        if isinstance(method, IstioHeadersMethod):
            return _Propagation(method)
    return None


def build(spec: PeerMetadataSpec, context: FilterContext) -> HttpFilterFactory:
    return PeerMetadataFactory(spec, context)
