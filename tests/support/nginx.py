"""nginx as a backend that is faster than what is measured in front of it."""

from __future__ import annotations

from pathlib import Path

from tests.support.envoy import require_program
from tests.support.http_client import get
from tests.support.process import ChildProcess, wait_until

_CONFIG = """
daemon off;
master_process off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log crit;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        {more}
        location / {{ default_type text/plain; return 200 "{body}"; }}
    }}
}}
"""


def start_nginx(directory: Path, port: int, body: str, more: str = "") -> ChildProcess:
    """A server that answers everything with `body`; skips or fails the test when nginx is not installed.

    `more` are further directives of the server.
    """
    config = directory / "nginx.conf"
    config.write_text(_CONFIG.format(directory=directory, port=port, body=body, more=more), encoding="utf-8")
    program = require_program("nginx", "nginx-light")
    process = ChildProcess([program, "-p", str(directory), "-c", str(config)], directory / "nginx.log")

    def up() -> bool:
        try:
            return get(("127.0.0.1", port), "/").status == 200
        except OSError:
            return False

    wait_until(up, timeout_s=10, what="nginx")
    return process
