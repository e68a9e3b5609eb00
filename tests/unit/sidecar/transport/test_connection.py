"""A connection with its filters: order, holding, half-close, and the ways to end it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from config.model.core import SocketAddress
from sidecar.stream_info import ConnectionInfo
from sidecar.transport.connection import FLUSH_STALL_S, Connection, PassThroughFilter
from sidecar.transport.flow import Flow, Held
from sidecar.transport.timers import Timers
from sidecar.transport.transport_socket import CloseReason, TransportSocket
from tests.support.upstream import FakeTransport, ManualLoop


class Recorder(PassThroughFilter):
    """Writes down what it is told; `opens` and `passes` are its answers."""

    def __init__(self, connection: Connection, world: World, name: str) -> None:
        super().__init__(connection)
        self.world = world
        self.name = name
        self.opens = Flow.CONTINUE
        self.passes: bytes | Held | None = None

    def _note(self, *event: object) -> None:
        self.world.events.append((self.name, *event))

    def on_open(self) -> Flow:
        self._note("open")
        return self.opens

    def on_data(self, data: bytes, end: bool) -> bytes | Held:
        self._note("data", data, end)
        return data if self.passes is None else self.passes

    def on_write(self, data: bytes, end: bool) -> bytes | Held:
        self._note("write", data, end)
        return data

    def on_drain(self) -> None:
        self._note("drain")

    def on_close(self) -> None:
        self._note("close", self.connection.close_reason)


class World:
    def __init__(self, *names: str) -> None:
        self.events: list[tuple[object, ...]] = []
        self.loop = ManualLoop()
        self.transport = FakeTransport()
        self.socket = TransportSocket()
        info = ConnectionInfo(SocketAddress("10.0.0.1", 1), SocketAddress("10.0.0.2", 2))
        self.connection = Connection(self.socket, Timers(self.loop.as_loop()), info)
        self.socket.owner = self.connection
        self.filters = [Recorder(self.connection, self, name) for name in names]
        self.connection.set_filters(list(self.filters))

    def open(self) -> World:
        self.socket.connection_made(cast("Any", self.transport))
        return self

    def take(self) -> list[tuple[object, ...]]:
        events, self.events = self.events, []
        return events


@pytest.fixture
def world() -> World:
    made = World("a", "b").open()
    made.take()
    return made


def test_filters_open_in_order() -> None:
    assert World("a", "b", "c").open().take() == [("a", "open"), ("b", "open"), ("c", "open")]


def test_reading_runs_forward_and_writing_backward(world: World) -> None:
    world.socket.data_received(b"in")
    world.connection.write(b"out")
    assert world.take() == [
        ("a", "data", b"in", False),
        ("b", "data", b"in", False),
        ("b", "write", b"out", False),
        ("a", "write", b"out", False),
    ]
    assert world.transport.take() == b"out"
    assert (world.connection.rx_bytes, world.connection.tx_bytes) == (2, 3)


def test_swallowed_data_goes_no_further_but_the_end_does(world: World) -> None:
    world.filters[0].passes = b""
    world.socket.data_received(b"in")
    world.socket.eof_received()
    assert world.take() == [
        ("a", "data", b"in", False),
        ("a", "data", b"", True),
        ("b", "data", b"", True),
    ]
    assert world.connection.read_ended


def test_the_end_comes_once(world: World) -> None:
    world.socket.eof_received()
    world.socket.eof_received()
    assert len(world.take()) == 2


def test_hold_stops_reading_until_resume(world: World) -> None:
    world.filters[0].passes = Flow.HOLD
    world.socket.data_received(b"in")
    assert world.take() == [("a", "data", b"in", False)]
    assert not world.transport.reading
    world.connection.resume()
    assert world.transport.reading


def test_pass_on_reaches_those_behind(world: World) -> None:
    world.connection.pass_on(world.filters[0], b"later", False)
    assert world.take() == [("b", "data", b"later", False)]


def test_a_filter_that_holds_at_the_start_holds_what_comes_too() -> None:
    """Bytes that were read before, or are in the same packet, wait until every filter is open."""
    world = World("a", "b")
    world.filters[0].opens = Flow.HOLD
    world.open()
    world.socket.data_received(b"early ")
    world.socket.data_received(b"bytes")
    world.socket.eof_received()
    assert world.take() == [("a", "open")]
    assert not world.transport.reading
    world.connection.resume()
    assert world.take() == [
        ("b", "open"),
        ("a", "data", b"early bytes", True),
        ("b", "data", b"early bytes", True),
    ]
    assert world.transport.reading


def test_two_filters_that_hold_at_the_start() -> None:
    world = World("a", "b", "c")
    world.filters[0].opens = world.filters[1].opens = Flow.HOLD
    world.open()
    world.connection.resume()
    assert world.take() == [("a", "open"), ("b", "open")]
    assert not world.transport.reading
    world.connection.resume()
    assert world.take() == [("c", "open")]
    assert world.transport.reading


def test_resume_after_the_end_is_harmless() -> None:
    world = World("a", "b")
    world.filters[0].opens = Flow.HOLD
    world.open()
    world.socket.connection_lost(None)
    world.take()
    world.connection.resume()
    assert world.take() == []


def test_a_filter_may_leave_the_data_path(world: World) -> None:
    world.connection.remove(world.filters[0])
    world.socket.data_received(b"in")
    world.connection.write(b"out")
    assert {event[0] for event in world.take()} == {"b"}
    world.socket.connection_lost(None)
    assert {event[0] for event in world.take()} == {"a", "b"}  # both learn of the end


def test_half_close(world: World) -> None:
    world.connection.write(b"bye", end=True)
    assert world.transport.eof and not world.transport.closed
    assert world.transport.take() == b"bye"
    world.connection.write(b"more")
    assert world.transport.take() == b""


@pytest.mark.parametrize(
    ("error", "reason"), [(None, CloseReason.REMOTE), (ConnectionResetError("x"), CloseReason.REMOTE_RESET)]
)
def test_the_peer_ends_it(world: World, error: Exception | None, reason: CloseReason) -> None:
    world.socket.connection_lost(error)
    assert world.take() == [("b", "close", reason), ("a", "close", reason)]


def test_those_that_watch_learn_of_the_end_last(world: World) -> None:
    """The terminal filter ends its session first: what the others then read of it is complete."""
    world.connection.close()
    world.socket.connection_lost(None)
    assert [event[0] for event in world.take()] == ["b", "a"]


def test_nothing_after_the_end(world: World) -> None:
    world.socket.connection_lost(None)
    world.take()
    world.socket.data_received(b"x")
    world.connection.write(b"x")
    world.connection.drain()
    world.connection.close()
    assert world.take() == []
    assert world.transport.take() == b""


def test_close_keeps_its_reason_and_details(world: World) -> None:
    world.connection.close("idle_timeout")
    assert world.transport.closed and not world.transport.aborted
    world.connection.close("another")
    world.socket.connection_lost(None)
    assert (world.connection.close_reason, world.connection.close_details) == (
        CloseReason.LOCAL,
        "idle_timeout",
    )


def test_what_comes_after_close_is_dropped(world: World) -> None:
    world.connection.close()
    world.socket.data_received(b"late")
    world.socket.eof_received()
    world.connection.write(b"late")
    assert [event for event in world.take() if event[1] == "data"] == []
    assert world.transport.take() == b""


def test_close_does_not_wait_for_a_peer_that_takes_nothing(world: World) -> None:
    world.transport.unwritten = 100
    world.connection.close()
    world.loop.advance(FLUSH_STALL_S - 1)
    assert not world.transport.aborted
    world.loop.advance(2)
    assert world.transport.aborted


def test_close_waits_for_a_peer_that_takes_something(world: World) -> None:
    world.transport.unwritten = 100
    world.connection.close()
    for left in (80, 50, 1):
        world.transport.unwritten = left
        world.loop.advance(FLUSH_STALL_S + 1)
        assert not world.transport.aborted
    world.transport.unwritten = 0
    world.loop.advance(FLUSH_STALL_S + 1)
    assert not world.transport.aborted


@pytest.mark.parametrize("unwritten", [0, 100])
def test_close_now_waits_for_nobody(world: World, unwritten: int) -> None:
    world.transport.unwritten = unwritten
    world.connection.close_now("over")
    assert world.transport.closed
    assert world.transport.aborted is bool(unwritten)


def test_close_after_peer_waits_for_its_end(world: World) -> None:
    world.connection.close_after_peer(1.0, "done")
    assert world.transport.eof and not world.transport.closed
    world.socket.data_received(b"still sending")
    assert world.take() == []
    world.socket.eof_received()
    assert world.transport.closed and not world.transport.aborted


def test_close_after_peer_does_not_wait_long(world: World) -> None:
    world.connection.close_after_peer(1.0, "done")
    world.loop.advance(1.1)
    assert world.transport.closed
    assert world.connection.close_details == "done"


def test_close_after_peer_closes_at_once_when_the_peer_has_ended(world: World) -> None:
    world.socket.eof_received()
    world.connection.close_after_peer(1.0)
    assert world.transport.closed


@pytest.mark.parametrize("timeout_s", [None, 0, 0.0])
def test_no_delayed_close(world: World, timeout_s: float | None) -> None:
    world.connection.close_after_peer(timeout_s)
    assert world.transport.closed


def test_abort(world: World) -> None:
    world.connection.abort("too slow", CloseReason.TIMEOUT)
    assert world.transport.aborted
    world.socket.connection_lost(None)
    assert world.take() == [("b", "close", CloseReason.TIMEOUT), ("a", "close", CloseReason.TIMEOUT)]


def test_a_full_write_buffer_is_told_once_each_way(world: World) -> None:
    told: list[bool] = []
    world.connection.watch_write_buffer(told.append)
    world.socket.pause_writing()
    assert world.connection.write_full
    world.socket.resume_writing()
    assert told == [True, False]
    assert not world.connection.write_full


def test_drain_reaches_every_filter(world: World) -> None:
    world.connection.drain()
    assert world.take() == [("a", "drain"), ("b", "drain")]


def test_nothing_holds_a_dead_connection(world: World) -> None:
    """No timer, no callback of the gate, no filter is left."""
    world.connection.close_after_peer(5.0)
    world.socket.connection_lost(None)
    world.take()
    world.loop.advance(100)
    assert world.take() == []
    assert world.connection._filters == []
    assert world.socket.owner is None and world.socket.transport is None


@pytest.mark.parametrize(("limit", "high"), [(1000, 1000), (0, 1 << 40)])
def test_write_limit(world: World, limit: int, high: int) -> None:
    world.socket.set_write_limit(limit)
    assert world.transport.limits == (high // 2, high)
