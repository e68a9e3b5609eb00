"""Istio's three extensions: peer metadata over HTTP and TCP, standard metrics, ALPN override."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec


class MetadataExchangeSpec(msgspec.Struct, frozen=True):
    """`envoy.tcp.metadataexchange.config.MetadataExchange`; as a listener's network filter or a cluster's upstream filter."""

    protocol: str
    enable_discovery: bool = False
    additional_labels: tuple[str, ...] = ()


class IstioHeadersMethod(msgspec.Struct, frozen=True):
    skip_external_clusters: bool = False


class WorkloadDiscoveryMethod(msgspec.Struct, frozen=True):
    pass


PeerMethod: TypeAlias = IstioHeadersMethod | WorkloadDiscoveryMethod


class PeerMetadataSpec(msgspec.Struct, frozen=True):
    """`io.istio.http.peer_metadata.Config` (an HTTP filter). Unset and unknown methods are left out."""

    downstream_discovery: tuple[PeerMethod, ...] = ()
    upstream_discovery: tuple[PeerMethod, ...] = ()
    downstream_propagation: tuple[PeerMethod, ...] = ()
    upstream_propagation: tuple[PeerMethod, ...] = ()
    additional_labels: tuple[str, ...] = ()


class Reporter(enum.Enum):
    UNSPECIFIED = 0  # by the listener's traffic direction
    SERVER_GATEWAY = 1  # waypoint


class MetricType(enum.Enum):
    COUNTER = 0
    GAUGE = 1
    HISTOGRAM = 2


class MetricConfig(msgspec.Struct, frozen=True):
    """One entry of `metrics`: `dimensions` (label -> CEL text), sorted by label; `match` (CEL text), "" always holds."""

    name: str = ""
    dimensions: tuple[tuple[str, str], ...] = ()
    tags_to_remove: tuple[str, ...] = ()
    drop: bool = False
    match: str = ""


class MetricDefinition(msgspec.Struct, frozen=True):
    name: str
    value: str = ""
    type: MetricType = MetricType.COUNTER


class IstioStatsSpec(msgspec.Struct, frozen=True):
    """`stats.PluginConfig`; the same type serves as an HTTP filter and as a network filter. 0 s: no periodic reports, no rotation."""

    disable_host_header_fallback: bool = False
    tcp_reporting_duration_s: float = 5.0
    metrics: tuple[MetricConfig, ...] = ()
    definitions: tuple[MetricDefinition, ...] = ()
    reporter: Reporter = Reporter.UNSPECIFIED
    rotation_interval_s: float = 0.0
    graceful_deletion_interval_s: float = 300.0


class AlpnUpstreamProtocol(enum.Enum):
    HTTP10 = 0
    HTTP11 = 1
    HTTP2 = 2


class AlpnOverrideSpec(msgspec.Struct, frozen=True):
    """`istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig`: upstream protocol -> ALPN list; the first entry wins."""

    overrides: tuple[tuple[AlpnUpstreamProtocol, tuple[str, ...]], ...] = ()
