"""Why an HTTP/2 stream was reset: the codes on the wire (RFC 9113 section 7) and what they are to Envoy."""

from __future__ import annotations

from typing import Final

from protocols.http import h2_frames as frames
from protocols.http.codec import ResetReason

REMOTE_RESET: Final = "http2.remote_reset"
REMOTE_REFUSED: Final = "http2.remote_refuse"
#: Details of what the peer reset.
REMOTE_RESETS: Final = frozenset((REMOTE_RESET, REMOTE_REFUSED))

#: What a RST_STREAM with one of these codes is to Envoy; every other one is a remote reset.
RESETS_BY_CODE: Final = {
    frames.REFUSED_STREAM: (ResetReason.REMOTE_REFUSED, REMOTE_REFUSED),
    frames.CONNECT_ERROR: (ResetReason.CONNECT_ERROR, REMOTE_RESET),
    frames.PROTOCOL_ERROR: (ResetReason.PROTOCOL_ERROR, REMOTE_RESET),
}
OTHER_RESET: Final = (ResetReason.REMOTE_RESET, REMOTE_RESET)

_CODE_NAMES: Final = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)


def code_name(code: int) -> str:
    """The RFC's name of an error code, or its number."""
    return _CODE_NAMES[code] if 0 <= code < len(_CODE_NAMES) else f"code {code}"
