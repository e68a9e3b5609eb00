"""`/config_dump?include_eds`: the hosts of every cluster as they are now, whatever they were found by."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Any

from config.model.endpoint import HealthStatus
from sidecar.main.admin.listeners import address_json

if TYPE_CHECKING:
    from sidecar.upstream.host_summary import ShownHost
    from sidecar.worker.process import Process


def endpoint_configs(process: Process) -> list[dict[str, Any]]:
    """One `ClusterLoadAssignment` for each cluster, in the order of their names."""
    clusters = process.clusters.all()
    return [
        {
            "endpoint_config": {
                "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
                "cluster_name": name,
                "endpoints": _localities(process.hosts_of(clusters[name])),
                "policy": {"overprovisioning_factor": 140},
            }
        }
        for name in sorted(clusters)
    ]


def _place(host: ShownHost) -> tuple[int, str, str, str]:
    locality = host.locality
    return host.priority, locality.region, locality.zone, locality.sub_zone


def _localities(hosts: Iterable[ShownHost]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for (priority, region, zone, sub_zone), members in groupby(sorted(hosts, key=_place), _place):
        names = {"region": region, "zone": zone, "sub_zone": sub_zone}
        entry: dict[str, Any] = {
            "locality": {name: value for name, value in names.items() if value},
            "lb_endpoints": [_endpoint(host) for host in members],
        }
        found.append(entry | ({"priority": priority} if priority else {}))
    return found


def _endpoint(host: ShownHost) -> dict[str, Any]:
    endpoint: dict[str, Any] = {"address": address_json(host.address), "health_check_config": {}}
    if host.hostname:
        endpoint["hostname"] = host.hostname
    health = HealthStatus.HEALTHY if host.health_status is HealthStatus.UNKNOWN else host.health_status
    return {"endpoint": endpoint, "health_status": health.name, "load_balancing_weight": host.weight}
