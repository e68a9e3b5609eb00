"""The strict check: short and long way agree, and each rule has its case."""

from __future__ import annotations

import pytest

from protocols.errors import RemoteProtocolError
from protocols.http import head
from protocols.http.codec import CodecSettings, HttpVersion, UnderscorePolicy
from protocols.http.head import (
    CHUNKED,
    UNTIL_CLOSE,
    MessageHead,
    read_request_head,
    read_response_head,
    read_trailers,
)
from protocols.http.head_lines import METHODS

SETTINGS = CodecSettings()


def request(text: bytes, settings: CodecSettings = SETTINGS) -> MessageHead:
    found = read_request_head(text, settings)
    assert found is not None
    return found


def response(text: bytes) -> MessageHead:
    found = read_response_head(text, SETTINGS)
    assert found is not None
    return found


def with_fields(*lines: bytes, method: bytes = b"POST") -> bytes:
    return method + b" /p HTTP/1.1\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def refused(text: bytes, settings: CodecSettings = SETTINGS) -> tuple[int, str]:
    with pytest.raises(RemoteProtocolError) as caught:
        read_request_head(text, settings)
    return caught.value.status, caught.value.details


def test_a_plain_head() -> None:
    found = request(b"GET /a?b=c HTTP/1.1\r\nHost: A.example:80\r\nX-One: 1\r\nX-Two:  two \t\r\n\r\nrest")
    headers = found.headers
    assert (headers.method, headers.path, headers.authority) == (b"GET", b"/a?b=c", b"A.example:80")
    assert list(headers.items()) == [(b"x-one", b"1"), (b"x-two", b"two")]
    assert (found.version, found.length, found.keep_alive, found.upgrade) == (
        HttpVersion.HTTP11,
        0,
        True,
        b"",
    )
    assert found.size == len(
        b"GET /a?b=c HTTP/1.1\r\nHost: A.example:80\r\nX-One: 1\r\nX-Two:  two \t\r\n\r\n"
    )


@pytest.mark.parametrize("method", sorted(METHODS - {b"CONNECT"}))
def test_every_known_method(method: bytes) -> None:
    assert request(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n").headers.method == method


@pytest.mark.parametrize("method", [b"get", b"QUERY", b"M-SEARCH", b"PRI", b"G@T", b"A" * 10000])
def test_other_methods_are_refused(method: bytes) -> None:
    assert refused(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n") == (400, "http1.codec_error")


@pytest.mark.parametrize("octet", range(256))
def test_octets_in_a_target(octet: int) -> None:
    """Recorded from Envoy 1.40: 0x21 to 0x7e pass (the fragment is the path rules' business)."""
    text = b"GET /a" + bytes((octet,)) + b"b HTTP/1.1\r\nHost: a\r\n\r\n"
    if 0x21 <= octet <= 0x7E:
        assert request(text).headers.path == b"/a" + bytes((octet,)) + b"b"
    elif octet == 0x0A:
        assert refused(text) == (426, "low_version")
    else:
        assert refused(text)[0] == 400


@pytest.mark.parametrize("octet", range(256))
def test_octets_in_a_host(octet: int) -> None:
    """Recorded from Envoy 1.40. A bare CR is deleted from values."""
    good = (
        b"!$%&'()*+,-.:;=@[]_~\r"
        + bytes(range(0x30, 0x3A))
        + bytes(range(0x41, 0x5B))
        + bytes(range(0x61, 0x7B))
    )
    text = b"GET / HTTP/1.1\r\nHost: a" + bytes((octet,)) + b"b\r\n\r\n"
    if octet in good:
        assert request(text).headers.authority == (b"a" + bytes((octet,)) + b"b").replace(b"\r", b"")
    else:
        assert refused(text)[0] == 400


@pytest.mark.parametrize("octet", range(256))
def test_octets_in_a_value(octet: int) -> None:
    text = with_fields(b"X: a" + bytes((octet,)) + b"b")
    if octet == 0x0A:
        assert refused(text) == (400, "http1.codec_error")
    elif octet in (0x09, 0x0D) or 0x20 <= octet != 0x7F:
        assert request(text).headers.get(b"x") == (b"a" + bytes((octet,)) + b"b").replace(b"\r", b"")
    else:
        assert refused(text) == (400, "http1.invalid_characters")


@pytest.mark.parametrize("octet", range(256))
def test_octets_in_a_name(octet: int) -> None:
    text = with_fields(b"X" + bytes((octet,)) + b"b: c")
    good = b"!#$%&'*+-.^_`|~" + bytes(range(0x30, 0x3A)) + bytes(range(0x41, 0x5B)) + bytes(range(0x61, 0x7B))
    if octet in good:
        assert request(text).headers.get((b"X" + bytes((octet,)) + b"b").lower()) == b"c"
    elif octet == 0x3A:
        assert request(text).headers.get(b"x") == b"b: c"
    else:
        assert refused(text)[0] == 400


@pytest.mark.parametrize(
    ("line", "authority", "path", "scheme"),
    [
        (b"GET http://b/p", b"b", b"/p", b"http"),
        (b"GET https://b", b"b", b"/", b"https"),
        (b"GET hTTp://B:80/p?q", b"B:80", b"/p?q", b"http"),
        (b"GET http://u:p@h/x", b"h", b"/x", b"http"),
        (b"GET http://[::1]:80/x", b"[::1]:80", b"/x", b"http"),
        (b"GET http://b?x=1", b"b", b"?x=1", b"http"),
        (b"OPTIONS *", b"a", b"*", b""),
        (b"CONNECT c:443", b"c:443", b"", b""),
        (b"CONNECT [::1]:1", b"[::1]:1", b"", b""),
    ],
)
def test_target_forms(line: bytes, authority: bytes, path: bytes, scheme: bytes) -> None:
    headers = request(line + b" HTTP/1.1\r\nHost: a\r\n\r\n").headers
    assert (headers.authority, headers.path, headers.scheme) == (authority, path, scheme)


@pytest.mark.parametrize(
    ("line", "details"),
    [
        (b"GET p", "http1.codec_error"),
        (b"GET *", "http1.invalid_url"),
        (b"GET a:80", "http1.codec_error"),
        (b"GET ftp://a/x", "http1.codec_error"),
        (b"GET http:/a/x", "http1.codec_error"),
        (b"GET http:///x", "http1.invalid_url"),
        (b"GET http://a_b/x", "http1.invalid_url"),
        (b"GET http://a:/x", "http1.invalid_url"),
        (b"GET http://a:70000/x", "http1.invalid_url"),
        (b"GET http://u@@h/x", "http1.invalid_url"),
        (b"GET http://[::1/x", "http1.invalid_url"),
        (b"GET http://a#x", "http1.invalid_url"),
        (b"CONNECT a", "http1.invalid_url"),
        (b"CONNECT a:", "http1.invalid_url"),
        (b"CONNECT :80", "http1.invalid_url"),
        (b"CONNECT a:65536", "http1.invalid_url"),
        (b"CONNECT /x", "http1.invalid_url"),
    ],
)
def test_targets_refused(line: bytes, details: str) -> None:
    assert refused(line + b" HTTP/1.1\r\nHost: a\r\n\r\n") == (400, details)


def test_absolute_form_can_be_switched_off() -> None:
    settings = CodecSettings(allow_absolute_url=False)
    assert refused(b"GET http://b/p HTTP/1.1\r\nHost: a\r\n\r\n", settings)[0] == 400


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ([], 0),
        ([b"Content-Length: 0"], 0),
        ([b"Content-Length: 5"], 5),
        ([b"Content-Length: " + b"0" * 5000 + b"7"], 7),
        ([b"Content-Length: 18446744073709551615"], 2**64 - 1),
        ([b"Transfer-Encoding: chunked"], CHUNKED),
        ([b"Transfer-Encoding: CHUNKED"], CHUNKED),
        ([b"Transfer-Encoding:\r\n chunked"], CHUNKED),
    ],
)
def test_framing(fields: list[bytes], length: int) -> None:
    found = request(with_fields(*fields))
    assert found.length == length
    assert b"transfer-encoding" not in found.headers


@pytest.mark.parametrize(
    ("fields", "status", "details"),
    [
        ([b"Content-Length: 5", b"Content-Length: 5"], 400, "http1.codec_error"),
        ([b"Content-Length: 5, 5"], 400, "http1.codec_error"),
        ([b"Content-Length: +5"], 400, "http1.codec_error"),
        ([b"Content-Length: 5_0"], 400, "http1.codec_error"),
        ([b"Content-Length: \xb2"], 400, "http1.codec_error"),
        ([b"Content-Length:"], 400, "http1.codec_error"),
        ([b"Content-Length: 18446744073709551616"], 400, "http1.codec_error"),
        ([b"Content-Length: " + b"9" * 5000], 400, "http1.codec_error"),
        (
            [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
            501,
            "http1.invalid_transfer_encoding",
        ),
        ([b"Transfer-Encoding: gzip, chunked"], 501, "http1.invalid_transfer_encoding"),
        ([b"Transfer-Encoding:"], 501, "http1.invalid_transfer_encoding"),
        (
            [b"Transfer-Encoding: cow", b"Content-Length: 1"],
            400,
            "http1.content_length_and_chunked_not_allowed",
        ),
        ([b"Host: a"], 400, "http.invalid_authority"),
        ([b"Connection: x-forwarded-for"], 400, "http1.connection_header_rejected"),
        ([b"Connection: :path"], 400, "http1.connection_header_rejected"),
        ([b"Connection: " + b",".join([b"x"] * 10)], 400, "http1.connection_header_rejected"),
        ([b"TE: " + b"x" * 256, b"Connection: te"], 400, "http1.connection_header_rejected"),
        ([b"x: y"] * 100, 431, "http1.too_many_headers"),
        ([b"X-A: " + b"a" * 61440], 431, "http1.headers_too_large"),
    ],
)
def test_fields_refused(fields: list[bytes], status: int, details: str) -> None:
    assert refused(with_fields(*fields)) == (status, details)


def test_limits_hold_while_incomplete() -> None:
    settings = CodecSettings(max_head_bytes=100)
    assert read_request_head(b"GET /" + b"a" * 95, settings) is None
    assert refused(b"GET /" + b"a" * 96, settings) == (431, "http1.headers_too_large")


def test_connection_keeps_and_closes() -> None:
    assert request(with_fields()).keep_alive
    assert request(with_fields(b"Connection: keep-alive")).keep_alive
    assert not request(with_fields(b"Connection: close")).keep_alive
    assert not request(with_fields(b"Connection: keep-alive, CLOSE")).keep_alive
    assert not request(with_fields(b"Connection: x", b"Connection: close")).keep_alive
    assert not request(with_fields(b"Proxy-Connection: close")).keep_alive


def test_fields_of_one_hop_are_taken_out() -> None:
    headers = request(
        with_fields(
            b"Connection: x-foo, keep-alive, te",
            b"X-Foo: 1",
            b"Keep-Alive: 5",
            b"Proxy-Connection: keep-alive",
            b"Upgrade: websocket",
            b"TE: gzip;q=1, trailers",
            b"X-Bar: 2",
        )
    ).headers
    assert list(headers.items()) == [(b"te", b"trailers"), (b"x-bar", b"2")]
    assert b"te" not in request(with_fields(b"TE: gzip")).headers


def test_a_nominated_length_still_frames_the_body() -> None:
    found = request(with_fields(b"Connection: content-length", b"Content-Length: 3"))
    assert found.length == 3
    assert b"content-length" not in found.headers


def test_a_nominated_host_is_missing() -> None:
    assert request(with_fields(b"Connection: host")).headers.authority == b""


def test_an_upgrade_keeps_its_fields() -> None:
    found = request(with_fields(b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket"))
    assert found.upgrade == b"websocket"
    assert list(found.headers.items()) == [(b"connection", b"Upgrade"), (b"upgrade", b"WebSocket")]


def test_an_offer_of_h2c_is_ignored() -> None:
    found = request(
        with_fields(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAM")
    )
    assert found.upgrade == b""
    assert len(found.headers) == 0


def test_connect_has_no_body() -> None:
    def connect(*fields: bytes) -> bytes:
        lines = b"".join(field + b"\r\n" for field in fields)
        return b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n"

    assert b"content-length" not in request(connect(b"Content-Length: 0")).headers
    assert refused(connect(b"Content-Length: 4")) == (400, "http1.body_disallowed")
    assert refused(connect(b"Transfer-Encoding: chunked")) == (501, "http1.invalid_transfer_encoding")


def test_underscores() -> None:
    text = with_fields(b"X_A: 1", b"Content_Length: 3")
    assert request(text).headers.get(b"x_a") == b"1"
    dropping = CodecSettings(underscores=UnderscorePolicy.DROP)
    assert len(request(text, dropping).headers) == 0
    rejecting = CodecSettings(underscores=UnderscorePolicy.REJECT)
    assert refused(text, rejecting) == (400, "http1.unexpected_underscore")


def test_http_1_0_when_allowed() -> None:
    settings = CodecSettings(accept_http_10=True, default_host_for_http_10=b"d.example")
    found = request(b"GET / HTTP/1.0\r\n\r\n", settings)
    assert (found.version, found.keep_alive, found.headers.authority) == (
        HttpVersion.HTTP10,
        False,
        b"d.example",
    )
    assert request(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", settings).keep_alive
    assert request(b"GET / HTTP/1.0\r\nConnection: x, keep-alive\r\n\r\n", settings).keep_alive
    assert refused(b"GET / HTTP/2.0\r\n\r\n", settings) == (426, "low_version")
    assert refused(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", settings)[0] == 400


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", 426),
        (b"GET / HTTP/1.2\r\n\r\n", 426),
        (b"GET /\r\n", 426),
        (b"GET / HTTP/1\r\n\r\n", 400),
        (b"GET / http/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.10\r\n\r\n", 400),
    ],
)
def test_versions(text: bytes, status: int) -> None:
    assert refused(text)[0] == status


def test_repeated_fields_keep_their_order() -> None:
    headers = request(with_fields(b"A: 1", b"B: 2", b"a: 3")).headers
    assert headers.get_all(b"a") == [b"1", b"3"]


PLAIN = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /x HTTP/1.1\r\nhost:a\r\nAccept: */*\r\nCookie: a=b\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nConnection: close\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nTE: trailers\r\n\r\n",
]


@pytest.mark.parametrize("text", PLAIN)
def test_both_ways_agree(text: bytes) -> None:
    for _ in range(2):  # the second time the lines are remembered
        short, long = request(text), head._read_request_head(text, SETTINGS)
        assert long is not None
        assert repr(short.headers) == repr(long.headers)
        for name in ("version", "length", "size", "keep_alive", "upgrade"):
            assert getattr(short, name) == getattr(long, name)


# --- responses


def test_a_plain_response() -> None:
    found = response(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nhello")
    assert (found.headers.status, found.length, found.keep_alive) == (200, 5, True)
    assert found.headers.get_all(b"set-cookie") == [b"a", b"b"]


@pytest.mark.parametrize(
    ("text", "length", "keep_alive"),
    [
        (b"HTTP/1.1 200\r\n\r\n", UNTIL_CLOSE, True),
        (b"HTTP/1.1 200 \r\n\r\n", UNTIL_CLOSE, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED, True),
        (b"HTTP/1.1 200 OK\nContent-Length: 3\n\n", 3, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n", 3, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", 3, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n", 3, True),
        (b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", 0, True),
        (b"HTTP/1.1 100 Continue\r\n\r\n", 0, True),
        (b"HTTP/1.1 999 Odd\r\nContent-Length: 3\r\n\r\n", 3, True),
    ],
)
def test_response_framing(text: bytes, length: int, keep_alive: bool) -> None:
    found = response(text)
    assert (found.length, found.keep_alive) == (length, keep_alive)


@pytest.mark.parametrize(
    "text",
    [
        b"garbage",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 000 OK\r\n\r\n",
        b"HTTP/1.1 +20 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200 O\x00K\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: foo\r\n\r\n",
        b"HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 C\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 62000,
    ],
)
def test_responses_refused(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_response_head(text, SETTINGS)


def test_response_fields_of_one_hop_are_taken_out() -> None:
    headers = response(
        b"HTTP/1.1 200 OK\r\nConnection: x-a, close\r\nX-A: 1\r\nKeep-Alive: 3\r\nUpgrade: h2\r\nX-B: 2\r\n\r\n"
    ).headers
    assert list(headers.items()) == [(b"x-b", b"2")]


def test_switching_protocols_keeps_its_fields() -> None:
    found = response(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert found.upgrade == b"websocket"
    assert list(found.headers.items()) == [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]


def test_the_option_to_upgrade_keeps_its_spelling_alone() -> None:
    found = response(b"HTTP/1.1 101 S\r\nConnection: keep-alive, UPGRADE\r\nUpgrade: websocket\r\n\r\n")
    assert found.headers.get(b"connection") == b"UPGRADE"


@pytest.mark.parametrize(
    ("start", "authority", "lacks_host"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"a", False),
        (b"GET / HTTP/1.1\r\nHost:\r\n", b"", False),
        (b"GET / HTTP/1.1\r\nHost: \t\n", b"", False),
        (b"GET / HTTP/1.1\r\n", b"", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n", b"", True),
        (b"GET http://b/ HTTP/1.1\r\n", b"b", False),
    ],
)
def test_an_empty_host_is_not_a_missing_one(start: bytes, authority: bytes, lacks_host: bool) -> None:
    headers = request(start + b"\r\n").headers
    assert headers.authority == authority
    assert headers.lacks_host is lacks_host
    assert headers.copy().lacks_host is lacks_host


# --- trailers


def test_trailers() -> None:
    trailers = read_trailers(
        b"X-T: 1\r\nGrpc-Status: 0\r\nHost: b\r\nContent-Length: 3\r\nAuthorization: x\r\n", SETTINGS
    )
    assert list(trailers.items()) == [(b"x-t", b"1"), (b"grpc-status", b"0")]


@pytest.mark.parametrize("text", [b"XT\r\n", b"X : 1\r\n", b"X: \x01\r\n", b": 1\r\n", b"x: y\r\n" * 101])
def test_trailers_refused(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_trailers(text, SETTINGS)
