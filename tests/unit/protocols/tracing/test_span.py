"""Ids of traces."""

from __future__ import annotations

from protocols.tracing.span import long_trace_id


def test_short_ids_are_filled() -> None:
    assert long_trace_id("0123456789abcdef") == "00000000000000000123456789abcdef"
    assert long_trace_id("f" * 32) == "f" * 32
