"""Reason phrases are Envoy's, not those of the Python library."""

from __future__ import annotations

import pytest

from protocols.http.reasons import reason_phrase


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (101, b"Switching Protocols"),
        (103, b"Unknown"),
        (200, b"OK"),
        (413, b"Payload Too Large"),
        (414, b"URI Too Long"),
        (416, b"Range Not Satisfiable"),
        (418, b"Unknown"),
        (431, b"Request Header Fields Too Large"),
        (451, b"Unknown"),
        (599, b"Last Unassigned Server Error Code"),
        (999, b"Unknown"),
    ],
)
def test_reason_phrase(status: int, phrase: bytes) -> None:
    assert reason_phrase(status) == phrase
