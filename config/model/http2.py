"""`envoy.config.core.v3.Http2ProtocolOptions`, of a listener or of a cluster."""

from __future__ import annotations

import msgspec


class KeepaliveSpec(msgspec.Struct, frozen=True):
    """`KeepaliveSettings`: PINGs to find out whether the peer is there. `interval_s` 0: none by the clock.

    `interval_jitter` is a ratio; `idle_interval_s` 0: none before a new stream.
    """

    interval_s: float = 0.0
    timeout_s: float = 5.0
    interval_jitter: float = 0.15
    idle_interval_s: float = 0.0


class Http2Options(msgspec.Struct, frozen=True):
    """The defaults are Envoy's. Sizes in bytes."""

    max_concurrent_streams: int = 1024
    initial_stream_window_size: int = 16 * 1024 * 1024
    initial_connection_window_size: int = 24 * 1024 * 1024
    hpack_table_size: int = 4096
    allow_connect: bool = False
    stream_error_on_invalid_http_message: bool = False
    max_outbound_frames: int = 10_000
    max_outbound_control_frames: int = 1_000
    max_consecutive_inbound_frames_with_empty_payload: int = 1
    max_inbound_priority_frames_per_stream: int = 100
    max_inbound_window_update_frames_per_data_frame_sent: int = 10
    custom_settings: tuple[tuple[int, int], ...] = ()  # identifier, value
    keepalive: KeepaliveSpec | None = None
