"""Tracing: what is traced, how spans are named and tagged, and where they go (envoy.config.trace.v3, envoy.type.tracing.v3)."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from config.model.services import GrpcServiceSpec, HttpServiceSpec


class LiteralTag(msgspec.Struct, frozen=True):
    tag: str
    value: str


class EnvironmentTag(msgspec.Struct, frozen=True):
    """An environment variable of the proxy, read at start."""

    tag: str
    name: str
    default_value: str = ""


class RequestHeaderTag(msgspec.Struct, frozen=True):
    """The first value of a request header; `name` is lower case."""

    tag: str
    name: str
    default_value: str = ""


class MetadataSource(enum.Enum):
    REQUEST = "request"
    ROUTE = "route"
    CLUSTER = "cluster"
    HOST = "host"


class MetadataTag(msgspec.Struct, frozen=True):
    """What stands under `path` in the metadata namespace `key`."""

    tag: str
    source: MetadataSource
    key: str
    path: tuple[str, ...] = ()
    default_value: str = ""


class FormatTag(msgspec.Struct, frozen=True):
    """A format string (`%PROTOCOL%`)."""

    tag: str
    format: str


CustomTag: TypeAlias = LiteralTag | EnvironmentTag | RequestHeaderTag | MetadataTag | FormatTag


class OtelSampler(enum.Enum):
    """Who decides, of the requests that the connection manager would trace: the caller, nobody (all are), or the caller if there
    is one."""

    NONE = enum.auto()
    ALWAYS_ON = enum.auto()
    PARENT_BASED = enum.auto()


class OpenTelemetrySpec(msgspec.Struct, frozen=True):
    """`OpenTelemetryConfig`. One of the services is set, or none: then spans go nowhere, as in Envoy.

    `attributes` are those of the resource by configuration; `from_environment` adds `OTEL_RESOURCE_ATTRIBUTES`.
    `max_cache_size` spans wait at most.
    """

    grpc_service: GrpcServiceSpec | None = None
    http_service: HttpServiceSpec | None = None
    service_name: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    from_environment: bool = False
    sampler: OtelSampler = OtelSampler.NONE
    max_cache_size: int = 1024


class TraceContextOption(enum.Enum):
    USE_B3 = 0
    USE_B3_WITH_W3C_PROPAGATION = 1


class ZipkinSpec(msgspec.Struct, frozen=True):
    """`ZipkinConfig`, version 2 of the API as JSON. `split_spans`: every hop has spans of its own for both directions."""

    collector: HttpServiceSpec
    trace_id_128bit: bool = False
    shared_span_context: bool = True
    split_spans: bool = False
    trace_context: TraceContextOption = TraceContextOption.USE_B3


TracerSpec: TypeAlias = OpenTelemetrySpec | ZipkinSpec


class Sampling(msgspec.Struct, frozen=True):
    """Chances from 0.0 to 1.0: of a request with `x-client-trace-id`, of any other, and of those that would be traced."""

    client: float = 1.0
    random: float = 1.0
    overall: float = 1.0


class TracingSpec(msgspec.Struct, frozen=True):
    """`HttpConnectionManager.Tracing`. `provider` None: decisions are made and counted, but there are no spans.

    `operation` and `upstream_operation` are format strings for the names of spans, "" the built-in names.
    """

    provider: TracerSpec | None = None
    sampling: Sampling = Sampling()
    verbose: bool = False
    max_path_tag_length: int = 256
    spawn_upstream_span: bool = False
    custom_tags: tuple[CustomTag, ...] = ()
    operation: str = ""
    upstream_operation: str = ""


class RouteTracing(msgspec.Struct, frozen=True):
    """`route.v3.Tracing`: replaces the sampling of the connection manager; its tags come first, its operations if there are any."""

    sampling: Sampling = Sampling()
    custom_tags: tuple[CustomTag, ...] = ()
    operation: str = ""
    upstream_operation: str = ""


class Decorator(msgspec.Struct, frozen=True):
    """The name of a route's spans. `propagate`: the other side is told, to name its span as well."""

    operation: str
    propagate: bool = True
