"""The async client against a gRPC server of grpcio, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from google.rpc import status_pb2

from config.model.cluster import ClusterSpec, UpstreamHttpOptions, UpstreamHttpProtocol
from config.model.core import SocketAddress
from config.model.endpoint import LbEndpoint
from config.model.services import GrpcServiceSpec
from protocols.http.h1_httptools import client_codec
from protocols.http.headers import Headers
from sidecar.transport.timers import Timers
from sidecar.transport.tls_contexts import TlsContexts
from sidecar.upstream.async_client import AsyncClientImpl
from sidecar.upstream.clusters import ClusterManagerImpl
from stats.store import Store
from tests.support.async_client import CallLog
from tests.support.grpc_echo import GrpcServer
from tests.support.ports import free_ports
from tests.support.upstream import assignment

SERVICE = GrpcServiceSpec("grpc", timeout_s=5.0)
PATH = b"/test.Calls/"


class World:
    """An async client on the running loop, and clusters for a gRPC and an HTTP server."""

    def __init__(self, grpc_port: int, http_port: int = 1) -> None:
        loop = asyncio.get_running_loop()
        timers, store = Timers(loop), Store()
        self.tasks: set[asyncio.Task[None]] = set()
        self.clusters = ClusterManagerImpl(
            (
                _spec("grpc", grpc_port, UpstreamHttpProtocol.HTTP2),
                _spec("http", http_port, UpstreamHttpProtocol.HTTP1),
            ),
            loop=loop,
            timers=timers,
            scope=store.root,
            spawn=self._spawn,
            tls=TlsContexts({}, lambda matchers: lambda certificate: True),
            new_codec=client_codec,
            build_upstream_filter=lambda spec, context: pytest.fail("no filters are configured"),
        )
        self.bugs: list[Exception] = []
        self.client = AsyncClientImpl(self.clusters, timers, store.root, "127.0.0.1", self.bugs.append)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


def _spec(name: str, port: int, protocol: UpstreamHttpProtocol) -> ClusterSpec:
    endpoint = LbEndpoint(SocketAddress("127.0.0.1", port))
    return ClusterSpec(
        name, name, load_assignment=assignment(endpoint), http_options=UpstreamHttpOptions(protocol)
    )


class Owner(CallLog):
    """Can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._news = asyncio.Event()
        self.on_event = self._news.set

    async def until(self, condition: Callable[[list[tuple[object, ...]]], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition(self.events):
                await self._news.wait()
                self._news.clear()

    async def events_until(self, *kinds: str) -> list[tuple[object, ...]]:
        """All events, when one of these kinds has come."""
        await self.until(lambda events: bool(events) and events[-1][0] in kinds)
        return self.events


@asynccontextmanager
async def world(grpc_port: int, http_port: int = 1) -> Any:
    made = World(grpc_port, http_port)
    try:
        yield made
    finally:
        made.clusters.close()
        async with asyncio.timeout(5):
            await asyncio.gather(*made.tasks, return_exceptions=True)
        assert made.bugs == []


@pytest.fixture(scope="module")
def server() -> Iterator[GrpcServer]:
    (port,) = free_ports(1)
    made = GrpcServer("127.0.0.1", port).start()
    yield made
    made.stop()


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(coroutine)


def test_unary(server: GrpcServer) -> None:
    async def test() -> None:
        async with world(server.address[1]) as it:
            log = Owner()
            it.client.unary(SERVICE, PATH + b"Unary", b"ping" * 100_000, log)
            assert await log.events_until("reply", "failed") == [("reply", b"ping" * 100_000)]

    run(test())


def test_unary_that_fails(server: GrpcServer) -> None:
    async def test() -> None:
        async with world(server.address[1]) as it:
            log = Owner()
            status = status_pb2.Status(code=7, message="nicht für Sie: 50%")
            it.client.unary(SERVICE, PATH + b"Fail", status.SerializeToString(), log)
            assert await log.events_until("reply", "failed") == [("failed", 7, "nicht für Sie: 50%")]

    run(test())


def test_unary_that_takes_too_long(server: GrpcServer) -> None:
    async def test() -> None:
        async with world(server.address[1]) as it:
            log = Owner()
            service = GrpcServiceSpec("grpc", timeout_s=0.2)
            it.client.unary(service, PATH + b"Hold", b"", log)
            ((kind, status, _),) = await log.events_until("reply", "failed")
            assert kind == "failed"
            assert status in (4, 14)  # the server's own deadline, or ours

    run(test())


def test_stream(server: GrpcServer) -> None:
    async def test() -> None:
        async with world(server.address[1]) as it:
            log = Owner()
            stream = it.client.stream(SERVICE, PATH + b"Chat", log)
            assert stream.send(b"one")
            await log.events_until("message")
            assert stream.send(b"two", last=True)
            assert await log.events_until("closed") == [
                ("headers", 200),
                ("message", b"re: one"),
                ("message", b"re: two"),
                ("closed", 0, ""),
            ]

    run(test())


def test_stream_that_the_server_refuses(server: GrpcServer) -> None:
    async def test() -> None:
        async with world(server.address[1]) as it:
            log = Owner()
            it.client.stream(SERVICE, PATH + b"Refuse", log)
            assert (await log.events_until("closed"))[-1] == ("closed", 9, "not now")

    run(test())


def test_upload_that_is_held_up(server: GrpcServer) -> None:
    """More than fits: the owner is told, waits, and everything arrives."""

    async def test() -> None:
        async with world(server.address[1]) as it:
            log = Owner()
            stream = it.client.stream(SERVICE, PATH + b"Upload", log)
            message, held_up = bytes(100_000), 0
            for _ in range(50):
                while not stream.send(message):
                    held_up += 1
                    await log.events_until("writable")
                    log.events.clear()
            stream.close()
            assert (await log.events_until("closed"))[-2:] == [("message", b"50 5000000"), ("closed", 0, "")]
            assert held_up

    run(test())


def test_server_that_goes_away_and_comes_back() -> None:
    (port,) = free_ports(1)
    server = GrpcServer("127.0.0.1", port).start()

    async def test() -> None:
        async with world(port) as it:
            log = Owner()
            stream = it.client.stream(SERVICE, PATH + b"Chat", log)
            assert stream.send(b"one")
            await log.events_until("message")
            await asyncio.to_thread(server.stop)
            ((kind, status, _),) = (await log.events_until("closed"))[-1:]
            assert kind == "closed"
            assert status != 0
            assert not stream.send(b"two")
            await asyncio.to_thread(server.start)
            again = Owner()
            assert it.client.stream(SERVICE, PATH + b"Chat", again).send(b"two", last=True)
            assert (await again.events_until("closed"))[-2:] == [("message", b"re: two"), ("closed", 0, "")]

    try:
        run(test())
    finally:
        server.stop()


def test_http_request() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 5\r\n" in head
        body = await reader.readexactly(5)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n" + body[::-1])
        await reader.read()
        writer.close()

    async def test() -> None:
        async with (
            await asyncio.start_server(answer, "127.0.0.1", 0) as http_server,
            world(1, http_server.sockets[0].getsockname()[1]) as it,
        ):
            log = Owner()
            headers = Headers.request(b"POST", b"/", b"http")
            it.client.request("http", headers, b"hello", log, timeout_s=5.0)
            assert await log.events_until("response", "failure") == [("response", 200, b"olleh")]

    run(test())
