"""Length-prefixed messages: a flag byte, four bytes of length (big-endian), and so many bytes of message.

They come in pieces cut anywhere. `MessageCounter` only counts them and finds where they end; `MessageDecoder` puts them
together.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from protocols.errors import RemoteProtocolError

#: Bytes before each message.
PREFIX_BYTES: Final = 5
COMPRESSED: Final = 1  # flag: the message is compressed as `grpc-encoding` says


def frame(message: bytes, flag: int = 0) -> bytes:
    """A message with its prefix."""
    return bytes((flag,)) + len(message).to_bytes(4, "big") + message


class MessageCounter:
    """Counts the messages of one direction; nothing of them is kept.

    A message counts as soon as its first byte is there, as in Envoy, and whatever its flag says.
    """

    __slots__ = ("_prefix", "count", "left")

    def __init__(self) -> None:
        self.count = 0
        self.left = 0  # bytes of the current message that are still to come, once its prefix is whole
        self._prefix = b""  # what is there of the prefix of the current message, until it is whole

    def feed(self, data: bytes) -> int:
        """How many messages begin in this piece."""
        size = len(data)
        if size <= self.left:  # the inside of a long message
            self.left -= size
            return 0
        before = self.count
        at = 0
        while at < size:
            at = self.advance(data, at)
        return self.count - before

    def advance(self, data: bytes, at: int) -> int:
        """Go on with the message at `at` to its end, or as far as there are bytes: where that is."""
        left = self.left
        if not left:
            prefix = self._prefix
            if not prefix:
                self.count += 1
            end = at + PREFIX_BYTES - len(prefix)
            prefix += data[at:end]
            if len(prefix) < PREFIX_BYTES:
                self._prefix = prefix
                return len(data)
            self._prefix = b""
            left = int.from_bytes(prefix[1:], "big")
            at = end
        end = at + left
        size = len(data)
        if end > size:
            self.left = end - size
            return size
        self.left = 0
        return end

    @property
    def between_messages(self) -> bool:
        """All that has begun is complete."""
        return not self.left and not self._prefix


class Message(NamedTuple):
    flag: int
    data: bytes


class MessageDecoder:
    """Puts messages together. One longer than `max_bytes` is a RemoteProtocolError as soon as its prefix is there."""

    __slots__ = ("_counter", "_kept_bytes", "_max_bytes", "_pieces")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._counter = MessageCounter()
        self._pieces: list[bytes] = []
        """Of the message that is not complete, prefix included."""
        self._kept_bytes = 0

    def feed(self, data: bytes) -> list[Message]:
        """The messages that this piece completes. May raise RemoteProtocolError."""
        messages: list[Message] = []
        counter, pieces = self._counter, self._pieces
        at, size = 0, len(data)
        while at < size:
            end = counter.advance(data, at)
            pieces.append(data[at:end])
            self._kept_bytes += end - at
            at = end
            if counter.between_messages:
                whole = b"".join(pieces)
                pieces.clear()
                self._kept_bytes = 0
                self._check(len(whole))
                messages.append(Message(whole[0], whole[PREFIX_BYTES:]))
            elif counter.left:
                self._check(counter.left + self._kept_bytes)
        return messages

    def _check(self, whole_bytes: int) -> None:
        if whole_bytes - PREFIX_BYTES > self._max_bytes:
            raise RemoteProtocolError("grpc.message_too_large")

    @property
    def between_messages(self) -> bool:
        """Nothing is left over: a body may end here."""
        return self._counter.between_messages
