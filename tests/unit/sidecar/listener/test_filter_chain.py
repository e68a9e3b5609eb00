"""The filter chain match: Envoy's order of criteria, most specific first, no way back."""

from __future__ import annotations

import pytest

from config.model.core import CidrRange, PipeAddress, SocketAddress
from config.model.listener import FilterChainMatch, SourceType
from sidecar.listener.filter_chain import FilterChainMatcher
from sidecar.stream_info import ConnectionInfo

MESH_TOKENS = ("istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2")


def connection(
    port: int = 80,
    ip: str = "10.0.0.1",
    source: str = "192.0.2.7",
    source_port: int = 40000,
    transport: str = "",
    alpn: tuple[str, ...] = (),
    sni: str = "",
) -> ConnectionInfo:
    info = ConnectionInfo(SocketAddress(source, source_port), SocketAddress(ip, port))
    info.transport_protocol = transport
    info.application_protocols = alpn
    info.requested_server_name = sni
    return info


def matcher(*chains: tuple[str, FilterChainMatch], default: str | None = None) -> FilterChainMatcher[str]:
    return FilterChainMatcher([(match, name) for name, match in chains], default)


def test_no_chain_matches() -> None:
    assert matcher(("a", FilterChainMatch(destination_port=81))).match(connection()) is None


def test_default_chain_takes_what_no_chain_matches() -> None:
    assert matcher(("a", FilterChainMatch(destination_port=81)), default="d").match(connection()) == "d"


def test_port_specific_branch_has_no_way_back() -> None:
    table = matcher(
        ("port", FilterChainMatch(destination_port=80, transport_protocol="tls")),
        ("any", FilterChainMatch()),
    )
    assert table.match(connection(80, transport="tls")) == "port"
    assert table.match(connection(80, transport="raw_buffer")) is None
    assert table.match(connection(81)) == "any"


def test_longest_prefix_wins() -> None:
    table = matcher(
        ("wide", FilterChainMatch(prefix_ranges=(CidrRange("10.0.0.0", 8),))),
        ("narrow", FilterChainMatch(prefix_ranges=(CidrRange("10.0.0.0", 24),))),
        ("v6", FilterChainMatch(prefix_ranges=(CidrRange("2001:db8::", 32),))),
    )
    assert table.match(connection(ip="10.0.0.1")) == "narrow"
    assert table.match(connection(ip="10.9.0.1")) == "wide"
    assert table.match(connection(ip="2001:db8::1")) == "v6"
    assert table.match(connection(ip="11.0.0.1")) is None


@pytest.mark.parametrize(
    ("sni", "expected"),
    [
        ("a.example.com", "exact"),
        ("b.example.com", "wildcard"),
        ("c.b.example.com", "wildcard"),
        ("x.deep.example.com", "deeper"),
        ("example.com", "any"),
        ("", "any"),
    ],
)
def test_server_names(sni: str, expected: str) -> None:
    table = matcher(
        ("exact", FilterChainMatch(server_names=("a.example.com",))),
        ("wildcard", FilterChainMatch(server_names=("*.example.com",))),
        ("deeper", FilterChainMatch(server_names=("*.deep.example.com",))),
        ("any", FilterChainMatch()),
    )
    assert table.match(connection(sni=sni)) == expected


def permissive_tcp() -> FilterChainMatcher[str]:
    """The chains of a PERMISSIVE TCP port."""
    return matcher(
        ("mtls", FilterChainMatch(transport_protocol="tls", application_protocols=MESH_TOKENS)),
        ("passthrough", FilterChainMatch(transport_protocol="tls")),
        ("plain", FilterChainMatch(transport_protocol="raw_buffer")),
    )


def auto_strict() -> FilterChainMatcher[str]:
    return matcher(
        ("http", FilterChainMatch(transport_protocol="tls", application_protocols=MESH_TOKENS[2:])),
        ("tcp", FilterChainMatch(transport_protocol="tls")),
    )


@pytest.mark.parametrize(
    ("table", "transport", "alpn", "expected"),
    [
        (permissive_tcp, "tls", ("istio-peer-exchange", "istio"), "mtls"),
        (permissive_tcp, "tls", ("h2", "http/1.1"), "passthrough"),
        (permissive_tcp, "tls", (), "passthrough"),
        (permissive_tcp, "", (), "plain"),
        (permissive_tcp, "raw_buffer", ("http/1.1",), "plain"),
        (auto_strict, "tls", ("istio-http/1.1", "istio", "http/1.1"), "http"),
        (auto_strict, "tls", ("istio-peer-exchange", "istio"), "tcp"),
        (auto_strict, "raw_buffer", ("http/1.1",), None),
    ],
)
def test_mesh_chains(table: object, transport: str, alpn: tuple[str, ...], expected: str | None) -> None:
    assert callable(table)
    assert table().match(connection(transport=transport, alpn=alpn)) == expected


def test_first_token_of_the_client_decides() -> None:
    table = matcher(
        ("http", FilterChainMatch(application_protocols=("istio-http/1.1",))),
        ("tcp", FilterChainMatch(application_protocols=("istio",))),
    )
    assert table.match(connection(alpn=("istio-http/1.1", "istio"))) == "http"
    assert table.match(connection(alpn=("istio", "istio-http/1.1"))) == "tcp"


def test_source_criteria() -> None:
    table = matcher(
        ("local", FilterChainMatch(source_type=SourceType.SAME_IP_OR_LOOPBACK)),
        ("external", FilterChainMatch(source_type=SourceType.EXTERNAL)),
    )
    assert table.match(connection(source="127.0.0.1")) == "local"
    assert table.match(connection(source="10.0.0.1", ip="10.0.0.1")) == "local"
    assert table.match(connection(source="192.0.2.7")) == "external"
    ranges = matcher(
        ("net", FilterChainMatch(source_prefix_ranges=(CidrRange("192.0.2.0", 24),), source_ports=(40000,))),
        ("any", FilterChainMatch()),
    )
    assert ranges.match(connection(source="192.0.2.7")) == "net"
    assert ranges.match(connection(source="192.0.2.7", source_port=1)) is None
    assert ranges.match(connection(source="198.51.100.1")) == "any"


def test_direct_source_is_the_socket_peer() -> None:
    table = matcher(
        ("balancer", FilterChainMatch(direct_source_prefix_ranges=(CidrRange("10.0.0.0", 8),))),
        ("any", FilterChainMatch()),
    )
    info = connection(source="10.1.1.1")
    info.remote_address = SocketAddress("198.51.100.1", 5)  # what PROXY protocol said
    assert table.match(info) == "balancer"


def test_unix_socket_is_local_and_has_no_port() -> None:
    table = matcher(
        ("local", FilterChainMatch(source_type=SourceType.SAME_IP_OR_LOOPBACK)), ("any", FilterChainMatch())
    )
    info = ConnectionInfo(PipeAddress(""), PipeAddress("/run/x"))
    assert table.match(info) == "local"


def test_explain_shares_the_decision() -> None:
    table = permissive_tcp()
    info = connection(transport="tls", alpn=("istio",))
    lines = table.explain(info)
    assert lines[-1] == "-> mtls"
    assert any(line.startswith("application_protocols: istio (of") for line in lines)
    refused = auto_strict().explain(connection(transport="raw_buffer"))
    assert refused[-1].startswith("transport_protocol: nothing fits among tls")
    assert "closed" in refused[-1]
