"""Tracing as specs: of connection managers, of routes, and the tracers."""

from __future__ import annotations

import pytest

from config.model.http import HttpConnectionManagerSpec
from config.model.services import GrpcServiceSpec, HttpServiceSpec
from config.model.tracing import (
    Decorator,
    EnvironmentTag,
    FormatTag,
    LiteralTag,
    MetadataSource,
    MetadataTag,
    OpenTelemetrySpec,
    OtelSampler,
    RequestHeaderTag,
    RouteTracing,
    Sampling,
    TraceContextOption,
    TracingSpec,
    ZipkinSpec,
)
from tests.unit.config.bootstraps import parse, problems

TRACE = '"@type": type.googleapis.com/envoy.config.trace.v3.'
DETECTOR = '"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3.'
SAMPLER = '"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.'
GRPC = "grpc_service: {envoy_grpc: {cluster_name: app}}"


def bootstrap(tracing: str = "", route: str = "", more: str = "") -> str:
    manager = f", tracing: {{{tracing}}}" if tracing is not None else ""
    return f"""
{more}
static_resources:
  clusters: [{{name: app, type: STATIC}}]
  listeners:
  - name: l
    address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}}
    filter_chains:
    - filters:
      - name: h
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: s
          route_config:
            virtual_hosts:
            - {{name: v, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: app}}{route}}}]}}
          http_filters:
          - name: r
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          {manager.lstrip(", ")}
"""


def manager_of(text: str) -> HttpConnectionManagerSpec:
    spec = parse(text).bootstrap.listeners[0].filter_chains[0].filters[0]
    assert isinstance(spec, HttpConnectionManagerSpec)
    return spec


def tracing_of(fields: str) -> TracingSpec:
    spec = manager_of(bootstrap(fields)).tracing
    assert spec is not None
    return spec


def provider(config: str) -> str:
    return f"provider: {{name: t, typed_config: {{{config}}}}}"


def otel(fields: str) -> OpenTelemetrySpec:
    spec = tracing_of(provider(f"{TRACE}OpenTelemetryConfig, {fields}")).provider
    assert isinstance(spec, OpenTelemetrySpec)
    return spec


def zipkin(fields: str) -> ZipkinSpec:
    spec = tracing_of(provider(f"{TRACE}ZipkinConfig, {fields}")).provider
    assert isinstance(spec, ZipkinSpec)
    return spec


class TestManager:
    def test_defaults_are_envoys(self) -> None:
        assert tracing_of("verbose: false") == TracingSpec()
        assert TracingSpec().sampling == Sampling(1.0, 1.0, 1.0)
        assert TracingSpec().max_path_tag_length == 256

    def test_everything(self) -> None:
        spec = tracing_of(
            "client_sampling: {value: 50}, random_sampling: {value: 0.01}, overall_sampling: {value: 0}, "
            "verbose: true, max_path_tag_length: 7, spawn_upstream_span: true, operation: '%PROTOCOL%', "
            "upstream_operation: x"
        )
        assert spec == TracingSpec(
            sampling=Sampling(0.5, 0.0001, 0.0),
            verbose=True,
            max_path_tag_length=7,
            spawn_upstream_span=True,
            operation="%PROTOCOL%",
            upstream_operation="x",
        )

    def test_custom_tags(self) -> None:
        key = "metadata_key: {key: ns, path: [{key: a}, {key: b}]}"
        tags = ", ".join(
            (
                "{tag: l, literal: {value: v}}",
                "{tag: e, environment: {name: HOME, default_value: d}}",
                "{tag: h, request_header: {name: X-A, default_value: d}}",
                f"{{tag: m, metadata: {{kind: {{route: {{}}}}, {key}, default_value: d}}}}",
                "{tag: v, value: '%PROTOCOL%'}",
            )
        )
        assert tracing_of(f"custom_tags: [{tags}]").custom_tags == (
            LiteralTag("l", "v"),
            EnvironmentTag("e", "HOME", "d"),
            RequestHeaderTag("h", "x-a", "d"),
            MetadataTag("m", MetadataSource.ROUTE, "ns", ("a", "b"), "d"),
            FormatTag("v", "%PROTOCOL%"),
        )

    @pytest.mark.parametrize(
        ("fields", "problem"),
        [
            ("custom_tags: [{tag: m, metadata: {metadata_key: {key: ns, path: [{key: a}]}}}]", "metadata.kind"),
            ("custom_tags: [{tag: '', literal: {value: v}}]", "custom_tags[0].tag"),
            (provider(f"{TRACE}ZipkinConfig, collector_cluster: ap, collector_endpoint: /x, "
                      "collector_endpoint_version: HTTP_JSON"), "did you mean 'app'?"),
            (provider(f"{TRACE}ZipkinConfig, collector_cluster: app, collector_endpoint: /x"), "HTTP_JSON"),
            (provider(f"{TRACE}OpenTelemetryConfig, grpc_service: {{google_grpc: {{target_uri: a, "
                      "stat_prefix: b}}"), "google_grpc: refused"),
            (provider(f"{TRACE}OpenTelemetryConfig, {GRPC}, sampler: {{name: s, typed_config: {{{SAMPLER}"
                      "TraceIdRatioBasedSamplerConfig}}"), "not supported as a sampler"),
        ],
    )  # fmt: skip
    def test_problems(self, fields: str, problem: str) -> None:
        (found,) = problems(bootstrap(fields))
        assert problem in found

    def test_a_tracer_that_there_is_not(self) -> None:
        parsed = parse(bootstrap(provider(f"{TRACE}DatadogConfig, collector_cluster: app, service_name: s")))
        assert ["not traced" in str(warning) for warning in parsed.warnings] == [True]

    def test_the_tracer_of_the_bootstrap(self) -> None:
        legacy = (
            "tracing: {http: {name: z, typed_config: {"
            f"{TRACE}ZipkinConfig, collector_cluster: app, collector_endpoint: /x, "
            "collector_endpoint_version: HTTP_JSON}}}"
        )
        spec = manager_of(bootstrap("verbose: true", more=legacy)).tracing
        assert spec is not None
        assert spec.provider == ZipkinSpec(HttpServiceSpec("app", "app", "/x", 5.0))
        own = provider(f"{TRACE}OpenTelemetryConfig, {GRPC}")
        spec = manager_of(bootstrap(own, more=legacy)).tracing
        assert spec is not None
        assert isinstance(spec.provider, OpenTelemetrySpec)


def test_routes() -> None:
    route = (
        ", decorator: {operation: op, propagate: false}, tracing: {client_sampling: {numerator: 1}, "
        "random_sampling: {numerator: 1, denominator: TEN_THOUSAND}, overall_sampling: {numerator: 0}, "
        "custom_tags: [{tag: l, literal: {value: v}}], operation: o, upstream_operation: u}"
    )
    (spec,) = manager_of(bootstrap(route=route)).route_config.virtual_hosts[0].routes
    assert spec.decorator == Decorator("op", propagate=False)
    assert spec.tracing == RouteTracing(Sampling(0.01, 0.0001, 0.0), (LiteralTag("l", "v"),), "o", "u")


def test_routes_without() -> None:
    (spec,) = manager_of(bootstrap(route=", decorator: {operation: op}")).route_config.virtual_hosts[0].routes
    assert spec.decorator == Decorator("op")
    assert spec.tracing is None


class TestOpenTelemetry:
    def test_over_grpc(self) -> None:
        assert otel(GRPC) == OpenTelemetrySpec(GrpcServiceSpec("app"))

    def test_over_http(self) -> None:
        uri = "http_uri: {uri: 'http://otel:4318/v1/traces', cluster: app, timeout: 1s}"
        assert otel(f"http_service: {{{uri}}}, service_name: s, max_cache_size: 9") == OpenTelemetrySpec(
            http_service=HttpServiceSpec("app", "otel:4318", "/v1/traces", 1.0),
            service_name="s",
            max_cache_size=9,
        )

    def test_resource_detectors(self) -> None:
        detectors = (
            f"{{name: e, typed_config: {{{DETECTOR}EnvironmentResourceDetectorConfig}}}}, "
            f"{{name: s, typed_config: {{{DETECTOR}StaticConfigResourceDetectorConfig, attributes: {{a: b}}}}}}"
        )
        spec = otel(f"{GRPC}, resource_detectors: [{detectors}]")
        assert spec.attributes == (("a", "b"),)
        assert spec.from_environment

    def test_samplers(self) -> None:
        always = f"{{name: a, typed_config: {{{SAMPLER}AlwaysOnSamplerConfig}}}}"
        assert otel(f"{GRPC}, sampler: {always}").sampler is OtelSampler.ALWAYS_ON
        based = f"{{name: p, typed_config: {{{SAMPLER}ParentBasedSamplerConfig, wrapped_sampler: {always}}}}}"
        assert otel(f"{GRPC}, sampler: {based}").sampler is OtelSampler.PARENT_BASED


class TestZipkin:
    def test_cluster(self) -> None:
        spec = zipkin(
            "collector_cluster: app, collector_endpoint: /api/v2/spans, collector_endpoint_version: HTTP_JSON, "
            "collector_hostname: z:9411, trace_id_128bit: true, shared_span_context: false, "
            "split_spans_for_request: true, trace_context_option: USE_B3_WITH_W3C_PROPAGATION"
        )
        assert spec == ZipkinSpec(
            HttpServiceSpec("app", "z:9411", "/api/v2/spans", 5.0),
            trace_id_128bit=True,
            shared_span_context=False,
            split_spans=True,
            trace_context=TraceContextOption.USE_B3_WITH_W3C_PROPAGATION,
        )

    def test_service(self) -> None:
        spec = zipkin("collector_service: {http_uri: {uri: 'http://z/api', cluster: app, timeout: 2s}}")
        assert spec == ZipkinSpec(HttpServiceSpec("app", "z", "/api", 2.0))


def test_request_ids() -> None:
    kind = '"@type": type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig'
    extension = f"request_id_extension: {{typed_config: {{{kind}, pack_trace_reason: false}}}}"
    text = bootstrap("verbose: true").replace("stat_prefix: s", f"stat_prefix: s\n          {extension}")
    spec = manager_of(text).request_id
    assert (spec.pack_trace_reason, spec.use_request_id_for_trace_sampling) == (False, True)
