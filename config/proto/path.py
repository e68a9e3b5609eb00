"""Where a translator stands in the configuration, and where it puts the problems it finds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from config.errors import ConfigError, Position, Remark
from config.model.istio import IstioStatsSpec
from config.model.tracing import TracerSpec

#: A field name, an index of a repeated field, or a map key (`MapKey`).
Step: TypeAlias = "str | int | MapKey"
FormatCheck: TypeAlias = Callable[[str, tuple[str, ...]], "str | None"]
Locator: TypeAlias = Callable[[tuple[Step, ...], bool], Position | None]


class MapKey(str):
    """A key of a map field, as opposed to a field name."""

    __slots__ = ()


def nowhere(steps: tuple[Step, ...], of_key: bool) -> Position | None:
    """The locator of messages that came from no text."""
    return None


@dataclass(slots=True)
class Problems:
    """Everything found so far. A problem at, or below, a field already found wrong is not reported again."""

    locate: Locator = nowhere
    errors: list[ConfigError] = field(default_factory=list)
    warnings: list[ConfigError] = field(default_factory=list)
    _tainted: set[tuple[Step, ...]] = field(default_factory=set)

    def taint(self, at: Path) -> None:
        """Say nothing more about `at`: its value is not what was written."""
        self._tainted.add(at.steps())

    def swap_taints(self, new: set[tuple[Step, ...]]) -> set[tuple[Step, ...]]:
        """Forget which fields were found wrong, take `new` ones; returns the old."""
        old, self._tainted = self._tainted, new
        return old

    def error(self, at: Path, reason: str, position: Position | None = None, *, of_key: bool = False) -> None:
        steps = at.steps()
        if any(steps[:length] in self._tainted for length in range(len(steps) + 1)):
            return
        if steps:
            self._tainted.add(steps)
        self.errors.append(ConfigError(str(at), reason, position or self.locate(steps, of_key)))

    def warning(
        self, at: Path, reason: str, position: Position | None = None, *, of_key: bool = False
    ) -> None:
        self.warnings.append(ConfigError(str(at), reason, position or self.locate(at.steps(), of_key)))


@dataclass(slots=True)
class Context:
    """What a translator needs to know besides its own message.

    `clusters` and the secrets are the static names (`None`: not known, references are not checked). `check_format`
    says what is wrong with a format string (`%PROTOCOL%`) and the types of its formatters, `None` if nothing is.
    `tracer` is the bootstrap's. `discovery_is_used`: a filter asks who is at which address.
    `review_istio_stats`: see `config.bootstrap.ParseOptions`.
    """

    problems: Problems = field(default_factory=Problems)
    allow_unknown_fields: bool = False
    check_format: FormatCheck | None = None
    discovery_is_used: bool = False
    review_istio_stats: Callable[[IstioStatsSpec], Iterable[Remark]] | None = None
    clusters: Collection[str] | None = None
    certificate_secrets: Collection[str] | None = None
    validation_secrets: Collection[str] | None = None
    tracer: TracerSpec | None = None


class Path:
    """A field path, extended by every step into a message. Cheap to make, rendered only for a problem."""

    __slots__ = ("_parent", "_step", "context")

    def __init__(self, context: Context, parent: Path | None = None, step: Step = "") -> None:
        self.context = context
        self._parent = parent
        self._step = step

    def field(self, name: str) -> Path:
        return Path(self.context, self, name)

    def index(self, index: int) -> Path:
        return Path(self.context, self, index)

    def key(self, key: str) -> Path:
        return Path(self.context, self, MapKey(key))

    def item(self, name: str, index: int) -> Path:
        return self.field(name).index(index)

    def each(self, name: str, count: int) -> Iterable[Path]:
        """The paths of the `count` items of repeated field `name`."""
        parent = self.field(name)
        return (parent.index(index) for index in range(count))

    def steps(self) -> tuple[Step, ...]:
        steps: list[Step] = []
        path: Path | None = self
        while path is not None and path._parent is not None:
            steps.append(path._step)
            path = path._parent
        return tuple(reversed(steps))

    def __str__(self) -> str:
        text = ""
        for step in self.steps():
            if isinstance(step, int):
                text += f"[{step}]"
            elif isinstance(step, MapKey):
                text += f'["{step}"]'
            else:
                text += f".{step}" if text else step
        return text

    def remark(self, remark: Remark) -> None:
        """Report it as a warning; this is the message that it speaks of."""
        at = self
        for step in remark.steps:
            at = at.index(step) if isinstance(step, int) else at.field(step)
        if remark.map_key is not None:
            at = at.key(remark.map_key)
        at.warning(remark.reason)

    def error(self, reason: str, *, of_key: bool = False) -> None:
        """Report an error here; `of_key` points at the field's name, not at its value."""
        self.context.problems.error(self, reason, of_key=of_key)

    def warning(self, reason: str, *, of_key: bool = False) -> None:
        self.context.problems.warning(self, reason, of_key=of_key)
