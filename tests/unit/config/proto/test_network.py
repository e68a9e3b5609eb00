"""Network filters as specs."""

from __future__ import annotations

import pytest

from config.model.access_log import FileAccessLogSpec, TextFormat
from config.model.core import DataSource, HeaderMutations, HeaderValueOption, Metadata
from config.model.network import (
    DirectResponseNetworkSpec,
    EchoSpec,
    TcpProxySpec,
    TunnelingConfig,
    WeightedTcpCluster,
)
from tests.unit.config.bootstraps import ECHO, EXTENSIONS, parse, problems, tcp


def filters(**parts: str) -> tuple[object, ...]:
    return parse(tcp(**parts)).bootstrap.listeners[0].filter_chains[0].filters


def test_tcp_proxy() -> None:
    log = f'{{name: a, typed_config: {{"@type": {EXTENSIONS}access_loggers.stream.v3.StderrAccessLog}}}}'
    assert filters(
        fields="stat_prefix: x, weighted_clusters: {clusters: [{name: c, weight: 3, metadata_match: {filter_metadata: "
        "{envoy.lb: {a: b}}}}]}, idle_timeout: 0s, max_connect_attempts: 4, max_downstream_connection_duration: 9s, "
        f"access_log: [{log}]"
    ) == (
        TcpProxySpec(
            stat_prefix="x",
            weighted_clusters=(WeightedTcpCluster("c", 3, Metadata({"envoy.lb": {"a": "b"}})),),
            idle_timeout_s=None,
            max_connect_attempts=4,
            max_downstream_connection_duration_s=9.0,
            access_log=(FileAccessLogSpec("/dev/stderr"),),
        ),
    )


def test_a_cluster_that_does_not_exist_is_a_warning() -> None:
    parsed = parse(tcp("stat_prefix: x, cluster: zork"))
    assert [str(warning) for warning in parsed.warnings] == [
        (
            "x.yaml:13:154: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.cluster: "
            "unknown cluster 'zork'"
        )
    ]


def test_nothing_is_said_about_clusters_that_may_be_dynamic() -> None:
    parsed = parse(tcp("stat_prefix: x, cluster: zork", top="dynamic_resources: {cds_config: {ads: {}}}"))
    assert [warning.path for warning in parsed.warnings] == ["dynamic_resources"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (", response: {inline_string: hi}", DataSource(inline=b"hi")),
        (", response: {inline_bytes: aGk}", DataSource(inline=b"hi")),
        (", response: {environment_variable: X}", DataSource(environment_variable="X")),
        ("", DataSource(inline=b"")),
    ],
)
def test_direct_response(fields: str, expected: DataSource) -> None:
    kind = f"{EXTENSIONS}filters.network.direct_response.v3.Config"
    found = filters(filters=f'[{{name: d, typed_config: {{"@type": {kind}{fields}}}}}]')
    assert found == (DirectResponseNetworkSpec(expected),)


def test_echo() -> None:
    assert filters(filters=f"[{ECHO}]") == (EchoSpec(),)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("path: /x", FileAccessLogSpec("/x")),
        ('path: /x, format: "a\\n"', FileAccessLogSpec("/x", TextFormat("a\n"))),
        ('path: /x, log_format: {text_format: "b"}', FileAccessLogSpec("/x", TextFormat("b"))),
        (
            "path: /x, log_format: {text_format_source: {inline_string: c}}",
            FileAccessLogSpec("/x", TextFormat("c")),
        ),
        ('path: /x, log_format: {text_format: ""}', FileAccessLogSpec("/x")),
    ],
)
def test_access_log_formats(fields: str, expected: FileAccessLogSpec) -> None:
    log = (
        f'{{name: a, typed_config: {{"@type": {EXTENSIONS}access_loggers.file.v3.FileAccessLog, {fields}}}}}'
    )
    (spec,) = filters(fields=f"stat_prefix: x, cluster: c, access_log: [{log}]")
    assert isinstance(spec, TcpProxySpec)
    assert spec.access_log == (expected,)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("hostname: 'there:80'", TunnelingConfig("there:80")),
        ("hostname: 'there:80', use_post: true", TunnelingConfig("there:80", use_post=True)),
        (
            "hostname: '%REQUESTED_SERVER_NAME%:443', use_post: true, post_path: /x",
            TunnelingConfig("%REQUESTED_SERVER_NAME%:443", use_post=True, post_path="/x"),
        ),
        (
            "hostname: h, headers_to_add: [{header: {key: X-A, value: b}}]",
            TunnelingConfig("h", mutations=HeaderMutations(request_add=(HeaderValueOption("x-a", "b"),))),
        ),
    ],
)
def test_tunneling(fields: str, expected: TunnelingConfig) -> None:
    (spec,) = filters(fields=f"stat_prefix: x, cluster: c, tunneling_config: {{{fields}}}")
    assert isinstance(spec, TcpProxySpec)
    assert spec.tunneling == expected


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("hostname: h, post_path: /x", "post_path: goes with use_post only"),
        ("use_post: true", "hostname: "),
        ("hostname: h, headers_to_add: [{header: {key: ':path', value: b}}]", "headers_to_add[0]"),
    ],
)
def test_problems_of_tunneling(fields: str, problem: str) -> None:
    found = problems(tcp(f"stat_prefix: x, cluster: c, tunneling_config: {{{fields}}}"))
    assert any(f".tunneling_config.{problem}" in line for line in found), found


@pytest.mark.parametrize(
    ("fields", "warned"),
    [
        ("hostname: 'a b'", ["hostname: 'a b' is no host: no tunnel can be asked for"]),
        ("hostname: '%REQUESTED_SERVER_NAME% x'", []),
        (
            "hostname: h, headers_to_add: [{header: {key: 'a b', value: c}}]",
            ["headers_to_add[0].header.key: 'a b' is no header name: what it is added to cannot be sent"],
        ),
    ],
)
def test_a_tunnel_that_cannot_open_is_warned_of(fields: str, warned: list[str]) -> None:
    """Envoy takes it in silence, and every connection fails."""
    warnings = parse(tcp(f"stat_prefix: x, cluster: c, tunneling_config: {{{fields}}}")).warnings
    assert [str(each).partition(".tunneling_config.")[2] for each in warnings] == warned
