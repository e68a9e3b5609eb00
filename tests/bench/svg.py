"""Small multiples as SVG: one panel for each curve, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_COLUMNS = 3
_WIDTH, _HEIGHT = 300, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 44, 42
_LABEL_WIDTH = 28
_STYLE = (
    "text{font:11px sans-serif;fill:#333}.title{font-size:13px;font-weight:bold}.note{fill:#777}"
    ".axis{stroke:#999}.grid{stroke:#e4e4e4}.line{fill:none;stroke:#1f6feb;stroke-width:2}.point{fill:#1f6feb}"
)


@dataclass(frozen=True)
class Panel:
    title: str
    x_label: str
    y_label: str
    note: str
    """What the curve is found to be."""
    points: tuple[tuple[float, float], ...]
    """By rising x. An x of 0 stands at the left edge; every y is above 0."""
    base: int = 1000
    """Of the multiples in which x is told: 1000, or 1024 for bytes."""


class _Axis:
    """Values to pixels."""

    def __init__(self, values: Sequence[float], first_pixel: float, last_pixel: float) -> None:
        positive = [value for value in values if value > 0]
        self._zero = min(positive) / 10
        self.low = math.log10(min(positive if min(values) > 0 else [*positive, self._zero]))
        self.high = math.log10(max(positive))
        if self.high - self.low < 1:  # never less than a decade: noise must not look like growth
            middle = (self.high + self.low) / 2
            self.low, self.high = middle - 0.5, middle + 0.5
        self._first, self._last = first_pixel, last_pixel

    def at(self, value: float) -> float:
        part = (math.log10(value if value > 0 else self._zero) - self.low) / (self.high - self.low)
        return round(self._first + part * (self._last - self._first), 1)

    def ticks(self) -> list[float]:
        """Powers of ten within the axis, at most five of them; where there are less than two also their doubles and halves."""
        decades = range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)
        if len(decades) > 1:
            return [10.0**decade for decade in decades[:: math.ceil(len(decades) / 5)]]
        around = range(math.floor(self.low), math.ceil(self.high) + 1)
        found = [float(f"{factor}e{decade}") for decade in around for factor in (1, 2, 5)]
        return [value for value in found if self.low - 1e-9 <= math.log10(value) <= self.high + 1e-9]


def number(value: float, base: int = 1000) -> str:
    """`0`, `0.05`, `100`, `10k`, `16M`; with a base of 1024 `64Ki`, `16Mi`."""
    for power, suffix in ((2, "M"), (1, "k" if base == 1000 else "K")):
        if value >= base**power:
            return f"{value / base**power:.3g}{suffix}{'' if base == 1000 else 'i'}"
    return f"{value:.2g}" if value < 100 else f"{value:.3g}"


def draw(panels: Sequence[Panel]) -> str:
    """The text of an SVG file."""
    rows = math.ceil(len(panels) / _COLUMNS)
    width, height = _COLUMNS * _WIDTH, max(rows, 1) * _HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for index, panel in enumerate(panels):
        row, column = divmod(index, _COLUMNS)
        parts.append(f'<g transform="translate({column * _WIDTH} {row * _HEIGHT})">')
        parts += [*_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel) -> list[str]:
    left, right, top, bottom = _LEFT, _WIDTH - _RIGHT, _TOP, _HEIGHT - _BOTTOM
    across = _Axis([x for x, _ in panel.points], left + 6, right - 6)
    up = _Axis([y for _, y in panel.points], bottom - 8, top + 8)
    parts = [
        _text(left, 18, panel.title, "title"),
        _text(left, 34, f"{panel.y_label}: {panel.note}", "note"),
        _text((left + right) / 2, _HEIGHT - 8, panel.x_label, "note", "middle"),
    ]
    for value in up.ticks():
        if top <= (y := up.at(value)) <= bottom:
            parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>')
            parts.append(_text(left - 6, y + 4, number(value), "", "end"))
    places: list[float] = []
    sizes = [x for x, _ in panel.points]
    for value in [
        sizes[0],
        sizes[-1],
        *sizes[1:-1],
    ]:  # all that were measured, as far as their labels have room
        x = across.at(value)
        if all(abs(x - other) > _LABEL_WIDTH for other in places):
            places.append(x)
            parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>')
            parts.append(_text(x, bottom + 15, number(value, panel.base), "", "middle"))
    parts.append(f'<path class="axis" fill="none" d="M{left} {top}V{bottom}H{right}"/>')
    pixels = [(across.at(x), up.at(y)) for x, y in panel.points]
    parts.append(f'<polyline class="line" points="{" ".join(f"{x},{y}" for x, y in pixels)}"/>')
    parts += [f'<circle class="point" cx="{x}" cy="{y}" r="3"/>' for x, y in pixels]
    return parts


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
