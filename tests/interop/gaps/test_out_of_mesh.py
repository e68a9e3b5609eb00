"""Peers without a sidecar: who they are is known by their address or by the endpoint's metadata, else by nobody."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.interop.gaps.stage import (
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
from tests.support.backends import Do, HttpBackend
from tests.support.bootstraps import (
    Json,
    cluster,
    downstream_tls,
    http_filter_chain,
    listener,
    route_config,
    route_to,
    tcp_filter_chain,
)
from tests.support.certificates import spiffe
from tests.support.http_client import RawClient, get
from tests.support.istio_config import metadata_header, node_metadata
from tests.support.ports import free_port
from tests.support.process import Proxy, wait_until

KNOWN = "127.0.0.2"
NOT_KNOWN = "127.0.0.3"
LEGACY: Json = {
    "name": "legacy-7",
    "addresses": [KNOWN],
    "namespace": "data",
    "workload_name": "legacy",
    "canonical_name": "legacy-service",
    "canonical_revision": "v3",
    "app": "legacy-app",
    "version": "3.1",
    "cluster_id": "machines",
    "service_account": "legacy-account",
}
LEGACY_ID = spiffe("legacy-account", "data")
LEGACY_SERVICE = ("legacy.data.svc.cluster.local", "legacy", "data")
ENDPOINT = "legacy-by-endpoint;data;legacy-service;v2;machines"
BY_ENDPOINT = side(
    "destination",
    workload="legacy-by-endpoint",
    canonical_service="legacy-service",
    canonical_revision="v2",
    namespace="data",
    cluster="machines",
)


def as_discovered(prefix: str, principal: str = "unknown") -> Labels:
    """What the file of workloads tells."""
    return side(
        prefix,
        workload="legacy",
        canonical_service="legacy-service",
        canonical_revision="v3",
        namespace="data",
        principal=principal,
        app="legacy-app",
        version="3.1",
        cluster="machines",
    )


class Inbound:
    """A server sidecar before an application; `address` is where clients call."""

    def __init__(self, stage: GapStage, transport_socket: Json | None = None) -> None:
        self.backend = stage.http_backend()
        port = free_port()
        self.address = ("127.0.0.1", port)
        chain = http_filter_chain(
            route_config(route_to("inbound")),
            http_filters=[peer_metadata(inbound=True), stats(disable_host_header_fallback=True)],
        )
        if transport_socket is not None:
            chain["transport_socket"] = transport_socket
        self.proxy: Proxy = stage.start(
            "ratings",
            [listener("inbound", port, chain, traffic_direction="INBOUND")],
            [
                cluster(
                    "inbound", self.backend.address, **services("ratings.default.svc", "ratings", "default")
                )
            ],
        )

    def series(self, source: Labels, **more: str) -> Labels:
        return {
            "reporter": "destination",
            **source,
            **of_node("destination", "ratings"),
            **service("ratings.default.svc", "ratings", "default"),
            **http(policy="none"),
            **more,
        }


class Outbound:
    """A client sidecar before an HTTP peer without one, at the address `host`; `address` is where the client calls."""

    def __init__(
        self,
        stage: GapStage,
        host: str = KNOWN,
        *,
        told_by_endpoint: bool = True,
        route: Json | None = None,
        upstream: tuple[str, int] | None = None,
        **peer_filter: bool,
    ) -> None:
        self.backend = stage.http_backend(host)
        port = free_port()
        self.address = ("127.0.0.1", port)
        out = cluster("outbound", upstream or self.backend.address, **services(*LEGACY_SERVICE))
        if told_by_endpoint:
            endpoint_workload(out, ENDPOINT)
        chain = http_filter_chain(
            route_config(route_to("outbound", **(route or {}))),
            http_filters=[peer_metadata(inbound=False, **peer_filter), stats()],
        )
        self.proxy: Proxy = stage.start(
            "productpage", [listener("outbound", port, chain, traffic_direction="OUTBOUND")], [out]
        )

    def series(self, destination: Labels, **more: str) -> Labels:
        return {
            "reporter": "source",
            **of_node("source", "productpage"),
            **destination,
            **service(*LEGACY_SERVICE),
            **http(),
            **more,
        }


@rule("OOM-1")
def test_a_plaintext_caller_is_known_by_its_address(stage: GapStage) -> None:
    stage.write_workloads(LEGACY)
    inbound = Inbound(stage)
    with RawClient(inbound.address, source=KNOWN) as client:
        assert client.request("GET", "/").status == 200
    wait_for_series(inbound.proxy, REQUESTS, inbound.series(as_discovered("source")), 1)
    assert inbound.proxy.stat("workload_discovery.total") == 1


@rule("OOM-1")
def test_a_caller_with_a_certificate_is_known_by_its_address_and_proves_its_identity(stage: GapStage) -> None:
    """Its namespace is that of the certificate."""
    stage.write_workloads(LEGACY)
    inbound = Inbound(stage, downstream_tls(stage.mesh.leaf("ratings"), stage.mesh.root))
    context = stage.mesh.client_context("somebody")
    with RawClient(inbound.address, source=KNOWN, context=context, server_name="ratings") as client:
        assert client.request("GET", "/").status == 200
    source = as_discovered("source", principal=spiffe("somebody")) | {"source_workload_namespace": "default"}
    destination = {"destination_principal": spiffe("ratings"), "connection_security_policy": "mutual_tls"}
    wait_for_series(inbound.proxy, REQUESTS, inbound.series(source, **destination), 1)


@rule("OOM-1")
def test_what_a_caller_says_of_itself_counts_more_than_its_address(stage: GapStage) -> None:
    stage.write_workloads(LEGACY)
    inbound = Inbound(stage)
    with RawClient(inbound.address, source=KNOWN) as client:
        header = metadata_header(node_metadata("reviews"))
        assert client.request("GET", "/", [("x-envoy-peer-metadata", header)]).status == 200
    wait_for_series(inbound.proxy, REQUESTS, inbound.series(of_node("source", "reviews")), 1)


@rule("OOM-1")
def test_the_file_is_read_again_when_it_changes(stage: GapStage) -> None:
    """A file that becomes wrong changes nothing."""
    stage.write_workloads(LEGACY)
    inbound = Inbound(stage)
    stage.write_workloads({"name": "other", "addresses": ["127.0.0.9"]}, LEGACY | {"app": "new-app"})
    wait_until(
        lambda: inbound.proxy.stat("workload_discovery.total") == 2, timeout_s=10, what="two workloads"
    )
    stage.write_workloads({"name": "wrong", "adresses": ["127.0.0.9"]})
    wait_until(lambda: "did you mean 'addresses'" in inbound.proxy.log_text(), timeout_s=10, what="a warning")
    with RawClient(inbound.address, source=KNOWN) as client:
        assert client.request("GET", "/").status == 200
    source = as_discovered("source") | {"source_app": "new-app"}
    wait_for_series(inbound.proxy, REQUESTS, inbound.series(source), 1)


@rule("OOM-2")
def test_a_caller_that_nobody_knows_is_counted_all_the_same(stage: GapStage) -> None:
    stage.write_workloads(LEGACY)
    inbound = Inbound(stage)
    with RawClient(inbound.address, source=NOT_KNOWN) as client:
        assert client.request("GET", "/").status == 200
    wait_for_series(inbound.proxy, REQUESTS, inbound.series(side("source")), 1)


@rule("OOM-3")
def test_an_endpoint_says_who_is_there(stage: GapStage) -> None:
    outbound = Outbound(stage)
    assert get(outbound.address, "/", host=LEGACY_SERVICE[0]).status == 200
    wait_for_series(outbound.proxy, REQUESTS, outbound.series(BY_ENDPOINT), 1)


@rule("OOM-3")
def test_discovery_knows_more_than_the_endpoint(stage: GapStage) -> None:
    stage.write_workloads(LEGACY)
    outbound = Outbound(stage)
    assert get(outbound.address, "/", host=LEGACY_SERVICE[0]).status == 200
    wait_for_series(outbound.proxy, REQUESTS, outbound.series(as_discovered("destination", LEGACY_ID)), 1)


@rule("OOM-3")
@pytest.mark.parametrize("discovered", [False, True], ids=["endpoint", "discovery"])
def test_the_same_over_tcp(stage: GapStage, discovered: bool) -> None:
    if discovered:
        stage.write_workloads(LEGACY)
    backend = stage.tcp_backend(host=KNOWN)
    port = free_port()
    chain = tcp_filter_chain("outbound")
    chain["filters"].insert(0, stats())
    out = cluster("outbound", backend.address, **services(*LEGACY_SERVICE), filters=[exchange()])
    proxy = stage.start(
        "productpage",
        [listener("outbound", port, chain, traffic_direction="OUTBOUND")],
        [endpoint_workload(out, ENDPOINT)],
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"hello\n")
        assert connection.recv(100) == b"app hello\n"
    expected = {
        "reporter": "source",
        **of_node("source", "productpage"),
        **(as_discovered("destination", LEGACY_ID) if discovered else BY_ENDPOINT),
        **service(*LEGACY_SERVICE),
        **tcp(),
    }
    wait_for_tcp(proxy, expected, sent=10, received=6)


@rule("OOM-4")
def test_a_service_entry_names_the_destination_and_gets_no_headers(stage: GapStage) -> None:
    backend = stage.http_backend()
    port = free_port()
    host = ("api.example.com", "api.example.com", "external")
    chain = http_filter_chain(
        route_config(route_to("outbound")),
        http_filters=[peer_metadata(inbound=False, skip_external=True), stats()],
    )
    proxy = stage.start(
        "productpage",
        [listener("outbound", port, chain, traffic_direction="OUTBOUND")],
        [cluster("outbound", backend.address, **services(*host, external=True))],
    )
    assert get(("127.0.0.1", port), "/", host="api.example.com:8443").status == 200
    expected = {
        "reporter": "source",
        **of_node("source", "productpage"),
        **side("destination"),
        **service(*host),
        **http(),
    }
    wait_for_series(proxy, REQUESTS, expected, 1)
    (request,) = backend.requests
    assert [name for name, _ in request.fields() if name.startswith("x-envoy-peer-metadata")] == []


@rule("OOM-4")
def test_without_the_switch_the_headers_leave(stage: GapStage) -> None:
    outbound = Outbound(stage)
    assert get(outbound.address, "/").status == 200
    (request,) = outbound.backend.requests
    assert request.values("x-envoy-peer-metadata-id") and request.values("x-envoy-peer-metadata")


@rule("OOM-5")
def test_one_side_with_a_sidecar_reports_once(stage: GapStage) -> None:
    """Both directions: a call into the mesh has a destination only, a call out of it a source only."""
    stage.write_workloads(LEGACY)
    inbound, outbound = Inbound(stage), Outbound(stage)
    with RawClient(inbound.address, source=KNOWN) as client:
        for _ in range(7):
            client.request("GET", "/")
    for _ in range(5):
        get(outbound.address, "/")
    wait_for_series(inbound.proxy, REQUESTS, inbound.series(as_discovered("source")), 7)
    wait_for_series(outbound.proxy, REQUESTS, outbound.series(as_discovered("destination", LEGACY_ID)), 5)
    for metric in ("request_duration_milliseconds", "request_bytes", "response_bytes"):
        assert [value for _, value in series_of(inbound.proxy, f"istio_{metric}_count")] == [7]
        assert [value for _, value in series_of(outbound.proxy, f"istio_{metric}_count")] == [5]


def _refused(backend: HttpBackend) -> None:
    backend.stop()


def _reset(backend: HttpBackend) -> None:
    backend.answer = lambda request: [Do("rst")]


def _silent(backend: HttpBackend) -> None:
    backend.answer = lambda request: [Do("hang")]


@rule("OOM-6")
@pytest.mark.parametrize(
    ("fail", "code", "flags"),
    [(_refused, 503, "UF"), (_reset, 503, "UC"), (_silent, 504, "UT")],
    ids=["connect refused", "reset", "timeout"],
)
@pytest.mark.parametrize("discovered", [False, True], ids=["endpoint", "discovery"])
def test_a_peer_that_fails_is_counted_under_its_name(
    stage: GapStage, fail: Callable[[HttpBackend], None], code: int, flags: str, discovered: bool
) -> None:
    if discovered:
        stage.write_workloads(LEGACY)
    outbound = Outbound(stage, route={"timeout": "0.2s"})
    fail(outbound.backend)
    assert get(outbound.address, "/").status == code
    destination = as_discovered("destination", LEGACY_ID) if discovered else BY_ENDPOINT
    wait_for_series(
        outbound.proxy,
        REQUESTS,
        outbound.series(destination, response_code=str(code), response_flags=flags),
        1,
    )
