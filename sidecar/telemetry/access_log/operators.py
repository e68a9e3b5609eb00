"""The operators of format strings: name -> how to read it from a StreamInfo. Semantics are Envoy's.

An operator is a closure from StreamInfo to bytes, built once for each place in a format. A value that is not there (never
received, not applicable to TCP, or of a kind this proxy does not gather) gives the format's `missing`.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeAlias

from config.model.core import Address, InternalAddress, SocketAddress
from protocols.tls.certificate import PeerCertificate
from sidecar.stream_info import ResponseFlag, StreamInfo, TlsInfo, UpstreamInfo
from sidecar.telemetry.access_log import byte_counts
from sidecar.telemetry.access_log.filter_state import FILTER_STATE_OPERATORS
from sidecar.telemetry.access_log.header_operators import HEADER_OPERATORS
from sidecar.telemetry.access_log.json_values import quote
from sidecar.telemetry.access_log.metadata_operators import METADATA_OPERATORS
from sidecar.telemetry.access_log.operator import (
    Argument,
    Builder,
    JsonBuilder,
    Operator,
    constant,
    not_gathered,
    number,
    optional_number,
    present_text,
    refuse_argument,
    text,
)
from sidecar.telemetry.access_log.timestamps import TIME_OPERATORS, time_operator


def build_operator(name: str, argument: Argument, extensions: Collection[str] = ()) -> Operator:
    """Raises ValueError, with a message for people, for an unknown operator or a bad argument."""
    return _builder(name, extensions)(argument)


def build_json_operator(name: str, argument: Argument, extensions: Collection[str] = ()) -> Operator:
    """The same, printing a JSON value, or `argument.missing` itself."""
    builder = _builder(name, extensions)
    if isinstance(builder, JsonBuilder):
        return builder.json(argument)
    read, missing = builder(argument), argument.missing
    return lambda info: missing if (value := read(info)) is missing else quote(value)


def _builder(name: str, extensions: Collection[str]) -> Builder:
    builder = OPERATORS.get(name)
    if builder is None:
        raise ValueError(f"unknown operator {name}")
    if (formatter := FORMATTERS.get(name)) is not None and formatter not in extensions:
        raise ValueError(f"operator {name} needs the formatter {formatter}")
    return builder


# Addresses


def address_text(address: Address | None) -> str:
    return str(address) if address is not None else ""


def _without_port(address: Address | None) -> str:
    return address.address if isinstance(address, SocketAddress) else address_text(address)


def _port(address: Address | None) -> int | None:
    return address.port if isinstance(address, SocketAddress) else None


def _endpoint_id(address: Address) -> str:
    return address.endpoint_id if isinstance(address, InternalAddress) else ""


_AddressOf: TypeAlias = Callable[[StreamInfo], Address | None]


def _address_family(name: str, address_of: _AddressOf) -> dict[str, Builder]:
    """`X_ADDRESS`, `X_ADDRESS_WITHOUT_PORT` and `X_PORT`."""
    return {
        f"{name}_ADDRESS": text(lambda info: address_text(address_of(info))),
        f"{name}_ADDRESS_WITHOUT_PORT": text(lambda info: _without_port(address_of(info))),
        f"{name}_PORT": optional_number(lambda info: _port(address_of(info))),
    }


def _upstream_address(get: Callable[[UpstreamInfo], Address | None]) -> _AddressOf:
    return lambda info: get(info.upstream) if info.upstream is not None else None


def _connected_address(upstream: UpstreamInfo) -> Address | None:
    """None where no connection came about."""
    return upstream.remote_address if upstream.local_address is not None else None


def _upstream_host(info: StreamInfo) -> str:
    upstream = info.upstream
    return str(upstream.host_address) if upstream is not None and upstream.host_address is not None else ""


def _upstream_host_name(info: StreamInfo) -> str:
    upstream = info.upstream
    return (upstream.hostname or _upstream_host(info)) if upstream is not None else ""


def _upstream_host_name_without_port(info: StreamInfo) -> str:
    upstream = info.upstream
    if upstream is None:
        return ""
    return upstream.hostname or _without_port(upstream.host_address)


def _upstream_text(get: Callable[[UpstreamInfo], str]) -> Builder:
    return text(lambda info: get(info.upstream) if info.upstream is not None else "")


def _attempted(get: Callable[[UpstreamInfo], str]) -> Builder:
    """Of the last attempt, if it got a connection (of a TCP session: also if not). Envoy's list has no others either."""

    def attempted(info: StreamInfo) -> str:
        last = info.upstream
        return "" if last is None or (info.protocol and last.local_address is None) else get(last)

    return text(attempted)


def _downstream_close_type(info: StreamInfo) -> str:
    return "RemoteReset" if info.response_flags & ResponseFlag.DOWNSTREAM_REMOTE_RESET else "Normal"


def _upstream_close_type(info: StreamInfo) -> str:
    if info.upstream is None:
        return ""
    return "RemoteReset" if info.response_flags & ResponseFlag.UPSTREAM_REMOTE_RESET else "Normal"


def _upstream_protocol(info: StreamInfo) -> str:
    return info.upstream_exchange.version.value if info.upstream_exchange is not None else ""


# TLS

_TlsOf: TypeAlias = Callable[[StreamInfo], TlsInfo | None]
_FromTls: TypeAlias = Callable[[TlsInfo], str]


def _downstream_tls(info: StreamInfo) -> TlsInfo | None:
    return info.connection.tls


def _upstream_tls(info: StreamInfo) -> TlsInfo | None:
    return info.upstream.tls if info.upstream is not None else None


def _certificate_texts() -> dict[str, _FromTls]:
    """Facts of a handshake by the end of the operator's name."""
    texts: dict[str, _FromTls] = {
        "TLS_VERSION": lambda tls: tls.version,
        "TLS_CIPHER": lambda tls: tls.cipher,
        "PEER_SUBJECT": lambda tls: tls.peer.subject if tls.peer else "",
        "PEER_ISSUER": lambda tls: tls.peer.issuer if tls.peer else "",
        "PEER_SERIAL": lambda tls: tls.peer.serial if tls.peer else "",
        "PEER_FINGERPRINT_256": lambda tls: tls.peer.sha256 if tls.peer else "",
        "PEER_CERT": lambda tls: tls.peer.pem_url_encoded() if tls.peer else "",
        "PEER_URI_SAN": lambda tls: ",".join(tls.peer.uri_sans) if tls.peer else "",
        "PEER_DNS_SAN": lambda tls: ",".join(tls.peer.dns_sans) if tls.peer else "",
        "PEER_IP_SAN": lambda tls: ",".join(tls.peer.ip_sans) if tls.peer else "",
        "PEER_EMAIL_SAN": lambda tls: ",".join(tls.peer.email_sans) if tls.peer else "",
        "LOCAL_SUBJECT": lambda tls: tls.local.subject if tls.local else "",
        "LOCAL_URI_SAN": lambda tls: ",".join(tls.local.uri_sans) if tls.local else "",
        "LOCAL_DNS_SAN": lambda tls: ",".join(tls.local.dns_sans) if tls.local else "",
        "LOCAL_IP_SAN": lambda tls: ",".join(tls.local.ip_sans) if tls.local else "",
        "LOCAL_EMAIL_SAN": lambda tls: ",".join(tls.local.email_sans) if tls.local else "",
    }
    return texts


def _tls_operators(side: str, tls_of: _TlsOf) -> dict[str, Builder]:
    def of_tls(get: _FromTls) -> Builder:
        return text(lambda info: get(tls) if (tls := tls_of(info)) is not None else "")

    def validity(get: Callable[[PeerCertificate], float]) -> Builder:
        return time_operator(
            lambda info: get(tls.peer) if (tls := tls_of(info)) is not None and tls.peer is not None else 0.0
        )

    return {
        **{f"{side}_{name}": of_tls(get) for name, get in _certificate_texts().items()},
        # Envoy has no operator for the negotiated protocol; it is the first question about a mesh connection
        f"{side}_ALPN": of_tls(lambda tls: tls.alpn),
        f"{side}_PEER_CERT_V_START": validity(lambda peer: peer.not_before),
        f"{side}_PEER_CERT_V_END": validity(lambda peer: peer.not_after),
    }


# Response flags and code

_FLAG_LONG_NAMES: Final = {
    getattr(ResponseFlag, name): "".join(word.capitalize() for word in name.split("_"))
    for name in vars(ResponseFlag)
    if name.isupper()
}


def _flags(argument: Argument) -> Operator:
    """`-` for no flag even where other missing values are left out."""
    refuse_argument(argument)
    return lambda info: info.flag_names.encode() if info.flag_names else b"-"


def _flags_long(info: StreamInfo) -> str:
    flags = info.response_flags
    return ",".join(name for bit, name in _FLAG_LONG_NAMES.items() if flags & bit) if flags else "-"


def _response_code_details(argument: Argument) -> Operator:
    """White space becomes `_` unless the argument is ALLOW_WHITESPACES."""
    if argument.text == "ALLOW_WHITESPACES":
        return text(lambda info: info.response_code_details)(argument._replace(text=None))
    return text(lambda info: "_".join(info.response_code_details.split(" ")))(argument._replace(text=None))


def _termination_details(info: StreamInfo) -> str:
    return "_".join(info.connection.termination_details.split(" "))


# Numbers of the stream


def _protocol(argument: Argument) -> Operator:
    refuse_argument(argument)
    missing = argument.missing
    return lambda info: info.protocol.encode() or missing


# Ids

_PROCESS_ID: Final = uuid.uuid4()
_request_id: Final = HEADER_OPERATORS["REQ"]


def _stream_id(argument: Argument) -> Operator:
    """The request id; of a connection an id that is the same in all of its entries."""
    refuse_argument(argument)
    read, missing = _request_id(argument._replace(text="x-request-id")), argument.missing

    def stream_id(info: StreamInfo) -> bytes:
        if not info.protocol:
            return str(uuid.uuid5(_PROCESS_ID, str(info.connection.id))).encode()
        return read(info) or missing

    return stream_id


# Constants of the process


def _hostname(argument: Argument) -> Operator:
    refuse_argument(argument)
    name = socket.gethostname().encode() or argument.missing
    return lambda info: name


def _environment(argument: Argument) -> Operator:
    if not argument.text:
        raise ValueError("ENVIRONMENT needs (NAME)")
    value = os.environ.get(argument.text, "").encode("utf-8", "surrogateescape")[: argument.max_length]
    constant = value or b"-"  # also in JSON, as in Envoy
    return lambda info: constant


#: Operators that Envoy knows and whose facts this proxy does not gather: always missing.
_NOT_GATHERED: Final = (
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_OTHERNAME_SAN",
    "DOWNSTREAM_CX_RTT",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER_SERIAL",
    "DOWNSTREAM_TLS_GROUP",
    "DOWNSTREAM_TLS_SESSION_ID",
    "SPAN_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID",
    "UPSTREAM_SERVER_NAME",
    "UPSTREAM_TLS_GROUP",
    "UPSTREAM_TLS_SESSION_ID",
    "VIRTUAL_CLUSTER_NAME",
)

#: Operators that a formatter brings (`SubstitutionFormatString.formatters`), and its type.
FORMATTERS: Final[Mapping[str, str]] = {
    "REQ_WITHOUT_QUERY": "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery",
}

OPERATORS: Final[Mapping[str, Builder]] = {
    **dict.fromkeys(_NOT_GATHERED, not_gathered),
    **HEADER_OPERATORS,
    **TIME_OPERATORS,
    **METADATA_OPERATORS,
    **FILTER_STATE_OPERATORS,
    **_address_family(
        "DOWNSTREAM_REMOTE", lambda info: info.remote_address or info.connection.remote_address
    ),
    **_address_family("DOWNSTREAM_DIRECT_REMOTE", lambda info: info.connection.direct_remote_address),
    **_address_family("DOWNSTREAM_LOCAL", lambda info: info.connection.local_address),
    **_address_family("DOWNSTREAM_DIRECT_LOCAL", lambda info: info.connection.direct_local_address),
    **_address_family("UPSTREAM_REMOTE", _upstream_address(_connected_address)),
    **_address_family("UPSTREAM_LOCAL", _upstream_address(lambda upstream: upstream.local_address)),
    **_tls_operators("DOWNSTREAM", _downstream_tls),
    **_tls_operators("UPSTREAM", _upstream_tls),
    "ACCESS_LOG_TYPE": text(lambda info: info.log_type),
    "BYTES_RECEIVED": number(lambda info: info.bytes_received),
    "BYTES_RETRANSMITTED": number(lambda info: 0),
    "BYTES_SENT": number(lambda info: info.bytes_sent),
    "CONNECTION_ID": number(lambda info: info.connection.id),
    "CONNECTION_TERMINATION_DETAILS": text(_termination_details),
    "CUSTOM_FLAGS": constant(b""),
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID": present_text(
        lambda info: _endpoint_id(info.connection.direct_local_address)
    ),
    "DOWNSTREAM_HEADER_BYTES_RECEIVED": number(byte_counts.downstream_header_received),
    "DOWNSTREAM_HEADER_BYTES_SENT": number(byte_counts.downstream_header_sent),
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID": present_text(
        lambda info: _endpoint_id(info.connection.local_address)
    ),
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON": text(lambda info: info.connection.transport_failure_reason),
    "DOWNSTREAM_WIRE_BYTES_RECEIVED": number(byte_counts.downstream_wire_received),
    "DOWNSTREAM_WIRE_BYTES_SENT": number(byte_counts.downstream_wire_sent),
    "ENVIRONMENT": _environment,
    "FILTER_CHAIN_NAME": text(lambda info: info.connection.filter_chain_name),
    "HOSTNAME": _hostname,
    "LISTENER_NAME": text(lambda info: info.connection.listener_name),
    "PACKETS_RETRANSMITTED": number(lambda info: 0),
    "PROTOCOL": _protocol,
    "REQUESTED_SERVER_NAME": text(lambda info: info.connection.requested_server_name),
    "RESPONSE_CODE": number(lambda info: info.response_code),
    "RESPONSE_CODE_DETAILS": _response_code_details,
    "RESPONSE_FLAGS": _flags,
    "RESPONSE_FLAGS_LONG": text(_flags_long),
    "ROUTE_NAME": text(lambda info: info.route_name),
    "STREAM_ID": _stream_id,
    "UNIQUE_ID": text(lambda info: str(uuid.uuid4())),
    "UPSTREAM_CLUSTER": text(lambda info: info.cluster_name),
    "UPSTREAM_CLUSTER_RAW": text(lambda info: info.cluster_name),
    "UPSTREAM_CONNECTION_ID": number(lambda info: info.upstream.connection_id if info.upstream else 0),
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": number(byte_counts.downstream_header_received),
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT": number(byte_counts.downstream_header_sent),
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": number(byte_counts.upstream_header_received),
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT": number(byte_counts.upstream_header_sent),
    "UPSTREAM_HEADER_BYTES_RECEIVED": number(byte_counts.upstream_header_received),
    "UPSTREAM_HEADER_BYTES_SENT": number(byte_counts.upstream_header_sent),
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED": _attempted(lambda each: str(each.connection_id or "")),
    "UPSTREAM_HOSTS_ATTEMPTED": _attempted(lambda each: address_text(each.host_address)),
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT": _attempted(lambda each: _without_port(each.host_address)),
    "UPSTREAM_HOST_NAMES_ATTEMPTED": _attempted(
        lambda each: each.hostname or address_text(each.host_address)
    ),
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT": _attempted(
        lambda each: each.hostname or _without_port(each.host_address)
    ),
    "DOWNSTREAM_DETECTED_CLOSE_TYPE": text(_downstream_close_type),
    "UPSTREAM_DETECTED_CLOSE_TYPE": text(_upstream_close_type),
    "UPSTREAM_PROTOCOL": text(_upstream_protocol),
    "UPSTREAM_HOST": text(_upstream_host),
    "UPSTREAM_HOST_NAME": text(_upstream_host_name),
    "UPSTREAM_HOST_NAME_WITHOUT_PORT": text(_upstream_host_name_without_port),
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": number(lambda info: info.attempt_count),
    "UPSTREAM_TRANSPORT_FAILURE_REASON": _upstream_text(
        lambda upstream: "_".join(upstream.transport_failure_reason.split(" "))
    ),
    "UPSTREAM_WIRE_BYTES_RECEIVED": number(byte_counts.upstream_wire_received),
    "UPSTREAM_WIRE_BYTES_SENT": number(byte_counts.upstream_wire_sent),
}
