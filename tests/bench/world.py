"""The processes around the proxy under measurement: nginx, the echo server, and a client sidecar that speaks mutual TLS."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.bootstraps import (
    Json,
    bootstrap,
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
from tests.support.certificates import TRUST_DOMAIN, Mesh, spiffe
from tests.support.envoy import require_envoy, require_program
from tests.support.http_client import get
from tests.support.ports import free_ports
from tests.support.process import REPOSITORY, ChildProcess, Proxy, ProxyCommand, start_proxy, wait_until

BODY_BYTES = 1024

_NGINX = """
daemon off;
master_process off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log crit;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port};
        location / {{ default_type text/plain; return 200 "{body}"; }}
    }}
}}
"""

PATHS = ("http", "mtls", "tcp")


class BenchWorld:
    """Backends, and one proxy of each kind with the same bootstrap on ports of its own. Use as a context manager."""

    def __init__(self, directory: Path, commands: dict[str, ProxyCommand]) -> None:
        self._directory = directory
        self._mesh = Mesh(directory)
        self._nginx_port, self._echo_port = free_ports(2)
        self._children: list[ChildProcess] = []
        self.proxies: dict[str, Proxy] = {}
        self.ports: dict[str, dict[str, int]] = {}
        self._start_backends()
        for name, command in commands.items():
            self._start_proxy(name, command)

    def __enter__(self) -> BenchWorld:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.terminate(1.0)

    def _start_backends(self) -> None:
        config = self._directory / "nginx.conf"
        config.write_text(
            _NGINX.format(directory=self._directory, port=self._nginx_port, body="x" * BODY_BYTES),
            encoding="utf-8",
        )
        nginx = require_program("nginx", "nginx-light")
        self._children.append(
            ChildProcess(
                [nginx, "-p", str(self._directory), "-c", str(config)], self._directory / "nginx.log"
            )
        )
        self._children.append(
            ChildProcess(
                [sys.executable, "-m", "tests.bench.echo", "server", str(self._echo_port)],
                self._directory / "echo.log",
                {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
            )
        )

        def up() -> bool:
            try:
                return get(("127.0.0.1", self._nginx_port), "/").status == 200
            except OSError:
                return False

        wait_until(up, timeout_s=10, what="nginx")

    def _start_proxy(self, name: str, command: ProxyCommand) -> None:
        """The proxy under measurement, and in front of its TLS port an Envoy that plays the client's sidecar."""
        admin_port, client_admin_port, http, tls, mtls, tcp = free_ports(6)
        proxy = start_proxy(
            command, self._bootstrap(admin_port, http, tls, tcp), self._directory, admin_port, name=name
        )
        self._children.append(proxy)
        client = start_proxy(
            require_envoy(),
            self._client_bootstrap(client_admin_port, mtls, tls),
            self._directory,
            client_admin_port,
            name=f"{name}-client",
        )
        self._children.append(client)
        self.proxies[name] = proxy
        self.ports[name] = {"http": http, "mtls": mtls, "tcp": tcp}

    def _bootstrap(self, admin_port: int, http: int, tls: int, tcp: int) -> str:
        chain = http_filter_chain(route_config(route_to("nginx")), stat_prefix="inbound")
        secured: Json = {
            **chain,
            "transport_socket": downstream_tls(
                self._mesh.leaf("server"),
                self._mesh.root,
                alpn=["http/1.1"],
                sans=[uri_san(prefix=f"spiffe://{TRUST_DOMAIN}/")],
            ),
        }
        listeners = [
            listener("http", http, chain),
            listener("mtls", tls, secured),
            listener("tcp", tcp, tcp_filter_chain("echo")),
        ]
        clusters = [
            cluster("nginx", ("127.0.0.1", self._nginx_port)),
            cluster("echo", ("127.0.0.1", self._echo_port)),
        ]
        return bootstrap(admin_port, listeners, clusters)

    def _client_bootstrap(self, admin_port: int, port: int, server_port: int) -> str:
        tls = upstream_tls(
            self._mesh.leaf("client"),
            self._mesh.root,
            alpn=["http/1.1"],
            sans=[uri_san(exact=spiffe("server"))],
        )
        return bootstrap(
            admin_port,
            [
                listener(
                    "out", port, http_filter_chain(route_config(route_to("server")), stat_prefix="outbound")
                )
            ],
            [cluster("server", ("127.0.0.1", server_port), transport_socket=tls)],
        )


def run_load(path: str, port: int, seconds: float, connections: int) -> int:
    """Drive one path; the number of requests (or TCP messages) answered. Raises RuntimeError when any failed."""
    if path == "tcp":
        command = [
            sys.executable,
            "-m",
            "tests.bench.echo",
            "client",
            str(port),
            str(connections),
            "64",
            str(seconds),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY, timeout=60)
        return int(done.stdout)
    wrk = require_program("wrk", "wrk")
    command = [wrk, "-t", "1", "-c", str(connections), "-d", f"{seconds:g}s", f"http://127.0.0.1:{port}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(done.stdout)
    match = re.search(r"(\d+) requests in", done.stdout)
    if match is None:
        raise RuntimeError(done.stdout)
    return int(match[1])
