"""HTTP filters by the class of their spec: explicit, no registration by import.

The table says in which module of `filters` one is; it is imported when the filter is configured.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

from config.model.grpc import GrpcStatsSpec, GrpcWebSpec
from config.model.http import HttpFilterSpec, RouterSpec
from config.model.istio import AlpnOverrideSpec, IstioStatsSpec, PeerMetadataSpec
from config.model.rbac import RbacSpec
from sidecar.http.api import HttpFilterBuilder, HttpFilterFactory

if TYPE_CHECKING:
    from sidecar.upstream.services import FilterContext

HTTP_FILTERS: Final[Mapping[type[HttpFilterSpec], str]] = {
    RouterSpec: "router",
    PeerMetadataSpec: "peer_metadata",
    IstioStatsSpec: "istio_stats",
    AlpnOverrideSpec: "alpn",
    GrpcStatsSpec: "grpc_stats",
    GrpcWebSpec: "grpc_web",
    RbacSpec: "rbac",
}


def http_filter_builder(spec: type[HttpFilterSpec]) -> HttpFilterBuilder:
    """The `build` of the filter's module."""
    module = importlib.import_module(f"sidecar.http.filters.{HTTP_FILTERS[spec]}")
    return cast("HttpFilterBuilder", module.build)


def build_http_filter(spec: HttpFilterSpec, context: FilterContext) -> HttpFilterFactory:
    return http_filter_builder(type(spec))(spec, context)


def compile_override(spec: RbacSpec) -> object:
    """The form in which a filter takes what a route says of it."""
    from sidecar.http.filters import rbac  # see above

    return rbac.RbacRules(spec)
