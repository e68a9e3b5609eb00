"""The processes around the proxies under measurement: backends, and a client's sidecar that speaks mutual TLS."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench import competitors, load, ours
from tests.bench.bootstraps import client_bootstrap, proxy_bootstrap, tls_port
from tests.bench.rows import DIRECT, HAPROXY, ISTIO, ROWS, SECURED, SIDECAR, Row
from tests.support.certificates import Mesh
from tests.support.envoy import require_envoy, require_program
from tests.support.nginx import start_nginx
from tests.support.ports import free_port, free_ports
from tests.support.process import REPOSITORY, ChildProcess, ProxyCommand, start_proxy

BODY_BYTES = 1024
#: Each is a pair of threads and as many buffers: more of them measure the client.
BULK_CONNECTIONS = 4
_GRPC_PATH = "/bench.Echo/Echo"
#: A message of 100 bytes behind its length.
_GRPC_MESSAGE = b"\0\0\0\0\x64" + b"x" * 100
_BACKEND_OF_ROW = {"grpc": "grpc", "tcp": "echo", "tcp_bulk": "bulk"}


class Backends:
    """What stands behind the proxies. Use as a context manager."""

    def __init__(self, directory: Path, mesh: Mesh) -> None:
        self.directory = directory
        self._children: list[ChildProcess] = []
        names = ("http", "https", "grpc", "echo", "bulk")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        leaf = mesh.leaf("server")
        tls = (
            f"listen 127.0.0.1:{self.ports['https']} ssl; ssl_certificate {leaf.certificate}; "
            f"ssl_certificate_key {leaf.key}; ssl_client_certificate {mesh.root}; ssl_verify_client on;"
        )
        self._children.append(start_nginx(directory, self.ports["http"], "x" * BODY_BYTES, more=tls))
        for module in ("echo", "bulk"):
            command = [sys.executable, "-m", f"tests.bench.{module}", "server", str(self.ports[module])]
            environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}
            self._children.append(ChildProcess(command, directory / f"{module}.log", environment))
        self._start_grpc()

    def __enter__(self) -> Backends:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.terminate(1.0)

    def _start_grpc(self) -> None:
        """A server that answers each message with one message and the trailers of a call that went well."""
        documents = self.directory / "documents"
        answer = documents / _GRPC_PATH[1:]
        answer.parent.mkdir(parents=True)
        answer.write_bytes(_GRPC_MESSAGE)
        (self.directory / "message").write_bytes(_GRPC_MESSAGE)
        nghttpd = require_program("nghttpd", "nghttp2-server")
        command = [nghttpd, "--no-tls", "--address=127.0.0.1", "--trailer=grpc-status: 0"]
        command += [f"--htdocs={documents}", str(self.ports["grpc"])]
        self._children.append(ChildProcess(command, self.directory / "nghttpd.log"))


class BenchWorld:
    """One proxy of each kind, with all rows on ports of its own. Use as a context manager."""

    def __init__(
        self, directory: Path, mesh: Mesh, backends: Backends, commands: dict[str, ProxyCommand]
    ) -> None:
        self.directory = directory
        self._mesh = mesh
        self._backends = backends
        self._children: list[ChildProcess] = []
        self.proxies: dict[str, ChildProcess] = {}
        self.ports: dict[str, dict[str, int]] = {}
        if SIDECAR in commands:
            commands = {**commands, ISTIO: commands[SIDECAR]}
        for name, command in commands.items():
            ports = self._take_ports(name)
            text = proxy_bootstrap(mesh, ports, backends.ports, istio=name == ISTIO)
            self.proxies[name] = ours.start(command, text, directory, ports["admin"], name=name)
        for name, program in competitors.available().items():
            self._start_competitor(name, program)
        admin_port = free_port()
        text = client_bootstrap(mesh, admin_port, self.ports)
        self._children.append(start_proxy(require_envoy(), text, directory, admin_port, name="client"))

    def __enter__(self) -> BenchWorld:
        return self

    def __exit__(self, *_: object) -> None:
        for child in [*self._children, *self.proxies.values()]:
            child.terminate(1.0)

    def _take_ports(self, name: str) -> dict[str, int]:
        names = ["admin", *(row.key for row in ROWS), *map(tls_port, SECURED)]
        self.ports[name] = dict(zip(names, free_ports(len(names)), strict=True))
        return self.ports[name]

    def _start_competitor(self, name: str, program: str) -> None:
        ports = self._take_ports(name)
        listening = {
            path: ports[tls_port(path) if path in SECURED else path] for path in (r.key for r in ROWS)
        }
        server, client = self._mesh.leaf("server"), self._mesh.leaf("client")
        backends, root = self._backends.ports, self._mesh.root
        path = self.directory / f"{name}.conf"
        if name == HAPROXY:
            pems = [
                competitors.bundle(leaf, self.directory, each)
                for leaf, each in ((server, "s"), (client, "c"))
            ]
            text = competitors.haproxy_config(listening, backends, pems[0], pems[1], root)
            command = [program, "-db", "-f", str(path)]
        else:
            text = competitors.nginx_config(self.directory, listening, backends, server, client, root)
            command = [program, "-p", str(self.directory), "-c", str(path)]
        path.write_text(text, encoding="utf-8")
        log_path = self.directory / f"{name}.log"
        self.proxies[name] = competitors.start(command, log_path, listening["http"])

    def takes_part(self, row: Row, name: str) -> bool:
        return name in self.proxies and competitors.can(name, row.key)

    def load(self, row: Row, name: str, seconds: float, connections: int) -> Callable[[], load.Answered]:
        """What drives the row and gives what was answered; `DIRECT` for the name leaves the proxy out."""
        if name == DIRECT:
            port = self._backends.ports[_BACKEND_OF_ROW.get(row.key.removesuffix("_mtls"), "http")]
        else:
            port = self.ports[name][row.key]
        if row.key.startswith("tcp_bulk"):
            return lambda: load.bulk(port, seconds, BULK_CONNECTIONS)
        return lambda: self._requests(row.key, port, seconds, connections, direct=name == DIRECT)

    def _requests(
        self, path: str, port: int, seconds: float, connections: int, *, direct: bool
    ) -> load.Answered:
        if path == "tcp":
            return load.messages(port, seconds, connections)
        if path.startswith("grpc"):
            message = str(self.directory / "message")
            options = ["-d", message, "-H", "content-type: application/grpc", "-H", "te: trailers"]
            return load.h2load(
                port, seconds=seconds, connections=connections, path=_GRPC_PATH, options=options
            )
        if path.startswith("h2") and not direct:  # the backend speaks HTTP/1.1
            return load.h2load(port, seconds=seconds, connections=connections)
        return load.wrk(port, seconds, connections)
