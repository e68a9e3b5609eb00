"""What the HTTP/2 client and the HTTP/2 backend of the tests share: fields as text, and a sieve in front of the `h2` library.

The library takes a GOAWAY for the end of the connection, although streams go on behind it, and answers a PING before
anybody can object. Frames of such types are therefore taken out before it sees them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

from tests.support.http2_frames import DEFAULT_WINDOW, PREFACE, Frame, build_settings, take_frame

Fields = list[tuple[str, str]]

_HEADER_SIZE = 9
_UNLIMITED_STREAMS = (1 << 31) - 1


class FrameSieve:
    """Splits what arrives into frames of the types `taken` and all other bytes, which stay in order."""

    def __init__(self, taken: Collection[int], *, preface: bool = False) -> None:
        self.taken = taken
        self._buffer = bytearray()
        self._preface_left = len(PREFACE) if preface else 0

    def feed(self, data: bytes) -> tuple[bytes, list[Frame]]:
        """The bytes that pass, and the frames taken out, complete frames only."""
        self._buffer += data
        passed = bytearray()
        if self._preface_left:
            count = min(self._preface_left, len(self._buffer))
            passed += self._buffer[:count]
            del self._buffer[:count]
            self._preface_left -= count
            if self._preface_left:
                return bytes(passed), []
        frames = []
        start = 0
        while (end := self._frame_end(start)) is not None:
            if self._buffer[start + 3] in self.taken:
                frame = take_frame(self._buffer[start:end])
                assert frame is not None
                frames.append(frame)
                del self._buffer[start:end]
            else:
                start = end
        passed += self._buffer[:start]
        del self._buffer[:start]
        return bytes(passed), frames

    def _frame_end(self, start: int) -> int | None:
        if len(self._buffer) < start + _HEADER_SIZE:
            return None
        end = start + _HEADER_SIZE + int.from_bytes(self._buffer[start : start + 3], "big")
        return end if end <= len(self._buffer) else None


def greet(connection: H2Connection, settings: Mapping[int, int], connection_window: int = 0) -> bytes:
    """The first bytes of a connection: `settings` in one frame, and a larger window if wanted.

    The library goes by the settings once they are acknowledged. It counts no streams: the backend does that itself.
    """
    client = connection.config.client_side
    counted = SettingCodes.MAX_CONCURRENT_STREAMS
    connection.local_settings = Settings(client=client, initial_values={counted: _UNLIMITED_STREAMS})
    connection.initiate_connection()
    connection.update_settings(
        {SettingCodes(code): value for code, value in settings.items() if code != counted}
    )
    connection.clear_outbound_data_buffer()
    if connection_window > DEFAULT_WINDOW:
        connection.increment_flow_control_window(connection_window - DEFAULT_WINDOW)
    preface = PREFACE if client else b""
    update: bytes = connection.data_to_send()
    return preface + build_settings(*settings.items()) + update


def text(fields: Iterable[Sequence[str | bytes]]) -> Fields:
    """Fields as latin-1 text."""
    return [(_text(name), _text(value)) for name, value in fields]


def values(fields: Iterable[tuple[str, str]], name: str) -> list[str]:
    """All values of `name`, in order."""
    return [value for key, value in fields if key == name]


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
