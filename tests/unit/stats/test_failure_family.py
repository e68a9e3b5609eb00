"""Every kind of failure has a counter and a story, and nothing else has."""

from __future__ import annotations

from sidecar.telemetry import failure_story, failures
from stats.failure_family import KINDS, FailureStats
from stats.store import Store


def test_every_kind_has_a_counter_from_the_start() -> None:
    store = Store()
    stats = FailureStats(store.root.scope("failures"))
    stats.no_route.inc()
    assert stats.no_route.value == 1
    assert list(KINDS) == sorted(KINDS)


def test_every_kind_has_a_story() -> None:
    assert set(failure_story._STORIES) == set(KINDS)


def test_every_kind_that_is_told_has_a_counter() -> None:
    told = {kind for _, kind, _ in failures._BY_FLAG} | {kind for kind, _ in failures._BY_DETAILS.values()}
    assert told <= set(KINDS)
