"""The bootstrap of docs/telemetry.md does what the page says."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.http_client import get
from tests.support.ports import free_ports
from tests.support.process import REPOSITORY, Proxy, sidecar_command, start_proxy, wait_until

PAGE = REPOSITORY / "docs" / "telemetry.md"


class Shop:
    """The page's proxy, on ports of its own, and what it tells a StatsD server."""

    def __init__(self, directory: Path) -> None:
        bootstrap, workloads = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
        (directory / "workloads.yaml").write_text(workloads)
        self.statsd = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.statsd.bind(("127.0.0.1", 0))
        self.statsd.settimeout(10)
        admin, inbound = free_ports(2)
        ports = {"15000": admin, "15006": inbound, "8125": self.statsd.getsockname()[1]}
        text = re.sub(r"port_value: (\d+)", lambda port: f"port_value: {ports[port[1]]}", bootstrap)
        self.log = directory / "access.log"
        text = text.replace("/dev/stdout", str(self.log)).replace(
            "path: workloads", f"path: {directory}/workloads"
        )
        self.proxy: Proxy = start_proxy(
            sidecar_command(), text, directory, admin, extra=("--file-flush-interval-msec", "20")
        )
        self.address = ("127.0.0.1", inbound)

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        families = text_string_to_metric_families(self.proxy.prometheus())
        return [
            (each.labels, each.value) for family in families for each in family.samples if each.name == name
        ]

    def close(self) -> None:
        self.proxy.terminate()
        self.statsd.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(tmp_path_factory.mktemp("shop"))
    for path in ("/", "/missing"):
        get(made.address, path, headers=[("x-tenant", "acme")])
    yield made
    made.close()


def test_labels(shop: Shop) -> None:
    found = shop.samples("istio_requests_total")
    assert {labels["response_code"]: value for labels, value in found} == {"200": 1, "404": 1}
    for labels, _ in found:
        assert (labels["tenant"], labels["method"], labels["reporter"]) == ("acme", "GET", "destination")
        assert (labels["source_workload"], labels["source_cluster"]) == ("laptop", "desk")
        assert "source_principal" not in labels
    assert shop.samples("istio_answered_bytes_total") == [({"tenant": "acme"}, 6.0)]
    assert shop.samples("istio_request_bytes_count") == []
    assert shop.samples("istio_response_bytes_count") != []


def test_access_log(shop: Shop) -> None:
    line = wait_until(shop.log.read_text, timeout_s=10, what="a line")
    (entry,) = [json.loads(each) for each in line.splitlines()]
    assert entry["request"] == {"method": "GET", "path": "/missing", "tenant": "acme"}
    assert (entry["status"], bool(entry["why"])) == (404, True)


def test_statsd(shop: Shop) -> None:
    wait_until(
        lambda: shop.statsd.recv(65536).startswith(b"shop.http.inbound."),
        timeout_s=20,
        what="a counter",
        interval_s=0,
    )
