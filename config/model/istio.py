"""Istio's three extensions: peer metadata over HTTP and TCP, standard metrics, ALPN override."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class MetadataExchangeSpec:
    """`envoy.tcp.metadataexchange.config.MetadataExchange`; as a listener's network filter or a cluster's upstream filter."""

    protocol: str
    enable_discovery: bool = False
    additional_labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IstioHeadersMethod:
    skip_external_clusters: bool = False


@dataclass(frozen=True, slots=True)
class WorkloadDiscoveryMethod:
    pass


PeerMethod: TypeAlias = IstioHeadersMethod | WorkloadDiscoveryMethod


@dataclass(frozen=True, slots=True)
class PeerMetadataSpec:
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


@dataclass(frozen=True, slots=True)
class MetricConfig:
    """One entry of `metrics`: `dimensions` (label -> CEL text), sorted by label; `match` (CEL text), "" always holds."""

    name: str = ""
    dimensions: tuple[tuple[str, str], ...] = ()
    tags_to_remove: tuple[str, ...] = ()
    drop: bool = False
    match: str = ""


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    name: str
    value: str = ""
    type: MetricType = MetricType.COUNTER


@dataclass(frozen=True, slots=True)
class IstioStatsSpec:
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


@dataclass(frozen=True, slots=True)
class AlpnOverrideSpec:
    """`istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig`: upstream protocol -> ALPN list; the first entry wins."""

    overrides: tuple[tuple[AlpnUpstreamProtocol, tuple[str, ...]], ...] = ()
