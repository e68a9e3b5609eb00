"""Collectors and proxies that trace, and spans in a form that two proxies can be compared by."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from tests.support.backends import HttpBackend, LoopThread
from tests.support.bootstraps import (
    Json,
    bootstrap,
    cluster,
    http_filter_chain,
    listener,
    route_config,
    route_to,
)
from tests.support.collectors import Collector, OtlpGrpcCollector, OtlpHttpCollector, ZipkinCollector
from tests.support.http_client import RawClient
from tests.support.ports import free_ports
from tests.support.process import ProxyCommand, start_proxy, wait_until

_WAIT_S = 5.0
_TRACE = "type.googleapis.com/envoy.config.trace.v3."

#: Exports leave at once.
RUNTIME = {
    f"tracing.{tracer}.{name}": value
    for tracer in ("opentelemetry", "zipkin")
    for name, value in (("min_flush_spans", "1"), ("flush_interval_ms", "100"))
}

#: A span as plain values: name, kind, ids and tags; without times.
Span: TypeAlias = dict[str, Any]


def zipkin(**fields: Any) -> Json:
    """A provider; collectors are clusters named after their protocol."""
    return _provider(
        "ZipkinConfig",
        collector_cluster="zipkin",
        collector_endpoint="/api/v2/spans",
        collector_endpoint_version="HTTP_JSON",
        **fields,
    )


def otel_grpc(**fields: Any) -> Json:
    service = {"envoy_grpc": {"cluster_name": "otlp_grpc"}, "timeout": "2s"}
    return _provider("OpenTelemetryConfig", service_name="svc", grpc_service=service, **fields)


def otel_http(**fields: Any) -> Json:
    uri = {"uri": "http://otel:4318/v1/traces", "cluster": "otlp_http", "timeout": "2s"}
    return _provider("OpenTelemetryConfig", service_name="svc", http_service={"http_uri": uri}, **fields)


def _provider(kind: str, **fields: Any) -> Json:
    return {"name": kind, "typed_config": {"@type": _TRACE + kind, **fields}}


class Collectors:
    """One of each kind."""

    def __init__(self) -> None:
        self.loop = LoopThread()
        (port,) = free_ports(1)
        self.zipkin = ZipkinCollector(self.loop)
        self.otlp_http = OtlpHttpCollector(self.loop)
        self.otlp_grpc = OtlpGrpcCollector(port)
        self._all: tuple[Collector, ...] = (self.zipkin, self.otlp_http, self.otlp_grpc)

    def clusters(self) -> list[Json]:
        return [
            cluster("zipkin", self.zipkin.address),
            cluster("otlp_http", self.otlp_http.address),
            cluster("otlp_grpc", self.otlp_grpc.address, http2_protocol_options={}),
        ]

    @property
    def spans(self) -> list[Span]:
        """All so far."""
        return [
            *map(_of_zipkin, self.zipkin.spans),
            *(_of_otlp(*each) for each in (*self.otlp_http.spans, *self.otlp_grpc.spans)),
        ]

    def wait(self, count: int) -> list[Span]:
        """All, once there are so many. Raises TimeoutError."""
        wait_until(lambda: len(self.spans) >= count, timeout_s=_WAIT_S, what=f"{count} spans")
        return self.spans

    def forget(self) -> None:
        for collector in self._all:
            collector.forget()

    def close(self) -> None:
        self.otlp_grpc.stop()
        self.zipkin.backend.stop()
        self.otlp_http.backend.stop()
        self.loop.close()


def _of_zipkin(span: Mapping[str, Any]) -> Span:
    return {
        "name": span["name"],
        "kind": span["kind"],
        "trace": span["traceId"],
        "id": span["id"],
        "parent": span.get("parentId", ""),
        "tags": dict(span["tags"]),
        "shared": span.get("shared", False),
        "service": span["localEndpoint"]["serviceName"],
        "events": [each["value"] for each in span["annotations"]],
    }


def _of_otlp(span: Any, resource: Any) -> Span:
    return {
        "name": span.name,
        "kind": {2: "SERVER", 3: "CLIENT"}[span.kind],
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "tags": {each.key: each.value.string_value for each in span.attributes},
        "status": span.status.code,
        "state": span.trace_state,
        "flags": span.SerializeToString().rpartition(b"\x85\x01")[2][:4].hex(),
        "service": next(
            each.value.string_value for each in resource.attributes if each.key == "service.name"
        ),
        "events": [each.name for each in span.events],
    }


#: What became of one request: `status`, `told` and `answer` (tracing headers back and forth), `spans`.
Outcome: TypeAlias = dict[str, Any]

_TRACING_HEADERS = re.compile(
    r"x-b3-.*|b3|traceparent|tracestate|x-request-id|x-client-trace-id|x-envoy-(decorator|force).*"
)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{16}")
_ADDRESS = re.compile(r"127\.0\.0\.1:\d{3,}")


class Names:
    """Replaces what is random by what it stands for, in the order of appearance; what the client sent stays."""

    def __init__(self, known: str) -> None:
        self._known = known
        self._names: dict[str, str] = {}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, str):
            value = _UUID.sub(
                lambda found: found[0] if found[0] in self._known else f"uuid {found[1]}", value
            )
            value = _ADDRESS.sub("address", value)
            return _ID.sub(self._name, value)
        if isinstance(value, dict):
            return {key: self(each) for key, each in value.items()}
        return [self(each) for each in value] if isinstance(value, list) else value

    def _name(self, found: re.Match[str]) -> str:
        text = found[0]
        if text in self._known or not text.strip("0"):
            return text
        return self._names.setdefault(text, f"id {len(self._names)} of {len(text)}")


@dataclass(frozen=True)
class Case:
    """Requests to one connection manager, each with the number of spans that it makes.

    `tracing` goes into its tracing, `manager` into the rest of it.
    """

    provider: Json | None
    requests: Sequence[tuple[Mapping[str, Any], int]]
    tracing: Json = field(default_factory=dict)
    direction: str = "INBOUND"
    routes: Sequence[Json] = ()
    manager: Json = field(default_factory=dict)

    def listener(self, name: str, port: int) -> Json:
        tracing = {"random_sampling": {"value": 100}, **self.tracing}
        if self.provider is not None:
            tracing["provider"] = self.provider
        routes = route_config(*(self.routes or [route_to("app")]))
        chain = http_filter_chain(routes, stat_prefix="in", tracing=tracing, **self.manager)
        return listener(name, port, chain, traffic_direction=self.direction)


class TracingStage:
    """Plays all cases, each with a listener of its own, to one proxy after the other, with the same backend and collectors."""

    def __init__(self, directory: Path, cases: Mapping[str, Case]) -> None:
        self.directory = directory
        self.collectors = Collectors()
        self.backend = HttpBackend(self.collectors.loop).start()
        self._cases = cases
        self._admin, self._closed, *ports = free_ports(2 + len(cases))
        self._ports = dict(zip(cases, ports, strict=True))

    def close(self) -> None:
        self.backend.stop()
        self.collectors.close()

    def play(self, command: ProxyCommand, **more: Any) -> dict[str, list[Outcome]]:
        """What becomes of each request; `more` goes into the bootstrap."""
        text = bootstrap(
            self._admin,
            [case.listener(name, self._ports[name]) for name, case in self._cases.items()],
            [
                cluster("app", self.backend.address),
                cluster("closed", ("127.0.0.1", self._closed)),
                *self.collectors.clusters(),
            ],
            node={"id": "node-1", "cluster": "svc", "locality": {"zone": "z1"}},
            runtime=RUNTIME,
            **more,
        )
        proxy = start_proxy(command, text, self.directory, self._admin)
        try:
            return {
                name: [self._request(self._ports[name], *each) for each in case.requests]
                for name, case in self._cases.items()
            }
        finally:
            proxy.terminate()

    def _request(self, port: int, fields: Mapping[str, Any], count: int) -> Outcome:
        self.backend.clear()
        self.collectors.forget()
        headers = list(fields.get("headers", ()))
        with RawClient(("127.0.0.1", port)) as client:
            response = client.request(
                fields.get("method", "GET"),
                fields.get("path", "/"),
                headers,
                fields.get("body"),
                host="h.example",
            )
        told = self.backend.requests[-1].fields() if self.backend.requests else []
        with contextlib.suppress(TimeoutError):  # whoever compares sees what is missing
            self.collectors.wait(count)
        names = Names(repr(headers))
        pairs = [(name.decode().lower(), value.decode()) for name, value in response.headers]
        found: Outcome = names(
            {
                "status": response.status,
                "spans": sorted(
                    self.collectors.spans, key=lambda span: (span["kind"] == "CLIENT", span["name"])
                ),
                "told": _tracing(told),
                "answer": _tracing(pairs),
            }
        )
        return found


def _tracing(fields: Sequence[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in sorted(fields) if _TRACING_HEADERS.fullmatch(name)}
