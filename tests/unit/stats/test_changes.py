"""What has changed since the last look, and what comes of it at the other end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stats.changes import ChangeLog, Changes, apply
from stats.snapshot import Snapshot
from stats.store import Store

_NAMES = st.sampled_from("abcd")
_STEPS = st.lists(
    st.tuples(st.sampled_from(["count", "level", "record", "text", "retire", "look"]), _NAMES), max_size=60
)


def seen(values: Snapshot) -> dict[str, object]:
    return {
        **{name: stat.value for name, stat in values.counters.items()},
        **{name: stat.value for name, stat in values.gauges.items()},
        **{name: (stat.count, stat.sum, tuple(stat.buckets)) for name, stat in values.histograms.items()},
        **{name: stat.value for name, stat in values.text_readouts.items()},
    }


def used(store: Store) -> dict[str, object]:
    listed = Snapshot(store.counters, store.gauges, store.histograms, store.text_readouts)
    unused = {stat.name for stat in store if not stat.used}
    return {name: value for name, value in seen(listed).items() if name not in unused}


@given(_STEPS)
def test_the_other_end_has_what_is_used(steps: list[tuple[str, str]]) -> None:
    store = Store()
    log = ChangeLog(store)
    known = Snapshot()
    scopes = {}
    for number, (step, name) in enumerate(steps):
        scope = scopes.setdefault(name, store.scope(name))
        if step == "count":
            scope.counter("counter").inc()
        elif step == "level":
            scope.gauge("gauge").set(number % 3)
        elif step == "record":
            scope.histogram("histogram").record(number)
        elif step == "text":
            scope.text_readout("text").set(str(number % 3))
        elif step == "retire":
            scopes.pop(name).retire()
        else:
            known = apply(known, log.take())
            assert seen(known) == used(store)


def test_only_what_has_changed_is_told() -> None:
    store = Store()
    moving, still = store.root.counter("moving"), store.root.counter("still")
    log = ChangeLog(store)
    moving.inc()
    still.inc()
    assert set(seen(log.take().values)) == {"moving", "still"}
    moving.inc()
    assert seen(log.take().values) == {"moving": 2}
    assert log.take() == Changes()


def test_what_there_was_before_counts_as_told() -> None:
    store = Store()
    store.root.gauge("members").set(3)
    log = ChangeLog(store)
    assert seen(log.take().values) == {}
    store.root.gauge("members").set(2)
    assert seen(log.take().values) == {"members": 2}
    store.root.gauge("members").set(3)
    assert seen(log.take().values) == {"members": 3}


def test_values_are_copies() -> None:
    store = Store()
    log = ChangeLog(store)
    counter, histogram = store.root.counter("c"), store.root.histogram("h")
    counter.inc()
    histogram.record(1)
    changes = log.take()
    counter.inc()
    histogram.record(1)
    assert (changes.values.counters["c"].value, sum(changes.values.histograms["h"].buckets)) == (1, 1)


def test_after_a_reset_all_are_told_again() -> None:
    """Who hears may have missed what was told just before; a counter that has come to the same value again is told, too."""
    store = Store()
    log = ChangeLog(store)
    counter = store.root.counter("c")
    counter.inc()
    log.take()
    store.reset_counters()
    log.counters_were_reset()
    counter.inc()
    assert seen(log.take().values) == {"c": 1}
    gone = store.scope("s")
    gone.counter("d").inc()
    log.take()
    log.counters_were_reset()
    gone.retire()
    assert log.take().gone == ("s.d",)


def test_a_histogram_that_has_begun_anew_and_come_to_the_same_count() -> None:
    store = Store()
    log = ChangeLog(store)
    for value in (0, 3):
        scope = store.scope("s")
        scope.histogram("h").record(value)
        assert seen(log.take().values) == used(store)
        scope.retire()


def test_what_has_gone_is_taken_off() -> None:
    known = Snapshot(counters={"c": Store().root.counter("c")}, gauges={"g": Store().root.gauge("g")})
    after = apply(known, Changes(gone=("c",)))
    assert (set(after.counters), set(after.gauges), set(known.counters)) == (set(), {"g"}, {"c"})
