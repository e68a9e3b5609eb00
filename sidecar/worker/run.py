"""The life of a worker: configuration from main, live objects, traffic, main's orders, end.

When main is gone, so is the reason to serve: the worker drains and ends.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import socket
from typing import Final

import uvloop

from config.model.bootstrap import Bootstrap
from config.model.options import Options
from config.model.workload_discovery import DiscoveredWorkload
from sidecar.ipc.channel import Channel
from sidecar.ipc.descriptors import receive_descriptors
from sidecar.ipc.messages import (
    Alive,
    Answer,
    Ask,
    DrainListeners,
    Exit,
    FailHealthCheck,
    NotStarted,
    Question,
    ReopenLogs,
    Report,
    ResetCounters,
    Resolved,
    SetLogLevels,
    Start,
    Started,
    Workloads,
)
from sidecar.telemetry.failures import Failure
from sidecar.transport.sockets import raise_descriptor_limit
from sidecar.upstream.host_summary import summaries
from sidecar.worker import log
from sidecar.worker.failure import loop_failure
from sidecar.worker.main_resolver import MainResolver
from sidecar.worker.part import Part
from sidecar.worker.process import Process
from sidecar.worker.start_error import StartError
from stats.changes import ChangeLog

logger = logging.getLogger(__name__)

#: How often main is told the stats without having asked: so much is lost of a worker that dies.
_REPORT_S: Final = 2.0
#: A report is left out while main has so much still to read.
_MAX_WAITING_BYTES: Final = 1024 * 1024
#: How long main may take to read the last report.
_LAST_REPORT_S: Final = 2.0


def run(descriptor: int) -> int:
    """`descriptor`: of the socket to main. Waits until it is told what to do. Returns the exit code."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # a terminal sends them to main, too
    sock = socket.socket(fileno=descriptor)
    descriptors = receive_descriptors(sock)
    if descriptors is None:
        return 0
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(sock, descriptors))


async def _run(sock: socket.socket, descriptors: list[int]) -> int:
    loop = asyncio.get_running_loop()
    worker = Worker(loop)
    loop.add_signal_handler(signal.SIGTERM, worker.begin_exit)
    loop.add_signal_handler(signal.SIGUSR1, worker.reopen_logs)
    await worker.channel.open(loop, sock)
    start = await worker.started
    if start is None:
        return 1
    try:
        await worker.serve(start, descriptors)
    except StartError as error:
        worker.channel.send(NotStarted(tuple(error.problems)))
        return 1
    finally:
        worker.channel.close()
        await worker.channel.until_ended(_LAST_REPORT_S)
    return 0


class Worker:
    """Hears main, and does what it says."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.channel = Channel(self._on_message, self._on_end)
        self._resolver = MainResolver(self.channel.send)
        #: the first message; None: main has gone before
        self.started: asyncio.Future[Start | None] = loop.create_future()
        self._process: Process | None = None
        self._changes: ChangeLog | None = None
        self._resets = 0
        self._failures_told = 0
        self._workloads: list[DiscoveredWorkload] | None = None
        self._replacing = asyncio.Lock()
        self._exiting = False
        #: what was said before there was a process
        self._early: list[object] = []

    async def serve(self, start: Start, descriptors: list[int]) -> None:
        """Returns when it is to end. Raises StartError."""
        _set_up_log(start)
        part = Part(start.options.concurrency, start.worker)
        process = self._process = Process(start.bootstrap, start.options, self._loop, part, descriptors[0])
        process.resolver = self._resolver
        self._loop.set_exception_handler(loop_failure(process))
        if start.workloads is not None:
            process.workload_directory.replace(start.workloads)
        process.build()
        process.fail_health_check(start.health_check_failed)
        raise_descriptor_limit()
        sockets = iter(descriptors[1:])
        for listener in process.listeners:
            listener.adopt(itertools.islice(sockets, start.sockets[listener.name]))
        process.store.reset_counters()  # main has built the same, and has counted it
        self._changes = ChangeLog(process.store)
        self._resets = start.resets
        try:
            for message in (*start.drains, *self._early):
                self._on_message(message)
            process.garbage.settle()
            await process.start()
            self.channel.send(Started())
            process.spawn(self._report_at_intervals(), "reports")
            process.spawn(self._say_alive(), "signs of life")
            await process.run()
        finally:
            await process.shutdown()
            self._report()

    def begin_exit(self) -> None:
        """Drain, then end."""
        process = self._process
        if process is None:
            self._early.append(Exit(drain=True))
            return
        if self._exiting:
            return
        self._exiting = True
        process.spawn(self._drain(process), "drain")

    async def _drain(self, process: Process) -> None:
        process.begin_exit()
        await process.until_idle(process.options.drain_time_s)
        process.stop()

    def reopen_logs(self) -> None:
        if self._process is not None:
            self._process.reopen_logs()

    # main

    def _on_end(self) -> None:
        self._resolver.end()
        if not self.started.done():
            self.started.set_result(None)
        elif not self._exiting:
            logger.warning("main has gone, draining")
            self.begin_exit()

    def _on_message(self, message: object) -> None:
        process = self._process
        match message:
            case Start():
                self.started.set_result(message)
            case _ if process is None:
                self._early.append(message)
            case Ask(number, question):
                self._answer(process, number, question)
            case Resolved():
                self._resolver.take(message)
            case ResetCounters(resets):
                process.reset_counters()
                self._resets = resets
                if self._changes is not None:
                    self._changes.counters_were_reset()
            case SetLogLevels(levels):
                log.set_loggers(levels)
            case ReopenLogs():
                process.reopen_logs()
            case FailHealthCheck(failed):
                process.fail_health_check(failed)
            case DrainListeners(inbound_only, graceful, skip_exit):
                process.drain_listeners(inbound_only=inbound_only, graceful=graceful, skip_exit=skip_exit)
            case Workloads():
                self._take_workloads(process, message)
            case Exit(drain):
                self.begin_exit()
                if not drain:
                    process.stop()
            case _:
                logger.error("main said %s, which nobody understands", type(message).__name__)

    def _answer(self, process: Process, number: int, question: Question) -> None:
        value: object = None
        if question is Question.FINE_STATS:
            for histogram in process.store.histograms.values():
                histogram.keep_fine()
        if question is Question.HOSTS:
            value = summaries(process.clusters)
        else:
            self._report()
        self.channel.send(Answer(number, value))

    def _take_workloads(self, process: Process, message: Workloads) -> None:
        if message.first:
            self._workloads = []
        told = self._workloads
        if told is None:
            return
        told += message.workloads
        if message.last:
            self._workloads = None
            process.spawn(self._replace_workloads(process, told), "workloads")

    async def _replace_workloads(self, process: Process, workloads: list[DiscoveredWorkload]) -> None:
        """One after the other, and traffic in between."""
        async with self._replacing:
            for _ in process.workload_directory.replace_in_steps(workloads):
                await asyncio.sleep(0)

    async def _report_at_intervals(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_S)
            self._report()

    async def _say_alive(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_S)
            self.channel.send(Alive())

    def _report(self) -> None:
        if self._changes is None or self._process is None or self.channel.waiting_bytes > _MAX_WAITING_BYTES:
            return
        process = self._process
        process.refresh_stats()
        failures: tuple[Failure, ...] = ()
        failed = 0
        if process.failures is not None:
            failed = process.failures.total - self._failures_told
            failures = process.failures.last(failed)
            self._failures_told = process.failures.total
        self.channel.send(
            Report(self._changes.take(), self._resets, process.active_connections, failures, failed)
        )


def _set_up_log(start: Start) -> None:
    options: Options = start.options
    log.set_up(options.log_level, (), _formatter(start.bootstrap, options, start.worker), options.log_path)
    log.set_loggers(start.log_levels)


def _formatter(bootstrap: Bootstrap, options: Options, worker: int) -> log.SpdlogFormatter:
    return log.formatter_of(bootstrap.log_format, options, prefix=f"[worker {worker}] ")
