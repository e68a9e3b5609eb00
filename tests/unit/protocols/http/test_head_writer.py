"""The writer: what it writes, and that nothing ambiguous passes it."""

from __future__ import annotations

import pytest

from protocols.errors import LocalProtocolError
from protocols.http import head_writer
from protocols.http.codec import HttpVersion
from protocols.http.head import CHUNKED, UNTIL_CLOSE
from protocols.http.head_writer import NO_BODY, write_request_head, write_response_head, write_trailers
from protocols.http.headers import Headers

Fields = list[tuple[bytes, bytes]]


def request(
    fields: Fields | None = None, end: bool = True, *, method: bytes = b"GET", upgrade: bool = False
) -> tuple[bytes, int]:
    return write_request_head(Headers.request(method, b"/p", b"a.example", fields or []), end, upgrade)


def response(
    status: int = 200,
    fields: Fields | None = None,
    end: bool = True,
    *,
    method: bytes = b"GET",
    version: HttpVersion = HttpVersion.HTTP11,
    close: bool = False,
    upgrade: bool = False,
) -> tuple[bytes, int]:
    headers = Headers.response(status, fields or [])
    return write_response_head(headers, end, method=method, version=version, close=close, upgrade=upgrade)


def test_request_order() -> None:
    assert request([(b"b", b"1"), (b"a", b""), (b"b", b"2")]) == (
        b"GET /p HTTP/1.1\r\nhost: a.example\r\nb: 1\r\nb: 2\r\na: \r\n\r\n",
        0,
    )


@pytest.mark.parametrize(
    ("method", "end", "fields", "tail", "length"),
    [
        (b"GET", True, [], b"", 0),
        (b"HEAD", True, [], b"", 0),
        (b"DELETE", True, [], b"", 0),
        (b"TRACE", True, [], b"", 0),
        (b"OPTIONS", True, [], b"content-length: 0\r\n", 0),
        (b"POST", True, [], b"content-length: 0\r\n", 0),
        (b"GET", False, [], b"transfer-encoding: chunked\r\n", CHUNKED),
        (b"POST", False, [(b"content-length", b"3")], b"content-length: 3\r\n", 3),
        (b"GET", True, [(b"content-length", b"0")], b"content-length: 0\r\n", 0),
        (b"POST", False, [(b"transfer-encoding", b"gzip")], b"transfer-encoding: chunked\r\n", CHUNKED),
    ],
)
def test_request_framing(method: bytes, end: bool, fields: Fields, tail: bytes, length: int) -> None:
    text, found = request(fields, end, method=method)
    assert text == method + b" /p HTTP/1.1\r\nhost: a.example\r\n" + tail + b"\r\n"
    assert found == length


def test_connect() -> None:
    headers = Headers.request(b"CONNECT", b"", b"a:80", [(b"x", b"1"), (b"content-length", b"3")])
    assert write_request_head(headers, False, False) == (
        b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\nx: 1\r\n\r\n",
        0,
    )


def test_an_upgrade_keeps_its_fields_and_has_no_framing() -> None:
    fields = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket"), (b"keep-alive", b"1")]
    assert request(fields, False, upgrade=True) == (
        b"GET /p HTTP/1.1\r\nhost: a.example\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n",
        0,
    )
    assert b"upgrade" not in request(fields)[0]


@pytest.mark.parametrize(
    "headers",
    [
        Headers.request(b"GET ", b"/p", b"a"),
        Headers.request(b"G\nT", b"/p", b"a"),
        Headers.request(b"", b"/p", b"a"),
        Headers.request(b"GET", b"p", b"a"),
        Headers.request(b"GET", b"", b"a"),
        Headers.request(b"GET", b"/p q", b"a"),
        Headers.request(b"GET", b"/p\tq", b"a"),
        Headers.request(b"GET", b"/p\r\nx: y", b"a"),
        Headers.request(b"GET", b"/p\x00", b"a"),
        Headers.request(b"GET", b"/\xe9", b"a"),
        Headers.request(b"GET", b"/p", b"a\r\nx: y"),
        Headers.request(b"GET", b"/p", b"a b"),
        Headers.request(b"CONNECT", b"", b""),
        Headers.request(b"GET", b"/p", b"a", [(b"X", b"1")]),
        Headers.request(b"GET", b"/p", b"a", [(b"", b"1")]),
        Headers.request(b"GET", b"/p", b"a", [(b":path", b"1")]),
        Headers.request(b"GET", b"/p", b"a", [(b"x y", b"1")]),
        Headers.request(b"GET", b"/p", b"a", [(b"x\r\ny", b"1")]),
        Headers.request(b"GET", b"/p", b"a", [(b"x", b"1\r\ny: 2")]),
        Headers.request(b"GET", b"/p", b"a", [(b"x", b"1\n")]),
        Headers.request(b"GET", b"/p", b"a", [(b"x", b"\r")]),
        Headers.request(b"GET", b"/p", b"a", [(b"x", b"\x00")]),
        Headers.request(b"GET", b"/p", b"a", [(b"x", b"\x7f")]),
        Headers.request(b"GET", b"/p", b"a", [(b"content-length", b"3")]),
        Headers.request(b"GET", b"/p", b"a", [(b"content-length", b"x")]),
        Headers.request(b"GET", b"/p", b"a", [(b"content-length", b"0"), (b"content-length", b"0")]),
        Headers.request(b"GET", b"/p", b"a", [(b"content-length", b"0" * 21)]),
    ],
    ids=repr,
)
def test_unsafe_requests_are_not_written(headers: Headers) -> None:
    with pytest.raises(LocalProtocolError):
        write_request_head(headers, True, False)


def test_host_is_written_once() -> None:
    assert request([(b"host", b"evil")])[0].count(b"host:") == 1


@pytest.mark.parametrize(
    ("kwargs", "tail", "length"),
    [
        ({}, b"content-length: 0\r\n", 0),
        ({"end": False}, b"transfer-encoding: chunked\r\n", CHUNKED),
        ({"end": False, "fields": [(b"content-length", b"9")]}, b"content-length: 9\r\n", 9),
        ({"status": 204}, b"", NO_BODY),
        ({"status": 204, "fields": [(b"content-length", b"0")]}, b"", NO_BODY),
        ({"status": 304}, b"", NO_BODY),
        ({"status": 304, "fields": [(b"content-length", b"9")]}, b"content-length: 9\r\n", NO_BODY),
        ({"method": b"HEAD"}, b"transfer-encoding: chunked\r\n", NO_BODY),
        ({"method": b"HEAD", "status": 304}, b"", NO_BODY),
        ({"method": b"HEAD", "end": False}, b"transfer-encoding: chunked\r\n", NO_BODY),
        ({"method": b"HEAD", "fields": [(b"content-length", b"9")]}, b"content-length: 9\r\n", NO_BODY),
        ({"close": True}, b"connection: close\r\ncontent-length: 0\r\n", 0),
        ({"fields": [(b"transfer-encoding", b"x"), (b"connection", b"y")]}, b"content-length: 0\r\n", 0),
        ({"method": b"CONNECT", "end": False}, b"", NO_BODY),
    ],
)
def test_response_framing(kwargs: dict[str, object], tail: bytes, length: int) -> None:
    text, found = response(**kwargs)  # type: ignore[arg-type]  # a table of keyword arguments
    assert text.partition(b"\r\n")[2] == tail + b"\r\n"
    assert found == length


def test_response_to_http_1_0() -> None:
    old = HttpVersion.HTTP10
    assert response(end=False, version=old) == (b"HTTP/1.0 200 OK\r\nconnection: close\r\n\r\n", UNTIL_CLOSE)
    fields = [(b"content-length", b"1")]
    text, length = response(fields=fields, end=False, version=old)
    assert (text, length) == (b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\n", 1)


def test_status_lines() -> None:
    assert response(404)[0].startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert response(299)[0].startswith(b"HTTP/1.1 299 Unknown\r\n")
    assert response(100)[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
    fields = [(b"connection", b"upgrade"), (b"upgrade", b"websocket"), (b"content-length", b"0")]
    assert response(101, fields, False, upgrade=True)[0] == (
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    )


@pytest.mark.parametrize(
    "headers",
    [
        Headers.response(0),
        Headers.response(20),
        Headers.response(1000),
        Headers.response(200, [(b"x", b"1\r\nset-cookie: a")]),
        Headers.response(200, [(b"set-cookie\n", b"1")]),
        Headers.response(200, [(b"content-length", b"-1")]),
        Headers.response(200, [(b"content-length", b"5")]),
    ],
    ids=repr,
)
def test_unsafe_responses_are_not_written(headers: Headers) -> None:
    with pytest.raises(LocalProtocolError):
        write_response_head(
            headers, True, method=b"GET", version=HttpVersion.HTTP11, close=False, upgrade=False
        )


def test_trailers() -> None:
    assert write_trailers(Headers([(b"x-t", b"1"), (b"host", b"b")])) == b"0\r\nx-t: 1\r\n\r\n"
    with pytest.raises(LocalProtocolError):
        write_trailers(Headers([(b"x-t", b"1\n")]))


def test_known_names_are_bounded_and_stay_checked() -> None:
    for number in range(5000):
        request([(b"x-%d" % number, b"1")])
    assert len(head_writer._prefixes) <= 4096
    for _ in range(2):
        with pytest.raises(LocalProtocolError):
            request([(b"X-Upper", b"1")])
        assert b"content-length" not in request([(b"te", b"trailers")])[0]
