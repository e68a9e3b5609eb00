"""Lines are remembered within bounds, and remembering changes nothing."""

from __future__ import annotations

import pytest

from protocols.http.codec import HttpVersion
from protocols.http.head_lines import FIELDS, HOSTS, NAMES, REQUEST_LINES, STATUS_LINES


def test_tables_are_bounded() -> None:
    for number in range(5000):
        assert FIELDS[b"X-%d: %d" % (number, number)] == (b"x-%d" % number, b"%d" % number)
        assert HOSTS[b"h%d" % number] == b"h%d" % number
        assert REQUEST_LINES[b"GET /%d HTTP/1.1" % number] == (b"GET", b"/%d" % number)
        assert STATUS_LINES[b"HTTP/1.1 200 %d" % number] == (HttpVersion.HTTP11, 200)
        for table in (FIELDS, NAMES, HOSTS, REQUEST_LINES, STATUS_LINES):
            assert 0 < len(table) <= 2048


def test_secrets_and_long_lines_are_not_remembered() -> None:
    for line in (b"Authorization: Bearer s3cr3t", b"Cookie: s3cr3t=1", b"X: s3cr3t" + b"x" * 1100):
        assert FIELDS[line][1] in line
    assert not any(b"s3cr3t" in line for line in FIELDS)


@pytest.mark.parametrize(
    "line", [b"", b"X", b"X : 1", b" X: 1", b": 1", b"X: a\rb", b"X: a\nb", b"X: \x00", b"X: \x7f"]
)
def test_fields_that_are_not_plain(line: bytes) -> None:
    for _ in range(2):
        with pytest.raises(KeyError):
            FIELDS[line]
    assert line not in FIELDS


@pytest.mark.parametrize(
    "line",
    [b"CONNECT / HTTP/1.1", b"GET /a b HTTP/1.1", b"GET / HTTP/1.0", b"get / HTTP/1.1", b"GET /\n HTTP/1.1"],
)
def test_request_lines_that_are_not_plain(line: bytes) -> None:
    with pytest.raises(KeyError):
        REQUEST_LINES[line]


def test_values_are_trimmed() -> None:
    for _ in range(2):
        assert FIELDS[b"X-A: \t v w \t"] == (b"x-a", b"v w")
        assert FIELDS[b"X-A:"] == (b"x-a", b"")
