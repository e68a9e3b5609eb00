"""Routes (envoy.config.route.v3)."""

from __future__ import annotations

from typing import Any, Final

from config.model.core import RoutingPriority
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
    RouteActionSpec,
    RouteConfiguration,
    RouteMatch,
    RouteSpec,
    TlsRequirement,
    VirtualHost,
    WeightedCluster,
)
from config.proto.core import (
    duration_s,
    enum_of,
    is_token,
    optional_metadata,
    positive_seconds,
    translate_data_source,
    translate_header_mutations,
    translate_metadata,
    translate_runtime_fraction,
    wrapped_bool,
    wrapped_int,
)
from config.proto.fields import declare
from config.proto.filter_overrides import translate_filter_overrides
from config.proto.matching import (
    translate_header_matchers,
    translate_query_parameter,
    translate_regex,
)
from config.proto.path import Path
from config.proto.references import ClusterCheck, check_cluster
from config.proto.tracing import optional_decorator, optional_route_tracing

_ROUTE: Final = "envoy.config.route.v3"
_MUTATIONS: Final = (
    "request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove"
)
_NO_MIRROR: Final = {"request_mirror_policies": "mirroring is not supported"}
_NO_LIMIT: Final = {"rate_limits": "rate limiting is not supported"}
_UNLIMITED_BUFFER: Final = "the connection's buffer limit is used"

#: What routes and TCP proxies say of the hosts to choose from.
NO_SUBSETS: Final = {"metadata_match": "no load balancer here has subsets"}

declare(
    f"{_ROUTE}.RouteConfiguration",
    f"name virtual_hosts internal_only_headers {_MUTATIONS} most_specific_header_mutations_wins "
    "validate_clusters max_direct_response_body_size_bytes ignore_port_in_host_matching typed_per_filter_config",
    no_effect={"metadata": "for control planes"},
    refused={
        "vhds": "virtual hosts by discovery are not supported",
        "cluster_specifier_plugins": "",
        "vhost_header": "",
        "ignore_path_parameters_in_path_matching": "",
        **_NO_MIRROR,
    },
)
declare(
    f"{_ROUTE}.VirtualHost",
    f"name domains routes require_tls {_MUTATIONS} include_request_attempt_count "
    "include_attempt_count_in_response retry_policy typed_per_filter_config",
    no_effect={"metadata": "for control planes"},
    ignored={
        "virtual_clusters": "statistics by virtual cluster are not kept",
        "per_request_buffer_limit_bytes": _UNLIMITED_BUFFER,
        "request_body_buffer_limit": _UNLIMITED_BUFFER,
        "include_is_timeout_retry_header": "",
        "hedge_policy": "requests are not hedged",
    },
    refused={
        "matcher": "",
        "cors": "CORS is not supported",
        "retry_policy_typed_config": "",
        **_NO_LIMIT,
        **_NO_MIRROR,
    },
)
declare(
    f"{_ROUTE}.Route",
    "name match route redirect direct_response non_forwarding_action metadata stat_prefix decorator tracing "
    f"typed_per_filter_config {_MUTATIONS}",
    ignored={
        "per_request_buffer_limit_bytes": _UNLIMITED_BUFFER,
        "request_body_buffer_limit": _UNLIMITED_BUFFER,
    },
    refused={"filter_action": ""},
)
declare(
    f"{_ROUTE}.RouteMatch",
    "prefix path safe_regex connect_matcher path_separated_prefix case_sensitive runtime_fraction headers "
    "query_parameters grpc",
    refused="path_match_policy tls_context dynamic_metadata filter_state",
)
declare(
    f"{_ROUTE}.RouteAction",
    "cluster cluster_header weighted_clusters cluster_not_found_response_code prefix_rewrite "
    "regex_rewrite host_rewrite_literal auto_host_rewrite host_rewrite_header append_x_forwarded_host timeout "
    "idle_timeout retry_policy priority upgrade_configs max_stream_duration max_grpc_timeout grpc_timeout_offset",
    ignored={
        **NO_SUBSETS,
        "flush_timeout": "the stream idle timeout is used",
        "early_data_policy": "early data is not accepted",
        "hash_policy": "no load balancer here hashes",
        "hedge_policy": "requests are not hedged",
    },
    refused={
        "cluster_specifier_plugin": "",
        "inline_cluster_specifier_plugin": "",
        "path_rewrite_policy": "",
        "path_rewrite": "",
        "host_rewrite_path_regex": "",
        "host_rewrite": "",
        "retry_policy_typed_config": "",
        "include_vh_rate_limits": "rate limiting is not supported",
        "cors": "CORS is not supported",
        "internal_redirect_policy": "internal redirects are not supported",
        "internal_redirect_action": "internal redirects are not supported",
        "max_internal_redirects": "internal redirects are not supported",
        **_NO_LIMIT,
        **_NO_MIRROR,
    },
)
declare(
    f"{_ROUTE}.RouteAction.MaxStreamDuration",
    "max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset",
)
declare(
    f"{_ROUTE}.RouteAction.UpgradeConfig",
    "upgrade_type enabled connect_config",
)
declare(
    f"{_ROUTE}.RouteAction.UpgradeConfig.ConnectConfig",
    "allow_post",
    refused={"proxy_protocol_config": "no PROXY protocol is sent"},
)
declare(
    f"{_ROUTE}.WeightedCluster",
    "clusters",
    no_effect={"total_weight": "the sum of the weights counts"},
    ignored={"runtime_key_prefix": "weights are not overridden by the runtime"},
    refused="header_name use_hash_policy",
)
declare(
    f"{_ROUTE}.WeightedCluster.ClusterWeight",
    f"name weight host_rewrite_literal typed_per_filter_config {_MUTATIONS}",
    ignored=NO_SUBSETS,
    refused={"cluster_header": ""},
)
declare(
    f"{_ROUTE}.RedirectAction",
    "https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite regex_rewrite "
    "response_code strip_query",
)
declare(f"{_ROUTE}.DirectResponseAction", "status body", refused={"body_format": ""})
declare(
    f"{_ROUTE}.RetryPolicy",
    "retry_on num_retries per_try_timeout retriable_status_codes",
    ignored={
        "per_try_idle_timeout": "",
        "retry_priority": "retries go where the load balancer says",
        "retry_host_predicate": "retries go where the load balancer says",
        "host_selection_retry_max_attempts": "retries go where the load balancer says",
        "retry_back_off": "the back-off is 25 ms to 250 ms",
        "rate_limited_retry_back_off": "the back-off is 25 ms to 250 ms",
    },
    refused="retry_options_predicates retriable_headers retriable_request_headers",
)

_CODES: Final = {
    0: RedirectCode.MOVED_PERMANENTLY,
    1: RedirectCode.FOUND,
    2: RedirectCode.SEE_OTHER,
    3: RedirectCode.TEMPORARY_REDIRECT,
    4: RedirectCode.PERMANENT_REDIRECT,
}
_NOT_FOUND_CODES: Final = {0: 503, 1: 404, 2: 500}


def translate_route_match(msg: Any, at: Path) -> RouteMatch:
    kind = msg.WhichOneof("path_specifier")
    text = ""
    if kind == "safe_regex":
        path_kind, text = PathMatchKind.SAFE_REGEX, translate_regex(msg.safe_regex, at.field(kind))
    elif kind == "connect_matcher":
        path_kind = PathMatchKind.CONNECT
    elif kind in ("path", "path_separated_prefix", "prefix"):
        path_kind, text = PathMatchKind[kind.upper()], getattr(msg, kind)
    else:
        path_kind = PathMatchKind.PREFIX
    return RouteMatch(
        kind=path_kind,
        path=text,
        case_sensitive=wrapped_bool(msg, "case_sensitive", True),
        headers=translate_header_matchers(msg.headers, at.field("headers")),
        query_parameters=tuple(
            translate_query_parameter(item, at.item("query_parameters", i))
            for i, item in enumerate(msg.query_parameters)
        ),
        runtime_fraction=(
            translate_runtime_fraction(msg.runtime_fraction) if msg.HasField("runtime_fraction") else None
        ),
        grpc=msg.HasField("grpc"),
    )


def _translate_rewrite(message: Any, at: Path) -> RegexRewrite | None:
    if not message.HasField("regex_rewrite"):
        return None
    rewrite = message.regex_rewrite
    pattern = translate_regex(rewrite.pattern, at.field("regex_rewrite").field("pattern"))
    return RegexRewrite(pattern, rewrite.substitution)


def _translate_weighted(msg: Any, at: Path, check: ClusterCheck) -> tuple[WeightedCluster, ...]:
    clusters = []
    for index, item in enumerate(msg.clusters):
        item_at = at.item("clusters", index)
        if not item.name and not item.cluster_header:
            item_at.field("name").error("must not be empty")
        check_cluster(item.name, item_at.field("name"), check)
        clusters.append(
            WeightedCluster(
                name=item.name,
                weight=wrapped_int(item, "weight", 0),
                mutations=translate_header_mutations(item, item_at),
                host_rewrite_literal=item.host_rewrite_literal,
                metadata_match=optional_metadata(item, "metadata_match", item_at),
                filter_overrides=translate_filter_overrides(item, item_at),
            )
        )
    total = sum(cluster.weight for cluster in clusters)
    if clusters and total == 0:
        at.error("the weights must add up to more than 0")
    if total > 0xFFFFFFFF:
        at.error(f"the weights add up to {total}, more than {0xFFFFFFFF}")
    return tuple(clusters)


def translate_retry_policy(msg: Any, at: Path) -> RetryPolicy:
    return RetryPolicy(
        retry_on=tuple(word.strip() for word in msg.retry_on.split(",") if word.strip()),
        num_retries=wrapped_int(msg, "num_retries", 1),
        per_try_timeout_s=positive_seconds(msg, "per_try_timeout", None, at),
        retriable_status_codes=tuple(msg.retriable_status_codes),
    )


def _optional_retry_policy(message: Any, at: Path) -> RetryPolicy | None:
    if not message.HasField("retry_policy"):
        return None
    return translate_retry_policy(message.retry_policy, at.field("retry_policy"))


def translate_upgrades(configs: Any, at: Path) -> dict[str, bool]:
    """Lower-case type -> enabled, of a route or of a connection manager."""
    upgrades: dict[str, bool] = {}
    for index, config in enumerate(configs):
        kind = config.upgrade_type.lower()
        type_at = at.index(index).field("upgrade_type")
        if kind in upgrades:
            type_at.error(f"'{config.upgrade_type}' is configured twice")
        if not is_token(kind):  # Envoy takes it in silence
            type_at.warning(f"'{kind}' is no protocol that a request can ask for")
        upgrades[kind] = wrapped_bool(config, "enabled", True)
    return upgrades


def _connect_config(configs: Any, at: Path) -> ConnectConfig | None:
    found = None
    for index, config in enumerate(configs):
        if not config.HasField("connect_config"):
            continue
        if config.upgrade_type.upper() != "CONNECT":
            at.index(index).field("connect_config").error("goes with upgrade_type CONNECT only", of_key=True)
        elif wrapped_bool(config, "enabled", True):
            found = ConnectConfig(config.connect_config.allow_post)
    return found


def _optional_seconds(message: Any, field: str, at: Path) -> float | None:
    """None when absent; 0 says something of its own."""
    if not message.HasField(field):
        return None
    value = duration_s(getattr(message, field))
    if value < 0:
        at.field(field).error("must not be negative")
    return value


def translate_route_action(msg: Any, at: Path, check: ClusterCheck = ClusterCheck.ERROR) -> RouteAction:
    if msg.prefix_rewrite and msg.HasField("regex_rewrite"):
        at.field("regex_rewrite").error("cannot be set together with prefix_rewrite", of_key=True)
    check_cluster(msg.cluster, at.field("cluster"), check)
    stream_duration = msg.max_stream_duration
    duration_at = at.field("max_stream_duration")
    return RouteAction(
        cluster=msg.cluster,
        cluster_header=msg.cluster_header.lower(),
        weighted_clusters=(
            _translate_weighted(msg.weighted_clusters, at.field("weighted_clusters"), check)
            if msg.HasField("weighted_clusters")
            else ()
        ),
        cluster_not_found_status=_NOT_FOUND_CODES.get(msg.cluster_not_found_response_code, 503),
        timeout_s=positive_seconds(msg, "timeout", 15.0, at),
        idle_timeout_s=_optional_seconds(msg, "idle_timeout", at),
        max_stream_duration_s=_optional_seconds(stream_duration, "max_stream_duration", duration_at),
        grpc_timeout_max_s=_optional_seconds(stream_duration, "grpc_timeout_header_max", duration_at),
        grpc_timeout_offset_s=_optional_seconds(stream_duration, "grpc_timeout_header_offset", duration_at)
        or 0.0,
        max_grpc_timeout_s=_optional_seconds(msg, "max_grpc_timeout", at),
        max_grpc_timeout_offset_s=_optional_seconds(msg, "grpc_timeout_offset", at) or 0.0,
        prefix_rewrite=msg.prefix_rewrite,
        regex_rewrite=_translate_rewrite(msg, at),
        host_rewrite_literal=msg.host_rewrite_literal,
        host_rewrite_header=msg.host_rewrite_header.lower(),
        auto_host_rewrite=wrapped_bool(msg, "auto_host_rewrite", False),
        append_x_forwarded_host=msg.append_x_forwarded_host,
        priority=enum_of(RoutingPriority, msg.priority),
        retry_policy=_optional_retry_policy(msg, at),
        upgrade_configs=translate_upgrades(msg.upgrade_configs, at.field("upgrade_configs")),
        connect_config=_connect_config(msg.upgrade_configs, at.field("upgrade_configs")),
        metadata_match=optional_metadata(msg, "metadata_match", at),
    )


def translate_redirect(msg: Any, at: Path) -> RedirectAction:
    if msg.port_redirect > 65535:
        at.field("port_redirect").warning("no client can follow a redirect to a port above 65535")
    has_prefix = msg.WhichOneof("path_rewrite_specifier") == "prefix_rewrite"
    return RedirectAction(
        https_redirect=msg.https_redirect,
        scheme_redirect=msg.scheme_redirect,
        host_redirect=msg.host_redirect,
        port_redirect=msg.port_redirect or None,
        path_redirect=msg.path_redirect,
        prefix_rewrite=msg.prefix_rewrite if has_prefix else None,
        regex_rewrite=_translate_rewrite(msg, at),
        response_code=_CODES.get(msg.response_code, RedirectCode.MOVED_PERMANENTLY),
        strip_query=msg.strip_query,
    )


def translate_direct_response(msg: Any, at: Path, max_body_bytes: int) -> DirectResponseAction:
    body = None
    if msg.HasField("body"):
        body = translate_data_source(msg.body, at.field("body"))
        if body.inline is not None and len(body.inline) > max_body_bytes:
            at.field("body").error(
                f"{len(body.inline)} bytes are more than max_direct_response_body_size_bytes ({max_body_bytes})"
            )
    return DirectResponseAction(msg.status, body)


def _translate_action(msg: Any, at: Path, config: _Settings) -> RouteActionSpec:
    kind = msg.WhichOneof("action")
    if kind == "route":
        return translate_route_action(msg.route, at.field(kind), config.check)
    if kind == "redirect":
        return translate_redirect(msg.redirect, at.field(kind))
    if kind == "direct_response":
        return translate_direct_response(msg.direct_response, at.field(kind), config.max_body_bytes)
    return NonForwardingAction()


class _Settings:
    """What the route configuration says to all its routes."""

    __slots__ = ("check", "max_body_bytes")

    def __init__(self, msg: Any) -> None:
        validate = wrapped_bool(msg, "validate_clusters", True)
        self.check = ClusterCheck.ERROR if validate else ClusterCheck.WARNING
        self.max_body_bytes = wrapped_int(msg, "max_direct_response_body_size_bytes", 4096)


def translate_route(msg: Any, at: Path, config: _Settings) -> RouteSpec:
    return RouteSpec(
        match=translate_route_match(msg.match, at.field("match")),
        action=_translate_action(msg, at, config),
        name=msg.name,
        mutations=translate_header_mutations(msg, at),
        metadata=translate_metadata(msg.metadata, at.field("metadata")),
        stat_prefix=msg.stat_prefix,
        decorator=optional_decorator(msg),
        tracing=optional_route_tracing(msg, at),
        filter_overrides=translate_filter_overrides(msg, at),
    )


def _translate_virtual_host(msg: Any, at: Path, config: _Settings) -> VirtualHost:
    return VirtualHost(
        name=msg.name,
        domains=tuple(domain.lower() for domain in msg.domains),
        routes=tuple(
            translate_route(route, at.item("routes", i), config) for i, route in enumerate(msg.routes)
        ),
        require_tls=enum_of(TlsRequirement, msg.require_tls),
        mutations=translate_header_mutations(msg, at),
        include_request_attempt_count=msg.include_request_attempt_count,
        include_attempt_count_in_response=msg.include_attempt_count_in_response,
        retry_policy=_optional_retry_policy(msg, at),
        filter_overrides=translate_filter_overrides(msg, at),
    )


def _check_virtual_hosts(hosts: tuple[VirtualHost, ...], at: Path) -> None:
    owners: dict[str, str] = {}
    for index, host in enumerate(hosts):
        host_at = at.index(index)
        for number, domain in enumerate(host.domains):
            domain_at = host_at.item("domains", number)
            if domain in owners:
                domain_at.error(f"domain '{domain}' already belongs to virtual host '{owners[domain]}'")
            owners[domain] = host.name


def translate_route_configuration(msg: Any, at: Path) -> RouteConfiguration:
    config = _Settings(msg)
    hosts_at = at.field("virtual_hosts")
    hosts = tuple(
        _translate_virtual_host(host, hosts_at.index(index), config)
        for index, host in enumerate(msg.virtual_hosts)
    )
    _check_virtual_hosts(hosts, hosts_at)
    return RouteConfiguration(
        name=msg.name,
        virtual_hosts=hosts,
        mutations=translate_header_mutations(msg, at),
        most_specific_header_mutations_wins=msg.most_specific_header_mutations_wins,
        internal_only_headers=tuple(name.lower() for name in msg.internal_only_headers),
        ignore_port_in_host_matching=msg.ignore_port_in_host_matching,
        filter_overrides=translate_filter_overrides(msg, at),
    )
