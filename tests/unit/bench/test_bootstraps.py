"""Every configuration of the benchmark is accepted by the program that it is for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from config.bootstrap import Source, parse_bootstrap
from tests.bench import competitors
from tests.bench.bootstraps import (
    answering_bootstrap,
    client_bootstrap,
    pair_bootstraps,
    proxy_bootstrap,
    relaying_bootstrap,
    start_bootstrap,
    tls_port,
)
from tests.bench.curve_report import BODIES, CLUSTERS, CONNECTIONS, CURVES, HEADERS, SERIES, VIRTUAL_HOSTS
from tests.bench.curves import bootstrap_of, load_of
from tests.bench.rows import ENVOY, ROWS, SECURED, SIDECAR
from tests.bench.telemetry_world import parts_of, telemetry_bootstrap
from tests.support.certificates import Mesh
from tests.support.envoy import require_program
from tests.support.process import ProxyCommand

_BACKENDS = {"http": 9001, "https": 9002, "grpc": 9003, "echo": 9004, "bulk": 9005}
_PORTS = {
    name: 9100 + number
    for number, name in enumerate(["admin", *(row.key for row in ROWS), *map(tls_port, SECURED)])
}
_PAIR_PORTS = {"entry": 9201, "tls": 9202, "client": 9203, "server": 9204}


def _bootstraps(mesh: Mesh, directory: Path, *, istio: bool) -> Mapping[str, str]:
    return {
        "proxy": proxy_bootstrap(mesh, _PORTS, _BACKENDS),
        "proxy with metrics": proxy_bootstrap(mesh, _PORTS, _BACKENDS, istio=istio),
        "clients": client_bootstrap(mesh, 9300, {"sidecar": _PORTS}),
        "answering": answering_bootstrap(9300, [9301], mesh),
        "relaying": relaying_bootstrap(9300, 9301, 9001),
        "start": start_bootstrap(9300, list(range(9301, 9351)), mesh, 9001),
        "telemetry": telemetry_bootstrap(
            9300,
            {part: 9301 + number for number, part in enumerate(parts_of(SIDECAR if istio else ENVOY))},
            9001,
            9002,
            directory / "access.log",
        ),
        **pair_bootstraps(mesh, _PAIR_PORTS, 9001, directory, istio=istio),
        **{
            f"curve {key}": bootstrap_of(key, 10, 9300, 9301, 9001)
            for key in CURVES
            if istio or key != SERIES  # Envoy has no such filter
        },
    }


def test_this_proxy_takes_all_of_them(tmp_path: Path) -> None:
    for name, text in _bootstraps(Mesh(tmp_path), tmp_path, istio=True).items():
        assert parse_bootstrap([Source(f"{name}.json", text)]).warnings == (), name


def test_envoy_takes_all_of_them(tmp_path: Path, envoy: ProxyCommand) -> None:
    for name, text in _bootstraps(Mesh(tmp_path), tmp_path, istio=False).items():
        path = tmp_path / f"{name}.json"
        path.write_text(text)
        done = subprocess.run(
            [*envoy.argv, "--mode", "validate", "-c", str(path), "-l", "error"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"


def test_a_pair_has_what_istio_configures(tmp_path: Path) -> None:
    texts = pair_bootstraps(Mesh(tmp_path), _PAIR_PORTS, 9001, tmp_path, istio=True)
    names = {}
    for side, text in texts.items():
        chain = json.loads(text)["static_resources"]["listeners"][0]["filter_chains"][0]
        manager = chain["filters"][0]["typed_config"]
        assert manager["access_log"]
        names[side] = [each["name"] for each in manager["http_filters"]]
    exchange, router = "envoy.filters.http.peer_metadata", "envoy.filters.http.router"
    assert names == {
        "client": [exchange, "istio.alpn", "istio.stats", router],
        "server": [exchange, "istio.stats", router],
    }


def test_haproxy_takes_its_configuration(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    server = competitors.bundle(mesh.leaf("server"), tmp_path, "server")
    client = competitors.bundle(mesh.leaf("client"), tmp_path, "client")
    path = tmp_path / "haproxy.cfg"
    path.write_text(competitors.haproxy_config(_PORTS, _BACKENDS, server, client, mesh.root))
    command = [require_program("haproxy", "haproxy"), "-c", "-f", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    path = tmp_path / "nginx.conf"
    path.write_text(
        competitors.nginx_config(
            tmp_path, _PORTS, _BACKENDS, mesh.leaf("server"), mesh.leaf("client"), mesh.root
        )
    )
    command = [require_program("nginx", "nginx-light"), "-t", "-p", str(tmp_path), "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_every_row_has_its_place_in_every_proxy(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    listeners = json.loads(proxy_bootstrap(mesh, _PORTS, _BACKENDS))["static_resources"]["listeners"]
    assert [each["name"] for each in listeners] == [row.key for row in ROWS]
    haproxy = competitors.haproxy_config(_PORTS, _BACKENDS, tmp_path, tmp_path, mesh.root)
    assert [line.split()[1] for line in haproxy.splitlines() if line.startswith("frontend")] == [
        row.key for row in ROWS
    ]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (CONNECTIONS, {"connections": 100}),
        (CLUSTERS, {"path": "/r99/"}),
        (VIRTUAL_HOSTS, {"headers": ("Host: service-99.default.svc.cluster.local",)}),
        (SERIES, {"paths": 100}),
        (BODIES, {"path": "/bodies/100", "connections": 2}),
    ],
)
def test_the_load_of_a_point(key: str, expected: Mapping[str, object]) -> None:
    found = load_of(key, 100)
    assert {name: getattr(found, name) for name in expected} == expected


def test_headers_are_as_many_as_asked_for() -> None:
    assert len(load_of(HEADERS, 80).headers) == 80


def test_the_last_of_many_is_there() -> None:
    """What the load asks for is configured: a route for the last path, a domain for the last host."""
    for key, part in (
        (CLUSTERS, '"prefix": "/r9/"'),
        (VIRTUAL_HOSTS, '"service-9.default.svc.cluster.local"'),
    ):
        assert part in bootstrap_of(key, 10, 9300, 9301, 9001)
