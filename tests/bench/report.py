"""The tables of `docs/performance.md`: only what stands between its markers is replaced."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from tests.bench.measure import Measured, PodFacts
from tests.bench.telemetry import TELEMETRIES
from tests.bench.world import PATHS

BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"

_TITLES = {
    "http": "HTTP/1.1 plaintext, 1 KiB answers",
    "mtls": "HTTP/1.1 behind mutual TLS (server side)",
    "h2": "HTTP/2 plaintext to HTTP/1.1",
    "h2_mtls": "HTTP/2 behind mutual TLS to HTTP/1.1 (server side)",
    "grpc": "gRPC, messages of 100 bytes, HTTP/2 to HTTP/2",
    "tcp": "TCP relay, messages of 64 bytes",
}

_TELEMETRY_TITLES = {
    "off": "none",
    "full": "metadata exchange, Istio's metrics, JSON access log, 1 % of requests traced",
    "custom": "the same with ten more labels in CEL",
}

_NEW_FILE = f"""# Performance

`make bench` measures this proxy and the real Envoy in the same run, in turns, with the same bootstrap, the same
backends and the same load, one worker each, and writes the tables below. CPU time is that of the proxy process alone.

{BEGIN}
{END}
"""


def tables(
    results: Mapping[tuple[str, str], Measured],
    costs: Mapping[str, Measured],
    facts: Mapping[str, PodFacts],
    *,
    seconds: float,
    connections: int,
) -> str:
    """The text between the markers."""
    repetitions = len(next(iter(results.values())).cpu_per_1000)
    setting = (
        f"Measured on {datetime.date.today():%Y-%m-%d}: {os.cpu_count()} cores, {platform.machine()}, "
        f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}; "
        f"{repetitions} repetitions of {seconds:g} s, {connections} connections (HTTP/2: 8 streams on each); medians, in brackets the range."
    )
    lines = [
        setting,
        "",
        "| path | Envoy: CPU s per 1000 | sidecar: CPU s per 1000 | ratio | Envoy: per second | sidecar: per second |",
        "|---|---|---|---|---|---|",
    ]
    for path in PATHS:
        envoy, ours = results[(path, "envoy")], results[(path, "sidecar")]
        lines.append(
            f"| {_TITLES[path]} | {_range(envoy)} | {_range(ours)} | {ours.median_cpu / envoy.median_cpu:.2f} "
            f"| {envoy.median_rate:,.0f} | {ours.median_rate:,.0f} |"
        )
    off = costs[TELEMETRIES[0]]
    lines += [
        "",
        "What telemetry costs (HTTP/1.1 plaintext, one sidecar, its listeners in turns):",
        "",
        "| telemetry | CPU s per 1000 | ratio to none | per second |",
        "|---|---|---|---|",
    ]
    for name in TELEMETRIES:
        cost = costs[name]
        lines.append(
            f"| {_TELEMETRY_TITLES[name]} | {_range(cost)} | {cost.median_cpu / off.median_cpu:.2f} | {cost.median_rate:,.0f} |"
        )
    lines += [
        "",
        "What a pod pays for it:",
        "",
        "| fact | Envoy | sidecar |",
        "|---|---|---|",
        _row("from exec to ready, s", facts, lambda fact: f"{fact.start_s:.2f}"),
        _row("resident memory when idle, MiB", facts, lambda fact: f"{fact.idle_rss_bytes / 2**20:.0f}"),
        _row("CPU when idle, percent of a core", facts, lambda fact: f"{fact.idle_cpu_ratio * 100:.1f}"),
        _row(
            "memory per idle HTTP connection, KiB",
            facts,
            lambda fact: f"{max(fact.bytes_per_connection, 0) / 1024:.1f}",
        ),
    ]
    return "\n".join(lines)


def _range(measured: Measured) -> str:
    values = measured.cpu_per_1000
    return f"{measured.median_cpu:.3f} ({min(values):.3f} to {max(values):.3f})"


def _row(title: str, facts: Mapping[str, PodFacts], show: object) -> str:
    assert callable(show)
    return f"| {title} | {show(facts['envoy'])} | {show(facts['sidecar'])} |"


def write(path: Path, text: str) -> None:
    """Put `text` between the markers of the file, which is made when it does not exist."""
    current = path.read_text(encoding="utf-8") if path.exists() else _NEW_FILE
    if BEGIN not in current or END not in current:
        current = f"{current.rstrip()}\n\n{BEGIN}\n{END}\n"
    head, _, rest = current.partition(BEGIN)
    _, _, tail = rest.partition(END)
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")
