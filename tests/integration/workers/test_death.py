"""Workers that die, and main that dies."""

from __future__ import annotations

import os
import signal

from tests.integration.workers.conftest import Fleet, children_of, exists
from tests.support.http_client import RawClient
from tests.support.process import wait_until


def test_a_killed_worker_is_replaced_and_nothing_goes_back(fleet: Fleet) -> None:
    proxy = fleet.start(log_level="info")
    with fleet.connect_to(0) as first, fleet.connect_to(1) as second:
        before = {
            name: proxy.stat(name)
            for name in ("http.http.downstream_cx_total", "cluster.web.upstream_rq_200")
        }
        os.kill(fleet.worker_pids()[0], signal.SIGKILL)
        first.receive(5)
        assert first.closed_by_peer
        assert second.request("GET", "/").status == 200  # the other one goes on
        wait_until(lambda: proxy.stat("workers.restarts_total") == 1, timeout_s=10, what="the death counted")
        wait_until(lambda: proxy.stat("workers.live") == 2, timeout_s=10, what="another worker")
        assert proxy.stat("http.http.downstream_cx_active") == 1  # its levels are gone
        with fleet.connect_to(0) as again:
            assert again.request("GET", "/").status == 200
        assert {name for name, value in before.items() if proxy.stat(name) <= value} == set()
    assert "worker 0 was killed by SIGKILL, another one takes its place" in proxy.log_text()


def test_a_worker_that_hangs_is_replaced(fleet: Fleet) -> None:
    proxy = fleet.start(log_level="info")
    with fleet.connect_to(0), fleet.connect_to(1) as second:
        os.kill(fleet.worker_pids()[0], signal.SIGSTOP)
        wait_until(lambda: proxy.stat("workers.restarts_total") == 1, timeout_s=30, what="it was killed")
        wait_until(lambda: proxy.stat("workers.live") == 2, timeout_s=10, what="another worker")
        assert second.request("GET", "/").status == 200  # idle all the time, and left alone
        with fleet.connect_to(0) as again:
            assert again.request("GET", "/").status == 200
    assert "worker 0 has said nothing for 10 s, killing it" in proxy.log_text()


def test_when_main_dies_the_workers_end(fleet: Fleet) -> None:
    proxy = fleet.start(log_level="info", drain_time_s=5)
    wait_until(lambda: len(children_of(proxy.pid)) == 3, timeout_s=10, what="a process in reserve")
    pids = children_of(proxy.pid)
    with RawClient(fleet.address) as client:
        assert client.request("GET", "/").status == 200
        proxy.signal(signal.SIGKILL)
        proxy.wait(5)
        wait_until(lambda: not any(map(exists, pids)), timeout_s=10, what="the workers ended")
        client.receive(5)
        assert client.end_of_stream and not client.reset  # an orderly end
    assert "main has gone, draining" in proxy.log_text()


def test_one_that_dies_again_and_again_is_not_replaced_at_once(fleet: Fleet) -> None:
    proxy = fleet.start(log_level="info")
    for death in (1, 2):
        wait_until(lambda: proxy.stat("workers.live") == 2, timeout_s=20, what="two workers")
        os.kill(fleet.worker_pids()[0], signal.SIGKILL)
        wait_until(
            lambda death=death: proxy.stat("workers.restarts_total") == death, timeout_s=10, what="the death"
        )
    assert "worker 0 was killed by SIGKILL, 2 times in a row" in proxy.log_text()
    assert "starts in 0.5 s" in proxy.log_text()
    wait_until(lambda: proxy.stat("workers.live") == 2, timeout_s=20, what="two workers")


def test_the_process_in_reserve_may_die(fleet: Fleet) -> None:
    proxy = fleet.start(log_level="info")
    wait_until(lambda: len(children_of(proxy.pid)) == 3, timeout_s=10, what="a process in reserve")
    (reserve,) = set(children_of(proxy.pid)) - set(fleet.worker_pids().values())
    os.kill(reserve, signal.SIGKILL)
    wait_until(lambda: not exists(reserve), timeout_s=5, what="its end")
    os.kill(fleet.worker_pids()[1], signal.SIGKILL)
    wait_until(lambda: proxy.stat("workers.restarts_total") == 1, timeout_s=10, what="the death counted")
    wait_until(lambda: proxy.stat("workers.live") == 2, timeout_s=10, what="another worker")
    with fleet.connect_to(1) as client:
        assert client.request("GET", "/").status == 200


def test_a_worker_that_is_told_to_end_drains_and_is_replaced(fleet: Fleet) -> None:
    proxy = fleet.start(log_level="info")
    with fleet.connect_to(0) as client:
        os.kill(fleet.worker_pids()[0], signal.SIGTERM)
        client.receive(5)
        assert client.end_of_stream and not client.reset
    wait_until(lambda: proxy.stat("workers.restarts_total") == 1, timeout_s=10, what="the end counted")
    wait_until(lambda: proxy.stat("workers.live") == 2, timeout_s=10, what="another worker")
    assert "worker 0 ended with code 0, another one takes its place" in proxy.log_text()
