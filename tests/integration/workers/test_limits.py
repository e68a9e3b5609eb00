"""Limits of a cluster and of connections hold for all workers together."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack

from tests.integration.workers.conftest import Fleet
from tests.support.backends import RecordedRequest, Script, Send, Sleep, ok_response
from tests.support.http_client import RawClient, format_request
from tests.support.process import wait_until

LIMIT = 4
BREAKERS = {
    "circuit_breakers": {
        "thresholds": [{"max_requests": LIMIT, "max_connections": 100, "track_remaining": True}]
    }
}
PREFIX = "cluster.web.circuit_breakers.default."


def slowly(request: RecordedRequest) -> Script:
    return [Sleep(60 if request.target == "/slow" else 0), Send(ok_response())]


def test_requests_of_a_cluster(fleet: Fleet) -> None:
    fleet.backend.answer = slowly
    proxy = fleet.start(cluster_fields=BREAKERS, log_level="info")
    with ExitStack() as open_clients:
        waiting: dict[int, list[RawClient]] = {0: [], 1: []}
        for number in range(LIMIT):  # half of them on each worker
            client = open_clients.enter_context(fleet.connect_to(number % 2))
            client.send(format_request("GET", "/slow"))
            waiting[number % 2].append(client)
            wait_until(
                lambda number=number: proxy.stat("cluster.web.upstream_rq_active") == number + 1,
                timeout_s=5,
                what="the request upstream",
            )
            assert proxy.stat(f"{PREFIX}remaining_rq") == LIMIT - number - 1
        assert proxy.stat(f"{PREFIX}rq_open") == 1
        answers = set()
        for _ in range(20):
            with RawClient(fleet.address) as client:
                answers.add(client.request("GET", "/").status)
        assert answers == {503}
        assert proxy.stat("cluster.web.upstream_rq_active_overflow") == 20
        os.kill(fleet.worker_pids()[0], signal.SIGKILL)  # what it held is free
        wait_until(lambda: proxy.stat("workers.restarts_total") == 1, timeout_s=10, what="the death counted")
        assert proxy.stat(f"{PREFIX}remaining_rq") == LIMIT // 2
        assert proxy.stat(f"{PREFIX}rq_open") == 0
        with fleet.connect_to(1) as client:
            assert client.request("GET", "/").status == 200
