"""Operators that read header fields, the path and the query."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes

from protocols.grpc.status import GrpcStatus, is_grpc_request, status_of
from protocols.http.headers import PSEUDO_ATTRIBUTES, PSEUDO_HEADERS, Headers
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.json_values import quote
from sidecar.telemetry.access_log.operator import (
    Argument,
    Builder,
    JsonBuilder,
    number,
    numeric,
    refuse_argument,
    refuse_length,
)
from sidecar.telemetry.access_log.source import Operator, operator_of

_FieldOf: TypeAlias = Callable[[Headers], bytes | None]

_FIELD_NAME: Final = re.compile(r":?[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


_REQUEST_HEADERS: Final = "info.request_headers"
_RESPONSE_HEADERS: Final = "info.response_headers"
_RESPONSE_TRAILERS: Final = "info.response_trailers"


def _header(headers: str, *, without_query: bool = False) -> Builder:
    """`REQ(X?Y):Z`: the first value of X, else of Y, at most Z bytes. `headers`: an expression over `info`.

    `without_query`: without what follows a question mark.
    """

    def build(argument: Argument) -> Operator:
        constants: dict[str, object] = {"missing": argument.missing, "max_length": argument.max_length}
        value = ""
        for key, name in zip(("name", "alternative"), _names(argument.text), strict=False):
            constants[key] = name
            field = f"{headers}.first.get({{{key}}})"
            if (attribute := PSEUDO_ATTRIBUTES.get(name)) is not None:
                field = f"({headers}.{attribute} or None)"
            elif name in PSEUDO_HEADERS:
                constants[key] = PSEUDO_HEADERS[name]
                field = f"({{{key}}}({headers}) or None)"
            value = field if not value else f"(first if (first := {value}) is not None else {field})"
        shown = "value.partition(b'?')[0]" if without_query else "value"
        if argument.max_length is not None:
            shown += "[:{max_length}]"
        return operator_of(
            f"{{missing}} if {headers} is None or (value := {value}) is None else {shown}", **constants
        )

    return build


def _names(text: str | None) -> list[bytes]:
    names = [name for name in (text or "").split("?") if name]
    if not names or (text or "").count("?") > 1 or not all(map(_FIELD_NAME.fullmatch, names)):
        raise ValueError("operator needs (NAME) or (NAME?ALTERNATIVE)")
    return [name.lower().encode() for name in names]


def _size_of(headers: str) -> Builder:
    return number(f"{headers}.size_bytes() if {headers} is not None else 0")


# The path as it was, without regard to rewriting

_ORIGINAL: Final = b"x-envoy-original-path"
_PATH_SOURCES: Final[Mapping[str, _FieldOf]] = {
    "": lambda headers: headers.get(_ORIGINAL) or headers.path or None,
    "ORIG_OR_PATH": lambda headers: headers.get(_ORIGINAL) or headers.path or None,
    "ORIG": lambda headers: headers.get(_ORIGINAL),
    "PATH": lambda headers: headers.path or None,
}


def _path(argument: Argument) -> Operator:
    """`PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH)`: with or without the query."""
    query, _, source = (argument.text or "").partition(":")
    path_of = _PATH_SOURCES.get(source)
    if query not in ("", "WQ", "NQ") or path_of is None:
        raise ValueError("PATH needs (WQ or NQ:ORIG or PATH or ORIG_OR_PATH)")
    max_length, missing = argument.max_length, argument.missing

    def read(info: StreamInfo) -> bytes:
        headers = info.request_headers
        if headers is None or (path := path_of(headers)) is None:
            return missing
        return (path.partition(b"?")[0] if query == "NQ" else path)[:max_length]

    return read


def _query(headers: Headers) -> bytes:
    return (headers.get(_ORIGINAL) or headers.path).partition(b"?")[2]


def _query_param(argument: Argument) -> Operator:
    """The first query parameter of that name, percent-decoded."""
    if not argument.text:
        raise ValueError("QUERY_PARAM needs (NAME)")
    prefix = argument.text.encode() + b"="
    max_length, missing = argument.max_length, argument.missing

    def read(info: StreamInfo) -> bytes:
        if info.request_headers is not None:
            for pair in _query(info.request_headers).split(b"&"):
                if pair.startswith(prefix):
                    return unquote_to_bytes(pair[len(prefix) :])[:max_length]
        return missing

    return read


def _query_params(argument: Argument) -> Operator:
    """`QUERY_PARAMS(ORIG|DECODED):N`: as it stands in the path, or with no more percent-encoding than is needed."""
    if argument.text not in (None, "", "ORIG", "DECODED"):
        raise ValueError("QUERY_PARAMS needs ORIG or DECODED")
    decoded = argument.text == "DECODED"
    max_length, missing = argument.max_length, argument.missing

    def read(info: StreamInfo) -> bytes:
        query = _query(info.request_headers) if info.request_headers is not None else b""
        return (_simplest(query) if decoded else query)[:max_length] or missing

    return read


_ENCODED: Final = re.compile(rb"%[0-9A-Fa-f]{2}")
#: What may stand in a query without being encoded.
_PLAIN: Final = frozenset(bytes((code,)) for code in range(0x21, 0x7F)) - frozenset(
    (b'"', b"<", b">", b"\\", b"^", b"`", b"{", b"|", b"}")
)


def _simplest(query: bytes) -> bytes:
    return _ENCODED.sub(
        lambda found: code if (code := unquote_to_bytes(found[0])) in _PLAIN else found[0], query
    )


# gRPC

#: Where Envoy's spelling is not that of the words: only here is it one L.
_CAMEL: Final = {GrpcStatus.OK: "OK", GrpcStatus.CANCELLED: "Canceled"}


def _camel(status: GrpcStatus) -> str:
    return _CAMEL.get(status) or "".join([word.capitalize() for word in status.name.split("_")])


def _grpc_status(argument: Argument) -> Operator:
    """`GRPC_STATUS(CAMEL_STRING|SNAKE_STRING|NUMBER)` of a gRPC request that was answered (see `status_of`).

    A code that gRPC does not define is printed as its number, what is no number as -1.
    """
    refuse_length(argument)
    form = argument.text or "CAMEL_STRING"
    if form not in ("CAMEL_STRING", "SNAKE_STRING", "NUMBER"):
        raise ValueError("GRPC_STATUS needs CAMEL_STRING, SNAKE_STRING or NUMBER")
    missing = argument.missing
    names: tuple[bytes, ...] = ()
    if form == "CAMEL_STRING":
        names = tuple(_camel(status).encode() for status in GrpcStatus)
    elif form == "SNAKE_STRING":
        names = tuple(status.name.encode() for status in GrpcStatus)

    def read(info: StreamInfo) -> bytes:
        headers = info.request_headers
        if headers is None or not is_grpc_request(headers):
            return missing
        status = status_of(info.response_trailers, info.response_headers, info.response_code)
        if status is None:
            return missing
        return names[status] if 0 <= status < len(names) else b"%d" % status

    return read


def _grpc_status_number(argument: Argument) -> Operator:
    refuse_argument(argument)
    return _grpc_status(argument._replace(text="NUMBER"))


def _grpc_status_json(argument: Argument) -> Operator:
    read, missing = _grpc_status(argument), argument.missing
    if argument.text == "NUMBER":
        return read
    return lambda info: missing if (value := read(info)) is missing else quote(value)


HEADER_OPERATORS: Final[Mapping[str, Builder]] = {
    "GRPC_STATUS": JsonBuilder(_grpc_status, _grpc_status_json),
    "GRPC_STATUS_NUMBER": numeric(_grpc_status_number),
    "PATH": _path,
    "QUERY_PARAM": _query_param,
    "QUERY_PARAMS": _query_params,
    "REQ": _header(_REQUEST_HEADERS),
    "REQUEST_HEADERS_BYTES": _size_of(_REQUEST_HEADERS),
    "REQ_WITHOUT_QUERY": _header(_REQUEST_HEADERS, without_query=True),
    "RESP": _header(_RESPONSE_HEADERS),
    "RESPONSE_HEADERS_BYTES": _size_of(_RESPONSE_HEADERS),
    "RESPONSE_TRAILERS_BYTES": _size_of(_RESPONSE_TRAILERS),
    "TRAILER": _header(_RESPONSE_TRAILERS),
}
