"""A path that is open for appending, written without ever waiting in the system call where the kernel knows how."""

from __future__ import annotations

import errno
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

    `waits`: a system call may take its time all the same, which is for a thread. `is_shared`: a standard stream that others write to
    through the same open file, which has its offset and flags; it cannot be opened anew.
    """

    __slots__ = ("_owned", "is_pipe", "is_shared", "number", "waits", "write")

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        standard = _STANDARD_STREAMS.get(path)
        self.write: Callable[[memoryview], int]
        self.waits = False
        if standard is None:
            self.number = os.open(path, _FLAGS | os.O_CREAT, 0o644)
            self._owned, self.is_shared = True, False
            self.write = _plain(self.number)
        else:
            self._open_standard(standard)
        mode = os.fstat(self.number).st_mode
        self.is_pipe = stat.S_ISFIFO(mode)
        if stat.S_ISREG(mode) or stat.S_ISBLK(mode):
            self.waits = True  # a disk is always ready, and takes its time (open(2), O_NONBLOCK)

    def _open_standard(self, standard: int) -> None:
        mode = os.fstat(standard).st_mode
        if stat.S_ISREG(mode) or stat.S_ISSOCK(mode):
            self.number, self._owned, self.is_shared = standard, False, True
            self.write = _sending(standard) if stat.S_ISSOCK(mode) else _plain(standard)
            return
        self._owned = True
        try:
            # an open file of its own: to make the shared one non-blocking would change it for other programs too
            self.number = os.open(f"/proc/self/fd/{standard}", _FLAGS)
            self.is_shared = False
            self.write = _plain(self.number)
        except OSError:
            # it belongs to another user: it may be written to, but not opened
            self.number = os.dup(standard)
            self.is_shared = True
            if stat.S_ISFIFO(mode) and _pipes_need_not_block():
                self.write = self._write_at_once
            else:
                self._poll_before()

    def _poll_before(self) -> None:
        self.write = _polling(self.number)
        self.waits = True  # what is polled may be gone before it is written: others write there, too

    def _write_at_once(self, data: memoryview) -> int:
        """To a pipe that may block, and is told with each write not to. The kernel knows how for those of pipe(2), but not for one
        that was opened by a name: then a thread goes on.
        """
        try:
            return _at_once(self.number, data)
        except OSError as error:
            if error.errno not in _UNKNOWN:
                raise
        self._poll_before()
        raise BlockingIOError

    def wait(self, timeout_s: float) -> None:
        """Until it takes something again, or has failed; `timeout_s` at most."""
        _poll(self.number, timeout_s)

    def close(self) -> None:
        """Harmless when it is closed."""
        if self._owned:
            self._owned = False
            os.close(self.number)


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


#: How the kernel says that it does not know `_at_once`, for this file or at all.
_UNKNOWN: Final = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def _at_once(number: int, data: memoryview) -> int:
    """pwritev2(2)"""
    return os.pwritev(number, [data], -1, os.RWF_NOWAIT)


def _pipes_need_not_block() -> bool:
    """Whether `_at_once` works here: Linux 6.5 and later, unless a sandbox does not know the call."""
    reader, writer = os.pipe()
    try:
        return _at_once(writer, memoryview(b"x")) == 1
    except (OSError, AttributeError):
        return False
    finally:
        os.close(reader)
        os.close(writer)


def _sending(number: int) -> Callable[[memoryview], int]:
    def send(data: memoryview) -> int:
        borrowed = socket.socket(fileno=number)
        try:
            return borrowed.send(data, socket.MSG_DONTWAIT)
        finally:
            borrowed.detach()

    return send
