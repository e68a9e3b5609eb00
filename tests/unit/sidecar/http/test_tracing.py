"""Which requests are traced, what the next hop is told, and the names and tags of spans."""

from __future__ import annotations

from typing import Any

import pytest

from config.model.cluster import UpstreamHttpOptions, UpstreamHttpProtocol
from config.model.core import CidrRange, TrafficDirection
from config.model.http import RequestIdSpec, RouterSpec
from config.model.route import RetryPolicy, RouteSpec
from config.model.services import HttpServiceSpec
from config.model.tracing import (
    Decorator,
    FormatTag,
    LiteralTag,
    OpenTelemetrySpec,
    OtelSampler,
    RequestHeaderTag,
    RouteTracing,
    Sampling,
    TraceContextOption,
    ZipkinSpec,
)
from protocols.peer_metadata import PeerMetadata
from tests.support.http2_floor import grpc_fields, head_of, http2_client, http2_server
from tests.support.http_floor import request, response, route
from tests.support.traced_floor import ZIPKIN, TracedFloor
from tests.support.upstream import static_spec

ID = "b735dae1-93e0-{}054-ad3b-98dd912fe9bb"
TRACE, SPAN, PARENT = "463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312", "0020000000000001"
B3 = (f"x-b3-traceid: {TRACE}", f"x-b3-spanid: {SPAN}", "x-b3-sampled: 1")
W3C = f"traceparent: 00-{TRACE}-{SPAN}-01"
INBOUND, OUTBOUND = TrafficDirection.INBOUND, TrafficDirection.OUTBOUND
NEVER = Sampling(random=0.0)


def digit(it: TracedFloor) -> str:
    return it.told["x-request-id"][14]


class TestDecision:
    def test_all(self) -> None:
        it = TracedFloor()
        it.get()
        assert (digit(it), it.told["x-b3-sampled"]) == ("9", "1")
        assert it.stat("random_sampling") == 1

    def test_none(self) -> None:
        it = TracedFloor(sampling=NEVER)
        it.get()
        assert (digit(it), it.told["x-b3-sampled"]) == ("4", "0")
        assert it.stat("not_traceable") == 1
        assert it.spans == []

    @pytest.mark.parametrize(
        ("given", "kept", "counted"),
        [("9", "9", "random_sampling"), ("a", "a", "service_forced"), ("b", "b", "client_enabled")],
    )
    def test_an_earlier_proxy_has_decided(self, given: str, kept: str, counted: str) -> None:
        it = TracedFloor(sampling=NEVER)
        it.get(f"x-request-id: {ID.format(given)}")
        assert (it.told["x-request-id"], it.told["x-b3-sampled"]) == (ID.format(kept), "1")
        assert it.stat(counted) == 1

    def test_the_number_of_the_id_decides(self) -> None:
        """Its first digits, modulo 10,000."""
        it = TracedFloor(sampling=Sampling(random=0.5))
        for number, sampled in ((4999, "1"), (5000, "0"), (14999, "1"), (19999, "0")):
            it.get(f"x-request-id: {number:08x}-93e0-4054-ad3b-98dd912fe9bb")
            assert it.told["x-b3-sampled"] == sampled

    def test_hundredths_of_a_percent(self) -> None:
        it = TracedFloor(sampling=Sampling(random=0.0001))
        for number, sampled in ((0, "1"), (1, "0")):
            it.get(f"x-request-id: {number:08x}-93e0-4054-ad3b-98dd912fe9bb")
            assert it.told["x-b3-sampled"] == sampled

    def test_overall_takes_it_back(self) -> None:
        it = TracedFloor(sampling=Sampling(overall=0.0))
        it.get(f"x-request-id: {ID.format('9')}")
        assert (digit(it), it.told["x-b3-sampled"]) == ("4", "0")

    def test_clients_ask(self) -> None:
        it = TracedFloor(sampling=NEVER)
        it.get("x-client-trace-id: c")
        assert (digit(it), it.told["x-b3-sampled"]) == ("b", "1")
        assert it.spans[0]["tags"]["guid:x-client-trace-id"] == "c"

    def test_clients_may_not_ask(self) -> None:
        it = TracedFloor(sampling=Sampling(client=0.0, random=0.0))
        it.get("x-client-trace-id: c")
        assert digit(it) == "4"

    def test_services_force_it(self) -> None:
        it = TracedFloor(
            sampling=NEVER,
            manager={"internal_address_ranges": (CidrRange("10.0.0.0", 8),), "use_remote_address": True},
        )
        it.get("x-envoy-force-trace: 1")
        assert (digit(it), it.told["x-b3-sampled"]) == ("a", "1")
        assert it.stat("service_forced") == 1

    def test_strangers_cannot_force_it(self) -> None:
        it = TracedFloor(sampling=NEVER)
        it.get("x-envoy-force-trace: 1")
        assert digit(it) == "4"

    @pytest.mark.parametrize("given", ["short", "zzzzdae1-93e0-4054-ad3b-98dd912fe9bb"])
    def test_an_id_without_a_number_is_not_traced(self, given: str) -> None:
        it = TracedFloor()
        it.get(f"x-request-id: {given}")
        assert (it.told["x-request-id"], it.told["x-b3-sampled"]) == (given, "0")
        assert it.stat("not_traceable") == 1

    def test_the_id_stays_as_it_is(self) -> None:
        it = TracedFloor(manager={"request_id": RequestIdSpec(pack_trace_reason=False)})
        it.get(f"x-request-id: {ID.format('4')}")
        assert (digit(it), it.told["x-b3-sampled"]) == ("4", "1")

    def test_the_id_has_no_say(self) -> None:
        it = TracedFloor(
            sampling=NEVER, manager={"request_id": RequestIdSpec(use_request_id_for_trace_sampling=False)}
        )
        it.get(f"x-request-id: {ID.format('4')}")
        assert (digit(it), it.told["x-b3-sampled"]) == ("4", "1")

    def test_a_stranger_does_not_decide(self) -> None:
        """At the edge the verdict in an id that is preserved is forgotten."""
        manager = {"use_remote_address": True, "preserve_external_request_id": True}
        it = TracedFloor(sampling=NEVER, manager=manager)
        it.get(f"x-request-id: {ID.format('9')}", "x-forwarded-for: 8.8.8.8")
        assert it.told["x-request-id"] == ID.format("4")

    @pytest.mark.parametrize(
        ("key", "value", "sampled"),
        [
            ("tracing.random_sampling", 0, "0"),
            ("tracing.random_sampling", 100.0, "1"),
            ("tracing.global_enabled", 0, "0"),
            ("tracing.random_sampling", "what", "1"),
        ],
    )
    def test_runtime(self, key: str, value: object, sampled: str) -> None:
        it = TracedFloor(runtime={key: value})
        it.get()
        assert it.told["x-b3-sampled"] == sampled

    def test_without_a_provider(self) -> None:
        it = TracedFloor(None)
        it.get(*B3)
        assert digit(it) == "9"
        assert it.told["x-b3-spanid"] == SPAN
        assert it.stat("random_sampling") == 1
        assert it.floor.last.info.trace is None


class TestZipkin:
    def test_a_new_trace(self) -> None:
        it = TracedFloor()
        it.get()
        (span,) = it.spans
        assert span["traceId"].endswith(span["id"]) and len(span["traceId"]) == 32
        assert it.told["x-b3-traceid"] == span["traceId"]
        assert it.told["x-b3-spanid"] == span["id"]
        assert "x-b3-parentspanid" not in it.told
        assert (span["kind"], span["name"], span["shared"]) == ("SERVER", "host", True)
        trace = it.floor.last.info.trace
        assert trace is not None
        assert (trace.trace_id, trace.span_id, trace.sampled) == (span["traceId"], span["id"], True)

    def test_short_trace_ids(self) -> None:
        it = TracedFloor(ZipkinSpec(ZIPKIN.collector))
        it.get()
        (span,) = it.spans
        assert span["traceId"] == span["id"]

    @pytest.mark.parametrize(
        ("direction", "shared", "child"),
        [(INBOUND, True, False), (INBOUND, False, True), (OUTBOUND, True, True), (OUTBOUND, False, True)],
    )
    def test_shared_spans(self, direction: TrafficDirection, shared: bool, child: bool) -> None:
        it = TracedFloor(ZipkinSpec(ZIPKIN.collector, shared_span_context=shared), direction=direction)
        it.get(*B3)
        (span,) = it.spans
        assert span["traceId"] == it.told["x-b3-traceid"] == TRACE
        assert (span["id"] != SPAN) is child
        assert span.get("parentId") == it.told.get("x-b3-parentspanid") == (SPAN if child else None)
        assert span["kind"] == ("CLIENT" if direction is OUTBOUND else "SERVER")
        assert span.get("shared", False) is (shared and direction is INBOUND)

    def test_a_shared_span_keeps_its_parent(self) -> None:
        it = TracedFloor()
        it.get(*B3, f"x-b3-parentspanid: {PARENT}")
        (span,) = it.spans
        assert (span["id"], span["parentId"]) == (SPAN, PARENT)

    def test_split_spans(self) -> None:
        it = TracedFloor(ZipkinSpec(ZIPKIN.collector, split_spans=True), direction=OUTBOUND)
        it.get(*B3)
        assert it.spans[0]["kind"] == "SERVER"

    def test_the_caller_decides(self) -> None:
        it = TracedFloor(sampling=NEVER)
        it.get(*B3)
        assert it.told["x-b3-sampled"] == "1"
        it = TracedFloor()
        it.get("x-b3-sampled: 0")
        assert it.told["x-b3-sampled"] == "0"
        assert it.spans == []

    def test_the_one_header_goes_on_as_one(self) -> None:
        it = TracedFloor(ZipkinSpec(ZIPKIN.collector, shared_span_context=False))
        it.get(f"b3: {TRACE}-{SPAN}-1")
        assert it.told["b3"] == f"{TRACE}-{it.spans[0]['id']}-1-{SPAN}"
        assert "x-b3-traceid" not in it.told

    def test_what_is_wrong_begins_a_new_trace(self) -> None:
        it = TracedFloor()
        it.get("x-b3-traceid: zz", f"x-b3-spanid: {SPAN}", f"x-b3-parentspanid: {PARENT}")
        assert it.told["x-b3-traceid"] == it.spans[0]["traceId"]
        assert "x-b3-parentspanid" not in it.told

    def test_w3c_too(self) -> None:
        option = TraceContextOption.USE_B3_WITH_W3C_PROPAGATION
        it = TracedFloor(ZipkinSpec(ZIPKIN.collector, trace_context=option))
        it.get(W3C, "tracestate: a=b")
        assert it.told["x-b3-spanid"] == SPAN
        assert it.told["traceparent"] == f"00-{TRACE}-{SPAN}-01"
        assert it.told["tracestate"] == "a=b"
        it.get(W3C, f"x-b3-traceid: {TRACE}", f"x-b3-spanid: {PARENT}")
        assert it.told["traceparent"] == f"00-{TRACE}-{PARENT}-01"


class TestOpenTelemetry:
    @staticmethod
    def floor(sampler: OtelSampler = OtelSampler.NONE, **fields: Any) -> TracedFloor:
        service = HttpServiceSpec("zipkin", "otel", "/v1/traces", 1.0)
        return TracedFloor(OpenTelemetrySpec(http_service=service, sampler=sampler), **fields)

    def test_a_child_of_the_caller(self) -> None:
        it = self.floor()
        it.get(W3C, "tracestate: a=b")
        trace = it.floor.last.info.trace
        assert trace is not None
        assert it.told["traceparent"] == f"00-{TRACE}-{trace.span_id}-01"
        assert trace.span_id != SPAN
        assert it.told["tracestate"] == "a=b"

    @pytest.mark.parametrize("value", ["junk", f"00-{TRACE.upper()}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01"])
    def test_what_is_wrong_begins_a_new_trace(self, value: str) -> None:
        it = self.floor()
        it.get(f"traceparent: {value}", "tracestate: a=b")
        trace = it.floor.last.info.trace
        assert trace is not None
        assert it.told["traceparent"] == f"00-{trace.trace_id}-{trace.span_id}-01"
        assert trace.trace_id != TRACE
        assert "tracestate" not in it.told

    @pytest.mark.parametrize(
        ("sampler", "parent", "traced", "sampled"),
        [
            (OtelSampler.NONE, "", True, True),
            (OtelSampler.NONE, "01", True, True),
            (OtelSampler.NONE, "00", True, False),
            (OtelSampler.NONE, "01", False, False),
            (OtelSampler.ALWAYS_ON, "00", True, True),
            (OtelSampler.ALWAYS_ON, "01", False, False),
            (OtelSampler.PARENT_BASED, "", True, True),
            (OtelSampler.PARENT_BASED, "00", True, False),
            (OtelSampler.PARENT_BASED, "01", True, True),
        ],
    )
    def test_who_decides(self, sampler: OtelSampler, parent: str, traced: bool, sampled: bool) -> None:
        it = self.floor(sampler, sampling=Sampling() if traced else NEVER)
        it.get(*([f"traceparent: 00-{TRACE}-{SPAN}-{parent}"] if parent else []))
        assert it.told["traceparent"].endswith("-01" if sampled else "-00")


def decorated(propagate: bool = True) -> list[RouteSpec]:
    spec = route("/", "web")
    return [RouteSpec(spec.match, spec.action, decorator=Decorator("op", propagate))]


DECORATOR = "x-envoy-decorator-operation"


class TestOperation:
    def test_inbound_the_client_is_told(self) -> None:
        it = TracedFloor(routes=decorated())
        _, answer = it.get()
        assert f"{DECORATOR}: op".encode() in answer
        assert DECORATOR not in it.told
        assert it.spans[0]["name"] == "op"

    def test_inbound_the_client_has_a_name(self) -> None:
        it = TracedFloor(routes=decorated())
        _, answer = it.get(f"{DECORATOR}: mine")
        assert DECORATOR.encode() not in answer
        assert DECORATOR not in it.told
        assert it.spans[0]["name"] == "mine"

    def test_outbound_the_server_is_told_and_may_know_better(self) -> None:
        it = TracedFloor(routes=decorated(), direction=OUTBOUND)
        _, answer = it.get(f"{DECORATOR}: mine")
        assert it.told[DECORATOR] == "op"
        assert it.spans[0]["name"] == "op"
        _, answer = it.get(answer=response(200, f"{DECORATOR}: theirs"))
        assert DECORATOR.encode() not in answer
        assert it.spans[0]["name"] == "theirs"

    @pytest.mark.parametrize("direction", [INBOUND, OUTBOUND])
    def test_not_handed_on(self, direction: TrafficDirection) -> None:
        it = TracedFloor(routes=decorated(propagate=False), direction=direction)
        _, answer = it.get()
        assert DECORATOR not in it.told and DECORATOR.encode() not in answer
        assert it.spans[0]["name"] == "op"

    def test_also_without_a_provider(self) -> None:
        _, answer = TracedFloor(None, routes=decorated()).get()
        assert f"{DECORATOR}: op".encode() in answer

    def test_by_a_format(self) -> None:
        it = TracedFloor(
            routes=decorated(), operation="%REQ(:METHOD)%", upstream_operation="up %RESPONSE_CODE%",
            spawn_upstream_span=True,
        )  # fmt: skip
        it.get()
        assert [span["name"] for span in it.spans] == ["up 200", "GET"]


class TestTags:
    def test_envoys(self) -> None:
        it = TracedFloor(max_path_tag_length=4)
        it.get("user-agent: ua", "x-envoy-downstream-service-cluster: dc", path="/path")
        (span,) = it.spans
        assert span["tags"] == {
            "component": "proxy",
            "node_id": "",
            "zone": "",
            "guid:x-request-id": it.told["x-request-id"],
            "http.url": "http://host/pat",
            "http.method": "GET",
            "http.protocol": "HTTP/1.1",
            "http.status_code": "200",
            "downstream_cluster": "dc",
            "user_agent": "ua",
            "peer.address": "10.1.1.1",
            "request_size": "0",
            "response_size": "5",
            "response_flags": "-",
            "upstream_cluster": "web",
            "upstream_cluster.name": "web",
        }

    def test_an_error(self) -> None:
        it = TracedFloor(routes=[route("/", "nobody")])
        client = it.floor.connect()
        client.send(request())
        (span,) = it.spans
        tags = span["tags"]
        assert (tags["http.status_code"], tags["response_flags"], tags["error"]) == ("503", "NC", "true")
        assert "upstream_cluster" not in tags

    def test_a_client_that_leaves(self) -> None:
        it = TracedFloor()
        client = it.floor.connect()
        client.send(request())
        it.floor.server()
        client.lose()
        (span,) = it.spans
        tags = span["tags"]
        assert (tags["http.status_code"], tags["response_flags"], tags["error"]) == ("0", "DC", "true")

    @pytest.mark.parametrize(("status", "error"), [(0, False), (5, False), (13, True), (14, True)])
    def test_grpc(self, status: int, error: bool) -> None:
        it = TracedFloor()
        head = ("content-type: application/grpc", f"grpc-status: {status}", "grpc-message: m")
        it.get("content-type: application/grpc", "grpc-timeout: 1S", path="/s/M", answer=response(200, *head))
        tags = it.spans[0]["tags"]
        grpc = {name: value for name, value in tags.items() if name.startswith("grpc.")}
        assert grpc == {
            "grpc.path": "/s/M",
            "grpc.authority": "host",
            "grpc.content_type": "application/grpc",
            "grpc.timeout": "1S",
            "grpc.status_code": str(status),
            "grpc.message": "m",
        }
        assert ("error" in tags) is error

    def test_grpc_over_http2_says_its_status_in_trailers(self) -> None:
        web = static_spec("web", http_options=UpstreamHttpOptions(UpstreamHttpProtocol.HTTP2))
        it = TracedFloor(web=web, spawn_upstream_span=True)
        client, _ = http2_client(it.floor)
        stream_id = client.request(grpc_fields(*(tuple(each.split(": ")) for each in B3)), b"x")
        server = http2_server(it.floor.server())
        told = head_of(server.told(1))
        server.answer(1, 200, None, ("content-type", "application/grpc"))
        server.trailers(1, ("grpc-status", "13"))
        assert client.told(stream_id)[-1] == ("end",)
        upstream, span = it.spans
        assert told["x-b3-spanid"] == upstream["id"]
        assert (span["id"], span["traceId"]) == (SPAN, TRACE)
        for each in (upstream, span):
            tags = each["tags"]
            assert (tags["http.protocol"], tags["grpc.status_code"], tags["error"]) == (
                "HTTP/2",
                "13",
                "true",
            )

    def test_custom_tags_of_the_route_come_first(self) -> None:
        spec = route("/", "web")
        of_route = RouteTracing(NEVER, (LiteralTag("a", "route"),))
        routes = [RouteSpec(spec.match, spec.action, tracing=RouteTracing(custom_tags=of_route.custom_tags))]
        it = TracedFloor(
            routes=routes,
            sampling=NEVER,
            custom_tags=(
                LiteralTag("a", "manager"),
                RequestHeaderTag("b", "x-b"),
                FormatTag("component", "own"),
            ),
        )
        it.get("x-b: 1")
        tags = it.spans[0]["tags"]
        assert (tags["a"], tags["b"], tags["component"]) == ("route", "1", "own")

    def test_the_sampling_of_the_route(self) -> None:
        spec = route("/", "web")
        it = TracedFloor(routes=[RouteSpec(spec.match, spec.action, tracing=RouteTracing(NEVER))])
        it.get()
        assert it.told["x-b3-sampled"] == "0"

    def test_peers(self) -> None:
        it = TracedFloor()
        client = it.floor.connect()
        client.info.downstream_peer = PeerMetadata(
            workload="productpage-v1", namespace="default", canonical_name="productpage", cluster="c1"
        )
        client.send(request())
        it.floor.server().send(response())
        tags = it.spans[0]["tags"]
        assert {name: value for name, value in tags.items() if name.startswith("istio.")} == {
            "istio.source_workload": "productpage-v1",
            "istio.source_namespace": "default",
            "istio.source_canonical_service": "productpage",
            "istio.source_cluster_id": "c1",
        }

    def test_verbose(self) -> None:
        it = TracedFloor(verbose=True, spawn_upstream_span=True)
        it.get()
        upstream, span = it.spans
        names = [each["value"] for each in span["annotations"]]
        of_upstream = [
            "first_upstream_tx_byte_sent",
            "last_upstream_tx_byte_sent",
            "first_upstream_rx_byte_received",
            "last_upstream_rx_byte_received",
        ]
        assert names == [
            "last_downstream_rx_byte_received",
            *of_upstream,
            "first_downstream_tx_byte_sent",
            "last_downstream_tx_byte_sent",
            "ss",
        ]
        assert [each["value"] for each in upstream["annotations"]] == [*of_upstream[:3], of_upstream[3], "cr"]


class TestAttempts:
    def test_a_span_of_its_own(self) -> None:
        it = TracedFloor(spawn_upstream_span=True, direction=OUTBOUND)
        it.get()
        upstream, span = it.spans
        assert (upstream["name"], upstream["kind"], span["kind"]) == ("router web egress", "CLIENT", "SERVER")
        assert upstream["parentId"] == span["id"]
        assert (it.told["x-b3-spanid"], it.told["x-b3-parentspanid"]) == (upstream["id"], span["id"])
        assert upstream["tags"] == {
            "component": "proxy",
            "http.protocol": "HTTP/1.1",
            "http.status_code": "200",
            "response_flags": "-",
            "upstream_cluster": "web",
            "upstream_cluster.name": "web",
            "upstream_address": "10.0.0.1:80",
            "peer.address": "10.0.0.1:80",
        }

    def test_by_the_router(self) -> None:
        it = TracedFloor(manager={"filters": (RouterSpec(start_child_span=True),)}, direction=OUTBOUND)
        it.get()
        upstream, span = it.spans
        assert (upstream["kind"], span["kind"]) == ("CLIENT", "CLIENT")
        assert it.told["x-b3-spanid"] == upstream["id"]

    def test_unsampled_only_propagates(self) -> None:
        it = TracedFloor(ZipkinSpec(ZIPKIN.collector, shared_span_context=False), spawn_upstream_span=True)
        it.get(*B3[:2], "x-b3-sampled: 0")
        assert it.told["x-b3-traceid"] == TRACE
        assert it.told["x-b3-parentspanid"] != SPAN
        assert it.told["x-b3-sampled"] == "0"
        assert it.spans == []

    def test_refused(self) -> None:
        it = TracedFloor(spawn_upstream_span=True)
        client = it.floor.connect()
        client.send(request())
        it.floor.refuse()
        upstream, _ = it.spans
        tags = upstream["tags"]
        assert (tags["error"], tags["error.reason"]) == ("true", "remote connection failure")
        assert (tags["http.status_code"], tags["http.protocol"], tags["response_flags"]) == ("0", "-", "UF")
        assert tags["peer.address"] == "10.0.0.1:80"

    def test_retried(self) -> None:
        policy = RetryPolicy(("5xx",), 1)
        it = TracedFloor(routes=[route("/", "web", retry_policy=policy)], spawn_upstream_span=True)
        client = it.floor.connect()
        client.send(request())
        first = it.floor.server()
        first.send(response(503))
        first.end()
        it.floor.advance(1)
        it.floor.server().send(response(200))
        assert client.take().startswith(b"HTTP/1.1 200")
        failed, good, _ = it.spans
        assert (failed["tags"]["http.status_code"], failed["tags"]["error"]) == ("503", "true")
        assert "retry.count" not in failed["tags"] and "canceled" not in failed["tags"]
        assert (good["tags"]["http.status_code"], good["tags"]["retry.count"]) == ("200", "1")

    def test_given_up(self) -> None:
        it = TracedFloor(routes=[route("/", "web", timeout_s=1.0)], spawn_upstream_span=True)
        client = it.floor.connect()
        client.send(request())
        it.floor.server()
        it.floor.advance(1.5)
        assert client.take().startswith(b"HTTP/1.1 504")
        upstream, _ = it.spans
        tags = upstream["tags"]
        assert (tags["canceled"], tags["error"], tags["http.status_code"]) == ("true", "true", "0")
        assert "error.reason" not in tags

    def test_cut_off(self) -> None:
        it = TracedFloor(spawn_upstream_span=True)
        client = it.floor.connect()
        client.send(request())
        server = it.floor.server()
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe")
        server.reset()
        upstream, span = it.spans
        assert upstream["tags"]["error.reason"]
        assert upstream["tags"]["http.status_code"] == "200"
        assert "error" not in span["tags"]
