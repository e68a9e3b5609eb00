"""DNS of a worker: main looks names up for all, so that a resolver is asked once and all workers know the same hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.ipc.messages import Resolve, Resolved

if TYPE_CHECKING:
    from config.model.cluster import DnsLookupFamily


class MainResolver:
    """Implements `Resolver` by asking main."""

    def __init__(self, send: Callable[[object], bool]) -> None:
        self._send = send
        self._number = 0
        self._waiting: dict[int, asyncio.Future[tuple[str, ...]]] = {}

    async def resolve(self, name: str, family: DnsLookupFamily) -> tuple[str, ...]:
        """See `Resolver.resolve`."""
        self._number += 1
        number = self._number
        answer: asyncio.Future[tuple[str, ...]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            if not self._send(Resolve(number, name, family)):
                raise OSError("main cannot be asked")
            return await answer
        finally:
            del self._waiting[number]

    def take(self, message: Resolved) -> None:
        """What main has found."""
        answer = self._waiting.get(message.number)
        if answer is None or answer.done():  # nobody waits for it any more
            return
        if message.problem:
            answer.set_exception(OSError(message.problem))
        else:
            answer.set_result(message.addresses)

    def end(self) -> None:
        """Main has gone: no answer will come."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(OSError("main has gone"))
