"""Interleaved measurements of both proxies, and facts about the process that matter in a pod."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.bench.world import PATHS, BenchWorld, run_load
from tests.support.bootstraps import bootstrap, http_filter_chain, listener, route_config
from tests.support.http_client import RawClient
from tests.support.limits import raise_descriptor_limit
from tests.support.ports import free_ports
from tests.support.process import Proxy, ProxyCommand, start_proxy

IDLE_CONNECTIONS = 1000
IDLE_SECONDS = 4.0
WARM_UP_SECONDS = 1.0


@dataclass
class Measured:
    """CPU seconds of the proxy per 1000 requests, and requests per second, one value for each repetition."""

    cpu_per_1000: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)

    @property
    def median_cpu(self) -> float:
        return statistics.median(self.cpu_per_1000)

    @property
    def median_rate(self) -> float:
        return statistics.median(self.per_second)


def measure_paths(
    world: BenchWorld, *, repetitions: int, seconds: float, connections: int, tell: Callable[[str], None]
) -> dict[tuple[str, str], Measured]:
    """(path, proxy) to its measurements. The proxies take turns, so that both meet the same state of the machine."""
    results = {(path, name): Measured() for path in PATHS for name in world.proxies}
    for path in PATHS:
        for name in world.proxies:
            run_load(world, path, world.ports[name][path], WARM_UP_SECONDS, connections)
        for repetition in range(repetitions):
            for name in sorted(world.proxies, reverse=bool(repetition % 2)):
                measured = results[(path, name)]
                port = world.ports[name][path]
                measure_once(
                    world.proxies[name], partial(run_load, world, path, port, seconds, connections), measured
                )
                tell(
                    f"{path:8} {name:8} {measured.cpu_per_1000[-1]:.4f} CPU s per 1000, {measured.per_second[-1]:.0f}/s"
                )
    return results


def measure_once(proxy: Proxy, load: Callable[[], int], measured: Measured) -> None:
    """`load` gives the number of requests that were answered."""
    before, started = proxy.cpu_seconds(), time.monotonic()
    answered = load()
    elapsed = time.monotonic() - started
    measured.cpu_per_1000.append((proxy.cpu_seconds() - before) * 1000 / answered)
    measured.per_second.append(answered / elapsed)


@dataclass(frozen=True)
class PodFacts:
    """What a pod pays for a sidecar that does little."""

    start_s: float
    """From exec to `/ready`, with a small bootstrap."""
    idle_rss_bytes: int
    idle_cpu_ratio: float
    """CPU used while nothing happens, as a part of one core."""
    bytes_per_connection: float
    """Resident memory of an idle, once used HTTP connection."""


def measure_pod_facts(command: ProxyCommand, name: str, directory: Path) -> PodFacts:
    """A fresh process with one listener that answers by itself."""
    admin_port, port = free_ports(2)
    routes = route_config({"match": {"prefix": "/"}, "direct_response": {"status": 200}})
    text = bootstrap(admin_port, [listener("http", port, http_filter_chain(routes))])
    started = time.monotonic()
    proxy = start_proxy(command, text, directory, admin_port, name=f"pod-{name}")
    start_s = time.monotonic() - started
    try:
        before = proxy.cpu_seconds()
        time.sleep(IDLE_SECONDS)
        idle_cpu_ratio = (proxy.cpu_seconds() - before) / IDLE_SECONDS
        return PodFacts(start_s, proxy.rss_bytes(), idle_cpu_ratio, _bytes_per_connection(proxy, port))
    finally:
        proxy.terminate()


def _bytes_per_connection(proxy: Proxy, port: int) -> float:
    raise_descriptor_limit(2 * IDLE_CONNECTIONS + 200)
    with ExitStack() as stack:
        before = 0
        for number in range(IDLE_CONNECTIONS + 1):
            client = stack.enter_context(RawClient(("127.0.0.1", port)))
            client.request("GET", "/")
            if number == 0:
                before = proxy.rss_bytes()
        return (proxy.rss_bytes() - before) / IDLE_CONNECTIONS
