"""The numbers of an HTTP/2 codec, copied from the configuration: the codec knows no configuration."""

from __future__ import annotations

from config.model.http2 import Http2Options
from protocols.http.codec import Http2Settings


def http2_settings(options: Http2Options) -> Http2Settings:
    """Of a listener or a cluster."""
    return Http2Settings(
        max_concurrent_streams=options.max_concurrent_streams,
        initial_stream_window_size=options.initial_stream_window_size,
        initial_connection_window_size=options.initial_connection_window_size,
        header_table_size=options.hpack_table_size,
        allow_connect=options.allow_connect,
        stream_errors=options.stream_error_on_invalid_http_message,
        custom_settings=options.custom_settings,
        max_outbound_frames=options.max_outbound_frames,
        max_outbound_control_frames=options.max_outbound_control_frames,
        max_consecutive_empty_frames=options.max_consecutive_inbound_frames_with_empty_payload,
        max_priority_frames_per_stream=options.max_inbound_priority_frames_per_stream,
        max_window_updates_per_data_frame=options.max_inbound_window_update_frames_per_data_frame_sent,
    )
