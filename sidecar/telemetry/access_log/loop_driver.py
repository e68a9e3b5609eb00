"""Writes entries to pipes, sockets, terminals and other devices, on the event loop: there the kernel says when it would have to wait."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from sidecar.telemetry.access_log.entry_writer import EntryWriter


class Loop(Protocol):
    """Of an event loop. uvloop does not say what `remove_reader` did, where asyncio's type promises it."""

    def add_reader(self, fd: int, callback: Callable[[], None], /) -> object: ...
    def remove_reader(self, fd: int, /) -> object: ...


class LoopDriver:
    """What does not go at once goes when the loop says that there is room."""

    def __init__(self, writer: EntryWriter, loop: Loop, on_disk: Callable[[], None]) -> None:
        """`on_disk` is called when the path has become a file: others are to write it."""
        self.writer = writer
        self._loop: Loop | None = loop
        self._on_disk = on_disk
        #: In between, because uvloop makes a descriptor that it is given non-blocking: a shared one for other programs, too.
        self._room: select.epoll | None = None
        self._watched: int | None = None  # the descriptor that is in it

    def wake(self) -> bool:
        """Write what was added, now or when there is room."""
        if self._watched is None:
            self._write_or_watch()
        return True

    def forked(self) -> None:
        """In a child, whose loop is its parent's: what does not go at once waits for the next call."""
        self._loop = self._room = self._watched = None

    def finish(self) -> None:
        """Nothing more comes. `settle` is to follow."""
        self._stop_watching()
        self.writer.add_end()

    def write(self) -> bool:
        """As much as goes; False if there is more."""
        if self.writer.write(may_wait=False):
            return True
        if not self.writer.descriptor.waits:
            return False
        self._stop_watching()
        self._on_disk()
        return True

    def _write_or_watch(self) -> None:
        if self.writer.will_reopen:
            self._unwatch()  # before the descriptor is closed
        if self.write():
            self._unwatch()
        else:
            self._watch()

    def _watch(self) -> None:
        if self._watched is not None or self._loop is None:
            return
        number = self.writer.descriptor.number
        try:
            if self._room is None:
                self._room = select.epoll()
            self._room.register(number, select.EPOLLOUT)
        except OSError:  # no descriptor is left, or a device cannot be waited for: the next entries try again
            return
        self._loop.add_reader(self._room.fileno(), self._write_or_watch)
        self._watched = number

    def _unwatch(self) -> None:
        if self._watched is not None and self._room is not None and self._loop is not None:
            self._loop.remove_reader(self._room.fileno())
            self._room.unregister(self._watched)
            self._watched = None

    def _stop_watching(self) -> None:
        self._unwatch()
        if self._room is not None:
            self._room.close()
            self._room = None


def settle(drivers: Iterable[LoopDriver], deadline_s: float) -> None:
    """Without the loop, wait until all of them have written everything; on the monotonic clock it is over at `deadline_s`."""
    held_up = [driver for driver in drivers if not driver.write()]
    while held_up and (left_s := deadline_s - time.monotonic()) > 0:
        poll = select.poll()
        for driver in held_up:
            poll.register(driver.writer.descriptor.number, select.POLLOUT)
        poll.poll(left_s * 1000)
        held_up = [driver for driver in held_up if not driver.write()]
    for driver in held_up:
        while not driver.write():
            driver.writer.give_up()
