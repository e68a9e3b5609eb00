"""Clusters over real loopback sockets: connecting, TLS, exchanges, and nothing left behind."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from msgspec import structs

from config.model.cluster import ClusterSpec, RawBufferSpec, TcpKeepalive, TransportSocketMatch
from config.model.core import DataSource, Metadata, PipeAddress, SocketAddress
from config.model.endpoint import LbEndpoint
from config.model.matching import SanMatcher, SanType, StringMatcher, StringMatchKind
from config.model.tls import CertificateValidation, CommonTlsContext, TlsCertificate, UpstreamTlsContext
from protocols.http.codec import HttpVersion, ResetReason
from protocols.http.h1_httptools import client_codec
from protocols.http.headers import Headers
from sidecar.policy.san import compile_san_matchers
from sidecar.transport.timers import Timers
from sidecar.transport.tls_contexts import TlsContexts
from sidecar.upstream.api import LbContext, UpstreamFailure, UpstreamStream
from sidecar.upstream.clusters import ClusterManagerImpl
from stats.store import Store
from tests.support.certificates import Mesh, spiffe
from tests.support.upstream import RecordingSink, RecordingTcpSink, assignment

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def answer_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request until the client goes."""
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(OK)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


class World:
    """A cluster manager on the running loop, and servers for it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.store = Store()
        self.tasks: set[asyncio.Task[None]] = set()
        self.servers: list[asyncio.Server] = []
        self.handlers: set[asyncio.Task[None]] = set()
        self.clusters: ClusterManagerImpl | None = None

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def serve(
        self, handler: Handler, *, path: Path | None = None, tls: ssl.SSLContext | None = None
    ) -> SocketAddress | PipeAddress:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self.handlers.add(task)
            task.add_done_callback(self.handlers.discard)
            try:
                await handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
                writer.transport.abort()

        if path is not None:
            self.servers.append(await asyncio.start_unix_server(handle, str(path)))
            return PipeAddress(str(path))
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
        self.servers.append(server)
        return SocketAddress("127.0.0.1", server.sockets[0].getsockname()[1])

    def manage(self, *specs: ClusterSpec) -> ClusterManagerImpl:
        self.clusters = ClusterManagerImpl(
            specs,
            loop=self.loop,
            timers=Timers(self.loop),
            scope=self.store.root,
            spawn=self.spawn,
            tls=TlsContexts({}, compile_san_matchers),
            new_codec=client_codec,
            build_upstream_filter=_no_filters,
        )
        return self.clusters

    def value(self, name: str) -> int:
        stat = self.store.counters.get(name) or self.store.gauges[name]
        return stat.value

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        if self.clusters is not None:
            self.clusters.close()
        for server in self.servers:
            server.close()
        await self.until(lambda: not self.tasks)
        for task in tuple(self.handlers):
            task.cancel()
        await self.until(lambda: not self.handlers)


def _no_filters(spec: object, context: object) -> Any:
    raise AssertionError("no filters are configured")


@asynccontextmanager
async def world() -> Any:
    made = World()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run a test on each kind of event loop."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(coroutine)

    return run


Run = Callable[[Coroutine[Any, Any, None]], None]


class WaitingSink(RecordingSink):
    """Sends a GET, and sets `ended` with the last event."""

    def __init__(self, path: bytes = b"/") -> None:
        super().__init__(self._send)
        self.ended = asyncio.Event()
        self.full = asyncio.Event()
        self.on_end = self.ended.set
        self._path = path

    def _send(self, stream: UpstreamStream) -> None:
        stream.send_headers(Headers.request(b"GET", self._path, b"host"), True)

    def on_pool_failure(self, *args: Any) -> None:
        super().on_pool_failure(*args)
        self.ended.set()

    def on_upstream_reset(self, *args: Any) -> None:
        super().on_upstream_reset(*args)
        self.ended.set()

    def on_upstream_full(self, full: bool) -> None:
        super().on_upstream_full(full)
        self.full.set()


def spec_of(address: SocketAddress | PipeAddress, **fields: Any) -> ClusterSpec:
    endpoint = LbEndpoint(address, metadata=fields.pop("endpoint_metadata", Metadata()))
    return ClusterSpec("c", "c", load_assignment=assignment(endpoint), **fields)


async def get(clusters: ClusterManagerImpl, **fields: Any) -> WaitingSink:
    cluster = clusters.get("c")
    assert cluster is not None
    sink = WaitingSink()
    cluster.new_stream(LbContext(), sink, downstream_version=HttpVersion.HTTP11, **fields)
    async with asyncio.timeout(5):
        await sink.ended.wait()
    return sink


ANSWERED = [("ready",), ("headers", 200, False), ("data", b"hi", True)]


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class TestConnecting:
    def test_exchanges_on_one_connection(self, run: Run) -> None:
        async def test() -> None:
            async with world() as w:
                clusters = w.manage(spec_of(await w.serve(answer_ok)))
                for _ in range(3):
                    sink = await get(clusters)
                    assert sink.events == ANSWERED
                assert sink.info is not None
                assert isinstance(sink.info.local_address, SocketAddress)
                assert sink.info.local_address.address == "127.0.0.1"
                assert sink.info.remote_address == sink.info.host_address
                assert w.value("cluster.c.upstream_cx_total") == 1
                assert w.store.histograms["cluster.c.upstream_cx_connect_ms"].count == 1

        run(test())

    def test_unix_socket(self, run: Run, tmp_path: Path) -> None:
        async def test() -> None:
            async with world() as w:
                clusters = w.manage(spec_of(await w.serve(answer_ok, path=tmp_path / "s")))
                assert (await get(clusters)).events == ANSWERED

        run(test())

    def test_refused(self, run: Run) -> None:
        async def test() -> None:
            async with world() as w:
                clusters = w.manage(spec_of(SocketAddress("127.0.0.1", unused_port())))
                sink = await get(clusters)
                text = "delayed connect error: Connection refused"
                assert sink.events == [("failure", UpstreamFailure.CONNECT_FAILURE, text)]

        run(test())

    def test_missing_unix_socket(self, run: Run, tmp_path: Path) -> None:
        async def test() -> None:
            async with world() as w:
                path = str(tmp_path / "missing")
                sink = await get(w.manage(spec_of(PipeAddress(path))))
                text = f"immediate connect error: No such file or directory|remote address:{path}"
                assert sink.events == [("failure", UpstreamFailure.CONNECT_FAILURE, text)]

        run(test())

    def test_source_address_and_options(self, run: Run) -> None:
        async def test() -> None:
            seen: list[str] = []

            async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                seen.append(writer.get_extra_info("peername")[0])
                await answer_ok(reader, writer)

            async with world() as w:
                clusters = w.manage(
                    spec_of(
                        await w.serve(handler),
                        upstream_bind_address=SocketAddress("::6", 0),
                        extra_bind_addresses=(SocketAddress("127.0.0.6", 0),),
                        tcp_keepalive=TcpKeepalive(probes=3, time_s=30, interval_s=5),
                    )
                )
                sink = await get(clusters)
                assert seen == ["127.0.0.6"]
                assert sink.info is not None and str(sink.info.local_address).startswith("127.0.0.6:")
                cluster = clusters.get("c")
                assert cluster is not None
                sock, _ = cluster._connector.open_socket(SocketAddress("127.0.0.1", 1))
                with sock:
                    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
                    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1

        run(test())

    def test_source_address_that_is_not_ours(self, run: Run) -> None:
        async def test() -> None:
            async with world() as w:
                bind = SocketAddress("10.255.255.254", 0)
                sink = await get(w.manage(spec_of(await w.serve(answer_ok), upstream_bind_address=bind)))
                text = "failed to bind to 10.255.255.254:0: Cannot assign requested address"
                assert sink.events == [("failure", UpstreamFailure.CONNECT_FAILURE, text)]
                assert w.value("cluster.c.bind_errors") == 1
                assert w.value("cluster.c.upstream_cx_destroy_local") == 1

        run(test())

    def test_connect_timeout(self, run: Run) -> None:
        """A listener whose backlog is full drops SYNs."""

        async def test() -> None:
            with ExitStack() as stack:
                full = stack.enter_context(socket.socket())
                full.bind(("127.0.0.1", 0))
                full.listen(0)
                for _ in range(3):
                    filler = stack.enter_context(socket.socket())
                    filler.setblocking(False)
                    filler.connect_ex(full.getsockname())
                async with world() as w:
                    clusters = w.manage(spec_of(SocketAddress(*full.getsockname()), connect_timeout_s=0.1))
                    start = w.loop.time()
                    sink = await get(clusters)
                    assert sink.events == [("failure", UpstreamFailure.CONNECT_TIMEOUT, "")]
                    assert 0.09 < w.loop.time() - start < 1

        run(test())


class TestTls:
    def context(self, mesh: Mesh, account: str, **fields: Any) -> UpstreamTlsContext:
        files = mesh.leaf("client")
        name = StringMatcher(StringMatchKind.EXACT, spiffe(account))
        common = CommonTlsContext(
            certificates=(
                TlsCertificate(
                    DataSource(filename=str(files.certificate)), DataSource(filename=str(files.key))
                ),
            ),
            validation=CertificateValidation(
                trusted_ca=DataSource(filename=str(mesh.root)),
                match_sans=(SanMatcher(SanType.URI, name),),
            ),
            alpn_protocols=("istio",),
        )
        return structs.replace(UpstreamTlsContext(common, sni="server.test"), **fields)

    def test_mutual(self, run: Run, tmp_path: Path) -> None:
        mesh = Mesh(tmp_path)

        async def test() -> None:
            async with world() as w:
                address = await w.serve(answer_ok, tls=mesh.server_context("server", alpn=("http/1.1",)))
                clusters = w.manage(spec_of(address, transport_socket=self.context(mesh, "server")))
                alpn = ("istio-http/1.1", "istio", "http/1.1")
                sinks = [await get(clusters, application_protocols=each) for each in (alpn, alpn, None)]
                assert [sink.events for sink in sinks] == [ANSWERED] * 3
                infos = [sink.info for sink in sinks]
                assert infos[0] is infos[1] and infos[0] is not None and infos[0].tls is not None
                assert infos[0].tls.alpn == "http/1.1"
                assert infos[0].tls.peer is not None
                assert infos[0].tls.peer.uri_sans == (spiffe("server"),)
                assert infos[2] is not None and infos[2].tls is not None and infos[2].tls.alpn == ""
                assert w.value("cluster.c.ssl.handshake") == 2
                assert w.value("cluster.c.upstream_cx_total") == 2

        run(test())

    def test_wrong_server(self, run: Run, tmp_path: Path) -> None:
        mesh = Mesh(tmp_path)

        async def test() -> None:
            async with world() as w:
                address = await w.serve(answer_ok, tls=mesh.server_context("impostor"))
                sink = await get(w.manage(spec_of(address, transport_socket=self.context(mesh, "server"))))
                ((kind, failure, details),) = sink.events
                assert (kind, failure) == ("failure", UpstreamFailure.CONNECT_FAILURE)
                assert isinstance(details, str) and details.startswith("TLS_error:|")
                assert "CERTIFICATE_VERIFY_FAILED" in details
                assert sink.info is not None and sink.info.transport_failure_reason == details
                assert w.value("cluster.c.ssl.fail_verify_san") == 1
                assert w.value("cluster.c.upstream_cx_connect_fail") == 1

        run(test())

    def test_plaintext_server(self, run: Run, tmp_path: Path) -> None:
        mesh = Mesh(tmp_path)

        async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await reader.read()
            writer.close()

        async def test() -> None:
            async with world() as w:
                address = await w.serve(garbage)
                sink = await get(w.manage(spec_of(address, transport_socket=self.context(mesh, "server"))))
                assert "WRONG_VERSION_NUMBER" in str(sink.events[0][2])
                assert w.value("cluster.c.ssl.connection_error") == 1
                await w.until(lambda: not w.handlers)

        run(test())

    def test_server_that_goes_in_the_handshake(self, run: Run, tmp_path: Path) -> None:
        mesh = Mesh(tmp_path)

        async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.close()

        async def test() -> None:
            async with world() as w:
                address = await w.serve(leave)
                sink = await get(w.manage(spec_of(address, transport_socket=self.context(mesh, "server"))))
                assert sink.events == [("failure", UpstreamFailure.CONNECT_FAILURE, "")]

        run(test())

    def test_handshake_counts_for_the_connect_timeout(self, run: Run, tmp_path: Path) -> None:
        mesh = Mesh(tmp_path)

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(1000):
                pass
            writer.close()

        async def test() -> None:
            async with world() as w:
                context = self.context(mesh, "server")
                spec = spec_of(await w.serve(silent), transport_socket=context, connect_timeout_s=0.1)
                sink = await get(w.manage(spec))
                assert sink.events == [("failure", UpstreamFailure.CONNECT_TIMEOUT, "")]
                await w.until(lambda: not w.handlers)

        run(test())

    def test_transport_socket_matches(self, run: Run, tmp_path: Path) -> None:
        mesh = Mesh(tmp_path)

        async def test() -> None:
            for tls_mode in ("istio", "disabled"):
                async with world() as w:
                    server = mesh.server_context("server") if tls_mode == "istio" else None
                    matches = (
                        TransportSocketMatch(
                            "tlsMode-istio", {"tlsMode": "istio"}, self.context(mesh, "server")
                        ),
                        TransportSocketMatch("tlsMode-disabled", {}, RawBufferSpec()),
                    )
                    metadata = Metadata({"envoy.transport_socket_match": {"tlsMode": tls_mode}})
                    clusters = w.manage(
                        spec_of(
                            await w.serve(answer_ok, tls=server),
                            transport_socket_matches=matches,
                            endpoint_metadata=metadata,
                        )
                    )
                    assert (await get(clusters)).events == ANSWERED
                    assert w.value(f"cluster.c.tlsMode-{tls_mode}.total_match_count") == 1

        run(test())


class TestExchanges:
    def test_large_bodies_both_ways(self, run: Run) -> None:
        size = 8_000_000
        sink = WaitingSink()

        async def sink_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await sink.full.wait()  # a reader as fast as the sender would leave nothing in its buffer
            body = await reader.readexactly(size)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + body)
            await reader.read()
            writer.close()

        async def test() -> None:
            async with world() as w:
                clusters = w.manage(spec_of(await w.serve(sink_all)))
                cluster = clusters.get("c")
                assert cluster is not None
                body = bytes(range(256)) * (size // 256 + 1)

                def send(stream: UpstreamStream) -> None:
                    headers = Headers.request(b"POST", b"/", b"h", [(b"content-length", b"%d" % size)])
                    stream.send_headers(headers, False)
                    stream.send_data(body[:size], True)

                sink.on_ready = send
                cluster.new_stream(LbContext(), sink, downstream_version=HttpVersion.HTTP11)
                async with asyncio.timeout(20):
                    await sink.ended.wait()
                received = b"".join(event[1] for event in sink.events if event[0] == "data")
                assert received == body[:size]
                assert ("full", True) in sink.events and ("full", False) in sink.events

        run(test())

    def test_thousand_bad_ends_leave_nothing(self, run: Run) -> None:
        async def bad(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            way = int(head.split()[1][1:]) % 4
            if way == 0:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            elif way == 1:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
                writer.close()
            elif way == 2:
                writer.close()
            else:
                await reader.read()
                writer.close()

        async def test() -> None:
            async with world() as w:
                clusters = w.manage(spec_of(await w.serve(bad)))
                cluster = clusters.get("c")
                assert cluster is not None
                for start in range(0, 1000, 50):
                    sinks = []
                    for number in range(start, start + 50):
                        sink = WaitingSink(b"/%d" % number)
                        sinks.append(sink)
                        pending = cluster.new_stream(LbContext(), sink, downstream_version=HttpVersion.HTTP11)
                        if number % 10 == 5:
                            pending.cancel()
                            sink.ended.set()
                        elif number % 4 == 3:
                            sink.on_ready = _reset_soon(w.loop, sink)
                    async with asyncio.timeout(10):
                        for sink in sinks:
                            await sink.ended.wait()
                cluster.close()
                await w.until(lambda: not w.handlers and not w.tasks)
                for name in ("upstream_cx_active", "upstream_rq_active", "upstream_rq_pending_active"):
                    assert w.value(f"cluster.c.{name}") == 0
                breaker = cluster.circuit_breaker()
                assert [breaker.connections.count, breaker.pending.count, breaker.requests.count] == [0] * 3
                assert w.value("cluster.c.upstream_cx_total") == w.value("cluster.c.upstream_cx_destroy")

        run(test())

    def test_stale_connection(self, run: Run) -> None:
        """The upstream closes an idle connection just as the next request leaves: told as a termination."""

        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            await reader.readuntil(b"\r\n\r\n")
            writer.close()

        async def test() -> None:
            async with world() as w:
                clusters = w.manage(spec_of(await w.serve(one)))
                assert (await get(clusters)).events == ANSWERED
                sink = await get(clusters)
                assert sink.events == [("ready",), ("reset", ResetReason.CONNECTION_TERMINATION, "")]
                assert (await get(clusters)).events == ANSWERED

        run(test())


def _reset_soon(loop: asyncio.AbstractEventLoop, sink: WaitingSink) -> Callable[[UpstreamStream], None]:
    def on_ready(stream: UpstreamStream) -> None:
        stream.send_headers(Headers.request(b"GET", b"/3", b"host"), True)

        def reset() -> None:
            stream.reset()
            sink.ended.set()

        loop.call_soon(reset)

    return on_ready


class TestTcp:
    def test_half_close_both_ways(self, run: Run) -> None:
        async def after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            data = await reader.read()
            writer.write(b"got " + data)
            writer.close()

        async def test() -> None:
            async with world() as w:
                clusters = w.manage(spec_of(await w.serve(after_the_end)))
                cluster = clusters.get("c")
                assert cluster is not None
                sink = RecordingTcpSink()
                cluster.new_connection(LbContext(), sink)
                assert sink.events == []
                await w.until(lambda: sink.upstream is not None)
                assert sink.upstream is not None
                sink.upstream.write(b"all of it", True)
                await w.until(lambda: bool(sink.events) and sink.events[-1] == ("data", b"", True))
                assert sink.events == [
                    ("ready",),
                    ("data", b"got all of it", False),
                    ("data", b"", True),
                ]
                sink.upstream.close()
                assert w.value("cluster.c.upstream_cx_destroy_remote_with_active_rq") == 1

        run(test())

    def test_backpressure_from_the_gate(self, run: Run) -> None:
        async def test() -> None:
            async with world() as w:
                clusters = w.manage(spec_of(await w.serve(echo)))
                cluster = clusters.get("c")
                assert cluster is not None
                sink = RecordingTcpSink()
                cluster.new_connection(LbContext(), sink)
                await w.until(lambda: sink.upstream is not None)
                upstream = sink.upstream
                assert upstream is not None
                upstream.connection.gate.close(1)
                upstream.write(b"x" * 100_000)
                await asyncio.sleep(0.05)
                assert sink.events == [("ready",)]
                upstream.connection.gate.open(1)
                await w.until(lambda: sum(len(e[1]) for e in sink.events if e[0] == "data") == 100_000)
                upstream.close()

        run(test())
