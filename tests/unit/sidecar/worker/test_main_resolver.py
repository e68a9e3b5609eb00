"""A worker asks main for addresses."""

from __future__ import annotations

import asyncio

import pytest

from config.model.cluster import DnsLookupFamily
from sidecar.ipc.messages import Resolve, Resolved
from sidecar.worker.main_resolver import MainResolver

AUTO = DnsLookupFamily.AUTO


class Main:
    """Keeps what it is asked."""

    def __init__(self, *, listens: bool = True) -> None:
        self.asked: list[Resolve] = []
        self._listens = listens

    def send(self, message: object) -> bool:
        assert isinstance(message, Resolve)
        self.asked.append(message)
        return self._listens


async def _asked(main: Main, resolver: MainResolver, *names: str) -> list[asyncio.Task[tuple[str, ...]]]:
    tasks = [asyncio.ensure_future(resolver.resolve(name, AUTO)) for name in names]
    await asyncio.sleep(0)
    assert [each.name for each in main.asked] == list(names)
    return tasks


def test_answers_find_who_has_asked() -> None:
    async def ask() -> None:
        main = Main()
        resolver = MainResolver(main.send)
        a, b = await _asked(main, resolver, "a", "b")
        resolver.take(Resolved(main.asked[1].number, ("10.0.0.2",)))
        resolver.take(Resolved(main.asked[0].number, ("10.0.0.1", "::1")))
        assert await a == ("10.0.0.1", "::1")
        assert await b == ("10.0.0.2",)
        resolver.take(Resolved(main.asked[0].number, ()))  # again: nobody waits

    asyncio.run(ask())


def test_a_problem_of_main_is_an_os_error() -> None:
    async def ask() -> None:
        main = Main()
        resolver = MainResolver(main.send)
        (task,) = await _asked(main, resolver, "a")
        resolver.take(Resolved(main.asked[0].number, (), "no resolver answers"))
        with pytest.raises(OSError, match="no resolver answers"):
            await task

    asyncio.run(ask())


def test_when_main_has_gone_nobody_waits() -> None:
    async def ask() -> None:
        main = Main()
        resolver = MainResolver(main.send)
        a, b = await _asked(main, resolver, "a", "b")
        a.cancel()
        await asyncio.sleep(0)
        resolver.end()
        with pytest.raises(OSError, match="main has gone"):
            await b
        with pytest.raises(OSError, match="main cannot be asked"):
            await MainResolver(Main(listens=False).send).resolve("c", AUTO)

    asyncio.run(ask())
