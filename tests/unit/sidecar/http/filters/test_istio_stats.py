"""Istio's standard metrics of HTTP streams: one report for each stream, whatever became of it."""

from __future__ import annotations

import pytest

from config.model.cluster import UpstreamHttpOptions
from config.model.core import Metadata, Node, TrafficDirection
from config.model.grpc import GrpcStatsSpec, GrpcWebSpec
from config.model.http import HttpFilterSpec, RouterSpec, UpgradeConfig
from config.model.istio import IstioHeadersMethod, IstioStatsSpec, PeerMetadataSpec
from protocols.grpc.framing import frame
from protocols.http.headers import Headers
from protocols.peer_metadata import PeerMetadata, encode_header
from sidecar.http.api import Stream
from tests.support.http_floor import OK, Client, HttpFloor, Server, request, response, route, stream_of
from tests.support.upstream import static_spec

NODE = Node(id="me", metadata={"WORKLOAD_NAME": "server", "NAMESPACE": "default", "CLUSTER_ID": "c"})
INBOUND = PeerMetadataSpec(downstream_discovery=(IstioHeadersMethod(),))


def floor_of(*filters: HttpFilterSpec, interval_s: float = 5.0, **fields: object) -> HttpFloor:
    """`filters` stand in front of istio_stats, which reports every `interval_s`."""
    stats = IstioStatsSpec(disable_host_header_fallback=True, tcp_reporting_duration_s=interval_s)
    services = {"istio": {"services": [{"host": "web.default", "name": "web", "namespace": "default"}]}}
    return HttpFloor(
        fields.pop("routes", [route("/", "web")]),  # type: ignore[arg-type]
        clusters=[
            static_spec(
                "web",
                metadata=Metadata(services),
                http_options=UpstreamHttpOptions(enable_trailers=True),
            )
        ],
        filters=[INBOUND, *filters, stats, RouterSpec()],
        node=NODE,
        direction=TrafficDirection.INBOUND,
        **fields,
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


# gRPC

COUNTED = GrpcStatsSpec(emit_filter_state=True)
PEER = f"x-envoy-peer-metadata: {encode_header(PeerMetadata(workload='caller')).decode()}"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\ngrpc-status: 0\r\n\r\n"


def messages(floor: HttpFloor) -> list[int]:
    """Requests and responses, of all series; empty when there is no series."""
    names = "istio_request_messages_total", "istio_response_messages_total"
    found = [
        [stat.value for stat in floor.store.counters.values() if stat.tag_extracted_name.endswith(name)]
        for name in names
    ]
    return [sum(values) for values in found if values]


def chunk(*items: bytes) -> bytes:
    data = b"".join(map(frame, items))
    return b"%x\r\n%b\r\n" % (len(data), data)


def begin(
    floor: HttpFloor, *fields: str, content_type: str = "application/grpc", path: str = "/pkg.Svc/Method"
) -> tuple[Client, Server]:
    client = floor.connect()
    kind = f"content-type: {content_type}"
    client.send(request("POST", path, kind, "transfer-encoding: chunked", *fields))
    return client, floor.server()


class TestGrpc:
    def test_messages_are_reported_at_every_interval_and_at_the_end(self) -> None:
        floor = floor_of(COUNTED)
        client, server = begin(floor, PEER)
        client.send(chunk(b"one", b"two"))
        floor.advance(4.5)
        assert messages(floor) == []
        floor.advance(1)
        assert messages(floor) == [2, 0]
        server.send(HEAD + chunk(b"a"))
        client.send(chunk(b"three"))
        floor.advance(5.2)
        assert messages(floor) == [3, 1]
        assert requests_total(floor) == []
        client.send(b"0\r\n\r\n")
        server.send(chunk(b"b") + END)
        assert messages(floor) == [3, 2]
        ((labels, count),) = requests_total(floor)
        assert (count, labels["request_protocol"], labels["grpc_response_status"]) == (1, "grpc", "0")
        floor.advance(60)
        assert messages(floor) == [3, 2]

    def test_ticks_do_nothing_while_the_peer_is_unknown(self) -> None:
        floor = floor_of(COUNTED)
        client, server = begin(floor)
        client.send(chunk(b"one"))
        floor.advance(11)
        assert messages(floor) == []
        server.send(HEAD + END)
        client.send(b"0\r\n\r\n")
        assert messages(floor) == [1, 0]

    @pytest.mark.parametrize("filters", [[], [GrpcStatsSpec()]])
    def test_no_messages_where_nobody_emits_their_count(self, filters: list[HttpFilterSpec]) -> None:
        floor = floor_of(*filters)
        client, server = begin(floor, PEER)
        client.send(chunk(b"one"))
        floor.advance(6)
        client.send(b"0\r\n\r\n")
        server.send(HEAD + END)
        assert messages(floor) == []
        assert len(requests_total(floor)) == 1

    def test_an_interval_of_0_reports_at_the_end_only(self) -> None:
        floor = floor_of(COUNTED, interval_s=0)
        client, server = begin(floor, PEER)
        client.send(chunk(b"one"))
        floor.advance(60)
        assert messages(floor) == []
        client.send(b"0\r\n\r\n")
        server.send(HEAD + chunk(b"a") + END)
        assert messages(floor) == [1, 1]

    def test_client_that_leaves(self) -> None:
        floor = floor_of(COUNTED)
        client, _ = begin(floor, PEER)
        client.send(chunk(b"one"))
        client.lose()
        assert messages(floor) == [1, 0]
        floor.advance(60)
        assert messages(floor) == [1, 0]

    def test_translated_grpc_web_is_grpc(self) -> None:
        floor = floor_of(GrpcWebSpec(), COUNTED)
        client, server = begin(floor, PEER, content_type="application/grpc-web")
        client.send(chunk(b"one"))
        floor.advance(6)
        assert messages(floor) == [1, 0]
        client.send(b"0\r\n\r\n")
        server.send(HEAD + chunk(b"a") + END)
        assert messages(floor) == [1, 1]
        ((labels, _),) = requests_total(floor)
        assert (labels["request_protocol"], labels["grpc_response_status"]) == ("grpc", "0")

    def test_grpc_web_that_nobody_translates_is_http(self) -> None:
        floor = floor_of(COUNTED)
        client, server = begin(floor, PEER, content_type="application/grpc-web")
        client.send(chunk(b"one"))
        floor.advance(6)
        client.send(b"0\r\n\r\n")
        server.send(OK)
        assert messages(floor) == []
        ((labels, _),) = requests_total(floor)
        assert (labels["request_protocol"], labels["grpc_response_status"]) == ("http", "")

    def test_other_streams_have_neither_a_timer_nor_a_filter_of_their_own(self) -> None:
        floor = floor_of()
        factory = floor.config.chain.factories[1]
        shared = factory.for_stream(stream_with("text/plain"))
        assert factory.for_stream(stream_with("application/json")) is shared
        assert floor.timers._slots == {}
        assert factory.for_stream(stream_with("application/grpc")) is not shared
        assert len(floor.timers._slots) == 1


def stream_with(content_type: str) -> Stream:
    return stream_of(Headers([(b"content-type", content_type.encode())]))


# Upgrades

UPGRADE = ("connection: upgrade", "upgrade: websocket")
SWITCHED = b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


def tunnel_totals(floor: HttpFloor) -> dict[str, int]:
    """The TCP metrics, each of one series; empty when there is none."""
    return {
        stat.tag_extracted_name.removeprefix("istiocustom.istio_tcp_"): stat.value
        for stat in floor.store.counters.values()
        if ".istio_tcp_" in stat.tag_extracted_name
    }


def tunnel_labels(floor: HttpFloor) -> list[dict[str, str]]:
    found = [stat.tags for stat in floor.store.counters.values() if ".istio_tcp_" in stat.tag_extracted_name]
    return [dict(tags) for tags in dict.fromkeys(found)]


class TestUpgrades:
    def upgraded(self, interval_s: float = 5.0) -> tuple[HttpFloor, Client, Server]:
        floor = floor_of(interval_s=interval_s, upgrade_configs=(UpgradeConfig("websocket"),))
        client = floor.connect()
        client.send(request("GET", "/", PEER, *UPGRADE))
        return floor, client, floor.server()

    def test_a_tunnel_is_reported_as_tcp_is(self) -> None:
        floor, client, server = self.upgraded()
        floor.advance(5.5)
        assert tunnel_totals(floor) == {}  # not granted yet
        server.send(SWITCHED + b"hello")
        client.send(b"abc")
        floor.advance(5)
        moved = {"connections_opened_total": 1, "sent_bytes_total": 5, "received_bytes_total": 3}
        assert tunnel_totals(floor) == moved
        assert requests_total(floor) == []
        client.send(b"defg")
        floor.advance(5)
        assert tunnel_totals(floor) == moved | {"received_bytes_total": 7}
        server.send(b"!")
        client.lose()
        ended = {"sent_bytes_total": 6, "received_bytes_total": 7, "connections_closed_total": 1}
        assert tunnel_totals(floor) == moved | ended
        ((labels, count),) = requests_total(floor)
        assert (count, labels["response_code"], labels["request_protocol"]) == (1, "101", "http")
        (own,) = tunnel_labels(floor)
        assert own["request_protocol"] == "http"
        same = ("source_workload", "destination_service", "destination_service_name", "reporter")
        assert [own[name] for name in same] == [labels[name] for name in same]
        floor.advance(60)
        assert tunnel_totals(floor) == moved | ended

    def test_an_interval_of_0_reports_at_the_end_only(self) -> None:
        floor, client, server = self.upgraded(interval_s=0)
        server.send(SWITCHED + b"hello")
        floor.advance(60)
        assert tunnel_totals(floor) == {}
        client.lose()
        assert tunnel_totals(floor) == {
            "connections_opened_total": 1,
            "connections_closed_total": 1,
            "sent_bytes_total": 5,
            "received_bytes_total": 0,
        }

    def test_what_is_not_granted_is_a_request_only(self) -> None:
        floor, _, server = self.upgraded()
        server.send(response(403, body=b"no"))
        floor.advance(6)
        assert tunnel_totals(floor) == {}
        ((labels, _),) = requests_total(floor)
        assert labels["response_code"] == "403"
