"""Labels of Istio's standard metrics, shared by the HTTP and the TCP filter (Istio 1.28).

`LabelRules` is made once for each filter configuration: own values, reporter and switches are fixed then. On the way it
turns what is known about a stream into the values of `stats.istio.PEER_LABELS`, and finds the `Series` of the same
answer by a few look-ups when peers, cluster and certificates are the ones it has seen before.

When what is counted is the matter of `istio_report`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from config.model.core import TrafficDirection
from config.model.istio import IstioStatsSpec, MetricType, Reporter
from protocols.grpc.status import GrpcStatus, status_of
from stats.istio import (
    CustomMetric,
    ExpressionSink,
    IstioMetrics,
    MetricKind,
    MetricPlans,
    MetricRule,
    Series,
    compile_plans,
)

if TYPE_CHECKING:
    from config.model.core import Metadata, Node
    from protocols.peer_metadata import PeerMetadata
    from sidecar.stream_info import ConnectionInfo, ConnectionMemory, StreamInfo, TlsInfo, UpstreamInfo

UNKNOWN: Final = "unknown"
_LATEST: Final = "latest"

#: Route names that istiod gives to what a client may not, or may, reach without a service.
_ROUTE_NAMES: Final = {"block_all": "BlackHoleCluster", "allow_any": "PassthroughCluster"}
_SPECIAL_CLUSTERS: Final = frozenset(
    {
        "BlackHoleCluster",
        "PassthroughCluster",
        "InboundPassthroughCluster",
        "InboundPassthroughClusterIpv4",
        "InboundPassthroughClusterIpv6",
    }
)

#: Where TCP goes that no service of the mesh matches.
_UNMATCHED_CLUSTERS: Final = frozenset({"BlackHoleCluster", "PassthroughCluster"})

#: The longest name that DNS has, and a port: a client's longer one is cut, for series live long.
_MAX_HOST_BYTES: Final = 259
#: What is remembered; beyond this many everything is forgotten and computed again.
_MAX_REMEMBERED = 4096


class ReporterSide(enum.Enum):
    """Who reports. But for GATEWAY, whose `reporter` is `destination`, the value is that label."""

    SOURCE = "source"
    DESTINATION = "destination"
    WAYPOINT = "waypoint"
    GATEWAY = "gateway"  # what a gateway reports of its callers, beside what it reports as a source


def side_of(reporter: Reporter, direction: TrafficDirection) -> ReporterSide:
    """`SERVER_GATEWAY` is a waypoint; else the listener's direction decides. Gateways have none and report as source."""
    if reporter is Reporter.SERVER_GATEWAY:
        return ReporterSide.WAYPOINT
    return ReporterSide.DESTINATION if direction is TrafficDirection.INBOUND else ReporterSide.SOURCE


_KINDS: Final = {
    MetricType.COUNTER: MetricKind.COUNTER,
    MetricType.GAUGE: MetricKind.GAUGE,
    MetricType.HISTOGRAM: MetricKind.HISTOGRAM,
}


def plans_of(spec: IstioStatsSpec, expressions: ExpressionSink | None = None) -> MetricPlans:
    """The configured metrics compiled; see `stats.istio.compile_plans` for `expressions` and their absence."""
    rules = [
        MetricRule(each.name, each.dimensions, each.tags_to_remove, each.drop, each.match)
        for each in spec.metrics
    ]
    custom = [CustomMetric(each.name, each.value, _KINDS[each.type]) for each in spec.definitions]
    return compile_plans(rules, custom, expressions)


@dataclass(frozen=True, slots=True)
class LocalWorkload:
    """Who this proxy is, from its node metadata. Raw: what is missing is empty, never `unknown`."""

    workload: str = ""
    namespace: str = ""
    cluster: str = ""
    app: str = ""
    version: str = ""
    canonical_name: str = ""
    canonical_revision: str = ""

    @classmethod
    def from_node(cls, node: Node) -> LocalWorkload:
        metadata = node.metadata
        labels = metadata.get("LABELS")
        if not isinstance(labels, Mapping):
            labels = {}
        return cls(
            workload=_text(metadata.get("WORKLOAD_NAME")),
            namespace=_text(metadata.get("NAMESPACE")),
            cluster=_text(metadata.get("CLUSTER_ID")),
            app=_text(labels.get("app")),
            version=_text(labels.get("version")),
            canonical_name=_text(labels.get("service.istio.io/canonical-name")),
            canonical_revision=_text(labels.get("service.istio.io/canonical-revision")),
        )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


class _Peer:
    """What the labels want of a peer, as it is known: empty values stay empty. Compared by identity."""

    __slots__ = (
        "app",
        "canonical_name",
        "canonical_revision",
        "cluster",
        "identity",
        "namespace",
        "version",
        "workload",
    )

    def __init__(self, values: tuple[str, str, str, str, str, str, str, str]) -> None:
        self.workload, self.namespace, self.canonical_name, self.canonical_revision = values[:4]
        self.cluster, self.app, self.version, self.identity = values[4:]


_NO_PEER: Final = _Peer(("", "", "", "", "", "", "", ""))


class _Service:
    """What a cluster says about the service behind it. None: it says nothing about that."""

    __slots__ = ("host", "name", "namespace")

    def __init__(self, host: str | None, name: str | None, namespace: str) -> None:
        self.host = host
        self.name = name
        self.namespace = namespace


_NO_SERVICE: Final = _Service(None, None, "")


def principal_namespace(principal: str) -> str:
    """The text between the first `/ns/` and the next `/` or the end; "" if there is none."""
    _, found, rest = principal.partition("/ns/")
    return rest.partition("/")[0] if found else ""


def parse_endpoint_workload(text: str) -> tuple[str, str, str, str, str] | None:
    """Host metadata `istio.workload`: `workload;namespace;canonical name;canonical revision;cluster`, at least these five."""
    parts = text.split(";")
    return (parts[0], parts[1], parts[2], parts[3], parts[4]) if len(parts) >= 5 else None


#: Labels of the statuses that gRPC defines; any other one is `-1`.
_GRPC_STATUSES: Final = tuple(str(int(status)) for status in GrpcStatus)


def grpc_status(stream: StreamInfo) -> str:
    """`grpc_response_status` of a gRPC stream: `status_of` as a label; "" without a response."""
    status = status_of(stream.response_trailers, stream.response_headers, stream.response_code)
    if status is None:
        return ""
    return _GRPC_STATUSES[status] if 0 <= status < len(_GRPC_STATUSES) else "-1"


class _LastFound:
    """The series that was found last for a request on a connection, and by what: it is the same as long as all of this is.

    Objects are compared by identity. `peer` is what is known of the peer: its metadata, else those of the endpoint.
    """

    __slots__ = (
        "_authority",
        "_cluster",
        "_cluster_metadata",
        "_local_principal",
        "_peer",
        "_peer_principal",
        "_route",
        "_rules",
        "_tls",
        "_up",
        "series",
    )

    def __init__(
        self,
        rules: LabelRules,
        stream: StreamInfo,
        authority: bytes,
        peer: object | None,
        up: PeerMetadata | None,
        tls: TlsInfo | None,
        series: Series,
    ) -> None:
        connection = stream.connection
        self._rules = rules
        self._authority = authority
        self._cluster = stream.cluster_name
        self._cluster_metadata = stream.cluster_metadata
        self._route = stream.route_name
        self._peer_principal = connection.peer_principal
        self._local_principal = connection.local_principal
        self._peer = peer
        self._up = up
        self._tls = tls
        self.series = series

    def fits(
        self,
        rules: LabelRules,
        stream: StreamInfo,
        authority: bytes,
        peer: object | None,
        up: PeerMetadata | None,
        tls: TlsInfo | None,
    ) -> bool:
        """Whether the series of this stream is the same."""
        connection = stream.connection
        return (
            self._rules is rules
            and self._peer is peer
            and self._up is up
            and self._tls is tls
            and self._cluster_metadata is stream.cluster_metadata
            and self._authority == authority
            and self._cluster == stream.cluster_name
            and self._route == stream.route_name
            and self._peer_principal == connection.peer_principal
            and self._local_principal == connection.local_principal
        )


class LabelRules:
    """From a stream to its `Series`, for one filter configuration."""

    __slots__ = (
        "_generation",
        "_is_gateway",
        "_is_source",
        "_is_waypoint",
        "_local",
        "_metrics",
        "_names_unmatched",
        "_peers",
        "_peers_by_values",
        "_series",
        "_services",
        "_use_host_header",
    )

    def __init__(
        self,
        metrics: IstioMetrics,
        local: LocalWorkload,
        side: ReporterSide,
        disable_host_header_fallback: bool = False,
        unmatched_destination_service: bool = False,
    ) -> None:
        """`unmatched_destination_service`: a source names TCP to no known service by its SNI or address."""
        self._metrics = metrics
        self._local = local
        # not compared on the way: compiled code looks the members of an enum up by name
        self._is_source: Final = side is ReporterSide.SOURCE
        self._is_waypoint: Final = side is ReporterSide.WAYPOINT
        self._is_gateway: Final = side is ReporterSide.GATEWAY
        self._names_unmatched: Final = self._is_source and unmatched_destination_service
        self._use_host_header = not disable_host_header_fallback
        self._generation = metrics.generation
        #: id of a peer object -> that object (kept, so that the id stays its own) and its values
        self._peers: dict[int, tuple[object, _Peer]] = {}
        self._peers_by_values: dict[tuple[str, ...], _Peer] = {}
        self._services: dict[int, tuple[object, _Service]] = {}
        self._series: dict[tuple[object, ...], Series] = {}

    def http(self, stream: StreamInfo) -> Series:
        """The series of an HTTP stream, with what is known about its peers now.

        What the last request on the same connection was counted in is tried first: of a source that to the server, which
        leads to one destination, of anybody else that from the client, who is one peer.
        """
        headers = stream.request_headers
        if (
            headers is None
            or not stream.cluster_name
            or stream.cluster_metadata is None
            or self._is_gateway
            or self._names_unmatched
        ):
            return self._http(stream)  # then there is more that counts
        connection = stream.connection
        memory: ConnectionMemory = connection
        tls = connection.tls
        up: PeerMetadata | None = None
        if self._is_source:
            upstream = stream.upstream
            if upstream is None:
                return self._http(stream)
            memory, tls = upstream, upstream.tls
            stored = _first(connection.upstream_peer, stream.upstream_peer)
            peer: object | None = upstream.host_metadata if stored is None else stored
        else:
            peer = _first(connection.downstream_peer, stream.downstream_peer)
            if self._is_waypoint:
                up = _first(connection.upstream_peer, stream.upstream_peer)
        authority = headers.authority
        if len(authority) > _MAX_HOST_BYTES:
            authority = authority[:_MAX_HOST_BYTES]  # the connection keeps it
        last = memory.known_series
        if isinstance(last, _LastFound) and last.fits(self, stream, authority, peer, up, tls):
            series = last.series = last.series.current()
            return series
        series = self._http(stream)
        memory.known_series = _LastFound(self, stream, authority, peer, up, tls, series)
        return series

    def _http(self, stream: StreamInfo) -> Series:
        connection = stream.connection
        if self._is_source:
            peer = self._http_source_peer(stream)
            return self._find(stream, peer, _NO_PEER, *_source_principals(stream.upstream, peer))
        peer = self._peer(_first(connection.downstream_peer, stream.downstream_peer))
        up = _NO_PEER
        if self._is_waypoint:
            up = self._peer(_first(connection.upstream_peer, stream.upstream_peer))
        return self._find(stream, peer, up, *_downstream_principals(connection))

    def tcp(self, stream: StreamInfo) -> Series:
        """The series of a TCP connection: as `http`, but what the upstream connection found out is the source's peer."""
        connection = stream.connection
        if self._is_source:
            peer = self._tcp_source_peer(stream)
            return self._find(stream, peer, _NO_PEER, *_source_principals(stream.upstream, peer))
        up = self._peer(connection.upstream_peer) if self._is_waypoint else _NO_PEER
        return self._find(
            stream, self._peer(connection.downstream_peer), up, *_downstream_principals(connection)
        )

    def http_peer_known(self, stream: StreamInfo) -> bool:
        """The exchange has given an answer, be it that there is none."""
        connection = stream.connection
        if connection.peer_not_found or stream.peer_not_found:
            return True
        if self._is_source:
            return _first(connection.upstream_peer, stream.upstream_peer) is not None
        return _first(connection.downstream_peer, stream.downstream_peer) is not None

    def tcp_peer_known(self, stream: StreamInfo) -> bool:
        """See `http_peer_known`."""
        if not self._is_source:
            return stream.connection.downstream_peer is not None or stream.connection.peer_not_found
        state = stream.upstream.connection_state if stream.upstream is not None else None
        return state is not None and (state.upstream_peer is not None or state.peer_not_found)

    def _peer(self, stored: PeerMetadata | None) -> _Peer:
        if stored is None:
            return _NO_PEER
        known = self._peers.get(id(stored))
        if known is not None and known[0] is stored:
            return known[1]
        values = (
            stored.workload,
            stored.namespace,
            stored.canonical_name,
            stored.canonical_revision,
            stored.cluster,
            stored.app,
            stored.version,
            stored.identity,
        )
        return self._remember_peer(stored, values)

    def _remember_peer(self, key: object, values: tuple[str, str, str, str, str, str, str, str]) -> _Peer:
        """Equal values give the same `_Peer`, so that a peer read anew from each request still finds its series."""
        if len(self._peers) >= _MAX_REMEMBERED:
            self._peers.clear()
            self._peers_by_values.clear()
            self._series.clear()
        peer = self._peers_by_values.get(values)
        if peer is None:
            peer = self._peers_by_values[values] = _Peer(values)
        self._peers[id(key)] = key, peer
        return peer

    def _http_source_peer(self, stream: StreamInfo) -> _Peer:
        return self._source_peer(
            _first(stream.connection.upstream_peer, stream.upstream_peer), stream.upstream
        )

    def _tcp_source_peer(self, stream: StreamInfo) -> _Peer:
        upstream = stream.upstream
        state = upstream.connection_state if upstream is not None else None
        return self._source_peer(state.upstream_peer if state is not None else None, upstream)

    def _source_peer(self, stored: PeerMetadata | None, upstream: UpstreamInfo | None) -> _Peer:
        """The stored peer; only when nothing is stored, what the endpoint's metadata says."""
        if stored is not None:
            return self._peer(stored)
        if upstream is None or not upstream.host_metadata.filter_metadata:
            return _NO_PEER
        metadata = upstream.host_metadata
        known = self._peers.get(id(metadata))
        if known is not None and known[0] is metadata:
            return known[1]
        parts = parse_endpoint_workload(_text(metadata.namespace("istio").get("workload")))
        return self._remember_peer(metadata, (*(parts or ("", "", "", "", "")), "", "", ""))

    def _service(self, metadata: Metadata | None) -> _Service:
        if metadata is None or not metadata.filter_metadata:
            return _NO_SERVICE
        known = self._services.get(id(metadata))
        if known is not None and known[0] is metadata:
            return known[1]
        if len(self._services) >= _MAX_REMEMBERED:
            self._services.clear()
        service = _first_service(metadata)
        self._services[id(metadata)] = metadata, service
        return service

    def _destination(self, stream: StreamInfo) -> tuple[str, str, str]:
        if self._is_gateway:
            return self._gateway_destination(stream)
        return (
            self._unmatched_destination(stream) if self._names_unmatched else self._named_destination(stream)
        )

    def _named_destination(self, stream: StreamInfo) -> tuple[str, str, str]:
        """(service_host, service_name, service_namespace); what is not known is empty."""
        host = name = ""
        if self._use_host_header and stream.request_headers is not None:
            authority = stream.request_headers.authority[:_MAX_HOST_BYTES]
            host = name = authority.decode("utf-8", "replace")
        special = _ROUTE_NAMES.get(stream.route_name)
        if special is not None:
            return host, special, ""
        upstream = stream.upstream
        cluster = stream.cluster_name or (upstream.cluster_name if upstream is not None else "")
        if cluster in _SPECIAL_CLUSTERS:
            return host, cluster, ""
        metadata = stream.cluster_metadata
        if metadata is None and upstream is not None:
            metadata = upstream.cluster_metadata
        service = self._service(metadata)
        if service is _NO_SERVICE:
            return host, name, ""
        if service.host is not None:
            host = service.host
        return host, host.partition(".")[0] if service.name is None else service.name, service.namespace

    def _unmatched_destination(self, stream: StreamInfo) -> tuple[str, str, str]:
        """The same; TCP to no known service is named by what it asked for. There is no bound to such names."""
        host, name, namespace = self._named_destination(stream)
        if not host and name in _UNMATCHED_CLUSTERS:
            connection = stream.connection
            host = connection.requested_server_name or str(connection.local_address)
        return host, name, namespace

    def _gateway_destination(self, stream: StreamInfo) -> tuple[str, str, str]:
        """The same as the gateway's series as a source has, and as whole."""
        host, name, namespace = self._named_destination(stream)
        if not namespace:
            is_tcp = stream.request_headers is None
            peer = self._tcp_source_peer(stream) if is_tcp else self._http_source_peer(stream)
            principal, _ = _source_principals(stream.upstream, peer)
            namespace = principal_namespace(principal) or peer.namespace
        return host, name, namespace

    def _find(
        self, stream: StreamInfo, peer: _Peer, up: _Peer, peer_principal: str, local_principal: str
    ) -> Series:
        if self._generation != self._metrics.generation:
            self._generation = self._metrics.generation
            self._series.clear()
        service = self._destination(stream)
        key = peer, up, peer_principal, local_principal, service
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= _MAX_REMEMBERED:
                self._series.clear()
            series = self._series[key] = self._make(peer, up, peer_principal, local_principal, service)
        return series

    def _make(
        self, peer: _Peer, up: _Peer, peer_principal: str, local_principal: str, service: tuple[str, str, str]
    ) -> Series:
        if self._is_source:
            values = _source_values(self._local, peer, peer_principal, local_principal, service)
            return self._metrics.series(values, UNKNOWN)
        if self._is_waypoint:
            values = _waypoint_values(peer, up, peer_principal, service)
        elif self._is_gateway:
            values = _gateway_values(self._local, peer, peer_principal, local_principal, service)
        else:
            values = _destination_values(self._local, peer, peer_principal, local_principal, service)
        return self._metrics.series(values, "mutual_tls" if peer_principal and local_principal else "none")


def _first(mine: PeerMetadata | None, other: PeerMetadata | None) -> PeerMetadata | None:
    return mine if mine is not None else other


def _first_service(metadata: Metadata) -> _Service:
    services = metadata.namespace("istio").get("services")
    if not isinstance(services, (list, tuple)) or not services or not isinstance(services[0], Mapping):
        return _NO_SERVICE
    first = services[0]
    return _Service(
        _text(first["host"]) if "host" in first else None,
        _text(first["name"]) if "name" in first else None,
        _text(first.get("namespace")),
    )


def _first_uri(sans: tuple[str, ...] | None) -> str:
    return sans[0] if sans else ""


def _source_principals(upstream: UpstreamInfo | None, peer: _Peer) -> tuple[str, str]:
    """(peer, local): first URI SANs of the upstream connection; a peer without one may be known by its identity."""
    tls = upstream.tls if upstream is not None else None
    if tls is None:
        return peer.identity, ""
    found = _first_uri(tls.peer.uri_sans) if tls.peer is not None else ""
    return found or peer.identity, _first_uri(tls.local.uri_sans) if tls.local is not None else ""


def _downstream_principals(connection: ConnectionInfo) -> tuple[str, str]:
    """(peer, local): what a tunnel handed over; only if both are missing, first URI SANs of the connection."""
    if connection.peer_principal or connection.local_principal:
        return connection.peer_principal, connection.local_principal
    tls = connection.tls
    if tls is None:
        return "", ""
    return (
        _first_uri(tls.peer.uri_sans) if tls.peer is not None else "",
        _first_uri(tls.local.uri_sans) if tls.local is not None else "",
    )


def _calling_peer(side: str, peer: _Peer, peer_principal: str) -> tuple[str, ...]:
    """`reporter` and the eight source labels where the peer is the caller."""
    return (
        side,
        peer.workload or UNKNOWN,
        peer.canonical_name or UNKNOWN,
        peer.canonical_revision or _LATEST,
        principal_namespace(peer_principal) or peer.namespace or UNKNOWN,
        peer_principal or UNKNOWN,
        peer.app or UNKNOWN,
        peer.version or UNKNOWN,
        peer.cluster or UNKNOWN,
    )


def _called_here(
    local: LocalWorkload,
    peer: _Peer,
    peer_principal: str,
    local_principal: str,
    service: tuple[str, str, str],
) -> tuple[str, ...]:
    """The caller is the peer, the destination is this proxy's workload; `service` (host, name, namespace) as it is."""
    host, name, namespace = service
    return (
        *_calling_peer("destination", peer, peer_principal),
        local.workload,
        local.namespace,
        local_principal or UNKNOWN,
        local.app,
        local.version,
        host,
        local.canonical_name,
        local.canonical_revision,
        name,
        namespace,
        local.cluster,
    )


def _destination_values(
    local: LocalWorkload,
    peer: _Peer,
    peer_principal: str,
    local_principal: str,
    service: tuple[str, str, str],
) -> tuple[str, ...]:
    host, name, _ = service
    own = host or local.canonical_name, name or local.canonical_name, local.namespace
    return _called_here(local, peer, peer_principal, local_principal, own)


def _gateway_values(
    local: LocalWorkload,
    peer: _Peer,
    peer_principal: str,
    local_principal: str,
    service: tuple[str, str, str],
) -> tuple[str, ...]:
    """A gateway is the destination of its callers; the service they want is behind it."""
    host, name, namespace = service
    behind = host or UNKNOWN, name or UNKNOWN, namespace or UNKNOWN
    return _called_here(local, peer, peer_principal, local_principal, behind)


def _waypoint_values(
    peer: _Peer, up: _Peer, peer_principal: str, service: tuple[str, str, str]
) -> tuple[str, ...]:
    host, name, namespace = service
    return (
        *_calling_peer("waypoint", peer, peer_principal),
        up.workload or UNKNOWN,
        up.namespace or UNKNOWN,
        up.identity or UNKNOWN,
        up.app or UNKNOWN,
        up.version or UNKNOWN,
        host or UNKNOWN,
        up.canonical_name or UNKNOWN,
        up.canonical_revision or UNKNOWN,  # not `latest`: so does Istio
        name or UNKNOWN,
        namespace or UNKNOWN,
        up.cluster or UNKNOWN,
    )


def _source_values(
    local: LocalWorkload,
    peer: _Peer,
    peer_principal: str,
    local_principal: str,
    service: tuple[str, str, str],
) -> tuple[str, ...]:
    host, name, namespace = service
    peer_namespace = principal_namespace(peer_principal) or peer.namespace or UNKNOWN
    return (
        "source",
        local.workload,
        local.canonical_name,
        local.canonical_revision,
        local.namespace,
        local_principal or UNKNOWN,
        local.app,
        local.version,
        local.cluster,
        peer.workload or UNKNOWN,
        peer_namespace,
        peer_principal or UNKNOWN,
        peer.app or UNKNOWN,
        peer.version or UNKNOWN,
        host or UNKNOWN,
        peer.canonical_name or UNKNOWN,
        peer.canonical_revision or _LATEST,
        name or UNKNOWN,
        namespace or peer_namespace,
        peer.cluster or UNKNOWN,
    )
