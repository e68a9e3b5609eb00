from __future__ import annotations

import pytest

from config.model.access_log import AccessLogOptions
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.schedule import LogSchedule, LogType
from sidecar.transport.timers import Timers
from tests.support.upstream import ManualLoop
from tests.unit.sidecar.telemetry.access_log.streams import proxied


class Recorder:
    def __init__(self) -> None:
        self.types: list[str] = []

    def log(self, info: StreamInfo) -> None:
        self.types.append(info.log_type)

    def flush(self) -> None:
        return None


class World:
    def __init__(self, options: AccessLogOptions, loggers: int = 1) -> None:
        self.loop = ManualLoop()
        self.logs = [Recorder() for _ in range(loggers)]
        self.schedule = LogSchedule(tuple(self.logs), options, Timers(self.loop.as_loop()))


def test_every_logger_sees_the_type_of_the_entry() -> None:
    world = World(AccessLogOptions(), loggers=2)
    world.schedule.write(proxied(), LogType.DOWNSTREAM_END)
    assert [log.types for log in world.logs] == [["DownstreamEnd"], ["DownstreamEnd"]]


class Broken(Recorder):
    def log(self, info: StreamInfo) -> None:
        super().log(info)
        raise ValueError("broken")


def test_a_log_that_fails_keeps_nothing_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each failure is told; those of a log that has failed before are marked, they are not logged again."""
    world = World(AccessLogOptions())
    told: list[tuple[object, object]] = []
    monkeypatch.setattr(
        world.loop,
        "call_exception_handler",
        lambda context: told.append((str(context["exception"]), context["known"])),
    )
    logs = [Recorder(), Broken(), Recorder(), Broken(), Recorder()]
    schedule = LogSchedule(tuple(logs), AccessLogOptions(), Timers(world.loop.as_loop()))
    schedule.write(proxied(), LogType.DOWNSTREAM_END)
    assert [log.types for log in logs] == [["DownstreamEnd"]] * 5
    assert told == [("broken", False)] * 2
    schedule.write(proxied(), LogType.DOWNSTREAM_END)
    assert [len(log.types) for log in logs] == [2] * 5
    assert told[2:] == [("broken", True)] * 2


def test_entries_repeat_until_they_are_cancelled() -> None:
    world = World(AccessLogOptions(flush_interval_s=2.0))
    repeated = world.schedule.repeat(proxied(), LogType.TCP_PERIODIC)
    assert repeated is not None
    world.loop.advance(1.9)
    assert world.logs[0].types == []
    world.loop.advance(4.5)
    assert world.logs[0].types == ["TcpPeriodic"] * 3
    repeated.cancel()
    repeated.cancel()
    world.loop.advance(10)
    assert world.logs[0].types == ["TcpPeriodic"] * 3


def test_nothing_repeats_without_an_interval() -> None:
    assert World(AccessLogOptions()).schedule.repeat(proxied(), LogType.TCP_PERIODIC) is None


def test_without_a_log_nothing_is_asked_for() -> None:
    options = AccessLogOptions(at_start=True, at_tunnel=True, flush_interval_s=1.0)
    schedule = World(options, loggers=0).schedule
    assert (schedule.at_start, schedule.at_tunnel, schedule.interval_s) == (False, False, None)
    schedule = World(options).schedule
    assert (schedule.at_start, schedule.at_tunnel, schedule.interval_s) == (True, True, 1.0)
