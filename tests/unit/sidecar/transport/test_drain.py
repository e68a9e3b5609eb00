"""Which answers carry `connection: close`."""

from __future__ import annotations

from config.model.core import TrafficDirection
from sidecar.transport.drain import DrainState

INBOUND, OUTBOUND = TrafficDirection.INBOUND, TrafficDirection.OUTBOUND


def test_not_without_a_drain() -> None:
    state = DrainState()
    assert not any(state.drain_close(each) or state.is_draining(each) for each in TrafficDirection)


def test_only_the_directions_that_drain() -> None:
    state = DrainState()
    state.begin(frozenset({INBOUND}))
    assert state.drain_close(INBOUND)
    assert not state.drain_close(OUTBOUND)
    assert state.is_draining(INBOUND) and not state.is_draining(OUTBOUND)


def test_the_chance_decides_for_each_answer() -> None:
    chances = iter([False, True, False])
    state = DrainState()
    state.begin(frozenset({INBOUND}), lambda: next(chances))
    assert [state.drain_close(INBOUND) for _ in range(3)] == [False, True, False]


def test_a_failed_health_check_closes_everywhere() -> None:
    state = DrainState()
    state.health_check_failed = True
    assert all(map(state.drain_close, TrafficDirection))
    assert not state.is_draining(INBOUND)


def test_drains_add_up() -> None:
    state = DrainState()
    state.begin(frozenset({INBOUND}))
    state.begin(frozenset({OUTBOUND}))
    assert state.drain_close(INBOUND) and state.drain_close(OUTBOUND)
