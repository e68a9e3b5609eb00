"""Network (L4) filters: one spec for each filter type (envoy.extensions.filters.network.*)."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from config.model.access_log import LOGGED_AT_THE_END, AccessLogOptions, AccessLogSpec
from config.model.core import NO_MUTATIONS, DataSource, HeaderMutations, Metadata
from config.model.http import HttpConnectionManagerSpec
from config.model.istio import IstioStatsSpec, MetadataExchangeSpec


class WeightedTcpCluster(msgspec.Struct, frozen=True):
    name: str
    weight: int
    metadata_match: Metadata | None = None


class TunnelingConfig(msgspec.Struct, frozen=True):
    """`TcpProxy.TunnelingConfig`: TCP through a CONNECT, or a POST to `post_path`. `hostname` is a format string."""

    hostname: str
    use_post: bool = False
    post_path: str = "/"
    mutations: HeaderMutations = NO_MUTATIONS


class TcpProxySpec(msgspec.Struct, frozen=True):
    """`TcpProxy`. Either `cluster` or `weighted_clusters` is set. `idle_timeout_s` None: never (Envoy's default is 1 h)."""

    stat_prefix: str
    cluster: str = ""
    weighted_clusters: tuple[WeightedTcpCluster, ...] = ()
    idle_timeout_s: float | None = 3600.0
    max_connect_attempts: int = 1
    max_downstream_connection_duration_s: float | None = None
    tunneling: TunnelingConfig | None = None
    access_log: tuple[AccessLogSpec, ...] = ()
    access_log_options: AccessLogOptions = LOGGED_AT_THE_END


class DirectResponseNetworkSpec(msgspec.Struct, frozen=True):
    """`envoy.filters.network.direct_response`: write the bytes, then close."""

    response: DataSource


class EchoSpec(msgspec.Struct, frozen=True):
    """`envoy.filters.network.echo`: send back what comes."""


NetworkFilterSpec: TypeAlias = (
    TcpProxySpec
    | HttpConnectionManagerSpec
    | MetadataExchangeSpec
    | IstioStatsSpec
    | DirectResponseNetworkSpec
    | EchoSpec
)
