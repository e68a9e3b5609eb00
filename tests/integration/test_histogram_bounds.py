"""The bounds of Istio's histograms, from the text of a bootstrap to the page."""

from __future__ import annotations

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from config.bootstrap import ParsedBootstrap, Source, parse_bootstrap
from config.errors import ConfigErrors
from sidecar.worker.stats_config import build_store
from stats import prometheus
from stats.istio import NAMESPACE, PEER_LABELS, IstioMetrics
from stats.metrics import DEFAULT_BUCKETS

DURATION, REQUEST, RESPONSE = (
    "istio_request_duration_milliseconds",
    "istio_request_bytes",
    "istio_response_bytes",
)
ANNOTATION = "sidecar.istio.io/statsHistogramBuckets"
Buckets = dict[str, dict[str, float]]


def bootstrap(metadata: object = None, settings: object = None) -> ParsedBootstrap:
    text = json.dumps(
        {
            "node": {"id": "i", "cluster": "c", "metadata": metadata or {}},
            "stats_config": {"histogram_bucket_settings": settings or []},
        }
    )
    return parse_bootstrap([Source("bootstrap.json", text)])


def page(parsed: ParsedBootstrap, *values: int) -> tuple[Buckets, dict[str, float]]:
    """le -> count for each of the three histograms, and their sums, after `values` were recorded in all of them."""
    store = build_store(parsed.bootstrap.stats, (), parsed.bootstrap.telemetry)
    series = IstioMetrics(store.scope(NAMESPACE)).series(("source", *PEER_LABELS[1:]), "none")
    for value in values:
        series.http("http", 200, "", "-").record(value, value, value)
    buckets: Buckets = {}
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families("".join(prometheus.render(store))):
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                buckets.setdefault(family.name, {})[sample.labels["le"]] = sample.value
            elif family.type == "histogram":
                totals[sample.name] = sample.value
    return buckets, totals


def bounds(parsed: ParsedBootstrap) -> dict[str, list[float]]:
    return {name: [float(le) for le in les if le != "+Inf"] for name, les in page(parsed, 1)[0].items()}


def test_HB_1_default_bounds() -> None:
    expected = [
        0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
    ]  # fmt: skip
    assert bounds(bootstrap()) == dict.fromkeys((DURATION, REQUEST, RESPONSE), expected)


def test_HB_2_override_by_prefix_first_match_wins() -> None:
    settings = [
        {"match": {"prefix": "istiocustom.istio_request_b"}, "buckets": [1, 2]},
        {"match": {"prefix": "istiocustom"}, "buckets": [3]},
        {"match": {"prefix": "istiocustom.istio_response"}, "buckets": [4]},
    ]
    parsed = bootstrap(settings=settings)
    assert bounds(parsed) == {DURATION: [3], REQUEST: [1, 2], RESPONSE: [3]}
    assert not parsed.warnings


def test_HB_2_override_by_annotation() -> None:
    parsed = bootstrap({"ANNOTATIONS": {ANNOTATION: '{"istiocustom": [1, 5, 50], "istio": [7]}'}})
    assert bounds(parsed) == {
        name: [7.0] for name in (DURATION, REQUEST, RESPONSE)
    }  # the shorter prefix sorts first
    with_settings = bootstrap(
        {"ANNOTATIONS": {ANNOTATION: '{"istiocustom": [1, 5, 50]}'}},
        [{"match": {"prefix": "istiocustom.istio_request_b"}, "buckets": [2]}],
    )
    assert bounds(with_settings) == {DURATION: [1, 5, 50], REQUEST: [2], RESPONSE: [1, 5, 50]}


def test_HB_2_invalid_JSON_means_defaults_and_a_warning() -> None:
    parsed = bootstrap({"ANNOTATIONS": {ANNOTATION: '{"istiocustom": [1,'}})
    assert bounds(parsed)[DURATION] == list(DEFAULT_BUCKETS)
    (warning,) = parsed.warnings
    assert "statsHistogramBuckets" in str(warning)
    assert "not valid JSON" in str(warning)


def test_HB_3_durations_and_bytes_differ() -> None:
    settings = [
        {"match": {"prefix": f"istiocustom.{DURATION}"}, "buckets": [10, 20]},
        {"match": {"prefix": f"istiocustom.{REQUEST}"}, "buckets": [1000, 2000]},
    ]
    assert bounds(bootstrap(settings=settings)) == {
        DURATION: [10, 20], REQUEST: [1000, 2000], RESPONSE: list(DEFAULT_BUCKETS),
    }  # fmt: skip


def test_HB_4_preset_mixer() -> None:
    sizes = [10.0**power for power in range(9)]
    durations = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000]
    preset = {"SIDECAR_TELEMETRY": {"histogram_preset": "mixer"}}
    assert bounds(bootstrap(preset)) == {DURATION: durations, REQUEST: sizes, RESPONSE: sizes}
    # What is configured comes before it.
    settings = [{"match": {"prefix": f"istiocustom.{REQUEST}"}, "buckets": [3]}]
    assert bounds(bootstrap(preset, settings)) == {DURATION: durations, REQUEST: [3], RESPONSE: sizes}


def test_HB_5_cumulative_inclusive_and_exact() -> None:
    settings = [{"match": {"prefix": "istiocustom"}, "buckets": [5, 10]}]
    buckets, totals = page(bootstrap(settings=settings), 0, 5, 6, 10, 11, 2**53 + 1)
    assert buckets == {name: {"5": 2, "10": 4, "+Inf": 6} for name in (DURATION, REQUEST, RESPONSE)}
    for name in (DURATION, REQUEST, RESPONSE):
        assert totals[f"{name}_count"] == 6
        assert totals[f"{name}_sum"] == 32 + 2**53 + 1


@pytest.mark.parametrize("wrong", [[0, 1], [-1], [1, 1]])
def test_HB_6_bounds_that_cannot_be(wrong: list[float]) -> None:
    with pytest.raises(ConfigErrors, match="histogram_bucket_settings"):
        bootstrap(settings=[{"match": {"prefix": "istiocustom"}, "buckets": wrong}])
    parsed = bootstrap({"ANNOTATIONS": {ANNOTATION: json.dumps({"istiocustom": wrong})}})
    assert bounds(parsed)[DURATION] == list(DEFAULT_BUCKETS)
    assert len(parsed.warnings) == 1


def test_HB_6_bounds_out_of_order() -> None:
    """A bootstrap's are sorted, as Envoy does; the annotation's are refused."""
    settings = [{"match": {"prefix": "istiocustom"}, "buckets": [5, 1, 3]}]
    assert bounds(bootstrap(settings=settings))[DURATION] == [1, 3, 5]
    parsed = bootstrap({"ANNOTATIONS": {ANNOTATION: '{"istiocustom": [5, 1, 3]}'}})
    assert bounds(parsed)[DURATION] == list(DEFAULT_BUCKETS)
    assert "needs ascending numbers" in str(parsed.warnings[0])
