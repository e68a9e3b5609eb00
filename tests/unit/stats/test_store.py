from __future__ import annotations

import pytest

from stats.metrics import USED_BEFORE, Tags
from stats.render import Selection
from stats.snapshot import merge
from stats.store import Store, sanitize


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("a.b", "a.b"),
        ("0.0.0.0:80", "0.0.0.0_80"),
        ("[::1]:80", "[__1]_80"),
        ("http://x:/y", "http_x_y"),
        (".a.", "a"),
        ("a\0b", "a_b"),
        ("outbound|80||h;", "outbound|80||h;"),
        ("", ""),
    ],
)
def test_sanitize(name: str, clean: str) -> None:
    assert sanitize(name) == clean


def test_same_name_same_handle() -> None:
    store = Store()
    one, two = store.scope("a:b"), store.scope("a_b.")
    assert one.counter("x") is two.counter("x")
    assert one.counter("x") is one.counter("x")
    assert one.gauge("x") is two.gauge("x")
    assert one.histogram("x", "ms") is two.histogram("x", "ms")
    assert one.text_readout("x") is two.text_readout("x")
    assert sorted(stat.name for stat in store) == ["a_b.x"] * 4


def test_verbatim_keeps_colons() -> None:
    assert Store().scope("http.a:b.", verbatim=True).counter("x").name == "http.a:b.x"


def test_names_of_nested_scopes() -> None:
    scope = Store().scope("listener").scope("1.2.3.4:80").scope("http.in")
    assert scope.counter("rq").name == "listener.1.2.3.4_80.http.in.rq"


def test_empty_scope_name_adds_nothing() -> None:
    assert Store().scope("").scope("a").scope("").counter("b").name == "a.b"


def test_extractor_is_asked_once_for_each_stat() -> None:
    asked: list[str] = []

    def extract(name: str) -> tuple[str, Tags]:
        asked.append(name)
        return "short", (("t", "v"),)

    store = Store(extract)
    stat = store.scope("a").counter("b")
    assert store.scope("a").counter("b") is stat
    assert asked == ["a.b"]
    assert (stat.name, stat.tag_extracted_name, stat.tags) == ("a.b", "short", (("t", "v"),))


def test_given_tags() -> None:
    def extract(name: str) -> tuple[str, Tags]:
        raise AssertionError(name)

    scope = Store(extract).scope("ns")
    tags = (("a", "1.2"), ("b", ""))
    counter = scope.tagged_counter("m", tags)
    assert (counter.name, counter.tag_extracted_name, counter.tags) == ("ns.m.a.1.2.b.", "ns.m", tags)
    assert scope.tagged_counter("m", tags) is counter
    assert scope.tagged_gauge("m", tags, per_process=True).per_process
    assert scope.tagged_histogram("m", tags, "bytes").unit == "bytes"


def test_bounds_are_chosen_by_full_name() -> None:
    store = Store(bounds_for=lambda name: (1,) if name == "a.h.t.v" else (2,))
    assert store.scope("a").tagged_histogram("h", (("t", "v"),)).bounds == (1,)
    assert store.scope("b").histogram("h").bounds == (2,)


def test_rejected_stats_count_but_are_not_listed() -> None:
    store = Store(rejects=lambda name: name.startswith("a."))
    scope = store.scope("a")
    counter = scope.counter("x")
    counter.inc()
    assert scope.counter("x") is counter
    assert counter.value == 1
    assert list(store) == []
    assert store.find("a.x") is None
    scope.retire()
    assert list(store) == []


def test_values_of_rejected_histograms_go_nowhere() -> None:
    store = Store(rejects=lambda name: name.startswith("a."))
    told: list[str] = []
    store.watch_histograms(lambda histogram, value: told.append(histogram.name))
    store.root.histogram("a.x").record(1)
    store.root.histogram("b").record(1)
    assert told == ["b"]


def test_find() -> None:
    store = Store()
    stats = [
        store.root.counter("c"),
        store.root.gauge("g"),
        store.root.histogram("h"),
        store.root.text_readout("t"),
    ]
    assert [store.find(stat.name) for stat in stats] == stats


def test_retire_takes_the_scope_and_those_below() -> None:
    store = Store()
    scope = store.scope("a")
    counter = scope.counter("x")
    scope.scope("b").gauge("y")
    scope.scope("b").text_readout("z")
    scope.histogram("h")
    other = store.scope("c").counter("x")
    scope.retire()
    assert list(store) == [other]
    counter.inc()
    assert counter.value == 1
    assert store.scope("a").counter("x") is not counter


def test_a_shared_stat_lives_until_its_last_scope_is_retired() -> None:
    store = Store()
    scopes = [store.scope("a") for _ in range(3)]
    counters = [scope.counter("x") for scope in scopes]
    assert len(set(map(id, counters))) == 1
    for scope in scopes:
        assert list(store) == [counters[0]]
        scope.retire()
    assert list(store) == []


def test_retired_child_is_not_retired_twice() -> None:
    store = Store()
    parent = store.scope("a")
    child, twin = parent.scope("b"), store.scope("a.b")
    stat = child.counter("x")
    assert twin.counter("x") is stat
    child.retire()
    parent.retire()
    assert list(store) == [stat]


def test_series_in_use() -> None:
    store = Store(rejects=lambda name: "hidden" in name)
    scope, second = store.scope("s"), store.scope("s")
    tags, other = (("a", "1"),), (("a", "2"),)
    scope.tagged_counter("c", tags)
    second.tagged_counter("c", tags)
    scope.tagged_histogram("h", tags)
    scope.tagged_counter("hidden", other)
    scope.counter("plain")
    assert store.series == {"s.c": {tags}, "s.h": {tags}, "s.hidden": {other}}
    scope.retire()
    assert store.series == {"s.c": {tags}}
    second.retire()
    assert store.series == {}


def test_values_with_dots_make_no_two_series_one() -> None:
    store = Store()
    scope = store.scope("s")
    first, second = (("a", "x.b.y"), ("b", "z")), (("a", "x"), ("b", "y.b.z"))
    counters = [scope.tagged_counter("c", tags) for tags in (first, second)]
    assert counters[0].name == counters[1].name == "s.c.a.x.b.y.b.z"
    plain = scope.counter("c.a.x.b.y.b.z")
    assert [counter.tags for counter in store.counters.values()] == [first, second, ()]
    assert store.find(("s.c", second)) is counters[1]
    assert store.find(plain.name) is plain
    counters[0].inc()
    merged = merge([store, store])
    assert [counter.value for counter in merged.counters.values()] == [2, 0, 0]
    scope.evict_unused()
    assert list(store) == [counters[0]]


def test_evict_unused() -> None:
    store = Store()
    scope = store.scope("ns")
    used, unused = scope.counter("used"), scope.counter("unused")
    used.inc()
    scope.evict_unused()
    assert list(store) == [used]
    assert used.used == USED_BEFORE
    assert Selection(used_only=True).of([used]) == [used]
    assert scope.generation == 1
    scope.evict_unused()
    assert list(store) == []
    assert scope.counter("unused") is not unused


def test_reset_counters() -> None:
    store = Store()
    counter, gauge = store.root.counter("c"), store.root.gauge("g")
    counter.add(3)
    gauge.set(3)
    store.reset_counters()
    assert (counter.value, counter.used, gauge.value) == (0, True, 3)
