"""The process: what is built from a bootstrap, in which order it starts and stops. The composition root.

Order of start: stats, TLS contexts, clusters, listeners (compiled), admin, sockets bound, clusters ready, accept.
Everything that can be wrong with a configuration is found before the first socket is opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final

from config.model.bootstrap import Bootstrap
from config.model.cluster import ClusterSpec
from config.model.core import Address, DataSource, TrafficDirection
from config.model.listener import FilterChainSpec, ListenerSpec
from config.model.options import DrainStrategy, Options
from sidecar.listener.filter_chain import FilterChainMatcher
from sidecar.listener.listener import ConnectionLimit, Listener, ListenerSet
from sidecar.network.connection import FilterChain
from sidecar.network.registry import build_network_filter
from sidecar.policy.san import compile_san_matchers
from sidecar.telemetry.access_log.api import AccessLogger
from sidecar.telemetry.access_log.filters import FilterCompiler
from sidecar.telemetry.access_log.format import FormatError
from sidecar.telemetry.access_log.remote.build import RemoteAccessLogs
from sidecar.telemetry.failures import FailureLog
from sidecar.telemetry.tracing.context import TracerContext
from sidecar.telemetry.tracing.tracers import Tracers
from sidecar.telemetry.workload_directory import Directory, WorkloadDirectory
from sidecar.transport.drain import DrainState
from sidecar.transport.http1_codecs import http1_codecs
from sidecar.transport.local_address import local_address
from sidecar.transport.shared_counts import SharedCounts
from sidecar.transport.sockets import BindError
from sidecar.transport.timers import Timers
from sidecar.transport.tls_contexts import TlsConfigError, TlsContexts
from sidecar.upstream.api import Cluster
from sidecar.upstream.async_client import AsyncClientImpl
from sidecar.upstream.circuit_breaker import SHARED_COUNTS
from sidecar.upstream.clusters import ClusterManagerImpl
from sidecar.upstream.host_summary import ShownHost
from sidecar.upstream.resolver import Resolver
from sidecar.upstream.services import FilterContext, Services
from sidecar.worker import log
from sidecar.worker.access_logs import AccessLogs
from sidecar.worker.garbage import GarbageCollector
from sidecar.worker.part import ALONE, Part
from sidecar.worker.server_state import ServerState, StateKeeper, resident_bytes
from sidecar.worker.start_error import StartError
from sidecar.worker.stats_config import build_store
from sidecar.worker.stats_sinks import StatsSinks
from sidecar.worker.watchdog import Watchdog
from stats.expiry import Expiry
from stats.failure_family import FailureStats
from stats.families import (
    ListenerManagerStats,
    ListenerPerHandlerStats,
    ListenerStats,
    SslSocketFactoryStats,
    TlsStats,
)
from stats.filter_families import WorkloadDiscoveryStats
from stats.snapshot import StatsSource
from stats.store import Scope, Store, sanitize

logger = logging.getLogger(__name__)

#: How often housekeeping runs: uptime, memory gauges, expired things.
_HOUSEKEEPING_S: Final = 1.0

#: At the end connections are waited for this long: only for callbacks, not for peers.
_LAST_TURNS_S: Final = 1.0
#: So long may collectors take to answer the last spans.
_LAST_SPANS_S: Final = 1.0
#: The same for access logs that go to services.
_LAST_ENTRIES_S: Final = 1.0


def read_data_source(source: DataSource) -> bytes:
    """The bytes of a DataSource. Raises StartError naming the file or variable."""
    if source.inline is not None:
        return source.inline
    if source.environment_variable:
        value = os.environ.get(source.environment_variable)
        if value is None:
            raise StartError([f"environment variable {source.environment_variable} is not set"])
        return value.encode()
    try:
        with open(source.filename, "rb") as file:
            return file.read()
    except OSError as error:
        raise StartError([f"{source.filename}: {error.strerror}"]) from error


def _failure_log(options: Options, scope: Scope) -> FailureLog | None:
    """None when the command line turns it off; then there are no counters of it either."""
    if not options.failure_log_kb:
        return None
    stats = FailureStats(scope.scope("failures"))
    return FailureLog(
        stats, max_bytes=options.failure_log_kb * 1024, max_count=options.failure_log_max_records
    )


def _check_tls(chains: Iterable[FilterChainSpec], tls: TlsContexts) -> None:
    """Make the TLS contexts of all chains. Raises TlsConfigError with the problems of all of them."""
    problems: list[str] = []
    for chain in chains:
        if chain.tls is not None:
            try:
                tls.server(chain.tls)
            except TlsConfigError as error:
                problems += error.problems
    if problems:
        raise TlsConfigError(list(dict.fromkeys(problems)))


def shared_counts_of(bootstrap: Bootstrap) -> int:
    """How many numbers several processes share: the limit of connections, and those of clusters."""
    return 1 + SHARED_COUNTS * len(bootstrap.clusters)


class Process:
    """One proxy. `build` compiles everything, `start` opens sockets, `run` returns when it is to end."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        options: Options,
        loop: asyncio.AbstractEventLoop,
        part: Part = ALONE,
        shared_memory: int | None = None,
    ) -> None:
        """Raises ValueError for what the translation could not judge of the stats.

        `shared_memory`: with several processes, the descriptor of what they share.
        """
        self.bootstrap = bootstrap
        self.options = options
        self.part = part
        self.loop = loop
        self.started_s = time.time()
        self.timers = Timers(loop)
        self.drain = DrainState()
        self.store: Store = build_store(self.bootstrap.stats, options.stats_tags, self.bootstrap.telemetry)
        self.state = StateKeeper(self.store, self.started_s, part.concurrency)
        self.watchdog = Watchdog(self.store, part)
        self.garbage = GarbageCollector()
        self.listeners = ListenerSet()
        self.shared: SharedCounts | None = None
        if shared_memory is not None:
            count = shared_counts_of(bootstrap)
            self.shared = SharedCounts(shared_memory, count, part.concurrency, part.worker)
        self.limit = ConnectionLimit(
            bootstrap.global_max_downstream_connections,
            self.shared.take() if self.shared is not None else None,
        )
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.random = random.Random()
        scope = self.store.root
        self.listener_manager_stats = ListenerManagerStats(scope.scope("listener_manager"))
        self.access_logs = AccessLogs(
            scope,
            loop,
            self.timers,
            FilterCompiler(self.bootstrap.runtime, self.random, self.bootstrap.node),
            self.bootstrap.node,
            flush_interval_s=options.file_flush_interval_ms / 1000,
            flush_at_bytes=options.file_flush_min_size_kb * 1024,
            beside_others=part.concurrency > 1,
        )
        self.failures = _failure_log(options, scope)
        #: of clusters that have names; None: the system's
        self.resolver: Resolver | None = None
        self.services: Services | None = None
        self._stats_sinks: StatsSinks | None = None
        self.tracers: Tracers | None = None
        self._workload_directory = self._make_workload_directory()
        self.admin_loggers: tuple[AccessLogger, ...] = ()

    # building

    def build(self, known_problems: Sequence[str] = ()) -> None:
        """Compile everything from the bootstrap. Raises StartError with all problems, `known_problems` among them."""
        problems = list(known_problems)
        tls = TlsContexts({secret.name: secret for secret in self.bootstrap.secrets}, compile_san_matchers)
        try:
            clusters = self._make_clusters(self.bootstrap.clusters, tls)
        except TlsConfigError as error:
            problems += error.problems
            clusters = self._make_clusters((), tls)  # go on: the listeners may have problems too
        address = local_address(self.options.local_address_ip_version == "v6")
        client = AsyncClientImpl(clusters, self.timers, self.store.root, address, self._on_callback_failure)
        self.access_logs.remote = RemoteAccessLogs(client, self.bootstrap.node, self.timers, self.store.root)
        self.tracers = Tracers(
            TracerContext(
                client,
                self.timers,
                self.store.root,
                self.bootstrap.node,
                address,
                self.bootstrap.runtime,
                os.environ,
            )
        )
        directory = self._workload_directory
        self.services = services = Services(
            clusters=clusters,
            tls=tls,
            scope=self.store.root,
            timers=self.timers,
            node=self.bootstrap.node,
            drain=self.drain,
            read=read_data_source,
            access_logger=self.access_logs.get_noting,
            async_client=client,
            tracer=self.tracers.get,
            runtime=self.bootstrap.runtime,
            random=self.random,
            local_address=address,
            peer_lookup=directory.find if directory is not None else None,
            telemetry=self.bootstrap.telemetry,
            failures=self.failures,
        )
        for spec in self.bootstrap.listeners:
            try:
                self.listeners.add(self._build_listener(spec, services))
            except (StartError, TlsConfigError) as error:
                problems += [f"listener {spec.name}: {problem}" for problem in error.problems]
            except FormatError as error:
                problems.append(f"listener {spec.name}: {error}")
            problems += [f"listener {spec.name}: {problem}" for problem in self.access_logs.take_problems()]
        try:
            self.admin_loggers = tuple(map(self.access_logs.get_noting, self.bootstrap.admin.access_log))
        except FormatError as error:
            problems.append(f"admin: {error}")
        problems += [f"admin: access log {problem}" for problem in self.access_logs.take_problems()]
        if problems:
            raise StartError(problems)
        self._stats_sinks = self._make_stats_sinks()

    def _make_stats_sinks(self) -> StatsSinks | None:
        specs = self.bootstrap.stats_sinks
        if not specs:
            return None
        try:
            return StatsSinks(specs, self.store, self.clusters, self.loop, self.part, self.merged_stats())
        except OSError as error:
            raise StartError([f"stats_sinks: {error.strerror}"]) from error

    def merged_stats(self) -> Callable[[], StatsSource] | None:
        """Main of several processes: the stats of all of them as they were reported."""
        return None

    def _on_callback_failure(self, error: Exception) -> None:
        """Of a request of our own: to where everything goes that escapes from a callback."""
        self.timers.report("callback failed", error)

    def _make_workload_directory(self) -> WorkloadDirectory | None:
        """None: nobody tells of workloads."""
        if self.bootstrap.workload_discovery is None:
            return None
        network = self.bootstrap.node.metadata.get("NETWORK")
        total = WorkloadDiscoveryStats(self.store.root.scope("workload_discovery")).total
        return WorkloadDirectory(total, network if isinstance(network, str) else "")

    @property
    def workload_directory(self) -> WorkloadDirectory:
        """Who is at which address; only there if the bootstrap says where that is read."""
        assert self._workload_directory is not None
        return self._workload_directory

    def told_directory(self) -> Directory:
        """Whom to tell of workloads."""
        return self.workload_directory

    def _make_clusters(self, specs: tuple[ClusterSpec, ...], tls: TlsContexts) -> ClusterManagerImpl:
        return ClusterManagerImpl(
            specs,
            loop=self.loop,
            timers=self.timers,
            scope=self.store.root,
            spawn=self.spawn,
            tls=tls,
            new_codec=http1_codecs(self.bootstrap.runtime).client,
            build_upstream_filter=build_network_filter,
            shared=self.shared,
            resolver=self.resolver,
        )

    def _build_listener(self, spec: ListenerSpec, services: Services) -> Listener:
        prefix = spec.stat_prefix or sanitize(str(spec.address))
        scope = services.scope.scope(f"listener.{prefix}")
        context = FilterContext(services, spec.traffic_direction, spec.name, scope)
        chains = [*spec.filter_chains, *filter(None, [spec.default_filter_chain])]
        try:
            _check_tls(chains, services.tls)
        except TlsConfigError:
            with contextlib.suppress(StartError, FormatError):
                for each in chains:
                    for filter_spec in each.filters:
                        build_network_filter(filter_spec, context)  # access logs note their problems
            raise
        tls_stats = factory_stats = None
        if any(each.tls is not None for each in chains):
            tls_stats = TlsStats(scope.scope("ssl"))
            factory_stats = SslSocketFactoryStats(scope.scope("server_ssl_socket_factory"))

        def chain(chain_spec: FilterChainSpec) -> FilterChain:
            tls = services.tls.server(chain_spec.tls) if chain_spec.tls is not None else None
            if tls is not None:
                tls.publish(scope.scope("ssl"))
            return FilterChain(
                chain_spec,
                tuple(build_network_filter(each, context) for each in chain_spec.filters),
                tls,
                tls_stats,
                spec.per_connection_buffer_limit_bytes,
                factory_stats,
            )

        default = chain(spec.default_filter_chain) if spec.default_filter_chain is not None else None
        matcher = FilterChainMatcher([(each.match, chain(each)) for each in spec.filter_chains], default)
        self.listener_manager_stats.listener_added.inc()
        return Listener(
            spec,
            matcher,
            ListenerStats(scope),
            self._handler_stats(scope),
            services.scope,
            self.timers,
            self.limit,
            self.listeners.for_destination,
            tuple(map(services.access_logger, spec.access_log)),
            self.failures,
        )

    def _handler_stats(self, scope: Scope) -> ListenerPerHandlerStats:
        """`listener.NAME.worker_N`; main lists those of all workers."""
        handlers = range(self.part.concurrency) if self.part.worker is None else (self.part.worker,)
        stats = [ListenerPerHandlerStats(scope.scope(f"worker_{index}")) for index in handlers]
        return stats[0]

    # running

    def bind(self) -> None:
        """Bind all listeners. Raises StartError when an address is taken."""
        problems: list[str] = []
        bound: list[Address] = []
        for listener in self.listeners:
            try:
                listener.bind(bound, self.part.concurrency)
                bound += listener.local_addresses if listener.spec.bind_to_port else ()
                self.listener_manager_stats.listener_create_success.inc()
            except BindError as error:
                self.listener_manager_stats.listener_create_failure.inc()
                problems.append(f"listener {listener.name}: {error.strerror}")
        if problems:
            raise StartError(problems)

    async def start(self) -> None:
        """Warm, accept."""
        assert self.services is not None, "build() comes first"
        self.clusters.start(self.services)
        if not await self._clusters_ready():
            return
        for listener in self.listeners:
            await listener.start(self.loop)
        self.access_logs.start()
        self.begin_housekeeping()
        self.go_live()

    def begin_housekeeping(self) -> None:
        """What is done again and again, from now on."""
        self.spawn(self._housekeeping(), "housekeeping")
        sinks = self._stats_sinks
        if sinks is not None and self.part.is_main and not self.bootstrap.stats_flush_on_admin:
            self.spawn(self._flush_stats_at_intervals(sinks), "stats sinks")

    def go_live(self) -> None:
        """All listeners accept."""
        active = sum(1 for _ in self.listeners)
        self.listener_manager_stats.total_listeners_active.set(active)
        self.listener_manager_stats.workers_started.set(1)
        self.state.enter(ServerState.LIVE)
        logger.info("all dependencies initialized, %d listeners accept connections", active)

    async def _clusters_ready(self) -> bool:
        """False when the process was told to stop while it waited."""
        waiting = [self.loop.create_task(each) for each in (self.clusters.initialized(), self._stop.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        return not self._stop.is_set()

    @property
    def clusters(self) -> ClusterManagerImpl:
        assert self.services is not None
        clusters = self.services.clusters
        assert isinstance(clusters, ClusterManagerImpl)
        return clusters

    async def run(self) -> None:
        """Until `stop`."""
        await self._stop.wait()

    def stop(self) -> None:
        """End `run` at once."""
        self._stop.set()

    async def shutdown(self) -> None:
        """Close what is open, let connections tell of their end, write what is buffered; the loop may end after this."""
        for listener in self.listeners:
            listener.stop_accepting()
            listener.close_connections()
        if self._stats_sinks is not None:
            self._stats_sinks.close()
        remote_logs = self.access_logs.remote
        if self.tracers or remote_logs:
            await self.until_idle(_LAST_TURNS_S)  # streams that were cut off have spans and entries, too
        if self.tracers:
            await self.tracers.close(_LAST_SPANS_S)
        if remote_logs:
            await remote_logs.close(_LAST_ENTRIES_S)
        if self.services is not None:
            self.clusters.close()
        await self.until_idle(_LAST_TURNS_S)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.access_logs.close()

    def drain_listeners(self, *, inbound_only: bool, graceful: bool, skip_exit: bool) -> None:
        """Admin `/drain_listeners`: ask connections to end, and stop accepting: at once, or (graceful) after the drain time.

        `skip_exit` keeps the listeners for ever. A drain that is going on is not begun anew. The state of the server stays
        what it is, as in Envoy.
        """
        directions = frozenset({TrafficDirection.INBOUND}) if inbound_only else frozenset(TrafficDirection)
        drain_time_s = float(self.options.drain_time_s)
        news = not all(map(self.drain.is_draining, directions))
        if news:
            self.drain.begin(directions, self._drain_chance(drain_time_s))
        if skip_exit:
            return
        if not graceful:
            self._stop_accepting(directions)
        elif news:
            self.timers.after(drain_time_s, lambda: self._stop_accepting(directions))

    def begin_exit(self) -> None:
        """A signal asked for the end: nothing new is accepted, connections end as soon as they have nothing to do."""
        self.state.enter(ServerState.DRAINING)
        self.drain.begin(frozenset(TrafficDirection))
        self._stop_accepting(frozenset(TrafficDirection))
        for listener in self.listeners:
            listener.drain_connections()

    async def until_idle(self, timeout_s: float) -> None:
        """Wait until all connections have gone, `timeout_s` at most."""
        gone = asyncio.Event()

        def look() -> None:
            if not self.active_connections:
                gone.set()

        for listener in self.listeners:
            listener.on_idle = look
        look()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(gone.wait(), timeout_s)

    def _stop_accepting(self, directions: frozenset[TrafficDirection]) -> None:
        for listener in self.listeners:
            if listener.spec.traffic_direction in directions and not listener.draining:
                listener.stop_accepting()
                if self.part.is_main:
                    self.listener_manager_stats.listener_stopped.inc()

    def _drain_chance(self, drain_time_s: float) -> Callable[[], bool] | None:
        """Gradual: the chance to close grows from 0 to 1 over the drain time. Immediate: always."""
        if self.options.drain_strategy is DrainStrategy.IMMEDIATE or not drain_time_s:
            return None
        begin_s = self.timers.now()
        return lambda: random.random() * drain_time_s < self.timers.now() - begin_s

    def fail_health_check(self, failed: bool) -> None:
        """Admin `/healthcheck/fail` and `/healthcheck/ok`: `/ready`, and answers that ask clients to go elsewhere."""
        self.drain.health_check_failed = failed
        self.state.fail_health_check(failed)

    @property
    def may_end_at_once(self) -> bool:
        """Nobody would notice: a signal need not wait for anything."""
        return not self.active_connections

    @property
    def active_connections(self) -> int:
        return sum(len(listener.connections) for listener in self.listeners)

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str = "") -> asyncio.Task[None]:
        """The only way to start a background task: keeps the reference, counts and logs a failure."""
        task = self.loop.create_task(coroutine, name=name or getattr(coroutine, "__qualname__", "task"))
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.state.count_bug()
            logger.error("background task %s failed", task.get_name(), exc_info=error)

    def reopen_logs(self) -> None:
        """After log rotation (SIGUSR1, admin `/reopen_logs`)."""
        log.reopen()
        self.access_logs.reopen()

    def refresh_stats(self) -> None:
        """Bring the gauges up to date that nobody moves: before they are shown, and once a second."""
        self.state.refresh(total_connections=self.active_connections)
        self.access_logs.refresh()

    async def _flush_stats_at_intervals(self, sinks: StatsSinks) -> None:
        while True:
            await asyncio.sleep(self.bootstrap.stats_flush_interval_s)
            await self._flush_stats(sinks)

    async def _flush_stats(self, sinks: StatsSinks) -> None:
        self.refresh_stats()
        for _ in sinks.flush():
            await asyncio.sleep(0)

    def stats(self) -> StatsSource:
        """For the admin port to show; some bootstraps send them to the sinks then."""
        self.refresh_stats()
        if self._stats_sinks is not None and self.bootstrap.stats_flush_on_admin:
            self.spawn(self._flush_stats(self._stats_sinks), "stats sinks")
        return self.store

    def resident_bytes(self) -> int:
        """Memory in RAM, of all processes."""
        return resident_bytes()

    def hosts_of(self, cluster: Cluster) -> Iterable[ShownHost]:
        """For the admin port to show."""
        return cluster.hosts()

    def reset_counters(self) -> None:
        """Admin `/reset_counters`."""
        self.store.reset_counters()

    def log_levels_changed(self) -> None:
        """Admin `/logging`."""

    def ask_workers(self, path: str, query: Mapping[str, str], done: Callable[[], None]) -> bool:
        """Have the workers tell what an admin page shows, then call `done`. False: there is nobody to ask."""
        return False

    def look_after_others(self) -> None:
        """Every second: do the other processes live?"""

    async def _housekeeping(self) -> None:
        bootstrap = self.bootstrap
        flush_s = bootstrap.stats_flush_interval_s
        flush_at_s = self.loop.time()
        expiry = Expiry(
            self.store, flush_at_s, bootstrap.stats_eviction_interval_s, bootstrap.telemetry.series_expiry_s
        )
        while True:
            now_s = self.loop.time()
            self.refresh_stats()
            if now_s >= flush_at_s:
                flush_at_s = now_s + flush_s
                self.state.refresh_certificates(self._certificate_ends())
            for _ in itertools.chain(expiry.due(now_s), self.store.ceiling.tell_of_full()):
                await asyncio.sleep(0)
            self.look_after_others()
            self.garbage.look(now_s, time.process_time(), self.state.stats.memory_allocated.value)
            asleep_s = self.loop.time()
            await asyncio.sleep(_HOUSEKEEPING_S)
            self.watchdog.count(self.loop.time() - asleep_s - _HOUSEKEEPING_S)

    def _certificate_ends(self) -> list[float]:
        """When the certificates in use end, CAs included, as POSIX seconds."""
        assert self.services is not None
        return [
            each.expiration_time
            for context in self.services.tls.certificates(time.time())
            for each in (*context.ca, *context.chain)
        ]
