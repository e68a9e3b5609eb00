"""`Http2ProtocolOptions` of listeners and clusters."""

from __future__ import annotations

from typing import Any, Final

from config.model.http2 import Http2Options, KeepaliveSpec
from config.proto.core import positive_seconds, seconds, wrapped_int
from config.proto.fields import declare
from config.proto.path import Path

_OPTIONS: Final = "envoy.config.core.v3.Http2ProtocolOptions"

declare(
    _OPTIONS,
    "hpack_table_size max_concurrent_streams initial_stream_window_size initial_connection_window_size "
    "allow_connect max_outbound_frames max_outbound_control_frames "
    "max_consecutive_inbound_frames_with_empty_payload max_inbound_priority_frames_per_stream "
    "max_inbound_window_update_frames_per_data_frame_sent override_stream_error_on_invalid_http_message "
    "custom_settings_parameters connection_keepalive",
    partly={
        "stream_error_on_invalid_http_messaging": "the older name of override_stream_error_on_invalid_http_message"
    },
    no_effect={
        "use_oghttp2_codec": "this proxy has its own codec",
        "max_metadata_size": "for METADATA frames",
    },
    refused={"allow_metadata": "METADATA frames are not HTTP/2"},
)
declare(f"{_OPTIONS}.SettingsParameter", "identifier value")
declare("envoy.config.core.v3.KeepaliveSettings", "interval timeout interval_jitter connection_idle_interval")
declare("envoy.type.v3.Percent", "value")

#: SETTINGS that have a field of their own, or may not be chosen.
_NAMED_SETTINGS: Final = {
    1: "hpack_table_size",
    2: "server push, which a proxy does not do",
    3: "max_concurrent_streams",
    4: "initial_stream_window_size",
    5: "the size of a frame, which is not changed",
    8: "allow_connect",
}
_DEFAULTS: Final = Http2Options()
_DEFAULT_JITTER_PERCENT: Final = 15.0


def translate_http2_options(msg: Any, at: Path, *, stream_errors: bool | None = None) -> Http2Options:
    """`stream_errors`: what the connection manager says for all its protocols; None: nothing."""
    override = stream_errors or False
    if msg.HasField("override_stream_error_on_invalid_http_message"):
        override = msg.override_stream_error_on_invalid_http_message.value
    elif msg.stream_error_on_invalid_http_messaging:
        override = True
    return Http2Options(
        max_concurrent_streams=_number(msg, "max_concurrent_streams"),
        initial_stream_window_size=_number(msg, "initial_stream_window_size"),
        initial_connection_window_size=_number(msg, "initial_connection_window_size"),
        hpack_table_size=_number(msg, "hpack_table_size"),
        allow_connect=msg.allow_connect,
        stream_error_on_invalid_http_message=override,
        max_outbound_frames=_number(msg, "max_outbound_frames"),
        max_outbound_control_frames=_number(msg, "max_outbound_control_frames"),
        max_consecutive_inbound_frames_with_empty_payload=_number(
            msg, "max_consecutive_inbound_frames_with_empty_payload"
        ),
        max_inbound_priority_frames_per_stream=_number(msg, "max_inbound_priority_frames_per_stream"),
        max_inbound_window_update_frames_per_data_frame_sent=_number(
            msg, "max_inbound_window_update_frames_per_data_frame_sent"
        ),
        custom_settings=_custom_settings(
            msg.custom_settings_parameters, at.field("custom_settings_parameters")
        ),
        keepalive=_keepalive(msg, at),
    )


def _number(msg: Any, field: str) -> int:
    return wrapped_int(msg, field, getattr(_DEFAULTS, field))


def _custom_settings(parameters: Any, at: Path) -> tuple[tuple[int, int], ...]:
    """Identifier and value of SETTINGS without a field of their own."""
    settings: dict[int, int] = {}
    for index, parameter in enumerate(parameters):
        identifier, value = parameter.identifier.value, parameter.value.value
        identifier_at = at.index(index).field("identifier")
        if identifier in _NAMED_SETTINGS:
            identifier_at.error(f"{identifier} is {_NAMED_SETTINGS[identifier]}")
        elif settings.get(identifier, value) != value:
            identifier_at.error(f"{identifier} is set twice")
        settings[identifier] = value
    return tuple(settings.items())


def _keepalive(msg: Any, at: Path) -> KeepaliveSpec | None:
    if not msg.HasField("connection_keepalive"):
        return None
    keepalive, keepalive_at = msg.connection_keepalive, at.field("connection_keepalive")
    if not keepalive.HasField("timeout"):
        keepalive_at.field("timeout").error("required")
    jitter = _DEFAULT_JITTER_PERCENT
    if keepalive.HasField("interval_jitter"):
        jitter = keepalive.interval_jitter.value
    return KeepaliveSpec(
        interval_s=positive_seconds(keepalive, "interval", None, keepalive_at) or 0.0,
        timeout_s=seconds(keepalive, "timeout", 0.0),
        interval_jitter=jitter / 100,
        idle_interval_s=positive_seconds(keepalive, "connection_idle_interval", None, keepalive_at) or 0.0,
    )
