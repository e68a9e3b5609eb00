"""A TCP server that sends as much as its clients take, and a client that takes as much as it gets.

Run as processes: `python -m tests.bench.bulk server PORT` and `... client PORT CONNECTIONS SECONDS`; the client prints the
number of bytes received. Both are system calls with large buffers: a thread for each connection, no event loop.
"""

from __future__ import annotations

import socket
import sys
import threading
import time

_BLOCK_BYTES = 1 << 18


def _feed(connection: socket.socket, block: bytes) -> None:
    with connection:
        try:
            while True:
                connection.sendall(block)
        except OSError:
            return  # the client has enough


def serve(listening: socket.socket) -> None:
    """Until the process is ended or the socket is closed."""
    block = bytes(_BLOCK_BYTES)
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_feed, args=(connection, block), daemon=True).start()


def receive(port: int, connections: int, seconds: float) -> int:
    """The bytes that came within `seconds`. Raises OSError when a connection ends before."""
    deadline = time.monotonic() + seconds
    counts = [0] * connections
    failures: list[str] = []

    def take(number: int) -> None:
        buffer = bytearray(_BLOCK_BYTES)
        with socket.create_connection(("127.0.0.1", port), timeout=10.0) as connection:
            connection.sendall(b"\n")  # some proxies connect to the backend when they have something to send
            while True:
                received = connection.recv_into(buffer)
                if not received:
                    failures.append(f"connection {number} was closed")
                    return
                if time.monotonic() > deadline and counts[number]:
                    return
                counts[number] += received

    threads = [threading.Thread(target=take, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures or not all(counts):
        raise OSError("; ".join(failures) or "a connection brought nothing")
    return sum(counts)


def main(arguments: list[str]) -> None:
    role, port, *rest = arguments
    if role == "server":
        serve(socket.create_server(("127.0.0.1", int(port)), backlog=1024))
    else:
        connections, seconds = rest
        print(receive(int(port), int(connections), float(seconds)))


if __name__ == "__main__":
    main(sys.argv[1:])
