"""Listeners, filter chains and listener filters (envoy.config.listener.v3)."""

from __future__ import annotations

import itertools
from typing import Any, Final

from config.model.core import Address, SocketAddress, TrafficDirection
from config.model.listener import (
    FilterChainMatch,
    FilterChainSpec,
    HttpInspectorSpec,
    ListenerFilterConfig,
    ListenerFilterSpec,
    ListenerSpec,
    OriginalDstSpec,
    ProxyProtocolSpec,
    SourceType,
    TlsInspectorSpec,
)
from config.proto.access_log import translate_access_logs
from config.proto.core import (
    enum_of,
    positive_seconds,
    translate_address,
    translate_cidrs,
    wrapped_bool,
    wrapped_int,
)
from config.proto.fields import declare
from config.proto.matching import translate_predicate
from config.proto.network import translate_network_filters
from config.proto.path import Path
from config.proto.tls import translate_downstream_socket
from config.proto.typed_config import ExtensionTable

_LISTENER: Final = "envoy.config.listener.v3"
_FILTERS: Final = "envoy.extensions.filters.listener"
_TLS_INSPECTOR: Final = f"{_FILTERS}.tls_inspector.v3.TlsInspector"
_HTTP_INSPECTOR: Final = f"{_FILTERS}.http_inspector.v3.HttpInspector"
_ORIGINAL_DST: Final = f"{_FILTERS}.original_dst.v3.OriginalDst"
_PROXY_PROTOCOL: Final = f"{_FILTERS}.proxy_protocol.v3.ProxyProtocol"
_NOT_READ: Final = "shown in dumps; nothing else reads it"

declare(
    f"{_LISTENER}.Listener",
    "name address additional_addresses stat_prefix filter_chains use_original_dst default_filter_chain "
    "per_connection_buffer_limit_bytes deprecated_v1 listener_filters listener_filters_timeout "
    "continue_on_listener_filters_timeout transparent freebind traffic_direction reuse_port enable_reuse_port "
    "access_log tcp_backlog_size bind_to_port ignore_global_conn_limit",
    no_effect={
        "bypass_overload_manager": "only the connection limit exists",
        "connection_balance_config": "the kernel balances",
        "max_connections_to_accept_per_socket_event": "tuning",
        "metadata": _NOT_READ,
    },
    ignored={
        "socket_options": "",
        "tcp_fast_open_queue_length": "",
        "enable_mptcp": "",
        "drain_type": "every drain is a full one",
    },
    refused={
        "fcds_config": "filter chains by discovery need a control plane",
        "filter_chain_matcher": "",
        "udp_listener_config": "UDP is not supported",
        "api_listener": "",
        "internal_listener": "internal listeners are not supported",
    },
)
declare(f"{_LISTENER}.Listener.DeprecatedV1", "bind_to_port")
declare(f"{_LISTENER}.AdditionalAddress", "address", ignored={"socket_options": ""})
declare(
    f"{_LISTENER}.FilterChain",
    "filter_chain_match filters use_proxy_proto transport_socket transport_socket_connect_timeout name",
    no_effect={"metadata": _NOT_READ},
)
declare(
    f"{_LISTENER}.FilterChainMatch",
    "destination_port prefix_ranges direct_source_prefix_ranges source_type source_prefix_ranges source_ports "
    "server_names transport_protocol application_protocols",
    refused="address_suffix suffix_len",
)
declare(
    f"{_LISTENER}.ListenerFilter",
    "name typed_config filter_disabled",
    refused={"config_discovery": "extension configuration by discovery needs a control plane"},
)
declare(
    _TLS_INSPECTOR,
    "",
    no_effect={"initial_read_buffer_size": "tuning", "max_client_hello_size": "16 KiB are read at most"},
    ignored={
        "enable_ja3_fingerprinting": "",
        "enable_ja4_fingerprinting": "",
        "close_connection_on_client_hello_parsing_errors": "",
    },
)
declare(_HTTP_INSPECTOR)
declare(_ORIGINAL_DST)
declare(
    _PROXY_PROTOCOL,
    "allow_requests_without_proxy_protocol",
    ignored={
        "rules": "TLVs are skipped",
        "pass_through_tlvs": "TLVs are skipped",
        "stat_prefix": "",
        "tlv_location": "TLVs are skipped",
    },
    refused="disallowed_versions",
)

_MAX_COMBINATIONS: Final = 20_000


def translate_tls_inspector(msg: Any, at: Path) -> TlsInspectorSpec:
    return TlsInspectorSpec()


def translate_http_inspector(msg: Any, at: Path) -> HttpInspectorSpec:
    return HttpInspectorSpec()


def translate_original_dst(msg: Any, at: Path) -> OriginalDstSpec:
    return OriginalDstSpec()


def translate_proxy_protocol(msg: Any, at: Path) -> ProxyProtocolSpec:
    return ProxyProtocolSpec(msg.allow_requests_without_proxy_protocol)


LISTENER_FILTERS: Final = ExtensionTable[ListenerFilterSpec](
    "a listener filter",
    {
        _TLS_INSPECTOR: translate_tls_inspector,
        _HTTP_INSPECTOR: translate_http_inspector,
        _ORIGINAL_DST: translate_original_dst,
        _PROXY_PROTOCOL: translate_proxy_protocol,
    },
)


def _translate_listener_filters(msg: Any, at: Path) -> tuple[ListenerFilterConfig, ...]:
    filters: list[ListenerFilterConfig] = []
    for index, message in enumerate(msg.listener_filters):
        item_at = at.item("listener_filters", index)
        if message.HasField("config_discovery"):
            continue
        spec = LISTENER_FILTERS.translate(message.typed_config, item_at.field("typed_config"))
        if spec is None:
            continue
        disabled = None
        if message.HasField("filter_disabled"):
            disabled = translate_predicate(message.filter_disabled, item_at.field("filter_disabled"))
        filters.append(ListenerFilterConfig(message.name, spec, disabled))
    chains = [
        *msg.filter_chains,
        *([msg.default_filter_chain] if msg.HasField("default_filter_chain") else []),
    ]
    if chains and wrapped_bool(chains[0], "use_proxy_proto", False):
        name = "envoy.filters.listener.proxy_protocol"
        filters.insert(0, ListenerFilterConfig(name, ProxyProtocolSpec()))
    return tuple(filters)


def _translate_server_names(names: Any, at: Path) -> tuple[str, ...]:
    for index, name in enumerate(names):
        if "*" in name and not (name.startswith("*.") and "*" not in name[2:]):
            at.index(index).error(
                f"'{name}': a wildcard may only stand for whole labels in front, as in '*.example.com'"
            )
    return tuple(name.lower() for name in names)


def translate_filter_chain_match(msg: Any, at: Path) -> FilterChainMatch:
    return FilterChainMatch(
        destination_port=msg.destination_port.value if msg.HasField("destination_port") else None,
        prefix_ranges=translate_cidrs(msg.prefix_ranges, at.field("prefix_ranges")),
        server_names=_translate_server_names(msg.server_names, at.field("server_names")),
        transport_protocol=msg.transport_protocol,
        application_protocols=tuple(msg.application_protocols),
        direct_source_prefix_ranges=translate_cidrs(
            msg.direct_source_prefix_ranges, at.field("direct_source_prefix_ranges")
        ),
        source_type=enum_of(SourceType, msg.source_type),
        source_prefix_ranges=translate_cidrs(msg.source_prefix_ranges, at.field("source_prefix_ranges")),
        source_ports=tuple(msg.source_ports),
    )


def translate_filter_chain(msg: Any, at: Path) -> FilterChainSpec:
    return FilterChainSpec(
        match=translate_filter_chain_match(msg.filter_chain_match, at.field("filter_chain_match")),
        filters=translate_network_filters(msg.filters, at.field("filters")),
        name=msg.name,
        tls=translate_downstream_socket(msg, at),
        transport_socket_connect_timeout_s=positive_seconds(
            msg, "transport_socket_connect_timeout", None, at
        ),
    )


def _single_matches(match: FilterChainMatch) -> set[tuple[object, ...]]:
    """Every combination of single criteria that the match stands for."""
    criteria: list[tuple[object, ...]] = [
        match.prefix_ranges,
        match.server_names,
        match.application_protocols,
        match.direct_source_prefix_ranges,
        match.source_prefix_ranges,
        match.source_ports,
    ]
    head = (match.destination_port, match.transport_protocol, match.source_type)
    combinations = itertools.product(*(values or (None,) for values in criteria))
    return {(head, *values) for values in itertools.islice(combinations, _MAX_COMBINATIONS)}


def _check_matches(chains: tuple[FilterChainSpec, ...], at: Path) -> None:
    owners: dict[tuple[object, ...], int] = {}
    for index, chain in enumerate(chains):
        singles = _single_matches(chain.match)
        for field in (
            "server_names",
            "application_protocols",
            "prefix_ranges",
            "source_prefix_ranges",
            "source_ports",
        ):
            values = getattr(chain.match, field)
            if len(set(values)) < len(values):
                at.index(index).field("filter_chain_match").field(field).error("must not hold a value twice")
        taken = sorted({owners[single] for single in singles if single in owners})
        if taken:
            same = chain.match == chains[taken[0]].match
            how = "the same connections as" if same else "some of the connections of"
            at.index(index).field("filter_chain_match").error(f"matches {how} filter_chains[{taken[0]}]")
        for single in singles:
            owners.setdefault(single, index)


def _translate_addresses(msg: Any, at: Path) -> tuple[Address, tuple[Address, ...]]:
    main = translate_address(msg.address, at.field("address"))
    if not any(msg.HasField(field) for field in ("address", "internal_listener", "api_listener")):
        at.field("address").error("required")
    extra = []
    for index, item in enumerate(msg.additional_addresses):
        item_at = at.item("additional_addresses", index).field("address")
        address = translate_address(item.address, item_at)
        if address is None:
            item_at.error("required")
        else:
            extra.append(address)
    return main or SocketAddress("", 0), tuple(extra)


def _binds(msg: Any) -> bool:
    if msg.HasField("bind_to_port"):
        return bool(msg.bind_to_port.value)
    return wrapped_bool(msg.deprecated_v1, "bind_to_port", True)


def translate_listener(msg: Any, at: Path) -> ListenerSpec:
    """A listener without a name is called by its address."""
    address, additional = _translate_addresses(msg, at)
    chains_at = at.field("filter_chains")
    chains = tuple(
        translate_filter_chain(chain, chains_at.index(i)) for i, chain in enumerate(msg.filter_chains)
    )
    _check_matches(chains, chains_at)
    default = None
    if msg.HasField("default_filter_chain"):
        default_at = at.field("default_filter_chain")
        default = translate_filter_chain(msg.default_filter_chain, default_at)
    elif not chains:
        chains_at.error("a listener needs filter_chains or default_filter_chain")
    return ListenerSpec(
        name=msg.name or str(address),
        address=address,
        filter_chains=chains,
        default_filter_chain=default,
        listener_filters=_translate_listener_filters(msg, at),
        listener_filters_timeout_s=positive_seconds(msg, "listener_filters_timeout", 15.0, at),
        continue_on_listener_filters_timeout=msg.continue_on_listener_filters_timeout,
        traffic_direction=enum_of(TrafficDirection, msg.traffic_direction),
        bind_to_port=_binds(msg),
        use_original_dst=wrapped_bool(msg, "use_original_dst", False),
        additional_addresses=additional,
        per_connection_buffer_limit_bytes=wrapped_int(msg, "per_connection_buffer_limit_bytes", 1024 * 1024),
        tcp_backlog_size=wrapped_int(msg, "tcp_backlog_size", 1024),
        reuse_port=wrapped_bool(msg, "enable_reuse_port", True),
        transparent=wrapped_bool(msg, "transparent", False),
        freebind=wrapped_bool(msg, "freebind", False),
        ignore_global_conn_limit=msg.ignore_global_conn_limit,
        stat_prefix=msg.stat_prefix,
        access_log=translate_access_logs(msg.access_log, at.field("access_log")),
    )
