"""The file of workloads: what it accepts, and what it says about mistakes."""

from __future__ import annotations

import json

import pytest

from config.bootstrap import Source
from config.errors import ConfigErrors
from config.model.workload_discovery import DiscoveredWorkload
from config.workload_discovery import parse_workloads

FULL = {
    "workloads": [
        {
            "name": "legacy-db-7",
            "addresses": ["10.1.2.3", "fd00::3"],
            "namespace": "data",
            "workload_name": "legacy-db",
            "workload_type": "pod",
            "canonical_name": "db",
            "canonical_revision": "v2",
            "app": "database",
            "version": "2.1",
            "cluster_id": "machines",
            "trust_domain": "example.org",
            "service_account": "db",
            "network": "north",
        }
    ]
}


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as raised:
        parse_workloads(Source("w.yaml", text))
    return str(raised.value).splitlines()


def test_everything() -> None:
    (workload,) = parse_workloads(Source("w.json", json.dumps(FULL)))
    assert workload == DiscoveredWorkload(
        uid="machines/data/legacy-db-7",
        name="legacy-db-7",
        addresses=(bytes((10, 1, 2, 3)), bytes((0xFD, *[0] * 14, 3))),
        namespace="data",
        workload_name="legacy-db",
        workload_type="pod",
        canonical_name="db",
        canonical_revision="v2",
        app="database",
        version="2.1",
        cluster_id="machines",
        identity="spiffe://example.org/ns/data/sa/db",
        network="north",
    )


def test_what_is_not_said() -> None:
    """Nobody is given an identity that nobody has told."""
    (workload,) = parse_workloads(Source("w.yaml", "workloads: [{name: a, addresses: [10.0.0.1]}]"))
    assert workload == DiscoveredWorkload(
        uid="/default/a",
        name="a",
        addresses=(bytes((10, 0, 0, 1)),),
        namespace="default",
        workload_name="a",
        workload_type="deployment",
        canonical_name="a",
        app="a",
    )


@pytest.mark.parametrize(
    ("fields", "canonical_name", "revision", "app", "version"),
    [
        ("app: x, version: v1", "x", "v1", "x", "v1"),
        ("canonical_name: x, canonical_revision: v1", "x", "v1", "x", "v1"),
        ("workload_name: w, app: x, canonical_name: z", "z", "", "x", ""),
        ("workload_name: w", "w", "", "w", ""),
    ],
)
def test_names_fill_in_for_each_other(
    fields: str, canonical_name: str, revision: str, app: str, version: str
) -> None:
    (workload,) = parse_workloads(Source("w", f"workloads: [{{name: a, addresses: ['::1'], {fields}}}]"))
    assert (workload.canonical_name, workload.canonical_revision) == (canonical_name, revision)
    assert (workload.app, workload.version) == (app, version)


def test_all_mistakes_at_once_with_their_places() -> None:
    text = """\
workloads:
- name: a
  adresses: [10.0.0.1]
  workload_type: deploymnt
- addresses: [db.example.org, 10.0.0.300]
  name: b
  version: 1
- name: c
  addresses: []
"""
    assert problems_of(text) == [
        "w.yaml:2:3: workloads[0].addresses: is missing",
        "w.yaml:3:3: workloads[0].adresses: unknown field; did you mean 'addresses'?",
        "w.yaml:4:18: workloads[0].workload_type: must be one of deployment, pod, job, cronjob; did you mean 'deployment'?",
        "w.yaml:5:15: workloads[1].addresses[0]: 'db.example.org' is not an IP address",
        "w.yaml:5:31: workloads[1].addresses[1]: '10.0.0.300' is not an IP address",
        "w.yaml:7:12: workloads[1].version: must be text, not a number",
        "w.yaml:9:14: workloads[2].addresses: needs at least one IP address",
    ]


def test_an_address_that_stands_for_an_ipv4_one() -> None:
    text = "workloads: [{name: a, namespace: n1, addresses: ['::ffff:10.0.0.1']}, {name: a, namespace: n2, addresses: [10.0.0.1]}]"
    assert problems_of(text) == [
        "w.yaml:1:108: workloads[1].addresses[0]: 10.0.0.1 is the address of 'a' too"
    ]


def test_nobody_shares_a_name_or_an_address() -> None:
    text = "workloads: [{name: a, addresses: ['::1']}, {name: b, addresses: ['0::1']}, {name: a, addresses: ['::2']}]"
    assert problems_of(text) == [
        "w.yaml:1:66: workloads[1].addresses[0]: ::1 is the address of 'a' too",
        "w.yaml:1:83: workloads[2].name: there is another workload 'a'",
    ]


def test_networks_may_have_the_same_addresses() -> None:
    text = "workloads: [{name: a, addresses: ['::1'], network: x}, {name: b, addresses: ['::1'], network: z}]"
    assert len(parse_workloads(Source("w", text))) == 2


@pytest.mark.parametrize("text", ["{}", "workload: []", "workloads: {}", "- name: a"])
def test_no_workloads(text: str) -> None:
    assert problems_of(text)
