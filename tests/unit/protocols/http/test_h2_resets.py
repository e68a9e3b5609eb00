"""Reset codes and their names."""

from __future__ import annotations

import pytest
from h2.errors import ErrorCodes

from protocols.http.h2_resets import RESETS_BY_CODE, code_name


@pytest.mark.parametrize("code", ErrorCodes)
def test_names_are_those_of_the_rfc(code: ErrorCodes) -> None:
    assert code_name(code) == code.name


@pytest.mark.parametrize("code", [-1, 14, 2**32 - 1])
def test_unknown_code_is_shown_as_a_number(code: int) -> None:
    assert code_name(code) == f"code {code}"


def test_codes_with_a_meaning_of_their_own() -> None:
    assert {code_name(code) for code in RESETS_BY_CODE} == {
        "REFUSED_STREAM",
        "CONNECT_ERROR",
        "PROTOCOL_ERROR",
    }
