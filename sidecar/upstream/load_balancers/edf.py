"""Earliest deadline first: weighted turns without bursts (Envoy's EdfScheduler)."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.upstream.host import Host


class EdfSchedule:
    """Each host comes `weight` times while a host of weight 1 comes once. Equal deadlines: first in, first out."""

    __slots__ = ("_heap", "_now", "_order", "_weight")

    def __init__(self, hosts: Iterable[Host], weight: Callable[[Host], float]) -> None:
        """`weight` must be above 0; it is asked again each time a host was chosen."""
        self._weight = weight
        self._now = 0.0
        self._order = 0
        self._heap: list[tuple[float, int, Host]] = []
        for host in hosts:
            self._heap.append((1.0 / weight(host), self._next_order(), host))
        heapq.heapify(self._heap)

    def _next_order(self) -> int:
        self._order += 1
        return self._order

    def choose(self) -> Host:
        """The next host. There must be one."""
        deadline, _, host = self._heap[0]
        self._now = deadline
        heapq.heapreplace(self._heap, (deadline + 1.0 / self._weight(host), self._next_order(), host))
        return host
