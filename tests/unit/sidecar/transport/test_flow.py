"""The read gate: closed while anybody wants it closed."""

from __future__ import annotations

from sidecar.transport.flow import ReadGate


def gate() -> tuple[ReadGate, list[str]]:
    calls: list[str] = []
    return ReadGate(lambda: calls.append("pause"), lambda: calls.append("resume")), calls


def test_the_last_closer_opens_it() -> None:
    made, calls = gate()
    made.close(ReadGate.SINK_FULL)
    made.close(ReadGate.FILTER)
    made.open(ReadGate.SINK_FULL)
    assert calls == ["pause"]
    assert not made.is_open
    made.open(ReadGate.FILTER)
    assert calls == ["pause", "resume"]
    assert made.is_open


def test_closing_and_opening_twice_is_harmless() -> None:
    made, calls = gate()
    made.close(ReadGate.STREAM)
    made.close(ReadGate.STREAM)
    made.open(ReadGate.STREAM)
    made.open(ReadGate.STREAM)
    assert calls == ["pause", "resume"]


def test_opening_for_one_that_has_not_closed_does_nothing() -> None:
    made, calls = gate()
    made.close(ReadGate.CODEC)
    made.open(ReadGate.NOT_READY)
    assert calls == ["pause"]


def test_a_cut_gate_calls_nobody() -> None:
    made, calls = gate()
    made.cut()
    made.close(ReadGate.FILTER)
    made.open(ReadGate.FILTER)
    assert calls == []
