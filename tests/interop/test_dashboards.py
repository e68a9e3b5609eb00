"""Istio's own Grafana dashboards on this proxy's metrics: a real Prometheus scrapes a small mesh, and every panel has data.

client --> productpage's sidecar --mTLS--> reviews' sidecar --> application    HTTP, gRPC and TCP
client --> productpage's sidecar --plain-> the same                            HTTP
client --> ingress gateway ----------mTLS--> the same
client --plain----------------------------> the same

A stub in the place of the kubelet tells the CPU time and memory of the proxies, as cAdvisor does for their containers.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.backends import HttpBackend, LoopThread, RecordedRequest, Script, Send, TcpBackend
from tests.support.certificates import Mesh, spiffe
from tests.support.grpc_client import GrpcClient
from tests.support.grpc_echo import GrpcServer
from tests.support.http_client import RawClient
from tests.support.ports import free_port, free_ports
from tests.support.process import Proxy, wait_until
from tests.support.prometheus_server import PrometheusServer, QueryResult, has_number
from tests.support.workloads import start_workload, workload_file

SCRAPE_INTERVAL_S: Final = 0.5
RATE_INTERVAL: Final = "5s"
"""Ten scrapes: a late one does not leave a panel empty."""
DEADLINE_S: Final = 20.0
BETWEEN_ROUNDS_S: Final = 0.05

SERVICE: Final = "reviews.default.svc.cluster.local"
GATEWAY: Final = "istio-ingressgateway"
PROXIES: Final = ("reviews-v1", "productpage-v1", GATEWAY)

_DATA: Final = json.loads((Path(__file__).parent / "dashboards" / "queries.json").read_text(encoding="utf-8"))
#: What a dashboard's drop-down lists would be set to.
_VALUES: Final = {
    "__rate_interval": RATE_INTERVAL,
    "service": SERVICE,
    "namespace": "default",
    "srcns": ".*",
    "srcwl": ".*",
    "srccluster": ".*",
    "dstns": ".*",
    "dstwl": ".*",
    "dstcluster": ".*",
    "dstsvc": ".*",
}
_ALWAYS_ZERO: Final = re.compile(r"\s*or vector\(0\)\s*$")
_BOTH: Final = ("source", "destination")

#: What each drop-down list must offer, whoever reports.
_CALLERS: Final = {"productpage-v1", GATEWAY}
_OFFERED: Final = {
    "service-service": {SERVICE},
    "service-srccluster": {"cluster-of-productpage", f"cluster-of-{GATEWAY}"},
    "service-srcns": {"default", "istio-system"},
    "service-srcwl": _CALLERS,
    "service-dstcluster": {"cluster-of-reviews"},
    "service-dstns": {"default"},
    "service-dstwl": {"reviews-v1"},
    "workload-namespace": {"default"},
    "workload-workload": {"reviews-v1"},
    "workload-srcns": {"default", "istio-system"},
    "workload-srcwl": _CALLERS,
    "workload-dstsvc": {SERVICE},
}


def _fill(expression: str, **values: str) -> str:
    filled = re.sub(r"\$(\w+)", lambda match: {**_VALUES, **values}[match[1]], expression)
    # A zero that is there without any metric proves nothing.
    return _ALWAYS_ZERO.sub("", filled)


def _workload_of(entry: dict[str, Any]) -> str:
    """Whose panel it is: the rows about calls made need the workload that makes them."""
    return "productpage-v1" if 'source_workload=~"$workload"' in entry["expr"] else "reviews-v1"


def _cases(entries: list[dict[str, Any]]) -> Iterator[Any]:
    """One test for each expression and value of `$qrep`; expressions that several panels have are asked once."""
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        expect = entry["expect"]
        reporters = ("destination",) if expect == "data-when-$qrep=destination" else _BOTH
        for reporter in reporters if "$qrep" in entry["expr"] else ("",):
            expression = _fill(entry["expr"], qrep=reporter, workload=_workload_of(entry))
            if (expression, expect) not in seen:
                seen.add((expression, expect))
                name = "-".join(filter(None, [_dashboard(entry), entry["panel"], entry["ref"], reporter]))
                yield pytest.param(expect, expression, id=re.sub(r"[^\w.$-]+", "_", name))


def _dashboard(entry: dict[str, Any]) -> str:
    return str(entry["file"]).partition(".")[0].removeprefix("istio-").removesuffix("-dashboard")


def _variable_name(entry: dict[str, Any]) -> str:
    return f"{_dashboard(entry)}-{entry['variable']}"


def _as_grafana(regex: str, result: QueryResult) -> str:
    """The first group of a variable's regular expression, applied to a series as text."""
    labels = ",".join(f'{name}="{value}"' for name, value in sorted(result.labels.items()))
    match = re.match(regex.strip("/"), f"{{{labels}}} {result.value}")
    return match[1] if match else ""


class Kubelet:
    """Container metrics of the proxies, with what the kernel says about their processes."""

    def __init__(self, proxies: dict[str, Proxy]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = _container_metrics(proxies).encode()
                self.send_response(200)
                self.send_header("content-type", "text/plain; version=0.0.4")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.target = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def _container_metrics(proxies: dict[str, Proxy]) -> str:
    lines = []
    values = {
        "container_cpu_usage_seconds_total": ("counter", lambda proxy: proxy.cpu_seconds()),
        "container_memory_working_set_bytes": ("gauge", lambda proxy: proxy.rss_bytes()),
        "container_fs_usage_bytes": ("gauge", lambda proxy: os.path.getsize(proxy.log_path)),
    }
    for metric, (kind, value) in values.items():
        lines.append(f"# TYPE {metric} {kind}")
        for name, proxy in proxies.items():
            namespace = "istio-system" if name == GATEWAY else "default"
            labels = f'container="istio-proxy",namespace="{namespace}",pod="{name}-5d4b6b8c8b-abcde"'
            lines.append(f"{metric}{{{labels}}} {value(proxy)}")
    return "\n".join(lines) + "\n"


def _answer(request: RecordedRequest) -> Script:
    """The status that the target asks for, with a body."""
    status = request.target.removeprefix("/status/") if request.target.startswith("/status/") else "200"
    body = b"body of %s\n" % status.encode() * 20
    return [Send(b"HTTP/1.1 %s X\r\ncontent-length: %d\r\n\r\n" % (status.encode(), len(body)) + body)]


class SmallMesh:
    """Application, sidecars, gateway; traffic of every kind flows from `start_traffic` to `close`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._mesh = Mesh(directory)
        self._loop = LoopThread()
        self._http = HttpBackend(self._loop).start()
        self._http.answer = _answer
        self._lines = TcpBackend(self._loop, "line_echo", prefix="app").start()
        self._grpc = GrpcServer("127.0.0.1", free_port()).start()
        self._in_http, self._in_grpc, self._in_tcp = free_ports(3)
        self._out_http, self._out_grpc, self._out_tcp, self._out_plain, self._gateway_http = free_ports(5)
        self.proxies: dict[str, Proxy] = {}
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self.rounds = 0
        self._thread = threading.Thread(target=self._send_until_stopped, name="traffic", daemon=True)

    def start(self) -> None:
        for name in PROXIES:
            self.proxies[name] = start_workload(self._workload(name), self._directory)
        self._thread.start()
        wait_until(
            lambda: self.rounds or self._failure, timeout_s=DEADLINE_S, what="the first round of traffic"
        )
        self.check()

    def check(self) -> None:
        """Raises what ended the traffic, if it has ended."""
        if self._failure is not None:
            raise AssertionError("the traffic has ended") from self._failure

    def close(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(10)
        for proxy in self.proxies.values():
            proxy.terminate()
        self._grpc.stop()
        for backend in (self._http, self._lines):
            backend.stop()
        self._loop.close()

    def _workload(self, name: str) -> dict[str, Any]:
        return workload_file(
            self._mesh,
            name,
            namespace="istio-system" if name == GATEWAY else "default",
            cluster=f"cluster-of-{name.removesuffix('-v1')}",
            **(self._inbound() if name == "reviews-v1" else self._outbound(name)),
        )

    def _inbound(self) -> dict[str, Any]:
        ports = {
            "http": (self._in_http, self._http.address[1]),
            "grpc": (self._in_grpc, self._grpc.address[1]),
            "tcp": (self._in_tcp, self._lines.address[1]),
        }
        return {
            "inbound": [
                {
                    "listen": f"127.0.0.1:{listen}",
                    "application": f"127.0.0.1:{application}",
                    "protocol": protocol,
                    "service": SERVICE,
                    "mtls": "permissive",
                }
                for protocol, (listen, application) in ports.items()
            ]
        }

    def _outbound(self, name: str) -> dict[str, Any]:
        calls = [
            ("http", True, self._out_http, self._in_http),
            ("http", False, self._out_plain, self._in_http),
            ("grpc", True, self._out_grpc, self._in_grpc),
            ("tcp", True, self._out_tcp, self._in_tcp),
        ]
        if name == GATEWAY:
            calls = [("http", True, self._gateway_http, self._in_http)]
        return {
            "outbound": [
                {
                    "service": SERVICE,
                    "listen": f"127.0.0.1:{listen}",
                    "endpoints": [f"127.0.0.1:{inbound}"],
                    "protocol": protocol,
                    "mtls": mtls,
                    "identities": [spiffe("reviews")] if mtls else [],
                }
                for protocol, mtls, listen, inbound in calls
            ]
        }

    # traffic

    def _send_until_stopped(self) -> None:
        try:
            while not self._stop.wait(BETWEEN_ROUNDS_S):
                for port in (self._out_http, self._out_plain, self._in_http, self._gateway_http):
                    self._send_http(port)
                for port in (self._out_grpc, self._in_grpc):
                    self._send_grpc(port)
                for port in (self._out_tcp, self._in_tcp):
                    self._send_tcp(port)
                self.rounds += 1
        except BaseException as error:
            self._failure = error

    def _send_http(self, port: int) -> None:
        with RawClient(("127.0.0.1", port)) as client:
            for target, status in (("/", 200), ("/status/404", 404), ("/status/503", 503)):
                response = client.request("POST", target, body=b"request " * 20, host=SERVICE)
                assert response.status == status

    def _send_grpc(self, port: int) -> None:
        with GrpcClient(("127.0.0.1", port)) as client:
            client.ask()

    def _send_tcp(self, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"hello\n")
            assert connection.recv(100) == b"app hello\n"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallMesh]:
    created = SmallMesh(tmp_path_factory.mktemp("mesh"))
    try:
        created.start()
        yield created
        created.check()
    finally:
        created.close()


@pytest.fixture(scope="module")
def prometheus(mesh: SmallMesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    kubelet = Kubelet(mesh.proxies)
    proxies = [f"127.0.0.1:{proxy.admin_address[1]}" for proxy in mesh.proxies.values()]
    server = PrometheusServer(
        {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
            "scrape_configs": [
                {
                    "job_name": "envoy-stats",
                    "metrics_path": "/stats/prometheus",
                    "static_configs": [{"targets": proxies}],
                },
                {"job_name": "kubelet", "static_configs": [{"targets": [kubelet.target]}]},
            ],
        },
        tmp_path_factory.mktemp("prometheus"),
    )
    try:
        server.targets_up(len(proxies) + 1)
        yield server
    finally:
        server.close()
        kubelet.close()


@pytest.mark.parametrize(("expect", "expression"), [*_cases(_DATA["queries"])])
def test_panel(mesh: SmallMesh, prometheus: PrometheusServer, expect: str, expression: str) -> None:
    mesh.check()
    if expect == "empty-by-design":  # a source does not know whether its request went out by mTLS
        asked = expression.replace('"mutual_tls"', '"unknown"')
        assert asked != expression and prometheus.wait_for(asked, timeout_s=DEADLINE_S)
        assert prometheus.query(expression) == []
    elif expect == "data-when-wasm":  # no Wasm module is loaded
        assert prometheus.query(expression) == []
    else:
        assert has_number(prometheus.wait_for(expression, timeout_s=DEADLINE_S))


@pytest.mark.parametrize("entry", _DATA["variables"], ids=_variable_name)
def test_drop_down_list(mesh: SmallMesh, prometheus: PrometheusServer, entry: dict[str, Any]) -> None:
    """What Grafana's regular expression takes out of the answers is what the list offers."""
    mesh.check()
    for reporter in _BOTH if "$qrep" in entry["expr"] else ("",):
        expression = _fill(entry["expr"], qrep=reporter, workload=_workload_of(entry))
        expected = _OFFERED[_variable_name(entry)]

        def offers(results: Sequence[QueryResult], expected: set[str] = expected) -> bool:
            return expected <= {_as_grafana(entry["regex"], each) for each in results}

        prometheus.wait_for(expression, timeout_s=DEADLINE_S, until=offers)
