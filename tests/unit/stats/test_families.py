"""The standard sets are those of a recorded Envoy, name for name and kind for kind."""

from __future__ import annotations

import re

from stats.families import (
    AdminListenerStats,
    CdsSubscriptionStats,
    CertificateStats,
    CircuitBreakerRemainingStats,
    ClusterManagerStats,
    ClusterStats,
    ControlPlaneStats,
    DnsStats,
    FilesystemStats,
    HealthCheckStats,
    Http1CodecStats,
    Http2CodecStats,
    HttpStats,
    ListenerHttpStats,
    ListenerManagerStats,
    ListenerPerHandlerStats,
    ListenerStats,
    MetadataExchangeStats,
    OutlierDetectionStats,
    RdsSubscriptionStats,
    RequestResponseSizeStats,
    RouterStats,
    RouteStats,
    RuntimeStats,
    SdsSubscriptionStats,
    ServerStats,
    SslSocketFactoryStats,
    SubscriptionStats,
    TcpProxyStats,
    ThreadLocalClusterManagerStats,
    TimeoutBudgetStats,
    TlsStats,
    TracingStats,
    WatchdogStats,
)
from stats.filter_families import (
    ConnectionLimitStats,
    CorsStats,
    ExtAuthzStats,
    FaultStats,
    GrpcAccessLogStats,
    HttpInspectorStats,
    JwtAuthnStats,
    LocalRateLimitStats,
    NetworkExtAuthzStats,
    NetworkLocalRateLimitStats,
    ProxyProtocolStats,
    RbacShadowStats,
    RbacStats,
    TlsInspectorStats,
)
from stats.store import Store
from tests.unit.stats.envoy_run import KIND_NAMES
from tests.vectors import load_vectors

RUNS = {run["name"]: run for run in load_vectors("envoy_stats.json")["runs"]}


def kinds_of(store: Store) -> set[tuple[str, str]]:
    return {(stat.name, KIND_NAMES[type(stat)]) for stat in store}


def build_clusters(store: Store) -> None:
    clusters = {name: ClusterStats(store.scope(f"cluster.{name}")) for name in ("c_dead", "c_http", "c_tls")}
    for name in ("c_dead", "c_http"):
        Http1CodecStats(store.scope(f"cluster.{name}.http1"))
    OutlierDetectionStats(store.scope("cluster.c_http.outlier_detection"))
    CircuitBreakerRemainingStats(store.scope("cluster.c_http.circuit_breakers.default"))
    SslSocketFactoryStats(store.scope("cluster.c_tls.client_ssl_socket_factory"))
    TlsStats(store.scope("cluster.c_tls.ssl"))
    clusters["c_dead"].charged.count(503)
    clusters["c_http"].charged.count(200)
    clusters["c_http"].charged.count(404)
    clusters["c_http"].charged.record_time(1)


def build_listeners(store: Store) -> None:
    for port, prefix in ((19812, "in.gress:x"), (19813, ""), (19814, "tlsin")):
        scope = store.scope(f"listener.127.0.0.1:{port}")
        ListenerStats(scope)
        ListenerPerHandlerStats(scope.scope("worker_0"))
        if prefix:
            ListenerHttpStats(scope.scope("http." + prefix))
    SslSocketFactoryStats(scope.scope("server_ssl_socket_factory"))
    tls = TlsStats(scope.scope("ssl"))
    tls.count_handshake("TLSv1.2", "ECDHE-RSA-CHACHA20-POLY1305", "X25519")
    tls.count_handshake("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519")
    CertificateStats(scope.scope("ssl.certificate.unnamed_cert_e3b0c442"))
    admin = store.scope("listener.admin")
    AdminListenerStats(admin)
    ListenerPerHandlerStats(admin.scope("main_thread"))
    ListenerHttpStats(admin.scope("http.admin"))


def build_http(store: Store) -> None:
    for prefix in ("admin", "in.gress:x", "tlsin"):
        HttpStats(store.scope("http." + prefix))
        if prefix != "admin":
            TracingStats(store.scope(f"http.{prefix}.tracing"))
            RouterStats(store.scope(f"http.{prefix}", verbatim=True))
    FaultStats(store.scope("http.in.gress:x.fault", verbatim=True))
    RbacStats(store.scope("http.in.gress:x.rbac.myr.", verbatim=True))
    RbacShadowStats(store.scope("http.in.gress:x.rbac.istio_dry_run_allow_", verbatim=True))
    CorsStats(store.scope("http.in.gress:x.cors"))
    JwtAuthnStats(store.scope("http.in.gress:x.jwt_authn"))
    LocalRateLimitStats(store.scope("lrl_pfx.http_local_rate_limit"))
    Http1CodecStats(store.scope("http1"))
    Http2CodecStats(store.scope("http2"))
    for name in ("other", "vc1"):
        route = RouteStats(store.scope(f"vhost.v1.vcluster.{name}"))
        route.responses.count(404)
        route.responses.record_time(1)
    RouteStats(store.scope("vhost.v1.vcluster.other")).responses.count(200)
    RouteStats(store.scope("vhost.v1.vcluster.other")).responses.count(503)


def build_server(store: Store) -> None:
    for name in ("main_thread", "workers", "server.main_thread", "server.worker_0"):
        WatchdogStats(store.scope(name))
    for name in ("main_thread", "worker_0"):
        ThreadLocalClusterManagerStats(store.scope(f"thread_local_cluster_manager.{name}"))
    ServerStats(store.scope("server"))
    RuntimeStats(store.scope("runtime"))
    FilesystemStats(store.scope("filesystem"))
    DnsStats(store.scope("dns.cares"))
    ListenerManagerStats(store.scope("listener_manager"))
    ClusterManagerStats(store.scope("cluster_manager"))
    TlsInspectorStats(store.scope("tls_inspector"))
    HttpInspectorStats(store.scope("http_inspector"))
    ProxyProtocolStats(store.scope("proxy_proto"))
    rbac = store.scope("tcp.rbac")
    RbacStats(rbac)
    RbacShadowStats(rbac)
    TcpProxyStats(store.scope("tcp.tcp_pre"))


def test_static_run() -> None:
    store = Store()
    build_clusters(store)
    build_listeners(store)
    build_http(store)
    build_server(store)
    envoy = {tuple(stat) for stat in RUNS["static"]["stats"]}
    not_ours = {
        ("downstream_cx_proxy_proto_error", "counter"),
        ("envoy.overload_actions.reset_high_memory_stream.count", "counter"),
        ("overload.refresh_interval_delay", "histogram"),
    }
    assert envoy - kinds_of(store) == not_ours
    assert kinds_of(store) - envoy == set()


def test_sets_that_need_more_configuration() -> None:
    store = Store()
    hc = store.scope("cluster.c_hc")
    cluster = ClusterStats(hc)
    cluster.canary.count(503)
    cluster.zone("z0", "z1").count(200)
    cluster.zone("z0", "z1").record_time(2)
    HealthCheckStats(hc.scope("health_check"))
    RequestResponseSizeStats(hc)
    TimeoutBudgetStats(hc)
    CdsSubscriptionStats(store.scope("cluster_manager.cds"))
    SubscriptionStats(store.scope("listener_manager.lds"))
    RdsSubscriptionStats(store.scope("http.ing;.rds.rds1"))
    SdsSubscriptionStats(store.scope("sds.default"))
    ControlPlaneStats(store.scope("sds.default.control_plane"))
    ControlPlaneStats(store.scope("control_plane"))
    ExtAuthzStats(store.scope("http.ing;.ext_authz"))
    NetworkExtAuthzStats(store.scope("ext_authz.neauth"))
    NetworkLocalRateLimitStats(store.scope("local_rate_limit.nlrl"))
    ConnectionLimitStats(store.scope("connection_limit.climit"))
    GrpcAccessLogStats(store.scope("access_logs.grpc_access_log"))
    envoy = {tuple(stat) for stat in RUNS["dynamic"]["stats"]}
    ours = {stat for stat in kinds_of(store) if not re.match(r"cluster\.c_hc\.(lb_|up|circuit)", stat[0])}
    assert ours - envoy == set()
    prefixes = (
        "cluster.c_hc.health_check", "cluster_manager.cds", "listener_manager.lds", "http.ing;.rds", "sds.", "control_plane",
        "http.ing;.ext_authz", "ext_authz.", "local_rate_limit", "connection_limit", "access_logs",
    )  # fmt: skip
    assert {stat for stat in envoy if stat[0].startswith(prefixes)} - ours == set()


def test_metadata_exchange() -> None:
    store = Store()
    stats = MetadataExchangeStats(store.scope("metadata_exchange"))
    stats.metadata_added.inc()
    names = (
        "alpn_protocol_found alpn_protocol_not_found header_not_found initial_header_not_found metadata_added"
    )
    assert set(store.counters) == {f"metadata_exchange.{name}" for name in names.split()}


def test_bug_failures_exist_with_zero() -> None:
    store = Store()
    ServerStats(store.scope("server"))
    assert store.counters["server.envoy_bug_failures"].value == 0


def test_downstream_responses_are_counted_by_class() -> None:
    stats = HttpStats(Store().scope("http.x"))
    for code in (100, 204, 302, 404, 503, 599, 0, 700):
        stats.count_response(code)
    counts = [getattr(stats, f"downstream_rq_{n}xx").value for n in range(1, 6)]
    assert (counts, stats.downstream_rq_completed.value) == ([1, 1, 1, 1, 2], 8)


def test_cluster_responses_are_counted_four_times() -> None:
    store = Store()
    cluster = ClusterStats(store.scope("cluster.a"))
    cluster.charged.count(503)
    cluster.charged.count(200, internal=True)
    cluster.charged.record_time(7)
    cluster.charged.record_time(8, internal=True)
    assert cluster.upstream_rq_completed.value == 2
    assert store.counters["cluster.a.upstream_rq_5xx"].value == 1
    assert store.counters["cluster.a.external.upstream_rq_503"].value == 1
    assert store.counters["cluster.a.internal.upstream_rq_200"].value == 1
    assert store.counters["cluster.a.internal.upstream_rq_completed"].value == 1
    assert store.histograms["cluster.a.upstream_rq_time"].count == 2
    assert store.histograms["cluster.a.external.upstream_rq_time"].sum == 7


def test_unknown_curve_and_signature_are_not_counted() -> None:
    store = Store()
    tls = TlsStats(store.scope("ssl"))
    tls.count_handshake("TLSv1.3", "X", sigalg="rsa")
    assert tls.handshake.value == 1
    assert store.counters["ssl.sigalgs.rsa"].value == 1
    assert not any(name.startswith("ssl.curves") for name in store.counters)


def test_levels_of_the_process_are_not_added_up() -> None:
    stats = ServerStats(Store().scope("server"))
    assert stats.uptime.per_process
    assert not stats.total_connections.per_process
