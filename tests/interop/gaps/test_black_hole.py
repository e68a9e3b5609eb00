"""Traffic to and from no known service: which names it has, and that it is measured like any other.

The destination that iptables would have redirected comes from a PROXY protocol header.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.interop.gaps.stage import (
    REQUESTS,
    TCP_METRICS,
    GapStage,
    Labels,
    exchange,
    http,
    of_node,
    peer_metadata,
    rule,
    series_of,
    service,
    side,
    stats,
    tcp,
    wait_for_series,
    wait_for_tcp,
)
from tests.support.bootstraps import (
    TLS_INSPECTOR,
    Json,
    cluster,
    http_filter_chain,
    listener,
    route_config,
    tcp_filter_chain,
    upstream_tls,
)
from tests.support.certificates import spiffe
from tests.support.http_client import RawClient, Response, format_request
from tests.support.istio_config import PEER_EXCHANGE_ALPN
from tests.support.ports import free_port
from tests.support.process import Proxy

PROXY_PROTOCOL = "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
HOST = "nobody.example.com:8080"
OPT_IN = {"unmatched_destination_service": True}
ORIGINAL_DST: Json = {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "1s"}


def black_hole() -> Json:
    return {"name": "BlackHoleCluster", "type": "STATIC", "connect_timeout": "1s"}


def passthrough(**more: Any) -> Json:
    """As istiod makes it: with the exchange, for what is mTLS after all."""
    return {"name": "PassthroughCluster", **ORIGINAL_DST, "filters": [exchange()], **more}


def captured(name: str, port: int, *chains: Json, direction: str, tls_inspector: bool = False) -> Json:
    """A listener that is told the original destination."""
    filters = [{"name": "proxy", "typed_config": {"@type": PROXY_PROTOCOL}}]
    if tls_inspector:
        filters.append({"name": "tls", "typed_config": {"@type": TLS_INSPECTOR}})
    return listener(name, port, *chains, traffic_direction=direction, listener_filters=filters)


@contextmanager
def connected(port: int, destination: tuple[str, int]) -> Iterator[socket.socket]:
    """A connection that was meant for `destination`."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        header = f"PROXY TCP4 127.0.0.1 {destination[0]} 40000 {destination[1]}\r\n"
        connection.sendall(header.encode())
        yield connection


def ask_http(port: int, destination: tuple[str, int]) -> Response:
    with RawClient(("127.0.0.1", port)) as client:
        client.send(f"PROXY TCP4 127.0.0.1 {destination[0]} 40000 {destination[1]}\r\n".encode())
        client.reader.expect("GET")
        client.send(format_request("GET", "/", host=HOST))
        return client.read_response()


def http_chain(route: Json, *, inbound: bool = False) -> Json:
    return http_filter_chain(
        route_config(route),
        http_filters=[
            peer_metadata(inbound=inbound, skip_external=not inbound),
            stats(disable_host_header_fallback=inbound),
        ],
    )


def tcp_chain(cluster_name: str) -> Json:
    chain = tcp_filter_chain(cluster_name)
    chain["filters"].insert(0, stats())
    return chain


def route_named(name: str, **action: Any) -> Json:
    return {"name": name, "match": {"prefix": "/"}, **action}


def at_source(name: str, host: str = "unknown", **more: str) -> Labels:
    return {
        "reporter": "source",
        **of_node("source", "productpage"),
        **side("destination"),
        **service(host, name),
        **more,
    }


def at_destination(name: str, **more: str) -> Labels:
    return {
        "reporter": "destination",
        **side("source"),
        **of_node("destination", "ratings"),
        **service("ratings", name, "default"),
        **more,
    }


class Outbound:
    """A sidecar whose outbound listener has one chain."""

    def __init__(self, stage: GapStage, chain: Json, *clusters: Json, **more: Any) -> None:
        self.port = free_port()
        tls_inspector = more.pop("tls_inspector", False)
        out = captured("virtualOutbound", self.port, chain, direction="OUTBOUND", tls_inspector=tls_inspector)
        self.proxy: Proxy = stage.start("productpage", [out], clusters, **more)


def block_all(stage: GapStage) -> Outbound:
    return Outbound(stage, http_chain(route_named("block_all", direct_response={"status": 502})))


@rule("BH-1")
def test_http_that_is_blocked(stage: GapStage) -> None:
    outbound = block_all(stage)
    assert ask_http(outbound.port, ("192.0.2.1", 80)).status == 502
    wait_for_series(outbound.proxy, REQUESTS, at_source("BlackHoleCluster", HOST, **http(502)), 1)


@rule("BH-2")
def test_http_that_is_let_through(stage: GapStage) -> None:
    backend = stage.http_backend()
    chain = http_chain(route_named("allow_any", route={"cluster": "PassthroughCluster"}))
    outbound = Outbound(stage, chain, passthrough())
    assert ask_http(outbound.port, backend.address).status == 200
    wait_for_series(outbound.proxy, REQUESTS, at_source("PassthroughCluster", HOST, **http()), 1)


@rule("BH-2")
def test_http_that_is_let_through_by_an_egress_proxy(stage: GapStage) -> None:
    """The route counts, whatever the cluster is."""
    backend = stage.http_backend()
    chain = http_chain(route_named("allow_any", route={"cluster": "egress"}))
    outbound = Outbound(stage, chain, cluster("egress", backend.address))
    assert ask_http(outbound.port, ("192.0.2.1", 80)).status == 200
    wait_for_series(outbound.proxy, REQUESTS, at_source("PassthroughCluster", HOST, **http()), 1)


def closed_at_once(port: int, destination: tuple[str, int]) -> None:
    with connected(port, destination) as connection:
        assert connection.recv(1) == b""


@rule("BH-3")
def test_tcp_that_is_blocked(stage: GapStage) -> None:
    outbound = Outbound(stage, tcp_chain("BlackHoleCluster"), black_hole())
    closed_at_once(outbound.port, ("192.0.2.1", 5432))
    wait_for_tcp(outbound.proxy, at_source("BlackHoleCluster", **tcp("UH")), sent=0, received=0)


def ask_line(port: int, destination: tuple[str, int]) -> None:
    with connected(port, destination) as connection:
        connection.sendall(b"hello\n")
        assert connection.recv(100) == b"app hello\n"


@rule("BH-4")
@pytest.mark.parametrize("known", [False, True], ids=["unknown", "discovery"])
def test_tcp_that_is_let_through(stage: GapStage, known: bool) -> None:
    """The peer is whoever discovery knows at the original destination."""
    backend = stage.tcp_backend(host="127.0.0.2")
    destination: Labels = {}
    if known:
        names = {"app": "legacy", "version": "v1", "service_account": "legacy", "cluster_id": "machines"}
        stage.write_workloads({"name": "legacy-0", "addresses": ["127.0.0.2"], "namespace": "data", **names})
        destination = side(
            "destination",
            workload="legacy-0",
            canonical_service="legacy",
            canonical_revision="v1",
            namespace="data",
            principal=spiffe("legacy", "data"),
            app="legacy",
            version="v1",
            cluster="machines",
        ) | {"destination_service_namespace": "data"}
    outbound = Outbound(stage, tcp_chain("PassthroughCluster"), passthrough())
    ask_line(outbound.port, backend.address)
    expected = at_source("PassthroughCluster", **destination, **tcp())
    wait_for_tcp(outbound.proxy, expected, sent=10, received=6)


@rule("BH-5")
@pytest.mark.parametrize("inbound", [False, True], ids=["outbound", "inbound"])
def test_a_direct_hit_on_the_capture_port(stage: GapStage, inbound: bool) -> None:
    """A connection to the port itself would go round for ever: istiod sends it into the black hole."""
    port = free_port()
    hit = tcp_chain("BlackHoleCluster")
    hit["filter_chain_match"] = {"destination_port": port}
    other = tcp_chain("InboundPassthroughCluster" if inbound else "PassthroughCluster")
    direction = "INBOUND" if inbound else "OUTBOUND"
    proxy = stage.start(
        "ratings" if inbound else "productpage",
        [listener("virtual", port, hit, other, traffic_direction=direction)],
        [black_hole(), passthrough(), passthrough(name="InboundPassthroughCluster")],
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        assert connection.recv(1) == b""
    expected = at_source("BlackHoleCluster", **tcp("UH"))
    if inbound:
        expected = at_destination("BlackHoleCluster", **tcp("UH", policy="none"))
    wait_for_tcp(proxy, expected, sent=0, received=0)


INBOUND_PASSTHROUGHS = (
    "InboundPassthroughCluster",
    "InboundPassthroughClusterIpv4",
    "InboundPassthroughClusterIpv6",
)


def inbound_passthrough(stage: GapStage, name: str) -> tuple[Proxy, int, int]:
    """The proxy, its port for HTTP and its port for TCP."""
    http_port, tcp_port = free_port(), free_port()
    routed = http_chain(route_named("default", route={"cluster": name}), inbound=True)
    proxy = stage.start(
        "ratings",
        [
            captured("http", http_port, routed, direction="INBOUND"),
            captured("tcp", tcp_port, tcp_chain(name), direction="INBOUND"),
        ],
        [{"name": name, **ORIGINAL_DST}],
    )
    return proxy, http_port, tcp_port


@rule("BH-6")
@pytest.mark.parametrize("name", INBOUND_PASSTHROUGHS)
def test_inbound_to_a_port_without_a_service(stage: GapStage, name: str) -> None:
    http_backend, tcp_backend = stage.http_backend(), stage.tcp_backend()
    proxy, http_port, tcp_port = inbound_passthrough(stage, name)
    assert ask_http(http_port, http_backend.address).status == 200
    ask_line(tcp_port, tcp_backend.address)
    wait_for_series(proxy, REQUESTS, at_destination(name, **http(policy="none")), 1)
    # Nobody listens to the metadata exchange of this chain, so the TCP side is known at its end.
    wait_for_tcp(proxy, at_destination(name, **tcp(policy="none")), sent=10, received=6)


@rule("BH-7")
def test_bytes_and_durations_are_measured(stage: GapStage) -> None:
    outbound = block_all(stage)
    answer = ask_http(outbound.port, ("192.0.2.1", 80))
    expected = at_source("BlackHoleCluster", HOST, **http(502))
    request_bytes = len(format_request("GET", "/", host=HOST))
    wait_for_series(outbound.proxy, "istio_request_bytes_sum", expected, request_bytes)
    wait_for_series(outbound.proxy, "istio_request_bytes_count", expected, 1)
    wait_for_series(outbound.proxy, "istio_response_bytes_count", expected, 1)
    ((_, sent),) = series_of(outbound.proxy, "istio_response_bytes_sum")
    assert sent > len(answer.body)
    wait_for_series(outbound.proxy, "istio_request_duration_milliseconds_count", expected, 1)


@rule("BH-8")
@pytest.mark.parametrize("opted_in", [False, True], ids=["off", "on"])
@pytest.mark.parametrize("name", ["BlackHoleCluster", "PassthroughCluster"])
def test_what_the_connection_was_meant_for(stage: GapStage, name: str, opted_in: bool) -> None:
    """By its SNI, else by its address; HTTP has its host header, and keeps it."""
    backend = stage.tcp_backend(context=stage.mesh.server_context("external", mutual=False))
    outbound = Outbound(
        stage,
        tcp_chain(name),
        black_hole(),
        passthrough(),
        tls_inspector=True,
        telemetry=OPT_IN if opted_in else None,
    )
    with connected(outbound.port, backend.address) as plain:
        try:
            context = stage.mesh.client_context(None)
            with context.wrap_socket(plain, server_hostname="api.example.com") as connection:
                connection.sendall(b"hello\n")
                assert connection.recv(100) == b"app hello\n"
        except OSError:  # nobody answers out of a black hole
            assert name == "BlackHoleCluster"
    with connected(outbound.port, backend.address) as plain:
        plain.sendall(b"hello, world\n")  # no ClientHello
    host, port = backend.address
    flags = "UH" if name == "BlackHoleCluster" else "-"
    names = ["api.example.com", f"{host}:{port}"] if opted_in else ["unknown"]
    for metric in TCP_METRICS[:2]:
        for destination in names:
            expected = at_source(name, destination, **tcp(flags))
            wait_for_series(outbound.proxy, metric, expected, 2 / len(names), destination_service=destination)
        assert len(series_of(outbound.proxy, metric)) == len(names)


@rule("BH-8")
def test_http_keeps_its_host_header(stage: GapStage) -> None:
    chain = http_chain(route_named("block_all", direct_response={"status": 502}))
    outbound = Outbound(stage, chain, telemetry=OPT_IN)
    assert ask_http(outbound.port, ("192.0.2.1", 80)).status == 502
    wait_for_series(outbound.proxy, REQUESTS, at_source("BlackHoleCluster", HOST, **http(502)), 1)


@rule("BH-9")
def test_no_exchange_with_who_is_let_through(stage: GapStage) -> None:
    backend = stage.http_backend()
    chain = http_chain(route_named("allow_any", route={"cluster": "PassthroughCluster"}))
    outbound = Outbound(stage, chain, passthrough())
    assert ask_http(outbound.port, backend.address).status == 200
    (request,) = backend.requests
    assert [name for name, _ in request.fields() if name.startswith("x-envoy-peer-metadata")] == []


@rule("BH-9")
@pytest.mark.parametrize("alpn", [(), ("other",), (PEER_EXCHANGE_ALPN,)], ids=["none", "other", "exchange"])
def test_frames_go_to_no_one_without_the_alpn(stage: GapStage, alpn: tuple[str, ...]) -> None:
    """The filter stands on the cluster, and does nothing until both sides have agreed on its protocol."""
    backend = stage.tcp_backend(context=stage.mesh.server_context("external", alpn=alpn))
    tls = upstream_tls(stage.mesh.leaf("productpage"), stage.mesh.root, alpn=[PEER_EXCHANGE_ALPN, "other"])
    outbound = Outbound(stage, tcp_chain("PassthroughCluster"), passthrough(transport_socket=tls))
    with connected(outbound.port, backend.address) as connection:
        connection.sendall(b"hello\n")
        answer = b""
        while not answer.endswith(b"hello\n"):
            answer += connection.recv(4096)
    spoke = alpn == (PEER_EXCHANGE_ALPN,)
    assert (bytes(backend.received[0]) == b"hello\n") is not spoke
    counter = "alpn_protocol_found" if spoke else "alpn_protocol_not_found"
    assert outbound.proxy.stat(f"metadata_exchange.{counter}") == 1
