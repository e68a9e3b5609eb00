"""The HTTP filters for gRPC: statistics of calls, and gRPC-Web."""

from __future__ import annotations

from typing import Any, Final

from config.model.grpc import GrpcStatsSpec, GrpcWebSpec
from config.proto.core import wrapped_bool
from config.proto.fields import declare
from config.proto.path import Path

GRPC_STATS: Final = "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"
GRPC_WEB: Final = "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"
_METHOD_LIST: Final = "envoy.config.core.v3.GrpcMethodList"

declare(
    GRPC_STATS,
    "emit_filter_state individual_method_stats_allowlist enable_upstream_stats",
    partly={
        "stats_for_all_methods": "false unless set; at most 500 methods of a cluster have names",
        "replace_dots_in_grpc_service_name": "with stats_for_all_methods, as in Envoy",
    },
)
declare(_METHOD_LIST, "services")
declare(f"{_METHOD_LIST}.Service", "name method_names")
declare(GRPC_WEB)


def translate_grpc_stats(msg: Any, at: Path) -> GrpcStatsSpec:
    return GrpcStatsSpec(
        emit_filter_state=msg.emit_filter_state,
        stats_for_all_methods=wrapped_bool(msg, "stats_for_all_methods", False),
        allowlist=frozenset(
            (service.name, method)
            for service in msg.individual_method_stats_allowlist.services
            for method in service.method_names
        ),
        enable_upstream_stats=msg.enable_upstream_stats,
        replace_dots_in_grpc_service_name=msg.replace_dots_in_grpc_service_name,
    )


def translate_grpc_web(msg: Any, at: Path) -> GrpcWebSpec:
    return GrpcWebSpec()
