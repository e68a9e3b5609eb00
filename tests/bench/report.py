"""The tables of `docs/performance.md`: only what stands between its markers is replaced."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.bench import rows
from tests.bench.bootstraps import START_LISTENERS
from tests.bench.facts import IDLE_TLS_CONNECTIONS, REQUESTS
from tests.bench.results import Result
from tests.bench.rows import COMPETITORS, DIRECT, ENVOY, ROWS, SIDECAR, Row
from tests.bench.telemetry import TELEMETRIES

BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"
NOT_MEASURED = "not yet measured"
CANNOT = "-"

_NAMES = {"envoy": "Envoy", "sidecar": "sidecar", "haproxy": "HAProxy", "nginx": "nginx", DIRECT: "direct"}

_TELEMETRY_TITLES = {
    "off": "none",
    "full": "metadata exchange, Istio's metrics, JSON access log, 1 % of requests traced",
    "custom": "the same with ten more labels in CEL",
}

_NEW_FILE = f"""# Performance

{BEGIN}
{END}
"""

Results = Mapping[str, Result]


def tables(results: Results) -> str:
    """The text between the markers."""
    parts = [
        *_costs(results),
        "",
        *_rates(results),
        "",
        *_pair(results),
        "",
        *_telemetry(results),
        "",
        *_facts(results),
    ]
    return "\n".join([*parts, "", *_settings(results)])


def verdict(value: float, target: float | None, show: str = ".2f") -> str:
    """`1.63 (target 1.2)`, `0.99 (target 1.0: met)`, or only the value when nothing is aimed at."""
    if target is None:
        return f"{value:{show}}"
    return f"{value:{show}} (target {target:g}{': met' if value <= target else ''})"


def spread(values: Sequence[float], show: str = ".3f") -> str:
    """The median, and in brackets the range."""
    return f"{statistics.median(values):{show}} ({min(values):{show}} to {max(values):{show}})"


def median(results: Results, key: str, name: str, number: str) -> float | None:
    """None when it was not measured."""
    result = results.get(key)
    values = result.samples.get(name, {}).get(number) if result else None
    return statistics.median(values) if values else None


def _table(*cells: Sequence[str]) -> list[str]:
    head, *body = cells
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *body)]


def _cell(results: Results, key: str, name: str, number: str, show: Callable[[Sequence[float]], str]) -> str:
    samples = results[key].samples if key in results else {}
    if values := samples.get(name, {}).get(number):
        return show(values)
    return CANNOT if DIRECT in samples else NOT_MEASURED  # with the others, but it could not


def _costs(results: Results) -> list[str]:
    head = ["path", "CPU s per", *(_NAMES[name] for name in COMPETITORS), "sidecar to Envoy"]
    body = []
    for row in ROWS:
        cells = [_cell(results, row.key, name, "cost", spread) for name in COMPETITORS]
        body.append([row.title, row.unit, *cells, _ratio(results, row)])
    return [
        "CPU time of the proxy process; medians, in brackets the range (HTTP/2: 8 streams on each connection; bulk: 4 connections):",
        "",
        *_table(head, *body),
    ]


def _ratio(results: Results, row: Row) -> str:
    ours, envoy = (median(results, row.key, name, "cost") for name in (SIDECAR, ENVOY))
    if ours is None or envoy is None:
        return NOT_MEASURED if row.target is None else f"{NOT_MEASURED} (target {row.target:g})"
    return verdict(ours / envoy, row.target)


def _rates(results: Results) -> list[str]:
    names = [*COMPETITORS, DIRECT]
    body = []
    for row in ROWS:
        scale, show = (1000, ",.0f") if row.unit != "GiB" else (1, ".2f")
        cells = [_cell(results, row.key, name, "rate", _scaled(scale, show)) for name in names]
        body.append([row.title, row.unit.removeprefix("1000 "), *cells])
    head = ["path", "per second", *(_NAMES[name] for name in names)]
    title = "What goes through in a second, client, proxy and backend sharing the machine (direct: without a proxy and without TLS):"
    return [title, "", *_table(head, *body)]


def _scaled(scale: float, show: str) -> Callable[[Sequence[float]], str]:
    return lambda values: f"{statistics.median(values) * scale:{show}}"


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
        lines.append([title, *(_cell(results, rows.PAIR, name, number, spread) for name in (ENVOY, SIDECAR))])
    for number, title in (("p50_ms", "p50"), ("p90_ms", "p90"), ("p99_ms", "p99")):
        added = {name: _added(results, name, number) for name in (ENVOY, SIDECAR)}
        cells = [spread(values, ".2f") if values else NOT_MEASURED for values in added.values()]
        cells[1] += _pair_target(number, added)
        lines.append([f"{title} added, ms", *cells])
    return [text, "", *_table(["pair", "Envoy", "sidecar"], *lines)]


def _added(results: Results, name: str, number: str) -> list[float]:
    if rows.PAIR not in results:
        return []
    samples = results[rows.PAIR].samples
    return [
        with_pair - alone
        for with_pair, alone in zip(samples[name][number], samples[DIRECT][number], strict=True)
    ]


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


def _telemetry(results: Results) -> list[str]:
    lines = []
    off = median(results, rows.TELEMETRY, TELEMETRIES[0], "cost")
    envoy = median(results, "http", ENVOY, "cost")
    for name in TELEMETRIES:
        cost = median(results, rows.TELEMETRY, name, "cost")
        target = ROWS[0].target if name == "full" else None
        lines.append(
            [
                _TELEMETRY_TITLES[name],
                _cell(results, rows.TELEMETRY, name, "cost", spread),
                f"{cost / off:.2f}" if cost and off else NOT_MEASURED,
                verdict(cost / envoy, target) if cost and envoy else NOT_MEASURED,
                _cell(results, rows.TELEMETRY, name, "rate", _scaled(1000, ",.0f")),
            ]
        )
    head = [
        "telemetry",
        "CPU s per 1000 requests",
        "ratio to none",
        "to Envoy without, first table",
        "per second",
    ]
    title = "What telemetry costs (HTTP/1.1 plaintext, one sidecar, its listeners in turns):"
    return [title, "", *_table(head, *lines)]


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
        cells = [_cell(results, key, name, number, _scaled(factor, show)) for name in (ENVOY, SIDECAR)]
        ours = median(results, key, SIDECAR, number)
        if aim and target is not None:
            cells[1] += f" (target {aim}{': met' if ours is not None and ours * factor <= target else ''})"
        lines.append([title, *cells])
    return ["What a pod pays for it:", "", *_table(["fact", "Envoy", "sidecar"], *lines)]


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
