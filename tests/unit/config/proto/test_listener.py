"""Listener messages as specs."""

from __future__ import annotations

import pytest

from config.model.access_log import FileAccessLogSpec
from config.model.core import CidrRange, PipeAddress, SocketAddress, TrafficDirection
from config.model.listener import (
    FilterChainMatch,
    FilterChainSpec,
    HttpInspectorSpec,
    ListenerFilterConfig,
    ListenerSpec,
    OriginalDstSpec,
    ProxyProtocolSpec,
    SourceType,
    TlsInspectorSpec,
)
from config.model.matching import AndMatch, AnyMatch, NotMatch, OrMatch, PortRange
from config.model.network import TcpProxySpec
from tests.unit.config.bootstraps import ECHO, EXTENSIONS, matches, parse, tcp

TYPE = f'"@type": {EXTENSIONS}filters.listener'


def translate(listener: str = "", chain: str = "", **rest: str) -> ListenerSpec:
    return parse(tcp(listener=listener, chain=chain, **rest)).bootstrap.listeners[0]


def test_defaults_are_envoys() -> None:
    assert translate() == ListenerSpec(
        name="l",
        address=SocketAddress("127.0.0.1", 0),
        filter_chains=(FilterChainSpec(FilterChainMatch(), (TcpProxySpec("x", "c"),)),),
    )


def test_everything_that_is_honoured() -> None:
    spec = translate(
        f"""
    stat_prefix: sp
    traffic_direction: INBOUND
    per_connection_buffer_limit_bytes: 1000
    tcp_backlog_size: 7
    enable_reuse_port: false
    bind_to_port: false
    use_original_dst: true
    transparent: true
    freebind: true
    ignore_global_conn_limit: true
    continue_on_listener_filters_timeout: true
    listener_filters_timeout: 0s
    additional_addresses: [{{address: {{socket_address: {{address: "::1", port_value: 0}}}}}}]
    access_log: [{{name: a, typed_config: {{"@type": {EXTENSIONS}access_loggers.file.v3.FileAccessLog, path: /x}}}}]
    listener_filters:
    - {{name: o, typed_config: {{{TYPE}.original_dst.v3.OriginalDst}}}}
    - {{name: t, typed_config: {{{TYPE}.tls_inspector.v3.TlsInspector}}, filter_disabled: {{any_match: true}}}}
    - {{name: h, typed_config: {{{TYPE}.http_inspector.v3.HttpInspector}}}}
    - name: p
      typed_config: {{{TYPE}.proxy_protocol.v3.ProxyProtocol, allow_requests_without_proxy_protocol: true}}
""",
        "name: fc\n      transport_socket_connect_timeout: 3s",
    )
    assert spec == ListenerSpec(
        name="l",
        address=SocketAddress("127.0.0.1", 0),
        filter_chains=(
            FilterChainSpec(
                FilterChainMatch(),
                (TcpProxySpec("x", "c"),),
                name="fc",
                transport_socket_connect_timeout_s=3.0,
            ),
        ),
        listener_filters=(
            ListenerFilterConfig("o", OriginalDstSpec()),
            ListenerFilterConfig("t", TlsInspectorSpec(), AnyMatch()),
            ListenerFilterConfig("h", HttpInspectorSpec()),
            ListenerFilterConfig("p", ProxyProtocolSpec(True)),
        ),
        listener_filters_timeout_s=None,
        continue_on_listener_filters_timeout=True,
        traffic_direction=TrafficDirection.INBOUND,
        bind_to_port=False,
        use_original_dst=True,
        additional_addresses=(SocketAddress("::1", 0),),
        per_connection_buffer_limit_bytes=1000,
        tcp_backlog_size=7,
        reuse_port=False,
        transparent=True,
        freebind=True,
        ignore_global_conn_limit=True,
        stat_prefix="sp",
        access_log=(FileAccessLogSpec("/x"),),
    )


def test_filter_chain_match() -> None:
    spec = parse(
        matches(
            "{destination_port: 80, prefix_ranges: [{address_prefix: 10.1.2.3, prefix_len: 8}], server_names: [A.com, "
            '"*.B.com"], transport_protocol: tls, application_protocols: [h2], direct_source_prefix_ranges: '
            "[{address_prefix: 1.0.0.0, prefix_len: 8}], source_type: EXTERNAL, source_prefix_ranges: [{address_prefix: "
            '"fe80::1", prefix_len: 64}], source_ports: [1, 2]}'
        )
    ).bootstrap.listeners[0]
    assert spec.filter_chains[0].match == FilterChainMatch(
        destination_port=80,
        prefix_ranges=(CidrRange("10.0.0.0", 8),),
        server_names=("a.com", "*.b.com"),
        transport_protocol="tls",
        application_protocols=("h2",),
        direct_source_prefix_ranges=(CidrRange("1.0.0.0", 8),),
        source_type=SourceType.EXTERNAL,
        source_prefix_ranges=(CidrRange("fe80::", 64),),
        source_ports=(1, 2),
    )


def test_filter_disabled_predicates() -> None:
    spec = translate(
        f"""
    listener_filters:
    - name: t
      typed_config: {{{TYPE}.tls_inspector.v3.TlsInspector}}
      filter_disabled:
        not_match:
          or_match:
            rules:
            - destination_port_range: {{start: 80, end: 81}}
            - and_match: {{rules: [{{any_match: true}}, {{destination_port_range: {{start: 1, end: 9}}}}]}}
"""
    )
    assert spec.listener_filters[0].filter_disabled == NotMatch(
        OrMatch((PortRange(80, 81), AndMatch((AnyMatch(), PortRange(1, 9)))))
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("    deprecated_v1: {bind_to_port: false}", False),
        ("    deprecated_v1: {}", True),
        ("    bind_to_port: true\n    deprecated_v1: {bind_to_port: false}", True),
    ],
)
def test_deprecated_bind_to_port(fields: str, expected: bool) -> None:
    assert translate(fields).bind_to_port is expected


def test_use_proxy_proto_puts_the_listener_filter_in_front() -> None:
    assert translate(chain="use_proxy_proto: true").listener_filters == (
        ListenerFilterConfig("envoy.filters.listener.proxy_protocol", ProxyProtocolSpec()),
    )


def test_a_listener_without_a_name_is_called_by_its_address() -> None:
    text = tcp(address='address: {pipe: {path: "@abc"}}').replace("- name: l\n    ", "- ")
    spec = parse(text).bootstrap.listeners[0]
    assert spec.address == PipeAddress("@abc")
    assert spec.name == "@abc"


def test_default_filter_chain() -> None:
    text = matches("{destination_port: 5}") + f"    default_filter_chain: {{name: rest, filters: [{ECHO}]}}\n"
    spec = parse(text).bootstrap.listeners[0]
    assert spec.default_filter_chain is not None
    assert spec.default_filter_chain.name == "rest"
