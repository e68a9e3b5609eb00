"""LEAST_REQUEST: of a few hosts taken at random the one with the fewest requests; Istio's default.

With unequal weights it is a weighted round robin in which the weight of a host shrinks with its active requests (Envoy:
`active_request_bias` 1).
"""

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


def _biased_weight(host: Host) -> float:
    return host.weight / (host.rq_active + 1)


class _Samples:
    """Equal weights: `choices` hosts at random, the same one perhaps twice."""

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


class LeastRequest(LevelBalancer):
    """`least_request_lb_config.choice_count` hosts are compared for each request."""

    __slots__ = ("_choices", "_random")

    def __init__(self, selection: PrioritySelection, chance: random.Random, choice_count: int = 2) -> None:
        super().__init__(selection, self._picker_of)
        self._random = chance
        self._choices = choice_count

    def _picker_of(self, hosts: tuple[Host, ...]) -> Picker:
        if equal_weights(hosts):
            return _Samples(hosts, self._choices, self._random)
        return EdfSchedule(hosts, _biased_weight)
