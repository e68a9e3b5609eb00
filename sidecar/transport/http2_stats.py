"""Which of Envoy's `http2` counters an error of the codec moves."""

from __future__ import annotations

from typing import Final

from protocols.http import h2, h2_fields, h2_guard
from protocols.http.h2_server import REFUSED
from stats.families import Http2CodecStats

_COUNTERS: Final = {
    h2_guard.EMPTY_FRAMES: "inbound_empty_frames_flood",
    h2_guard.PRIORITY_FRAMES: "inbound_priority_frames_flood",
    h2_guard.WINDOW_UPDATES: "inbound_window_update_frames_flood",
    h2_guard.CONTROL_FRAMES: "outbound_control_flood",
    h2_guard.OUTBOUND_FRAMES: "outbound_flood",
    h2.TOO_MANY_HEADERS: "header_overflow",
    h2.HEAD_TOO_LARGE: "header_list_size_too_large",
    h2_fields.INVALID_FIELD: "rx_messaging_error",
    h2_fields.VIOLATION: "rx_messaging_error",
    h2_fields.UNDERSCORE: "requests_rejected_with_underscores_in_headers",
    REFUSED: "stream_refused_errors",
}


def count_codec_error(stats: Http2CodecStats, details: str) -> None:
    """`details` is the response code detail that the codec gave; one without a counter of its own moves none."""
    counter = _COUNTERS.get(details)
    if counter is not None:
        getattr(stats, counter).inc()
