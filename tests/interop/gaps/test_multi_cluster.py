"""More than the cluster: what else is said of a node becomes a label, of our own and of the peer's.

Our own by `xds.node.metadata`; the peer's labels that `additional_labels` names travel in the exchange.
"""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.interop.gaps.stage import (
    COUNTED_S,
    OPENED,
    REQUESTS,
    GapStage,
    Labels,
    exchange,
    peer_metadata,
    series_of,
    stats,
)
from tests.support.bootstraps import (
    Json,
    cluster,
    downstream_tls,
    http_filter_chain,
    listener,
    route_config,
    route_to,
    tcp_filter_chain,
    upstream_tls,
    uri_san,
)
from tests.support.http_client import get
from tests.support.istio_config import PEER_EXCHANGE_ALPN
from tests.support.ports import free_port
from tests.support.process import Proxy, wait_until

EAST: dict[str, Any] = {"CLUSTER_ID": "east", "NETWORK": "north", "LABELS": {"topology.istio.io/zone": "e1"}}
WEST: dict[str, Any] = {"CLUSTER_ID": "west", "NETWORK": "south", "LABELS": {"topology.istio.io/zone": "w1"}}
CARRIED = ("topology.istio.io/zone",)
SANS = [uri_san(prefix="spiffe://cluster.local/")]

WANTED: Labels = {"source_cluster": "east", "destination_cluster": "west"}
AT_EAST = WANTED | {"own_network": "north", "own_zone": "e1"}
AT_WEST = WANTED | {"own_network": "south", "own_zone": "w1", "peer_zone": "e1"}


def with_dimensions(peer: str) -> Json:
    return stats(
        metrics=[
            {
                "dimensions": {
                    "own_network": "xds.node.metadata['NETWORK']",
                    "own_zone": "xds.node.metadata.LABELS['topology.istio.io/zone']",
                    "peer_zone": f"filter_state.{peer}.labels['topology.istio.io/zone']",
                }
            }
        ]
    )


def wait_for_labels(proxy: Proxy, metric: str, expected: Labels) -> None:
    """Until the one series of a metric has these labels among others."""

    def found() -> list[Labels]:
        return [{name: labels.get(name, "") for name in expected} for labels, _ in series_of(proxy, metric)]

    try:
        wait_until(lambda: found() == [expected], timeout_s=COUNTED_S, what=metric)
    except TimeoutError:
        assert found() == [expected]


@pytest.mark.parametrize("over_tcp", [False, True], ids=["http", "tcp"])
def test_clusters_networks_and_zones(stage: GapStage, over_tcp: bool) -> None:
    """A source over TCP does not see the peer's labels: they are the upstream connection's (as in Istio)."""
    backend = stage.tcp_backend() if over_tcp else stage.http_backend()
    port, between = free_port(), free_port()
    alpn = [PEER_EXCHANGE_ALPN] if over_tcp else ["http/1.1"]
    chains = {}
    for inbound, name, peer in ((True, "inbound", "downstream_peer"), (False, "outbound", "upstream_peer")):
        if over_tcp:
            chain = tcp_filter_chain(name)
            chain["filters"][:0] = [*([exchange(CARRIED)] if inbound else []), with_dimensions(peer)]
        else:
            filters = [peer_metadata(inbound=inbound, labels=CARRIED), with_dimensions(peer)]
            chain = http_filter_chain(route_config(route_to(name)), http_filters=filters)
        chains[name] = chain
    chains["inbound"]["transport_socket"] = downstream_tls(
        stage.mesh.leaf("ratings"), stage.mesh.root, alpn=alpn, sans=SANS
    )
    west = stage.start(
        "ratings",
        [listener("inbound", between, chains["inbound"], traffic_direction="INBOUND")],
        [cluster("inbound", backend.address)],
        metadata=WEST,
    )
    out = cluster("outbound", ("127.0.0.1", between), filters=[exchange(CARRIED)])
    out["transport_socket"] = upstream_tls(
        stage.mesh.leaf("productpage"), stage.mesh.root, alpn=alpn, sans=SANS
    )
    east = stage.start(
        "productpage",
        [listener("outbound", port, chains["outbound"], traffic_direction="OUTBOUND")],
        [out],
        metadata=EAST,
    )
    if over_tcp:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"hello\n")
            assert connection.recv(100) == b"app hello\n"
    else:
        assert get(("127.0.0.1", port), "/").status == 200
    metric = OPENED if over_tcp else REQUESTS
    wait_for_labels(west, metric, AT_WEST)
    wait_for_labels(east, metric, AT_EAST | {"peer_zone": "unknown" if over_tcp else "w1"})
