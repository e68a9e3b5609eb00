from __future__ import annotations

from collections.abc import Iterable

import pytest

from stats.render import BATCH_STATS
from stats.snapshot import take
from stats.statsd import Datagrams, Deltas, StatsdLines, TagStyle
from stats.store import Store
from stats.tags import TagProducer


class Sink:
    def __init__(self, style: TagStyle = TagStyle.IN_NAME) -> None:
        self.lines = StatsdLines("envoy", style)
        self.sent: list[bytes] = []

    def send(self, lines: Iterable[bytes]) -> None:
        self.sent += lines

    def take(self) -> list[str]:
        sent, self.sent = self.sent, []
        return sorted(line.decode() for line in sent)


def flush(deltas: Deltas, store: Store, *sinks: Sink) -> None:
    for _ in deltas.flush(store, sinks):
        pass


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        (TagStyle.IN_NAME, "envoy.cluster.a_b.upstream_rq_200:3|c"),
        (TagStyle.DOGSTATSD, "envoy.cluster.upstream_rq:3|c|#envoy.response_code:200,envoy.cluster_name:a_b"),
        (TagStyle.GRAPHITE, "envoy.cluster.upstream_rq;envoy.response_code=200;envoy.cluster_name=a_b:3|c"),
    ],
)
def test_styles(style: TagStyle, expected: str) -> None:
    store = Store(TagProducer())
    counter = store.root.counter("cluster.a_b.upstream_rq_200")
    assert StatsdLines("envoy", style).counter(counter, 3) == expected.encode()


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        (TagStyle.IN_NAME, "p.istiocustom.m.l.a_b_c,d;e#f=_:1|g"),
        (TagStyle.DOGSTATSD, "p.istiocustom.m:1|g|#l:a:b_c_d_e_f=_"),
        (TagStyle.GRAPHITE, "p.istiocustom.m;l=a:b_c_d_e_f=_:1|g"),
    ],
)
def test_what_would_end_a_line_is_replaced(style: TagStyle, expected: str) -> None:
    store = Store()
    gauge = store.scope("istiocustom").tagged_gauge("m", (("l", "a:b|c,d;e#f=\n"),))
    gauge.set(1)
    assert StatsdLines("p", style).gauge(gauge) == expected.encode()


def test_without_tags() -> None:
    store = Store()
    gauge = store.root.gauge("server.live")
    gauge.set(1)
    for style in TagStyle:
        assert StatsdLines("envoy", style).gauge(gauge) == b"envoy.server.live:1|g"


def test_histograms_are_timers() -> None:
    histogram = Store().root.histogram("h")
    assert StatsdLines("envoy", TagStyle.IN_NAME).histogram(histogram, 12.0) == b"envoy.h:12|ms"


def test_what_came_since_is_known_of_each_when_full_names_are_the_same() -> None:
    store, sink, deltas = Store(), Sink(), Deltas()
    first = store.root.tagged_counter("c", (("a", "x.b.y"), ("b", "z")))
    second = store.root.tagged_counter("c", (("a", "x"), ("b", "y.b.z")))
    for amount in (5, 1):
        first.add(amount)
        second.add(2 * amount)
        flush(deltas, store, sink)
        line = "envoy.c.a.x.b.y.b.z:%d|c"
        assert sink.take() == sorted([line % amount, line % (2 * amount)])


def test_counters_are_sent_as_what_came_since() -> None:
    store, sink, deltas = Store(), Sink(), Deltas()
    counter = store.root.counter("c")
    store.root.counter("unused")
    store.root.gauge("unused_gauge")
    gauge = store.root.gauge("g")
    flush(deltas, store, sink)
    assert sink.take() == []
    counter.add(3)
    gauge.set(7)
    flush(deltas, store, sink)
    assert sink.take() == ["envoy.c:3|c", "envoy.g:7|g"]
    counter.add(2)
    flush(deltas, store, sink)
    assert sink.take() == ["envoy.c:2|c", "envoy.g:7|g"]
    flush(deltas, store, sink)
    assert sink.take() == ["envoy.c:0|c", "envoy.g:7|g"]


def test_after_a_reset_and_after_an_eviction() -> None:
    store, sink, deltas = Store(), Sink(), Deltas()
    scope = store.root.scope("s")
    scope.counter("c").add(5)
    store.root.counter("r").add(5)
    flush(deltas, store, sink)
    scope.retire()
    again = store.scope("s").counter("c")
    again.add(6)
    store.reset_counters()
    again.add(6)
    store.root.counter("r").add(1)
    sink.take()
    flush(deltas, store, sink)
    assert sink.take() == ["envoy.r:1|c", "envoy.s.c:6|c"]


def test_what_is_gone_is_forgotten() -> None:
    store, deltas = Store(), Deltas()
    scope = store.root.scope("s")
    for number in range(10):
        scope.counter(f"c{number}").inc()
    store.root.counter("stays").inc()
    flush(deltas, store)
    scope.retire()
    flush(deltas, store)
    assert set(deltas._last) == {"stays"}


def test_what_is_gone_is_forgotten_in_steps() -> None:
    store, deltas = Store(), Deltas()
    scope = store.root.scope("s")
    for number in range(2 * BATCH_STATS):
        scope.counter(f"c{number}").inc()
    store.root.counter("stays").inc()
    flush(deltas, store)
    scope.retire()
    assert sum(1 for _ in deltas.flush(store, [])) == 1 + 3
    assert set(deltas._last) == {"stays"}


def test_all_sinks_get_the_same_in_steps() -> None:
    store, deltas = Store(), Deltas()
    sinks = Sink(), Sink()
    for number in range(2 * BATCH_STATS + 1):
        store.root.counter(f"c{number}").inc()
    store.root.gauge("g").set(1)
    assert sum(1 for _ in deltas.flush(store, sinks)) == 3 + 1
    first, second = (sink.take() for sink in sinks)
    assert first == second
    assert len(first) == 2 * BATCH_STATS + 2


def test_overlapping_flushes_count_nothing_twice() -> None:
    store, sink, deltas = Store(), Sink(), Deltas()
    for number in range(2 * BATCH_STATS):
        store.root.counter(f"c{number}").add(2)
    first = deltas.flush(store, [sink])
    next(first)
    flush(deltas, store, sink)
    for _ in first:
        pass
    assert sum(int(line.split(b":")[1].split(b"|")[0]) for line in sink.sent) == 2 * 2 * BATCH_STATS


@pytest.mark.parametrize(
    ("max_bytes", "expected"),
    [
        (0, [b"aaaa", b"bbb", b"c", b"dddddddddddd"]),
        (8, [b"aaaa\nbbb", b"c", b"dddddddddddd"]),
        (10, [b"aaaa\nbbb\nc", b"dddddddddddd"]),
        (100, [b"aaaa\nbbb\nc\ndddddddddddd"]),
    ],
)
def test_datagrams(max_bytes: int, expected: list[bytes]) -> None:
    sent: list[bytes] = []
    Datagrams(max_bytes, sent.append).pack([b"aaaa", b"bbb", b"c", b"dddddddddddd"])
    assert sent == expected
    Datagrams(max_bytes, sent.append).pack([])
    assert sent == expected


def test_listeners_of_histograms() -> None:
    store = Store()
    heard: list[tuple[str, float]] = []
    old = store.root.histogram("old")
    old.record(1)
    store.watch_histograms(lambda histogram, value: heard.append((histogram.name, value)))
    old.record(2)
    store.root.histogram("new").record(3)
    store.scope("s").tagged_histogram("t", (("a", "b"),)).record(4)
    assert heard == [("old", 2), ("new", 3), ("s.t.a.b", 4)]


def test_counters_of_several_processes_are_other_objects_each_time() -> None:
    store, sink, deltas = Store(), Sink(), Deltas(copies=True)
    counter = store.root.counter("c")
    for amount, sent in ((3, 3), (4, 4), (0, 0)):
        counter.add(amount)
        for _ in deltas.flush(take(store), [sink]):
            pass
        assert sink.take() == [f"envoy.c:{sent}|c"]
    counter.value = 1  # after a reset
    for _ in deltas.flush(take(store), [sink]):
        pass
    assert sink.take() == ["envoy.c:1|c"]
