"""Circuit breakers: how many connections, pending requests, requests and retries a cluster may have at once, by priority.

The counts are of the whole cluster, not of one host. Judging and counting are apart: a pool asks `can_create`, then acts,
then counts, and may exceed a limit on purpose (a host without any connection always gets one, as in Envoy).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from config.model.cluster import CircuitBreakerThresholds
from config.model.core import RoutingPriority
from stats.families import CircuitBreakerRemainingStats, CircuitBreakerStats, ClusterStats

if TYPE_CHECKING:
    from config.model.cluster import ClusterSpec
    from sidecar.transport.shared_counts import SharedCount, SharedCounts
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


class SharedResource:
    """A `Resource` of several processes: they count together. Main keeps the gauges (`refresh`)."""

    __slots__ = ("_open", "_remaining", "_shared", "limit")

    def __init__(self, limit: int, open_gauge: Gauge, remaining: Gauge | None, shared: SharedCount) -> None:
        self.limit = limit
        self._open = open_gauge
        self._remaining = remaining
        self._shared = shared
        if remaining is not None:
            remaining.set(limit)

    @property
    def count(self) -> int:
        return self._shared.total

    @property
    def can_create(self) -> bool:
        return self._shared.total < self.limit

    def inc(self) -> None:
        self._shared.add(1)

    def dec(self) -> None:
        self._shared.add(-1)

    def refresh(self) -> None:
        total = self._shared.total
        is_reached = 0 < total >= self.limit
        if is_reached or self._open.used:
            self._open.set(1 if is_reached else 0)
        if self._remaining is not None:
            self._remaining.set(max(self.limit - total, 0))


class CircuitBreaker:
    """The four limits of one priority of one cluster (Envoy's ResourceManager)."""

    __slots__ = ("connections", "pending", "requests", "retries")

    def __init__(
        self,
        thresholds: CircuitBreakerThresholds,
        stats: CircuitBreakerStats,
        remaining: CircuitBreakerRemainingStats | None = None,
        shared: SharedCounts | None = None,
    ) -> None:
        """`shared`: with several processes."""

        def resource(limit: int, open_gauge: Gauge, name: str) -> Resource | SharedResource:
            left = getattr(remaining, name) if remaining is not None else None
            if shared is None:
                return Resource(limit, open_gauge, left)
            return SharedResource(limit, open_gauge, left, shared.take())

        self.connections = resource(thresholds.max_connections, stats.cx_open, "remaining_cx")
        self.pending = resource(thresholds.max_pending_requests, stats.rq_pending_open, "remaining_pending")
        self.requests = resource(thresholds.max_requests, stats.rq_open, "remaining_rq")
        self.retries = resource(thresholds.max_retries, stats.rq_retry_open, "remaining_retries")

    def refresh(self) -> None:
        """Several processes: bring the gauges up to date."""
        for each in (self.connections, self.pending, self.requests, self.retries):
            if isinstance(each, SharedResource):
                each.refresh()


#: So many shared numbers the breakers of one cluster take.
SHARED_COUNTS: Final = 8


def build(
    spec: ClusterSpec, stats: ClusterStats, scope: Scope, shared: SharedCounts | None = None
) -> dict[RoutingPriority, CircuitBreaker]:
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
        breakers[priority] = CircuitBreaker(thresholds, own_stats, remaining, shared)
    return breakers
