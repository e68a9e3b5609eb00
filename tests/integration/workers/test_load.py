"""A worker is killed while some hundred requests a second come over many connections."""

from __future__ import annotations

import os
import signal
import threading
import time

from tests.integration.workers.conftest import Fleet
from tests.support.http_client import RawClient
from tests.support.process import Proxy, wait_until

CLIENTS = 12
#: Of one client between two requests: all together some 500 requests a second.
PAUSE_S = 0.02


class Client(threading.Thread):
    """One kept-alive connection, another one when it breaks; at a constant rate until it is told to stop."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(daemon=True)
        self._fleet = fleet
        self.stop = threading.Event()
        self.answered = 0
        self.wrong: list[int] = []
        self.broken = 0
        self.refused = 0

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                client = RawClient(self._fleet.address)
            except OSError:
                self.refused += 1
                continue
            with client:
                try:
                    self._converse(client)
                except ConnectionError:
                    self.broken += 1

    def _converse(self, client: RawClient) -> None:
        while not self.stop.wait(PAUSE_S):
            status = client.request("GET", "/", timeout_s=20).status
            self.answered += 1
            if status != 200:
                self.wrong.append(status)


class Sampler(threading.Thread):
    """Looks at counters and the count of a histogram again and again: none may go back."""

    NAMES = (
        "envoy_http_downstream_rq_total",
        "envoy_http_downstream_cx_total",
        "envoy_cluster_upstream_rq_total",
        "envoy_http_downstream_rq_time_count",
        "envoy_http_downstream_rq_time_sum",
    )

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(daemon=True)
        self._proxy = proxy
        self.stop = threading.Event()
        self.samples = 0
        self.gone_back: list[tuple[str, float, float]] = []
        self._last: dict[str, float] = {}

    def run(self) -> None:
        while not self.stop.is_set():
            for line in self._proxy.prometheus().splitlines():
                series, _, value = line.rpartition(" ")
                if series.partition("{")[0] in self.NAMES:
                    before = self._last.get(series, 0.0)
                    if float(value) < before:
                        self.gone_back.append((series, before, float(value)))
                    self._last[series] = float(value)
            self.samples += 1


def test_only_what_was_open_on_it_is_lost(fleet: Fleet) -> None:
    proxy = fleet.start(log_level="info")
    clients = [Client(fleet) for _ in range(CLIENTS)]
    sampler = Sampler(proxy)
    for thread in (*clients, sampler):
        thread.start()
    try:
        wait_until(lambda: all(each.answered > 20 for each in clients), timeout_s=30, what="load")
        wait_until(lambda: fleet.accepted(0) and fleet.accepted(1), timeout_s=5, what="load on both")
        wait_until(lambda: sampler.samples > 5, timeout_s=20, what="samples before")
        own = proxy.stat(f"listener.127.0.0.1_{fleet.address[1]}.worker_0.downstream_cx_active")
        began = time.monotonic()
        os.kill(fleet.worker_pids()[0], signal.SIGKILL)
        wait_until(lambda: proxy.stat("workers.restarts_total") == 1, timeout_s=10, what="the death counted")
        wait_until(lambda: proxy.stat("workers.live") == 2, timeout_s=20, what="another worker")
        took_s = time.monotonic() - began
        after, samples = [each.answered for each in clients], sampler.samples
        wait_until(
            lambda: all(each.answered > count + 20 for each, count in zip(clients, after, strict=True)),
            timeout_s=30,
            what="all clients served again",
        )
        wait_until(lambda: sampler.samples > samples + 5, timeout_s=20, what="samples after")
    finally:
        for thread in (*clients, sampler):
            thread.stop.set()
    for thread in (*clients, sampler):
        thread.join(20)
    broken = sum(each.broken for each in clients)
    print(f"{broken} of {own} connections broken, another worker after {took_s:.2f} s")
    assert broken <= own
    assert [each.wrong for each in clients] == [[]] * CLIENTS
    assert [each.refused for each in clients] == [0] * CLIENTS
    assert sampler.gone_back == []
    assert proxy.stat("server.envoy_bug_failures") == 0
    # What the dead worker had counted since its last report is lost, nothing else.
    answered = sum(each.answered for each in clients)
    counted = proxy.stat("http.http.downstream_rq_2xx")
    assert answered // 2 < counted <= fleet.backend.count_complete()
