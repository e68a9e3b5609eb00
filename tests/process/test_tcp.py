"""TCP through a whole proxy: both ends of a session, what waits in between, and what is inspected before it begins."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.backends import LoopThread, TcpBackend
from tests.support.bootstraps import (
    TLS_INSPECTOR,
    Json,
    bootstrap,
    cluster,
    downstream_tls,
    listener,
    tcp_filter_chain,
    upstream_tls,
)
from tests.support.certificates import Mesh
from tests.support.pattern import PatternChecker
from tests.support.ports import free_port, free_ports
from tests.support.process import sidecar_command, start_proxy, wait_until

FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
PROXY_PROTOCOL = "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
DOWNSTREAM_CONNECTIONS = "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
LISTENERS = (
    "echo source sink silent secure hop idle short dead weighted nothing proxy inspected patient unlimited".split()  # noqa: SIM905
)


class World:
    """One proxy with a listener for each subject, and the servers behind it."""

    def __init__(self, loop: LoopThread, directory: Path) -> None:
        self.mesh = Mesh(directory)
        self.backends = {
            mode: TcpBackend(loop, mode, prefix=mode).start()
            for mode in ("echo", "source", "sink", "silent", "line_echo")
        }
        self.other = TcpBackend(loop, "line_echo", prefix="other").start()
        self.ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
        self.log_path = directory / "access.log"
        admin = free_port()
        self.proxy = start_proxy(
            sidecar_command(),
            self._config(admin),
            directory,
            admin,
            extra=["--file-flush-interval-msec", "20"],
        )

    def _log(self, name: str) -> list[Json]:
        text = (
            f"{name} %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DOWNSTREAM_REMOTE_ADDRESS% "
            "%DOWNSTREAM_LOCAL_ADDRESS% %UPSTREAM_TRANSPORT_FAILURE_REASON%\n"
        )
        config = {
            "@type": FILE_LOG,
            "path": str(self.log_path),
            "log_format": {"text_format_source": {"inline_string": text}},
        }
        return [{"name": "file", "typed_config": config}]

    def _listener(self, name: str, to: str = "", options: Json | None = None, **fields: Any) -> Json:
        chain = tcp_filter_chain(to or name, stat_prefix=name, access_log=self._log(name), **(options or {}))
        chain.update(fields.pop("chain", {}))
        return listener(name, self.ports[name], chain, **fields)

    def _config(self, admin: int) -> str:
        leaf, root = self.mesh.leaf("web"), self.mesh.root
        weights = {"clusters": [{"name": "line_echo", "weight": 3}, {"name": "other", "weight": 1}]}
        weighted = tcp_filter_chain("", stat_prefix="weighted", weighted_clusters=weights)
        del weighted["filters"][0]["typed_config"]["cluster"]
        tls = {"transport_socket": downstream_tls(leaf, root), "transport_socket_connect_timeout": "0.5s"}
        clusters = [cluster(name, backend.address) for name, backend in self.backends.items()]
        clusters += [
            cluster("other", self.other.address),
            cluster("dead", ("127.0.0.1", 1)),
            cluster("nothing"),
            cluster("secure", ("127.0.0.1", self.ports["secure"]), transport_socket=upstream_tls(leaf, root)),
        ]
        inspector = [{"name": "tls", "typed_config": {"@type": TLS_INSPECTOR}}]
        proxy_protocol = [{"name": "proxy", "typed_config": {"@type": PROXY_PROTOCOL}}]
        return bootstrap(
            admin,
            [
                self._listener("echo"),
                self._listener("source"),
                self._listener("sink"),
                self._listener("silent"),
                self._listener("secure", "echo", chain=tls),
                self._listener("hop", "secure"),
                self._listener("idle", "echo", {"idle_timeout": "0.3s"}),
                self._listener("short", "echo", {"max_downstream_connection_duration": "0.3s"}),
                self._listener("dead", options={"max_connect_attempts": 3}),
                listener("weighted", self.ports["weighted"], weighted),
                self._listener("nothing"),
                self._listener(
                    "proxy", "echo", listener_filters=proxy_protocol, listener_filters_timeout="0.3s"
                ),
                self._listener(
                    "inspected", "echo", listener_filters=inspector, listener_filters_timeout="0.3s"
                ),
                self._listener(
                    "patient",
                    "echo",
                    listener_filters=inspector,
                    listener_filters_timeout="0.3s",
                    continue_on_listener_filters_timeout=True,
                ),
                self._listener("unlimited", "echo", ignore_global_conn_limit=True),
            ],
            clusters,
            overload_manager={
                "resource_monitors": [
                    {
                        "name": "envoy.resource_monitors.global_downstream_max_connections",
                        "typed_config": {
                            "@type": DOWNSTREAM_CONNECTIONS,
                            "max_active_downstream_connections": 60,
                        },
                    }
                ]
            },
        )

    def connect(self, name: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[name]), timeout=10)

    def stat(self, name: str) -> int:
        return self.proxy.stat(name)

    def of_listener(self, name: str, stat: str) -> int:
        return self.stat(f"listener.127.0.0.1_{self.ports[name]}.{stat}")

    def entry(self, name: str, number: int = 1) -> list[str]:
        """The fields of the last of at least `number` entries of a listener in the access log."""

        def found() -> list[str] | None:
            entries = [line.split() for line in self.log_path.read_text().splitlines()]
            mine = [entry for entry in entries if entry[0] == name]
            return mine[-1] if len(mine) >= number else None

        return wait_until(found, timeout_s=5, what=f"entry {number} of {name}")

    def entries(self, name: str) -> int:
        return sum(line.startswith(f"{name} ") for line in self.log_path.read_text().splitlines())

    def close(self) -> None:
        self.proxy.kill()
        for backend in (*self.backends.values(), self.other):
            backend.stop()


@pytest.fixture(scope="module")
def world(loop_thread: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(loop_thread, tmp_path_factory.mktemp("tcp"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def nothing_is_left(world: World) -> Iterator[None]:
    """After each test every gauge of live things is 0 again, and nothing went wrong inside."""
    yield

    def idle() -> bool:
        values = json.loads(world.proxy.admin("/stats?format=json&type=Gauges"))["stats"]
        busy = {
            each["name"]: each["value"]
            for each in values
            if "name" in each
            and each["value"]
            and each["name"].endswith(
                ("cx_active", "rq_active", "pending_active", "buffered", "flush_active")
            )
            and "admin" not in each["name"]
            and not each["name"].startswith("filesystem.")
        }
        return not busy

    wait_until(idle, timeout_s=10, what="all gauges at 0")
    assert world.stat("server.envoy_bug_failures") == 0
    assert "Traceback" not in world.proxy.log_text()


def read_all(client: socket.socket) -> bytes:
    data = b""
    while piece := client.recv(65536):
        data += piece
    return data


def ends_with(client: socket.socket) -> str:
    """`end` or `reset`."""
    try:
        read_all(client)
    except ConnectionResetError:
        return "reset"
    return "end"


def test_bytes_both_ways(world: World) -> None:
    data = bytes(range(256)) * 4096
    with world.connect("echo") as client:
        sender = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
        sender.start()
        assert read_all(client) == data
        sender.join()
    assert world.entry("echo")[1:4] == ["-", str(len(data)), str(len(data))]


@pytest.mark.parametrize("number", range(3))
def test_half_close_towards_the_server(world: World, number: int) -> None:
    """The server answers only when it has seen the end."""
    with world.connect("sink") as client:
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"0\n"


def test_half_close_towards_the_client(world: World) -> None:
    """The server has ended; what the client still says arrives."""
    with world.connect("source") as client:
        client.sendall(b"5\n")
        assert len(read_all(client)) == 5
        client.sendall(b"more")
        wait_until(
            lambda: world.backends["source"].received[-1].endswith(b"more"), timeout_s=5, what="the rest"
        )


def test_half_close_over_tls_on_both_sides(world: World) -> None:
    """Plain, then TLS as client, then TLS as server, then plain: the end travels through all of it, and back."""
    data = b"x" * 300_000
    with world.connect("hop") as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == data
    assert world.entry("secure")[1:4] == ["-", "300000", "300000"]


def test_tls_client_that_ends_without_close_notify(world: World) -> None:
    """The FIN alone is taken as the end, and the answer still comes."""
    context = world.mesh.client_context("client")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname=None)
    with world.connect("secure") as client:

        def flush() -> None:
            client.sendall(outgoing.read())

        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                flush()
                incoming.write(client.recv(65536))
        session.write(b"last words")
        flush()
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while len(answer) < 10:
            try:
                answer += session.read(100)
            except ssl.SSLWantReadError:
                data = client.recv(65536)
                assert data, "closed without an answer"
                incoming.write(data)
        assert answer == b"last words"


def test_a_client_that_leaves_during_the_handshake(world: World) -> None:
    before = world.of_listener("secure", "downstream_cx_destroy")
    with world.connect("secure") as client:
        client.sendall(b"\x16\x03\x01\x02\x00\x01")
        client.shutdown(socket.SHUT_WR)
        assert ends_with(client) == "end"
    wait_until(
        lambda: world.of_listener("secure", "downstream_cx_destroy") == before + 1,
        timeout_s=5,
        what="the end counted",
    )


def test_a_handshake_that_does_not_come_is_not_waited_for(world: World) -> None:
    began = time.monotonic()
    with world.connect("secure") as client:
        ends_with(client)
    assert 0.4 < time.monotonic() - began < 3
    assert world.of_listener("secure", "downstream_cx_transport_socket_connect_timeout") >= 1


def test_a_client_that_does_not_read_stops_the_server(world: World) -> None:
    """64 MiB asked for, nothing read for a while: memory stays small, and nothing is lost afterwards."""
    size = 64 << 20
    world.proxy.reset_peak_rss()
    before = world.proxy.rss_bytes()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.settimeout(20)
        client.connect(("127.0.0.1", world.ports["source"]))
        client.sendall(b"%d\n" % size)

        def paused() -> bool:
            return world.stat("tcp.source.downstream_flow_control_paused_reading_total") > 0

        wait_until(paused, timeout_s=10, what="the upstream paused")
        checker = PatternChecker()
        while piece := client.recv(1 << 18):
            checker.feed(piece)
    assert checker.is_exactly(size)
    assert world.proxy.peak_rss_bytes() - before < 24 << 20
    assert world.stat("tcp.source.downstream_flow_control_resumed_reading_total") > 0


def test_resets_in_the_middle_leave_nothing(world: World) -> None:
    descriptors = world.proxy.open_descriptors()
    for number in range(30):
        with world.connect("source" if number % 2 else "echo") as client:
            client.sendall(b"10000000\n")
            client.recv(1000)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(
        lambda: world.proxy.open_descriptors() <= descriptors + 2, timeout_s=10, what="descriptors closed"
    )


def test_idle_timeout(world: World) -> None:
    with world.connect("idle") as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        began = time.monotonic()
        assert ends_with(client) == "end"
        assert 0.25 < time.monotonic() - began < 2
    assert world.stat("tcp.idle.idle_timeout") == 1
    assert world.entry("idle")[1:4] == ["-", "5", "5"]


def test_bytes_keep_a_session_from_being_idle(world: World) -> None:
    began = time.monotonic()
    with world.connect("idle") as client:
        while time.monotonic() - began < 0.8:
            client.sendall(b"tick")
            assert client.recv(4) == b"tick"
            time.sleep(0.05)  # the subject is the passing of time


def test_longest_duration(world: World) -> None:
    with world.connect("short") as client:
        assert ends_with(client) == "end"
    assert world.stat("tcp.short.max_downstream_connection_duration") == 1
    assert world.entry("short")[1] == "DT"


def test_connect_attempts(world: World) -> None:
    with world.connect("dead") as client:
        assert ends_with(client) == "end"
    assert world.stat("cluster.dead.upstream_cx_connect_fail") == 3
    assert world.stat("cluster.dead.upstream_cx_connect_attempts_exceeded") == 1
    entry = world.entry("dead")
    assert (entry[1], entry[-1]) == ("UF,URX", "delayed_connect_error:_Connection_refused")


def test_no_host(world: World) -> None:
    with world.connect("nothing") as client:
        assert ends_with(client) == "end"
    assert world.entry("nothing")[1] == "UH"


def test_upstream_reset_is_passed_on(world: World, loop_thread: LoopThread) -> None:
    with world.connect("silent") as client:
        client.sendall(b"hello")
        silent = world.backends["silent"]
        wait_until(lambda: bytearray(b"hello") in silent.received, timeout_s=5, what="hello")
        (live,) = silent._live
        assert live.transport is not None
        raw = live.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        loop_thread.loop.call_soon_threadsafe(live.transport.abort)
        assert ends_with(client) == "reset"
    assert world.entry("silent")[1] == "UR"


def test_weighted_clusters(world: World) -> None:
    answers = []
    for _ in range(80):
        with world.connect("weighted") as client:
            client.sendall(b"x\n")
            answers.append(client.makefile("rb").readline().split()[0])
    assert set(answers) == {b"line_echo", b"other"}
    assert answers.count(b"line_echo") > answers.count(b"other")


V2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes([9, 9, 9, 9, 8, 8, 8, 8]) + struct.pack("!HH", 5, 6)


@pytest.mark.parametrize(
    ("header", "remote", "local"),
    [
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\n", "1.2.3.4:111", "5.6.7.8:222"),
        (V2, "9.9.9.9:5", "8.8.8.8:6"),
    ],
)
@pytest.mark.parametrize("pieces", [1, 3, 1000])
def test_proxy_protocol(world: World, header: bytes, remote: str, local: str, pieces: int) -> None:
    data = header + b"hello"
    step = max(1, len(data) // pieces)
    number = world.entries("proxy") + 1
    with world.connect("proxy") as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(data), step):
            client.sendall(data[at : at + step])
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"hello"
    assert world.entry("proxy", number)[4:6] == [remote, local]


def test_no_proxy_protocol(world: World) -> None:
    with world.connect("proxy") as client:
        client.sendall(b"hello\r\n")
        ends_with(client)
    assert world.stat("downstream_cx_proxy_proto_error") == 1
    assert world.stat("proxy_proto.versions.v1.error") == 1


def test_listener_filters_are_not_waited_for_for_ever(world: World) -> None:
    with world.connect("inspected") as client:
        assert ends_with(client) in ("end", "reset")
    assert world.of_listener("inspected", "downstream_pre_cx_timeout") == 1
    assert world.of_listener("inspected", "downstream_cx_total") == 0


def test_or_the_connection_goes_on_without_them(world: World) -> None:
    with world.connect("patient") as client:
        wait_until(
            lambda: world.of_listener("patient", "downstream_cx_total") == 1, timeout_s=5, what="the session"
        )
        client.sendall(b"late")
        assert client.recv(10) == b"late"
    assert world.of_listener("patient", "downstream_pre_cx_timeout") == 1


def test_a_client_that_leaves_before_it_is_known(world: World) -> None:
    with world.connect("inspected"):
        pass
    wait_until(
        lambda: world.of_listener("inspected", "downstream_listener_filter_remote_close") == 1,
        timeout_s=5,
        what="the end counted",
    )


def test_a_client_hello_that_is_too_long(world: World) -> None:
    with world.connect("inspected") as client:
        client.sendall(b"\x16\x03\x01\x40\x00\x01\x00\x7f\xff\x03\x03" + b"x" * 100)
        ends_with(client)
    assert world.stat("tls_inspector.client_hello_too_large") == 1


def test_global_connection_limit(world: World) -> None:
    clients = [world.connect("echo") for _ in range(60)]
    try:
        for client in clients:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        with world.connect("echo") as refused:
            assert ends_with(refused) in ("end", "reset")
        assert world.of_listener("echo", "downstream_global_cx_overflow") == 1
        with world.connect("unlimited") as exempt:
            exempt.sendall(b"x")
            assert exempt.recv(1) == b"x"
    finally:
        for client in clients:
            client.close()

    def accepted() -> bool:
        with world.connect("echo") as again:
            again.sendall(b"x")
            try:
                return again.recv(1) == b"x"
            except ConnectionResetError:
                return False

    wait_until(accepted, timeout_s=5, what="room for new connections")
