"""The other sets of this module are compared with a recorded Envoy in `test_families`."""

from __future__ import annotations

from stats.filter_families import GrpcStats, RbacShadowStats, RbacStats
from stats.prometheus import render
from stats.store import Store
from stats.tags import TagProducer


def test_grpc_stats_are_made_when_counted() -> None:
    store = Store(TagProducer())
    stats = GrpcStats(store.scope("cluster.a.grpc").scope("pkg_Svc.Meth"))
    assert list(store) == []
    stats.count_end(14)
    stats.count_end(0)
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


def test_network_rbac_shares_its_scope() -> None:
    store = Store()
    scope = store.scope("tcp.rbac")
    RbacStats(scope).denied.inc()
    RbacShadowStats(scope).shadow_denied.inc()
    assert store.counters["tcp.rbac.denied"].value == store.counters["tcp.rbac.shadow_denied"].value == 1
