"""Facts about the process that matter in a pod: time to start, memory, what it does when nothing happens."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench import load, ours
from tests.bench.bootstraps import (
    START_LISTENERS,
    answering_bootstrap,
    relaying_bootstrap,
    start_bootstrap,
)
from tests.bench.measure import cpu_seconds
from tests.bench.results import Samples
from tests.support.certificates import Mesh
from tests.support.http_client import RawClient
from tests.support.limits import raise_descriptor_limit
from tests.support.ports import free_ports
from tests.support.process import ProxyCommand, start_proxy

IDLE_CONNECTIONS = 1000
IDLE_TLS_CONNECTIONS = 5000
REQUESTS = 100_000
CONNECTIONS = 16
_IDLE_SECONDS = 4.0
_SETTLE_SECONDS = 2.0

Facts = dict[str, list[float]]


def measure_pod(command: ProxyCommand, directory: Path) -> Facts:
    """A fresh process with one listener that answers by itself."""
    admin_port, port = free_ports(2)
    proxy = ours.start(command, answering_bootstrap(admin_port, [port]), directory, admin_port, name="pod")
    try:
        before = cpu_seconds(proxy)
        time.sleep(_IDLE_SECONDS)
        idle_cpu_ratio = (cpu_seconds(proxy) - before) / _IDLE_SECONDS
        idle_bytes = proxy.rss_bytes()
        raise_descriptor_limit(2 * IDLE_CONNECTIONS + 200)
        with ExitStack() as stack:
            for number in range(IDLE_CONNECTIONS + 1):
                client = stack.enter_context(RawClient(("127.0.0.1", port)))
                client.request("GET", "/")
                if number == 0:
                    first = proxy.rss_bytes()
            per_connection = (proxy.rss_bytes() - first) / IDLE_CONNECTIONS
        return {
            "idle_cpu_ratio": [idle_cpu_ratio],
            "idle_bytes": [idle_bytes],
            "connection_bytes": [max(per_connection, 0.0)],
        }
    finally:
        proxy.terminate(1.0)


def measure_memory(command: ProxyCommand, directory: Path, backend_port: int) -> Facts:
    """Resident memory around a fixed number of requests that are relayed."""
    admin_port, port = free_ports(2)
    text = relaying_bootstrap(admin_port, port, backend_port)
    proxy = ours.start(command, text, directory, admin_port, name="memory")
    try:
        before = proxy.rss_bytes()
        answered = load.h2load(port, requests=REQUESTS, connections=CONNECTIONS, http1=True)
        if answered.count != REQUESTS:
            raise RuntimeError(f"{answered.count} of {REQUESTS} requests were answered")
        time.sleep(_SETTLE_SECONDS)
        return {
            "before_bytes": [before],
            "peak_bytes": [proxy.peak_rss_bytes()],
            "after_bytes": [proxy.rss_bytes()],
        }
    finally:
        proxy.terminate(1.0)


def measure_tls_connections(
    command: ProxyCommand, directory: Path, mesh: Mesh, count: int = IDLE_TLS_CONNECTIONS
) -> Facts:
    """Resident memory for each of `count` connections that shook hands, asked once, and are idle.

    Raises RuntimeError when the machine does not allow so many descriptors.
    """
    raise_descriptor_limit(count + 500)
    admin_port, port = free_ports(2)
    text = answering_bootstrap(admin_port, [port], mesh)
    proxy = ours.start(command, text, directory, admin_port, name="tls-connections")
    context = mesh.client_context("client", alpn=["http/1.1"])
    request = b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n"
    try:
        with ExitStack() as stack:
            for number in range(count + 1):
                plain = socket.create_connection(("127.0.0.1", port), timeout=10.0)
                # the request follows the handshake's last message and must not wait for its acknowledgement
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client = stack.enter_context(context.wrap_socket(plain))
                client.sendall(request)
                if not client.recv(4096).startswith(b"HTTP/1.1 200"):
                    raise RuntimeError("a connection was not answered")
                if number == 0:
                    first = proxy.rss_bytes()
            return {"connection_bytes": [(proxy.rss_bytes() - first) / count], "connections": [count]}
    finally:
        proxy.terminate(1.0)


def start_once(commands: dict[str, ProxyCommand], directory: Path, mesh: Mesh, backend_port: int) -> None:
    """Each before anything is measured: what is compiled to bytecode at a first start, or read from the disk, is no start's cost."""
    for command in commands.values():
        admin_port, *ports = free_ports(1 + START_LISTENERS)
        text = start_bootstrap(admin_port, ports, mesh, backend_port)
        ours.start(command, text, directory, admin_port, name="once").terminate(1.0)


def measure_start(
    commands: dict[str, ProxyCommand], directory: Path, mesh: Mesh, backend_port: int, repetitions: int
) -> Samples:
    """Seconds from exec to `/ready`: `small_s` with one listener, `large_s` with fifty and their clusters. In turns."""
    results: Samples = {name: {"small_s": [], "large_s": []} for name in commands}
    for _ in range(repetitions):
        for name, command in commands.items():
            for fact, count in (("small_s", 1), ("large_s", START_LISTENERS)):
                admin_port, *ports = free_ports(1 + count)
                if count == 1:
                    text = answering_bootstrap(admin_port, ports)
                else:
                    text = start_bootstrap(admin_port, ports, mesh, backend_port)
                started = time.monotonic()
                proxy = start_proxy(command, text, directory, admin_port, name="start")
                results[name][fact].append(time.monotonic() - started)
                ours.verify(proxy)
                proxy.terminate(1.0)
    return results
