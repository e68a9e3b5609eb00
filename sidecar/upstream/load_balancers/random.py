"""RANDOM: any host, each as likely as another (Envoy ignores endpoint weights here)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sidecar.upstream.load_balancers.host_selection import LevelBalancer, PrioritySelection

if TYPE_CHECKING:
    from sidecar.upstream.host import Host


class _AnyHost:
    __slots__ = ("_hosts", "_random")

    def __init__(self, hosts: tuple[Host, ...], chance: random.Random) -> None:
        self._hosts = hosts
        self._random = chance

    def choose(self) -> Host:
        hosts = self._hosts
        return hosts[int(self._random.random() * len(hosts))]


class Random(LevelBalancer):
    """Nothing is remembered from one request to the next."""

    __slots__ = ()

    def __init__(self, selection: PrioritySelection, chance: random.Random) -> None:
        super().__init__(selection, lambda hosts: _AnyHost(hosts, chance))
