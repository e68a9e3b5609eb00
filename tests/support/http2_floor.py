"""HTTP/2 at either end of an `HttpFloor` or a `FakeCluster`: the `h2` library speaks over the fake transports."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    PingReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes, Settings

from tests.support.h2_common import FrameSieve
from tests.support.http2_frames import FrameType
from tests.support.http_floor import Client, HttpFloor, Server
from tests.support.upstream import Peer

Fields = list[tuple[str, str]]

_MANY_STREAMS = 1 << 16


def request_fields(path: str = "/", method: str = "GET", *more: tuple[str, str]) -> Fields:
    return [(":method", method), (":scheme", "http"), (":authority", "host"), (":path", path), *more]


def grpc_fields(*more: tuple[str, str]) -> Fields:
    return request_fields("/s/M", "POST", ("content-type", "application/grpc"), ("te", "trailers"), *more)


class Http2End:
    """One end of a connection. `told` are the events of one stream as plain tuples, in order.

    The library does not see GOAWAY frames, which it takes for the end: they are in `goaways` (last stream, code).
    """

    def __init__(
        self,
        client: bool,
        send: Callable[[bytes], None],
        take: Callable[[], bytes],
        window: int | None = None,
    ) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=client, header_encoding="utf-8"))
        self.h2.local_settings = Settings(
            client=client, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: _MANY_STREAMS}
        )
        self.h2.initiate_connection()
        if window is not None:
            self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self._send = send
        self._take = take
        self._sieve = FrameSieve((FrameType.GOAWAY,), preface=not client)
        self._told: dict[int, list[tuple[object, ...]]] = {}
        self.goaways: list[tuple[int, int]] = []
        self.pings = 0
        self.credits = True
        self.flush()

    def flush(self) -> None:
        """Send what the library has, and read what comes."""
        for _ in range(20):
            if output := self.h2.data_to_send():
                self._send(output)
            if not (data := self._take()):
                return
            passed, goaways = self._sieve.feed(data)
            for frame in goaways:
                last, code = (int.from_bytes(frame.payload[at : at + 4], "big") for at in (0, 4))
                self.goaways.append((last, code))
            for event in self.h2.receive_data(passed):
                self._note(event)

    def _note(self, event: Event) -> None:
        if isinstance(event, PingReceived):
            self.pings += 1
            return
        told = self._told.setdefault(getattr(event, "stream_id", 0) or 0, [])
        if isinstance(
            event, RequestReceived | ResponseReceived | TrailersReceived | InformationalResponseReceived
        ):
            kind = "trailers" if isinstance(event, TrailersReceived) else "headers"
            told.append((kind, dict(event.headers or ())))
        elif isinstance(event, DataReceived):
            if event.data:
                told.append(("data", bytes(event.data)))
            if self.credits:
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
        elif isinstance(event, StreamEnded):
            told.append(("end",))
        elif isinstance(event, StreamReset):
            told.append(("reset", int(event.error_code or 0)))

    def request(self, fields: Iterable[tuple[str, str]], body: bytes | None = b"") -> int:
        """Begin a request; `body` None: it goes on. Its stream id."""
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, list(fields), end_stream=body == b"")
        if body:
            self.h2.send_data(stream_id, body, end_stream=True)
        self.flush()
        return stream_id

    def answer(
        self, stream_id: int, status: int = 200, body: bytes | None = b"", *more: tuple[str, str]
    ) -> None:
        """Send a response; `body` None: it goes on."""
        self.flush()
        self.h2.send_headers(stream_id, [(":status", str(status)), *more], end_stream=body == b"")
        if body:
            self.h2.send_data(stream_id, body, end_stream=True)
        self.flush()

    def data(self, stream_id: int, data: bytes, end: bool = False) -> None:
        self.flush()
        self.h2.send_data(stream_id, data, end_stream=end)
        self.flush()

    def trailers(self, stream_id: int, *fields: tuple[str, str]) -> None:
        self.flush()
        self.h2.send_headers(stream_id, list(fields), end_stream=True)
        self.flush()

    def reset(self, stream_id: int, code: int = 8) -> None:
        self.flush()
        self.h2.reset_stream(stream_id, code)
        self.flush()

    def raw(self, data: bytes) -> None:
        """Bytes that the library would not send."""
        self._send(data)
        self.flush()

    def told(self, stream_id: int) -> list[tuple[object, ...]]:
        """What came on a stream since the last call."""
        self.flush()
        return self._told.pop(stream_id, [])

    def status(self, stream_id: int) -> str:
        """The status of the response that has come."""
        for event in self.told(stream_id):
            if event[0] == "headers":
                assert isinstance(event[1], dict)
                return str(event[1][":status"])
        return ""


def head_of(told: Iterable[tuple[object, ...]]) -> dict[str, str]:
    """The first head among the events of a stream, as it is in `told`; none is an empty one."""
    return next((event[1] for event in told if event[0] == "headers" and isinstance(event[1], dict)), {})


def body_of(told: Iterable[tuple[object, ...]]) -> bytes:
    """The bodies among the events of a stream."""
    return b"".join(event[1] for event in told if event[0] == "data" and isinstance(event[1], bytes))


def http2_client(floor: HttpFloor, window: int | None = None) -> tuple[Http2End, Client]:
    """A client that begins with the preface."""
    client = floor.connect()
    return Http2End(True, client.send, client.take, window), client


def http2_server(server: Server) -> Http2End:
    """The server's end of an upstream connection of a floor."""
    return Http2End(False, server.send, server.take)


def http2_peer(peer: Peer, turn: Callable[[], None], window: int | None = None) -> Http2End:
    """The server's end of a connection of a `FakeCluster`."""

    def take() -> bytes:
        turn()
        return peer.transport.take()

    def send(data: bytes) -> None:
        peer.send(data)
        turn()

    return Http2End(False, send, take, window)
