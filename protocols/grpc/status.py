"""What gRPC says in HTTP headers: who speaks it, what is called, how long it may take, and how it ended.

The rules are those of the gRPC HTTP/2 protocol description; where it leaves a choice, Envoy's.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from protocols.http import names
from protocols.http.headers import Headers

CONTENT_TYPE: Final = b"application/grpc"
_PLUS: Final = ord("+")


class GrpcStatus(enum.IntEnum):
    """The codes of `grpc-status`."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


#: A `grpc-status` that is no number (Envoy).
INVALID_CODE: Final = -1

_FROM_HTTP: Final[dict[int, int]] = {
    400: GrpcStatus.INTERNAL,
    401: GrpcStatus.UNAUTHENTICATED,
    403: GrpcStatus.PERMISSION_DENIED,
    404: GrpcStatus.UNIMPLEMENTED,
    429: GrpcStatus.UNAVAILABLE,
    502: GrpcStatus.UNAVAILABLE,
    503: GrpcStatus.UNAVAILABLE,
    504: GrpcStatus.UNAVAILABLE,
}
_TO_HTTP: Final[dict[int, int]] = {
    GrpcStatus.OK: 200,
    GrpcStatus.CANCELLED: 499,
    GrpcStatus.INVALID_ARGUMENT: 400,
    GrpcStatus.DEADLINE_EXCEEDED: 504,
    GrpcStatus.NOT_FOUND: 404,
    GrpcStatus.ALREADY_EXISTS: 409,
    GrpcStatus.PERMISSION_DENIED: 403,
    GrpcStatus.RESOURCE_EXHAUSTED: 429,
    GrpcStatus.FAILED_PRECONDITION: 400,
    GrpcStatus.ABORTED: 409,
    GrpcStatus.OUT_OF_RANGE: 400,
    GrpcStatus.UNIMPLEMENTED: 501,
    GrpcStatus.UNAVAILABLE: 503,
    GrpcStatus.UNAUTHENTICATED: 401,
}
_KNOWN: Final = {b"%d" % status: int(status) for status in GrpcStatus}
#: As much as 64 bits hold, zeros in front of it.
_NUMBER: Final = re.compile(rb"0*([0-9]{1,19})")


def from_http(status: int) -> int:
    """The gRPC status that an HTTP status stands for (Envoy's httpToGrpcStatus)."""
    return int(_FROM_HTTP.get(status, GrpcStatus.UNKNOWN))


def to_http(status: int) -> int:
    """The HTTP status that a gRPC status stands for; 500 for those without one of their own, and for codes unknown."""
    return _TO_HTTP.get(status, 500)


def parse_status(value: bytes) -> int:
    """A `grpc-status`, also a code that gRPC does not define; INVALID_CODE for what is no number."""
    known = _KNOWN.get(value)
    if known is not None:
        return known
    match = _NUMBER.fullmatch(value)
    return int(match[1]) if match is not None else INVALID_CODE


def status_of(trailers: Headers | None, headers: Headers | None, http_status: int) -> int | None:
    """How a call ended: as the trailers say, else the response's head, else what the HTTP status stands for.

    None: there was no response (`http_status` 0). An empty `grpc-status` counts as none.
    """
    for each in (trailers, headers):
        value = each.get(names.GRPC_STATUS) if each is not None else None
        if value:
            return parse_status(value)
    return from_http(http_status) if http_status else None


# grpc-message

#: What is not written as it is: all but printable ASCII, `%`, and `~`, which the protocol would allow but Envoy encodes.
_TO_ENCODE: Final = re.compile(rb"[^ -$&-}]")
_ENCODED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")


def encode_message(text: bytes) -> bytes:
    """The value of `grpc-message`: percent-encoded, so that any bytes may stand in a header."""
    return _TO_ENCODE.sub(_percent, text)


def _percent(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]


def decode_message(value: bytes) -> bytes:
    """The text of a `grpc-message`. What is not encoded well stays as it is: an error text must not get lost."""
    return _ENCODED.sub(lambda match: bytes((int(match[1], 16),)), value)


# requests


def has_grpc_content_type(headers: Headers) -> bool:
    """Exactly `application/grpc`, or that and `+`: neither gRPC-Web nor parameters are gRPC, as in Envoy.

    Of a request or a response. Two content-types are judged as one value, so they are not gRPC either.
    """
    content_type = headers.joined(names.CONTENT_TYPE)
    return (
        content_type is not None
        and content_type.startswith(CONTENT_TYPE)
        and (len(content_type) == len(CONTENT_TYPE) or content_type[len(CONTENT_TYPE)] == _PLUS)
    )


def is_grpc_request(headers: Headers) -> bool:
    """The content-type says so, and there is a path (a CONNECT has none)."""
    return has_grpc_content_type(headers) and headers.path != b""


def may_become_grpc(headers: Headers) -> bool:
    """gRPC, or something that a filter may yet translate into it (gRPC-Web).

    For those who are asked before the filters have seen the request.
    """
    content_type = headers.get(names.CONTENT_TYPE)
    return content_type is not None and content_type.startswith(CONTENT_TYPE)


def is_grpc_response(headers: Headers, end: bool) -> bool:
    """A head that ends the response needs the status in it; any other one is 200 with gRPC's content-type (Envoy)."""
    if end:
        return names.GRPC_STATUS in headers
    return headers.status == 200 and has_grpc_content_type(headers)


def service_and_method(path: bytes) -> tuple[str, str] | None:
    """`/package.Service/Method`, the query left out; None for anything but two parts."""
    parts = [part for part in path.partition(b"?")[0].split(b"/") if part]
    return (parts[0].decode("latin-1"), parts[1].decode("latin-1")) if len(parts) == 2 else None


# grpc-timeout

_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_MAX_TIMEOUT: Final = 99_999_999  # eight digits
#: Milliseconds of a unit, as a fraction.
_UNITS: Final = {
    b"H": (3_600_000, 1),
    b"M": (60_000, 1),
    b"S": (1_000, 1),
    b"m": (1, 1),
    b"u": (1, 1_000),
    b"n": (1, 1_000_000),
}


def parse_timeout_ms(value: bytes) -> int | None:
    """A `grpc-timeout` in milliseconds, rounded up so that a short one is not none; None if it is not one."""
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        return None
    times, parts = _UNITS[match[2]]
    return -(-int(match[1]) * times // parts)


def format_timeout(timeout_ms: int) -> bytes:
    """A `grpc-timeout`: in the smallest of ms, s, min, h that makes at most eight digits; a longer time is cut there."""
    time, unit = timeout_ms, b"m"
    for parts, larger in ((1000, b"S"), (60, b"M"), (60, b"H")):
        if time <= _MAX_TIMEOUT:
            break
        time, unit = time // parts, larger
    return b"%d%b" % (min(time, _MAX_TIMEOUT), unit)
