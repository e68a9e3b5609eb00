from __future__ import annotations

import json

import pytest

from config.model.bootstrap import HistogramBuckets
from config.model.matching import StringMatcher, StringMatchKind
from config.model.telemetry import HistogramPreset, TelemetryOptions
from config.proto.path import Context, Path
from config.proto.telemetry import (
    BUCKETS_ANNOTATION,
    translate_histogram_annotation,
    translate_telemetry_options,
)


def read(value: object) -> tuple[TelemetryOptions, list[str]]:
    context = Context()
    options = translate_telemetry_options({"SIDECAR_TELEMETRY": value}, Path(context))
    assert not context.problems.errors
    return options, [str(warning) for warning in context.problems.warnings]


def read_annotation(value: object) -> tuple[tuple[HistogramBuckets, ...], list[str]]:
    context = Context()
    buckets = translate_histogram_annotation({"ANNOTATIONS": {BUCKETS_ANNOTATION: value}}, Path(context))
    assert not context.problems.errors
    return buckets, [str(warning) for warning in context.problems.warnings]


EVERYTHING = {
    "histogram_preset": "mixer",
    "gateway_destination_reporter": True,
    "tcp_peer_wait": "1.5s",
    "unmatched_destination_service": True,
    "series_expiry": "1.5s",
    "max_series": 50,
}


def test_nothing_is_on_by_itself() -> None:
    assert translate_telemetry_options({}, Path(Context())) == TelemetryOptions()
    assert read({}) == (TelemetryOptions(), [])
    assert translate_histogram_annotation({}, Path(Context())) == ()
    assert translate_histogram_annotation({"ANNOTATIONS": {"a": "b"}}, Path(Context())) == ()


@pytest.mark.parametrize("value", [EVERYTHING, json.dumps(EVERYTHING)])
def test_all_options_as_an_object_and_as_its_text(value: object) -> None:
    assert read(value) == (TelemetryOptions(HistogramPreset.MIXER, True, 1.5, True, 1.5, 50), [])


def test_values_as_environments_write_them() -> None:
    options, warnings = read(
        {
            "gateway_destination_reporter": "true",
            "tcp_peer_wait": 10.0,
            "unmatched_destination_service": "False",
        }
    )
    assert options == TelemetryOptions(gateway_destination_reporter=True, tcp_peer_wait_s=10.0)
    assert warnings == []


@pytest.mark.parametrize("value", ["soon", "-1s", -1, True, None, [], "nans", "infs", ""])
def test_a_wait_that_is_no_time(value: object) -> None:
    assert read({"tcp_peer_wait": value}) == (
        TelemetryOptions(),
        ["SIDECAR_TELEMETRY.tcp_peer_wait: must be a duration such as '10s': the default is used"],
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{", "SIDECAR_TELEMETRY: not valid JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)): the defaults are used"),
        ("[]", "SIDECAR_TELEMETRY: not an object: the defaults are used"),
        (3.0, "SIDECAR_TELEMETRY: not an object: the defaults are used"),
        ({"histogram_presets": "mixer"}, "SIDECAR_TELEMETRY: ignored: there is no option 'histogram_presets'; did you mean 'histogram_preset'?"),
        ({"series_expiry": "-1s"}, "SIDECAR_TELEMETRY.series_expiry: must be a duration such as '3600s': the default is used"),
        ({"series_expiry": "soon"}, "SIDECAR_TELEMETRY.series_expiry: must be a duration such as '3600s': the default is used"),
        ({"series_expiry": True}, "SIDECAR_TELEMETRY.series_expiry: must be a duration such as '3600s': the default is used"),
        ({"series_expiry": "nans"}, "SIDECAR_TELEMETRY.series_expiry: must be a duration such as '3600s': the default is used"),
        ({"max_series": 0}, "SIDECAR_TELEMETRY.max_series: must be a whole number greater than 0: the default is used"),
        ({"max_series": 1.5}, "SIDECAR_TELEMETRY.max_series: must be a whole number greater than 0: the default is used"),
        ({"max_series": "9"}, "SIDECAR_TELEMETRY.max_series: must be a whole number greater than 0: the default is used"),
        ({"unmatched_destination_service": 1.0}, "SIDECAR_TELEMETRY.unmatched_destination_service: must be true or false: the default is used"),
        ({"histogram_preset": "mix"}, "SIDECAR_TELEMETRY.histogram_preset: must be 'envoy' or 'mixer': the default is used"),
    ],
)  # fmt: skip
def test_a_mistake_costs_a_warning(value: object, expected: str) -> None:
    assert read(value) == (TelemetryOptions(), [expected])


def test_one_mistake_does_not_cost_the_rest() -> None:
    options, warnings = read({"nothing": [], "histogram_preset": "mixer"})
    assert options == TelemetryOptions(HistogramPreset.MIXER)
    assert len(warnings) == 1


def test_annotation_by_prefix_in_order() -> None:
    buckets, warnings = read_annotation('{"b": [1, 2.5], "a": [3]}')
    assert warnings == []
    assert buckets == (
        HistogramBuckets(StringMatcher(StringMatchKind.PREFIX, "a"), (3.0,)),
        HistogramBuckets(StringMatcher(StringMatchKind.PREFIX, "b"), (1.0, 2.5)),
    )


@pytest.mark.parametrize(
    "bounds", ["[]", "[2, 1]", "[1, 1]", "[0, 1]", "[-1]", '["1"]', "5", "[true, 2]", "[Infinity]", "[NaN]"]
)
def test_an_annotation_with_bad_bounds(bounds: str) -> None:
    buckets, warnings = read_annotation(f'{{"good": [1], "bad": {bounds}}}')
    assert [each.match.pattern for each in buckets] == ["good"]
    assert warnings == [
        f"ANNOTATIONS[\"{BUCKETS_ANNOTATION}\"]: 'bad' needs ascending numbers greater than 0: the defaults are used"
    ]
