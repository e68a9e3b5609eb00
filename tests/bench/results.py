"""What was measured, in `docs/performance.json`: rows that were not measured anew stay as they were."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Who was measured (or at which point of a curve), to a name of a number, to its values in each repetition.
Samples = dict[str, dict[str, list[float]]]

#: Takes a line about what is going on.
Tell = Callable[[str], None]

#: In a setting, before the reason.
_ONLY_PURE = "; only pure, nothing was compiled: "


def key_of(*names: str) -> str:
    """Of samples that are of a competitor, and of something more."""
    return ":".join(names)


@dataclass(frozen=True)
class Result:
    """The samples of one row, and where and how they were taken."""

    setting: str
    samples: Samples

    @property
    def only_pure(self) -> bool:
        """Whether there was no compiled variant when it was measured."""
        return _ONLY_PURE in self.setting


def setting(amount: str, not_compiled: str = "") -> str:
    """The machine, and how much was measured, in words (`amount`); `not_compiled`: why only the pure variant was."""
    return (
        f"{datetime.date.today():%Y-%m-%d}: {os.cpu_count()} cores, {platform.machine()}, "
        f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}; "
        f"{amount}{f'{_ONLY_PURE}{not_compiled}' if not_compiled else ''}"
    )


def read(path: Path) -> dict[str, Result]:
    """By row; empty when there is no file."""
    if not path.exists():
        return {}
    content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {key: Result(value["setting"], value["samples"]) for key, value in content.items()}


def write(path: Path, results: Mapping[str, Result]) -> None:
    """One line for each who was measured, so that changes can be read."""
    lines = []
    for key, result in sorted(results.items()):
        samples = ",\n".join(
            f"   {json.dumps(name)}: {json.dumps(_rounded(values))}"
            for name, values in result.samples.items()
        )
        lines.append(
            f' {json.dumps(key)}: {{\n  "setting": {json.dumps(result.setting)},\n  "samples": {{\n{samples}\n  }}\n }}'
        )
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _rounded(values: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {name: [float(f"{value:.5g}") for value in each] for name, each in values.items()}
