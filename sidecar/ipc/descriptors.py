"""File descriptors that go from main to a worker, before there is a channel between them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Final

_COUNT: Final = struct.Struct("!I")
#: The kernel takes 253 at once.
_AT_ONCE: Final = 200


def send_descriptors(sock: socket.socket, descriptors: Sequence[int]) -> None:
    """They stay open here, too. Raises OSError."""
    sock.sendall(_COUNT.pack(len(descriptors)))
    for begin in range(0, len(descriptors), _AT_ONCE):
        socket.send_fds(sock, [b"\0"], descriptors[begin : begin + _AT_ONCE])


def receive_descriptors(sock: socket.socket) -> list[int] | None:
    """Waits for them; in the order in which they were sent. None: main has gone. Raises OSError."""
    head = sock.recv(_COUNT.size, socket.MSG_WAITALL)
    if len(head) < _COUNT.size:
        return None
    (count,) = _COUNT.unpack(head)
    found: list[int] = []
    while len(found) < count:
        byte, descriptors, _, _ = socket.recv_fds(sock, 1, _AT_ONCE)
        if not byte:
            return None
        found += descriptors
    return found
