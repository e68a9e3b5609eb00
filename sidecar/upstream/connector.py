"""One attempt to connect to a host: TCP, TLS, the cluster's upstream network filters, all within `connect_timeout`.

The result is told through the last (terminal) network filter of the connection: its `on_open` when the connection is
ready for use, its `on_close` in every case. `on_close` without `on_open` before it means that the attempt failed; the
connection's `close_reason` and `close_details` say why. Nothing is told before `connect` has returned.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from config.model.core import Address, PipeAddress, SocketAddress
from sidecar.stream_info import (
    ConnectionFacts,
    TlsInfo,
    UpstreamConnectionState,
    UpstreamInfo,
    next_connection_id,
)
from sidecar.transport.connection import Connection, NetworkFilter, NetworkFilterFactory
from sidecar.transport.sockets import SourceAddressError, address_of
from sidecar.transport.transport_socket import CloseReason, TransportSocket

if TYPE_CHECKING:
    import asyncio

    from config.model.cluster import ClusterSpec
    from sidecar.transport.timers import Cancellable, Timers
    from sidecar.upstream.host import Host
    from stats.families import ClusterStats

logger = logging.getLogger(__name__)

#: linux/in.h: choose the port at connect time, so that one source address serves more connections than it has ports
_IP_BIND_ADDRESS_NO_PORT: Final = 24


#: How a connection ended, in the words of the wire.
_HOW: Final = {
    CloseReason.LOCAL: "close",
    CloseReason.REMOTE: "FIN",
    CloseReason.REMOTE_RESET: "RST",
    CloseReason.TRANSPORT_FAILURE: "TLS",
    CloseReason.TIMEOUT: "timeout",
}
#: Details of an attempt that was given up when TCP was up and TLS was not.
IN_HANDSHAKE: Final = "in the TLS handshake"
_BY_UPSTREAM: Final = (CloseReason.REMOTE, CloseReason.REMOTE_RESET)

_Terminal = TypeVar("_Terminal", bound=NetworkFilter)


class Task(Protocol):
    """What `spawn` gives back."""

    def cancel(self) -> object: ...


#: Runs a coroutine as a task that its owner keeps; its failures are the owner's to log.
Spawn = Callable[[Coroutine[Any, Any, None]], Task]


class UpstreamConnection(Connection):
    """A connection to a host, from the first SYN on. `upstream` is complete when the filters' `on_open` is called."""

    __slots__ = ("_attempt", "_info")

    def __init__(self, socket: TransportSocket, timers: Timers, attempt: _Attempt) -> None:
        super().__init__(socket, timers)
        self._attempt: _Attempt | None = attempt
        self._info: Final = attempt.info
        self.upstream = attempt.info
        socket.owner = self

    def on_connected(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.connected()
        super().on_connected()

    def on_closed(self, reason: CloseReason, details: str) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:  # the reason of a failed handshake is known already
            attempt.ended()
            self._log_failure(reason, details)
        elif reason is CloseReason.TRANSPORT_FAILURE:
            self._info.transport_failure_reason = details
        super().on_closed(reason, details)

    def _log_failure(self, reason: CloseReason, details: str) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            info = self._info
            text = info.transport_failure_reason or details
            logger.debug(
                "cluster %s: no connection to %s: %s%s",
                info.cluster_name,
                info.host_address,
                reason.value,
                f": {text}" if text else "",
            )

    def give_up(self) -> bool:
        """End an attempt that is under way; False if the connection is up or gone."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return False
        attempt.give_up(CloseReason.LOCAL, "")
        return True


def drop(connection: Connection) -> None:
    """Close now: politely if nothing waits to be written, else without waiting for a peer that does not read."""
    if isinstance(connection, UpstreamConnection) and connection.give_up():
        return
    if connection.socket.write_buffer_bytes:
        connection.abort()
    else:
        connection.close()


def facts_of(
    connection: Connection, remote: bool | None, *, opened_ns: int, idle_since_ns: int, exchanges: int
) -> ConnectionFacts:
    """How an upstream connection is. `remote`: it ends now, by the server or by us; None: only if its end is known."""
    reason = connection.close_reason
    if remote is None and reason is not None:
        remote = reason in _BY_UPSTREAM
    how = ""
    if remote is not None:
        how = _HOW[reason] if reason is not None else "FIN" if remote else "close"
    return ConnectionFacts(
        ended_by="" if remote is None else "upstream" if remote else "proxy",
        how=how,
        opened_ns=opened_ns,
        idle_since_ns=idle_since_ns,
        exchanges=exchanges,
        bytes_received=connection.rx_bytes,
        bytes_sent=connection.tx_bytes,
        details=connection.close_details,
    )


class Connector:
    """Opens the connections of one cluster."""

    def __init__(
        self,
        spec: ClusterSpec,
        *,
        loop: asyncio.AbstractEventLoop,
        timers: Timers,
        spawn: Spawn,
        stats: ClusterStats,
    ) -> None:
        self.loop = loop
        self.timers = timers
        self.spawn = spawn
        self.stats = stats
        self.connect_timeout_s = spec.connect_timeout_s
        self.write_limit_bytes = spec.per_connection_buffer_limit_bytes
        self.filters: Sequence[NetworkFilterFactory] = ()  # upstream network filters, in configured order
        self._spec = spec
        self._cluster_name = spec.name
        self._binds = [
            bind
            for bind in (spec.upstream_bind_address, *spec.extra_bind_addresses)
            if isinstance(bind, SocketAddress)
        ]

    def connect(
        self,
        host: Host,
        terminal: Callable[[Connection], _Terminal],
        *,
        application_protocols: tuple[str, ...] | None = None,
        fallback_protocols: tuple[str, ...] = (),
        server_name: str = "",
    ) -> _Terminal:
        """Begin. `terminal` makes the last filter, which learns everything from now on; it is given back."""
        attempt = _Attempt(self, host)
        made = host.socket_factory.create(
            application_protocols=application_protocols,
            fallback_protocols=fallback_protocols,
            server_name=server_name,
            hostname=host.hostname,
            finished=attempt.handshake_finished,
        )
        refused = made if isinstance(made, str) else ""
        transport_socket = TransportSocket() if isinstance(made, str) else made
        connection = UpstreamConnection(transport_socket, self.timers, attempt)
        connection.rx_counter = self.stats.upstream_cx_rx_bytes_total
        connection.tx_counter = self.stats.upstream_cx_tx_bytes_total
        filters = [factory.create(connection) for factory in self.filters]
        last = terminal(connection)
        filters.append(last)
        connection.set_filters(filters)
        attempt.start(connection, refused)
        return last

    def info_of(self, host: Host | None) -> UpstreamInfo:
        """What is known of an attempt that has no connection."""
        info = UpstreamInfo()
        info.cluster_name = self._cluster_name
        info.cluster_metadata = self._spec.metadata
        if host is not None:
            info.host = host
            info.host_address = info.remote_address = host.address
            info.hostname = host.hostname
            info.host_metadata = host.metadata
        return info

    def open_socket(self, address: Address) -> tuple[socket.socket, str | bytes | tuple[str, int]]:
        """A socket with its options set, bound if the cluster says so, and the name to connect it to. Raises OSError."""
        if isinstance(address, PipeAddress):
            path = address.path
            name = b"\0" + path[1:].encode() if path.startswith("@") else path
            return _non_blocking(socket.AF_UNIX), name
        if not isinstance(address, SocketAddress):
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        family = socket.AF_INET6 if ":" in address.address else socket.AF_INET
        sock = _non_blocking(family)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._set_keepalive(sock)
            self._bind(sock, family)
        except OSError:
            sock.close()
            raise
        return sock, (address.address, address.port)

    def _set_keepalive(self, sock: socket.socket) -> None:
        keepalive = self._spec.tcp_keepalive
        if keepalive is None:
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPCNT, keepalive.probes),
            (socket.TCP_KEEPIDLE, keepalive.time_s),
            (socket.TCP_KEEPINTVL, keepalive.interval_s),
        ):
            if value:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def _bind(self, sock: socket.socket, family: int) -> None:
        """Bind to the first configured source address of the destination's family (Envoy: UpstreamBindConfig)."""
        for bind in self._binds:
            if (":" in bind.address) == (family == socket.AF_INET6):
                if not bind.port:
                    sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                try:
                    sock.bind((bind.address, bind.port))
                except OSError as error:
                    self.stats.bind_errors.inc()
                    raise SourceAddressError(
                        error.errno, f"failed to bind to {bind}: {os.strerror(error.errno or 0)}"
                    ) from error
                return


def _non_blocking(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


class _Attempt:
    """The time between `connect` and the connection being up; gone afterwards."""

    __slots__ = (
        "_connection",
        "_connector",
        "_host",
        "_local_address",
        "_start_ns",
        "_task",
        "_timer",
        "info",
    )

    def __init__(self, connector: Connector, host: Host) -> None:
        self._connector = connector
        self._host = host
        self._connection: UpstreamConnection | None = None
        self._task: Task | None = None
        self._timer: Cancellable | None = None
        self._start_ns = connector.timers.now_ns()
        self._local_address: Address | None = None
        self.info = connector.info_of(host)
        self.info.connection_state = UpstreamConnectionState()

    def start(self, connection: UpstreamConnection, refused: str) -> None:
        self._connection = connection
        timers = self._connector.timers
        if refused:
            timers.soon(lambda: self._fail(CloseReason.TRANSPORT_FAILURE, refused))
            return
        self._timer = timers.after(self._connector.connect_timeout_s, self._timed_out)
        self._task = self._connector.spawn(self._run(self._host.address))

    async def _run(self, address: Address) -> None:
        stage = "immediate"
        connection = self._connection
        if connection is None:
            return
        loop = self._connector.loop
        transport_socket = connection.socket
        try:
            sock, name = self._connector.open_socket(address)
            try:
                failure = sock.connect_ex(name)
                if failure == errno.EINPROGRESS:
                    stage = "delayed"
                    await self._writable(sock)
                    failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if failure:
                    raise OSError(failure, os.strerror(failure))
                self._local_address = address_of(sock.getsockname())
            except BaseException:
                sock.close()
                raise
            # From here on the transport owns the descriptor: not to be cancelled in between.
            self._task = None
            create = loop.create_unix_connection if sock.family == socket.AF_UNIX else loop.create_connection
            transport, _ = await create(lambda: transport_socket, sock=sock)
            if transport_socket.owner is None:  # given up in the meantime
                transport.abort()
        except SourceAddressError as refusal:
            self._fail(CloseReason.LOCAL, str(refusal.strerror))
        except OSError as error:
            text = f"{stage} connect error: {os.strerror(error.errno or 0)}"
            if stage == "immediate":
                text += f"|remote address:{address}"
            self._fail(CloseReason.REMOTE_RESET, text)

    async def _writable(self, sock: socket.socket) -> None:
        loop = self._connector.loop
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_writer(sock, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_writer(sock)

    # the outcome

    def connected(self) -> None:
        connection = self._connection
        if connection is None:
            return
        connector, info = self._connector, self.info
        self.ended()
        info.connection_id = next_connection_id()
        info.local_address = self._local_address
        connection.socket.set_write_limit(connector.write_limit_bytes)
        elapsed_ns = connector.timers.now_ns() - self._start_ns
        connector.stats.upstream_cx_connect_ms.record(elapsed_ns // 1_000_000)

    def handshake_finished(self, outcome: TlsInfo | str) -> None:
        if isinstance(outcome, TlsInfo):
            self.info.tls = outcome
        else:
            self.info.transport_failure_reason = outcome

    def ended(self) -> None:
        """Nothing is to be done any more."""
        self._connection = None
        self._task = None
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _timed_out(self) -> None:
        self._timer = None
        self.give_up(CloseReason.TIMEOUT, "")

    def give_up(self, reason: CloseReason, details: str) -> None:
        connection, task = self._connection, self._task
        if connection is None:
            return
        if connection.socket.transport is not None:
            connection.abort(details or IN_HANDSHAKE, reason)
            self.ended()
            return
        self.ended()
        if task is not None:
            task.cancel()
        connection.socket.owner = None
        connection.on_closed(reason, details)

    def _fail(self, reason: CloseReason, details: str) -> None:
        connection = self._connection
        if connection is None:
            return
        self.ended()
        self.info.transport_failure_reason = details
        connection.socket.owner = None
        connection.on_closed(reason, details)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
