from __future__ import annotations

from stats.metrics import Counter
from stats.prometheus_families import Families, Page, PageOptions, label_name, labels_of, metric_name
from stats.render import BATCH_STATS, Selection, compile_filter
from stats.store import Store
from stats.tags import TagProducer


def grouped(store: Store, **options: object) -> Page:
    page = Page(store, PageOptions(**options))  # type: ignore[arg-type]
    for _ in page.group():
        pass
    return page


def values(families: Families[Counter]) -> dict[str, list[int]]:
    return {
        name: [stat.value for stat in families.series(name) if stat is not None] for name in families.names()
    }


def test_more_names() -> None:
    assert metric_name("a.b-c d;e") == "envoy_a_b_c_d_e"
    assert metric_name("istiocustom") == "envoy_istiocustom"
    assert metric_name("istiocustom.") == ""
    assert metric_name("wasmcustom.x", frozenset({"wasmcustom"})) == "x"


def test_labels_equal_after_sanitising() -> None:
    assert labels_of((("a.b", "1"), ("a_b", "2"), ("9", "3"))) == (("a_b", "1"), ("_9", "3"))
    tags = (("b", "1"), ("a", "2"))
    assert labels_of(tags) is tags
    assert labels_of(()) == ()
    assert label_name("envoy.cluster_name") == "envoy_cluster_name"


def test_families_and_series_are_in_order() -> None:
    store = Store(TagProducer())
    for number, name in enumerate(("cluster.c-x.b", "cluster.c.b", "cluster.c x.b", "cluster.c.a")):
        store.root.counter(name).add(number)
    page = grouped(store)
    assert values(page.counters) == {"envoy_cluster_a": [3], "envoy_cluster_b": [1, 2, 0]}
    assert page.names == {"envoy_cluster_a", "envoy_cluster_b"}


def test_equal_series_are_one_in_the_place_of_the_first() -> None:
    store = Store(TagProducer())
    for number, prefix in enumerate(("a.b_c", "a.b-c", "a.a"), 1):
        store.root.counter(f"tcp.{prefix}").add(number)
    assert values(grouped(store).counters) == {"envoy_tcp_a": [3], "envoy_tcp_b_c": [3]}


def test_a_large_family_is_in_order_too() -> None:
    store = Store()
    scope = store.scope("istiocustom")
    count = 3 * BATCH_STATS
    for number in range(count):
        at = number * 7919 % count
        scope.tagged_counter("m", (("l", f"{at:05}"),)).add(at)
    assert values(grouped(store).counters) == {"m": list(range(count))}


def test_selection_and_text_readouts() -> None:
    store = Store()
    store.root.counter("a").inc()
    store.root.counter("b").inc()
    store.root.text_readout("t").set("x")
    page = grouped(store, selection=Selection(matches=compile_filter("a")))
    assert page.counters.names() == ["envoy_a"]
    assert page.text_readouts.names() == []
    assert grouped(store, text_readouts=True).text_readouts.names() == ["envoy_t"]


def test_a_name_belongs_to_the_first_kind() -> None:
    store = Store()
    store.root.counter("x.y")
    store.root.gauge("x_y")
    page = grouped(store)
    assert page.counters.names() == ["envoy_x_y"]
    assert page.gauges.names() == []
