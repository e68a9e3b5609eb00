"""The HTTP connection manager and HTTP filters as specs."""

from __future__ import annotations

import pytest

from config.model.access_log import FileAccessLogSpec
from config.model.core import CidrRange
from config.model.http import (
    CodecType,
    ForwardClientCertDetails,
    HeadersWithUnderscoresAction,
    Http1Options,
    HttpConnectionManagerSpec,
    HttpFilterConfig,
    PathWithEscapedSlashesAction,
    RouterSpec,
    ServerHeaderTransformation,
    SetCurrentClientCertDetails,
    UpgradeConfig,
)
from config.model.istio import (
    AlpnOverrideSpec,
    AlpnUpstreamProtocol,
    IstioHeadersMethod,
    IstioStatsSpec,
    MetricConfig,
    MetricDefinition,
    MetricType,
    PeerMetadataSpec,
    Reporter,
    WorkloadDiscoveryMethod,
)
from config.model.route import (
    PathMatchKind,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    RouteSpec,
    VirtualHost,
)
from tests.unit.config.bootstraps import EXTENSIONS, ROUTER, http, parse

ROUTES = RouteConfiguration(
    name="r",
    virtual_hosts=(
        VirtualHost(
            "v", ("*",), (RouteSpec(RouteMatch(PathMatchKind.PREFIX, "/"), RouteAction(cluster="c")),)
        ),
    ),
)


def manager(fields: str = "", **rest: str) -> HttpConnectionManagerSpec:
    spec = parse(http(fields, **rest)).bootstrap.listeners[0].filter_chains[0].filters[0]
    assert isinstance(spec, HttpConnectionManagerSpec)
    return spec


def typed_struct(type_url: str, value: str) -> str:
    return (
        '{name: f, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, '
        f"type_url: {type_url}, value: {value}}}}}"
    )


def first_filter(type_url: str, value: str) -> object:
    return manager(filters=f"[{typed_struct(type_url, value)}, {ROUTER}]").http_filters[0].spec


def test_defaults_are_envoys() -> None:
    assert manager() == HttpConnectionManagerSpec(
        stat_prefix="x", route_config=ROUTES, http_filters=(HttpFilterConfig("r", RouterSpec()),)
    )


def test_everything_that_is_honoured() -> None:
    spec = manager(f"""codec_type: HTTP1
          common_http_protocol_options:
            idle_timeout: 0s
            max_connection_duration: 2s
            max_stream_duration: 3s
            max_headers_count: 50
            headers_with_underscores_action: DROP_HEADER
            max_requests_per_connection: 6
          http_protocol_options:
            accept_http_10: true
            default_host_for_http_10: h
            enable_trailers: true
            allow_absolute_url: false
          server_name: s
          server_header_transformation: PASS_THROUGH
          max_request_headers_kb: 10
          stream_idle_timeout: 0s
          request_timeout: 4s
          request_headers_timeout: 5s
          drain_timeout: 6s
          delayed_close_timeout: 0s
          use_remote_address: true
          xff_num_trusted_hops: 1
          skip_xff_append: true
          append_x_forwarded_port: true
          internal_address_config: {{cidr_ranges: [{{address_prefix: 10.1.0.0, prefix_len: 8}}]}}
          via: v
          generate_request_id: false
          preserve_external_request_id: true
          always_set_request_id_in_response: true
          forward_client_cert_details: SANITIZE_SET
          set_current_client_cert_details: {{subject: true, cert: true, chain: true, dns: true, uri: true}}
          proxy_100_continue: true
          normalize_path: true
          merge_slashes: true
          path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT
          strip_any_host_port: true
          strip_trailing_host_dot: true
          upgrade_configs: [{{upgrade_type: WebSocket}}, {{upgrade_type: connect, enabled: false}}]
          access_log: [{{name: a, typed_config: {{"@type": {EXTENSIONS}access_loggers.stream.v3.StdoutAccessLog}}}}]""")
    assert spec == HttpConnectionManagerSpec(
        stat_prefix="x",
        route_config=ROUTES,
        http_filters=(HttpFilterConfig("r", RouterSpec()),),
        codec_type=CodecType.HTTP1,
        idle_timeout_s=None,
        stream_idle_timeout_s=None,
        request_timeout_s=4.0,
        request_headers_timeout_s=5.0,
        max_stream_duration_s=3.0,
        max_connection_duration_s=2.0,
        max_requests_per_connection=6,
        drain_timeout_s=6.0,
        delayed_close_timeout_s=None,
        max_request_headers_kb=10,
        max_headers_count=50,
        headers_with_underscores_action=HeadersWithUnderscoresAction.DROP_HEADER,
        http1=Http1Options(
            allow_absolute_url=False,
            accept_http_10=True,
            default_host_for_http_10="h",
            enable_trailers=True,
        ),
        use_remote_address=True,
        xff_num_trusted_hops=1,
        skip_xff_append=True,
        append_x_forwarded_port=True,
        internal_address_ranges=(CidrRange("10.0.0.0", 8),),
        via="v",
        server_name="s",
        server_header_transformation=ServerHeaderTransformation.PASS_THROUGH,
        generate_request_id=False,
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        forward_client_cert_details=ForwardClientCertDetails.SANITIZE_SET,
        set_current_client_cert_details=SetCurrentClientCertDetails(True, True, True, True, True),
        proxy_100_continue=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action=PathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT,
        strip_any_host_port=True,
        strip_trailing_host_dot=True,
        upgrade_configs=(UpgradeConfig("websocket"), UpgradeConfig("connect", False)),
        access_log=(FileAccessLogSpec("/dev/stdout"),),
    )


def test_router() -> None:
    spec = manager(
        filters=f'[{{name: r, typed_config: {{"@type": {EXTENSIONS}filters.http.router.v3.Router, '
        "suppress_envoy_headers: true, respect_expected_rq_timeout: true}}]"
    )
    assert spec.http_filters[0].spec == RouterSpec(
        suppress_envoy_headers=True, respect_expected_rq_timeout=True
    )


def test_istio_stats() -> None:
    spec = first_filter(
        "type.googleapis.com/stats.PluginConfig",
        "{disable_host_header_fallback: true, tcp_reporting_duration: 1s, reporter: SERVER_GATEWAY, metrics: [{name: m, "
        'dimensions: {b: "1", a: "2"}, tags_to_remove: [t], drop: true}], definitions: [{name: d, value: v, '
        "type: HISTOGRAM}]}",
    )
    assert spec == IstioStatsSpec(
        disable_host_header_fallback=True,
        tcp_reporting_duration_s=1.0,
        metrics=(MetricConfig("m", (("a", "2"), ("b", "1")), ("t",), True),),
        definitions=(MetricDefinition("d", "v", MetricType.HISTOGRAM),),
        reporter=Reporter.SERVER_GATEWAY,
    )


def test_istio_stats_defaults() -> None:
    assert first_filter("stats.PluginConfig", "{}") == IstioStatsSpec()


@pytest.mark.parametrize(
    ("fields", "rotation_s", "graceful_s"),
    [
        ("rotation_interval: 600s", 600, 300),
        ("rotation_interval: 10s, graceful_deletion_interval: 1s", 10, 1),
        ("graceful_deletion_interval: 7s", 0, 7),
        ("rotation_interval: 300s", 0, 300),  # the graceful time must be less
        ("rotation_interval: 10s, graceful_deletion_interval: 0.5s", 0, 0.5),
    ],
)
def test_istio_stats_rotation(fields: str, rotation_s: float, graceful_s: float) -> None:
    spec = first_filter("stats.PluginConfig", f"{{{fields}}}")
    assert spec == IstioStatsSpec(rotation_interval_s=rotation_s, graceful_deletion_interval_s=graceful_s)


def test_a_rotation_that_cannot_be_is_told() -> None:
    value = typed_struct("stats.PluginConfig", "{rotation_interval: 300s}")
    (warning,) = parse(http(filters=f"[{value}, {ROUTER}]")).warnings
    assert "rotation_interval: ignored: graceful_deletion_interval (300s) must be" in str(warning)


def test_peer_metadata_leaves_out_methods_it_does_not_know() -> None:
    spec = first_filter(
        "io.istio.http.peer_metadata.Config",
        "{downstream_discovery: [{istio_headers: {}}, {workload_discovery: {}}, {baggage: {}}, {}, "
        "{upstream_filter_state: {peer_metadata_key: k}}], upstream_discovery: [{workload_discovery: {}}], "
        "downstream_propagation: [{istio_headers: {}}], upstream_propagation: [{istio_headers: {skip_external_clusters: "
        "true}}, {baggage: {}}], additional_labels: [l]}",
    )
    assert spec == PeerMetadataSpec(
        downstream_discovery=(IstioHeadersMethod(), WorkloadDiscoveryMethod()),
        upstream_discovery=(WorkloadDiscoveryMethod(),),
        downstream_propagation=(IstioHeadersMethod(),),
        upstream_propagation=(IstioHeadersMethod(True),),
        additional_labels=("l",),
    )


def test_cm_5_expressions_that_do_not_parse_are_warned_of_once() -> None:
    """They are no error: the traffic must not suffer from a metric."""
    filters = typed_struct(
        "type.googleapis.com/stats.PluginConfig",
        '{metrics: [{name: m, match: "a b", dimensions: {a: "1", b: "(", c: cannot_evaluate}}, {match: "a == 1"}], '
        "definitions: [{name: d, value: v}, {name: e}]}",
    )
    warnings = parse(http(filters=f"[{filters}, {ROUTER}]")).warnings
    assert [each.path.rpartition("typed_config.")[2] for each in warnings] == [
        "value.metrics[0].match",
        'value.metrics[0].dimensions["b"]',
        "value.definitions[1].value",
    ]
    assert all(each.reason.startswith("left out, not a CEL expression: 1:") for each in warnings)
    assert all(each.position for each in warnings[:2])


def test_alpn_override() -> None:
    spec = first_filter(
        "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        "{alpn_override: [{alpn_override: [a, b]}, {upstream_protocol: HTTP2, alpn_override: [c]}]}",
    )
    assert spec == AlpnOverrideSpec(
        ((AlpnUpstreamProtocol.HTTP10, ("a", "b")), (AlpnUpstreamProtocol.HTTP2, ("c",)))
    )


@pytest.mark.parametrize("kind", ["compressor.v3.Compressor", "cors.v3.Cors", "fault.v3.HTTPFault"])
def test_filters_that_are_skipped_with_a_warning(kind: str) -> None:
    library = (
        f', compressor_library: {{name: g, typed_config: {{"@type": {EXTENSIONS}compression.gzip.compressor.v3.Gzip}}}}'
        if "compressor" in kind
        else ""
    )
    parsed = parse(
        http(
            filters=f'[{{name: s, typed_config: {{"@type": {EXTENSIONS}filters.http.{kind}{library}}}}}, {ROUTER}]'
        )
    )
    spec = parsed.bootstrap.listeners[0].filter_chains[0].filters[0]
    assert isinstance(spec, HttpConnectionManagerSpec)
    assert [item.name for item in spec.http_filters] == ["r"]
    assert [warning.reason.partition(":")[0] for warning in parsed.warnings] == ["ignored"]


def test_disabled_filters_keep_their_place() -> None:
    filters = f"[{typed_struct('stats.PluginConfig', '{}')[:-1]}, disabled: true}}, {ROUTER}]"
    assert [item.disabled for item in manager(filters=filters).http_filters] == [True, False]


@pytest.mark.parametrize("kind", ["", "a b"])
def test_an_upgrade_that_nobody_can_ask_for_is_warned_of(kind: str) -> None:
    warnings = parse(http(f"upgrade_configs: [{{upgrade_type: '{kind}'}}]")).warnings
    assert [(each.path.rpartition("typed_config.")[2], each.reason) for each in warnings] == [
        ("upgrade_configs[0].upgrade_type", f"'{kind}' is no protocol that a request can ask for")
    ]


@pytest.mark.parametrize("label", ["", "a-b", "1a", "le", "quantile"])
def test_a_label_that_would_make_the_page_unreadable_is_left_out(label: str) -> None:
    value = f'{{metrics: [{{dimensions: {{"{label}": request.host, ok: request.host}}}}]}}'
    stats = typed_struct("type.googleapis.com/stats.PluginConfig", value)
    parsed = parse(http(filters=f"[{stats}, {ROUTER}]"))
    (spec, *_) = manager(filters=f"[{stats}, {ROUTER}]").http_filters
    assert isinstance(spec.spec, IstioStatsSpec)
    assert spec.spec.metrics[0].dimensions == (("ok", "request.host"),)
    assert [each.reason for each in parsed.warnings] == ["left out: not the name of a label"]
