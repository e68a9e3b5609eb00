"""When an attempt that failed is tried again: the route's retry policy, and what the request asked for on top of it.

Envoy's rules: conditions are judged on the response head or on the reason of a reset; each retry waits for a random part of
an exponentially growing interval; the cluster's circuit breaker bounds how many wait or run at once.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from protocols.grpc.status import GrpcStatus
from protocols.http import names
from protocols.http.codec import ResetReason
from protocols.http.headers import Headers
from sidecar.http.router_headers import RetryHeaders

if TYPE_CHECKING:
    from random import Random

    from config.model.route import RetryPolicy
    from sidecar.upstream.circuit_breaker import CircuitBreaker
    from stats.families import ClusterStats

#: Envoy's defaults: 25 ms, doubled each time, at most ten times as much.
_BASE_INTERVAL_S: Final = 0.025
_MAX_INTERVAL_S: Final = 0.25

#: `grpc-status` of a response head that some conditions retry.
_GRPC_CONDITIONS: Final = {
    "cancelled": b"%d" % GrpcStatus.CANCELLED,
    "deadline-exceeded": b"%d" % GrpcStatus.DEADLINE_EXCEEDED,
    "resource-exhausted": b"%d" % GrpcStatus.RESOURCE_EXHAUSTED,
    "internal": b"%d" % GrpcStatus.INTERNAL,
    "unavailable": b"%d" % GrpcStatus.UNAVAILABLE,
}
_GATEWAY_ERRORS: Final = frozenset((502, 503, 504))

#: RFC 9110 section 9.2.2: may be sent twice without being asked.
IDEMPOTENT_METHODS: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))


class Verdict(enum.Enum):
    """What becomes of a failed attempt."""

    NO = enum.auto()  # nothing asks for a retry
    RETRY = enum.auto()
    LIMIT_EXCEEDED = enum.auto()  # it would be retried, but too often (URX)
    OVERFLOW = enum.auto()  # it would be retried, but the circuit breaker is open (UO)


class RetryConditions:
    """A retry policy, compiled: what it says about response heads and about resets."""

    __slots__ = (
        "_codes",
        "_connect_failure",
        "_gateway_error",
        "_grpc",
        "_refused",
        "_reset",
        "_reset_before_request",
        "_server_error",
    )

    def __init__(self, retry_on: Iterable[str], retriable_status_codes: Iterable[int]) -> None:
        conditions = frozenset(retry_on)
        self._server_error = "5xx" in conditions
        self._gateway_error = "gateway-error" in conditions
        self._connect_failure = "connect-failure" in conditions
        self._refused = "refused-stream" in conditions
        self._reset = "reset" in conditions
        self._reset_before_request = "reset-before-request" in conditions
        codes: set[int] = {409} if "retriable-4xx" in conditions else set()
        if "retriable-status-codes" in conditions:
            codes.update(retriable_status_codes)
        self._codes = codes
        self._grpc = frozenset(status for name, status in _GRPC_CONDITIONS.items() if name in conditions)

    def retries_response(self, headers: Headers) -> bool:
        """Judged on the head; `x-envoy-overloaded` says that the server wants no more."""
        if b"x-envoy-overloaded" in headers:
            return False
        status = headers.status
        if self._server_error and status >= 500:
            return True
        if self._gateway_error and status in _GATEWAY_ERRORS:
            return True
        return status in self._codes or headers.get(names.GRPC_STATUS) in self._grpc

    def retries_connect_failure(self) -> bool:
        """No connection was to be had."""
        return (
            self._connect_failure
            or self._server_error
            or self._gateway_error
            or self._reset
            or self._reset_before_request
        )

    def retries_reset(self, reason: ResetReason, request_started: bool) -> bool:
        """The attempt ended without a response head. `request_started`: bytes of the request may have been sent."""
        if reason is ResetReason.OVERFLOW:
            return False
        if self._server_error or self._gateway_error or self._reset:
            return True
        if self._reset_before_request and not request_started:
            return True
        if reason is ResetReason.CONNECTION_FAILURE:
            return self._connect_failure
        return self._refused and reason in (ResetReason.REMOTE_REFUSED, ResetReason.NOT_PROCESSED)


class RetryState:
    """The retries of one request."""

    __slots__ = ("_breaker", "_holds_slot", "_random", "_stats", "conditions", "done", "left")

    def __init__(
        self,
        conditions: RetryConditions,
        retries: int,
        stats: ClusterStats,
        breaker: CircuitBreaker,
        random: Random,
    ) -> None:
        self.conditions = conditions
        self.left = retries
        self.done = 0
        self._stats = stats
        self._breaker = breaker
        self._random = random
        self._holds_slot = False

    def judge(self, wanted: bool) -> Verdict:
        """An attempt ended, and the conditions say whether it is to be retried. RETRY takes a slot until the next call."""
        retried = self._holds_slot
        self.release()
        if not wanted:
            if retried:
                self._stats.upstream_rq_retry_success.inc()
            return Verdict.NO
        if not self.left:
            self._stats.upstream_rq_retry_limit_exceeded.inc()
            return Verdict.LIMIT_EXCEEDED
        self.left -= 1
        retries = self._breaker.retries
        if not retries.can_create:
            self._stats.upstream_rq_retry_overflow.inc()
            return Verdict.OVERFLOW
        retries.inc()
        self._holds_slot = True
        self.done += 1
        self._stats.upstream_rq_retry.inc()
        self._stats.upstream_rq_retry_backoff_exponential.inc()
        return Verdict.RETRY

    def delay_s(self) -> float:
        """How long to wait before the retry just granted: full jitter."""
        limit_s = min(_BASE_INTERVAL_S * (1 << min(self.done - 1, 8)), _MAX_INTERVAL_S)
        return self._random.random() * limit_s

    def release(self) -> None:
        """The request needs no more retries: give the slot back. Harmless without one."""
        if self._holds_slot:
            self._holds_slot = False
            self._breaker.retries.dec()


def conditions_of(policy: RetryPolicy | None) -> RetryConditions | None:
    """The compiled conditions of a route's policy; None: it retries nothing."""
    if policy is None or not policy.retry_on:
        return None
    return RetryConditions(policy.retry_on, policy.retriable_status_codes)


def merged(policy: RetryPolicy | None, asked: RetryHeaders) -> tuple[RetryConditions | None, int]:
    """Conditions and number of retries of a request that asks for its own."""
    retry_on = [*(policy.retry_on if policy is not None else ()), *asked.retry_on]
    codes = [*(policy.retriable_status_codes if policy is not None else ()), *asked.retriable_status_codes]
    retries = policy.num_retries if policy is not None else 1
    if asked.max_retries is not None:
        retries = asked.max_retries
    return (RetryConditions(retry_on, codes) if retry_on else None), retries
