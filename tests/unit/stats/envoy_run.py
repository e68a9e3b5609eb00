"""Stores filled with the stat names of a recorded Envoy run."""

from __future__ import annotations

from typing import Any

from stats.metrics import Counter, Gauge, Histogram, TextReadout
from stats.store import Store
from stats.tags import TagProducer, TagRule

KIND_NAMES = {Counter: "counter", Gauge: "gauge", Histogram: "histogram", TextReadout: "text"}


def make(store: Store, name: str, kind: str) -> Any:
    root = store.root
    makers = {
        "counter": root.counter,
        "gauge": root.gauge,
        "histogram": root.histogram,
        "text": root.text_readout,
    }
    return makers[kind](name)


def producer_of(run: dict[str, Any]) -> TagProducer:
    return TagProducer([TagRule(**tag) for tag in run["stats_tags"]])


def store_of(run: dict[str, Any]) -> Store:
    store = Store(producer_of(run))
    for name, kind in run["stats"]:
        make(store, name, kind)
    return store
