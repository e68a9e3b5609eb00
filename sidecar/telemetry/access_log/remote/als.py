"""Entries for Envoy's access log service (envoy.data.accesslog.v3, envoy.service.accesslog.v3)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf import json_format, struct_pb2

from config.model.access_log import GrpcAccessLogSpec
from config.model.core import Address, Node, PipeAddress, SocketAddress
from protocols.http.headers import Headers
from protocols.protobuf import delimited, utf8
from protocols.tls.certificate import PeerCertificate
from sidecar.stream_info import ResponseFlag, StreamInfo, TlsInfo
from sidecar.telemetry.access_log import byte_counts
from sidecar.telemetry.access_log.filter_state import peer_of
from sidecar.telemetry.access_log.format import compile_format
from sidecar.telemetry.tracing.custom_tags import CompiledTags, compile_tags
from sidecar.version import VERSION

PATH: Final = b"/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"

_US_PER_S: Final = 1_000_000
_NS_PER_S: Final = 1_000_000_000
_HTTP_VERSIONS: Final[Mapping[str, int]] = {
    "HTTP/1.0": accesslog_pb2.HTTPAccessLogEntry.HTTP10,
    "HTTP/1.1": accesslog_pb2.HTTPAccessLogEntry.HTTP11,
    "HTTP/2": accesslog_pb2.HTTPAccessLogEntry.HTTP2,
}
_TLS_VERSIONS: Final[Mapping[str, int]] = {
    "TLSv1": accesslog_pb2.TLSProperties.TLSv1,
    "TLSv1.1": accesslog_pb2.TLSProperties.TLSv1_1,
    "TLSv1.2": accesslog_pb2.TLSProperties.TLSv1_2,
    "TLSv1.3": accesslog_pb2.TLSProperties.TLSv1_3,
}
#: Fields of `ResponseFlags` that are not named as the flag is.
_FLAG_FIELDS: Final[Mapping[str, str]] = {
    "FAILED_LOCAL_HEALTH_CHECK": "failed_local_healthcheck",
    "DNS_RESOLUTION_FAILED": "dns_resolution_failure",
}
_FLAGS: Final = {
    getattr(ResponseFlag, name): field
    for name in vars(ResponseFlag)
    if name.isupper()
    and (field := _FLAG_FIELDS.get(name, name.lower()))
    in accesslog_pb2.ResponseFlags.DESCRIPTOR.fields_by_name
}
_END: Final = ("DownstreamEnd", "TcpConnectionEnd")
_stream_id: Final = compile_format("%STREAM_ID%", missing=b"")

Encode = Callable[[StreamInfo], bytes]


def compile_encoder(spec: GrpcAccessLogSpec) -> Encode:
    """An entry of the spec's kind as bytes."""
    keys, tags = spec.filter_state, compile_tags(spec.custom_tags, os.environ)
    if not spec.http:

        def encode_tcp(info: StreamInfo) -> bytes:
            entry: Any = accesslog_pb2.TCPAccessLogEntry()
            _fill_common(entry.common_properties, info, keys, tags)
            entry.connection_properties.received_bytes = info.bytes_received
            entry.connection_properties.sent_bytes = info.bytes_sent
            return bytes(entry.SerializeToString())

        return encode_tcp

    request_names = tuple(name.encode() for name in spec.request_headers)
    response_names = tuple(name.encode() for name in spec.response_headers)
    trailer_names = tuple(name.encode() for name in spec.response_trailers)

    def encode_http(info: StreamInfo) -> bytes:
        entry: Any = accesslog_pb2.HTTPAccessLogEntry()
        _fill_common(entry.common_properties, info, keys, tags)
        entry.protocol_version = _HTTP_VERSIONS.get(info.protocol, 0)
        _fill_request(entry.request, info, request_names)
        _fill_response(entry.response, info, response_names, trailer_names)
        return bytes(entry.SerializeToString())

    return encode_http


def compile_message(spec: GrpcAccessLogSpec, node: Node) -> Callable[[list[bytes], bool], bytes]:
    """A message of encoded entries; the first one of a stream with the identifier."""
    identifier: Any = als_pb2.StreamAccessLogsMessage()
    _fill_node(identifier.identifier.node, node)
    identifier.identifier.log_name = spec.log_name
    head = bytes(identifier.SerializeToString())
    field = 2 if spec.http else 3  # http_logs, tcp_logs: both have their entries in field 1

    def message(entries: list[bytes], first: bool) -> bytes:
        group = delimited(field, b"".join([delimited(1, entry) for entry in entries]))
        return head + group if first else group

    return message


def _fill_node(message: Any, node: Node) -> None:
    message.id, message.cluster = node.id, node.cluster
    message.locality.region, message.locality.zone = node.locality.region, node.locality.zone
    message.locality.sub_zone = node.locality.sub_zone
    message.user_agent_name, message.user_agent_version = "sidecar-proxy", VERSION
    json_format.ParseDict(dict(node.metadata), message.metadata)


def _fill_common(common: Any, info: StreamInfo, keys: Iterable[str], tags: CompiledTags) -> None:
    connection = info.connection
    _fill_address(common.downstream_remote_address, info.remote_address or connection.remote_address)
    _fill_address(common.downstream_direct_remote_address, connection.direct_remote_address)
    _fill_address(common.downstream_local_address, connection.local_address)
    if connection.tls is not None:
        _fill_tls(common.tls_properties, connection.tls, connection.requested_server_name)
    start_us = int(info.start_s * _US_PER_S)
    common.start_time.FromMicroseconds(start_us)
    _fill_times(common, info)
    upstream = info.upstream
    if upstream is not None:
        _fill_address(common.upstream_remote_address, upstream.host_address)
        _fill_address(common.upstream_local_address, upstream.local_address)
        common.upstream_transport_failure_reason = _text(upstream.transport_failure_reason)
    common.upstream_cluster = info.cluster_name
    for flag, field in _FLAGS.items():
        if info.response_flags & flag:
            setattr(common.response_flags, field, True)
    common.route_name = info.route_name
    common.upstream_request_attempt_count = info.attempt_count
    common.connection_termination_details = _text(connection.termination_details)
    common.downstream_transport_failure_reason = _text(connection.transport_failure_reason)
    common.stream_id = _stream_id(info).decode("latin-1")
    common.intermediate_log_entry = info.log_type not in _END
    common.access_log_type = accesslog_pb2.AccessLogType.Value(info.log_type or "NotSet")
    common.downstream_wire_bytes_received = byte_counts.downstream_wire_received(info)
    common.downstream_wire_bytes_sent = byte_counts.downstream_wire_sent(info)
    common.upstream_wire_bytes_received = byte_counts.upstream_wire_received(info)
    common.upstream_wire_bytes_sent = byte_counts.upstream_wire_sent(info)
    for namespace, metadata in (info.dynamic_metadata or {}).items():
        json_format.ParseDict(dict(metadata), common.metadata.filter_metadata[namespace])
    for key in keys:
        peer = peer_of(key, info)
        if peer is not None:
            struct = struct_pb2.Struct()
            json_format.ParseDict(peer.filter_state(), struct)
            common.filter_state_objects[key].Pack(struct)
    for tag, value_of in tags:
        value = value_of(info)
        if value is not None:
            common.custom_tags[tag] = _text(value)


def _fill_times(common: Any, info: StreamInfo) -> None:
    """Since the start of the stream; what did not happen is left out."""
    for name, at_ns in (
        ("time_to_last_rx_byte", info.last_request_byte_ns),
        ("time_to_first_upstream_tx_byte", info.first_upstream_tx_byte_ns),
        ("time_to_last_upstream_tx_byte", info.last_upstream_tx_byte_ns),
        ("time_to_first_upstream_rx_byte", info.first_upstream_rx_byte_ns),
        ("time_to_last_upstream_rx_byte", info.last_upstream_rx_byte_ns),
        ("time_to_first_downstream_tx_byte", info.first_response_byte_ns),
        ("time_to_last_downstream_tx_byte", info.last_response_byte_ns),
    ):
        if at_ns:
            getattr(common, name).FromNanoseconds(at_ns - info.start_ns)
    common.duration.FromNanoseconds((info.end_ns or time.monotonic_ns()) - info.start_ns)


def _fill_address(message: Any, address: Address | None) -> None:
    if isinstance(address, SocketAddress):
        message.socket_address.address, message.socket_address.port_value = address.address, address.port
    elif isinstance(address, PipeAddress):
        message.pipe.path = address.path
    elif address is not None:
        message.envoy_internal_address.server_listener_name = str(address)


def _fill_tls(message: Any, tls: TlsInfo, server_name: str) -> None:
    message.tls_version = _TLS_VERSIONS.get(tls.version, 0)
    message.tls_sni_hostname = server_name
    for properties, certificate in (
        (message.local_certificate_properties, tls.local),
        (message.peer_certificate_properties, tls.peer),
    ):
        if certificate is not None:
            _fill_certificate(properties, certificate)


def _fill_certificate(properties: Any, certificate: PeerCertificate) -> None:
    properties.subject = certificate.subject
    for uri in certificate.uri_sans:
        properties.subject_alt_name.add().uri = uri
    for name in certificate.dns_sans:
        properties.subject_alt_name.add().dns = name


def _fill_request(request: Any, info: StreamInfo, names: tuple[bytes, ...]) -> None:
    headers = info.request_headers
    request.request_body_bytes = info.bytes_received
    request.downstream_header_bytes_received = byte_counts.downstream_header_received(info)
    request.upstream_header_bytes_sent = byte_counts.upstream_header_sent(info)
    if headers is None:
        return
    method = headers.method.decode("latin-1")
    if (
        method
        in accesslog_pb2.HTTPAccessLogEntry.DESCRIPTOR.file.pool.FindEnumTypeByName(
            "envoy.config.core.v3.RequestMethod"
        ).values_by_name
    ):
        request.request_method = method
    request.scheme, request.authority = _utf8(headers.scheme), _utf8(headers.authority)
    request.path = _utf8(headers.path)
    request.user_agent = _utf8(headers.get(b"user-agent"))
    request.referer = _utf8(headers.get(b"referer"))
    request.forwarded_for = _utf8(headers.get(b"x-forwarded-for"))
    request.request_id = _utf8(headers.get(b"x-request-id"))
    request.original_path = _utf8(headers.get(b"x-envoy-original-path"))
    request.request_headers_bytes = headers.size_bytes()
    _fill_headers(request.request_headers, headers, names)


def _fill_response(
    response: Any, info: StreamInfo, names: tuple[bytes, ...], trailer_names: tuple[bytes, ...]
) -> None:
    if info.response_code:
        response.response_code.value = info.response_code
    response.response_body_bytes = info.bytes_sent
    response.response_code_details = _text(info.response_code_details)
    response.downstream_header_bytes_sent = byte_counts.downstream_header_sent(info)
    response.upstream_header_bytes_received = byte_counts.upstream_header_received(info)
    if info.response_headers is not None:
        response.response_headers_bytes = info.response_headers.size_bytes()
        _fill_headers(response.response_headers, info.response_headers, names)
    if info.response_trailers is not None:
        _fill_headers(response.response_trailers, info.response_trailers, trailer_names)


def _fill_headers(target: Any, headers: Headers, names: tuple[bytes, ...]) -> None:
    for name in names:
        value = headers.joined(name)
        if value is not None:
            target[name.decode()] = _utf8(value)


def _utf8(value: bytes | None) -> str:
    return utf8(value).decode() if value else ""


def _text(value: str) -> str:
    return value.encode("utf-8", "replace").decode()
