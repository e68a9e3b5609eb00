"""Routes (envoy.config.route.v3)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from config.model.core import (
    EMPTY_METADATA,
    NO_MUTATIONS,
    DataSource,
    HeaderMutations,
    Metadata,
    Percent,
    RoutingPriority,
)
from config.model.matching import HeaderMatcher, QueryParameterMatcher
from config.model.rbac import RbacSpec
from config.model.tracing import Decorator, RouteTracing


class FilterOverride(msgspec.Struct, frozen=True):
    """What a route says of one HTTP filter: off, or (unless None) with another configuration."""

    disabled: bool = False
    spec: RbacSpec | None = None


#: `typed_per_filter_config` by the names of the filters. The most specific level that names a filter counts alone.
FilterOverrides: TypeAlias = Mapping[str, FilterOverride]


class PathMatchKind(enum.Enum):
    PREFIX = enum.auto()
    PATH = enum.auto()  # exact
    PATH_SEPARATED_PREFIX = enum.auto()
    SAFE_REGEX = enum.auto()  # whole path without query
    CONNECT = enum.auto()


class RouteMatch(msgspec.Struct, frozen=True):
    kind: PathMatchKind
    path: str = ""
    case_sensitive: bool = True
    headers: tuple[HeaderMatcher, ...] = ()
    query_parameters: tuple[QueryParameterMatcher, ...] = ()
    runtime_fraction: Percent | None = None
    grpc: bool = False


class RegexRewrite(msgspec.Struct, frozen=True):
    pattern: str
    substitution: str  # RE2 form: \1


class WeightedCluster(msgspec.Struct, frozen=True):
    name: str
    weight: int
    mutations: HeaderMutations = NO_MUTATIONS
    host_rewrite_literal: str = ""
    metadata_match: Metadata | None = None
    filter_overrides: FilterOverrides = msgspec.field(default_factory=dict)


class RetryPolicy(msgspec.Struct, frozen=True):
    """Only what a static sidecar needs now: conditions (`reset-before-request`, `connect-failure`, ...) and the count."""

    retry_on: tuple[str, ...] = ()
    num_retries: int = 1
    per_try_timeout_s: float | None = None
    retriable_status_codes: tuple[int, ...] = ()


class ConnectConfig(msgspec.Struct, frozen=True):
    """CONNECT ends here and goes on as TCP; `allow_post`: a POST may stand in for it."""

    allow_post: bool = False


class RouteAction(msgspec.Struct, frozen=True):
    """`RouteAction`. One of `cluster`, `cluster_header`, `weighted_clusters` is set.

    `timeout_s` None: no timeout (`0s`); absent in the message means 15 s. `idle_timeout_s` None: the connection manager's
    stream idle timeout; 0.0: off for this route. `grpc_timeout_max_s` None: `grpc-timeout` means nothing; 0.0: it is honoured
    without a limit. `max_grpc_timeout_s` (the older form) makes it the route timeout, the other the stream's duration.
    """

    cluster: str = ""
    cluster_header: str = ""
    weighted_clusters: tuple[WeightedCluster, ...] = ()
    cluster_not_found_status: int = 503
    timeout_s: float | None = 15.0
    idle_timeout_s: float | None = None
    max_stream_duration_s: float | None = None
    grpc_timeout_max_s: float | None = None
    grpc_timeout_offset_s: float = 0.0
    max_grpc_timeout_s: float | None = None
    max_grpc_timeout_offset_s: float = 0.0
    prefix_rewrite: str = ""
    regex_rewrite: RegexRewrite | None = None
    host_rewrite_literal: str = ""
    host_rewrite_header: str = ""
    auto_host_rewrite: bool = False
    append_x_forwarded_host: bool = False
    priority: RoutingPriority = RoutingPriority.DEFAULT
    retry_policy: RetryPolicy | None = None
    upgrade_configs: Mapping[str, bool] = msgspec.field(default_factory=dict)
    connect_config: ConnectConfig | None = None
    metadata_match: Metadata | None = None


class RedirectCode(enum.Enum):
    MOVED_PERMANENTLY = 301
    FOUND = 302
    SEE_OTHER = 303
    TEMPORARY_REDIRECT = 307
    PERMANENT_REDIRECT = 308


class RedirectAction(msgspec.Struct, frozen=True):
    """`RedirectAction`. Empty strings and None: that part of the URL stays."""

    https_redirect: bool = False
    scheme_redirect: str = ""
    host_redirect: str = ""
    port_redirect: int | None = None
    path_redirect: str = ""
    prefix_rewrite: str | None = None
    regex_rewrite: RegexRewrite | None = None
    response_code: RedirectCode = RedirectCode.MOVED_PERMANENTLY
    strip_query: bool = False


class DirectResponseAction(msgspec.Struct, frozen=True):
    status: int
    body: DataSource | None = None


class NonForwardingAction(msgspec.Struct, frozen=True):
    pass


RouteActionSpec: TypeAlias = RouteAction | RedirectAction | DirectResponseAction | NonForwardingAction


class RouteSpec(msgspec.Struct, frozen=True):
    match: RouteMatch
    action: RouteActionSpec
    name: str = ""
    mutations: HeaderMutations = NO_MUTATIONS
    metadata: Metadata = EMPTY_METADATA
    stat_prefix: str = ""
    decorator: Decorator | None = None
    tracing: RouteTracing | None = None
    filter_overrides: FilterOverrides = msgspec.field(default_factory=dict)


class TlsRequirement(enum.Enum):
    NONE = 0
    EXTERNAL_ONLY = 1
    ALL = 2


class VirtualHost(msgspec.Struct, frozen=True):
    """`domains`: exact names, `*.suffix`, `prefix.*` or `*`; lower-cased by the translator."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[RouteSpec, ...] = ()
    require_tls: TlsRequirement = TlsRequirement.NONE
    mutations: HeaderMutations = NO_MUTATIONS
    include_request_attempt_count: bool = False
    include_attempt_count_in_response: bool = False
    retry_policy: RetryPolicy | None = None
    filter_overrides: FilterOverrides = msgspec.field(default_factory=dict)


class RouteConfiguration(msgspec.Struct, frozen=True):
    name: str = ""
    virtual_hosts: tuple[VirtualHost, ...] = ()
    mutations: HeaderMutations = NO_MUTATIONS
    most_specific_header_mutations_wins: bool = False
    internal_only_headers: tuple[str, ...] = ()
    ignore_port_in_host_matching: bool = False
    filter_overrides: FilterOverrides = msgspec.field(default_factory=dict)
