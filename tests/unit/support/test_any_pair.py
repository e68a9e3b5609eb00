"""The clients and backends that speak either protocol say the same of the same exchange, without a proxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.any_backend import Answer, AnyBackend
from tests.support.any_client import AUTHORITY, PROTOCOLS, AnyClient, any_client
from tests.support.backends import LoopThread
from tests.support.h2_backend import H2Backend
from tests.support.process import wait_until


@pytest.fixture(params=PROTOCOLS)
def backend(request: pytest.FixtureRequest) -> Iterator[AnyBackend]:
    loop = LoopThread()
    created = AnyBackend(loop, request.param)
    yield created
    created.backend.stop()
    assert not isinstance(created.backend, H2Backend) or created.backend.violations == []
    loop.close()


@pytest.fixture
def client(backend: AnyBackend) -> Iterator[AnyClient]:
    with any_client(backend.protocol, backend.address) as created:
        yield created


def test_request_and_answer(backend: AnyBackend, client: AnyClient) -> None:
    backend.answer = Answer(201, [("x-a", "1"), ("x-a", "2")], b"made")
    seen = client.request("POST", "/p?q", [("x-b", "3")], b"body")
    assert (seen.status, seen.body, seen.body_length, seen.end) == (201, b"made", 4, "complete")
    assert seen.values("x-a") == ["1", "2"] and seen.values("content-length") == ["4"]
    received = backend.last()
    assert (received.method, received.target, received.authority) == ("POST", "/p?q", AUTHORITY)
    assert (received.body, received.values("x-b")) == (b"body", ["3"])


def test_trailers_both_ways(backend: AnyBackend, client: AnyClient) -> None:
    backend.answer = Answer(trailers=[("x-end", "1")])
    seen = client.request("POST", "/", body=b"body", trailers=[("x-t", "2")])
    assert (seen.body, seen.trailers, seen.end) == (b"hello\n", [("x-end", "1")], "complete")
    assert (backend.last().body, backend.last().trailers) == (b"body", [("x-t", "2")])


def test_no_body_no_length_and_interim_answers(backend: AnyBackend, client: AnyClient) -> None:
    backend.answer = Answer(interim=[(103, [("link", "a")])], length=False)
    seen = client.request("GET", "/")
    assert (seen.interim, seen.body) == ([(103, [("link", "a")])], b"hello\n")
    assert seen.values("content-length") == []
    for status in (204, 304):
        backend.answer = Answer(status)
        assert (client.request("GET", "/").status, client.request("GET", "/").body) == (status, b"")
    backend.clear()
    seen = client.request("HEAD", "/")
    assert (seen.status, seen.body, seen.values("content-length")) == (200, b"", ["6"])
    assert client.request("GET", "/").body == b"hello\n"


def test_a_request_in_pieces(backend: AnyBackend, client: AnyClient) -> None:
    client.send_head("PUT", "/", end=False)
    client.send_data(b"one ")
    client.send_data(b"two", end=True)
    assert client.wait_head() == 200
    client.wait_body(6)
    assert client.wait().body == b"hello\n"
    assert backend.last().body == b"one two"


def test_a_backend_that_goes_away(backend: AnyBackend, client: AnyClient) -> None:
    client.send_head("POST", "/", end=False, length=10)
    client.send_data(b"part")
    wait_until(lambda: bool(backend.received()), timeout_s=5, what="the request")
    backend.backend.stop()
    seen = client.wait()
    assert (seen.status, seen.end) == (None, "closed")
