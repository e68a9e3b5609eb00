"""Interception as in a mesh: nat REDIRECT rules in network namespaces, and who serves which destination.

The workload's namespace holds a proxy (with a group id of its own, which the rules let through) and an application; the
other namespace stands for the network around it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bootstraps import Json, bootstrap, cluster, listener, tcp_filter_chain
from tests.support.namespaces import Namespace, connect, require_namespaces
from tests.support.process import ChildProcess, sidecar_command, wait_until

PROXY_GROUP = 1337
WORKLOAD, PEER = "10.77.0.1", "10.77.0.2"
ORIGINAL_DST = "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
DIRECT_RESPONSE = "type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config"

#: Answers each connection with a word and the address that it comes from.
SERVER = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
while True:
    client, peer = server.accept()
    client.sendall(f"{sys.argv[3]} {peer[0]}".encode())
    client.close()
"""

CLIENT = """
import socket, sys
client = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
data = b""
while piece := client.recv(1000):
    data += piece
print(data.decode(), end="")
"""


def says(text: str, **match: object) -> Json:
    """A filter chain that tells who took the connection."""
    config = {"@type": DIRECT_RESPONSE, "response": {"inline_string": text}}
    chain: Json = {"filters": [{"name": "envoy.filters.network.direct_response", "typed_config": config}]}
    return {**chain, "filter_chain_match": match} if match else chain


def config(admin_path: Path) -> str:
    passthrough = {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "load_assignment": None}
    inner = {"bind_to_port": False, "traffic_direction": "OUTBOUND"}
    outbound = cluster("PassthroughCluster", **passthrough)
    inbound = cluster(
        "InboundPassthroughCluster",
        **passthrough,
        upstream_bind_config={"source_address": {"address": "127.0.0.6", "port_value": 0}},
    )
    for each in (outbound, inbound):
        del each["load_assignment"]
    text = bootstrap(
        0,
        [
            listener(
                "virtualOutbound",
                15001,
                tcp_filter_chain("PassthroughCluster"),
                host="0.0.0.0",
                use_original_dst=True,
                traffic_direction="OUTBOUND",
            ),
            listener("exact", 8080, says("exact"), host=PEER, **inner),
            listener("wildcard", 8080, says("wildcard"), host="0.0.0.0", **inner),
            listener("other-wildcard", 8081, says("other wildcard"), host="0.0.0.0", **inner),
            listener(
                "virtualInbound",
                15006,
                says("blackhole", destination_port=15006),
                says("inbound 7000", destination_port=7000),
                says("prefix", prefix_ranges=[{"address_prefix": "10.77.1.0", "prefix_len": 24}]),
                tcp_filter_chain("InboundPassthroughCluster", stat_prefix="inbound"),
                host="0.0.0.0",
                traffic_direction="INBOUND",
                listener_filters=[{"name": "original_dst", "typed_config": {"@type": ORIGINAL_DST}}],
            ),
        ],
        [outbound, inbound],
    )
    value = json.loads(text)
    value["admin"] = {"address": {"pipe": {"path": str(admin_path)}}}
    return json.dumps(value)


def wait_for(child: ChildProcess, text: str) -> None:
    def there() -> bool:
        if child.returncode is not None:
            raise RuntimeError(f"{child.argv} ended:\n{child.log_text()}")
        return text in child.log_text()

    wait_until(there, timeout_s=20, what=text)


class Network:
    """Both namespaces, the rules, the proxy and the servers."""

    def __init__(self, workload: Namespace, peer: Namespace, directory: Path) -> None:
        self.workload, self.peer = workload, peer
        connect(workload, f"{WORKLOAD}/24", peer, f"{PEER}/24")
        workload.run("ip", "address", "add", "10.77.1.1/32", "dev", "lo")
        peer.run("ip", "route", "add", "10.77.1.0/24", "via", WORKLOAD)
        workload.let_through("OUTPUT", "-m", "owner", "--gid-owner", str(PROXY_GROUP))
        workload.let_through("OUTPUT", "-d", "127.0.0.1/32")
        workload.redirect("OUTPUT", to_port=15001)
        workload.redirect("PREROUTING", to_port=15006)
        file = directory / "bootstrap.json"
        file.write_text(config(directory / "admin.sock"))
        command = sidecar_command()
        self.proxy = workload.start(
            [*command.argv, "-c", str(file), "-l", "info"],
            directory / "proxy.log",
            group=PROXY_GROUP,
            env=command.env,
        )
        servers = [
            self._serve(workload, WORKLOAD, 7001, "application", directory),
            self._serve(peer, PEER, 9000, "server", directory),
        ]
        for server in servers:
            wait_for(server, "listening")
        wait_for(self.proxy, "accept connections")

    @staticmethod
    def _serve(space: Namespace, address: str, port: int, word: str, directory: Path) -> ChildProcess:
        argv = [sys.executable, "-c", SERVER, address, str(port), word]
        return space.start(argv, directory / f"{word}.log")

    @staticmethod
    def ask(space: Namespace, address: str, port: int) -> str:
        """What a client in that namespace is answered."""
        return space.run(sys.executable, "-c", CLIENT, address, str(port))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    require_namespaces()
    with Namespace() as workload, Namespace() as peer:
        yield Network(workload, peer, tmp_path_factory.mktemp("network"))


def test_outbound_goes_to_the_listener_of_that_address(network: Network) -> None:
    assert network.ask(network.workload, PEER, 8080) == "exact"


def test_else_to_the_wildcard_listener_of_that_port(network: Network) -> None:
    assert network.ask(network.workload, "10.77.0.9", 8080) == "wildcard"
    assert network.ask(network.workload, PEER, 8081) == "other wildcard"


def test_else_it_stays_and_goes_where_it_was_going(network: Network) -> None:
    """The proxy's own connection is let through by the rules: no loop."""
    assert network.ask(network.workload, PEER, 9000) == f"server {WORKLOAD}"


def test_inbound_is_matched_by_the_original_port(network: Network) -> None:
    assert network.ask(network.peer, WORKLOAD, 7000) == "inbound 7000"


def test_and_by_the_original_address(network: Network) -> None:
    assert network.ask(network.peer, "10.77.1.1", 1234) == "prefix"


def test_inbound_reaches_the_application_from_the_marked_address(network: Network) -> None:
    assert network.ask(network.peer, WORKLOAD, 7001) == "application 127.0.0.6"


def test_a_direct_connection_to_the_inbound_port_is_no_redirection(network: Network) -> None:
    """From the workload itself, where the rules let 127.0.0.1 through."""
    assert network.ask(network.workload, "127.0.0.1", 15006) == "blackhole"


def test_a_direct_connection_to_the_outbound_port_does_not_loop(network: Network) -> None:
    """Nobody knows where it should go: it is closed, the proxy does not connect to itself."""
    assert network.ask(network.workload, "127.0.0.1", 15001) == ""
    assert "Traceback" not in network.proxy.log_text()
