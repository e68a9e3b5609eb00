"""Envoy's format strings (`%RESPONSE_CODE%`, `%REQ(:PATH)%`, ...) compiled to a renderer.

The language serves access logs and the values of configured headers. The operators themselves are in `operators`; this
module knows the grammar: `%NAME%`, `%NAME(ARGUMENT)%`, an optional maximum length `:N` before the closing `%`, and `%%`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NamedTuple

from config.model.core import Node
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.operator import Argument, Operator, printing
from sidecar.telemetry.access_log.operators import build_operator
from sidecar.telemetry.access_log.renderer import Renderer, Verbatim, template_of

#: Envoy's defaults for HTTP and TCP alike.
DEFAULT_FORMAT: Final = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
    "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'
)

#: What stands for a value that is not there, in a log line.
MISSING: Final = b"-"

_OPERATOR: Final = re.compile(r"%([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]+))?%")
#: A tab is no danger to a line.
_CONTROLS: Final = bytes([*range(0x09), *range(0x0A, 0x20), 0x7F])
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_SEVEN_DIGITS: Final = 7


class FormatError(ValueError):
    """A format string that cannot be compiled; `position` counts characters from 0."""

    def __init__(self, text: str, position: int, message: str) -> None:
        super().__init__(f"{message} at position {position} of format {text!r}")
        self.text = text
        self.position = position
        self.message = message


class Piece(NamedTuple):
    """An operator of a format string, not yet built; `position` counts characters from 0."""

    name: str
    argument: str | None
    max_length: int | None
    position: int


def compile_format(
    text: str, *, missing: bytes = MISSING, extensions: Collection[str] = (), node: Node | None = None
) -> Renderer:
    """The renderer of a format string. Raises FormatError.

    Values that came over the wire are escaped if they hold control characters (`\\x0a`), so that one entry stays one line;
    control characters of the format itself stay. `missing` replaces values that are not there (header values use "").
    `extensions` are the formatters (by the types of their configurations) whose operators may be used. Without `node` expressions
    do not know `xds.node`.
    """
    literals, operators = build_operators(text, missing, extensions, node)
    if not operators:
        return Verbatim(printing(literals[0]))
    if len(operators) == 1 and literals == [b"", b""]:
        return _Single(operators[0])
    return _Line(literals, operators)


class _Single(Verbatim):
    """One operator and nothing else."""

    __slots__ = ()

    def shown(self, value: bytes) -> bytes:
        return escape(value) if value.translate(None, _CONTROLS) != value else value


class _Line(Renderer):
    __slots__ = ("_own_controls", "_template")

    def __init__(self, literals: list[bytes], operators: list[Operator]) -> None:
        super().__init__(operators)
        self._template: Final = template_of(literals)
        self._own_controls: Final = sum([len(_CONTROL.findall(literal)) for literal in literals])

    def finish(self, info: StreamInfo, noted: list[bytes]) -> bytes:
        pieces = self._template.copy()
        pieces[1::2] = self.values(info, noted)
        line = b"".join(pieces)
        # one pass in C over the line says whether any value brought a control character
        if len(line) - len(line.translate(None, _CONTROLS)) != self._own_controls:
            pieces[1::2] = [escape(value) for value in pieces[1::2]]
            line = b"".join(pieces)
        return line


def escape(value: bytes) -> bytes:
    """Control characters as `\\xNN`, everything else as it is."""
    return _CONTROL.sub(lambda found: b"\\x%02x" % found[0][0], value)


def parse_format(text: str) -> list[bytes | Piece]:
    """The literal pieces and the operators in their order; no two literals in a row, no empty ones. Raises FormatError."""
    pieces: list[bytes | Piece] = []
    literal: list[str] = []
    position = 0

    def end_literal() -> None:
        if any(literal):
            pieces.append("".join(literal).encode())
        literal.clear()

    while (percent := text.find("%", position)) >= 0:
        literal.append(text[position:percent])
        if text.startswith("%%", percent):
            literal.append("%")
            position = percent + 2
            continue
        found = _OPERATOR.match(text, percent)
        if found is None:
            raise FormatError(text, percent, "not an operator")
        name, argument, length = found.groups()
        if length is not None and len(length) > _SEVEN_DIGITS:
            raise FormatError(text, percent, f"maximum length of {name} is too large")
        end_literal()
        pieces.append(Piece(name, argument, int(length) if length is not None else None, percent))
        position = found.end()
    literal.append(text[position:])
    end_literal()
    return pieces


def build_operators(
    text: str, missing: bytes, extensions: Collection[str], node: Node | None
) -> tuple[list[bytes], list[Operator]]:
    """The literal pieces and the operators between them: always one literal more than operators. Raises FormatError."""
    literals: list[bytes] = [b""]
    operators: list[Operator] = []
    for piece in parse_format(text):
        if isinstance(piece, bytes):
            literals[-1] = piece
            continue
        try:
            argument = Argument(piece.argument, piece.max_length, missing, node)
            operators.append(build_operator(piece.name, argument, extensions))
        except ValueError as error:
            raise FormatError(text, piece.position, str(error)) from None
        literals.append(b"")
    return literals, operators
