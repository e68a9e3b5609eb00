"""Tracing of HTTP requests: connection managers, routes, and the tracers (envoy.config.trace.v3, envoy.type.tracing.v3)."""

from __future__ import annotations

from typing import Any, Final

from config.model.services import HttpServiceSpec
from config.model.tracing import (
    CustomTag,
    Decorator,
    EnvironmentTag,
    FormatTag,
    LiteralTag,
    MetadataSource,
    MetadataTag,
    OpenTelemetrySpec,
    OtelSampler,
    RequestHeaderTag,
    RouteTracing,
    Sampling,
    TraceContextOption,
    TracerSpec,
    TracingSpec,
    ZipkinSpec,
)
from config.proto.core import check_format, enum_of, translate_fraction, wrapped_bool, wrapped_int
from config.proto.fields import declare
from config.proto.path import Path
from config.proto.references import ClusterCheck, check_cluster
from config.proto.services import translate_grpc_service, translate_http_service
from config.proto.typed_config import ExtensionTable

_TRACE: Final = "envoy.config.trace.v3"
_HCM_TRACING: Final = (
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing"
)
_CUSTOM_TAG: Final = "envoy.type.tracing.v3.CustomTag"
_OTEL: Final = f"{_TRACE}.OpenTelemetryConfig"
_ZIPKIN: Final = f"{_TRACE}.ZipkinConfig"
_DETECTORS: Final = "envoy.extensions.tracers.opentelemetry.resource_detectors.v3"
_SAMPLERS: Final = "envoy.extensions.tracers.opentelemetry.samplers.v3"
_ENVIRONMENT: Final = f"{_DETECTORS}.EnvironmentResourceDetectorConfig"
_STATIC: Final = f"{_DETECTORS}.StaticConfigResourceDetectorConfig"
_ALWAYS_ON: Final = f"{_SAMPLERS}.AlwaysOnSamplerConfig"
_PARENT_BASED: Final = f"{_SAMPLERS}.ParentBasedSamplerConfig"

_ZIPKIN_TIMEOUT_S: Final = 5.0  # Envoy's `tracing.zipkin.request_timeout`
_HTTP_JSON: Final = 1

declare(
    _HCM_TRACING,
    "client_sampling random_sampling overall_sampling verbose max_path_tag_length custom_tags spawn_upstream_span "
    "operation upstream_operation",
    partly={"provider": "OpenTelemetry and Zipkin; with any other, or none, there are no spans"},
)
declare(
    "envoy.config.route.v3.Tracing",
    "client_sampling random_sampling overall_sampling custom_tags operation upstream_operation",
)
declare("envoy.config.route.v3.Decorator", "operation propagate")
declare(_CUSTOM_TAG, "tag literal environment request_header metadata value")
declare(f"{_CUSTOM_TAG}.Literal", "value")
declare(f"{_CUSTOM_TAG}.Environment", "name default_value")
declare(f"{_CUSTOM_TAG}.Header", "name default_value")
declare(
    f"{_CUSTOM_TAG}.Metadata",
    "metadata_key default_value",
    partly={"kind": "of a request there is none: the default value"},
)
declare("envoy.type.metadata.v3.MetadataKey", "key path")
declare("envoy.type.metadata.v3.MetadataKey.PathSegment", "key")
declare("envoy.type.metadata.v3.MetadataKind", "request route cluster host")
declare(f"{_TRACE}.Tracing", "http")
declare(f"{_TRACE}.Tracing.Http", "typed_config", no_effect={"name": "the type decides"})
declare(
    _OTEL,
    "grpc_service http_service service_name max_cache_size",
    partly={
        "resource_detectors": "environment and static configuration",
        "sampler": "always on, and parent based around always on",
    },
)
declare(_ENVIRONMENT)
declare(_STATIC, "attributes")
declare(_ALWAYS_ON)
declare(_PARENT_BASED, "wrapped_sampler")
declare(
    _ZIPKIN,
    "collector_cluster collector_endpoint collector_hostname collector_service trace_id_128bit "
    "shared_span_context split_spans_for_request trace_context_option",
    partly={"collector_endpoint_version": "HTTP_JSON"},
)


# Connection managers and routes


def translate_tracing(msg: Any, at: Path, default: TracerSpec | None) -> TracingSpec:
    """`default`: the tracer of the bootstrap, used without a `provider`."""
    provider = default
    if msg.HasField("provider"):
        provider = translate_tracer(msg.provider, at.field("provider"))
    return TracingSpec(
        provider=provider,
        sampling=Sampling(
            _percent(msg, "client_sampling", at),
            _percent(msg, "random_sampling", at),
            _percent(msg, "overall_sampling", at),
        ),
        verbose=msg.verbose,
        max_path_tag_length=wrapped_int(msg, "max_path_tag_length", 256),
        spawn_upstream_span=wrapped_bool(msg, "spawn_upstream_span", False),
        custom_tags=translate_custom_tags(msg.custom_tags, at.field("custom_tags")),
        operation=_format(msg.operation, at.field("operation")),
        upstream_operation=_format(msg.upstream_operation, at.field("upstream_operation")),
    )


def optional_route_tracing(msg: Any, at: Path) -> RouteTracing | None:
    if not msg.HasField("tracing"):
        return None
    tracing, tracing_at = msg.tracing, at.field("tracing")
    return RouteTracing(
        sampling=Sampling(
            _fraction(tracing, "client_sampling"),
            _fraction(tracing, "random_sampling"),
            _fraction(tracing, "overall_sampling"),
        ),
        custom_tags=translate_custom_tags(tracing.custom_tags, tracing_at.field("custom_tags")),
        operation=_format(tracing.operation, tracing_at.field("operation")),
        upstream_operation=_format(tracing.upstream_operation, tracing_at.field("upstream_operation")),
    )


def optional_decorator(msg: Any) -> Decorator | None:
    if not msg.HasField("decorator"):
        return None
    return Decorator(msg.decorator.operation, wrapped_bool(msg.decorator, "propagate", True))


def _percent(msg: Any, field: str, at: Path) -> float:
    if not msg.HasField(field):
        return 1.0
    return float(getattr(msg, field).value) / 100


def _fraction(msg: Any, field: str) -> float:
    return translate_fraction(getattr(msg, field)) if msg.HasField(field) else 1.0


def _format(text: str, at: Path) -> str:
    if text:
        check_format(text, at)
    return text


def translate_custom_tags(messages: Any, at: Path) -> tuple[CustomTag, ...]:
    tags = (_translate_tag(message, at.index(index)) for index, message in enumerate(messages))
    return tuple(tag for tag in tags if tag is not None)


def _translate_tag(msg: Any, at: Path) -> CustomTag | None:
    kind = msg.WhichOneof("type")
    if kind == "literal":
        return LiteralTag(msg.tag, msg.literal.value)
    if kind == "environment":
        return EnvironmentTag(msg.tag, msg.environment.name, msg.environment.default_value)
    if kind == "request_header":
        return RequestHeaderTag(msg.tag, msg.request_header.name.lower(), msg.request_header.default_value)
    if kind == "metadata":
        metadata = msg.metadata
        source = metadata.kind.WhichOneof("kind")
        if source is None:
            at.field("metadata").field("kind").error("must be set")
            return None
        path = tuple(segment.key for segment in metadata.metadata_key.path)
        return MetadataTag(
            msg.tag, MetadataSource(source), metadata.metadata_key.key, path, metadata.default_value
        )
    if kind == "value":
        return FormatTag(msg.tag, _format(msg.value, at.field("value")))
    return None  # reported by the rules


# Tracers


def translate_tracer(msg: Any, at: Path) -> TracerSpec | None:
    """A `Tracing.Http`; None: traces are not exported, of which there is a warning."""
    return TRACERS.translate(msg.typed_config, at.field("typed_config"))


def _translate_otel(msg: Any, at: Path) -> OpenTelemetrySpec:
    attributes: dict[str, str] = {}
    from_environment = False
    for index, detector in enumerate(msg.resource_detectors):
        item_at = at.item("resource_detectors", index).field("typed_config")
        found = RESOURCE_DETECTORS.translate(detector.typed_config, item_at)
        if found is not None:
            attributes.update(found)
            from_environment = from_environment or not found
    if msg.HasField("grpc_service") and msg.HasField("http_service"):
        at.field("http_service").error("cannot be set together with grpc_service", of_key=True)
    grpc = http = None
    if msg.HasField("grpc_service"):
        grpc = translate_grpc_service(msg.grpc_service, at.field("grpc_service"))
    if msg.HasField("http_service"):
        http = translate_http_service(msg.http_service, at.field("http_service"))
    sampler: OtelSampler | None = OtelSampler.NONE
    if msg.HasField("sampler"):
        sampler = SAMPLERS.translate(msg.sampler.typed_config, at.field("sampler").field("typed_config"))
    return OpenTelemetrySpec(
        grpc_service=grpc,
        http_service=http,
        service_name=msg.service_name,
        attributes=tuple(attributes.items()),
        from_environment=from_environment,
        sampler=sampler or OtelSampler.NONE,
        max_cache_size=wrapped_int(msg, "max_cache_size", 1024),
    )


def _translate_static(msg: Any, at: Path) -> dict[str, str]:
    if not msg.attributes:
        at.field("attributes").error("must not be empty")
    return {key: msg.attributes[key] for key in sorted(msg.attributes)}


def _translate_parent_based(msg: Any, at: Path) -> OtelSampler:
    wrapped_at = at.field("wrapped_sampler").field("typed_config")
    wrapped = SAMPLERS.translate(msg.wrapped_sampler.typed_config, wrapped_at)
    if wrapped is OtelSampler.PARENT_BASED:
        wrapped_at.error("refused: only always on is supported inside of a parent based sampler")
    return OtelSampler.PARENT_BASED


def _translate_zipkin(msg: Any, at: Path) -> ZipkinSpec | None:
    if msg.collector_endpoint_version != _HTTP_JSON and not msg.HasField("collector_service"):
        at.field("collector_endpoint_version").error("refused: only HTTP_JSON is supported")
    if msg.HasField("collector_service"):
        collector = translate_http_service(msg.collector_service, at.field("collector_service"))
    else:
        for field in ("collector_cluster", "collector_endpoint"):
            if not getattr(msg, field):
                at.field(field).error("must not be empty")
        check_cluster(msg.collector_cluster, at.field("collector_cluster"), ClusterCheck.ERROR)
        collector = HttpServiceSpec(
            msg.collector_cluster,
            msg.collector_hostname or msg.collector_cluster,
            msg.collector_endpoint,
            _ZIPKIN_TIMEOUT_S,
        )
    return ZipkinSpec(
        collector=collector,
        trace_id_128bit=msg.trace_id_128bit,
        shared_span_context=wrapped_bool(msg, "shared_span_context", True),
        split_spans=msg.split_spans_for_request,
        trace_context=enum_of(TraceContextOption, msg.trace_context_option),
    )


#: Attributes that are known; none for those of the environment, which is not read here.
RESOURCE_DETECTORS: Final = ExtensionTable[dict[str, str]](
    "a resource detector",
    {_ENVIRONMENT: lambda msg, at: {}, _STATIC: _translate_static},
    skip_others="its attributes are not added",
)
SAMPLERS: Final = ExtensionTable[OtelSampler](
    "a sampler",
    {_ALWAYS_ON: lambda msg, at: OtelSampler.ALWAYS_ON, _PARENT_BASED: _translate_parent_based},
)
TRACERS: Final = ExtensionTable[TracerSpec](
    "a tracer",
    {_OTEL: _translate_otel, _ZIPKIN: _translate_zipkin},
    skip_others="traces are exported to OpenTelemetry and Zipkin collectors only; requests are not traced",
)
