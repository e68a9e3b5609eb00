"""A StatsD server that keeps what it is sent."""

from __future__ import annotations

import socket
import threading
from typing import Any


class StatsdReceiver:
    """A UDP socket that keeps what comes."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self.datagrams: list[bytes] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while datagram := self._socket.recv(65536):
            self.datagrams.append(datagram)

    @property
    def address(self) -> dict[str, Any]:
        host, port = self._socket.getsockname()
        return {"socket_address": {"address": host, "port_value": port, "protocol": "UDP"}}

    def lines(self) -> list[str]:
        return [line for datagram in list(self.datagrams) for line in datagram.decode().split("\n")]

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()
