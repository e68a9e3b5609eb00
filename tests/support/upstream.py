"""A cluster without a network: its connections are made by hand, its clock is turned by hand, its sinks write things down."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine
from typing import Any, cast

from config.model.cluster import ClusterSpec
from config.model.core import SocketAddress
from config.model.endpoint import ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints
from protocols.http.codec import HttpVersion, ResetReason
from protocols.http.h1_httptools import client_codec
from protocols.http.headers import Headers
from sidecar.stream_info import UpstreamInfo
from sidecar.transport.connection import Connection, NetworkFilter, PassThroughFilter
from sidecar.transport.timers import Timers
from sidecar.transport.tls_contexts import TlsContexts
from sidecar.transport.transport_socket import CloseReason
from sidecar.upstream.api import LbContext, Pending, TcpUpstream, UpstreamFailure, UpstreamStream
from sidecar.upstream.cluster import UpstreamCluster
from sidecar.upstream.resolver import Resolver
from stats.store import Store


class ManualHandle:
    """What `call_later` gives back."""

    def __init__(self, callback: Callable[..., object], args: tuple[object, ...]) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args = args

    def cancel(self) -> None:
        self.callback = None

    def run(self) -> None:
        if self.callback is not None:
            self.callback(*self.args)


class ManualLoop:
    """The few things of an event loop that timers need; time passes when `advance` says so."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._order = itertools.count()
        self._later: list[tuple[float, int, ManualHandle]] = []
        self._soon: list[ManualHandle] = []

    def time(self) -> float:
        return self._now

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> ManualHandle:
        handle = ManualHandle(callback, args)
        heapq.heappush(self._later, (self._now + delay, next(self._order), handle))
        return handle

    def call_soon(self, callback: Callable[..., object], *args: object) -> ManualHandle:
        handle = ManualHandle(callback, args)
        self._soon.append(handle)
        return handle

    def call_exception_handler(self, context: dict[str, object]) -> None:
        raise AssertionError(context)

    def turn(self) -> None:
        """Run what is to run now, and what that asks for."""
        while self._soon:
            soon, self._soon = self._soon, []
            for handle in soon:
                handle.run()

    def advance(self, seconds: float) -> None:
        end = self._now + seconds
        self.turn()
        while self._later and self._later[0][0] <= end:
            self._now, _, handle = heapq.heappop(self._later)
            handle.run()
            self.turn()
        self._now = end

    def as_loop(self) -> asyncio.AbstractEventLoop:
        return cast("asyncio.AbstractEventLoop", self)


class FakeTask:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> bool:
        self.cancelled = True
        return True


class FakeTransport:
    """An asyncio transport to nowhere."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.reading = True
        self.closed = False
        self.aborted = False
        self.eof = False
        self.unwritten = 0  # what `get_write_buffer_size` says

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def take(self) -> bytes:
        """What was written since the last time."""
        written = b"".join(self.writes)
        self.writes.clear()
        return written

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        self.limits = (low, high)

    def get_write_buffer_size(self) -> int:
        return self.unwritten

    def get_extra_info(self, name: str) -> None:
        return None


class Peer:
    """The other end of one connection that the cluster opened."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.socket = connection.socket
        self.transport = FakeTransport()

    def accept(self) -> Peer:
        self.socket.connection_made(cast("asyncio.Transport", self.transport))
        return self

    def refuse(self) -> None:
        self.connection._attempt._fail(CloseReason.REMOTE_RESET, "delayed connect error: Connection refused")

    def send(self, data: bytes) -> None:
        self.socket.data_received(data)

    def end(self) -> None:
        """FIN."""
        self.socket.eof_received()

    def reset(self) -> None:
        """RST."""
        self.transport.closed = True
        self.socket.connection_lost(ConnectionResetError(104, "Connection reset by peer"))

    def gone(self) -> None:
        """What the event loop does after `close` or `abort`."""
        assert self.transport.closed
        self.socket.connection_lost(None)


class _Watch:
    """An upstream network filter that does nothing but make the connections known."""

    def __init__(self, peers: list[Peer]) -> None:
        self._peers = peers

    def create(self, connection: Connection) -> NetworkFilter:
        self._peers.append(Peer(connection))
        return PassThroughFilter(connection)


class RecordingSink:
    """A router that writes down what it is told. `on_ready` runs inside of `on_pool_ready`."""

    def __init__(self, on_ready: Callable[[UpstreamStream], None] | None = None) -> None:
        self.events: list[tuple[object, ...]] = []
        self.stream: UpstreamStream | None = None
        self.info: UpstreamInfo | None = None
        self.on_ready = on_ready
        self.on_end: Callable[[], None] | None = None

    def on_pool_ready(self, stream: UpstreamStream) -> None:
        self.stream = stream
        self.info = stream.info
        self.events.append(("ready",))
        if self.on_ready is not None:
            self.on_ready(stream)

    def on_pool_failure(self, failure: UpstreamFailure, details: str, info: UpstreamInfo) -> None:
        self.info = info
        self.events.append(("failure", failure, details))

    def on_response_headers(self, headers: Headers, end: bool) -> None:
        self.events.append(("headers", headers.status, end))
        self._ended(end)

    def on_response_data(self, data: bytes, end: bool) -> None:
        self.events.append(("data", data, end))
        self._ended(end)

    def on_response_trailers(self, trailers: Headers) -> None:
        self.events.append(("trailers", dict(trailers.items())))
        self._ended(True)

    def on_upstream_reset(self, reason: ResetReason, details: str) -> None:
        self.events.append(("reset", reason, details))

    def on_upstream_full(self, full: bool) -> None:
        self.events.append(("full", full))

    def _ended(self, end: bool) -> None:
        if end and self.on_end is not None:
            self.on_end()


class RecordingTcpSink:
    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []
        self.upstream: TcpUpstream | None = None
        self.info: UpstreamInfo | None = None

    def on_tcp_ready(self, connection: TcpUpstream) -> None:
        self.upstream = connection
        self.events.append(("ready",))

    def on_tcp_failure(self, failure: UpstreamFailure, details: str, info: UpstreamInfo) -> None:
        self.info = info
        self.events.append(("failure", failure, details))

    def on_upstream_data(self, data: bytes, end: bool) -> None:
        self.events.append(("data", data, end))

    def on_upstream_closed(self) -> None:
        self.events.append(("closed",))

    def on_upstream_full(self, full: bool) -> None:
        self.events.append(("full", full))


def endpoint(port: int = 80, address: str = "10.0.0.1", **fields: Any) -> LbEndpoint:
    return LbEndpoint(SocketAddress(address, port), **fields)


def assignment(*endpoints: LbEndpoint) -> ClusterLoadAssignment:
    return ClusterLoadAssignment("test", (LocalityLbEndpoints(endpoints),))


def static_spec(name: str = "test", *endpoints: LbEndpoint, **fields: Any) -> ClusterSpec:
    return ClusterSpec(name, name, load_assignment=assignment(*(endpoints or (endpoint(),))), **fields)


class FakeCluster:
    """A real `UpstreamCluster` over a manual loop; every connection it opens becomes a `Peer`."""

    def __init__(self, spec: ClusterSpec | None = None, resolver: Resolver | None = None) -> None:
        self.loop = ManualLoop()
        self.timers = Timers(self.loop.as_loop())
        self.store = Store()
        self.spawned: list[Coroutine[Any, Any, None]] = []
        spec = spec or static_spec()
        self.cluster = UpstreamCluster(
            spec,
            self.store.scope(f"cluster.{spec.stat_name}"),
            loop=self.loop.as_loop(),
            timers=self.timers,
            spawn=self._spawn,
            resolver=resolver or NoResolver(),
            tls=TlsContexts({}, lambda matchers: lambda certificate: True),
            new_codec=client_codec,
            chance=random.Random(1),
        )
        self.tasks: list[FakeTask] = []
        self._peers: list[Peer] = []
        self.cluster.set_filters((_Watch(self._peers),))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> FakeTask:
        coroutine.close()
        task = FakeTask()
        self.tasks.append(task)
        return task

    @property
    def peers(self) -> list[Peer]:
        return self._peers

    def ask(self, sink: RecordingSink, context: LbContext | None = None, **fields: Any) -> Pending:
        """`new_stream` of an HTTP/1.1 request."""
        fields.setdefault("downstream_version", HttpVersion.HTTP11)
        return self.cluster.new_stream(context or LbContext(), sink, **fields)

    def request(self, path: bytes = b"/", body: bytes = b"", **fields: Any) -> RecordingSink:
        """A whole request, sent as soon as there is a stream."""

        def send(stream: UpstreamStream) -> None:
            headers = Headers.request(b"POST" if body else b"GET", path, b"host")
            if body:
                headers.add(b"content-length", str(len(body)).encode())
            stream.send_headers(headers, not body)
            if body:
                stream.send_data(body, True)

        sink = RecordingSink(send)
        self.ask(sink, **fields)
        return sink

    def value(self, name: str) -> int:
        stat = self.store.find(f"cluster.{self.cluster.spec.stat_name}.{name}")
        assert stat is not None, name
        value = stat.value if hasattr(stat, "value") else stat.count
        assert isinstance(value, int)
        return value

    def nonzero(self) -> dict[str, int]:
        """Every counter and gauge of the cluster that is not 0, but the membership."""
        prefix = f"cluster.{self.cluster.spec.stat_name}."
        return {
            stat.name.removeprefix(prefix): stat.value
            for stat in self.store
            if hasattr(stat, "value")
            and isinstance(stat.value, int)
            and stat.value
            and "membership" not in stat.name
            and "match_count" not in stat.name
        }

    def active_gauges(self) -> dict[str, int]:
        """The gauges that must be 0 when nothing is going on, where they are not; and the breakers' counts."""
        names = ("upstream_cx_active", "upstream_rq_active", "upstream_rq_pending_active")
        found = {name: self.value(name) for name in names if self.value(name)}
        breaker = self.cluster.circuit_breaker()
        for resource in ("connections", "pending", "requests", "retries"):
            count = getattr(breaker, resource).count
            if count:
                found[resource] = count
        for host in self.cluster.hosts():
            for attribute in ("cx_active", "rq_active", "rq_pending_active"):
                if getattr(host, attribute):
                    found[f"host {attribute}"] = getattr(host, attribute)
        return found


class NoResolver:
    async def resolve(self, name: str, family: object) -> tuple[str, ...]:
        raise AssertionError("no names in this test")
