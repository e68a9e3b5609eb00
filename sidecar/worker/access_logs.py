"""All access logs of the process: one buffered file for each path, shared by everybody who writes there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from config.model.access_log import AccessLogSpec, FileAccessLogSpec, FilteredAccessLogSpec
from sidecar.telemetry.access_log.file import FileAccessLogger, LogFile, close_files
from sidecar.telemetry.access_log.filters import FilterCompiler, FilteredAccessLogger
from sidecar.telemetry.access_log.log_format import compile_log_format
from stats.families import FileAccessLogStats, FilesystemStats

if TYPE_CHECKING:
    import asyncio

    from config.model.core import Node
    from sidecar.stream_info import StreamInfo
    from sidecar.telemetry.access_log.api import AccessLogger
    from sidecar.telemetry.access_log.remote.build import RemoteAccessLogs
    from sidecar.transport.timers import Cancellable, Timers
    from stats.store import Scope


class _Nowhere:
    """In the place of a log that cannot be written."""

    def log(self, info: StreamInfo) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""


class AccessLogs:
    """Opens, flushes, reopens and closes. `get` raises OSError (file) and FormatError (format) at configuration time."""

    def __init__(
        self,
        scope: Scope,
        loop: asyncio.AbstractEventLoop,
        timers: Timers,
        filters: FilterCompiler,
        node: Node,
        *,
        flush_interval_s: float,
        flush_at_bytes: int,
        beside_others: bool = False,
    ) -> None:
        """`scope` is the root scope. `beside_others`: other processes have the same logs."""
        self._beside_others = beside_others
        self._filters = filters
        self._node = node
        #: logs that go to services; set once there is a client for them
        self.remote: RemoteAccessLogs | None = None
        self._scope = scope
        self._stats = FilesystemStats(scope.scope("filesystem"))
        self._file_stats: FileAccessLogStats | None = None  # made with the first file
        self._loop = loop
        self._timers = timers
        self._flush_interval_s = flush_interval_s
        self._flush_at_bytes = flush_at_bytes
        self._files: dict[str, LogFile] = {}
        self._counted: dict[str, _Counts] = {}
        self._timer: Cancellable | None = None
        self._problems: list[str] = []

    def get(self, spec: AccessLogSpec) -> AccessLogger:
        if isinstance(spec, FilteredAccessLogSpec):
            return FilteredAccessLogger(self.get(spec.log), self._filters.compile(spec.filter))
        if not isinstance(spec, FileAccessLogSpec):
            assert self.remote is not None, "set before anything is built that logs"
            return self.remote.get(spec)
        render = compile_log_format(spec.format, self._node)
        file = self._files.get(spec.path)
        if file is None:
            if self._file_stats is None:
                self._file_stats = FileAccessLogStats(self._scope.scope("access_logs.file_access_log"))
            file = self._files[spec.path] = LogFile(
                spec.path, self._loop, self._flush_at_bytes, beside_others=self._beside_others
            )
            self._counted[spec.path] = _Counts.of(file)
        return FileAccessLogger(file, render)

    def get_noting(self, spec: AccessLogSpec) -> AccessLogger:
        """As `get`, but a file that cannot be opened is noted, so that everything else that is wrong is found, too."""
        try:
            return self.get(spec)
        except OSError as error:
            self._problems.append(f"{error.filename}: {error.strerror}")
            return _Nowhere()

    def take_problems(self) -> list[str]:
        """What `get_noting` has noted since the last time, each once. With any of them the process does not start."""
        problems, self._problems = self._problems, []
        return list(dict.fromkeys(problems))

    def start(self) -> None:
        """Flush on a timer from now on."""
        if self._files:
            self._timer = self._timers.after(self._flush_interval_s, self._on_timer)

    def _on_timer(self) -> None:
        for file in self._files.values():
            if file.flush():
                self._stats.flushed_by_timer.inc()
        self.refresh()
        self.start()

    def refresh(self) -> None:
        """Carry what the files counted over into the stats, with the entries of all requests that have ended."""
        waiting = 0
        for path, file in self._files.items():
            file.make_lines()
            before, now = self._counted[path], _Counts.of(file)
            self._counted[path] = now
            stats = self._stats
            stats.write_buffered.add(now.entries - before.entries)
            stats.write_completed.add(now.flushes - before.flushes)
            stats.write_failed.add(now.write_failures - before.write_failures)
            stats.reopen_failed.add(now.reopen_failures - before.reopen_failures)
            if self._file_stats is not None:
                self._file_stats.logs_dropped_total.add(now.dropped - before.dropped)
            waiting += file.waiting_bytes
        self._stats.write_total_buffered.set(waiting)

    def reopen(self) -> None:
        """After log rotation (SIGUSR1, admin `/reopen_logs`)."""
        for file in self._files.values():
            file.reopen()

    def close(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
        close_files(self._files.values())
        self.refresh()
        self._files.clear()
        self._timer = None


class _Counts(NamedTuple):
    """Of a file, at some time."""

    entries: int
    flushes: int
    write_failures: int
    reopen_failures: int
    dropped: int

    @classmethod
    def of(cls, file: LogFile) -> _Counts:
        writer = file.writer
        return cls(file.entries, writer.flushes, writer.write_failures, writer.reopen_failures, file.dropped)
