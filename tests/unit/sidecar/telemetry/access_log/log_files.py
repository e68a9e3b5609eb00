"""Log files with the loop that writes some of them, and who reads from the other end of a pipe."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from sidecar.telemetry.access_log.file import LogFile
from sidecar.telemetry.access_log.thread_driver import ThreadDriver
from tests.support.process import wait_until


class Files:
    """Opens log files and has the loop that writes some of them; it turns while a test waits here."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        #: write everything by threads
        self.by_threads = False

    def open(self, path: str | Path, **options: Any) -> LogFile:
        file = LogFile(str(path), self.loop, **options)
        if self.by_threads:
            file._driver = ThreadDriver(file.writer)
        return file

    def turn(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def wait_until(self, probe: Callable[[], bool], what: str, interval_s: float = 0.005) -> None:
        def turned() -> bool:
            self.turn()
            return probe()

        wait_until(turned, timeout_s=10, what=what, interval_s=interval_s)

    def settle(self, file: LogFile) -> None:
        """Until all that it was given is written, or lost."""
        file.flush()
        self.wait_until(lambda: not file.waiting_bytes, "everything settled")


class Reader:
    """Reads in a thread all that comes, until it has been asked for enough."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._received = bytearray()
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended = True
        self._thread.join(5)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        while not self._ended:
            if poll.poll(10):
                self._received += os.read(self._descriptor, 1 << 20)

    def read(self, size: int) -> bytes:
        wait_until(lambda: len(self._received) >= size, timeout_s=5, what=f"{size} bytes")
        return bytes(self._received)


class Pipe:
    """Descriptor 1 leads into it. `read_all` reads until so many bytes are there, with no help but turns of the loop."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.read_end, self.write_end = os.pipe()

    def open_file(self, **options: Any) -> LogFile:
        """To be called in the test: pytest sets the descriptor itself before it."""
        os.dup2(self.write_end, 1)
        return self.files.open("/dev/stdout", **options)

    def read_all(self, size: int) -> bytes:
        received = bytearray()
        poll = select.poll()
        poll.register(self.read_end, select.POLLIN)
        deadline_s = time.monotonic() + 5
        while len(received) < size:
            self.files.turn()
            if poll.poll(10):
                received += os.read(self.read_end, 1 << 20)
            assert time.monotonic() < deadline_s, f"only {len(received)} bytes came"
        return bytes(received)

    def has(self, line: bytes, times: int) -> bool:
        """Whether it is whole entries, none twice."""
        return self.read_all(times * len(line)) == line * times

    def close(self) -> None:
        for end in (self.read_end, self.write_end):
            with contextlib.suppress(OSError):
                os.close(end)
