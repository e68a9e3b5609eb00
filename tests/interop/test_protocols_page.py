"""The bootstrap of docs/protocols.md does what the page says: each of its protocols works."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.support.backends import Backend, HttpBackend, LoopThread, TcpBackend
from tests.support.grpc_client import GrpcClient
from tests.support.grpc_echo import GrpcServer
from tests.support.ports import free_port, free_ports
from tests.support.process import REPOSITORY, Proxy, sidecar_command, start_proxy
from tests.support.tunnels import open_http1, open_http2, open_tcp
from tests.support.websocket_server import WebSocketServer

PAGE = REPOSITORY / "docs" / "protocols.md"
HTTP, CONNECT, TCP = 8080, 8081, 8082
WEB_APP, GRPC_APP, TCP_APP = 9000, 9001, 9002

#: Starts the page's proxy with these ports in place of its applications'; gives the page's ports -> real ones.
Start = Callable[[dict[int, int]], dict[int, int]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    started: list[Proxy] = []

    def run(applications: dict[int, int]) -> dict[int, int]:
        ports = dict(zip((HTTP, CONNECT, TCP), free_ports(3), strict=True)) | applications
        given = re.sub(r"port_value: (\d+)", lambda port: f"port_value: {ports.get(int(port[1]), 1)}", text)
        admin_port = free_port()
        admin = f"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin_port}}}}}}}\n"
        started.append(start_proxy(sidecar_command(), given + admin, tmp_path, admin_port))
        return ports

    yield run
    for proxy in started:
        proxy.terminate()


@pytest.fixture
def backends() -> Iterator[list[Backend]]:
    """Those of a test, stopped at its end."""
    started: list[Backend] = []
    yield started
    for backend in started:
        backend.stop()


@pytest.fixture(scope="module")
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_both_versions_of_http_on_one_port(
    start: Start, backends: list[Backend], loop: LoopThread, version: str
) -> None:
    app = HttpBackend(loop).start()
    backends.append(app)
    ports = start({WEB_APP: app.address[1]})
    command = ["curl", "-sS", version, "-w", "%{http_version}", f"http://127.0.0.1:{ports[HTTP]}/"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    assert answer == "hello\n" + ("1.1" if version == "--http1.1" else "2")
    assert app.requests[0].request_line == b"GET / HTTP/1.1"


def test_grpc(start: Start) -> None:
    server = GrpcServer("127.0.0.1", free_port()).start()
    try:
        ports = start({GRPC_APP: server.address[1]})
        with GrpcClient(("127.0.0.1", ports[HTTP])) as client:
            assert client.ask(b"ping") == b"ping"
    finally:
        server.stop()


def test_websocket(start: Start) -> None:
    server = WebSocketServer()
    try:
        ports = start({WEB_APP: server.address[1]})
        with connect(f"ws://127.0.0.1:{ports[HTTP]}/echo", proxy=None) as client:
            client.send("hello")
            assert client.recv(timeout=10) == "hello"
    finally:
        server.close()


def test_connect_and_tcp_through_it(start: Start, backends: list[Backend], loop: LoopThread) -> None:
    app = TcpBackend(loop, "echo").start()
    backends.append(app)
    ports = start({TCP_APP: app.address[1]})
    end = ("127.0.0.1", ports[CONNECT])
    for tunnel in (open_http1(end, "x:80"), open_http2(end, "x:80"), open_tcp(("127.0.0.1", ports[TCP]))):
        with tunnel:
            tunnel.send(b"hello\n")
            assert tunnel.read(6) == b"hello\n"
