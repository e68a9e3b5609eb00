"""The standard sets of stats, named exactly as Envoy 1.40 names them; here those of the filters.

Each class lists what exists as soon as the thing counted exists. Attributes are Envoy's names with underscores for dots.
Which scope a set wants stands in its first line; `<...>` is what the caller puts in.
"""

from __future__ import annotations

from typing import ClassVar

from stats.family import Family
from stats.metrics import Counter, Gauge, Histogram
from stats.store import Scope


class TlsInspectorStats(Family):
    """`tls_inspector`."""

    alpn_found: Counter
    alpn_not_found: Counter
    client_hello_too_large: Counter
    sni_found: Counter
    sni_not_found: Counter
    tls_found: Counter
    tls_not_found: Counter
    bytes_processed: Histogram


class HttpInspectorStats(Family):
    """`http_inspector`."""

    http10_found: Counter
    http11_found: Counter
    http2_found: Counter
    http_not_found: Counter
    read_error: Counter


class ProxyProtocolStats(Family):
    """`proxy_proto` or `proxy_proto.<stat_prefix>`."""

    NAMES = (
        ("versions_v1_disallowed", "versions.v1.disallowed"),
        ("versions_v1_error", "versions.v1.error"),
        ("versions_v1_found", "versions.v1.found"),
        ("versions_v2_disallowed", "versions.v2.disallowed"),
        ("versions_v2_error", "versions.v2.error"),
        ("versions_v2_found", "versions.v2.found"),
    )

    not_found_allowed: Counter
    not_found_disallowed: Counter
    versions_v1_disallowed: Counter
    versions_v1_error: Counter
    versions_v1_found: Counter
    versions_v2_disallowed: Counter
    versions_v2_error: Counter
    versions_v2_found: Counter


class FaultStats(Family):
    """`http.<stat_prefix>.fault`, verbatim (colons kept)."""

    aborts_injected: Counter
    delays_injected: Counter
    faults_overflow: Counter
    response_rl_injected: Counter
    active_faults: Gauge


class CorsStats(Family):
    """`http.<stat_prefix>.cors`."""

    origin_invalid: Counter
    origin_valid: Counter


class JwtAuthnStats(Family):
    """`http.<stat_prefix>.jwt_authn` and, with a `stat_prefix` of the filter, `.<that>`."""

    allowed: Counter
    cors_preflight_bypassed: Counter
    denied: Counter
    jwks_fetch_failed: Counter
    jwks_fetch_success: Counter
    jwt_cache_hit: Counter
    jwt_cache_miss: Counter


class RbacStats(Family):
    """`http.<stat_prefix>.rbac.<rules_stat_prefix>`, verbatim, or `<stat_prefix>rbac` of the network filter."""

    allowed: Counter
    denied: Counter


class RbacShadowStats(Family):
    """`http.<stat_prefix>.rbac.<shadow_rules_stat_prefix>`, verbatim, or `<stat_prefix>rbac` of the network filter."""

    shadow_allowed: Counter
    shadow_denied: Counter


class RbacPolicyStats:
    """`http.<stat_prefix>.rbac.<prefix>.policy.<name>.{allowed,denied}` of the policies that decided; `kind` is "" or `shadow_`.

    A policy has counters from its first decision on, as in Envoy.
    """

    __slots__ = ("_counters", "_kind", "_scope")

    def __init__(self, scope: Scope, kind: str = "") -> None:
        self._scope = scope
        self._kind = kind
        self._counters: dict[tuple[str, bool], Counter] = {}

    def count(self, policy: str, allowed: bool) -> None:
        counter = self._counters.get((policy, allowed))
        if counter is None:
            scope = self._scope.scope(f"policy.{policy}", verbatim=True)
            counter = scope.counter(f"{self._kind}{'allowed' if allowed else 'denied'}")
            self._counters[policy, allowed] = counter
        counter.inc()


class LocalRateLimitStats(Family):
    """`<stat_prefix>.http_local_rate_limit`."""

    enabled: Counter
    enforced: Counter
    ok: Counter
    rate_limited: Counter
    shadow_mode: Counter


class NetworkLocalRateLimitStats(Family):
    """`local_rate_limit.<stat_prefix>`."""

    rate_limited: Counter


class ConnectionLimitStats(Family):
    """`connection_limit.<stat_prefix>`."""

    limited_connections: Counter
    active_connections: Gauge


class ExtAuthzStats(Family):
    """`http.<stat_prefix>.ext_authz` and, with a `stat_prefix` of the filter, `.<that>`."""

    denied: Counter
    disabled: Counter
    error: Counter
    failure_mode_allowed: Counter
    filter_state_name_collision: Counter
    ignored_dynamic_metadata: Counter
    invalid: Counter
    ok: Counter
    omitted_response_headers: Counter
    request_header_limits_reached: Counter
    response_header_limits_reached: Counter
    shadow_denied: Counter
    shadow_error: Counter


class NetworkExtAuthzStats(Family):
    """`ext_authz.<stat_prefix>`."""

    cx_closed: Counter
    denied: Counter
    disabled: Counter
    error: Counter
    failure_mode_allowed: Counter
    ok: Counter
    total: Counter
    active: Gauge


class GrpcAccessLogStats(Family):
    """`access_logs.grpc_access_log`."""

    grpc_entries_flush_failed: Counter
    grpc_entries_flushed: Counter
    logs_dropped: Counter
    logs_written: Counter


class GrpcStats:
    """`cluster.<name>.grpc`, there `.<service>.<method>` when methods are counted: all made when first counted.

    `grpc-web` in place of `grpc` for gRPC-Web.
    """

    __slots__ = ("_ends", "_known", "_scope")

    #: A server must not be able to fill the memory with statuses; beyond this many they have no counter of their own.
    LIMIT: ClassVar[int] = 40
    MAX_DIGITS: ClassVar[int] = 10

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._known: dict[str, Counter] = {}
        self._ends: dict[bytes, tuple[Counter, ...]] = {}

    def count_end(self, status: bytes) -> None:
        """A `grpc-status` came. It is counted as it is written, and only `0` is a success (Envoy); in Envoy also what is
        no number has a counter of its own.
        """
        counters = self._ends.get(status)
        if counters is None:
            counters = self._counters_of(status)
        for counter in counters:
            counter.inc()

    def _counters_of(self, status: bytes) -> tuple[Counter, ...]:
        together = self._counter("success" if status == b"0" else "failure"), self._counter("total")
        if not status.isdigit() or len(status) > self.MAX_DIGITS or len(self._ends) >= self.LIMIT:
            return together
        counters = self._ends[status] = self._counter(status.decode()), *together
        return counters

    def count_request_messages(self, number: int) -> None:
        self._counter("request_message_count").add(number)

    def count_response_messages(self, number: int) -> None:
        self._counter("response_message_count").add(number)

    def record_time(self, time_ms: float) -> None:
        """`upstream_rq_time`, with `enable_upstream_stats` only."""
        self._scope.histogram("upstream_rq_time", "ms").record(time_ms)

    def _counter(self, name: str) -> Counter:
        counter = self._known.get(name)
        if counter is None:
            counter = self._known[name] = self._scope.counter(name)
        return counter


class GrpcMethods:
    """The `GrpcStats` of one cluster: those of its methods by name, and `unnamed` for all that has no name here."""

    __slots__ = ("_methods", "_scope", "unnamed")

    #: A client must not be able to fill the memory with names (in Envoy it is): what is called beyond this many is unnamed.
    LIMIT: ClassVar[int] = 500
    MAX_CHARACTERS: ClassVar[int] = 256

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._methods: dict[tuple[str, str], GrpcStats] = {}
        self.unnamed = GrpcStats(scope)

    def method(self, service: str, method: str) -> GrpcStats:
        key = service, method
        found = self._methods.get(key)
        if found is None:
            if len(self._methods) >= self.LIMIT or len(service) + len(method) > self.MAX_CHARACTERS:
                return self.unnamed
            scope = self._scope.scope(f"{service}.{method}", verbatim=True)
            found = self._methods[key] = GrpcStats(scope)
        return found


class OpenTelemetryTracerStats(Family):
    """`tracing.opentelemetry`. `exports_failed_total`, our own, counts requests to the collector that were not answered well."""

    exports_failed_total: Counter
    spans_dropped: Counter
    spans_sent: Counter
    timer_flushed: Counter


class ZipkinTracerStats(Family):
    """`tracing.zipkin`. A report is one request to the collector, with many spans."""

    reports_dropped: Counter
    reports_failed: Counter
    reports_sent: Counter
    reports_skipped_no_cluster: Counter
    spans_sent: Counter
    timer_flushed: Counter


class WorkloadDiscoveryStats(Family):
    """`workload_discovery`: Istio's index of workloads by address."""

    PER_PROCESS = frozenset({"total"})

    total: Gauge
