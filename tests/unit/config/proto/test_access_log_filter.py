"""Access log filters as specs."""

from __future__ import annotations

import pytest

from config.expression import parse_expression
from config.model import access_log_filter as model
from config.model.access_log import FileAccessLogSpec, FilteredAccessLogSpec
from config.model.matching import HeaderMatcher, StringMatcher, StringMatchKind
from config.model.network import TcpProxySpec
from tests.unit.config.bootstraps import EXTENSIONS, parse, problems, tcp

STDOUT = f'"@type": {EXTENSIONS}access_loggers.stream.v3.StdoutAccessLog'
CEL = f'"@type": {EXTENSIONS}access_loggers.filters.cel.v3.ExpressionFilter'
COMPARISON = "comparison: {op: GE, value: {default_value: 5, runtime_key: k}}"


def bootstrap(*, filter_text: str) -> str:
    log = f"{{name: a, typed_config: {{{STDOUT}}}, filter: {{{filter_text}}}}}"
    return tcp(fields=f"stat_prefix: x, cluster: c, access_log: [{log}]")


def log_of(text: str) -> object:
    (spec,) = parse(text).bootstrap.listeners[0].filter_chains[0].filters
    assert isinstance(spec, TcpProxySpec)
    (log,) = spec.access_log
    return log


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"status_code_filter: {{{COMPARISON}}}",
            model.StatusCodeFilter(model.Comparison(model.ComparisonOp.GE, 5, "k")),
        ),
        (
            "duration_filter: {comparison: {op: NE, value: {default_value: 7, runtime_key: k}}}",
            model.DurationFilter(model.Comparison(model.ComparisonOp.NE, 7, "k")),
        ),
        (
            f'extension_filter: {{name: any, typed_config: {{{CEL}, expression: "response.code >= 400"}}}}',
            model.ExpressionFilter(parse_expression("response.code >= 400")),
        ),
        ("not_health_check_filter: {}", model.NotHealthCheckFilter()),
        ("traceable_filter: {}", model.TraceableFilter()),
        (
            (
                "runtime_filter: {runtime_key: k, percent_sampled: {numerator: 3, denominator: TEN_THOUSAND}, "
                "use_independent_randomness: true}"
            ),
            model.RuntimeFilter("k", 3, 10_000, True),
        ),
        (
            "header_filter: {header: {name: X-A, string_match: {prefix: b}}}",
            model.HeaderFilter(HeaderMatcher("x-a", StringMatcher(StringMatchKind.PREFIX, "b"))),
        ),
        ("response_flag_filter: {flags: [UF, DC]}", model.ResponseFlagFilter(("UF", "DC"))),
        (
            "grpc_status_filter: {statuses: [CANCELED, INTERNAL], exclude: true}",
            model.GrpcStatusFilter((1, 13), True),
        ),
        (
            "log_type_filter: {types: [DownstreamEnd, TcpPeriodic]}",
            model.LogTypeFilter(("DownstreamEnd", "TcpPeriodic")),
        ),
        (
            (
                "and_filter: {filters: [{traceable_filter: {}}, {or_filter: {filters: [{response_flag_filter: {}}, "
                "{not_health_check_filter: {}}]}}]}"
            ),
            model.AndFilter(
                (
                    model.TraceableFilter(),
                    model.OrFilter((model.ResponseFlagFilter(()), model.NotHealthCheckFilter())),
                )
            ),
        ),
        (
            (
                "metadata_filter: {matcher: {filter: f, path: [{key: a}, {key: b}], value: {null_match: {}}, invert: true}, "
                "match_if_key_not_found: false}"
            ),
            model.MetadataFilter("f", ("a", "b"), model.ValueMatcher(null=True), True, False),
        ),
    ],
)
def test_filters(text: str, expected: model.AccessLogFilterSpec) -> None:
    assert log_of(bootstrap(filter_text=text)) == FilteredAccessLogSpec(
        FileAccessLogSpec("/dev/stdout"), expected
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("double_match: {exact: 2.5}", model.ValueMatcher(number=2.5)),
        ("double_match: {range: {start: 1, end: 2}}", model.ValueMatcher(number_range=(1.0, 2.0))),
        ("bool_match: true", model.ValueMatcher(boolean=True)),
        ("present_match: false", model.ValueMatcher(present=False)),
        (
            "string_match: {exact: x}",
            model.ValueMatcher(string=StringMatcher(StringMatchKind.EXACT, "x")),
        ),
        (
            "list_match: {one_of: {bool_match: false}}",
            model.ValueMatcher(list_one_of=model.ValueMatcher(boolean=False)),
        ),
        (
            "or_match: {value_matchers: [{null_match: {}}, {bool_match: true}]}",
            model.ValueMatcher(any_of=(model.ValueMatcher(null=True), model.ValueMatcher(boolean=True))),
        ),
    ],
)
def test_value_matchers(text: str, expected: model.ValueMatcher) -> None:
    filter_text = f"metadata_filter: {{matcher: {{filter: f, path: [{{key: a}}], value: {{{text}}}}}}}"
    assert log_of(bootstrap(filter_text=filter_text)) == FilteredAccessLogSpec(
        FileAccessLogSpec("/dev/stdout"), model.MetadataFilter("f", ("a",), expected)
    )


def test_all_problems_are_reported() -> None:
    found = problems(
        bootstrap(
            filter_text="and_filter: {filters: [{header_filter: {header: {name: a, string_match: {safe_regex: {regex: '('}}}}}, "
            "{header_filter: {header: {name: b, string_match: {safe_regex: {regex: '['}}}}}]}"
        )
    )
    assert len(found) == 2
    assert all("RE2" in each for each in found)


@pytest.mark.parametrize(
    ("filter_text", "problem"),
    [
        (f"{CEL}, expression: 'request.'", "expression: not a CEL expression: 1:9: "),
        (CEL, "expression: not a CEL expression: 1:1: "),
        (
            f"{CEL}, expression: 'nope(1)'",
            "expression: not a CEL expression: there is no function nope of 1 operands",
        ),
        (
            f"{CEL}, expression: 'true', cel_config: {{enable_string_functions: true}}",
            "functions of standard CEL",
        ),
        (f"{CEL}, expressio: 'true'", "did you mean 'expression'"),
        ("", "an access log filter is chosen by the type of its typed_config"),
        (f"'@type': {EXTENSIONS}filters.http.router.v3.Router", "access log filter"),
    ],
)
def test_bad_extension_filters_are_reported_with_their_place(filter_text: str, problem: str) -> None:
    extension = f"{{extension_filter: {{name: cel, typed_config: {{{filter_text}}}}}}}"
    text = bootstrap(filter_text=f"and_filter: {{filters: [{{not_health_check_filter: {{}}}}, {extension}]}}")
    (found,) = problems(text)
    assert problem in found
    assert "and_filter.filters[1].extension_filter" in found
