"""Envoy's attributes: what an expression may ask of a stream (envoy docs, "Attributes").

`reader` makes one closure for one attribute path at configuration time. A value that is not there, not yet there, or of a
kind that this proxy does not gather is `FAILED`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, TypeAlias

from config.model.core import Address, Locality, Metadata, Node, SocketAddress, TrafficDirection
from protocols.grpc.status import status_of
from protocols.http.headers import PSEUDO_HEADERS, Headers
from protocols.peer_metadata import FILTER_STATE_KEYS, PeerMetadata
from protocols.tls.certificate import PeerCertificate
from sidecar.expressions.unsigned import Unsigned
from sidecar.expressions.values import FAILED, Duration, Timestamp
from sidecar.stream_info import StreamInfo, TlsInfo, UpstreamInfo

Reader: TypeAlias = Callable[[StreamInfo], object]
Key: TypeAlias = str | int | float | bytes | bool | None
_Family: TypeAlias = Mapping[str, Reader]
_HeadersOf: TypeAlias = Callable[[StreamInfo], Headers | None]
_PeerOf: TypeAlias = Callable[[StreamInfo], PeerMetadata | None]


@dataclass(frozen=True, slots=True)
class Scope:
    """What does not change from stream to stream.

    `node` None: `xds.node` has no value. `has_headers` False: the heads and trailers of request and response are not to be read (reports on the way).
    """

    node: Node | None = Node()
    has_headers: bool = True


def never(info: StreamInfo) -> object:
    """The reader of what does not exist."""
    return FAILED


def constant(value: object) -> Reader:
    return lambda info: value


def reader(root: str, keys: Sequence[Key], scope: Scope) -> Reader:
    """The value of `root.keys[0].keys[1]...`; without keys all that `root` has, as a map."""
    family = _family(root, scope)
    if family is None:
        return never
    if not keys:
        return _all_of(family)
    name, rest = keys[0], keys[1:]
    if not isinstance(name, str):
        return never
    if root == "xds" and name == "node":
        return constant(_walk(_node(scope.node), rest)) if scope.node is not None else never
    headers_of = _HEADERS.get((root, name))
    if headers_of is not None and rest:
        if not scope.has_headers or not isinstance(rest[0], str) or len(rest) > 1:
            return never
        return _field(headers_of, rest[0])
    peer_of = _PEERS.get((root, name))
    if peer_of is not None and rest and isinstance(rest[0], str):
        return _peer_field(peer_of, rest[0], rest[1:])
    read = family.get(name)
    if read is None:
        return never
    return read if not rest else lambda info: _walk(read(info), rest)


def names_below(root: str, keys: Sequence[Key]) -> tuple[str, ...] | None:
    """The names that can follow `root.keys[0]...`; None where they are not known beforehand, or there are none."""
    family = _FAMILIES.get(root)
    if family is None or not keys:
        return (*family, *(("node",) if root == "xds" else ())) if family is not None else None
    if len(keys) == 1 and (root, str(keys[0]).removesuffix("_obj")) in _PEERS:
        return FILTER_STATE_KEYS
    return None


def roots() -> tuple[str, ...]:
    """The names that give access to a stream."""
    return tuple(_FAMILIES)


def is_attribute(root: str) -> bool:
    """Whether a name is one of those that give access to a stream."""
    return root in _FAMILIES


def _family(root: str, scope: Scope) -> _Family | None:
    family = _FAMILIES.get(root)
    if family is not None and not scope.has_headers and root in _WITHOUT_HEADERS:
        return _WITHOUT_HEADERS[root]
    return family


def _walk(value: object, keys: Sequence[Key]) -> object:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, FAILED) if isinstance(key, str) else FAILED
        elif isinstance(value, (list, tuple)) and isinstance(key, int) and not isinstance(key, bool):
            value = value[key] if 0 <= key < len(value) else FAILED
        else:
            return FAILED
    return value


def _all_of(family: _Family) -> Reader:
    """A map of all that is there."""
    items = tuple(family.items())
    return lambda info: {name: value for name, read in items if (value := read(info)) is not FAILED}


# Header fields


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _field(headers_of: _HeadersOf, key: str) -> Reader:
    """All values of one name, joined by commas; names have no case (Envoy)."""
    name = key.lower().encode("utf-8", "replace")
    pseudo = PSEUDO_HEADERS.get(name)

    def read(info: StreamInfo) -> object:
        headers = headers_of(info)
        if headers is None:
            return FAILED
        value = (pseudo(headers) or None) if pseudo is not None else headers.joined(name)
        return FAILED if value is None else value.decode("utf-8", "replace")

    return read


def _all_fields(headers_of: _HeadersOf) -> Reader:
    def read(info: StreamInfo) -> object:
        headers = headers_of(info)
        if headers is None:
            return {}
        fields = {
            name: value for name, of in PSEUDO_HEADERS.items() if name != b"host" and (value := of(headers))
        }
        fields.update((name, headers.joined(name) or b"") for name in headers.names())
        return {_text(name): _text(value) for name, value in fields.items()}

    return read


def _size_of(*of: _HeadersOf) -> Callable[[StreamInfo], int]:
    return lambda info: sum(headers.size_bytes() for get in of if (headers := get(info)) is not None)


_request_headers: Final[_HeadersOf] = attrgetter("request_headers")
_response_headers: Final[_HeadersOf] = attrgetter("response_headers")
_response_trailers: Final[_HeadersOf] = attrgetter("response_trailers")

_HEADERS: Final[Mapping[tuple[str, str], _HeadersOf]] = {
    ("request", "headers"): _request_headers,
    ("response", "headers"): _response_headers,
    ("response", "trailers"): _response_trailers,
}


def header_field_of(path: tuple[str, tuple[Key, ...]]) -> Callable[[StreamInfo, str], object] | None:
    """For the path of a map of header fields: reads one of them by a name that is known only then, in any case (Envoy)."""
    root, keys = path
    headers_of = _HEADERS.get((root, str(keys[0]))) if len(keys) == 1 else None
    if headers_of is None:
        return None
    return lambda info, name: _field(headers_of, name)(info)


# Request


def _url_path(info: StreamInfo) -> object:
    headers = info.request_headers
    return FAILED if headers is None else _text(headers.path.partition(b"?")[0])


def _query(info: StreamInfo) -> object:
    headers = info.request_headers
    return FAILED if headers is None else _text(headers.path.partition(b"?")[2].partition(b"#")[0])


def _request_size(info: StreamInfo) -> object:
    """The announced length; what has come, where none is announced."""
    headers = info.request_headers
    length = headers.get(b"content-length") if headers is not None else None
    if length is None:
        return info.bytes_received
    return int(length) if length.isdigit() and len(length) < 19 else FAILED


def _nanos_between(start_ns: int, end_ns: int) -> object:
    return Duration(end_ns - start_ns) if start_ns and end_ns else FAILED


_request_head_bytes: Final = _size_of(_request_headers)

#: What is known of a request without its head.
_REQUEST_FACTS: Final[_Family] = {
    "time": lambda info: Timestamp(int(info.start_s * 1e6) * 1000),
    "size": lambda info: info.bytes_received,
    "total_size": lambda info: info.bytes_received,
    "headers": constant({}),
    "headers_bytes": constant(0),
    "duration": lambda info: _nanos_between(info.start_ns, info.end_ns),
    "protocol": lambda info: info.protocol or FAILED,
}
_REQUEST: Final[_Family] = {
    **_REQUEST_FACTS,
    "headers": _all_fields(_request_headers),
    "headers_bytes": _request_head_bytes,
    "size": _request_size,
    "total_size": lambda info: info.bytes_received + _request_head_bytes(info),
    "path": _field(_request_headers, ":path"),
    "url_path": _url_path,
    "query": _query,
    "host": _field(_request_headers, ":authority"),
    "scheme": _field(_request_headers, ":scheme"),
    "method": _field(_request_headers, ":method"),
    "referer": _field(_request_headers, "referer"),
    "useragent": _field(_request_headers, "user-agent"),
    "id": _field(_request_headers, "x-request-id"),
}


# Response


def _grpc_status(info: StreamInfo) -> object:
    status = status_of(info.response_trailers, info.response_headers, info.response_code)
    return FAILED if status is None else status


_response_head_bytes: Final = _size_of(_response_headers)
_response_fields_bytes: Final = _size_of(_response_headers, _response_trailers)

_RESPONSE_FACTS: Final[_Family] = {
    "code": lambda info: info.response_code or FAILED,
    "code_details": lambda info: info.response_code_details or FAILED,
    "size": lambda info: info.bytes_sent,
    "total_size": lambda info: info.bytes_sent,
    "headers": constant({}),
    "headers_bytes": constant(0),
    "trailers": constant({}),
    "flags": lambda info: info.response_flags,
    "backend_latency": lambda info: _nanos_between(
        info.last_upstream_tx_byte_ns, info.last_upstream_rx_byte_ns
    ),
}
_RESPONSE: Final[_Family] = {
    **_RESPONSE_FACTS,
    "grpc_status": _grpc_status,
    "total_size": lambda info: info.bytes_sent + _response_fields_bytes(info),
    "headers": _all_fields(_response_headers),
    "headers_bytes": _response_head_bytes,
    "trailers": _all_fields(_response_trailers),
}


# TLS, on either side

_CertificateOf: TypeAlias = Callable[[TlsInfo], PeerCertificate | None]


def _certificate_facts(tls_of: Callable[[StreamInfo], TlsInfo | None]) -> _Family:
    def of_tls(get: Callable[[TlsInfo], str]) -> Reader:
        return lambda info: get(tls) if (tls := tls_of(info)) is not None else FAILED

    def first(names: str, certificate_of: _CertificateOf) -> Reader:
        """The first SAN of its kind."""
        names_of = attrgetter(names)

        def read(info: StreamInfo) -> object:
            tls = tls_of(info)
            certificate = certificate_of(tls) if tls is not None else None
            found = names_of(certificate) if certificate is not None else ()
            return found[0] if found else FAILED

        return read

    def peer(get: Callable[[PeerCertificate], str]) -> Reader:
        return lambda info: (
            get(tls.peer) if (tls := tls_of(info)) is not None and tls.peer is not None else FAILED
        )

    mine: _CertificateOf = attrgetter("local")
    theirs: _CertificateOf = attrgetter("peer")
    return {
        "tls_version": of_tls(lambda tls: tls.version),
        "subject_local_certificate": of_tls(lambda tls: tls.local.subject if tls.local else ""),
        "subject_peer_certificate": of_tls(lambda tls: tls.peer.subject if tls.peer else ""),
        "uri_san_local_certificate": first("uri_sans", mine),
        "uri_san_peer_certificate": first("uri_sans", theirs),
        "dns_san_local_certificate": first("dns_sans", mine),
        "dns_san_peer_certificate": first("dns_sans", theirs),
        "sha256_peer_certificate_digest": peer(lambda certificate: certificate.sha256),
        "peer_certificate": peer(lambda certificate: certificate.pem_url_encoded()),
    }


# Connection and addresses


def _downstream_tls(info: StreamInfo) -> TlsInfo | None:
    return info.connection.tls


def _is_mtls(info: StreamInfo) -> object:
    tls = info.connection.tls
    return tls is not None and tls.peer is not None


_CONNECTION: Final[_Family] = {
    **_certificate_facts(_downstream_tls),
    "id": lambda info: Unsigned(info.connection.id),
    "mtls": _is_mtls,
    "requested_server_name": lambda info: info.connection.requested_server_name,
    "termination_details": lambda info: info.connection.termination_details or FAILED,
    "transport_failure_reason": lambda info: info.connection.transport_failure_reason or FAILED,
}


def _address(address_of: Callable[[StreamInfo], Address | None]) -> _Family:
    def address(info: StreamInfo) -> object:
        found = address_of(info)
        return FAILED if found is None else str(found)

    def port(info: StreamInfo) -> object:
        found = address_of(info)
        return found.port if isinstance(found, SocketAddress) else FAILED

    return {"address": address, "port": port}


_SOURCE: Final = _address(lambda info: info.remote_address or info.connection.remote_address)
_DESTINATION: Final = _address(lambda info: info.connection.local_address)


# Upstream


def _of_upstream(get: Callable[[UpstreamInfo], object]) -> Reader:
    return lambda info: get(info.upstream) if info.upstream is not None else FAILED


def _upstream_tls(info: StreamInfo) -> TlsInfo | None:
    return info.upstream.tls if info.upstream is not None else None


def _local_address(upstream: UpstreamInfo) -> object:
    return FAILED if upstream.local_address is None else str(upstream.local_address)


_UPSTREAM: Final[_Family] = {
    **_certificate_facts(_upstream_tls),
    **_address(lambda info: info.upstream.host_address if info.upstream is not None else None),
    "local_address": _of_upstream(_local_address),
    "transport_failure_reason": _of_upstream(lambda upstream: upstream.transport_failure_reason),
    "request_attempt_count": lambda info: Unsigned(info.attempt_count),
}


# Metadata and xDS


def metadata_value(metadata: Metadata | None) -> object:
    """A `envoy.config.core.v3.Metadata` as expressions see it."""
    return FAILED if metadata is None else {"filter_metadata": metadata.filter_metadata}


def _locality(locality: Locality) -> dict[str, object]:
    return {"region": locality.region, "zone": locality.zone, "sub_zone": locality.sub_zone}


def _node(node: Node) -> dict[str, object]:
    return {
        "id": node.id,
        "cluster": node.cluster,
        "metadata": node.metadata,
        "locality": _locality(node.locality),
    }


def _cluster_name(info: StreamInfo) -> object:
    upstream = info.upstream
    return info.cluster_name or (upstream.cluster_name if upstream is not None else "") or FAILED


def _cluster_metadata(info: StreamInfo) -> object:
    metadata = info.cluster_metadata
    if metadata is None and info.upstream is not None:
        metadata = info.upstream.cluster_metadata
    return metadata_value(metadata)


def _is_routed(info: StreamInfo) -> bool:
    return info.route_metadata is not None or info.virtual_host_name != ""


_DIRECTIONS: Final = {each: each.value for each in TrafficDirection}

_XDS: Final[_Family] = {
    "cluster_name": _cluster_name,
    "cluster_metadata": _cluster_metadata,
    "route_name": lambda info: info.route_name if _is_routed(info) else FAILED,
    "route_metadata": lambda info: metadata_value(info.route_metadata),
    "virtual_host_name": lambda info: info.virtual_host_name if _is_routed(info) else FAILED,
    "upstream_host_metadata": _of_upstream(lambda upstream: metadata_value(upstream.host_metadata)),
    "filter_chain_name": lambda info: info.connection.filter_chain_name,
    "listener_direction": lambda info: _DIRECTIONS[info.connection.listener_direction],
}


# Filter state


def _peer_value(peer: PeerMetadata | None) -> object:
    return FAILED if peer is None else peer.filter_state()


def _peer_object(peer: PeerMetadata | None) -> object:
    return FAILED if peer is None else {**peer.filter_state(), "type": peer.get_field("type")}


def _downstream_peer(info: StreamInfo) -> PeerMetadata | None:
    return info.connection.downstream_peer or info.downstream_peer


def _peer_of_upstream_connection(info: StreamInfo) -> PeerMetadata | None:
    state = info.upstream.connection_state if info.upstream is not None else None
    return state.upstream_peer if state is not None else None


def _upstream_peer(info: StreamInfo) -> PeerMetadata | None:
    """Not what the upstream connection of a TCP session found out: that is in `upstream_filter_state`, as in Istio."""
    return info.connection.upstream_peer or info.upstream_peer


def _peer_field(peer_of: _PeerOf, key: str, rest: Sequence[Key]) -> Reader:
    """One value, without the struct around it."""

    def read(info: StreamInfo) -> object:
        peer = peer_of(info)
        value = peer.filter_state_value(key) if peer is not None else None
        return FAILED if value is None else _walk(value, rest)

    return read


#: Whose peer metadata object a key of filter state stands for.
_PEERS: Final[Mapping[tuple[str, str], _PeerOf]] = {
    ("filter_state", "downstream_peer"): _downstream_peer,
    ("filter_state", "upstream_peer"): _upstream_peer,
    ("upstream_filter_state", "upstream_peer"): _peer_of_upstream_connection,
}

_FILTER_STATE: Final[_Family] = {
    "downstream_peer": lambda info: _peer_value(_downstream_peer(info)),
    "downstream_peer_obj": lambda info: _peer_object(_downstream_peer(info)),
    "upstream_peer": lambda info: _peer_value(_upstream_peer(info)),
    "upstream_peer_obj": lambda info: _peer_object(_upstream_peer(info)),
    "io.istio.peer_principal": lambda info: info.connection.peer_principal or FAILED,
    "io.istio.local_principal": lambda info: info.connection.local_principal or FAILED,
}
_UPSTREAM_FILTER_STATE: Final[_Family] = {
    "upstream_peer": lambda info: _peer_value(_peer_of_upstream_connection(info)),
    "upstream_peer_obj": lambda info: _peer_object(_peer_of_upstream_connection(info)),
}


def _dynamic_metadata(info: StreamInfo) -> object:
    metadata = info.dynamic_metadata
    return {} if metadata is None else metadata


_METADATA: Final[_Family] = {"filter_metadata": _dynamic_metadata}

_FAMILIES: Final[Mapping[str, _Family]] = {
    "request": _REQUEST,
    "response": _RESPONSE,
    "connection": _CONNECTION,
    "source": _SOURCE,
    "destination": _DESTINATION,
    "upstream": _UPSTREAM,
    "xds": _XDS,
    "metadata": _METADATA,
    "filter_state": _FILTER_STATE,
    "upstream_filter_state": _UPSTREAM_FILTER_STATE,
}
_WITHOUT_HEADERS: Final[Mapping[str, _Family]] = {"request": _REQUEST_FACTS, "response": _RESPONSE_FACTS}
