"""Byte streams through proxies, whatever carries them: a TCP connection, a CONNECT over HTTP/1.1, a CONNECT over HTTP/2."""

from __future__ import annotations

import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from h2.settings import SettingCodes

from tests.support.h2_client import H2Client
from tests.support.http_client import RawClient
from tests.support.pattern import PERIOD, PatternChecker, piece

_TIMEOUT_S = 30.0


class Refused(Exception):
    """The proxy answered CONNECT with this status."""

    def __init__(self, status: int | None) -> None:
        super().__init__(str(status))
        self.status = status


class Tunnel(ABC):
    """An open byte stream. Use as a context manager."""

    received: bytes = b""
    """What has come so far, unless it is compared with the pattern."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def send(self, data: bytes | memoryview) -> None: ...

    @abstractmethod
    def half_close(self) -> None:
        """Send no more."""

    @abstractmethod
    def read(self, size: int) -> bytes:
        """Everything received, once it is that much or the stream has ended. Raises TimeoutError."""

    @abstractmethod
    def read_all(self) -> bytes:
        """Everything received, once the stream has ended. Raises TimeoutError."""

    @abstractmethod
    def ended_cleanly(self) -> bool:
        """Whether the end came by FIN or END_STREAM."""

    @abstractmethod
    def echo_pattern(self, size: int) -> PatternChecker:
        """Send so much of the pattern while reading as much."""


class SocketTunnel(Tunnel):
    """A TCP connection; `before` has been read already."""

    def __init__(self, connection: socket.socket, before: bytes = b"") -> None:
        self.socket = connection
        self.received = before
        self._end: str | None = None
        connection.settimeout(_TIMEOUT_S)

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes | memoryview) -> None:
        self.socket.sendall(data)

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def _read_once(self) -> bytes:
        try:
            data = self.socket.recv(1 << 18)
        except (ConnectionResetError, BrokenPipeError):
            self._end = "reset"
            return b""
        if not data:
            self._end = "FIN"
        return data

    def read(self, size: int) -> bytes:
        while len(self.received) < size and self._end is None:
            self.received += self._read_once()
        return self.received

    def read_all(self) -> bytes:
        while self._end is None:
            self.received += self._read_once()
        return self.received

    def ended_cleanly(self) -> bool:
        return self._end == "FIN"

    def echo_pattern(self, size: int) -> PatternChecker:
        sender = threading.Thread(target=send_pattern, args=(self, size))
        sender.start()
        check = PatternChecker()
        while check.received < size and self._end is None:
            check.feed(self._read_once())
        sender.join()
        return check


class StreamTunnel(Tunnel):
    """A stream of an HTTP/2 connection."""

    def __init__(self, client: H2Client, stream: int) -> None:
        self.client = client
        self.stream = stream
        self.answer = client.answers[stream]

    def close(self) -> None:
        self.client.close()

    def send(self, data: bytes | memoryview) -> None:
        self.client.send(self.stream, data)

    def half_close(self) -> None:
        self.client.end(self.stream)

    def read(self, size: int) -> bytes:
        self.client.wait_until(
            lambda: self.answer.body_length >= size or self.answer.over or self.client.closed,
            f"{size} bytes",
        )
        return self.answer.body

    def read_all(self) -> bytes:
        self.client.wait_until(lambda: self.answer.over or self.client.closed, "the end of the stream")
        return self.answer.body

    def ended_cleanly(self) -> bool:
        return self.answer.ended

    def echo_pattern(self, size: int) -> PatternChecker:
        check = self.answer.check = PatternChecker()
        send_pattern(self, size)
        self.client.wait_until(
            lambda: check.received >= size or self.answer.over or self.client.closed, f"{size} bytes"
        )
        return check


def send_pattern(tunnel: Tunnel, size: int) -> None:
    """Send so much of the pattern."""
    for offset in range(0, size, PERIOD):
        tunnel.send(piece(offset, min(PERIOD, size - offset)))


def open_tcp(address: tuple[str, int]) -> SocketTunnel:
    return SocketTunnel(socket.create_connection(address, timeout=_TIMEOUT_S))


def open_http1(
    address: tuple[str, int], target: str, headers: Mapping[str, str] | None = None, early: bytes = b""
) -> SocketTunnel:
    """CONNECT over HTTP/1.1; `early` follows the head without waiting. Raises Refused."""
    client = RawClient(address, methods=["CONNECT"], timeout_s=_TIMEOUT_S)
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    client.send(f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n{lines}\r\n".encode() + early)
    while not client.reader.responses and not client.closed_by_peer:
        client.receive(_TIMEOUT_S)
    response = client.reader.responses[0] if client.reader.responses else None
    if response is None or response.status != 200:
        client.close()
        raise Refused(response.status if response is not None else None)
    return SocketTunnel(client.socket, response.body)


def open_http2(
    address: tuple[str, int],
    target: str,
    headers: Mapping[str, str] | None = None,
    *,
    window: int = 1 << 20,
) -> StreamTunnel:
    """CONNECT over HTTP/2 on a connection of its own. Raises Refused."""
    client = H2Client(
        address,
        settings={SettingCodes.INITIAL_WINDOW_SIZE: window},
        connection_window=window,
        timeout_s=_TIMEOUT_S,
    )
    stream = client.connect(target, list((headers or {}).items()))
    answer = client.wait_head(stream)
    if answer.status != 200:
        client.wait(stream)  # a client that leaves in the middle of an answer is logged as one
        client.close()
        raise Refused(answer.status)
    return StreamTunnel(client, stream)
