"""What the curves are found to be, as a table in `docs/performance.md` and as `docs/performance.svg`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import report, svg
from tests.bench.cells import NOT_MEASURED
from tests.bench.results import Result

BEGIN = "<!-- curves: begin -->"
END = "<!-- curves: end -->"

CONNECTIONS, CLUSTERS, VIRTUAL_HOSTS, SERIES, SCRAPE, BODIES, HEADERS = (
    "connections",
    "clusters",
    "virtual_hosts",
    "series",
    "scrape",
    "bodies",
    "headers",
)


@dataclass(frozen=True)
class Curve:
    title: str
    x_label: str
    points: tuple[int, ...]
    """Rising. Empty: measured together with another curve."""
    source: tuple[str, str] | None = None
    """The curve that it is measured with, and the name of its number there."""
    y_label: str = "CPU s per 1000 requests"
    base: int = 1000
    """Of the multiples in which sizes are told."""


CURVES: Mapping[str, Curve] = {
    CONNECTIONS: Curve("Connections", "connections in use", (1, 16, 100, 1000, 5000)),
    CLUSTERS: Curve(
        "Clusters and routes", "clusters, each with a route; the last is used", (10, 100, 1000, 10_000)
    ),
    VIRTUAL_HOSTS: Curve("Virtual hosts", "virtual hosts", (10, 100, 1000, 10_000)),
    SERIES: Curve("Series, a request", "series, all of them in use", (100, 1000, 10_000, 100_000)),
    SCRAPE: Curve("Series, a scrape", "series", (), (SERIES, "scrape"), "CPU s"),
    BODIES: Curve(
        "Bodies", "bytes of an answer, 2 connections", (0, 1 << 10, 1 << 16, 1 << 20, 1 << 24), base=1024
    ),
    HEADERS: Curve("Headers", "further headers of a request", (0, 3, 10, 30, 90)),
}

#: Slopes of the logarithms: 0 is flat, 1 is linear. Noise is a few hundredths.
_FLAT, _LINEAR = 0.15, 1.1

Points = Sequence[tuple[float, float]]


def slope(points: Points) -> float:
    """Of the line through the logarithms of the last two points: the exponent of the growth at its end.

    Only there: what is constant hides the growth at the beginning, and would make a square look linear. Raises ValueError
    for fewer than two with x > 0.
    """
    logarithms = [(math.log(x), math.log(y)) for x, y in points if x > 0][-2:]
    if len(logarithms) < 2:
        raise ValueError("a slope of fewer than two points")
    (x0, y0), (x1, y1) = logarithms
    return (y1 - y0) / (x1 - x0)


def shape(exponent: float) -> str:
    """A constant and a linear part together have an exponent between 0 and 1, and are linear."""
    if exponent <= _FLAT:
        return "flat"
    return "linear" if exponent <= _LINEAR else "worse than linear"


def points_of(key: str, found: Mapping[str, Result]) -> list[tuple[float, float]]:
    """The medians by rising x; empty when the curve was not measured."""
    _, number = _source(key)
    result = _result(key, found)
    if result is None:
        return []
    return sorted((float(x), statistics.median(values[number])) for x, values in result.samples.items())


def _source(key: str) -> tuple[str, str]:
    return CURVES[key].source or (key, "cost")


def _result(key: str, found: Mapping[str, Result]) -> Result | None:
    """None when the curve was not measured."""
    return found.get(f"curve:{_source(key)[0]}")


def _variants(measured: Sequence[Result]) -> str:
    """What ran, of all curves together."""
    if not any(result.only_pure for result in measured):
        return "compiled"
    return "pure" if all(result.only_pure for result in measured) else "compiled, and pure where it says so"


def table(found: Mapping[str, Result]) -> str:
    measured = [result for key in CURVES if (result := _result(key, found)) is not None]
    lines = [
        f"Cost at each size (of this proxy, {_variants(measured)}), and the exponent of growth at its end (0: flat, 1: linear, between: a constant part and a linear one):",
        "",
        "| curve | of | cost | exponent | so it is |",
        "|---|---|---|---|---|",
    ]
    for key, curve in CURVES.items():
        result, points = _result(key, found), points_of(key, found)
        pure = ", pure" if result is not None and result.only_pure else ""
        if points:
            exponent = slope(points)
            costs = ", ".join(f"{svg.number(x, curve.base)}: {y:.3f}" for x, y in points)
            rest = f"{costs} | {exponent:.2f} | {shape(exponent)}"
        else:
            rest = f"{NOT_MEASURED} | - | -"
        lines.append(f"| {curve.title} ({curve.y_label}{pure}) | {curve.x_label} | {rest} |")
    settings = dict.fromkeys(found[f"curve:{key}"].setting for key in CURVES if f"curve:{key}" in found)
    lines += ["", *(f"Measured on {setting}." for setting in settings)]
    if settings:
        lines += ["", "![Cost beside size, a panel for each curve, both axes logarithmic](performance.svg)"]
    return "\n".join(lines).rstrip()


def picture(found: Mapping[str, Result]) -> str:
    """All curves that were measured, as SVG."""
    panels = []
    for key, curve in CURVES.items():
        if points := points_of(key, found):
            note = shape(slope(points))
            panels.append(
                svg.Panel(curve.title, curve.x_label, curve.y_label, note, tuple(points), curve.base)
            )
    return svg.draw(panels)


def write(path: Path, found: Mapping[str, Result]) -> None:
    """The table between its markers in the page, and the picture beside it."""
    report.write(path, table(found), BEGIN, END)
    path.with_suffix(".svg").write_text(picture(found), encoding="utf-8")
