"""RANDOM: any host, each as likely as another (Envoy ignores endpoint weights here)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sidecar.upstream.load_balancers.host_selection import PrioritySelection
from sidecar.upstream.load_balancers.retry import avoiding

if TYPE_CHECKING:
    from sidecar.upstream.api import HostSet, LbContext
    from sidecar.upstream.host import Host


class Random:
    """Implements `LoadBalancer`."""

    __slots__ = ("_levels", "_random", "_selection")

    def __init__(self, selection: PrioritySelection, chance: random.Random) -> None:
        self._selection = selection
        self._random = chance
        self._levels: tuple[tuple[Host, ...], ...] = ()

    def update(self, hosts: HostSet) -> None:
        self._levels = self._selection.update(hosts)

    def choose(self, context: LbContext) -> Host | None:
        if context.tried:
            return avoiding(self._choose, context)
        return self._choose()

    def _choose(self) -> Host | None:
        level = self._selection.choose()
        if level < 0:
            return None
        hosts = self._levels[level]
        return hosts[int(self._random.random() * len(hosts))]
