"""A connection: a transport socket, network filters on it, and one way to close it.

Downstream and upstream connections are the same thing seen from two sides, so they share this class; the network
floor builds the downstream one, `sidecar.upstream.connector` the upstream one with the cluster's own filters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from mypy_extensions import mypyc_attr

from sidecar.transport.flow import Flow, Held, ReadGate
from sidecar.transport.transport_socket import CloseReason, TransportSocket

if TYPE_CHECKING:
    from sidecar.stream_info import ConnectionInfo, StreamInfo, UpstreamInfo
    from sidecar.transport.timers import Cancellable, Timers
    from stats.metrics import Counter

#: A connection that is being closed, and whose peer has taken nothing for so long, is cut off.
FLUSH_STALL_S: Final = 60.0


class NetworkFilter(Protocol):
    """One per connection. The read side runs in configured order, the write side in reverse.

    Data is `bytes`: return the same object to pass it untouched, others to change it, b"" to swallow it (keep it yourself
    and hand it on later by returning more, or by `connection.pass_on`). `end` says that this side sends no more.
    """

    def on_open(self) -> Flow:
        """The connection is up (TLS: after the handshake). HOLD stops data until `connection.resume()`."""

    def on_data(self, data: bytes, end: bool) -> bytes | Held:
        """From the peer. HOLD swallows the data and stops reading until `connection.resume()`."""

    def on_write(self, data: bytes, end: bool) -> bytes | Held:
        """Towards the peer. HOLD swallows the data."""

    def on_drain(self) -> None:
        """The process drains: a connection that is idle may close now, a busy one when it has finished."""

    def on_close(self) -> None:
        """Exactly once, whatever happened; `connection.close_reason` says what did."""


class NetworkFilterFactory(Protocol):
    """Built once per configuration: all compiling happens here."""

    def create(self, connection: Connection) -> NetworkFilter: ...


@mypyc_attr(allow_interpreted_subclasses=True)
class PassThroughFilter:
    """Defaults for filters that care about one thing only."""

    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def on_open(self) -> Flow:
        return Flow.CONTINUE

    def on_data(self, data: bytes, end: bool) -> bytes | Held:
        return data

    def on_write(self, data: bytes, end: bool) -> bytes | Held:
        return data

    def on_drain(self) -> None:
        return None

    def on_close(self) -> None:
        return None


def _overrides(network_filter: NetworkFilter, method: str) -> bool:
    base = getattr(PassThroughFilter, method)
    return getattr(type(network_filter), method, None) is not base


class Connection:
    """One TCP connection with its filters. Implements `SocketOwner`.

    `info` describes the downstream connection (None on an upstream one), `upstream` the upstream one. `gate` stops reading.
    `session` gathers the facts of a TCP session for the filters that share it (metrics, access log).
    The last filter is terminal: what passes it is dropped. Bytes that come before every filter's `on_open` has let the
    connection go on are kept for it. `on_close` is told from the last filter to the first: those that watch a session
    learn of its end after the one that made it.
    """

    __slots__ = (
        "_delayed_close",
        "_early",
        "_filters",
        "_on_full_change",
        "_opened",
        "_opening",
        "_read_end",
        "_readers",
        "_writers",
        "close_details",
        "close_reason",
        "gate",
        "info",
        "rx_bytes",
        "rx_counter",
        "session",
        "socket",
        "timers",
        "tx_bytes",
        "tx_counter",
        "upstream",
        "write_ended",
        "write_full",
    )

    def __init__(self, socket: TransportSocket, timers: Timers, info: ConnectionInfo | None = None) -> None:
        self.socket = socket
        self.timers = timers
        self.info = info
        self.upstream: UpstreamInfo | None = None
        self.session: StreamInfo | None = None  # of a TCP session; shared by its network filters
        self.gate = ReadGate(socket.pause_reading, socket.resume_reading)
        self.close_reason: CloseReason | None = None
        self.close_details = ""
        self.write_full = False
        self.write_ended = False
        self.rx_bytes = 0
        self.tx_bytes = 0
        self.rx_counter: Counter | None = None
        self.tx_counter: Counter | None = None
        self._filters: list[NetworkFilter] = []
        self._readers: tuple[Callable[[bytes, bool], bytes | Held], ...] = ()
        self._writers: tuple[Callable[[bytes, bool], bytes | Held], ...] = ()
        self._early: list[bytes] = []
        self._opened = False  # every filter has let the connection go on
        self._opening = 0
        self._read_end = False
        self._delayed_close: Cancellable | None = None
        self._on_full_change: Callable[[bool], None] | None = None

    # building

    def set_filters(self, filters: list[NetworkFilter]) -> None:
        self._filters = filters
        self._compile()

    def remove(self, network_filter: NetworkFilter) -> None:
        """A filter that has done its part takes itself out of the data path; it still gets `on_close`."""
        self._readers = tuple(r for r in self._readers if getattr(r, "__self__", None) is not network_filter)
        self._writers = tuple(w for w in self._writers if getattr(w, "__self__", None) is not network_filter)

    def replace(self, network_filter: NetworkFilter, by: NetworkFilter) -> None:
        """Another filter takes the place of one; the one replaced is told nothing any more."""
        self._filters = [by if each is network_filter else each for each in self._filters]
        self._compile()

    def _compile(self) -> None:
        self._readers = tuple(f.on_data for f in self._filters if _overrides(f, "on_data"))
        self._writers = tuple(f.on_write for f in reversed(self._filters) if _overrides(f, "on_write"))

    def watch_write_buffer(self, on_full_change: Callable[[bool], None] | None) -> None:
        """`on_full_change(True)` when the write buffer passes its high watermark, False when it is low again."""
        self._on_full_change = on_full_change

    # from the socket

    def on_connected(self) -> None:
        self._open_filters()

    def _open_filters(self) -> bool:
        """Whether every filter has let the connection go on."""
        while self._opening < len(self._filters) and self.close_reason is None:
            network_filter = self._filters[self._opening]
            self._opening += 1
            if network_filter.on_open() is Flow.HOLD:
                self.gate.close(ReadGate.FILTER)
                return False
        self._opened = True
        return True

    def resume(self) -> None:
        """A filter that answered HOLD lets the connection go on."""
        if self.close_reason is not None:
            return
        if not self._opened:
            if not self._open_filters():
                return
            early, self._early = self._early, []
            if early or self._read_end:
                self._read(b"".join(early), self._read_end)
        self.gate.open(ReadGate.FILTER)

    def on_data(self, data: bytes) -> None:
        self.rx_bytes += len(data)
        if self.rx_counter is not None:
            self.rx_counter.add(len(data))
        self._read(data, False)

    def on_eof(self) -> None:
        if not self._read_end:
            self._read_end = True
            self._read(b"", True)

    def _read(self, data: bytes, end: bool) -> None:
        if not self._opened:
            self._early.append(data)
            return
        for reader in self._readers:
            passed = reader(data, end)
            if passed is Flow.HOLD:
                self.gate.close(ReadGate.FILTER)
                return
            if not passed and not end:
                return
            data = passed

    def pass_on(self, after: NetworkFilter, data: bytes, end: bool) -> None:
        """Give `data` to the read filters behind `after` (which swallowed it before)."""
        found = False
        for reader in self._readers:
            if found:
                passed = reader(data, end)
                if passed is Flow.HOLD or (not passed and not end):
                    return
                data = passed
            elif getattr(reader, "__self__", None) is after:
                found = True

    def on_closed(self, reason: CloseReason, details: str) -> None:
        if self.close_reason is None:
            self.close_reason = reason
        self.close_details = self.close_details or details
        self._cancel_delayed_close()
        filters, self._filters = self._filters, []
        self._readers = self._writers = ()
        self._early.clear()
        for network_filter in reversed(filters):
            network_filter.on_close()
        self.gate.cut()
        self._on_full_change = None

    def on_write_full(self) -> None:
        self.write_full = True
        if self._on_full_change is not None:
            self._on_full_change(True)

    def on_write_drained(self) -> None:
        self.write_full = False
        if self._on_full_change is not None:
            self._on_full_change(False)

    # for filters

    def write(self, data: bytes, end: bool = False) -> None:
        """Towards the peer, through the write filters. `end` half-closes after the data."""
        for writer in self._writers:
            passed = writer(data, end)
            if passed is Flow.HOLD:
                return
            data = passed
        if data:
            self.tx_bytes += len(data)
            if self.tx_counter is not None:
                self.tx_counter.add(len(data))
            self.socket.write(data)
        if end:
            self.write_ended = True
            self.socket.write_eof()

    @property
    def is_open(self) -> bool:
        return self.close_reason is None

    @property
    def read_ended(self) -> bool:
        """The peer has sent its end."""
        return self._read_end

    def close(self, details: str = "") -> None:
        """Flush, then close. A peer that has stopped reading is waited for `FLUSH_STALL_S` at a time."""
        if self.close_reason is None:
            self.close_reason, self.close_details = CloseReason.LOCAL, details
        self.gate.close(ReadGate.CLOSING)
        self.socket.close()
        waiting_bytes = self.socket.write_buffer_bytes
        if waiting_bytes:
            self._watch_flush(waiting_bytes)

    def close_now(self, details: str = "") -> None:
        """Close without waiting for a peer that does not read (Envoy's NoFlush): what the kernel holds still arrives."""
        if self.socket.write_buffer_bytes:
            self.abort(details)
        else:
            self.close(details)

    def _watch_flush(self, before_bytes: int) -> None:
        self._cancel_delayed_close()
        self._delayed_close = self.timers.after(FLUSH_STALL_S, lambda: self._check_flush(before_bytes))

    def _check_flush(self, before_bytes: int) -> None:
        self._delayed_close = None
        waiting_bytes = self.socket.write_buffer_bytes
        if waiting_bytes and waiting_bytes >= before_bytes:
            self.abort(self.close_details)
        elif waiting_bytes:
            self._watch_flush(waiting_bytes)

    def close_after_peer(self, timeout_s: float | None, details: str = "") -> None:
        """Envoy's delayed close: end our side, discard what still comes, close when the peer does or after `timeout_s`.

        A peer that is still sending would otherwise be answered by a reset, which may destroy our last bytes on their way.
        """
        if not timeout_s:
            self.close(details)
            return
        if self._delayed_close is not None or self.close_reason is not None:
            return
        self.close_details = details
        self._readers = (self._discard,)
        self.gate.open(ReadGate.CODEC | ReadGate.STREAM | ReadGate.SINK_FULL | ReadGate.FILTER)
        self.write_ended = True
        self.socket.write_eof()
        if self._read_end:
            self.close(details)
            return
        self._delayed_close = self.timers.after(timeout_s, self._delayed_close_expired)

    def _discard(self, data: bytes, end: bool) -> bytes | Held:
        if end:
            self.close(self.close_details)
        return b""

    def _delayed_close_expired(self) -> None:
        self._delayed_close = None
        if self.socket.write_buffer_bytes:
            self.abort(self.close_details)  # the peer does not read what it was sent
        else:
            self.close(self.close_details)

    def _cancel_delayed_close(self) -> None:
        if self._delayed_close is not None:
            self._delayed_close.cancel()
            self._delayed_close = None

    def drain(self) -> None:
        """Tell the filters that the process drains."""
        for network_filter in list(self._filters):
            network_filter.on_drain()

    def abort(self, details: str = "", reason: CloseReason = CloseReason.LOCAL) -> None:
        """Close now; the peer sees a reset."""
        if self.close_reason is None:
            self.close_reason, self.close_details = reason, details
        self.socket.abort()
