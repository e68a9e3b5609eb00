"""Network filters by the class of their spec: explicit, no registration by import.

The table says in which module of `filters` one is; it is imported when the filter is configured.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Final, cast

from config.model.http import HttpConnectionManagerSpec
from config.model.istio import IstioStatsSpec, MetadataExchangeSpec
from config.model.network import DirectResponseNetworkSpec, EchoSpec, NetworkFilterSpec, TcpProxySpec
from sidecar.network.api import NetworkFilterBuilder, NetworkFilterFactory
from sidecar.upstream.services import FilterContext

NETWORK_FILTERS: Final[Mapping[type[NetworkFilterSpec], str]] = {
    TcpProxySpec: "tcp_proxy",
    HttpConnectionManagerSpec: "http_connection_manager",
    MetadataExchangeSpec: "metadata_exchange",
    IstioStatsSpec: "istio_stats",
    DirectResponseNetworkSpec: "direct_response",
    EchoSpec: "echo",
}


def network_filter_builder(spec: type[NetworkFilterSpec]) -> NetworkFilterBuilder:
    """The `build` of the filter's module."""
    module = importlib.import_module(f"sidecar.network.filters.{NETWORK_FILTERS[spec]}")
    return cast("NetworkFilterBuilder", module.build)


def build_network_filter(spec: NetworkFilterSpec, context: FilterContext) -> NetworkFilterFactory:
    return network_filter_builder(type(spec))(spec, context)
