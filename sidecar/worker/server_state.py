"""Where the server is in its life, and the `server.*` stats that say so."""

from __future__ import annotations

import enum
import resource
import time
from collections.abc import Sequence
from typing import Final

from stats.families import ServerStats
from stats.store import Store

#: What `days_until_first_cert_expiring` says without any certificate (Envoy: the largest uint32).
_NO_CERTIFICATE_DAYS: Final = 2**32 - 1

_PAGE_BYTES: Final = resource.getpagesize()


class ServerState(enum.Enum):
    """Envoy's ServerInfo.State; the value is what `server.state` shows."""

    LIVE = 0
    DRAINING = 1
    PRE_INITIALIZING = 2
    INITIALIZING = 3


class StateKeeper:
    """Holds the state, and refreshes gauges that nobody increments."""

    def __init__(self, store: Store, started_s: float, concurrency: int = 1) -> None:
        self._started_s = started_s
        self._begin_monotonic_s = time.monotonic()
        self.stats = ServerStats(store.root.scope("server"))
        self.state = ServerState.INITIALIZING
        self.health_check_failed = False
        self.stats.concurrency.set(concurrency)
        self.stats.hot_restart_epoch.set(0)
        self.stats.days_until_first_cert_expiring.set(_NO_CERTIFICATE_DAYS)
        self.stats.state.set(self.state.value)
        self.stats.live.set(0)

    def enter(self, state: ServerState) -> None:
        if state is ServerState.LIVE and self.state is not ServerState.LIVE:
            self.stats.initialization_time_ms.record((time.monotonic() - self._begin_monotonic_s) * 1000)
        self.state = state
        self.refresh_state()

    def fail_health_check(self, failed: bool) -> None:
        self.health_check_failed = failed
        self.refresh_state()

    @property
    def shown(self) -> ServerState:
        """What `/ready` and `/server_info` show: a failed health check looks like draining."""
        if self.state is ServerState.LIVE and self.health_check_failed:
            return ServerState.DRAINING
        return self.state

    def refresh_state(self) -> None:
        self.stats.state.set(self.shown.value)
        self.stats.live.set(1 if self.shown is ServerState.LIVE else 0)

    @property
    def uptime_s(self) -> int:
        return int(time.monotonic() - self._begin_monotonic_s)

    def refresh(self, total_connections: int) -> None:
        stats = self.stats
        stats.uptime.set(self.uptime_s)
        stats.total_connections.set(total_connections)
        resident = resident_bytes()
        stats.memory_physical_size.set(resident)
        stats.memory_allocated.set(resident)
        stats.memory_heap_size.set(resident)

    def refresh_certificates(self, ends_s: Sequence[float]) -> None:
        """`ends_s`: when each certificate in use ends, as POSIX seconds."""
        days = max(0, int((min(ends_s) - time.time()) // 86400)) if ends_s else _NO_CERTIFICATE_DAYS
        self.stats.days_until_first_cert_expiring.set(days)

    def count_bug(self) -> None:
        """Something happened that cannot happen; the process goes on."""
        self.stats.envoy_bug_failures.inc()


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
