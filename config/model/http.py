"""The HTTP connection manager and HTTP filters (envoy.extensions.filters.network.http_connection_manager.v3, filters.http.*)."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from config.model.access_log import LOGGED_AT_THE_END, AccessLogOptions, AccessLogSpec
from config.model.core import CidrRange
from config.model.grpc import GrpcStatsSpec, GrpcWebSpec
from config.model.http2 import Http2Options
from config.model.istio import AlpnOverrideSpec, IstioStatsSpec, PeerMetadataSpec
from config.model.rbac import RbacSpec
from config.model.route import RouteConfiguration
from config.model.tracing import TracingSpec


class CodecType(enum.Enum):
    AUTO = 0
    HTTP1 = 1
    HTTP2 = 2
    HTTP3 = 3


class ServerHeaderTransformation(enum.Enum):
    OVERWRITE = 0
    APPEND_IF_ABSENT = 1
    PASS_THROUGH = 2


class ForwardClientCertDetails(enum.Enum):
    SANITIZE = 0
    FORWARD_ONLY = 1
    APPEND_FORWARD = 2
    SANITIZE_SET = 3
    ALWAYS_FORWARD_ONLY = 4


class SetCurrentClientCertDetails(msgspec.Struct, frozen=True):
    subject: bool = False
    cert: bool = False
    chain: bool = False
    dns: bool = False
    uri: bool = False


class PathWithEscapedSlashesAction(enum.Enum):
    KEEP_UNCHANGED = 1  # also IMPLEMENTATION_SPECIFIC_DEFAULT
    REJECT_REQUEST = 2
    UNESCAPE_AND_REDIRECT = 3
    UNESCAPE_AND_FORWARD = 4


class HeadersWithUnderscoresAction(enum.Enum):
    ALLOW = 0
    REJECT_REQUEST = 1
    DROP_HEADER = 2


class Http1Options(msgspec.Struct, frozen=True):
    """`Http1ProtocolOptions` of a listener."""

    allow_absolute_url: bool = True
    accept_http_10: bool = False
    default_host_for_http_10: str = ""
    enable_trailers: bool = False


class UpgradeConfig(msgspec.Struct, frozen=True):
    """`upgrade_type` is lower case (`websocket`, `connect`)."""

    upgrade_type: str
    enabled: bool = True


class RequestIdSpec(msgspec.Struct, frozen=True):
    """`UuidRequestIdConfig`: whether the verdict of tracing stands in the request id, and whether the id has a say in it."""

    pack_trace_reason: bool = True
    use_request_id_for_trace_sampling: bool = True


class RouterSpec(msgspec.Struct, frozen=True):
    """`envoy.extensions.filters.http.router.v3.Router`. `start_child_span`: each attempt has a span of its own."""

    start_child_span: bool = False
    suppress_envoy_headers: bool = False
    respect_expected_rq_timeout: bool = False


HttpFilterSpec: TypeAlias = (
    RouterSpec | PeerMetadataSpec | IstioStatsSpec | AlpnOverrideSpec | GrpcStatsSpec | GrpcWebSpec | RbacSpec
)


class HttpFilterConfig(msgspec.Struct, frozen=True):
    """A filter in its chain: the configured name (used by per-route configuration) and its spec.

    `disabled`: off, except on routes that name it.
    """

    name: str
    spec: HttpFilterSpec
    disabled: bool = False


class HttpConnectionManagerSpec(msgspec.Struct, frozen=True):
    """`HttpConnectionManager`. Timeouts: None means off.

    Defaults are Envoy's: connection idle 1 h, stream idle 5 min, request and request headers off, drain 5 s, delayed close 1 s.
    """

    stat_prefix: str
    route_config: RouteConfiguration
    http_filters: tuple[HttpFilterConfig, ...]
    codec_type: CodecType = CodecType.AUTO
    idle_timeout_s: float | None = 3600.0
    stream_idle_timeout_s: float | None = 300.0
    request_timeout_s: float | None = None
    request_headers_timeout_s: float | None = None
    max_stream_duration_s: float | None = None
    max_connection_duration_s: float | None = None
    max_requests_per_connection: int = 0
    drain_timeout_s: float = 5.0
    delayed_close_timeout_s: float | None = 1.0
    max_request_headers_kb: int = 60
    max_headers_count: int = 100
    headers_with_underscores_action: HeadersWithUnderscoresAction = HeadersWithUnderscoresAction.ALLOW
    http1: Http1Options = Http1Options()
    http2: Http2Options = Http2Options()
    use_remote_address: bool = False
    xff_num_trusted_hops: int = 0
    skip_xff_append: bool = False
    append_x_forwarded_port: bool = False
    internal_address_ranges: tuple[CidrRange, ...] = ()
    via: str = ""
    server_name: str = "envoy"
    server_header_transformation: ServerHeaderTransformation = ServerHeaderTransformation.OVERWRITE
    generate_request_id: bool = True
    preserve_external_request_id: bool = False
    always_set_request_id_in_response: bool = False
    forward_client_cert_details: ForwardClientCertDetails = ForwardClientCertDetails.SANITIZE
    set_current_client_cert_details: SetCurrentClientCertDetails = SetCurrentClientCertDetails()
    proxy_100_continue: bool = False
    normalize_path: bool = False
    merge_slashes: bool = False
    path_with_escaped_slashes_action: PathWithEscapedSlashesAction = (
        PathWithEscapedSlashesAction.KEEP_UNCHANGED
    )
    strip_matching_host_port: bool = False
    strip_any_host_port: bool = False
    strip_trailing_host_dot: bool = False
    upgrade_configs: tuple[UpgradeConfig, ...] = ()
    request_id: RequestIdSpec = RequestIdSpec()
    tracing: TracingSpec | None = None
    access_log: tuple[AccessLogSpec, ...] = ()
    access_log_options: AccessLogOptions = LOGGED_AT_THE_END
