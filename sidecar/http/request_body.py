"""What the router keeps of a request's body: until there is a connection, and beyond that while a retry is possible."""

from __future__ import annotations

from typing import Final

#: A body is kept for a retry up to this size (Envoy: the connection's buffer limit), and while no connection is ready;
#: then the client has to wait.
BODY_LIMIT_BYTES: Final = 1024 * 1024


class RequestBody:
    """All of the body that has come so far. Constant memory: the owner drops it when it is too long to be of use.

    `client_waits`: the client was stopped because too much waits for a connection.
    """

    __slots__ = ("_chunks", "client_waits", "size")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self.size = 0
        self.client_waits = False

    def add(self, data: bytes) -> None:
        """More of the body came."""
        self._chunks.append(data)
        self.size += len(data)

    def join(self) -> bytes:
        """All of it, to be sent once more."""
        chunks = self._chunks
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    @property
    def is_too_long(self) -> bool:
        return self.size > BODY_LIMIT_BYTES
