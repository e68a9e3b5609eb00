"""Field lists to heads and back (RFC 9113 section 8): every rule, and for every octet whether it may be there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http import h2_fields
from protocols.http.codec import CodecSettings, Http2Settings, UnderscorePolicy
from protocols.http.h2_fields import (
    INVALID_FIELD,
    UNDERSCORE,
    VIOLATION,
    check_for_writing,
    read_request,
    read_response,
    read_trailers,
    request_fields,
    response_fields,
    trailer_fields,
)
from protocols.http.head_lines import METHODS
from protocols.http.headers import Headers
from tests.unit.protocols.http.h2_wire import GET, OK, Field

SETTINGS = CodecSettings()
CONNECTS = CodecSettings(http2=Http2Settings(allow_connect=True))
_CONNECT: list[Field] = [(b":method", b"CONNECT"), (b":authority", b"a:80")]
_EXTENDED: list[Field] = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"https"),
    (b":path", b"/chat"),
    (b":authority", b"a"),
]


def request_error(fields: list[Field], settings: CodecSettings = SETTINGS) -> str:
    """The detail with which a request is refused; "" if it is not."""
    try:
        read_request(fields, settings)
    except RemoteProtocolError as error:
        assert error.h2_code == 1
        return error.details
    return ""


def response_error(fields: list[Field], settings: CodecSettings = SETTINGS) -> str:
    try:
        read_response(fields, settings)
    except RemoteProtocolError as error:
        return error.details
    return ""


def changed(name: bytes, value: bytes, fields: list[Field] = GET) -> list[Field]:
    """With another value of one pseudo-header."""
    return [(each, value if each == name else old) for each, old in fields]


def without(name: bytes, fields: list[Field] = GET) -> list[Field]:
    return [field for field in fields if field[0] != name]


# --- every octet, in every place

_DIGITS = b"0123456789"
_LOWER = b"abcdefghijklmnopqrstuvwxyz"
_LETTERS = _LOWER + _LOWER.upper()
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~" + _DIGITS + _LETTERS)
_VISIBLE = frozenset(range(0x21, 0x7F))
_NAME = _TOKEN - set(_LOWER.upper())
_VALUE = _VISIBLE | {0x09, 0x20} | frozenset(range(0x80, 0x100))
_HOST = frozenset(b"-._~%!$&'()*+,;=:[]" + _DIGITS + _LETTERS)
_SCHEME = frozenset(b"+-." + _DIGITS + _LETTERS)

Make = Callable[[bytes], list[Field]]

#: What is asked, how a word becomes a message, and what may stand at the start, in the middle and at the end of it.
_PLACES: dict[str, tuple[Make, frozenset[int], frozenset[int], frozenset[int]]] = {
    "name": (lambda word: [*GET, (word, b"v")], _NAME, _NAME, _NAME),
    "value": (lambda word: [*GET, (b"x-a", word)], _VALUE, _VALUE, _VALUE),
    "secret value": (lambda word: [*GET, (b"authorization", word)], _VALUE, _VALUE, _VALUE),
    ":path": (lambda word: changed(b":path", b"/" + word), _VISIBLE, _VISIBLE, _VISIBLE),
    ":authority": (lambda word: changed(b":authority", word), _HOST, _HOST, _HOST),
    "host": (
        lambda word: [*without(b":authority"), (b"host", word)],
        _HOST | {0x20, 0x09},
        _HOST,
        _HOST | {0x20, 0x09},
    ),
    ":method": (lambda word: changed(b":method", word), _TOKEN, _TOKEN, _TOKEN),
    ":scheme": (lambda word: changed(b":scheme", word), frozenset(_LETTERS), _SCHEME, _SCHEME),
    ":protocol": (lambda word: changed(b":protocol", word, _EXTENDED), _TOKEN, _TOKEN, _TOKEN),
    "content-length": (
        lambda word: [*GET, (b"content-length", word)],
        frozenset(_DIGITS + b" \t"),
        frozenset(_DIGITS),
        frozenset(_DIGITS + b" \t"),
    ),
}


def taken(refused: Callable[[bytes], str], head: bytes, tail: bytes) -> frozenset[int]:
    """The octets that may stand between them."""
    return frozenset(octet for octet in range(256) if not refused(head + bytes([octet]) + tail))


@pytest.mark.parametrize("place", _PLACES)
def test_every_octet_in_a_request(place: str) -> None:
    make, start, middle, end = _PLACES[place]

    def refused(word: bytes) -> str:
        return request_error(make(word), CONNECTS)

    one, two = (b"1", b"2") if place == "content-length" else (b"a", b"b")
    for _ in range(2):  # what was judged once is judged the same again
        assert taken(refused, b"", one + two) == start
        assert taken(refused, one, two) == middle
        assert taken(refused, one + two, b"") == end


def test_every_octet_at_the_start_of_a_path() -> None:
    for tail in (b"", b"p"):
        assert taken(lambda word: request_error(changed(b":path", word)), b"", tail) == {ord("/")}


def test_every_octet_in_a_response_and_in_trailers() -> None:
    def refused(fields: list[Field]) -> str:
        found = response_error([*OK, *fields])
        try:
            read_trailers(fields)
        except RemoteProtocolError as error:
            assert error.details == found == INVALID_FIELD
            return found
        assert not found
        return ""

    for head, tail in ((b"", b"ab"), (b"a", b"b"), (b"ab", b"")):
        assert taken(lambda word: refused([(word, b"v")]), head, tail) == _NAME
        assert taken(lambda word: refused([(b"x-b", word)]), head, tail) == _VALUE


@pytest.mark.parametrize("value", [b"a b", b"\tx", b"\xff", b"", b" ", b"a:b"])
def test_values_are_handed_on_without_white_space_around_them(value: bytes) -> None:
    for padded in (value, b" " + value, value + b"\t ", b"\t" + value + b" "):
        headers = read_request([*GET, (b"x-a", padded)], SETTINGS)
        assert headers.get(b"x-a") == value.strip(b" \t")
        assert read_response([*OK, (b"x-a", padded)], SETTINGS).get(b"x-a") == value.strip(b" \t")
        assert read_trailers([(b"x-a", padded)]).get(b"x-a") == value.strip(b" \t")


def test_an_empty_name() -> None:
    assert request_error([*GET, (b"", b"v")]) == INVALID_FIELD


# --- pseudo-headers


def test_a_request() -> None:
    headers = read_request([*GET, (b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3")], SETTINGS)
    assert (headers.method, headers.scheme, headers.authority, headers.path) == (b"GET", b"http", b"a", b"/p")
    assert list(headers.items()) == [(b"x-a", b"1"), (b"x-a", b"3"), (b"x-b", b"2")]
    assert (headers.protocol, headers.status, headers.lacks_host) == (b"", 0, False)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]])
def test_pseudo_headers_come_in_any_order(order: list[int]) -> None:
    assert repr(read_request([GET[at] for at in order], SETTINGS)) == repr(read_request(GET, SETTINGS))


@pytest.mark.parametrize("method", [*sorted(METHODS - {b"CONNECT"}), b"FROB", b"get"])
def test_methods(method: bytes) -> None:
    assert read_request(changed(b":method", method), SETTINGS).method == method


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ([], VIOLATION),
        ([(b"x-a", b"b")], VIOLATION),
        (without(b":method"), VIOLATION),
        (without(b":scheme"), VIOLATION),
        (without(b":path"), VIOLATION),
        (without(b":authority"), VIOLATION),
        (changed(b":authority", b""), VIOLATION),
        ([*changed(b":authority", b""), (b"host", b"a")], VIOLATION),
        (changed(b":path", b""), VIOLATION),
        (changed(b":path", b"p"), VIOLATION),
        (changed(b":path", b"*"), VIOLATION),
        (changed(b":path", b"http://a/"), VIOLATION),
        (changed(b":path", b"/a b"), VIOLATION),
        (changed(b":path", b"/\xc3\xa4"), VIOLATION),
        (changed(b":path", b"/\r\n"), INVALID_FIELD),
        (changed(b":path", b"/\x7f"), INVALID_FIELD),
        (changed(b":method", b""), INVALID_FIELD),
        (changed(b":method", b"GET "), INVALID_FIELD),
        (changed(b":scheme", b""), INVALID_FIELD),
        (changed(b":scheme", b"1http"), INVALID_FIELD),
        (changed(b":authority", b"user@a"), INVALID_FIELD),
        (changed(b":authority", b"a/b"), INVALID_FIELD),
        ([*GET, GET[0]], INVALID_FIELD),
        ([*GET, (b":authority", b"b")], INVALID_FIELD),
        ([GET[0], *GET], INVALID_FIELD),
        ([*GET[:3], (b"x-a", b"b"), GET[3]], INVALID_FIELD),
        ([(b"x-a", b"b"), *GET], INVALID_FIELD),
        ([*GET, (b":status", b"200")], INVALID_FIELD),
        ([*GET, (b":other", b"x")], INVALID_FIELD),
        ([(b":Path", b"/"), *GET], INVALID_FIELD),
        ([*GET, (b":", b"x")], INVALID_FIELD),
        ([*GET, (b":protocol", b"websocket")], INVALID_FIELD),
    ],
)
def test_a_request_that_breaks_the_rules(fields: list[Field], details: str) -> None:
    assert request_error(fields) == details


@pytest.mark.parametrize("path", [b"/", b"/a?b=c#d", b"//", b"/%00", b'/"<>\\^`{|}', b"/" + b"p" * 5000])
def test_paths(path: bytes) -> None:
    assert read_request(changed(b":path", path), SETTINGS).path == path


def test_the_asterisk_is_for_options() -> None:
    fields = changed(b":path", b"*", changed(b":method", b"OPTIONS"))
    assert read_request(fields, SETTINGS).path == b"*"
    assert request_error(changed(b":path", b"**", fields)) == VIOLATION


@pytest.mark.parametrize(
    ("scheme", "known"),
    [
        (b"http", b"http"),
        (b"https", b"https"),
        (b"HTTPS", b"https"),
        (b"Http", b"http"),
        (b"ftp", b""),
        (b"x+y", b""),
    ],
)
def test_schemes(scheme: bytes, known: bytes) -> None:
    """One that is not of HTTP is forgotten: that of the connection is put there."""
    assert read_request(changed(b":scheme", scheme), SETTINGS).scheme == known


# --- host and authority


@pytest.mark.parametrize(
    ("fields", "authority"),
    [
        (GET, b"a"),
        (changed(b":authority", b"[::1]:80"), b"[::1]:80"),
        ([*GET, (b"host", b"a")], b"a"),
        ([*GET, (b"host", b"b")], b"a"),
        ([*GET, (b"host", b"no host at all")], b"a"),
        ([*without(b":authority"), (b"host", b"h:1")], b"h:1"),
        ([*without(b":authority"), (b"host", b"")], b""),
    ],
)
def test_the_authority_goes_before_the_host(fields: list[Field], authority: bytes) -> None:
    headers = read_request(fields, SETTINGS)
    assert headers.authority == authority
    assert b"host" not in headers


@pytest.mark.parametrize(
    "fields",
    [
        [*GET, (b"host", b"a"), (b"host", b"a")],
        [*without(b":authority"), (b"host", b"a"), (b"host", b"a")],
        [*without(b":authority"), (b"host", b"a b")],
        [*without(b":authority"), (b"host", b"u@a")],
    ],
)
def test_hosts_that_are_refused(fields: list[Field]) -> None:
    assert request_error(fields) == INVALID_FIELD


# --- fields of one hop, te, content-length, cookies


@pytest.mark.parametrize(
    "name", [b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"]
)
def test_fields_of_one_hop(name: bytes) -> None:
    for value in (b"", b"close", b"chunked", b"trailers", b"h2c"):
        assert request_error([*GET, (name, value)]) == INVALID_FIELD
        assert response_error([*OK, (name, value)]) == INVALID_FIELD
        with pytest.raises(RemoteProtocolError):
            read_trailers([(b"x-a", b"b"), (name, value)])


def test_settings_of_an_upgrade_are_dropped() -> None:
    assert b"http2-settings" not in read_request([*GET, (b"http2-settings", b"AAMAAABk")], SETTINGS)


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        ([b"trailers"], ""),
        ([b" trailers "], ""),
        ([b"gzip"], INVALID_FIELD),
        ([b"Trailers"], INVALID_FIELD),
        ([b"trailers, gzip"], INVALID_FIELD),
        ([b"trailers;q=1"], INVALID_FIELD),
        ([b""], INVALID_FIELD),
        ([b"trailers", b"trailers"], INVALID_FIELD),
    ],
)
def test_te(values: list[bytes], refused: str) -> None:
    fields = [(b"te", value) for value in values]
    assert request_error([*GET, *fields]) == refused
    assert response_error([*OK, *fields]) == refused
    if not refused:
        assert read_request([*GET, *fields], SETTINGS).get(b"te") == b"trailers"


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        ([b"0"], ""),
        ([b"5"], ""),
        ([b"005"], ""),
        ([b"9" * 19], ""),
        ([b"9" * 20], INVALID_FIELD),
        ([b"0" * 20], INVALID_FIELD),
        ([b""], INVALID_FIELD),
        ([b"+5"], INVALID_FIELD),
        ([b"-5"], INVALID_FIELD),
        ([b"0x5"], INVALID_FIELD),
        ([b"5.0"], INVALID_FIELD),
        ([b"5 5"], INVALID_FIELD),
        ([b"5,5"], INVALID_FIELD),
        ([b"5_0"], INVALID_FIELD),
        ([b"\xd9\xa5"], INVALID_FIELD),
        ([b"\xb2"], INVALID_FIELD),
        ([b"5", b"5"], INVALID_FIELD),
        ([b"5", b"6"], INVALID_FIELD),
    ],
)
def test_content_length(values: list[bytes], refused: str) -> None:
    fields = [(b"content-length", value) for value in values]
    assert request_error([*GET, *fields]) == refused
    assert response_error([*OK, *fields]) == refused


def test_cookies_in_pieces_are_one_field() -> None:
    fields = [(b"cookie", b"a=1"), (b"x-a", b"b"), (b"cookie", b"c=2; d=3"), (b"cookie", b"e")]
    headers = read_request([*GET, *fields], SETTINGS)
    assert list(headers.items()) == [(b"cookie", b"a=1; c=2; d=3; e"), (b"x-a", b"b")]
    headers = read_request([*GET, (b"cookie", b"a"), (b"x-a", b"b"), (b"x-a", b"c")], SETTINGS)
    assert list(headers.items()) == [(b"cookie", b"a"), (b"x-a", b"b"), (b"x-a", b"c")]


def test_set_cookies_stay_apart() -> None:
    fields = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    assert list(read_response([*OK, *fields], SETTINGS).items()) == fields


@pytest.mark.parametrize(
    ("policy", "kept", "refused"),
    [
        (UnderscorePolicy.ALLOW, [b"a_b", b"x-a"], ""),
        (UnderscorePolicy.DROP, [b"x-a"], ""),
        (UnderscorePolicy.REJECT, [], UNDERSCORE),
    ],
)
def test_underscores(policy: UnderscorePolicy, kept: list[bytes], refused: str) -> None:
    settings = replace(SETTINGS, underscores=policy)
    fields = [(b"a_b", b"1"), (b"x-a", b"2")]
    assert request_error([*GET, *fields], settings) == refused
    assert response_error([*OK, *fields], settings) == refused
    assert request_error(GET, settings) == ""
    if not refused:
        assert sorted(read_request([*GET, *fields], settings).names()) == kept


# --- CONNECT


def test_connect() -> None:
    headers = read_request(_CONNECT, SETTINGS)
    assert (headers.method, headers.authority, headers.path, headers.scheme) == (
        b"CONNECT",
        b"a:80",
        b"",
        b"",
    )
    assert headers.protocol == b""


@pytest.mark.parametrize(
    "fields",
    [
        [*_CONNECT, (b":path", b"/")],
        [*_CONNECT, (b":scheme", b"http")],
        _CONNECT[:1],
        [_CONNECT[0], (b":authority", b"")],
        [_CONNECT[0], (b"host", b"a:80")],
        without(b":path", _EXTENDED),
        without(b":scheme", _EXTENDED),
        without(b":authority", _EXTENDED),
        changed(b":authority", b"", _EXTENDED),
        [*without(b":authority", _EXTENDED), (b"host", b"a")],
        changed(b":path", b"*", _EXTENDED),
        changed(b":path", b"", _EXTENDED),
    ],
)
def test_a_connect_that_breaks_the_rules(fields: list[Field]) -> None:
    assert request_error(fields, CONNECTS) == VIOLATION


def test_an_extended_connect_is_an_upgrade() -> None:
    headers = read_request([*_EXTENDED, (b"x-a", b"b")], CONNECTS)
    assert (headers.method, headers.protocol, headers.scheme, headers.path, headers.authority) == (
        b"GET",
        b"websocket",
        b"https",
        b"/chat",
        b"a",
    )
    assert list(headers.items()) == [(b"x-a", b"b"), (b"connection", b"upgrade"), (b"upgrade", b"websocket")]


@pytest.mark.parametrize(
    ("fields", "settings"),
    [
        (_EXTENDED, SETTINGS),
        (changed(b":method", b"GET", _EXTENDED), CONNECTS),
        (changed(b":protocol", b"", _EXTENDED), CONNECTS),
        (changed(b":protocol", b"a/b", _EXTENDED), CONNECTS),
        ([*_EXTENDED, (b"upgrade", b"websocket")], CONNECTS),
        ([*_EXTENDED, (b"connection", b"upgrade")], CONNECTS),
    ],
)
def test_an_extended_connect_that_is_none(fields: list[Field], settings: CodecSettings) -> None:
    assert request_error(fields, settings) == INVALID_FIELD


# --- responses


def test_every_status() -> None:
    for status in range(1000):
        for text in {b"%d" % status, b"%03d" % status}:
            refused = response_error([(b":status", text)])
            if len(text) != 3 or status < 100:
                assert refused == INVALID_FIELD
            elif status == 101:
                assert refused == VIOLATION
            else:
                assert read_response([(b":status", text)], SETTINGS).status == status


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ([], VIOLATION),
        ([(b"x-a", b"b")], VIOLATION),
        ([(b":status", b"")], INVALID_FIELD),
        ([(b":status", b"200 OK")], INVALID_FIELD),
        ([(b":status", b"+20")], INVALID_FIELD),
        ([(b":status", b"\xd9\xa2\xd9\xa0\xd9\xa0")], INVALID_FIELD),
        ([*OK, *OK], INVALID_FIELD),
        ([(b"x-a", b"b"), *OK], INVALID_FIELD),
        ([*OK, (b":path", b"/")], INVALID_FIELD),
        ([(b":method", b"GET"), *OK], INVALID_FIELD),
    ],
)
def test_a_response_that_breaks_the_rules(fields: list[Field], details: str) -> None:
    assert response_error(fields) == details


# --- trailers


def test_trailers() -> None:
    fields = [(b"grpc-status", b"0"), (b"x-a", b"1"), (b"x-a", b"2")]
    assert list(read_trailers(fields).items()) == fields
    assert list(read_trailers([]).items()) == []


@pytest.mark.parametrize(
    "name",
    [
        b"content-length", b"host", b"trailer", b"authorization", b"proxy-authorization", b"te", b"http2-settings",
        b"x-forwarded-client-cert",
    ],
)  # fmt: skip
def test_what_may_not_be_in_trailers_is_dropped(name: bytes) -> None:
    trailers = read_trailers([(name, b"1"), (b"x-a", b"b"), (name, b"2")])
    assert list(trailers.items()) == [(b"x-a", b"b")]


@pytest.mark.parametrize("name", [b":status", b":path", b":other"])
def test_there_are_no_pseudo_headers_in_trailers(name: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=INVALID_FIELD):
        read_trailers([(name, b"200")])


# --- memory


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h2_fields, "_REMEMBERED_FIELDS", 10)
    for number in range(50):
        field = (b"x-%d" % number, b"v")
        assert read_request([*GET, field], SETTINGS).get(field[0]) == b"v"
    long = (b"x-long", b"v" * 3000)
    secret = (b"authorization", b"Basic eA==")
    read_request([*GET, long, secret], SETTINGS)
    assert len(h2_fields._CHECKED) <= 10
    assert long not in h2_fields._CHECKED
    assert secret not in h2_fields._CHECKED


# --- writing


def test_a_request_is_written() -> None:
    headers = Headers.request(b"GET", b"/p", b"a", [(b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3")], b"https")
    assert request_fields(headers) == [
        (b":authority", b"a"),
        (b":path", b"/p"),
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b"x-a", b"1"),
        (b"x-a", b"3"),
        (b"x-b", b"2"),
    ]


def test_a_scheme_that_is_missing() -> None:
    headers = Headers.request(b"GET", b"/", b"a", scheme=b"")
    assert (b":scheme", b"http") in request_fields(headers)
    assert (b":scheme", b"https") in request_fields(headers, b"https")


def test_an_authority_that_is_missing() -> None:
    assert b":authority" not in dict(request_fields(Headers.request(b"GET", b"/", b"")))


@pytest.mark.parametrize(
    "fields", [GET, _CONNECT, _EXTENDED, [*GET, (b"te", b"trailers"), (b"cookie", b"a; b")]]
)
def test_what_was_read_is_written_the_same(fields: list[Field]) -> None:
    assert sorted(request_fields(read_request(fields, CONNECTS))) == sorted(fields)


@pytest.mark.parametrize("name", [b"Upgrade", b"upgrade"])
def test_an_upgrade_is_an_extended_connect(name: bytes) -> None:
    """What the upgrade brings is a tunnel: it has no length."""
    headers = Headers.request(b"GET", b"/chat", b"a")
    headers.add(b"connection", name)
    headers.add(b"upgrade", b"websocket")
    headers.add(b"content-length", b"0")
    headers.add(b"sec-websocket-version", b"13")
    assert request_fields(headers) == [
        (b":authority", b"a"),
        (b":path", b"/chat"),
        (b":method", b"CONNECT"),
        (b":scheme", b"http"),
        (b":protocol", b"websocket"),
        (b"sec-websocket-version", b"13"),
    ]


@pytest.mark.parametrize("name", [b"connection", b"upgrade"])
def test_half_an_upgrade_is_none(name: bytes) -> None:
    written = dict(request_fields(Headers.request(b"GET", b"/", b"a", [(name, b"upgrade")])))
    assert written[b":method"] == b"GET"
    assert b":protocol" not in written and name not in written


@pytest.mark.parametrize(
    "name",
    [
        b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings", b"host",
    ],
)  # fmt: skip
def test_fields_of_one_hop_are_not_written(name: bytes) -> None:
    fields = [(name, b"1"), (b"x-a", b"b"), (name, b"2")]
    assert request_fields(Headers.request(b"GET", b"/", b"a", fields))[4:] == [(b"x-a", b"b")]
    assert response_fields(Headers.response(200, fields))[1:] == [(b"x-a", b"b")]
    assert trailer_fields(Headers(fields)) == [(b"x-a", b"b")]


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([b"trailers"], True),
        ([b"gzip"], False),
        ([b"trailers", b"gzip"], False),
        ([b"gzip", b"trailers"], False),
    ],
)
def test_te_is_written_only_for_trailers(values: list[bytes], written: bool) -> None:
    headers = Headers.request(b"GET", b"/", b"a", [(b"te", value) for value in values])
    assert [value for name, value in request_fields(headers) if name == b"te"] == (
        [b"trailers"] if written else []
    )


@pytest.mark.parametrize(
    ("status", "written", "with_length"),
    [(200, b"200", True), (101, b"200", False), (100, b"100", False), (103, b"103", False), (204, b"204", False),
     (304, b"304", True), (999, b"999", True)],
)  # fmt: skip
def test_a_response_is_written(status: int, written: bytes, with_length: bool) -> None:
    fields = response_fields(Headers.response(status, [(b"content-length", b"5"), (b"x-a", b"b")]))
    expected = [(b":status", written), (b"content-length", b"5"), (b"x-a", b"b")]
    assert fields == (expected if with_length else [expected[0], expected[2]])


@pytest.mark.parametrize("status", [-1, 0, 99, 1000, 20000])
def test_a_status_that_may_not_be_written(status: int) -> None:
    with pytest.raises(LocalProtocolError):
        response_fields(Headers.response(status))


@pytest.mark.parametrize(
    "headers",
    [
        Headers.request(b"GET", b"", b"a"),
        Headers.request(b"GET", b"p", b"a"),
        Headers.request(b"GET", b"http://a/", b"a"),
        Headers.request(b"GET", b"/a b", b"a"),
        Headers.request(b"GET", b"/\xff", b"a"),
        Headers.request(b"GET", b"/\r\n", b"a"),
        Headers.request(b"", b"/", b"a"),
        Headers.request(b"GE T", b"/", b"a"),
        Headers.request(b"GET\r\n", b"/", b"a"),
        Headers.request(b"GET:", b"/", b"a"),
        Headers.request(b"CONNECT", b"", b""),
        Headers.request(b"GET", b"/", b"", [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]),
        Headers.request(b"GET", b"/", b"a", [(b":path", b"/admin")]),
        Headers.request(b"GET", b"/", b"a", [(b":status", b"200")]),
    ],
    ids=repr,
)
def test_a_request_that_may_not_be_written(headers: Headers) -> None:
    with pytest.raises(LocalProtocolError):
        request_fields(headers)


def test_pseudo_headers_are_no_fields() -> None:
    with pytest.raises(LocalProtocolError):
        response_fields(Headers.response(200, [(b":status", b"500")]))
    with pytest.raises(LocalProtocolError):
        trailer_fields(Headers([(b":status", b"500")]))


def writing_refused(field: Field) -> str:
    try:
        check_for_writing(field)
    except LocalProtocolError as error:
        return str(error)
    return ""


def test_every_octet_in_what_is_written() -> None:
    for head, tail in ((b"", b"ab"), (b"a", b"b"), (b"ab", b"")):
        assert taken(lambda word: writing_refused((word, b"v")), head, tail) == _NAME
        assert taken(lambda word: writing_refused((b"x-a", word)), head, tail) == _VALUE
        for name in (b":path", b":authority", b":method", b":scheme", b":protocol", b":status"):
            assert taken(lambda word, name=name: writing_refused((name, word)), head, tail) == _VISIBLE  # type: ignore[misc]


@pytest.mark.parametrize("name", [b":path", b":method", b":scheme", b":protocol", b":status"])
def test_an_empty_pseudo_header_is_not_written(name: bytes) -> None:
    assert writing_refused((name, b""))
    assert not writing_refused((b":authority", b""))


@pytest.mark.parametrize("name", [b"", b":", b":other", b"::path", b":PATH"])
def test_names_that_may_not_be_written(name: bytes) -> None:
    assert writing_refused((name, b"v"))
