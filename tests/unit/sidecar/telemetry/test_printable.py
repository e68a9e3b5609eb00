"""What a terminal would obey is not shown."""

from __future__ import annotations

import pytest

from sidecar.telemetry.printable import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢", "plain é 漢"),
        ("", ""),
        ("a\nb\r\tc", "a?b??c"),
        ("\x1b[2J\x9b1m\x00\x7f", "?[2J?1m??"),
        ("\u202egnp.exe\u2028\ud800", "?gnp.exe??"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_stay_lines() -> None:
    assert printable_lines("a\x1b\n\r\nb\n") == "a?\n?\nb\n"
