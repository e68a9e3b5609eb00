"""A proxy with several workers, and what is around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.backends import HttpBackend, LoopThread
from tests.support.bootstraps import bootstrap, cluster, http_filter_chain, listener, route_to
from tests.support.http_client import RawClient
from tests.support.ports import free_ports
from tests.support.process import Proxy, sidecar_command, start_proxy, wait_until


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, without those that have ended."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def exists(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


class Fleet:
    """One proxy in front of an HTTP backend."""

    def __init__(self, loop: LoopThread, directory: Path) -> None:
        self.backend = HttpBackend(loop).start()
        self._directory = directory
        self.admin_port, port = free_ports(2)
        self.address = ("127.0.0.1", port)
        #: further fields of the bootstrap
        self.bootstrap_fields: dict[str, Any] = {}
        self.proxy: Proxy | None = None

    def start(self, workers: int = 2, **options: Any) -> Proxy:
        text = self.config(**options.pop("cluster_fields", {}))
        self.proxy = start_proxy(
            sidecar_command(), text, self._directory, self.admin_port, concurrency=workers, **options
        )
        return self.proxy

    def begin(self, **options: Any) -> Proxy:
        """As `start`, without waiting until it serves."""
        path = self._directory / "begin.json"
        path.write_text(self.config())
        self.proxy = Proxy(sidecar_command(), path, self.admin_port, concurrency=2, **options)
        return self.proxy

    def config(self, **cluster_fields: Any) -> str:
        hosts = {"a.example": "web", "admin.example": "admin"}
        routes = {
            "name": "local",
            "virtual_hosts": [
                {"name": name, "domains": [name], "routes": [route_to(to)]} for name, to in hosts.items()
            ],
        }
        chain = http_filter_chain(routes)
        return bootstrap(
            self.admin_port,
            [listener("http", self.address[1], chain)],
            [
                cluster("web", self.backend.address, **cluster_fields),
                cluster("admin", ("127.0.0.1", self.admin_port)),
            ],
            **self.bootstrap_fields,
        )

    def accepted(self, worker: int) -> int:
        """Connections that this worker has had."""
        assert self.proxy is not None
        return self.proxy.stat(f"listener.127.0.0.1_{self.address[1]}.worker_{worker}.downstream_cx_total")

    def connect_to(self, worker: int) -> RawClient:
        """A connection that this worker serves: the kernel chooses, so several may be needed."""
        for _ in range(100):
            before = self.accepted(worker)
            client = RawClient(self.address)
            assert client.request("GET", "/").status == 200
            if self.accepted(worker) > before:
                return client
            client.close()
        raise AssertionError(f"worker {worker} gets no connection")

    def worker_pids(self) -> dict[int, int]:
        """Number and process of each worker, as the log says."""
        assert self.proxy is not None
        found = {}
        for line in self.proxy.log_text().splitlines():
            _, serves, pid = line.partition(" serves, process ")
            if serves:
                found[int(line.partition("worker ")[2].split()[0])] = int(pid)
        return found

    def close(self) -> None:
        if self.proxy is not None:
            pids = [self.proxy.pid, *self.worker_pids().values()]
            self.proxy.terminate()
            wait_until(lambda: not any(map(exists, pids)), timeout_s=10, what="all processes ended")
        self.backend.stop()


@pytest.fixture
def fleet(loop_thread: LoopThread, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(loop_thread, tmp_path)
    yield made
    made.close()
