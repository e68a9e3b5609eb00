from __future__ import annotations

import json
import re

import pytest

from stats.admin_text import BucketMode, StatKind, parse_bucket_mode, parse_kind, render_json, render_text
from stats.render import Selection, compile_filter
from stats.store import Store
from tests.unit.stats.test_prometheus import exact_store
from tests.vectors import load_vectors

EXACT = load_vectors("envoy_stats.json")["exact"]


def without_quantiles(text: str) -> str:
    """Quantiles are estimates of different kinds here and there."""
    return re.sub(r"\(nan,[^)]*\)", "()", text)


def mixed_store() -> Store:
    store = Store()
    store.root.gauge("b.gauge").set(2)
    store.root.counter("c.counter").add(3)
    store.root.counter("a.counter")
    store.root.text_readout("z.text").set("hé")
    store.root.histogram("m.used").record(0.75)
    store.root.histogram("m.unused")
    return store


def test_text_equals_envoys() -> None:
    store = exact_store()
    assert without_quantiles("".join(render_text(store))) == without_quantiles(EXACT["text"])
    used = Selection(used_only=True)
    assert without_quantiles("".join(render_text(store, used))) == without_quantiles(EXACT["text_used"])
    for mode in (BucketMode.CUMULATIVE, BucketMode.DISJOINT):
        assert "".join(render_text(store, bucket_mode=mode)) == EXACT[f"text_{mode.value}"]


def test_json_equals_envoys() -> None:
    store = exact_store()
    for mode in (BucketMode.CUMULATIVE, BucketMode.DISJOINT):
        assert "".join(render_json(store, bucket_mode=mode)) == EXACT[f"json_{mode.value}"]
    ours, envoys = "".join(render_json(store)), EXACT["json"]
    number = re.compile(r'"cumulative":[\d.e+-]+')
    assert number.sub('"cumulative":0', ours) == number.sub('"cumulative":0', envoys)


def test_order_of_text() -> None:
    assert "".join(render_text(mixed_store())) == (
        'z.text: "hé"\n'
        "a.counter: 0\n"
        "b.gauge: 2\n"
        "c.counter: 3\n"
        "m.unused: No recorded values\n"
        "m.used: P0(nan,0.5) P25(nan,0.625) P50(nan,0.75) P75(nan,0.875) P90(nan,0.95) P95(nan,0.975)"
        " P99(nan,0.995) P99.5(nan,0.9975) P99.9(nan,0.9995) P100(nan,1)\n"
    )


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (StatKind.ALL, ["z.text", "a.counter", "b.gauge", "c.counter", "m.unused", "m.used"]),
        (StatKind.COUNTERS, ["a.counter", "c.counter"]),
        (StatKind.GAUGES, ["b.gauge"]),
        (StatKind.HISTOGRAMS, ["m.unused", "m.used"]),
        (StatKind.TEXT_READOUTS, ["z.text"]),
    ],
)
def test_kinds(kind: StatKind, names: list[str]) -> None:
    lines = "".join(render_text(mixed_store(), kind=kind)).splitlines()
    assert [line.partition(": ")[0] for line in lines] == names
    stats = json.loads("".join(render_json(mixed_store(), kind=kind)))["stats"]
    found = [stat["name"] for stat in stats if "name" in stat]
    for stat in stats:
        if "histograms" in stat:
            found += [each["name"] for each in stat["histograms"]["computed_quantiles"]]
    assert found == names


def test_readiness_questions_of_the_agent() -> None:
    store = Store()
    store.root.counter("cluster_manager.cds.update_success").inc()
    store.root.counter("cluster_manager.cds.update_rejected")
    store.root.gauge("server.state").set(0)
    store.root.gauge("listener_manager.workers_started").set(1)
    first = Selection(
        True,
        compile_filter(r"^(cluster_manager\.cds|listener_manager\.lds)\.(update_success|update_rejected)$"),
    )
    assert "".join(render_text(store, first)) == "cluster_manager.cds.update_success: 1\n"
    second = Selection(True, compile_filter(r"^(server\.state|listener_manager\.workers_started)"))
    assert "".join(render_text(store, second)) == "listener_manager.workers_started: 1\nserver.state: 0\n"


def test_detailed() -> None:
    store = Store(bounds_for=lambda name: (1, 5))
    for value in (0.5, 3, 3, 100):
        store.root.histogram("h").record(value)
    store.root.histogram("unused")
    text = "".join(render_text(store, bucket_mode=BucketMode.DETAILED))
    assert text.startswith("h:\n  totals=0,1:1, 1,4:2, 5,0:1\n  intervals=\n  summary=P0(nan,0) P25(nan,1) ")
    assert text.endswith("unused: No recorded values\n")
    details = json.loads("".join(render_json(store, bucket_mode=BucketMode.DETAILED)))["stats"][0][
        "histograms"
    ]
    assert details["supported_percentiles"] == [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100]
    assert details["details"][0]["totals"] == [
        {"lower_bound": 0, "width": 1, "count": 1},
        {"lower_bound": 1, "width": 4, "count": 2},
        {"lower_bound": 5, "width": 0, "count": 1},
    ]
    assert details["details"][1]["totals"] == []


def test_empty() -> None:
    assert list(render_text(Store())) == []
    assert "".join(render_json(Store())) == '{"stats":[]}'


def test_odd_names_in_json() -> None:
    store = Store()
    store.root.counter('cluster.é"\\.x').inc()
    assert json.loads("".join(render_json(store)))["stats"] == [{"name": 'cluster.é"\\.x', "value": 1}]


def test_parameters() -> None:
    assert parse_kind(None) is StatKind.ALL
    assert parse_kind("Gauges") is StatKind.GAUGES
    assert parse_bucket_mode(None) is BucketMode.SUMMARY
    assert parse_bucket_mode("none") is BucketMode.SUMMARY
    assert parse_bucket_mode("disjoint") is BucketMode.DISJOINT


def test_parameters_that_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^invalid &type= param$"):
        parse_kind("Foo")
    with pytest.raises(ValueError, match=r"^usage: /stats\?histogram_buckets="):
        parse_bucket_mode("foo")
    with pytest.raises(ValueError, match=r"^Invalid histogram_buckets type for non prometheus stats type$"):
        parse_bucket_mode("prometheusnative")
