"""Sends statistics to the configured sinks: StatsD, DogStatsD, Graphite.

Nothing here waits for a sink, and nothing grows when one does not take what it gets: what cannot be sent is dropped and
counted in `stats_sinks.dropped_total`.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from config.model.core import Address, PipeAddress, SocketAddress
from config.model.stats_sink import StatsdSinkSpec, StatsdTags
from sidecar.upstream.api import LbContext
from sidecar.worker.part import ALONE, Part
from stats.statsd import Datagrams, Deltas, StatsdLines, StatsdSink, TagStyle

if TYPE_CHECKING:
    import asyncio

    from sidecar.stream_info import UpstreamInfo
    from sidecar.upstream.api import ClusterManager, TcpUpstream, UpstreamFailure
    from stats.metrics import Counter, Histogram
    from stats.snapshot import StatsSource
    from stats.store import Store

logger = logging.getLogger(__name__)

#: Recorded values that wait for the next turn of the loop.
_MAX_WAITING_VALUES: Final = 10_000
#: Of them so many are sent in one turn.
_VALUES_A_TURN: Final = 500
#: Bytes that wait for a TCP connection; more are dropped.
_MAX_WAITING_BYTES: Final = 1024 * 1024

_STYLES: Final = {
    StatsdTags.IN_NAME: TagStyle.IN_NAME,
    StatsdTags.DOGSTATSD: TagStyle.DOGSTATSD,
    StatsdTags.GRAPHITE: TagStyle.GRAPHITE,
}


class DatagramSink:
    """Lines in datagrams, to an IP address or a Unix socket."""

    def __init__(self, spec: StatsdSinkSpec, address: Address, dropped: Counter) -> None:
        self.lines = StatsdLines(spec.prefix, _STYLES[spec.tags])
        self._address = address
        self._dropped = dropped
        self._datagrams = Datagrams(spec.max_bytes_per_datagram, self._send)
        self._socket = socket.socket(_family_of(address), socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def begin_flush(self) -> None:
        """There is nothing to connect."""

    def send(self, lines: Iterable[bytes]) -> None:
        self._datagrams.pack(lines)

    def _send(self, datagram: bytes) -> None:
        address = self._address
        try:
            if isinstance(address, SocketAddress):
                self._socket.sendto(datagram, (address.address, address.port))
            else:
                self._socket.sendto(datagram, str(address))
        except OSError:  # nobody listens, or the kernel's buffer is full
            self._dropped.inc()

    def close(self) -> None:
        self._socket.close()


def _family_of(address: Address) -> socket.AddressFamily:
    if isinstance(address, PipeAddress):
        return socket.AF_UNIX
    return (
        socket.AF_INET6 if isinstance(address, SocketAddress) and ":" in address.address else socket.AF_INET
    )


class TcpSink:
    """Lines over one connection to a cluster, opened when there is something to send. Implements `TcpUpstreamSink`."""

    def __init__(self, spec: StatsdSinkSpec, clusters: ClusterManager, dropped: Counter) -> None:
        self.lines = StatsdLines(spec.prefix, _STYLES[spec.tags])
        self._name = spec.tcp_cluster_name
        self._clusters = clusters
        self._dropped = dropped
        self._connection: TcpUpstream | None = None
        self._connecting = False
        self._may_connect = True
        self._full = False
        self._waiting = b""
        self._closed = False

    def begin_flush(self) -> None:
        """One attempt to connect for each flush: what is counted of a failed one is itself something to send."""
        self._may_connect = True

    def send(self, lines: Iterable[bytes]) -> None:
        data = b"".join([line + b"\n" for line in lines])
        if self._full or len(self._waiting) + len(data) > _MAX_WAITING_BYTES:
            self._dropped.inc()
        elif self._connection is not None:
            self._connection.write(data)
        else:
            self._waiting += data
            self._connect()

    def _connect(self) -> None:
        cluster = self._clusters.get(self._name)
        if self._connecting or self._closed or cluster is None or not self._may_connect:
            return
        self._connecting = True
        self._may_connect = False
        cluster.new_connection(LbContext(), self)

    def close(self) -> None:
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # TcpUpstreamSink

    def on_tcp_ready(self, connection: TcpUpstream) -> None:
        self._connecting = False
        if self._closed:
            connection.close()
            return
        self._connection = connection
        data, self._waiting = self._waiting, b""
        if data:
            connection.write(data)

    def on_tcp_failure(self, failure: UpstreamFailure, details: str, info: UpstreamInfo) -> None:
        """The next flush tries again; what waited is old by then."""
        self._connecting = False
        if self._waiting:
            self._dropped.inc()
            self._waiting = b""

    def on_upstream_data(self, data: bytes, end: bool) -> None:
        if end and self._connection is not None:
            self._connection.close()
            self.on_upstream_closed()

    def on_upstream_closed(self) -> None:
        self._connection = None
        self._full = False

    def on_upstream_full(self, full: bool) -> None:
        self._full = full


class StatsSinks:
    """All sinks of the process. `flush` is for whoever has the timer."""

    def __init__(
        self,
        specs: Iterable[StatsdSinkSpec],
        store: Store,
        clusters: ClusterManager,
        loop: asyncio.AbstractEventLoop,
        part: Part = ALONE,
        merged: Callable[[], StatsSource] | None = None,
    ) -> None:
        """Raises OSError when a socket cannot be made.

        With several processes each sends the values of its histograms, and main the counters and gauges of all (`merged`).
        """
        self._flushes = part.is_main
        self._merged = merged
        self._store = store
        self._loop = loop
        self._dropped = store.root.counter("stats_sinks.dropped_total")
        self._sinks = [self._make(spec, clusters) for spec in specs]
        self._deltas = Deltas(copies=merged is not None)
        self._values: list[tuple[Histogram, float]] = []
        self._values_are_due = False
        store.watch_histograms(self._on_value)

    def _make(self, spec: StatsdSinkSpec, clusters: ClusterManager) -> DatagramSink | TcpSink:
        if spec.address is None:
            return TcpSink(spec, clusters, self._dropped)
        return DatagramSink(spec, spec.address, self._dropped)

    def flush(self) -> Iterator[None]:
        """Send counters and gauges, some of them at each step."""
        sinks: list[StatsdSink] = [*self._sinks]
        for sink in self._sinks:
            sink.begin_flush()
        return self._deltas.flush(self._merged() if self._merged is not None else self._store, sinks)

    def close(self) -> None:
        """Send what there is."""
        while self._values:
            self._send_values()
        if self._flushes:
            for _ in self.flush():
                pass
        for sink in self._sinks:
            sink.close()

    def _on_value(self, histogram: Histogram, value: float) -> None:
        if len(self._values) >= _MAX_WAITING_VALUES:
            self._dropped.inc()
            return
        self._values.append((histogram, value))
        if not self._values_are_due:
            self._values_are_due = True
            self._loop.call_soon(self._send_due_values)

    def _send_due_values(self) -> None:
        self._send_values()
        self._values_are_due = bool(self._values)
        if self._values_are_due:
            self._loop.call_soon(self._send_due_values)

    def _send_values(self) -> None:
        values, self._values = self._values[:_VALUES_A_TURN], self._values[_VALUES_A_TURN:]
        for sink in self._sinks:
            sink.send([sink.lines.histogram(histogram, value) for histogram, value in values])
