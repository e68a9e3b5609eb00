"""HTTP filters by the class of their spec: explicit, no registration by import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from config.model.grpc import GrpcStatsSpec, GrpcWebSpec
from config.model.http import HttpFilterSpec, RouterSpec
from config.model.istio import AlpnOverrideSpec, IstioStatsSpec, PeerMetadataSpec
from config.model.rbac import RbacSpec
from sidecar.http.api import HttpFilterBuilder, HttpFilterFactory
from sidecar.http.filters import alpn, grpc_stats, grpc_web, istio_stats, peer_metadata, rbac, router

if TYPE_CHECKING:
    from sidecar.upstream.services import FilterContext

HTTP_FILTERS: Final[Mapping[type[HttpFilterSpec], HttpFilterBuilder]] = {
    RouterSpec: router.build,
    PeerMetadataSpec: peer_metadata.build,
    IstioStatsSpec: istio_stats.build,
    AlpnOverrideSpec: alpn.build,
    GrpcStatsSpec: grpc_stats.build,
    GrpcWebSpec: grpc_web.build,
    RbacSpec: rbac.build,
}


def build_http_filter(spec: HttpFilterSpec, context: FilterContext) -> HttpFilterFactory:
    return HTTP_FILTERS[type(spec)](spec, context)


def compile_override(spec: RbacSpec) -> object:
    """The form in which a filter takes what a route says of it."""
    return rbac.RbacRules(spec)
