from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from config.model.core import PipeAddress, SocketAddress
from config.model.stats_sink import StatsdSinkSpec, StatsdTags
from sidecar.upstream.api import TcpUpstreamSink, UpstreamFailure
from sidecar.worker import stats_sinks
from sidecar.worker.part import Part
from sidecar.worker.stats_sinks import StatsSinks
from stats.snapshot import merge
from stats.store import Store
from tests.support.fake_loop import FakeLoop


class FakeConnection:
    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes, end: bool = False) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True


class FakeCluster:
    """Remembers who asked for a connection."""

    def __init__(self) -> None:
        self.asked: list[TcpUpstreamSink] = []

    def new_connection(self, context: object, sink: TcpUpstreamSink) -> None:
        self.asked.append(sink)

    def get(self, name: str) -> FakeCluster | None:
        return self if name == "statsd" else None


class Fixture:
    def __init__(self, *specs: StatsdSinkSpec) -> None:
        self.store = Store()
        self.loop = FakeLoop()
        self.cluster = FakeCluster()
        self.sinks = StatsSinks(
            specs, self.store, cast(Any, self.cluster), cast("asyncio.AbstractEventLoop", self.loop)
        )

    def flush(self) -> None:
        for _ in self.sinks.flush():
            pass

    @property
    def dropped(self) -> int:
        return self.store.counters["stats_sinks.dropped_total"].value


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(5)
        yield made


def address_of(receiver: socket.socket) -> SocketAddress:
    return SocketAddress(*receiver.getsockname()[:2])


def test_datagrams(receiver: socket.socket) -> None:
    fixture = Fixture(StatsdSinkSpec(address_of(receiver)))
    fixture.store.root.counter("a").add(2)
    fixture.store.root.gauge("g").set(5)
    fixture.flush()
    assert [receiver.recv(2000) for _ in range(2)] == [b"envoy.a:2|c", b"envoy.g:5|g"]
    fixture.sinks.close()
    assert receiver.recv(2000) == b"envoy.a:0|c"


def test_of_several_processes_main_sends_levels_and_workers_values(receiver: socket.socket) -> None:
    specs = [StatsdSinkSpec(address_of(receiver))]
    loop = cast("asyncio.AbstractEventLoop", FakeLoop())
    store, main_store = Store(), Store()
    worker = StatsSinks(specs, store, cast(Any, FakeCluster()), loop, Part(2, 1))
    main = StatsSinks(
        specs,
        main_store,
        cast(Any, FakeCluster()),
        loop,
        Part(2, None),
        lambda: merge([main_store, store]),
    )
    store.root.counter("c").add(3)
    store.root.histogram("h").record(7)
    worker.close()
    assert receiver.recv(2000) == b"envoy.h:7|ms"
    main.close()
    assert receiver.recv(2000) == b"envoy.c:3|c"


def test_packed_datagrams_to_several_sinks(receiver: socket.socket) -> None:
    address = address_of(receiver)
    fixture = Fixture(
        StatsdSinkSpec(address, prefix="d", tags=StatsdTags.DOGSTATSD, max_bytes_per_datagram=100),
        StatsdSinkSpec(address, prefix="g", tags=StatsdTags.GRAPHITE, max_bytes_per_datagram=100),
    )
    fixture.store.scope("s").tagged_counter("c", (("l", "v"),)).add(1)
    fixture.store.root.counter("plain").add(2)
    fixture.flush()
    assert receiver.recv(2000) == b"d.s.c:1|c|#l:v\nd.plain:2|c"
    assert receiver.recv(2000) == b"g.s.c;l=v:1|c\ng.plain:2|c"
    fixture.sinks.close()


def test_unix_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "statsd"))
        receiver.settimeout(5)
        fixture = Fixture(StatsdSinkSpec(PipeAddress(str(tmp_path / "statsd"))))
        fixture.store.root.counter("a").inc()
        fixture.flush()
        assert receiver.recv(2000) == b"envoy.a:1|c"
        fixture.sinks.close()


def test_nobody_there(tmp_path: Path) -> None:
    fixture = Fixture(StatsdSinkSpec(PipeAddress(str(tmp_path / "nobody"))))
    fixture.store.root.counter("a").inc()
    fixture.flush()
    assert fixture.dropped == 1
    fixture.sinks.close()


def test_values_of_histograms_are_sent_in_the_next_turn(receiver: socket.socket) -> None:
    fixture = Fixture(StatsdSinkSpec(address_of(receiver)))
    histogram = fixture.store.root.histogram("h")
    histogram.record(3)
    histogram.record(4)
    assert len(fixture.loop.soon) == 1
    fixture.loop.turn()
    assert [receiver.recv(2000) for _ in range(2)] == [b"envoy.h:3|ms", b"envoy.h:4|ms"]
    assert not fixture.loop.turn()
    fixture.sinks.close()


def test_values_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_sinks, "_MAX_WAITING_VALUES", 5)
    monkeypatch.setattr(stats_sinks, "_VALUES_A_TURN", 2)
    fixture = Fixture(StatsdSinkSpec(None, "statsd"))
    histogram = fixture.store.root.histogram("h")
    for number in range(8):
        histogram.record(number)
    assert fixture.dropped == 3
    turns = 0
    while fixture.loop.turn():
        turns += 1
    assert turns == 3
    connection = FakeConnection()
    fixture.cluster.asked[0].on_tcp_ready(cast(Any, connection))
    assert connection.written == b"".join(b"envoy.h:%d|ms\n" % number for number in range(5))


class TestTcp:
    @pytest.fixture
    def fixture(self) -> Fixture:
        fixture = Fixture(StatsdSinkSpec(None, "statsd"))
        fixture.store.root.counter("a").inc()
        return fixture

    def connect(self, fixture: Fixture) -> tuple[TcpUpstreamSink, FakeConnection]:
        sink, connection = fixture.cluster.asked[-1], FakeConnection()
        sink.on_tcp_ready(cast(Any, connection))
        return sink, connection

    def test_lines_wait_for_one_connection(self, fixture: Fixture) -> None:
        fixture.flush()
        fixture.flush()
        assert len(fixture.cluster.asked) == 1
        _, connection = self.connect(fixture)
        assert connection.written == b"envoy.a:1|c\nenvoy.a:0|c\n"
        fixture.flush()
        assert connection.written.endswith(b"envoy.a:0|c\nenvoy.a:0|c\n")
        fixture.sinks.close()
        assert connection.closed

    @pytest.mark.parametrize("half", [False, True])
    def test_a_new_connection_after_the_old_one(self, fixture: Fixture, half: bool) -> None:
        fixture.flush()
        sink, first = self.connect(fixture)
        sink.on_upstream_data(b"noise", False)
        if half:
            sink.on_upstream_data(b"", True)
        else:
            sink.on_upstream_closed()
        assert first.closed == half
        fixture.flush()
        _, second = self.connect(fixture)
        assert second.written == b"envoy.a:0|c\n"

    def test_a_failure_drops_what_waited(self, fixture: Fixture) -> None:
        fixture.flush()
        fixture.cluster.asked[0].on_tcp_failure(UpstreamFailure.CONNECT_FAILURE, "", cast(Any, None))
        assert fixture.dropped == 1
        fixture.flush()
        assert len(fixture.cluster.asked) == 2
        _, connection = self.connect(fixture)
        assert b"envoy.a:0|c\n" in connection.written
        assert b"envoy.a:1|c\n" not in connection.written

    def test_what_a_failure_counts_is_no_reason_to_connect_again(self, fixture: Fixture) -> None:
        """Each failed connection is itself a value to send."""
        histogram = fixture.store.root.histogram("cluster.statsd.upstream_cx_length_ms")
        fixture.flush()
        for _ in range(5):
            fixture.cluster.asked[-1].on_tcp_failure(UpstreamFailure.CONNECT_FAILURE, "", cast(Any, None))
            histogram.record(1)
            fixture.loop.turn()
        assert len(fixture.cluster.asked) == 1
        fixture.flush()
        assert len(fixture.cluster.asked) == 2

    def test_a_full_connection_and_a_full_queue_drop(
        self, fixture: Fixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stats_sinks, "_MAX_WAITING_BYTES", 15)
        fixture.flush()
        fixture.flush()
        assert fixture.dropped == 1
        sink, connection = self.connect(fixture)
        assert connection.written == b"envoy.a:1|c\n"
        sink.on_upstream_full(True)
        fixture.flush()
        assert fixture.dropped > 1
        assert connection.written == b"envoy.a:1|c\n"
        sink.on_upstream_full(False)
        monkeypatch.undo()
        fixture.flush()
        assert b"envoy.stats_sinks.dropped_total" in connection.written

    def test_a_connection_that_comes_too_late_is_closed(self, fixture: Fixture) -> None:
        fixture.flush()
        fixture.sinks.close()
        assert self.connect(fixture)[1].closed

    def test_a_cluster_that_is_gone(self) -> None:
        fixture = Fixture(StatsdSinkSpec(None, "other"))
        fixture.store.root.counter("a").inc()
        fixture.flush()
        assert fixture.cluster.asked == []
