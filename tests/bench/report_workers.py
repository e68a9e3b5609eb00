"""The tables of what telemetry costs and of what a second worker gains."""

from __future__ import annotations

from typing import NamedTuple

from tests.bench import rows
from tests.bench.cells import NAMES, Results, absent, cell, median, ratio, scaled, spread, table
from tests.bench.results import key_of
from tests.bench.rows import ENVOY, PURE, SIDECAR
from tests.bench.telemetry import LOG
from tests.bench.telemetry_world import (
    ACCESS_LOG,
    CUSTOM,
    FULL,
    NONE,
    PARTS,
    STATS,
    TRACING,
    parts_of,
)
from tests.bench.workers import CONCURRENCIES, HEAVY, LIGHT, MACHINE

_MEASURED = (ENVOY, SIDECAR, PURE)

_PARTS = {
    NONE: "none",
    STATS: "metadata exchange and Istio's metrics",
    ACCESS_LOG: "JSON access log",
    TRACING: "1 % of requests traced",
    FULL: "all of these",
    CUSTOM: "all, and ten more labels in CEL",
}
_LOADS = {
    LIGHT: "no telemetry",
    HEAVY: "all telemetry",
}


def telemetry(results: Results) -> list[str]:
    """Cost of each part; the targets are of the compiled variant."""
    title = (
        "What telemetry costs (HTTP/1.1 plaintext, one proxy of each kind, its listeners in turns; CPU s per 1000 requests). The "
        "log goes to a pipe that a process reads, as `/dev/stdout` of a container does. Envoy has the same log and tracing, and none of "
        f"Istio's filters. What `{NAMES[SIDECAR]} to {NAMES[ENVOY]}'s none` aims at is this proxy with all telemetry against Envoy "
        f"without any, so with less work on Envoy's side. At one rate for all, {rows.PACED_PER_SECOND:,} requests per second:"
    )
    fast = "As fast as it goes, where whoever is slower has to wake client and backend more often:"
    names = [NAMES[name] for name in _MEASURED]
    rates = [
        [_PARTS[part], *(_cell_of(results, rows.TELEMETRY, part, name, "rate") for name in _MEASURED)]
        for part in PARTS
    ]
    return [
        title,
        "",
        *_telemetry_costs(results, rows.TELEMETRY_PACED),
        "",
        fast,
        "",
        *_telemetry_costs(results, rows.TELEMETRY),
        "",
        *_lines_read(results),
        "Requests per second:",
        "",
        *table(["telemetry", *names], *rates),
    ]


def _telemetry_costs(results: Results, key: str) -> list[str]:
    """Of one of the two loads."""
    costs = []
    for part in PARTS:
        costs.append([_PARTS[part], *(_cell_of(results, key, part, name, "cost") for name in _MEASURED)])
        for name in _MEASURED:
            target = rows.TARGET_TELEMETRY_RATIO.get(part) if name == SIDECAR else None
            found = ratio(results, key, (key_of(name, part), key_of(name, NONE)), target)
            costs[-1].append(found if part in parts_of(name) else "-")
        for name in (SIDECAR, PURE):
            target = rows.TARGET_TELEMETRY_TO_ENVOY_RATIO if name == SIDECAR and part == FULL else None
            costs[-1].append(ratio(results, key, (key_of(name, part), key_of(ENVOY, NONE)), target))
    names = [NAMES[name] for name in _MEASURED]
    head = ["telemetry", *names, *(f"{name} to none" for name in names)]
    head += [f"{NAMES[name]} to Envoy's none" for name in (SIDECAR, PURE)]
    return table(head, *costs)


def _cell_of(results: Results, key: str, part: str, name: str, number: str) -> str:
    if part not in parts_of(name):
        return "-"
    return cell(
        results, key, key_of(name, part), number, spread if number == "cost" else scaled(1000, ",.0f")
    )


def _lines_read(results: Results) -> list[str]:
    """Nobody is cheap because he leaves lines out."""
    found = {name: median(results, rows.TELEMETRY, key_of(name, LOG), "lines_ratio") for name in _MEASURED}
    shares = [f"{NAMES[name]} {min(share, 1.0):.1%}" for name, share in found.items() if share is not None]
    return [f"Of the lines of the log the reader has got: {', '.join(shares)}.", ""] if shares else []


#: Of what the machine leaves: what noise may take of it.
_NEARLY = 0.9


class Scaling(NamedTuple):
    """Of two workers to one."""

    measured: float
    """Of requests per second."""
    at_most: float
    """What would have been measured if the workers were in nobody's way: the rest of the machine took its part of the cores.

    The client, the backend and the reader of the log have one thread each, and so no more than a core.
    """
    by_cpu: float
    """What two workers do with two cores of their own, from the CPU time that a request takes with two workers and with one.

    It knows nothing of a worker that waits or has no connections.
    """

    @property
    def reaches_most(self) -> bool:
        """Nearly what the machine leaves has been measured."""
        return self.measured >= _NEARLY * self.at_most

    @property
    def judged_by_cpu(self) -> bool:
        """`by_cpu` says something: the second worker has done its part, as far as that can be seen.

        Where the machine leaves next to nothing, a second worker that does nothing would reach that, too.
        """
        return self.reaches_most and _NEARLY * self.at_most > 1.0


def scaling(results: Results, name: str, load: str) -> Scaling | None:
    """None when it was not measured."""
    one, two = (key_of(name, load, str(concurrency)) for concurrency in CONCURRENCIES)
    found = [
        median(results, rows.WORKERS, *each)
        for each in (
            (one, "rate"),
            (two, "rate"),
            (one, "cost"),
            (two, "cost"),
            (one, "client_cores"),
            (one, "backend_cores"),
            (one, "reader_cores"),
            (two, "elsewhere_cores"),
            (MACHINE, "cores"),
        )
    ]
    numbers = [value for value in found if value is not None]
    if len(numbers) < len(found):
        return None
    rate, rate_of_two, cost, cost_of_two, client, backend, reader, elsewhere, cores = numbers
    others = (client, backend, reader)
    most = (cores - elsewhere) / (cost + sum(others) / rate)
    at_most = min(most / rate, 2.0, *(1 / each for each in others if each))
    return Scaling(rate_of_two / rate, at_most, 2 * cost / cost_of_two)


def workers(results: Results) -> list[str]:
    lines = [
        [title, NAMES[name], *_workers_line(results, load, name)]
        for load, title in _LOADS.items()
        for name in _MEASURED
    ]
    gain = median(results, rows.WORKERS, MACHINE, "gain")
    machine = f" Two processes that only count do {gain:.2f} times what one does." if gain else ""
    share = median(results, rows.WORKERS, MACHINE, "lines_ratio")
    machine += f" Of the lines of any log the reader has got at least {min(share, 1.0):.1%}." if share else ""
    text = (
        "Two workers and one (`--concurrency`), HTTP/1.1 plaintext, four times the connections of the other rows; the client, the backend "
        "and the reader of the log are on the same cores. `at most here` is the gain that is left to two workers when these have "
        "taken what they take for each request, each of them of one core at most; `on free cores` is what the CPU time of a request says: two workers with a core for "
        "each. It does not see a worker that waits, so it is judged only where the gain is at least "
        f"{_NEARLY:.0%} of what was left, and that is more than what one worker does. Envoy has none of Istio's filters: all its telemetry is the log and tracing.{machine}"
    )
    head = ["load", "proxy", "per second, 1 worker", "2 workers", "gain", "at most here", "on free cores"]
    head += ["CPU s per 1000, 1 worker", "2 workers"]
    head += ["cores taken with 2: proxy", "client", "backend", "reader", "anything else"]
    return [text, "", *table(head, *lines)]


def _workers_line(results: Results, load: str, name: str) -> list[str]:
    one, two = (key_of(name, load, str(concurrency)) for concurrency in CONCURRENCIES)

    def show(key: str, number: str, scale: float, form: str) -> str:
        return cell(results, rows.WORKERS, key, number, scaled(scale, form))

    takers = ("proxy", "client", "backend", "reader", "elsewhere")
    cores = [show(two, f"{who}_cores", 1, ".2f") for who in takers]
    return [
        show(one, "rate", 1000, ",.0f"),
        show(two, "rate", 1000, ",.0f"),
        *_gains(results, load, name),
        show(one, "cost", 1, ".3f"),
        show(two, "cost", 1, ".3f"),
        *cores,
    ]


def _gains(results: Results, load: str, name: str) -> list[str]:
    found = scaling(results, name, load)
    if found is None:
        return [absent(results, rows.WORKERS, key_of(name, load, "2"))] * 3
    cells = [f"{value:.2f}" for value in found]
    if name != SIDECAR:
        return cells
    met_here, left = found.measured >= rows.TARGET_SCALING, found.at_most >= rows.TARGET_SCALING
    excused = not met_here and not left and found.reaches_most
    said = ": met" if met_here else ": not to be seen here" if excused else ""
    cells[0] += f" (target {rows.TARGET_SCALING:g}{said})"
    if excused and found.judged_by_cpu:
        met = ": met" if found.by_cpu >= rows.TARGET_SCALING else ""
        cells[2] += f" (target {rows.TARGET_SCALING:g}{met})"
    return cells
