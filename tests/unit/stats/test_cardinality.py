from __future__ import annotations

import json

from stats.cardinality import render_json, render_text
from stats.render import Selection, compile_filter
from stats.store import Store
from stats.tags import TagProducer


def crowded() -> Store:
    store = Store(TagProducer())
    scope = store.scope("istiocustom")
    for number in range(30):
        tags = (("reporter", "source"), ("host", f"h{number}"), ("code", str(number % 3)))
        scope.tagged_counter("istio_requests_total", tags)
        if number < 10:
            scope.tagged_histogram("istio_request_bytes", tags)
    for name in ("a", "b"):
        store.root.gauge(f"cluster.{name}.upstream_cx_active")
    store.root.text_readout("not.on.the.page")
    return store


def test_text() -> None:
    assert "".join(render_text(crowded(), ceiling=2000)) == (
        "252 series of 3 metrics; an Istio metric has at most 2000 label sets\n\n"
        "metric                              series  label sets  labels by number of values\n"
        "istio_request_bytes                    220          10  host 10, code 3, reporter 1\n"
        "istio_requests_total                    30          30  host 30, code 3, reporter 1\n"
        "envoy_cluster_upstream_cx_active         2           2  envoy_cluster_name 2\n"
    )


def test_text_counts_labels_with_one_value() -> None:
    store = Store(TagProducer())
    for code in ("200", "404"):
        same = tuple((f"label{number}", "x") for number in range(4))
        store.scope("istiocustom").tagged_counter("istio_requests_total", (("code", code), *same))
    *_, line = "".join(render_text(store)).splitlines()
    assert line == "istio_requests_total         2           2  code 2, and 4 with one value"
    (found,) = json.loads("".join(render_json(store)))["top"]
    assert len(found["labels"]) == 5


def test_json() -> None:
    found = json.loads("".join(render_json(crowded(), top=1, ceiling=7)))
    assert found == {
        "series": 252,
        "metrics": 3,
        "max_label_sets": 7,
        "top": [
            {
                "name": "istio_request_bytes",
                "series": 220,
                "label_sets": 10,
                "labels": [
                    {"name": "host", "values": 10},
                    {"name": "code", "values": 3},
                    {"name": "reporter", "values": 1},
                ],
            }
        ],
    }


def test_selection_and_nothing() -> None:
    text = "".join(render_text(crowded(), Selection(matches=compile_filter("requests_total"))))
    assert text.startswith("30 series of 1 metrics\n")
    assert "".join(render_text(Store())).startswith("0 series of 0 metrics\n")
    assert json.loads("".join(render_json(Store())))["top"] == []
