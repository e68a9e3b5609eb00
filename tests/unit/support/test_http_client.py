"""The strict reader of answers."""

from __future__ import annotations

import pytest

from tests.support.http_client import InvalidResponse, ResponseReader, format_request


def _read(data: bytes, *methods: str, end: bool = False, step: int = 0) -> ResponseReader:
    reader = ResponseReader(methods)
    for start in range(0, len(data), step or len(data) or 1):
        reader.feed(data[start : start + (step or len(data))])
    if end:
        reader.end()
    return reader


@pytest.mark.parametrize("step", [0, 1, 3])
@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b""),
        (
            b"HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
            b"hello world",
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", b""),
    ],
)
def test_complete_answers(data: bytes, body: bytes, step: int) -> None:
    reader = _read(data, "GET", step=step)
    (response,) = reader.complete()
    assert response.body == body
    assert not reader.pending


def test_body_until_the_end_of_the_connection() -> None:
    data = b"HTTP/1.1 200 OK\r\n\r\nall of it"
    assert _read(data, "GET").complete() == []
    (response,) = _read(data, "GET", end=True).complete()
    assert response.body == b"all of it"


def test_head_has_no_body_and_the_next_answer_follows() -> None:
    data = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 1\r\n\r\nx"
    assert [response.status for response in _read(data, "HEAD", "GET").complete()] == [200, 404]


def test_interim_answers_are_kept_apart() -> None:
    reader = _read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "POST")
    assert [response.status for response in reader.interim] == [100]
    assert [response.status for response in reader.complete()] == [200]


def test_trailers() -> None:
    (response,) = _read(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-a: 1\r\n\r\n"
    ).complete()
    assert response.trailers == [(b"x-a", b"1")]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"\x00\x00\x12\x04\x00\x00\x00\x00",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx : 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nxx\r\n",
    ],
)
def test_anything_else_is_invalid(data: bytes) -> None:
    with pytest.raises(InvalidResponse):
        _read(data, "GET")


def test_requests_have_one_host_and_a_length() -> None:
    assert format_request("POST", "/p", [("x", "1")], b"ab") == (
        b"POST /p HTTP/1.1\r\nhost: a.example\r\nx: 1\r\ncontent-length: 2\r\n\r\nab"
    )
    assert format_request("GET", "/", [("Host", "b")]).count(b"ost:") == 1
