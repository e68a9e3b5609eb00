"""The extension point for access logs."""

from __future__ import annotations

from typing import Protocol

from sidecar.stream_info import StreamInfo


class AccessLogger(Protocol):
    """One configured log. Called once for each finished stream or TCP session, after the answer was written."""

    def log(self, info: StreamInfo) -> None:
        """Take note of `info` now: it may change later, but for the `settled` values (see `Operator`) of a request that has ended.

        Must not block or raise; the entry may wait for `flush`.
        """

    def flush(self) -> None:
        """Write what waits. Called on a timer (`--file-flush-interval-msec`) and when the process ends."""
