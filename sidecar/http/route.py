"""What a matching route does: forward, redirect, or answer directly. Compiled from RouteSpec, immutable, shared by streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from config.model.core import EMPTY_METADATA, Metadata, RoutingPriority
from config.model.route import ConnectConfig, RetryPolicy, RouteAction, WeightedCluster
from config.model.tracing import Decorator, RouteTracing
from protocols.grpc.status import has_grpc_content_type, parse_timeout_ms
from protocols.http import names
from protocols.http.headers import Headers
from sidecar.http.header_mutation import Mutator, no_mutation
from sidecar.http.path_rewrite import PathRewrite
from sidecar.http.redirect import Redirect, tls_location
from sidecar.http.router_headers import RouteTimeouts
from sidecar.policy.matching import encode_text
from sidecar.stream_info import StreamInfo

_POST: Final = b"POST"
#: A `grpc-timeout` of 0 has run out, which is not the same as none.
_SHORTEST_S: Final = 0.001


class LiveOverride:
    """What a route says of one HTTP filter: off, or (unless None) with a configuration of its own, which the filter knows."""

    __slots__ = ("config", "disabled")

    def __init__(self, disabled: bool, config: object | None) -> None:
        self.disabled: Final = disabled
        self.config: Final = config


LiveOverrides: TypeAlias = Mapping[str, LiveOverride]
NO_OVERRIDES: Final[LiveOverrides] = {}


class RouteOperation:
    """What a route calls its spans. `told`: what the other side is told, to name its span as well; b"" is nothing."""

    __slots__ = ("name", "told")

    def __init__(self, decorator: Decorator) -> None:
        self.name: Final = decorator.operation
        self.told: Final = decorator.operation.encode() if decorator.propagate else b""


class RouteInfo:
    """What all kinds of routes have, for statistics, logs and filters. `overrides`: by the names of filters."""

    __slots__ = (
        "metadata",
        "mutate_request",
        "mutate_response",
        "name",
        "operation",
        "overrides",
        "stat_prefix",
        "tracing",
        "virtual_host",
    )

    def __init__(
        self,
        name: str,
        virtual_host: str,
        metadata: Metadata = EMPTY_METADATA,
        stat_prefix: str = "",
        mutate_request: Mutator = no_mutation,
        mutate_response: Mutator = no_mutation,
        decorator: Decorator | None = None,
        tracing: RouteTracing | None = None,
        overrides: LiveOverrides = NO_OVERRIDES,
    ) -> None:
        self.name = name
        self.virtual_host = virtual_host
        self.metadata = metadata
        self.stat_prefix = stat_prefix
        self.mutate_request = mutate_request
        self.mutate_response = mutate_response
        self.operation = RouteOperation(decorator) if decorator is not None and decorator.operation else None
        self.tracing = tracing
        self.overrides = overrides


class _Route:
    __slots__ = (
        "_info",
        "metadata",
        "name",
        "operation",
        "overrides",
        "stat_prefix",
        "tracing",
        "virtual_host",
    )

    def __init__(self, info: RouteInfo) -> None:
        self._info = info
        self.name = info.name
        self.virtual_host = info.virtual_host
        self.metadata = info.metadata
        self.stat_prefix = info.stat_prefix
        self.operation = info.operation
        self.tracing = info.tracing
        self.overrides = info.overrides

    def finalize_response(self, headers: Headers, info: StreamInfo) -> None:
        """The configured response header edits. Formats read the response from `info.response_headers`."""
        self._info.mutate_response(headers, info)


class ForwardRoute(_Route):
    """Send the request to a cluster. A weighted route has one object for each of its clusters; the match draws one.

    `idle_timeout_s` None: the connection manager's stream idle timeout, 0.0: off.
    `upgrades`: upgrade token -> enabled, on top of the connection manager's. `connect`: a CONNECT ends here.
    """

    __slots__ = (
        "_append_x_forwarded_host",
        "_cluster",
        "_cluster_header",
        "_grpc_timeout_max_s",
        "_grpc_timeout_offset_s",
        "_host_rewrite",
        "_host_rewrite_header",
        "_max_grpc_timeout_offset_s",
        "_max_grpc_timeout_s",
        "_max_stream_duration_s",
        "_path_rewrite",
        "_weighted_host",
        "auto_host_rewrite",
        "cluster_not_found_status",
        "connect",
        "idle_timeout_s",
        "include_attempt_count_in_response",
        "include_request_attempt_count",
        "metadata_match",
        "priority",
        "retry_policy",
        "timeouts",
        "upgrades",
    )

    def __init__(
        self,
        info: RouteInfo,
        action: RouteAction,
        *,
        weighted: WeightedCluster | None = None,
        path_rewrite: PathRewrite | None = None,
        retry_policy: RetryPolicy | None = None,
        include_request_attempt_count: bool = False,
        include_attempt_count_in_response: bool = False,
    ) -> None:
        super().__init__(info)
        self._cluster = weighted.name if weighted is not None else action.cluster
        self._cluster_header = action.cluster_header.lower().encode()
        self._path_rewrite = path_rewrite
        self._weighted_host = encode_text(weighted.host_rewrite_literal) if weighted is not None else b""
        self._host_rewrite = encode_text(action.host_rewrite_literal)
        self._host_rewrite_header = action.host_rewrite_header.lower().encode()
        self._append_x_forwarded_host = action.append_x_forwarded_host
        self.auto_host_rewrite = action.auto_host_rewrite
        self.cluster_not_found_status = action.cluster_not_found_status
        self.timeouts = RouteTimeouts(
            action.timeout_s, retry_policy.per_try_timeout_s if retry_policy is not None else None
        )
        self.idle_timeout_s = action.idle_timeout_s
        self._max_stream_duration_s = action.max_stream_duration_s
        self._grpc_timeout_max_s = action.grpc_timeout_max_s
        self._grpc_timeout_offset_s = action.grpc_timeout_offset_s
        self._max_grpc_timeout_s = action.max_grpc_timeout_s
        self._max_grpc_timeout_offset_s = action.max_grpc_timeout_offset_s
        self.priority: RoutingPriority = action.priority
        self.retry_policy = retry_policy
        self.upgrades: Mapping[str, bool] = action.upgrade_configs
        self.connect: ConnectConfig | None = action.connect_config
        weighted_match = weighted.metadata_match if weighted is not None else None
        self.metadata_match: Metadata | None = weighted_match or action.metadata_match
        self.include_request_attempt_count = include_request_attempt_count
        self.include_attempt_count_in_response = include_attempt_count_in_response

    def stream_duration_s(self, headers: Headers) -> float | None:
        """How long the stream may take: what `grpc-timeout` asks for where it counts, else what the route says.

        0.0: for ever; None: what the connection manager says.
        """
        limit_s = self._grpc_timeout_max_s
        if limit_s is not None:
            asked_s = _grpc_timeout_s(headers, self._grpc_timeout_offset_s)
            if asked_s is not None:
                return max(min(asked_s, limit_s or asked_s), _SHORTEST_S)
        return self._max_stream_duration_s

    def grpc_timeouts(self, headers: Headers) -> RouteTimeouts | None:
        """The timeouts of a gRPC request on a route with `max_grpc_timeout`, which replace the route's; None: those stay.

        Neither a request without `grpc-timeout` nor a maximum of 0 has a limit.
        """
        limit_s = self._max_grpc_timeout_s
        if limit_s is None or not has_grpc_content_type(headers):
            return None
        asked_s = _grpc_timeout_s(headers, self._max_grpc_timeout_offset_s) or 0.0
        if limit_s and (not asked_s or asked_s > limit_s):
            asked_s = limit_s
        policy = self.retry_policy
        return RouteTimeouts(asked_s or None, policy.per_try_timeout_s if policy is not None else None)

    def ends_connect(self, method: bytes) -> bool:
        """Whether a request of that method is a CONNECT that goes on as TCP."""
        connect = self.connect
        return connect is not None and (method == names.CONNECT or (connect.allow_post and method == _POST))

    def cluster_name(self, headers: Headers) -> str:
        """The cluster to use; "" when `cluster_header` names none (answered like a cluster that does not exist)."""
        if not self._cluster_header:
            return self._cluster
        value = headers.get(self._cluster_header)
        return value.decode("latin-1") if value is not None else ""

    def finalize_request(
        self, headers: Headers, info: StreamInfo, *, insert_original_path: bool = True
    ) -> None:
        """Header edits, then host and path rewriting. Call once, before the first attempt.

        `insert_original_path` is off with the router's `suppress_envoy_headers`: then neither `x-envoy-original-path` nor
        `x-envoy-original-host` tells what was rewritten.
        """
        self._info.mutate_request(headers, info)
        if self._weighted_host:
            headers.authority = self._weighted_host
        if self._host_rewrite:
            self._set_host(headers, self._host_rewrite, insert_original_path)
        elif self._host_rewrite_header:
            value = headers.get(self._host_rewrite_header)
            if value:
                self._set_host(headers, value, insert_original_path)
        if self._path_rewrite is not None:
            if insert_original_path:
                headers.set(b"x-envoy-original-path", headers.path)
            headers.path = self._path_rewrite(headers.path)

    def set_upstream_host(
        self, headers: Headers, hostname: str, *, insert_original_path: bool = True
    ) -> None:
        """`auto_host_rewrite`: to be called once the upstream host is chosen; a host without a name changes nothing."""
        if self.auto_host_rewrite and hostname:
            self._set_host(headers, encode_text(hostname), insert_original_path)

    def _set_host(self, headers: Headers, host: bytes, insert_original_path: bool) -> None:
        if insert_original_path and headers.authority:
            headers.set(b"x-envoy-original-host", headers.authority)
        if self._append_x_forwarded_host and headers.authority:
            append_forwarded_host(headers)
        headers.authority = host


class RedirectRoute(_Route):
    """Answer with a redirect."""

    __slots__ = ("_redirect", "status")

    def __init__(self, info: RouteInfo, redirect: Redirect, status: int) -> None:
        super().__init__(info)
        self._redirect = redirect
        self.status = status

    def location(self, headers: Headers) -> bytes:
        """The value of `location`."""
        return self._redirect.location(headers)


class TlsRedirectRoute(_Route):
    """The answer of a virtual host that requires TLS: 301 to the same URL under https."""

    __slots__ = ("status",)

    def __init__(self, virtual_host: str) -> None:
        super().__init__(RouteInfo("", virtual_host))
        self.status = 301

    def location(self, headers: Headers) -> bytes:
        return tls_location(headers)


class DirectResponseRoute(_Route):
    """Answer with a fixed status and body."""

    __slots__ = ("body", "status")

    def __init__(self, info: RouteInfo, status: int, body: bytes) -> None:
        super().__init__(info)
        self.status = status
        self.body = body

    def location(self, headers: Headers) -> bytes | None:
        """With 201 and 3xx Envoy names the request's own URL in `location`; None otherwise."""
        if self.status != 201 and not 300 <= self.status < 400:
            return None
        return b"%b://%b%b" % (headers.scheme, headers.authority, headers.path)


Route: TypeAlias = ForwardRoute | RedirectRoute | TlsRedirectRoute | DirectResponseRoute


def _grpc_timeout_s(headers: Headers, offset_s: float) -> float | None:
    """What `grpc-timeout` asks for, less an offset that is not more than that; None: nothing."""
    value = headers.get(names.GRPC_TIMEOUT)
    timeout_ms = parse_timeout_ms(value) if value is not None else None
    if timeout_ms is None:
        return None
    timeout_s = timeout_ms / 1000
    return timeout_s - offset_s if offset_s < timeout_s else timeout_s


def append_forwarded_host(headers: Headers) -> None:
    """Note the host in `x-forwarded-host` unless it is the last one there already."""
    value = headers.joined(b"x-forwarded-host")
    if not value:
        headers.set(b"x-forwarded-host", headers.authority)
    elif value.rpartition(b",")[2] != headers.authority:
        headers.set(b"x-forwarded-host", b"%b,%b" % (value, headers.authority))
