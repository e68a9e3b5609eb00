"""Free TCP ports that stay ours, also when several test processes run at once.

Asking the kernel for port 0 and closing the socket leaves a gap in which somebody else, or an outgoing connection,
may get the same port. Ports are therefore taken from below the ephemeral range, and each is reserved by a lock file
for as long as this process lives.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

_FIRST_PORT = 20000
_LAST_PORT = 31999
_ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")

_locks: list[int] = []
"""Descriptors of the lock files: the locks go with the process."""


def _lock_directory() -> Path:
    directory = Path(tempfile.gettempdir()) / f"sidecar-test-ports-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


def _reserve(port: int) -> bool:
    descriptor = os.open(_lock_directory() / str(port), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    _locks.append(descriptor)
    return True


def _nobody_listens(port: int) -> bool:
    for address in _ADDRESSES:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
                probe.listen(1)
            except OSError:
                return False
    return True


def free_ports(count: int) -> list[int]:
    """`count` different ports that are free on 127.0.0.1, .2 and .3 and are given to no other test process."""
    chosen: list[int] = []
    for port in random.sample(range(_FIRST_PORT, _LAST_PORT + 1), _LAST_PORT + 1 - _FIRST_PORT):
        if _reserve(port) and _nobody_listens(port):
            chosen.append(port)
            if len(chosen) == count:
                return chosen
    raise RuntimeError(f"no {count} free ports between {_FIRST_PORT} and {_LAST_PORT}")


def free_port() -> int:
    """One free port (see `free_ports`)."""
    return free_ports(1)[0]
