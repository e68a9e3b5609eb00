"""Network filters by the class of their spec: explicit, no registration by import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from config.model.http import HttpConnectionManagerSpec
from config.model.istio import IstioStatsSpec, MetadataExchangeSpec
from config.model.network import DirectResponseNetworkSpec, EchoSpec, NetworkFilterSpec, TcpProxySpec
from sidecar.network.api import NetworkFilterBuilder, NetworkFilterFactory
from sidecar.network.filters import (
    direct_response,
    echo,
    http_connection_manager,
    istio_stats,
    metadata_exchange,
    tcp_proxy,
)
from sidecar.upstream.services import FilterContext

NETWORK_FILTERS: Final[Mapping[type[NetworkFilterSpec], NetworkFilterBuilder]] = {
    TcpProxySpec: tcp_proxy.build,
    HttpConnectionManagerSpec: http_connection_manager.build,
    MetadataExchangeSpec: metadata_exchange.build,
    IstioStatsSpec: istio_stats.build,
    DirectResponseNetworkSpec: direct_response.build,
    EchoSpec: echo.build,
}


def build_network_filter(spec: NetworkFilterSpec, context: FilterContext) -> NetworkFilterFactory:
    return NETWORK_FILTERS[type(spec)](spec, context)
