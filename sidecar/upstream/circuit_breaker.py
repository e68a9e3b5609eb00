"""Circuit breakers: how many connections, pending requests, requests and retries a cluster may have at once, by priority.

The counts are of the whole cluster, not of one host. Judging and counting are apart: a pool asks `can_create`, then acts,
then counts, and may exceed a limit on purpose (a host without any connection always gets one, as in Envoy).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.model.cluster import CircuitBreakerThresholds
from config.model.core import RoutingPriority
from stats.families import CircuitBreakerRemainingStats, CircuitBreakerStats, ClusterStats

if TYPE_CHECKING:
    from config.model.cluster import ClusterSpec
    from stats.metrics import Gauge
    from stats.store import Scope


class Resource:
    """One limit. The gauge `*_open` is 1 while the limit is reached; `remaining` is kept with `track_remaining` only."""

    __slots__ = ("_open", "_remaining", "count", "limit")

    def __init__(self, limit: int, open_gauge: Gauge, remaining: Gauge | None = None) -> None:
        self.limit = limit
        self.count = 0
        self._open = open_gauge
        self._remaining = remaining
        if remaining is not None:
            remaining.set(limit)

    @property
    def can_create(self) -> bool:
        return self.count < self.limit

    def inc(self) -> None:
        self.count += 1
        if self.count >= self.limit:
            self._open.set(1)
        if self._remaining is not None:
            self._remaining.set(max(self.limit - self.count, 0))

    def dec(self) -> None:
        self.count -= 1
        if self.count == self.limit - 1:
            self._open.set(0)
        if self._remaining is not None:
            self._remaining.set(max(self.limit - self.count, 0))


class CircuitBreaker:
    """The four limits of one priority of one cluster (Envoy's ResourceManager)."""

    __slots__ = ("connections", "pending", "requests", "retries")

    def __init__(
        self,
        thresholds: CircuitBreakerThresholds,
        stats: CircuitBreakerStats,
        remaining: CircuitBreakerRemainingStats | None = None,
    ) -> None:
        if remaining is None:
            self.connections = Resource(thresholds.max_connections, stats.cx_open)
            self.pending = Resource(thresholds.max_pending_requests, stats.rq_pending_open)
            self.requests = Resource(thresholds.max_requests, stats.rq_open)
            self.retries = Resource(thresholds.max_retries, stats.rq_retry_open)
            return
        self.connections = Resource(thresholds.max_connections, stats.cx_open, remaining.remaining_cx)
        self.pending = Resource(
            thresholds.max_pending_requests, stats.rq_pending_open, remaining.remaining_pending
        )
        self.requests = Resource(thresholds.max_requests, stats.rq_open, remaining.remaining_rq)
        self.retries = Resource(thresholds.max_retries, stats.rq_retry_open, remaining.remaining_retries)


def build(spec: ClusterSpec, stats: ClusterStats, scope: Scope) -> dict[RoutingPriority, CircuitBreaker]:
    """The breakers of a cluster whose stats live in `scope` (`cluster.<name>.`); a priority not configured has Envoy's defaults."""
    configured = spec.circuit_breakers or {}
    breakers = {}
    for priority, own_stats, name in (
        (RoutingPriority.DEFAULT, stats.circuit_breakers_default, "default"),
        (RoutingPriority.HIGH, stats.circuit_breakers_high, "high"),
    ):
        thresholds = configured.get(priority, CircuitBreakerThresholds())
        remaining = None
        if thresholds.track_remaining:
            remaining = CircuitBreakerRemainingStats(scope.scope(f"circuit_breakers.{name}"))
        breakers[priority] = CircuitBreaker(thresholds, own_stats, remaining)
    return breakers
