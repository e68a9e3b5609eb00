"""What a peer may send to no purpose: Envoy's numbers."""

from __future__ import annotations

import pytest

from protocols.errors import RemoteProtocolError
from protocols.http.codec import Http2Settings
from protocols.http.h2_frames import ENHANCE_YOUR_CALM
from protocols.http.h2_guard import (
    CONTROL_FRAMES,
    EMPTY_FRAMES,
    OUTBOUND_FRAMES,
    PRIORITY_FRAMES,
    WINDOW_UPDATES,
    FloodGuard,
)


@pytest.fixture
def guard() -> FloodGuard:
    return FloodGuard(Http2Settings())


def floods(details: str) -> pytest.RaisesExc[RemoteProtocolError]:
    """The end of the connection."""
    return pytest.raises(RemoteProtocolError, match=f"^{details}$")


def test_the_code_of_a_flood() -> None:
    guard = FloodGuard(Http2Settings(max_consecutive_empty_frames=0))
    with floods(EMPTY_FRAMES) as caught:
        guard.on_payload(0, False)
    assert caught.value.h2_code == ENHANCE_YOUR_CALM


def test_empty_frames(guard: FloodGuard) -> None:
    guard.on_payload(0, False)
    guard.on_payload(1, False)
    guard.on_payload(0, False)
    guard.on_payload(0, True)
    guard.on_payload(0, True)
    guard.on_payload(0, False)
    with floods(EMPTY_FRAMES):
        guard.on_payload(0, False)


@pytest.mark.parametrize("limit", [0, 3])
def test_the_limit_of_empty_frames_is_configured(limit: int) -> None:
    guard = FloodGuard(Http2Settings(max_consecutive_empty_frames=limit))
    for _ in range(limit):
        guard.on_payload(0, False)
    with floods(EMPTY_FRAMES):
        guard.on_payload(0, False)


@pytest.mark.parametrize("streams", [0, 2])
def test_priority_frames(streams: int) -> None:
    guard = FloodGuard(Http2Settings(max_priority_frames_per_stream=10))
    for _ in range(streams):
        guard.on_stream()
    for _ in range(10 * (1 + streams)):
        guard.on_priority()
    with floods(PRIORITY_FRAMES):
        guard.on_priority()


@pytest.mark.parametrize(("streams", "frames", "allowed"), [(0, 0, 5), (1, 0, 7), (3, 2, 5 + 2 * (3 + 20))])
def test_window_updates(guard: FloodGuard, streams: int, frames: int, allowed: int) -> None:
    for _ in range(streams):
        guard.on_stream()
    guard.on_data_sent(frames)
    for _ in range(allowed):
        guard.on_window_update()
    with floods(WINDOW_UPDATES):
        guard.on_window_update()


def test_answers_that_nobody_reads(guard: FloodGuard) -> None:
    for _ in range(1000):
        guard.on_answer()
    guard.on_flushed()
    for _ in range(1000):
        guard.on_answer()
    with floods(CONTROL_FRAMES):
        guard.on_answer()


def test_all_that_waits_together_is_judged_by_answers() -> None:
    """What this side sends by itself is bounded by its back-pressure."""
    guard = FloodGuard(Http2Settings(max_outbound_frames=10))
    guard.on_data_sent(8)
    guard.on_frame_sent()
    guard.on_answer()
    guard.on_data_sent(100)
    with floods(OUTBOUND_FRAMES):
        guard.on_answer()


def test_what_is_flushed_does_not_count() -> None:
    guard = FloodGuard(Http2Settings(max_outbound_frames=10))
    for _ in range(3):
        guard.on_data_sent(9)
        guard.on_answer()
        guard.on_flushed()


def test_changes_of_the_window(guard: FloodGuard) -> None:
    guard.on_data_sent(50)
    for _ in range(105):
        guard.on_window_change()
    with floods(WINDOW_UPDATES):
        guard.on_window_change()
