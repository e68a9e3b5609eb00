"""What sidecars count of gRPC: Istio's metrics in this project's proxies, the gRPC statistics of clusters in all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from google.rpc import status_pb2

from tests.interop.grpc_pair import NO_ROUTE, TIMEOUT, TOPOLOGIES, UNREACHABLE, UNREACHABLE_NEAR, GrpcMesh
from tests.interop.pair import SERVICE_HOST, has_istio_filters
from tests.support.certificates import spiffe
from tests.support.grpc_client import GrpcClient
from tests.support.grpc_echo import CALL_LIMIT_S, GrpcServer
from tests.support.grpc_wire import GrpcWire, frame
from tests.support.istio_config import series_with
from tests.support.process import Proxy, wait_until
from tests.support.prometheus_text import parse

COUNTED_S = 10.0
"""Until a call is counted; a tick of the streams that go on is a tenth of it."""
TICK = "1s"

REQUESTS = "istio_requests_total"
SENT = "istio_request_messages_total"
ANSWERED = "istio_response_messages_total"

Values = Mapping[str, float]


@pytest.fixture(params=TOPOLOGIES)
def mesh(
    request: pytest.FixtureRequest, grpc_server: GrpcServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GrpcMesh]:
    """Sidecars that have counted nothing yet."""
    grpc_server.forget_calls()
    created = GrpcMesh(request.param, grpc_server.address, tmp_path_factory.mktemp("grpc"), tick=TICK)
    yield created
    created.close()


def _value(proxy: Proxy, name: str, labels: Mapping[str, str]) -> float:
    family = parse(proxy.prometheus()).get(name)
    samples = [(dict(sample.labels), sample.value) for sample in family.samples] if family else []
    return sum(series_with(samples, **labels))


def _wait_for(proxy: Proxy, labels: Mapping[str, str], expected: Values) -> None:
    """Until each of the metrics `expected` has its value over all series with `labels`."""

    def found() -> dict[str, float]:
        return {name: _value(proxy, name, labels) for name in expected}

    try:
        wait_until(lambda: found() == expected, timeout_s=COUNTED_S, what="the metrics")
    except TimeoutError:
        assert found() == expected


def _with_istio(mesh: GrpcMesh) -> list[tuple[Proxy, dict[str, str]]]:
    """The proxies that have Istio's metrics, with the labels by which all their series are known."""
    places = [(mesh.client, "source"), (mesh.server, "destination")][: len(mesh.proxies)]
    return [(proxy, {"reporter": side}) for proxy, side in places if has_istio_filters(proxy.command)]


def _call_every_kind(mesh: GrpcMesh) -> None:
    """Six calls that end well, two that do not: 16 messages there, 15 back."""
    missing = status_pb2.Status(code=5, message="no such thing").SerializeToString()
    with GrpcClient(mesh.address) as client:
        for _ in range(3):
            client.ask()
        for _ in range(2):
            client.failure("Fail", missing)
        client.upload("Upload")(iter([b"x"] * 4), timeout=CALL_LIMIT_S)
        assert len(list(client.download("Download")(b"5 10", timeout=CALL_LIMIT_S))) == 5
        with client.chat("Chat") as chat:
            for _ in range(6):
                chat.ask(b"x")
            chat.half_close()
            assert list(chat.call) == []


def test_every_call_and_message_is_counted(mesh: GrpcMesh) -> None:
    _call_every_kind(mesh)
    for proxy, side in _with_istio(mesh):
        grpc = {**side, "request_protocol": "grpc", "response_code": "200", "response_flags": "-"}
        _wait_for(proxy, side, {REQUESTS: 8, SENT: 16, ANSWERED: 15})
        _wait_for(proxy, {**grpc, "grpc_response_status": "0"}, {REQUESTS: 6})
        _wait_for(proxy, {**grpc, "grpc_response_status": "5"}, {REQUESTS: 2})
        for name in (SENT, ANSWERED):
            for sample in parse(proxy.prometheus())[name].samples:
                assert len(sample.labels) == 20
                assert "request_protocol" not in dict(sample.labels)


def test_clusters_count_calls_and_messages(mesh: GrpcMesh) -> None:
    """Envoy's own statistics, from the filter that also counts for Istio's."""
    _call_every_kind(mesh)
    for proxy, name in zip(mesh.proxies, ("outbound-grpc", "inbound-grpc"), strict=False):
        expected: dict[str, float] = {
            "0": 6,
            "5": 2,
            "success": 6,
            "failure": 2,
            "total": 8,
            "request_message_count": 16,
            "response_message_count": 15,
        }
        _wait_for(
            proxy,
            {"envoy_cluster_name": name},
            {f"envoy_cluster_grpc_{stat}": value for stat, value in expected.items()},
        )


def test_who_called_whom(mesh: GrpcMesh) -> None:
    with GrpcClient(mesh.address) as client:
        client.ask()
    alone = mesh.client is mesh.server
    for proxy, labels in _with_istio(mesh):
        client_name = "productpage" if has_istio_filters(mesh.client.command) else "envoy-client"
        server_name = "ratings" if has_istio_filters(mesh.server.command) else "envoy-server"
        labels["source_workload"] = f"{client_name}-v1"
        labels["destination_workload"] = "unknown" if alone else f"{server_name}-v1"
        labels["destination_service"] = SERVICE_HOST
        if not alone:
            labels["source_principal"] = spiffe("client")
            labels["destination_principal"] = spiffe("server")
        _wait_for(proxy, labels, {REQUESTS: 1, SENT: 1, ANSWERED: 1})
        secured = "mutual_tls" if labels["reporter"] == "destination" else "unknown"
        _wait_for(proxy, {**labels, "connection_security_policy": secured}, {REQUESTS: 1})


def test_stream_that_goes_on_is_counted_at_ticks(mesh: GrpcMesh) -> None:
    """Messages while it goes on, the call itself at the end. Without a peer that tells its metadata, all at the end."""
    early = _with_istio(mesh) if len(mesh.proxies) == 2 else []
    with GrpcClient(mesh.address) as client, client.chat("Chat") as chat:
        asked = 0
        for more in (3, 2):
            for _ in range(more):
                chat.ask(b"x")
            asked += more
            for proxy, side in early:
                _wait_for(proxy, side, {REQUESTS: 0, SENT: asked, ANSWERED: asked})
        chat.half_close()
        assert list(chat.call) == []
    for proxy, side in _with_istio(mesh):
        _wait_for(proxy, side, {REQUESTS: 1, SENT: 5, ANSWERED: 5})


def test_calls_without_an_answer_of_the_server(mesh: GrpcMesh) -> None:
    """Where the answer was made, its flag tells why; for the sidecar before it is an answer as any other."""
    alone = mesh.client is mesh.server
    with GrpcWire(mesh.address) as wire:
        for service in (UNREACHABLE, UNREACHABLE_NEAR, NO_ROUTE, TIMEOUT):
            wire.call(f"/{service}/Any")
    failed = {"request_protocol": "grpc", "response_code": "200"}
    source = {("14", "UF"): 1, ("14", "-"): 1, ("12", "NR"): 1, ("14", "UT"): 1}
    if alone:
        source = {("14", "UF"): 2, ("12", "NR"): 1, ("14", "UT"): 1}
    for proxy, side in _with_istio(mesh):
        expected = source if proxy is mesh.client else {("14", "UF"): 1}
        for (status, flags), count in expected.items():
            labels = {**side, **failed, "grpc_response_status": status, "response_flags": flags}
            _wait_for(proxy, labels, {REQUESTS: count})
        _wait_for(proxy, side, {REQUESTS: sum(expected.values())})


def test_calls_that_are_given_up(mesh: GrpcMesh, grpc_server: GrpcServer) -> None:
    """Before the answer: no code, no status. Within it: the code of its head, and a status that is not known."""
    with GrpcWire(mesh.address) as wire:
        held = wire.begin("/test.Calls/Hold")
        wire.send(held, frame(b"x"), end=True)
        grpc_server.next_call("Hold")
        wire.reset(held)
        events = wire.begin("/test.Calls/Subscribe")
        wire.send(events, frame(b"x"), end=True)
        grpc_server.next_call("Subscribe")
        wire.wait_head(events)
        wire.reset(events)
    for proxy, side in _with_istio(mesh):
        gone = {**side, "request_protocol": "grpc", "response_flags": "DR"}
        _wait_for(proxy, {**gone, "response_code": "0", "grpc_response_status": ""}, {REQUESTS: 1})
        _wait_for(proxy, {**gone, "response_code": "200", "grpc_response_status": "2"}, {REQUESTS: 1})
        _wait_for(proxy, side, {REQUESTS: 2, SENT: 2, ANSWERED: 0})


def test_http2_that_is_not_grpc(mesh: GrpcMesh) -> None:
    """A server of gRPC refuses it; it is counted as HTTP, without a status of gRPC and without messages."""
    with GrpcWire(mesh.address) as wire:
        wire.call("/test.Calls/Unary", content_type="application/grpc-web")
    for proxy, side in _with_istio(mesh):
        _wait_for(proxy, {**side, "request_protocol": "http", "grpc_response_status": ""}, {REQUESTS: 1})
        _wait_for(proxy, side, {REQUESTS: 1, SENT: 0, ANSWERED: 0})
