"""The program's own log: spdlog patterns over stdlib logging, levels by component.

Envoy names its loggers by component (`http`, `upstream`, ...); ours are the modules of the rooms. `COMPONENTS` maps one to
the other, so that `--component-log-level` and `/logging` speak Envoy's language.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

TRACE: Final = 5
OFF: Final = logging.CRITICAL + 10

LEVELS: Final[Mapping[str, int]] = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "off": OFF,
}
_NAMES: Final = {number: name for name, number in LEVELS.items()}

#: Envoy's component -> our logger
COMPONENTS: Final[Mapping[str, str]] = {
    "admin": "sidecar.main.admin",
    "client": "protocols.http",
    "config": "config",
    "conn_handler": "sidecar.listener",
    "connection": "sidecar.transport",
    "dns": "sidecar.upstream.resolver",
    "filter": "sidecar.network.filters",
    "http": "sidecar.http",
    "main": "sidecar.main",
    "misc": "sidecar",
    "pool": "sidecar.upstream.http_pool",
    "router": "sidecar.http.filters.router",
    "runtime": "sidecar.policy",
    "secret": "sidecar.transport.tls_contexts",
    "stats": "stats",
    "upstream": "sidecar.upstream",
}
_BY_LOGGER: Final = sorted(
    ((ours, name) for name, ours in COMPONENTS.items()), key=lambda pair: -len(pair[0])
)


def component_of(logger_name: str) -> str:
    """The component that a logger belongs to: the most specific one."""
    for ours, name in _BY_LOGGER:
        if logger_name == ours or logger_name.startswith(ours + "."):
            return name
    return "misc"


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


_FIELDS: Final[Mapping[str, Callable[[logging.LogRecord, str], str]]] = {
    "Y": lambda r, m: time.strftime("%Y", time.localtime(r.created)),
    "m": lambda r, m: time.strftime("%m", time.localtime(r.created)),
    "d": lambda r, m: time.strftime("%d", time.localtime(r.created)),
    "H": lambda r, m: time.strftime("%H", time.localtime(r.created)),
    "M": lambda r, m: time.strftime("%M", time.localtime(r.created)),
    "S": lambda r, m: time.strftime("%S", time.localtime(r.created)),
    "T": lambda r, m: time.strftime("%H:%M:%S", time.localtime(r.created)),
    "z": lambda r, m: time.strftime("%z", time.localtime(r.created)),
    "e": lambda r, m: f"{int(r.created * 1000) % 1000:03d}",
    "f": lambda r, m: f"{int(r.created * 1_000_000) % 1_000_000:06d}",
    "F": lambda r, m: f"{int((r.created % 1) * 1_000_000_000):09d}",
    "t": lambda r, m: str(r.thread),
    "P": lambda r, m: str(r.process),
    "l": lambda r, m: _NAMES.get(r.levelno, r.levelname.lower()),
    "L": lambda r, m: _NAMES.get(r.levelno, r.levelname)[:1].upper(),
    "n": lambda r, m: component_of(r.name),
    "g": lambda r, m: r.pathname,
    "s": lambda r, m: r.filename,
    "#": lambda r, m: str(r.lineno),
    "!": lambda r, m: r.funcName,
    "v": lambda r, m: m,
    "j": lambda r, m: _escaped(m),
    "_": lambda r, m: m.replace("\n", "\\n"),
    "%": lambda r, m: "%",
}

_Piece = str | Callable[[logging.LogRecord, str], str]


class SpdlogFormatter(logging.Formatter):
    """A spdlog pattern (`[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v`), or a JSON object of such patterns."""

    def __init__(self, pattern: str | None = None, fields: Iterable[tuple[str, str]] | None = None) -> None:
        super().__init__()
        self._pattern = _compile(pattern) if pattern is not None else None
        self._fields = [(name, _compile(each)) for name, each in fields] if fields is not None else None

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        if self._fields is not None:
            return json.dumps(
                {name: _render(pieces, record, message) for name, pieces in self._fields}, ensure_ascii=False
            )
        return _render(self._pattern or [], record, message)


def _compile(pattern: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    text = ""
    position = 0
    while position < len(pattern):
        character = pattern[position]
        field = (
            _FIELDS.get(pattern[position + 1]) if character == "%" and position + 1 < len(pattern) else None
        )
        if field is None:
            text += character
            position += 1
            continue
        if text:
            pieces.append(text)
            text = ""
        pieces.append(field)
        position += 2
    if text:
        pieces.append(text)
    return pieces


def _render(pieces: Iterable[_Piece], record: logging.LogRecord, message: str) -> str:
    return "".join(piece if isinstance(piece, str) else piece(record, message) for piece in pieces)


def set_up(
    level: str,
    component_levels: Iterable[tuple[str, str]],
    formatter: logging.Formatter,
    path: str = "",
) -> None:
    """Send every logger of the program to `path` (default stderr). Raises OSError when the file cannot be opened."""
    logging.addLevelName(TRACE, "TRACE")
    handler: logging.Handler = logging.FileHandler(path) if path else logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)  # libraries
    logging.raiseExceptions = False  # a closed stderr must not hurt
    set_all(level)
    for name, each in component_levels:
        set_component(name, each)


def set_formatter(formatter: logging.Formatter) -> None:
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter)


def set_all(level: str) -> None:
    """Every component to one level."""
    for ours in COMPONENTS.values():
        logging.getLogger(ours).setLevel(LEVELS[level])
    for room in ("sidecar", "protocols", "alpn", "stats", "config"):
        logging.getLogger(room).setLevel(LEVELS[level])


def set_component(name: str, level: str) -> bool:
    """False when there is no such component."""
    ours = COMPONENTS.get(name)
    if ours is None:
        return False
    logging.getLogger(ours).setLevel(LEVELS[level])
    return True


def current_levels() -> list[tuple[str, str]]:
    """Component -> level, in alphabetical order."""
    return [
        (name, _NAMES.get(logging.getLogger(ours).getEffectiveLevel(), "info"))
        for name, ours in sorted(COMPONENTS.items())
    ]
