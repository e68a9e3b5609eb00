"""One small bootstrap, Envoy's verdict on it (`envoy --mode validate`, version 1.40), and what is reported here."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Verdict(enum.Enum):
    ACCEPTS = enum.auto()
    REFUSES = enum.auto()


@dataclass(frozen=True)
class Case:
    """`problems` are the lines printed, empty if the bootstrap is accepted; `differs`: why Envoy is not followed."""

    name: str
    text: str
    envoy: Verdict
    problems: list[str] = field(default_factory=list)
    differs: str = ""
