"""Istio's metadata exchange over TCP: one frame in each direction, ahead of the application's bytes, inside mTLS.

Frame: magic, length, `google.protobuf.Any` of a Struct with the sender's metadata. Only when the negotiated ALPN is the
configured protocol; whatever goes wrong costs the peer's name, never a byte of the application.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from struct import Struct as BinaryFormat
from typing import Final

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from protocols.peer_metadata import (
    EMPTY_PEER,
    METADATA_HEADER,
    METADATA_ID_HEADER,
    Dialect,
    PeerMetadata,
    peer_from_struct,
    serialize_struct,
)
from protocols.protobuf import delimited

MAGIC: Final = 0x3D230467
_HEADER: Final = BinaryFormat(">II")
_TYPE_URL: Final = b"type.googleapis.com/google.protobuf.Struct"
_METADATA_KEY: Final = METADATA_HEADER.decode("ascii")
_ID_KEY: Final = METADATA_ID_HEADER.decode("ascii")

#: A longer frame is taken for a broken one.
DEFAULT_MAX_BLOB_BYTES: Final = 1024 * 1024


class ExchangeEvent(enum.Enum):
    """What is counted; the value is the counter's name under `metadata_exchange.`."""

    ALPN_PROTOCOL_FOUND = "alpn_protocol_found"
    ALPN_PROTOCOL_NOT_FOUND = "alpn_protocol_not_found"
    INITIAL_HEADER_NOT_FOUND = "initial_header_not_found"
    HEADER_NOT_FOUND = "header_not_found"
    METADATA_ADDED = "metadata_added"


class ExchangeState(enum.Enum):
    NOT_STARTED = enum.auto()  # no byte has gone either way
    READING_HEADER = enum.auto()
    READING_BLOB = enum.auto()
    DONE = enum.auto()
    INVALID = enum.auto()  # there is no frame, or a broken one: bytes pass


@dataclass(frozen=True, slots=True)
class Received:
    """What a read event leads to: bytes and end for the next filter, and our own frame to write ahead of all else."""

    forward: bytes
    end: bool
    write: bytes = b""


def build_frame(peer: PeerMetadata, node_id: str, dialect: Dialect = Dialect.V1_28) -> bytes:
    """Our own frame; the same for every connection."""
    outer: dict[str, object] = {_METADATA_KEY: peer.wire_struct(dialect)}
    if node_id:
        outer[_ID_KEY] = node_id
    value = serialize_struct(outer)
    blob = delimited(1, _TYPE_URL) + delimited(2, value)
    return _HEADER.pack(MAGIC, len(blob)) + blob


class PeerExchange:
    """One per connection, the same for both roles. Starts at the first read or write event.

    `frame` comes from `build_frame`. `discover` is asked when the exchange fails: it may know the peer by its address.
    After `finished`, bytes pass untouched and `peer` or `peer_not_found` is set (neither before).
    """

    __slots__ = (
        "_additional_labels",
        "_alpn",
        "_blob_bytes",
        "_buffer",
        "_discover",
        "_events",
        "_frame",
        "_max_blob_bytes",
        "_protocol",
        "overflowed",
        "peer",
        "peer_not_found",
        "state",
    )

    def __init__(
        self,
        negotiated_alpn: str,
        protocol: str,
        frame: bytes,
        *,
        additional_labels: Iterable[str] = (),
        max_blob_bytes: int = DEFAULT_MAX_BLOB_BYTES,
        discover: Callable[[], PeerMetadata | None] | None = None,
    ) -> None:
        self._alpn = negotiated_alpn
        self._protocol = protocol
        self._frame = frame
        self._additional_labels = tuple(additional_labels)
        self._max_blob_bytes = max_blob_bytes
        self._discover = discover
        self._buffer = bytearray()
        self._blob_bytes = 0
        self._events: list[ExchangeEvent] = []
        self.state = ExchangeState.NOT_STARTED
        self.peer: PeerMetadata | None = None
        self.peer_not_found = False
        #: the peer announced a frame longer than allowed; the owner may prefer to close
        self.overflowed = False

    @property
    def finished(self) -> bool:
        return self.state is ExchangeState.DONE or self.state is ExchangeState.INVALID

    @property
    def waiting(self) -> bool:
        """Bytes of the peer are held back until its frame is whole."""
        return self.state is ExchangeState.READING_HEADER or self.state is ExchangeState.READING_BLOB

    @property
    def holds_bytes(self) -> bool:
        """A part of a frame has come: the peer began to speak and has not finished."""
        return bool(self._buffer) or self.state is ExchangeState.READING_BLOB

    def take_events(self) -> tuple[ExchangeEvent, ...]:
        """What happened since the last call, in order."""
        events = tuple(self._events)
        self._events.clear()
        return events

    def on_write(self) -> bytes:
        """Before application bytes are written: the frame that must go ahead of them, or b""."""
        return self._start() if self.state is ExchangeState.NOT_STARTED else b""

    def on_data(self, data: bytes, end: bool) -> Received:
        """Bytes from the peer, and whether it sends no more."""
        write = self._start() if self.state is ExchangeState.NOT_STARTED else b""
        if self.finished:
            return Received(data, end, write)
        self._buffer += data
        if self.state is ExchangeState.READING_HEADER:
            self._read_header(end)
        if self.state is ExchangeState.READING_BLOB:
            self._read_blob(end)
        if self.waiting:
            return Received(b"", False, write)
        forward = bytes(self._buffer)
        self._buffer.clear()
        return Received(forward, end, write)

    def _start(self) -> bytes:
        if self._alpn != self._protocol:
            self._events.append(ExchangeEvent.ALPN_PROTOCOL_NOT_FOUND)
            self._give_up()
            return b""
        self._events += (ExchangeEvent.ALPN_PROTOCOL_FOUND, ExchangeEvent.METADATA_ADDED)
        self.state = ExchangeState.READING_HEADER
        return self._frame

    def _read_header(self, end: bool) -> None:
        if len(self._buffer) < _HEADER.size:
            self._events.append(ExchangeEvent.INITIAL_HEADER_NOT_FOUND)
            if end:
                self._not_found()
            return
        magic, self._blob_bytes = _HEADER.unpack_from(self._buffer)
        if magic != MAGIC:
            self._events.append(ExchangeEvent.INITIAL_HEADER_NOT_FOUND)
            self._give_up()
            return
        del self._buffer[: _HEADER.size]
        if self._blob_bytes > self._max_blob_bytes:
            self.overflowed = True
            self._break()
            return
        self.state = ExchangeState.READING_BLOB

    def _read_blob(self, end: bool) -> None:
        if len(self._buffer) < self._blob_bytes:
            if end:
                self._break()
            return
        try:
            wrapped = Any.FromString(bytes(self._buffer[: self._blob_bytes]))
        except DecodeError:
            self._break()  # the blob stays with the application's bytes, as in Istio
            return
        del self._buffer[: self._blob_bytes]
        struct = Struct()
        try:
            unpacked = wrapped.Unpack(struct)
        except DecodeError:
            unpacked = False
        if not unpacked:
            self._break()
            return
        value = struct.fields.get(_METADATA_KEY)
        if value is None:
            self.peer_not_found = True
        elif value.HasField("struct_value"):
            self.peer = peer_from_struct(value.struct_value, self._additional_labels)
        else:
            self.peer = EMPTY_PEER
        self.state = ExchangeState.DONE

    def _break(self) -> None:
        self._events.append(ExchangeEvent.HEADER_NOT_FOUND)
        self._give_up()

    def _give_up(self) -> None:
        """No metadata from the peer itself: ask discovery."""
        found = self._discover() if self._discover is not None else None
        if found is None:
            self._not_found()
            return
        self.peer = found
        self._events.append(ExchangeEvent.METADATA_ADDED)
        self.state = ExchangeState.INVALID

    def _not_found(self) -> None:
        self.peer_not_found = True
        self.state = ExchangeState.INVALID
