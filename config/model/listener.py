"""Listeners, filter chains and listener filters (envoy.config.listener.v3)."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from config.model.access_log import AccessLogSpec
from config.model.core import Address, CidrRange, TrafficDirection
from config.model.matching import ListenerFilterPredicate
from config.model.network import NetworkFilterSpec
from config.model.tls import DownstreamTlsContext


class TlsInspectorSpec(msgspec.Struct, frozen=True):
    """`initial_read_buffer_size` is tuning and ignored."""


class HttpInspectorSpec(msgspec.Struct, frozen=True):
    pass


class OriginalDstSpec(msgspec.Struct, frozen=True):
    pass


class ProxyProtocolSpec(msgspec.Struct, frozen=True):
    allow_requests_without_proxy_protocol: bool = False


ListenerFilterSpec: TypeAlias = TlsInspectorSpec | HttpInspectorSpec | OriginalDstSpec | ProxyProtocolSpec


class ListenerFilterConfig(msgspec.Struct, frozen=True):
    """A listener filter; it is skipped for connections that `filter_disabled` matches."""

    name: str
    spec: ListenerFilterSpec
    filter_disabled: ListenerFilterPredicate | None = None


class SourceType(enum.Enum):
    ANY = 0
    SAME_IP_OR_LOOPBACK = 1
    EXTERNAL = 2


class FilterChainMatch(msgspec.Struct, frozen=True):
    """`FilterChainMatch`. Empty: no criterion. `server_names` are lower case, `*.suffix` allowed."""

    destination_port: int | None = None
    prefix_ranges: tuple[CidrRange, ...] = ()
    server_names: tuple[str, ...] = ()
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    direct_source_prefix_ranges: tuple[CidrRange, ...] = ()
    source_type: SourceType = SourceType.ANY
    source_prefix_ranges: tuple[CidrRange, ...] = ()
    source_ports: tuple[int, ...] = ()


class FilterChainSpec(msgspec.Struct, frozen=True):
    """One filter chain. `tls` None: plaintext. `transport_socket_connect_timeout_s` None: the proxy's own limit of 10 s."""

    match: FilterChainMatch
    filters: tuple[NetworkFilterSpec, ...]
    name: str = ""
    tls: DownstreamTlsContext | None = None
    transport_socket_connect_timeout_s: float | None = None


class ListenerSpec(msgspec.Struct, frozen=True):
    """One listener. `listener_filters_timeout_s` None: wait for ever (`0s`); Envoy's default is 15 s."""

    name: str
    address: Address
    filter_chains: tuple[FilterChainSpec, ...] = ()
    default_filter_chain: FilterChainSpec | None = None
    listener_filters: tuple[ListenerFilterConfig, ...] = ()
    listener_filters_timeout_s: float | None = 15.0
    continue_on_listener_filters_timeout: bool = False
    traffic_direction: TrafficDirection = TrafficDirection.UNSPECIFIED
    bind_to_port: bool = True
    use_original_dst: bool = False
    additional_addresses: tuple[Address, ...] = ()
    per_connection_buffer_limit_bytes: int = 1024 * 1024
    tcp_backlog_size: int = 1024
    reuse_port: bool = True
    transparent: bool = False
    freebind: bool = False
    ignore_global_conn_limit: bool = False
    stat_prefix: str = ""  # "" : the address
    access_log: tuple[AccessLogSpec, ...] = ()
