"""The HTTP filters for gRPC as specs."""

from __future__ import annotations

import pytest

from config.model.grpc import GrpcStatsSpec, GrpcWebSpec
from config.model.http import HttpConnectionManagerSpec
from tests.unit.config.bootstraps import EXTENSIONS, ROUTER, http, parse, problems


def filters(kind: str, fields: str = "") -> str:
    return f'[{{name: g, typed_config: {{"@type": {EXTENSIONS}filters.http.{kind}{fields}}}}}, {ROUTER}]'


def first_spec(kind: str, fields: str = "") -> object:
    parsed = parse(http(filters=filters(kind, fields)))
    assert parsed.warnings == ()
    manager = parsed.bootstrap.listeners[0].filter_chains[0].filters[0]
    assert isinstance(manager, HttpConnectionManagerSpec)
    return manager.http_filters[0].spec


def stats(fields: str = "") -> object:
    return first_spec("grpc_stats.v3.FilterConfig", fields)


def test_web() -> None:
    assert first_spec("grpc_web.v3.GrpcWeb") == GrpcWebSpec()


def test_defaults_are_envoys() -> None:
    assert stats() == GrpcStatsSpec(emit_filter_state=False, stats_for_all_methods=False)


def test_what_istiod_sends() -> None:
    assert stats(", emit_filter_state: true, stats_for_all_methods: false") == GrpcStatsSpec(
        emit_filter_state=True
    )


def test_everything() -> None:
    fields = (
        ", stats_for_all_methods: true, enable_upstream_stats: true, replace_dots_in_grpc_service_name: true"
    )
    assert stats(fields) == GrpcStatsSpec(
        stats_for_all_methods=True, enable_upstream_stats=True, replace_dots_in_grpc_service_name=True
    )


def test_allowlist() -> None:
    services = "{name: a.B, method_names: [C, D]}, {name: E, method_names: [C]}"
    spec = stats(f", individual_method_stats_allowlist: {{services: [{services}]}}")
    assert spec == GrpcStatsSpec(allowlist=frozenset({("a.B", "C"), ("a.B", "D"), ("E", "C")}))


@pytest.mark.parametrize(
    ("service", "wrong"), [("{method_names: [C]}", "name"), ("{name: a.B}", "method_names")]
)
def test_service_without_a_name_or_methods_is_refused(service: str, wrong: str) -> None:
    fields = f", individual_method_stats_allowlist: {{services: [{service}]}}"
    (problem,) = problems(http(filters=filters("grpc_stats.v3.FilterConfig", fields)))
    assert f"services[0].{wrong}: must" in problem
