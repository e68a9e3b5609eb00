"""Istio's extensions in bootstraps, and peer metadata as bytes."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import any_pb2, json_format, struct_pb2

from tests.support.bootstraps import Json

PEER_EXCHANGE_ALPN = "istio-peer-exchange"
PEER_EXCHANGE_MAGIC = 0x3D230467

_TYPED_STRUCT = "type.googleapis.com/udpa.type.v1.TypedStruct"


def extension(name: str, type_url: str, value: Mapping[str, Any]) -> Json:
    """An extension of Istio as istiod writes it: a TypedStruct."""
    return {
        "name": name,
        "typed_config": {
            "@type": _TYPED_STRUCT,
            "type_url": f"type.googleapis.com/{type_url}",
            "value": dict(value),
        },
    }


def peer_metadata_filter(*, inbound: bool) -> Json:
    """The HTTP filter that exchanges metadata in headers, for an inbound or an outbound listener."""
    side = "downstream" if inbound else "upstream"
    methods: list[Json] = [{"istio_headers": {}}]
    return extension(
        "envoy.filters.http.peer_metadata",
        "io.istio.http.peer_metadata.Config",
        {f"{side}_discovery": methods, f"{side}_propagation": methods},
    )


def istio_stats_filter(**value: Any) -> Json:
    """The metrics filter; the same for HTTP and for network filter chains."""
    return extension("istio.stats", "stats.PluginConfig", value)


def metadata_exchange_filter(protocol: str = PEER_EXCHANGE_ALPN) -> Json:
    """The network filter that exchanges metadata before the bytes of the application."""
    return extension(
        "envoy.filters.network.metadata_exchange",
        "envoy.tcp.metadataexchange.config.MetadataExchange",
        {"protocol": protocol},
    )


def node(workload: str, *, service_account: str | None = None) -> Json:
    """A bootstrap node whose metadata name `workload` in the namespace default."""
    return {"id": f"{workload}-id", "cluster": workload, "metadata": node_metadata(workload, service_account)}


def node_metadata(workload: str, service_account: str | None = None) -> Json:
    """The metadata that Istio gives the proxy of `workload`, and that peers see."""
    return {
        "NAME": f"{workload}-v1-84975bc778-pxz2w",
        "NAMESPACE": "default",
        "WORKLOAD_NAME": f"{workload}-v1",
        "OWNER": f"kubernetes://apis/apps/v1/namespaces/default/deployments/{workload}-v1",
        "CLUSTER_ID": f"{workload}-cluster",
        "MESH_ID": "mesh",
        "SERVICE_ACCOUNT": service_account or workload,
        "LABELS": {
            "app": workload,
            "version": "v1",
            "service.istio.io/canonical-name": workload,
            "service.istio.io/canonical-revision": "v1",
        },
    }


def metadata_struct(metadata: Mapping[str, Any]) -> struct_pb2.Struct:
    message = struct_pb2.Struct()
    message.update(dict(metadata))
    return message


def metadata_header(metadata: Mapping[str, Any]) -> str:
    """`metadata` as the value of `x-envoy-peer-metadata`."""
    serialized = metadata_struct(metadata).SerializeToString(deterministic=True)
    return base64.b64encode(serialized).decode("ascii")


def read_metadata_header(value: str) -> dict[str, Any]:
    """The top-level fields of a received header; nested structs as dictionaries of strings."""
    message = struct_pb2.Struct.FromString(base64.b64decode(value + "=" * (-len(value) % 4)))
    return struct_value(message)


def struct_value(message: struct_pb2.Struct) -> dict[str, Any]:
    """A Struct as plain dictionaries."""
    plain: dict[str, Any] = json_format.MessageToDict(message)
    return plain


def exchange_frame(metadata: Mapping[str, Any], node_id: str) -> bytes:
    """The bytes that a peer of the metadata exchange sends before those of the application."""
    body = metadata_struct({"x-envoy-peer-metadata": dict(metadata), "x-envoy-peer-metadata-id": node_id})
    wrapped = any_pb2.Any()
    wrapped.Pack(body)
    return exchange_prefix(wrapped.SerializeToString())


def exchange_prefix(payload: bytes, *, magic: int = PEER_EXCHANGE_MAGIC, length: int | None = None) -> bytes:
    """A header and `payload`; `length` may lie."""
    return struct.pack("!II", magic, len(payload) if length is None else length) + payload


def series_with(samples: Sequence[tuple[Mapping[str, str], float]], **labels: str) -> list[float]:
    """The values of the samples that have all of `labels`."""
    return [
        value for found, value in samples if all(found.get(name) == want for name, want in labels.items())
    ]


#: Istio's format for `accessLogEncoding: JSON`.
ISTIO_JSON: Json = {
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
}
