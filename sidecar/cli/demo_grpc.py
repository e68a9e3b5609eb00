"""The gRPC side of the demo: one unary method, server and client, on the `h2` library.

`demo.Movies/Title` takes the number of a movie (Int32Value) and gives its title (StringValue); an unknown number ends
with NOT_FOUND.
"""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Iterator
from typing import Final

from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, ResponseReceived, StreamEnded, TrailersReceived

PATH: Final = "/demo.Movies/Title"
_CONTENT_TYPE: Final = ("content-type", "application/grpc")
_RESPONSE: Final = ((":status", "200"), _CONTENT_TYPE)
_NOT_FOUND: Final = 5
_UNIMPLEMENTED: Final = 12
#: A message's head: a flag octet and four octets of length.
_PREFIX_BYTES: Final = 5


class GrpcError(Exception):
    """The call did not end as gRPC calls end; `str()` is for the user."""


def _framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def _settings(*, client: bool) -> H2Configuration:
    return H2Configuration(client_side=client)


def _events(connection: H2Connection, sock: socket.socket) -> Iterator[Event]:
    """What comes, until the other side closes; answers of the protocol itself are sent on the way."""
    while data := sock.recv(65536):
        yield from connection.receive_data(data)
        sock.sendall(connection.data_to_send())


class GrpcHandler(socketserver.BaseRequestHandler):
    """One connection of the server; `titles` by number, from 1."""

    titles: tuple[str, ...] = ()

    def handle(self) -> None:
        connection = H2Connection(_settings(client=False))
        connection.initiate_connection()
        self.request.sendall(connection.data_to_send())
        bodies: dict[int, bytearray] = {}
        paths: dict[int, str] = {}
        for event in _events(connection, self.request):
            if isinstance(event, RequestReceived):
                bodies[event.stream_id] = bytearray()
                paths[event.stream_id] = dict(event.headers)[b":path"].decode()
            elif isinstance(event, DataReceived):
                bodies[event.stream_id] += event.data
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                body, path = bytes(bodies.pop(event.stream_id)), paths.pop(event.stream_id)
                if path == PATH:
                    self._answer(connection, event.stream_id, body)
                else:
                    self._fail(connection, event.stream_id, _UNIMPLEMENTED, f"unknown method {path}")
                self.request.sendall(connection.data_to_send())

    def _answer(self, connection: H2Connection, stream_id: int, body: bytes) -> None:
        number = Int32Value.FromString(body[_PREFIX_BYTES:]).value
        if not 0 < number <= len(self.titles):
            self._fail(connection, stream_id, _NOT_FOUND, f"no movie {number}")
            return
        connection.send_headers(stream_id, _RESPONSE)
        title = StringValue(value=self.titles[number - 1])
        connection.send_data(stream_id, _framed(title.SerializeToString()))
        connection.send_headers(stream_id, [("grpc-status", "0")], end_stream=True)

    @staticmethod
    def _fail(connection: H2Connection, stream_id: int, status: int, message: str) -> None:
        head = [*_RESPONSE, ("grpc-status", str(status)), ("grpc-message", message)]
        connection.send_headers(stream_id, head, end_stream=True)


class GrpcClient:
    """One connection to a server, for calls one after the other. Use as a context manager."""

    def __init__(self, port: int, authority: str) -> None:
        self._authority = authority
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._connection = H2Connection(_settings(client=True))
        self._connection.initiate_connection()

    def __enter__(self) -> GrpcClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def title(self, number: int) -> tuple[int, str]:
        """The status of the call, and the title. Raises GrpcError, OSError."""
        connection = self._connection
        stream_id = connection.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":authority", self._authority), (":path", PATH)]
        connection.send_headers(stream_id, [*head, _CONTENT_TYPE, ("te", "trailers")])
        message = Int32Value(value=number).SerializeToString()
        connection.send_data(stream_id, _framed(message), end_stream=True)
        self._socket.sendall(connection.data_to_send())
        body, status = bytearray(), b""
        for event in _events(connection, self._socket):
            if isinstance(event, ResponseReceived | TrailersReceived):
                status = dict(event.headers or ()).get(b"grpc-status", status)
            elif isinstance(event, DataReceived):
                body += event.data
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                break
        if not status:
            raise GrpcError("the gRPC call ended without a status")
        return int(status), StringValue.FromString(bytes(body[_PREFIX_BYTES:])).value
