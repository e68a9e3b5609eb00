from __future__ import annotations

import pickle

from stats.snapshot import Snapshot, merge, take
from stats.store import Store


def worker(counted: int, level: int, uptime: int) -> Store:
    store = Store()
    store.scope("a").counter("total").add(counted)
    store.scope("a").gauge("active").set(level)
    store.root.gauge("uptime", per_process=True).set(uptime)
    store.root.histogram("h", "ms").record(counted)
    store.root.text_readout("version").set(f"v{uptime}")
    return store


def test_merge_adds_up() -> None:
    merged = merge([worker(3, 1, 10), worker(4, 2, 20)])
    assert merged.counters["a.total"].value == 7
    assert merged.gauges["a.active"].value == 3
    assert merged.gauges["uptime"].value == 10
    assert merged.histograms["h"].sum == 7
    assert merged.histograms["h"].count == 2
    assert sum(merged.histograms["h"].buckets) == 2
    assert merged.text_readouts["version"].value == "v10"


def test_first_set_value_counts() -> None:
    first, second = Store(), worker(1, 1, 20)
    first.root.gauge("uptime", per_process=True)
    first.root.text_readout("version")
    merged = merge([first, second])
    assert merged.gauges["uptime"].value == 20
    assert merged.text_readouts["version"].value == "v20"


def test_counters_never_go_back() -> None:
    dead = Snapshot()
    dead.add_totals(worker(5, 3, 1))
    merged = merge([dead, worker(1, 1, 2)])
    assert merged.counters["a.total"].value == 6
    assert merged.gauges["a.active"].value == 1
    assert merged.histograms["h"].count == 2
    assert merged.text_readouts["version"].value == "v2"


def test_a_snapshot_is_apart_from_its_store() -> None:
    store = worker(1, 1, 1)
    snapshot = take(store)
    store.counters["a.total"].inc()
    store.histograms["h"].record(1)
    assert snapshot.counters["a.total"].value == 1
    assert snapshot.histograms["h"].count == 1
    assert sum(snapshot.histograms["h"].buckets) == 1


def test_used_is_kept() -> None:
    store = Store()
    store.root.counter("a")
    used = Store()
    used.root.counter("a").add(0)
    assert not take(store).counters["a"].used
    assert merge([store, used]).counters["a"].used


def test_histograms_with_other_bounds_are_not_added() -> None:
    one, other = Store(bounds_for=lambda name: (1, 2)), Store(bounds_for=lambda name: (3,))
    one.root.histogram("h").record(1)
    other.root.histogram("h").record(1)
    assert merge([one, other]).histograms["h"].buckets == [1, 0, 0]


def test_pickle() -> None:
    snapshot = take(worker(2, 3, 4))
    copy = pickle.loads(pickle.dumps(snapshot))
    assert copy.counters["a.total"].value == 2
    assert copy.gauges["uptime"].per_process
    assert copy.histograms["h"].bounds == snapshot.histograms["h"].bounds
