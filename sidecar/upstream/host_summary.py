"""What is shown of a host, apart from the host: for other processes, and added up over several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from msgspec import structs

from config.model.core import Address, Locality
from config.model.endpoint import HealthStatus

if TYPE_CHECKING:
    from sidecar.upstream.api import ClusterManager

#: The numbers, named as in `/clusters`.
COUNTERS: Final = ("cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_timeout", "rq_total")
GAUGES: Final = ("cx_active", "rq_active", "rq_pending_active")


class ShownHost(Protocol):
    """A `Host` or a `HostSummary`; the numbers of `COUNTERS` and `GAUGES` are attributes, too."""

    @property
    def address(self) -> Address: ...
    @property
    def hostname(self) -> str: ...
    @property
    def weight(self) -> int: ...
    @property
    def locality(self) -> Locality: ...
    @property
    def health_status(self) -> HealthStatus: ...
    @property
    def priority(self) -> int: ...


class HostSummary(msgspec.Struct, frozen=True):
    """A host at some time."""

    address: Address
    hostname: str
    weight: int
    locality: Locality
    health_status: HealthStatus
    priority: int
    cx_connect_fail: int
    cx_total: int
    rq_error: int
    rq_success: int
    rq_timeout: int
    rq_total: int
    cx_active: int
    rq_active: int
    rq_pending_active: int


#: Name of a cluster -> its hosts.
Summaries = Mapping[str, tuple[HostSummary, ...]]

_FIELDS: Final = HostSummary.__struct_fields__


def summaries(clusters: ClusterManager) -> dict[str, tuple[HostSummary, ...]]:
    """The hosts of all clusters as they are now."""
    return {
        name: tuple(HostSummary(*(getattr(host, field) for field in _FIELDS)) for host in cluster.hosts())
        for name, cluster in clusters.all().items()
    }


def added_up(all_of_them: Iterable[Summaries]) -> dict[str, tuple[HostSummary, ...]]:
    """The hosts that several processes have: the numbers of the same host are added."""
    found: dict[str, dict[tuple[int, Address], HostSummary]] = {}
    for each in all_of_them:
        for name, hosts in each.items():
            known = found.setdefault(name, {})
            for host in hosts:
                key = host.priority, host.address
                before = known.get(key)
                known[key] = host if before is None else _sum(before, host)
    return {name: tuple(hosts.values()) for name, hosts in found.items()}


def _sum(first: HostSummary, second: HostSummary) -> HostSummary:
    return structs.replace(
        first, **{name: getattr(first, name) + getattr(second, name) for name in (*COUNTERS, *GAUGES)}
    )
