"""All mistakes of a format string are told at once, with their places."""

from __future__ import annotations

import pytest

from sidecar.main.format_check import format_problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("%START_TIME% %REQ(:METHOD)% 100%%", None),
        ("%REQUST(:PATH)%", "unknown operator REQUST; did you mean 'REQ'? at character 1 of the format"),
        ("%ZZZZZZZZZ%", "unknown operator ZZZZZZZZZ at character 1 of the format"),
        (
            "%DURATOIN% % %RESPONSE_COD% %FAILURE(hwo)%",
            (
                "unknown operator DURATOIN; did you mean 'DURATION'? at character 1 of the format; "
                "not an operator at character 12 of the format; "
                "unknown operator RESPONSE_COD; did you mean 'RESPONSE_CODE'? at character 14 of the format; "
                "FAILURE has no field hwo; did you mean 'how'? at character 29 of the format"
            ),
        ),
    ],
)
def test_problems(text: str, problem: str | None) -> None:
    assert format_problems(text) == problem


def test_they_are_bounded() -> None:
    problem = format_problems("% " * 5000)
    assert problem is not None
    assert problem.count("not an operator") == 10
