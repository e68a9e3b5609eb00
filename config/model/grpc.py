"""The HTTP filters for gRPC (envoy.extensions.filters.http.grpc_stats.v3, grpc_web.v3)."""

from __future__ import annotations

import msgspec


class GrpcStatsSpec(msgspec.Struct, frozen=True):
    """`grpc_stats.v3.FilterConfig`.

    `stats_for_all_methods`: every method has counters of its own; else those of `allowlist` (service, method) have, and all
    others share the cluster's.
    """

    emit_filter_state: bool = False
    stats_for_all_methods: bool = False
    allowlist: frozenset[tuple[str, str]] = frozenset()
    enable_upstream_stats: bool = False
    replace_dots_in_grpc_service_name: bool = False


class GrpcWebSpec(msgspec.Struct, frozen=True):
    """`grpc_web.v3.GrpcWeb`."""
