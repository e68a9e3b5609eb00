"""What is wrong with a format string (access log, header value) of the configuration: everything at once."""

from __future__ import annotations

from typing import Final

from sidecar.telemetry.access_log.format import MISSING, FormatError, Piece, parse_format
from sidecar.telemetry.access_log.operator import Argument
from sidecar.telemetry.access_log.operators import build_operator

#: More are not told: a text with so many is no format.
_MAX_PROBLEMS: Final = 10


def format_problems(text: str, extensions: tuple[str, ...] = ()) -> str | None:
    """None if nothing is wrong. `extensions` are the formatters whose operators may be used."""
    found: list[tuple[int, str]] = []
    pieces: list[bytes | Piece] | None = None
    readable = text
    while pieces is None and len(found) < _MAX_PROBLEMS:
        try:
            pieces = parse_format(readable)
        except FormatError as error:
            at = error.position
            found.append((at, error.message))
            readable = f"{readable[:at]} {readable[at + 1 :]}"  # go on behind it
    for piece in pieces or ():
        if isinstance(piece, Piece):
            try:
                build_operator(
                    piece.name, Argument(piece.argument, piece.max_length, MISSING, None), extensions
                )
            except ValueError as error:
                found.append((piece.position, str(error)))
    told = [f"{message} at character {at + 1} of the format" for at, message in sorted(found)[:_MAX_PROBLEMS]]
    return "; ".join(told) or None
