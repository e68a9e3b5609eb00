"""Endpoints of a cluster (envoy.config.endpoint.v3)."""

from __future__ import annotations

import enum

import msgspec

from config.model.core import EMPTY_METADATA, Address, Locality, Metadata


class HealthStatus(enum.Enum):
    UNKNOWN = 0
    HEALTHY = 1
    UNHEALTHY = 2
    DRAINING = 3
    TIMEOUT = 4
    DEGRADED = 5


class LbEndpoint(msgspec.Struct, frozen=True):
    """One endpoint. `hostname` is used for DNS, auto host rewrite and `auto_host_sni`; `weight` is at least 1."""

    address: Address
    hostname: str = ""
    weight: int = 1
    health_status: HealthStatus = HealthStatus.UNKNOWN
    metadata: Metadata = EMPTY_METADATA


class LocalityLbEndpoints(msgspec.Struct, frozen=True):
    """`priority` 0 is tried first."""

    endpoints: tuple[LbEndpoint, ...]
    locality: Locality = Locality()
    priority: int = 0


class ClusterLoadAssignment(msgspec.Struct, frozen=True):
    cluster_name: str
    localities: tuple[LocalityLbEndpoints, ...] = ()
