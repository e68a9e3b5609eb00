"""What in the configuration of `istio_stats` has no effect and does not say so: Istio and Envoy take it in silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from config.errors import Remark
from config.expression import ExpressionError, parse_expression
from config.model.istio import IstioStatsSpec, MetricConfig, MetricDefinition, MetricType
from config.spelling import did_you_mean
from sidecar.expressions.spelling import misspelt
from stats.istio import HTTP_LABELS, STANDARD_METRICS

#: What stands in front of all names where they are printed.
_PREFIX: Final = "istio_"
_STANDARD_HISTOGRAMS: Final = tuple(name for name in STANDARD_METRICS if not name.endswith("_total"))
#: What the series of a histogram end in.
_SUFFIXES: Final = ("_bucket", "_count", "_sum")


def review_istio_stats(spec: IstioStatsSpec) -> Iterator[Remark]:
    """Misspelt names of metrics, labels and attributes; definitions that clash."""
    names = {*STANDARD_METRICS, *(each.name for each in spec.definitions)}
    for at, metric in enumerate(spec.metrics):
        yield from _of_metric(metric, ("metrics", at), names)
    yield from _of_definitions(spec.definitions)


def _of_metric(metric: MetricConfig, at: tuple[str | int, ...], names: set[str]) -> Iterator[Remark]:
    if metric.name and metric.name not in names:
        guess = did_you_mean(metric.name.removeprefix(_PREFIX), names)
        yield Remark((*at, "name"), f"has no effect: there is no metric '{metric.name}'{guess}")
    for label, text in metric.dimensions:
        for problem in _misspelt(text):
            yield Remark((*at, "dimensions"), f"the label will say unknown: {problem}", label)
    for index, label in enumerate(metric.tags_to_remove):
        if label not in HTTP_LABELS:
            reason = f"has no effect: there is no standard label '{label}'{did_you_mean(label, HTTP_LABELS)}"
            yield Remark((*at, "tags_to_remove", index), reason)
    for problem in _misspelt(metric.match):
        yield Remark((*at, "match"), problem)


def _misspelt(text: str) -> tuple[str, ...]:
    try:
        return misspelt(parse_expression(text)) if text else ()
    except ExpressionError:  # it has been told already
        return ()


def _of_definitions(definitions: tuple[MetricDefinition, ...]) -> Iterator[Remark]:
    histograms = {
        *_STANDARD_HISTOGRAMS,
        *(each.name for each in definitions if each.type is MetricType.HISTOGRAM),
    }
    seen: set[str] = set()
    for index, definition in enumerate(definitions):
        name = definition.name
        at = ("definitions", index, "name")
        if not name:
            yield Remark(at[:2], f"the name is empty: the metric will be called {_PREFIX}")
        elif name in STANDARD_METRICS:
            yield Remark(at, f"left out: {_PREFIX}{name} is a standard metric")
        elif name in seen:
            yield Remark(at, f"'{name}' is defined twice: the last definition counts")
        seen.add(name)
        for problem in _misspelt(definition.value):
            yield Remark(("definitions", index, "value"), f"nothing will be counted: {problem}")
        for suffix in _SUFFIXES:
            if name.endswith(suffix) and name.removesuffix(suffix) in histograms:
                owner = f"{_PREFIX}{name.removesuffix(suffix)}"
                yield Remark(
                    at, f"{_PREFIX}{name} is also a series of the histogram {owner}: use another name"
                )
