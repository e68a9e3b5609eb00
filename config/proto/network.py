"""Network (L4) filters (envoy.extensions.filters.network.*) and the table of them."""

from __future__ import annotations

import re
from typing import Any, Final

from config.model.access_log import AccessLogOptions
from config.model.core import DataSource, HeaderMutations
from config.model.http import HttpConnectionManagerSpec
from config.model.network import (
    DirectResponseNetworkSpec,
    EchoSpec,
    NetworkFilterSpec,
    TcpProxySpec,
    TunnelingConfig,
    WeightedTcpCluster,
)
from config.proto import istio_extensions as istio
from config.proto.access_log import translate_access_logs
from config.proto.core import (
    check_format,
    optional_metadata,
    positive_seconds,
    translate_data_source,
    translate_header_value_option,
    wrapped_int,
)
from config.proto.fields import declare
from config.proto.http import HTTP_CONNECTION_MANAGER, translate_http_connection_manager
from config.proto.path import Path
from config.proto.references import ClusterCheck, check_cluster
from config.proto.route import NO_SUBSETS
from config.proto.typed_config import ExtensionTable

_TCP_PROXY: Final = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_DIRECT_RESPONSE: Final = "envoy.extensions.filters.network.direct_response.v3.Config"
_ECHO: Final = "envoy.extensions.filters.network.echo.v3.Echo"
_AUTHORITY: Final = re.compile(r"[A-Za-z0-9\-._~%!$&'()*+,;=:@\[\]]+")  # RFC 3986, 3.2

declare(
    "envoy.config.listener.v3.Filter",
    "typed_config",
    no_effect={"name": "the type decides"},
    refused={"config_discovery": "extension configuration by discovery needs a control plane"},
)
declare(
    "envoy.config.cluster.v3.Filter",
    "typed_config",
    no_effect={"name": "the type decides"},
    refused={"config_discovery": "extension configuration by discovery needs a control plane"},
)
declare(
    _TCP_PROXY,
    "stat_prefix cluster weighted_clusters idle_timeout access_log max_connect_attempts "
    "max_downstream_connection_duration access_log_options access_log_flush_interval "
    "flush_access_log_on_connected tunneling_config",
    partly={
        "upstream_connect_mode": "IMMEDIATE only",
    },
    ignored={
        **NO_SUBSETS,
        "downstream_idle_timeout": "idle_timeout is used",
        "upstream_idle_timeout": "idle_timeout is used",
        "backoff_options": "failed connection attempts are repeated at once",
        "hash_policy": "no load balancer here hashes",
        "max_downstream_connection_duration_jitter_percentage": "",
        "proxy_protocol_tlvs": "no PROXY protocol is sent",
        "max_early_data_bytes": "",
    },
    refused={"on_demand": "clusters by discovery need a control plane"},
)
declare(
    f"{_TCP_PROXY}.TunnelingConfig",
    "hostname use_post post_path headers_to_add",
    ignored={
        "propagate_response_headers": "",
        "propagate_response_trailers": "",
        "request_id_extension": "a tunnel has no request id",
        "request_id_header": "a tunnel has no request id",
        "request_id_metadata_key": "a tunnel has no request id",
    },
)
declare(f"{_TCP_PROXY}.WeightedCluster", "clusters")
declare(f"{_TCP_PROXY}.WeightedCluster.ClusterWeight", "name weight", ignored=NO_SUBSETS)
declare(
    f"{_TCP_PROXY}.TcpAccessLogOptions",
    "access_log_flush_interval flush_access_log_on_connected",
)
declare(_DIRECT_RESPONSE, "response")
declare(_ECHO)


def _translate_weighted(msg: Any, at: Path) -> tuple[WeightedTcpCluster, ...]:
    clusters = []
    for index, item in enumerate(msg.clusters):
        item_at = at.item("clusters", index)
        check_cluster(item.name, item_at.field("name"), ClusterCheck.WARNING)
        metadata = optional_metadata(item, "metadata_match", item_at)
        clusters.append(WeightedTcpCluster(item.name, item.weight, metadata))
    return tuple(clusters)


def _translate_tunneling(msg: Any, at: Path) -> TunnelingConfig | None:
    if not msg.HasField("tunneling_config"):
        return None
    config, config_at = msg.tunneling_config, at.field("tunneling_config")
    check_format(config.hostname, config_at.field("hostname"))
    if "%" not in config.hostname and not _AUTHORITY.fullmatch(config.hostname):
        config_at.field("hostname").warning(f"'{config.hostname}' is no host: no tunnel can be asked for")
    if config.post_path and not config.use_post:
        config_at.field("post_path").error("goes with use_post only", of_key=True)
    additions = tuple(
        translate_header_value_option(item, config_at.item("headers_to_add", i))
        for i, item in enumerate(config.headers_to_add)
    )
    return TunnelingConfig(
        config.hostname, config.use_post, config.post_path or "/", HeaderMutations(request_add=additions)
    )


def _access_log_options(msg: Any, at: Path) -> AccessLogOptions:
    """`access_log_options`, else the older fields that say the same."""
    options, options_at = msg, at
    if msg.HasField("access_log_options"):
        options, options_at = msg.access_log_options, at.field("access_log_options")
    interval_s = positive_seconds(options, "access_log_flush_interval", None, options_at)
    return AccessLogOptions(at_start=options.flush_access_log_on_connected, flush_interval_s=interval_s)


def translate_tcp_proxy(msg: Any, at: Path) -> TcpProxySpec:
    """A cluster that does not exist is only a warning: Envoy, too, decides when a connection comes."""
    if msg.upstream_connect_mode:
        at.field("upstream_connect_mode").error("refused: only IMMEDIATE is supported")
    check_cluster(msg.cluster, at.field("cluster"), ClusterCheck.WARNING)
    weighted = msg.weighted_clusters
    return TcpProxySpec(
        stat_prefix=msg.stat_prefix,
        cluster=msg.cluster,
        weighted_clusters=_translate_weighted(weighted, at.field("weighted_clusters")),
        idle_timeout_s=positive_seconds(msg, "idle_timeout", 3600.0, at),
        max_connect_attempts=wrapped_int(msg, "max_connect_attempts", 1),
        max_downstream_connection_duration_s=positive_seconds(
            msg, "max_downstream_connection_duration", None, at
        ),
        tunneling=_translate_tunneling(msg, at),
        access_log=translate_access_logs(msg.access_log, at.field("access_log")),
        access_log_options=_access_log_options(msg, at),
    )


def translate_direct_response(msg: Any, at: Path) -> DirectResponseNetworkSpec:
    if not msg.HasField("response"):
        return DirectResponseNetworkSpec(DataSource(inline=b""))
    return DirectResponseNetworkSpec(translate_data_source(msg.response, at.field("response")))


def translate_echo(msg: Any, at: Path) -> EchoSpec:
    return EchoSpec()


NETWORK_FILTERS: Final = ExtensionTable[NetworkFilterSpec](
    "a network filter",
    {
        _TCP_PROXY: translate_tcp_proxy,
        HTTP_CONNECTION_MANAGER: translate_http_connection_manager,
        istio.METADATA_EXCHANGE: istio.translate_metadata_exchange,
        istio.STATS: istio.translate_istio_stats,
        _DIRECT_RESPONSE: translate_direct_response,
        _ECHO: translate_echo,
    },
)
UPSTREAM_NETWORK_FILTERS: Final = ExtensionTable[NetworkFilterSpec](
    "an upstream network filter", {istio.METADATA_EXCHANGE: istio.translate_metadata_exchange}
)

_TERMINAL: Final = (TcpProxySpec, HttpConnectionManagerSpec, DirectResponseNetworkSpec, EchoSpec)


def translate_network_filters(messages: Any, at: Path) -> tuple[NetworkFilterSpec, ...]:
    """The filters of one chain: a terminal one last, and only there. An empty chain closes its connections."""
    before = len(at.context.problems.errors)
    filters: list[NetworkFilterSpec] = []
    for index, message in enumerate(messages):
        if message.HasField("config_discovery"):
            continue
        spec = NETWORK_FILTERS.translate(message.typed_config, at.index(index).field("typed_config"))
        if spec is None:
            continue
        if isinstance(spec, _TERMINAL) and index != len(messages) - 1:
            at.index(index).error(f"'{message.name}' ends the chain: no filter may follow it")
        filters.append(spec)
    if filters and not isinstance(filters[-1], _TERMINAL) and len(at.context.problems.errors) == before:
        at.index(len(messages) - 1).error(
            "the last filter must be one that ends the chain: tcp_proxy, http_connection_manager, "
            "direct_response or echo"
        )
    return tuple(filters)


def translate_upstream_filters(messages: Any, at: Path) -> tuple[NetworkFilterSpec, ...]:
    specs = (
        UPSTREAM_NETWORK_FILTERS.translate(message.typed_config, at.index(index).field("typed_config"))
        for index, message in enumerate(messages)
    )
    return tuple(spec for spec in specs if spec is not None)
