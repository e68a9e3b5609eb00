"""Interleaved measurements: CPU of a process beside what it did for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from tests.bench.load import Answered
from tests.bench.results import Samples, Tell
from tests.bench.rows import COMPETITORS, DIRECT, Row, repetitions_of, seconds_of
from tests.bench.world import BenchWorld
from tests.support.process import ChildProcess

WARM_UP_SECONDS = 0.5


def cpu_seconds(child: ChildProcess) -> float:
    """User and system time of all threads of the process, in nanosecond steps where the kernel gives them.

    The number of a process' CPU clock is Linux's (`clock_getcpuclockid(3)`); `/proc/PID/stat` counts in steps of 10 ms.
    """
    try:
        return _cpu_clock(child.pid)
    except OSError:
        return child.cpu_seconds()


def family_cpu_seconds(child: ChildProcess) -> float:
    """Of the process and of those that it has started. Raises OSError when one of them has just ended."""
    return cpu_seconds(child) + sum(map(_cpu_clock, child.descendants()))


def _cpu_clock(pid: int) -> float:
    return time.clock_gettime((~pid << 3) | 2)


@dataclass
class Measured:
    """CPU seconds of the proxy per unit, and units per second, one value for each repetition."""

    cost: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)


def measure_row(
    world: BenchWorld, row: Row, *, repetitions: int, seconds: float, connections: int, tell: Tell
) -> Samples:
    """Competitor to its measurements. They take turns, so that all meet the same state of the machine."""
    names = [*(name for name in COMPETITORS if world.takes_part(row, name)), DIRECT]
    results = {name: Measured() for name in names}
    for name in names[:-1]:
        world.load(row, name, WARM_UP_SECONDS, connections)()
    for name in turns(names, repetitions):
        measured = results[name]
        load = world.load(row, name, seconds_of(name, seconds), connections)
        measure_once(world.proxies.get(name), load, row.count, measured)
        cost = f"{measured.cost[-1]:.4f} CPU s" if measured.cost else "-"
        tell(f"{row.key:14} {name:8} {cost:>14} per {row.unit}, {measured.rate[-1]:.4g} per s")
    return {name: asdict(measured) for name, measured in results.items()}


def turns(names: Sequence[str], repetitions: int, *, all_as_often: bool = False) -> Iterator[str]:
    """Who is measured when: in turns, every other time in reverse; each as often as it is to be.

    `names` may be keys that begin with one (`key_of`). `all_as_often`: what is compared in each repetition is there in each.
    """
    for repetition in range(repetitions):
        for name in reversed(names) if repetition % 2 else names:
            if all_as_often or repetition < repetitions_of(name.partition(":")[0], repetitions):
                yield name


def measure_once(
    process: ChildProcess | None, load: Callable[[], Answered], unit: float, measured: Measured
) -> None:
    """`unit`: as many of what `load` counts as the cost is for. Without a process there is no cost."""
    before = cpu_seconds(process) if process else 0.0
    answered = load()
    units = answered.count / unit
    if process:
        measured.cost.append((cpu_seconds(process) - before) / units)
    measured.rate.append(units / answered.seconds)
