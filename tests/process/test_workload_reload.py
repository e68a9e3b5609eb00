"""A running proxy takes over a changed file of workloads while traffic goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.stage import Stage
from tests.support.bootstraps import cluster, route_to
from tests.support.http_client import RawClient
from tests.support.istio_config import extension, istio_stats_filter, node
from tests.support.process import wait_until
from tests.support.prometheus_text import parse

WORKLOADS = 20_000


def write(path: Path, name: str, *more: str, count: int = WORKLOADS) -> None:
    """A file in which the client has the name `name`, put in its place at once."""
    others = [f"- {{name: w{at}, addresses: [10.0.{at >> 8}.{at & 255}]}}" for at in range(count - 1)]
    new = path.with_suffix(".new")
    lines = ["workloads:", f"- {{name: {name}, addresses: [127.0.0.1]}}", *others, *more]
    new.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(new, path)


@pytest.fixture
def workloads() -> int:
    """At start."""
    return WORKLOADS


@pytest.fixture
def path(tmp_path: Path, workloads: int) -> Path:
    path = tmp_path / "workloads.yaml"
    write(path, "before", count=workloads)
    return path


@pytest.fixture
def stage(tmp_path: Path, path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    discovery = extension(
        "istio.metadata_exchange",
        "io.istio.http.peer_metadata.Config",
        {"downstream_discovery": [{"workload_discovery": {}}]},
    )
    source = {
        "name": "envoy.bootstrap.workload_discovery",
        "typed_config": {
            "@type": "type.googleapis.com/istio.workload.BootstrapExtension",
            "config_source": {"path_config_source": {"path": str(path)}},
        },
    }
    inbound = {"traffic_direction": "INBOUND"}
    filters = [discovery, istio_stats_filter()]
    stage.start(
        [stage.http_listener(route_to("app"), fields=inbound, http_filters=filters)],
        [cluster("app", stage.http_backend().address)],
        node=node("server"),
        bootstrap_extensions=[source],
    )
    yield stage
    stage.close()


def requests_of(stage: Stage) -> dict[str, int]:
    """Source workload -> requests."""
    families = parse(stage.proxy.admin("/stats/prometheus?filter=istio_requests_total"))
    return {
        dict(sample.labels)["source_workload"]: int(sample.value)
        for family in families.values()
        for sample in family.samples
    }


def test_traffic_goes_on_while_20_000_workloads_are_replaced(stage: Stage, path: Path) -> None:
    with RawClient(stage.address) as client:
        sent = 0

        def request() -> None:
            nonlocal sent
            assert client.request("GET", "/").status == 200
            sent += 1

        def known(name: str) -> bool:
            request()
            return name in requests_of(stage)

        assert known("before")
        write(path, "after")
        wait_until(lambda: known("after"), timeout_s=60, what="the new name is known")
        counted = requests_of(stage)
        assert sorted(counted) == ["after", "before"]
        assert sum(counted.values()) == sent
        assert counted["before"] > 1  # of those sent while the file was read
        assert stage.proxy.stat("workload_discovery.total") == WORKLOADS

        write(path, "broken", "- {name: x, addresses: [nowhere]}")

        def told() -> list[str]:
            request()
            return [line for line in stage.proxy.log_text().splitlines() if "workloads stay" in line]

        wait_until(lambda: bool(told()), timeout_s=60, what="the mistake is in the log")
        assert sorted(requests_of(stage)) == ["after", "before"]
        (line,) = told()
        place = f"{path}:{WORKLOADS + 2}:25: workloads[{WORKLOADS}].addresses[0]"
        assert f"{place}: 'nowhere' is not an IP address" in line
        assert stage.proxy.stat("workload_discovery.total") == WORKLOADS


@pytest.mark.parametrize("workloads", [1])
def test_the_reader_ends_with_the_proxy(stage: Stage, path: Path) -> None:
    """However long the file keeps it."""
    pipe = path.with_suffix(".pipe")
    os.mkfifo(pipe)
    os.replace(pipe, path)
    of_proxy = Path(f"/proc/{stage.proxy.pid}/task/{stage.proxy.pid}/children")
    (reader,) = wait_until(lambda: of_proxy.read_text().split() or None, timeout_s=20, what="a reader")
    with RawClient(stage.address) as client:
        assert client.request("GET", "/").status == 200
    assert stage.proxy.terminate() == 0
    assert not Path(f"/proc/{reader}").exists()
