"""Tracing beside the real Envoy, on the same bootstraps; and a trace that crosses two sidecars and arrives at collectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.interop.pair import Application, SidecarPair, has_istio_filters
from tests.interop.tracing import (
    RUNTIME,
    Case,
    Collectors,
    Outcome,
    Span,
    TracingStage,
    otel_grpc,
    otel_http,
    zipkin,
)
from tests.support.backends import HttpBackend, RecordedRequest, Script, Send, Sleep, ok_response
from tests.support.bootstraps import Json, bootstrap, cluster, route_to
from tests.support.certificates import Mesh
from tests.support.envoy import require_envoy
from tests.support.http_client import RawClient, get
from tests.support.ports import free_ports
from tests.support.process import REPOSITORY, sidecar_command, start_proxy, wait_until

TRACE, SPAN = "463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312"
ID = "b735dae1-93e0-{}054-ad3b-98dd912fe9bb"
B3 = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "1")]
PARENT = ("x-b3-parentspanid", "0020000000000001")
W3C = [("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "a=b,c=d")]
GRPC = [("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "ua")]
DECORATOR = "x-envoy-decorator-operation"

Request = tuple[Mapping[str, Any], int]


def request(*headers: tuple[str, str], spans: int = 1, **fields: Any) -> Request:
    return {"headers": list(headers), **fields}, spans


def decorated(**fields: Any) -> list[Json]:
    return [{**route_to("app"), "decorator": {"operation": "op", **fields}}]


TAGS: list[Json] = [
    {"tag": "literal", "literal": {"value": "v"}},
    {"tag": "environment", "environment": {"name": "SIDECAR_TEST_NOT_SET", "default_value": "d"}},
    {"tag": "no environment", "environment": {"name": "SIDECAR_TEST_NOT_SET"}},
    {"tag": "header", "request_header": {"name": "X-Tag", "default_value": "d"}},
    {"tag": "no header", "request_header": {"name": "X-None"}},
    *(
        {
            "tag": f"metadata {name}",
            "metadata": {"kind": {"route": {}}, "metadata_key": {"key": "ns", "path": [{"key": name}]}},
        }
        for name in ("text", "number", "flag", "deep", "none")
    ),
    {
        "tag": "of the request",
        "metadata": {
            "kind": {"request": {}},
            "metadata_key": {"key": "ns", "path": [{"key": "a"}]},
            "default_value": "d",
        },
    },
    {"tag": "format", "value": "%RESPONSE_CODE% %REQ(:PATH)%"},
    {"tag": "component", "literal": {"value": "own"}},
    {"tag": "header", "literal": {"value": "the second"}},
]
METADATA: Json = {"filter_metadata": {"ns": {"text": "t", "number": 1.5, "flag": True, "deep": {"b": "x"}}}}

FAILING: list[Json] = [
    {"match": {"path": "/direct"}, "direct_response": {"status": 418}},
    {"match": {"path": "/redirect"}, "redirect": {"host_redirect": "x"}},
    {"match": {"path": "/closed"}, "route": {"cluster": "closed"}},
    {
        "match": {"path": "/503"},
        "route": {"cluster": "app", "retry_policy": {"retry_on": "5xx", "num_retries": 1}},
    },
    {"match": {"path": "/slow"}, "route": {"cluster": "app", "timeout": "0.2s"}},
    {"match": {"path": "/nobody"}, "route": {"cluster_header": "x-cluster"}},
    {"match": {"prefix": "/app"}, "route": {"cluster": "app"}},
]


PROPAGATION = [request(), request(*B3), request(*B3, PARENT), request(("b3", f"{TRACE}-{SPAN}-1"))]
UNSAMPLED = [
    request(*B3[:2], ("x-b3-sampled", "0"), spans=0),
    request(("b3", "0"), spans=0),
    request(*B3[:2]),
    request(*B3[:2], ("x-b3-flags", "1")),
]
DECISIONS = [
    *(request(("x-request-id", ID.format(digit)), spans=0) for digit in "4c"),
    *(request(("x-request-id", ID.format(digit))) for digit in "9ab"),
    request(spans=0),
    request(("x-client-trace-id", "c")),
    request(("x-envoy-force-trace", "1"), spans=0),
    request(("x-envoy-force-trace", "1"), ("x-forwarded-for", "10.0.0.1")),
    request(("x-request-id", "short"), spans=0),
]
DECORATIONS = [request(), request((DECORATOR, "asked")), request((DECORATOR, ""))]
PATHS = [
    ("/direct", 1), ("/redirect", 1), ("/closed", 2), ("/503", 3), ("/slow", 2), ("/nobody", 1), ("/none", 1),
    ("/app/404", 2), ("/app/500", 2), ("/app/long" + "g" * 50, 2),
]  # fmt: skip
GRPC_PATHS = [(f"/app.S/grpc-{status}", 2) for status in (0, 1, 2, 3, 4, 5, 8, 12, 13, 14, 15, 16)]

INTERNAL: Json = {
    "internal_address_config": {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}
}
_SAMPLER = "type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3."
ALWAYS_ON: Json = {"name": "always on", "typed_config": {"@type": f"{_SAMPLER}AlwaysOnSamplerConfig"}}
PARENT_BASED: Json = {
    "name": "parent based",
    "typed_config": {"@type": f"{_SAMPLER}ParentBasedSamplerConfig", "wrapped_sampler": ALWAYS_ON},
}
NEVER: Json = {"random_sampling": {"value": 0}}
SPAWN: Json = {"spawn_upstream_span": True}

CASES = {
    **{
        f"zipkin {direction} shared={shared} spawn={spawn} split={split}": Case(
            zipkin(trace_id_128bit=True, shared_span_context=shared, split_spans_for_request=split),
            [(fields, 2 if spawn else 1) for fields, _ in PROPAGATION],
            {"spawn_upstream_span": spawn},
            direction,
        )
        for direction in ("INBOUND", "OUTBOUND")
        for shared, spawn, split in ((True, False, False), (False, False, True), (True, True, False))
    },
    "zipkin unsampled": Case(zipkin(), UNSAMPLED),
    "zipkin never": Case(zipkin(shared_span_context=False), [request(*B3), request(spans=0)], NEVER),
    "zipkin and w3c": Case(
        zipkin(trace_context_option="USE_B3_WITH_W3C_PROPAGATION"),
        [request(), request(*W3C), request(*B3), request(*B3, W3C[0])],
    ),
    **{
        f"otel {name} {direction} spawn={spawn}": Case(
            provider,
            [request(spans=2 if spawn else 1), request(*W3C, spans=2 if spawn else 1)],
            {"spawn_upstream_span": spawn},
            direction,
        )
        for name, provider in (("grpc", otel_grpc()), ("http", otel_http()))
        for direction in ("INBOUND", "OUTBOUND")
        for spawn in (False, True)
    },
    "otel unsampled": Case(otel_grpc(), [request(("traceparent", f"00-{TRACE}-{SPAN}-00"), spans=0), request()]),
    "otel never": Case(otel_grpc(), [request(*W3C, spans=0), request(spans=0)], NEVER),
    **{
        f"otel {name}": Case(
            otel_grpc(sampler=sampler),
            [
                request(spans=1),
                request(("traceparent", f"00-{TRACE}-{SPAN}-01")),
                request(("traceparent", f"00-{TRACE}-{SPAN}-00"), spans=of_unsampled),
            ],
        )
        for name, sampler, of_unsampled in (("always on", ALWAYS_ON, 1), ("parent based", PARENT_BASED, 0))
    },
    "urls": Case(
        zipkin(),
        [
            request(("x-forwarded-proto", "https"), path="/a?b=c"),
            request(path="/prefix/a?b=c"),
            request(path="/host"),
            request(path="/a", method="POST", body=b"body"),
        ],
        {"max_path_tag_length": 12},
        routes=[
            {"match": {"prefix": "/prefix"}, "route": {"cluster": "app", "prefix_rewrite": "/other"}},
            {"match": {"prefix": "/host"}, "route": {"cluster": "app", "host_rewrite_literal": "other"}},
            route_to("app"),
        ],
    ),
    "decisions": Case(zipkin(), DECISIONS, NEVER, manager=INTERNAL),
    "decisions at the edge": Case(
        zipkin(),
        [
            request(("x-request-id", ID.format("9")), ("x-forwarded-for", "8.8.8.8"), spans=0),
            request(("x-request-id", ID.format("4")), ("x-client-trace-id", "c"), ("x-forwarded-for", "8.8.8.8")),
        ],
        NEVER,
        manager={"use_remote_address": True, "preserve_external_request_id": True},
    ),
    "without a provider": Case(None, [(fields, 0) for fields, _ in (*DECISIONS, request(*B3))]),
    **{
        f"decorators {direction} {name}": Case(
            zipkin(), DECORATIONS, {}, direction, routes
        )
        for direction in ("INBOUND", "OUTBOUND")
        for name, routes in (("on", decorated()), ("not handed on", decorated(propagate=False)), ("none", ()))
    },
    "custom tags": Case(
        otel_grpc(),
        [request(("x-tag", "t"), path="/a?b=c", spans=2)],
        {"custom_tags": TAGS, "verbose": True, **SPAWN},
        routes=[{**route_to("app"), "metadata": METADATA}],
    ),
    "routes": Case(
        otel_grpc(),
        [request(spans=2)],
        {"custom_tags": TAGS[:1], **SPAWN, **NEVER},
        routes=[
                {
                    **route_to("app"),
                    "tracing": {
                        "operation": "down %REQ(:METHOD)%",
                        "upstream_operation": "up %RESPONSE_CODE%",
                        "custom_tags": [{"tag": "literal", "literal": {"value": "of the route"}}],
                    },
                }
            ],
    ),
    **{
        f"outcomes {name}": Case(
            provider,
            [
                *(request(path=path, spans=spans) for path, spans in PATHS),
                *(request(*GRPC, path=path, spans=spans) for path, spans in GRPC_PATHS),
            ],
            {"max_path_tag_length": 20, **SPAWN},
            routes=FAILING,
        )
        for name, provider in (("zipkin", zipkin()), ("otel", otel_grpc()))
    },
}  # fmt: skip


def _answer(request: RecordedRequest) -> Script:
    """As the path wants it."""
    last = request.target.rpartition("/")[2]
    if last in ("slow", "never"):
        return [Sleep(1.0 if last == "slow" else 3600.0)]
    if last.startswith("grpc-"):
        fields = [("content-type", "application/grpc"), ("grpc-status", last[5:]), ("grpc-message", "m")]
        return [Send(ok_response(b"", fields))]
    if last.isdecimal():
        return [Send(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % int(last))]
    return [Send(ok_response(b"hello\n", [(DECORATOR, "answered")] if request.values(DECORATOR) else ()))]


@dataclass(frozen=True)
class Pair:
    envoy: dict[str, list[Outcome]]
    ours: dict[str, list[Outcome]]


def _play(directory: Path, cases: Mapping[str, Case], **more: Any) -> Pair:
    envoy = require_envoy()
    stage = TracingStage(directory, cases)
    stage.backend.answer = _answer
    try:
        return Pair(stage.play(envoy, **more), stage.play(sidecar_command(), **more))
    finally:
        stage.close()


def _compare(pair: Pair, name: str, requests: Sequence[Request]) -> None:
    for (sent, spans), envoy, ours in zip(requests, pair.envoy[name], pair.ours[name], strict=True):
        assert len(envoy["spans"]) == spans, (sent, envoy)
        if envoy["told"].get("tracestate") == "":
            del envoy["told"]["tracestate"]  # an empty one is not sent here
        assert _flat(ours) == _flat(envoy), sent


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return _play(tmp_path_factory.mktemp("tracing"), CASES)


@pytest.mark.parametrize("name", CASES)
def test_same_as_envoy(pair: Pair, name: str) -> None:
    """Names, kinds, parents and tags of all spans, and the headers back and forth."""
    _compare(pair, name, CASES[name].requests)


def test_the_tracer_of_the_bootstrap(tmp_path: Path) -> None:
    case = Case(None, [request(*B3), request()])
    _compare(_play(tmp_path, {"only": case}, tracing={"http": zipkin()}), "only", case.requests)


def _flat(value: Any, at: str = "") -> dict[str, Any]:
    """The leaves by their paths: a difference is then seen at once."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {at: value}
    return {path: leaf for key, each in items for path, leaf in _flat(each, f"{at}/{key}").items()}


# Two sidecars


@pytest.fixture(scope="module")
def application() -> Iterator[Application]:
    created = Application()
    yield created
    created.close()


@pytest.fixture(scope="module")
def collectors() -> Iterator[Collectors]:
    created = Collectors()
    yield created
    created.close()


_ZIPKIN, _OTEL = zipkin(shared_span_context=False), otel_grpc()


@pytest.mark.parametrize(
    ("who", "provider", "spawn"),
    [
        *(("ours to ours", each, spawn) for each in (_ZIPKIN, _OTEL, otel_http()) for spawn in (False, True)),
        *((who, each, True) for who in ("envoy to ours", "ours to envoy") for each in (_ZIPKIN, _OTEL)),
    ],
)
def test_a_trace_crosses_two_sidecars(
    application: Application, collectors: Collectors, tmp_path: Path, who: str, provider: Json, spawn: bool
) -> None:
    """Each span is the child of the one before it, up to the application."""
    commands = {"envoy": require_envoy, "ours": sidecar_command}
    client, _, server = who.split(" ")
    tracing = {"random_sampling": {"value": 100}, "spawn_upstream_span": spawn, "provider": provider}
    collectors.forget()
    application.http.clear()
    pair = SidecarPair(
        commands[client](),
        commands[server](),
        Mesh(tmp_path),
        application,
        tmp_path,
        manager={"tracing": tracing},
        clusters=collectors.clusters(),
        runtime=RUNTIME,
    )
    try:
        assert get(("127.0.0.1", pair.http_port), "/").status == 200
        spans = collectors.wait(4 if spawn else 2)
    finally:
        pair.close()
    chain = _chain(spans)
    assert len(chain) == len(spans) == (4 if spawn else 2)
    assert len({span["trace"] for span in spans}) == 1
    assert [span["kind"] for span in chain] == (["SERVER", "CLIENT"] * 2 if spawn else ["CLIENT", "SERVER"])
    assert chain[0]["tags"]["guid:x-request-id"] == chain[-2 if spawn else -1]["tags"]["guid:x-request-id"]
    (seen,) = application.http.requests
    told = seen.values("traceparent") or seen.values("x-b3-spanid")
    assert chain[-1]["id"] in told[0]
    if has_istio_filters(commands[client]()) and has_istio_filters(commands[server]()):
        assert chain[0]["tags"]["istio.destination_workload"] == "ratings-v1"
        inbound = chain[2 if spawn else 1]
        assert inbound["tags"]["istio.source_workload"] == "productpage-v1"


@pytest.mark.parametrize("cut_off", [False, True])
def test_what_waits_is_sent_at_the_end(collectors: Collectors, tmp_path: Path, cut_off: bool) -> None:
    """Of requests that are over, and of one that the end of the proxy cuts off."""
    backend = HttpBackend(collectors.loop).start()
    backend.answer = _answer
    admin, port = free_ports(2)
    case = Case(_OTEL, ())
    later = {name: "3600000" if "interval" in name else "100" for name in RUNTIME}
    text = bootstrap(
        admin,
        [case.listener("in", port)],
        [cluster("app", backend.address), *collectors.clusters()],
        runtime=later,
    )
    collectors.forget()
    proxy = start_proxy(sidecar_command(), text, tmp_path, admin, drain_time_s=1)
    try:
        assert get(("127.0.0.1", port), "/").status == 200
        with RawClient(("127.0.0.1", port)) as client:
            if cut_off:
                client.send(b"GET /app/never HTTP/1.1\r\nhost: a\r\n\r\n")
                wait_until(lambda: len(backend.requests) == 2, timeout_s=5, what="the second request")
            assert collectors.spans == []
            proxy.terminate()
    finally:
        proxy.terminate()
        backend.stop()
    assert len(collectors.spans) == 1 + cut_off


def test_the_example_of_the_page(collectors: Collectors, tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "tracing.md").read_text(encoding="utf-8")
    example = page.partition("```yaml\n")[2].partition("```")[0]
    admin, port = free_ports(2)
    backend = HttpBackend(collectors.loop).start()
    addresses = {15000: admin, 15006: port, 8080: backend.address[1], 4317: collectors.otlp_grpc.address[1]}
    for known, ours in addresses.items():
        assert f"port_value: {known}}}" in example
        example = example.replace(f"port_value: {known}}}", f"port_value: {ours}}}")
    collectors.forget()
    proxy = start_proxy(sidecar_command(), example, tmp_path, admin)
    try:
        with RawClient(("127.0.0.1", port)) as client:
            asked = [("x-client-trace-id", "me"), ("x-tenant", "t")]
            assert client.request("GET", "/", asked, host="h").status == 200
    finally:
        proxy.terminate()
        backend.stop()
    span, upstream = _chain(collectors.spans)
    assert (span["name"], span["kind"]) == ("catalog.shop.svc.cluster.local:8080/*", "SERVER")
    assert (span["service"], span["tags"]["tenant"], span["tags"]["version"]) == (
        "catalog.shop",
        "t",
        "unknown",
    )
    assert (upstream["name"], upstream["kind"]) == ("router app egress", "CLIENT")
    (seen,) = backend.requests
    assert seen.values("traceparent") == [f"00-{span['trace']}-{upstream['id']}-01"]


def _chain(spans: Sequence[Span]) -> list[Span]:
    """From the root to the last child."""
    by_parent = {span["parent"]: span for span in spans}
    chain: list[Span] = []
    at = ""
    while at in by_parent:
        chain.append(by_parent[at])
        at = chain[-1]["id"]
    return chain
