"""What plaintext bytes say about HTTP; the table is what Envoy 1.40 answers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpn.http_preface import H2_PREFACE, MAX_PREFACE_BYTES, Incomplete, inspect_http


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"GET / HTTP/1.1\r\n", "http/1.1"),
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", "http/1.1"),
        (b"GET / HTTP/1.0\r\n", "http/1.0"),
        (b"CONNECT a:443 HTTP/1.1\r\n", "http/1.1"),
        (b"M-SEARCH * HTTP/1.1\r\n", "http/1.1"),
        (b"get / HTTP/1.1\r\n", "http/1.1"),
        (b"ANY-TOKEN / HTTP/1.1\r\n", "http/1.1"),
        (b"PRI / HTTP/1.1\r\n", "http/1.1"),
        (b"GET http://a.example/ HTTP/1.1\r\n", "http/1.1"),
        (b"GET / HTTP/1.1\n", "http/1.1"),
        (b"GET\t/ \t HTTP/1.1 \r\n", "http/1.1"),
        (H2_PREFACE, "h2c"),
        (H2_PREFACE + b"\0\0\0\x04\0\0\0\0\0", "h2c"),
        (b"GET / HTTP/2.0\r\n", "http/1.0"),
        (b"GET / HTTP/1.2\r\n", "http/1.0"),
        (b"GET / HTTP/0.9\r\n", "http/1.0"),
        (b"GET /\r\n", "http/1.0"),
        (b"PRI * HTTP/2.0\r\n\r\nXX", "http/1.0"),
        (b"GET / http/1.1\r\n", None),
        (b"GET / HTTP/1.11\r\n", None),
        (b"GET / FTP/1.1\r\n", None),
        (b"GET /a b HTTP/1.1\r\n", None),
        (b"GET /\xff HTTP/1.1\r\n", None),
        (b"GET a HTTP/1.1\r\n", None),
        (b"get key\r\n", None),
        (b"GET\r\n", None),
        (b"\r\nGET / HTTP/1.1\r\n", None),
        (b" GET / HTTP/1.1\r\n", None),
        (b"GE(T / HTTP/1.1\r\n", None),
        (b"EHLO mail.example\r\n", None),
        (b"*1\r\n$4\r\nPING\r\n", None),
        (b"SSH-2.0-OpenSSH_9.6\r\n", None),
        (b"\x16\x03\x01", None),
        (b"\x00", None),
    ],
)
def test_found(data: bytes, found: str | None) -> None:
    assert inspect_http(data) == found


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"DELETE /x HTTP/1.0\r\n", b"PUT / HTTP/1.1\r\n", H2_PREFACE]
)
def test_every_shorter_piece_is_incomplete(data: bytes) -> None:
    for end in range(len(data)):
        assert isinstance(inspect_http(data[:end]), Incomplete), end


def test_a_request_line_without_end() -> None:
    assert isinstance(inspect_http(b"GET /" + b"a" * 1000), Incomplete)
    assert inspect_http(b"GET /" + b"a" * MAX_PREFACE_BYTES) is None


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100))
def test_garbage_raises_nothing(data: bytes) -> None:
    found = inspect_http(data)
    assert found is None or isinstance(found, Incomplete | str)
