"""The connection before its filter chain is known: accepted, looked at by listener filters, then handed on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from sidecar.listener.api import ListenerFilter, Peek
from sidecar.stream_info import ConnectionInfo
from sidecar.transport.sockets import address_of

if TYPE_CHECKING:
    from sidecar.listener.listener import ConnectionLimit, Listener
    from sidecar.transport.timers import Cancellable


class PendingConnection(asyncio.Protocol):
    """The asyncio protocol of an accepted socket until a filter chain takes it over.

    Bytes are kept, not consumed: the connection that follows gets all of them (less what a filter declared its own).
    """

    __slots__ = (
        "_current",
        "_handed_over",
        "_limit",
        "_listener",
        "_position",
        "_seen",
        "_timer",
        "_transport",
        "info",
    )

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._current: ListenerFilter | None = None  # the one that waits for bytes
        self._position = 0  # of the next one
        self._seen = b""
        self._timer: Cancellable | None = None
        self._handed_over = False
        self._limit: ConnectionLimit | None = None
        self.info: ConnectionInfo | None = None  # while the connection is ours

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._listener.admit(self, transport.get_extra_info("socket")):
            transport.close()
            return
        self._limit = self._listener.limit
        self.info = ConnectionInfo(
            address_of(transport.get_extra_info("peername")),
            address_of(transport.get_extra_info("sockname")),
            self._listener.name,
            self._listener.spec.traffic_direction,
        )
        self._begin(self._listener)

    def data_received(self, data: bytes) -> None:
        if self.info is None:
            return
        self._seen = self._seen + data if self._seen else data
        self._run()

    def eof_received(self) -> bool:
        """A client that ends before its protocol is known has nothing to say."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.info is not None:
            self._listener.stats.downstream_listener_filter_remote_close.inc()
        self._end()

    def pause_writing(self) -> None:
        """Nothing is written before the chain is known."""

    def resume_writing(self) -> None:
        """Nothing is written before the chain is known."""

    # the walk through the filters

    def _begin(self, listener: Listener) -> None:
        """Start (again, after a hand-over) with the filters of `listener`."""
        assert self.info is not None
        self._listener = listener
        self._position = 0
        self._accept_next()

    def _accept_next(self) -> None:
        """Ask one filter after the other, until one needs bytes.

        Whether a filter is disabled for the destination is asked when its turn comes: those before it may have restored
        the destination.
        """
        assert self.info is not None and self._transport is not None
        filters = self._listener.filters
        self._current = None
        while self._position < len(filters):
            factory, disabled = filters[self._position]
            self._position += 1
            if disabled is not None and disabled(self.info):
                continue
            current = factory.create()
            verdict = current.on_accept(self.info, self._transport.get_extra_info("socket"))
            if verdict is Peek.REJECT:
                self._reject()
                return
            if verdict is Peek.MORE:
                self._current = current
                self._arm_timer()
                if self._seen:
                    self._run()
                return
        self._choose()

    def _arm_timer(self) -> None:
        """One time limit for all filters of a listener together."""
        timeout_s = self._listener.spec.listener_filters_timeout_s
        if timeout_s is not None and self._timer is None:
            self._timer = self._listener.timers.after(timeout_s, self._timed_out)

    def _run(self) -> None:
        """Show the bytes to the filter that waits for them."""
        assert self.info is not None
        current = self._current
        if current is None:
            return
        verdict = current.on_bytes(self._seen, self.info)
        if verdict is Peek.MORE and len(self._seen) >= current.max_bytes:
            verdict = Peek.DONE  # it has seen all that it may
        if verdict is Peek.MORE:
            return
        if verdict is Peek.REJECT:
            self._reject()
            return
        if current.consumed:
            self._seen = self._seen[current.consumed :]
        self._accept_next()

    def _timed_out(self) -> None:
        self._timer = None
        self._listener.stats.downstream_pre_cx_timeout.inc()
        if self._listener.spec.continue_on_listener_filters_timeout:
            self._finish_inspection()
        else:
            self._reject()

    def _finish_inspection(self) -> None:
        """Go on with what is known."""
        if self.info is not None:
            self._current = None
            self._choose()

    def _choose(self) -> None:
        """All filters are through: another listener for the original destination, or the filter chain."""
        info, transport = self.info, self._transport
        assert info is not None and transport is not None
        self._cancel_timer()
        successor = self._listener.successor(info) if not self._handed_over else None
        if successor is not None:
            self._handed_over = True
            self._listener.release(self)
            info.listener_name = successor.name
            info.listener_direction = successor.spec.traffic_direction
            successor.take_over(self)
            self._begin(successor)
            return
        listener, seen = self._listener, self._seen
        limit, self._limit = self._limit, None
        self._end()
        listener.serve(transport, info, seen, limit)

    def _reject(self) -> None:
        transport = self._transport
        self._end()
        if transport is not None:
            transport.abort()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        """This object's part is over."""
        self._cancel_timer()
        if self.info is not None:
            self.info = None
            self._listener.release(self)
        if self._limit is not None:
            self._limit.give_back()
            self._limit = None
        self._transport = None
        self._current = None
        self._seen = b""

    def close(self) -> None:
        """The listener goes away."""
        self._reject()
