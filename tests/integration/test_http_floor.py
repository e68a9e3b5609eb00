"""The HTTP floor on real sockets: a proxy in this process, a server behind it, raw clients in front."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, cast

import pytest
import uvloop

from config.model.access_log import AccessLogSpec, FileAccessLogSpec
from config.model.cluster import ClusterSpec
from config.model.core import DataSource, Node, SocketAddress
from config.model.http import HttpConnectionManagerSpec, HttpFilterConfig, RouterSpec
from config.model.route import RouteConfiguration, VirtualHost
from sidecar.http.connection_manager import ConnectionManager
from sidecar.http.manager_config import ManagerConfig
from sidecar.network.registry import build_network_filter
from sidecar.stream_info import ConnectionInfo
from sidecar.transport.connection import Connection, PassThroughFilter
from sidecar.transport.drain import DrainState
from sidecar.transport.flow import Flow
from sidecar.transport.http1_codecs import http1_codecs
from sidecar.transport.timers import Timers
from sidecar.transport.tls_contexts import TlsContexts
from sidecar.transport.transport_socket import TransportSocket
from sidecar.upstream.clusters import ClusterManagerImpl
from sidecar.upstream.services import FilterContext, Services
from stats.store import Store
from tests.support.http_floor import RecordingLogger, request, route
from tests.support.upstream import endpoint, static_spec

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_WRITE_LIMIT = 64 * 1024


class Proxy:
    """One listener's worth of proxy, built by hand from the model."""

    def __init__(self, cluster: ClusterSpec) -> None:
        loop = asyncio.get_running_loop()
        self.timers = Timers(loop)
        self.store = Store()
        self.logger = RecordingLogger()
        self._tasks: set[asyncio.Task[None]] = set()
        tls = TlsContexts({}, lambda matchers: lambda certificate: True)
        clusters = ClusterManagerImpl(
            (cluster,),
            loop=loop,
            timers=self.timers,
            scope=self.store.root,
            spawn=self._spawn,
            tls=tls,
            new_codec=http1_codecs({}).client,
            build_upstream_filter=build_network_filter,
        )
        services = Services(
            clusters=clusters,
            tls=tls,
            scope=self.store.root,
            timers=self.timers,
            node=Node(),
            drain=DrainState(),
            read=_inline,
            access_logger=self._access_logger,
            async_client=cast("Any", None),
            tracer=cast("Any", None),
            random=random.Random(1),
        )
        clusters.start(services)
        self._clusters = clusters
        spec = HttpConnectionManagerSpec(
            "test",
            RouteConfiguration("r", (VirtualHost("all", ("*",), (route("/", "web"),)),)),
            (HttpFilterConfig("router", RouterSpec()),),
            access_log=(FileAccessLogSpec("/dev/null"),),
        )
        self.config = ManagerConfig(spec, FilterContext(services))
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for cluster in self._clusters.all().values():
            cluster.close()  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    def _accept(self) -> TransportSocket:
        socket = TransportSocket()
        info = ConnectionInfo(SocketAddress("127.0.0.1", 1), SocketAddress("127.0.0.1", 2))
        connection = Connection(socket, self.timers, info)
        socket.owner = connection
        connection.set_filters([_Limit(connection), ConnectionManager(connection, self.config)])
        return socket

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _access_logger(self, spec: AccessLogSpec) -> RecordingLogger:
        return self.logger

    def gauge(self, name: str) -> int:
        gauge = self.store.gauges[name]
        return gauge.value

    async def settled(self) -> None:
        """Returns when no exchange and no client is left."""
        names = (
            "http.test.downstream_rq_active",
            "http.test.downstream_cx_active",
            "cluster.web.upstream_rq_active",
        )
        async with asyncio.timeout(5):
            while any(self.gauge(name) for name in names):  # noqa: ASYNC110 (gauges tell nobody)
                await asyncio.sleep(0.005)


class _Limit(PassThroughFilter):
    """Sets the write limit that the network floor would set."""

    def on_open(self) -> Flow:
        self.connection.socket.set_write_limit(_WRITE_LIMIT)
        return Flow.CONTINUE


def _inline(source: DataSource) -> bytes:
    return source.inline or b""


@contextlib.asynccontextmanager
async def proxy_to(handler: Handler) -> AsyncIterator[Proxy]:
    """A proxy in front of a server whose connections `handler` serves."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = Proxy(static_spec("web", endpoint(port, "127.0.0.1")))
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
        server.close()


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def echo_path(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with its path; requests have no body."""
    while True:
        head = await read_head(reader)
        path = head.split(b" ")[1]
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(path), path))


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    head = await read_head(reader)
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return await reader.readexactly(length)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a scenario on either loop."""

    def runner(scenario: Coroutine[Any, Any, None]) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as loop_runner:
            loop_runner.run(asyncio.wait_for(scenario, 30))

    return runner


Run = Callable[[Coroutine[Any, Any, None]], None]


def test_connections_are_kept(run: Run) -> None:
    async def scenario() -> None:
        async with proxy_to(echo_path) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            for number in range(50):
                writer.write(request("GET", f"/{number}"))
                assert await read_answer(reader) == b"/%d" % number
            assert proxy.store.counters["cluster.web.upstream_cx_total"].value == 1
            writer.close()
            await proxy.settled()
            assert [line.code for line in proxy.logger.lines] == [200] * 50

    run(scenario())


def test_pipelined_requests(run: Run) -> None:
    async def scenario() -> None:
        async with proxy_to(echo_path) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"".join(request("GET", f"/{number}") for number in range(200)))
            for number in range(200):
                assert await read_answer(reader) == b"/%d" % number
            writer.close()
            await proxy.settled()

    run(scenario())


def test_large_bodies_both_ways(run: Run) -> None:
    size = 8 << 20

    async def echo_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        body = await reader.readexactly(size)
        writer.write(body)
        await writer.drain()

    async def scenario() -> None:
        body = random.Random(1).randbytes(size)
        async with proxy_to(echo_body) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(request("POST", "/", f"content-length: {size}"))
            writer.write(body)
            await writer.drain()
            assert b" 200 " in await read_head(reader)
            assert await reader.readexactly(size) == body
            writer.close()
            await proxy.settled()
            assert proxy.logger.lines[0].received == proxy.logger.lines[0].sent == size

    run(scenario())


def test_client_that_does_not_read_stops_the_server(run: Run) -> None:
    size = 256 << 20
    sent = 0
    stalled = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        chunk = bytes(1 << 16)
        while sent < size:
            writer.write(chunk)
            sent += len(chunk)
            try:
                await asyncio.wait_for(writer.drain(), 0.3)
            except TimeoutError:
                stalled.set()
                return

    async def scenario() -> None:
        async with proxy_to(flood) as proxy:
            _, writer = await asyncio.open_connection("127.0.0.1", proxy.port, limit=1024)
            writer.write(request())
            await stalled.wait()
            assert sent < 64 << 20, "the kernel's buffers hold some, the proxy next to nothing"
            writer.transport.abort()
            await proxy.settled()
            assert proxy.logger.lines[0].flags == "DC"

    run(scenario())


def test_server_that_dies_within_a_body(run: Run) -> None:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)

    async def scenario() -> None:
        async with proxy_to(die) as proxy:
            for _ in range(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
                writer.write(request())
                answer = await reader.read()
                assert answer.endswith(b"3\r\nabc\r\n"), "no last chunk: the client can tell"
                writer.close()
            await proxy.settled()
            assert {line.flags for line in proxy.logger.lines} == {"UPE"}

    run(scenario())


def test_clients_that_reset_leave_nothing_behind(run: Run) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabc")
        await reader.read()

    async def scenario() -> None:
        async with proxy_to(slow) as proxy:
            for _ in range(50):
                reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
                writer.write(request())
                await read_head(reader)
                writer.transport.abort()
            await proxy.settled()
            assert len(proxy.logger.lines) == 50

    run(scenario())
