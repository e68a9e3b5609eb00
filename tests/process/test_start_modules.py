"""A start loads what its configuration needs: the time to `/ready`, and most of an idle proxy's memory, are modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bootstraps import (
    bootstrap,
    cluster,
    http_filter_chain,
    listener,
    route_config,
    route_to,
    upstream_tls,
)
from tests.support.certificates import Mesh
from tests.support.ports import free_ports
from tests.support.process import sidecar_command

#: Whoever needs more at every start shows here that it is worth it. There are ten less; what Python loads of itself differs with its version.
MAX_MODULES = 740
MAX_MODULES_OF_A_WORKER = 460
#: A dataclass takes as long as several modules: what is not compiled, and made at every start, is a struct of msgspec.
MAX_DATACLASSES = 40

#: Libraries and rooms of our own that a proxy without them in its configuration does not load, and for what they are.
NOT_AT_START = {
    "cryptography": "TLS",
    "difflib": "guesses at what was meant",
    "email": "nothing",
    "h11": "the other HTTP/1 codec",
    "html": "statistics for browsers",
    "importlib.metadata": "nothing",
    "prometheus_client": "the demo",
    "sidecar.cli": "people",
    "sidecar.http.filters.rbac": "who configures it",
    "sidecar.ipc": "several workers",
    "sidecar.main.admin.certs": "a page that people ask for",
    "sidecar.main.admin.clusters": "a page that people ask for",
    "sidecar.main.admin.config_dump": "a page that people ask for",
    "sidecar.main.admin.failures": "a page that people ask for",
    "sidecar.main.main_process": "several workers",
    "sidecar.network.filters.tcp_proxy": "who configures it",
    "sidecar.telemetry.access_log.remote.buffer": "who configures it",
    "sidecar.telemetry.tracing.opentelemetry": "who configures it",
    "sidecar.telemetry.tracing.zipkin": "who configures it",
}
#: What a worker leaves to main besides.
NOT_IN_A_WORKER = {"argparse", "config.bootstrap", "config.proto", "envoy", "sidecar.main", "yaml"}
#: What a first scrape and the first bytes of traffic must not wait for.
AT_START = {
    "protocols.http.h1_httptools",
    "protocols.http.h2_server",
    "sidecar.main.admin.stats",
    "stats.openmetrics",
    "stats.prometheus",
}

START = r"""
import dataclasses, sys
from sidecar.__main__ import main
made = []
process = dataclasses._process_class
dataclasses._process_class = lambda *rest: made.append(rest[0].__qualname__) or process(*rest)
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(*sys.modules, *map("dataclass {}".format, made), sep="\n")
"""
WORKER = r"""
import sys
import sidecar.worker.run
print(*sys.modules, sep="\n")
"""


def modules_of(program: str, *arguments: str | Path) -> set[str]:
    """All that are loaded when `program` has ended, and what it prints besides."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=20,
        env=sidecar_command().env,
        check=True,
    )
    return set(done.stdout.splitlines())


def modules_at_readiness(directory: Path, *, mesh: Mesh | None = None) -> set[str]:
    """Of a proxy that has been ready, with one listener and one cluster; with a mesh the cluster is behind TLS."""
    admin_port, port = free_ports(2)
    fields = {"transport_socket": upstream_tls(mesh.leaf("client"), mesh.root)} if mesh else {}
    chain = http_filter_chain(route_config(route_to("app")))
    file = directory / "bootstrap.yaml"
    file.write_text(
        bootstrap(
            admin_port, [listener("http", port, chain)], [cluster("app", ("127.0.0.1", port), **fields)]
        )
    )
    return modules_of(START, "-c", file, "--mode", "init_only", "-l", "off")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    return modules_at_readiness(tmp_path_factory.mktemp("start"))


def test_what_is_not_configured_is_not_loaded(ready: set[str]) -> None:
    assert sorted(NOT_AT_START.keys() & ready) == []


def test_what_traffic_and_scrapes_need_is_loaded(ready: set[str]) -> None:
    assert sorted(AT_START - ready) == []


def test_not_many_modules_are_loaded(ready: set[str]) -> None:
    modules = {each for each in ready if not each.startswith("dataclass ")}
    assert 500 < len(modules) <= MAX_MODULES


def test_not_many_dataclasses_are_made(ready: set[str]) -> None:
    made = {each for each in ready if each.startswith("dataclass ")}
    assert 10 < len(made) <= MAX_DATACLASSES


def test_with_tls_certificates_can_be_read_before_the_first_handshake(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    assert "protocols.tls.x509" in modules_at_readiness(tmp_path, mesh=mesh)


def test_a_worker_loads_no_configuration_language() -> None:
    modules = modules_of(WORKER)
    assert sorted((NOT_AT_START.keys() - {"sidecar.ipc"} | NOT_IN_A_WORKER) & modules) == []
    assert len(modules) <= MAX_MODULES_OF_A_WORKER
