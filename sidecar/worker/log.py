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
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from config.model.bootstrap import ApplicationLogFormat
    from config.model.options import Options

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

#: Envoy's component -> our logger. Those that map to nothing here are of parts that this program does not have; their
#: level can be set and shown all the same, because operators' tools set them.
COMPONENTS: Final[Mapping[str, str]] = {
    "admin": "sidecar.main.admin",
    "assert": "",
    "aws": "",
    "client": "protocols.http",
    "config": "config",
    "connection": "sidecar.network",
    "conn_handler": "sidecar.listener",
    "dns": "sidecar.upstream.resolver",
    "envoy_bug": "",
    "ext_authz": "sidecar.http.filters.ext_authz",
    "file": "sidecar.telemetry.access_log.file",
    "filter": "sidecar.network.filters",
    "forward_proxy": "",
    "grpc": "protocols.grpc",
    "happy_eyeballs": "",
    "hc": "sidecar.upstream.health_checker",
    "health_checker": "",
    "http": "sidecar.http",
    "http2": "protocols.http.h2",
    "init": "",
    "io": "",
    "jwt": "sidecar.http.filters.jwt_authn",
    "lua": "",
    "main": "sidecar.main",
    "matcher": "",
    "misc": "sidecar",
    "oauth2": "",
    "pool": "sidecar.upstream.http_pool",
    "quic": "",
    "quic_stream": "",
    "rbac": "sidecar.http.filters.rbac",
    "rds": "",
    "redis": "",
    "router": "sidecar.http.filters.router",
    "runtime": "",
    "secret": "sidecar.transport.tls_contexts",
    "stats": "stats",
    "tap": "",
    "testing": "",
    "thrift": "",
    "tracing": "sidecar.telemetry.tracing",
    "udp": "",
    "upstream": "sidecar.upstream",
    "wasm": "",
}
#: Further loggers of a component.
_ALSO: Final[Mapping[str, tuple[str, ...]]] = {"main": ("sidecar.worker", "sidecar.ipc")}
_BY_LOGGER: Final = sorted(
    ((ours, name) for name, ours in COMPONENTS.items() for ours in (ours, *_ALSO.get(name, ())) if ours),
    key=lambda pair: -len(pair[0]),
)
_ROOMS: Final = ("sidecar", "protocols", "alpn", "stats", "config")
#: What was asked for components that have no logger here.
_levels_of_absent: dict[str, str] = {}


def component_of(logger_name: str) -> str:
    """The component that a logger belongs to: the most specific one."""
    for ours, name in _BY_LOGGER:
        if logger_name == ours or logger_name.startswith(ours + "."):
            return name
    return "misc"


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _at(pattern: str) -> Callable[[logging.LogRecord, str], str]:
    return lambda record, message: time.strftime(pattern, time.localtime(record.created))


_FIELDS: Final[Mapping[str, Callable[[logging.LogRecord, str], str]]] = {
    **{name: _at(f"%{name}") for name in "YmdHMSaAbBcCDIpRr"},
    "T": _at("%H:%M:%S"),
    "X": _at("%H:%M:%S"),
    "h": _at("%b"),
    "z": lambda r, m: f"{(zone := time.strftime('%z', time.localtime(r.created)))[:3]}:{zone[3:]}",
    "E": lambda r, m: str(int(r.created)),
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
    "@": lambda r, m: f"{r.filename}:{r.lineno}",
    "#": lambda r, m: str(r.lineno),
    "!": lambda r, m: r.funcName,
    "v": lambda r, m: m,
    "j": lambda r, m: _escaped(m),
    "_": lambda r, m: m.replace("\n", "\\n"),
    "%": lambda r, m: "%",
}

#: C's escapes.
_CONTROLS: Final = str.maketrans(
    {
        "\\": "\\\\",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\v": "\\v",
        "\f": "\\f",
        "\b": "\\b",
        "\a": "\\a",
        "\0": "\\0",
    }
)

_Piece = str | Callable[[logging.LogRecord, str], str]


class SpdlogFormatter(logging.Formatter):
    """A spdlog pattern (`[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v`), or a JSON object of such patterns.

    `escape` (`--log-format-escaped`): line breaks, tabs and the like in messages are written as `\\n`, `\\t`. `prefix` stands
    before every message.
    """

    def __init__(
        self,
        pattern: str | None = None,
        fields: Iterable[tuple[str, str]] | None = None,
        *,
        escape: bool = False,
        prefix: str = "",
    ) -> None:
        super().__init__()
        self._escape = escape
        self._prefix = prefix
        self._pattern = _compile(pattern) if pattern is not None else None
        self._fields = [(name, _compile(each)) for name, each in fields] if fields is not None else None

    def format(self, record: logging.LogRecord) -> str:
        message = self._prefix + record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        if self._escape:
            message = message.translate(_CONTROLS)
        if self._fields is not None:
            return json.dumps(
                {name: _render(pieces, record, message) for name, pieces in self._fields}, ensure_ascii=False
            )
        return _render(self._pattern or [], record, message)


def formatter_of(configured: ApplicationLogFormat, options: Options, prefix: str = "") -> SpdlogFormatter:
    """By the format of the bootstrap, else of the command line."""
    if configured.text is None and configured.json is None:
        return SpdlogFormatter(options.log_format, escape=options.log_format_escaped, prefix=prefix)
    return SpdlogFormatter(configured.text, configured.json, escape=options.log_format_escaped, prefix=prefix)


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
        if isinstance(old, logging.FileHandler):
            old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)  # libraries
    logging.raiseExceptions = False  # a closed stderr must not hurt
    set_all(level)
    for name, each in component_levels:
        set_component(name, each)


def set_formatter(formatter: logging.Formatter) -> None:
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter)


def reopen() -> None:
    """Open `--log-path` anew, after log rotation. If that fails the old file stays in use."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            try:
                stream = open(handler.baseFilename, "a", encoding="utf-8")  # noqa: SIM115  # the handler keeps it
            except OSError as error:
                logging.getLogger(__name__).error(
                    "cannot reopen %s: %s", handler.baseFilename, error.strerror
                )
                continue
            old = handler.setStream(stream)
            if old is not None:
                old.close()


def set_all(level: str) -> None:
    """Every component to one level."""
    for name, ours in COMPONENTS.items():
        if not ours:
            _levels_of_absent[name] = level
            continue
        _set_loggers(name, ours, level)
    for room in _ROOMS:
        logging.getLogger(room).setLevel(LEVELS[level])


def logger_levels() -> tuple[tuple[str, int], ...]:
    """Of all loggers of the program, for another process of it to `set_loggers`."""
    names = {each for name, ours in COMPONENTS.items() if ours for each in (ours, *_ALSO.get(name, ()))}
    return tuple((name, logging.getLogger(name).level) for name in sorted(names.union(_ROOMS)))


def set_loggers(levels: Iterable[tuple[str, int]]) -> None:
    """As they are in another process."""
    for name, level in levels:
        logging.getLogger(name).setLevel(level)


def set_component(name: str, level: str) -> bool:
    """False when there is no such component."""
    ours = COMPONENTS.get(name)
    if ours is None:
        return False
    if not ours:
        _levels_of_absent[name] = level
        return True
    _set_loggers(name, ours, level)
    return True


def _set_loggers(name: str, ours: str, level: str) -> None:
    for each in (ours, *_ALSO.get(name, ())):
        logging.getLogger(each).setLevel(LEVELS[level])


def current_levels() -> list[tuple[str, str]]:
    """Component -> level, in alphabetical order."""
    return [(name, _level_of(name, ours)) for name, ours in sorted(COMPONENTS.items())]


def _level_of(name: str, ours: str) -> str:
    if not ours:
        return _levels_of_absent.get(name, "info")
    return _NAMES.get(logging.getLogger(ours).getEffectiveLevel(), "info")
