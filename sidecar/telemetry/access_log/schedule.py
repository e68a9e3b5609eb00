"""When the access logs of a connection manager, a TCP proxy or a listener write: at the end, and before it where they are asked to."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from config.model.access_log import AccessLogOptions
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.api import AccessLogger
from sidecar.transport.timers import Cancellable, Timers


class LogType(StrEnum):
    """`%ACCESS_LOG_TYPE%`, by Envoy's names."""

    NOT_SET = "NotSet"  # of a listener's log
    TCP_UPSTREAM_CONNECTED = "TcpUpstreamConnected"
    TCP_PERIODIC = "TcpPeriodic"
    TCP_CONNECTION_END = "TcpConnectionEnd"
    DOWNSTREAM_START = "DownstreamStart"
    DOWNSTREAM_PERIODIC = "DownstreamPeriodic"
    DOWNSTREAM_TUNNEL = "DownstreamTunnelSuccessfullyEstablished"
    DOWNSTREAM_END = "DownstreamEnd"


#: Looking a member up in its class costs as much as writing the entry down.
DOWNSTREAM_END: Final = LogType.DOWNSTREAM_END


class LogSchedule:
    """Compiled once. `at_start`, `at_tunnel` and `interval_s` say what is asked for besides the entry at the end."""

    __slots__ = ("_loggers", "_reported", "_timers", "at_start", "at_tunnel", "interval_s")

    def __init__(self, loggers: tuple[AccessLogger, ...], options: AccessLogOptions, timers: Timers) -> None:
        self._loggers: Final = loggers
        self._timers: Final = timers
        self._reported: Final[set[int]] = set()
        self.at_start: Final = options.at_start and bool(loggers)
        self.at_tunnel: Final = options.at_tunnel and bool(loggers)
        self.interval_s: Final = options.flush_interval_s if loggers else None

    def __bool__(self) -> bool:
        """Whether there is any log."""
        return bool(self._loggers)

    def write(self, info: StreamInfo, log_type: LogType) -> None:
        """To each log. One that raises does not keep the entry from those after it."""
        info.log_type = log_type
        rest = iter(self._loggers)
        while True:
            try:
                for access_logger in rest:
                    access_logger.log(info)
            except Exception as error:
                self._report(access_logger, error)
            else:
                return

    def _report(self, failed: AccessLogger, error: Exception) -> None:
        """Counted each time, logged once."""
        known = id(failed) in self._reported
        self._reported.add(id(failed))
        self._timers.report("an access log failed", error, known=known)

    def repeat(self, info: StreamInfo, log_type: LogType) -> Cancellable | None:
        """Write again and again until it is cancelled; None if no interval is configured."""
        if self.interval_s is None:
            return None
        return _Repeated(self._timers, self.interval_s, lambda: self.write(info, log_type))


class _Repeated:
    __slots__ = ("_callback", "_interval_s", "_timer", "_timers")

    def __init__(self, timers: Timers, interval_s: float, callback: Callable[[], None]) -> None:
        self._timers = timers
        self._interval_s = interval_s
        self._callback = callback
        self._timer: Cancellable | None = timers.after(interval_s, self._turn)

    def _turn(self) -> None:
        self._timer = self._timers.after(self._interval_s, self._turn)
        self._callback()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
