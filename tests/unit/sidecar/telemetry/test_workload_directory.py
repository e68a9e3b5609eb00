"""Who is found at which address."""

from __future__ import annotations

import ipaddress

import pytest

from config.model.workload_discovery import DiscoveredWorkload
from protocols.peer_metadata import PeerMetadata
from sidecar.telemetry.workload_directory import WorkloadDirectory, peer_of
from stats.metrics import Gauge


def workload(name: str, *addresses: str, network: str = "", version: str = "") -> DiscoveredWorkload:
    packed = tuple(ipaddress.ip_address(each).packed for each in addresses)
    return DiscoveredWorkload(
        f"/default/{name}", name, packed, workload_name=name, network=network, version=version
    )


@pytest.fixture
def total() -> Gauge:
    return Gauge("", "", ())


@pytest.fixture
def directory(total: Gauge) -> WorkloadDirectory:
    return WorkloadDirectory(total)


def found(directory: WorkloadDirectory, *addresses: str) -> list[str | None]:
    peers = [directory.find(each) for each in addresses]
    return [peer.workload if peer is not None else None for peer in peers]


def test_a_workload_as_a_peer() -> None:
    told = DiscoveredWorkload(
        "u",
        "db-7",
        (),
        "data",
        "db",
        "pod",
        "dbs",
        "v2",
        "database",
        "2.1",
        "machines",
        "spiffe://x/y",
        "north",
    )
    assert peer_of(told) == PeerMetadata(
        instance_name="db-7",
        namespace="data",
        workload="db",
        cluster="machines",
        type="pod",
        canonical_name="dbs",
        canonical_revision="v2",
        app="database",
        version="2.1",
        identity="spiffe://x/y",
    )


def test_every_address_leads_to_the_workload(directory: WorkloadDirectory, total: Gauge) -> None:
    directory.replace([workload("a", "10.0.0.1", "fd00::1"), workload("b", "10.0.0.2")])
    assert found(directory, "10.0.0.1", "fd00::1", "FD00:0::1", "10.0.0.2") == ["a", "a", "a", "b"]
    assert directory.find("10.0.0.1") is directory.find("fd00::1")
    assert total.value == 3


@pytest.mark.parametrize(
    "address", ["10.0.0.9", "::", "", "name.example", "10.0.0.1:80", "fe80::1%eth0", "\0"]
)
def test_nobody_is_there(directory: WorkloadDirectory, address: str) -> None:
    directory.replace([workload("a", "10.0.0.1")])
    assert directory.find(address) is None


def test_an_ipv4_client_on_an_ipv6_socket(directory: WorkloadDirectory) -> None:
    directory.replace([workload("a", "10.0.0.1")])
    assert found(directory, "::ffff:10.0.0.1") == ["a"]


def test_an_update_overwrites_and_removes(directory: WorkloadDirectory, total: Gauge) -> None:
    directory.update([workload("a", "10.0.0.1", "10.0.0.2")])
    directory.update([workload("b", "10.0.0.2")])
    assert found(directory, "10.0.0.1", "10.0.0.2") == ["a", "b"]
    directory.update([], ["/default/a", "/default/never told"])
    assert found(directory, "10.0.0.1", "10.0.0.2") == [None, "b"]
    directory.update([workload("b", "10.0.0.3")])
    assert found(directory, "10.0.0.2", "10.0.0.3") == [None, "b"]
    assert total.value == 1


def test_what_is_told_again_stays_the_same_object(directory: WorkloadDirectory) -> None:
    """Series are found by the peer object: telling all again must not lose them."""
    directory.replace([workload("a", "10.0.0.1"), workload("b", "10.0.0.2", version="v1")])
    a, b = directory.find("10.0.0.1"), directory.find("10.0.0.2")
    directory.replace([workload("a", "10.0.0.1"), workload("b", "10.0.0.2", version="v2")])
    assert directory.find("10.0.0.1") is a
    assert directory.find("10.0.0.2") not in (None, b)


def test_in_steps_all_changes_at_once(directory: WorkloadDirectory, total: Gauge) -> None:
    """A long list holds up nothing, and nobody sees half of it."""
    many = [workload(f"w{at}", f"10.1.{at >> 8}.{at & 255}") for at in range(1000)]
    directory.replace([workload("old", "10.0.0.1"), *many])
    kept = directory.find("10.1.0.1")
    steps = directory.replace_in_steps([workload("new", "10.0.0.1"), *many[1:], workload("last", "10.2.0.1")])
    seen = [found(directory, "10.0.0.1", "10.2.0.1", "10.1.0.1") for _ in steps]
    before, after = ["old", None, "w1"], ["new", "last", "w1"]
    changed = seen.index(after)
    assert changed >= 10
    assert seen == [before] * changed + [after] * (len(seen) - changed)
    assert found(directory, "10.1.0.0") == [None]
    assert directory.find("10.1.0.1") is kept
    assert total.value == 1001


def test_addresses_of_another_network_are_others(total: Gauge) -> None:
    directory = WorkloadDirectory(total, "north")
    directory.replace(
        [
            workload("here", "10.0.0.1", network="north"),
            workload("there", "10.0.0.1", "10.0.0.2", network="south"),
            workload("anywhere", "10.0.0.3"),
        ]
    )
    assert found(directory, "10.0.0.1", "10.0.0.2", "10.0.0.3") == ["here", None, "anywhere"]
    assert total.value == 2
