"""One lookup for all workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from config.model.cluster import DnsLookupFamily
from sidecar.main.shared_resolver import FRESH_S, SharedResolver

AUTO, V4 = DnsLookupFamily.AUTO, DnsLookupFamily.V4_ONLY


class Clock:
    """As much of a loop as is needed."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def time(self) -> float:
        return self.now_s


class Upstream:
    """Implements `Resolver`; answers what it is told to."""

    def __init__(self, *answers: tuple[str, ...] | Exception) -> None:
        self.asked: list[tuple[str, DnsLookupFamily]] = []
        self._answers = list(answers)

    async def resolve(self, name: str, family: DnsLookupFamily) -> tuple[str, ...]:
        self.asked.append((name, family))
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class World:
    """A resolver over `upstream`, whose lookups run when the test says so."""

    def __init__(self, upstream: Upstream) -> None:
        self.clock = Clock()
        self._lookups: list[Coroutine[Any, Any, None]] = []
        loop = cast("asyncio.AbstractEventLoop", self.clock)
        self.resolver = SharedResolver(upstream, loop, lambda lookup, name: self._lookups.append(lookup))
        self.told: list[tuple[str, tuple[str, ...], str]] = []

    def teller(self, who: str) -> Callable[[tuple[str, ...], str], None]:
        return lambda addresses, problem: self.told.append((who, addresses, problem))

    def look_up(self) -> None:
        lookups, self._lookups = self._lookups, []
        for lookup in lookups:
            asyncio.run(cast("Coroutine[Any, Any, None]", lookup))


def test_those_who_ask_together_get_one_answer() -> None:
    upstream = Upstream(("10.0.0.1",), ("10.0.0.2",), ("10.0.0.3",))
    world = World(upstream)
    for who in ("first", "second"):
        world.resolver.ask("a", AUTO, world.teller(who))
    assert world.told == []
    world.look_up()
    world.clock.now_s += FRESH_S / 2
    world.resolver.ask("a", AUTO, world.teller("third"))
    assert world.told == [(who, ("10.0.0.1",), "") for who in ("first", "second", "third")]
    assert upstream.asked == [("a", AUTO)]
    world.resolver.ask("a", V4, world.teller("another question"))
    world.clock.now_s += FRESH_S
    world.resolver.ask("a", AUTO, world.teller("later"))
    world.look_up()
    assert world.told[3:] == [("another question", ("10.0.0.2",), ""), ("later", ("10.0.0.3",), "")]


@pytest.mark.parametrize(
    ("failure", "problem"),
    [(OSError("timed out"), "timed out"), (TimeoutError(), "TimeoutError")],
)
def test_a_failure_is_told_and_not_remembered(failure: Exception, problem: str) -> None:
    world = World(Upstream(failure, ("10.0.0.1",)))
    world.resolver.ask("a", AUTO, world.teller("first"))
    world.look_up()
    world.resolver.ask("a", AUTO, world.teller("second"))
    world.look_up()
    assert world.told == [("first", (), problem), ("second", ("10.0.0.1",), "")]


def test_a_resolver_with_a_defect_keeps_nobody_waiting() -> None:
    world = World(Upstream(KeyError("x")))
    world.resolver.ask("a", AUTO, world.teller("first"))
    with pytest.raises(KeyError):
        world.look_up()
    assert world.told == [("first", (), "the lookup was given up")]
