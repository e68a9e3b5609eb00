"""How the cost of a request grows: `python -m tests.bench.curves` writes `docs/performance.svg` and the table of curves.

Each point is a process of its own: this proxy with its compiled modules, or without them where no compiler is. The load runs
until it is stopped; CPU time and the requests that the backend has seen are read while it goes on, so that connecting and
filling up do not count. Takes some four minutes; after nine it stops, and what was measured until then is kept. A curve that
fails, or is not reached, stays as it was measured last.
"""

from __future__ import annotations

import argparse
import math
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bench import curve_report, load, ours, results, rows
from tests.bench.curve_bootstraps import (
    clusters_bootstrap,
    host_name,
    plain_bootstrap,
    series_bootstrap,
    virtual_hosts_bootstrap,
)
from tests.bench.curve_report import BODIES, CLUSTERS, CONNECTIONS, CURVES, SERIES, VIRTUAL_HOSTS
from tests.bench.measure import cpu_seconds
from tests.bench.results import Samples, Tell
from tests.bench.world import BODY_BYTES
from tests.support.http_client import get
from tests.support.limits import raise_descriptor_limit
from tests.support.nginx import start_nginx
from tests.support.ports import free_port, free_ports
from tests.support.process import REPOSITORY, Proxy, ProxyCommand, wait_until

_LIMIT_S = 540.0
_START_TIMEOUT_S = 60.0
_FILL_TIMEOUT_S = 60.0
_SETTLE_S = 0.5
_FOREVER_S = 600.0
_CONNECTIONS_OF_BODIES = 2
_CONNECTIONS = 16


@dataclass(frozen=True)
class Load:
    """What `wrk` does to one point."""

    connections: int = _CONNECTIONS
    path: str = "/"
    headers: tuple[str, ...] = ()
    paths: int = 0
    """So many different paths in turns, instead of the one."""


def load_of(key: str, point: int) -> Load:
    if key == CONNECTIONS:
        return Load(connections=point)
    if key == CLUSTERS:
        return Load(path=f"/r{point - 1}/")  # the last route is the most expensive one
    if key == VIRTUAL_HOSTS:
        return Load(headers=(f"Host: {host_name(point - 1)}",))
    if key == SERIES:
        return Load(paths=point)
    if key == BODIES:
        return Load(path=f"/bodies/{point}", connections=_CONNECTIONS_OF_BODIES)
    return Load(headers=tuple(f"x-header-{number}: value of {number}" for number in range(point)))


def bootstrap_of(key: str, point: int, admin_port: int, port: int, backend_port: int) -> str:
    if key == CLUSTERS:
        return clusters_bootstrap(admin_port, port, backend_port, point)
    if key == VIRTUAL_HOSTS:
        return virtual_hosts_bootstrap(admin_port, port, backend_port, point)
    if key == SERIES:
        return series_bootstrap(admin_port, port, backend_port, point)
    return plain_bootstrap(admin_port, port, backend_port)


class Backend:
    """nginx that counts its requests, and has bodies of the sizes asked for. Use as a context manager."""

    def __init__(self, directory: Path) -> None:
        raise_descriptor_limit(2 * max(CURVES[CONNECTIONS].points) + 500)  # it inherits the limit
        self.port = free_port()
        bodies = directory / "bodies"
        bodies.mkdir()
        for size in CURVES[BODIES].points:
            (bodies / str(size)).write_bytes(b"x" * size)
        more = f"location = /status {{ stub_status; }} location /bodies/ {{ root {directory}; }}"
        self._nginx = start_nginx(directory, self.port, "x" * BODY_BYTES, more=more)

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *_: object) -> None:
        self._nginx.terminate(1.0)

    def requests(self) -> int:
        """So many were seen, this one included."""
        return read_stub_status(get(("127.0.0.1", self.port), "/status").body.decode())


def read_stub_status(page: str) -> int:
    """The number of requests on nginx's page. Raises ValueError."""
    numbers = page.splitlines()[2].split() if page.count("\n") >= 3 else []
    if len(numbers) != 3:
        raise ValueError(page)
    return int(numbers[2])


@contextmanager
def running(command: Sequence[str]) -> Iterator[None]:
    """`wrk` until the end of the block. Raises RuntimeError when a request failed."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60.0)
        load.read_wrk(output)
    finally:
        process.kill()
        process.wait()


def _wrk(port: int, what: Load, directory: Path) -> list[str]:
    command = load.wrk_command(port, _FOREVER_S, what.connections, what.headers, what.path)
    options = ["--timeout", "60s"]
    if what.paths:
        script = directory / "paths.lua"
        script.write_text(
            f'local n = 0\nfunction request()\n n = (n + 1) % {what.paths}\n return wrk.format("GET", "/s/" .. n)\nend\n',
            encoding="utf-8",
        )
        options += ["-s", str(script)]
    return [command[0], *options, *command[1:]]


def measure_point(
    key: str, point: int, command: ProxyCommand, backend: Backend, directory: Path, amount: tuple[int, float]
) -> dict[str, list[float]]:
    """`amount`: repetitions and seconds. `cost` in CPU seconds per 1000 requests; of series also that of a scrape."""
    repetitions, seconds = amount
    admin_port, port = free_ports(2)
    what = load_of(key, point)
    raise_descriptor_limit(2 * what.connections + 500)
    text = bootstrap_of(key, point, admin_port, port, backend.port)
    proxy = ours.start(command, text, directory, admin_port, name=key, timeout_s=_START_TIMEOUT_S)
    found: dict[str, list[float]] = {"cost": []}
    try:
        begun = backend.requests()
        with running(_wrk(port, what, directory)):
            time.sleep(_SETTLE_S + what.connections / 2000)
            _wait_for_requests(backend, begun + what.paths)
            for _ in range(repetitions):
                before, count = cpu_seconds(proxy), backend.requests()
                time.sleep(seconds)
                used, answered = cpu_seconds(proxy) - before, backend.requests() - count - 1
                found["cost"].append(used * 1000 / max(answered, 1))
        if key == SERIES:
            found["scrape"] = [_scrape(proxy, point) for _ in range(repetitions)]
    finally:
        proxy.terminate(1.0)
    return found


def _wait_for_requests(backend: Backend, count: int) -> None:
    """Until every series is there. Raises TimeoutError."""
    wait_until(
        lambda: backend.requests() >= count,
        timeout_s=_FILL_TIMEOUT_S,
        what=f"{count} requests",
        interval_s=0.1,
    )


def _scrape(proxy: Proxy, series: int) -> float:
    """CPU seconds of one page. Raises RuntimeError when the series are not on it."""
    before = cpu_seconds(proxy)
    page = proxy.admin("/stats/prometheus", timeout_s=120.0)
    used = cpu_seconds(proxy) - before
    if (found := page.count("\nistio_requests_total{")) < series:
        raise RuntimeError(f"{found} series instead of {series}")
    return used


def measure_curve(
    key: str,
    command: ProxyCommand,
    backend: Backend,
    directory: Path,
    amount: tuple[int, float],
    tell: Tell,
    deadline_s: float = math.inf,
) -> Samples:
    """Raises TimeoutError when a point would begin after `deadline_s` of the monotonic clock."""
    samples: Samples = {}
    for point in CURVES[key].points:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"no time is left for {key} {point}")
        samples[str(point)] = measure_point(key, point, command, backend, directory, amount)
        numbers = ", ".join(
            f"{name} {statistics.median(values):.4f}" for name, values in samples[str(point)].items()
        )
        tell(f"{key} {point}: {numbers}")
    return samples


def _tell(line: str) -> None:
    print(line, flush=True)


def _measure(options: argparse.Namespace, keys: Sequence[str]) -> list[str]:
    """All of `keys` into the files, each when it is done; those that failed."""
    stored = options.output.with_suffix(".json")
    found = results.read(stored)
    deadline_s = time.monotonic() + _LIMIT_S
    variants, missing = ours.variants(_tell)
    amount = (
        f"{options.repetitions} repetition{'s' if options.repetitions > 1 else ''} of {options.seconds:g} s"
    )
    how = results.setting(
        f"{amount}, {_CONNECTIONS} connections where the curve says no other number", missing
    )
    failed = []
    with tempfile.TemporaryDirectory() as name, Backend(Path(name)) as backend:
        for key in keys:
            try:
                samples = measure_curve(
                    key,
                    variants.get(rows.SIDECAR, variants[rows.PURE]),
                    backend,
                    Path(name),
                    (options.repetitions, options.seconds),
                    _tell,
                    deadline_s,
                )
            except Exception:  # one curve is not worth the others
                traceback.print_exc()
                failed.append(key)
                continue
            found[f"curve:{key}"] = results.Result(how, samples)
            results.write(stored, found)
            curve_report.write(options.output, results.read(stored))  # rounded as they are kept
    return failed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.curves", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    measured = [key for key in CURVES if CURVES[key].points]
    parser.add_argument(
        "--only", metavar="PATTERN", help=f"a regular expression; there are {', '.join(measured)}"
    )
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "docs" / "performance.md", help="beside it: .json, .svg"
    )
    options = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        failed = _measure(options, rows.chosen(measured, options.only))
    except pytest.skip.Exception as missing:
        print(missing, file=sys.stderr)
        return 1
    _tell(f"after {time.monotonic() - began:.0f} s")
    if failed:
        print(f"failed, and left as they were: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended
    sys.exit(main())
