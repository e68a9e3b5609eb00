"""Istio's standard metrics of HTTP streams: one report for each stream, whatever became of it."""

from __future__ import annotations

from config.model.core import Metadata, Node, TrafficDirection
from config.model.http import RouterSpec
from config.model.istio import IstioHeadersMethod, IstioStatsSpec, PeerMetadataSpec
from protocols.peer_metadata import PeerMetadata, encode_header
from tests.support.http_floor import OK, HttpFloor, request, response, route
from tests.support.upstream import static_spec

NODE = Node(id="me", metadata={"WORKLOAD_NAME": "server", "NAMESPACE": "default", "CLUSTER_ID": "c"})
INBOUND = PeerMetadataSpec(downstream_discovery=(IstioHeadersMethod(),))


def floor_of(**fields: object) -> HttpFloor:
    services = {"istio": {"services": [{"host": "web.default", "name": "web", "namespace": "default"}]}}
    return HttpFloor(
        fields.pop("routes", [route("/", "web")]),  # type: ignore[arg-type]
        clusters=[static_spec("web", metadata=Metadata(services))],
        filters=[INBOUND, IstioStatsSpec(disable_host_header_fallback=True), RouterSpec()],
        node=NODE,
        direction=TrafficDirection.INBOUND,
    )


def requests_total(floor: HttpFloor) -> list[tuple[dict[str, str], int]]:
    return [
        (dict(stat.tags), stat.value)
        for stat in floor.store.counters.values()
        if stat.tag_extracted_name.endswith("istio_requests_total")
    ]


def test_exchange_is_counted_with_its_labels() -> None:
    floor = floor_of()
    client = floor.connect()
    peer = encode_header(PeerMetadata(workload="caller", namespace="other")).decode()
    client.send(request("GET", "/", f"x-envoy-peer-metadata: {peer}", "x-envoy-peer-metadata-id: x"))
    floor.server().send(OK)
    ((labels, count),) = requests_total(floor)
    assert count == 1
    assert labels["reporter"] == "destination"
    assert labels["source_workload"] == "caller"
    assert labels["destination_workload"] == "server"
    assert labels["destination_service"] == "web.default"
    assert labels["response_code"] == "200"
    assert labels["response_flags"] == "-"
    assert labels["request_protocol"] == "http"


def test_same_labels_same_series() -> None:
    floor = floor_of()
    client = floor.connect()
    client.send(request())
    server = floor.server()
    server.send(OK)
    client.send(request())
    server.send(OK)
    ((_, count),) = requests_total(floor)
    assert count == 2


def test_sizes_are_wire_bytes() -> None:
    floor = floor_of()
    client = floor.connect()
    sent = request("POST", body=b"abc")
    client.send(sent)
    floor.server().send(response(body=b"xyz"))
    answer = client.take()
    sums = {
        stat.tag_extracted_name.rpartition(".")[2]: stat.sum
        for stat in floor.store.histograms.values()
        if "istio_re" in stat.tag_extracted_name
    }
    assert sums["istio_request_bytes"] == len(sent)
    assert sums["istio_response_bytes"] == len(answer)


def test_local_replies_refused_heads_and_lost_clients_are_counted() -> None:
    floor = floor_of(routes=[route("/known", "web")])
    client = floor.connect()
    client.send(request("GET", "/unknown"))
    client.send(b"!\r\n\r\n")
    lost = floor.connect()
    lost.send(request("GET", "/known"))
    lost.lose()
    found = sorted((labels["response_code"], labels["response_flags"]) for labels, _ in requests_total(floor))
    assert found == [("0", "DC"), ("400", "DPE"), ("404", "NR")]
