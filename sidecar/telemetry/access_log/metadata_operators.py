"""Operators that print structured facts: METADATA, DYNAMIC_METADATA, FILTER_STATE and their old names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

from config.model.core import Metadata
from protocols.peer_metadata import PeerMetadata, serialize_struct
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.json_values import json_bytes, quote
from sidecar.telemetry.access_log.operator import Argument, Builder, JsonBuilder, Operator, not_gathered

_MetadataOf: TypeAlias = Callable[[StreamInfo], Metadata | None]

_SOURCES: Final[Mapping[str, _MetadataOf]] = {
    "CLUSTER": lambda info: info.cluster_metadata,
    "ROUTE": lambda info: info.route_metadata,
    "UPSTREAM_HOST": lambda info: info.upstream.host_metadata if info.upstream is not None else None,
    "DYNAMIC": lambda info: None,
    "LISTENER": lambda info: None,
    "LISTENER_FILTER_CHAIN": lambda info: None,
    "VIRTUAL_HOST": lambda info: None,
}


def _print_metadata(metadata_of: _MetadataOf, path: list[str], argument: Argument, *, json: bool) -> Operator:
    """A text value as it is (a JSON string if `json`), any other as JSON."""
    namespace, keys = (path[0], path[1:]) if path else ("", [])
    max_length, missing = argument.max_length, argument.missing

    def read(info: StreamInfo) -> bytes:
        metadata = metadata_of(info)
        if metadata is None:
            return missing
        value: object = metadata.filter_metadata.get(namespace)
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is None:
            return missing
        if not isinstance(value, str):
            printed = json_bytes(value)
            return printed if json or max_length is None else printed[:max_length]
        printed = value.encode("utf-8", "replace")[:max_length]
        return quote(printed) if json else printed

    return read


def _metadata(argument: Argument, *, json: bool = False) -> Operator:
    """`METADATA(TYPE:namespace:key:...)`."""
    source, *path = (argument.text or "").split(":")
    metadata_of = _SOURCES.get(source)
    if metadata_of is None:
        raise ValueError(f"METADATA needs one of {', '.join(_SOURCES)}")
    return _print_metadata(metadata_of, path, argument, json=json)


def _metadata_of(source: str) -> Builder:
    """The older operators that name the source themselves: `CLUSTER_METADATA(namespace:key:...)`."""

    def build(argument: Argument, *, json: bool = False) -> Operator:
        if not argument.text:
            raise ValueError("operator needs (NAMESPACE:KEY:...)")
        return _print_metadata(_SOURCES[source], argument.text.split(":"), argument, json=json)

    return JsonBuilder(build, partial(build, json=True))


# Filter state: the peers that the metadata exchange found

_PeerOf: TypeAlias = Callable[[StreamInfo], PeerMetadata | None]
_PrintPeer: TypeAlias = Callable[[PeerMetadata], bytes]


def _downstream_peer(info: StreamInfo) -> PeerMetadata | None:
    connection = info.connection
    return connection.downstream_peer or info.downstream_peer


def _upstream_peer(info: StreamInfo) -> PeerMetadata | None:
    return info.connection.upstream_peer or info.upstream_peer


def _peer_of_upstream_connection(info: StreamInfo) -> PeerMetadata | None:
    state = info.upstream.connection_state if info.upstream is not None else None
    return state.upstream_peer if state is not None else None


#: Key -> (whose peer, whether it is the object form of newer Istio).
_PEERS: Final[Mapping[str, tuple[_PeerOf, bool]]] = {
    "downstream_peer": (_downstream_peer, False),
    "downstream_peer_obj": (_downstream_peer, True),
    "upstream_peer": (_upstream_peer, False),
    "upstream_peer_obj": (_upstream_peer, True),
}
_PEERS_OF_UPSTREAM: Final[Mapping[str, tuple[_PeerOf, bool]]] = {
    "upstream_peer": (_peer_of_upstream_connection, False),
    "upstream_peer_obj": (_peer_of_upstream_connection, True),
}


def _filter_state(peers: Mapping[str, tuple[_PeerOf, bool]]) -> Builder:
    """`FILTER_STATE(key)` JSON of the typed value, `(key:PLAIN)` serialized, `(key:FIELD:name)` one field."""

    def build(argument: Argument, *, json: bool = False) -> Operator:
        key, _, form = (argument.text or "").partition(":")
        form, _, name = form.partition(":")
        if not key or form not in ("", "PLAIN", "TYPED", "FIELD") or (form == "FIELD") is not bool(name):
            raise ValueError("operator needs (KEY), (KEY:PLAIN), (KEY:TYPED) or (KEY:FIELD:name)")
        if key not in peers:
            return not_gathered(argument)
        peer_of, is_object = peers[key]
        print_peer = _printer(form, name, is_object)
        max_length, missing = argument.max_length, argument.missing

        def read(info: StreamInfo) -> bytes:
            peer = peer_of(info)
            return print_peer(peer)[:max_length] or missing if peer is not None else missing

        if json and form in ("PLAIN", "FIELD"):
            return lambda info: missing if (value := read(info)) is missing else quote(value)
        return read

    return JsonBuilder(build, partial(build, json=True))


def _printer(form: str, name: str, is_object: bool) -> _PrintPeer:
    if form == "FIELD":
        return lambda peer: (peer.get_field(name) or "").encode("utf-8", "replace")
    if form == "PLAIN":
        if is_object:
            return lambda peer: peer.text().encode("utf-8", "replace")
        return lambda peer: serialize_struct(peer.filter_state())
    return lambda peer: json_bytes({"@type": _STRUCT_TYPE, "value": peer.filter_state()})


_STRUCT_TYPE: Final = "type.googleapis.com/google.protobuf.Struct"

METADATA_OPERATORS: Final[Mapping[str, Builder]] = {
    "CLUSTER_METADATA": _metadata_of("CLUSTER"),
    "DYNAMIC_METADATA": _metadata_of("DYNAMIC"),
    "FILTER_STATE": _filter_state(_PEERS),
    "METADATA": JsonBuilder(_metadata, partial(_metadata, json=True)),
    "UPSTREAM_FILTER_STATE": _filter_state(_PEERS_OF_UPSTREAM),
    "UPSTREAM_METADATA": _metadata_of("UPSTREAM_HOST"),
}
