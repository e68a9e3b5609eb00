"""Endpoints of a cluster (envoy.config.endpoint.v3)."""

from __future__ import annotations

from typing import Any, Final

from config.model.endpoint import ClusterLoadAssignment, HealthStatus, LbEndpoint, LocalityLbEndpoints
from config.proto.core import (
    enum_of,
    translate_address,
    translate_locality,
    translate_metadata,
    wrapped_int,
)
from config.proto.fields import declare
from config.proto.path import Path

_ENDPOINT: Final = "envoy.config.endpoint.v3"

declare(
    f"{_ENDPOINT}.ClusterLoadAssignment",
    "cluster_name endpoints",
    ignored={"policy": "load is not dropped, priorities change over at 140 % as by default"},
    refused="named_endpoints",
)
declare(
    f"{_ENDPOINT}.LocalityLbEndpoints",
    "locality lb_endpoints priority",
    no_effect={"metadata": "", "proximity": "", "load_balancing_weight": "hosts count by their own weights"},
    refused={
        "load_balancer_endpoints": "",
        "leds_cluster_locality_config": "endpoints by discovery need a control plane",
    },
)
declare(
    f"{_ENDPOINT}.LbEndpoint",
    "endpoint health_status metadata load_balancing_weight",
    refused="endpoint_name",
)
declare(
    f"{_ENDPOINT}.Endpoint",
    "address hostname",
    no_effect={"health_check_config": "there are no active health checks"},
    ignored={"additional_addresses": "only the first address is tried"},
)


def _translate_endpoint(msg: Any, at: Path, host_names: bool) -> LbEndpoint | None:
    endpoint, endpoint_at = msg.endpoint, at.field("endpoint")
    address = translate_address(endpoint.address, endpoint_at.field("address"), host_names=host_names)
    if not endpoint.HasField("address"):
        endpoint_at.field("address").error("required")
    if address is None:
        return None
    return LbEndpoint(
        address=address,
        hostname=endpoint.hostname,
        weight=wrapped_int(msg, "load_balancing_weight", 1),
        health_status=enum_of(HealthStatus, msg.health_status),
        metadata=translate_metadata(msg.metadata, at.field("metadata")),
    )


def _translate_locality(msg: Any, at: Path, host_names: bool) -> LocalityLbEndpoints:
    endpoints = (
        _translate_endpoint(endpoint, at.item("lb_endpoints", i), host_names)
        for i, endpoint in enumerate(msg.lb_endpoints)
    )
    return LocalityLbEndpoints(
        endpoints=tuple(endpoint for endpoint in endpoints if endpoint is not None),
        locality=translate_locality(msg.locality),
        priority=msg.priority,
    )


def translate_load_assignment(msg: Any, at: Path, *, host_names: bool) -> ClusterLoadAssignment:
    """`host_names`: the cluster resolves names, so an address need not be an IP address."""
    return ClusterLoadAssignment(
        msg.cluster_name,
        tuple(
            _translate_locality(locality, at.item("endpoints", i), host_names)
            for i, locality in enumerate(msg.endpoints)
        ),
    )
