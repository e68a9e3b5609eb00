"""What load balancers share: priorities, health, panic, and another host for another attempt (Envoy's LoadBalancerBase).

Priority 0 takes all traffic while enough of its hosts are healthy: its availability is the healthy share of its hosts
times 1.4 (Envoy's overprovisioning factor), and what is missing to 100 % goes to the next priority. When all priorities
together cannot reach 100 %, one whose healthy share is below the panic threshold uses all its hosts, healthy or not.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from sidecar.upstream.api import HostSet, LbContext
    from sidecar.upstream.host import Host
    from stats.metrics import Counter

_OVERPROVISIONING: Final = 1.4


@dataclass(frozen=True, slots=True)
class Candidates:
    """The hosts of one priority that may be chosen, and the share (0.0 to 1.0) of requests that the priority takes."""

    hosts: tuple[Host, ...]
    share: float
    panic: bool


def candidates(host_set: HostSet, panic_threshold: float) -> tuple[Candidates, ...]:
    """The priorities that take traffic, best first, with shares that add up to 1; empty if no host may be chosen."""
    levels = []
    for hosts in host_set.priorities:
        healthy = tuple(host for host in hosts if host.is_healthy)
        degraded = tuple(host for host in hosts if host.is_degraded)
        levels.append((hosts, healthy, degraded))
    availability = [
        min(1.0, _OVERPROVISIONING * (len(healthy) + len(degraded)) / len(hosts)) if hosts else 0.0
        for hosts, healthy, degraded in levels
    ]
    total = min(1.0, sum(availability))
    if total == 0:
        return _total_panic(host_set, panic_threshold)
    found = []
    left = 1.0
    for (hosts, healthy, degraded), available in zip(levels, availability, strict=True):
        share = min(left, available / total)
        left -= share
        panic = bool(hosts) and total < 1 and len(healthy) / len(hosts) < panic_threshold
        usable = hosts if panic else (healthy or degraded)
        if share > 0 and usable:
            found.append(Candidates(usable, share, panic))
    return tuple(found)


def _total_panic(host_set: HostSet, panic_threshold: float) -> tuple[Candidates, ...]:
    """No host is healthy anywhere: all are used, in proportion to their number, unless the threshold forbids panic."""
    count = sum(map(len, host_set.priorities))
    if not count or panic_threshold <= 0:
        return ()
    return tuple(Candidates(hosts, len(hosts) / count, True) for hosts in host_set.priorities if hosts)


class PrioritySelection:
    """Chooses the priority of each request and counts picks in panic."""

    __slots__ = ("_healthy_panic", "_levels", "_random", "_threshold")

    def __init__(self, threshold: float, healthy_panic: Counter, chance: random.Random) -> None:
        self._threshold = threshold
        self._healthy_panic = healthy_panic
        self._random = chance
        self._levels: tuple[Candidates, ...] = ()

    def update(self, host_set: HostSet) -> tuple[tuple[Host, ...], ...]:
        """New membership; returns the hosts of each level that takes traffic, in the order that `choose` counts."""
        self._levels = candidates(host_set, self._threshold)
        return tuple(level.hosts for level in self._levels)

    @property
    def is_trivial(self) -> bool:
        """There is one level, and it is not in panic: `choose` would return 0 each time."""
        return len(self._levels) == 1 and not self._levels[0].panic

    def choose(self) -> int:
        """The index of the level for one request, -1 if there is none."""
        levels = self._levels
        if not levels:
            if self._threshold > 0:  # no host at all: nothing is healthy, which Envoy calls panic, too
                self._healthy_panic.inc()
            return -1
        chosen = 0
        if len(levels) > 1:
            at = self._random.random()
            for index, level in enumerate(levels):
                chosen = index
                at -= level.share
                if at < 0:
                    break
        if levels[chosen].panic:
            self._healthy_panic.inc()
        return chosen


def equal_weights(hosts: tuple[Host, ...]) -> bool:
    return len({host.weight for host in hosts}) <= 1


#: How often to choose again (Istio sets `host_selection_retry_max_attempts` to 5; Envoy's default is 1).
_ATTEMPTS: Final = 5


class Picker(Protocol):
    """Chooses among the hosts of one level, of which there is at least one."""

    def choose(self) -> Host:
        """The host of the next request."""


class LevelBalancer:
    """Implements `LoadBalancer`: first the level, then a host by the level's picker, which the kind of balancer makes.

    A host that this request has tried is avoided if there is another (Envoy: the previous-hosts retry predicate); after
    some attempts any host is taken, so that a retry to the only host is still made.
    """

    __slots__ = ("_levels", "_make_picker", "_only", "_selection")

    def __init__(
        self, selection: PrioritySelection, make_picker: Callable[[tuple[Host, ...]], Picker]
    ) -> None:
        self._selection = selection
        self._make_picker = make_picker
        self._levels: list[Picker] = []
        self._only: Picker | None = None  # nothing to decide but the host

    def update(self, hosts: HostSet) -> None:
        self._levels = [self._make_picker(level) for level in self._selection.update(hosts)]
        self._only = self._levels[0] if self._selection.is_trivial else None

    def choose(self, context: LbContext) -> Host | None:
        tried = context.tried
        if not tried:
            return self._only.choose() if self._only is not None else self._choose()
        host = self._choose()
        for _ in range(_ATTEMPTS):
            if host is None or host not in tried:
                break
            host = self._choose()
        return host

    def _choose(self) -> Host | None:
        level = self._selection.choose()
        return None if level < 0 else self._levels[level].choose()
