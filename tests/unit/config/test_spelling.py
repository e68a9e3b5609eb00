"""Guesses at what was meant."""

from __future__ import annotations

import pytest

from config.spelling import did_you_mean


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("stat_prefx", "; did you mean 'stat_prefix'?"),
        ("STAT_PREFIX", "; did you mean 'stat_prefix'?"),
        ("zork", ""),
    ],
)
def test_did_you_mean(word: str, expected: str) -> None:
    assert did_you_mean(word, ["name", "stat_prefix", "cluster"]) == expected
