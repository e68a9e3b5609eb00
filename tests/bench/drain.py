"""Reads a named pipe and counts the lines, as a container's runtime reads what a proxy writes to its standard output.

As a process: `python -m tests.bench.drain PATH`. SIGTERM ends it when the pipe is empty, and it prints how many lines came.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.support.process import REPOSITORY, ChildProcess, wait_until

_BLOCK_BYTES = 1 << 16
_READY = "ready"


def count_lines(path: str) -> int:
    """Of a pipe that exists, until SIGTERM."""
    # for writing too: the end of one writer is not the end
    descriptor = os.open(path, os.O_RDWR)
    signal.signal(signal.SIGTERM, lambda *_: os.set_blocking(descriptor, False))
    print(_READY, flush=True)
    lines = 0
    try:
        while True:
            lines += os.read(descriptor, _BLOCK_BYTES).count(b"\n")
    except BlockingIOError:
        return lines
    finally:
        os.close(descriptor)


class Drain(ChildProcess):
    """A pipe at `path` and its reader, which waits when this returns."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        command = [sys.executable, "-m", "tests.bench.drain", str(path)]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        super().__init__(command, path.with_suffix(".lines"), environment)
        wait_until(lambda: _READY in self.log_text(), timeout_s=10, what="the reader of a pipe")

    def end(self) -> int:
        """The number of lines. Call it when the writers have ended. Raises RuntimeError when it had failed before."""
        self.terminate()
        *_, last = self.log_text().split()
        if not last.isdigit():
            raise RuntimeError(self.log_text())
        return int(last)


if __name__ == "__main__":
    print(count_lines(sys.argv[1]))
