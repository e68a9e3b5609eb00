"""What a peer may send to no purpose on one HTTP/2 connection before it is a flood: Envoy's limits."""

from __future__ import annotations

from typing import Final

from protocols.errors import RemoteProtocolError
from protocols.http.codec import Http2Settings
from protocols.http.h2_frames import ENHANCE_YOUR_CALM

EMPTY_FRAMES: Final = "http2.inbound_empty_frames_flood"
PRIORITY_FRAMES: Final = "http2.inbound_priority_frames_flood"
WINDOW_UPDATES: Final = "http2.inbound_window_update_frames_flood"
CONTROL_FRAMES: Final = "http2.outbound_control_frames_flood"
OUTBOUND_FRAMES: Final = "http2.outbound_frames_flood"

#: WINDOW_UPDATE frames that are no flood whatever else happens.
_FREE_WINDOW_UPDATES: Final = 5
#: Changes of the initial window that are no flood whatever else happens: each costs a step for every stream.
_FREE_WINDOW_CHANGES: Final = 100


class FloodGuard:
    """Counts frames of one connection; each `on_*` raises RemoteProtocolError when the limit is passed."""

    __slots__ = (
        "_control",
        "_data_sent",
        "_empty",
        "_outbound",
        "_priority",
        "_settings",
        "_streams",
        "_window_changes",
        "_window_updates",
    )

    def __init__(self, settings: Http2Settings) -> None:
        self._settings = settings
        self._empty = 0
        self._priority = 0
        self._window_updates = 0
        self._window_changes = 0
        self._streams = 0
        self._data_sent = 0
        self._outbound = 0
        self._control = 0

    def on_stream(self) -> None:
        """A stream began: it may bring some frames of its own."""
        self._streams += 1

    def on_payload(self, size: int, end_stream: bool) -> None:
        """DATA, HEADERS or CONTINUATION came."""
        if size or end_stream:
            self._empty = 0
            return
        self._empty += 1
        if self._empty > self._settings.max_consecutive_empty_frames:
            raise _flood(EMPTY_FRAMES)

    def on_priority(self) -> None:
        self._priority += 1
        if self._priority > self._settings.max_priority_frames_per_stream * (1 + self._streams):
            raise _flood(PRIORITY_FRAMES)

    def on_window_update(self) -> None:
        self._window_updates += 1
        of_data = self._settings.max_window_updates_per_data_frame * self._data_sent
        if self._window_updates > _FREE_WINDOW_UPDATES + 2 * (self._streams + of_data):
            raise _flood(WINDOW_UPDATES)

    def on_window_change(self) -> None:
        """A SETTINGS frame changed the window of every stream (no limit of Envoy's; peers that measure do it now and then)."""
        self._window_changes += 1
        if self._window_changes > _FREE_WINDOW_CHANGES + self._data_sent // 10:
            raise _flood(WINDOW_UPDATES)

    def on_data_sent(self, frames: int) -> None:
        self._data_sent += frames
        self._outbound += frames

    def on_frame_sent(self) -> None:
        """A HEADERS frame. What our own side sends is bounded by its back-pressure, so it is counted, not judged."""
        self._outbound += 1

    def on_answer(self) -> None:
        """The peer has caused a frame (acknowledgement, reset) that waits to be written."""
        self._control += 1
        self._outbound += 1
        if self._control > self._settings.max_outbound_control_frames:
            raise _flood(CONTROL_FRAMES)
        if self._outbound > self._settings.max_outbound_frames:
            raise _flood(OUTBOUND_FRAMES)

    def on_flushed(self) -> None:
        """The transport holds none of our frames any more."""
        self._outbound = self._control = 0


def _flood(details: str) -> RemoteProtocolError:
    return RemoteProtocolError(details, h2_code=ENHANCE_YOUR_CALM)
