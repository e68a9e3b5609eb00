"""A host: one endpoint of a cluster, with its health, its counters and the transport socket chosen for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from config.model.cluster import UpstreamHttpProtocol
from config.model.core import EMPTY_METADATA, Address, Locality, Metadata
from config.model.endpoint import HealthStatus, LbEndpoint

if TYPE_CHECKING:
    from sidecar.upstream.http_pool import HttpPool
    from sidecar.upstream.transport_sockets import UpstreamSocketFactory

#: EDS health that takes no traffic, except in panic (Envoy: UNHEALTHY, DRAINING and TIMEOUT).
_UNUSABLE = (HealthStatus.UNHEALTHY, HealthStatus.DRAINING, HealthStatus.TIMEOUT)


class PoolKey(NamedTuple):
    """What tells the pools of a host apart."""

    protocol: UpstreamHttpProtocol
    is_high_priority: bool
    application_protocols: tuple[str, ...] | None  # that replace the configured ALPN offer
    server_name: str  # that replaces the configured SNI


#: A `PoolKey` as it is looked up for each request: equal to it, and cheaper to make.
PoolKeyParts: TypeAlias = tuple[UpstreamHttpProtocol, bool, tuple[str, ...] | None, str]


class Host:
    """One endpoint.

    The plain numbers are what `/clusters` shows for each host. The pool moves `cx_*`, `rq_total`, `rq_active` and
    `rq_pending_active`; the router, who knows how an attempt ended, moves `rq_success`, `rq_error` and `rq_timeout`.
    `address` is where the next connection goes (a LOGICAL_DNS host moves); `used` marks ORIGINAL_DST hosts chosen since
    the last sweep.
    """

    __slots__ = (
        "address",
        "cx_active",
        "cx_connect_fail",
        "cx_total",
        "health_status",
        "hostname",
        "locality",
        "metadata",
        "pools",
        "priority",
        "rq_active",
        "rq_error",
        "rq_pending_active",
        "rq_success",
        "rq_timeout",
        "rq_total",
        "socket_factory",
        "used",
        "weight",
    )

    def __init__(
        self,
        address: Address,
        socket_factory: UpstreamSocketFactory,
        *,
        hostname: str = "",
        weight: int = 1,
        locality: Locality | None = None,
        metadata: Metadata = EMPTY_METADATA,
        health_status: HealthStatus = HealthStatus.UNKNOWN,
        priority: int = 0,
    ) -> None:
        self.address = address
        self.socket_factory = socket_factory
        self.hostname = hostname
        self.weight = weight
        self.locality = locality or Locality()
        self.metadata = metadata
        self.health_status = health_status
        self.priority = priority
        self.cx_active = 0
        self.cx_connect_fail = 0
        self.cx_total = 0
        self.rq_active = 0
        self.rq_pending_active = 0
        self.rq_error = 0
        self.rq_success = 0
        self.rq_timeout = 0
        self.rq_total = 0
        self.pools: dict[PoolKeyParts, HttpPool] = {}
        self.used = True

    @classmethod
    def of_endpoint(
        cls,
        endpoint: LbEndpoint,
        address: Address,
        locality: Locality,
        priority: int,
        socket_factory: UpstreamSocketFactory,
    ) -> Host:
        """A host of a configured endpoint; `address` may be one that its name resolved to."""
        return cls(
            address,
            socket_factory,
            hostname=endpoint.hostname,
            weight=endpoint.weight,
            locality=locality,
            metadata=endpoint.metadata,
            health_status=endpoint.health_status,
            priority=priority,
        )

    @property
    def is_usable(self) -> bool:
        """Takes traffic outside of panic."""
        return self.health_status not in _UNUSABLE

    @property
    def is_degraded(self) -> bool:
        return self.health_status is HealthStatus.DEGRADED

    @property
    def is_healthy(self) -> bool:
        return self.is_usable and not self.is_degraded

    def __repr__(self) -> str:
        return f"Host({self.address}, weight={self.weight}, {self.health_status.name})"
