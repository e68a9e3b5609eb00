"""The workers of main: started, watched, replaced when they die, asked and told things."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sidecar.ipc.messages import Alive, Answer, Ask, NotStarted, Question, Report, Resolve, Resolved, Started
from sidecar.main.child import Child
from sidecar.worker.start_error import StartError
from stats.changes import apply
from stats.processes import Processes
from stats.snapshot import Snapshot

if TYPE_CHECKING:
    from config.model.cluster import DnsLookupFamily
    from sidecar.ipc.messages import Start
    from sidecar.main.shared_resolver import Tell
    from sidecar.telemetry.failures import Failure
    from stats.worker_family import WorkerStats

logger = logging.getLogger(__name__)

#: So long is waited for answers; who is late is taken as it was the last time.
ANSWER_S: Final = 0.2
#: A worker that lived for a shorter time died quickly.
_QUICK_S: Final = 15.0  # above what it takes to see that it hangs
#: The first replacement comes at once; of those that die quickly each waits twice as long as the one before.
_FIRST_DELAY_S: Final = 0.5
_LONGEST_DELAY_S: Final = 30.0
#: A worker says something every two seconds. One that has been silent at so many looks in a row (they are a second apart) hangs. Looks
#: are counted, not seconds: when the whole machine stood still, nobody has been looked at.
SILENT_LOOKS: Final = 10
#: One that does not serve yet may have much to build.
STARTING_LOOKS: Final = 60

Done = Callable[[dict[int, object]], None]


class _Round:
    """One question to all workers, and the answers that are in."""

    def __init__(self, asked: set[Child], done: Done) -> None:
        self.waiting = asked
        self.answers: dict[int, object] = {}
        self.timer: asyncio.TimerHandle | None = None
        self._done = done

    def take(self, child: Child, answer: Answer) -> None:
        self.answers[child.worker] = answer.value
        self.lost(child)

    def lost(self, child: Child) -> None:
        """No answer will come from this one any more."""
        self.waiting.discard(child)
        if not self.waiting:
            self.end()

    def end(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        done, self._done = self._done, _nothing
        done(self.answers)


def _nothing(answers: dict[int, object]) -> None:
    """What an ended round does."""


class Workers:
    """`sockets` tells how many sockets each listener has for a worker of that number, and all descriptors that it gets;
    `new_start` makes its first message.

    One more process than there are workers has started and waits, so that the place of a worker that dies is taken at once.
    """

    def __init__(
        self,
        count: int,
        loop: asyncio.AbstractEventLoop,
        stats: WorkerStats,
        sockets: Callable[[int], tuple[dict[str, int], list[int]]],
        new_start: Callable[[int, dict[str, int]], Start],
        on_death: Callable[[int], None],
        on_failures: Callable[[tuple[Failure, ...], int], None],
        resolve: Callable[[str, DnsLookupFamily, Tell], None],
    ) -> None:
        """`on_death` hears the number of a worker that is gone, before another one takes its place.

        `on_failures` gets failures that workers have kept, and how many there were. `resolve` looks names up.
        """
        self._count = count
        self._loop = loop
        self._stats = stats
        self._sockets = sockets
        self._new_start = new_start
        self._on_death = on_death
        self._on_failures = on_failures
        self._resolve = resolve
        self._spare: Child | None = None
        self._spawning: asyncio.Task[None] | None = None
        self._children: dict[int, Child] = {}
        self._values: dict[Child, Snapshot] = {}
        self.processes = Processes()
        self._rounds: dict[int, _Round] = {}
        self._number = 0
        self._resets = 0
        self._exit = asyncio.Event()
        self._watching: list[asyncio.Task[None]] = []
        self._all_serve: asyncio.Future[None] = loop.create_future()

    # life

    async def start(self) -> None:
        """Start all of them; returns when all serve. Raises StartError when one cannot."""
        self._watching = [self._loop.create_task(self._keep(worker)) for worker in range(self._count)]
        await self._all_serve

    async def _keep(self, worker: int) -> None:
        """Have a worker of this number as long as main lives."""
        quick_deaths = 0
        while not self._exit.is_set():
            began_s = self._loop.time()
            code = await self._live(worker)
            if self._exit.is_set():
                return
            if not self._all_serve.done():
                self._all_serve.set_exception(
                    StartError([f"worker {worker} {_how_it_ended(code)} before it served"])
                )
                return
            self._stats.restarts_total.inc()
            quick_deaths = quick_deaths + 1 if self._loop.time() - began_s < _QUICK_S else 0
            delay_s = 0.0
            if quick_deaths > 1:
                delay_s = min(_FIRST_DELAY_S * 2 ** (quick_deaths - 2), _LONGEST_DELAY_S)
            if delay_s:
                logger.error(
                    "worker %d %s, %d times in a row within %g s of its start: the next one starts in %g s",
                    worker,
                    _how_it_ended(code),
                    quick_deaths,
                    _QUICK_S,
                    delay_s,
                )
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._exit.wait(), delay_s)
            else:
                logger.error("worker %d %s, another one takes its place", worker, _how_it_ended(code))

    async def _live(self, worker: int) -> int:
        """The life of one process, from start to end; its exit code."""
        try:
            child = await self._begin(worker)
        except OSError as error:
            logger.error("worker %d cannot be started: %s", worker, error.strerror)
            return 1
        try:
            return await child.wait()
        finally:
            del self._children[worker]
            self._forget(child)

    async def _begin(self, worker: int) -> Child:
        """The spare process, or a new one, as this worker. Raises OSError."""
        counts, descriptors = self._sockets(worker)
        child, self._spare = self._spare, None
        if child is not None:
            try:
                await child.open(self._loop, descriptors)
            except OSError:  # it has died while it waited
                await child.dismiss()
                child = None
        if child is None:
            child = Child(self._on_message)
            await child.spawn()
            counts, descriptors = self._sockets(worker)
            await child.open(self._loop, descriptors)
        # nothing is awaited between the two: what all are told is in the message, or comes after it
        child.begin(self._new_start(worker, counts))
        self._children[worker] = child
        if self._exit.is_set():
            child.kill()
        return child

    async def _spawn_spare(self) -> None:
        spare = Child(self._on_message)
        try:
            await spare.spawn()
        except OSError as error:
            logger.warning("no process can be started for a worker that dies: %s", error.strerror)
            return
        self._spare = spare

    def _forget(self, child: Child) -> None:
        self._values.pop(child, None)
        self.processes.ended(child)
        self._on_death(child.worker)
        self._count_live()
        for each in list(self._rounds.values()):
            each.lost(child)

    def _count_live(self) -> None:
        self._stats.live.set(sum(child.serves for child in self._children.values()))

    def begin_exit(self) -> None:
        """From now on nobody is replaced; those that do not serve need not go on."""
        self._exit.set()
        for child in self._children.values():
            if not child.serves:
                child.kill()

    async def until_ended(self, timeout_s: float) -> None:
        """Wait until all have ended, `timeout_s` at most."""
        if self._watching:
            await asyncio.wait(self._watching, timeout=timeout_s)

    def look(self) -> None:
        """Every second: a worker that hangs is killed, so that another one takes its place and nobody waits for its end.

        New connections would still be given to it, and time out. Envoy's watchdog ends the process for that if it is told to.
        """
        for child in self._children.values():
            heard_bytes = child.channel.received_bytes
            if heard_bytes != child.heard_bytes:
                child.heard_bytes, child.silent_looks = heard_bytes, 0
                continue
            child.silent_looks += 1
            limit = SILENT_LOOKS if child.serves else STARTING_LOOKS
            if child.silent_looks == limit:
                logger.error("worker %d has said nothing for %d s, killing it", child.worker, limit)
                child.kill()

    async def close(self) -> None:
        """Kill those that are left."""
        self._exit.set()
        if self._spawning is not None:
            await self._spawning
        if self._spare is not None:
            await self._spare.dismiss()
        for child in self._children.values():
            logger.error("worker %d does not end, killing it", child.worker)
            child.kill()
        await self.until_ended(5.0)
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)

    @property
    def connections(self) -> int:
        """Of all of them, when they were asked the last time."""
        return sum(child.connections for child in self._children.values())

    # messages

    def tell(self, message: object) -> None:
        """All of them. One that does not read what it is told is of no use: another one takes its place."""
        for child in self._children.values():
            if not child.channel.send(message) and child.channel.is_open:
                logger.error("worker %d does not take what it is told, killing it", child.worker)
                child.kill()

    def ask(self, question: Question, done: Done) -> None:
        """`done` gets what the workers answer, by number, when all have or the time is up. Reports are taken before that."""
        self._number += 1
        number = self._number
        asked = {child for child in self._children.values() if child.serves}

        def end(answers: dict[int, object]) -> None:
            del self._rounds[number]
            done(answers)

        this = self._rounds[number] = _Round(asked, end)
        for child in list(asked):
            if not child.channel.send(Ask(number, question)):
                this.waiting.discard(child)
        if not this.waiting:
            this.end()
            return
        this.timer = self._loop.call_later(ANSWER_S, this.end)

    def count_reset(self) -> int:
        """Counters begin anew; what was reported of them before does not count any more. How often that was so."""
        self._resets += 1
        self.processes.reset_counters()
        return self._resets

    @property
    def resets(self) -> int:
        return self._resets

    def _on_message(self, child: Child, message: object) -> None:
        match message:
            case Report(changes, resets, connections, failures, failed):
                if failed:
                    self._on_failures(failures, failed)
                child.connections = connections
                if resets != self._resets:
                    changes.values.counters.clear()  # from before they began anew
                values = self._values[child] = apply(self._values.get(child, Snapshot()), changes)
                self.processes.update(child, values)
            case Resolve(number, name, family):
                send = child.channel.send
                self._resolve(
                    name, family, lambda addresses, problem: send(Resolved(number, addresses, problem))
                )
            case Alive():
                pass  # `look` has seen it
            case Answer(number):
                found = self._rounds.get(number)
                if found is not None:
                    found.take(child, message)
            case Started():
                child.serves = True
                self._count_live()
                logger.info("worker %d serves, process %d", child.worker, child.pid)
                if self._stats.live.value < self._count or self._exit.is_set():
                    return
                if not self._all_serve.done():
                    self._all_serve.set_result(None)
                if self._spare is None and (self._spawning is None or self._spawning.done()):
                    self._spawning = self._loop.create_task(self._spawn_spare())
            case NotStarted(problems):
                if self._all_serve.done():
                    logger.error("worker %d cannot start: %s", child.worker, "; ".join(problems))
                else:
                    self._all_serve.set_exception(StartError(list(problems)))
            case _:
                logger.error("worker %d said %s", child.worker, type(message).__name__)


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
