"""The example of Prometheus federation: two clusters of one mesh, a server in each, one above them, with the files as they are.

productpage in east --mTLS--> reviews in west    HTTP, gRPC and TCP
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.backends import HttpBackend, LoopThread, TcpBackend
from tests.support.certificates import Mesh, spiffe
from tests.support.envoy import require_program
from tests.support.grpc_client import GrpcClient
from tests.support.grpc_echo import GrpcServer
from tests.support.http_client import get
from tests.support.ports import free_port, free_ports
from tests.support.process import REPOSITORY, Proxy
from tests.support.prometheus_server import PrometheusServer, QueryResult
from tests.support.workloads import start_workload, workload_file

EXAMPLE: Final = REPOSITORY / "deploy" / "prometheus"
CONFIGS: Final = ("east/prometheus.yml", "west/prometheus.yml", "federation/prometheus.yml")
SERVICE: Final = "reviews.default.svc.cluster.local"
PROTOCOLS: Final = ("http", "grpc", "tcp")
CALLS: Final = 3
HTTP_METRICS: Final = ("istio_requests_total", "istio_request_bytes_count", "istio_response_bytes_count")
TCP_METRICS: Final = ("istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total")


@pytest.mark.parametrize("name", CONFIGS)
def test_promtool_accepts_the_files(name: str) -> None:
    program = require_program("promtool", "prometheus")
    checked = subprocess.run(
        [program, "check", "config", EXAMPLE / name], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "SUCCESS" in checked.stdout


class TwoClusters:
    """The sidecars of both clusters."""

    def __init__(self, directory: Path) -> None:
        self._loop = LoopThread()
        self._http = HttpBackend(self._loop).start()
        self._lines = TcpBackend(self._loop, "line_echo", prefix="app").start()
        self._grpc = GrpcServer("127.0.0.1", free_port()).start()
        applications = (self._http.address[1], self._grpc.address[1], self._lines.address[1])
        inbound, outbound = free_ports(3), free_ports(3)
        self._ports = dict(zip(PROTOCOLS, outbound, strict=True))
        mesh = Mesh(directory)
        entries = [
            {
                "listen": f"127.0.0.1:{listen}",
                "application": f"127.0.0.1:{application}",
                "protocol": protocol,
                "service": SERVICE,
            }
            for protocol, listen, application in zip(PROTOCOLS, inbound, applications, strict=True)
        ]
        calls = [
            {
                "service": SERVICE,
                "listen": f"127.0.0.1:{listen}",
                "endpoints": [f"127.0.0.1:{called}"],
                "protocol": protocol,
                "identities": [spiffe("reviews")],
            }
            for protocol, listen, called in zip(PROTOCOLS, outbound, inbound, strict=True)
        ]
        self.west = start_workload(
            workload_file(mesh, "reviews-v1", cluster="west", inbound=entries), directory
        )
        self.east = start_workload(
            workload_file(mesh, "productpage-v1", cluster="east", outbound=calls), directory
        )

    def call(self) -> None:
        """So many calls of each kind."""
        with GrpcClient(("127.0.0.1", self._ports["grpc"])) as client:
            for _ in range(CALLS):
                client.ask()
        for _ in range(CALLS):
            assert get(("127.0.0.1", self._ports["http"]), "/", host=SERVICE).status == 200
            with socket.create_connection(("127.0.0.1", self._ports["tcp"]), timeout=10) as connection:
                connection.sendall(b"hello\n")
                assert connection.recv(100) == b"app hello\n"

    def close(self) -> None:
        for proxy in (self.east, self.west):
            proxy.terminate()
        self._grpc.stop()
        for backend in (self._http, self._lines):
            backend.stop()
        self._loop.close()


def _start(config: str, home: Path, targets: str, addresses: list[str]) -> PrometheusServer:
    """A server with a file of the example, oftener and with our addresses."""
    file = home / config
    text = file.read_text()
    assert text.count("scrape_interval: 15s") == 1
    file.write_text(text.replace("scrape_interval: 15s", "scrape_interval: 500ms\n  scrape_timeout: 500ms"))
    target_file = file.parent / targets
    entries: list[dict[str, Any]] = yaml.safe_load(target_file.read_text())
    entries[0]["targets"] = addresses
    target_file.write_text(yaml.safe_dump(entries))
    return PrometheusServer(file, home)


def _admin(proxy: Proxy) -> str:
    return f"127.0.0.1:{proxy.admin_address[1]}"


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """The server that sees both clusters, after some calls from east to west."""
    require_program("prometheus", "prometheus")
    home = tmp_path_factory.mktemp("federation") / "prometheus"
    shutil.copytree(EXAMPLE, home)
    clusters = TwoClusters(tmp_path_factory.mktemp("mesh"))
    servers: list[PrometheusServer] = []
    try:
        clusters.call()
        for name, proxy in (("east", clusters.east), ("west", clusters.west)):
            servers.append(_start(f"{name}/prometheus.yml", home, "proxies.yml", [_admin(proxy)]))
        addresses = [server.target for server in servers]
        servers.append(_start("federation/prometheus.yml", home, "clusters.yml", addresses))
        yield servers[-1]
    finally:
        for server in servers:
            server.close()
        clusters.close()


def _found(
    results: list[QueryResult] | tuple[QueryResult, ...], *labels: str
) -> dict[tuple[str, ...], float]:
    return {tuple(each.labels.get(name, "") for name in labels): each.value for each in results}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("metric", [*HTTP_METRICS, *TCP_METRICS])
def test_each_call_is_seen_once_in_each_cluster(
    federation: PrometheusServer, metric: str, protocol: str
) -> None:
    if (protocol == "tcp") is not (metric in TCP_METRICS):
        assert federation.query(f'{metric}{{request_protocol="{protocol}"}}') == []
        return
    by = ("cluster", "reporter", "source_cluster", "destination_cluster")
    expected = {("east", "source", "east", "west"): CALLS, ("west", "destination", "east", "west"): CALLS}
    query = f'sum by ({", ".join(by)}) ({metric}{{request_protocol="{protocol}"}})'
    federation.wait_for(query, until=lambda results: _found(list(results), *by) == expected)


def test_messages_of_grpc(federation: PrometheusServer) -> None:
    by = ("cluster", "reporter", "source_cluster", "destination_cluster")
    expected = {("east", "source", "east", "west"): CALLS, ("west", "destination", "east", "west"): CALLS}
    for metric in ("istio_request_messages_total", "istio_response_messages_total"):
        query = f"sum by ({', '.join(by)}) ({metric})"
        federation.wait_for(query, until=lambda results: _found(list(results), *by) == expected)


def test_labels_of_the_clusters_servers_are_kept(federation: PrometheusServer) -> None:
    """Which proxy, which job, and what the list of proxies puts on it."""
    query = 'istio_requests_total{cluster="west", request_protocol="http"}'
    (series,) = federation.wait_for(query, until=lambda results: len(results) == 1)
    assert series.labels["job"] == "envoy-stats"
    assert series.labels["namespace"] == "default"
    assert series.labels["instance"].startswith("127.0.0.1:")
    assert series.labels["connection_security_policy"] == "mutual_tls"


def test_envoys_metrics_stay_in_the_clusters(federation: PrometheusServer) -> None:
    federation.wait_for("count(istio_build)", until=lambda results: [each.value for each in results] == [2])
    assert federation.query('count({__name__=~"envoy_.*"})') == []
