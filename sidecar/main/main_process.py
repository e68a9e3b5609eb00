"""Main of several workers: it binds and starts them, has the admin server, and serves nobody itself.

Its configuration is built as in every process: so what is wrong is found before a worker starts, and admin pages have
something to show. Its clusters do not resolve and its listeners do not accept.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING, Final, cast

from sidecar.ipc.messages import (
    DrainListeners,
    Exit,
    FailHealthCheck,
    Question,
    ReopenLogs,
    ResetCounters,
    SetLogLevels,
    Start,
    Workloads,
)
from sidecar.main.shared_resolver import SharedResolver
from sidecar.main.workers import Workers
from sidecar.transport.shared_counts import new_memory
from sidecar.upstream.host_summary import added_up
from sidecar.upstream.resolver import SystemResolver
from sidecar.worker import log
from sidecar.worker.part import Part
from sidecar.worker.process import Process, shared_counts_of
from stats.istio import NAMESPACE
from stats.worker_family import WorkerStats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from config.model.bootstrap import Bootstrap
    from config.model.options import Options
    from config.model.workload_discovery import DiscoveredWorkload
    from sidecar.telemetry.failures import Failure
    from sidecar.telemetry.workload_directory import Directory
    from sidecar.upstream.api import Cluster
    from sidecar.upstream.host_summary import ShownHost, Summaries
    from stats.snapshot import StatsSource

logger = logging.getLogger(__name__)

_WORKLOADS_A_MESSAGE: Final = 200

#: So long may workers take to end at once: last spans and entries, then the last report.
_LAST_WORDS_S: Final = 8.0


class MainProcess(Process):
    """A `Process` whose part is that of main. What it is told it tells its workers."""

    def __init__(self, bootstrap: Bootstrap, options: Options, loop: asyncio.AbstractEventLoop) -> None:
        self._memory = new_memory(shared_counts_of(bootstrap), options.concurrency)
        super().__init__(bootstrap, options, loop, Part(options.concurrency, None), self._memory)
        resolver = SharedResolver(SystemResolver(loop), loop, self.spawn)
        self._workers = Workers(
            options.concurrency,
            loop,
            WorkerStats(self.store.root.scope("workers")),
            self._sockets_of,
            self._new_start,
            self._on_death,
            self._on_failures,
            resolver.ask,
        )
        #: what workers have answered the last time
        self._hosts: dict[int, Summaries] = {}
        self._drains: tuple[DrainListeners, ...] = ()
        self._told: ToldDirectory | None = None

    def _sockets_of(self, worker: int) -> tuple[dict[str, int], list[int]]:
        own = {listener.name: listener.descriptors(worker) for listener in self.listeners}
        counts = {name: len(each) for name, each in own.items()}
        return counts, [self._memory, *itertools.chain(*own.values())]

    def _new_start(self, worker: int, sockets: dict[str, int]) -> Start:
        return Start(
            self.bootstrap,
            self.options,
            worker,
            sockets,
            log.logger_levels(),
            self._workers.resets,
            self.drain.health_check_failed,
            self._drains,
            self._told.workloads if self._told is not None else None,
        )

    def _on_death(self, worker: int) -> None:
        """What a worker held, others may have now."""
        assert self.shared is not None, "there are several processes"
        self.shared.clear(worker)
        self._hosts.pop(worker, None)

    def _on_failures(self, failures: tuple[Failure, ...], failed: int) -> None:
        if self.failures is not None:
            self.failures.take_over(failures, failed)

    # life

    async def start(self) -> None:
        """Returns when all workers serve, or the process was told to stop. Raises StartError."""
        if any(sink.address is None for sink in self.bootstrap.stats_sinks):
            assert self.services is not None, "build() comes first"
            self.clusters.start(self.services)  # main has a connection of its own to such a sink
        starting = self.loop.create_task(self._workers.start())
        stopped = self.loop.create_task(self.run())
        await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not starting.done():
            starting.cancel()
            return
        starting.result()
        self.access_logs.start()  # that of the admin port
        self.begin_housekeeping()
        interval_s = self.bootstrap.stats_eviction_interval_s or self.bootstrap.telemetry.series_expiry_s
        if interval_s:
            self.spawn(self._forget_series(interval_s), "series of dead workers")
        self.go_live()

    async def _forget_series(self, interval_s: float) -> None:
        """Series that only workers had that have died are nobody's to take off the list."""
        while True:
            await asyncio.sleep(interval_s)
            self._workers.processes.expire(lambda stat: stat.name.startswith(f"{NAMESPACE}."))

    @property
    def may_end_at_once(self) -> bool:
        """What main knows of the workers' connections may be old."""
        return False

    @property
    def active_connections(self) -> int:
        return self._workers.connections

    def begin_exit(self) -> None:
        self._workers.begin_exit()
        self._workers.tell(Exit(drain=True))
        super().begin_exit()

    async def until_idle(self, timeout_s: float) -> None:
        await self._workers.until_ended(timeout_s)

    async def shutdown(self) -> None:
        self._workers.begin_exit()
        self._workers.tell(Exit(drain=False))
        await self._workers.until_ended(_LAST_WORDS_S)
        await self._workers.close()
        await super().shutdown()

    # what all are told

    def drain_listeners(self, *, inbound_only: bool, graceful: bool, skip_exit: bool) -> None:
        message = DrainListeners(inbound_only, graceful, skip_exit)
        if message not in self._drains:
            self._drains += (message,)
        self._workers.tell(message)
        super().drain_listeners(inbound_only=inbound_only, graceful=graceful, skip_exit=skip_exit)

    def fail_health_check(self, failed: bool) -> None:
        self._workers.tell(FailHealthCheck(failed))
        super().fail_health_check(failed)

    def reopen_logs(self) -> None:
        self._workers.tell(ReopenLogs())
        super().reopen_logs()

    def told_directory(self) -> Directory:
        self._told = ToldDirectory(self.workload_directory, self._workers.tell)
        return self._told

    def log_levels_changed(self) -> None:
        self._workers.tell(SetLogLevels(log.logger_levels()))

    def reset_counters(self) -> None:
        self._workers.tell(ResetCounters(self._workers.count_reset()))
        super().reset_counters()

    # what all are asked

    def look_after_others(self) -> None:
        self._workers.look()

    def refresh_stats(self) -> None:
        self.state.refresh(total_connections=0)  # those of the workers are added
        self.access_logs.refresh()

    def merged_stats(self) -> Callable[[], StatsSource]:
        return self._merged

    def _merged(self) -> StatsSource:
        self.clusters.refresh_stats()
        return self._workers.processes.merged(self.store)

    def resident_bytes(self) -> int:
        return self.stats().gauges["server.memory_physical_size"].value

    def stats(self) -> StatsSource:
        super().stats()
        return self._merged()

    def ask_workers(self, path: str, query: Mapping[str, str], done: Callable[[], None]) -> bool:
        question = _QUESTIONS.get(path)
        if question is None:
            return False
        if query.get("histogram_buckets") == "prometheusnative":
            question = Question.FINE_STATS

        def take(answers: dict[int, object]) -> None:
            if question is Question.HOSTS:
                self._hosts |= cast("dict[int, Summaries]", answers)
            done()

        self._workers.ask(question, take)
        return True

    def hosts_of(self, cluster: Cluster) -> Iterable[ShownHost]:
        known = [{cluster.name: each.get(cluster.name, ())} for each in self._hosts.values()]
        return added_up(known)[cluster.name] if known else cluster.hosts()


class ToldDirectory:
    """The directories of workloads of all processes."""

    def __init__(self, own: Directory, tell: Callable[[object], None]) -> None:
        self._own = own
        self._tell = tell
        #: those that a new worker begins with
        self.workloads: tuple[DiscoveredWorkload, ...] = ()

    def replace(self, workloads: Iterable[DiscoveredWorkload]) -> None:
        """At start, when there are no workers yet."""
        for _ in self.replace_in_steps(workloads):
            pass

    def replace_in_steps(self, workloads: Iterable[DiscoveredWorkload]) -> Iterator[None]:
        source = iter(workloads)
        told: list[DiscoveredWorkload] = []
        while piece := tuple(itertools.islice(source, _WORKLOADS_A_MESSAGE)):
            told += piece
            yield
        self.workloads = tuple(told)
        for begin in range(0, max(1, len(told)), _WORKLOADS_A_MESSAGE):
            end = begin + _WORKLOADS_A_MESSAGE
            self._tell(Workloads(self.workloads[begin:end], first=begin == 0, last=end >= len(told)))
            yield
        yield from self._own.replace_in_steps(told)


#: What is asked before an answer; by then workers have done what they were told before.
_QUESTIONS: Final = {
    "/clusters": Question.HOSTS,
    "/config_dump": Question.HOSTS,
    "/drain_listeners": Question.STATS,
    "/failures": Question.STATS,
    "/healthcheck/fail": Question.STATS,
    "/healthcheck/ok": Question.STATS,
    "/logging": Question.STATS,
    "/memory": Question.STATS,
    "/reopen_logs": Question.STATS,
    "/reset_counters": Question.STATS,
    "/stats": Question.STATS,
    "/stats/prometheus": Question.STATS,
}
