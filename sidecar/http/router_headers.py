"""The `x-envoy-*` headers by which a request steers the router, and those the router adds for the next hop."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from protocols.grpc.status import format_timeout
from protocols.http import names
from protocols.http.headers import Headers

_TIMEOUT: Final = b"x-envoy-upstream-rq-timeout-ms"
_PER_TRY_TIMEOUT: Final = b"x-envoy-upstream-rq-per-try-timeout-ms"
_EXPECTED: Final = b"x-envoy-expected-rq-timeout-ms"
_RETRY_ON: Final = b"x-envoy-retry-on"
_RETRY_GRPC_ON: Final = b"x-envoy-retry-grpc-on"
_MAX_RETRIES: Final = b"x-envoy-max-retries"
_RETRIABLE_CODES: Final = b"x-envoy-retriable-status-codes"
_ATTEMPT_COUNT: Final = b"x-envoy-attempt-count"

_TIMEOUT_HEADERS: Final = frozenset({_TIMEOUT, _PER_TRY_TIMEOUT, _EXPECTED})
#: Meant for the router alone; what they ask for is not offered here.
_IGNORED: Final = frozenset(
    {
        b"x-envoy-upstream-alt-stat-name",
        b"x-envoy-upstream-rq-timeout-alt-response",
        b"x-envoy-upstream-stream-duration-ms",
    }
)
_ROUTER_HEADERS: Final = _TIMEOUT_HEADERS | _IGNORED
_RETRY_HEADERS: Final = frozenset(
    {
        _RETRY_ON,
        _RETRY_GRPC_ON,
        _MAX_RETRIES,
        _RETRIABLE_CODES,
        b"x-envoy-retriable-header-names",
        b"x-envoy-hedge-on-per-try-timeout",
    }
)

#: A whole number as Envoy reads one; more digits than these are no time and no count.
_NUMBER: Final = re.compile(rb"[0-9]{1,15}")


class Timeouts(NamedTuple):
    """In milliseconds, 0: none."""

    global_ms: int
    per_try_ms: int


class RouteTimeouts:
    """The timeouts of a route. `effective`: those of a request that asks for none; `expected` tells the next hop of them."""

    __slots__ = ("effective", "expected", "global_ms", "per_try_ms")

    def __init__(self, timeout_s: float | None, per_try_timeout_s: float | None = None) -> None:
        self.global_ms = _milliseconds(timeout_s)
        self.per_try_ms = _milliseconds(per_try_timeout_s)
        self.effective = _effective(self.global_ms, self.per_try_ms)
        self.expected = _expected(self.effective)


def take_timeouts(
    headers: Headers,
    route: RouteTimeouts,
    *,
    respect_expected_rq_timeout: bool = False,
    insert_expected: bool = True,
) -> Timeouts:
    """The timeouts of a request: the route's, or what its headers ask for; these are removed.

    Sets `x-envoy-expected-rq-timeout-ms` for the next hop unless `insert_expected` is off (`suppress_envoy_headers`).
    """
    timeouts, expected = route.effective, route.expected
    if headers.has_any(_ROUTER_HEADERS):
        timeouts = _asked(headers, route, respect_expected_rq_timeout)
        expected = _expected(timeouts)
    if insert_expected and expected:
        headers.set(_EXPECTED, expected)
    return timeouts


def tell_grpc_timeout(headers: Headers, timeouts: Timeouts) -> None:
    """Let the server of a gRPC request know what became of its `grpc-timeout` (Envoy: where `max_grpc_timeout` is set)."""
    expected_ms = timeouts.per_try_ms or timeouts.global_ms
    if expected_ms:
        headers.set(names.GRPC_TIMEOUT, format_timeout(expected_ms))
    else:
        headers.remove(names.GRPC_TIMEOUT)


def _asked(headers: Headers, route: RouteTimeouts, respect_expected_rq_timeout: bool) -> Timeouts:
    global_ms, per_try_ms = route.global_ms, route.per_try_ms
    for name in headers.intersection(_IGNORED):
        headers.remove(name)
    expected = headers.get(_EXPECTED) if respect_expected_rq_timeout else None
    if expected is not None:
        global_ms = _number(expected, global_ms)
    else:
        asked = headers.get(_TIMEOUT)
        if asked is not None:
            global_ms = _number(asked, global_ms)
            headers.remove(_TIMEOUT)
    asked = headers.get(_PER_TRY_TIMEOUT)
    if asked is not None:
        per_try_ms = _number(asked, per_try_ms)
        headers.remove(_PER_TRY_TIMEOUT)
    return _effective(global_ms, per_try_ms)


def _effective(global_ms: int, per_try_ms: int) -> Timeouts:
    """A timeout of each attempt that is no shorter than that of all of them is none."""
    return Timeouts(global_ms, 0 if global_ms and per_try_ms >= global_ms else per_try_ms)


def _expected(timeouts: Timeouts) -> bytes:
    """How long the next hop has, b"" if for ever."""
    expected_ms = timeouts.per_try_ms or timeouts.global_ms
    return b"%d" % expected_ms if expected_ms else b""


def _milliseconds(seconds: float | None) -> int:
    return round(seconds * 1000) if seconds else 0


def _number(value: bytes, default: int) -> int:
    return int(value) if _NUMBER.fullmatch(value) else default


@dataclass(frozen=True, slots=True)
class RetryHeaders:
    """What a request asks for on top of its route's retry policy. `max_retries` None: nothing asked."""

    retry_on: tuple[str, ...] = ()
    max_retries: int | None = None
    retriable_status_codes: tuple[int, ...] = ()


NO_RETRY_HEADERS: Final = RetryHeaders()


def take_retry_headers(headers: Headers) -> RetryHeaders:
    """Read and remove the retry headers (only internal requests still have them here)."""
    if not headers.has_any(_RETRY_HEADERS):
        return NO_RETRY_HEADERS
    conditions = [*_list(headers.joined(_RETRY_ON)), *_list(headers.joined(_RETRY_GRPC_ON))]
    codes = tuple(
        int(code) for code in _list(headers.joined(_RETRIABLE_CODES)) if _NUMBER.fullmatch(code.encode())
    )
    max_retries = headers.get(_MAX_RETRIES)
    asked = int(max_retries) if max_retries is not None and _NUMBER.fullmatch(max_retries) else None
    for name in headers.intersection(_RETRY_HEADERS):
        headers.remove(name)
    return RetryHeaders(tuple(conditions), asked, codes)


def _list(value: bytes | None) -> list[str]:
    if not value:
        return []
    return [text for part in value.split(b",") if (text := part.strip(b" \t").decode("latin-1"))]


def set_attempt_count(headers: Headers, attempt: int) -> None:
    """`x-envoy-attempt-count`, from 1; on requests and responses of virtual hosts that want it."""
    headers.set(_ATTEMPT_COUNT, b"%d" % attempt)
