"""Which counter an error of the codec moves."""

from __future__ import annotations

import pytest

from protocols.http import h2, h2_fields, h2_guard
from protocols.http.h2_server import REFUSED
from sidecar.transport.http2_stats import count_codec_error
from stats.families import Http2CodecStats
from stats.metrics import Counter
from stats.store import Store


@pytest.mark.parametrize(
    ("details", "counter"),
    [
        (h2_guard.EMPTY_FRAMES, "inbound_empty_frames_flood"),
        (h2_guard.PRIORITY_FRAMES, "inbound_priority_frames_flood"),
        (h2_guard.WINDOW_UPDATES, "inbound_window_update_frames_flood"),
        (h2_guard.CONTROL_FRAMES, "outbound_control_flood"),
        (h2_guard.OUTBOUND_FRAMES, "outbound_flood"),
        (h2.TOO_MANY_HEADERS, "header_overflow"),
        (h2.HEAD_TOO_LARGE, "header_list_size_too_large"),
        (h2_fields.INVALID_FIELD, "rx_messaging_error"),
        (h2_fields.VIOLATION, "rx_messaging_error"),
        (h2_fields.UNDERSCORE, "requests_rejected_with_underscores_in_headers"),
        (REFUSED, "stream_refused_errors"),
        ("codec_error:anything", None),
    ],
)
def test_counter(details: str, counter: str | None) -> None:
    store = Store()
    count_codec_error(Http2CodecStats(store.scope("http2")), details)
    moved = [stat.name for stat in store if isinstance(stat, Counter) and stat.value]
    assert moved == ([f"http2.{counter}"] if counter else [])
