"""The operators of format strings: name -> how to read it from a StreamInfo. Semantics are Envoy's.

An operator is a small object that reads bytes from a StreamInfo, built once for each place in a format. A value that is not there (never
received, not applicable to TCP, or of a kind this proxy does not gather) gives the format's `missing`.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Collection, Mapping
from functools import partial
from typing import Final

from config.spelling import did_you_mean
from sidecar.stream_info import ResponseFlag, StreamInfo
from sidecar.telemetry.access_log import byte_counts
from sidecar.telemetry.access_log.address_operators import ADDRESS_OPERATORS
from sidecar.telemetry.access_log.cel_operators import CEL_OPERATORS
from sidecar.telemetry.access_log.failure_operators import FAILURE_OPERATORS
from sidecar.telemetry.access_log.filter_state import FILTER_STATE_OPERATORS
from sidecar.telemetry.access_log.header_operators import HEADER_OPERATORS
from sidecar.telemetry.access_log.json_values import NULL
from sidecar.telemetry.access_log.metadata_operators import METADATA_OPERATORS
from sidecar.telemetry.access_log.operator import (
    Argument,
    Builder,
    JsonBuilder,
    Operator,
    Reading,
    constant,
    not_gathered,
    number,
    present_text,
    printing,
    quoted,
    refuse_argument,
    text,
)
from sidecar.telemetry.access_log.timestamps import TIME_OPERATORS
from sidecar.telemetry.access_log.tls_operators import TLS_OPERATORS


def build_operator(name: str, argument: Argument, extensions: Collection[str] = ()) -> Operator:
    """Raises ValueError, with a message for people, for an unknown operator or a bad argument."""
    return _builder(name, extensions)(argument)


def build_json_operator(name: str, argument: Argument, extensions: Collection[str] = ()) -> Operator:
    """The same, printing a JSON value, or `argument.missing` itself."""
    operator, is_text = build_value_operator(name, argument, extensions)
    return quoted(operator, argument.missing) if is_text else operator


def build_value_operator(
    name: str, argument: Argument, extensions: Collection[str] = ()
) -> tuple[Operator, bool]:
    """An operator for JSON, and whether it prints text that is yet to be quoted (but for `argument.missing` itself)."""
    builder = _builder(name, extensions)
    if isinstance(builder, JsonBuilder):
        return builder.json(argument), False
    return builder(argument), True


def _builder(name: str, extensions: Collection[str]) -> Builder:
    builder = OPERATORS.get(name)
    if builder is None:
        raise ValueError(f"unknown operator {name}{did_you_mean(name, OPERATORS)}")
    if (formatter := FORMATTERS.get(name)) is not None and formatter not in extensions:
        raise ValueError(f"operator {name} needs the formatter {formatter}")
    return builder


# Response flags and code

_FLAG_LONG_NAMES: Final = {
    getattr(ResponseFlag, name): "".join(word.capitalize() for word in name.split("_"))
    for name in vars(ResponseFlag)
    if name.isupper()
}


def _flags(argument: Argument) -> Operator:
    """`-` for no flag even where other missing values are left out."""
    refuse_argument(argument)
    return text(lambda info: info.flag_names, settled=True)(argument._replace(missing=b"-"))


def _flags_long(info: StreamInfo) -> str:
    flags = info.response_flags
    return ",".join(name for bit, name in _FLAG_LONG_NAMES.items() if flags & bit) if flags else "-"


def _response_code_details(argument: Argument) -> Operator:
    """White space becomes `_` unless the argument is ALLOW_WHITESPACES."""
    if argument.text == "ALLOW_WHITESPACES":
        return text(lambda info: info.response_code_details, settled=True)(argument._replace(text=None))
    return text(lambda info: info.response_code_details.replace(" ", "_"), settled=True)(
        argument._replace(text=None)
    )


def _termination_details(info: StreamInfo) -> str:
    """Not those of a handshake that failed, which have an operator of their own."""
    details = info.connection.termination_details
    if not details or details == info.connection.transport_failure_reason:
        return ""
    return details.replace(" ", "_")


# Ids

_PROCESS_ID: Final = uuid.uuid4()
_request_id: Final = HEADER_OPERATORS["REQ"]


def _stream_id(argument: Argument) -> Operator:
    """The request id; of a connection an id that is the same in all of its entries."""
    refuse_argument(argument)
    request_id, missing = _request_id(argument._replace(text="x-request-id")), argument.missing

    def stream_id(info: StreamInfo) -> bytes:
        if not info.protocol:
            return str(uuid.uuid5(_PROCESS_ID, str(info.connection.id))).encode()
        return request_id.read(info) or missing

    return Reading(stream_id)


# The first of several


def _coalesce(argument: Argument, *, as_json: bool = False) -> Operator:
    """`COALESCE({"operators": [NAME or {"command", "param", "max_length"}, ...]})`: the first of them that has a value."""
    build = build_json_operator if as_json else build_operator
    operators = [build(name, inner) for name, inner in _alternatives(argument)]
    max_length, missing = None if as_json else argument.max_length, argument.missing

    def read(info: StreamInfo) -> bytes:
        for operator in operators:
            if (value := operator.read(info)) is not NULL:
                return value[:max_length]
        return missing

    return Reading(read, all(operator.settled for operator in operators))


def _alternatives(argument: Argument) -> list[tuple[str, Argument]]:
    try:
        listed = json.loads(argument.text or "")["operators"]
    except (ValueError, TypeError, KeyError):
        listed = None
    if not isinstance(listed, list) or not listed:
        raise ValueError('COALESCE needs ({"operators": [...]})')
    alternatives = []
    for entry in listed:
        if isinstance(entry, str):
            entry = {"command": entry}
        if not isinstance(entry, dict) or not isinstance(entry.get("command"), str):
            raise ValueError("an operator of COALESCE is a name or has a command")
        inner = Argument(entry.get("param"), entry.get("max_length"), NULL, argument.node)
        alternatives.append((entry["command"], inner))
    return alternatives


# Constants of the process


def _hostname(argument: Argument) -> Operator:
    refuse_argument(argument)
    return printing(socket.gethostname().encode() or argument.missing)


def _environment(argument: Argument) -> Operator:
    if not argument.text:
        raise ValueError("ENVIRONMENT needs (NAME)")
    value = os.environ.get(argument.text, "").encode("utf-8", "surrogateescape")[: argument.max_length]
    return printing(value or b"-")  # also in JSON, as in Envoy


#: Operators that Envoy knows and whose facts this proxy does not gather: always missing.
_NOT_GATHERED: Final = (
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_OTHERNAME_SAN",
    "DOWNSTREAM_CX_RTT",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER_SERIAL",
    "DOWNSTREAM_TLS_GROUP",
    "DOWNSTREAM_TLS_SESSION_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
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
    **CEL_OPERATORS,
    **FAILURE_OPERATORS,
    **HEADER_OPERATORS,
    **TIME_OPERATORS,
    **METADATA_OPERATORS,
    **FILTER_STATE_OPERATORS,
    **ADDRESS_OPERATORS,
    **TLS_OPERATORS,
    "ACCESS_LOG_TYPE": text(lambda info: info.log_type),
    "BYTES_RECEIVED": number(lambda info: info.bytes_received, settled=True),
    "BYTES_RETRANSMITTED": number(lambda info: 0),
    "BYTES_SENT": number(lambda info: info.bytes_sent, settled=True),
    "COALESCE": JsonBuilder(_coalesce, partial(_coalesce, as_json=True)),
    "CONNECTION_ID": number(lambda info: info.connection.id, settled=True),
    "CONNECTION_TERMINATION_DETAILS": text(_termination_details, settled=True),
    "CUSTOM_FLAGS": constant(b""),
    "DOWNSTREAM_HEADER_BYTES_RECEIVED": number(byte_counts.downstream_header_received),
    "DOWNSTREAM_HEADER_BYTES_SENT": number(byte_counts.downstream_header_sent),
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON": text(
        lambda info: info.connection.transport_failure_reason.replace(" ", "_"), settled=True
    ),
    "DOWNSTREAM_WIRE_BYTES_RECEIVED": number(byte_counts.downstream_wire_received),
    "DOWNSTREAM_WIRE_BYTES_SENT": number(byte_counts.downstream_wire_sent),
    "ENVIRONMENT": _environment,
    "FILTER_CHAIN_NAME": text(lambda info: info.connection.filter_chain_name, settled=True),
    "HOSTNAME": _hostname,
    "LISTENER_NAME": text(lambda info: info.connection.listener_name, settled=True),
    "LOCAL_REPLY_BODY": present_text(lambda info: ""),  # what it is for is local replies
    "PACKETS_RETRANSMITTED": number(lambda info: 0),
    "PROTOCOL": text(lambda info: info.protocol, settled=True),
    "REQUESTED_SERVER_NAME": text(lambda info: info.connection.requested_server_name, settled=True),
    "RESPONSE_CODE": number(lambda info: info.response_code, settled=True),
    "RESPONSE_CODE_DETAILS": _response_code_details,
    "RESPONSE_FLAGS": _flags,
    "RESPONSE_FLAGS_LONG": text(_flags_long, settled=True),
    "ROUTE_NAME": text(lambda info: info.route_name, settled=True),
    "SPAN_ID": text(lambda info: info.trace.span_id if info.trace is not None else "", settled=True),
    "STREAM_ID": _stream_id,
    "TRACE_ID": text(lambda info: info.trace.trace_id if info.trace is not None else "", settled=True),
    "UNIQUE_ID": text(lambda info: str(uuid.uuid4())),
    "UPSTREAM_CLUSTER": text(lambda info: info.cluster_name, settled=True),
    "UPSTREAM_CLUSTER_RAW": text(lambda info: info.cluster_name, settled=True),
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": number(byte_counts.downstream_header_received),
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT": number(byte_counts.downstream_header_sent),
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": number(byte_counts.upstream_header_received),
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT": number(byte_counts.upstream_header_sent),
    "UPSTREAM_HEADER_BYTES_RECEIVED": number(byte_counts.upstream_header_received),
    "UPSTREAM_HEADER_BYTES_SENT": number(byte_counts.upstream_header_sent),
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": number(lambda info: info.attempt_count, settled=True),
    "UPSTREAM_WIRE_BYTES_RECEIVED": number(byte_counts.upstream_wire_received),
    "UPSTREAM_WIRE_BYTES_SENT": number(byte_counts.upstream_wire_sent),
}
