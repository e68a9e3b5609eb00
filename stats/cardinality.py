"""Which metrics make the most series, and which of their labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from stats.metrics import Counter, Gauge, Histogram, StatKey
from stats.prometheus_families import labels_of, metric_name
from stats.render import EVERYTHING, Selection, in_slices
from stats.snapshot import StatsSource

_S = TypeVar("_S", Counter, Gauge, Histogram)

#: Labels with one value make no series; the text names no more of them than this.
_MOST_SINGLE: Final = 3
#: A histogram has one for each bucket, `+Inf` among them, and `_sum` and `_count`.
_MORE_THAN_BUCKETS: Final = 2


@dataclass(slots=True)
class MetricCardinality:
    """`label_sets` is how many stats share the name, `series` how many lines they are on the Prometheus page."""

    name: str
    label_sets: int = 0
    series: int = 0
    values: dict[str, set[str]] = field(default_factory=dict)

    def labels(self) -> list[tuple[str, int]]:
        """Labels and how many values they have, the most first."""
        counts = [(label, len(values)) for label, values in self.values.items()]
        return sorted(counts, key=lambda each: (-each[1], each[0]))


class Cardinality:
    """All metrics of a source. Iterate over `count` until it ends."""

    def __init__(self, source: StatsSource, selection: Selection = EVERYTHING) -> None:
        self._source = source
        self._selection = selection
        self._metrics: dict[str, MetricCardinality] = {}

    def count(self) -> Iterator[None]:
        """None is a pause."""
        yield from self._count(self._source.counters)
        yield from self._count(self._source.gauges)
        yield from self._count(self._source.histograms)

    def _count(self, table: Mapping[StatKey, _S]) -> Iterator[None]:
        for batch in self._selection.batches(table):
            for stat in batch:
                self._add(stat)
            yield None

    def _add(self, stat: Counter | Gauge | Histogram) -> None:
        name = metric_name(stat.tag_extracted_name)
        if not name:
            return
        metric = self._metrics.get(name)
        if metric is None:
            metric = self._metrics[name] = MetricCardinality(name)
        metric.label_sets += 1
        metric.series += len(stat.buckets) + _MORE_THAN_BUCKETS if isinstance(stat, Histogram) else 1
        for label, value in labels_of(stat.tags):
            metric.values.setdefault(label, set()).add(value)

    @property
    def metrics(self) -> int:
        return len(self._metrics)

    @property
    def series(self) -> int:
        return sum(metric.series for metric in self._metrics.values())

    def top(self, count: int) -> list[MetricCardinality]:
        """The metrics with the most series."""
        return sorted(self._metrics.values(), key=lambda metric: (-metric.series, metric.name))[:count]


def render_text(
    source: StatsSource, selection: Selection = EVERYTHING, top: int = 20, ceiling: int = 0
) -> Iterator[str]:
    """For people, in slices; "" is a pause. `ceiling` is that of Istio's metrics."""
    return in_slices(_text(Cardinality(source, selection), top, ceiling))


def _text(cardinality: Cardinality, top: int, ceiling: int) -> Iterator[str]:
    for _ in cardinality.count():
        yield ""
    yield f"{cardinality.series} series of {cardinality.metrics} metrics"
    yield f"; an Istio metric has at most {ceiling} label sets\n\n" if ceiling else "\n\n"
    found = cardinality.top(top)
    width = max([len(metric.name) for metric in found], default=0)
    yield f"{'metric':{width}}  {'series':>8}  {'label sets':>10}  labels by number of values\n"
    for metric in found:
        yield (
            f"{metric.name:{width}}  {metric.series:8}  {metric.label_sets:10}  {_labels(metric)}".rstrip()
            + "\n"
        )


def _labels(metric: MetricCardinality) -> str:
    labels = metric.labels()
    single = [label for label, count in labels if count == 1]
    rest: list[str] = []
    if len(single) > _MOST_SINGLE:
        labels = labels[: -len(single)]
        rest = [f"and {len(single)} with one value"]
    return ", ".join([f"{label} {count}" for label, count in labels] + rest)


def render_json(
    source: StatsSource, selection: Selection = EVERYTHING, top: int = 20, ceiling: int = 0
) -> Iterator[str]:
    """The same for programs."""
    return in_slices(_json(Cardinality(source, selection), top, ceiling))


def _json(cardinality: Cardinality, top: int, ceiling: int) -> Iterator[str]:
    for _ in cardinality.count():
        yield ""
    yield json.dumps(
        {
            "series": cardinality.series,
            "metrics": cardinality.metrics,
            "max_label_sets": ceiling,
            "top": [
                {
                    "name": metric.name,
                    "series": metric.series,
                    "label_sets": metric.label_sets,
                    "labels": [{"name": label, "values": count} for label, count in metric.labels()],
                }
                for metric in cardinality.top(top)
            ],
        }
    )
