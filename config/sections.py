"""Reading the project's own configuration files: mappings whose keys are asked for, problems reported all at once.

For the formats that are not Envoy's (its messages are read by `config.proto.loader`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from config.errors import ConfigError, ConfigErrors
from config.proto.document import DocumentLocator, Source, read_document
from config.proto.loader import MAX_UNKNOWN
from config.proto.path import Context, Path, Problems
from config.spelling import did_you_mean

T = TypeVar("T")


class Section:
    """One mapping of the file: every key is asked for once, what is left over is unknown."""

    def __init__(self, value: object, at: Path, problems: Problems) -> None:
        self.at = at
        self.problems = problems
        self.values: dict[str, object] = {}
        self._known: list[str] = []
        if isinstance(value, dict):
            self.values = dict(value)
        elif value is not None:
            problems.error(at, f"must be a mapping, not {kind(value)}")

    def take(self, name: str, read: Callable[[Path, object, Problems], T | None], default: T) -> T:
        """The value of `name`, or `default` when it is not there or wrong (then a problem has been noted)."""
        self._known.append(name)
        if name not in self.values:
            return default
        found = read(self.at.field(name), self.values.pop(name), self.problems)
        return default if found is None else found

    def need(self, name: str, read: Callable[[Path, object, Problems], T | None]) -> T | None:
        """As `take`, of a key that must be there."""
        if name not in self.values:
            self._known.append(name)
            self.problems.error(self.at.field(name), "is missing")
            return None
        return self.take(name, read, None)

    def finish(self) -> None:
        """All keys have been asked for: what is left over is a mistake."""
        names = list(self.values)
        for name in names[:MAX_UNKNOWN]:
            left = len(names) - MAX_UNKNOWN
            more = f" (and {left} more)" if left > 0 and name == names[MAX_UNKNOWN - 1] else ""
            self.problems.error(
                self.at.field(name), f"unknown field{did_you_mean(name, self._known)}{more}", of_key=True
            )


def read_file(source: Source, read: Callable[[Section], T | None]) -> T:
    """What `read` makes of the whole text. Raises ConfigErrors with every problem, in the order of the text."""
    problems = Problems()
    root = Path(Context(problems))
    document = read_document(source, problems, root)
    if document is None:
        raise ConfigErrors(problems.errors)
    problems.locate = DocumentLocator([document])
    found = read(Section(document.value, root, problems))
    if problems.errors:
        raise ConfigErrors(sorted(problems.errors, key=_place))
    assert found is not None, "nothing was wrong"
    return found


def _place(problem: ConfigError) -> tuple[int, int]:
    return (problem.position.line, problem.position.column) if problem.position else (0, 0)


def kind(value: object) -> str:
    """What a value is, in words for people."""
    names = {
        dict: "a mapping",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "nothing" if value is None else type(value).__name__)


def text(at: Path, value: object, problems: Problems) -> str | None:
    if isinstance(value, str) and value:
        return value
    problems.error(at, f"must be text, not {kind(value) if value != '' else 'empty'}")
    return None


def flag(at: Path, value: object, problems: Problems) -> bool | None:
    if isinstance(value, bool):
        return value
    problems.error(at, f"must be true or false, not {kind(value)}")
    return None


def one_of(choices: tuple[str, ...]) -> Callable[[Path, object, Problems], str | None]:
    def read(at: Path, value: object, problems: Problems) -> str | None:
        if isinstance(value, str) and value in choices:
            return value
        problems.error(at, f"must be one of {', '.join(choices)}{did_you_mean(str(value), choices)}")
        return None

    return read


def list_of(
    read: Callable[[Path, object, Problems], T | None],
) -> Callable[[Path, object, Problems], tuple[T, ...] | None]:
    def read_all(at: Path, value: object, problems: Problems) -> tuple[T, ...] | None:
        if not isinstance(value, list):
            problems.error(at, f"must be a list, not {kind(value)}")
            return None
        found = [read(at.index(index), item, problems) for index, item in enumerate(value)]
        return tuple(item for item in found if item is not None)

    return read_all


def texts(at: Path, value: object, problems: Problems) -> dict[str, str] | None:
    if not isinstance(value, dict):
        problems.error(at, f"must be a mapping, not {kind(value)}")
        return None
    for key, each in value.items():
        if not isinstance(each, str):
            problems.error(at.key(str(key)), f"must be text, not {kind(each)} (quote it)")
    return {str(key): each for key, each in value.items() if isinstance(each, str)}
