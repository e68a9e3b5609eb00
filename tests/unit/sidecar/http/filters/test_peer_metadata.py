"""The HTTP peer exchange: the recorded flows, and what spoofed headers can do."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config.model.cluster import ClusterSpec
from config.model.core import Metadata, Node
from config.model.http import RouterSpec
from config.model.istio import (
    IstioHeadersMethod,
    PeerMetadataSpec,
    PeerMethod,
    WorkloadDiscoveryMethod,
)
from protocols.peer_metadata import METADATA_HEADER, METADATA_ID_HEADER, PeerMetadata, encode_header
from sidecar.http.filters.peer_metadata import _Propagation
from sidecar.stream_info import TlsInfo
from tests.support.http_floor import HttpFloor, request, response, route, route_to, status_of
from tests.support.peer_certificates import peer_certificate
from tests.support.upstream import static_spec

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[4] / "vectors" / "peer_metadata_http.json").read_text()
)
NODES = {"client": "deployment_full", "server": "server_deployment"}
NAMES = {METADATA_ID_HEADER.decode(), METADATA_HEADER.decode()}

INBOUND = PeerMetadataSpec(
    downstream_discovery=(IstioHeadersMethod(),), downstream_propagation=(IstioHeadersMethod(),)
)
OUTBOUND = PeerMetadataSpec(
    upstream_discovery=(IstioHeadersMethod(),), upstream_propagation=(IstioHeadersMethod(),)
)


def node_of(name: str) -> Node:
    (found,) = (each for each in VECTORS["encode"] if each["name"] == NODES[name])
    return Node(id=found["node"]["id"], metadata=found["node"]["metadata"])


def methods(listed: list[dict[str, Any]]) -> tuple[PeerMethod, ...]:
    found: list[PeerMethod] = []
    for each in listed:
        if "istio_headers" in each:
            found.append(IstioHeadersMethod(**each["istio_headers"]))
        elif "workload_discovery" in each:
            found.append(WorkloadDiscoveryMethod())
    return tuple(found)


def spec_of(config: dict[str, Any]) -> PeerMetadataSpec:
    return PeerMetadataSpec(**{name: methods(listed) for name, listed in config.items()})


def exchange_headers(head: bytes) -> dict[str, str]:
    """The exchange headers of a message as written."""
    found = {}
    for line in head.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name in NAMES:
            found[name] = value.strip()
    return found


def lines(headers: dict[str, str]) -> list[str]:
    return [f"{name}: {value}" for name, value in headers.items()]


@pytest.mark.parametrize("flow", VECTORS["flows"], ids=lambda flow: flow["name"])
def test_flow(flow: dict[str, Any]) -> None:
    cluster = flow["cluster"]
    name = cluster.get("name", "web")
    floor = HttpFloor(
        [route("/", name)],
        clusters=[static_spec(name, metadata=Metadata(cluster.get("metadata", {})))],
        filters=[spec_of(flow["config"]), RouterSpec()],
        node=node_of(flow["local_node"]),
        peer_lookup={
            address: PeerMetadata(**{**each, "labels": ()}) for address, each in flow["wds"].items()
        }.get,
    )
    client = floor.connect(address="10.0.0.9")
    client.send(request("GET", "/", *lines(flow["request_in"])))
    server = floor.server(name)
    assert exchange_headers(server.take()) == flow["expect"]["request_out"]
    server.send(response(200, *lines(flow["response_in"])))
    answer = client.take()
    assert status_of(answer) == 200
    assert exchange_headers(answer) == flow["expect"]["response_out"]
    info = floor.last.info
    keys = [key for key in ("downstream_peer", "upstream_peer") if getattr(info, key) is not None]
    assert keys == flow["expect"]["filter_state_keys"]


def certificate(uri: str) -> TlsInfo:
    return TlsInfo("TLSv1.3", "X", "http/1.1", peer=peer_certificate(uri_sans=(uri,)), peer_validated=True)


def inbound() -> HttpFloor:
    return HttpFloor([route("/", "web")], filters=[INBOUND, RouterSpec()], node=node_of("server"))


def ask(floor: HttpFloor, *fields: str, tls: TlsInfo | None = None) -> tuple[bytes, bytes]:
    """One request on a connection of its own: what the server saw, what the client got."""
    client = floor.connect(tls)
    client.send(request("GET", "/", *fields))
    server = floor.server()
    seen = server.take()
    server.send(response(200))
    answer = client.take()
    server.end()
    return seen, answer


class TestSpoofing:
    def test_headers_never_reach_the_application(self) -> None:
        floor = inbound()
        seen, _ = ask(floor, "x-envoy-peer-metadata: AAAA", "x-envoy-peer-metadata-id: me")
        assert b"peer-metadata" not in seen

    def test_one_client_cannot_name_another(self) -> None:
        floor = inbound()
        false = encode_header(PeerMetadata(workload="false")).decode()
        true = encode_header(PeerMetadata(workload="true")).decode()
        ask(
            floor,
            f"x-envoy-peer-metadata: {false}",
            "x-envoy-peer-metadata-id: b",
            tls=certificate("spiffe://a/ns/x/sa/mallory"),
        )
        ask(
            floor,
            f"x-envoy-peer-metadata: {true}",
            "x-envoy-peer-metadata-id: b",
            tls=certificate("spiffe://a/ns/x/sa/bob"),
        )
        assert [line.info.downstream_peer.workload for line in floor.log if line.info.downstream_peer] == [
            "false",
            "true",
        ]

    @pytest.mark.parametrize(
        "value", ["", "?", "AAAA====", "_-_-", "A" * 50_000, "CgA=\tx", "////", " AAAA", "%" * 100]
    )
    def test_odd_values_are_served(self, value: str) -> None:
        floor = inbound()
        seen, answer = ask(floor, f"x-envoy-peer-metadata: {value}", "x-envoy-peer-metadata-id: me")
        assert b"peer-metadata" not in seen
        assert status_of(answer) == 200

    def test_repeated_headers_are_all_removed(self) -> None:
        floor = inbound()
        seen, _ = ask(floor, "x-envoy-peer-metadata: AAAA", "x-envoy-peer-metadata: BBBB")
        assert b"peer-metadata" not in seen


class TestConnectionState:
    def test_what_the_connection_knows_wins(self) -> None:
        floor = inbound()
        client = floor.connect()
        known = PeerMetadata(workload="known")
        client.info.downstream_peer = known
        value = encode_header(PeerMetadata(workload="other")).decode()
        client.send(request("GET", "/", f"x-envoy-peer-metadata: {value}"))
        server = floor.server()
        assert b"peer-metadata" not in server.take()
        server.send(response(200))
        assert floor.last.info.downstream_peer is None
        assert client.info.downstream_peer is known

    def test_local_replies_answer_the_exchange(self) -> None:
        floor = HttpFloor([], filters=[INBOUND, RouterSpec()], node=node_of("server"))
        client = floor.connect()
        client.send(request("GET", "/", "x-envoy-peer-metadata-id: me"))
        answer = client.take()
        assert status_of(answer) == 404
        assert exchange_headers(answer) == {"x-envoy-peer-metadata-id": node_of("server").id}

    def test_answer_to_a_head_never_understood(self) -> None:
        floor = inbound()
        client = floor.connect()
        client.send(b"!\r\n\r\n")
        assert status_of(client.take()) == 400


class TestOneConnection:
    """What its last message said is compared with, no more."""

    def peers(self, *messages: tuple[str, str]) -> list[str | None]:
        """The workloads of the requests with these ids and values, one after the other."""
        floor = inbound()
        client, server = floor.connect(), None
        for peer_id, value in messages:
            fields = [f"x-envoy-peer-metadata-id: {peer_id}"] if peer_id else []
            client.send(request("GET", "/", *fields, f"x-envoy-peer-metadata: {value}"))
            server = server or floor.server()
            server.send(response(200))
        found = [line.info.downstream_peer for line in floor.log]
        return [peer.workload if peer is not None else None for peer in found]

    def test_each_message_stands_for_itself(self) -> None:
        one = encode_header(PeerMetadata(workload="one")).decode()
        two = encode_header(PeerMetadata(workload="two")).decode()
        long = encode_header(PeerMetadata(workload="long", labels=(("x", "y" * 3000),))).decode()
        sent = (("a", one), ("a", one), ("a", two), ("b", two), ("", two), ("", one), ("a", ""), ("a", long))
        expected = ["one", "one", "two", "two", "two", "one", None, "long", "long", "one"]
        assert self.peers(*sent, ("a", long), ("a", one)) == expected


class TestOutbound:
    def test_upstream_peer_is_found(self) -> None:
        floor = HttpFloor([route("/", "web")], filters=[OUTBOUND, RouterSpec()], node=node_of("client"))
        value = encode_header(PeerMetadata(workload="ratings")).decode()
        client = floor.connect()
        client.send(request())
        server = floor.server()
        server.send(response(200, f"x-envoy-peer-metadata: {value}"))
        assert b"peer-metadata" not in client.take()
        peer = floor.last.info.upstream_peer
        assert peer is not None
        assert peer.workload == "ratings"

    def test_skipped_cluster_in_a_response(self) -> None:
        spec: ClusterSpec = static_spec("web", metadata=Metadata({"istio": {"disable_mx": True}}))
        floor = HttpFloor(
            [route_to("/", route("/", "web").action)],
            clusters=[spec],
            filters=[INBOUND, RouterSpec()],
            node=node_of("server"),
        )
        _, answer = ask(floor, "x-envoy-peer-metadata-id: me")
        assert b"peer-metadata" not in answer


def test_the_verdict_on_a_cluster_is_that_on_its_metadata() -> None:
    """A cluster may be exchanged for another of the same name; the one before it is not kept."""
    propagation = _Propagation(IstioHeadersMethod(skip_external_clusters=True))
    told = SimpleNamespace(name="web", metadata=Metadata({}))
    external = SimpleNamespace(name="web", metadata=Metadata({"istio": {"external": True}}))
    disabled = SimpleNamespace(name="other", metadata=Metadata({"istio": {"disable_mx": True}}))
    odd = SimpleNamespace(name="odd", metadata=Metadata({"istio": {"disable_mx": "yes", "external": 1}}))
    passthrough = SimpleNamespace(name="PassthroughCluster", metadata=Metadata({}))
    clusters: list[Any] = [told, external, told, told, disabled, disabled, odd, passthrough, None]
    skipped = [propagation.skips(cluster) for cluster in clusters]
    assert skipped == [False, True, False, False, True, True, False, True, False]
    assert len(propagation._verdicts) == 4
