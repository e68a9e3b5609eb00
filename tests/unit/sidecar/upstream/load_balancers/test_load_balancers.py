"""Who is chosen how often."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import pytest

from config.model.core import SocketAddress
from config.model.endpoint import HealthStatus
from sidecar.upstream.api import HostSet, LbContext, LoadBalancer
from sidecar.upstream.host import Host
from sidecar.upstream.load_balancers.edf import EdfSchedule
from sidecar.upstream.load_balancers.host_selection import PrioritySelection, candidates
from sidecar.upstream.load_balancers.least_request import LeastRequest
from sidecar.upstream.load_balancers.original_dst import parse_ip_port
from sidecar.upstream.load_balancers.random import Random
from sidecar.upstream.load_balancers.round_robin import RoundRobin
from sidecar.upstream.transport_sockets import RAW_SOCKETS
from stats.store import Store

H, U, D = HealthStatus.HEALTHY, HealthStatus.UNHEALTHY, HealthStatus.DEGRADED
KINDS = (RoundRobin, LeastRequest, Random)


def host(port: int, weight: int = 1, health: HealthStatus = HealthStatus.UNKNOWN) -> Host:
    return Host(SocketAddress("10.0.0.1", port), RAW_SOCKETS, weight=weight, health_status=health)


def level(*health: HealthStatus) -> tuple[Host, ...]:
    return tuple(host(port, health=each) for port, each in enumerate(health))


class Setup:
    def __init__(self, kind: type[LoadBalancer], *levels: Iterable[Host], threshold: float = 0.5) -> None:
        self.panics = Store().root.counter("lb_healthy_panic")
        chance = random.Random(7)
        self.balancer = kind(PrioritySelection(threshold, self.panics, chance), chance)
        self.balancer.update(HostSet(tuple(map(tuple, levels))))

    def chosen(self, times: int) -> Counter[int]:
        found: Counter[int] = Counter()
        for _ in range(times):
            chosen = self.balancer.choose(LbContext())
            assert chosen is not None and isinstance(chosen.address, SocketAddress)
            found[chosen.address.port] += 1
        return found


@pytest.mark.parametrize("kind", KINDS)
class TestEvery:
    def test_nothing_to_choose(self, kind: type[LoadBalancer]) -> None:
        for levels in ((), ((),)):
            setup = Setup(kind, *levels)
            assert setup.balancer.choose(LbContext()) is None
            assert setup.panics.value == 1  # Envoy: nothing is healthy
            setup = Setup(kind, *levels, threshold=0)
            assert setup.balancer.choose(LbContext()) is None
            assert setup.panics.value == 0

    def test_fair(self, kind: type[LoadBalancer]) -> None:
        found = Setup(kind, [host(port) for port in range(4)]).chosen(4000)
        assert all(abs(count - 1000) < 150 for count in found.values())

    def test_unhealthy_hosts_get_nothing(self, kind: type[LoadBalancer]) -> None:
        setup = Setup(kind, level(H, H, U, HealthStatus.DRAINING, H, HealthStatus.TIMEOUT, H))
        assert set(setup.chosen(200)) == {0, 1, 4, 6}
        assert setup.panics.value == 0

    def test_panic(self, kind: type[LoadBalancer]) -> None:
        setup = Setup(kind, level(H, U, U, U))
        assert set(setup.chosen(200)) == {0, 1, 2, 3}
        assert setup.panics.value == 200

    def test_no_panic_when_it_is_off(self, kind: type[LoadBalancer]) -> None:
        assert set(Setup(kind, level(H, U, U, U), threshold=0).chosen(50)) == {0}
        assert Setup(kind, level(U, U), threshold=0).balancer.choose(LbContext()) is None

    def test_membership_changes(self, kind: type[LoadBalancer]) -> None:
        setup = Setup(kind, [host(1)])
        setup.balancer.update(HostSet(((host(2),),)))
        assert set(setup.chosen(5)) == {2}
        setup.balancer.update(HostSet(()))
        assert setup.balancer.choose(LbContext()) is None

    def test_tried_hosts_are_avoided(self, kind: type[LoadBalancer]) -> None:
        hosts = [host(1), host(2)]
        balancer = Setup(kind, hosts).balancer
        found = [balancer.choose(LbContext(tried=(hosts[0],))) for _ in range(100)]
        assert found.count(hosts[1]) >= 90  # a handful of attempts, then any


class TestRoundRobin:
    def test_turns(self) -> None:
        setup = Setup(RoundRobin, [host(port) for port in range(3)])
        order = [next(iter(setup.chosen(1))) for _ in range(6)]
        assert order[:3] == order[3:]
        assert sorted(order[:3]) == [0, 1, 2]

    def test_weights_are_exact_and_spread(self) -> None:
        setup = Setup(RoundRobin, [host(1, 1), host(2, 3)])
        order = [next(iter(setup.chosen(1))) for _ in range(40)]
        assert order.count(2) == 30
        assert max(len(run) for run in "".join(map(str, order)).split("1")) <= 4


class TestLeastRequest:
    def test_the_less_busy_one_wins(self) -> None:
        busy, free = host(1), host(2)
        busy.rq_active = 10
        found = Setup(LeastRequest, [busy, free]).chosen(1000)
        assert 680 < found[2] < 820  # the busy one only when it was drawn twice

    def test_choice_count(self) -> None:
        store = Store()
        chance = random.Random(3)
        selection = PrioritySelection(0.5, store.root.counter("x"), chance)
        balancer = LeastRequest(selection, chance, choice_count=20)
        hosts = [host(port) for port in range(5)]
        for index, each in enumerate(hosts):
            each.rq_active = index
        balancer.update(HostSet((tuple(hosts),)))
        assert [balancer.choose(LbContext()) for _ in range(20)].count(hosts[0]) >= 19

    def test_weights_and_load(self) -> None:
        light, heavy = host(1, 1), host(2, 4)
        assert Setup(LeastRequest, [light, heavy]).chosen(500)[2] == 400
        heavy.rq_active = 3
        found = Setup(LeastRequest, [light, heavy]).chosen(500)
        assert found[2] == 250


class TestPriorities:
    def shares(self, *levels: tuple[Host, ...], threshold: float = 0.5) -> list[tuple[float, bool]]:
        found = candidates(HostSet(levels), threshold)
        return [(round(each.share, 2), each.panic) for each in found]

    def test_the_first_takes_all_while_it_can(self) -> None:
        assert self.shares(level(H, H, H, U), level(H)) == [(1.0, False)]

    def test_the_rest_goes_to_the_next(self) -> None:
        assert self.shares(level(H, U), level(H, H)) == [(0.7, False), (0.3, False)]

    def test_nothing_healthy_in_the_first(self) -> None:
        assert self.shares(level(U, U), level(H)) == [(1.0, False)]
        assert self.shares((), level(H)) == [(1.0, False)]

    def test_panic_in_one_level(self) -> None:
        assert self.shares(level(H, U, U, U), level(U, H, U, U)) == [(0.5, True), (0.5, True)]

    def test_total_panic(self) -> None:
        assert self.shares(level(U), level(U, U, U)) == [(0.25, True), (0.75, True)]
        assert self.shares(level(U), level(U), threshold=0) == []

    def test_degraded_hosts_wait_for_need(self) -> None:
        healthy, degraded = host(1, health=H), host(2, health=D)
        (only,) = candidates(HostSet(((healthy, degraded),)), 0.5)
        assert only.hosts == (healthy,)
        (only,) = candidates(HostSet(((degraded,),)), 0.0)
        assert only.hosts == (degraded,)

    def test_shares_are_kept(self) -> None:
        found = Setup(RoundRobin, [host(1, health=H), host(2, health=U)], [host(3, health=H)]).chosen(2000)
        assert abs(found[1] - 1400) < 100 and found[2] == 0


def test_edf_asks_for_the_weight_each_time() -> None:
    first, second = host(1), host(2)
    weights = {id(first): 1.0, id(second): 1.0}
    schedule = EdfSchedule([first, second], lambda each: weights[id(each)])
    assert [schedule.choose() for _ in range(4)] == [first, second, first, second]
    weights[id(second)] = 10.0
    later = [schedule.choose() for _ in range(22)]
    assert later.count(second) >= 18


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"10.0.0.1:80", "10.0.0.1:80"),
        (b"[::1]:443", "[::1]:443"),
        (b"[0:0::1]:443", "[::1]:443"),
        (b"10.0.0.1", None),
        (b"10.0.0.1:", None),
        (b"10.0.0.1:65536", None),
        (b"10.0.0.1:+80", None),
        (b"10.0.0.1:8_0", None),
        (b" 10.0.0.1:80", None),
        (b"10.0.0.256:80", None),
        (b"010.0.0.1:80", None),
        (b"::1:80", None),
        (b"[10.0.0.1]:80", None),
        (b"example.org:80", None),
        (b"10.0.0.1:80\n", None),
        (b"", None),
    ],
)
def test_parse_ip_port(value: bytes, expected: str | None) -> None:
    found = parse_ip_port(value)
    assert (None if found is None else str(found)) == expected
