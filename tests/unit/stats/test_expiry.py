from __future__ import annotations

import pytest

from stats.expiry import Expiry
from stats.store import _SWEEP_STATS, Rotation, Scope, Store


class Fixture:
    def __init__(self, eviction_s: float | None = None, default_s: float = 0) -> None:
        self.store = Store()
        self.expiry = Expiry(self.store, 0, eviction_s, default_s)

    def scope(self, rotation: Rotation | None = None, name: str = "istiocustom") -> Scope:
        scope = self.store.root.scope(name, evictable=True)
        scope.rotation = rotation
        return scope

    def at(self, now_s: float) -> list[str]:
        """What is listed when that time has come."""
        for _ in self.expiry.due(now_s):
            pass
        return sorted(self.store.counters)


@pytest.mark.parametrize("fixture", [Fixture(60), Fixture(None, 60), Fixture(60, 1)])
def test_untouched_for_a_whole_interval(fixture: Fixture) -> None:
    scope = fixture.scope()
    scope.counter("used").inc()
    scope.counter("once").inc()
    assert len(fixture.at(59)) == 2
    assert len(fixture.at(60)) == 2  # touched in the first interval
    scope.counter("used").inc()
    assert len(fixture.at(119)) == 2
    assert fixture.at(120) == ["istiocustom.used"]
    assert fixture.at(180) == []
    assert scope.counter("used").value == 0


@pytest.mark.parametrize("fixture", [Fixture(), Fixture(None, 0)])
def test_off(fixture: Fixture) -> None:
    fixture.scope().counter("c").inc()
    assert fixture.at(1e9) == fixture.at(2e9) == ["istiocustom.c"]


def test_other_scopes_are_left_alone() -> None:
    fixture = Fixture(60)
    fixture.store.root.counter("plain")
    assert fixture.at(60) == fixture.at(120) == ["plain"]


def test_rotation() -> None:
    """Spec section 5, Istio until 1.24: after each rotation what is not used in the graceful time goes."""
    fixture = Fixture(None, 0)
    scope = fixture.scope(Rotation(100, 10))
    scope.counter("idle").inc()
    scope.counter("busy").inc()
    assert len(fixture.at(0)) == len(fixture.at(99)) == len(fixture.at(100)) == 2
    scope.counter("busy").inc()
    assert len(fixture.at(109)) == 2
    assert fixture.at(110) == ["istiocustom.busy"]
    assert scope.counter("busy").value == 2  # in use: it counts on
    scope.counter("late").inc()
    assert fixture.at(199) == fixture.at(200) == ["istiocustom.busy", "istiocustom.late"]
    assert fixture.at(210) == []


def test_an_eviction_interval_counts_in_place_of_rotations() -> None:
    fixture = Fixture(1000)
    fixture.scope(Rotation(100, 10)).counter("c").inc()
    for now_s in (0, 100, 110, 200, 210):
        assert fixture.at(now_s) == ["istiocustom.c"]
    fixture.at(1000)
    assert fixture.at(2000) == []


def test_scopes_without_a_rotation_have_the_default() -> None:
    fixture = Fixture(None, 50)
    fixture.scope(Rotation(1000, 10)).counter("rotating").inc()
    fixture.scope(name="second").counter("other").inc()
    fixture.at(50)
    assert fixture.at(100) == ["istiocustom.rotating"]


def test_a_sweep_comes_in_steps_and_says_what_is_stale() -> None:
    fixture = Fixture(60)
    scope = fixture.scope()
    for number in range(2 * _SWEEP_STATS + 1):
        scope.counter(f"c{number}")
    assert sum(1 for _ in fixture.expiry.due(60)) == 3
    assert scope.generation == 3
    assert sum(1 for _ in fixture.expiry.due(61)) == 0
    used = scope.counter("used")
    used.inc()
    fixture.at(120)
    assert scope.generation == 3  # nothing went, so nothing is stale
    assert scope.counter("used") is used


def test_a_sweep_stops_at_a_scope_that_is_retired_meanwhile() -> None:
    fixture = Fixture(60)
    scope, twin = fixture.scope(), fixture.store.scope("istiocustom")
    for number in range(_SWEEP_STATS + 1):
        scope.counter(f"c{number}")
        twin.counter(f"c{number}")
    steps = fixture.expiry.due(60)
    next(steps)
    scope.retire()
    assert sum(1 for _ in steps) == 1
    assert len(fixture.store.counters) == _SWEEP_STATS + 1  # the twin's


def test_those_who_count_in_the_same_stats_lose_none_that_another_uses() -> None:
    """The mark that a stat is in use is the stat's: it must be judged once in each sweep, whoever asks."""
    fixture = Fixture(60)
    scopes = [fixture.scope() for _ in range(3)]
    counter = scopes[0].counter("c")
    for now_s in (60, 120, 180):
        assert [scope.counter("c") for scope in scopes] == [counter] * 3
        counter.inc()
        assert fixture.at(now_s) == ["istiocustom.c"]
    scopes[0].retire()
    assert scopes[1].counter("c") is counter
    counter.inc()
    assert fixture.at(240) == ["istiocustom.c"]
    for scope in scopes[1:]:
        scope.retire()
    assert fixture.at(241) == []


def test_a_retired_scope_is_forgotten() -> None:
    fixture = Fixture(None, 50)
    scope = fixture.scope(Rotation(100, 10))
    fixture.at(0)
    scope.retire()
    assert fixture.at(100) == []
    assert fixture.expiry._rotations == {}
