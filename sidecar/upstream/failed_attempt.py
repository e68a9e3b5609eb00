"""How a failed attempt at an upstream is told: status, flags, details and body in Envoy's words.

To clients the router tells it (`http/local_reply.py` makes the response), to those who ask on our own behalf the async client.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocols.http.codec import ResetReason
from sidecar.stream_info import ResponseFlag
from sidecar.upstream.api import UpstreamFailure


@dataclass(frozen=True, slots=True)
class Failure:
    """How a failure is told: to the client (status, body), in logs and stats (flags, details)."""

    status: int
    details: str
    body: bytes = b""
    flags: int = 0
    overloaded: bool = False  # answered with `x-envoy-overloaded: true`
    grpc_status: int | None = None  # None: what the HTTP status stands for


NO_HEALTHY_UPSTREAM: Final = Failure(
    503, "no_healthy_upstream", b"no healthy upstream", ResponseFlag.NO_HEALTHY_UPSTREAM
)
RESPONSE_TIMEOUT: Final = Failure(
    504, "response_timeout", b"upstream request timeout", ResponseFlag.UPSTREAM_REQUEST_TIMEOUT
)
PER_TRY_TIMEOUT: Final = Failure(
    504, "upstream_per_try_timeout", b"upstream request timeout", ResponseFlag.UPSTREAM_REQUEST_TIMEOUT
)


class _Reset:
    """What is said of an attempt that ended without a response: Envoy's name of the reason, flag and status."""

    __slots__ = ("flags", "name", "overloaded", "status", "text")

    def __init__(self, name: str, flags: int, status: int = 503, overloaded: bool = False) -> None:
        self.name = name
        self.text = name.replace("_", " ").encode()
        self.flags = flags
        self.status = status
        self.overloaded = overloaded


_FAILURES: Final = {
    UpstreamFailure.OVERFLOW: _Reset("overflow", ResponseFlag.UPSTREAM_OVERFLOW, overloaded=True),
    UpstreamFailure.CONNECT_FAILURE: _Reset(
        "remote_connection_failure", ResponseFlag.UPSTREAM_CONNECTION_FAILURE
    ),
    UpstreamFailure.CONNECT_TIMEOUT: _Reset("connection_timeout", ResponseFlag.UPSTREAM_CONNECTION_FAILURE),
}
_RESETS: Final = {
    ResetReason.LOCAL_RESET: _Reset("local_reset", ResponseFlag.LOCAL_RESET),
    ResetReason.LOCAL_REFUSED: _Reset("local_refused_stream_reset", ResponseFlag.LOCAL_RESET),
    ResetReason.REMOTE_RESET: _Reset("remote_reset", ResponseFlag.UPSTREAM_REMOTE_RESET),
    ResetReason.REMOTE_REFUSED: _Reset("remote_refused_stream_reset", ResponseFlag.UPSTREAM_REMOTE_RESET),
    ResetReason.PROTOCOL_ERROR: _Reset("protocol_error", ResponseFlag.UPSTREAM_PROTOCOL_ERROR, 502),
    ResetReason.CONNECTION_TERMINATION: _Reset(
        "connection_termination", ResponseFlag.UPSTREAM_CONNECTION_TERMINATION
    ),
    ResetReason.CONNECTION_FAILURE: _Reset(
        "remote_connection_failure", ResponseFlag.UPSTREAM_CONNECTION_FAILURE
    ),
    ResetReason.OVERFLOW: _Reset("overflow", ResponseFlag.UPSTREAM_OVERFLOW, overloaded=True),
    ResetReason.NOT_PROCESSED: _Reset("remote_refused_stream_reset", ResponseFlag.UPSTREAM_REMOTE_RESET),
    ResetReason.CONNECT_ERROR: _Reset(
        "remote_error_with_CONNECT_request", ResponseFlag.UPSTREAM_REMOTE_RESET
    ),
    ResetReason.NO_ERROR: _Reset("no_error", ResponseFlag.UPSTREAM_REMOTE_RESET),
}


def reason_of(failure: UpstreamFailure | ResetReason) -> tuple[str, int]:
    """The words and the flags of why an attempt failed; the words are "" when no host was to be had."""
    if isinstance(failure, ResetReason):
        reset = _RESETS[failure]
    elif failure is UpstreamFailure.NO_HEALTHY_HOST:
        return "", NO_HEALTHY_UPSTREAM.flags
    else:
        reset = _FAILURES[failure]
    return reset.text.decode(), reset.flags


def pool_failure(failure: UpstreamFailure, transport_failure: str, retried: bool) -> Failure:
    """No connection was to be had. `retried`: earlier attempts failed too."""
    if failure is UpstreamFailure.NO_HEALTHY_HOST:
        return NO_HEALTHY_UPSTREAM
    return _before_response(_FAILURES[failure], transport_failure, retried)


def upstream_reset(reason: ResetReason, transport_failure: str, retried: bool) -> Failure:
    """The attempt ended before its response began."""
    return _before_response(_RESETS[reason], _cause(reason, transport_failure), retried)


def _before_response(reset: _Reset, transport_failure: str, retried: bool) -> Failure:
    again = b"retried and the latest " if retried else b""
    return Failure(
        reset.status,
        f"upstream_reset_before_response_started{{{_with_cause(reset.name, transport_failure)}}}",
        b"upstream connect error or disconnect/reset before headers. %breset reason: %b"
        % (again, reset.text),
        reset.flags,
        reset.overloaded,
    )


def truncated(reason: ResetReason, transport_failure: str) -> tuple[str, int]:
    """Details and flags of a response that began and did not end."""
    reset = _RESETS[reason]
    cause = _with_cause(reset.name, _cause(reason, transport_failure))
    return f"upstream_reset_after_response_started{{{cause}}}", reset.flags


def _cause(reason: ResetReason, details: str) -> str:
    """What the transport said. The codec's own token of a protocol error is not shown (Envoy)."""
    return "" if reason is ResetReason.PROTOCOL_ERROR else details


def _with_cause(name: str, transport_failure: str) -> str:
    """`remote_connection_failure|delayed_connect_error:_Connection_refused`: details hold no white space."""
    if not transport_failure:
        return name
    return f"{name}|{'_'.join(transport_failure.split())}"


def cluster_not_found(status: int) -> Failure:
    return Failure(status, "cluster_not_found", flags=ResponseFlag.NO_CLUSTER_FOUND)
