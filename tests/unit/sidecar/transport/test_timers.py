"""The timer wheel: never early, at most a tick late, and asleep when empty."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sidecar.transport.timers import TICK_S, Timers


class FakeLoop:
    """The part of an event loop that timers use, with a clock that tests move."""

    def __init__(self) -> None:
        self.clock_s = 100.0
        self.calls: list[tuple[float, Callable[[], None], list[bool]]] = []
        self.failures: list[dict[str, Any]] = []

    def time(self) -> float:
        return self.clock_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> FakeHandle:
        alive = [True]
        self.calls.append((self.clock_s + delay_s, callback, alive))
        return FakeHandle(alive)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.failures.append(context)

    def advance(self, seconds: float) -> None:
        end_s = self.clock_s + seconds
        while True:
            due = sorted((call for call in self.calls if call[0] <= end_s), key=lambda call: call[0])
            if not due:
                break
            when, callback, alive = due[0]
            self.calls.remove(due[0])
            self.clock_s = max(self.clock_s, when)
            if alive[0]:
                callback()
        self.clock_s = end_s

    @property
    def waiting(self) -> int:
        return sum(1 for call in self.calls if call[2][0])


class FakeHandle:
    def __init__(self, alive: list[bool]) -> None:
        self._alive = alive

    def cancel(self) -> None:
        self._alive[0] = False


def make() -> tuple[FakeLoop, Timers]:
    loop = FakeLoop()
    as_loop: Any = loop
    return loop, Timers(as_loop)


def test_short_delays_are_exact() -> None:
    loop, timers = make()
    fired: list[float] = []
    timers.after(0.25, lambda: fired.append(loop.clock_s))
    loop.advance(1)
    assert fired == [100.25]


def test_long_delays_are_never_early_and_at_most_a_tick_late() -> None:
    loop, timers = make()
    fired: dict[float, float] = {}
    for delay_s in (2.0, 3.14, 15.0, 15.05, 60.0):
        timers.after(delay_s, lambda delay_s=delay_s: fired.setdefault(delay_s, loop.clock_s))
    loop.advance(120)
    for delay_s, at in fired.items():
        assert 100 + delay_s <= at <= 100 + delay_s + 2 * TICK_S
    assert len(fired) == 5


def test_wheel_sleeps_when_empty() -> None:
    loop, timers = make()
    timers.after(5, lambda: None)
    loop.advance(10)
    assert loop.waiting == 0
    timers.after(5, lambda: None).cancel()
    loop.advance(10)
    assert loop.waiting == 0


def test_cancel() -> None:
    loop, timers = make()
    fired: list[str] = []
    timer = timers.after(5, lambda: fired.append("cancelled"))
    timers.after(5, lambda: fired.append("kept"))
    timer.cancel()
    timer.cancel()
    loop.advance(10)
    assert fired == ["kept"]


def test_a_timer_may_cancel_its_neighbour_and_set_a_new_one() -> None:
    loop, timers = make()
    fired: list[str] = []
    second = timers.after(5.0, lambda: fired.append("second"))

    def first() -> None:
        fired.append("first")
        second.cancel()
        timers.after(5.0, lambda: fired.append("third"))

    timers.after(4.5, first)
    loop.advance(30)
    assert fired == ["first", "third"]


def test_a_failing_callback_does_not_stop_the_wheel() -> None:
    loop, timers = make()
    fired: list[str] = []

    def fail() -> None:
        raise ValueError("boom")

    timers.after(5, fail)
    timers.after(6, lambda: fired.append("later"))
    loop.advance(10)
    assert fired == ["later"]
    assert [str(each["exception"]) for each in loop.failures] == ["boom"]


def test_idle_timer_counts_from_the_last_touch() -> None:
    loop, timers = make()
    fired: list[float] = []
    idle = timers.idle(10, lambda: fired.append(loop.clock_s))
    loop.advance(8)
    idle.touch()
    loop.advance(8)
    assert fired == []
    loop.advance(4)
    assert len(fired) == 1
    assert 118 <= fired[0] <= 118.3


def test_idle_timer_cancelled() -> None:
    loop, timers = make()
    fired: list[int] = []
    idle = timers.idle(1, lambda: fired.append(1))
    idle.cancel()
    idle.cancel()
    loop.advance(10)
    assert fired == []


def test_on_a_real_loop() -> None:
    async def scenario() -> str:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        Timers(loop).after(0.001, lambda: future.set_result("fired"))
        return await asyncio.wait_for(future, 5)

    assert asyncio.run(scenario()) == "fired"
