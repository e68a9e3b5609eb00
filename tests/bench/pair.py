"""A pair of sidecars over mutual TLS, as every request in a mesh meets it: by Istio's published method.

1000 requests per second over 16 connections, bodies of 1 KiB both ways; CPU of each side, and latency from when a request was
due, above that of the backend alone in the same repetition. (Istio publishes 0.20 to 0.6 vCPU per 1000 requests per
second, and a p90 of 2.7 to 3.3 ms added by a pair.)
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from tests.bench import ours
from tests.bench.bootstraps import pair_bootstraps
from tests.bench.load import constant_rate
from tests.bench.measure import WARM_UP_SECONDS, cpu_seconds, turns
from tests.bench.results import Samples, Tell
from tests.bench.rows import DIRECT, OURS
from tests.bench.world import BODY_BYTES
from tests.support.certificates import Mesh
from tests.support.ports import free_ports
from tests.support.process import Proxy, ProxyCommand

CONNECTIONS = 16
PER_SECOND = 1000.0
SIDES = ("client", "server")
_PORTS = ("entry", "tls", *SIDES)


def measure_pair(
    commands: dict[str, ProxyCommand],
    directory: Path,
    mesh: Mesh,
    backend_port: int,
    *,
    repetitions: int,
    seconds: float,
    tell: Tell,
) -> Samples:
    """Proxy to samples: `client_cost` and `server_cost` per 1000 requests, and `p50_ms` and so on; `DIRECT` has only these."""
    body = directory / "pair-body"
    body.write_bytes(b"x" * BODY_BYTES)
    entries = {DIRECT: backend_port}
    pairs: dict[str, dict[str, Proxy]] = {DIRECT: {}}
    results: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        for name, command in commands.items():
            ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
            place = directory / f"pair-{name}"
            place.mkdir()
            texts = pair_bootstraps(mesh, ports, backend_port, place, istio=name in OURS)
            pairs[name] = {}
            for side in SIDES:
                proxy = ours.start(command, texts[side], place, ports[side], name=side)
                stack.callback(proxy.terminate, 1.0)
                pairs[name][side] = proxy
            entries[name] = ports["entry"]
            constant_rate(
                entries[name], WARM_UP_SECONDS, connections=CONNECTIONS, per_second=PER_SECOND, body=body
            )
        for name in turns(list(entries), repetitions, all_as_often=True):
            before = {side: cpu_seconds(proxy) for side, proxy in pairs[name].items()}
            count, latencies = constant_rate(
                entries[name], seconds, connections=CONNECTIONS, per_second=PER_SECOND, body=body
            )
            found = results.setdefault(name, defaultdict(list))
            for side, proxy in pairs[name].items():
                found[f"{side}_cost"].append((cpu_seconds(proxy) - before[side]) * 1000 / count)
            for percentile, value in asdict(latencies).items():
                found[percentile].append(value)
            tell(
                f"pair {name:8} p50 {latencies.p50_ms:.2f} p90 {latencies.p90_ms:.2f} p99 {latencies.p99_ms:.2f} ms"
            )
    return results
