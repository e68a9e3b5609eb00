"""A strict reader of the Prometheus text format, and the comparison of expected series with an answer.

Strict means: one `# TYPE` line per family before its samples, samples of a family together, no label twice in a
sample, no sample twice, no timestamp, a newline at the end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_TYPES = frozenset({"counter", "gauge", "histogram", "summary", "untyped"})
_SUFFIXES = {
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count", ""),
    "counter": ("",),
    "gauge": ("",),
    "untyped": ("",),
}
_ESCAPES = {"\\": "\\", '"': '"', "n": "\n"}

Labels = tuple[tuple[str, str], ...]


class PrometheusTextError(ValueError):
    """The text is not valid; the message holds the line number."""


@dataclass(slots=True)
class Sample:
    name: str
    labels: Labels
    value: float


@dataclass(slots=True)
class Family:
    name: str
    type: str
    samples: list[Sample] = field(default_factory=list)
    help: str | None = None


def parse(text: str) -> dict[str, Family]:
    """The families of `text` by name. Raises PrometheusTextError."""
    if text and not text.endswith("\n"):
        raise PrometheusTextError("no newline at the end")
    families: dict[str, Family] = {}
    helps: dict[str, str] = {}
    current: Family | None = None
    seen: set[tuple[str, Labels]] = set()
    for number, line in enumerate(text.split("\n")[:-1], 1):
        try:
            if not line:
                continue
            if line.startswith("# TYPE "):
                current = _start_family(line, families, helps)
            elif line.startswith("# HELP "):
                name, _, words = line[7:].partition(" ")
                helps[name] = words
            elif not line.startswith("#"):
                sample = _parse_sample(line)
                _check_belongs(sample, current, seen)
                assert current is not None
                current.samples.append(sample)
        except PrometheusTextError as error:
            raise PrometheusTextError(f"line {number}: {error}: {line[:300]!r}") from None
    return families


def _start_family(line: str, families: dict[str, Family], helps: Mapping[str, str]) -> Family:
    parts = line.split(" ")
    if len(parts) != 4 or parts[3] not in _TYPES or not _NAME.fullmatch(parts[2]):
        raise PrometheusTextError("bad TYPE line")
    if parts[2] in families:
        raise PrometheusTextError("second TYPE line of a family")
    family = Family(parts[2], parts[3], help=helps.get(parts[2]))
    families[parts[2]] = family
    return family


def _check_belongs(sample: Sample, family: Family | None, seen: set[tuple[str, Labels]]) -> None:
    if family is None or sample.name not in {family.name + suffix for suffix in _SUFFIXES[family.type]}:
        raise PrometheusTextError("sample outside its family")
    key = (sample.name, tuple(sorted(sample.labels)))
    if key in seen:
        raise PrometheusTextError("the same series twice")
    seen.add(key)


def _parse_sample(line: str) -> Sample:
    match = _NAME.match(line)
    if match is None:
        raise PrometheusTextError("no metric name")
    position = match.end()
    labels: Labels = ()
    if position < len(line) and line[position] == "{":
        labels, position = _parse_labels(line, position + 1)
    rest = line[position:]
    if not rest.startswith(" ") or " " in rest[1:] or len(rest) < 2:
        raise PrometheusTextError("expected one value and no timestamp")
    return Sample(match[0], labels, _parse_value(rest[1:]))


def _parse_labels(line: str, position: int) -> tuple[Labels, int]:
    labels: list[tuple[str, str]] = []
    while True:
        if position < len(line) and line[position] == "}":
            break
        match = _LABEL_NAME.match(line, position)
        if match is None or line[match.end() : match.end() + 2] != '="':
            raise PrometheusTextError("bad label")
        value, position = _parse_quoted(line, match.end() + 2)
        labels.append((match[0], value))
        if line[position : position + 1] == ",":
            position += 1
        elif line[position : position + 1] != "}":
            raise PrometheusTextError("labels are not closed")
    if len({name for name, _ in labels}) != len(labels):
        raise PrometheusTextError("a label twice in a sample")
    return tuple(labels), position + 1


def _parse_quoted(line: str, position: int) -> tuple[str, int]:
    out: list[str] = []
    while position < len(line):
        character = line[position]
        if character == '"':
            return "".join(out), position + 1
        if character == "\\":
            position += 1
            escaped = line[position : position + 1]
            if escaped not in _ESCAPES or not escaped:
                raise PrometheusTextError("bad escape")
            character = _ESCAPES[escaped]
        out.append(character)
        position += 1
    raise PrometheusTextError("label value is not closed")


def _parse_value(text: str) -> float:
    special = {"+Inf": math.inf, "-Inf": -math.inf, "NaN": math.nan}
    if text in special:
        return special[text]
    if not re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        raise PrometheusTextError("bad value")
    return float(text)


def expected_series(expected: Mapping[str, Any]) -> list[tuple[Labels, float]]:
    """The series of an expectation file as (labels in order, value)."""
    return [
        (
            tuple((str(k), "" if v is None else str(v)) for k, v in (series.get("labels") or {}).items()),
            float(series["value"]),
        )
        for series in expected.get("series", [])
    ]


def differences(
    families: Mapping[str, Family], name: str, match: str, expected: Mapping[str, Any]
) -> list[str]:
    """What keeps the answer from matching, empty when it matches.

    `match` is `exact` (type, exactly these series, values and labels in this order, no help text), `partial` (each
    expected series is present), `exists` or `absent`.
    """
    family = families.get(name)
    if match == "absent":
        return [] if family is None else [f"{name} is present"]
    if family is None:
        return [f"{name} is not in the answer"]
    if match == "exists":
        return []
    actual = [(sample.labels, sample.value) for sample in family.samples]
    wanted = expected_series(expected)
    if match == "partial":
        present = {(tuple(sorted(labels)), value) for labels, value in actual}
        return [
            f"{name}: no series {dict(labels)} with value {value:g}; there are {_brief(actual)}"
            for labels, value in wanted
            if (tuple(sorted(labels)), value) not in present
        ]
    problems = []
    if family.type != expected["type"]:
        problems.append(f"{name}: type {family.type}, expected {expected['type']}")
    if family.help is not None:
        problems.append(f"{name}: has a HELP line")
    problems += [f"{name}: missing {_one(series)}" for series in wanted if series not in actual]
    problems += [f"{name}: unexpected {_one(series)}" for series in actual if series not in wanted]
    return problems


def _one(series: tuple[Labels, float]) -> str:
    inner = ",".join(f'{key}="{value}"' for key, value in series[0])
    return f"{{{inner}}} {series[1]:g}"


def _brief(actual: Sequence[tuple[Labels, float]]) -> str:
    return "; ".join(_one(series) for series in actual[:5]) or "none"
