"""Istio's extensions: standard metrics, peer metadata over HTTP and TCP, ALPN override."""

from __future__ import annotations

import re
from typing import Any, Final

from config.model.istio import (
    AlpnOverrideSpec,
    AlpnUpstreamProtocol,
    IstioHeadersMethod,
    IstioStatsSpec,
    MetadataExchangeSpec,
    MetricConfig,
    MetricDefinition,
    MetricType,
    PeerMetadataSpec,
    PeerMethod,
    Reporter,
    WorkloadDiscoveryMethod,
)
from config.model.workload_discovery import WorkloadDiscoverySpec
from config.proto.core import check_duration, enum_of, seconds
from config.proto.expression import warn_of_expression
from config.proto.fields import declare, noted
from config.proto.path import Path

_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
STATS: Final = "stats.PluginConfig"
PEER_METADATA: Final = "io.istio.http.peer_metadata.Config"
METADATA_EXCHANGE: Final = "envoy.tcp.metadataexchange.config.MetadataExchange"
ALPN: Final = "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"
WORKLOAD_DISCOVERY: Final = "istio.workload.BootstrapExtension"
_BY_BOOTSTRAP: Final = "finds those of the file that the bootstrap extension names"
_NO_DISCOVERY: Final = "workloads are read from a file (path_config_source) only"

declare(
    STATS,
    "disable_host_header_fallback tcp_reporting_duration metrics definitions reporter",
    partly=noted("rotation_interval graceful_deletion_interval", "unless stats_eviction_interval is set"),
)
declare(
    "stats.MetricConfig",
    "name dimensions tags_to_remove match drop",
)
declare("stats.MetricDefinition", "name value type")
declare(
    PEER_METADATA,
    "downstream_discovery upstream_discovery downstream_propagation upstream_propagation additional_labels",
    ignored={"shared_with_upstream": "there are no internal listeners to share it with"},
)
declare(
    f"{PEER_METADATA}.DiscoveryMethod",
    "istio_headers",
    partly={"workload_discovery": _BY_BOOTSTRAP},
    ignored=noted("baggage upstream_filter_state", "this way of discovery is skipped"),
)
declare(f"{PEER_METADATA}.PropagationMethod", "istio_headers", ignored={"baggage": "no baggage is written"})
declare(f"{PEER_METADATA}.IstioHeaders", "skip_external_clusters")
declare(METADATA_EXCHANGE, "protocol additional_labels", partly={"enable_discovery": _BY_BOOTSTRAP})
declare(WORKLOAD_DISCOVERY, "config_source")
declare(
    "envoy.config.core.v3.ConfigSource",
    "path path_config_source",
    no_effect=noted("authorities initial_fetch_timeout resource_api_version", "for control planes"),
    ignored=noted("api_config_source ads self", _NO_DISCOVERY),
)
declare(
    "envoy.config.core.v3.PathConfigSource",
    "path",
    no_effect={"watched_directory": "the file is looked at every second"},
)
declare(ALPN, "alpn_override")
declare(f"{ALPN}.AlpnOverride", "upstream_protocol alpn_override")


def translate_istio_stats(msg: Any, at: Path) -> IstioStatsSpec:
    for field in ("tcp_reporting_duration", "rotation_interval", "graceful_deletion_interval"):
        check_duration(msg, field, at)
    _check_expressions(msg, at)
    rotation_s = seconds(msg, "rotation_interval", 0.0)
    graceful_s = seconds(msg, "graceful_deletion_interval", 300.0)
    if rotation_s > 0 and not 1.0 <= graceful_s < rotation_s:
        at.field("rotation_interval").warning(
            f"ignored: graceful_deletion_interval ({graceful_s:g}s) must be at least 1s and less than it"
        )
        rotation_s = 0.0
    spec = IstioStatsSpec(
        disable_host_header_fallback=msg.disable_host_header_fallback,
        tcp_reporting_duration_s=seconds(msg, "tcp_reporting_duration", 5.0),
        metrics=tuple(
            MetricConfig(
                name=metric.name,
                dimensions=tuple(item for item in sorted(metric.dimensions.items()) if _is_label(item[0])),
                tags_to_remove=tuple(metric.tags_to_remove),
                drop=metric.drop,
                match=metric.match,
            )
            for metric in msg.metrics
        ),
        definitions=tuple(
            MetricDefinition(definition.name, definition.value, enum_of(MetricType, definition.type))
            for definition in msg.definitions
        ),
        reporter=enum_of(Reporter, msg.reporter),
        rotation_interval_s=rotation_s,
        graceful_deletion_interval_s=graceful_s,
    )
    if at.context.review_istio_stats is not None:
        for remark in at.context.review_istio_stats(spec):
            at.remark(remark)
    return spec


def _is_label(name: str) -> bool:
    """What Prometheus can read; `le` and `quantile` are those of histograms and summaries."""
    return _LABEL.fullmatch(name) is not None and name not in ("le", "quantile")


def _check_expressions(msg: Any, at: Path) -> None:
    """What does not parse is no error: Istio leaves it out, and the traffic must not suffer from a metric."""
    for i, metric in enumerate(msg.metrics):
        metric_at = at.field("metrics").index(i)
        for label, text in sorted(metric.dimensions.items()):
            if not _is_label(label):
                metric_at.field("dimensions").key(label).warning("left out: not the name of a label")
            warn_of_expression(text, metric_at.field("dimensions").key(label))
        if metric.match:
            warn_of_expression(metric.match, metric_at.field("match"))
    for i, definition in enumerate(msg.definitions):
        warn_of_expression(definition.value, at.field("definitions").index(i).field("value"))


def _translate_methods(methods: Any) -> tuple[PeerMethod, ...]:
    known: list[PeerMethod] = []
    for method in methods:
        kind = method.WhichOneof("method_specifier")
        if kind == "istio_headers":
            known.append(IstioHeadersMethod(method.istio_headers.skip_external_clusters))
        elif kind == "workload_discovery":
            known.append(WorkloadDiscoveryMethod())
    return tuple(known)


def translate_peer_metadata(msg: Any, at: Path) -> PeerMetadataSpec:
    spec = PeerMetadataSpec(
        downstream_discovery=_translate_methods(msg.downstream_discovery),
        upstream_discovery=_translate_methods(msg.upstream_discovery),
        downstream_propagation=_translate_methods(msg.downstream_propagation),
        upstream_propagation=_translate_methods(msg.upstream_propagation),
        additional_labels=tuple(msg.additional_labels),
    )
    methods = (*spec.downstream_discovery, *spec.upstream_discovery)
    at.context.discovery_is_used |= any(isinstance(each, WorkloadDiscoveryMethod) for each in methods)
    return spec


def translate_metadata_exchange(msg: Any, at: Path) -> MetadataExchangeSpec:
    if not msg.protocol:
        at.field("protocol").error("must not be empty")
    at.context.discovery_is_used |= msg.enable_discovery
    return MetadataExchangeSpec(msg.protocol, msg.enable_discovery, tuple(msg.additional_labels))


def translate_workload_discovery(msg: Any, at: Path) -> WorkloadDiscoverySpec | None:
    source, source_at = msg.config_source, at.field("config_source")
    if source.WhichOneof("config_source_specifier") is None:
        source_at.error("says where workloads are told, and is missing")
        return None
    path = source.path or source.path_config_source.path
    return WorkloadDiscoverySpec(path) if path else None


def translate_alpn_override(msg: Any, at: Path) -> AlpnOverrideSpec:
    return AlpnOverrideSpec(
        tuple(
            (enum_of(AlpnUpstreamProtocol, entry.upstream_protocol), tuple(entry.alpn_override))
            for entry in msg.alpn_override
        )
    )
