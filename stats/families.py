"""The standard sets of stats, named exactly as Envoy 1.40 names them; those of filters are in `filter_families`.

Each class lists what exists as soon as the thing counted exists. Attributes are Envoy's names with underscores for dots.
Which scope a set wants stands in its first line; `<...>` is what the caller puts in.
"""

from __future__ import annotations

from stats.family import Dynamic, Family
from stats.filter_families import GrpcMethods
from stats.metrics import Counter, Gauge, Histogram, TextReadout
from stats.response_codes import ClusterResponses, UpstreamResponseStats
from stats.store import Scope


class AdminListenerStats(Family):
    """`listener.admin`."""

    downstream_cx_destroy: Counter
    downstream_cx_overflow: Counter
    downstream_cx_overload_reject: Counter
    downstream_cx_total: Counter
    downstream_cx_transport_socket_connect_timeout: Counter
    downstream_global_cx_overflow: Counter
    downstream_listener_filter_error: Counter
    downstream_listener_filter_remote_close: Counter
    downstream_pre_cx_timeout: Counter
    no_filter_chain_match: Counter
    downstream_cx_active: Gauge
    downstream_pre_cx_active: Gauge
    connections_accepted_per_socket_event: Histogram
    downstream_cx_length_ms: Histogram


class ListenerStats(AdminListenerStats):
    """`listener.<address>`, where the address is `0.0.0.0_80` or the listener's `stat_prefix`."""

    extension_config_missing: Counter
    network_extension_config_missing: Counter


class CertificateStats(Family):
    """`listener.<address>.ssl.certificate.<name>`, `cluster.<name>.ssl.certificate.<name>`."""

    PER_PROCESS = frozenset({"expiration_unix_time_seconds"})

    expiration_unix_time_seconds: Gauge


class ListenerPerHandlerStats(Family):
    """`listener.<address>.worker_<n>`, and `listener.admin.main_thread`."""

    downstream_cx_total: Counter
    downstream_cx_active: Gauge


class _DownstreamCodes(Family):
    """The counters of `downstream_rq_<class>`; the connection manager has them twice, alone and for each listener."""

    downstream_rq_1xx: Counter
    downstream_rq_2xx: Counter
    downstream_rq_3xx: Counter
    downstream_rq_4xx: Counter
    downstream_rq_5xx: Counter
    downstream_rq_completed: Counter
    _classes: tuple[Counter, ...]

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._classes = (
            self.downstream_rq_1xx,
            self.downstream_rq_2xx,
            self.downstream_rq_3xx,
            self.downstream_rq_4xx,
            self.downstream_rq_5xx,
        )

    def count_response(self, code: int) -> None:
        """A response left: `downstream_rq_completed` and the counter of its class."""
        self.downstream_rq_completed.inc()
        if 100 <= code < 600:
            self._classes[code // 100 - 1].inc()


class ListenerHttpStats(_DownstreamCodes):
    """`listener.<address>.http.<stat_prefix>`: responses of one connection manager of one listener."""


class HttpStats(_DownstreamCodes):
    """`http.<stat_prefix>`: the connection manager."""

    downstream_cx_delayed_close_timeout: Counter
    downstream_cx_destroy: Counter
    downstream_cx_destroy_active_rq: Counter
    downstream_cx_destroy_local: Counter
    downstream_cx_destroy_local_active_rq: Counter
    downstream_cx_destroy_remote: Counter
    downstream_cx_destroy_remote_active_rq: Counter
    downstream_cx_drain_close: Counter
    downstream_cx_http1_total: Counter
    downstream_cx_http2_total: Counter
    downstream_cx_http3_total: Counter
    downstream_cx_idle_timeout: Counter
    downstream_cx_max_duration_reached: Counter
    downstream_cx_max_requests_reached: Counter
    downstream_cx_overload_disable_keepalive: Counter
    downstream_cx_protocol_error: Counter
    downstream_cx_rx_bytes_total: Counter
    downstream_cx_ssl_total: Counter
    downstream_cx_total: Counter
    downstream_cx_tx_bytes_total: Counter
    downstream_cx_upgrades_total: Counter
    downstream_flow_control_paused_reading_total: Counter
    downstream_flow_control_resumed_reading_total: Counter
    downstream_rq_failed_path_normalization: Counter
    downstream_rq_header_timeout: Counter
    downstream_rq_http1_total: Counter
    downstream_rq_http2_total: Counter
    downstream_rq_http3_total: Counter
    downstream_rq_idle_timeout: Counter
    downstream_rq_max_duration_reached: Counter
    downstream_rq_non_relative_path: Counter
    downstream_rq_overload_close: Counter
    downstream_rq_redirected_with_normalized_path: Counter
    downstream_rq_rejected_via_ip_detection: Counter
    downstream_rq_response_before_rq_complete: Counter
    downstream_rq_rx_reset: Counter
    downstream_rq_timeout: Counter
    downstream_rq_too_large: Counter
    downstream_rq_too_many_premature_resets: Counter
    downstream_rq_total: Counter
    downstream_rq_tx_reset: Counter
    downstream_rq_ws_on_non_ws_route: Counter
    rs_too_large: Counter
    downstream_cx_active: Gauge
    downstream_cx_http1_active: Gauge
    downstream_cx_http1_soft_drain: Gauge
    downstream_cx_http2_active: Gauge
    downstream_cx_http3_active: Gauge
    downstream_cx_rx_bytes_buffered: Gauge
    downstream_cx_ssl_active: Gauge
    downstream_cx_tx_bytes_buffered: Gauge
    downstream_cx_upgrades_active: Gauge
    downstream_rq_active: Gauge
    downstream_cx_length_ms: Histogram
    downstream_rq_time: Histogram


class TracingStats(Family):
    """`http.<stat_prefix>.tracing`, also listed without tracing."""

    client_enabled: Counter
    health_check: Counter
    not_traceable: Counter
    random_sampling: Counter
    service_forced: Counter


class RouterStats(Family):
    """`http.<stat_prefix>`, verbatim (colons kept): the router filter. `http.async-client` for requests of our own."""

    no_cluster: Counter
    no_route: Counter
    passthrough_internal_redirect_bad_location: Counter
    passthrough_internal_redirect_no_route: Counter
    passthrough_internal_redirect_predicate: Counter
    passthrough_internal_redirect_too_many_redirects: Counter
    passthrough_internal_redirect_unsafe_scheme: Counter
    rq_direct_response: Counter
    rq_overload_local_reply: Counter
    rq_redirect: Counter
    rq_reset_after_downstream_response_started: Counter
    rq_total: Counter


class Http1CodecStats(Family):
    """`http1` for downstream, `cluster.<name>.http1` for upstream; made with the first connection."""

    dropped_headers_with_underscores: Counter
    metadata_not_supported_error: Counter
    requests_rejected_with_underscores_in_headers: Counter
    response_flood: Counter


class Http2CodecStats(Family):
    """`http2` for downstream, `cluster.<name>.http2` for upstream; made with the first connection."""

    cookies_total_bytes_too_large: Counter
    dropped_headers_with_underscores: Counter
    goaway_sent: Counter
    header_list_size_too_large: Counter
    header_overflow: Counter
    headers_cb_no_stream: Counter
    inbound_empty_frames_flood: Counter
    inbound_priority_frames_flood: Counter
    inbound_window_update_frames_flood: Counter
    keepalive_timeout: Counter
    metadata_empty_frames: Counter
    nghttp2_downstream_connections: Counter
    nghttp2_upstream_connections: Counter
    oghttp2_downstream_connections: Counter
    oghttp2_upstream_connections: Counter
    outbound_control_flood: Counter
    outbound_flood: Counter
    requests_rejected_with_underscores_in_headers: Counter
    rx_messaging_error: Counter
    rx_reset: Counter
    stream_refused_errors: Counter
    trailers: Counter
    tx_flush_timeout: Counter
    tx_reset: Counter
    deferred_stream_close: Gauge
    outbound_control_frames_active: Gauge
    outbound_frames_active: Gauge
    pending_send_bytes: Gauge
    streams_active: Gauge
    cookie_count: Histogram
    cookie_size: Histogram
    header_count: Histogram
    header_list_size: Histogram


class CircuitBreakerStats(Family):
    """`cluster.<name>.circuit_breakers.<priority>`, priority `default` or `high`. 1 is open."""

    PER_PROCESS = frozenset({"cx_open", "cx_pool_open", "rq_open", "rq_pending_open", "rq_retry_open"})

    cx_open: Gauge
    cx_pool_open: Gauge
    rq_open: Gauge
    rq_pending_open: Gauge
    rq_retry_open: Gauge


class CircuitBreakerRemainingStats(Family):
    """The same scope, with `track_remaining` only."""

    PER_PROCESS = frozenset({"remaining_cx", "remaining_pending", "remaining_retries", "remaining_rq"})

    remaining_cx: Gauge
    remaining_cx_pools: Gauge
    remaining_pending: Gauge
    remaining_retries: Gauge
    remaining_rq: Gauge


class ClusterStats(Family):
    """`cluster.<name>`, the name being `alt_stat_name` if there is one."""

    NAMES = (("default_total_match_count", "default.total_match_count"),)
    PER_PROCESS = frozenset(
        {
            "max_host_weight",
            "membership_degraded",
            "membership_excluded",
            "membership_healthy",
            "membership_total",
        }
    )

    default_total_match_count: Counter
    assignment_stale: Counter
    assignment_timeout_received: Counter
    assignment_use_cached: Counter
    bind_errors: Counter
    lb_healthy_panic: Counter
    lb_local_cluster_not_ok: Counter
    lb_recalculate_zone_structures: Counter
    lb_subsets_created: Counter
    lb_subsets_fallback: Counter
    lb_subsets_fallback_panic: Counter
    lb_subsets_removed: Counter
    lb_subsets_selected: Counter
    lb_zone_cluster_too_small: Counter
    lb_zone_no_capacity_left: Counter
    lb_zone_routing_all_directly: Counter
    lb_zone_routing_cross_zone: Counter
    lb_zone_routing_sampled: Counter
    membership_change: Counter
    original_dst_host_invalid: Counter
    retry_or_shadow_abandoned: Counter
    update_attempt: Counter
    update_empty: Counter
    update_failure: Counter
    update_no_rebuild: Counter
    update_success: Counter
    upstream_cx_close_notify: Counter
    upstream_cx_connect_attempts_exceeded: Counter
    upstream_cx_connect_fail: Counter
    upstream_cx_connect_timeout: Counter
    upstream_cx_connect_with_0_rtt: Counter
    upstream_cx_destroy: Counter
    upstream_cx_destroy_local: Counter
    upstream_cx_destroy_local_with_active_rq: Counter
    upstream_cx_destroy_remote: Counter
    upstream_cx_destroy_remote_with_active_rq: Counter
    upstream_cx_destroy_with_active_rq: Counter
    upstream_cx_http1_total: Counter
    upstream_cx_http2_total: Counter
    upstream_cx_http3_total: Counter
    upstream_cx_idle_timeout: Counter
    upstream_cx_max_duration_reached: Counter
    upstream_cx_max_requests: Counter
    upstream_cx_none_healthy: Counter
    upstream_cx_overflow: Counter
    upstream_cx_pool_overflow: Counter
    upstream_cx_preconnect_skipped: Counter
    upstream_cx_protocol_error: Counter
    upstream_cx_rx_bytes_total: Counter
    upstream_cx_total: Counter
    upstream_cx_tx_bytes_total: Counter
    upstream_flow_control_backed_up_total: Counter
    upstream_flow_control_drained_total: Counter
    upstream_flow_control_paused_reading_total: Counter
    upstream_flow_control_resumed_reading_total: Counter
    upstream_http3_broken: Counter
    upstream_internal_redirect_failed_total: Counter
    upstream_internal_redirect_succeeded_total: Counter
    upstream_rq_0rtt: Counter
    upstream_rq_active_overflow: Counter
    upstream_rq_cancelled: Counter
    upstream_rq_completed: Counter
    upstream_rq_maintenance_mode: Counter
    upstream_rq_max_duration_reached: Counter
    upstream_rq_pending_failure_eject: Counter
    upstream_rq_pending_overflow: Counter
    upstream_rq_pending_total: Counter
    upstream_rq_per_try_idle_timeout: Counter
    upstream_rq_per_try_timeout: Counter
    upstream_rq_retry: Counter
    upstream_rq_retry_backoff_exponential: Counter
    upstream_rq_retry_backoff_ratelimited: Counter
    upstream_rq_retry_limit_exceeded: Counter
    upstream_rq_retry_overflow: Counter
    upstream_rq_retry_success: Counter
    upstream_rq_rx_reset: Counter
    upstream_rq_rx_reset_no_error: Counter
    upstream_rq_timeout: Counter
    upstream_rq_total: Counter
    upstream_rq_tx_reset: Counter
    lb_subsets_active: Gauge
    max_host_weight: Gauge
    membership_degraded: Gauge
    membership_excluded: Gauge
    membership_healthy: Gauge
    membership_total: Gauge
    upstream_cx_active: Gauge
    upstream_cx_rx_bytes_buffered: Gauge
    upstream_cx_tx_bytes_buffered: Gauge
    upstream_queue_overloaded: Gauge
    upstream_rq_active: Gauge
    upstream_rq_pending_active: Gauge
    version: Gauge
    warming_state: Gauge
    upstream_cx_connect_ms: Histogram
    upstream_cx_length_ms: Histogram
    upstream_rq_per_cx: Histogram
    circuit_breakers_default: CircuitBreakerStats
    circuit_breakers_high: CircuitBreakerStats
    responses: UpstreamResponseStats
    external: UpstreamResponseStats
    internal: UpstreamResponseStats
    charged: ClusterResponses  # these three
    canary: UpstreamResponseStats
    retry: UpstreamResponseStats  # answers that were not passed on, but retried
    _zones: dict[tuple[str, str], UpstreamResponseStats]
    _grpc: dict[str, GrpcMethods]
    _scope: Scope

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._scope = scope
        self.circuit_breakers_default = CircuitBreakerStats(scope.scope("circuit_breakers.default"))
        self.circuit_breakers_high = CircuitBreakerStats(scope.scope("circuit_breakers.high"))
        self.responses = UpstreamResponseStats(scope, self.upstream_rq_completed)
        self.external = UpstreamResponseStats(scope.scope("external"))
        self.internal = UpstreamResponseStats(scope.scope("internal"))
        self.charged = ClusterResponses(self.responses, self.external, self.internal)
        self.canary = UpstreamResponseStats(scope.scope("canary"))
        self.retry = UpstreamResponseStats(scope.scope("retry"))
        self._zones = {}
        self._grpc = {}

    def zone(self, from_zone: str, to_zone: str) -> UpstreamResponseStats:
        """Counted beside the others when both the own zone and the host's are known."""
        key = from_zone, to_zone
        found = self._zones.get(key)
        if found is None:
            found = self._zones[key] = UpstreamResponseStats(self._scope.scope(f"zone.{from_zone}.{to_zone}"))
        return found

    def grpc(self, protocol: str = "grpc") -> GrpcMethods:
        """Where filters count the gRPC calls to this cluster; `protocol` is `grpc` or `grpc-web`."""
        found = self._grpc.get(protocol)
        if found is None:
            found = self._grpc[protocol] = GrpcMethods(self._scope.scope(protocol))
        return found


class OutlierDetectionStats(Family):
    """`cluster.<name>.outlier_detection`, when configured."""

    ejections_consecutive_5xx: Counter
    ejections_detected_consecutive_5xx: Counter
    ejections_detected_consecutive_gateway_failure: Counter
    ejections_detected_consecutive_local_origin_failure: Counter
    ejections_detected_degradation: Counter
    ejections_detected_failure_percentage: Counter
    ejections_detected_local_origin_failure_percentage: Counter
    ejections_detected_local_origin_success_rate: Counter
    ejections_detected_success_rate: Counter
    ejections_enforced_consecutive_5xx: Counter
    ejections_enforced_consecutive_gateway_failure: Counter
    ejections_enforced_consecutive_local_origin_failure: Counter
    ejections_enforced_failure_percentage: Counter
    ejections_enforced_local_origin_failure_percentage: Counter
    ejections_enforced_local_origin_success_rate: Counter
    ejections_enforced_success_rate: Counter
    ejections_enforced_total: Counter
    ejections_overflow: Counter
    ejections_success_rate: Counter
    ejections_total: Counter
    ejections_active: Gauge


class HealthCheckStats(Family):
    """`cluster.<name>.health_check`, when configured."""

    attempt: Counter
    failure: Counter
    network_failure: Counter
    passive_failure: Counter
    success: Counter
    verify_cluster: Counter
    degraded: Gauge
    healthy: Gauge


class RequestResponseSizeStats(Family):
    """`cluster.<name>`, with `request_response_sizes` only."""

    upstream_rq_body_size: Histogram
    upstream_rq_headers_count: Histogram
    upstream_rq_headers_size: Histogram
    upstream_rs_body_size: Histogram
    upstream_rs_headers_count: Histogram
    upstream_rs_headers_size: Histogram


class TimeoutBudgetStats(Family):
    """`cluster.<name>`, with `timeout_budgets` only."""

    upstream_rq_timeout_budget_per_try_percent_used: Histogram
    upstream_rq_timeout_budget_percent_used: Histogram


class RouteStats(Family):
    """`vhost.<virtual host>.vcluster.<name>` and `vhost.<virtual host>.route.<stat_prefix>`."""

    upstream_rq_retry: Counter
    upstream_rq_retry_limit_exceeded: Counter
    upstream_rq_retry_overflow: Counter
    upstream_rq_retry_success: Counter
    upstream_rq_timeout: Counter
    upstream_rq_total: Counter
    responses: UpstreamResponseStats

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.responses = UpstreamResponseStats(scope)


class TcpProxyStats(Family):
    """`tcp.<stat_prefix>`: the TCP proxy."""

    downstream_cx_drain_close: Counter
    downstream_cx_no_route: Counter
    downstream_cx_overload_close: Counter
    downstream_cx_rx_bytes_total: Counter
    downstream_cx_total: Counter
    downstream_cx_tx_bytes_total: Counter
    downstream_flow_control_paused_reading_total: Counter
    downstream_flow_control_resumed_reading_total: Counter
    early_data_received_count_total: Counter
    idle_timeout: Counter
    max_downstream_connection_duration: Counter
    route_delayed_total: Counter
    upstream_flush_total: Counter
    downstream_cx_rx_bytes_buffered: Gauge
    downstream_cx_tx_bytes_buffered: Gauge
    upstream_flush_active: Gauge


class SslSocketFactoryStats(Family):
    """`listener.<address>.server_ssl_socket_factory`, `cluster.<name>.client_ssl_socket_factory`."""

    downstream_context_secrets_not_ready: Counter
    ssl_context_update_by_sds: Counter
    upstream_context_secrets_not_ready: Counter


class TlsStats(Family):
    """`listener.<address>.ssl`, `cluster.<name>.ssl`."""

    connection_error: Counter
    fail_verify_cert_hash: Counter
    fail_verify_error: Counter
    fail_verify_no_cert: Counter
    fail_verify_san: Counter
    handshake: Counter
    no_certificate: Counter
    ocsp_staple_failed: Counter
    ocsp_staple_omitted: Counter
    ocsp_staple_requests: Counter
    ocsp_staple_responses: Counter
    session_reused: Counter
    ciphers: Dynamic
    curves: Dynamic
    sigalgs: Dynamic
    versions: Dynamic

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.ciphers = Dynamic(scope, "ciphers")
        self.curves = Dynamic(scope, "curves")
        self.sigalgs = Dynamic(scope, "sigalgs")
        self.versions = Dynamic(scope, "versions")

    def count_handshake(self, version: str, cipher: str, curve: str = "", sigalg: str = "") -> None:
        """A handshake is done. Names as OpenSSL spells them (`TLSv1.3`, `X25519`); an empty one is not counted."""
        self.handshake.inc()
        self.versions.inc(version)
        self.ciphers.inc(cipher)
        if curve:
            self.curves.inc(curve)
        if sigalg:
            self.sigalgs.inc(sigalg)


class ServerStats(Family):
    """`server`."""

    PER_PROCESS = frozenset(
        {
            "compilation_settings_fips_mode",
            "concurrency",
            "days_until_first_cert_expiring",
            "hot_restart_epoch",
            "live",
            "seconds_until_first_ocsp_response_expiring",
            "state",
            "uptime",
            "version",
        }
    )
    NAMES = (("compilation_settings_fips_mode", "compilation_settings.fips_mode"),)

    debug_assertion_failures: Counter
    dropped_stat_flushes: Counter
    dynamic_unknown_fields: Counter
    envoy_bug_failures: Counter
    envoy_notifications: Counter
    static_unknown_fields: Counter
    wip_protos: Counter
    compilation_settings_fips_mode: Gauge
    concurrency: Gauge
    days_until_first_cert_expiring: Gauge
    hot_restart_epoch: Gauge
    live: Gauge
    memory_allocated: Gauge
    memory_heap_size: Gauge
    memory_physical_size: Gauge
    parent_connections: Gauge
    seconds_until_first_ocsp_response_expiring: Gauge
    state: Gauge
    stats_recent_lookups: Gauge
    total_connections: Gauge
    uptime: Gauge
    version: Gauge
    initialization_time_ms: Histogram


class WatchdogStats(Family):
    """`main_thread`, `workers`, `server.main_thread` and `server.worker_<n>`."""

    watchdog_mega_miss: Counter
    watchdog_miss: Counter


class ListenerManagerStats(Family):
    """`listener_manager`."""

    PER_PROCESS = frozenset(
        {
            "total_filter_chains_draining",
            "total_listeners_active",
            "total_listeners_draining",
            "total_listeners_warming",
            "workers_pinned",
            "workers_started",
        }
    )

    listener_added: Counter
    listener_create_failure: Counter
    listener_create_success: Counter
    listener_in_place_updated: Counter
    listener_modified: Counter
    listener_removed: Counter
    listener_stopped: Counter
    total_filter_chains_draining: Gauge
    total_listeners_active: Gauge
    total_listeners_draining: Gauge
    total_listeners_warming: Gauge
    workers_pinned: Gauge
    workers_started: Gauge


class ClusterManagerStats(Family):
    """`cluster_manager`."""

    PER_PROCESS = frozenset({"active_clusters", "warming_clusters"})

    cluster_added: Counter
    cluster_modified: Counter
    cluster_removed: Counter
    cluster_updated: Counter
    cluster_updated_via_merge: Counter
    update_merge_cancelled: Counter
    update_out_of_merge_window: Counter
    active_clusters: Gauge
    warming_clusters: Gauge


class SubscriptionStats(Family):
    """`listener_manager.lds`, and the base of the other xDS subscriptions."""

    init_fetch_timeout: Counter
    update_attempt: Counter
    update_failure: Counter
    update_rejected: Counter
    update_success: Counter
    update_time: Gauge
    version: Gauge
    update_duration: Histogram
    version_text: TextReadout


class CdsSubscriptionStats(SubscriptionStats):
    """`cluster_manager.cds`."""

    config_reload: Counter
    config_reload_time_ms: Gauge


class RdsSubscriptionStats(CdsSubscriptionStats):
    """`http.<stat_prefix>.rds.<route_config_name>`."""

    update_empty: Counter


class SdsSubscriptionStats(SubscriptionStats):
    """`sds.<secret name>`."""

    key_rotation_failed: Counter


class EdsSubscriptionStats(Family):
    """`cluster.<name>` of an EDS cluster: what its subscription adds to `ClusterStats`."""

    init_fetch_timeout: Counter
    update_rejected: Counter
    update_time: Gauge
    update_duration: Histogram
    version_text: TextReadout


class ControlPlaneStats(Family):
    """`control_plane` for ADS, `sds.<secret name>.control_plane` for a stream of its own."""

    rate_limit_enforced: Counter
    connected_state: Gauge
    pending_requests: Gauge
    identifier: TextReadout


class ThreadLocalClusterManagerStats(Family):
    """`thread_local_cluster_manager.main_thread` and `.worker_<n>`."""

    clusters_inflated: Gauge


class RuntimeStats(Family):
    """`runtime`."""

    deprecated_feature_use: Counter
    load_error: Counter
    load_success: Counter
    override_dir_exists: Counter
    override_dir_not_exists: Counter
    admin_overrides_active: Gauge
    deprecated_feature_seen_since_process_start: Gauge
    num_keys: Gauge
    num_layers: Gauge


class FilesystemStats(Family):
    """`filesystem`: the access log files."""

    flushed_by_timer: Counter
    reopen_failed: Counter
    write_buffered: Counter
    write_completed: Counter
    write_failed: Counter
    write_total_buffered: Gauge


class FileAccessLogStats(Family):
    """`access_logs.file_access_log`: our own; Envoy counts no entries that a file did not take."""

    logs_dropped_total: Counter


class RemoteAccessLogStats(Family):
    """`access_logs.grpc_access_log` and `access_logs.open_telemetry_access_log`: logs that go to a service."""

    logs_written: Counter
    logs_dropped: Counter
    grpc_entries_flushed: Counter
    grpc_entries_flush_failed: Counter


class DnsStats(Family):
    """`dns.cares`."""

    get_addr_failure: Counter
    not_found: Counter
    reinits: Counter
    resolve_total: Counter
    timeouts: Counter
    pending_resolutions: Gauge


class MetadataExchangeStats(Family):
    """`metadata_exchange`: Istio's TCP peer metadata exchange, both directions."""

    alpn_protocol_found: Counter
    alpn_protocol_not_found: Counter
    header_not_found: Counter
    initial_header_not_found: Counter
    metadata_added: Counter
