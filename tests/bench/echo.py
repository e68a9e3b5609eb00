"""A small TCP echo server and a client that keeps one fixed-size message in flight on each of its connections.

Run as processes: `python -m tests.bench.echo server PORT` and `... client PORT CONNECTIONS SIZE SECONDS`; the client
prints the number of messages answered.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop


class _Server(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one without being a subclass

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class _Client(asyncio.Protocol):
    answered = 0

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.missing = len(message)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one without being a subclass
        self.transport.write(self.message)

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if self.missing <= 0:
            _Client.answered += 1
            self.missing = len(self.message)
            self.transport.write(self.message)


async def serve(port: int) -> None:
    """Until the process is ended."""
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


async def load(port: int, connections: int, size: int, seconds: float) -> int:
    """The number of messages answered within `seconds`."""
    loop = asyncio.get_running_loop()
    clients = [
        await loop.create_connection(lambda: _Client(bytes(size)), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    answered = _Client.answered
    for transport, _ in clients:
        transport.abort()
    return answered


def main(arguments: list[str]) -> None:
    role, port, *rest = arguments
    if role == "server":
        uvloop.run(serve(int(port)))
    else:
        connections, size, seconds = rest
        print(uvloop.run(load(int(port), int(connections), int(size), float(seconds))))


if __name__ == "__main__":
    main(sys.argv[1:])
