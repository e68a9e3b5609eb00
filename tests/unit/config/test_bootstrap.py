"""Bootstraps as a whole: several texts, options, warnings, what is kept for dumps."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

import config.bootstrap
from config.bootstrap import ParseOptions, Source, parse_bootstrap
from config.errors import ConfigErrors
from tests.unit.config.bootstraps import CLUSTER, ECHO, cluster, http, parse, problems, tcp

TESTS = Path(__file__).parents[2]
ISTIOD = sorted((TESTS / "golden" / "istiod_bootstrap").glob("*.json"))
SCENARIOS = sorted((TESTS / "conformance" / "data" / "scenarios").glob("*/*.static.yaml"))
#: What the scenarios need that is not supported: every message holds one of these.
UNSUPPORTED = (
    "InternalUpstreamTransport",
    "internal_listener",
    "tunneling_config",
    "connect_config",
    "set_filter_state",
    "rbac.v3.RBAC",
    "HeaderMutation",
    "network_filters.peer_metadata",
)


class TestSeveralTexts:
    def test_messages_merge_lists_append_scalars_replace(self) -> None:
        bootstrap = parse(
            "node: {id: a, cluster: b, metadata: {x: 1, y: {z: 2}}}\nstatic_resources: {clusters: [{name: one}]}",
            'node: {id: c, metadata: {y: {w: 3}}}\nstatic_resources: {"clusters": [{"name": "two"}]}',
        ).bootstrap
        assert bootstrap.node.id == "c"
        assert bootstrap.node.cluster == "b"
        assert bootstrap.node.metadata == {"x": 1.0, "y": {"w": 3.0}}
        assert [spec.name for spec in bootstrap.clusters] == ["one", "two"]

    def test_default_scalars_of_a_later_text_change_nothing(self) -> None:
        bootstrap = parse(
            "stats_config: {use_all_default_tags: false}\nnode: {id: a}",
            'node: {id: ""}\nstats_config: {use_all_default_tags: true}',
        ).bootstrap
        assert bootstrap.node.id == "a"
        assert bootstrap.stats.use_all_default_tags is True

    def test_errors_of_each_text_have_its_positions(self) -> None:
        assert problems("node:\n  idd: a\n", "\n\nnode: {idd: b}\n") == [
            "x.yaml:2:3: node.idd: unknown field in envoy.config.core.v3.Node; did you mean 'id'?",
            "--config-yaml:3:8: node.idd: unknown field in envoy.config.core.v3.Node; did you mean 'id'?",
        ]

    def test_errors_over_the_whole_point_into_the_right_text(self) -> None:
        first = f"static_resources:\n  clusters:{CLUSTER}"
        second = "static_resources:\n  clusters:\n  - {name: d}\n  - {name: c}\n"
        assert problems(first, second) == [
            "--config-yaml:4:12: static_resources.clusters[2].name: there is another cluster 'c'"
        ]

    def test_a_wrong_item_in_one_text_does_not_hide_another_at_the_same_index(self) -> None:
        first = "static_resources: {clusters: [{name: 5}]}"
        second = 'static_resources: {clusters: [{name: ""}]}'
        assert problems(first, second) == [
            "x.yaml:1:38: static_resources.clusters[0].name: expected a string, got the number 5 (write it in quotes)",
            "--config-yaml:1:38: static_resources.clusters[1].name: must not be empty",
        ]

    def test_references_go_across_texts(self) -> None:
        listener = "static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: "
        text = tcp().split("listeners:")[0]
        assert problems(text, f"{listener}[{{filters: [{ECHO}]}}]}}]}}") == []

    def test_a_syntax_error_in_one_does_not_hide_errors_in_the_other(self) -> None:
        assert [line.split(": ")[0] for line in problems("node: [}", "nodes: {}")] == [
            "x.yaml:1:8",
            "--config-yaml:1:1",
        ]


class TestAnotherKindOfFile:
    _WHAT = (
        "this does not look like a bootstrap: it has none of its fields (node, admin, static_resources, ...)"
    )

    def test_its_keys_are_not_all_echoed(self) -> None:
        lines = problems("".join(f"key{n}: {{secret: {n}}}\n" for n in range(200)))
        assert len(lines) == 11
        assert lines[0].startswith(f"x.yaml:1:1: {self._WHAT}")
        assert lines[1] == "x.yaml:1:1: key0: unknown field in envoy.config.bootstrap.v3.Bootstrap"
        assert (
            lines[10]
            == "x.yaml:10:1: key9: unknown field in envoy.config.bootstrap.v3.Bootstrap (and 190 more)"
        )

    def test_unknown_fields_of_an_inner_message_are_bounded(self) -> None:
        lines = problems("node:\n" + "".join(f"  zork{n}: 1\n" for n in range(12)))
        assert len(lines) == 10
        assert lines[9] == "x.yaml:11:3: node.zork9: unknown field in envoy.config.core.v3.Node (and 2 more)"

    @pytest.mark.parametrize(
        "text", ["nodes: {id: a}", "nodes: 1\nadmn: 1\nstatic_resource: 1", "node: {id: a}", "{}"]
    )
    def test_a_misspelt_bootstrap_is_one(self, text: str) -> None:
        assert not any(self._WHAT in line for line in problems(text))

    def test_it_is_a_warning_where_unknown_fields_are_allowed(self) -> None:
        (first, _) = parse("apiVersion: v1", allow_unknown=True).warnings
        assert self._WHAT in str(first)


class TestOptions:
    def test_unknown_fields_are_warnings_if_allowed(self) -> None:
        parsed = parse("nodes: {id: a}\nnode: {id: b, zork: [1]}", allow_unknown=True)
        assert parsed.bootstrap.node.id == "b"
        assert [str(warning) for warning in parsed.warnings] == [
            "x.yaml:1:1: nodes: unknown field in envoy.config.bootstrap.v3.Bootstrap; did you mean 'node'? (ignored)",
            "x.yaml:2:15: node.zork: unknown field in envoy.config.core.v3.Node (ignored)",
        ]

    def test_wrong_values_stay_errors_if_unknown_fields_are_allowed(self) -> None:
        with pytest.raises(ConfigErrors):
            parse("node: {id: 5}", allow_unknown=True)

    def test_formats_are_judged_by_the_callers_function(self) -> None:
        def check(text: str, extensions: tuple[str, ...]) -> str | None:
            return "no such operator: %NOPE%" if "%NOPE%" in text else None

        log = "{name: a, typed_config: {'@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, "
        texts = [
            http(f"access_log: [{log}path: /x, format: '%NOPE%'}}}}]"),
            http(f"access_log: [{log}path: /x, log_format: {{text_format: '%NOPE%'}}}}}}]"),
            http(
                f"access_log: [{log}path: /x, log_format: {{text_format_source: {{inline_string: '%NOPE%'}}}}}}}}]"
            ),
            http(config="request_headers_to_add: [{header: {key: a, value: '%NOPE%'}}],"),
        ]
        for text in texts:
            with pytest.raises(ConfigErrors, match="no such operator"):
                parse_bootstrap([Source("a", text)], ParseOptions(check_format=check))
            assert parse_bootstrap(
                [Source("a", text.replace("%NOPE%", "%OK%"))], ParseOptions(check_format=check)
            )


class TestAllAtOnce:
    def test_every_problem_is_reported_in_the_order_of_the_text(self) -> None:
        text = """
node: {idd: x}
static_resources:
  clusters:
  - name: c
    connect_timeout: 5
    lb_policy: ROUND_ROBBIN
  - name: c
    type: LOGICAL_DNS
stats_flush_interval: 0.0001s
"""
        assert [re.sub(r"^x.yaml:(\d+):.*", r"\1", line) for line in problems(text)] == [
            "2",
            "6",
            "7",
            "8",
            "8",
            "10",
        ]

    def test_one_mistake_gives_one_message(self) -> None:
        assert len(problems(tcp("stat_prefx: x, cluster: c"))) == 1
        assert len(problems(cluster("{nam: d}"))) == 1
        assert len(problems(cluster("{name: d, load_assignment: {cluster_name: d, endpoints: 5}}"))) == 1


def test_the_message_is_kept_as_it_was_given() -> None:
    message = parse(
        '{"node": {"id": "a"}, "bootstrapExtensions": [{"name": "x", "typedConfig": {"@type": '
        '"type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": '
        '"type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"}}]}'
    ).message
    assert message.DESCRIPTOR.full_name == "envoy.config.bootstrap.v3.Bootstrap"
    assert message.bootstrap_extensions[0].typed_config.type_url.endswith("/udpa.type.v1.TypedStruct")  # type: ignore[attr-defined]  # a generated message


@pytest.mark.parametrize("path", ISTIOD, ids=lambda path: path.stem)
def test_bootstraps_of_pilot_agent_give_warnings_only(path: Path) -> None:
    parsed = parse_bootstrap([Source(path.name, path.read_text())])
    assert {"prometheus_stats", "agent", "sds-grpc", "xds-grpc"} <= {
        spec.name for spec in parsed.bootstrap.clusters
    }
    assert {"0.0.0.0_15090", "0.0.0.0_15021"} <= {spec.name for spec in parsed.bootstrap.listeners}
    assert parsed.bootstrap.global_max_downstream_connections
    assert parsed.bootstrap.node.id.startswith("sidecar~")
    assert any(warning.path == "dynamic_resources" for warning in parsed.warnings)


def test_there_are_bootstraps_of_pilot_agent() -> None:
    assert len(ISTIOD) == 17


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_static_bootstraps_of_the_conformance_scenarios(path: Path) -> None:
    ports: dict[str, str] = {}
    text = re.sub(
        r"\$\{(PORT_\w+)\}", lambda m: ports.setdefault(m[1], str(20000 + len(ports))), path.read_text()
    )
    try:
        parsed = parse_bootstrap([Source(path.name, text.replace("${CERT_DIR}", "/certs"))])
    except ConfigErrors as refused:
        assert all(any(word in str(error) for word in UNSUPPORTED) for error in refused.errors)
    else:
        assert parsed.bootstrap.listeners
        assert parsed.bootstrap.clusters


def test_json_is_read_by_its_own_rules_of_numbers() -> None:
    parsed = parse_bootstrap(
        [Source("a.json", json.dumps({"node": {"metadata": {"a": 1.5, "b": "1.5", "c": 2**40}}}))]
    )
    assert parsed.bootstrap.node.metadata == {"a": 1.5, "b": "1.5", "c": float(2**40)}


def test_fifty_listeners_are_read_fast() -> None:
    """A generous bound: the real time is a tenth of it."""
    listeners = "".join(
        f"""
  - name: l{number}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {20000 + number}}}}}
    filter_chains:
    - filters: [{ECHO}]"""
        for number in range(50)
    )
    text = f"static_resources:\n  listeners:{listeners}"
    parse(text)
    started = time.perf_counter()
    assert len(parse(text).bootstrap.listeners) == 50
    assert time.perf_counter() - started < 2.0


def test_the_public_names() -> None:
    assert set(config.bootstrap.__all__) == {
        "ParseOptions",
        "ParsedBootstrap",
        "Source",
        "parse_bootstrap",
        "redact",
    }


def test_a_misspelt_field_hides_nothing_of_the_one_that_is_there() -> None:
    found = problems(
        "static_resources:\n  clusters:\n  - {name: c, connect_timeout: 0s, conect_timeout: 1s}\n"
    )
    assert [line.partition(": ")[2].partition(";")[0] for line in found] == [
        "static_resources.clusters[0].connect_timeout: must be greater than 0s",
        "static_resources.clusters[0].conect_timeout: unknown field in envoy.config.cluster.v3.Cluster",
    ]
