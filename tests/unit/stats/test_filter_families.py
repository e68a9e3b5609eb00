"""The other sets of this module are compared with a recorded Envoy in `test_families`."""

from __future__ import annotations

from stats.families import ClusterStats
from stats.filter_families import GrpcMethods, GrpcStats, RbacShadowStats, RbacStats
from stats.prometheus import render
from stats.store import Store
from stats.tags import TagProducer


def test_grpc_stats_are_made_when_counted() -> None:
    store = Store(TagProducer())
    stats = GrpcStats(store.scope("cluster.a.grpc").scope("pkg_Svc.Meth"))
    assert list(store) == []
    stats.count_end(b"14")
    stats.count_end(b"0")
    stats.count_request_messages(3)
    stats.count_response_messages(0)
    stats.record_time(5)
    values = {
        name.removeprefix("cluster.a.grpc.pkg_Svc.Meth."): stat.value for name, stat in store.counters.items()
    }
    assert values == {
        "0": 1,
        "14": 1,
        "success": 1,
        "failure": 1,
        "total": 2,
        "request_message_count": 3,
        "response_message_count": 0,
    }
    assert (
        'envoy_cluster_grpc_total{envoy_grpc_bridge_method="Meth",envoy_grpc_bridge_service="pkg_Svc",envoy_cluster_name="a"} 2'
        in "".join(render(store))
    )


def test_only_the_status_0_is_a_success() -> None:
    store = Store()
    stats = GrpcStats(store.scope("g"))
    for status in (b"0", b"00", b"5", b"5", b"99", b"", b"x.y", b"-1", b"9" * 100):
        stats.count_end(status)
    assert {name.removeprefix("g."): stat.value for name, stat in store.counters.items()} == {
        "0": 1,
        "00": 1,
        "5": 2,
        "99": 1,
        "success": 1,
        "failure": 8,
        "total": 9,
    }


def test_a_server_cannot_make_counters_without_end() -> None:
    store = Store()
    stats = GrpcStats(store.scope("g"))
    for status in range(1000):
        stats.count_end(b"%d" % status)
    assert len(store.counters) == GrpcStats.LIMIT + 3
    assert store.counters["g.total"].value == 1000


def test_methods_have_names_of_their_own() -> None:
    store = Store()
    cluster = ClusterStats(store.scope("cluster.a"))
    cluster.grpc().method("a.Svc", "M").count_end(b"0")
    cluster.grpc().method("a.Svc", "M").count_end(b"0")
    cluster.grpc("grpc-web").method("Svc", "M:").count_end(b"0")
    cluster.grpc().unnamed.count_request_messages(2)
    assert store.counters["cluster.a.grpc.a.Svc.M.0"].value == 2
    assert store.counters["cluster.a.grpc-web.Svc.M:.total"].value == 1
    assert store.counters["cluster.a.grpc.request_message_count"].value == 2


def test_a_client_cannot_make_methods_without_end() -> None:
    store = Store()
    methods = GrpcMethods(store.scope("cluster.a.grpc"))
    for number in range(GrpcMethods.LIMIT + 7):
        methods.method("Svc", f"M{number}").count_end(b"0")
    assert store.counters["cluster.a.grpc.total"].value == 7
    assert len(store.counters) == 3 * (GrpcMethods.LIMIT + 1)
    assert methods.method("Svc", "M0") is not methods.unnamed
    assert GrpcMethods(store.scope("b")).method("Svc", "M" * 1000).count_end(b"0") is None
    assert not any("MM" in name for name in store.counters)


def test_network_rbac_shares_its_scope() -> None:
    store = Store()
    scope = store.scope("tcp.rbac")
    RbacStats(scope).denied.inc()
    RbacShadowStats(scope).shadow_denied.inc()
    assert store.counters["tcp.rbac.denied"].value == store.counters["tcp.rbac.shadow_denied"].value == 1
