"""HTTP/2 clients and servers of every temper, with the whole hall between them: nothing is lost, mixed up, leaked or forgotten.

Both ends are the `h2` library (or `h11`, for servers of HTTP/1), which breaks no rule. They send and stop as they like, give
windows when they like, reset, leave, and come back; transports get full and empty again. Then both become kind: every stream must
come to its end.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import h11
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.model.cluster import UpstreamHttpOptions, UpstreamHttpProtocol
from config.model.http2 import Http2Options
from config.model.route import RetryPolicy
from tests.support.http2_floor import Http2End, body_of, head_of, http2_client, http2_server, request_fields
from tests.support.http2_frames import FrameType, build_frame
from tests.support.http_floor import HttpFloor, Server, route
from tests.support.upstream import static_spec

MORE = 600_000
CANCEL = 8
REFUSED_STREAM = 7


def pattern(number: int, start: int, size: int) -> bytes:
    """A piece of a body that no other stream has, and no other place of it."""
    period = bytes((number * 37 + at * 11) & 0xFF for at in range(256))
    first = start % 256
    return (period * (size // 256 + 2))[first : first + size]


class Exchange:
    """What one end knows of a stream."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.sent = 0
        self.received = b""
        self.head_sent = False
        self.send_ended = False
        self.recv_ended = False
        self.reset = False
        self.unacknowledged = 0
        self.left = MORE if number < 3 else 100  # of the body, once its sender is kind


class End:
    """One connection of a peer: its exchanges by stream."""

    def __init__(self, wire: Http2End) -> None:
        self.wire = wire
        self.wire.credits = False
        self.exchanges: dict[int, Exchange] = {}
        self.leaving = False

    def open_exchanges(self) -> list[tuple[int, Exchange]]:
        return [(at, each) for at, each in self.exchanges.items() if not each.reset]

    def pick(self, index: int, *, sending: bool = False) -> tuple[int, Exchange] | None:
        found = [item for item in self.open_exchanges() if not sending or not item[1].send_ended]
        return found[index % len(found)] if found else None

    def listen(self) -> None:
        """Take in what has come."""
        self.wire.flush()
        for stream in list(self.wire._told):
            exchange = self.exchanges.get(stream)
            told = self.wire.told(stream)
            if exchange is None:
                path = head_of(told).get(":path")
                if path is None:
                    continue
                exchange = self.exchanges[stream] = Exchange(int(path[1:]))
            body = body_of(told)
            exchange.received += body
            exchange.unacknowledged += len(body)
            for event in told:
                exchange.recv_ended = exchange.recv_ended or event[0] == "end"
                exchange.reset = exchange.reset or event[0] == "reset"

    def send(self, stream: int, exchange: Exchange, size: int, end: bool) -> None:
        """As much as the windows let through; the end only behind all of it."""
        wire = self.wire
        try:
            size = min(size, wire.h2.local_flow_control_window(stream))
            left = size
            while left > 0:
                piece = min(left, 16384)
                wire.h2.send_data(stream, pattern(exchange.number, exchange.sent, piece))
                exchange.sent += piece
                left -= piece
            if end:
                wire.h2.end_stream(stream)
                exchange.send_ended = True
            wire.flush()
        except ProtocolError:  # the other side has reset it meanwhile
            exchange.reset = True

    def acknowledge(self, stream: int, exchange: Exchange) -> None:
        size, exchange.unacknowledged = exchange.unacknowledged, 0
        if size:
            try:
                self.wire.h2.increment_flow_control_window(size)
                if not exchange.recv_ended and not exchange.reset:
                    self.wire.h2.increment_flow_control_window(size, stream)
            except ProtocolError:
                exchange.reset = True
        self.wire.flush()

    def give_up(self, stream: int, exchange: Exchange, code: int) -> None:
        try:
            self.wire.h2.reset_stream(stream, code)
        except ProtocolError:
            pass
        exchange.reset = True
        self.wire.flush()


class Upstream(Protocol):
    """A server's end of a connection."""

    server: Server
    exchanges: dict[int, Exchange]
    leaving: bool

    def open_exchanges(self) -> list[tuple[int, Exchange]]: ...
    def pick(self, index: int, *, sending: bool = False) -> tuple[int, Exchange] | None: ...
    def listen(self) -> None: ...
    def head(self, stream: int, exchange: Exchange) -> None: ...
    def send(self, stream: int, exchange: Exchange, size: int, end: bool) -> None: ...
    def acknowledge(self, stream: int, exchange: Exchange) -> None: ...
    def give_up(self, stream: int, exchange: Exchange, code: int) -> None: ...
    def leave(self, last: int) -> None:
        """GOAWAY, if there is such a thing."""


class Http2Upstream(End):
    """Over HTTP/2."""

    def __init__(self, server: Server, window: int) -> None:
        super().__init__(http2_server(server))
        self.server = server
        self.wire.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.listen()

    def head(self, stream: int, exchange: Exchange) -> None:
        if not exchange.head_sent:
            try:
                self.wire.h2.send_headers(stream, [(":status", "200"), ("x-number", str(exchange.number))])
            except ProtocolError:
                exchange.reset = True
                return
            exchange.head_sent = True
            self.wire.flush()

    def leave(self, last: int) -> None:
        self.wire.raw(build_frame(FrameType.GOAWAY, 0, 0, last.to_bytes(4, "big") + bytes(4)))
        for stream, exchange in self.exchanges.items():
            exchange.reset = exchange.reset or stream > last


class Http1Upstream:
    """Over HTTP/1.1: one exchange after the other; its number stands for the stream."""

    def __init__(self, server: Server, window: int) -> None:
        self.server = server
        self.exchanges: dict[int, Exchange] = {}
        self.leaving = False
        self._h11 = h11.Connection(h11.SERVER)
        self._current: Exchange | None = None
        self._unsent = bytearray()  # the proxy does not read
        self.listen()

    def open_exchanges(self) -> list[tuple[int, Exchange]]:
        current = self._current
        return [(current.number, current)] if current is not None and not current.reset else []

    def pick(self, index: int, *, sending: bool = False) -> tuple[int, Exchange] | None:
        found = [item for item in self.open_exchanges() if not sending or not item[1].send_ended]
        return found[0] if found else None

    def listen(self) -> None:
        self._write(b"")
        if data := self.server.take():
            self._h11.receive_data(data)
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.Request):
                number = int(event.target[1:])
                self._current = self.exchanges[number] = Exchange(number)
            elif self._current is None or not isinstance(event, h11.Data | h11.EndOfMessage):
                return
            elif isinstance(event, h11.Data):
                self._current.received += event.data
            else:
                self._current.recv_ended = True
                self._next()

    def _next(self) -> None:
        current = self._current
        if current is not None and current.recv_ended and current.send_ended:
            self._current = None
            if self._h11.our_state is h11.DONE:
                self._h11.start_next_cycle()

    def _write(self, data: bytes | None) -> None:
        self._unsent += data or b""
        while self._unsent and self.server.transport.reading and not self.server.closed:
            piece = bytes(self._unsent[:65536])
            del self._unsent[:65536]
            self.server.send(piece)

    def head(self, stream: int, exchange: Exchange) -> None:
        if not exchange.head_sent:
            exchange.head_sent = True
            self._write(self._h11.send(h11.Response(status_code=200, headers=[("x-number", str(stream))])))

    def send(self, stream: int, exchange: Exchange, size: int, end: bool) -> None:
        if self._unsent:
            return
        if size:
            self._write(self._h11.send(h11.Data(data=pattern(exchange.number, exchange.sent, size))))
            exchange.sent += size
        if end:
            exchange.send_ended = True
            self._write(self._h11.send(h11.EndOfMessage()))
            self._next()

    def acknowledge(self, stream: int, exchange: Exchange) -> None:
        """What was read is taken."""

    def give_up(self, stream: int, exchange: Exchange, code: int) -> None:
        exchange.reset = True
        self.server.reset()

    def leave(self, last: int) -> None:
        """It just goes."""


class Step(NamedTuple):
    kind: str
    index: int
    size: int


class World:
    """The hall, one client, and whatever servers it has connected to."""

    def __init__(self, http2: bool, client_window: int, server_window: int, ours: int, streams: int) -> None:
        self._new_upstream = Http2Upstream if http2 else Http1Upstream
        options = Http2Options(
            initial_stream_window_size=ours,
            initial_connection_window_size=max(ours, 70_000),
            max_concurrent_streams=streams,
        )
        protocol = UpstreamHttpProtocol.HTTP2 if http2 else UpstreamHttpProtocol.HTTP1
        cluster = static_spec("web", http_options=UpstreamHttpOptions(protocol, http2=options))
        policy = RetryPolicy(retry_on=("refused-stream", "reset"), num_retries=1)
        self.floor = HttpFloor(
            [route("/", "web", timeout_s=None, retry_policy=policy)],
            clusters=[cluster],
            http2=Http2Options(
                initial_stream_window_size=ours, initial_connection_window_size=max(ours, 70_000)
            ),
            stream_idle_timeout_s=None,
        )
        wire, self.connection = http2_client(self.floor, client_window)
        self.client = End(wire)
        self.upstreams: list[Upstream] = []
        self.server_window = server_window
        self.full: set[int] = set()

    def accept(self) -> bool:
        if self.floor.asked() == len(self.upstreams):
            return False
        self.upstreams.append(self._new_upstream(self.floor.server(), self.server_window))
        return True

    def upstream(self, index: int) -> Upstream | None:
        there = [each for each in self.upstreams if not each.server.closed]
        return there[index % len(there)] if there else None

    def play(self, step: Step) -> None:
        getattr(self, f"do_{step.kind}")(step.index, step.size)
        self.client.listen()
        for upstream in self.upstreams:
            if not upstream.server.closed:
                upstream.listen()

    # what the client does

    def do_request(self, index: int, size: int) -> None:
        client = self.client
        number = len(client.exchanges)
        body = index % 2
        stream = client.wire.request(
            request_fields(f"/{number}", "POST" if body else "GET"), None if body else b""
        )
        exchange = client.exchanges[stream] = Exchange(number)
        exchange.send_ended = not body

    def do_upload(self, index: int, size: int) -> None:
        found = self.client.pick(index, sending=True)
        if found is not None:
            self.client.send(*found, size, size % 3 == 0)

    def do_take(self, index: int, size: int) -> None:
        found = self.client.pick(index)
        if found is not None:
            self.client.acknowledge(*found)

    def do_cancel(self, index: int, size: int) -> None:
        found = self.client.pick(index)
        if found is not None:
            self.client.give_up(*found, CANCEL)

    def do_client_full(self, index: int, size: int) -> None:
        full = bool(index % 2)
        if full is not (-1 in self.full):
            self.full ^= {-1}
            self.connection.full(full)

    # what the servers do

    def do_accept(self, index: int, size: int) -> None:
        self.accept()

    def do_answer(self, index: int, size: int) -> None:
        upstream = self.upstream(size)
        found = upstream.pick(index, sending=True) if upstream is not None else None
        if upstream is not None and found is not None:
            upstream.head(*found)
            if not found[1].reset:
                upstream.send(*found, size, size % 3 == 0)

    def do_server_take(self, index: int, size: int) -> None:
        upstream = self.upstream(size)
        found = upstream.pick(index) if upstream is not None else None
        if upstream is not None and found is not None:
            upstream.acknowledge(*found)

    def do_refuse(self, index: int, size: int) -> None:
        upstream = self.upstream(size)
        found = upstream.pick(index) if upstream is not None else None
        if upstream is not None and found is not None:
            upstream.give_up(*found, CANCEL if found[1].head_sent or size % 2 else REFUSED_STREAM)

    def do_goaway(self, index: int, size: int) -> None:
        upstream = self.upstream(size)
        if upstream is None or upstream.leaving:
            return
        upstream.leaving = True
        streams = sorted(upstream.exchanges)
        last = streams[index % len(streams)] if streams else 0
        upstream.leave(last)

    def do_lose(self, index: int, size: int) -> None:
        upstream = self.upstream(size)
        if upstream is not None and not index % 4:
            upstream.server.reset()

    def do_server_full(self, index: int, size: int) -> None:
        upstream = self.upstream(size)
        if upstream is None:
            return
        at = self.upstreams.index(upstream)
        self.full ^= {at}
        socket = upstream.server.peer.socket
        socket.pause_writing() if at in self.full else socket.resume_writing()

    def do_time(self, index: int, size: int) -> None:
        self.floor.advance(index / 100)

    # the end

    def become_kind(self) -> None:
        """Everything is taken and finished, until nothing moves any more."""
        if -1 in self.full:
            self.connection.full(False)
        for at, upstream in enumerate(self.upstreams):
            if at in self.full and not upstream.server.closed:
                upstream.server.peer.socket.resume_writing()
        self.client.wire.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
        for _ in range(200):
            self.floor.advance(1)
            while self.accept():
                pass
            for upstream in self.upstreams:
                if not upstream.server.closed:
                    self.finish(upstream)
            self.finish(self.client)
            if all(each.reset or each.recv_ended for each in self.client.exchanges.values()):
                return

    def finish(self, end: End | Upstream) -> None:
        """Take what is there, send what may be sent; a server answers once the request has ended."""
        end.listen()
        for stream, exchange in end.exchanges.items():
            end.acknowledge(stream, exchange)
        for stream, exchange in end.open_exchanges():
            serves = end is not self.client
            if exchange.send_ended or (serves and not exchange.recv_ended):
                continue
            if isinstance(end, Http2Upstream | Http1Upstream):
                end.head(stream, exchange)
            before = exchange.sent
            end.send(stream, exchange, exchange.left, False)
            exchange.left -= exchange.sent - before
            if not exchange.left and not exchange.reset:
                end.send(stream, exchange, 0, True)
        end.listen()

    def check(self) -> None:
        client, floor = self.client, self.floor
        stuck = [at for at, each in client.exchanges.items() if not (each.reset or each.recv_ended)]
        assert stuck == []
        answered = {
            (exchange.number, exchange.sent)
            for upstream in self.upstreams
            for exchange in upstream.exchanges.values()
            if exchange.send_ended
        }
        for exchange in client.exchanges.values():
            if exchange.recv_ended and not exchange.received.startswith(b"upstream connect error"):
                assert exchange.received == pattern(exchange.number, 0, len(exchange.received))
                assert (exchange.number, len(exchange.received)) in answered
        uploaded = {exchange.number: exchange for exchange in client.exchanges.values()}
        for upstream in self.upstreams:
            for exchange in upstream.exchanges.values():
                received, sent = exchange.received, uploaded[exchange.number].sent
                assert received == pattern(exchange.number, 0, len(received))
                assert len(received) == sent if exchange.recv_ended else len(received) <= sent
        assert len(floor.log) == floor.stat("downstream_rq_total") == len(client.exchanges)
        assert client.wire.goaways == []
        self.check_settled()

    def check_settled(self) -> None:
        floor = self.floor
        assert floor.idle()
        assert floor.value("http2.streams_active") == floor.value("cluster.web.http2.streams_active") == 0
        assert floor.value("server.envoy_bug_failures") == 0
        assert floor.stat("downstream_cx_protocol_error") == 0
        if self._new_upstream is Http2Upstream:  # a cut HTTP/1 response counts as one
            assert floor.value("cluster.web.upstream_cx_protocol_error") == 0
        gauges = floor.fakes["web"].active_gauges()
        assert {"requests", "pending", "retries", "host rq_active", "host rq_pending_active"}.isdisjoint(
            gauges
        )


KINDS = (
    *("request",) * 3,
    *("upload",) * 2,
    *("take",) * 2,
    "cancel",
    "client_full",
    *("accept",) * 2,
    *("answer",) * 3,
    *("server_take",) * 2,
    "refuse",
    "goaway",
    "lose",
    "server_full",
    "time",
)
STEPS = st.lists(
    st.builds(Step, st.sampled_from(KINDS), st.integers(0, 9), st.integers(0, 300_000)), max_size=60
)
WINDOWS = st.sampled_from([0, 1, 100, 65_535, 1 << 20])


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(
    steps=STEPS,
    http2=st.booleans(),
    client_window=WINDOWS,
    server_window=st.sampled_from([65_535, 1 << 20]),  # the library cannot take a window back
    ours=st.sampled_from([65_535, 200_000, 1 << 20]),
    streams=st.sampled_from([1, 2, 100]),
    end=st.sampled_from(["kind", "client lost", "cluster closed"]),
)
def test_every_stream_comes_to_its_end(
    steps: list[Step],
    http2: bool,
    client_window: int,
    server_window: int,
    ours: int,
    streams: int,
    end: str,
) -> None:
    world = World(http2, client_window, server_window, ours, streams)
    for step in steps:
        world.play(step)
    if end == "kind":
        world.become_kind()
        world.check()
    elif end == "client lost":
        world.connection.lose()
        assert len(world.floor.log) == world.floor.stat("downstream_rq_total")
        world.check_settled()
    else:
        world.floor.fakes["web"].cluster.close()
        world.floor.advance(1)
        world.connection.lose()
        world.floor.fakes["web"].cluster.close()  # some have asked again
        world.check_settled()
        assert world.floor.fakes["web"].active_gauges() == {}
