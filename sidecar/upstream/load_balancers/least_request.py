"""LEAST_REQUEST: of a few hosts taken at random the one with the fewest requests; Istio's default.

With unequal weights it is a weighted round robin in which the weight of a host shrinks with its active requests (Envoy:
`active_request_bias` 1).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sidecar.upstream.load_balancers.edf import EdfSchedule
from sidecar.upstream.load_balancers.host_selection import PrioritySelection, equal_weights
from sidecar.upstream.load_balancers.retry import avoiding

if TYPE_CHECKING:
    from sidecar.upstream.api import HostSet, LbContext
    from sidecar.upstream.host import Host


def _biased_weight(host: Host) -> float:
    return host.weight / (host.rq_active + 1)


class _Samples:
    __slots__ = ("_choices", "_hosts", "_random")

    def __init__(self, hosts: tuple[Host, ...], choices: int, chance: random.Random) -> None:
        self._hosts = hosts
        self._choices = choices
        self._random = chance

    def choose(self) -> Host:
        hosts = self._hosts
        count = len(hosts)
        if count == 1:
            return hosts[0]
        at_random = self._random.random
        best = hosts[int(at_random() * count)]
        for _ in range(self._choices - 1):
            other = hosts[int(at_random() * count)]
            if other.rq_active < best.rq_active:
                best = other
        return best


class LeastRequest:
    """Implements `LoadBalancer`."""

    __slots__ = ("_choices", "_levels", "_only", "_random", "_selection")

    def __init__(self, selection: PrioritySelection, chance: random.Random, choice_count: int = 2) -> None:
        self._selection = selection
        self._random = chance
        self._choices = choice_count
        self._levels: list[_Samples | EdfSchedule] = []
        self._only: _Samples | EdfSchedule | None = None  # nothing to decide but the host

    def update(self, hosts: HostSet) -> None:
        self._levels = [
            _Samples(level, self._choices, self._random)
            if equal_weights(level)
            else EdfSchedule(level, _biased_weight)
            for level in self._selection.update(hosts)
        ]
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
