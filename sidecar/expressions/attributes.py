"""Envoy's attributes: what an expression may ask of a stream (envoy docs, "Attributes").

`reader` makes one `Reader` for one attribute path at configuration time. A value that is not there, not yet there, or of a
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
from sidecar.expressions.reading import NEVER, Constant, Function, Reader
from sidecar.expressions.unsigned import Unsigned
from sidecar.expressions.values import FAILED, Duration, Timestamp
from sidecar.stream_info import StreamInfo, TlsInfo, UpstreamInfo

_Read: TypeAlias = Callable[[StreamInfo], object]
Key: TypeAlias = str | int | float | bytes | bool | None
_Family: TypeAlias = Mapping[str, Reader]
#: A family as it is written down.
_Table: TypeAlias = Mapping[str, Reader | _Read]


@dataclass(frozen=True, slots=True)
class Scope:
    """What does not change from stream to stream.

    `node` None: `xds.node` has no value. `has_headers` False: the heads and trailers of request and response are not to be read (reports on the way).
    """

    node: Node | None = Node()
    has_headers: bool = True


def reader(root: str, keys: Sequence[Key], scope: Scope) -> Reader:
    """The value of `root.keys[0].keys[1]...`; without keys all that `root` has, as a map."""
    family = _family(root, scope)
    if family is None:
        return NEVER
    if not keys:
        return _Map(family)
    name, rest = keys[0], keys[1:]
    if not isinstance(name, str):
        return NEVER
    if root == "xds" and name == "node":
        return Constant(_walk(_node(scope.node), rest)) if scope.node is not None else NEVER
    headers_of = _HEADERS.get((root, name))
    if headers_of is not None and rest:
        if not scope.has_headers or not isinstance(rest[0], str) or len(rest) > 1:
            return NEVER
        return _Field(headers_of, rest[0])
    peer_of = _PEERS.get((root, name))
    if peer_of is not None and rest and isinstance(rest[0], str):
        return _PeerField(peer_of, rest[0], rest[1:])
    read = family.get(name)
    if read is None:
        return NEVER
    return read if not rest else _Below(read, rest)


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


class _Below(Reader):
    """What lies below a value."""

    __slots__ = ("_keys", "_whole")

    def __init__(self, whole: Reader, keys: Sequence[Key]) -> None:
        self._whole: Final = whole
        self._keys: Final = keys

    def value(self, info: StreamInfo) -> object:
        return _walk(self._whole.value(info), self._keys)


class _Map(Reader):
    """A map of all that is there."""

    __slots__ = ("_items",)

    def __init__(self, family: _Family) -> None:
        self._items: Final = tuple(family.items())

    def value(self, info: StreamInfo) -> object:
        return {name: value for name, read in self._items if (value := read.value(info)) is not FAILED}


# Header fields


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


#: Longer values are not kept.
_MAX_KEPT_BYTES: Final = 1024

#: Whose header: numbers, because compiled code compares them as they are.
_REQUEST_HEAD: Final = 0
_RESPONSE_HEAD: Final = 1
_RESPONSE_TRAILERS: Final = 2


class _Decoded(Reader):
    """Bytes as text. The last ones are kept with their text: mostly the next request has the same."""

    __slots__ = ("_bytes", "_text")

    def __init__(self) -> None:
        self._bytes = b""
        self._text = ""

    def decoded(self, value: bytes) -> str:
        if value == self._bytes:
            return self._text
        text = value.decode("utf-8", "replace")
        if len(value) <= _MAX_KEPT_BYTES:
            self._bytes, self._text = value, text
        return text


#: What is asked for most of what is no field; zero is a field, and whatever else is none is read by its function.
_AUTHORITY: Final = 1
_METHOD: Final = 2
_PATH: Final = 3
_OTHER: Final = 4
_PLACES: Final = {b":authority": _AUTHORITY, b"host": _AUTHORITY, b":method": _METHOD, b":path": _PATH}


class _Field(_Decoded):
    """All values of one name, joined by commas; names have no case (Envoy)."""

    __slots__ = ("_name", "_of", "_place")

    def __init__(self, of: int, key: str) -> None:
        super().__init__()
        self._of: Final = of
        self._name: Final = key.lower().encode("utf-8", "replace")
        self._place: Final = _PLACES.get(self._name, _OTHER if self._name in PSEUDO_HEADERS else 0)

    def _bytes_of(self, info: StreamInfo) -> bytes | None:
        headers = _headers_of(self._of, info)
        if headers is None:
            return None
        place = self._place
        if not place:
            return headers.joined(self._name)
        if place == _AUTHORITY:
            value = headers.authority
        elif place == _METHOD:
            value = headers.method
        elif place == _PATH:
            value = headers.path
        else:
            value = PSEUDO_HEADERS[self._name](headers)
        return value or None

    def value(self, info: StreamInfo) -> object:
        value = self._bytes_of(info)
        return FAILED if value is None else self.decoded(value)

    def is_there(self, info: StreamInfo) -> bool:
        return self._bytes_of(info) is not None


def _headers_of(of: int, info: StreamInfo) -> Headers | None:
    if of == _REQUEST_HEAD:
        return info.request_headers
    return info.response_headers if of == _RESPONSE_HEAD else info.response_trailers


class _AllFields(Reader):
    __slots__ = ("_of",)

    def __init__(self, of: int) -> None:
        self._of: Final = of

    def value(self, info: StreamInfo) -> object:
        headers = _headers_of(self._of, info)
        if headers is None:
            return {}
        fields = {
            name: value for name, of in PSEUDO_HEADERS.items() if name != b"host" and (value := of(headers))
        }
        fields.update((name, headers.joined(name) or b"") for name in headers.names())
        return {_text(name): _text(value) for name, value in fields.items()}


def _size_of(info: StreamInfo, *of: int) -> int:
    return sum([headers.size_bytes() for each in of if (headers := _headers_of(each, info)) is not None])


_HEADERS: Final[Mapping[tuple[str, str], int]] = {
    ("request", "headers"): _REQUEST_HEAD,
    ("response", "headers"): _RESPONSE_HEAD,
    ("response", "trailers"): _RESPONSE_TRAILERS,
}


class HeaderByName:
    """One of the fields of a map of header fields, by a name that is known only then, in any case (Envoy)."""

    __slots__ = ("_of",)

    def __init__(self, of: int) -> None:
        self._of: Final = of

    def value(self, info: StreamInfo, name: str) -> object:
        return _Field(self._of, name).value(info)


def header_field_of(path: tuple[str, tuple[Key, ...]]) -> HeaderByName | None:
    """For the path of a map of header fields."""
    root, keys = path
    of = _HEADERS.get((root, str(keys[0]))) if len(keys) == 1 else None
    return HeaderByName(of) if of is not None else None


# Request


#: As a number: for bytes in bytes, Python first tries whether they are one, and clears the exception that says they are not.
_QUESTION_MARK: Final = ord("?")


class _UrlPath(_Decoded):
    """Without the query."""

    __slots__ = ()

    def value(self, info: StreamInfo) -> object:
        headers = info.request_headers
        if headers is None:
            return FAILED
        path = headers.path
        return self.decoded(path.partition(b"?")[0] if _QUESTION_MARK in path else path)


def _query(info: StreamInfo) -> object:
    headers = info.request_headers
    return FAILED if headers is None else _text(headers.path.partition(b"?")[2].partition(b"#")[0])


class _RequestSize(Reader):
    """The announced length; what has come, where none is announced."""

    __slots__ = ()

    def value(self, info: StreamInfo) -> object:
        headers = info.request_headers
        length = headers.get(b"content-length") if headers is not None else None
        if length is None:
            return info.bytes_received
        return int(length) if length.isdigit() and len(length) < 19 else FAILED


def _nanos_between(start_ns: int, end_ns: int) -> object:
    return Duration(end_ns - start_ns) if start_ns and end_ns else FAILED


def _request_head_bytes(info: StreamInfo) -> int:
    return _size_of(info, _REQUEST_HEAD)


#: What is known of a request without its head.
_REQUEST_FACTS: Final[_Table] = {
    "time": lambda info: Timestamp(int(info.start_s * 1e6) * 1000),
    "size": lambda info: info.bytes_received,
    "total_size": lambda info: info.bytes_received,
    "headers": Constant({}),
    "headers_bytes": Constant(0),
    "duration": lambda info: _nanos_between(info.start_ns, info.end_ns),
    "protocol": lambda info: info.protocol or FAILED,
}
_REQUEST: Final[_Table] = {
    **_REQUEST_FACTS,
    "headers": _AllFields(_REQUEST_HEAD),
    "headers_bytes": _request_head_bytes,
    "size": _RequestSize(),
    "total_size": lambda info: info.bytes_received + _request_head_bytes(info),
    "path": _Field(_REQUEST_HEAD, ":path"),
    "url_path": _UrlPath(),
    "query": _query,
    "host": _Field(_REQUEST_HEAD, ":authority"),
    "scheme": _Field(_REQUEST_HEAD, ":scheme"),
    "method": _Field(_REQUEST_HEAD, ":method"),
    "referer": _Field(_REQUEST_HEAD, "referer"),
    "useragent": _Field(_REQUEST_HEAD, "user-agent"),
    "id": _Field(_REQUEST_HEAD, "x-request-id"),
}


# Response


def _grpc_status(info: StreamInfo) -> object:
    status = status_of(info.response_trailers, info.response_headers, info.response_code)
    return FAILED if status is None else status


def _response_head_bytes(info: StreamInfo) -> int:
    return _size_of(info, _RESPONSE_HEAD)


def _response_fields_bytes(info: StreamInfo) -> int:
    return _size_of(info, _RESPONSE_HEAD, _RESPONSE_TRAILERS)


class _ResponseCode(Reader):
    __slots__ = ()

    def value(self, info: StreamInfo) -> object:
        code = info.response_code
        return code if code else FAILED


class _ResponseSize(Reader):
    __slots__ = ()

    def value(self, info: StreamInfo) -> object:
        return info.bytes_sent


_RESPONSE_FACTS: Final[_Table] = {
    "code": _ResponseCode(),
    "code_details": lambda info: info.response_code_details or FAILED,
    "size": _ResponseSize(),
    "total_size": _ResponseSize(),
    "headers": Constant({}),
    "headers_bytes": Constant(0),
    "trailers": Constant({}),
    "flags": lambda info: info.response_flags,
    "backend_latency": lambda info: _nanos_between(
        info.last_upstream_tx_byte_ns, info.last_upstream_rx_byte_ns
    ),
}
_RESPONSE: Final[_Table] = {
    **_RESPONSE_FACTS,
    "grpc_status": _grpc_status,
    "total_size": lambda info: info.bytes_sent + _response_fields_bytes(info),
    "headers": _AllFields(_RESPONSE_HEAD),
    "headers_bytes": _response_head_bytes,
    "trailers": _AllFields(_RESPONSE_TRAILERS),
}


# TLS, on either side

_CertificateOf: TypeAlias = Callable[[TlsInfo], PeerCertificate | None]


def _certificate_facts(tls_of: Callable[[StreamInfo], TlsInfo | None]) -> _Table:
    def of_tls(get: Callable[[TlsInfo], str]) -> _Read:
        return lambda info: get(tls) if (tls := tls_of(info)) is not None else FAILED

    def first(names: str, certificate_of: _CertificateOf) -> _Read:
        """The first SAN of its kind."""
        names_of = attrgetter(names)

        def read(info: StreamInfo) -> object:
            tls = tls_of(info)
            certificate = certificate_of(tls) if tls is not None else None
            found = names_of(certificate) if certificate is not None else ()
            return found[0] if found else FAILED

        return read

    def peer(get: Callable[[PeerCertificate], str]) -> _Read:
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


_CONNECTION: Final[_Table] = {
    **_certificate_facts(_downstream_tls),
    "id": lambda info: Unsigned(info.connection.id),
    "mtls": _is_mtls,
    "requested_server_name": lambda info: info.connection.requested_server_name,
    "termination_details": lambda info: info.connection.termination_details or FAILED,
    "transport_failure_reason": lambda info: info.connection.transport_failure_reason or FAILED,
}


def _address(address_of: Callable[[StreamInfo], Address | None]) -> _Table:
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


def _of_upstream(get: Callable[[UpstreamInfo], object]) -> _Read:
    return lambda info: get(info.upstream) if info.upstream is not None else FAILED


def _upstream_tls(info: StreamInfo) -> TlsInfo | None:
    return info.upstream.tls if info.upstream is not None else None


def _local_address(upstream: UpstreamInfo) -> object:
    return FAILED if upstream.local_address is None else str(upstream.local_address)


_UPSTREAM: Final[_Table] = {
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


class _ClusterName(Reader):
    __slots__ = ()

    def value(self, info: StreamInfo) -> object:
        upstream = info.upstream
        return info.cluster_name or (upstream.cluster_name if upstream is not None else "") or FAILED


class _RouteName(Reader):
    __slots__ = ()

    def value(self, info: StreamInfo) -> object:
        return info.route_name if _is_routed(info) else FAILED


def _cluster_metadata(info: StreamInfo) -> object:
    metadata = info.cluster_metadata
    if metadata is None and info.upstream is not None:
        metadata = info.upstream.cluster_metadata
    return metadata_value(metadata)


def _is_routed(info: StreamInfo) -> bool:
    return info.route_metadata is not None or info.virtual_host_name != ""


_DIRECTIONS: Final = {each: each.value for each in TrafficDirection}

_XDS: Final[_Table] = {
    "cluster_name": _ClusterName(),
    "cluster_metadata": _cluster_metadata,
    "route_name": _RouteName(),
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
    peer = info.connection.downstream_peer
    return peer if peer is not None else info.downstream_peer


def _peer_of_upstream_connection(info: StreamInfo) -> PeerMetadata | None:
    state = info.upstream.connection_state if info.upstream is not None else None
    return state.upstream_peer if state is not None else None


def _upstream_peer(info: StreamInfo) -> PeerMetadata | None:
    """Not what the upstream connection of a TCP session found out: that is in `upstream_filter_state`, as in Istio."""
    peer = info.connection.upstream_peer
    return peer if peer is not None else info.upstream_peer


_DOWNSTREAM: Final = 0
_UPSTREAM_OF_STREAM: Final = 1
_UPSTREAM_OF_CONNECTION: Final = 2


class _PeerField(Reader):
    """One value, without the struct around it; that of the last peer is kept."""

    __slots__ = ("_key", "_of", "_peer", "_rest", "_value")

    def __init__(self, of: int, key: str, rest: Sequence[Key]) -> None:
        self._of: Final = of
        self._key: Final = key
        self._rest: Final = rest
        self._peer: PeerMetadata | None = None
        self._value: object = FAILED

    def value(self, info: StreamInfo) -> object:
        if self._of == _DOWNSTREAM:
            peer = _downstream_peer(info)
        elif self._of == _UPSTREAM_OF_STREAM:
            peer = _upstream_peer(info)
        else:
            peer = _peer_of_upstream_connection(info)
        if peer is not self._peer:
            value = peer.filter_state_value(self._key) if peer is not None else None
            self._value = FAILED if value is None else _walk(value, self._rest)
            self._peer = peer
        return self._value


#: Whose peer metadata object a key of filter state stands for.
_PEERS: Final[Mapping[tuple[str, str], int]] = {
    ("filter_state", "downstream_peer"): _DOWNSTREAM,
    ("filter_state", "upstream_peer"): _UPSTREAM_OF_STREAM,
    ("upstream_filter_state", "upstream_peer"): _UPSTREAM_OF_CONNECTION,
}

_FILTER_STATE: Final[_Table] = {
    "downstream_peer": lambda info: _peer_value(_downstream_peer(info)),
    "downstream_peer_obj": lambda info: _peer_object(_downstream_peer(info)),
    "upstream_peer": lambda info: _peer_value(_upstream_peer(info)),
    "upstream_peer_obj": lambda info: _peer_object(_upstream_peer(info)),
    "io.istio.peer_principal": lambda info: info.connection.peer_principal or FAILED,
    "io.istio.local_principal": lambda info: info.connection.local_principal or FAILED,
}
_UPSTREAM_FILTER_STATE: Final[_Table] = {
    "upstream_peer": lambda info: _peer_value(_peer_of_upstream_connection(info)),
    "upstream_peer_obj": lambda info: _peer_object(_peer_of_upstream_connection(info)),
}


def _dynamic_metadata(info: StreamInfo) -> object:
    metadata = info.dynamic_metadata
    return {} if metadata is None else metadata


_METADATA: Final[_Table] = {"filter_metadata": _dynamic_metadata}


def _family_of(table: _Table) -> _Family:
    return {name: read if isinstance(read, Reader) else Function(read) for name, read in table.items()}


_FAMILIES: Final[Mapping[str, _Family]] = {
    "request": _family_of(_REQUEST),
    "response": _family_of(_RESPONSE),
    "connection": _family_of(_CONNECTION),
    "source": _family_of(_SOURCE),
    "destination": _family_of(_DESTINATION),
    "upstream": _family_of(_UPSTREAM),
    "xds": _family_of(_XDS),
    "metadata": _family_of(_METADATA),
    "filter_state": _family_of(_FILTER_STATE),
    "upstream_filter_state": _family_of(_UPSTREAM_FILTER_STATE),
}
_WITHOUT_HEADERS: Final[Mapping[str, _Family]] = {
    "request": _family_of(_REQUEST_FACTS),
    "response": _family_of(_RESPONSE_FACTS),
}
