"""DNS: names to addresses, asked again and again by one task for each cluster."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from config.model.cluster import DnsLookupFamily

if TYPE_CHECKING:
    from sidecar.upstream.connector import Spawn, Task
    from stats.families import ClusterStats

logger = logging.getLogger(__name__)


_NO_SUCH_NAME = (socket.EAI_NONAME, socket.EAI_NODATA)


class Resolver(Protocol):
    """Finds the addresses of a name."""

    async def resolve(self, name: str, family: DnsLookupFamily) -> tuple[str, ...]:
        """IP addresses in the resolver's order, without repeats; empty if the name has none. Raises OSError."""


class SystemResolver:
    """The resolver of the operating system (`getaddrinfo`), which knows no TTL.

    A name that does not exist has no addresses (Envoy takes that for an answer); a resolver that does not answer raises.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    async def resolve(self, name: str, family: DnsLookupFamily) -> tuple[str, ...]:
        wanted = socket.AF_UNSPEC
        if family is DnsLookupFamily.V4_ONLY:
            wanted = socket.AF_INET
        elif family is DnsLookupFamily.V6_ONLY:
            wanted = socket.AF_INET6
        try:
            found = await self._loop.getaddrinfo(name, 0, family=wanted, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno in _NO_SUCH_NAME:
                return ()
            raise
        except UnicodeError as error:  # a label that is empty or too long
            raise OSError(f"not a host name: {name}") from error
        return select_family([str(name[0]) for *_, name in found], family)


def select_family(addresses: Sequence[str], family: DnsLookupFamily) -> tuple[str, ...]:
    """The addresses that the lookup family wants: AUTO takes IPv6 if there is any, V4_PREFERRED IPv4, ALL both."""
    unique = list(dict.fromkeys(addresses))
    v4 = tuple(address for address in unique if ":" not in address)
    v6 = tuple(address for address in unique if ":" in address)
    if family is DnsLookupFamily.V4_ONLY:
        return v4
    if family is DnsLookupFamily.V6_ONLY:
        return v6
    if family is DnsLookupFamily.V4_PREFERRED:
        return v4 or v6
    if family is DnsLookupFamily.ALL:
        return tuple(unique)
    return v6 or v4


class DnsRefresh:
    """Asks for the names of one cluster, now and then every `rate_s`, and tells what came.

    `on_resolved` gets, for each name that could be resolved, its addresses; a name that failed is missing, so that its
    last good result stays.
    """

    def __init__(
        self,
        resolver: Resolver,
        names: Sequence[str],
        family: DnsLookupFamily,
        rate_s: float,
        stats: ClusterStats,
        on_resolved: Callable[[dict[str, tuple[str, ...]]], None],
    ) -> None:
        self._resolver = resolver
        self._names = tuple(dict.fromkeys(names))
        self._family = family
        self._rate_s = rate_s
        self._stats = stats
        self._on_resolved = on_resolved
        self._task: Task | None = None
        self.first_done = asyncio.Event()

    def start(self, spawn: Spawn) -> None:
        self._task = spawn(self._run())

    def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _run(self) -> None:
        while True:
            await self._refresh()
            self.first_done.set()
            await asyncio.sleep(self._rate_s)

    async def _refresh(self) -> None:
        stats = self._stats
        outcomes = await asyncio.gather(
            *(self._resolver.resolve(name, self._family) for name in self._names), return_exceptions=True
        )
        resolved = {}
        for name, outcome in zip(self._names, outcomes, strict=True):
            stats.update_attempt.inc()
            if isinstance(outcome, Exception):
                stats.update_failure.inc()
                level = logging.DEBUG if isinstance(outcome, OSError) else logging.WARNING
                logger.log(level, "dns: %s: %r", name, outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                stats.update_success.inc()
                resolved[name] = outcome
        self._on_resolved(resolved)
