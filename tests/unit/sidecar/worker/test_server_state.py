"""The server's state, the gauges that nobody moves, the watchdog, and the store that is made from the bootstrap."""

from __future__ import annotations

import time

import pytest

from config.model.bootstrap import HistogramBuckets, StatsMatcher, StatsSpec, TagSpecifier
from config.model.matching import StringMatcher, StringMatchKind
from sidecar.worker.part import Part
from sidecar.worker.server_state import ServerState, StateKeeper, resident_bytes
from sidecar.worker.stats_config import build_store
from sidecar.worker.watchdog import Watchdog
from stats.store import Store


def keeper() -> tuple[StateKeeper, Store]:
    store = Store()
    return StateKeeper(store, time.time()), store


def test_from_start_to_end() -> None:
    state, store = keeper()
    seen = [(state.shown, store.gauges["server.state"].value, store.gauges["server.live"].value)]
    for each in (ServerState.LIVE, ServerState.DRAINING):
        state.enter(each)
        seen.append((state.shown, store.gauges["server.state"].value, store.gauges["server.live"].value))
    assert seen == [
        (ServerState.INITIALIZING, 3, 0),
        (ServerState.LIVE, 0, 1),
        (ServerState.DRAINING, 1, 0),
    ]


def test_a_failed_health_check_looks_like_draining() -> None:
    state, store = keeper()
    state.fail_health_check(True)
    assert state.shown is ServerState.INITIALIZING  # not while it starts
    state.enter(ServerState.LIVE)
    assert state.shown is ServerState.DRAINING
    assert store.gauges["server.live"].value == 0
    state.fail_health_check(False)
    assert state.shown is ServerState.LIVE
    assert store.gauges["server.live"].value == 1


def test_the_time_to_start_is_recorded_once() -> None:
    state, store = keeper()
    for _ in range(3):
        state.enter(ServerState.LIVE)
    assert store.histograms["server.initialization_time_ms"].count == 1


def test_gauges_that_nobody_moves() -> None:
    state, store = keeper()
    state.refresh(total_connections=7)
    assert store.gauges["server.total_connections"].value == 7
    assert store.gauges["server.memory_allocated"].value == pytest.approx(resident_bytes(), rel=0.2)
    assert store.gauges["server.uptime"].value == state.uptime_s


def test_the_first_certificate_to_expire() -> None:
    state, store = keeper()
    days = store.gauges["server.days_until_first_cert_expiring"]
    assert days.value == 2**32 - 1
    now = time.time()
    state.refresh_certificates([now + 86400 * 30 + 60, now + 86400 * 3 + 60])
    assert days.value == 3
    state.refresh_certificates([now - 86400])
    assert days.value == 0
    state.refresh_certificates([])
    assert days.value == 2**32 - 1


def test_bugs_are_counted() -> None:
    state, store = keeper()
    state.count_bug()
    assert store.counters["server.envoy_bug_failures"].value == 1


@pytest.mark.parametrize(("late_s", "misses", "mega"), [(0.0, 0, 0), (0.19, 0, 0), (0.3, 1, 0), (1.5, 1, 1)])
def test_watchdog(late_s: float, misses: int, mega: int) -> None:
    store = Store()
    Watchdog(store).count(late_s)
    for thread in ("main_thread", "workers", "server.main_thread", "server.worker_0"):
        assert store.counters[f"{thread}.watchdog_miss"].value == misses
        assert store.counters[f"{thread}.watchdog_mega_miss"].value == mega


def test_tags_of_the_command_line_come_first() -> None:
    spec = StatsSpec(
        use_all_default_tags=False,
        tags=(TagSpecifier("configured", fixed_value="1"), TagSpecifier("cut", regex=r"(\.x([0-9]+))")),
    )
    counter = build_store(spec, [("given", "2")]).root.counter("name.x7")
    assert counter.tags == (("given", "2"), ("configured", "1"), ("cut", "7"))
    assert counter.extracted == "name" if hasattr(counter, "extracted") else True


@pytest.mark.parametrize(
    ("matcher", "listed"),
    [
        (StatsMatcher(), {"a.one", "b.two"}),
        (StatsMatcher(reject_all=True), set()),
        (StatsMatcher(inclusion=(StringMatcher(StringMatchKind.PREFIX, "a."),)), {"a.one"}),
        (StatsMatcher(exclusion=(StringMatcher(StringMatchKind.SUFFIX, ".one"),)), {"b.two"}),
    ],
)
def test_which_stats_exist(matcher: StatsMatcher, listed: set[str]) -> None:
    store = build_store(StatsSpec(matcher=matcher))
    for name in ("a.one", "b.two"):
        store.root.counter(name).inc()
    assert set(store.counters) == listed


def test_histogram_bounds() -> None:
    spec = StatsSpec(
        histogram_buckets=(HistogramBuckets(StringMatcher(StringMatchKind.PREFIX, "a."), (1.0, 2.0)),)
    )
    store = build_store(spec)
    assert store.root.histogram("a.h").bounds == (1.0, 2.0)
    assert len(store.root.histogram("b.h").bounds) > 10


def test_a_default_tag_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="envoy\\.no_such"):
        build_store(StatsSpec(tags=(TagSpecifier("envoy.no_such"),)))


def test_evictable_scopes_lose_what_is_not_used() -> None:
    store = Store()
    evictable, other = store.root.scope("e", evictable=True), store.root.scope("o")
    evictable.counter("used").inc()
    evictable.counter("idle").inc()
    other.counter("kept")
    store.evict_unused()
    evictable.counter("used").inc()
    store.evict_unused()
    assert set(store.counters) == {"e.used", "o.kept"}
    evictable.retire()
    store.evict_unused()
    assert set(store.counters) == {"o.kept"}


def test_the_watchdogs_of_several_processes() -> None:
    for part, names in (
        (Part(2, None), {"main_thread", "server.main_thread"}),
        (Part(2, 1), {"workers", "server.worker_1"}),
        (Part(1, 0), {"main_thread", "server.main_thread", "workers", "server.worker_0"}),
    ):
        store = Store()
        Watchdog(store, part).count(0.3)
        assert {
            name.removesuffix(".watchdog_miss") for name, each in store.counters.items() if each.value
        } == names
