"""Descriptors from one process to another."""

from __future__ import annotations

import os
import socket

import pytest

from sidecar.ipc.descriptors import receive_descriptors, send_descriptors


@pytest.mark.parametrize("count", [0, 1, 200, 450])
def test_they_come_in_order_and_what_follows_is_left(count: int) -> None:
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    null = os.open(os.devnull, os.O_WRONLY)
    with ours, theirs:
        send_descriptors(ours, [null if at % 2 else writer for at in range(count)])
        ours.sendall(b"then")
        received = receive_descriptors(theirs)
        assert received is not None and len(received) == count
        assert theirs.recv(10) == b"then"
    for at, descriptor in enumerate(received):
        os.write(descriptor, b"%d," % at)
        os.close(descriptor)
    for descriptor in (writer, null):
        os.close(descriptor)
    with open(reader, "rb") as pipe:
        assert pipe.read() == b"".join(b"%d," % at for at in range(0, count, 2))


def test_nobody_is_there_any_more() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    assert receive_descriptors(theirs) is None
    theirs.close()
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(b"\0\0\0\2")
        ours.close()
        assert receive_descriptors(theirs) is None
