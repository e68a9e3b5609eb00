from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from stats import prometheus
from stats.metrics import Counter, Histogram
from stats.processes import Processes
from stats.snapshot import Snapshot, merge, take
from stats.store import Store
from tests.support import prometheus_text


class Worker:
    """A process that is told what to do."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.store = Store()
        self.scope = self.store.root.scope("istiocustom", evictable=True)

    def count(self, name: str, amount: int) -> None:
        self.scope.counter(name).add(amount)
        self.scope.histogram(name + "_ms").record(amount)
        self.store.root.counter(f"plain.{name}").add(amount)
        self.store.root.gauge("level").add(1)


def evictable(stat: Counter | Histogram) -> bool:
    return stat.name.startswith("istiocustom.")


def values(snapshot: Snapshot) -> dict[str, int]:
    """Counters, and the counts of histograms."""
    found = {name: counter.value for name, counter in snapshot.counters.items()}
    return found | {name: histogram.count for name, histogram in snapshot.histograms.items()}


def test_a_restarted_worker_takes_nothing_back() -> None:
    processes = Processes()
    first, second = Worker(1), Worker(2)
    first.count("a", 5)
    second.count("a", 7)
    processes.update(1, take(first.store))
    processes.update(2, take(second.store))
    processes.ended(1)
    assert processes.merged().counters["istiocustom.a"].value == 12
    assert processes.merged().gauges["level"].value == 1
    again = Worker(3)
    again.count("a", 1)
    processes.update(3, take(again.store))
    assert processes.merged().counters["istiocustom.a"].value == 13
    assert processes.merged().histograms["istiocustom.a_ms"].count == 3
    processes.ended("unknown")


def test_a_late_worker_is_as_it_was() -> None:
    processes = Processes()
    worker = Worker(1)
    worker.count("a", 5)
    processes.update(1, take(worker.store))
    worker.count("a", 5)
    assert processes.merged().counters["istiocustom.a"].value == 5


def test_what_one_worker_evicts_others_go_on_showing() -> None:
    processes = Processes()
    workers = Worker(1), Worker(2)
    for worker in workers:
        worker.count("a", 5)
        processes.update(worker.number, take(worker.store))
    workers[0].scope.retire()
    processes.update(1, take(workers[0].store))
    assert processes.merged().counters["istiocustom.a"].value == 10
    workers[0].count("a", 2)  # it begins anew
    processes.update(1, take(workers[0].store))
    assert processes.merged().counters["istiocustom.a"].value == 12


def test_what_all_evict_is_gone_and_begins_at_nothing() -> None:
    processes = Processes()
    workers = Worker(1), Worker(2)
    for worker in workers:
        worker.count("a", 5)
        processes.update(worker.number, take(worker.store))
    dead = Worker(3)
    dead.count("a", 100)
    processes.update(3, take(dead.store))
    processes.ended(3)
    for worker in workers:
        worker.scope.retire()
        processes.update(worker.number, take(worker.store))
    assert "istiocustom.a" not in processes.merged().counters
    assert "istiocustom.a_ms" not in processes.merged().histograms
    assert processes.merged().counters["plain.a"].value == 110
    workers[0].count("a", 1)
    processes.update(1, take(workers[0].store))
    assert processes.merged().counters["istiocustom.a"].value == 1


def test_what_only_dead_ones_had_expires() -> None:
    processes = Processes()
    dead, living = Worker(1), Worker(2)
    dead.count("a", 5)
    dead.count("b", 5)
    processes.update(1, take(dead.store))
    processes.ended(1)
    processes.expire(evictable)
    assert "istiocustom.a" in processes.merged().counters
    living.count("b", 1)
    processes.update(2, take(living.store))
    processes.expire(evictable)
    merged = values(processes.merged())
    assert "istiocustom.a" not in merged
    assert "istiocustom.a_ms" not in merged
    assert (merged["istiocustom.b"], merged["plain.a"]) == (6, 5)


def test_reset_counters() -> None:
    processes = Processes()
    dead, living = Worker(1), Worker(2)
    for worker in (dead, living):
        worker.count("a", 5)
        processes.update(worker.number, take(worker.store))
    processes.ended(1)
    processes.reset_counters()
    living.store.reset_counters()
    living.count("a", 1)
    processes.update(2, take(living.store))
    assert processes.merged().counters["istiocustom.a"].value == 1


steps = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.integers(0, 2), st.sampled_from("abc"), st.integers(0, 1000)),
        st.tuples(
            st.sampled_from(["report", "restart", "evict"]), st.integers(0, 2), st.just(""), st.just(0)
        ),
        st.tuples(st.sampled_from(["expire"]), st.just(0), st.just(""), st.just(0)),
    ),
    max_size=60,
)


@given(steps)
@hypothesis_settings(max_examples=200)
def test_values_never_go_back_whatever_happens(actions: list[tuple[str, int, str, int]]) -> None:
    """Plain counters are the sum of all that was reported; a series that is shown twice in a row has not gone down."""
    processes = Processes()
    workers = {number: Worker(number) for number in range(3)}
    keys = {number: number for number in range(3)}
    counted = dict.fromkeys("abc", 0)
    shown: dict[str, int] = {}
    for action, number, name, amount in actions:
        worker = workers[number]
        if action == "count":
            worker.count(name, amount)
            counted[name] += amount
        elif action == "evict":
            worker.store.evict_unused()
        elif action == "expire":
            processes.expire(evictable)
        if action == "restart":
            processes.update(keys[number], take(worker.store))
            processes.ended(keys[number])
            keys[number] += 3
            workers[number] = Worker(number)
        elif action != "expire":
            processes.update(keys[number], take(worker.store))
        merged = processes.merged()
        now = values(merged)
        assert all(now[key] >= before for key, before in shown.items() if key in now)
        assert all(key in now for key in shown if key.startswith("plain."))
        shown = now
        for histogram in merged.histograms.values():
            assert sum(histogram.buckets) == histogram.count
        for each, total in counted.items():
            assert now.get(f"plain.{each}", 0) == total
    prometheus_text.parse("".join(prometheus.render(processes.merged())))


recordings = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 10**7)), max_size=20)


@given(st.lists(recordings, min_size=2, max_size=4), st.randoms())
def test_merging_is_adding_in_any_order_and_grouping(parts: list[list[tuple[str, int]]], random: Any) -> None:
    snapshots = []
    for part in parts:
        worker = Worker(0)
        for name, amount in part:
            worker.count(name, amount)
            if amount % 3 == 0:
                worker.scope.histogram(name + "_ms").keep_fine()
            if amount % 2:
                worker.scope.histogram(name + "_ms").record_traced(amount, "t", "s", float(amount))
        snapshots.append(take(worker.store))
    whole = merge(snapshots)
    shuffled = random.sample(snapshots, len(snapshots))
    grouped = merge([merge(shuffled[:1]), merge(shuffled[1:])])
    assert values(whole) == values(grouped)
    for name, histogram in whole.histograms.items():
        other = grouped.histograms[name]
        assert histogram.buckets == other.buckets
        assert histogram.sum == pytest.approx(other.sum)
        assert (histogram.fine is None) == (other.fine is None)
        if histogram.fine is not None:
            assert sum(histogram.fine.values()) <= histogram.count
        times = [exemplar and exemplar.time_s for exemplar in histogram.exemplars or ()]
        assert times == [exemplar and exemplar.time_s for exemplar in other.exemplars or ()]
    assert values(whole) == values(merge(snapshots))  # merging has changed nothing that it was given
