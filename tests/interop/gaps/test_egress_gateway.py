"""An egress gateway: a source towards the outside, and, if it is asked to, the destination of its callers.

client --> productpage's sidecar --mTLS--> gateway --> external service
"""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.interop.gaps.stage import (
    CLOSED,
    OPENED,
    REQUESTS,
    GapStage,
    Labels,
    endpoint_workload,
    exchange,
    http,
    of_node,
    peer_metadata,
    rule,
    series_of,
    service,
    services,
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
    downstream_tls,
    http_filter_chain,
    listener,
    route_config,
    route_to,
    tcp_filter_chain,
    upstream_tls,
    uri_san,
)
from tests.support.certificates import spiffe
from tests.support.http_client import RawClient, get
from tests.support.istio_config import (
    PEER_EXCHANGE_ALPN,
    metadata_header,
    node_metadata,
    read_metadata_header,
)
from tests.support.ports import free_port

OPT_IN = {"gateway_destination_reporter": True}
EXTERNAL = ("api.example.com", "api.example.com", "outside")
GATEWAY = ("egress.istio-system.svc.cluster.local", "egress", "istio-system")
ENDPOINT = "egress-by-endpoint;default;egress;v1;egress-cluster"
BY_ENDPOINT = side(
    "destination",
    workload="egress-by-endpoint",
    canonical_service="egress",
    canonical_revision="v1",
    namespace="default",
    principal=spiffe("egress"),
    cluster="egress-cluster",
)
SANS = [uri_san(prefix="spiffe://cluster.local/")]
MUTUAL = {"connection_security_policy": "mutual_tls"}


class Way:
    """The sidecar, the gateway and the external service, over HTTP or over TCP."""

    def __init__(
        self, stage: GapStage, *, over_tcp: bool = False, external_tls: bool = False, **start: Any
    ) -> None:
        self.port, gateway_port = free_port(), free_port()
        alpn = [PEER_EXCHANGE_ALPN] if over_tcp else ["http/1.1"]
        server_tls = downstream_tls(stage.mesh.leaf("egress"), stage.mesh.root, alpn=alpn, sans=SANS)
        client_tls = upstream_tls(stage.mesh.leaf("productpage"), stage.mesh.root, alpn=alpn, sans=SANS)
        context = stage.mesh.server_context("external") if external_tls else None
        self.backend = stage.tcp_backend() if over_tcp else stage.http_backend(context=context)
        external = cluster("external", self.backend.address, **services(*EXTERNAL, external=True))
        if external_tls:
            external["transport_socket"] = upstream_tls(stage.mesh.leaf("egress"), stage.mesh.root)
        chain = tcp_chain("external", exchange()) if over_tcp else http_chain("external", gateway=True)
        self.gateway = stage.start(
            "egress",
            [
                listener(
                    "gateway",
                    gateway_port,
                    {**chain, "transport_socket": server_tls},
                    traffic_direction="OUTBOUND",
                )
            ],
            [external],
            kind="router",
            **start,
        )
        out = cluster("outbound", ("127.0.0.1", gateway_port), **services(*GATEWAY), filters=[exchange()])
        out["transport_socket"] = client_tls
        self.sidecar = stage.start(
            "productpage",
            [
                listener(
                    "outbound",
                    self.port,
                    tcp_chain("outbound") if over_tcp else http_chain("outbound"),
                    traffic_direction="OUTBOUND",
                )
            ],
            [endpoint_workload(out, ENDPOINT)],
        )

    def ask(self) -> None:
        assert get(("127.0.0.1", self.port), "/", host=EXTERNAL[0]).status == 200

    def ask_line(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(b"hello\n")
            assert connection.recv(100) == b"app hello\n"


def http_chain(cluster_name: str, *, gateway: bool = False) -> Json:
    return http_filter_chain(
        route_config(route_to(cluster_name)),
        http_filters=[peer_metadata(inbound=False), stats(disable_host_header_fallback=gateway)],
    )


def tcp_chain(cluster_name: str, *filters: Json) -> Json:
    chain = tcp_filter_chain(cluster_name)
    chain["filters"][:0] = [*filters, stats()]
    return chain


def at_sidecar(destination: Labels, **more: str) -> Labels:
    return {
        "reporter": "source",
        **of_node("source", "productpage", principal=spiffe("productpage")),
        **destination,
        **service(*GATEWAY),
        **http(),
        **more,
    }


def of_gateway(**more: str) -> Labels:
    """What the gateway says as a source; the external service is not of the mesh."""
    return {
        "reporter": "source",
        **of_node("source", "egress"),
        **side("destination"),
        **service(*EXTERNAL),
        **http(),
        **more,
    }


def of_caller(source: Labels, **more: str) -> Labels:
    """What the gateway says as the destination of its callers."""
    return {
        "reporter": "destination",
        **source,
        **of_node("destination", "egress", principal=spiffe("egress")),
        **service(*EXTERNAL),
        **http(policy="mutual_tls"),
        **more,
    }


CALLER = of_node("source", "productpage", principal=spiffe("productpage"))


@rule("EGW-1")
def test_the_sidecar_knows_the_gateway_by_its_endpoint(stage: GapStage) -> None:
    way = Way(stage)
    way.ask()
    wait_for_series(way.sidecar, REQUESTS, at_sidecar(BY_ENDPOINT), 1)


@rule("EGW-1")
def test_a_gateway_that_answers_is_known_whole(stage: GapStage) -> None:
    way = Way(stage, telemetry=OPT_IN)
    way.ask()
    destination = of_node("destination", "egress", principal=spiffe("egress"))
    wait_for_series(way.sidecar, REQUESTS, at_sidecar(destination), 1)


@rule("EGW-2")
def test_the_gateway_reports_the_external_service_as_a_source(stage: GapStage) -> None:
    """And nothing else: without the opt-in nobody is its caller."""
    way = Way(stage)
    way.ask()
    wait_for_series(way.gateway, REQUESTS, of_gateway(), 1)


@rule("EGW-2")
def test_principals_are_those_of_the_gateways_own_tls(stage: GapStage) -> None:
    way = Way(stage, external_tls=True)
    way.ask()
    expected = of_gateway(
        source_principal=spiffe("egress"),
        destination_principal=spiffe("external"),
        destination_workload_namespace="default",
    )
    wait_for_series(way.gateway, REQUESTS, expected, 1)


@rule("EGW-3")
def test_the_gateway_is_the_destination_of_its_callers(stage: GapStage) -> None:
    way = Way(stage, telemetry=OPT_IN)
    for _ in range(3):
        way.ask()
    wait_for_series(way.gateway, REQUESTS, of_gateway(), 3, reporter="source")
    wait_for_series(way.gateway, REQUESTS, of_caller(CALLER), 3, reporter="destination")
    for metric in ("request_duration_milliseconds", "request_bytes", "response_bytes"):
        assert [value for _, value in series_of(way.gateway, f"istio_{metric}_count")] == [3, 3]


@rule("EGW-3")
def test_the_service_is_named_as_the_source_names_it(stage: GapStage) -> None:
    """A cluster without a service: its namespace is the one that the certificate behind the gateway has."""
    backend = stage.http_backend(context=stage.mesh.server_context("external"))
    port = free_port()
    external = cluster("external", backend.address)
    external["transport_socket"] = upstream_tls(stage.mesh.leaf("egress"), stage.mesh.root)
    gateway = stage.start(
        "egress",
        [listener("gateway", port, http_chain("external"), traffic_direction="OUTBOUND")],
        [external],
        kind="router",
        telemetry=OPT_IN,
    )
    assert get(("127.0.0.1", port), "/", host="api.example.com:80").status == 200
    named = service("api.example.com:80", "api.example.com:80", "default")
    wait_for_series(
        gateway,
        REQUESTS,
        of_gateway(
            source_principal=spiffe("egress"),
            destination_principal=spiffe("external"),
            destination_workload_namespace="default",
            **named,
        ),
        1,
        reporter="source",
    )
    expected = of_caller(
        side("source"), destination_principal="unknown", connection_security_policy="none", **named
    )
    wait_for_series(gateway, REQUESTS, expected, 1, reporter="destination")


@rule("EGW-3")
@pytest.mark.parametrize("opted_in", [False, True])
def test_callers_over_tcp(stage: GapStage, opted_in: bool) -> None:
    way = Way(stage, over_tcp=True, telemetry=OPT_IN if opted_in else None)
    way.ask_line()
    own = {name: value for name, value in of_gateway().items() if name not in http()} | tcp()
    wait_for_tcp(way.gateway, own, sent=10, received=6, reporter="source")
    if opted_in:
        caller = {name: value for name, value in of_caller(CALLER).items() if name not in http()}
        expected = caller | tcp(policy="mutual_tls")
        wait_for_tcp(way.gateway, expected, sent=10, received=6, reporter="destination")
    else:
        assert series_of(way.gateway, OPENED, reporter="destination") == []


@rule("EGW-3")
def test_a_sidecar_has_no_callers_to_report(stage: GapStage) -> None:
    """The opt-in is for gateways: set for a whole mesh it changes nothing elsewhere."""
    backend = stage.http_backend()
    port = free_port()
    sidecar = stage.start(
        "productpage",
        [listener("outbound", port, http_chain("external"), traffic_direction="OUTBOUND")],
        [cluster("external", backend.address, **services(*EXTERNAL))],
        telemetry=OPT_IN,
    )
    assert get(("127.0.0.1", port), "/").status == 200
    expected = of_gateway(**of_node("source", "productpage"))
    wait_for_series(sidecar, REQUESTS, expected, 1)
    (request,) = backend.requests
    assert request.values("x-envoy-peer-metadata-id")


@rule("EGW-4")
def test_the_exchange_ends_at_the_gateway(stage: GapStage) -> None:
    """It answers as a sidecar does, and the external service sees no header of it."""
    backend = stage.http_backend()
    port = free_port()
    stage.start(
        "egress",
        [listener("gateway", port, http_chain("external"), traffic_direction="OUTBOUND")],
        [cluster("external", backend.address, **services(*EXTERNAL, external=True, disable_mx=True))],
        kind="router",
        telemetry=OPT_IN,
    )
    metadata = metadata_header(node_metadata("reviews"))
    with RawClient(("127.0.0.1", port)) as client:
        ours = [("x-envoy-peer-metadata-id", "reviews-id"), ("x-envoy-peer-metadata", metadata)]
        answer = client.request("GET", "/", ours)
        assert (
            answer.header("x-envoy-peer-metadata-id")
            == "router~127.0.0.1~egress.default~default.svc.cluster.local"
        )
        told = read_metadata_header(answer.header("x-envoy-peer-metadata") or "")
        assert told["WORKLOAD_NAME"] == "egress-v1"
        silent = client.request("GET", "/")
        assert silent.header("x-envoy-peer-metadata-id") is None
    for request in backend.requests:
        assert [name for name, _ in request.fields() if name.startswith("x-envoy-peer-metadata")] == []


@rule("EGW-4")
def test_without_the_opt_in_the_gateway_neither_reads_nor_answers(stage: GapStage) -> None:
    way = Way(stage)
    way.ask()
    (request,) = way.backend.requests
    (own_id,) = request.values("x-envoy-peer-metadata-id")
    assert own_id.startswith("router~")
    wait_for_series(way.gateway, REQUESTS, of_gateway(), 1)


@rule("EGW-5")
@pytest.mark.parametrize("known", [False, True], ids=["unknown", "discovery"])
@pytest.mark.parametrize("opted_in", [False, True], ids=["off", "on"])
def test_tls_that_is_routed_by_its_server_name(stage: GapStage, known: bool, opted_in: bool) -> None:
    if known:
        entry = {"name": "productpage-v1-0", "addresses": ["127.0.0.1"], "workload_name": "productpage-v1"}
        names = {"app": "productpage", "version": "v1", "cluster_id": "productpage-cluster"}
        stage.write_workloads(entry | names)
    context = stage.mesh.server_context("external", mutual=False)
    backend = stage.tcp_backend(context=context, host="127.0.0.2")
    port = free_port()
    chain = tcp_chain("external", exchange())
    chain["filter_chain_match"] = {"server_names": ["api.example.com"]}
    inspector = {"name": "tls", "typed_config": {"@type": TLS_INSPECTOR}}
    gateway = stage.start(
        "egress",
        [listener("gateway", port, chain, traffic_direction="OUTBOUND", listener_filters=[inspector])],
        [cluster("external", backend.address, **services(*EXTERNAL))],
        kind="router",
        telemetry=OPT_IN if opted_in else None,
    )
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        stage.mesh.client_context(None).wrap_socket(plain, server_hostname="api.example.com") as connection,
    ):
        connection.sendall(b"hello\n")
        assert connection.recv(100) == b"app hello\n"
    own = {name: value for name, value in of_gateway().items() if name not in http()} | tcp()
    wait_for_series(gateway, CLOSED, own, 1, reporter="source")
    wait_for_series(gateway, OPENED, own, 1, reporter="source")
    caller = {
        "reporter": "destination",
        **(of_node("source", "productpage") if known else side("source")),
        **of_node("destination", "egress"),
        **service(*EXTERNAL),
        **tcp(policy="none"),
    }
    if opted_in:
        wait_for_series(gateway, CLOSED, caller, 1, reporter="destination")
    else:
        assert series_of(gateway, CLOSED, reporter="destination") == []
