"""Transport sockets: plaintext in and out of an asyncio transport, raw or through TLS.

A `TransportSocket` is the asyncio.Protocol of one TCP connection, of either direction. Its owner (a `Connection`) sees
plaintext only: `on_connected` (after the handshake), `on_data`, `on_eof`, `on_closed`, and the two watermark callbacks.
"""

from __future__ import annotations

import asyncio
import enum
import socket
import struct
from typing import TYPE_CHECKING, Final, Protocol, cast

from protocols.tls.session import TlsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocols.tls.session import TlsSession
    from sidecar.stream_info import TlsInfo


class CloseReason(enum.Enum):
    """Who ended a connection, and how."""

    LOCAL = "local_close"
    REMOTE = "remote_close"  # FIN (or close_notify) in both directions
    REMOTE_RESET = "remote_reset"  # RST, or another socket error
    TRANSPORT_FAILURE = "transport_failure"  # TLS: handshake or record layer
    TIMEOUT = "timeout"


class SocketOwner(Protocol):
    """What a transport socket tells. No callback comes after `on_closed`, which comes exactly once."""

    def on_connected(self) -> None: ...
    def on_data(self, data: bytes) -> None: ...
    def on_eof(self) -> None: ...
    def on_closed(self, reason: CloseReason, details: str) -> None: ...
    def on_write_full(self) -> None: ...
    def on_write_drained(self) -> None: ...


class TransportSocket(asyncio.Protocol):
    """The raw (plaintext) transport socket, and the base of the TLS one."""

    __slots__ = ("_closing", "_eof_written", "_paused", "_transport", "is_tls", "owner")

    def __init__(self, owner: SocketOwner | None = None) -> None:
        self.owner = owner
        self.is_tls = False
        self._transport: asyncio.Transport | None = None
        self._closing: CloseReason | None = None
        self._eof_written = False
        self._paused = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self.owner is not None:
            self.owner.on_connected()

    def data_received(self, data: bytes) -> None:
        owner = self.owner
        if self._paused:
            self._pause_again()
        if owner is not None and self._closing is None:
            owner.on_data(data)

    def _pause_again(self) -> None:
        """uvloop begins to read only after `connection_made`, and forgets a pause that was asked for meanwhile."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        owner = self.owner
        if owner is not None and self._closing is None:
            owner.on_eof()
        return True  # the transport stays open for writing: the owner decides

    def connection_lost(self, exc: Exception | None) -> None:
        owner, self.owner = self.owner, None
        self._transport = None
        if owner is None:
            return
        if self._closing is not None:
            owner.on_closed(self._closing, "")
        elif exc is not None:
            owner.on_closed(CloseReason.REMOTE_RESET, str(exc))
        else:
            owner.on_closed(CloseReason.REMOTE, "")

    def pause_writing(self) -> None:
        if self.owner is not None:
            self.owner.on_write_full()

    def resume_writing(self) -> None:
        if self.owner is not None:
            self.owner.on_write_drained()

    # what the owner does

    def adopt(self, transport: asyncio.Transport) -> None:
        """Take over a transport whose `connection_made` another protocol (the accepting one) has seen."""
        self._transport = transport
        transport.set_protocol(self)
        if self.owner is not None:
            self.owner.on_connected()

    def write(self, data: bytes) -> None:
        """After `write_eof` or `close` there is nothing more to say: `data` is dropped."""
        if self._transport is not None and not self._eof_written and self._closing is None:
            self._transport.write(data)

    def write_eof(self) -> None:
        """Half-close: the peer sees the end, its bytes still come. Harmless twice."""
        transport = self._transport
        if transport is not None and not self._eof_written and not transport.is_closing():
            self._eof_written = True
            if transport.can_write_eof():
                transport.write_eof()

    def close(self, reason: CloseReason = CloseReason.LOCAL) -> None:
        """Flush what was written, then close."""
        if self._closing is None:
            self._closing = reason
        if self._transport is not None:
            self._transport.close()

    def abort(self, reason: CloseReason = CloseReason.LOCAL) -> None:
        """Close now, dropping what was not yet written. The peer sees a reset."""
        if self._closing is None:
            self._closing = reason
        transport = self._transport
        if transport is not None:
            set_linger_zero(transport)
            transport.abort()

    def pause_reading(self) -> None:
        self._paused = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def set_write_limit(self, high_bytes: int) -> None:
        """Above `high_bytes` the owner is told that it is full, at half of them that it is not. 0: no limit."""
        high_bytes = high_bytes or _NO_LIMIT_BYTES
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high=high_bytes, low=high_bytes // 2)

    @property
    def write_buffer_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    @property
    def transport(self) -> asyncio.Transport | None:
        return self._transport


_LINGER_ZERO: Final = struct.pack("ii", 1, 0)
_NO_LIMIT_BYTES: Final = 1 << 40

#: How the handshake of a connection ended that was closed in the middle of it.
_UNFINISHED: Final = "TLS_error:|connection closed during the handshake:TLS_error_end"


def set_linger_zero(transport: asyncio.Transport) -> None:
    """Make the coming close a reset."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    except OSError:  # already closed by the peer
        return


def _cut_off(transport: asyncio.Transport) -> None:
    """What the kernel has not taken by now, the peer does not want."""
    if transport.get_write_buffer_size():
        set_linger_zero(transport)
        transport.abort()


class TlsSocket(TransportSocket):
    """TLS between the transport and the owner, by a sans-IO `TlsSession`.

    `verify` judges the peer after the handshake and before any plaintext reaches the owner: it returns None or the
    reason for refusal. `finished` is told the outcome once (for stats): the TlsInfo, or the failure's text.
    """

    __slots__ = ("_connected", "_early", "_finished", "_session", "_verify", "not_understood")

    def __init__(
        self,
        session: TlsSession,
        verify: Callable[[TlsSession], TlsInfo | str],
        finished: Callable[[TlsInfo | str], None],
        owner: SocketOwner | None = None,
    ) -> None:
        super().__init__(owner)
        self.is_tls = True
        self._session = session
        self._verify = verify
        self._finished: Callable[[TlsInfo | str], None] | None = finished
        self._connected = False
        self.not_understood = b""  # what the peer sent when the handshake failed of it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._start()

    def adopt(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.set_protocol(self)
        self._start()

    def _start(self) -> None:
        """A client speaks first."""
        self._pump(b"")

    def data_received(self, data: bytes) -> None:
        if self._paused:
            self._pause_again()
        if self._closing is None and self.owner is not None:
            self._pump(data)

    def _pump(self, data: bytes) -> None:
        session = self._session
        try:
            plaintext = session.receive(data)
        except TlsError as error:
            if not self._connected:
                self.not_understood = data
            self._fail(str(error))
            return
        self._flush()
        if not self._connected:
            if not session.handshake_done:
                return
            if not self._finish_handshake():
                return
        owner = self.owner
        if plaintext and owner is not None and self._closing is None:
            owner.on_data(plaintext)
        if session.peer_closed and self.owner is not None and self._closing is None:
            self.owner.on_eof()

    def _finish_handshake(self) -> bool:
        outcome = self._verify(self._session)
        if isinstance(outcome, str):
            self._fail(outcome)
            return False
        self._connected = True
        self._report(outcome)
        if self.owner is not None:
            self.owner.on_connected()
        return self.owner is not None and self._closing is None

    def _report(self, outcome: TlsInfo | str) -> None:
        finished, self._finished = self._finished, None
        if finished is not None:
            finished(outcome)

    def _fail(self, text: str) -> None:
        """Send the alert that the session produced, if any, and close; the owner learns why.

        Nobody watches this connection any more, so that it must not wait for a peer that does not read.
        """
        self._report(text)
        self._flush()
        owner, self.owner = self.owner, None
        transport = self._transport
        if transport is not None:
            transport.close()
            if transport.get_write_buffer_size():  # uvloop writes at the end of its turn only
                asyncio.get_running_loop().call_soon(_cut_off, transport)
        if owner is not None:
            owner.on_closed(CloseReason.TRANSPORT_FAILURE, text)

    def eof_received(self) -> bool:
        if self._closing is not None or self.owner is None:
            return False
        if not self._connected:
            problem = _UNFINISHED
            try:
                self._session.receive_eof()
            except TlsError as error:
                problem = str(error)
            self._fail(problem)
            return False
        if not self._session.peer_closed:  # else close_notify told the owner already
            self.owner.on_eof()  # FIN without close_notify: taken as the end, and we may go on writing, as in Envoy
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._report(_UNFINISHED)
        super().connection_lost(exc)

    def write(self, data: bytes) -> None:
        if self._transport is None or self._eof_written or self._closing is not None:
            return
        try:
            self._session.send(data)
        except TlsError as error:
            self._fail(str(error))
            return
        self._flush()

    def write_eof(self) -> None:
        if self._transport is not None and not self._eof_written and self._connected:
            self._session.close_write()
            self._flush()
        super().write_eof()

    def close(self, reason: CloseReason = CloseReason.LOCAL) -> None:
        if (
            self._closing is None
            and self._transport is not None
            and self._connected
            and not self._eof_written
        ):
            self._session.close_write()
            self._flush()
        super().close(reason)

    def _flush(self) -> None:
        output = self._session.take_output()
        if output and self._transport is not None:
            self._transport.write(output)
