"""Cluster messages as specs."""

from __future__ import annotations

import pytest
from msgspec import structs

from config.model.cluster import (
    CircuitBreakerThresholds,
    ClusterSpec,
    DiscoveryType,
    DnsLookupFamily,
    LbPolicy,
    RawBufferSpec,
    TcpKeepalive,
    UpstreamHttpOptions,
    UpstreamHttpProtocol,
)
from config.model.core import (
    InternalAddress,
    Locality,
    Metadata,
    PipeAddress,
    RoutingPriority,
    SocketAddress,
)
from config.model.endpoint import ClusterLoadAssignment, HealthStatus, LbEndpoint, LocalityLbEndpoints
from config.model.istio import MetadataExchangeSpec
from config.model.tls import UpstreamTlsContext
from tests.unit.config.bootstraps import ENDPOINTS, EXTENSIONS, cluster, parse, problems

OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def translate(flow: str) -> ClusterSpec:
    return parse(cluster(flow)).bootstrap.clusters[1]


_TLS = f'{{name: t, typed_config: {{"@type": {EXTENSIONS}transport_sockets.tls.v3.UpstreamTlsContext}}}}'


def http_options(fields: str) -> UpstreamHttpOptions:
    extension = f'{{{OPTIONS}: {{"@type": {EXTENSIONS}upstreams.http.v3.HttpProtocolOptions, {fields}}}}}'
    return translate(
        f"{{name: d, transport_socket: {_TLS}, typed_extension_protocol_options: {extension}}}"
    ).http_options


def test_defaults_are_envoys() -> None:
    assert translate("{name: d}") == ClusterSpec(name="d", stat_name="d")


def test_everything_that_is_honoured() -> None:
    spec = translate(
        '{name: d, alt_stat_name: "d;", type: STRICT_DNS, connect_timeout: 0.25s, lb_policy: LEAST_REQUEST, '
        "least_request_lb_config: {choice_count: 3}, per_connection_buffer_limit_bytes: 32768, "
        "dns_refresh_rate: 60s, dns_lookup_family: V4_PREFERRED, cleanup_interval: 9s, "
        "common_lb_config: {healthy_panic_threshold: {value: 12.5}}, "
        "upstream_connection_options: {tcp_keepalive: {keepalive_probes: 1, keepalive_time: 2, keepalive_interval: 3}}, "
        "metadata: {filter_metadata: {istio: {config: /x, n: 5}}}, load_assignment: {cluster_name: e, endpoints: "
        "[{locality: {region: r, zone: z}, priority: 1, lb_endpoints: [{health_status: "
        "DRAINING, load_balancing_weight: 3, metadata: {filter_metadata: {a: {b: [c, null]}}}, endpoint: {hostname: h, "
        "address: {socket_address: {address: example.com, port_value: 80}}}}]}]}}"
    )
    assert spec == ClusterSpec(
        name="d",
        stat_name="d;",
        discovery_type=DiscoveryType.STRICT_DNS,
        connect_timeout_s=0.25,
        lb_policy=LbPolicy.LEAST_REQUEST,
        least_request_choice_count=3,
        per_connection_buffer_limit_bytes=32768,
        dns_refresh_rate_s=60.0,
        dns_lookup_family=DnsLookupFamily.V4_PREFERRED,
        cleanup_interval_s=9.0,
        healthy_panic_threshold=0.125,
        tcp_keepalive=TcpKeepalive(1, 2, 3),
        metadata=Metadata({"istio": {"config": "/x", "n": 5.0}}),
        load_assignment=ClusterLoadAssignment(
            "e",
            (
                LocalityLbEndpoints(
                    endpoints=(
                        LbEndpoint(
                            SocketAddress("example.com", 80),
                            hostname="h",
                            weight=3,
                            health_status=HealthStatus.DRAINING,
                            metadata=Metadata({"a": {"b": ["c", None]}}),
                        ),
                    ),
                    locality=Locality("r", "z"),
                    priority=1,
                ),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("pipe: {path: ./x, mode: 0600}", PipeAddress("./x", 0o600)),
        (
            "envoy_internal_address: {server_listener_name: l, endpoint_id: e}",
            InternalAddress("l", "e"),
        ),
        ('socket_address: {address: "::1", port_value: 5}', SocketAddress("::1", 5)),
    ],
)
def test_addresses(address: str, expected: object) -> None:
    spec = translate(
        f"{{name: d, load_assignment: {{cluster_name: d, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{{address}}}}}}}]}}]}}}}"
    )
    assert spec.load_assignment is not None
    assert spec.load_assignment.localities[0].endpoints[0].address == expected


def test_original_destination() -> None:
    spec = translate(
        "{name: d, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, original_dst_lb_config: {use_http_header: true, "
        "http_header_name: X-To, upstream_port_override: 99}, upstream_bind_config: {source_address: {address: 127.0.0.6, "
        'port_value: 0}, extra_source_addresses: [{address: {address: "::6", port_value: 0}}]}}'
    )
    assert spec.discovery_type is DiscoveryType.ORIGINAL_DST
    assert spec.lb_policy is LbPolicy.CLUSTER_PROVIDED
    assert spec.original_dst_use_http_header == "x-to"
    assert spec.original_dst_port_override == 99
    assert spec.upstream_bind_address == SocketAddress("127.0.0.6", 0)
    assert spec.extra_bind_addresses == (SocketAddress("::6", 0),)


def test_original_destination_header_has_a_default_name() -> None:
    spec = translate(
        "{name: d, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, original_dst_lb_config: {use_http_header: true}}"
    )
    assert spec.original_dst_use_http_header == "x-envoy-original-dst-host"


def test_circuit_breakers_of_the_priority_not_named_are_the_defaults() -> None:
    spec = translate(
        "{name: d, circuit_breakers: {thresholds: [{priority: HIGH, max_connections: 5, max_pending_requests: 6, "
        "max_requests: 7, max_retries: 8, track_remaining: true}, {priority: HIGH, max_connections: 1}]}}"
    )
    assert spec.circuit_breakers == {
        RoutingPriority.DEFAULT: CircuitBreakerThresholds(),
        RoutingPriority.HIGH: CircuitBreakerThresholds(5, 6, 7, 8, True),
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("explicit_http_config: {http2_protocol_options: {}}", UpstreamHttpProtocol.HTTP2),
        ("explicit_http_config: {http_protocol_options: {}}", UpstreamHttpProtocol.HTTP1),
        ("use_downstream_protocol_config: {}", UpstreamHttpProtocol.USE_DOWNSTREAM),
        ("auto_config: {}", UpstreamHttpProtocol.AUTO),
    ],
)
def test_upstream_protocol(fields: str, expected: UpstreamHttpProtocol) -> None:
    assert http_options(fields).protocol is expected


_AUTO = f'typed_extension_protocol_options: {{{OPTIONS}: {{"@type": {EXTENSIONS}upstreams.http.v3.HttpProtocolOptions, auto_config: {{}}}}}}'
_RAW = f'{{name: r, typed_config: {{"@type": {EXTENSIONS}transport_sockets.raw_buffer.v3.RawBuffer}}}}'


@pytest.mark.parametrize(
    ("fields", "places"),
    [
        (f"transport_socket: {_TLS}", []),
        ("", [f'typed_extension_protocol_options["{OPTIONS}"].auto_config: needs TLS']),
        (
            (
                f"transport_socket: {_TLS}, transport_socket_matches: [{{name: a, match: {{}}, transport_socket: {_TLS}}}, "
                f"{{name: b, match: {{}}, transport_socket: {_RAW}}}]"
            ),
            ["transport_socket_matches[1].transport_socket: auto_config needs TLS"],
        ),
    ],
)
def test_auto_config_needs_alpn(fields: str, places: list[str]) -> None:
    found = problems(cluster(f"{{name: d, {_AUTO}, {fields}}}"))
    assert len(found) == len(places)
    for problem, place in zip(found, places, strict=True):
        assert f": static_resources.clusters[1].{place}" in problem


def test_auto_san_validation_needs_a_name_to_validate() -> None:
    extension = (
        f'{{{OPTIONS}: {{"@type": {EXTENSIONS}upstreams.http.v3.HttpProtocolOptions, explicit_http_config: '
        "{http_protocol_options: {}}, upstream_http_protocol_options: {auto_san_validation: true}}}"
    )
    (problem,) = problems(cluster(f"{{name: d, typed_extension_protocol_options: {extension}}}"))
    assert problem.endswith("upstream_http_protocol_options.auto_san_validation: refused without auto_sni")


def test_http_options() -> None:
    options = http_options(
        "common_http_protocol_options: {idle_timeout: 0s, max_connection_duration: 6s, max_requests_per_connection: 7, "
        "max_headers_count: 8, max_response_headers_kb: 9}, upstream_http_protocol_options: {auto_sni: true, "
        "auto_san_validation: true}, explicit_http_config: {http_protocol_options: {enable_trailers: true}}"
    )
    assert options == UpstreamHttpOptions(
        protocol=UpstreamHttpProtocol.HTTP1,
        idle_timeout_s=None,
        max_connection_duration_s=6.0,
        max_requests_per_connection=7,
        max_response_headers_kb=9,
        max_headers_count=8,
        auto_sni=True,
        auto_san_validation=True,
        enable_trailers=True,
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("http2_protocol_options: {}", UpstreamHttpOptions(protocol=UpstreamHttpProtocol.HTTP2)),
        (
            "protocol_selection: USE_DOWNSTREAM_PROTOCOL",
            UpstreamHttpOptions(protocol=UpstreamHttpProtocol.USE_DOWNSTREAM),
        ),
        ("common_http_protocol_options: {idle_timeout: 9s}", UpstreamHttpOptions(idle_timeout_s=9.0)),
        ("upstream_http_protocol_options: {auto_sni: true}", UpstreamHttpOptions(auto_sni=True)),
        ("max_requests_per_connection: 4", UpstreamHttpOptions(max_requests_per_connection=4)),
    ],
)
def test_deprecated_http_fields_of_the_cluster(fields: str, expected: UpstreamHttpOptions) -> None:
    assert translate(f"{{name: d, {fields}}}").http_options == expected


def test_http_protocol_options_win_over_the_deprecated_fields() -> None:
    extension = (
        f'{{{OPTIONS}: {{"@type": {EXTENSIONS}upstreams.http.v3.HttpProtocolOptions, '
        "explicit_http_config: {http2_protocol_options: {}}}}"
    )
    spec = translate(
        f"{{name: d, max_requests_per_connection: 1, common_http_protocol_options: {{idle_timeout: 9s}}, "
        f"typed_extension_protocol_options: {extension}}}"
    )
    assert spec.http_options == UpstreamHttpOptions(
        protocol=UpstreamHttpProtocol.HTTP2, max_requests_per_connection=1
    )


def test_transport_socket_matches() -> None:
    tls = f'{{name: t, typed_config: {{"@type": {EXTENSIONS}transport_sockets.tls.v3.UpstreamTlsContext, sni: a.b}}}}'
    raw = f'{{name: r, typed_config: {{"@type": {EXTENSIONS}transport_sockets.raw_buffer.v3.RawBuffer}}}}'
    spec = translate(
        f"{{name: d, transport_socket_matches: [{{name: m, match: {{tlsMode: istio}}, transport_socket: {tls}}}, "
        f"{{name: o, match: {{}}, transport_socket: {raw}}}]}}"
    )
    first, second = spec.transport_socket_matches
    assert (first.name, first.match) == ("m", {"tlsMode": "istio"})
    assert isinstance(first.transport_socket, UpstreamTlsContext)
    assert first.transport_socket.sni == "a.b"
    assert (second.name, second.match, second.transport_socket) == ("o", {}, RawBufferSpec())


def test_upstream_metadata_exchange_in_a_typed_struct() -> None:
    spec = translate(
        '{name: d, filters: [{name: x, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: '
        "envoy.tcp.metadataexchange.config.MetadataExchange, value: {protocol: p, enable_discovery: true, "
        "additional_labels: one}}}]}"
    )
    assert spec.filters == (MetadataExchangeSpec("p", True, ("one",)),)


@pytest.mark.parametrize(
    ("policy", "fields", "expected"),
    [
        ("round_robin.v3.RoundRobin", "", (LbPolicy.ROUND_ROBIN, 2)),
        ("random.v3.Random", "", (LbPolicy.RANDOM, 2)),
        ("least_request.v3.LeastRequest", ", choice_count: 5", (LbPolicy.LEAST_REQUEST, 5)),
    ],
)
def test_load_balancing_policy(policy: str, fields: str, expected: tuple[LbPolicy, int]) -> None:
    config = f'{{"@type": {EXTENSIONS}load_balancing_policies.{policy}{fields}}}'
    unknown = '{"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: a.b.C}'
    spec = translate(
        f"{{name: d, load_balancing_policy: {{policies: [{{typed_extension_config: {{name: q, typed_config: {unknown}}}}}, "
        f"{{typed_extension_config: {{name: p, typed_config: {config}}}}}]}}}}"
    )
    assert (spec.lb_policy, spec.least_request_choice_count) == expected


def test_equal_messages_give_equal_specs() -> None:
    flow = f"{{name: d, load_assignment: {{cluster_name: d, {ENDPOINTS}}}}}"
    assert translate(flow) == translate(flow)
    assert structs.replace(translate(flow), connect_timeout_s=1.0) != translate(flow)
