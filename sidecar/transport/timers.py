"""Timers: a coarse wheel for the many timeouts that seldom fire, the loop's own timers for the few short ones.

A request sets several timeouts (route, stream idle) and cancels them all a moment later, so setting and cancelling must
be cheap: in the wheel it is a dict insertion and a removal. A wheel timer fires up to one tick (100 ms) late, never early.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

TICK_S: Final = 0.1
#: Shorter delays use the loop's timers, which are exact.
EXACT_BELOW_S: Final = 2.0


class Cancellable(Protocol):
    def cancel(self) -> None: ...


class WheelTimer:
    """One pending call in the wheel."""

    __slots__ = ("_slot", "callback")

    def __init__(self, slot: dict[WheelTimer, None], callback: Callable[[], None]) -> None:
        self._slot: dict[WheelTimer, None] | None = slot
        self.callback: Callable[[], None] | None = callback
        slot[self] = None

    def cancel(self) -> None:
        """Harmless when it has fired or was cancelled."""
        if self._slot is not None:
            self._slot.pop(self, None)
            self._slot = None
        self.callback = None


class IdleTimer:
    """Fires after `timeout_s` without a `touch`. A touch costs one clock reading; the timer is re-armed lazily."""

    __slots__ = ("_callback", "_handle", "_last", "_timers", "timeout_s")

    def __init__(self, timers: Timers, timeout_s: float, callback: Callable[[], None]) -> None:
        self._timers = timers
        self.timeout_s = timeout_s
        self._callback: Callable[[], None] | None = callback
        self._last = timers.now()
        self._handle: Cancellable | None = timers.after(timeout_s, self._check)

    def touch(self) -> None:
        self._last = self._timers.now()

    @property
    def last_touch_s(self) -> float:
        """When it was touched last, on the clock of `Timers.now`."""
        return self._last

    def _check(self) -> None:
        if self._callback is None:
            return
        left = self._last + self.timeout_s - self._timers.now()
        if left > 0:
            self._handle = self._timers.after(left, self._check)
            return
        callback, self._callback, self._handle = self._callback, None, None
        callback()

    def cancel(self) -> None:
        self._callback = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Timers:
    """All timers of one event loop. `now` is the loop's monotonic clock in seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.now: Callable[[], float] = loop.time
        self.now_ns: Callable[[], int] = time.monotonic_ns
        self._slots: dict[int, dict[WheelTimer, None]] = {}
        self._ticker: asyncio.TimerHandle | None = None
        self._next_tick = 0

    def after(self, delay_s: float, callback: Callable[[], None]) -> Cancellable:
        """Call once, after `delay_s`: exactly if it is short, within a tick if it is long."""
        if delay_s < EXACT_BELOW_S:
            return self._loop.call_later(delay_s, callback)
        tick = int((self.now() + delay_s) / TICK_S) + 1
        slot = self._slots.get(tick)
        if slot is None:
            slot = self._slots[tick] = {}
        timer = WheelTimer(slot, callback)
        if self._ticker is None:
            self._next_tick = int(self.now() / TICK_S) + 1
            self._ticker = self._loop.call_later(TICK_S, self._turn)
        return timer

    def idle(self, timeout_s: float, callback: Callable[[], None]) -> IdleTimer:
        return IdleTimer(self, timeout_s, callback)

    def soon(self, callback: Callable[[], None]) -> None:
        """Call in the next turn of the loop: breaks recursion between two sides that call each other."""
        self._loop.call_soon(callback)

    def report(self, message: str, error: Exception, *, known: bool = False) -> None:
        """Tell the loop's exception handler, which counts and logs; `known`: it was told before, and logs nothing."""
        self._loop.call_exception_handler({"message": message, "exception": error, "known": known})

    def _turn(self) -> None:
        """Fire every slot that is due. The wheel stops turning when it is empty, so an idle process sleeps."""
        current = int(self.now() / TICK_S)
        while self._next_tick <= current:
            slot = self._slots.pop(self._next_tick, None)
            self._next_tick += 1
            while slot:
                timer, _ = slot.popitem()
                callback = timer.callback
                timer.cancel()
                if callback is not None:
                    self._run(callback)
        self._ticker = self._loop.call_later(TICK_S, self._turn) if self._slots else None

    def _run(self, callback: Callable[[], None]) -> None:
        """One failing callback must not stop the wheel: the loop's exception handler counts and logs it."""
        try:
            callback()
        except Exception as error:
            self.report("timer callback failed", error)
