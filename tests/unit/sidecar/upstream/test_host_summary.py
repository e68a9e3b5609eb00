"""Hosts as they are shown, added up over processes."""

from __future__ import annotations

from msgspec.structs import replace

from config.model.core import Locality, SocketAddress
from config.model.endpoint import HealthStatus
from sidecar.upstream.host_summary import COUNTERS, GAUGES, HostSummary, added_up, summaries
from tests.support.upstream import FakeCluster, static_spec


def summary(port: int, number: int, priority: int = 0) -> HostSummary:
    numbers = [number] * (len(COUNTERS) + len(GAUGES))
    address = SocketAddress("10.0.0.1", port)
    return HostSummary(address, "h", 3, Locality(), HealthStatus.HEALTHY, priority, *numbers)


def test_the_same_host_is_added_up() -> None:
    one = {"a": (summary(1, 1), summary(2, 5)), "b": (summary(1, 7),)}
    other = {"a": (summary(2, 10), summary(3, 1), summary(1, 2, priority=1))}
    assert added_up([one, other]) == {
        "a": (summary(1, 1), summary(2, 15), summary(3, 1), summary(1, 2, priority=1)),
        "b": (summary(1, 7),),
    }
    assert added_up([]) == {}


def test_a_summary_has_what_the_host_has() -> None:
    fake = FakeCluster(static_spec())
    (host,) = fake.cluster.hosts()
    host.cx_total, host.rq_active = 4, 2

    class Clusters:
        def all(self) -> dict[str, object]:
            return {"web": fake.cluster}

    ((name, (seen,)),) = summaries(Clusters()).items()  # type: ignore[arg-type]  # no more is asked of it
    assert (name, seen.address, seen.cx_total, seen.rq_active, seen.rq_error) == (
        "web",
        host.address,
        4,
        2,
        0,
    )
    assert replace(seen, cx_total=0, rq_active=0) == summary_of_nothing(seen)


def summary_of_nothing(seen: HostSummary) -> HostSummary:
    return replace(seen, **dict.fromkeys((*COUNTERS, *GAUGES), 0))
