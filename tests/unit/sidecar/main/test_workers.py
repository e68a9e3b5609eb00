"""The workers of main, without processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

import pytest

from config.bootstrap import Source, parse_bootstrap
from config.model.options import Options
from sidecar.ipc.messages import Exit, Report, Start, Started
from sidecar.main import workers as workers_module
from sidecar.main.child import Child
from sidecar.main.workers import SILENT_LOOKS, STARTING_LOOKS, Workers
from stats.changes import Changes
from stats.store import Store
from stats.worker_family import WorkerStats
from tests.support.bootstraps import bootstrap


class _Channel:
    is_open = True

    def __init__(self) -> None:
        self.told: list[object] = []
        self.received_bytes = 0

    def send(self, message: object) -> bool:
        self.told.append(message)
        return True


class _Child:
    """Serves as soon as it is told to."""

    def __init__(self, on_message: Callable[[_Child, object], None]) -> None:
        self._on_message = on_message
        self.worker, self.pid, self.connections = -1, 1, 0
        self.serves, self.silent_looks, self.heard_bytes = False, 0, 0
        self.channel = _Channel()
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def say(self, message: object) -> None:
        self.channel.received_bytes += 100
        self._on_message(self, message)

    async def spawn(self) -> None:
        """No process."""

    async def open(self, loop: asyncio.AbstractEventLoop, descriptors: list[int]) -> None:
        """No channel."""

    def begin(self, message: Start) -> None:
        self.worker = message.worker
        asyncio.get_running_loop().call_soon(self.say, Started())

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def kill(self) -> None:
        if not self._ended.done():
            self._ended.set_result(-9)
        self.serves = False

    @property
    def is_killed(self) -> bool:
        return self._ended.done()

    async def dismiss(self) -> None:
        self.kill()


@pytest.mark.parametrize("is_ending", [False, True])
def test_a_worker_that_hangs_is_killed(
    is_ending: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another one takes its place; at the end it is not waited for. Who says something is left alone."""
    children: list[_Child] = []

    def child(on_message: Callable[[_Child, object], None]) -> _Child:
        children.append(_Child(on_message))
        return children[-1]

    monkeypatch.setattr(workers_module, "Child", child)
    content = parse_bootstrap([Source("test", bootstrap(15000, [], []))]).bootstrap

    replaced = asyncio.Event()
    started: list[int] = []

    def start(worker: int, sockets: dict[str, int]) -> Start:
        started.append(worker)
        if started.count(0) > 1:
            replaced.set()
        return Start(content, Options(), worker, sockets, (), 0, False)

    async def live() -> None:
        loop = asyncio.get_running_loop()
        stats = WorkerStats(Store().root.scope("workers"))
        workers = Workers(
            2,
            loop,
            stats,
            lambda _: ({}, []),
            start,
            lambda _: None,
            lambda _failures, _count: None,
            lambda _name, _family, _tell: None,
        )
        await workers.start()
        hanging, busy = sorted((each for each in children if each.serves), key=lambda each: each.worker)
        if is_ending:
            workers.begin_exit()
            workers.tell(Exit(drain=True))
        workers.look()
        for _ in range(SILENT_LOOKS - 1):
            workers.look()
            busy.say(Report(Changes(), 0, 1))
        assert hanging.serves
        workers.look()
        assert not hanging.serves
        assert busy.serves
        async with asyncio.timeout(10):
            if is_ending:
                ended = loop.create_task(workers.until_ended(60))
                assert await hanging.wait() == -9
                assert not ended.done()
                busy.kill()
                await ended
            else:
                await replaced.wait()
                assert stats.restarts_total.value == 1
                assert busy.serves
                for each in children:
                    each.kill()
        await workers.close()

    with caplog.at_level(logging.ERROR):
        asyncio.run(live())
    assert caplog.records[0].getMessage() == "worker 0 has said nothing for 10 s, killing it"


def test_a_replacement_that_hangs_before_it_serves_is_killed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async def live() -> None:
        workers = Workers(
            1,
            asyncio.get_running_loop(),
            WorkerStats(Store().root.scope("workers")),
            lambda _: ({}, []),
            lambda _worker, _sockets: cast("Start", None),
            lambda _: None,
            lambda _failures, _count: None,
            lambda _name, _family, _tell: None,
        )
        silent = _Child(lambda _child, _message: None)
        workers._children[0] = cast("Child", silent)
        for _ in range(STARTING_LOOKS - 1):
            workers.look()
        assert not silent.is_killed
        workers.look()
        assert silent.is_killed
        another = workers._children[0] = cast("Child", _Child(lambda _child, _message: None))
        workers.begin_exit()
        assert cast("_Child", another).is_killed

    asyncio.run(live())
