"""The tables of `docs/performance.md`: only what stands between its markers is replaced."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench import rows
from tests.bench.bootstraps import START_LISTENERS
from tests.bench.cells import (
    NAMES,
    Results,
    absent,
    cell,
    median,
    ratio,
    samples_of,
    scaled,
    spread,
    table,
)
from tests.bench.facts import IDLE_TLS_CONNECTIONS, REQUESTS
from tests.bench.report_workers import telemetry, workers
from tests.bench.rows import COMPETITORS, DIRECT, ENVOY, ISTIO, OURS, PURE, ROWS, SIDECAR

BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"

#: Of the tables in which only these take part.
_ENVOY_AND_OURS = (ENVOY, *OURS)

_NEW_FILE = f"""# Performance

{BEGIN}
{END}
"""


def tables(results: Results) -> str:
    """The text between the markers."""
    parts = [_costs, _rates, _pair, telemetry, workers, _facts, _settings]
    return "\n\n".join("\n".join(part(results)) for part in parts).rstrip("\n")


def _costs(results: Results) -> list[str]:
    head = ["path", "CPU s per", *(NAMES[name] for name in COMPETITORS)]
    head += [f"{NAMES[name]} to Envoy" for name in (SIDECAR, ISTIO, PURE)]
    body = []
    for row in ROWS:
        cells = [cell(results, row.key, name, "cost", spread) for name in COMPETITORS]
        cells += [
            ratio(results, row.key, (name, ENVOY), row.target if name != PURE else None)
            for name in (SIDECAR, ISTIO, PURE)
        ]
        body.append([row.title, row.unit, *cells])
    title = (
        "CPU time of the proxy process; medians, in brackets the range (HTTP/2: 8 streams on each connection; bulk: 4 connections). "
        "`sidecar` is this proxy with its compiled modules, as in the image, and the same configuration as Envoy; `with Istio's metrics` it has "
        "metadata exchange and the metrics besides, which Envoy has not; `pure` are the same sources as Python runs them:"
    )
    return [title, "", *table(head, *body)]


def _rates(results: Results) -> list[str]:
    names = [*COMPETITORS, DIRECT]
    body = []
    for row in ROWS:
        scale, show = (1000, ",.0f") if row.unit != "GiB" else (1, ".2f")
        cells = [cell(results, row.key, name, "rate", scaled(scale, show)) for name in names]
        body.append([row.title, row.unit.removeprefix("1000 "), *cells])
    head = ["path", "per second", *(NAMES[name] for name in names)]
    title = "What goes through in a second, client, proxy and backend sharing the machine (direct: without a proxy and without TLS):"
    return [title, "", *table(head, *body)]


def _pair(results: Results) -> list[str]:
    """Latencies are above those of the backend alone, in the same repetition."""
    text = (
        "A pair of sidecars over mutual TLS, 1000 requests per second over 16 connections, bodies of 1 KiB both ways, access log on; "
        "this proxy with metadata exchange, Istio's metrics and its ALPN filter, which Envoy has not. Latencies count from when a "
        "request was due, and are what the pair adds to the backend alone:"
    )
    lines = []
    for title, number in (
        ("CPU s per 1000 requests, client's side", "client_cost"),
        ("CPU s per 1000 requests, server's side", "server_cost"),
    ):
        lines.append([title, *(cell(results, rows.PAIR, name, number, spread) for name in _ENVOY_AND_OURS)])
        lines[-1] += [ratio(results, rows.PAIR, (name, ENVOY), number=number) for name in OURS]
    for number, title in (("p50_ms", "p50"), ("p90_ms", "p90"), ("p99_ms", "p99")):
        added = {name: _added(results, name, number) for name in _ENVOY_AND_OURS}
        cells = {
            name: spread(values, ".2f") if values else absent(results, rows.PAIR, name)
            for name, values in added.items()
        }
        cells[SIDECAR] += _pair_target(number, added)
        lines.append([f"{title} added, ms", *cells.values(), *(_times(added, name) for name in OURS)])
    names = [NAMES[name] for name in _ENVOY_AND_OURS]
    return [text, "", *table(["pair", *names, *(f"{name} to Envoy" for name in names[1:])], *lines)]


def _added(results: Results, name: str, number: str) -> list[float]:
    alone = samples_of(results, rows.PAIR, DIRECT, number)
    with_pair = samples_of(results, rows.PAIR, name, number)
    return [each - without for each, without in zip(with_pair, alone, strict=True)] if with_pair else []


def _times(added: Mapping[str, Sequence[float]], name: str) -> str:
    """In parts of what Envoy's pair adds."""
    if not added[name] or not added[ENVOY]:
        return "-"
    return f"{statistics.median(added[name]) / statistics.median(added[ENVOY]):.2f}"


def _pair_target(number: str, added: Mapping[str, Sequence[float]]) -> str:
    if number == "p90_ms":
        target, what = rows.TARGET_PAIR_P90_MS, f"{rows.TARGET_PAIR_P90_MS:g} ms"
    elif number == "p99_ms":
        what = f"{rows.TARGET_PAIR_P99_RATIO:g} times Envoy's"
        target = statistics.median(added[ENVOY]) * rows.TARGET_PAIR_P99_RATIO if added[ENVOY] else 0.0
    else:
        return ""
    met = bool(added[SIDECAR]) and statistics.median(added[SIDECAR]) <= target
    return f" (target {what}{': met' if met else ''})"


def _facts(results: Results) -> list[str]:
    """Each fact: title, row, number, factor, format, target (None: none, a function: of Envoy's value)."""
    mib, kib = 2.0**-20, 2.0**-10
    envoy_after = (median(results, rows.MEMORY, ENVOY, "after_bytes") or 0.0) * mib
    facts: list[tuple[str, str, str, float, str, str, float | None]] = [
        ("from exec to ready, s", rows.START, "small_s", 1, ".2f", "", None),
        (
            f"from exec to ready with {START_LISTENERS} listeners, s",
            rows.START,
            "large_s",
            1,
            ".2f",
            f"{rows.TARGET_START_S:g}",
            rows.TARGET_START_S,
        ),
        ("resident memory when idle, MiB", rows.POD, "idle_bytes", mib, ".0f", "", None),
        (f"peak of memory in {REQUESTS:,} requests, MiB", rows.MEMORY, "peak_bytes", mib, ".0f", "", None),
        (
            f"memory after {REQUESTS:,} requests, idle, MiB",
            rows.MEMORY,
            "after_bytes",
            mib,
            ".0f",
            "Envoy's",
            envoy_after,
        ),
        ("CPU when idle, percent of a core", rows.POD, "idle_cpu_ratio", 100, ".1f", "", None),
        ("memory per idle HTTP connection, KiB", rows.POD, "connection_bytes", kib, ".1f", "", None),
        (
            f"memory per idle mutual TLS connection, of {IDLE_TLS_CONNECTIONS:,}, KiB",
            rows.TLS_CONNECTIONS,
            "connection_bytes",
            kib,
            ".1f",
            f"{rows.TARGET_TLS_CONNECTION_KIB:g}",
            rows.TARGET_TLS_CONNECTION_KIB,
        ),
    ]
    lines = []
    for title, key, number, factor, show, aim, target in facts:
        cells = [cell(results, key, name, number, scaled(factor, show)) for name in _ENVOY_AND_OURS]
        ours = median(results, key, SIDECAR, number)
        if aim and target is not None:
            cells[1] += f" (target {aim}{': met' if ours is not None and ours * factor <= target else ''})"
        lines.append([title, *cells])
    head = ["fact", *(NAMES[name] for name in _ENVOY_AND_OURS)]
    return ["What a pod pays for it:", "", *table(head, *lines)]


def _settings(results: Results) -> list[str]:
    """How each row was measured: those that share it together."""
    keys: dict[str, list[str]] = {}
    for key in [*(row.key for row in ROWS), *rows.OTHERS]:
        if key in results:
            keys.setdefault(results[key].setting, []).append(key)
    return [f"Measured on {setting} ({', '.join(each)})." for setting, each in keys.items()]


def write(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put `text` between the markers of the file, which are added, and the file made, when they are not there."""
    current = path.read_text(encoding="utf-8") if path.exists() else _NEW_FILE
    if begin not in current or end not in current:
        current = f"{current.rstrip()}\n\n{begin}\n{end}\n"
    head, _, rest = current.partition(begin)
    _, _, tail = rest.partition(end)
    path.write_text(f"{head}{begin}\n{text}\n{end}{tail}", encoding="utf-8")
