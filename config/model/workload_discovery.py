"""Workloads known by their addresses (`istio.workload`), and where they are told."""

from __future__ import annotations

import msgspec


class WorkloadDiscoverySpec(msgspec.Struct, frozen=True):
    """`istio.workload.BootstrapExtension` with a `path_config_source`: a file of workloads, read again when it changes."""

    path: str


class DiscoveredWorkload(msgspec.Struct, frozen=True):
    """What is told of one workload, the fields named as in `istio.workload.Workload`; "" is not known.

    `uid` is its own among all. `addresses` are 4 or 16 bytes each. `workload_type` is `pod`, `deployment`, `job` or
    `cronjob`. `identity` is the SPIFFE id of its service account. `app` and `version` are those of its labels.
    """

    uid: str
    name: str
    addresses: tuple[bytes, ...]
    namespace: str = "default"
    workload_name: str = ""
    workload_type: str = "deployment"
    canonical_name: str = ""
    canonical_revision: str = ""
    app: str = ""
    version: str = ""
    cluster_id: str = ""
    identity: str = ""
    network: str = ""
