"""HAProxy and nginx as proxies on the same paths, one worker each, with what they do by default.

nginx relays TCP only with a module of its own (Debian: libnginx-mod-stream); without it those rows have no nginx.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from tests.bench.rows import HAPROXY, NGINX
from tests.support.certificates import LeafFiles
from tests.support.process import ChildProcess, wait_until

_STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

Ports = Mapping[str, int]


def available() -> dict[str, str]:
    """Name to path of the program, of those that are installed."""
    return {name: path for name in (HAPROXY, NGINX) if (path := shutil.which(name)) is not None}


def can(name: str, path: str) -> bool:
    """Whether this installation can do the path at all."""
    return name != NGINX or not path.startswith("tcp") or _STREAM_MODULE.exists()


def bundle(leaf: LeafFiles, directory: Path, name: str) -> Path:
    """Certificate and key in one file, as HAProxy wants them."""
    path = directory / f"{name}-bundle.pem"
    path.write_bytes(leaf.certificate.read_bytes() + leaf.key.read_bytes())
    return path


def haproxy_config(ports: Ports, backends: Ports, server: Path, client: Path, root: Path) -> str:
    """`server` and `client` are bundles; `ports` where to listen for each row."""
    tls = f"ssl crt {server} ca-file {root} verify required"
    blocks = [
        "global\n nbthread 1\n tune.h2.max-concurrent-streams 1000\n maxconn 2000\n log /dev/null local0",
        "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n http-reuse always",
    ]
    for path, mode, bind, backend in (
        ("http", "http", "", "http"),
        ("mtls", "http", f"{tls} alpn http/1.1", "http"),
        ("mtls_client", "http", "", "https"),
        ("h2", "http", "proto h2", "http"),
        ("h2_mtls", "http", f"{tls} alpn h2", "http"),
        ("grpc", "http", "proto h2", "grpc"),
        ("grpc_mtls", "http", f"{tls} alpn h2", "grpc"),
        ("tcp", "tcp", "", "echo"),
        ("tcp_bulk", "tcp", "", "bulk"),
        ("tcp_bulk_mtls", "tcp", tls, "bulk"),
    ):
        blocks.append(
            f"frontend {path}\n mode {mode}\n bind 127.0.0.1:{ports[path]} {bind}\n default_backend {backend}"
        )
    for name, mode, options in (
        ("http", "http", ""),
        ("https", "http", f"ssl crt {client} ca-file {root} verify required"),
        ("grpc", "http", "proto h2"),
        ("echo", "tcp", ""),
        ("bulk", "tcp", ""),
    ):
        blocks.append(f"backend {name}\n mode {mode}\n server one 127.0.0.1:{backends[name]} {options}")
    return "\n".join(line.rstrip() for block in blocks for line in [*block.split("\n"), ""])


def nginx_config(
    directory: Path, ports: Ports, backends: Ports, server: LeafFiles, client: LeafFiles, root: Path
) -> str:
    """As `haproxy_config`. TCP is left out when the module is missing."""
    tls = (
        f"ssl_certificate {server.certificate}; ssl_certificate_key {server.key}; "
        f"ssl_client_certificate {root}; ssl_verify_client on;"
    )
    to_tls = (
        f"proxy_pass https://https; proxy_ssl_certificate {client.certificate}; proxy_ssl_certificate_key {client.key}; "
        f"proxy_ssl_trusted_certificate {root}; proxy_ssl_verify on; proxy_ssl_name server.default.svc.cluster.local;"
    )
    to_http = "proxy_pass http://http;"
    to_grpc = "grpc_pass grpc://grpc;"
    temporary = "\n".join(
        f" {name}_temp_path {directory}/proxy-{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    upstreams = "\n".join(
        f" upstream {name} {{ server 127.0.0.1:{backends[name]}; keepalive 256; keepalive_requests 1000000000; }}"
        for name in ("http", "https", "grpc")
    )
    servers = "\n".join(
        f" server {{ listen 127.0.0.1:{ports[path]} {options}; {more} location / {{ {action} }} }}"
        for path, options, more, action in (
            ("http", "", "", to_http),
            ("mtls", "ssl", tls, to_http),
            ("mtls_client", "", "", to_tls),
            ("h2", "http2", "", to_http),
            ("h2_mtls", "ssl http2", tls, to_http),
            ("grpc", "http2", "", to_grpc),
            ("grpc_mtls", "ssl http2", tls, to_grpc),
        )
    )
    load, stream = "", ""
    if _STREAM_MODULE.exists():
        load = f"load_module {_STREAM_MODULE};\n"
        relays = "\n".join(
            f" server {{ listen 127.0.0.1:{ports[path]} {options}; {more} proxy_pass 127.0.0.1:{backends[backend]}; }}"
            for path, options, more, backend in (
                ("tcp", "", "", "echo"),
                ("tcp_bulk", "", "", "bulk"),
                ("tcp_bulk_mtls", "ssl", tls, "bulk"),
            )
        )
        stream = f"stream {{\n{relays}\n}}\n"
    return f"""{load}daemon off;
master_process off;
worker_processes 1;
pid {directory}/proxy-nginx.pid;
error_log {directory}/proxy-nginx-error.log crit;
events {{ worker_connections 8192; }}
http {{
{temporary}
 access_log off;
 keepalive_requests 1000000000;
 proxy_http_version 1.1;
 proxy_set_header Connection "";
{upstreams}
{servers}
}}
{stream}"""


def start(command: list[str], log_path: Path, port: int) -> ChildProcess:
    """Started, and somebody accepts on `port`. Raises RuntimeError with the log when it ends before."""
    child = ChildProcess(command, log_path)

    def up() -> bool:
        if child.returncode is not None:
            raise RuntimeError(f"{command[0]} ended with {child.returncode}:\n{child.log_text()[-4000:]}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            return False
        return True

    wait_until(up, timeout_s=10, what=command[0])
    return child
