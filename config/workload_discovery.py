"""The file of workloads: who is at which address, for peers that cannot tell it themselves.

    workloads:
    - name: legacy-db-7
      addresses: [10.1.2.3, "fd00::3"]
      namespace: data
      workload_name: legacy-db
      canonical_revision: v1
      cluster_id: machines
      service_account: db

Keys are those of `istio.workload.Workload`; `app` and `version` stand for its labels of that name.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from config.model.workload_discovery import DiscoveredWorkload
from config.proto.document import Source
from config.proto.path import Path, Problems
from config.sections import Section, list_of, one_of, read_file, text

WORKLOAD_TYPES: Final = ("deployment", "pod", "job", "cronjob")


def parse_workloads(source: Source) -> tuple[DiscoveredWorkload, ...]:
    """The workloads of a file (YAML or JSON). Raises ConfigErrors with every problem."""
    return read_file(source, _read_workloads)


def _read_workloads(top: Section) -> tuple[DiscoveredWorkload, ...]:
    workloads = top.need("workloads", list_of(_workload))
    top.finish()
    if not top.problems.errors:
        _judge(workloads or (), top.at, top.problems)
    return workloads or ()


def _workload(at: Path, value: object, problems: Problems) -> DiscoveredWorkload | None:
    section = Section(value, at, problems)
    name = section.need("name", text) or ""
    addresses = section.need("addresses", _addresses)
    namespace = section.take("namespace", text, "default")
    workload_name = section.take("workload_name", text, name)
    app, version = section.take("app", text, ""), section.take("version", text, "")
    canonical_name = section.take("canonical_name", text, app or workload_name)
    canonical_revision = section.take("canonical_revision", text, version)
    cluster_id = section.take("cluster_id", text, "")
    trust_domain = section.take("trust_domain", text, "cluster.local")
    account = section.take("service_account", text, "")
    workload = DiscoveredWorkload(
        uid=f"{cluster_id}/{namespace}/{name}",
        name=name,
        addresses=addresses or (),
        namespace=namespace,
        workload_name=workload_name,
        workload_type=section.take("workload_type", one_of(WORKLOAD_TYPES), WORKLOAD_TYPES[0]),
        canonical_name=canonical_name,
        canonical_revision=canonical_revision,
        app=app or canonical_name,
        version=version or canonical_revision,
        cluster_id=cluster_id,
        identity=f"spiffe://{trust_domain}/ns/{namespace}/sa/{account}" if account else "",
        network=section.take("network", text, ""),
    )
    section.finish()
    return workload


def _addresses(at: Path, value: object, problems: Problems) -> tuple[bytes, ...] | None:
    if value == []:
        problems.error(at, "needs at least one IP address")
        return None
    return list_of(_address)(at, value, problems)


def _address(at: Path, value: object, problems: Problems) -> bytes | None:
    written = text(at, value, problems)
    if written is None:
        return None
    try:
        address = ipaddress.ip_address(written)
    except ValueError:
        problems.error(at, f"'{written}' is not an IP address")
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).packed  # connections from such addresses are known by the IPv4 one


def _judge(workloads: tuple[DiscoveredWorkload, ...], root: Path, problems: Problems) -> None:
    """What no field can be blamed for alone: names and addresses that two have."""
    names: set[str] = set()
    owners: dict[tuple[str, bytes], DiscoveredWorkload] = {}
    for index, workload in enumerate(workloads):
        at = root.item("workloads", index)
        if workload.uid in names:
            problems.error(at.field("name"), f"there is another workload '{workload.name}'")
        names.add(workload.uid)
        for number, address in enumerate(workload.addresses):
            owner = owners.setdefault((workload.network, address), workload)
            if owner.uid != workload.uid:
                where = at.item("addresses", number)
                problems.error(where, f"{ipaddress.ip_address(address)} is the address of '{owner.name}' too")
