"""Configurations of `istio_stats` that have no effect say so, with their place, and are accepted all the same."""

from __future__ import annotations

import pytest

from config.bootstrap import ParseOptions, Source, parse_bootstrap
from sidecar.telemetry.istio_review import review_istio_stats
from tests.unit.config.bootstraps import ROUTER, http


def _warnings(fields: str) -> list[str]:
    stats = (
        '{name: x, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, '
        f"type_url: type.googleapis.com/stats.PluginConfig, value: {{{fields}}}}}}}"
    )
    options = ParseOptions(review_istio_stats=review_istio_stats)
    warnings = parse_bootstrap([Source("x.yaml", http(filters=f"[{stats}, {ROUTER}]"))], options).warnings
    assert all(each.position for each in warnings)
    return [f"{each.path.rpartition('typed_config.value.')[2]}: {each.reason}" for each in warnings]


def _dimension(expression: str) -> str:
    return f"metrics: [{{name: requests_total, dimensions: {{a: {expression!r}}}}}]"


def test_misspelt_name_in_a_dimension() -> None:
    assert _warnings(_dimension("request.mehtod + reqest.path")) == [
        (
            'metrics[0].dimensions["a"]: the label will say unknown: '
            "'request.mehtod' never has a value; did you mean 'request.method'?"
        ),
        (
            'metrics[0].dimensions["a"]: the label will say unknown: '
            "'reqest' never has a value; did you mean 'request'?"
        ),
    ]
    assert _warnings(_dimension("request.method")) == []


@pytest.mark.parametrize(
    ("fields", "warnings"),
    [
        (
            "metrics: [{match: 'reqest.method == \"GET\"', dimensions: {a: request.method}}]",
            ["metrics[0].match: 'reqest' never has a value; did you mean 'request'?"],
        ),
        (
            "metrics: [{name: request_total}, {name: istio_requests_total}, {name: zzz, drop: true}]",
            [
                "metrics[0].name: has no effect: there is no metric 'request_total'; did you mean 'requests_total'?",
                (
                    "metrics[1].name: has no effect: there is no metric 'istio_requests_total'; "
                    "did you mean 'requests_total'?"
                ),
                "metrics[2].name: has no effect: there is no metric 'zzz'",
            ],
        ),
        (
            "metrics: [{name: mine, dimensions: {a: request.path}}], definitions: [{name: mine, value: '1'}]",
            [],
        ),
        (
            "metrics: [{tags_to_remove: [source_app, source_princpal, zzz]}]",
            [
                (
                    "metrics[0].tags_to_remove[1]: has no effect: there is no standard label 'source_princpal'; "
                    "did you mean 'source_principal'?"
                ),
                "metrics[0].tags_to_remove[2]: has no effect: there is no standard label 'zzz'",
            ],
        ),
        ("metrics: [{name: request_messages_total, tags_to_remove: [response_code]}]", []),
        (
            "definitions: [{name: a, value: '1'}, {value: '1'}, {name: a, value: '2'}, {name: requests_total, value: '1'}]",
            [
                "definitions[1]: the name is empty: the metric will be called istio_",
                "definitions[2].name: 'a' is defined twice: the last definition counts",
                "definitions[3].name: left out: istio_requests_total is a standard metric",
            ],
        ),
        (
            (
                "definitions: [{name: request_bytes_count, value: '1'}, {name: h, type: HISTOGRAM, value: '1'}, "
                "{name: h_bucket, value: '1'}, {name: h_total, value: '1'}]"
            ),
            [
                (
                    "definitions[0].name: istio_request_bytes_count is also a series of the histogram istio_request_bytes: "
                    "use another name"
                ),
                "definitions[2].name: istio_h_bucket is also a series of the histogram istio_h: use another name",
            ],
        ),
        (
            "definitions: [{name: a, value: respnse.size}]",
            [
                "definitions[0].value: nothing will be counted: 'respnse' never has a value; did you mean 'response'?"
            ],
        ),
    ],
)
def test_what_has_no_effect(fields: str, warnings: list[str]) -> None:
    assert _warnings(fields) == warnings
