"""HTTP/2 frames for tests: built, taken apart, and followed on the side of the client that sends them."""

from __future__ import annotations

import struct
from collections import Counter, deque
from enum import IntEnum
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_MAX_FRAME_SIZE = 16384
DEFAULT_WINDOW = 65535

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FIELDS = 0x20

_HEADER = struct.Struct(">BHBBL")
_SETTING = struct.Struct(">HL")

_ERROR_NAMES = (
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


class FrameType(IntEnum):
    """Types of RFC 9113."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Setting(IntEnum):
    """Identifiers of the settings that say what a peer may do."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5


class Frame(NamedTuple):
    """One frame as it was on the wire; the reserved bit of the stream id is dropped."""

    type: int
    flags: int
    stream_id: int
    payload: bytes


class FrameTooLong(Exception):
    """A frame header announces more than is allowed."""


def error_name(code: int) -> str:
    """The name of an error code, or its number when it has none."""
    return _ERROR_NAMES[code] if code < len(_ERROR_NAMES) else f"0x{code:x}"


def build_frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    size = len(payload)
    return _HEADER.pack(size >> 16, size & 0xFFFF, kind, flags, stream_id) + payload


def build_settings(*settings: tuple[int, int]) -> bytes:
    """The bytes of a SETTINGS frame."""
    return build_frame(FrameType.SETTINGS, 0, 0, b"".join(_SETTING.pack(*pair) for pair in settings))


def parse_settings(payload: bytes) -> list[tuple[int, int]]:
    """Identifier and value in order; a payload of the wrong length holds none."""
    return list(_SETTING.iter_unpack(payload)) if len(payload) % _SETTING.size == 0 else []


def take_frame(buffer: bytearray, max_size: int | None = None) -> Frame | None:
    """Take the first frame out of `buffer`; None until it is there. Raises FrameTooLong as soon as its header says so."""
    if len(buffer) < _HEADER.size:
        return None
    high, low, kind, flags, stream_id = _HEADER.unpack_from(buffer)
    size = high << 16 | low
    if max_size is not None and size > max_size:
        raise FrameTooLong(f"frame of type {kind} with {size} bytes")
    end = _HEADER.size + size
    if len(buffer) < end:
        return None
    frame = Frame(kind, flags, stream_id & 0x7FFFFFFF, bytes(buffer[_HEADER.size : end]))
    del buffer[:end]
    return frame


def increment_streams(data: bytes, by: int) -> bytes:
    """The same frames with `by` added to every stream id that is not zero."""
    buffer = bytearray(data)
    frames = []
    while (frame := take_frame(buffer)) is not None:
        stream_id = frame.stream_id + by if frame.stream_id else 0
        frames.append(build_frame(frame.type, frame.flags, stream_id, frame.payload))
    return b"".join(frames) + bytes(buffer)


class SentFrames:
    """What a client has sent, as far as it can be read as frames.

    It says what the server may do: which streams there are, how much DATA each may carry, which settings wait for their
    acknowledgement.
    """

    def __init__(self) -> None:
        self.opened: set[int] = set()
        """Streams on which HEADERS went out."""
        self.credit: Counter[int] = Counter()
        """Bytes allowed by WINDOW_UPDATE, by stream; 0 is the connection."""
        self.unacknowledged: deque[list[tuple[int, int]]] = deque()
        self._buffer = bytearray()
        self._preface_left = len(PREFACE)
        self._begun = False
        self._block_open = False

    @property
    def at_boundary(self) -> bool:
        """Whether another frame may follow: not inside a frame or a header block, nor before the first frame."""
        return self._begun and not self._buffer and not self._block_open

    def feed(self, data: bytes | memoryview) -> None:
        """These bytes were sent."""
        skipped = min(self._preface_left, len(data))
        self._preface_left -= skipped
        self._buffer += data[skipped:]
        while (frame := take_frame(self._buffer)) is not None:
            self._note(frame)

    def _note(self, frame: Frame) -> None:
        self._begun = True
        if frame.type == FrameType.HEADERS:
            self.opened.add(frame.stream_id)
            self._block_open = not frame.flags & END_HEADERS
        elif frame.type == FrameType.CONTINUATION and frame.flags & END_HEADERS:
            self._block_open = False
        elif frame.type == FrameType.SETTINGS and not frame.flags & ACK:
            self.unacknowledged.append(parse_settings(frame.payload))
        elif frame.type == FrameType.WINDOW_UPDATE and len(frame.payload) == 4:
            self.credit[frame.stream_id] += int.from_bytes(frame.payload, "big")
