"""The tags that every span has (Envoy's), and those of the peers that are known (Istio's names)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from config.model.core import SocketAddress
from protocols.grpc.status import GrpcStatus, has_grpc_content_type, parse_status
from protocols.http import names
from sidecar.telemetry.tracing.custom_tags import text_of

if TYPE_CHECKING:
    from protocols.http.headers import Headers
    from protocols.peer_metadata import PeerMetadata
    from sidecar.stream_info import StreamInfo

COMPONENT: Final = "proxy"
TRUE: Final = "true"
_NONE: Final = "-"

_REQUEST_ID: Final = b"x-request-id"
_CLIENT_TRACE_ID: Final = b"x-client-trace-id"
_ORIGINAL_PATH: Final = b"x-envoy-original-path"
_DOWNSTREAM_CLUSTER: Final = b"x-envoy-downstream-service-cluster"

#: A gRPC status that says that the server failed.
_SERVER_FAILED: Final = frozenset(
    {
        GrpcStatus.UNKNOWN,
        GrpcStatus.DEADLINE_EXCEEDED,
        GrpcStatus.RESOURCE_EXHAUSTED,
        GrpcStatus.UNIMPLEMENTED,
        GrpcStatus.INTERNAL,
        GrpcStatus.UNAVAILABLE,
        GrpcStatus.DATA_LOSS,
    }
)
#: What Istio calls them in the tags of its own configuration.
_PEER_NAMES: Final = ("workload", "namespace", "canonical_service", "canonical_revision", "cluster_id")
_SOURCE: Final = tuple([f"istio.source_{name}" for name in _PEER_NAMES])
_DESTINATION: Final = tuple([f"istio.destination_{name}" for name in _PEER_NAMES])


def request_tags(info: StreamInfo, max_path_length: int) -> dict[str, str]:
    """Of the span of a request, all but the outcome."""
    tags: dict[str, str] = {}
    headers = info.request_headers
    if headers is not None:
        for name, tag in ((_REQUEST_ID, "guid:x-request-id"), (_CLIENT_TRACE_ID, "guid:x-client-trace-id")):
            value = headers.get(name)
            if value is not None:
                tags[tag] = text_of(value)
        tags["http.url"] = _url(headers, max_path_length)
        tags["http.method"] = text_of(headers.method)
        tags["downstream_cluster"] = text_of(headers.get(_DOWNSTREAM_CLUSTER) or b"-")
        tags["user_agent"] = text_of(headers.get(names.USER_AGENT) or b"-")
        tags["http.protocol"] = info.protocol or _NONE
        address = info.connection.direct_remote_address
        tags["peer.address"] = address.address if isinstance(address, SocketAddress) else str(address)
        if has_grpc_content_type(headers):
            _add_grpc_request(tags, headers)
    tags["request_size"] = str(info.bytes_received)
    tags["response_size"] = str(info.bytes_sent)
    return tags


def _url(headers: Headers, max_path_length: int) -> str:
    path = headers.get(_ORIGINAL_PATH) or headers.path
    if not path:
        return ""
    return text_of(b"%b://%b%b" % (headers.scheme, headers.authority, path[:max_path_length]))


def _add_grpc_request(tags: dict[str, str], headers: Headers) -> None:
    tags["grpc.path"] = text_of(headers.path)
    tags["grpc.authority"] = text_of(headers.authority)
    tags["grpc.content_type"] = text_of(headers.get(names.CONTENT_TYPE) or b"")
    timeout = headers.get(names.GRPC_TIMEOUT)
    if timeout is not None:
        tags["grpc.timeout"] = text_of(timeout)


def add_cluster(tags: dict[str, str], info: StreamInfo, observable_name: str) -> None:
    if info.cluster_name:
        tags["upstream_cluster"] = info.cluster_name
        tags["upstream_cluster.name"] = observable_name or info.cluster_name


def add_outcome(tags: dict[str, str], status: int, flag_names: str) -> None:
    """How it ended; no status, or one of the server's failures, is an error."""
    tags["component"] = COMPONENT
    tags["http.status_code"] = str(status)
    tags["response_flags"] = flag_names or _NONE
    if not status or 500 <= status < 600:
        tags["error"] = TRUE


def add_grpc_response(tags: dict[str, str], headers: Headers | None, trailers: Headers | None) -> None:
    """The gRPC status, from where it stands."""
    for fields in (headers, trailers):
        value = fields.get(names.GRPC_STATUS) if fields is not None else None
        if fields is None or value is None:
            continue
        tags["grpc.status_code"] = text_of(value)
        message = fields.get(names.GRPC_MESSAGE)
        if message is not None:
            tags["grpc.message"] = text_of(message)
        if parse_status(value) in _SERVER_FAILED:
            tags["error"] = TRUE


def add_peers(tags: dict[str, str], info: StreamInfo) -> None:
    """Who the client and the server are, where the exchange of metadata or discovery has found it out."""
    connection = info.connection
    _add_peer(tags, _SOURCE, connection.downstream_peer or info.downstream_peer)
    upstream = info.upstream
    state = upstream.connection_state if upstream is not None else None
    of_connection = state.upstream_peer if state is not None else None
    _add_peer(tags, _DESTINATION, connection.upstream_peer or info.upstream_peer or of_connection)


def _add_peer(tags: dict[str, str], tag_names: tuple[str, ...], peer: PeerMetadata | None) -> None:
    if peer is None:
        return
    values = (peer.workload, peer.namespace, peer.canonical_name, peer.canonical_revision, peer.cluster)
    tags.update({name: value for name, value in zip(tag_names, values, strict=True) if value})
