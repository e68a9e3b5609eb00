"""Stats that belong to the process as a whole and exist from its start, whether or not they ever move."""

from __future__ import annotations

from typing import Any, Final

from config.bootstrap import ParsedBootstrap
from stats.families import RouterStats, RuntimeStats, ThreadLocalClusterManagerStats, WatchdogStats
from stats.store import Scope, Store

#: Envoy's defaults: a thread that has not moved for so long is a miss, or a big one.
MISS_S: Final = 0.2
MEGA_MISS_S: Final = 1.0


def make_standing_stats(scope: Scope, parsed: ParsedBootstrap) -> None:
    """`runtime.*`, `thread_local_cluster_manager.*` and the router counters of the proxy's own requests."""
    runtime = RuntimeStats(scope.scope("runtime"))
    # Envoy loads twice: once to read the bootstrap, once with the threads' view.
    runtime.load_success.add(2)
    runtime.override_dir_not_exists.add(2)
    runtime.num_keys.set(len(parsed.bootstrap.runtime))
    message: Any = parsed.message
    runtime.num_layers.set(len(message.layered_runtime.layers))
    clusters = len(parsed.bootstrap.clusters)
    for thread in ("main_thread", "worker_0"):
        threads = ThreadLocalClusterManagerStats(scope.scope(f"thread_local_cluster_manager.{thread}"))
        threads.clusters_inflated.set(clusters)
    RouterStats(scope.scope("http.async-client"))


class Watchdog:
    """Counts when the event loop was late. One loop is both Envoy's main thread and its worker."""

    def __init__(self, store: Store) -> None:
        self._stats = [
            WatchdogStats(store.root.scope(name))
            for name in ("main_thread", "workers", "server.main_thread", "server.worker_0")
        ]

    def count(self, late_s: float) -> None:
        """`late_s`: how much later than wanted the loop came round."""
        if late_s < MISS_S:
            return
        for stats in self._stats:
            stats.watchdog_miss.inc()
            if late_s >= MEGA_MISS_S:
                stats.watchdog_mega_miss.inc()
