"""PINGs by the clock, before a stream, and what their silence means."""

from __future__ import annotations

from config.model.http2 import KeepaliveSpec
from sidecar.transport.http2_keepalive import Http2Keepalive
from sidecar.transport.timers import Timers
from tests.support.upstream import ManualLoop


class Codec:
    def __init__(self) -> None:
        self.pings: list[bytes] = []
        self.last_ping_answered = b""

    def ping(self, payload: bytes) -> None:
        self.pings.append(payload)


class World:
    def __init__(self, **fields: float) -> None:
        self.loop = ManualLoop()
        self.codec = Codec()
        self.flushed = 0
        self.silent = 0
        spec = KeepaliveSpec(timeout_s=3.0, **{"interval_jitter": 0.0, **fields})
        self.keepalive = Http2Keepalive(
            spec, self.codec, Timers(self.loop.as_loop()), self._flush, self._on_silence
        )

    def _flush(self) -> None:
        self.flushed += 1

    def _on_silence(self) -> None:
        self.silent += 1

    def answer(self) -> None:
        self.codec.last_ping_answered = self.codec.pings[-1]
        self.keepalive.on_activity()


def test_every_interval_as_long_as_there_is_an_answer() -> None:
    world = World(interval_s=10.0)
    for number in range(1, 4):
        world.loop.advance(10.2)
        assert len(world.codec.pings) == world.flushed == number
        world.answer()
    assert world.silent == 0
    assert len(set(world.codec.pings)) == 3


def test_silence_is_told_once() -> None:
    world = World(interval_s=10.0)
    world.loop.advance(10.2)
    world.keepalive.on_activity()  # bytes, but no answer
    world.loop.advance(3.2)
    world.loop.advance(100)
    assert world.silent == 1
    assert len(world.codec.pings) == 1


def test_before_a_stream_on_a_connection_that_was_idle() -> None:
    world = World(idle_interval_s=5.0)
    world.keepalive.before_stream()
    assert world.codec.pings == []
    world.loop.advance(5)
    world.keepalive.before_stream()
    world.keepalive.before_stream()
    assert len(world.codec.pings) == 1
    world.answer()
    world.loop.advance(100)
    assert (len(world.codec.pings), world.silent) == (1, 0)


def test_stopped() -> None:
    world = World(interval_s=10.0)
    world.keepalive.stop()
    world.loop.advance(100)
    assert (world.codec.pings, world.silent) == ([], 0)


def test_jitter_is_added() -> None:
    world = World(interval_s=10.0, interval_jitter=0.5)
    world.loop.advance(9.9)
    assert world.codec.pings == []
    world.loop.advance(5.3)
    assert len(world.codec.pings) == 1


def test_a_ping_before_a_stream_takes_the_turn_of_the_clock() -> None:
    world = World(interval_s=10.0, idle_interval_s=5.0)
    world.loop.advance(6)
    world.keepalive.before_stream()
    world.loop.advance(1)
    world.answer()
    world.loop.advance(9.8)
    assert len(world.codec.pings) == 1
    world.loop.advance(0.5)
    assert len(world.codec.pings) == 2


def test_activity_is_no_idleness() -> None:
    world = World(idle_interval_s=5.0)
    for _ in range(5):
        world.loop.advance(3)
        world.keepalive.on_activity()
        world.keepalive.before_stream()
    assert world.codec.pings == []


def test_an_answer_to_an_older_ping_is_none() -> None:
    world = World(interval_s=10.0)
    world.loop.advance(10.2)
    world.answer()
    world.loop.advance(10.2)
    world.codec.last_ping_answered = world.codec.pings[0]
    world.keepalive.on_activity()
    world.loop.advance(3.2)
    assert world.silent == 1


def test_nothing_configured_but_a_timeout() -> None:
    world = World()
    world.loop.advance(1000)
    world.keepalive.before_stream()
    assert (world.codec.pings, world.silent) == ([], 0)
