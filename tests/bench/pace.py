"""A client of constant rate: `python -m tests.bench.pace PORT CONNECTIONS PER_SECOND SECONDS BODY_FILE`.

Every request has a time at which it is due, whether or not those before it were answered. Its latency counts from then: a
proxy that stops for a moment makes all requests late that fell into it, not only those that were under way. (Clients
that wait for an answer before they look at the clock leave them out: "coordinated omission".)

`select` waits with the precision of the kernel's timers, where event loops round to milliseconds. Prints a JSON array of
latencies in seconds.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path

_GRACE_S = 10.0
_SELECT_LIMIT = 1024


class Connection:
    """One HTTP/1.1 connection with at most one request under way; what is due meanwhile waits."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request
        self._due: list[float] = []
        self._received = b""

    @property
    def busy(self) -> bool:
        return bool(self._due)

    def is_due(self, when: float) -> None:
        """One more request, due at `when` (monotonic)."""
        self._due.append(when)
        if len(self._due) == 1:
            self.socket.sendall(self._request)

    def on_readable(self) -> float | None:
        """When the request was due whose answer is complete now. Raises OSError for anything but a 200."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise OSError("the connection was closed")
        self._received += data
        if not is_complete(self._received):
            return None
        self._received = b""
        due = self._due.pop(0)
        if self._due:
            self.socket.sendall(self._request)
        return due


def is_complete(received: bytes) -> bool:
    """Whether an answer of a known length is all there. Raises OSError for anything but a 200 with a length."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    status, *lines = head.lower().split(b"\r\n")
    lengths = [line.partition(b":")[2] for line in lines if line.startswith(b"content-length:")]
    if b" 200" not in status or len(lengths) != 1:
        raise OSError(head.decode("latin-1"))
    return len(body) >= int(lengths[0])


def run(port: int, connections: int, per_second: float, seconds: float, body: bytes) -> list[float]:
    """The latencies of all requests. Raises OSError when one fails or is not answered at all."""
    head = f"POST / HTTP/1.1\r\nhost: bench\r\ncontent-length: {len(body)}\r\n\r\n"
    with ExitStack() as stack:
        clients = [Connection(port, head.encode() + body) for _ in range(connections)]
        for client in clients:
            stack.enter_context(client.socket)
        return _run(clients, per_second, seconds)


def _run(clients: list[Connection], per_second: float, seconds: float) -> list[float]:
    by_number = {client.socket.fileno(): client for client in clients}
    total = max(round(per_second * seconds), 1)
    latencies: list[float] = []
    begun = time.monotonic() + 0.01
    sent = 0
    while len(latencies) < total:
        now = time.monotonic()
        while sent < total and begun + sent / per_second <= now:
            clients[sent % len(clients)].is_due(begun + sent / per_second)
            sent += 1
        if now > begun + seconds + _GRACE_S:
            raise OSError(f"{total - len(latencies)} of {total} requests were not answered")
        wait_s = begun + sent / per_second - time.monotonic() if sent < total else 1.0
        for number in _readable(list(by_number), max(wait_s, 0.0)):
            due = by_number[number].on_readable()
            if due is not None:
                latencies.append(time.monotonic() - due)
    return latencies


def _readable(numbers: list[int], wait_s: float) -> list[int]:
    """Which descriptors can be read. `select` does not know high ones, as a process that does much else may have."""
    if max(numbers) < _SELECT_LIMIT:
        return select.select(numbers, [], [], wait_s)[0]
    poll = select.poll()
    for number in numbers:
        poll.register(number, select.POLLIN)
    return [number for number, _ in poll.poll(wait_s * 1000)]


def main(arguments: list[str]) -> None:
    port, connections, per_second, seconds, body = arguments
    found = run(int(port), int(connections), float(per_second), float(seconds), Path(body).read_bytes())
    print(json.dumps([round(latency, 6) for latency in found]))


if __name__ == "__main__":
    main(sys.argv[1:])
