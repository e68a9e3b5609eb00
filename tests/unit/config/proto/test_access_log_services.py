"""Access logs that go to a service."""

from __future__ import annotations

import pytest

from config.model.access_log import GrpcAccessLogSpec, OpenTelemetryAccessLogSpec
from config.model.network import TcpProxySpec
from config.model.services import GrpcServiceSpec, HttpServiceSpec
from config.model.tracing import LiteralTag
from tests.unit.config.bootstraps import EXTENSIONS, parse, problems, tcp

COMMON = "log_name: name, transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: c}}"
SERVICE = GrpcServiceSpec("c")


def bootstrap(kind: str, fields: str) -> str:
    log = f'{{name: a, typed_config: {{"@type": {EXTENSIONS}access_loggers.{kind}, {fields}}}}}'
    return tcp(fields=f"stat_prefix: x, cluster: c, access_log: [{log}]")


def log_of(kind: str, fields: str) -> object:
    (spec,) = parse(bootstrap(kind, fields)).bootstrap.listeners[0].filter_chains[0].filters
    assert isinstance(spec, TcpProxySpec)
    (log,) = spec.access_log
    return log


def test_the_access_log_service() -> None:
    assert log_of("grpc.v3.TcpGrpcAccessLogConfig", f"common_config: {{{COMMON}}}") == GrpcAccessLogSpec(
        False, "name", SERVICE
    )
    fields = (
        f"common_config: {{{COMMON}, buffer_flush_interval: 2.5s, buffer_size_bytes: 0, "
        "filter_state_objects_to_log: [wasm.upstream_peer], custom_tags: [{tag: t, literal: {value: v}}]}, additional_request_headers_to_log: [X-A], "
        "additional_response_headers_to_log: [X-B], additional_response_trailers_to_log: [X-C]"
    )
    assert log_of("grpc.v3.HttpGrpcAccessLogConfig", fields) == GrpcAccessLogSpec(
        True,
        "name",
        SERVICE,
        2.5,
        0,
        ("wasm.upstream_peer",),
        ("x-a",),
        ("x-b",),
        ("x-c",),
        (LiteralTag("t", "v"),),
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            f"common_config: {{{COMMON}, buffer_size_bytes: 7}}",
            OpenTelemetryAccessLogSpec("name", SERVICE, 1.0, 7),
        ),
        (
            (
                "log_name: name, grpc_service: {envoy_grpc: {cluster_name: c}}, buffer_flush_interval: 3s, "
                "disable_builtin_labels: true, stat_prefix: p"
            ),
            OpenTelemetryAccessLogSpec("name", SERVICE, 3.0, builtin_labels=False, stat_prefix="p"),
        ),
        (
            "http_service: {http_uri: {uri: 'http://logs.example/v1/logs', cluster: c, timeout: 1s}}",
            OpenTelemetryAccessLogSpec("", HttpServiceSpec("c", "logs.example", "/v1/logs", 1.0)),
        ),
        (
            (
                f"common_config: {{{COMMON}}}, body: {{string_value: '%PROTOCOL%'}}, attributes: {{values: [{{key: a, value: "
                "{kvlist_value: {values: [{key: b, value: {array_value: {values: [{string_value: x}]}}}]}}}]}, "
                "resource_attributes: {values: [{key: r, value: {string_value: v}}]}"
            ),
            OpenTelemetryAccessLogSpec(
                "name", SERVICE, body="%PROTOCOL%", attributes={"a": {"b": ["x"]}}, resource={"r": "v"}
            ),
        ),
    ],
)
def test_open_telemetry(fields: str, expected: OpenTelemetryAccessLogSpec) -> None:
    assert log_of("open_telemetry.v3.OpenTelemetryAccessLogConfig", fields) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("stat_prefix: x", "exactly one of"),
        (
            f"common_config: {{{COMMON}}}, http_service: {{http_uri: {{uri: 'http://a/', cluster: c, timeout: 1s}}}}",
            "exactly one of",
        ),
        (f"common_config: {{{COMMON}}}, body: {{int_value: 5}}", "only strings"),
        ("grpc_service: {envoy_grpc: {cluster_name: nowhere}}", "unknown cluster"),
    ],
)
def test_what_cannot_be_used_is_reported(fields: str, message: str) -> None:
    (problem,) = problems(bootstrap("open_telemetry.v3.OpenTelemetryAccessLogConfig", fields))
    assert message in problem
