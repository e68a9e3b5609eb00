"""What stands in a cell of a table: medians, ranges, ratios, and whether what was aimed at is reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from tests.bench.results import Result
from tests.bench.rows import DIRECT, HAPROXY, ISTIO, NGINX, PURE, SIDECAR

NOT_MEASURED = "not yet measured"
NOT_COMPILED = "not compiled"
CANNOT = "-"

NAMES = {
    "envoy": "Envoy",
    SIDECAR: "sidecar",
    ISTIO: "with Istio's metrics",
    PURE: "pure",
    HAPROXY: "HAProxy",
    NGINX: "nginx",
    DIRECT: "direct",
}

Results = Mapping[str, Result]


def table(*cells: Sequence[str]) -> list[str]:
    """The first is the head."""
    head, *body = cells
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *body)]


def verdict(value: float, target: float | None, show: str = ".2f") -> str:
    """`1.63 (target 1.2)`, `0.99 (target 1.0: met)`, or only the value when nothing is aimed at."""
    if target is None:
        return f"{value:{show}}"
    return f"{value:{show}} (target {target:g}{': met' if value <= target else ''})"


def spread(values: Sequence[float], show: str = ".3f") -> str:
    """The median, and in brackets the range; of one value only that."""
    if len(values) == 1:
        return f"{values[0]:{show}}"
    return f"{statistics.median(values):{show}} ({min(values):{show}} to {max(values):{show}})"


def scaled(scale: float, show: str) -> Callable[[Sequence[float]], str]:
    return lambda values: f"{statistics.median(values) * scale:{show}}"


def samples_of(results: Results, key: str, name: str, number: str) -> list[float]:
    """Empty when it was not measured."""
    return results[key].samples.get(name, {}).get(number, []) if key in results else []


def median(results: Results, key: str, name: str, number: str) -> float | None:
    """None when it was not measured."""
    values = samples_of(results, key, name, number)
    return statistics.median(values) if values else None


def cell(results: Results, key: str, name: str, number: str, show: Callable[[Sequence[float]], str]) -> str:
    values = samples_of(results, key, name, number)
    return show(values) if values else absent(results, key, name)


def absent(results: Results, key: str, name: str) -> str:
    """Why a competitor (or one with something more, `key_of`) has no number in a row."""
    samples = results[key].samples if key in results else {}
    compiled = SIDECAR if name == ISTIO and SIDECAR not in samples else name
    if compiled.startswith(SIDECAR) and compiled.replace(SIDECAR, PURE, 1) in samples:
        return NOT_COMPILED
    return CANNOT if DIRECT in samples else NOT_MEASURED  # with the others, but it could not


def ratio(
    results: Results, key: str, pair: tuple[str, str], target: float | None = None, number: str = "cost"
) -> str:
    """What the first of the two has, in parts of what the second has."""
    ours, theirs = (median(results, key, name, number) for name in pair)
    if ours is not None and theirs:
        return verdict(ours / theirs, target)
    missing = absent(results, key, pair[0] if ours is None else pair[1])
    return missing if target is None else f"{missing} (target {target:g})"
