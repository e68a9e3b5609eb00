"""The bootstrap message itself (envoy.config.bootstrap.v3)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any, Final

from config.model.access_log import AccessLogSpec, FileAccessLogSpec
from config.model.bootstrap import (
    AdminSpec,
    ApplicationLogFormat,
    Bootstrap,
    HistogramBuckets,
    StatsMatcher,
    StatsSpec,
    TagSpecifier,
)
from config.model.cluster import ClusterSpec
from config.model.core import Address, SocketAddress
from config.model.listener import ListenerSpec
from config.model.tls import Secret
from config.model.workload_discovery import WorkloadDiscoverySpec
from config.proto.access_log import translate_access_logs
from config.proto.cluster import translate_cluster
from config.proto.core import duration_s, seconds, translate_address, translate_node, wrapped_bool
from config.proto.fields import declare
from config.proto.istio_extensions import WORKLOAD_DISCOVERY, translate_workload_discovery
from config.proto.listener import translate_listener
from config.proto.matching import translate_string_matcher, translate_string_matchers
from config.proto.path import Path
from config.proto.stats_sinks import translate_stats_sinks
from config.proto.telemetry import (
    translate_histogram_annotation,
    translate_telemetry_options,
)
from config.proto.tls import translate_secret
from config.proto.tracing import translate_tracer
from config.proto.typed_config import ExtensionTable, value_to_plain
from config.spelling import did_you_mean

BOOTSTRAP: Final = "envoy.config.bootstrap.v3.Bootstrap"
_ADMIN: Final = "envoy.config.bootstrap.v3.Admin"
_NO_DISCOVERY: Final = "xDS comes with the control plane; static resources only"
_NO_RUNTIME_FILES: Final = "only static and admin runtime layers are read"

declare(
    BOOTSTRAP,
    "node static_resources stats_config stats_flush_interval stats_eviction_interval layered_runtime "
    "admin application_log_config stats_flush_on_admin",
    partly={
        "stats_sinks": "StatsD, DogStatsD, Graphite; others are skipped",
        "bootstrap_extensions": "workload discovery",
        "overload_manager": "the limit of downstream connections",
        "cluster_manager": "see the message",
        "tracing": "for connection managers without a provider of their own",
    },
    no_effect={
        "node_context_params": "for control planes",
        "deferred_stat_options": "tuning",
        "config_sources": "for control planes",
        "default_config_source": "for control planes",
        "enable_dispatcher_stats": "there are no dispatchers",
        "typed_dns_resolver_config": "the system resolver is used",
        "grpc_async_client_manager_config": "for control planes",
        "memory_allocator_manager": "tuning",
        "inline_headers": "tuning",
        "perf_tracing_file_path": "",
        "xds_delegate_extension": "for control planes",
        "xds_config_tracker_extension": "for control planes",
    },
    ignored={
        "dynamic_resources": _NO_DISCOVERY,
        "hds_config": "health discovery needs a control plane",
        "flags_path": "",
        "watchdog": "a worker of several that hangs for 10 s is replaced",
        "watchdogs": "a worker of several that hangs for 10 s is replaced",
        "stats_server_version_override": "",
        "use_tcp_for_dns_lookups": "the system resolver is used",
        "dns_resolution_config": "the system resolver is used",
        "fatal_actions": "",
        "default_regex_engine": "RE2 is always the engine",
    },
    refused={
        "header_prefix": "the prefix is always x-envoy",
        "default_socket_interface": "",
        "certificate_provider_instances": "certificate provider plugins are not supported",
        "listener_manager": "",
    },
)
declare(f"{BOOTSTRAP}.StaticResources", "listeners clusters secrets")
declare(
    _ADMIN,
    "access_log address",
    partly={"access_log_path": "as a file access log"},
    no_effect={"profile_path": "", "ignore_global_conn_limit": "admin connections are not limited"},
    ignored={"socket_options": ""},
    refused="allow_paths",
)
declare(
    "envoy.config.bootstrap.v3.ClusterManager",
    "",
    no_effect={
        "local_cluster_name": "for zone-aware balancing",
        "outlier_detection": "hosts are not ejected, so there is nothing to log",
        "enable_deferred_cluster_creation": "clusters are always made on first use",
    },
    ignored={
        "upstream_bind_config": "bind addresses are set for each cluster",
        "load_stats_config": "load is not reported",
    },
)
declare("envoy.config.bootstrap.v3.LayeredRuntime", "layers")
declare(
    "envoy.config.bootstrap.v3.RuntimeLayer",
    "name static_layer",
    no_effect={"admin_layer": "the admin port changes no runtime"},
    ignored={"disk_layer": _NO_RUNTIME_FILES, "rtds_layer": _NO_RUNTIME_FILES},
)
declare(f"{BOOTSTRAP}.ApplicationLogConfig", "log_format")
declare(f"{BOOTSTRAP}.ApplicationLogConfig.LogFormat", "json_format text_format")
declare(
    "envoy.config.overload.v3.OverloadManager",
    "resource_monitors",
    no_effect={"refresh_interval": "the connection count is always known"},
    ignored={
        "actions": "only the connection limit exists",
        "loadshed_points": "only the connection limit exists",
        "buffer_factory_config": "",
    },
)
declare("envoy.config.overload.v3.ResourceMonitor", "typed_config", no_effect={"name": "the type decides"})
declare(
    "envoy.config.metrics.v3.StatsConfig",
    "stats_tags use_all_default_tags stats_matcher histogram_bucket_settings",
)
declare("envoy.config.metrics.v3.TagSpecifier", "tag_name regex fixed_value")
declare("envoy.config.metrics.v3.StatsMatcher", "reject_all exclusion_list inclusion_list")
declare(
    "envoy.config.metrics.v3.HistogramBucketSettings",
    "match buckets",
    no_effect={"bins": "histograms are kept in buckets"},
)

_DEFAULT_TAG_NAMES: Final = (
    "cluster_name listener_address http_conn_manager_prefix http_user_agent clientssl_prefix "
    "ssl_cipher mongo_prefix mongo_cmd mongo_collection mongo_callsite ratelimit_prefix "
    "local_http_ratelimit_prefix local_network_ratelimit_prefix local_listener_ratelimit_prefix "
    "dns_filter_prefix connection_limit_prefix rbac_prefix rbac_http_prefix rbac_policy_name "
    "tcp_prefix udp_prefix fault_downstream_cluster dynamo_operation dynamo_table "
    "dynamo_partition_id grpc_bridge_service grpc_bridge_method virtual_host virtual_cluster route "
    "response_code response_code_class worker_id thrift_prefix redis_prefix proxy_protocol_version "
    "proxy_protocol_prefix google_grpc_client_prefix ssl_curve ssl_sigalg ssl_version "
    "ext_authz_prefix xds_resource_name tls_certificate"
)
#: The tags whose rules Envoy has built in: they need no regex.
DEFAULT_TAGS: Final = frozenset((*(f"envoy.{name}" for name in _DEFAULT_TAG_NAMES.split()), "cipher_suite"))
_NOT_ECMASCRIPT: Final = re.compile(r"\(\?(?![:=!])")
_UNESCAPED: Final = re.compile(r"%[v_]")
_POSIX_CLASS: Final = re.compile(r"\[:\w+:\]", re.ASCII)

_CONNECTION_LIMIT: Final = (
    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
)
declare(_CONNECTION_LIMIT, "max_active_downstream_connections")


def _translate_connection_limit(msg: Any, at: Path) -> int:
    return int(msg.max_active_downstream_connections)


RESOURCE_MONITORS: Final = ExtensionTable[int](
    "a resource monitor",
    {_CONNECTION_LIMIT: _translate_connection_limit},
    skip_others="only the limit of downstream connections is watched",
)
BOOTSTRAP_EXTENSIONS: Final = ExtensionTable[WorkloadDiscoverySpec](
    "a bootstrap extension",
    {WORKLOAD_DISCOVERY: translate_workload_discovery},
    skipped={
        "envoy.extensions.bootstrap.internal_listener.v3.InternalListener": "there are no internal listeners",
    },
    skip_others="only workload discovery has an effect",
)


def _translate_admin(msg: Any, at: Path) -> AdminSpec:
    address = None
    if msg.HasField("address"):
        address = translate_address(msg.address, at.field("address"))
    logs: tuple[AccessLogSpec, ...] = translate_access_logs(msg.access_log, at.field("access_log"))
    if msg.access_log_path:
        logs = (*logs, FileAccessLogSpec(msg.access_log_path))
    return AdminSpec(address, logs)


def _check_tag_regex(pattern: str, at: Path) -> None:
    """Tag rules are ECMAScript expressions: look-ahead, but no look-behind and no names; POSIX classes."""
    unsupported = _NOT_ECMASCRIPT.search(pattern)
    if unsupported:
        at.error(f"not a valid ECMAScript regular expression: '{unsupported[0]}'")
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(_POSIX_CLASS.sub("a", pattern))
    except (re.error, OverflowError, RecursionError) as error:
        at.error(f"not a valid ECMAScript regular expression: {error}")


def _translate_tags(messages: Any, at: Path) -> tuple[TagSpecifier, ...]:
    tags: list[TagSpecifier] = []
    for index, message in enumerate(messages):
        item_at = at.index(index)
        kind = message.WhichOneof("tag_value")
        if not message.tag_name:
            item_at.field("tag_name").error("must not be empty")
        elif kind != "fixed_value" and not message.regex and message.tag_name not in DEFAULT_TAGS:
            item_at.error(
                f"'{message.tag_name}' is not one of the default tags, so it needs a regex or a fixed_value"
                f"{did_you_mean(message.tag_name, DEFAULT_TAGS)}"
            )
        _check_tag_regex(message.regex, item_at.field("regex"))
        fixed = message.fixed_value if kind == "fixed_value" else None
        tags.append(TagSpecifier(message.tag_name, message.regex, fixed))
    return tuple(tags)


def _translate_stats_matcher(msg: Any, at: Path) -> StatsMatcher:
    kind = msg.WhichOneof("stats_matcher")
    if kind == "reject_all":
        return StatsMatcher(reject_all=msg.reject_all)
    if kind is None:
        return StatsMatcher()
    patterns = translate_string_matchers(getattr(msg, kind).patterns, at.field(kind).field("patterns"))
    if kind == "inclusion_list":
        return StatsMatcher(inclusion=patterns)
    return StatsMatcher(exclusion=patterns)


def _translate_stats(msg: Any, at: Path, more_buckets: tuple[HistogramBuckets, ...]) -> StatsSpec:
    """`more_buckets` count where no setting matches."""
    settings = []
    for index, item in enumerate(msg.histogram_bucket_settings):
        item_at = at.item("histogram_bucket_settings", index)
        buckets = tuple(sorted(item.buckets))
        settings.append(
            HistogramBuckets(translate_string_matcher(item.match, item_at.field("match")), buckets)
        )
    return StatsSpec(
        use_all_default_tags=wrapped_bool(msg, "use_all_default_tags", True),
        tags=_translate_tags(msg.stats_tags, at.field("stats_tags")),
        matcher=_translate_stats_matcher(msg.stats_matcher, at.field("stats_matcher")),
        histogram_buckets=(*settings, *more_buckets),
    )


def _flatten(prefix: str, value: object, result: dict[str, object], at: Path) -> None:
    """Dotted keys; a fractional percent (`numerator`) stays one value."""
    if isinstance(value, Mapping) and "numerator" not in value:
        for key, item in value.items():
            _flatten(f"{prefix}.{key}", item, result, at.field(key))
    elif value is None or isinstance(value, list):
        at.error("a runtime value must be a number, a string, a boolean or an object")
    else:
        result[prefix] = value


def _translate_runtime(msg: Any, at: Path) -> dict[str, object]:
    result: dict[str, object] = {}
    names: set[str] = set()
    has_admin_layer = False
    for index, layer in enumerate(msg.layers):
        layer_at = at.item("layers", index)
        if layer.name in names:
            layer_at.field("name").error(f"there is another layer '{layer.name}'")
        names.add(layer.name)
        for key, value in layer.static_layer.fields.items():
            _flatten(key, value_to_plain(value), result, layer_at.field("static_layer").field(key))
        if layer.HasField("admin_layer"):
            if has_admin_layer:
                layer_at.field("admin_layer").error("there may be one admin layer only", of_key=True)
            has_admin_layer = True
    return result


def _translate_log_format(msg: Any, at: Path) -> ApplicationLogFormat:
    kind = msg.log_format.WhichOneof("log_format")
    if kind == "text_format":
        return ApplicationLogFormat(text=msg.log_format.text_format)
    if kind == "json_format":
        fields = msg.log_format.json_format.fields
        for key in fields:
            text, key_at = value_to_plain(fields[key]), at.field("log_format").field(kind).field(key)
            if not isinstance(text, str):
                key_at.error("refused: only strings are supported")
            elif unescaped := _UNESCAPED.search(text):
                key_at.error(f"{unescaped[0]} is not escaped for JSON; did you mean '%j'?")
        return ApplicationLogFormat(
            json=tuple((key, str(value_to_plain(fields[key]))) for key in sorted(fields))
        )
    return ApplicationLogFormat()


def _translate_connection_limits(msg: Any, at: Path) -> int | None:
    limit: int | None = None
    for index, monitor in enumerate(msg.resource_monitors):
        found = RESOURCE_MONITORS.translate(
            monitor.typed_config, at.item("resource_monitors", index).field("typed_config")
        )
        if any(other.name == monitor.name for other in msg.resource_monitors[:index]):
            at.item("resource_monitors", index).field("name").error(
                f"there is another monitor '{monitor.name}'"
            )
        limit = found if found is not None else limit
    return limit


def _runtime_limit(runtime: Mapping[str, object]) -> int | None:
    """The older way to say the limit: a runtime key."""
    value = runtime.get("overload.global_downstream_max_connections")
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return (
        int(value) if isinstance(value, float | int) and not isinstance(value, bool) and value > 0 else None
    )


def _check_listeners(listeners: tuple[ListenerSpec, ...], admin: Address | None, at: Path) -> None:
    """Names are unique, and so are the addresses that are bound; `admin` shares its port with nobody."""
    names: dict[str, int] = {}
    addresses: dict[object, int] = {}
    for index, listener in enumerate(listeners):
        if listener.name in names:
            at.index(index).field("name").error(f"there is another listener '{listener.name}'")
        names.setdefault(listener.name, index)
        for address in (listener.address, *listener.additional_addresses):
            if getattr(address, "port", 1) == 0:
                continue
            if address in addresses:
                other = listeners[addresses[address]].name
                at.index(index).field("address").error(f"{address} is the address of listener '{other}' too")
            elif problem := _overlap(address, listeners[: index + 1], admin):
                at.index(index).field("address").error(problem)
            addresses.setdefault(address, index)


def _overlap(address: Address, listeners: tuple[ListenerSpec, ...], admin: Address | None) -> str:
    """Why an address of the last listener cannot be bound when those of the others are; "" if it can."""
    *others, listener = listeners
    if not isinstance(address, SocketAddress) or not listener.bind_to_port:
        return ""
    if isinstance(admin, SocketAddress) and address.overlaps(admin):
        return f"{address} is taken by the admin server ({admin})"
    for other in filter(lambda each: each.bind_to_port, others):
        for taken in (other.address, *other.additional_addresses):
            shared = listener.reuse_port and other.reuse_port
            if isinstance(taken, SocketAddress) and address.overlaps(taken) and not shared:
                return (
                    f"{address} is taken by listener '{other.name}' ({taken}): they can share a port only if both have "
                    "enable_reuse_port"
                )
    return ""


def _check_cluster_names(clusters: tuple[ClusterSpec, ...], at: Path) -> None:
    names: set[str] = set()
    for index, cluster in enumerate(clusters):
        if cluster.name in names:
            at.index(index).field("name").error(f"there is another cluster '{cluster.name}'")
        names.add(cluster.name)


def _translate_secrets(messages: Any, at: Path) -> tuple[Secret, ...]:
    secrets: list[Secret] = []
    seen: set[tuple[str, bool]] = set()
    for index, message in enumerate(messages):
        secret = translate_secret(message, at.index(index))
        if secret is None:
            continue
        key = (secret.name, secret.validation is None)
        if key in seen:
            at.index(index).field("name").error(f"there is another secret '{secret.name}'")
        seen.add(key)
        secrets.append(secret)
    return tuple(secrets)


def _know_names(msg: Any, at: Path) -> None:
    """Tell the translators which clusters and secrets they may refer to."""
    resources, context = msg.static_resources, at.context
    if not msg.dynamic_resources.HasField("cds_config"):
        context.clusters = [cluster.name for cluster in resources.clusters]
    context.certificate_secrets = [s.name for s in resources.secrets if s.HasField("tls_certificate")]
    context.validation_secrets = [s.name for s in resources.secrets if s.HasField("validation_context")]


def _check_stats_intervals(msg: Any, at: Path) -> None:
    if msg.stats_flush_on_admin and msg.HasField("stats_flush_interval"):
        at.field("stats_flush_on_admin").error(
            "cannot be set together with stats_flush_interval", of_key=True
        )
    if msg.HasField("stats_eviction_interval"):
        flush_ms = round(seconds(msg, "stats_flush_interval", 5.0) * 1000)
        eviction_ms = round(duration_s(msg.stats_eviction_interval) * 1000)
        if flush_ms <= 0 or eviction_ms % flush_ms:
            at.field("stats_eviction_interval").error("must be a multiple of stats_flush_interval")


def _translate_extensions(messages: Any, at: Path) -> WorkloadDiscoverySpec | None:
    """The one bootstrap extension with an effect: workload discovery."""
    found: WorkloadDiscoverySpec | None = None
    for index, extension in enumerate(messages):
        extension_at = at.index(index)
        spec = BOOTSTRAP_EXTENSIONS.translate(extension.typed_config, extension_at.field("typed_config"))
        if spec is not None and found is not None:
            extension_at.error("there is workload discovery already")
        if spec is not None and not at.context.discovery_is_used:
            extension_at.field("typed_config").warning(
                "has no effect: no peer_metadata filter has workload_discovery among its ways of discovery, and no metadata "
                "exchange has enable_discovery"
            )
        found = found or spec
    return found


def translate_bootstrap(msg: Any, at: Path) -> Bootstrap:
    _know_names(msg, at)
    resources, resources_at = msg.static_resources, at.field("static_resources")
    secrets = _translate_secrets(resources.secrets, resources_at.field("secrets"))
    clusters_at, listeners_at = resources_at.field("clusters"), resources_at.field("listeners")
    clusters = tuple(
        translate_cluster(item, clusters_at.index(i)) for i, item in enumerate(resources.clusters)
    )
    _check_cluster_names(clusters, clusters_at)
    if msg.tracing.HasField("http"):
        at.context.tracer = translate_tracer(msg.tracing.http, at.field("tracing").field("http"))
    listeners = tuple(
        translate_listener(item, listeners_at.index(i)) for i, item in enumerate(resources.listeners)
    )
    admin = _translate_admin(msg.admin, at.field("admin"))
    _check_listeners(listeners, admin.address, listeners_at)
    runtime = _translate_runtime(msg.layered_runtime, at.field("layered_runtime"))
    limit = _translate_connection_limits(msg.overload_manager, at.field("overload_manager"))
    _check_stats_intervals(msg, at)
    eviction = msg.stats_eviction_interval
    node, metadata_at = translate_node(msg.node, at.field("node")), at.field("node").field("metadata")
    more_buckets = translate_histogram_annotation(node.metadata, metadata_at)
    return Bootstrap(
        node=node,
        admin=admin,
        listeners=listeners,
        clusters=clusters,
        secrets=secrets,
        stats=_translate_stats(msg.stats_config, at.field("stats_config"), more_buckets),
        telemetry=translate_telemetry_options(node.metadata, metadata_at),
        stats_sinks=translate_stats_sinks(msg.stats_sinks, at.field("stats_sinks")),
        stats_flush_on_admin=msg.stats_flush_on_admin,
        stats_flush_interval_s=seconds(msg, "stats_flush_interval", 5.0),
        stats_eviction_interval_s=duration_s(eviction) if msg.HasField("stats_eviction_interval") else None,
        runtime=runtime,
        global_max_downstream_connections=limit if limit is not None else _runtime_limit(runtime),
        workload_discovery=_translate_extensions(msg.bootstrap_extensions, at.field("bootstrap_extensions")),
        log_format=_translate_log_format(msg.application_log_config, at.field("application_log_config")),
    )
