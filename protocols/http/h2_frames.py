"""Frames of HTTP/2 (RFC 9113 sections 4 and 6): numbers, and bytes to write. No state."""

from __future__ import annotations

import struct
from collections import deque
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES: Final = 9

# Frame types.
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

# Flags.
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

# Settings.
HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
ENABLE_CONNECT_PROTOCOL: Final = 8

# Error codes (RFC 9113 section 7).
NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
CONNECT_ERROR: Final = 10
ENHANCE_YOUR_CALM: Final = 11

MAX_STREAM_ID: Final = (1 << 31) - 1
MAX_WINDOW: Final = (1 << 31) - 1
DEFAULT_WINDOW: Final = 65_535
DEFAULT_FRAME_SIZE: Final = 16_384
MAX_FRAME_SIZE_LIMIT: Final = (1 << 24) - 1

#: Length (16 and 8 bits of it), type, flags, stream id.
_HEADER: Final = struct.Struct(">HBBBL")
_SETTING: Final = struct.Struct(">HL")
_NUMBER: Final = struct.Struct(">L")
_GOAWAY: Final = struct.Struct(">LL")

unpack_header: Final = _HEADER.unpack_from
unpack_number: Final = _NUMBER.unpack_from
unpack_goaway: Final = _GOAWAY.unpack_from

SETTINGS_ACK: Final = _HEADER.pack(0, 0, SETTINGS, ACK, 0)


def header(size: int, kind: int, flags: int, stream_id: int) -> bytes:
    """The nine bytes in front of a payload of `size` bytes."""
    return _HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream_id)


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame, in the order of the dict."""
    payload = b"".join([_SETTING.pack(*item) for item in values.items()])
    return header(len(payload), SETTINGS, 0, 0) + payload


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Identifier and value, as they came. The payload's size is a multiple of 6."""
    return list(_SETTING.iter_unpack(payload))


def window_update(stream_id: int, increment: int) -> bytes:
    return header(4, WINDOW_UPDATE, 0, stream_id) + _NUMBER.pack(increment)


def rst_stream(stream_id: int, code: int) -> bytes:
    return header(4, RST_STREAM, 0, stream_id) + _NUMBER.pack(code)


def ping(payload: bytes, *, ack: bool) -> bytes:
    """`payload` has eight bytes."""
    return header(8, PING, ACK if ack else 0, 0) + payload


def goaway(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    return header(8 + len(debug), GOAWAY, 0, 0) + _GOAWAY.pack(last_stream_id, code) + debug


def headers(stream_id: int, block: bytes, end: bool, max_frame_size: int) -> bytes:
    """A field block as HEADERS, and CONTINUATION as far as it needs that."""
    flags = END_STREAM if end else 0
    if len(block) <= max_frame_size:
        return header(len(block), HEADERS, flags | END_HEADERS, stream_id) + block
    parts = [header(max_frame_size, HEADERS, flags, stream_id), block[:max_frame_size]]
    for at in range(max_frame_size, len(block), max_frame_size):
        piece = block[at : at + max_frame_size]
        last = END_HEADERS if at + max_frame_size >= len(block) else 0
        parts += (header(len(piece), CONTINUATION, last, stream_id), piece)
    return b"".join(parts)


def join_pieces(queue: deque[bytes | memoryview], size: int) -> bytes:
    """Join the first pieces of a queue, as far as they fit into `size`: they become its first one.

    The rest of a piece that a window has cut would be a small frame; whoever gives credit for each frame would have us
    send smaller and smaller ones.
    """
    pieces, left = [], size
    while queue and left:
        piece = queue.popleft()
        if len(piece) > left:
            queue.appendleft(memoryview(piece)[left:])
            piece = piece[:left]
        pieces.append(piece)
        left -= len(piece)
    joined = b"".join(pieces)
    queue.appendleft(joined)
    return joined
