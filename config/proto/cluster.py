"""Clusters (envoy.config.cluster.v3)."""

from __future__ import annotations

from typing import Any, Final

from msgspec import structs

from config.model.cluster import (
    CircuitBreakerThresholds,
    ClusterSpec,
    DiscoveryType,
    DnsLookupFamily,
    LbPolicy,
    RawBufferSpec,
    TcpKeepalive,
    TransportSocketMatch,
    UpstreamHttpOptions,
    UpstreamHttpProtocol,
)
from config.model.core import Address, RoutingPriority
from config.model.endpoint import ClusterLoadAssignment
from config.proto.core import (
    enum_of,
    positive_seconds,
    seconds,
    translate_metadata,
    translate_socket_address,
    wrapped_int,
)
from config.proto.endpoint import translate_load_assignment
from config.proto.fields import declare
from config.proto.http2 import translate_http2_options
from config.proto.network import translate_upstream_filters
from config.proto.path import Path
from config.proto.tls import translate_upstream_socket
from config.proto.typed_config import ExtensionTable, struct_to_plain
from config.spelling import did_you_mean

_CLUSTER: Final = "envoy.config.cluster.v3.Cluster"
_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_LB: Final = "envoy.extensions.load_balancing_policies"
_DNS: Final = "the system resolver is used"
_NO_HEALTH_CHECKS: Final = "there are no active health checks"
_NO_SLOW_START: Final = {"slow_start_config": "new hosts get their full share at once"}
_NO_LB: Final = "this load balancer is not supported"

declare(
    _CLUSTER,
    "transport_socket_matches name alt_stat_name type connect_timeout per_connection_buffer_limit_bytes "
    "load_assignment max_requests_per_connection circuit_breakers upstream_http_protocol_options "
    "common_http_protocol_options http_protocol_options http2_protocol_options "
    "typed_extension_protocol_options dns_refresh_rate dns_lookup_family "
    "cleanup_interval upstream_bind_config original_dst_lb_config least_request_lb_config "
    "round_robin_lb_config common_lb_config transport_socket metadata protocol_selection "
    "upstream_connection_options filters",
    partly={
        "lb_policy": "ROUND_ROBIN, LEAST_REQUEST, RANDOM, CLUSTER_PROVIDED",
        "load_balancing_policy": "the first of its policies that is one of these",
        "eds_cluster_config": "endpoints by discovery need a control plane; until then the cluster is empty",
    },
    no_effect={
        "wait_for_warm_on_init": "",
        "typed_dns_resolver_config": _DNS,
        "dns_jitter": _DNS,
        "respect_dns_ttl": "the system resolver tells no TTL: names are asked for again at dns_refresh_rate",
        "close_connections_on_host_health_failure": _NO_HEALTH_CHECKS,
        "ignore_health_on_host_removal": _NO_HEALTH_CHECKS,
    },
    ignored={
        "dns_failure_refresh_rate": "failed queries are repeated at dns_refresh_rate",
        "dns_resolvers": _DNS,
        "dns_resolution_config": _DNS,
        "use_tcp_for_dns_lookups": _DNS,
        "outlier_detection": "hosts are not ejected",
        "lrs_server": "load is not reported",
        "lrs_report_endpoint_metrics": "load is not reported",
        "track_timeout_budgets": "",
        "track_cluster_stats": "",
        "preconnect_policy": "connections are made when needed",
    },
    refused={
        "transport_socket_matcher": "",
        "cluster_type": "custom cluster types are not supported",
        "health_checks": "active health checks are not supported",
        "lb_subset_config": _NO_LB,
        "ring_hash_lb_config": _NO_LB,
        "maglev_lb_config": _NO_LB,
        "upstream_config": "",
        "connection_pool_per_downstream_connection": "",
    },
)
declare(f"{_CLUSTER}.TransportSocketMatch", "name match transport_socket")
declare(
    f"{_CLUSTER}.EdsClusterConfig",
    "",
    no_effect={"eds_config": "for a control plane", "service_name": "for a control plane"},
)
declare(
    f"{_CLUSTER}.OriginalDstLbConfig",
    "use_http_header http_header_name upstream_port_override",
    refused="metadata_key",
)
declare(
    f"{_CLUSTER}.LeastRequestLbConfig",
    "choice_count",
    ignored={"active_request_bias": "weights are not biased by load", **_NO_SLOW_START},
)
declare(f"{_CLUSTER}.RoundRobinLbConfig", "", ignored=_NO_SLOW_START)
declare(
    f"{_CLUSTER}.CommonLbConfig",
    "healthy_panic_threshold",
    no_effect={
        "update_merge_window": "endpoints are static",
        "ignore_new_hosts_until_first_hc": "there are no active health checks",
        "consistent_hashing_lb_config": "no load balancer here hashes",
    },
    ignored={
        "zone_aware_lb_config": "zones are not preferred",
        "locality_weighted_lb_config": "hosts count by their own weights",
        "close_connections_on_host_set_change": "",
        "override_host_status": "",
    },
)
declare(
    "envoy.config.cluster.v3.CircuitBreakers",
    "thresholds",
    ignored={"per_host_thresholds": "limits hold for the whole cluster"},
)
declare(
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds",
    "priority max_connections max_pending_requests max_requests max_retries track_remaining",
    ignored={
        "retry_budget": "max_retries is used",
        "max_connection_pools": "",
    },
)
declare(
    "envoy.config.cluster.v3.UpstreamConnectionOptions",
    "tcp_keepalive",
    no_effect={"set_local_interface_name_on_upstream_connections": "", "happy_eyeballs_config": ""},
)
declare("envoy.config.core.v3.TcpKeepalive", "keepalive_probes keepalive_time keepalive_interval")
declare(
    "envoy.config.core.v3.BindConfig",
    "source_address extra_source_addresses additional_source_addresses",
    ignored={"socket_options": "", "freebind": ""},
    refused="local_address_selector",
)
declare("envoy.config.core.v3.ExtraSourceAddress", "address", ignored={"socket_options": ""})
declare(
    _OPTIONS,
    "common_http_protocol_options upstream_http_protocol_options explicit_http_config "
    "use_downstream_protocol_config auto_config",
    ignored={"outlier_detection": "hosts are not ejected", "hash_policy": "no load balancer here hashes"},
    refused="http_filters header_validation_config request_mirror_policies retry_policy",
)
for _variant in ("ExplicitHttpConfig", "UseDownstreamHttpConfig"):
    declare(
        f"{_OPTIONS}.{_variant}",
        "http_protocol_options http2_protocol_options",
        refused={"http3_protocol_options": "HTTP/3 is not supported"},
    )
declare(
    f"{_OPTIONS}.AutoHttpConfig",
    "http_protocol_options http2_protocol_options",
    refused={
        "http3_protocol_options": "HTTP/3 is not supported",
        "alternate_protocols_cache_options": "HTTP/3 is not supported",
    },
)
declare(
    "envoy.config.core.v3.UpstreamHttpProtocolOptions",
    "auto_sni",
    partly={"auto_san_validation": "with auto_sni; a host that is an IP address is not accepted"},
    refused="override_auto_sni_header",
)
declare("envoy.config.cluster.v3.LoadBalancingPolicy", "policies")
declare("envoy.config.cluster.v3.LoadBalancingPolicy.Policy", "typed_extension_config")
declare("envoy.config.core.v3.TypedExtensionConfig", "typed_config", no_effect={"name": "the type decides"})
_LOCALITY: Final = {"locality_lb_config": "hosts count by their own weights"}
declare(f"{_LB}.round_robin.v3.RoundRobin", "", ignored={**_NO_SLOW_START, **_LOCALITY})
declare(f"{_LB}.random.v3.Random", "", ignored=_LOCALITY)
declare(
    f"{_LB}.least_request.v3.LeastRequest",
    "choice_count",
    ignored={
        "active_request_bias": "weights are not biased by load",
        "enable_full_scan": "",
        "selection_method": "choice_count hosts are compared",
        **_NO_SLOW_START,
        **_LOCALITY,
    },
)

_LB_NAMES: Final = {0: "ROUND_ROBIN", 1: "LEAST_REQUEST", 2: "RING_HASH", 3: "RANDOM", 5: "MAGLEV"}
_SUPPORTED_LB: Final = frozenset(policy.value for policy in LbPolicy)
_LB_BY_CONFIG: Final = 7


def _round_robin(msg: Any, at: Path) -> tuple[LbPolicy, int]:
    return LbPolicy.ROUND_ROBIN, 2


def _random(msg: Any, at: Path) -> tuple[LbPolicy, int]:
    return LbPolicy.RANDOM, 2


def _least_request(msg: Any, at: Path) -> tuple[LbPolicy, int]:
    return LbPolicy.LEAST_REQUEST, wrapped_int(msg, "choice_count", 2)


LB_POLICIES: Final = ExtensionTable[tuple[LbPolicy, int]](
    "a load balancing policy",
    {
        f"{_LB}.round_robin.v3.RoundRobin": _round_robin,
        f"{_LB}.random.v3.Random": _random,
        f"{_LB}.least_request.v3.LeastRequest": _least_request,
    },
)


def _translate_lb_policy(msg: Any, at: Path, kind: DiscoveryType) -> tuple[LbPolicy, int]:
    """The policy and the number of hosts that LEAST_REQUEST compares."""
    if msg.HasField("load_balancing_policy"):
        policies_at = at.field("load_balancing_policy").field("policies")
        policies = msg.load_balancing_policy.policies
        for index, policy in enumerate(policies):
            config = policy.typed_extension_config.typed_config
            config_at = policies_at.index(index).field("typed_extension_config").field("typed_config")
            chosen = LB_POLICIES.translate(config, config_at, optional=index < len(policies) - 1)
            if chosen is not None:
                return chosen
        if not policies:
            policies_at.error("must not be empty")
        return LbPolicy.ROUND_ROBIN, 2
    if msg.lb_policy not in _SUPPORTED_LB:
        name = _LB_NAMES.get(msg.lb_policy, "LOAD_BALANCING_POLICY_CONFIG without load_balancing_policy")
        at.field("lb_policy").error(f"refused: {name} is not supported")
        return LbPolicy.ROUND_ROBIN, 2
    policy_ = enum_of(LbPolicy, msg.lb_policy)
    if kind is DiscoveryType.ORIGINAL_DST:
        if policy_ is not LbPolicy.CLUSTER_PROVIDED:
            at.field("lb_policy").error(
                f"{policy_.name} cannot be used with type ORIGINAL_DST; did you mean 'CLUSTER_PROVIDED'?"
            )
    elif policy_ is LbPolicy.CLUSTER_PROVIDED:
        at.field("lb_policy").error(f"CLUSTER_PROVIDED cannot be used with type {kind.name}")
    return policy_, wrapped_int(msg.least_request_lb_config, "choice_count", 2)


def _explicit_protocol(msg: Any) -> UpstreamHttpProtocol:
    is_http2 = msg.WhichOneof("protocol_config") == "http2_protocol_options"
    return UpstreamHttpProtocol.HTTP2 if is_http2 else UpstreamHttpProtocol.HTTP1


def _make_options(
    msg: Any, variant: Any, variant_at: Path, protocol: UpstreamHttpProtocol, at: Path
) -> UpstreamHttpOptions:
    """`msg` is `HttpProtocolOptions` or the cluster itself: both name the parts read here alike.

    `variant` holds the options of each protocol.
    """
    common, common_at = msg.common_http_protocol_options, at.field("common_http_protocol_options")
    upstream = msg.upstream_http_protocol_options
    if upstream.auto_san_validation and not upstream.auto_sni:
        at.field("upstream_http_protocol_options").field("auto_san_validation").error(
            "refused without auto_sni", of_key=True
        )
    return UpstreamHttpOptions(
        protocol=protocol,
        idle_timeout_s=positive_seconds(common, "idle_timeout", 3600.0, common_at),
        max_connection_duration_s=positive_seconds(common, "max_connection_duration", None, common_at),
        max_requests_per_connection=wrapped_int(common, "max_requests_per_connection", 0),
        max_response_headers_kb=wrapped_int(common, "max_response_headers_kb", 60),
        max_headers_count=wrapped_int(common, "max_headers_count", 100),
        auto_sni=upstream.auto_sni,
        auto_san_validation=upstream.auto_san_validation,
        enable_trailers=variant.http_protocol_options.enable_trailers,
        http2=translate_http2_options(
            variant.http2_protocol_options, variant_at.field("http2_protocol_options")
        ),
    )


def translate_http_protocol_options(msg: Any, at: Path) -> UpstreamHttpOptions:
    kind = msg.WhichOneof("upstream_protocol_options")
    protocol = UpstreamHttpProtocol.HTTP1
    inner = msg.explicit_http_config
    if kind == "explicit_http_config":
        protocol = _explicit_protocol(inner)
    elif kind == "use_downstream_protocol_config":
        protocol = UpstreamHttpProtocol.USE_DOWNSTREAM
        inner = msg.use_downstream_protocol_config
    elif kind == "auto_config":
        protocol = UpstreamHttpProtocol.AUTO
        inner = msg.auto_config
    return _make_options(msg, inner, at.field(kind or "explicit_http_config"), protocol, at)


PROTOCOL_OPTIONS: Final = ExtensionTable[UpstreamHttpOptions](
    "protocol options of a cluster", {_OPTIONS: translate_http_protocol_options}
)


def _deprecated_http_options(msg: Any, at: Path) -> UpstreamHttpOptions:
    """The fields of the cluster itself that `HttpProtocolOptions` replaced."""
    if msg.protocol_selection:
        protocol = UpstreamHttpProtocol.USE_DOWNSTREAM
    elif msg.HasField("http2_protocol_options"):
        protocol = UpstreamHttpProtocol.HTTP2
    else:
        protocol = UpstreamHttpProtocol.HTTP1
    if msg.HasField("http_protocol_options") and protocol is UpstreamHttpProtocol.HTTP2:
        at.field("http2_protocol_options").error(
            "cannot be set together with http_protocol_options", of_key=True
        )
    return _make_options(msg, msg, at, protocol, at)


def _translate_http_options(msg: Any, at: Path) -> UpstreamHttpOptions:
    options: UpstreamHttpOptions | None = None
    extensions_at = at.field("typed_extension_protocol_options")
    for name, config in msg.typed_extension_protocol_options.items():
        if name == _OPTIONS:
            options = PROTOCOL_OPTIONS.translate(config, extensions_at.key(name))
        else:
            extensions_at.key(name).error(
                f"refused: not supported; only {_OPTIONS}{did_you_mean(name, (_OPTIONS,))}", of_key=True
            )
    if options is None:
        options = _deprecated_http_options(msg, at)
    requests = wrapped_int(msg, "max_requests_per_connection", 0)
    if requests and not options.max_requests_per_connection:
        options = structs.replace(options, max_requests_per_connection=requests)
    return options


def _translate_circuit_breakers(msg: Any, at: Path) -> dict[RoutingPriority, CircuitBreakerThresholds] | None:
    if not msg.HasField("circuit_breakers"):
        return None
    result = {priority: CircuitBreakerThresholds() for priority in RoutingPriority}
    seen: set[RoutingPriority] = set()
    for item in msg.circuit_breakers.thresholds:
        priority = enum_of(RoutingPriority, item.priority)
        if priority in seen:  # as in Envoy the first one counts
            continue
        seen.add(priority)
        result[priority] = CircuitBreakerThresholds(
            max_connections=wrapped_int(item, "max_connections", 1024),
            max_pending_requests=wrapped_int(item, "max_pending_requests", 1024),
            max_requests=wrapped_int(item, "max_requests", 1024),
            max_retries=wrapped_int(item, "max_retries", 3),
            track_remaining=item.track_remaining,
        )
    return result


def _translate_bind(msg: Any, at: Path) -> tuple[Address | None, tuple[Address, ...]]:
    if not msg.HasField("upstream_bind_config"):
        return None, ()
    config, config_at = msg.upstream_bind_config, at.field("upstream_bind_config")
    extra = [
        translate_socket_address(item.address, config_at.item("extra_source_addresses", i).field("address"))
        for i, item in enumerate(config.extra_source_addresses)
    ]
    extra += [
        translate_socket_address(item, config_at.item("additional_source_addresses", i))
        for i, item in enumerate(config.additional_source_addresses)
    ]
    if config.extra_source_addresses and config.additional_source_addresses:
        config_at.field("additional_source_addresses").error(
            "cannot be set together with extra_source_addresses", of_key=True
        )
    families = {":" in address.address for address in extra}
    if config.HasField("source_address"):
        families.add(":" in config.source_address.address)
    if len(families) < len(extra) + config.HasField("source_address"):
        config_at.error("there may be one source address for IPv4 and one for IPv6")
    main = None
    if config.HasField("source_address"):
        main = translate_socket_address(config.source_address, config_at.field("source_address"))
    elif extra:
        config_at.field("source_address").error("required by the extra source addresses")
    return main, tuple(extra)


def _translate_keepalive(msg: Any) -> TcpKeepalive | None:
    options = msg.upstream_connection_options
    if not options.HasField("tcp_keepalive"):
        return None
    keepalive = options.tcp_keepalive
    return TcpKeepalive(
        wrapped_int(keepalive, "keepalive_probes", 0),
        wrapped_int(keepalive, "keepalive_time", 0),
        wrapped_int(keepalive, "keepalive_interval", 0),
    )


def _discovery_type(msg: Any, at: Path) -> DiscoveryType:
    kind = enum_of(DiscoveryType, msg.type)
    if kind is DiscoveryType.EDS:
        if not msg.HasField("eds_cluster_config"):
            at.field("eds_cluster_config").error("required by type EDS")
        at.field("type").warning(
            "endpoints by discovery need a control plane: the cluster stays empty until then"
        )
    elif msg.HasField("eds_cluster_config"):
        at.field("eds_cluster_config").error(f"cannot be set for type {kind.name}", of_key=True)
    return kind


def _translate_endpoints(msg: Any, at: Path, kind: DiscoveryType) -> ClusterLoadAssignment | None:
    field_at = at.field("load_assignment")
    if not msg.HasField("load_assignment"):
        if kind is DiscoveryType.LOGICAL_DNS:
            field_at.error("required by type LOGICAL_DNS")
        return None
    if kind in (DiscoveryType.ORIGINAL_DST, DiscoveryType.EDS):
        field_at.error(f"cannot be set for type {kind.name}", of_key=True)
        return None
    resolves = kind in (DiscoveryType.STRICT_DNS, DiscoveryType.LOGICAL_DNS)
    assignment = translate_load_assignment(msg.load_assignment, field_at, host_names=resolves)
    if kind is DiscoveryType.LOGICAL_DNS:
        hosts = msg.load_assignment.endpoints
        if len(hosts) != 1 or len(hosts[0].lb_endpoints) != 1:
            field_at.error("type LOGICAL_DNS needs exactly one locality with one endpoint")
    return assignment


def _translate_socket_matches(msg: Any, at: Path) -> tuple[TransportSocketMatch, ...]:
    matches: list[TransportSocketMatch] = []
    for index, item in enumerate(msg.transport_socket_matches):
        item_at = at.item("transport_socket_matches", index)
        if not item.HasField("transport_socket"):
            item_at.field("transport_socket").error("required")
        match = struct_to_plain(item.match)
        matches.append(TransportSocketMatch(item.name, match, translate_upstream_socket(item, item_at)))
    return tuple(matches)


def _original_dst_header(msg: Any, at: Path) -> str:
    config = msg.original_dst_lb_config
    if not config.use_http_header:
        if config.http_header_name:
            at.field("original_dst_lb_config").field("http_header_name").error("needs use_http_header: true")
        return ""
    return config.http_header_name.lower() or "x-envoy-original-dst-host"


def _check_auto_config(spec: ClusterSpec, at: Path) -> None:
    """ALPN chooses the version of HTTP, so every transport socket of the cluster needs TLS (Envoy)."""
    if spec.http_options.protocol is not UpstreamHttpProtocol.AUTO:
        return
    if isinstance(spec.transport_socket, RawBufferSpec):
        auto_at = at.field("typed_extension_protocol_options").key(_OPTIONS).field("auto_config")
        auto_at.error(
            "needs TLS, whose ALPN chooses the version of HTTP: the transport_socket has none", of_key=True
        )
    for index, match in enumerate(spec.transport_socket_matches):
        if isinstance(match.transport_socket, RawBufferSpec):
            socket_at = at.item("transport_socket_matches", index).field("transport_socket")
            socket_at.error("auto_config needs TLS, whose ALPN chooses the version of HTTP, in every match")


def translate_cluster(msg: Any, at: Path) -> ClusterSpec:
    kind = _discovery_type(msg, at)
    lb_policy, choice_count = _translate_lb_policy(msg, at, kind)
    original_dst = msg.original_dst_lb_config
    bind_address, extra_addresses = _translate_bind(msg, at)
    panic = 50.0
    if msg.common_lb_config.HasField("healthy_panic_threshold"):
        panic = msg.common_lb_config.healthy_panic_threshold.value
    spec = ClusterSpec(
        name=msg.name,
        stat_name=msg.alt_stat_name or msg.name,
        discovery_type=kind,
        connect_timeout_s=seconds(msg, "connect_timeout", 5.0),
        lb_policy=lb_policy,
        least_request_choice_count=choice_count,
        load_assignment=_translate_endpoints(msg, at, kind),
        healthy_panic_threshold=panic / 100,
        transport_socket=translate_upstream_socket(msg, at),
        transport_socket_matches=_translate_socket_matches(msg, at),
        circuit_breakers=_translate_circuit_breakers(msg, at),
        http_options=_translate_http_options(msg, at),
        per_connection_buffer_limit_bytes=wrapped_int(msg, "per_connection_buffer_limit_bytes", 1024 * 1024),
        dns_refresh_rate_s=seconds(msg, "dns_refresh_rate", 5.0),
        dns_lookup_family=enum_of(DnsLookupFamily, msg.dns_lookup_family),
        cleanup_interval_s=seconds(msg, "cleanup_interval", 5.0),
        original_dst_port_override=(
            original_dst.upstream_port_override.value
            if original_dst.HasField("upstream_port_override")
            else None
        ),
        original_dst_use_http_header=_original_dst_header(msg, at),
        upstream_bind_address=bind_address,
        extra_bind_addresses=extra_addresses,
        tcp_keepalive=_translate_keepalive(msg),
        filters=translate_upstream_filters(msg.filters, at.field("filters")),
        metadata=translate_metadata(msg.metadata, at.field("metadata")),
    )
    _check_auto_config(spec, at)
    return spec
