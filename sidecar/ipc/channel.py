"""Messages over a private pair of sockets between main and one of its workers.

Both ends are the same program, started by one parent on a pair of sockets that nobody else can reach; that is why messages may
be pickled. This is the only module that does it.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
import struct
from collections.abc import Callable
from typing import Final, cast

logger = logging.getLogger(__name__)

#: A frame is its length and so many bytes. The largest message is a configuration.
_LENGTH: Final = struct.Struct("!I")
MAX_FRAME_BYTES: Final = 256 * 1024 * 1024

#: While so much waits for a reader that does not read, nothing more is taken.
MAX_WAITING_BYTES: Final = 16 * 1024 * 1024


class Channel(asyncio.Protocol):
    """One end. `on_message` gets what comes, `on_end` hears once that the other end has gone."""

    def __init__(self, on_message: Callable[[object], None], on_end: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        #: altogether
        self.received_bytes = 0
        self._ended = asyncio.Event()

    async def open(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        """Take over one socket of the pair."""
        sock.setblocking(False)
        await loop.create_unix_connection(lambda: self, sock=sock)

    def send(self, message: object) -> bool:
        """Never waits. False when the other end has gone or does not read what it is sent: the message is lost then."""
        transport = self._transport
        if transport is None or not self.is_open:
            return False
        if transport.get_write_buffer_size() > MAX_WAITING_BYTES:
            return False
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        if len(data) > MAX_FRAME_BYTES:
            logger.error("a message of %d bytes is too long to be sent", len(data))
            return False
        transport.write(_LENGTH.pack(len(data)) + data)
        return True

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def waiting_bytes(self) -> int:
        """What the other end has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def close(self) -> None:
        """Send what waits, then end."""
        if self._transport is not None:
            self._transport.close()

    async def until_ended(self, timeout_s: float) -> None:
        """Returns when all is sent and the connection is over, or time is up."""
        try:
            await asyncio.wait_for(self._ended.wait(), timeout_s)
        except TimeoutError:
            return

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        received = self._received
        received += data
        while len(received) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(received)
            if length > MAX_FRAME_BYTES:
                logger.error("a message of %d bytes is too long to be taken", length)
                self._abort()
                return
            end = _LENGTH.size + length
            if len(received) < end:
                return
            frame = bytes(received[_LENGTH.size : end])
            del received[:end]
            self._on_message(pickle.loads(frame))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._received.clear()
        self._ended.set()
        self._on_end()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
