"""How answers are sent: in slices, compressed, no faster than the client reads."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, cast

import pytest

from sidecar.main.admin.api import AdminRequest, AdminResponse, Endpoint
from sidecar.main.admin.server import AdminConnection, AdminServer
from sidecar.main.admin.server_stats import AdminStats
from sidecar.transport.http1_codecs import http1_codecs
from sidecar.worker.garbage import GarbageCollector
from stats.store import Store
from tests.support.fake_loop import FakeLoop

REQUEST = b"GET /page HTTP/1.1\r\nhost: 127.0.0.1\r\n%s\r\n"


class FakeTransport:
    """Keeps what is written; full after `room` bytes until the test has read them."""

    def __init__(self, connection: AdminConnection, room: int) -> None:
        self._connection = connection
        self._room = room
        self._held = b""
        self.read = b""
        self.closed = False

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 15000)

    def write(self, data: bytes) -> None:
        was_full = len(self._held) > self._room
        self._held += data
        if not was_full and len(self._held) > self._room:
            self._connection.pause_writing()

    def drain(self) -> None:
        was_full = len(self._held) > self._room
        self.read += self._held
        self._held = b""
        if was_full:
            self._connection.resume_writing()

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Served:
    """One connection to an admin server whose only page is made of given pieces."""

    def __init__(self, pieces: list[Any] | str, room: int = 1 << 30) -> None:
        self.made = 0
        self.loop = FakeLoop()

        def make() -> Iterator[Any]:
            for piece in pieces:
                self.made += 1
                yield piece

        def page(request: AdminRequest) -> AdminResponse:
            return AdminResponse(pieces if isinstance(pieces, str) else make())

        self.garbage = GarbageCollector()
        server = AdminServer(
            [Endpoint("/page", "", page)],
            AdminStats(Store().root),
            http1_codecs({}).server,
            garbage=self.garbage,
        )
        self.connection = AdminConnection(server, cast("asyncio.AbstractEventLoop", self.loop))
        self.transport = FakeTransport(self.connection, room)
        self.connection.connection_made(cast("asyncio.Transport", self.transport))

    def ask(self, headers: bytes = b"") -> None:
        self.connection.data_received(REQUEST % headers)

    def finish(self) -> tuple[bytes, bytes]:
        """Head and body, when all was read."""
        for _ in range(10_000):
            self.transport.drain()
            if not self.loop.turn():
                break
        head, _, rest = self.transport.read.partition(b"\r\n\r\n")
        body = b""
        while rest and b"chunked" in head:
            size, _, rest = rest.partition(b"\r\n")
            body += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return head, body or rest


def test_one_piece_for_each_turn_of_the_loop() -> None:
    served = Served(["a", "", "b", b"c"])
    served.ask()
    made = [served.made]
    while served.loop.turn():
        made.append(served.made)
    assert made == [1, 2, 3, 4, 4]
    head, body = served.finish()
    assert b"transfer-encoding: chunked" in head
    assert b"content-encoding" not in head
    assert body == b"abc"


def test_who_asks_by_a_foreign_name_hears_how_to_ask(caplog: pytest.LogCaptureFixture) -> None:
    served = Served("secret")
    served.connection.data_received(b"GET /page HTTP/1.1\r\nhost: evil.example\r\n\r\n")
    head, body = served.finish()
    assert head.startswith(b"HTTP/1.1 403 ")
    assert b"ask by localhost or an IP address" in body
    assert [record.getMessage() for record in caplog.records] == [
        "admin request for host 'evil.example' refused: from another site's page, or by a foreign name"
    ]


def test_a_slow_client_holds_up_the_making() -> None:
    served = Served([b"x" * 100] * 50, room=250)
    served.ask()
    while served.loop.turn():
        pass
    stopped_at = served.made
    assert stopped_at <= 4
    assert not served.loop.soon
    for _ in range(3):  # no turn makes more than one piece, however often it filled up and drained
        served.transport.drain()
        while True:
            before = served.made
            if not served.loop.turn():
                break
            assert served.made <= before + 1
    assert stopped_at < served.made <= stopped_at + 9
    assert served.finish()[1] == b"x" * 5000
    assert served.made == 50


def test_a_client_that_leaves_ends_the_making() -> None:
    served = Served([b"x" * 100] * 50, room=250)
    served.ask()
    served.connection.connection_lost(None)
    while served.loop.turn():
        pass
    assert served.made <= 2


def test_gzip_when_asked_for() -> None:
    served = Served(["text " * 1000, "", "é"])
    served.ask(b"accept-encoding: gzip\r\n")
    head, body = served.finish()
    assert b"content-encoding: gzip" in head
    assert b"vary: accept-encoding" in head
    assert len(body) < 500
    assert zlib.decompress(body, 31) == b"text " * 1000 + "é".encode()


def test_short_answers_are_not_compressed() -> None:
    served = Served("short")
    served.ask(b"accept-encoding: gzip\r\n")
    head, body = served.finish()
    assert b"content-encoding" not in head
    assert b"vary" not in head
    assert body == b"short"


def test_what_could_have_been_compressed_says_so() -> None:
    """Or a cache would hand the plain page to those who take gzip, and the other way round (RFC 9110, 12.5.5)."""
    served = Served("text " * 1000)
    served.ask()
    head, body = served.finish()
    assert b"content-encoding" not in head
    assert b"vary: accept-encoding" in head
    assert body == b"text " * 1000


def test_a_page_is_known_to_the_garbage_collector_while_it_is_made() -> None:
    served = Served([b"x" * 100] * 50, room=250)
    served.ask()
    assert served.garbage._pages == 1
    served.finish()
    assert served.garbage._pages == 0


class Asked:
    """A server that asks others, who answer when the test says so."""

    def __init__(self) -> None:
        self.done: list[Callable[[], None]] = []
        self.happened: list[str] = []
        self.loop = FakeLoop()

        def handle(request: AdminRequest) -> AdminResponse:
            self.happened.append(f"handled {request.path}")
            return AdminResponse("x")

        def ask(path: str, query: Mapping[str, str], done: Callable[[], None]) -> bool:
            self.happened.append(f"asked {path}")
            self.done.append(done)
            return path != "/nobody"

        table = [
            Endpoint("/page", "", handle),
            Endpoint("/nobody", "", handle),
            Endpoint("/order", "", handle, mutates=True),
        ]
        server = AdminServer(table, AdminStats(Store().root), http1_codecs({}).server, ask=ask)
        self.connection = AdminConnection(server, cast("asyncio.AbstractEventLoop", self.loop))
        self.transport = FakeTransport(self.connection, 1 << 30)
        self.connection.connection_made(cast("asyncio.Transport", self.transport))

    def request(self, line: bytes, headers: bytes = b"") -> None:
        self.connection.data_received(line + b" HTTP/1.1\r\nhost: 127.0.0.1\r\n%s\r\n" % headers)

    def answers(self) -> int:
        while self.loop.turn():
            self.transport.drain()
        return self.transport.read.count(b"HTTP/1.1 200")


def test_a_page_is_made_when_others_have_told_what_it_shows() -> None:
    asked = Asked()
    asked.request(b"GET /page", b"connection: close\r\n")
    assert asked.answers() == 0 and not asked.transport.closed
    asked.done[0]()
    assert asked.answers() == 1 and asked.transport.closed
    assert asked.happened == ["asked /page", "handled /page"]


def test_what_changes_something_is_answered_when_others_have_done_it() -> None:
    asked = Asked()
    asked.request(b"POST /order", b"content-length: 0\r\n")
    assert asked.answers() == 0
    asked.done[0]()
    assert asked.answers() == 1
    assert asked.happened == ["handled /order", "asked /order"]


def test_with_nobody_to_ask_the_answer_is_there_at_once() -> None:
    asked = Asked()
    asked.request(b"GET /nobody")
    assert asked.answers() == 1


def test_the_next_request_waits_for_its_turn() -> None:
    asked = Asked()
    asked.request(b"GET /page HTTP/1.1\r\nhost: a\r\n\r\nGET /page")
    assert asked.answers() == 0
    asked.done[0]()
    assert asked.answers() == 1
    asked.done[1]()
    assert asked.answers() == 2


def test_a_client_that_has_gone_gets_no_answer() -> None:
    asked = Asked()
    asked.request(b"GET /page")
    asked.connection.connection_lost(None)
    asked.done[0]()
    assert asked.answers() == 0
    assert asked.happened == ["asked /page"]


class LaterLoop(FakeLoop):
    """What is called later is called soon."""

    def call_later(self, delay_s: float, callback: Callable[..., None], *arguments: object) -> None:
        self.call_soon(partial(callback, *arguments))


def test_an_endpoint_on_demand_is_made_once() -> None:
    made: list[str] = []

    def page() -> Endpoint:
        made.append("page")
        return Endpoint("/page", "what it shows", lambda request: AdminResponse("x"))

    server = AdminServer((), AdminStats(Store().root), http1_codecs({}).server, on_demand={"/page": page})
    assert not made
    answers = [server.answer(AdminRequest("GET", "/page", {})) for _ in range(2)]
    assert [(answer.status, answer.body) for answer in answers] == [(200, "x")] * 2
    assert made == ["page"]


def test_endpoints_on_demand_are_made_after_a_while_one_by_one() -> None:
    made: list[str] = []

    def page_at(path: str) -> Callable[[], Endpoint]:
        def page() -> Endpoint:
            made.append(path)
            return Endpoint(path, "what it shows", lambda request: AdminResponse("x"))

        return page

    pages = {path: page_at(path) for path in ("/a", "/b")}
    server = AdminServer((), AdminStats(Store().root), http1_codecs({}).server, on_demand=pages)
    loop = LaterLoop()
    server._load_next(cast("asyncio.AbstractEventLoop", loop), list(pages))
    assert made == ["/b"]
    loop.turn()
    assert made == ["/b", "/a"]
    loop.turn()
    assert not loop.turn()


def test_help_tells_of_endpoints_on_demand() -> None:
    pages = {"/b": lambda: Endpoint("/b", "what it shows", lambda request: AdminResponse("x"))}
    server = AdminServer((), AdminStats(Store().root), http1_codecs({}).server, on_demand=pages)
    assert server.answer(AdminRequest("GET", "/a", {})).body == (
        "invalid path. admin commands are:\n  /b: what it shows\n"
    )


def test_an_endpoint_that_cannot_be_made_costs_one_answer() -> None:
    def broken() -> Endpoint:
        raise ImportError("gone")

    server = AdminServer((), AdminStats(Store().root), http1_codecs({}).server, on_demand={"/page": broken})
    assert server.answer(AdminRequest("GET", "/page", {})).status == 500
