"""The two workloads of the demo: small real servers, and the workload files of their sidecars."""

from __future__ import annotations

import http.client
import json
import socket
import socketserver
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from sidecar.cli.demo_grpc import GrpcHandler

MOVIES: Final = [{"id": 1, "title": "Arrival"}, {"id": 2, "title": "Moon"}, {"id": 3, "title": "Solaris"}]
MOVIES_HOST: Final = "movies.default.svc.cluster.local"
MOVIES_TCP_HOST: Final = "movies-tcp.default.svc.cluster.local"
MOVIES_GRPC_HOST: Final = "movies-grpc.default.svc.cluster.local"
CATALOG_HOST: Final = "catalog.default.svc.cluster.local"
MOVIES_ID: Final = "spiffe://cluster.local/ns/default/sa/movies"
CATALOG_ID: Final = "spiffe://cluster.local/ns/default/sa/catalog"

#: One line for each request or connection, which the report reads: what was agreed, and who was found on the other side.
ACCESS_LOG_FORMAT: Final = (
    "%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %DOWNSTREAM_ALPN% %UPSTREAM_ALPN% %DOWNSTREAM_TLS_VERSION% "
    "%DOWNSTREAM_PEER_URI_SAN% %UPSTREAM_PEER_URI_SAN% "
    "%FILTER_STATE(downstream_peer)% %FILTER_STATE(upstream_peer)% %UPSTREAM_FILTER_STATE(upstream_peer)%"
)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens, on 127.0.0.1."""

    movies_http: int  # the application
    movies_tcp: int
    movies_grpc: int
    catalog_http: int
    movies_in_http: int  # its sidecar
    movies_in_tcp: int
    movies_in_grpc: int
    movies_admin: int
    catalog_in_http: int
    catalog_out_http: int
    catalog_out_tcp: int
    catalog_out_grpc: int
    catalog_admin: int


def free_ports() -> Ports:
    """Ports that are free now: all are bound at once, so that they differ, and then released."""
    sockets = [socket.socket() for _ in Ports.__dataclass_fields__]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    numbers = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return Ports(*numbers)


def movies_workload(ports: Ports) -> dict[str, object]:
    """The workload file of movies-v1, in cluster `peer`."""
    return {
        "workload": {
            "name": "movies-v1",
            "namespace": "default",
            "cluster": "peer",
            "labels": {"app": "movies", "version": "v1"},
        },
        "identity": {"certificate": "movies.pem", "private_key": "movies-key.pem", "ca": "ca.pem"},
        "inbound": [
            {
                "listen": f"127.0.0.1:{ports.movies_in_http}",
                "application": f"127.0.0.1:{ports.movies_http}",
                "protocol": "http",
                "service": MOVIES_HOST,
            },
            {
                "listen": f"127.0.0.1:{ports.movies_in_tcp}",
                "application": f"127.0.0.1:{ports.movies_tcp}",
                "protocol": "tcp",
                "service": MOVIES_TCP_HOST,
            },
            {
                "listen": f"127.0.0.1:{ports.movies_in_grpc}",
                "application": f"127.0.0.1:{ports.movies_grpc}",
                "protocol": "grpc",
                "service": MOVIES_GRPC_HOST,
            },
        ],
        "admin": f"127.0.0.1:{ports.movies_admin}",
        "access_log": "movies-access.log",
        "access_log_format": ACCESS_LOG_FORMAT,
    }


def catalog_workload(ports: Ports) -> dict[str, object]:
    """The workload file of catalog-v1, in cluster `host`: it takes plaintext too, so that anybody may try it."""
    return {
        "workload": {
            "name": "catalog-v1",
            "namespace": "default",
            "cluster": "host",
            "labels": {"app": "catalog", "version": "v1"},
        },
        "identity": {"certificate": "catalog.pem", "private_key": "catalog-key.pem", "ca": "ca.pem"},
        "inbound": [
            {
                "listen": f"127.0.0.1:{ports.catalog_in_http}",
                "application": f"127.0.0.1:{ports.catalog_http}",
                "protocol": "http",
                "service": CATALOG_HOST,
                "mtls": "permissive",
            }
        ],
        "outbound": [
            {
                "service": MOVIES_HOST,
                "listen": f"127.0.0.1:{ports.catalog_out_http}",
                "endpoints": [f"127.0.0.1:{ports.movies_in_http}"],
                "protocol": "http",
                "identities": [MOVIES_ID],
            },
            {
                "service": MOVIES_TCP_HOST,
                "listen": f"127.0.0.1:{ports.catalog_out_tcp}",
                "endpoints": [f"127.0.0.1:{ports.movies_in_tcp}"],
                "protocol": "tcp",
                "identities": [MOVIES_ID],
            },
            {
                "service": MOVIES_GRPC_HOST,
                "listen": f"127.0.0.1:{ports.catalog_out_grpc}",
                "endpoints": [f"127.0.0.1:{ports.movies_in_grpc}"],
                "protocol": "grpc",
                "identities": [MOVIES_ID],
            },
        ],
        "admin": f"127.0.0.1:{ports.catalog_admin}",
        "access_log": "catalog-access.log",
        "access_log_format": ACCESS_LOG_FORMAT,
    }


class _JsonHandler(BaseHTTPRequestHandler):
    """HTTP/1.1 with keep-alive; answers JSON."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes

    def answer(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """The sidecars log."""


class _Movies(_JsonHandler):
    def do_GET(self) -> None:
        self.answer(MOVIES)


class _Catalog(_JsonHandler):
    """Calls movies by its own sidecar's outbound port, as an application in a mesh calls a service by its name."""

    movies_port = 0

    def do_GET(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.movies_port, timeout=10)
        try:
            connection.request("GET", "/movies", headers={"host": MOVIES_HOST})
            response = connection.getresponse()
            body = response.read()
            if response.status == 200:
                self.answer({"catalog": "v1", "movies": json.loads(body)})
            else:
                self.answer({"error": body.decode("utf-8", "replace")}, 502)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.answer({"error": str(error)}, 502)
        finally:
            connection.close()


class _MoviesLines(socketserver.StreamRequestHandler):
    """For each line a title."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        for number, line in enumerate(self.rfile):
            title = str(MOVIES[number % len(MOVIES)]["title"])
            self.wfile.write(line.strip() + b": " + title.encode() + b"\n")


class _TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


class Applications:
    """The servers of both workloads, on threads of this process."""

    def __init__(self, ports: Ports) -> None:
        catalog = type("Catalog", (_Catalog,), {"movies_port": ports.catalog_out_http})
        titles = tuple(str(movie["title"]) for movie in MOVIES)
        grpc = type("Grpc", (GrpcHandler,), {"titles": titles})
        self._servers: list[socketserver.BaseServer] = [
            ThreadingHTTPServer(("127.0.0.1", ports.movies_http), _Movies),
            ThreadingHTTPServer(("127.0.0.1", ports.catalog_http), catalog),
            _TcpServer(("127.0.0.1", ports.movies_tcp), _MoviesLines),
            _TcpServer(("127.0.0.1", ports.movies_grpc), grpc),
        ]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
