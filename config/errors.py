"""How a problem with the configuration is reported: where it was written, which field, what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Position(msgspec.Struct, frozen=True):
    """A place in a configuration text. `line` and `column` count from 1, columns in characters."""

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}"


class ConfigError(msgspec.Struct, frozen=True):
    """One problem (a value, not an exception): an error, or a warning when it stands in a list of warnings.

    `path` is the field in Envoy's spelling (`static_resources.listeners[0].name`), "" for the whole text.
    """

    path: str
    reason: str
    position: Position | None = None

    def __str__(self) -> str:
        where = [str(part) for part in (self.position, self.path) if part]
        return ": ".join([*where, self.reason])


class Remark(msgspec.Struct, frozen=True):
    """What somebody who knows the meaning of a message's names has to say of one of its fields: a warning.

    `steps` lead from the message to the field (names, indices); `map_key`: to the entry of a map behind them.
    """

    steps: tuple[str | int, ...]
    reason: str
    map_key: str | None = None


class ConfigErrors(Exception):
    """The configuration is refused. `errors` holds every problem found, in the order of the text."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = tuple(errors)
