"""Operators that read header fields, the path and the query."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes

from protocols.grpc.status import GrpcStatus, is_grpc_request, status_of
from protocols.http.headers import PSEUDO_HEADERS, Headers
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.operator import (
    Argument,
    Builder,
    JsonBuilder,
    Operator,
    Reading,
    number,
    numeric,
    quoted,
    refuse_argument,
    refuse_length,
)

_FieldOf: TypeAlias = Callable[[Headers], bytes | None]

_FIELD_NAME: Final = re.compile(r":?[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class _Field(Operator):
    """`REQ(X?Y):Z`: the first value of X, else of Y, at most Z bytes."""

    __slots__ = ("_alternative", "_max_length", "_missing", "_name", "_without_query")

    def __init__(self, argument: Argument, without_query: bool) -> None:
        super().__init__(settled=True)
        names = _names(argument.text)
        self._name: Final = _Name(names[0])
        self._alternative: Final = _Name(names[1]) if len(names) > 1 else None
        self._max_length: Final = argument.max_length
        self._missing: Final = argument.missing
        self._without_query: Final = without_query

    @abstractmethod
    def headers(self, info: StreamInfo) -> Headers | None:
        """Where the field may stand."""

    def read(self, info: StreamInfo) -> bytes:
        headers = self.headers(info)
        if headers is None:
            return self._missing
        value = self._name.value_in(headers)
        if value is None and self._alternative is not None:
            value = self._alternative.value_in(headers)
        if value is None:
            return self._missing
        if self._without_query:
            value = value.partition(b"?")[0]
        return value if self._max_length is None else value[: self._max_length]


class _Name:
    """Of a field, or of what HTTP/2 has as a pseudo-header (`host` is `:authority`)."""

    __slots__ = ("_name", "_pseudo")

    def __init__(self, name: bytes) -> None:
        self._name: Final = name
        self._pseudo: Final = PSEUDO_HEADERS.get(name)

    def value_in(self, headers: Headers) -> bytes | None:
        return headers.first.get(self._name) if self._pseudo is None else self._pseudo(headers) or None


class _RequestField(_Field):
    __slots__ = ()

    def headers(self, info: StreamInfo) -> Headers | None:
        return info.request_headers


class _ResponseField(_Field):
    __slots__ = ()

    def headers(self, info: StreamInfo) -> Headers | None:
        return info.response_headers


class _Trailer(_Field):
    __slots__ = ()

    def headers(self, info: StreamInfo) -> Headers | None:
        return info.response_trailers


def _names(text: str | None) -> list[bytes]:
    names = [name for name in (text or "").split("?") if name]
    if not names or (text or "").count("?") > 1 or not all(map(_FIELD_NAME.fullmatch, names)):
        raise ValueError("operator needs (NAME) or (NAME?ALTERNATIVE)")
    return [name.lower().encode() for name in names]


def _size(headers: Headers | None) -> int:
    return headers.size_bytes() if headers is not None else 0


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

    return Reading(read, settled=True)


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

    return Reading(read, settled=True)


def _query_params(argument: Argument) -> Operator:
    """`QUERY_PARAMS(ORIG|DECODED):N`: as it stands in the path, or with no more percent-encoding than is needed."""
    if argument.text not in (None, "", "ORIG", "DECODED"):
        raise ValueError("QUERY_PARAMS needs ORIG or DECODED")
    decoded = argument.text == "DECODED"
    max_length, missing = argument.max_length, argument.missing

    def read(info: StreamInfo) -> bytes:
        query = _query(info.request_headers) if info.request_headers is not None else b""
        return (_simplest(query) if decoded else query)[:max_length] or missing

    return Reading(read, settled=True)


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

    return Reading(read, settled=True)


def _grpc_status_number(argument: Argument) -> Operator:
    refuse_argument(argument)
    return _grpc_status(argument._replace(text="NUMBER"))


def _grpc_status_json(argument: Argument) -> Operator:
    operator = _grpc_status(argument)
    return operator if argument.text == "NUMBER" else quoted(operator, argument.missing)


HEADER_OPERATORS: Final[Mapping[str, Builder]] = {
    "GRPC_STATUS": JsonBuilder(_grpc_status, _grpc_status_json),
    "GRPC_STATUS_NUMBER": numeric(_grpc_status_number),
    "PATH": _path,
    "QUERY_PARAM": _query_param,
    "QUERY_PARAMS": _query_params,
    "REQ": lambda argument: _RequestField(argument, without_query=False),
    "REQUEST_HEADERS_BYTES": number(lambda info: _size(info.request_headers), settled=True),
    "REQ_WITHOUT_QUERY": lambda argument: _RequestField(argument, without_query=True),
    "RESP": lambda argument: _ResponseField(argument, without_query=False),
    "RESPONSE_HEADERS_BYTES": number(lambda info: _size(info.response_headers), settled=True),
    "RESPONSE_TRAILERS_BYTES": number(lambda info: _size(info.response_trailers), settled=True),
    "TRAILER": lambda argument: _Trailer(argument, without_query=False),
}
