"""One worker and two: what the second one gains, and what this machine lets it gain.

The clients and the backend run on the same cores, so a second worker has only what they leave. Therefore beside the requests
per second stand the cores that everybody took, and from them the most that any proxy of this cost could have gained. A load
that costs the proxy much and the others little (all telemetry) leaves it more. What the CPU time of a request says is
independent of that: it grows when workers are in each other's way. It does not grow when they wait for each other, or when one
of them does all the work; that is seen in the requests per second alone.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from tests.bench.measure import WARM_UP_SECONDS, cpu_seconds, family_cpu_seconds, turns
from tests.bench.results import Samples, Tell, key_of
from tests.bench.telemetry_world import FULL, NONE, Stage, TelemetryWorld
from tests.support.process import ProxyCommand

CONCURRENCIES = (1, 2)
#: To those of the other rows. A worker with few connections finds less to do each time it wakes, which is no loss to contention.
TIMES_CONNECTIONS = 4
#: The load of the first row of all, and one with all telemetry of Istio's defaults; Envoy has not the filters of Istio.
LIGHT, HEAVY = LOADS = ("light", "heavy")
#: In place of a competitor: what processes gain that have nothing to do with each other.
MACHINE = "machine"

_SPIN_SECONDS = 0.5
_SPIN = """
import sys, time
end = time.monotonic() + float(sys.argv[1])
count = 0
while time.monotonic() < end:
    sum(range(1000))
    count += 1
print(count)
"""


def measure_workers(
    commands: dict[str, ProxyCommand],
    directory: Path,
    *,
    repetitions: int,
    seconds: float,
    connections: int,
    tell: Tell,
) -> Samples:
    """Competitor, load and concurrency to its measurements.

    `cost` (all processes of the proxy) and `rate` as in the other rows, and the number of cores that were busy with the proxy
    (`proxy_cores`), the client, the backend, the reader of the log, and anything else. `connections`: in all. `MACHINE`: its `cores`, the `gain` of
    two processes to one, and the lowest `lines_ratio` (as of telemetry) of all proxies.
    """
    results: Samples = {}
    with TelemetryWorld(directory / "workers") as world:
        places: dict[str, tuple[Stage, str]] = {}
        for name, command in commands.items():
            for concurrency in CONCURRENCIES:
                stage = world.start(command, concurrency)
                for kind, part in ((LIGHT, NONE), (HEAVY, FULL)):
                    places[key_of(name, kind, str(concurrency))] = (stage, part)
        for stage, part in places.values():
            stage.load(part, WARM_UP_SECONDS, connections)
        for key in turns(list(places), repetitions):
            stage, part = places[key]
            found = _measure(world, stage, part, seconds, connections)
            for number, value in found.items():
                results.setdefault(key, defaultdict(list))[number].append(value)
            tell(f"workers {key:16} " + ", ".join(f"{number} {value:.3f}" for number, value in found.items()))
        lines = [stage.end() for stage in dict.fromkeys(stage for stage, _ in places.values())]
    tell("workers: processes that have nothing to do with each other")
    results[MACHINE] = {
        "gain": [_gain() for _ in range(repetitions)],
        "cores": [os.cpu_count() or 1],
        "lines_ratio": [min(lines)],
    }
    return results


def _measure(
    world: TelemetryWorld, stage: Stage, part: str, seconds: float, connections: int
) -> dict[str, float]:
    began = time.monotonic()
    before = _used(world, stage)
    answered = stage.load(part, seconds, connections)
    used = {name: value - before[name] for name, value in _used(world, stage).items()}
    elapsed = time.monotonic() - began
    used["elsewhere"] = max(used.pop("busy") - sum(used.values()), 0.0)
    return {
        "cost": used["proxy"] * 1000 / answered.count,
        "rate": answered.count / 1000 / answered.seconds,
        **{f"{name}_cores": value / elapsed for name, value in used.items()},
    }


def _used(world: TelemetryWorld, stage: Stage) -> dict[str, float]:
    """CPU seconds until now. The client is a process that has been waited for."""
    client = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "proxy": family_cpu_seconds(stage.proxy),
        "client": client.ru_utime + client.ru_stime,
        "backend": cpu_seconds(world.backend),
        "reader": cpu_seconds(stage.drain),
        "busy": busy_seconds(Path("/proc/stat").read_text(encoding="ascii")),
    }


def busy_seconds(stat: str) -> float:
    """Of all cores and processes of the machine, from `/proc/stat`: all but idle and waiting (proc_stat(5))."""
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _gain() -> float:
    """How much more two processes do that only count than one: 2 with two free cores that do not share anything."""
    (alone,) = _spin(1)
    return sum(_spin(2)) / alone


def _spin(processes: int) -> list[int]:
    command = [sys.executable, "-I", "-c", _SPIN, str(_SPIN_SECONDS)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return [int(process.communicate(timeout=60)[0]) for process in started]
