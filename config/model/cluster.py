"""Clusters (envoy.config.cluster.v3)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from config.model.core import EMPTY_METADATA, Address, Metadata, RoutingPriority
from config.model.endpoint import ClusterLoadAssignment
from config.model.http2 import Http2Options
from config.model.network import NetworkFilterSpec
from config.model.tls import UpstreamTlsContext


class DiscoveryType(enum.Enum):
    STATIC = 0
    STRICT_DNS = 1
    LOGICAL_DNS = 2
    EDS = 3
    ORIGINAL_DST = 4


class LbPolicy(enum.Enum):
    ROUND_ROBIN = 0
    LEAST_REQUEST = 1
    RANDOM = 3
    CLUSTER_PROVIDED = 6  # ORIGINAL_DST


class DnsLookupFamily(enum.Enum):
    AUTO = 0
    V4_ONLY = 1
    V6_ONLY = 2
    V4_PREFERRED = 3
    ALL = 4


class RawBufferSpec(msgspec.Struct, frozen=True):
    """Plaintext: no transport socket configured, or `envoy.transport_sockets.raw_buffer`."""


UpstreamTransportSocketSpec: TypeAlias = RawBufferSpec | UpstreamTlsContext


class TransportSocketMatch(msgspec.Struct, frozen=True):
    """First match wins: every key of `match` must equal the endpoint metadata `envoy.transport_socket_match`."""

    name: str
    match: Mapping[str, object]
    transport_socket: UpstreamTransportSocketSpec


class CircuitBreakerThresholds(msgspec.Struct, frozen=True):
    """Limits of one priority; the defaults are Envoy's (1024, 1024, 1024, 3)."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024
    max_retries: int = 3
    track_remaining: bool = False


class UpstreamHttpProtocol(enum.Enum):
    HTTP1 = enum.auto()
    HTTP2 = enum.auto()
    USE_DOWNSTREAM = enum.auto()
    AUTO = enum.auto()  # auto_config: by ALPN

    __hash__ = object.__hash__  # that of Enum is Python, and this one finds the pool of each request


class UpstreamHttpOptions(msgspec.Struct, frozen=True):
    """`HttpProtocolOptions` of a cluster, and the deprecated cluster-level fields that mean the same."""

    protocol: UpstreamHttpProtocol = UpstreamHttpProtocol.HTTP1
    idle_timeout_s: float | None = 3600.0  # None: never
    max_connection_duration_s: float | None = None
    max_requests_per_connection: int = 0  # 0: unlimited
    max_response_headers_kb: int = 60
    max_headers_count: int = 100
    auto_sni: bool = False
    auto_san_validation: bool = False
    enable_trailers: bool = False
    http2: Http2Options = Http2Options()


class TcpKeepalive(msgspec.Struct, frozen=True):
    """0 leaves the kernel's value."""

    probes: int = 0
    time_s: int = 0
    interval_s: int = 0


class ClusterSpec(msgspec.Struct, frozen=True):
    """One cluster. `stat_name` is `alt_stat_name`, or the name; colons in it are written as `_` in stat names.

    A priority that `circuit_breakers` does not name has the default thresholds.
    """

    name: str
    stat_name: str
    discovery_type: DiscoveryType = DiscoveryType.STATIC
    connect_timeout_s: float = 5.0
    lb_policy: LbPolicy = LbPolicy.ROUND_ROBIN
    least_request_choice_count: int = 2
    load_assignment: ClusterLoadAssignment | None = None
    healthy_panic_threshold: float = 0.5  # ratio
    transport_socket: UpstreamTransportSocketSpec = RawBufferSpec()
    transport_socket_matches: tuple[TransportSocketMatch, ...] = ()
    circuit_breakers: Mapping[RoutingPriority, CircuitBreakerThresholds] | None = None
    http_options: UpstreamHttpOptions = UpstreamHttpOptions()
    per_connection_buffer_limit_bytes: int = 1024 * 1024
    dns_refresh_rate_s: float = 5.0
    dns_lookup_family: DnsLookupFamily = DnsLookupFamily.AUTO
    cleanup_interval_s: float = 5.0  # ORIGINAL_DST: hosts unused for this long are forgotten
    original_dst_port_override: int | None = None
    original_dst_use_http_header: str = ""  # the header's name when use_http_header is set
    upstream_bind_address: Address | None = None
    extra_bind_addresses: tuple[Address, ...] = ()
    tcp_keepalive: TcpKeepalive | None = None
    filters: tuple[NetworkFilterSpec, ...] = ()  # upstream network filters
    metadata: Metadata = EMPTY_METADATA
