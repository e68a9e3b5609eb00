"""An HTTP/2 client without TLS that sends exact bytes and reads answers strictly."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Collection
from types import TracebackType

from hpack import Encoder

from tests.support.http2_frames import (
    END_HEADERS,
    END_STREAM,
    PREFACE,
    FrameType,
    SentFrames,
    build_frame,
    build_settings,
)
from tests.support.http2_reader import AnswerReader, InvalidAnswer
from tests.support.http_client import Response

_READ_SIZE = 1 << 18
_WRITE_SIZE = 1 << 16


class Http2Client:
    """One connection. Nothing is sent by itself but acknowledgements of the server's SETTINGS and PINGs.

    `received` counts bytes, `last_byte` is when the last of them (or the end) came, `invalid` says what was wrong with them.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        acknowledge_settings: bool = True,
        head_streams: Collection[int] = (),
        timeout_s: float = 10.0,
    ) -> None:
        self.sent = SentFrames()
        self.reader = AnswerReader(self.sent, head_streams)
        self.timeout_s = timeout_s
        self.closed_by_peer = False
        self.invalid: str | None = None
        self.last_byte = time.monotonic()
        self._acknowledge_settings = acknowledge_settings
        self._broken = False
        self._socket = socket.create_connection(address, timeout=timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def __enter__(self) -> Http2Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    @property
    def finished(self) -> bool:
        """Whether nothing more can be learnt from this connection."""
        return self.closed_by_peer or self.invalid is not None

    def send(self, data: bytes) -> None:
        """Send all of `data`, reading meanwhile what the server sends.

        Ends early when the server has gone or has said that the connection is in error, and after `timeout_s`.
        """
        if not data:
            return
        left = memoryview(data)
        deadline = time.monotonic() + self.timeout_s
        self._poll.modify(self._socket, select.POLLIN | select.POLLOUT)
        try:
            while left and not self._broken and not self.finished and self.reader.error is None:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return
                for _, event in self._poll.poll(remaining * 1000):
                    if event & ~select.POLLOUT:
                        self._read()
                    if event & select.POLLOUT:
                        left = left[self._write(left[:_WRITE_SIZE]) :]
        finally:
            self._poll.modify(self._socket, select.POLLIN)

    def half_close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._broken = True

    def receive(self, wait_s: float) -> bool:
        """Read once, waiting at most `wait_s`, and send what is owed; whether bytes or the end came."""
        came = not self.finished and bool(self._poll.poll(max(wait_s, 0) * 1000))
        if came:
            self._read()
        if self.sent.at_boundary:
            self.send(self.reader.take_owed(settings=self._acknowledge_settings))
        return came

    def _write(self, data: memoryview) -> int:
        try:
            count = self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._broken = True
            return 0
        self.sent.feed(data[:count])
        return count

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.last_byte = time.monotonic()
        if not data:
            self.closed_by_peer = True
            return
        try:
            self.reader.feed(data)
        except InvalidAnswer as error:
            self.invalid = str(error)


def get(address: tuple[str, int], target: str, *, timeout_s: float = 10.0) -> Response:
    """One clean GET on a connection of its own.

    Raises TimeoutError, ConnectionError when there is no complete answer, InvalidAnswer.
    """
    block = Encoder().encode(
        [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", target)],
        huffman=False,
    )
    deadline = time.monotonic() + timeout_s
    with Http2Client(address, timeout_s=timeout_s) as client:
        client.send(PREFACE + build_settings())
        client.send(build_frame(FrameType.HEADERS, END_HEADERS | END_STREAM, 1, block))
        while True:
            answer = client.reader.answers.get(1)
            if client.invalid is not None:
                raise InvalidAnswer(client.invalid)
            if answer is not None and answer.response is not None and answer.complete:
                return answer.response
            reset = answer.reset if answer is not None else None
            if client.closed_by_peer or client.reader.error is not None or reset is not None:
                raise ConnectionError(f"closed, GOAWAY {client.reader.goaways}, RST_STREAM {reset}")
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no complete answer in time")
            client.receive(left)
