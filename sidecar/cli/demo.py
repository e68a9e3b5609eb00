"""`sidecar demo`: two workloads, a sidecar process beside each, traffic through both, and what the sidecars learned."""

from __future__ import annotations

import http.client
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import yaml

from sidecar.cli import demo_report
from sidecar.cli.demo_certificates import MeshAuthority
from sidecar.cli.demo_grpc import GrpcClient, GrpcError
from sidecar.cli.demo_workloads import (
    CATALOG_ID,
    MOVIES,
    MOVIES_GRPC_HOST,
    MOVIES_ID,
    Applications,
    Ports,
    catalog_workload,
    free_ports,
    movies_workload,
)
from sidecar.cli.files import expand_to_text

_START_TIMEOUT_S: Final = 30.0
_STOP_TIMEOUT_S: Final = 10.0
_TCP_CONNECTIONS: Final = 5
_LINES_PER_CONNECTION: Final = 3
_GRPC_NOT_FOUND: Final = 5


class DemoError(Exception):
    """The demo cannot go on; `str()` is for the user."""


def demo(*, once: bool, directory: str | None, requests: int) -> int:
    """0 when every expected series was there. A directory that nobody was told of is not left behind."""
    home = Path(directory or tempfile.mkdtemp(prefix="sidecar-demo-"))
    home.mkdir(parents=True, exist_ok=True)
    complete = False
    try:
        complete = _demonstrate(home, once=once, requests=requests)
    except DemoError as error:
        print(f"sidecar demo: {error}", file=sys.stderr)
    finally:
        if not complete:
            print(f"sidecar demo: configurations and logs are in {home}", file=sys.stderr)
        elif once and not directory:
            shutil.rmtree(home, ignore_errors=True)
    return 0 if complete else 1


def _demonstrate(home: Path, *, once: bool, requests: int) -> bool:
    """Whether every expected series was there. Raises DemoError."""
    ports = free_ports()
    _write_files(home, ports)
    applications = Applications(ports)
    try:
        with _sidecar("movies", home, ports.movies_admin), _sidecar("catalog", home, ports.catalog_admin):
            _send_traffic(ports, requests)
            complete = demo_report.report(home, ports, requests, _TCP_CONNECTIONS)
            if not once:
                demo_report.explain_what_to_look_at(home, ports)
                _wait_for_interrupt()
            return complete
    finally:
        applications.stop()


def _write_files(home: Path, ports: Ports) -> None:
    """Certificates, workload files, and the bootstraps that these stand for."""
    authority = MeshAuthority()
    authority.write_root(home / "ca.pem")
    authority.issue(MOVIES_ID, home / "movies.pem", home / "movies-key.pem")
    authority.issue(CATALOG_ID, home / "catalog.pem", home / "catalog-key.pem")
    for name, workload in (("movies", movies_workload(ports)), ("catalog", catalog_workload(ports))):
        file = home / f"{name}.workload.yaml"
        file.write_text(yaml.safe_dump(workload, sort_keys=False, width=110))
        (home / f"{name}.bootstrap.yaml").write_text(expand_to_text(str(file)))
        (home / f"{name}-access.log").unlink(missing_ok=True)


@contextmanager
def _sidecar(name: str, home: Path, admin_port: int) -> Iterator[None]:
    """A sidecar process while the block runs."""
    log_path = home / f"{name}-sidecar.log"
    command = [sys.executable, "-m", "sidecar", "-c", str(home / f"{name}.bootstrap.yaml")]
    command += ["--log-path", str(log_path), "--drain-time-s", "1", "--file-flush-interval-msec", "100"]
    with open(log_path, "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_until_ready(name, process, admin_port, log_path)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(name: str, process: subprocess.Popen[bytes], admin_port: int, log_path: Path) -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise DemoError(
                f"the sidecar of {name} ended with code {process.returncode}:\n{log_path.read_text()}"
            )
        try:
            if _get(admin_port, "/ready")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise DemoError(
        f"the sidecar of {name} was not ready within {_START_TIMEOUT_S:.0f} s; its log: {log_path}"
    )


def _get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def _send_traffic(ports: Ports, requests: int) -> None:
    """HTTP: somebody asks catalog, which asks movies. TCP and gRPC: catalog asks movies. Raises DemoError."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", ports.catalog_in_http, timeout=10)
        for _ in range(requests):
            connection.request("GET", "/catalog", headers={"host": "catalog"})
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise DemoError(f"catalog answered {response.status}: {body.decode('utf-8', 'replace')}")
        connection.close()
        for number in range(_TCP_CONNECTIONS):
            with socket.create_connection(("127.0.0.1", ports.catalog_out_tcp), timeout=10) as client:
                stream = client.makefile("rwb")
                for line in range(_LINES_PER_CONNECTION):
                    stream.write(b"connection %d line %d\n" % (number, line))
                    stream.flush()
                    if not stream.readline().endswith(b"\n"):
                        raise DemoError("the TCP connection through both sidecars ended early")
        with GrpcClient(ports.catalog_out_grpc, MOVIES_GRPC_HOST) as grpc:
            for number in range(requests):
                known = number % len(MOVIES) + 1
                status, title = grpc.title(known)
                if status or title != MOVIES[known - 1]["title"]:
                    raise DemoError(f"the gRPC call ended with status {status}, title {title!r}")
            status, _ = grpc.title(len(MOVIES) + 1)  # one that fails: its status becomes a label
            if status != _GRPC_NOT_FOUND:
                raise DemoError(f"the gRPC call for an unknown movie ended with status {status}")
    except (OSError, http.client.HTTPException, GrpcError) as error:
        raise DemoError(f"traffic failed: {error}") from error


def _wait_for_interrupt() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        print("\nstopping")
