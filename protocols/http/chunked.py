"""The guard in front of the chunked decoders: every byte of chunk framing is judged here first.

`ChunkGuard` walks over chunk sizes, data and trailers without copying the data, and hands on the same body in canonical
framing (no extensions, no spaces, no trailers), which a library then decodes. So no library is trusted with the grammar
(RFC 9112 section 7.1), and both give the same outcome. As Envoy does, white space after the size and extensions of any
content are taken; unlike it, data longer than the chunk is refused.
"""

from __future__ import annotations

import re
from typing import Final

from protocols.errors import RemoteProtocolError
from protocols.http.codec import CodecSettings
from protocols.http.head import CODEC_ERROR, HEADERS_TOO_LARGE, read_trailers
from protocols.http.headers import Headers

_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})([ \t]*(?:;[\t -~\x80-\xff]*)?)\r\n")
_SIZE_LINE_START: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:([ \t]*)(;[\t -~\x80-\xff]*)?(\r?))?")
#: An extension means nothing to anybody; whoever sends a long one wants something else.
_SIZE_LINE_LIMIT: Final = 16 * 1024

_LAST_OF_ALL: Final = b"\r\n0\r\n\r\n"

_SIZE: Final = 0
_DATA: Final = 1
_DATA_END: Final = 2
_TRAILERS: Final = 3


class ChunkGuard:
    """One chunked body. `done` after its last byte; then `surplus` holds what came behind it, `trailers` what it ended with."""

    __slots__ = ("_left", "_passed_over", "_rest", "_settings", "_state", "done", "surplus", "trailers")

    def __init__(self, settings: CodecSettings) -> None:
        self._settings = settings
        self._state = _SIZE
        self._left = 0
        self._rest = b""
        self._passed_over = 0  # bytes of an incomplete size line that are not in `_rest`
        self.done = False
        self.surplus = b""
        self.trailers: Headers | None = None

    def feed(self, data: bytes) -> bytes:
        """Judge `data`; returns it in canonical framing, without what is incomplete or behind the end.

        Raises RemoteProtocolError.
        """
        if self._rest:
            data = self._rest + data
            self._rest = b""
        canonical: list[bytes] = []
        copied = position = 0
        size = len(data)
        while position < size:
            if self._state == _SIZE:
                match = _SIZE_LINE.match(data, position)
                if match is None:
                    self._rest = self._begin_size_line(data, position)
                    return self._canonical(data, copied, position, canonical)
                length = int(match[1], 16)
                start = match.end()
                if match[2]:
                    if self._passed_over + start - position > _SIZE_LINE_LIMIT:
                        raise RemoteProtocolError(CODEC_ERROR)
                    self._passed_over = 0
                    canonical += (data[copied:position], match[1], b"\r\n")
                    copied = start
                position = start
                end = start + length
                if not length:
                    self._state = _TRAILERS
                elif data.startswith(_LAST_OF_ALL, end):  # the common end: the last chunk, no trailers
                    end += len(_LAST_OF_ALL)
                    self.done = True
                    self.surplus = data[end:]
                    return self._canonical(data, copied, end, canonical)
                elif data[end : end + 2] == b"\r\n":  # the whole chunk is here
                    position = end + 2
                else:
                    self._left = length
                    self._state = _DATA
            elif self._state == _DATA:
                step = min(self._left, size - position)
                position += step
                self._left -= step
                if self._left == 0:
                    self._state = _DATA_END
            elif self._state == _DATA_END:
                if data.startswith(b"\r\n", position):
                    position += 2
                    self._state = _SIZE
                elif data[position:] == b"\r":
                    self._rest = b"\r"
                    return self._canonical(data, copied, position, canonical)
                else:
                    raise RemoteProtocolError(CODEC_ERROR)
            else:
                return self._end(data, copied, position, canonical)
        return self._canonical(data, copied, position, canonical)

    def _canonical(self, data: bytes, copied: int, position: int, pieces: list[bytes]) -> bytes:
        """What was judged of `data`, up to `position`; up to `copied` it is in `pieces` already."""
        if pieces:
            pieces.append(data[copied:position])
            return b"".join(pieces)
        return data if position == len(data) else data[:position]

    def _begin_size_line(self, data: bytes, position: int) -> bytes:
        """What to keep of an incomplete size line: an extension is passed over as it comes.

        Refuses what cannot become a size line any more.
        """
        match = _SIZE_LINE_START.fullmatch(data, position)
        if match is None:
            raise RemoteProtocolError(CODEC_ERROR)
        digits, blank, extension, end = match.groups()
        rest: bytes = digits + (b" " if blank else b"") + (b";" if extension else b"") + (end or b"")
        self._passed_over += len(data) - position - len(rest)
        if self._passed_over > _SIZE_LINE_LIMIT:
            raise RemoteProtocolError(CODEC_ERROR)
        return rest

    def _end(self, data: bytes, copied: int, position: int, canonical: list[bytes]) -> bytes:
        """Trailers and the empty line. Nothing of them goes to the library but the empty line."""
        canonical.append(data[copied:position])
        if data.startswith(b"\r\n", position):
            end = position + 2
        else:
            at = data.find(b"\r\n\r\n", position)
            length = (at if at >= 0 else len(data)) - position
            if length > self._settings.max_head_bytes:
                raise RemoteProtocolError(HEADERS_TOO_LARGE, status=431)
            if at < 0:
                if data[position:] == b"\n":
                    raise RemoteProtocolError(CODEC_ERROR)
                self._rest = data[position:]
                return b"".join(canonical)
            text = data[position : at + 2]
            lines = text.count(b"\r\n")
            if text.count(b"\n") != lines or text.count(b"\r") != lines:
                raise RemoteProtocolError(CODEC_ERROR)
            self.trailers = read_trailers(text, self._settings)
            end = at + 4
        self.done = True
        self.surplus = data[end:]
        canonical.append(b"\r\n")
        return b"".join(canonical)
