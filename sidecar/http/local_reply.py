"""The one place that turns failures into responses, for HTTP and gRPC; and the failures on the side of the client.

Those on the side of the upstream are in `upstream/failed_attempt.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from protocols.grpc import status as grpc_status
from protocols.http import names
from protocols.http.headers import Headers
from protocols.http.reasons import reason_phrase
from sidecar.stream_info import ResponseFlag
from sidecar.upstream.failed_attempt import Failure

NO_ROUTE: Final = Failure(404, "route_not_found", flags=ResponseFlag.NO_ROUTE_FOUND)
REQUEST_TIMEOUT: Final = Failure(408, "request_overall_timeout", b"request timeout")
REQUEST_HEADERS_TIMEOUT: Final = Failure(408, "request_header_timeout", b"request header timeout")
STREAM_IDLE_TIMEOUT: Final = Failure(
    408, "stream_idle_timeout", b"stream timeout", ResponseFlag.STREAM_IDLE_TIMEOUT
)
MAX_DURATION: Final = Failure(
    408,
    "max_duration_timeout",
    b"downstream duration timeout",
    grpc_status=grpc_status.GrpcStatus.DEADLINE_EXCEEDED,
)
UPGRADE_REFUSED: Final = Failure(403, "upgrade_failed")
INTERNAL_ERROR: Final = Failure(500, "internal_error", b"internal error")

#: Details of the answer of a route that does not forward.
DIRECT_RESPONSE: Final = "direct_response"

#: When the request is complete, it is the upstream that is late (Envoy's maybeRequestTimeoutCode).
GATEWAY_TIMEOUT: Final = 504


def protocol_error(status: int, details: str) -> Failure:
    """The client broke the protocol: the reason phrase is the body (Envoy)."""
    return Failure(status, details, reason_phrase(status), ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR)


def build(
    request_headers: Headers | None,
    status: int,
    body: bytes,
    fields: tuple[tuple[bytes, bytes], ...] = (),
    edit: Callable[[Headers], None] | None = None,
    *,
    grpc: bool = False,
    grpc_code: int | None = None,
) -> tuple[Headers, bytes]:
    """The head and the body of a local reply, in the form that the client understands.

    `grpc`: 200 with `grpc-status` (`grpc_code`, else what `status` stands for) and `grpc-message`, no body. Else: `text/plain` with its length; a HEAD gets the head alone.
    `edit` (the route's header rules) sees the head before it speaks of the body, as in Envoy: a content-type of its own stays.
    """
    headers = Headers.response(status, fields)
    if edit is not None:
        edit(headers)
    headers.remove(names.CONTENT_LENGTH)
    if grpc:
        headers.status = 200
        headers.set(names.CONTENT_TYPE, grpc_status.CONTENT_TYPE)
        if names.GRPC_STATUS not in headers:
            code = grpc_status.from_http(status) if grpc_code is None else grpc_code
            headers.set(names.GRPC_STATUS, b"%d" % code)
        if body:
            headers.set(names.GRPC_MESSAGE, grpc_status.encode_message(body))
        return headers, b""
    if not body:
        headers.remove(names.CONTENT_TYPE)
        return headers, b""
    headers.set(names.CONTENT_LENGTH, b"%d" % len(body))
    if names.CONTENT_TYPE not in headers:
        headers.set(names.CONTENT_TYPE, b"text/plain")
    if request_headers is not None and request_headers.method == names.HEAD:
        body = b""
    return headers, body
