"""A path that is open for appending, written without ever waiting in the system call where the kernel knows how."""

from __future__ import annotations

import os
import select
import socket
import stat
from collections.abc import Callable
from typing import Final

_STANDARD_STREAMS: Final = {"/dev/stdout": 1, "/dev/stderr": 2}
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK


class Descriptor:
    """`write` takes a part and says how much; BlockingIOError: nothing now, `wait` for it. Both raise OSError.

    `is_shared`: a standard stream that others write to through the same open file, which has its offset and flags; it cannot be
    opened anew.
    """

    __slots__ = ("_number", "_owned", "is_shared", "write")

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        standard = _STANDARD_STREAMS.get(path)
        self.write: Callable[[memoryview], int]
        if standard is None:
            self._number = os.open(path, _FLAGS | os.O_CREAT, 0o644)
            self._owned, self.is_shared = True, False
            self.write = _plain(self._number)
            return
        mode = os.fstat(standard).st_mode
        if stat.S_ISREG(mode) or stat.S_ISSOCK(mode):
            self._number, self._owned, self.is_shared = standard, False, True
            self.write = _sending(standard) if stat.S_ISSOCK(mode) else _plain(standard)
            return
        self._owned = True
        try:
            # an open file of its own: to make the shared one non-blocking would change it for other programs too
            self._number = os.open(f"/proc/self/fd/{standard}", _FLAGS)
            self.is_shared = False
            self.write = _plain(self._number)
        except OSError:
            # it belongs to another user: it may be written to, but not opened
            self._number = os.dup(standard)
            self.is_shared = True
            self.write = _polling(self._number)

    @property
    def is_pipe(self) -> bool:
        return stat.S_ISFIFO(os.fstat(self._number).st_mode)

    def wait(self, timeout_s: float) -> None:
        """Until it takes something again, or has failed; `timeout_s` at most."""
        _poll(self._number, timeout_s)

    def close(self) -> None:
        """Harmless when it is closed."""
        if self._owned:
            self._owned = False
            os.close(self._number)


def _poll(number: int, timeout_s: float) -> bool:
    """Whether a write would say something now: that it takes bytes, or why not."""
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return bool(poll.poll(timeout_s * 1000))


def _plain(number: int) -> Callable[[memoryview], int]:
    return lambda data: os.write(number, data)


def _polling(number: int) -> Callable[[memoryview], int]:
    """Of an open file that may block: what a pipe that is not full takes for certain (pipe(7))."""

    def write(data: memoryview) -> int:
        if not _poll(number, 0):
            raise BlockingIOError
        return os.write(number, data[: select.PIPE_BUF])

    return write


def _sending(number: int) -> Callable[[memoryview], int]:
    def send(data: memoryview) -> int:
        borrowed = socket.socket(fileno=number)
        try:
            return borrowed.send(data, socket.MSG_DONTWAIT)
        finally:
            borrowed.detach()

    return send
