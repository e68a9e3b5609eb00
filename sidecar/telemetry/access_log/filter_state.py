"""Filter state: what filters found out for others, under Envoy's and Istio's keys. FILTER_STATE and UPSTREAM_FILTER_STATE print it.

The peers of the metadata exchange have several keys: those of today, those with fields (`*_obj`), and those of older meshes,
which name the same objects here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

from protocols.peer_metadata import PeerMetadata, serialize_struct
from sidecar.stream_info import GrpcMessages, StreamInfo
from sidecar.telemetry.access_log.json_values import json_bytes
from sidecar.telemetry.access_log.operator import (
    Argument,
    Builder,
    JsonBuilder,
    Operator,
    Reading,
    absent,
    quoted,
)

_PeerOf: TypeAlias = Callable[[StreamInfo], PeerMetadata | None]
#: Prints the object of a stream; None if it has none.
_Print: TypeAlias = Callable[[StreamInfo], bytes | None]

_STRUCT_TYPE: Final = "type.googleapis.com/google.protobuf.Struct"
_GRPC_STATS: Final = "envoy.filters.http.grpc_stats"


def _downstream_peer(info: StreamInfo) -> PeerMetadata | None:
    return info.connection.downstream_peer or info.downstream_peer


def _upstream_peer(info: StreamInfo) -> PeerMetadata | None:
    return info.connection.upstream_peer or info.upstream_peer


def _peer_of_upstream_connection(info: StreamInfo) -> PeerMetadata | None:
    state = info.upstream.connection_state if info.upstream is not None else None
    return state.upstream_peer if state is not None else None


def _keys(side: str, peer: _PeerOf) -> dict[str, tuple[_PeerOf, bool]]:
    """Key -> (whose peer, whether it is the object form of newer Istio)."""
    return {
        f"{side}_peer": (peer, False),
        f"{side}_peer_obj": (peer, True),
        f"wasm.{side}_peer": (peer, False),
        f"envoy.wasm.metadata_exchange.{side}": (peer, False),
    }


_PEERS: Final = {**_keys("downstream", _downstream_peer), **_keys("upstream", _upstream_peer)}
_PEERS_OF_UPSTREAM: Final = _keys("upstream", _peer_of_upstream_connection)


def peer_of(key: str, info: StreamInfo) -> PeerMetadata | None:
    """The peer that the stream's filter state has under `key`."""
    entry = _PEERS.get(key)
    return entry[0](info) if entry is not None else None


def _filter_state(peers: Mapping[str, tuple[_PeerOf, bool]], *, streams: bool) -> Builder:
    """`FILTER_STATE(key)` JSON of the typed value, `(key:PLAIN)` serialized, `(key:FIELD:name)` one field."""

    def build(argument: Argument, *, json: bool = False) -> Operator:
        key, _, form = (argument.text or "").partition(":")
        form, _, name = form.partition(":")
        if not key or form not in ("", "PLAIN", "TYPED", "FIELD") or (form == "FIELD") is not bool(name):
            raise ValueError("operator needs (KEY), (KEY:PLAIN), (KEY:TYPED) or (KEY:FIELD:name)")
        if key in peers:
            print_object = _peer_printer(*peers[key], form, name)
        elif streams and key == _GRPC_STATS:
            print_object = _grpc_printer(form, json=json)
        else:
            return absent(argument)
        max_length, missing = argument.max_length, argument.missing

        def read(info: StreamInfo) -> bytes:
            printed = print_object(info)
            return printed[:max_length] or missing if printed is not None else missing

        operator = Reading(read)
        return quoted(operator, missing) if json and form in ("PLAIN", "FIELD") else operator

    return JsonBuilder(build, partial(build, json=True))


def _peer_printer(peer: _PeerOf, is_object: bool, form: str, name: str) -> _Print:
    def print_peer(found: PeerMetadata) -> bytes:
        if form == "FIELD":
            return (found.get_field(name) or "").encode("utf-8", "replace")
        if form != "PLAIN":
            return json_bytes({"@type": _STRUCT_TYPE, "value": found.filter_state()})
        return (
            found.text().encode("utf-8", "replace") if is_object else serialize_struct(found.filter_state())
        )

    return lambda info: print_peer(found) if (found := peer(info)) is not None else None


def _grpc_printer(form: str, *, json: bool) -> _Print:
    """A `FilterObject` of grpc_stats, which has no fields for FIELD. The two ways to print it name them differently, as in Envoy."""
    names = (
        ("request_message_count", "response_message_count")
        if json
        else ("requestMessageCount", "responseMessageCount")
    )

    def print_counts(messages: GrpcMessages) -> bytes | None:
        counts = (messages.requests.count, messages.responses.count)
        if form == "PLAIN":
            return b"%d,%d" % counts
        if form == "FIELD":
            return None
        # 64-bit numbers are strings in protobuf's JSON; those that are 0 are left out
        return json_bytes({name: str(count) for name, count in zip(names, counts, strict=True) if count})

    return lambda info: print_counts(info.grpc_messages) if info.grpc_messages is not None else None


FILTER_STATE_OPERATORS: Final[Mapping[str, Builder]] = {
    "FILTER_STATE": _filter_state(_PEERS, streams=True),
    "UPSTREAM_FILTER_STATE": _filter_state(_PEERS_OF_UPSTREAM, streams=False),
}
