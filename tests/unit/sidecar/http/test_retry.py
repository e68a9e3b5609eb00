"""Retry conditions and their bookkeeping."""

from __future__ import annotations

import random

import pytest

from config.model.cluster import CircuitBreakerThresholds
from config.model.route import RetryPolicy
from protocols.http.codec import ResetReason
from protocols.http.headers import Headers
from sidecar.http.retry import RetryConditions, RetryState, Verdict, conditions_of, merged
from sidecar.http.router_headers import RetryHeaders
from sidecar.upstream.circuit_breaker import CircuitBreaker
from stats.families import CircuitBreakerStats, ClusterStats
from stats.store import Store


def state(retries: int = 2, max_retries: int = 3) -> tuple[RetryState, ClusterStats, CircuitBreaker]:
    store = Store()
    stats = ClusterStats(store.scope("cluster.web"))
    thresholds = CircuitBreakerThresholds(max_retries=max_retries)
    breaker = CircuitBreaker(thresholds, CircuitBreakerStats(store.scope("breaker")))
    return (
        RetryState(RetryConditions(("5xx",), ()), retries, stats, breaker, random.Random(1)),
        stats,
        breaker,
    )


@pytest.mark.parametrize(
    ("condition", "reasons"),
    [
        ("reset", set(ResetReason) - {ResetReason.OVERFLOW}),
        ("5xx", set(ResetReason) - {ResetReason.OVERFLOW}),
        ("gateway-error", set(ResetReason) - {ResetReason.OVERFLOW}),
        ("connect-failure", {ResetReason.CONNECTION_FAILURE}),
        ("refused-stream", {ResetReason.REMOTE_REFUSED, ResetReason.NOT_PROCESSED}),
        ("reset-before-request", set()),
        ("retriable-4xx", set()),
    ],
)
def test_resets_of_a_request_that_was_sent(condition: str, reasons: set[ResetReason]) -> None:
    conditions = RetryConditions((condition,), ())
    assert {reason for reason in ResetReason if conditions.retries_reset(reason, True)} == reasons


def test_reset_before_request() -> None:
    conditions = RetryConditions(("reset-before-request",), ())
    assert conditions.retries_reset(ResetReason.CONNECTION_TERMINATION, False)
    assert conditions.retries_connect_failure()


def test_grpc_statuses() -> None:
    conditions = RetryConditions(("unavailable", "cancelled"), ())
    assert conditions.retries_response(Headers.response(200, [(b"grpc-status", b"14")]))
    assert conditions.retries_response(Headers.response(200, [(b"grpc-status", b"1")]))
    assert not conditions.retries_response(Headers.response(200, [(b"grpc-status", b"13")]))
    assert not conditions.retries_response(Headers.response(200))


def test_overloaded_server_is_left_alone() -> None:
    conditions = RetryConditions(("5xx",), ())
    assert not conditions.retries_response(Headers.response(503, [(b"x-envoy-overloaded", b"true")]))


def test_slots_are_taken_and_given_back() -> None:
    retry, stats, breaker = state()
    assert retry.judge(True) is Verdict.RETRY
    assert breaker.retries.count == 1
    assert retry.judge(True) is Verdict.RETRY
    assert breaker.retries.count == 1
    assert retry.judge(False) is Verdict.NO
    assert breaker.retries.count == 0
    assert stats.upstream_rq_retry.value == 2
    assert stats.upstream_rq_retry_success.value == 1


def test_limit() -> None:
    retry, stats, _ = state(retries=1)
    assert retry.judge(True) is Verdict.RETRY
    assert retry.judge(True) is Verdict.LIMIT_EXCEEDED
    assert stats.upstream_rq_retry_limit_exceeded.value == 1


def test_breaker() -> None:
    retry, stats, breaker = state(max_retries=0)
    assert retry.judge(True) is Verdict.OVERFLOW
    assert stats.upstream_rq_retry_overflow.value == 1
    assert breaker.retries.count == 0


def test_release_is_harmless_twice() -> None:
    retry, _, breaker = state()
    retry.judge(True)
    retry.release()
    retry.release()
    assert breaker.retries.count == 0


def test_delays_grow_within_their_bound() -> None:
    retry, _, _ = state(retries=50, max_retries=100)
    for _ in range(50):
        retry.judge(True)
        assert 0 <= retry.delay_s() <= 0.25
    first, _, _ = state()
    first.judge(True)
    assert first.delay_s() <= 0.025


def test_policies() -> None:
    assert conditions_of(None) is None
    assert conditions_of(RetryPolicy()) is None
    conditions, retries = merged(RetryPolicy(("5xx",), 3), RetryHeaders(("reset",), None, ()))
    assert retries == 3
    assert conditions is not None
    assert conditions.retries_reset(ResetReason.REMOTE_RESET, True)
    assert merged(None, RetryHeaders((), 5, ())) == (None, 5)
