"""DNS for all workers: those that ask for a name at about the same time get the answer of one lookup."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from config.model.cluster import DnsLookupFamily
    from sidecar.upstream.resolver import Resolver

#: So old may an answer be. Workers begin together, and ask again at the same intervals.
FRESH_S: Final = 0.5

#: Hears the addresses, and what is wrong; "" if nothing is.
Tell: TypeAlias = Callable[[tuple[str, ...], str], object]
_Key: TypeAlias = "tuple[str, DnsLookupFamily]"


class SharedResolver:
    """Names are those of the configuration, so that there is a bound to what is remembered."""

    def __init__(
        self,
        resolver: Resolver,
        loop: asyncio.AbstractEventLoop,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
    ) -> None:
        self._resolver = resolver
        self._loop = loop
        self._spawn = spawn
        self._answers: dict[_Key, tuple[float, tuple[str, ...]]] = {}
        self._asking: dict[_Key, list[Tell]] = {}

    def ask(self, name: str, family: DnsLookupFamily, tell: Tell) -> None:
        """`tell` is called once, now or later."""
        key = name, family
        known = self._answers.get(key)
        if known is not None and self._loop.time() - known[0] < FRESH_S:
            tell(known[1], "")
            return
        waiting = self._asking.setdefault(key, [])
        waiting.append(tell)
        if len(waiting) == 1:
            self._spawn(self._look_up(name, family), "dns")

    async def _look_up(self, name: str, family: DnsLookupFamily) -> None:
        addresses: tuple[str, ...] = ()
        problem = "the lookup was given up"
        try:
            addresses = await self._resolver.resolve(name, family)
            self._answers[name, family] = self._loop.time(), addresses
            problem = ""
        except OSError as error:
            problem = str(error) or type(error).__name__
        finally:  # whatever a resolver raises, those who wait hear of it
            for tell in self._asking.pop((name, family)):
                tell(addresses, problem)
