"""ROUND_ROBIN: in turns, by weight."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sidecar.upstream.load_balancers.edf import EdfSchedule
from sidecar.upstream.load_balancers.host_selection import (
    LevelBalancer,
    Picker,
    PrioritySelection,
    equal_weights,
)

if TYPE_CHECKING:
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


class RoundRobin(LevelBalancer):
    """Plain turns among equal weights, else the earliest deadline first."""

    __slots__ = ("_random",)

    def __init__(self, selection: PrioritySelection, chance: random.Random) -> None:
        super().__init__(selection, self._picker_of)
        self._random = chance

    def _picker_of(self, hosts: tuple[Host, ...]) -> Picker:
        if equal_weights(hosts):
            return _Rotation(hosts, self._random)
        schedule = EdfSchedule(hosts, _weight)
        for _ in range(self._random.randrange(len(hosts))):  # a random start here, too
            schedule.choose()
        return schedule
