"""Circuit breakers and their gauges."""

from __future__ import annotations

import os

from config.model.cluster import CircuitBreakerThresholds, ClusterSpec
from config.model.core import RoutingPriority
from sidecar.transport.shared_counts import SharedCounts, new_memory
from sidecar.upstream import circuit_breaker
from stats.families import ClusterStats
from stats.store import Store


def test_defaults_for_both_priorities() -> None:
    scope = Store().scope("cluster.a")
    breakers = circuit_breaker.build(ClusterSpec("a", "a"), ClusterStats(scope), scope)
    for priority in RoutingPriority:
        breaker = breakers[priority]
        limits = [
            each.limit for each in (breaker.connections, breaker.pending, breaker.requests, breaker.retries)
        ]
        assert limits == [1024, 1024, 1024, 3]


def test_open_and_remaining() -> None:
    store = Store()
    scope = store.scope("cluster.a")
    thresholds = CircuitBreakerThresholds(max_requests=2, max_retries=0, track_remaining=True)
    spec = ClusterSpec("a", "a", circuit_breakers={RoutingPriority.DEFAULT: thresholds})
    requests = circuit_breaker.build(spec, ClusterStats(scope), scope)[RoutingPriority.DEFAULT].requests

    def shown() -> tuple[int, int]:
        prefix = "cluster.a.circuit_breakers.default."
        return store.gauges[prefix + "rq_open"].value, store.gauges[prefix + "remaining_rq"].value

    assert "cluster.a.circuit_breakers.high.remaining_rq" not in store.gauges
    seen = [shown()]
    for _ in range(3):
        requests.inc()
        seen.append(shown())
    assert not requests.can_create
    for _ in range(3):
        requests.dec()
        seen.append(shown())
    assert seen == [(0, 2), (0, 1), (1, 0), (1, 0), (1, 0), (0, 1), (0, 2)]


def test_several_processes_have_one_limit() -> None:
    memory = new_memory(circuit_breaker.SHARED_COUNTS, 2)
    thresholds = CircuitBreakerThresholds(max_requests=3, track_remaining=True)
    spec = ClusterSpec("a", "a", circuit_breakers={RoutingPriority.DEFAULT: thresholds})
    stores = [Store() for _ in range(3)]
    breakers = []
    for part, store in zip((None, 0, 1), stores, strict=True):
        shared = SharedCounts(memory, circuit_breaker.SHARED_COUNTS, 2, part)
        scope = store.scope("cluster.a")
        breakers.append(
            circuit_breaker.build(spec, ClusterStats(scope), scope, shared)[RoutingPriority.DEFAULT]
        )
    os.close(memory)
    main, first, second = breakers

    def gauges() -> tuple[int, int]:
        main.refresh()
        prefix = "cluster.a.circuit_breakers.default."
        return stores[0].gauges[f"{prefix}rq_open"].value, stores[0].gauges[f"{prefix}remaining_rq"].value

    assert gauges() == (0, 3)
    first.requests.inc()
    first.requests.inc()
    assert second.requests.can_create
    second.requests.inc()
    assert not first.requests.can_create and not second.requests.can_create
    assert first.pending.can_create
    assert gauges() == (1, 0)
    first.requests.dec()
    assert first.requests.can_create and second.requests.can_create
    assert gauges() == (0, 1)
    assert not stores[1].gauges["cluster.a.circuit_breakers.default.rq_open"].used
