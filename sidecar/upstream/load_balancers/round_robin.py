"""ROUND_ROBIN: in turns, by weight."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sidecar.upstream.load_balancers.edf import EdfSchedule
from sidecar.upstream.load_balancers.host_selection import PrioritySelection, equal_weights
from sidecar.upstream.load_balancers.retry import avoiding

if TYPE_CHECKING:
    from sidecar.upstream.api import HostSet, LbContext
    from sidecar.upstream.host import Host


class _Rotation:
    """Equal weights: plain turns, from a random start so that many proxies do not begin with the same host."""

    __slots__ = ("_hosts", "_next")

    def __init__(self, hosts: tuple[Host, ...], chance: random.Random) -> None:
        self._hosts = hosts
        self._next = chance.randrange(len(hosts))

    def choose(self) -> Host:
        hosts = self._hosts
        at = self._next
        self._next = at + 1 if at + 1 < len(hosts) else 0
        return hosts[at]


def _weight(host: Host) -> float:
    return host.weight


class RoundRobin:
    """Implements `LoadBalancer`."""

    __slots__ = ("_levels", "_only", "_random", "_selection")

    def __init__(self, selection: PrioritySelection, chance: random.Random) -> None:
        self._selection = selection
        self._random = chance
        self._levels: list[_Rotation | EdfSchedule] = []
        self._only: _Rotation | EdfSchedule | None = None  # nothing to decide but the host

    def update(self, hosts: HostSet) -> None:
        self._levels = []
        for level in self._selection.update(hosts):
            if equal_weights(level):
                self._levels.append(_Rotation(level, self._random))
            else:
                schedule = EdfSchedule(level, _weight)
                for _ in range(self._random.randrange(len(level))):
                    schedule.choose()
                self._levels.append(schedule)
        self._only = self._levels[0] if self._selection.is_trivial else None

    def choose(self, context: LbContext) -> Host | None:
        only = self._only
        if only is not None and not context.tried:
            return only.choose()
        if context.tried:
            return avoiding(self._choose, context)
        return self._choose()

    def _choose(self) -> Host | None:
        level = self._selection.choose()
        return None if level < 0 else self._levels[level].choose()
