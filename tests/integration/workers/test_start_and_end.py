"""Several workers: how it starts, drains and ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

from tests.integration.workers.conftest import Fleet, children_of, exists
from tests.support.backends import Send, Sleep, ok_response
from tests.support.http_client import RawClient, format_request
from tests.support.process import sidecar_command, wait_until


def test_a_request_on_its_way_is_answered_before_the_end(fleet: Fleet) -> None:
    fleet.backend.answer = lambda request: [Sleep(0.5), Send(ok_response(b"late\n"))]
    proxy = fleet.start(drain_time_s=60)
    with RawClient(fleet.address) as client:
        client.reader.expect("GET")
        client.send(format_request("GET", "/slow"))
        wait_until(lambda: fleet.backend.count_complete() == 1, timeout_s=5, what="the request upstream")
        proxy.signal(signal.SIGTERM)
        response = client.read_response(5)
        assert (response.status, response.body, response.values("connection")) == (200, b"late\n", ["close"])
    assert proxy.wait(10) == 0


def test_a_signal_while_it_starts(fleet: Fleet) -> None:
    """Also while workers start, or have started and main does not know yet."""
    for number in range(3):
        proxy = fleet.begin(log_level="info")
        wait_until(lambda: len(children_of(proxy.pid)) >= 1, timeout_s=20, what="a worker")  # noqa: B023
        if number:
            wait_until(lambda: "serves" in proxy.log_text(), timeout_s=20, what="one that serves")  # noqa: B023
        pids = children_of(proxy.pid)
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(10) == 0
        assert not any(map(exists, pids))


def test_a_second_signal_ends_it_at_once(fleet: Fleet) -> None:
    fleet.backend.answer = lambda request: [Sleep(30), Send(ok_response())]
    proxy = fleet.start(drain_time_s=60)
    with RawClient(fleet.address) as client:
        client.send(format_request("GET", "/slow"))
        wait_until(lambda: fleet.backend.count_complete() == 1, timeout_s=5, what="the request upstream")
        proxy.signal(signal.SIGTERM)
        wait_until(lambda: "caught SIGTERM" in proxy.log_text(), timeout_s=5, what="the first signal")
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(10) == 0
        client.receive(5)
        assert client.closed_by_peer


def test_quitquitquit_ends_all(fleet: Fleet) -> None:
    proxy = fleet.start(log_level="info")
    pids = list(fleet.worker_pids().values())
    assert len(pids) == 2 and all(map(exists, pids))
    assert proxy.quit(10) == 0
    assert not any(map(exists, pids))


def test_an_address_that_is_taken_is_named(fleet: Fleet) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(fleet.address)
        other.listen()
        with pytest.raises(RuntimeError, match="ended with 1") as failure:
            fleet.start()
    assert f"listener http: cannot listen on 127.0.0.1:{fleet.address[1]}" in str(failure.value)
    assert "worker" not in str(failure.value)


def test_a_drain_is_of_all(fleet: Fleet) -> None:
    proxy = fleet.start(extra=["--drain-strategy", "immediate"])
    with fleet.connect_to(0) as first, fleet.connect_to(1) as second:
        proxy.admin("/drain_listeners", method="POST")
        for client in (first, second):
            assert client.request("GET", "/").values("connection") == ["close"]
    with pytest.raises(ConnectionRefusedError):
        RawClient(fleet.address)
    assert proxy.stat("listener_manager.listener_stopped") == 1


def test_port_0_is_one_port_for_all(fleet: Fleet) -> None:
    real, fleet.address = fleet.address, ("127.0.0.1", 0)
    proxy = fleet.start()
    fleet.address = ("127.0.0.1", int(proxy.admin("/listeners").rpartition(":")[2]))
    assert fleet.address != real
    with RawClient(fleet.address) as client:
        assert client.request("GET", "/").status == 200


def test_one_process_needs_nothing_of_this(fleet: Fleet) -> None:
    proxy = fleet.start(workers=1)
    assert "workers.live" not in proxy.admin("/stats")
    assert children_of(proxy.pid) == []
    program = "import sys, sidecar.main.run; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=sidecar_command().env,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = done.stdout.splitlines()
    assert "sidecar.worker.process" in loaded
    assert [name for name in loaded if name.startswith(("sidecar.ipc", "sidecar.main.workers"))] == []
