"""The workers of main, without processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

import pytest

from config.bootstrap import Source, parse_bootstrap
from config.model.options import Options
from sidecar.ipc.messages import Exit, Report, Start, Started
from sidecar.main import workers as workers_module
from sidecar.main.workers import Workers
from stats.changes import Changes
from stats.store import Store
from stats.worker_family import WorkerStats
from tests.support.bootstraps import bootstrap

SILENT_S = 0.4


class _Channel:
    is_open = True

    def __init__(self) -> None:
        self.told: list[object] = []

    def send(self, message: object) -> bool:
        self.told.append(message)
        return True


class _Child:
    """Serves as soon as it is told to. Worker 0 hangs from then on; the others report all the time."""

    def __init__(self, on_message: Callable[[_Child, object], None]) -> None:
        self._on_message = on_message
        self.worker, self.pid, self.connections = -1, 1, 0
        self.serves, self.heard_s = False, 0.0
        self.channel = _Channel()
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reports: asyncio.Task[None] | None = None

    async def spawn(self) -> None:
        """No process."""

    async def open(self, loop: asyncio.AbstractEventLoop, descriptors: list[int]) -> None:
        """No channel."""

    def begin(self, message: Start) -> None:
        self.worker = message.worker
        loop = asyncio.get_running_loop()
        loop.call_soon(self._on_message, self, Started())
        if self.worker:
            self._reports = loop.create_task(self._report())

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(SILENT_S / 10)
            self._on_message(self, Report(Changes(), 0, 1))

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def kill(self) -> None:
        if not self._ended.done():
            self._ended.set_result(-9)
        self.serves = False

    async def dismiss(self) -> None:
        self.kill()

    async def end(self) -> None:
        if self._reports is not None:
            self._reports.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reports


def test_a_worker_that_hangs_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    children: list[_Child] = []

    def child(on_message: Callable[[_Child, object], None]) -> _Child:
        children.append(_Child(on_message))
        return children[-1]

    monkeypatch.setattr(workers_module, "Child", child)
    content = parse_bootstrap([Source("test", bootstrap(15000, [], []))]).bootstrap

    def start(worker: int, sockets: dict[str, int]) -> Start:
        return Start(content, Options(), worker, sockets, (), 0, False)

    async def live() -> None:
        loop = asyncio.get_running_loop()
        stats = WorkerStats(Store().root.scope("workers"))
        workers = Workers(
            2, loop, stats, lambda _: ({}, []), start, lambda _: None, lambda _failures, _count: None
        )
        await workers.start()
        hanging, busy = sorted((each for each in children if each.serves), key=lambda each: each.worker)
        workers.begin_exit()
        workers.tell(Exit(drain=True))
        draining = loop.create_task(workers.until_drained(60, SILENT_S))
        async with asyncio.timeout(10):
            assert await hanging.wait() == -9
        for _ in range(3):  # the other one has a connection, and is waited for
            await asyncio.sleep(SILENT_S / 2)
            assert busy.serves
            assert not draining.done()
        busy.kill()
        async with asyncio.timeout(10):
            await draining
        await workers.close()
        for each in children:
            await each.end()

    with caplog.at_level(logging.ERROR):
        asyncio.run(live())
    assert [record.getMessage() for record in caplog.records] == [
        "worker 0 has said nothing for 0.4 s, killing it"
    ]
