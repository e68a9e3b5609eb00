"""What ends leaves nothing for the cyclic garbage collector, which looks at long-lived objects seldom."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from tests.support.http_floor import OK, HttpFloor, route

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def _exchange(floor: HttpFloor) -> None:
    client = floor.connect()
    client.send(GET)
    server = floor.server()
    server.take()
    server.send(OK)
    assert b"200 OK" in client.take()
    client.lose()
    server.reset()
    _forget(floor)


def _preface(floor: HttpFloor) -> None:
    client = floor.connect()
    client.send(PREFACE)
    assert client.take()
    client.lose()
    _forget(floor)


def _forget(floor: HttpFloor) -> None:
    """What the floor keeps for its tests."""
    floor.loop.turn()
    floor.managers.clear()
    floor.logger.lines.clear()
    for fake in floor.fakes.values():
        fake.peers.clear()
    floor._accepted.clear()


@pytest.mark.parametrize("life", [_exchange, _preface])
def test_connections_leave_no_cycles(life: Callable[[HttpFloor], None]) -> None:
    floor = HttpFloor([route("/", "web")])
    life(floor)  # what is made once
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            life(floor)
        assert gc.collect() == 0
    finally:
        gc.enable()
