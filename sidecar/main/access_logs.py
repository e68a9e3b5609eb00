"""All access logs of the process: one buffered file for each path, shared by everybody who writes there."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from config.model.access_log import AccessLogSpec, FileAccessLogSpec, FilteredAccessLogSpec
from sidecar.telemetry.access_log.file import FileAccessLogger, LogFile
from sidecar.telemetry.access_log.filters import FilterCompiler, FilteredAccessLogger
from sidecar.telemetry.access_log.log_format import compile_log_format

if TYPE_CHECKING:
    from config.model.core import Node
    from sidecar.telemetry.access_log.api import AccessLogger
    from sidecar.telemetry.access_log.remote.build import RemoteAccessLogs
    from sidecar.transport.timers import Cancellable, Timers
    from stats.families import FilesystemStats

logger = logging.getLogger(__name__)


class AccessLogs:
    """Opens, flushes, reopens and closes. `get` raises OSError (file) and FormatError (format) at configuration time."""

    def __init__(
        self,
        stats: FilesystemStats,
        timers: Timers,
        filters: FilterCompiler,
        node: Node,
        *,
        flush_interval_s: float,
        flush_at_bytes: int,
    ) -> None:
        self._filters = filters
        self._node = node
        #: logs that go to services; set once there is a client for them
        self.remote: RemoteAccessLogs | None = None
        self._stats = stats
        self._timers = timers
        self._flush_interval_s = flush_interval_s
        self._flush_at_bytes = flush_at_bytes
        self._files: dict[str, LogFile] = {}
        self._counted: dict[str, tuple[int, int, int]] = {}
        self._timer: Cancellable | None = None

    def get(self, spec: AccessLogSpec) -> AccessLogger:
        if isinstance(spec, FilteredAccessLogSpec):
            return FilteredAccessLogger(self.get(spec.log), self._filters.compile(spec.filter))
        if not isinstance(spec, FileAccessLogSpec):
            assert self.remote is not None, "set before anything is built that logs"
            return self.remote.get(spec)
        render = compile_log_format(spec.format, self._node)
        file = self._files.get(spec.path)
        if file is None:
            file = self._files[spec.path] = LogFile(spec.path, self._flush_at_bytes)
            self._counted[spec.path] = (0, 0, 0)
        return FileAccessLogger(file, render)

    def start(self) -> None:
        """Flush on a timer from now on."""
        if self._files:
            self._timer = self._timers.after(self._flush_interval_s, self._on_timer)

    def _on_timer(self) -> None:
        for file in self._files.values():
            before = file.flushes
            file.flush()
            if file.flushes != before:
                self._stats.flushed_by_timer.inc()
        self._count()
        self.start()

    def _count(self) -> None:
        """Carry what the files counted over into the stats."""
        waiting = 0
        for path, file in self._files.items():
            entries, flushes, failures = self._counted[path]
            self._stats.write_buffered.add(file.entries - entries)
            self._stats.write_completed.add(file.flushes - flushes)
            self._stats.write_failed.add(file.write_failures - failures)
            self._counted[path] = (file.entries, file.flushes, file.write_failures)
            waiting += file.waiting_bytes
        self._stats.write_total_buffered.set(waiting)

    def reopen(self) -> None:
        """After log rotation (SIGUSR1, admin `/reopen_logs`)."""
        for file in self._files.values():
            try:
                file.reopen()
            except OSError as error:
                self._stats.reopen_failed.inc()
                logger.error("cannot reopen %s: %s", file.path, error.strerror)

    def close(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._timer = None
