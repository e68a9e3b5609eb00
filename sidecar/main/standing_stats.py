"""Stats that belong to the process as a whole and exist from its start, whether or not they ever move."""

from __future__ import annotations

from typing import Any

from config.bootstrap import ParsedBootstrap
from stats.families import RouterStats, RuntimeStats, ThreadLocalClusterManagerStats, WatchdogStats
from stats.store import Scope


def make_standing_stats(scope: Scope, parsed: ParsedBootstrap, concurrency: int) -> None:
    """`runtime.*`, `thread_local_cluster_manager.*` and the router counters of the proxy's own requests."""
    runtime = RuntimeStats(scope.scope("runtime"))
    # Envoy loads twice: once to read the bootstrap, once with the threads' view.
    runtime.load_success.add(2)
    runtime.override_dir_not_exists.add(2)
    runtime.num_keys.set(len(parsed.bootstrap.runtime))
    message: Any = parsed.message
    runtime.num_layers.set(len(message.layered_runtime.layers))
    clusters = len(parsed.bootstrap.clusters)
    workers = [f"worker_{index}" for index in range(concurrency)]
    for thread in ("main_thread", *workers):
        threads = ThreadLocalClusterManagerStats(scope.scope(f"thread_local_cluster_manager.{thread}"))
        threads.clusters_inflated.set(clusters)
    for thread in ("workers", *(f"server.{worker}" for worker in workers)):
        WatchdogStats(scope.scope(thread))
    RouterStats(scope.scope("http.async-client"))
