from __future__ import annotations

from stats.family import Dynamic, Family, unit_of
from stats.metrics import Counter, Gauge, Histogram, TextReadout
from stats.store import Store


class Door(Family):
    NAMES = (("lock_broken", "lock.broken"),)
    PER_PROCESS = frozenset({"state"})

    opened: Counter
    lock_broken: Counter
    state: Gauge
    open_time: Histogram
    colour: TextReadout


class BigDoor(Door):
    wings: Gauge


def test_all_stats_exist_from_the_start() -> None:
    store = Store()
    door = BigDoor(store.scope("door"))
    names = {(type(stat), stat.name) for stat in store}
    assert names == {
        (Counter, "door.opened"),
        (Counter, "door.lock.broken"),
        (Gauge, "door.state"),
        (Gauge, "door.wings"),
        (Histogram, "door.open_time"),
        (TextReadout, "door.colour"),
    }
    assert door.opened is store.counters["door.opened"]
    assert door.state.per_process
    assert not door.wings.per_process
    assert door.open_time.unit == "ms"


def test_families_have_no_dict() -> None:
    assert not hasattr(BigDoor(Store().scope("x")), "__dict__")


def test_unit_of() -> None:
    assert [unit_of(name) for name in ("a_ms", "a_time", "a_duration", "body_size", "x")] == [
        "ms", "ms", "ms", "bytes", "",
    ]  # fmt: skip


def test_dynamic_names_are_bounded() -> None:
    store = Store()
    dynamic = Dynamic(store.scope("ssl"), "ciphers")
    for number in range(Dynamic.LIMIT + 10):
        dynamic.inc(f"c{number}")
    dynamic.inc("c1")
    assert len(store.counters) == Dynamic.LIMIT
    assert store.counters["ssl.ciphers.c1"].value == 2
