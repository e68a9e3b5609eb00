"""The bootstrap's own fields as specs."""

from __future__ import annotations

import pytest

from config.model.access_log import FileAccessLogSpec
from config.model.bootstrap import (
    AdminSpec,
    ApplicationLogFormat,
    Bootstrap,
    HistogramBuckets,
    StatsMatcher,
    StatsSpec,
    TagSpecifier,
)
from config.model.core import Locality, Node, SocketAddress
from config.model.matching import StringMatcher, StringMatchKind
from config.model.workload_discovery import WorkloadDiscoverySpec
from tests.unit.config.bootstraps import ECHO, EXTENSIONS, ROUTER, http, parse, problems, tcp

LIMIT = (
    "{name: envoy.resource_monitors.global_downstream_max_connections, typed_config: "
    f'{{"@type": {EXTENSIONS}resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig, '
    "max_active_downstream_connections: 77}}"
)


def translate(text: str) -> Bootstrap:
    return parse(text).bootstrap


def test_defaults_are_envoys() -> None:
    assert translate("{}") == Bootstrap()


def test_node() -> None:
    node = translate(
        'node: {id: i, cluster: k, metadata: {A: 1, B: [x, null, {c: 1.5}], C: yes, D: "5"}, locality: {region: r, '
        "zone: z, sub_zone: s}}"
    ).node
    assert node == Node(
        "i", "k", {"A": 1.0, "B": ["x", None, {"c": "1.5"}], "C": True, "D": "5"}, Locality("r", "z", "s")
    )


@pytest.mark.parametrize(
    "log",
    [
        "access_log_path: /x",
        f'access_log: [{{name: a, typed_config: {{"@type": {EXTENSIONS}access_loggers.file.v3.FileAccessLog, path: /x}}}}]',
    ],
)
def test_admin(log: str) -> None:
    admin = translate(
        f"admin: {{{log}, address: {{socket_address: {{address: 127.0.0.1, port_value: 15000}}}}}}"
    ).admin
    assert admin == AdminSpec(SocketAddress("127.0.0.1", 15000), (FileAccessLogSpec("/x"),))


def test_stats() -> None:
    bootstrap = translate(
        "{stats_flush_interval: 2s, stats_eviction_interval: 6s, stats_config: {use_all_default_tags: false, stats_tags: "
        '[{tag_name: a, regex: "^a(?=b)([[:digit:]]+)"}, {tag_name: b, fixed_value: c}, {tag_name: envoy.cluster_name}], '
        "stats_matcher: {inclusion_list: {patterns: [{prefix: a}]}}, histogram_bucket_settings: [{match: {prefix: h}, "
        "buckets: [5, 1]}]}}"
    )
    assert bootstrap.stats == StatsSpec(
        use_all_default_tags=False,
        tags=(
            TagSpecifier("a", "^a(?=b)([[:digit:]]+)"),
            TagSpecifier("b", fixed_value="c"),
            TagSpecifier("envoy.cluster_name"),
        ),
        matcher=StatsMatcher(inclusion=(StringMatcher(StringMatchKind.PREFIX, "a"),)),
        histogram_buckets=(HistogramBuckets(StringMatcher(StringMatchKind.PREFIX, "h"), (1.0, 5.0)),),
    )
    assert bootstrap.stats_flush_interval_s == 2.0
    assert bootstrap.stats_eviction_interval_s == 6.0


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        ("reject_all: true", StatsMatcher(reject_all=True)),
        ("reject_all: false", StatsMatcher()),
        (
            "exclusion_list: {patterns: [{suffix: a}]}",
            StatsMatcher(exclusion=(StringMatcher(StringMatchKind.SUFFIX, "a"),)),
        ),
    ],
)
def test_stats_matcher(flow: str, expected: StatsMatcher) -> None:
    assert translate(f"stats_config: {{stats_matcher: {{{flow}}}}}").stats.matcher == expected


def test_runtime_layers_are_flattened_and_later_ones_win() -> None:
    runtime = translate(
        'layered_runtime: {layers: [{name: a, static_layer: {x: {y: 1, z: true}, "p.q": abc}}, {name: b, static_layer: '
        "{x: {y: 2}, f: {numerator: 5, denominator: HUNDRED}}}, {name: c, admin_layer: {}}]}"
    ).runtime
    assert runtime == {
        "x.y": 2.0,
        "x.z": True,
        "p.q": "abc",
        "f": {"numerator": 5.0, "denominator": "HUNDRED"},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"overload_manager: {{resource_monitors: [{LIMIT}]}}", 77),
        (
            'layered_runtime: {layers: [{name: a, static_layer: {overload: {global_downstream_max_connections: "88"}}}]}',
            88,
        ),
        (
            "layered_runtime: {layers: [{name: a, static_layer: {overload.global_downstream_max_connections: 99}}]}",
            99,
        ),
        ("{}", None),
    ],
)
def test_limit_of_downstream_connections(text: str, expected: int | None) -> None:
    assert translate(text).global_max_downstream_connections == expected


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        ('text_format: "%v"', ApplicationLogFormat(text="%v")),
        ('json_format: {b: "%j", a: "%l"}', ApplicationLogFormat(json=(("a", "%l"), ("b", "%j")))),
    ],
)
def test_log_format(flow: str, expected: ApplicationLogFormat) -> None:
    assert translate(f"application_log_config: {{log_format: {{{flow}}}}}").log_format == expected


DISCOVERY = '"@type": type.googleapis.com/istio.workload.BootstrapExtension'


_UNUSED = (
    "bootstrap_extensions[0].typed_config: has no effect: no peer_metadata filter has workload_discovery"
)


def _peer_metadata(value: str) -> str:
    return (
        '[{name: p, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, '
        f"type_url: type.googleapis.com/io.istio.http.peer_metadata.Config, value: {{{value}}}}}}}, {ROUTER}]"
    )


@pytest.mark.parametrize(
    ("value", "warned"),
    [
        ("downstream_discovery: [{istio_headers: {}}, {workload_discovery: {}}]", False),
        ("upstream_discovery: [{workload_discovery: {}}]", False),
        ("downstream_discovery: [{istio_headers: {}}]", True),
        ("", True),
    ],
)
def test_workload_discovery_that_nobody_asks(value: str, warned: bool) -> None:
    extension = (
        f"bootstrap_extensions: [{{name: x, typed_config: {{{DISCOVERY}, config_source: {{path: /w}}}}}}]"
    )
    warnings = parse(http(filters=_peer_metadata(value)) + f"\n{extension}\n").warnings
    assert [_UNUSED in str(each) for each in warnings] == [True] * warned


def test_workload_discovery_for_tcp_peers() -> None:
    exchange = (
        '{name: m, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: '
        "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange, "
        "value: {protocol: istio-peer-exchange, enable_discovery: true}}}"
    )
    extension = (
        f"bootstrap_extensions: [{{name: x, typed_config: {{{DISCOVERY}, config_source: {{path: /w}}}}}}]"
    )
    assert parse(tcp(filters=f"[{exchange}, {ECHO}]") + f"\n{extension}\n").warnings == ()


@pytest.mark.parametrize("flow", ["path_config_source: {path: /w.yaml}", "path: /w.yaml"])
def test_workload_discovery(flow: str) -> None:
    extension = f"{{name: x, typed_config: {{{DISCOVERY}, config_source: {{{flow}}}}}}}"
    assert translate(f"bootstrap_extensions: [{extension}]").workload_discovery == WorkloadDiscoverySpec(
        "/w.yaml"
    )
    (problem,) = problems(f"bootstrap_extensions: [{extension}, {extension}]")
    assert problem.endswith(": bootstrap_extensions[1]: there is workload discovery already")


def test_workload_discovery_from_nowhere() -> None:
    (problem,) = problems(f"bootstrap_extensions: [{{name: x, typed_config: {{{DISCOVERY}}}}}]")
    assert problem.endswith(": says where workloads are told, and is missing")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("dynamic_resources: {lds_config: {ads: {}}}", "dynamic_resources"),
        ("flags_path: f", "flags_path"),
        ("cluster_manager: {load_stats_config: {}}", "cluster_manager.load_stats_config"),
        (
            "layered_runtime: {layers: [{name: a, disk_layer: {symlink_root: /x}}]}",
            "layered_runtime.layers[0].disk_layer",
        ),
        (
            (
                'bootstrap_extensions: [{name: x, typed_config: {"@type": type.googleapis.com/istio.workload.BootstrapExtension, '
                "config_source: {ads: {}}}}]"
            ),
            "bootstrap_extensions[0].typed_config.config_source.ads",
        ),
        (
            (
                f'overload_manager: {{resource_monitors: [{{name: h, typed_config: {{"@type": {EXTENSIONS}resource_monitors.'
                "fixed_heap.v3.FixedHeapConfig, max_heap_size_bytes: 9}}]}"
            ),
            "overload_manager.resource_monitors[0].typed_config",
        ),
    ],
)
def test_what_is_ignored_is_a_warning(text: str, path: str) -> None:
    parsed = parse(text)
    assert [warning.path for warning in parsed.warnings] == [path]
    assert all(warning.reason.startswith("ignored: ") for warning in parsed.warnings)
