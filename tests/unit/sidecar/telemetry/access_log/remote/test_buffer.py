from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.remote.buffer import MAX_WAITING_BYTES, RemoteAccessLogger
from sidecar.transport.timers import Timers
from stats.families import RemoteAccessLogStats
from stats.store import Store
from tests.support.upstream import ManualLoop
from tests.unit.sidecar.telemetry.access_log.streams import proxied


class RecordingSender:
    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.takes = True
        self.closed = False

    def send(self, entries: list[bytes]) -> bool:
        if self.takes:
            self.batches.append(list(entries))
        return self.takes

    def close(self, rest: Callable[[], bool], on_idle: Callable[[], None]) -> None:
        self.closed = True
        self.rest = rest
        if rest():
            on_idle()


class World:
    def __init__(self, buffer_bytes: int = 10, entry: bytes = b"1234") -> None:
        self.loop = ManualLoop()
        self.sender = RecordingSender()
        self.encoded = 0
        self.stats = RemoteAccessLogStats(Store().scope("access_logs.grpc_access_log"))

        def encode(info: StreamInfo) -> bytes:
            self.encoded += 1
            return entry

        self.logger = RemoteAccessLogger(
            encode,
            self.sender,
            "collector",
            self.stats,
            Timers(self.loop.as_loop()),
            flush_interval_s=2.0,
            buffer_bytes=buffer_bytes,
        )

    def log(self, times: int = 1) -> None:
        for _ in range(times):
            self.logger.log(proxied())

    @property
    def counts(self) -> tuple[int, int]:
        return self.stats.logs_written.value, self.stats.logs_dropped.value


def test_entries_wait_for_the_interval() -> None:
    world = World()
    world.log(2)
    assert world.sender.batches == []
    world.loop.advance(2.2)
    assert world.sender.batches == [[b"1234"] * 2]
    world.loop.advance(10)
    assert len(world.sender.batches) == 1
    world.log()
    world.loop.advance(2.2)
    assert world.sender.batches[1:] == [[b"1234"]]
    assert world.counts == (3, 0)


def test_a_full_buffer_is_sent_at_once() -> None:
    world = World()
    world.log(3)
    assert world.sender.batches == [[b"1234"] * 3]
    world.loop.advance(10)
    assert len(world.sender.batches) == 1


def test_without_a_buffer_nothing_waits() -> None:
    world = World(buffer_bytes=0)
    world.log(2)
    assert world.sender.batches == [[b"1234"], [b"1234"]]


def test_what_a_slow_service_does_not_take_is_dropped_and_costs_nothing() -> None:
    world = World()
    world.sender.takes = False
    world.log(5)
    assert world.counts == (3, 2)
    assert world.encoded == 3
    world.sender.takes = True
    world.loop.advance(2.2)
    assert world.sender.batches == [[b"1234"] * 3]
    world.log()
    assert world.counts == (4, 2)


def test_the_log_says_once_that_a_service_does_not_keep_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World()
    for _ in range(3):
        world.sender.takes = False
        world.log(5)
        world.sender.takes = True
        world.loop.advance(2.2)
    assert len(caplog.records) == 1
    world.log(3)
    assert [record.getMessage() for record in caplog.records] == [
        "access log service collector does not keep up, entries are dropped",
        "access log service collector keeps up again",
    ]


def test_memory_is_bounded_whatever_is_configured() -> None:
    for buffer_bytes in (0, 2**31):
        world = World(buffer_bytes, entry=bytes(MAX_WAITING_BYTES // 4))
        world.sender.takes = False
        world.log(6)
        assert world.counts == (4, 2)


def test_the_end_sends_what_waits() -> None:
    world = World()
    world.log()
    idle: list[bool] = []
    world.logger.close(lambda: idle.append(True))
    assert world.sender.batches == [[b"1234"]]
    assert idle == [True]
    assert world.sender.closed
    world.loop.advance(10)
    assert len(world.sender.batches) == 1


def test_the_end_sends_the_rest_when_there_is_room_and_counts_what_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for takes in (True, False):
        world = World()
        world.sender.takes = False
        world.log(2)
        idle: list[bool] = []
        world.logger.close(lambda idle=idle: idle.append(True))
        assert (world.sender.batches, idle) == ([], [])
        world.sender.takes = takes
        assert world.sender.rest() is takes
        for _ in range(2):
            world.logger.give_up()
        assert world.sender.batches == ([[b"1234"] * 2] if takes else [])
        assert world.counts == (2, 0 if takes else 2)
    assert [record.getMessage() for record in caplog.records] == [
        "access log service collector: the last 2 entries are lost"
    ]
