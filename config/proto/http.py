"""The HTTP connection manager and the table of HTTP filters."""

from __future__ import annotations

from typing import Any, Final

from config.model.access_log import AccessLogOptions
from config.model.http import (
    CodecType,
    ForwardClientCertDetails,
    HeadersWithUnderscoresAction,
    Http1Options,
    HttpConnectionManagerSpec,
    HttpFilterConfig,
    HttpFilterSpec,
    PathWithEscapedSlashesAction,
    RequestIdSpec,
    RouterSpec,
    ServerHeaderTransformation,
    SetCurrentClientCertDetails,
    UpgradeConfig,
)
from config.model.route import RouteConfiguration
from config.model.tracing import TracingSpec
from config.proto import grpc, rbac
from config.proto import istio_extensions as istio
from config.proto.access_log import translate_access_logs
from config.proto.core import (
    enum_of,
    positive_seconds,
    seconds,
    translate_cidrs,
    wrapped_bool,
    wrapped_int,
)
from config.proto.fields import declare
from config.proto.http2 import translate_http2_options
from config.proto.path import Path
from config.proto.route import translate_route_configuration, translate_upgrades
from config.proto.tracing import translate_tracing
from config.proto.typed_config import ExtensionTable

HTTP_CONNECTION_MANAGER: Final = (
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
_PACKAGE: Final = "envoy.extensions.filters.network.http_connection_manager.v3"
_ROUTER: Final = "envoy.extensions.filters.http.router.v3.Router"
_UUID: Final = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"
_INVALID_ENDS_CONNECTION: Final = "a message that is not valid ends its connection"

declare(
    HTTP_CONNECTION_MANAGER,
    "stat_prefix route_config http_filters common_http_protocol_options http_protocol_options http2_protocol_options "
    "server_name server_header_transformation max_request_headers_kb stream_idle_timeout "
    "request_timeout request_headers_timeout drain_timeout delayed_close_timeout access_log "
    "access_log_options access_log_flush_interval flush_access_log_on_new_request "
    "use_remote_address xff_num_trusted_hops internal_address_config skip_xff_append via "
    "generate_request_id preserve_external_request_id always_set_request_id_in_response "
    "forward_client_cert_details set_current_client_cert_details proxy_100_continue upgrade_configs "
    "normalize_path merge_slashes path_with_escaped_slashes_action strip_matching_host_port "
    "strip_any_host_port strip_trailing_host_dot append_x_forwarded_port tracing",
    partly={
        "codec_type": "AUTO, HTTP1, HTTP2",
        "stream_error_on_invalid_http_message": "for HTTP/2; an HTTP/1 message that is not valid ends its connection",
        "request_id_extension": "the UUID extension only",
    },
    no_effect={
        "http3_protocol_options": "HTTP/3 is not served",
        "http1_safe_max_connection_duration": "connections are always closed this way",
        "add_proxy_protocol_connection_state": "",
    },
    ignored={
        "add_user_agent": "headers stay as they are",
        "stream_flush_timeout": "the stream idle timeout is used",
        "represent_ipv4_remote_address_as_ipv4_mapped_ipv6": "",
        "proxy_status_config": "no Proxy-Status header is written",
        "append_local_overload": "",
    },
    refused={
        "rds": "routes by discovery need a control plane; give them as route_config",
        "scoped_routes": "",
        "scheme_header_transformation": "",
        "original_ip_detection_extensions": "",
        "early_header_mutation_extensions": "",
        "forward_client_cert_matcher": "",
        "local_reply_config": "local replies cannot be changed",
        "path_normalization_options": "",
        "typed_header_validation_config": "",
    },
)
declare(f"{HTTP_CONNECTION_MANAGER}.InternalAddressConfig", "cidr_ranges", refused={"unix_sockets": ""})
declare(f"{HTTP_CONNECTION_MANAGER}.SetCurrentClientCertDetails", "subject cert chain dns uri")
declare(
    f"{HTTP_CONNECTION_MANAGER}.HcmAccessLogOptions",
    "access_log_flush_interval flush_access_log_on_new_request flush_log_on_tunnel_successfully_established",
)
declare(
    f"{HTTP_CONNECTION_MANAGER}.UpgradeConfig",
    "upgrade_type enabled",
    refused={"filters": "an upgrade passes the filters of its connection manager"},
)
declare(
    f"{_PACKAGE}.HttpFilter",
    "name typed_config is_optional disabled",
    refused={"config_discovery": "extension configuration by discovery needs a control plane"},
)
declare(f"{_PACKAGE}.RequestIDExtension", "typed_config")
declare(_UUID, "pack_trace_reason use_request_id_for_trace_sampling")
declare(
    "envoy.config.core.v3.HttpProtocolOptions",
    "idle_timeout max_connection_duration max_headers_count max_stream_duration "
    "headers_with_underscores_action max_requests_per_connection max_response_headers_kb",
)
declare(
    "envoy.config.core.v3.Http1ProtocolOptions",
    "allow_absolute_url accept_http_10 default_host_for_http_10 enable_trailers",
    no_effect={"use_balsa_parser": "this proxy has its own parser"},
    ignored={
        "header_key_format": "header names are written in lower case",
        "allow_chunked_length": "a message with both lengths is never accepted",
        "override_stream_error_on_invalid_http_message": _INVALID_ENDS_CONNECTION,
    },
    refused="send_fully_qualified_url allow_custom_methods ignore_http_11_upgrade",
)
declare(
    _ROUTER,
    "suppress_envoy_headers respect_expected_rq_timeout start_child_span",
    no_effect={
        "suppress_grpc_request_failure_code_stats": "",
        "dynamic_stats": "responses are always counted",
    },
    ignored={"upstream_log": "", "upstream_log_options": ""},
    refused="strict_check_headers upstream_http_filters",
)


def translate_router(msg: Any, at: Path) -> RouterSpec:
    return RouterSpec(
        start_child_span=msg.start_child_span,
        suppress_envoy_headers=msg.suppress_envoy_headers,
        respect_expected_rq_timeout=msg.respect_expected_rq_timeout,
    )


HTTP_FILTERS: Final = ExtensionTable[HttpFilterSpec](
    "an HTTP filter",
    {
        _ROUTER: translate_router,
        istio.PEER_METADATA: istio.translate_peer_metadata,
        istio.STATS: istio.translate_istio_stats,
        istio.ALPN: istio.translate_alpn_override,
        grpc.GRPC_STATS: grpc.translate_grpc_stats,
        grpc.GRPC_WEB: grpc.translate_grpc_web,
        rbac.RBAC: rbac.translate_rbac,
    },
    skipped={
        "envoy.extensions.filters.http.compressor.v3.Compressor": "responses are not compressed",
    },
    skipped_if_empty={
        "envoy.extensions.filters.http.cors.v3.Cors": "without configuration the CORS filter does nothing",
        "envoy.extensions.filters.http.fault.v3.HTTPFault": "without configuration the fault filter does nothing",
    },
)


def _translate_filters(messages: Any, at: Path) -> tuple[HttpFilterConfig, ...]:
    before = len(at.context.problems.errors)
    filters: list[HttpFilterConfig] = []
    router_at: list[Path] = []
    for index, message in enumerate(messages):
        item_at = at.index(index)
        if message.HasField("config_discovery"):
            continue
        spec = HTTP_FILTERS.translate(
            message.typed_config, item_at.field("typed_config"), optional=message.is_optional
        )
        if spec is None:
            continue
        if isinstance(spec, RouterSpec):
            router_at.append(item_at)
            if message.disabled:
                item_at.field("disabled").error("the router cannot be disabled")
            if index != len(messages) - 1:
                item_at.error("the router must be the last HTTP filter")
        filters.append(HttpFilterConfig(message.name, spec, message.disabled))
    if not router_at and len(at.context.problems.errors) == before:
        at.error("the last HTTP filter must be the router (envoy.filters.http.router)")
    return tuple(filters)


def translate_http1_options(msg: Any, at: Path) -> Http1Options:
    return Http1Options(
        allow_absolute_url=wrapped_bool(msg, "allow_absolute_url", True),
        accept_http_10=msg.accept_http_10,
        default_host_for_http_10=msg.default_host_for_http_10,
        enable_trailers=msg.enable_trailers,
    )


def _translate_client_cert_details(msg: Any) -> SetCurrentClientCertDetails:
    return SetCurrentClientCertDetails(
        subject=wrapped_bool(msg, "subject", False), cert=msg.cert, chain=msg.chain, dns=msg.dns, uri=msg.uri
    )


def _optional_bool(msg: Any, field: str) -> bool | None:
    return wrapped_bool(msg, field, False) if msg.HasField(field) else None


def _codec_type(msg: Any, at: Path) -> CodecType:
    codec = enum_of(CodecType, msg.codec_type)
    if codec is CodecType.HTTP3:
        at.field("codec_type").error("refused: HTTP/3 is not supported")
    return codec


def _translate_uuid(msg: Any, at: Path) -> RequestIdSpec:
    return RequestIdSpec(
        wrapped_bool(msg, "pack_trace_reason", True),
        wrapped_bool(msg, "use_request_id_for_trace_sampling", True),
    )


REQUEST_IDS: Final = ExtensionTable[RequestIdSpec]("a request id extension", {_UUID: _translate_uuid})


def _translate_request_id(msg: Any, at: Path) -> RequestIdSpec:
    if not msg.request_id_extension.typed_config.type_url:
        return RequestIdSpec()
    typed_at = at.field("request_id_extension").field("typed_config")
    return REQUEST_IDS.translate(msg.request_id_extension.typed_config, typed_at) or RequestIdSpec()


def _escaped_slashes(number: int) -> PathWithEscapedSlashesAction:
    return enum_of(PathWithEscapedSlashesAction, number or 1)


def _access_log_options(msg: Any, at: Path) -> AccessLogOptions:
    """`access_log_options`, else the older fields that say the same."""
    if not msg.HasField("access_log_options"):
        interval_s = positive_seconds(msg, "access_log_flush_interval", None, at)
        return AccessLogOptions(msg.flush_access_log_on_new_request, False, interval_s)
    options, options_at = msg.access_log_options, at.field("access_log_options")
    for field in ("flush_access_log_on_new_request", "access_log_flush_interval"):
        if msg.HasField(field) if field.endswith("interval") else getattr(msg, field):
            at.field(field).error("cannot be set together with access_log_options", of_key=True)
    return AccessLogOptions(
        options.flush_access_log_on_new_request,
        options.flush_log_on_tunnel_successfully_established,
        positive_seconds(options, "access_log_flush_interval", None, options_at),
    )


def _optional_routes(msg: Any, at: Path) -> RouteConfiguration:
    if not msg.HasField("route_config"):
        return RouteConfiguration()
    return translate_route_configuration(msg.route_config, at.field("route_config"))


def _optional_tracing(msg: Any, at: Path) -> TracingSpec | None:
    if not msg.HasField("tracing"):
        return None
    return translate_tracing(msg.tracing, at.field("tracing"), at.context.tracer)


def translate_http_connection_manager(msg: Any, at: Path) -> HttpConnectionManagerSpec:
    common, common_at = msg.common_http_protocol_options, at.field("common_http_protocol_options")
    if msg.strip_matching_host_port and msg.strip_any_host_port:
        at.field("strip_any_host_port").error("cannot be set together with strip_matching_host_port")
    return HttpConnectionManagerSpec(
        stat_prefix=msg.stat_prefix,
        route_config=_optional_routes(msg, at),
        http_filters=_translate_filters(msg.http_filters, at.field("http_filters")),
        codec_type=_codec_type(msg, at),
        idle_timeout_s=positive_seconds(common, "idle_timeout", 3600.0, common_at),
        stream_idle_timeout_s=positive_seconds(msg, "stream_idle_timeout", 300.0, at),
        request_timeout_s=positive_seconds(msg, "request_timeout", None, at),
        request_headers_timeout_s=positive_seconds(msg, "request_headers_timeout", None, at),
        max_stream_duration_s=positive_seconds(common, "max_stream_duration", None, common_at),
        max_connection_duration_s=positive_seconds(common, "max_connection_duration", None, common_at),
        max_requests_per_connection=wrapped_int(common, "max_requests_per_connection", 0),
        drain_timeout_s=max(0.0, seconds(msg, "drain_timeout", 5.0)),
        delayed_close_timeout_s=positive_seconds(msg, "delayed_close_timeout", 1.0, at),
        max_request_headers_kb=wrapped_int(msg, "max_request_headers_kb", 60),
        max_headers_count=wrapped_int(common, "max_headers_count", 100),
        headers_with_underscores_action=enum_of(
            HeadersWithUnderscoresAction, common.headers_with_underscores_action
        ),
        http2=translate_http2_options(
            msg.http2_protocol_options,
            at.field("http2_protocol_options"),
            stream_errors=_optional_bool(msg, "stream_error_on_invalid_http_message"),
        ),
        http1=translate_http1_options(msg.http_protocol_options, at.field("http_protocol_options")),
        use_remote_address=wrapped_bool(msg, "use_remote_address", False),
        xff_num_trusted_hops=msg.xff_num_trusted_hops,
        skip_xff_append=msg.skip_xff_append,
        append_x_forwarded_port=msg.append_x_forwarded_port,
        internal_address_ranges=translate_cidrs(
            msg.internal_address_config.cidr_ranges, at.field("internal_address_config").field("cidr_ranges")
        ),
        via=msg.via,
        server_name=msg.server_name or "envoy",
        server_header_transformation=enum_of(ServerHeaderTransformation, msg.server_header_transformation),
        generate_request_id=wrapped_bool(msg, "generate_request_id", True),
        preserve_external_request_id=msg.preserve_external_request_id,
        always_set_request_id_in_response=msg.always_set_request_id_in_response,
        forward_client_cert_details=enum_of(ForwardClientCertDetails, msg.forward_client_cert_details),
        set_current_client_cert_details=_translate_client_cert_details(msg.set_current_client_cert_details),
        proxy_100_continue=msg.proxy_100_continue,
        normalize_path=wrapped_bool(msg, "normalize_path", False),
        merge_slashes=msg.merge_slashes,
        path_with_escaped_slashes_action=_escaped_slashes(msg.path_with_escaped_slashes_action),
        strip_matching_host_port=msg.strip_matching_host_port,
        strip_any_host_port=msg.strip_any_host_port,
        strip_trailing_host_dot=msg.strip_trailing_host_dot,
        upgrade_configs=tuple(
            UpgradeConfig(kind, enabled)
            for kind, enabled in translate_upgrades(msg.upgrade_configs, at.field("upgrade_configs")).items()
        ),
        request_id=_translate_request_id(msg, at),
        tracing=_optional_tracing(msg, at),
        access_log=translate_access_logs(msg.access_log, at.field("access_log")),
        access_log_options=_access_log_options(msg, at),
    )
