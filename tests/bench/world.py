"""The processes around the proxy under measurement: nginx, the echo server, and a client sidecar that speaks mutual TLS."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
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
from tests.support.nginx import start_nginx
from tests.support.ports import free_ports
from tests.support.process import REPOSITORY, ChildProcess, Proxy, ProxyCommand, start_proxy

BODY_BYTES = 1024

PATHS = ("http", "mtls", "h2", "h2_mtls", "grpc", "tcp")

#: `h2load` opens this many streams on each connection.
_STREAMS = 8
_GRPC_PATH = "/bench.Echo/Echo"
#: A message of 100 bytes behind its length.
_GRPC_MESSAGE = b"\0\0\0\0\x64" + b"x" * 100
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HTTP2: Json = {
    "typed_extension_protocol_options": {
        _HTTP_OPTIONS: {
            "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
}


class BenchWorld:
    """Backends, and one proxy of each kind with the same bootstrap on ports of its own. Use as a context manager."""

    def __init__(self, directory: Path, commands: dict[str, ProxyCommand]) -> None:
        self.directory = directory
        self._mesh = Mesh(directory)
        self._nginx_port, self._echo_port, self._grpc_port = free_ports(3)
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
        self._children.append(start_nginx(self.directory, self._nginx_port, "x" * BODY_BYTES))
        self._children.append(
            ChildProcess(
                [sys.executable, "-m", "tests.bench.echo", "server", str(self._echo_port)],
                self.directory / "echo.log",
                {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
            )
        )

        self._start_grpc_backend()

    def _start_grpc_backend(self) -> None:
        """A server that answers each message with one message and the trailers of a call that went well."""
        documents = self.directory / "documents"
        answer = documents / _GRPC_PATH[1:]
        answer.parent.mkdir(parents=True)
        answer.write_bytes(_GRPC_MESSAGE)
        (self.directory / "message").write_bytes(_GRPC_MESSAGE)
        nghttpd = require_program("nghttpd", "nghttp2-server")
        command = [nghttpd, "--no-tls", "--address=127.0.0.1", "--trailer=grpc-status: 0"]
        command += [f"--htdocs={documents}", str(self._grpc_port)]
        self._children.append(ChildProcess(command, self.directory / "nghttpd.log"))

    def _start_proxy(self, name: str, command: ProxyCommand) -> None:
        """The proxy under measurement, and in front of its TLS port an Envoy that plays the client's sidecar."""
        ports = dict(zip((*PATHS, "tls", "h2_tls", "admin", "client_admin"), free_ports(10), strict=True))
        proxy = start_proxy(command, self._bootstrap(ports), self.directory, ports["admin"], name=name)
        self._children.append(proxy)
        client = start_proxy(
            require_envoy(),
            self._client_bootstrap(ports),
            self.directory,
            ports["client_admin"],
            name=f"{name}-client",
        )
        self._children.append(client)
        self.proxies[name] = proxy
        self.ports[name] = ports

    def _bootstrap(self, ports: dict[str, int]) -> str:
        chain = http_filter_chain(route_config(route_to("nginx")), stat_prefix="inbound")
        grpc = http_filter_chain(route_config(route_to("grpc")), stat_prefix="grpc")
        listeners = [
            listener("http", ports["http"], chain),
            listener("mtls", ports["tls"], self._secured(chain, "http/1.1")),
            listener("h2", ports["h2"], chain),
            listener("h2_mtls", ports["h2_tls"], self._secured(chain, "h2")),
            listener("grpc", ports["grpc"], grpc),
            listener("tcp", ports["tcp"], tcp_filter_chain("echo")),
        ]
        clusters = [
            cluster("nginx", ("127.0.0.1", self._nginx_port)),
            cluster("grpc", ("127.0.0.1", self._grpc_port), **_HTTP2),
            cluster("echo", ("127.0.0.1", self._echo_port)),
        ]
        return bootstrap(ports["admin"], listeners, clusters)

    def _secured(self, chain: Json, alpn: str) -> Json:
        return {
            **chain,
            "transport_socket": downstream_tls(
                self._mesh.leaf("server"),
                self._mesh.root,
                alpn=[alpn],
                sans=[uri_san(prefix=f"spiffe://{TRUST_DOMAIN}/")],
            ),
        }

    def _client_bootstrap(self, ports: dict[str, int]) -> str:
        listeners, clusters = [], []
        for path, server_port, alpn in (
            ("mtls", ports["tls"], "http/1.1"),
            ("h2_mtls", ports["h2_tls"], "h2"),
        ):
            tls = upstream_tls(
                self._mesh.leaf("client"),
                self._mesh.root,
                alpn=[alpn],
                sans=[uri_san(exact=spiffe("server"))],
            )
            chain = http_filter_chain(route_config(route_to(path)), stat_prefix=path)
            listeners.append(listener(path, ports[path], chain))
            options = _HTTP2 if alpn == "h2" else {}
            clusters.append(cluster(path, ("127.0.0.1", server_port), transport_socket=tls, **options))
        return bootstrap(ports["client_admin"], listeners, clusters)


def _run_h2load(world: BenchWorld, path: str, port: int, seconds: float, connections: int) -> int:
    command = [require_program("h2load", "nghttp2-client"), "-c", str(connections), "-m", str(_STREAMS)]
    command += ["-D", f"{seconds:g}"]
    if path == "grpc":
        command += ["-d", str(world.directory / "message"), "-H", "content-type: application/grpc"]
        command += ["-H", "te: trailers", f"http://127.0.0.1:{port}{_GRPC_PATH}"]
    else:
        command.append(f"http://127.0.0.1:{port}/")
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    match = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", done.stdout)
    if match is None or int(match[2]) or int(match[3]) or re.search(r"[1-9]\d* [345]xx", done.stdout):
        raise RuntimeError(done.stdout)
    return int(match[1])


def run_load(world: BenchWorld, path: str, port: int, seconds: float, connections: int) -> int:
    """Drive one path; the number of requests (or TCP messages) answered. Raises RuntimeError when any failed."""
    if path in ("h2", "h2_mtls", "grpc"):
        return _run_h2load(world, path, port, seconds, connections)
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
    return wrk(port, seconds, connections)


def wrk(port: int, seconds: float, connections: int, headers: Sequence[str] = ()) -> int:
    """GET over HTTP/1.1 as fast as it goes; the number of answers. Raises RuntimeError when any failed."""
    command = [require_program("wrk", "wrk"), "-t", "1", "-c", str(connections), "-d", f"{seconds:g}s"]
    for header in headers:
        command += ["-H", header]
    command.append(f"http://127.0.0.1:{port}/")
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(done.stdout)
    match = re.search(r"(\d+) requests in", done.stdout)
    if match is None:
        raise RuntimeError(done.stdout)
    return int(match[1])
