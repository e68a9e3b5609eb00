"""Route messages as specs."""

from __future__ import annotations

import pytest

from config.model.core import (
    DataSource,
    HeaderAppendAction,
    HeaderMutations,
    HeaderValueOption,
    Metadata,
    Percent,
    RoutingPriority,
)
from config.model.http import HttpConnectionManagerSpec
from config.model.matching import HeaderMatcher, QueryParameterMatcher, StringMatcher, StringMatchKind
from config.model.route import (
    ConnectConfig,
    DirectResponseAction,
    NonForwardingAction,
    PathMatchKind,
    RedirectAction,
    RedirectCode,
    RegexRewrite,
    RetryPolicy,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    RouteSpec,
    TlsRequirement,
    WeightedCluster,
)
from tests.unit.config.bootstraps import http, parse, problems


def configuration(**parts: str) -> RouteConfiguration:
    spec = parse(http(**parts)).bootstrap.listeners[0].filter_chains[0].filters[0]
    assert isinstance(spec, HttpConnectionManagerSpec)
    return spec.route_config


def route(flow: str) -> RouteSpec:
    return configuration(route=flow).virtual_hosts[0].routes[0]


def action(flow: str) -> object:
    return route(f"match: {{prefix: /}}, {flow}").action


def headers(flow: str) -> tuple[HeaderMatcher, ...]:
    return route(f"match: {{prefix: /, headers: [{flow}]}}, route: {{cluster: c}}").match.headers


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        ("prefix: /a", RouteMatch(PathMatchKind.PREFIX, "/a")),
        ("path: /a", RouteMatch(PathMatchKind.PATH, "/a")),
        ("path_separated_prefix: /a", RouteMatch(PathMatchKind.PATH_SEPARATED_PREFIX, "/a")),
        ("safe_regex: {regex: /a.*}", RouteMatch(PathMatchKind.SAFE_REGEX, "/a.*")),
        ("connect_matcher: {}", RouteMatch(PathMatchKind.CONNECT)),
        ("prefix: /, case_sensitive: false", RouteMatch(PathMatchKind.PREFIX, "/", case_sensitive=False)),
        ("prefix: /, grpc: {}", RouteMatch(PathMatchKind.PREFIX, "/", grpc=True)),
        (
            "prefix: /, runtime_fraction: {default_value: {numerator: 5, denominator: TEN_THOUSAND}}",
            RouteMatch(PathMatchKind.PREFIX, "/", runtime_fraction=Percent(0.0005)),
        ),
        (
            "prefix: /, query_parameters: [{name: q, string_match: {contains: x}}, {name: r, present_match: false}, {name: s}]",
            RouteMatch(
                PathMatchKind.PREFIX,
                "/",
                query_parameters=(
                    QueryParameterMatcher("q", StringMatcher(StringMatchKind.CONTAINS, "x")),
                    QueryParameterMatcher("r", present=False),
                    QueryParameterMatcher("s", present=True),
                ),
            ),
        ),
    ],
)
def test_match(flow: str, expected: RouteMatch) -> None:
    assert route(f"match: {{{flow}}}, route: {{cluster: c}}").match == expected


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        (
            "{name: X-H, string_match: {prefix: a, ignore_case: true}, invert_match: true}",
            HeaderMatcher("x-h", StringMatcher(StringMatchKind.PREFIX, "a", True), invert=True),
        ),
        ("{name: b, present_match: false}", HeaderMatcher("b", present=False)),
        ("{name: b}", HeaderMatcher("b", present=True)),
        ("{name: c, range_match: {start: -1, end: 5}}", HeaderMatcher("c", range=(-1, 5))),
        (
            "{name: d, safe_regex_match: {regex: a}}",
            HeaderMatcher("d", StringMatcher(StringMatchKind.REGEX, "a")),
        ),
        ("{name: e, exact_match: x}", HeaderMatcher("e", StringMatcher(StringMatchKind.EXACT, "x"))),
        ("{name: e, exact_match: ''}", HeaderMatcher("e", present=True)),
        ("{name: f, prefix_match: x}", HeaderMatcher("f", StringMatcher(StringMatchKind.PREFIX, "x"))),
        ("{name: g, suffix_match: x}", HeaderMatcher("g", StringMatcher(StringMatchKind.SUFFIX, "x"))),
        ("{name: h, contains_match: x}", HeaderMatcher("h", StringMatcher(StringMatchKind.CONTAINS, "x"))),
        (
            "{name: i, treat_missing_header_as_empty: true, string_match: {safe_regex: {regex: x}}}",
            HeaderMatcher("i", StringMatcher(StringMatchKind.REGEX, "x"), treat_missing_as_empty=True),
        ),
    ],
)
def test_header_matchers_and_their_deprecated_forms(flow: str, expected: HeaderMatcher) -> None:
    assert headers(flow) == (expected,)


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        ("timeout: 0s", None),
        ("timeout: 3s", 3.0),
        ("cluster_not_found_response_code: NOT_FOUND", 15.0),
    ],
)
def test_an_absent_timeout_is_15_s_and_a_zero_one_is_none(flow: str, expected: float | None) -> None:
    found = action(f"route: {{cluster: c, {flow}}}")
    assert isinstance(found, RouteAction)
    assert found.timeout_s == expected


def test_route_action() -> None:
    assert action(
        "route: {cluster: c, cluster_not_found_response_code: INTERNAL_SERVER_ERROR, timeout: 1s, idle_timeout: 0s, "
        "max_stream_duration: {max_stream_duration: 4s}, regex_rewrite: {pattern: {regex: \"a(b)\"}, substitution: '\\1'}, "
        "host_rewrite_header: X-R, append_x_forwarded_host: true, priority: HIGH, retry_policy: {retry_on: "
        '"5xx, reset", num_retries: 3, per_try_timeout: 1s, retriable_status_codes: [503]}, upgrade_configs: '
        "[{upgrade_type: WebSocket, enabled: false}], metadata_match: {filter_metadata: {envoy.lb: {a: b}}}}"
    ) == RouteAction(
        cluster="c",
        cluster_not_found_status=500,
        timeout_s=1.0,
        idle_timeout_s=0.0,
        max_stream_duration_s=4.0,
        regex_rewrite=RegexRewrite("a(b)", "\\1"),
        host_rewrite_header="x-r",
        append_x_forwarded_host=True,
        priority=RoutingPriority.HIGH,
        retry_policy=RetryPolicy(("5xx", "reset"), 3, 1.0, (503,)),
        upgrade_configs={"websocket": False},
        metadata_match=Metadata({"envoy.lb": {"a": "b"}}),
    )


def test_weighted_clusters() -> None:
    found = action(
        "route: {weighted_clusters: {clusters: [{name: c, weight: 3, host_rewrite_literal: h, request_headers_to_add: "
        "[{header: {key: W, value: z}}]}, {name: c, weight: 0}]}, prefix_rewrite: /z, auto_host_rewrite: true}"
    )
    assert found == RouteAction(
        weighted_clusters=(
            WeightedCluster(
                "c",
                3,
                HeaderMutations(request_add=(HeaderValueOption("w", "z"),)),
                host_rewrite_literal="h",
            ),
            WeightedCluster("c", 0),
        ),
        prefix_rewrite="/z",
        auto_host_rewrite=True,
    )


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        ("route: {cluster_header: X-C}", RouteAction(cluster_header="x-c")),
        ("non_forwarding_action: {}", NonForwardingAction()),
        ("direct_response: {status: 418}", DirectResponseAction(418)),
        (
            "direct_response: {status: 200, body: {inline_string: é}}",
            DirectResponseAction(200, DataSource(inline="é".encode())),
        ),
        (
            "direct_response: {status: 200, body: {filename: /x}}",
            DirectResponseAction(200, DataSource(filename="/x")),
        ),
        ("redirect: {}", RedirectAction()),
        (
            (
                'redirect: {https_redirect: true, host_redirect: h, port_redirect: 8443, prefix_rewrite: "", '
                "response_code: SEE_OTHER, strip_query: true}"
            ),
            RedirectAction(
                https_redirect=True,
                host_redirect="h",
                port_redirect=8443,
                prefix_rewrite="",
                response_code=RedirectCode.SEE_OTHER,
                strip_query=True,
            ),
        ),
        (
            "redirect: {scheme_redirect: ftp, regex_rewrite: {pattern: {regex: a}, substitution: b}}",
            RedirectAction(scheme_redirect="ftp", regex_rewrite=RegexRewrite("a", "b")),
        ),
        (
            "redirect: {path_redirect: /b, response_code: PERMANENT_REDIRECT}",
            RedirectAction(path_redirect="/b", response_code=RedirectCode.PERMANENT_REDIRECT),
        ),
    ],
)
def test_actions(flow: str, expected: object) -> None:
    assert action(flow) == expected


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        ("append_action: ADD_IF_ABSENT", HeaderAppendAction.ADD_IF_ABSENT),
        ("append: false", HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD),
        ("append: true", HeaderAppendAction.APPEND_IF_EXISTS_OR_ADD),
        ("keep_empty_value: false", HeaderAppendAction.APPEND_IF_EXISTS_OR_ADD),
    ],
)
def test_header_append_action(flow: str, expected: HeaderAppendAction) -> None:
    spec = configuration(config=f"request_headers_to_add: [{{header: {{key: X-A, value: b}}, {flow}}}],")
    assert spec.mutations.request_add == (HeaderValueOption("x-a", "b", expected),)


def test_configuration_and_virtual_host() -> None:
    spec = configuration(
        config="response_headers_to_add: [{header: {key: C, raw_value: ZA==}, keep_empty_value: true}], "
        "request_headers_to_remove: [X-B], response_headers_to_remove: [E], most_specific_header_mutations_wins: true, "
        "internal_only_headers: [X-I], ignore_port_in_host_matching: true,",
        host='domains: ["A.com", "*.B.com"], require_tls: ALL, include_request_attempt_count: true, '
        "include_attempt_count_in_response: true, retry_policy: {retry_on: reset}",
    )
    assert spec.mutations == HeaderMutations(
        request_remove=("x-b",),
        response_add=(HeaderValueOption("c", "d", keep_empty_value=True),),
        response_remove=("e",),
    )
    assert spec.most_specific_header_mutations_wins
    assert spec.internal_only_headers == ("x-i",)
    assert spec.ignore_port_in_host_matching
    (host,) = spec.virtual_hosts
    assert host.domains == ("a.com", "*.b.com")
    assert host.require_tls is TlsRequirement.ALL
    assert host.include_request_attempt_count
    assert host.include_attempt_count_in_response
    assert host.retry_policy == RetryPolicy(("reset",))


def test_unknown_clusters_are_warnings_when_they_are_not_validated() -> None:
    parsed = parse(
        http(config="validate_clusters: false,", route="match: {prefix: /}, route: {cluster: zork}")
    )
    assert [warning.reason for warning in parsed.warnings] == ["unknown cluster 'zork'"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", {}),
        ("max_grpc_timeout: 0s", {"max_grpc_timeout_s": 0.0}),
        (
            "max_grpc_timeout: 5s, grpc_timeout_offset: 0.5s",
            {"max_grpc_timeout_s": 5.0, "max_grpc_timeout_offset_s": 0.5},
        ),
        ("max_stream_duration: {}", {}),
        ("max_stream_duration: {max_stream_duration: 0s}", {"max_stream_duration_s": 0.0}),
        (
            "max_stream_duration: {grpc_timeout_header_max: 0s, grpc_timeout_header_offset: 1s}",
            {"grpc_timeout_max_s": 0.0, "grpc_timeout_offset_s": 1.0},
        ),
        (
            "max_stream_duration: {max_stream_duration: 9s, grpc_timeout_header_max: 7s}",
            {"max_stream_duration_s": 9.0, "grpc_timeout_max_s": 7.0},
        ),
    ],
)
def test_timeouts_of_grpc(fields: str, expected: dict[str, float]) -> None:
    assert action(f"route: {{cluster: c, {fields}}}") == RouteAction(cluster="c", **expected)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ("max_grpc_timeout: -1s", "max_grpc_timeout"),
        ("grpc_timeout_offset: -1s", "grpc_timeout_offset"),
        ("max_stream_duration: {max_stream_duration: -1s}", "max_stream_duration.max_stream_duration"),
        (
            "max_stream_duration: {grpc_timeout_header_max: -1s}",
            "max_stream_duration.grpc_timeout_header_max",
        ),
        (
            "max_stream_duration: {grpc_timeout_header_offset: -1s}",
            "max_stream_duration.grpc_timeout_header_offset",
        ),
    ],
)
def test_timeouts_are_not_negative(fields: str, place: str) -> None:
    (problem,) = problems(http(route=f"match: {{prefix: /}}, route: {{cluster: c, {fields}}}"))
    assert problem.endswith(f".routes[0].route.{place}: must not be negative")


@pytest.mark.parametrize(
    ("configs", "upgrades", "connect"),
    [
        ("{upgrade_type: CONNECT}", {"connect": True}, None),
        ("{upgrade_type: CONNECT, connect_config: {}}", {"connect": True}, ConnectConfig()),
        (
            "{upgrade_type: connect, connect_config: {allow_post: true}}",
            {"connect": True},
            ConnectConfig(True),
        ),
        ("{upgrade_type: CONNECT, enabled: false, connect_config: {}}", {"connect": False}, None),
        (
            "{upgrade_type: WebSocket}, {upgrade_type: CONNECT, connect_config: {}}",
            {"websocket": True, "connect": True},
            ConnectConfig(),
        ),
    ],
)
def test_connect(configs: str, upgrades: dict[str, bool], connect: ConnectConfig | None) -> None:
    found = route(
        f"match: {{connect_matcher: {{}}}}, route: {{cluster: c, upgrade_configs: [{configs}]}}"
    ).action
    assert isinstance(found, RouteAction)
    assert (found.upgrade_configs, found.connect_config) == (upgrades, connect)


@pytest.mark.parametrize(
    ("configs", "problem"),
    [
        (
            "{upgrade_type: websocket, connect_config: {}}",
            "[0].connect_config: goes with upgrade_type CONNECT only",
        ),
        (
            "{upgrade_type: CONNECT}, {upgrade_type: connect}",
            "[1].upgrade_type: 'connect' is configured twice",
        ),
    ],
)
def test_problems_of_connect(configs: str, problem: str) -> None:
    text = http(route=f"match: {{prefix: /}}, route: {{cluster: c, upgrade_configs: [{configs}]}}")
    assert [line for line in problems(text) if line.endswith(f".routes[0].route.upgrade_configs{problem}")]
