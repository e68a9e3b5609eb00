"""A whole HTTP floor without a network: real codecs, routes, clusters and filters; both ends of every connection in hand.

floor = HttpFloor([route("/", "web")])
client = floor.connect()
client.send(GET)
floor.server("web").expect_request()
...
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from config.model.access_log import AccessLogSpec, FileAccessLogSpec
from config.model.cluster import ClusterSpec
from config.model.core import DataSource, Node, SocketAddress, TrafficDirection
from config.model.http import HttpConnectionManagerSpec, HttpFilterConfig, HttpFilterSpec, RouterSpec
from config.model.route import (
    PathMatchKind,
    RouteAction,
    RouteActionSpec,
    RouteConfiguration,
    RouteMatch,
    RouteSpec,
    VirtualHost,
)
from protocols.http.headers import Headers
from protocols.peer_metadata import PeerMetadata
from sidecar.http.api import HttpFilterFactory, Stream
from sidecar.http.connection_manager import ConnectionManager
from sidecar.http.filter_chain import FilterChain
from sidecar.http.manager_config import ManagerConfig
from sidecar.http.route import Route
from sidecar.stream_info import ConnectionInfo, StreamInfo, TlsInfo
from sidecar.telemetry.tracing.context import TracerContext
from sidecar.telemetry.tracing.tracers import Tracers
from sidecar.transport.connection import Connection
from sidecar.transport.drain import DrainState
from sidecar.transport.timers import Timers
from sidecar.transport.tls_contexts import TlsContexts
from sidecar.transport.transport_socket import TransportSocket
from sidecar.upstream.async_client import AsyncClientImpl
from sidecar.upstream.services import FilterContext, Services
from stats.store import Store
from tests.support import settled
from tests.support.upstream import FakeCluster, FakeTransport, ManualLoop, Peer, static_spec

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def route(prefix: str, cluster: str, **fields: Any) -> RouteSpec:
    """Forward everything below a prefix."""
    return RouteSpec(RouteMatch(PathMatchKind.PREFIX, prefix), RouteAction(cluster=cluster, **fields))


def route_to(prefix: str, action: RouteActionSpec) -> RouteSpec:
    return RouteSpec(RouteMatch(PathMatchKind.PREFIX, prefix), action)


class LogLine:
    """What an access logger was told, kept as it was then."""

    def __init__(self, info: StreamInfo) -> None:
        self.info = info
        self.code = info.response_code
        self.flags = info.flag_names or "-"
        self.details = info.response_code_details
        self.path = info.request_headers.path if info.request_headers is not None else None
        self.received = info.bytes_received
        self.sent = info.bytes_sent
        self.attempts = info.attempt_count

    def __repr__(self) -> str:
        return f"{self.code} {self.flags} {self.details}"


class RecordingLogger:
    def __init__(self) -> None:
        self.lines: list[LogLine] = []

    def log(self, info: StreamInfo) -> None:
        self.lines.append(LogLine(info))
        settled.WATCH.note(info)

    def flush(self) -> None:
        """Nothing waits."""


class Clusters:
    """Implements `ClusterManager`."""

    def __init__(self, clusters: Mapping[str, Any]) -> None:
        self._clusters = clusters

    def get(self, name: str) -> Any:
        return self._clusters.get(name)

    def all(self) -> Mapping[str, Any]:
        return self._clusters


class Client:
    """The client's end of one downstream connection."""

    def __init__(
        self, floor: HttpFloor, tls: TlsInfo | None = None, address: str = "10.1.1.1", open_it: bool = True
    ) -> None:
        self.info = ConnectionInfo(SocketAddress(address, 40000), SocketAddress("10.2.2.2", 80))
        self.info.tls = tls
        self.transport = FakeTransport()
        socket = TransportSocket()
        socket.is_tls = tls is not None  # says so; its bytes are plaintext
        self.connection = Connection(socket, floor.timers, self.info)
        socket.owner = self.connection
        self.manager = ConnectionManager(self.connection, floor.config)
        floor.managers.append(self.manager)
        self.connection.set_filters([self.manager])
        self._floor = floor
        self._socket = socket
        if open_it:
            socket.connection_made(cast("Any", self.transport))

    def send(self, data: bytes) -> None:
        """Bytes arrive at the proxy; then the loop turns once."""
        self._socket.data_received(data)
        self._floor.loop.turn()

    def end(self) -> None:
        """FIN arrives."""
        self._socket.eof_received()
        self._floor.loop.turn()

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone, as the event loop reports it."""
        self.transport.closed = True
        self._socket.connection_lost(error)
        self._floor.loop.turn()

    def take(self) -> bytes:
        """What the proxy has written since the last time."""
        self._floor.loop.turn()
        return self.transport.take()

    def full(self, full: bool) -> None:
        """The client stops reading, or reads again."""
        (self._socket.pause_writing if full else self._socket.resume_writing)()

    @property
    def closed(self) -> bool:
        return self.transport.closed

    @property
    def ended(self) -> bool:
        """The proxy has sent its end, or closed."""
        return self.transport.eof or self.transport.closed


class Server:
    """The server's end of one upstream connection."""

    def __init__(self, floor: HttpFloor, peer: Peer) -> None:
        self._floor = floor
        self.peer = peer
        self.transport = peer.transport

    def take(self) -> bytes:
        """What the proxy has sent since the last time."""
        self._floor.loop.turn()
        return self.transport.take()

    def send(self, data: bytes) -> None:
        self.peer.send(data)
        self._floor.loop.turn()

    def end(self) -> None:
        self.peer.end()
        self._floor.loop.turn()

    def reset(self) -> None:
        self.peer.reset()
        self._floor.loop.turn()

    @property
    def closed(self) -> bool:
        return self.transport.closed


class HttpFloor:
    """One connection manager, its clusters, and a clock that is turned by hand."""

    def __init__(
        self,
        routes: Iterable[RouteSpec] = (),
        *,
        clusters: Sequence[ClusterSpec] = (),
        filters: Sequence[HttpFilterSpec] = (RouterSpec(),),
        factories: Sequence[HttpFilterFactory] = (),
        virtual_host: Mapping[str, Any] | None = None,
        node: Node | None = None,
        direction: TrafficDirection = TrafficDirection.UNSPECIFIED,
        runtime: Mapping[str, object] | None = None,
        peer_lookup: Callable[[str], PeerMetadata | None] | None = None,
        local_address: str = "127.0.0.1",
        **fields: Any,
    ) -> None:
        """`factories` are put in front of the configured filters; `fields` go into the HttpConnectionManagerSpec."""
        self.loop = ManualLoop()
        self.timers = Timers(self.loop.as_loop())
        self.timers.now_ns = lambda: int(self.loop.time() * 1e9)
        self.store = Store()
        self.logger = RecordingLogger()
        self.drain = DrainState()
        self.bugs: list[Exception] = []  # in callbacks of the async client
        self.fakes: dict[str, FakeCluster] = {}
        for cluster_spec in clusters or (static_spec("web"),):
            self.fakes[cluster_spec.name] = self._fake_cluster(cluster_spec)
        self._accepted: dict[str, int] = {}
        self.managers: list[ConnectionManager] = []  # of the clients, in their order
        clusters = cast("Any", Clusters({name: fake.cluster for name, fake in self.fakes.items()}))
        self.async_client = AsyncClientImpl(
            clusters, self.timers, self.store.root, local_address, self.bugs.append
        )
        self.tracers = Tracers(
            TracerContext(
                self.async_client,
                self.timers,
                self.store.root,
                node or Node(),
                local_address,
                runtime or {},
                {},
            )
        )
        self.services = Services(
            clusters=clusters,
            tls=TlsContexts({}, lambda matchers: lambda certificate: True),
            scope=self.store.root,
            timers=self.timers,
            node=node or Node(),
            drain=self.drain,
            read=_inline,
            access_logger=self._access_logger,
            async_client=self.async_client,
            tracer=self.tracers.get,
            runtime=runtime or {},
            peer_lookup=peer_lookup,
            random=random.Random(1),
            local_address=local_address,
        )
        host = VirtualHost("all", ("*",), tuple(routes), **(virtual_host or {}))
        fields.setdefault("access_log", (FileAccessLogSpec("/dev/null"),))
        self.spec = HttpConnectionManagerSpec(
            "test",
            RouteConfiguration("routes", (host,)),
            tuple(HttpFilterConfig(str(index), each) for index, each in enumerate(filters)),
            **fields,
        )
        scope = self.store.root.scope("listener.test")
        context = FilterContext(self.services, direction, "test", scope)
        self.config = ManagerConfig(self.spec, context)
        if factories:
            made = self.config.chain
            chain = FilterChain([*factories, *made.factories], [*[""] * len(factories), *made.names])
            self.config.chain = chain

    def _fake_cluster(self, spec: ClusterSpec) -> FakeCluster:
        fake = FakeCluster(spec)
        fake.loop = self.loop
        fake.cluster._timers = self.timers
        fake.cluster._connector.timers = self.timers
        return fake

    def _access_logger(self, spec: AccessLogSpec) -> RecordingLogger:
        return self.logger

    def connect(
        self, tls: TlsInfo | None = None, address: str = "10.1.1.1", *, open_it: bool = True
    ) -> Client:
        """A client connects; without `open_it` its handshake is not done."""
        return Client(self, tls, address, open_it)

    def server(self, cluster: str = "web") -> Server:
        """The next upstream connection of a cluster, accepted by its server."""
        self.loop.turn()
        fake = self.fakes[cluster]
        number = self._accepted.get(cluster, 0)
        assert len(fake.peers) > number, "no connection was asked for"
        self._accepted[cluster] = number + 1
        server = Server(self, fake.peers[number].accept())
        self.loop.turn()
        return server

    def refuse(self, cluster: str = "web") -> None:
        """The next upstream connection is refused."""
        number = self._accepted.get(cluster, 0)
        self._accepted[cluster] = number + 1
        self.fakes[cluster].peers[number].refuse()
        self.loop.turn()

    def asked(self, cluster: str = "web") -> int:
        """How many upstream connections were opened so far."""
        return len(self.fakes[cluster].peers)

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.loop.advance(seconds)

    @property
    def log(self) -> list[LogLine]:
        return self.logger.lines

    @property
    def last(self) -> LogLine:
        assert self.logger.lines, "nothing was logged"
        return self.logger.lines[-1]

    def stat(self, name: str) -> int:
        """A counter or gauge of `http.test`, 0 when it does not exist."""
        return self.value(f"http.test.{name}")

    def value(self, name: str) -> int:
        """Any counter or gauge, or how often a histogram was told something; 0 when it does not exist."""
        stores = (self.store, *(fake.store for fake in self.fakes.values()))
        stat = next((found for store in stores if (found := store.find(name)) is not None), None)
        if stat is None:
            return 0
        value = stat.value if hasattr(stat, "value") else stat.count
        assert isinstance(value, int)
        return value

    def idle(self) -> bool:
        """No stream is active, and no upstream request is."""
        return self.stat("downstream_rq_active") == 0 and all(
            fake.cluster.stats.upstream_rq_active.value == 0 for fake in self.fakes.values()
        )


def stream_of(headers: Headers | None = None, live_route: Route | None = None) -> Stream:
    """One that waits for its upstream, with another head and another route."""
    client = HttpFloor([route("/", "web")]).connect()
    client.send(request())
    exchanges = client.manager._exchanges
    assert exchanges is not None
    (stream,) = exchanges.streams.values()
    stream.request_headers, stream.route = headers, live_route
    return stream


def _inline(source: DataSource) -> bytes:
    return source.inline or b""


def request(method: str = "GET", path: str = "/", *fields: str, body: bytes = b"") -> bytes:
    """An HTTP/1.1 request to `host`."""
    lines = [f"{method} {path} HTTP/1.1", "host: host", *fields]
    if body:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def response(status: int = 200, *fields: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} X", *fields, f"content-length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def status_of(answer: bytes) -> int:
    """The status of the first response in these bytes."""
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer[9:12])
