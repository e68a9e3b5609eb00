from __future__ import annotations

import pytest

from protocols.http.headers import Headers
from sidecar.http.router_headers import (
    NO_RETRY_HEADERS,
    RetryHeaders,
    RouteTimeouts,
    Timeouts,
    set_attempt_count,
    take_retry_headers,
    take_timeouts,
)

TIMEOUT = b"x-envoy-upstream-rq-timeout-ms"
PER_TRY = b"x-envoy-upstream-rq-per-try-timeout-ms"
EXPECTED = b"x-envoy-expected-rq-timeout-ms"

#: Request headers, route timeout and per-try timeout in seconds; what follows, and what the next hop is told to expect.
CASES = [
    ({}, 15.0, None, Timeouts(15000, 0), b"15000"),
    ({}, None, None, Timeouts(0, 0), None),
    ({}, 0.0, None, Timeouts(0, 0), None),
    ({}, 1.5, 0.4, Timeouts(1500, 400), b"400"),
    ({}, 1.0, 2.0, Timeouts(1000, 0), b"1000"),
    ({}, None, 2.0, Timeouts(0, 2000), b"2000"),
    ({TIMEOUT: b"700"}, 1.5, 0.4, Timeouts(700, 400), b"400"),
    ({TIMEOUT: b"700", PER_TRY: b"100"}, 1.5, 0.4, Timeouts(700, 100), b"100"),
    ({TIMEOUT: b"abc"}, 1.5, 0.4, Timeouts(1500, 400), b"400"),
    ({TIMEOUT: b"0"}, 1.5, 0.4, Timeouts(0, 400), b"400"),
    ({TIMEOUT: b"5_0"}, 1.5, None, Timeouts(1500, 0), b"1500"),
    ({PER_TRY: b"99999"}, 1.5, 0.4, Timeouts(1500, 0), b"1500"),
    ({PER_TRY: b""}, 1.5, 0.4, Timeouts(1500, 400), b"400"),
    ({EXPECTED: b"333"}, 1.5, None, Timeouts(1500, 0), b"1500"),
]


@pytest.mark.parametrize(("fields", "route_s", "per_try_s", "timeouts", "expected"), CASES)
def test_timeouts(
    fields: dict[bytes, bytes],
    route_s: float | None,
    per_try_s: float | None,
    timeouts: Timeouts,
    expected: bytes | None,
) -> None:
    headers = Headers(list(fields.items()))
    assert take_timeouts(headers, RouteTimeouts(route_s, per_try_s)) == timeouts
    assert headers.get(EXPECTED) == expected
    assert TIMEOUT not in headers
    assert PER_TRY not in headers


def test_expected_timeout_of_the_hop_before_may_count() -> None:
    both = Headers([(EXPECTED, b"333"), (TIMEOUT, b"444")])
    assert take_timeouts(both, RouteTimeouts(1.5), respect_expected_rq_timeout=True) == Timeouts(333, 0)
    assert dict(both.items()) == {EXPECTED: b"333", TIMEOUT: b"444"}
    bad = Headers([(EXPECTED, b"x")])
    assert take_timeouts(bad, RouteTimeouts(1.5), respect_expected_rq_timeout=True) == Timeouts(1500, 0)
    only = Headers([(TIMEOUT, b"444")])
    assert take_timeouts(only, RouteTimeouts(1.5), respect_expected_rq_timeout=True) == Timeouts(444, 0)


def test_expected_timeout_is_not_told_when_suppressed() -> None:
    headers = Headers()
    assert take_timeouts(headers, RouteTimeouts(15.0), insert_expected=False) == Timeouts(15000, 0)
    assert len(headers) == 0


def test_headers_for_the_router_alone_go_no_further() -> None:
    headers = Headers(
        [
            (b"x-envoy-upstream-alt-stat-name", b"a"),
            (b"x-envoy-upstream-rq-timeout-alt-response", b"1"),
            (b"x-envoy-upstream-stream-duration-ms", b"4"),
            (b"x-other", b"1"),
        ]
    )
    take_timeouts(headers, RouteTimeouts(None))
    assert dict(headers.items()) == {b"x-other": b"1"}


def test_retry_headers_are_read_and_removed() -> None:
    headers = Headers(
        [
            (b"x-envoy-retry-on", b"5xx, reset"),
            (b"x-envoy-retry-grpc-on", b"cancelled"),
            (b"x-envoy-max-retries", b"3"),
            (b"x-envoy-retriable-status-codes", b"418, x,503,"),
            (b"x-envoy-retriable-header-names", b"a"),
            (b"x-envoy-hedge-on-per-try-timeout", b"true"),
        ]
    )
    assert take_retry_headers(headers) == RetryHeaders(("5xx", "reset", "cancelled"), 3, (418, 503))
    assert len(headers) == 0


@pytest.mark.parametrize("count", [b"", b"-1", b"+1", b"1e3", b"9" * 30, "\u0663".encode()])
def test_bad_retry_count_is_none(count: bytes) -> None:
    assert take_retry_headers(Headers([(b"x-envoy-max-retries", count)])).max_retries is None


def test_no_retry_headers() -> None:
    assert take_retry_headers(Headers([(b"x-other", b"1")])) is NO_RETRY_HEADERS


def test_attempt_count_replaces_the_one_of_the_client() -> None:
    headers = Headers([(b"x-envoy-attempt-count", b"7")])
    set_attempt_count(headers, 2)
    assert headers.get_all(b"x-envoy-attempt-count") == [b"2"]
